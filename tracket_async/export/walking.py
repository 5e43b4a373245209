"""The first stage: every page, fetched by many chains at once, into the store.

Rows become Arrow columns as they come; about every `COMMIT_ROWS` of them, or every `COMMIT_SECONDS`, what has come is
committed together with where the chains stand, while the next pages are already being fetched. On an error, and when it
is cancelled, what has come is committed first. So a killed process has to fetch again what came in the last seconds,
and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing
from typing import Any, Final

from tracket_async.api.rows import Row
from tracket_async.errors import StorageError, StoreError
from tracket_async.export.desk import Desk
from tracket_async.export.table import arrow_batch
from tracket_async.windows.state import Batch, WindowState

COMMIT_ROWS: Final = 50_000
COMMIT_SECONDS: Final = 5.0
_ARROW_ROWS: Final = 1_000
"""So many rows become columns at once: more would hold up the event loop for longer, fewer cost more calls."""


class Intake:
    """What has come and is not committed yet."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._rows: list[Row] = []
        self._batches: list[Any] = []
        self._count = 0
        self._states: dict[int, WindowState] = {}
        self._since = desk.clock()
        self._commit: asyncio.Task[None] | None = None

    def take(self, batch: Batch[Row]) -> None:
        """Adds what a page brought."""
        self._rows += batch.items
        self._count += len(batch.items)
        self._states.update((state.id, state) for state in batch.states)
        if len(self._rows) >= _ARROW_ROWS:
            self._to_arrow()

    def _to_arrow(self) -> None:
        if self._rows:
            self._batches.append(arrow_batch(self._rows))
            self._rows = []

    @property
    def is_due(self) -> bool:
        """Whether it is time to commit."""
        return self._count >= COMMIT_ROWS or self._desk.clock() - self._since >= COMMIT_SECONDS

    async def begin_commit(self) -> None:
        """Commits what has come, in the background, once the commit before has ended.

        Raises:
            StorageError, StoreError: that one failed.
        """
        await self._ended()
        self._to_arrow()
        states = {number: state.to_json() for number, state in self._states.items()}
        if states:
            append = self._desk.do(self._desk.store.append, self._batches, states)
            self._batches, self._count, self._states = [], 0, {}
            self._commit = asyncio.create_task(append)
        self._since = self._desk.clock()

    async def finish(self) -> None:
        """Commits what is left; raises as `begin_commit`."""
        await self.begin_commit()
        await self._ended()

    async def _ended(self) -> None:
        if self._commit is not None:
            # Not awaited itself: a cancellation would reach it, and what it was to commit would be lost.
            await asyncio.wait([self._commit])
            # A commit that failed stays here and fails every other: later states must not get ahead of its rows.
            self._commit.result()
            self._commit = None


async def walk(desk: Desk, resumed: int, total: int | None) -> bool:
    """Fetches what the store does not have yet. Returns whether one chain had to walk alone.

    Args:
        desk: its store is walking.
        resumed: how many worklogs the store has.
        total: how many there will be; None: unknown.

    Raises:
        StorageError, StoreError: as the store does. What was committed is kept.
        ExportError, RequestError: as the source does; `RequestError.cursor` is of no use here: the store knows more.
    """
    states = [WindowState.from_json(state) for state in await desk.do(desk.store.windows)]
    settings, intake = desk.settings, Intake(desk)
    run = await desk.source.windows(
        desk.store.request.filter, concurrency=settings.concurrency, states=states, on_notice=settings.on_notice
    )
    try:
        async with aclosing(run.batches()) as batches:
            async for batch in batches:
                intake.take(batch)
                if intake.is_due:
                    await intake.begin_commit()
                if desk.teller.is_due:
                    chains = run.statistics()
                    desk.teller.tell(
                        "walking",
                        resumed + chains.worklogs,
                        resumed=resumed,
                        total=total,
                        reached=chains.reached,
                        active=chains.active,
                        single_chain=chains.single_chain,
                        waiting=desk.source.waiting,
                        always=True,
                    )
    except BaseException:
        with contextlib.suppress(StorageError, StoreError):
            await intake.finish()
        raise
    await intake.finish()
    return run.statistics().single_chain
