"""A range of dates compared worklog by worklog: afterwards the store has what the server has there, and nothing else.

What the server lists is brought into the store. What the store has and the server did not list is asked for by its id:
it is gone, or it has only moved to another date.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Sequence
from contextlib import aclosing
from typing import Final, TypeVar

import attrs

from tracket_async.api.rows import Row
from tracket_async.export.desk import Desk
from tracket_async.export.source import matches
from tracket_async.export.store import NOTHING, Day, Revision
from tracket_async.export.table import arrow_batch, id_of, unique
from tracket_async.fields import first_moment, last_moment
from tracket_async.models import WorklogFilter

T = TypeVar("T")

FEW: Final = 1_000
"""A range of so many worklogs is compared one by one rather than halved once more: ten pages."""
LOT: Final = 10_000
"""So many worklogs are brought into the store at once."""
_ONE_DAY: Final = dt.timedelta(days=1)


@attrs.frozen(kw_only=True)
class Comparison:
    """What a comparison has changed in the store, and the ids of worklogs that the server no longer has."""

    changes: Revision = NOTHING
    gone: tuple[str, ...] = ()

    def __add__(self, other: Comparison) -> Comparison:
        return Comparison(changes=self.changes + other.changes, gone=self.gone + other.gone)


def narrowed(wanted: WorklogFilter, since: dt.date | None, until: dt.date | None) -> WorklogFilter | None:
    """The filter with both its bounds of date and these (inclusive); None when nothing can match."""
    lows = [bound for bound in (wanted.since, first_moment(since)) if bound is not None]
    highs = [bound for bound in (wanted.until, last_moment(until)) if bound is not None]
    first, last = max(lows, default=None), min(highs, default=None)
    if first is not None and last is not None and first > last:
        return None
    return attrs.evolve(wanted, since=first, until=last)


async def compare(desk: Desk, wanted: WorklogFilter) -> Comparison:
    """Makes the store equal to the server for what matches ``wanted``: the store's request, narrowed in its dates.

    Worklogs that are gone are told, and not yet removed.
    """
    changes, met, rows = NOTHING, 0, list[Row]()
    source, store, settings = desk.source, desk.store, desk.settings
    await desk.do(store.begin_meeting)
    run = await source.windows(wanted, concurrency=settings.concurrency, on_notice=settings.on_notice)
    async with aclosing(run.batches()) as batches:
        async for batch in batches:
            rows += batch.items
            if len(rows) >= LOT:
                changes, met, rows = changes + await _meet(desk, rows), met + len(rows), []
                desk.teller.tell("comparing", met, reached=run.statistics().reached, waiting=source.waiting)
    if rows:
        changes += await _meet(desk, rows)
    unmet, gone = await desk.do(store.unmet, wanted.since, wanted.until), list[str]()
    for at in range(0, len(unmet), settings.concurrency):
        ids = unmet[at : at + settings.concurrency]
        found = await _all([source.row(id_) for id_ in ids])
        gone += [id_ for id_, row in zip(ids, found, strict=True) if row is None]
        changes += await revise(desk, [row for row in found if row is not None])
    return Comparison(changes=changes, gone=tuple(gone))


async def _meet(desk: Desk, rows: Sequence[Row]) -> Revision:
    return await desk.do(desk.store.meet, arrow_batch(unique(rows)))


async def revise(desk: Desk, rows: Sequence[Row]) -> Revision:
    """Brings rows, each id once, into the store; those that do not match its request (any more) leave it."""
    wanted = desk.store.request.filter
    staying = [row for row in rows if matches(wanted, row)]
    kept = {id_of(row) for row in staying}
    leaving = [id_of(row) for row in rows if id_of(row) not in kept]
    return await desk.do(desk.store.revise, arrow_batch(staying) if staying else None, leaving=leaving)


async def differing(desk: Desk, wanted: WorklogFilter, days: Sequence[Day]) -> list[WorklogFilter]:
    """The filter, narrowed to where the store has another number of worklogs than the server.

    Args:
        desk: its server counts.
        wanted: where to look: the store's request, narrowed or not.
        days: the store's days there, and how many worklogs each has.
    """
    here, (there, _) = sum(count for _, count in days), await desk.source.count(wanted)
    if here == there:
        return []
    cut = _middle(days)
    if cut is None or max(here, there or 0) <= FEW:
        return [wanted]
    earlier = attrs.evolve(wanted, until=cut)
    later = attrs.evolve(wanted, since=cut + _ONE_DAY)
    return [
        *await differing(desk, earlier, [day for day in days if day[0] <= cut]),
        *await differing(desk, later, [day for day in days if day[0] > cut]),
    ]


def _middle(days: Sequence[Day]) -> dt.date | None:
    """The last day of the first half of the worklogs, and not the last of all; None when there are no two days."""
    half, passed, cut = sum(count for _, count in days) / 2, 0, None
    for day, count in days[:-1]:
        if cut is None or passed < half:
            cut = day
        passed += count
    return cut


async def _all(asked: Sequence[Awaitable[T]]) -> list[T]:
    """All results, in order; when one fails, the others are cancelled and awaited."""
    tasks = [asyncio.ensure_future(one) for one in asked]
    try:
        return [await task for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
