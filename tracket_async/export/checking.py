"""The second stage: what changed while all was being fetched, and whether the store has what the server counts.

On API 2.0 only. A round fetches what was created or updated since the round before began (by the server's clock), then
compares the number of worklogs with the server's. If they differ, worklogs were deleted meanwhile or slipped through:
the days whose numbers differ are found by halving, and compared worklog by worklog (`ranges`); then the next round.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import attrs

from tracket_async.api.rows import Row
from tracket_async.export.desk import Desk
from tracket_async.export.progress import Stage
from tracket_async.export.ranges import LOT, compare, differing, revise
from tracket_async.export.store import NOTHING, Revision
from tracket_async.export.table import id_of
from tracket_async.models import WorklogFilter

ROUNDS: Final = 5
OVERLAP: Final = dt.timedelta(minutes=2)
"""How far each round goes back behind the beginning of the one before: for clocks that are not quite the same, and
writes that were not quite finished."""


@attrs.frozen(kw_only=True)
class Check:
    """What has come of the rounds.

    Attributes:
        total: what the server counted last; None: it does not say.
        count: the number of worklogs in the store then.
        changes: what the rounds changed in the store.
        mark: the server's time when the last round began.
    """

    total: int | None
    count: int
    changes: Revision
    mark: dt.datetime


async def check(desk: Desk, since: dt.datetime) -> Check:
    """Goes through the rounds until the numbers agree, `ROUNDS` at most.

    Args:
        desk: its server counts, and its store is settled.
        since: the server's time when the walk began.
    """
    source, store = desk.source, desk.store
    wanted, changes, mark = store.request.filter, NOTHING, since
    turn = 1
    while True:
        _, now = await source.count(wanted)
        changes += await changes_since(desk, mark - OVERLAP)
        mark = now
        total, _ = await source.count(wanted)
        here = await desk.do(store.count)
        desk.teller.tell("checking", here, total=total, always=True)
        if total in {here, None} or turn == ROUNDS:
            return Check(total=total, count=here, changes=changes, mark=mark)
        for part in await differing(desk, wanted, await desk.do(store.days)):
            found = await compare(desk, part)
            changes += found.changes + await desk.do(store.revise, None, leaving=found.gone)
        turn += 1


async def changes_since(desk: Desk, since: dt.datetime, *, stage: Stage = "checking") -> Revision:
    """Fetches what was created or updated since, and brings the store up to date with it."""
    changes, fetched = NOTHING, 0
    for wanted in (
        # Whether a new worklog has an updatedDate is not documented, so both are asked for.
        WorklogFilter(updated_since=since, sort_by="updated_date"),
        WorklogFilter(created_since=since, sort_by="created_date"),
    ):
        async with aclosing(in_lots(desk.source.pages(wanted))) as lots:
            async for rows in lots:
                changes, fetched = changes + await revise(desk, rows), fetched + len(rows)
                desk.teller.tell(stage, fetched, waiting=desk.source.waiting)
    return changes


async def in_lots(pages: AsyncGenerator[list[Row]], size: int = LOT) -> AsyncGenerator[list[Row]]:
    """The rows of the pages, in lists of at least ``size`` but for the last, in each an id only once: its last row."""
    lot: dict[str, Row] = {}
    async with aclosing(pages):
        async for rows in pages:
            lot.update((id_of(row), row) for row in rows)
            if len(lot) >= size:
                yield list(lot.values())
                lot = {}
    if lot:
        yield list(lot.values())
