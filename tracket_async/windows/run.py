"""The workers: fetch what the plan asks for, as many at once as allowed, and hand over what it makes of it."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Generic, TypeVar

from tracket_async.errors import BadRequestError, ClientStateError, GoneError, TracketError
from tracket_async.windows.chain import Keys
from tracket_async.windows.plan import Ask, Plan
from tracket_async.windows.state import Batch, ChainStatistics, Fetch, Span, WindowState

T = TypeVar("T")


class Bell:
    """Wakes everybody who is waiting at this moment."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Until the next `ring`."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def ring(self) -> None:
        """Wakes those who wait now."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


class WindowRun(Generic[T]):
    """A walk by many chains at once, over windows of date.

    Args:
        fetch: fetches one page of a query.
        span: the dates to be walked.
        date_of, id_of: how to tell the date (aware datetime) and the id of an item.
        concurrency: pages that are fetched at once, at least 1.
        ordered: hand batches over in ascending order of date (by windows: within the same date, in the server's order).
            A bounded number of pages waits for those before them; about as fast. Cannot be resumed from states.
        keep: whether an item belongs to the walk, for what the server cannot filter; None: all do.
        states: the states kept of an earlier run with the same ``span``, to go on from; empty: begin.
        on_notice: is told, in a sentence, when the run has to fall back to one chain.

    Raises:
        ValueError: ``concurrency`` is below 1, or ``states`` are given with ``ordered``.
    """

    def __init__(
        self,
        fetch: Fetch[T],
        span: Span,
        *,
        date_of: Callable[[T], dt.datetime],
        id_of: Callable[[T], str],
        concurrency: int = 16,
        ordered: bool = False,
        keep: Callable[[T], bool] | None = None,
        states: Iterable[WindowState] = (),
        on_notice: Callable[[str], None] | None = None,
    ) -> None:
        states = tuple(states)
        if concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, not {concurrency}")
        if ordered and states:
            raise ValueError("states cannot be resumed in order: leave out ordered=True")
        self._fetch = fetch
        self._concurrency = concurrency
        self._plan = Plan(
            span,
            Keys(date_of, id_of),
            workers=concurrency,
            ordered=ordered,
            keep=keep,
            states=states,
            on_notice=on_notice,
        )
        self._news = Bell()
        self._work_to_do = Bell()
        self._error: BaseException | None = None
        self._running = False

    def statistics(self) -> ChainStatistics:
        """How the run stands."""
        return self._plan.statistics()

    def states(self) -> tuple[WindowState, ...]:
        """Where every window stands, by id. What `batches` has not handed over yet counts as handed over here."""
        return self._plan.ledger.states()

    async def batches(self) -> AsyncGenerator[Batch[T]]:
        """Every batch. Closing it (`contextlib.aclosing`) cancels and awaits what is on its way.

        After an error, or after closing it, calling it again goes on: nothing handed over comes again.

        Raises:
            TracketError: a page could not be fetched. All that had arrived before has been handed over.
            ClientStateError: it is already being iterated.
        """
        if self._running:
            raise ClientStateError("This walk is already being iterated")
        self._running = True
        self._error = None
        out = self._plan.ledger.out
        workers = [asyncio.create_task(self._work()) for _ in range(self._concurrency)]
        try:
            while True:
                while out:
                    yield out.popleft()
                    self._work_to_do.ring()
                if self._error is not None:
                    raise self._error
                if self._plan.finished:
                    return
                await self._news.wait()
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.wait(workers)
            self._running = False

    async def _work(self) -> None:
        plan = self._plan
        try:
            while not plan.finished and self._error is None:
                # What is handed over more slowly than it arrives must not pile up.
                ask = plan.next() if len(plan.ledger.out) < self._concurrency else None
                if ask is None:
                    await self._work_to_do.wait()
                    continue
                await self._step(ask)
                self._news.ring()
                self._work_to_do.ring()
        except BaseException as error:
            # Whoever iterates waits for news alone, so that even a cancellation has to reach it there.
            self._error = self._error or error
            self._news.ring()
            if not isinstance(error, Exception):
                raise

    async def _step(self, ask: Ask[T]) -> None:
        chain = ask.chain
        try:
            page = await self._fetch(chain.asked_since, chain.asked_until, chain.cursor)
        except (BadRequestError, GoneError) as error:
            if not self._plan.refused(ask):
                error.cursor = chain.cursor
                raise
        except BaseException as error:
            if isinstance(error, TracketError):
                error.cursor = chain.cursor
            self._plan.returned(ask)
            raise
        else:
            self._plan.arrived(ask, page)
