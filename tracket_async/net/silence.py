"""That no attempt listens to a silent server for too long: one timer for all attempts of a session.

The invariant: while anybody listens, the timer is set, and to no later than the earliest moment at which one of them
will have heard nothing for too long. What is heard moves a number and no timer; an attempt that is answered in time
sets none. (aiohttp's ``sock_read`` sets two for each request, a tenth of what a request costs.)

Who listens in vain is cancelled, and the cancellation becomes `Silent` at the end of its block, as `asyncio.timeout`
does it.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Final, Self

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
