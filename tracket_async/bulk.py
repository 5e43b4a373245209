"""Many writes, one outcome for each: in the order of the input, a bounded number at once, none forgotten.

`Outcomes` takes the callable that writes one item, and knows no client. The input, any iterable or async iterable, is
consumed as it is needed: never more than ``look_ahead`` items beyond the outcome that is next in order.

Many writes that go on until there is a reason to stop, and that stop without leaving one of them in the air.

`bulk.Outcomes` writes a bounded number at once. What is added here: one refusal of the credentials, a full disk, or a
long row of failures for which nobody's data is to blame ends the run, since going on would only make more rows to look
after; and whoever interrupts the run waits, for a while, for the answers that are on their way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Final, Generic, Literal, Self, TypeVar

import attrs

from tracket_async.errors import AuthenticationError, ExportError, RequestError, TracketError, UsageError
from tracket_async.models import Worklog

T = TypeVar("T")

Status = Literal["ok", "failed", "ambiguous", "not_sent"]
OnError = Literal["stop", "collect"]


@attrs.frozen(kw_only=True)
class Outcome(Generic[T]):
    """What became of one item.

    Attributes:
        index: its place in the input, from 0.
        status: ``"ok"``; ``"failed"``: it did not happen; ``"ambiguous"``: it may have happened (for a create, see
            ``client.worklogs.reconcile``); ``"not_sent"``: nobody tried, because the run was stopped.
        item: as it was given.
        worklog: the server's answer to a create or update that is ``ok``; None otherwise.
        error: why it is ``failed`` or ``ambiguous``; None if the run was closed while it was in progress.
    """

    index: int
    status: Status
    item: T
    worklog: Worklog | None = None
    error: Exception | None = None


class Outcomes(Generic[T]):
    """The outcomes of many writes, an async iterator; the writing begins with the first step of the iteration.

    With ``on_error="stop"``, the first outcome that is not ok lets those in progress finish and begins no other: the
    outcomes of all others, to the end of the input, are ``not_sent``. With ``"collect"``, every item is tried.
    `stop` stops a run in either case, and its iteration goes on to tell about the rest.

    To leave in the middle, close it (`contextlib.aclosing`, or `aclose`): that cancels what is in progress, and
    `leftover` then tells what became of the items that had been taken from the input.

    Args:
        items: the input.
        write: writes one item. What it raises is the item's outcome.
        concurrency: items that are written at once, at least 1.
        on_error: see above.
        usable: asked before each item; once it says no, the run stops as if by `stop`.
        look_ahead: items taken from the input beyond the outcome that is next in order; None: 4 times the concurrency.

    Raises:
        ValueError: a setting is out of range.
    """

    def __init__(
        self,
        items: Iterable[T] | AsyncIterable[T],
        write: Callable[[T], Awaitable[Worklog | None]],
        *,
        concurrency: int = 16,
        on_error: OnError = "stop",
        usable: Callable[[], bool] = lambda: True,
        look_ahead: int | None = None,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, not {concurrency}")
        if on_error not in ("stop", "collect"):
            raise ValueError(f"on_error must be 'stop' or 'collect', not {on_error!r}")
        self._run = _Run(items, write, on_error == "stop", usable, max(look_ahead or 4 * concurrency, concurrency))
        self._outcomes = _outcomes(self._run, concurrency)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome[T]:
        """The next outcome.

        Raises:
            Exception: whatever the input raised, after the outcomes of all items before.
        """
        return await anext(self._outcomes)

    def stop(self) -> None:
        """Begin no other item. What is in progress is finished; go on iterating to learn about it and the rest."""
        self._run.stop()

    async def aclose(self) -> None:
        """Cancel and await what is in progress. Closing twice does no harm."""
        await self._outcomes.aclose()
        self._run.stop()

    @property
    def leftover(self) -> tuple[Outcome[T], ...]:
        """After closing: the outcomes, in order, of the items taken from the input and not yet told.

        What was in progress is ``ambiguous``. Whatever comes after them in the input was not sent, and not even read.
        """
        return self._run.leftover


class _Run(Generic[T]):
    """What the workers and the iteration share."""

    def __init__(
        self,
        items: Iterable[T] | AsyncIterable[T],
        write: Callable[[T], Awaitable[Worklog | None]],
        stop_on_error: bool,  # noqa: FBT001 - private, named where it is called
        usable: Callable[[], bool],
        look_ahead: int,
    ) -> None:
        self.source: AsyncIterator[T] = aiter(items) if isinstance(items, AsyncIterable) else _each(iter(items))
        self.source_error: Exception | None = None
        self.crash: BaseException | None = None
        self.done: dict[int, Outcome[T]] = {}
        self.told = 0
        self.workers = 0
        self.stopping = False
        self.leftover: tuple[Outcome[T], ...] = ()
        self.news = asyncio.Event()
        self.room = asyncio.Event()
        self._write = write
        self._stop_on_error = stop_on_error
        self._usable = usable
        self._look_ahead = look_ahead
        self._taking = asyncio.Lock()
        self._taken = 0
        self._exhausted = False
        self._flying: dict[int, T] = {}

    def stop(self) -> None:
        self.stopping = True
        self.room.set()

    async def work(self) -> None:
        try:
            while (taken := await self._take()) is not None:
                index, item = taken
                self.done[index] = await self._outcome(index, item)
                self._flying.pop(index, None)
                self.news.set()
        except BaseException as error:
            # Whoever iterates waits for news alone, so that even a cancellation has to reach it there.
            self.crash = self.crash or error
            raise
        finally:
            self.workers -= 1
            self.news.set()

    def tell(self) -> Outcome[T] | None:
        """The outcome that is next in order, if it is known."""
        outcome = self.done.pop(self.told, None)
        if outcome is not None:
            self.told += 1
            self.room.set()
        return outcome

    async def rest(self) -> AsyncGenerator[Outcome[T]]:
        """After a stop: what of the input nobody took."""
        async for item in self.source:
            yield Outcome(index=self._taken, status="not_sent", item=item)
            self._taken += 1

    def close(self) -> None:
        """Takes down what became of the items that nobody was told about."""
        flying = {i: Outcome(index=i, status="ambiguous", item=item) for i, item in self._flying.items()}
        self.leftover = tuple(outcome for _, outcome in sorted((flying | self.done).items()))

    async def _take(self) -> tuple[int, T] | None:
        async with self._taking:
            while self._taken - self.told >= self._look_ahead and not self.stopping:
                self.room.clear()
                await self.room.wait()
            if self.stopping or self._exhausted:
                return None
            try:
                item = await anext(self.source)
            except StopAsyncIteration:
                self._exhausted = True
                return None
            except Exception as error:  # noqa: BLE001 - the caller's own input: raised to the caller when its turn comes
                self._exhausted = True
                self.source_error = error
                return None
            index = self._taken
            self._taken += 1
            self._flying[index] = item
            return index, item

    async def _outcome(self, index: int, item: T) -> Outcome[T]:
        if not self.stopping and not self._usable():
            self.stop()
        if self.stopping:
            return Outcome(index=index, status="not_sent", item=item)
        try:
            worklog = await self._write(item)
        except Exception as error:  # noqa: BLE001 - whatever a write raises is the outcome of its item, never lost
            if self._stop_on_error:
                self.stop()
            ambiguous = not self._usable() or (isinstance(error, RequestError) and error.is_ambiguous)
            return Outcome(index=index, status="ambiguous" if ambiguous else "failed", item=item, error=error)
        return Outcome(index=index, status="ok", item=item, worklog=worklog)


async def _each(items: Iterator[T]) -> AsyncGenerator[T]:
    for item in items:
        yield item


async def _outcomes(run: _Run[T], concurrency: int) -> AsyncGenerator[Outcome[T]]:
    run.workers = concurrency
    workers = [asyncio.create_task(run.work()) for _ in range(concurrency)]
    try:
        while True:
            while (outcome := run.tell()) is not None:
                yield outcome
            if run.crash is not None:
                raise run.crash
            if not run.workers:
                break
            run.news.clear()
            await run.news.wait()
        if run.source_error is not None:
            raise run.source_error
        if run.stopping:
            async with aclosing(run.rest()) as rest:
                async for outcome in rest:
                    yield outcome
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        run.close()


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
        self._in_a_row = 0 if error.fault == "client" else self._in_a_row + 1
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
