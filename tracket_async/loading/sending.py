"""Many writes that go on until there is a reason to stop, and that stop without leaving one of them in the air.

`bulk.Outcomes` writes a bounded number at once. What is added here: one refusal of the credentials, a full disk, or a
long row of failures for which nobody's data is to blame ends the run, since going on would only make more rows to look
after; and whoever interrupts the run waits, for a while, for the answers that are on their way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Final, Generic, TypeVar

from tracket_async.bulk import OnError, Outcomes
from tracket_async.errors import AuthenticationError, ExportError, TracketError, UsageError
from tracket_async.models import Worklog

T = TypeVar("T")

GRACE: Final = 5.0
"""Seconds for the answers that are on their way when the run is interrupted."""
PATIENCE: Final = 50
"""After so many failures in a row that are not the data's fault, the run stops."""

Write = Callable[[T], Awaitable[Worklog | None]]


class Sending(Generic[T]):
    """Writes rows, once.

    Args:
        write: writes one row. What it raises, if it is a `TracketError`, is the row's failure.
        concurrency: rows that are written at once, at least 1.
        on_error: ``"stop"``: begin no other row after the first failure; ``"collect"``: try all.
        patience: as `PATIENCE`.
        grace: as `GRACE`.

    Attributes:
        stopped: why rows were left out; None: there was no need, or ``on_error`` wanted it so.

    Raises:
        UsageError: the concurrency is below 1.
    """

    def __init__(
        self,
        write: Write[T],
        *,
        concurrency: int,
        on_error: OnError,
        patience: int = PATIENCE,
        grace: float = GRACE,
    ) -> None:
        if concurrency < 1:
            raise UsageError(f"concurrency must be at least 1, not {concurrency}")
        self._write = write
        self._concurrency = concurrency
        self._on_error = on_error
        self._patience = patience
        self._grace = grace
        self._in_a_row = 0
        self._stopping = False
        self.stopped: TracketError | None = None

    async def run(self, rows: Iterable[T]) -> None:
        """Write the rows. When it returns, or raises, none of them is being written any more.

        Raises:
            CancelledError: it was interrupted; what was being written had its grace.
            Exception: a mistake in the program, or whatever the rows raised.
        """
        async with aclosing(self._outcomes(rows)) as outcomes:
            consuming = asyncio.create_task(_consumed(outcomes))
            try:
                await asyncio.shield(consuming)
            except asyncio.CancelledError:
                self._stopping = True
                outcomes.stop()
                await asyncio.wait([consuming], timeout=self._grace)
                raise
            finally:
                consuming.cancel()
                await asyncio.gather(consuming, return_exceptions=True)

    def _outcomes(self, rows: Iterable[T]) -> Outcomes[T]:
        outcomes: Outcomes[T]

        async def write(row: T) -> Worklog | None:
            try:
                worklog = await self._write(row)
            except TracketError as error:
                if self._is_enough(error):
                    self._stopping = True
                    outcomes.stop()
                raise
            self._in_a_row = 0
            return worklog

        outcomes = Outcomes(self._until_stopped(rows), write, concurrency=self._concurrency, on_error="collect")
        return outcomes

    def _until_stopped(self, rows: Iterable[T]) -> Iterator[T]:
        # Otherwise the outcomes of a run that has stopped go on to the end of the input.
        for row in rows:
            if self._stopping:
                return
            yield row

    def _is_enough(self, error: TracketError) -> bool:
        """Whether to begin no other row after this failure; says so in `stopped`, unless the caller asked for it."""
        self._in_a_row = 0 if error.fault == "caller" else self._in_a_row + 1
        if self._in_a_row >= self._patience:
            error.hint = (
                f"That was the last of {self._in_a_row} failures in a row that are not the data's fault, so the other"
                " rows were not tried. Run the same again once the server is well"
            )
        elif not isinstance(error, AuthenticationError | ExportError):
            return self._on_error == "stop"
        self.stopped = self.stopped or error
        return True


async def _consumed(outcomes: Outcomes[T]) -> None:
    async for outcome in outcomes:
        if outcome.error is not None and not isinstance(outcome.error, TracketError):
            raise outcome.error
