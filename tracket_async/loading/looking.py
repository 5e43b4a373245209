"""Looks at the server for rows in doubt: day by day, several days at once, and more than once altogether."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from typing import Final

import attrs

from tracket_async.client import TracketClient
from tracket_async.loading.doubt import Doubt, Look
from tracket_async.models import Page, WorklogFilter
from tracket_async.net.world import World
from tracket_async.reconcile import LARGEST_SKEW

LOOKS: Final = 2
"""A request that is late may have landed between two looks."""
WAIT: Final = 2.0
"""Seconds between two looks."""


@attrs.frozen(kw_only=True)
class Observatory:
    """Where looks are taken from.

    Attributes:
        client: open.
        concurrency: days that are looked at together.
        wait: seconds between two looks.
        world: this machine's time, and waiting.
    """

    client: TracketClient
    concurrency: int
    wait: float = WAIT
    world: World = attrs.field(factory=World)

    @property
    def by_day(self) -> bool:
        """Whether the server keeps only the day of a date: API 2.0."""
        return self.client.api != "1.0"

    async def looks(self, doubts: Sequence[Doubt]) -> list[Look]:
        """`LOOKS` looks for the rows, the first at once.

        Raises:
            RequestError: reading failed; nothing can be decided.
        """
        found: list[Look] = []
        for number in range(LOOKS):
            if number:
                await self.world.sleep(self.wait)
            found.append(await self._look(doubts))
        return found

    async def _look(self, doubts: Sequence[Doubt]) -> Look:
        days: dict[dt.date, list[Doubt]] = {}
        for doubt in doubts:
            days.setdefault(doubt.new.date.date(), []).append(doubt)
        look = Look(self.by_day)
        todo = iter(days.items())
        tasks = [
            asyncio.create_task(self._see_days(todo, look)) for _ in range(min(max(self.concurrency, 1), len(days)))
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return look

    async def _see_days(self, days: Iterator[tuple[dt.date, list[Doubt]]], look: Look) -> None:
        for day, doubts in days:
            walk = self.client.worklogs.list(filter=self._filter(day, doubts))
            async with aclosing(walk.pages()) as pages:
                async for page in pages:
                    look.see(doubts, page.items, clock_of(page, self.world.now()))

    def _filter(self, day: dt.date, doubts: Sequence[Doubt]) -> WorklogFilter:
        created_since = min(doubt.at for doubt in doubts) - LARGEST_SKEW if self.by_day else None
        return WorklogFilter(since=day, until=day, created_since=created_since)


def clock_of(page: Page, now: dt.datetime) -> float | None:
    """Seconds that the server's clock is ahead of this machine's, by the page's Date header; None without one.

    Args:
        page: just read.
        now: this machine's time.
    """
    return None if page.server_date is None else (page.server_date - now).total_seconds()
