"""How a store is read in the order of (date, id) without sorting all of it: slice after slice, each sorted in memory.

A slice is some whole UTC days of together at most `WORKLOGS` worklogs; a day that has more is cut between worklogs.
Slices depend on what is in the store and on nothing else. Ids are ordered by their code points.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

import attrs

from tracket_async.export import sql
from tracket_async.export.database import Database

WORKLOGS: Final = 50_000
"""No slice has more worklogs."""

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@attrs.frozen
class Edge:
    """A bound of a slice: a moment, as text for DuckDB, and there an id; None: all of that moment."""

    moment: str
    id: str | None = None


@attrs.frozen
class Slice:
    """The worklogs after the one edge, up to the other and with it."""

    after: Edge
    up_to: Edge

    @property
    def values(self) -> Sequence[str | None]:
        """What the question marks of a slice's statement stand for."""
        after, up_to = self.after, self.up_to
        return (
            after.moment,
            up_to.moment,
            *(after.id, after.moment, after.id),
            *(up_to.id, up_to.moment, up_to.id),
        )


def bounds(since: dt.date, until: dt.date) -> tuple[str, str]:
    """The first and the last moment of some UTC days, as text for DuckDB."""
    return f"{since.isoformat()} 00:00:00+00", f"{until.isoformat()} 23:59:59.999999+00"


def days_together(days: Iterable[tuple[dt.date, int]], most: int) -> Iterator[tuple[dt.date, dt.date, int]]:
    """Neighbouring days of together at most ``most`` worklogs, or one day: first day, last day, worklogs."""
    group: tuple[dt.date, dt.date, int] | None = None
    for day, count in days:
        if group is not None and group[2] + count <= most:
            group = (group[0], day, group[2] + count)
            continue
        if group is not None:
            yield group
        group = (day, day, count)
    if group is not None:
        yield group


def slices(database: Database, most: int | None = None) -> Iterator[Slice]:
    """The slices of a settled store, in order; together they are everything. ``most``: None is `WORKLOGS`."""
    most = most or WORKLOGS
    for since, until, count in days_together(database.rows(sql.BY_DAY), most):
        first, last = bounds(since, until)
        cuts: list[Edge] = []
        if count > most:
            keys = database.rows(sql.EVERY_NTH, [first, last, most])
            cuts = [Edge(str(_EPOCH + dt.timedelta(microseconds=moment)), id_) for moment, id_ in keys]
        for after, up_to in pairwise([Edge(first), *cuts, Edge(last)]):
            yield Slice(after, up_to)
