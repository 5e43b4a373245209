"""Bytes on their way to some targets: written in large pieces, and never kept back for long.

To write to standard output takes another thread, and that costs as much as to render a page. So what is put here
waits until there is `PIECE` of it, or `DELAY` has passed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Final, Self

from tracket_async.cli.target import Target
from tracket_async.errors import StorageError

PIECE: Final = 1 << 20
"""So many bytes, for all targets together, are written at once."""
DELAY: Final = 0.05
"""So many seconds later, what has been put here is being written."""


class Outlet:
    """An async context manager. What was put is written when its block is left, on an error too.

    Only a cancellation gives up what is not yet written, and waits for nothing: whoever reads may have stopped reading.

    Args:
        targets: where to.
        sleep: waits for so many seconds.
    """

    def __init__(self, targets: Sequence[Target], *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._targets = targets
        self._sleep = sleep
        self._waiting: list[list[bytes]] = [[] for _ in targets]
        self._size = 0
        self._failure: BaseException | None = None
        self._some = asyncio.Event()
        self._writing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._clerk = asyncio.create_task(self._write_in_time())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, Exception):
            # Not in the middle of a write, which would go on in its thread, beside the next one.
            await self._writing.acquire()
            self._writing.release()
        self._clerk.cancel()
        await asyncio.wait([self._clerk])
        if kind is None:
            await self.flush()
        elif issubclass(kind, Exception) and self._failure is None:
            with contextlib.suppress(OSError, StorageError):  # what came first is what is told
                await self.flush()

    async def put(self, pieces: Sequence[bytes]) -> None:
        """Takes bytes for each target; returns when more may come.

        Raises:
            StorageError, BrokenPipeError: as the targets do, for these bytes or for some before.
        """
        for waiting, piece in zip(self._waiting, pieces, strict=True):
            waiting.append(piece)
            self._size += len(piece)
        if self._size >= PIECE or self._failure is not None:
            await self.flush()
        else:
            self._some.set()

    async def flush(self) -> None:
        """Writes all that was put; raises as `put`. After a failure, nothing is written any more."""
        async with self._writing:
            if self._failure is not None:
                raise self._failure
            pieces, self._waiting, self._size = self._waiting, [[] for _ in self._targets], 0
            self._some.clear()
            try:
                for target, parts in zip(self._targets, pieces, strict=True):
                    if parts:
                        await target.write(b"".join(parts))
            except BaseException as error:
                self._failure = error
                raise

    async def _write_in_time(self) -> None:
        while self._failure is None:
            await self._some.wait()
            await self._sleep(DELAY)
            with contextlib.suppress(OSError, StorageError):  # it is told to whoever puts something, or ends
                await self.flush()
