"""The windows of time that a concurrent walk is made of, as values: what a store keeps and what a consumer is given.

How a concurrent walk works (`windows.run` runs it, `windows.plan` decides, `windows.chain` reads):

* The range of dates is cut into windows, disjoint and together everything. Each is walked by one chain of cursors, in
  ascending order of date; many chains at once.
* Whoever is idle takes the later half of what the busiest chain has still to cover: that chain's `WindowState.until`
  shrinks, and it stops at its first worklog past it.
* Each page that arrives becomes one `Batch`: its worklogs and every `WindowState` that is new since the batch before.
  Keep both in one transaction, batch after batch, and a walk begun with the states kept goes on where it was: whatever
  is not in the store is still to be walked, and only a chain whose cursor was refused can bring a worklog again
  (keep one row per id).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Sequence
from typing import Any, Generic, Protocol, Self, TypeVar

import attrs

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MICROSECOND = dt.timedelta(microseconds=1)
DAY = dt.timedelta(days=1)


class PageLike(Protocol[T_co]):
    """What a chain reads: a `Page`, or a page of rows that are no `Worklog` (yet)."""

    @property
    def items(self) -> Sequence[T_co]:
        """In the server's order."""
        ...

    @property
    def next_cursor(self) -> str | None:
        """None on the last page."""
        ...

    @property
    def total(self) -> int | None:
        """How many match the query in all; None when the server does not say."""
        ...

    @property
    def server_date(self) -> dt.datetime | None:
        """The answer's Date header."""
        ...


class Fetch(Protocol[T_co]):
    """Asks for one page of the worklogs within the bounds (inclusive, None: unbounded), ascending by date.

    Bounds that the server cannot enforce may be ignored: the chain enforces them. ``cursor`` None asks for the first.
    """

    def __call__(
        self, since: dt.datetime | None, until: dt.datetime | None, cursor: str | None, /
    ) -> Awaitable[PageLike[T_co]]:
        """The page."""
        ...


def _moment_to_json(value: dt.datetime | None) -> str | None:
    return None if value is None else value.isoformat()


def _moment_from_json(value: str | None) -> dt.datetime | None:
    return None if value is None else dt.datetime.fromisoformat(value)


@attrs.frozen(kw_only=True)
class WindowState:
    """Where one chain stands. Bounds are inclusive aware datetimes, None means unbounded.

    Attributes:
        id: numbers the windows of a run from 0; an id keeps its meaning when the run is resumed.
        since, until: what this window has to cover. ``until`` shrinks when half of the window is given away.
        asked_since, asked_until: the bounds of the query that ``cursor`` belongs to.
        cursor: asks for the next page; None: begin (again) with the query.
        reached: the date of the last worklog handed over; None before the first.
        seen: worklogs handed over.
        done: nothing is left to cover.
        whole: the one chain that covers everything in whatever order the server has, because the server turned out
            not to list in ascending order. It repeats worklogs that earlier windows handed over (within one run
            they are left out).
    """

    id: int
    since: dt.datetime | None
    until: dt.datetime | None
    asked_since: dt.datetime | None
    asked_until: dt.datetime | None
    cursor: str | None = None
    reached: dt.datetime | None = None
    seen: int = 0
    done: bool = False
    whole: bool = False

    def to_json(self) -> dict[str, Any]:
        """The state as a dict that ``json.dumps`` takes."""
        return {
            name: _moment_to_json(value) if name in _MOMENTS else value
            for name, value in attrs.asdict(self, recurse=False).items()
        }

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        """The state that `to_json` wrote."""
        read: dict[str, Any] = {
            name: _moment_from_json(value) if name in _MOMENTS else value for name, value in state.items()
        }
        return cls(**read)


_MOMENTS = ("since", "until", "asked_since", "asked_until", "reached")


@attrs.frozen(kw_only=True)
class Batch(Generic[T]):
    """What one page brought.

    Attributes:
        window: the id of the window that it belongs to.
        items: each worklog of the run is in exactly one batch, and within a window they come in the server's order;
            may be empty.
        states: the states that changed since the batch before, in no particular order; to be kept together with
            ``items``, in the order of the batches. Empty with ``ordered=True``: such a run cannot be resumed.
        server_date: the answer's Date header.
    """

    window: int
    items: list[T]
    states: tuple[WindowState, ...] = ()
    server_date: dt.datetime | None = None


@attrs.frozen(kw_only=True)
class Span:
    """The dates to be walked. Bounds are inclusive, None means unbounded.

    Attributes:
        since, until: the bounds that are kept to.
        first, last: where the first and the last worklog probably are, to cut the range well where it is unbounded;
            a guess that is wrong costs time and loses nothing. None: unknown.
        grain: the narrowest window: its beginning is a multiple of this since 1970-01-01T00:00Z. One day where the
            server filters by day.
    """

    since: dt.datetime | None = None
    until: dt.datetime | None = None
    first: dt.datetime | None = None
    last: dt.datetime | None = None
    grain: dt.timedelta = attrs.field(default=DAY, validator=attrs.validators.ge(MICROSECOND))

    def __attrs_post_init__(self) -> None:
        if self.since is not None and self.until is not None and self.since > self.until:
            raise ValueError(f"since ({self.since}) is after until ({self.until}): no worklog can match")


@attrs.frozen(kw_only=True)
class ChainStatistics:
    """How a concurrent walk stands.

    Attributes:
        active: chains whose page is on its way.
        windows_open, windows_done: windows that have, and that have not, something left to cover.
        pages: pages that have arrived in this run.
        worklogs: worklogs handed over in this run.
        duplicates: worklogs that came again and were left out.
        refused_cursors: chains that began again because the server refused their cursor.
        remaining: an estimate of the worklogs still to come; None while nothing is known.
        reached: every worklog before this date has been handed over; None while there is no such date.
        single_chain: the run fell back to one chain because the server does not list in ascending order.
    """

    active: int
    windows_open: int
    windows_done: int
    pages: int
    worklogs: int
    duplicates: int
    refused_cursors: int
    remaining: int | None
    reached: dt.datetime | None
    single_chain: bool
