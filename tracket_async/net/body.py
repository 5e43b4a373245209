"""Whether a body is whole, and not too long. Performs no I/O: chunks go in as they arrive, the body comes out.

aiohttp checks the framing (Content-Length, chunked) but not the compression's own end, and decompresses without a
limit; so it is asked for the bytes as they came, and they are decompressed here, piece by piece, never further than
the cap. A body that ends with its connection (RFC 9112, 6.3, rule 8) and is not compressed has no mark of its end but
its JSON's: a cut object never parses, which is found later.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Protocol

from tracket_async.errors import ResponseError, ResponseTooLargeError, TruncatedResponseError, UnreadableResponseError

ACCEPT_ENCODING = "gzip, deflate"

_GZIP = 16 + zlib.MAX_WBITS
_ZLIB = zlib.MAX_WBITS
_RAW = -zlib.MAX_WBITS


class Body(Protocol):
    """Collects the chunks of one body."""

    def feed(self, chunk: bytes) -> None:
        """Take the next chunk.

        Raises:
            ResponseTooLargeError: the cap is passed.
            UnreadableResponseError: it cannot be decompressed.
        """
        ...

    def finish(self) -> bytes:
        """The whole body, decompressed.

        Raises:
            TruncatedResponseError: the compressed data ended before its own end.
        """
        ...


class PlainBody:
    """A body that is not compressed."""

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._size = 0
        self._chunks: list[bytes] = []

    def feed(self, chunk: bytes) -> None:
        """Take the next chunk."""
        self._size += len(chunk)
        if self._size > self._cap:
            raise too_large(self._cap)
        self._chunks.append(chunk)

    def finish(self) -> bytes:
        """The whole body."""
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)


class CompressedBody:
    """A body in gzip (RFC 1952, of one or more members) or deflate (RFC 1950; or 1951, which some servers mean)."""

    def __init__(self, cap: int, encoding: str) -> None:
        self._plain = PlainBody(cap)
        self._cap = cap
        self._room = cap
        self._received = 0
        self._encoding = encoding
        self._stream = zlib.decompressobj(_GZIP)
        self._fresh = True

    def feed(self, chunk: bytes) -> None:
        """Decompress the next chunk."""
        self._received += len(chunk)
        if self._received > self._cap:
            raise too_large(self._cap)
        try:
            self._inflate(chunk)
        except zlib.error:
            failure = UnreadableResponseError(f"The body is not valid {self._encoding}")
        else:
            return
        raise failure

    def finish(self) -> bytes:
        """The whole body; an empty one is whole (RFC 9110, 15.3.5)."""
        if not self._fresh and not self._stream.eof:
            raise TruncatedResponseError(f"The body ended in the middle of its {self._encoding} data")
        return self._plain.finish()

    def _inflate(self, data: bytes) -> None:
        while data:
            if self._fresh or (self._stream.eof and self._encoding == "gzip"):
                self._stream = zlib.decompressobj(self._window(data))
                self._fresh = False
            elif self._stream.eof:
                raise zlib.error
            # One byte more than there is room for, so that a body of exactly the cap is accepted.
            piece = self._stream.decompress(data, self._room + 1)
            self._room -= len(piece)
            self._plain.feed(piece)
            data = self._stream.unconsumed_tail or self._stream.unused_data

    def _window(self, data: bytes) -> int:
        if self._encoding == "gzip":
            return _GZIP
        # RFC 1950, 2.2: the low half of the first byte is 8 for deflate; in RFC 1951's raw form it never is in
        # practice.
        return _ZLIB if data[0] & 0x0F == 8 else _RAW  # noqa: PLR2004


_BODIES: dict[str, Callable[[int], Body]] = {
    "": PlainBody,
    "identity": PlainBody,
    "gzip": lambda cap: CompressedBody(cap, "gzip"),
    "x-gzip": lambda cap: CompressedBody(cap, "gzip"),
    "deflate": lambda cap: CompressedBody(cap, "deflate"),
}


def body_for(content_encoding: str, content_length: str, *, cap: int) -> Body:
    """What collects the body of an answer with these headers (``""`` where there is none). ``cap`` is in bytes.

    Raises:
        ResponseTooLargeError: it is announced to be longer than the cap.
        ResponseError: the encoding is none that was asked for.
    """
    if content_length.isdecimal() and int(content_length[:20]) > cap:
        raise too_large(cap)
    make = _BODIES.get(content_encoding.strip().lower())
    if make is None:
        raise ResponseError(f"The server used the content encoding {content_encoding[:40]!r}, which was not asked for")
    return make(cap)


def too_large(cap: int) -> ResponseTooLargeError:
    """The error for a body above the cap."""
    error = ResponseTooLargeError(f"The answer is longer than {cap:,} bytes")
    error.hint = "Ask for smaller pages, or raise Limits.max_response_bytes"
    return error
