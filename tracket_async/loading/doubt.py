"""Which rows in doubt were created after all, from what several looks at the server have found. Pure.

The rule is that of ``reconcile.py`` (same user, item, date, minutes and description, created since), for many rows at
once, of which some may be alike. Rows that could be the same worklog form a group; so do the worklogs that could be
one of them. What is the worklog of another row of the journal is not among these.

* As many worklogs as rows, or fewer: each is a row's. The rows that are left over stay in doubt: none was found.
* More worklogs than rows, or one that was gone at the last look: all stay in doubt, with these as candidates.
* Rows that differ in what is not compared (a category, say) first get the worklogs that are equal in that, too; what is
  left is only given to rows that all say the same.
* A worklog of which nobody knows when it was created is a candidate, and never the answer: it may be older.
"""

from __future__ import annotations

import collections
import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import attrs

from tracket_async.export.cells import json_text
from tracket_async.models import NewWorklog, Worklog
from tracket_async.reconcile import CLOCK_MARGIN, Matcher

_COMPARED: Final = frozenset({"item_id", "user_id", "date", "minutes", "description"})
_OTHERS: Final = tuple(each.name for each in attrs.fields(NewWorklog) if each.name not in _COMPARED)


@attrs.frozen
class Doubt:
    """A row that was sent and may have been created.

    Attributes:
        line: of the file.
        new: what was sent.
        at: when it was sent first, by the clock of the machine that sent it.
        clock: seconds that the server's clock was ahead of it then; None when unknown.
    """

    line: int
    new: NewWorklog
    at: dt.datetime
    clock: float | None

    def since(self, clock: float | None) -> dt.datetime | None:
        """The moment before which it was not created, by the server's clock; None when that cannot be told.

        Of what is known about the clocks, the earlier moment counts: too early a one finds too much, which is seen.

        Args:
            clock: seconds that the server's clock is ahead of this machine's now.
        """
        known = [seconds for seconds in (self.clock, clock) if seconds is not None]
        return self.at + dt.timedelta(seconds=min(known)) - CLOCK_MARGIN if known else None

    def key(self, *, by_day: bool) -> tuple[object, ...]:
        """Equal for the rows that could be the same worklog."""
        new = self.new
        date = new.date.date() if by_day else new.date.replace(microsecond=new.date.microsecond // 1000 * 1000)
        return new.user_id, new.item_id, date, round(new.minutes, 6), new.description or ""


@attrs.frozen
class Look:
    """What one look has found.

    Attributes:
        by_day: as in `Matcher`.
        sure: for each line, the worklogs that match and were created since.
        unsure: for each line, those that match and may be older.
    """

    by_day: bool
    sure: dict[int, list[Worklog]] = attrs.field(factory=dict[int, list[Worklog]])
    unsure: dict[int, list[Worklog]] = attrs.field(factory=dict[int, list[Worklog]])

    def see(self, doubts: Iterable[Doubt], worklogs: Collection[Worklog], clock: float | None) -> None:
        """Compare the rows with worklogs of the server.

        Args:
            doubts: the rows.
            worklogs: what the server has.
            clock: as in `Doubt.since`, at the time at which the worklogs were read.
        """
        for doubt in doubts:
            since = doubt.since(clock)
            matcher = Matcher(sent=doubt.new, by_day=self.by_day)
            for worklog in worklogs:
                if matcher.matches(worklog, since):
                    found = self.unsure if since is None or worklog.created_date is None else self.sure
                    found.setdefault(doubt.line, []).append(worklog)


@attrs.frozen
class Verdict:
    """What is known about a row now.

    Attributes:
        line: of the file.
        created: the worklog that it is; None: it stays in doubt.
        candidates: while it is in doubt, the worklogs that it could be, created since.
        older: those that it could be only if they are younger than they look.
    """

    line: int
    created: Worklog | None = None
    candidates: tuple[Worklog, ...] = ()
    older: tuple[Worklog, ...] = ()


def judge(doubts: Iterable[Doubt], looks: Sequence[Look], *, claimed: Collection[str] = ()) -> list[Verdict]:
    """What the looks say about each row.

    Args:
        doubts: the rows.
        looks: in their order; at least one.
        claimed: ids of the worklogs of other rows.

    Returns:
        A verdict for each row, in their order.
    """
    groups: dict[tuple[object, ...], list[Doubt]] = {}
    for doubt in doubts:
        groups.setdefault(doubt.key(by_day=looks[0].by_day), []).append(doubt)
    taken = set(claimed)
    verdicts: dict[int, Verdict] = {}
    for group in groups.values():
        for verdict in _judge(group, looks, taken):
            verdicts[verdict.line] = verdict
            if verdict.created is not None:
                taken.add(verdict.created.id)
    return [verdicts[line] for line in sorted(verdicts)]


def _judge(group: Sequence[Doubt], looks: Sequence[Look], taken: Collection[str]) -> list[Verdict]:
    sure, last = _seen([look.sure for look in looks], group, taken)
    unsure, _ = _seen([look.unsure for look in looks], group, {*taken, *sure})
    older = tuple(unsure.values())
    if len(sure) > len(group) or sure.keys() != last:
        return [Verdict(doubt.line, candidates=tuple(sure.values()), older=older) for doubt in group]
    return _assigned(group, list(sure.values()), older)


def _seen(
    looks: Iterable[Mapping[int, Sequence[Worklog]]], group: Sequence[Doubt], without: Collection[str]
) -> tuple[dict[str, Worklog], set[str]]:
    """All worklogs that were ever found for the group, as last seen, and the ids of the last look."""
    seen: dict[str, Worklog] = {}
    last: set[str] = set()
    for look in looks:
        found = {w.id: w for doubt in group for w in look.get(doubt.line, ()) if w.id not in without}
        seen |= found
        last = set(found)
    return seen, last


def _assigned(group: Sequence[Doubt], worklogs: list[Worklog], older: tuple[Worklog, ...]) -> list[Verdict]:
    """A worklog for as many rows as there are worklogs, each at most once; no more worklogs than rows are given."""
    alike: dict[tuple[object, ...], collections.deque[Worklog]] = {}
    for worklog in worklogs:
        alike.setdefault(_others(worklog), collections.deque()).append(worklog)
    created: dict[int, Worklog] = {}
    open_rows: list[Doubt] = []
    for doubt in group:
        queue = alike.get(_others(doubt.new))
        if queue:
            created[doubt.line] = queue.popleft()
        else:
            open_rows.append(doubt)
    left = [worklog for queue in alike.values() for worklog in queue]
    # The server may have written something else than was sent. That is no reason to doubt, as long as the rows that
    # are left all say the same: then it does not matter which is whose.
    if len({_others(doubt.new) for doubt in open_rows}) == 1:
        for doubt in open_rows[: len(left)]:
            created[doubt.line] = left.pop(0)
    return [
        Verdict(doubt.line, created[doubt.line])
        if doubt.line in created
        else Verdict(doubt.line, candidates=tuple(left), older=older)
        for doubt in group
    ]


def _others(worklog: Worklog | NewWorklog) -> tuple[object, ...]:
    values = (getattr(worklog, name) for name in _OTHERS)
    return tuple(json_text(value) if isinstance(value, dict) else value for value in values)
