"""Whether a body is whole, and not too long. Performs no I/O: chunks go in as they arrive, the body comes out.

aiohttp checks the framing (Content-Length, chunked) but not the compression's own end, and decompresses without a
limit; so it is asked for the bytes as they came, and they are decompressed here, piece by piece, never further than
the cap. A body that ends with its connection (RFC 9112, 6.3, rule 8) and is not compressed has no mark of its end but
its JSON's: a cut object never parses, which is found later.

That no attempt listens to a silent server for too long: one timer for all attempts of a session.

The invariant: while anybody listens, the timer is set, and to no later than the earliest moment at which one of them
will have heard nothing for too long. What is heard moves a number and no timer; an attempt that is answered in time
sets none. (aiohttp's ``sock_read`` sets two for each request, a tenth of what a request costs.)

Who listens in vain is cancelled, and the cancellation becomes `Silent` at the end of its block, as `asyncio.timeout`
does it.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Protocol, Self

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
    return ResponseTooLargeError(
        f"The answer is longer than {cap:,} bytes", hint="Ask for smaller pages, or raise Limits.max_response_bytes"
    )


_NOT_YET: Final = float("inf")


class Silent(TimeoutError):  # noqa: N818 - no error of ours: `failures` translates it as it does aiohttp's
    """Nothing was heard for too long."""


class Silence:
    """The listeners of one session. Of one event loop; not thread-safe.

    Args:
        longest: seconds without a byte that are too long. None: none are.
        loop: the event loop.
    """

    def __init__(self, longest: float | None, loop: asyncio.AbstractEventLoop) -> None:
        self._longest = longest
        self._loop = loop
        self._listeners: dict[asyncio.Task[Any], Listener] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Silence of at most {self._longest} s, {len(self._listeners)} listening>"

    def listen(self, *, connected: bool) -> Listener:
        """A block in which the task that runs it listens; not ``connected``: from `connected` on."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an attempt is made by a task")
        return Listener(self, task, self._loop.time() if connected else _NOT_YET)

    def connected(self) -> None:
        """The task that runs has its connection."""
        listener = self._listeners.get(asyncio.current_task())  # type: ignore[arg-type]  # None is nobody
        if listener is not None:
            listener.heard()

    def now(self) -> float:
        """The loop's time, in seconds."""
        return self._loop.time()

    def join(self, task: asyncio.Task[Any], listener: Listener) -> None:
        """A listener begins."""
        self._listeners[task] = listener
        if self._timer is None and self._longest is not None:
            self._timer = self._loop.call_later(self._longest, self._look)

    def leave(self, task: asyncio.Task[Any]) -> None:
        """It ends."""
        del self._listeners[task]

    def close(self) -> None:
        """Let the timer go."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._longest is None or not self._listeners:
            return
        earliest = now = self._loop.time()
        for listener in self._listeners.values():
            if listener.since + self._longest <= now:
                listener.give_up()
            else:
                earliest = min(earliest, listener.since)
        self._timer = self._loop.call_at(earliest + self._longest, self._look)


class Listener:
    """One attempt that listens: the block ``with silence.listen(...)``.

    Attributes:
        since: when it last heard something, or began to listen; infinity before that.
    """

    __slots__ = ("_cancelling", "_given_up", "_silence", "_task", "since")

    def __init__(self, silence: Silence, task: asyncio.Task[Any], since: float) -> None:
        self.since = since
        self._silence = silence
        self._task = task
        self._cancelling = task.cancelling()
        self._given_up = False

    def __enter__(self) -> Self:
        self._silence.join(self._task, self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._silence.leave(self._task)
        # Somebody else may have cancelled it, too: then it is theirs.
        if self._given_up and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise Silent from error

    def heard(self) -> None:
        """Something was heard."""
        self.since = self._silence.now()

    def give_up(self) -> None:
        """Cancel it, once."""
        self.since = _NOT_YET
        self._given_up = True
        self._task.cancel()
