"""Read a body to its end: bounded decompression, completeness, and the read timeout. Performs no I/O.

aiohttp checks the framing (Content-Length, chunked) but not the compression's own end, and decompresses without a
limit; so it is asked for the bytes as they came, and they are decompressed here, piece by piece, never further than
the cap. A body that ends with its connection (RFC 9112, 6.3, rule 8) and is not compressed has no mark of its end but
its JSON's: a cut object never parses, which is found later.

`ReadTimeout` has one timer for all attempts of a session. While an attempt is watched, the timer is set, to no later
than the earliest moment at which one of them has received nothing for too long. What is received moves a number and no
timer; an attempt that is answered in time sets none. (aiohttp's ``sock_read`` sets two for each request, a tenth of
what a request costs.) An attempt that waits in vain is cancelled, and the cancellation becomes `ReadTimedOut` at the
end of its block, as `asyncio.timeout` does it.
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
_GZIP_MAGIC: Final = b"\x1f\x8b\x08"
_MOST_MEMBERS: Final = 1_000
"""Members of a gzip body, beyond which each is to hold `_MEMBER_BYTES` on average: empty ones are a bomb of time."""
_MEMBER_BYTES: Final = 1024


class Body(Protocol):
    """Collect the chunks of one body."""

    def feed(self, chunk: bytes) -> None:
        """Take the next chunk.

        Raises:
            ResponseTooLargeError: the cap is passed.
            UnreadableResponseError: it cannot be decompressed.
        """
        ...

    def finish(self) -> bytes:
        """Return the whole body, decompressed.

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
        """Return the whole body."""
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)


class CompressedBody:
    """A body in gzip (RFC 1952, of one or more members) or deflate (RFC 1950; or 1951, which some servers mean).

    What follows the last member and is none, zeros say, is ignored, as gzip does.
    """

    def __init__(self, cap: int, encoding: str) -> None:
        self._plain = PlainBody(cap)
        self._cap = cap
        self._room = cap
        self._received = 0
        self._encoding = encoding
        self._stream = zlib.decompressobj(_GZIP)
        self._fresh = True
        self._members = 1
        self._next = b""  # the beginning of what may be a further member
        self._is_over = False

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
        """Return the whole body; an empty one is whole (RFC 9110, 15.3.5)."""
        if self._next or (not self._fresh and not self._stream.eof):
            raise TruncatedResponseError(f"The body ended in the middle of its {self._encoding} data")
        return self._plain.finish()

    def _inflate(self, data: bytes) -> None:
        while data and not self._is_over:
            if self._fresh:
                self._stream = zlib.decompressobj(self._window(data))
                self._fresh = False
            elif self._stream.eof:
                data = self._next + data
                if not self._is_next_member(data):
                    return
                self._stream = zlib.decompressobj(_GZIP)
            # One byte more than there is room for, so that a body of exactly the cap is accepted.
            piece = self._stream.decompress(data, self._room + 1)
            self._room -= len(piece)
            self._plain.feed(piece)
            data = self._stream.unconsumed_tail or self._stream.unused_data

    def _is_next_member(self, data: bytes) -> bool:
        """Return whether this, behind the end of a member, is another one; False also if that cannot be told yet."""
        if self._encoding != "gzip":
            raise zlib.error
        self._is_over = not data.startswith(_GZIP_MAGIC[: len(data)])
        self._next = data if not self._is_over and len(data) < len(_GZIP_MAGIC) else b""
        if self._is_over or self._next:
            return False
        self._members += 1
        if self._members > _MOST_MEMBERS + (self._cap - self._room) // _MEMBER_BYTES:
            raise ResponseError(f"The body is a bomb: {self._members:,} gzip members with next to nothing in them")
        return True

    def _window(self, data: bytes) -> int:
        if self._encoding == "gzip":
            return _GZIP
        # RFC 1950, 2.2: the low half of the first byte is 8 for deflate; in RFC 1951's raw form it never is in
        # practice.
        return _ZLIB if data[0] & 0x0F == 8 else _RAW  # noqa: PLR2004


_NO_COMPRESSION: Final = ("", "identity", "none", "utf-8", "utf8", "us-ascii", "iso-8859-1", "binary", "8bit")
"""What servers write into Content-Encoding although it is no compression (RFC 9110, 8.4.1)."""

_BODIES: dict[str, Callable[[int], Body]] = {
    **dict.fromkeys(_NO_COMPRESSION, PlainBody),
    "gzip": lambda cap: CompressedBody(cap, "gzip"),
    "x-gzip": lambda cap: CompressedBody(cap, "gzip"),
    "deflate": lambda cap: CompressedBody(cap, "deflate"),
}


def body_for(content_encoding: str, content_length: str, *, cap: int) -> Body:
    """Create the collector of the body of an answer with these headers (``""`` where there is none).

    ``cap`` is in bytes.

    Raises:
        ResponseTooLargeError: it is announced to be longer than the cap.
        ResponseError: the encoding is none that was asked for.
    """
    if content_length.isdecimal() and int(content_length[:20]) > cap:
        raise too_large(cap)
    make = _BODIES.get(content_encoding.strip().lower())
    if make is None:
        codings = [coding.strip().lower() for coding in content_encoding.split(",")]
        make = _BODIES.get(",".join(coding for coding in codings if coding not in _NO_COMPRESSION))
    if make is None:
        raise ResponseError(f"The server used the content encoding {content_encoding[:40]!r}, which was not asked for")
    return make(cap)


def too_large(cap: int) -> ResponseTooLargeError:
    """Create the error for a body above the cap."""
    return ResponseTooLargeError(
        f"The answer is longer than {cap:,} bytes", hint="Ask for smaller pages, or raise Limits.max_response_bytes"
    )


_NEVER: Final = float("inf")


class ConnectionUse:
    """The use of one connection of the pool. Moments are of the event loop's clock.

    Attributes:
        reused: whether the request in progress is not its first.
        last: when it was last taken, or last received something; None before its first request.
        expires_after: seconds without use after which the server may close it; infinity when it did not say.
    """

    __slots__ = ("expires_after", "last", "reused")

    def __init__(self) -> None:
        self.reused = False
        self.last: float | None = None
        self.expires_after = _NEVER


def nothing_came() -> bool:
    """Return True: over a new connection, nothing can have come that nobody asked for."""
    return True


class UnaskedAnswerError(ConnectionResetError):
    """The server sent something over a kept connection before the request was written. Nothing was sent."""


class ReadTimedOut(TimeoutError):  # noqa: N818 - no error of ours: `map_exception` maps it as it does aiohttp's
    """Nothing was received for too long."""


class ReadTimeout:
    """The read timeout of one session. Of one event loop; not thread-safe.

    Args:
        seconds: the longest wait for the next bytes. None: no limit.
        loop: the event loop.
    """

    def __init__(self, seconds: float | None, loop: asyncio.AbstractEventLoop) -> None:
        self._seconds = seconds
        self._loop = loop
        self._watches: dict[asyncio.Task[Any], ReadWatch] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<ReadTimeout of {self._seconds} s, {len(self._watches)} watched>"

    def watch(self, *, connected: bool) -> ReadWatch:
        """Create a block in which the running task is watched; not ``connected``: from `connected` on."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an attempt is made by a task")
        return ReadWatch(self, task, self._loop.time() if connected else _NEVER)

    def connected(self, use: ConnectionUse, *, is_clean: Callable[[], bool] = nothing_came) -> None:
        """Take note that the running task has its connection.

        Args:
            use: of the connection.
            is_clean: returns whether nothing has come over the connection that nobody asked for.
        """
        watch = self._watches.get(asyncio.current_task())  # type: ignore[arg-type]  # None is nobody
        if watch is not None:
            watch.use = use
            watch.is_clean = is_clean
            watch.received()

    def now(self) -> float:
        """Return the loop's time, in seconds."""
        return self._loop.time()

    def enter(self, task: asyncio.Task[Any], watch: ReadWatch) -> None:
        """Begin to watch a task."""
        self._watches[task] = watch
        if self._timer is None and self._seconds is not None:
            self._timer = self._loop.call_later(self._seconds, self._check)

    def exit(self, task: asyncio.Task[Any]) -> None:
        """End to watch it."""
        del self._watches[task]

    def close(self) -> None:
        """Cancel the timer, and every attempt that is watched: aiohttp does not wake one that reads a body."""
        for watch in self._watches.values():
            watch.expire()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        if self._seconds is None or not self._watches:
            return
        earliest = now = self._loop.time()
        for watch in self._watches.values():
            if watch.since + self._seconds <= now:
                watch.expire()
            else:
                earliest = min(earliest, watch.since)
        self._timer = self._loop.call_at(earliest + self._seconds, self._check)


class ReadWatch:
    """One watched attempt: the block ``with read_timeout.watch(...)``.

    Attributes:
        since: when it last received something, or began to wait; infinity before that.
        use: of its connection; None before it has one.
        is_clean: returns whether nothing has come over it that nobody asked for.
        unsent: whether it ended before its body was sent, because something had.
    """

    __slots__ = ("_cancelling", "_expired", "_read_timeout", "_task", "is_clean", "since", "unsent", "use")

    def __init__(self, read_timeout: ReadTimeout, task: asyncio.Task[Any], since: float) -> None:
        self.since = since
        self.use: ConnectionUse | None = None
        self.is_clean = nothing_came
        self.unsent = False
        self._read_timeout = read_timeout
        self._task = task
        self._cancelling = task.cancelling()
        self._expired = False

    def __enter__(self) -> Self:
        self._read_timeout.enter(self._task, self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._read_timeout.exit(self._task)
        if self.use is not None:
            self.use.last = self.since
        # Somebody else may have cancelled it, too: then it is theirs.
        if self._expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise ReadTimedOut from error

    def received(self) -> None:
        """Take note that something was received, or could be sent."""
        self.since = self._read_timeout.now()

    def begin_body(self) -> None:
        """Check, before anything of a request with a body is written, that nothing has come unasked.

        Raises:
            UnaskedAnswerError: it has.
        """
        if not self.is_clean():
            self.unsent = True
            raise UnaskedAnswerError

    def timed_out(self) -> bool:
        """Return whether the read timeout, and nobody else, has cancelled the attempt."""
        return self._expired and self._task.cancelling() <= self._cancelling + 1

    def expire(self) -> None:
        """Cancel the attempt, once."""
        self.since = _NEVER
        self._expired = True
        self._task.cancel()
