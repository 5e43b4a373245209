"""Made-up worklogs, in the shape of either version. The same arguments always give the same bytes.

The benchmarks have data and a server of their own, so that neither the emulator's speed nor a change in its sample
is in any figure. A worklog of 2.0 takes about 420 bytes, as those of real accounts do.
"""

from __future__ import annotations

import bisect
import datetime as dt
import functools
import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

import attrs

T = TypeVar("T")

FIRST_DAY = dt.date(2023, 11, 1)
DAYS = 1096
CROWDED_MONTH = (dt.date(2025, 3, 1), dt.date(2025, 4, 1))
PAGE = 100
MOST_LATER = 6 * 86_400_000
"""A worklog is created and last updated at most so many ms after its date, and never before it."""

_DAY_MS = 86_400_000
_EPOCH = dt.date(1970, 1, 1)
_TEXTS = [
    "Weekly planning with the platform team",
    'Reviewed "billing, phase 2" and wrote down what is missing before the customer sees it',
    "Fehler in der Auswertung gesucht: Überläufe bei mehr als 24 Stunden",
    "Réunion de suivi avec le client, puis compte rendu",
    "Подготовка отчёта за квартал",
    "顧客との打ち合わせ",
    "Support: three tickets, one of them urgent",
    "Draft of the architecture document, second reading with comments of everybody who was at the review last week",
    "Release 🚀",
    None,
]
_CATEGORIES = [f"21e5614a-7c3b-4f7e-9d51-{n:012x}" for n in range(12)]
_STATUSES = ["approved", "approved", "submitted", "open", "rejected"]


class Computed(Sequence[T]):
    """A sequence whose items are computed when they are asked for, and not kept."""

    def __init__(self, count: int, item: Callable[[int], T]) -> None:
        self._numbers = range(count)
        self._item = item

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> list[T]: ...

    def __getitem__(self, place: int | slice) -> T | list[T]:
        if isinstance(place, slice):
            return list(map(self._item, self._numbers[place]))
        return self._item(self._numbers[place])


@attrs.frozen
class Worklogs:
    """Worklogs in ascending order of date and id; every sequence has an item for each.

    Attributes:
        ids: ``wl-00000000`` and so on.
        dates: the date, in ms since 1970.
        created: the date of creation, in ms since 1970; None for every seventh.
        updated: the date of the last update; None for every third.
        bodies: the worklog as JSON.
    """

    ids: Sequence[str]
    dates: Sequence[int]
    created: Sequence[int | None]
    updated: Sequence[int | None]
    bodies: Sequence[bytes]


def minutes_of(number: int) -> int:
    """Return the minutes of a worklog by its number."""
    return 15 + number % 32 * 15


def make(count: int, *, api: str, skewed: bool = False, varied: bool = False) -> Worklogs:
    """Make so many worklogs over three years: spread evenly, or half of them in one month.

    Args:
        count: how many.
        api: ``"1.0"`` or ``"2.0"``: the shape of the bodies.
        skewed: half of them in March 2025.
        varied: the shapes that accounts have, see `_varied`.
    """
    found = make_on_demand(count, api=api, skewed=skewed, varied=varied)
    return Worklogs(list(found.ids), list(found.dates), list(found.created), list(found.updated), list(found.bodies))


def make_on_demand(count: int, *, api: str, skewed: bool = False, varied: bool = False) -> Worklogs:
    """Return what `make` returns, without holding any of it: for more worklogs than fit into memory."""
    render = functools.partial(_varied, api=api) if varied else _render_v1 if api == "1.0" else _render_v2
    ends = list(itertools.accumulate(_per_day(count, skewed=skewed)))
    first_midnight = (FIRST_DAY - _EPOCH).days * _DAY_MS

    def date(number: int) -> int:
        day = bisect.bisect_right(ends, number)
        begin = ends[day - 1] if day else 0
        # from 8:00 to 18:00
        return first_midnight + day * _DAY_MS + 28_800_000 + (number - begin) * 36_000_000 // (ends[day] - begin)

    def created(number: int) -> int | None:
        return None if number % 7 == 0 else date(number) + number % 5 * 3_600_000 + number % 977

    def updated(number: int) -> int | None:
        return None if number % 3 == 0 else date(number) + number % 11 * 43_200_000 + number % 983

    def body(number: int) -> bytes:
        return render(number, date(number), created(number), updated(number)).encode()

    return Worklogs(
        Computed(count, "wl-{:08d}".format),
        Computed(count, date),
        Computed(count, created),
        Computed(count, updated),
        Computed(count, body),
    )


def page(worklogs: Worklogs, first: int, *, api: str, size: int = PAGE) -> bytes:
    """Return the page that begins at ``first``, as the list call answers it, with a cursor if more follow."""
    end = min(first + size, len(worklogs.bodies))
    return envelope(
        worklogs.bodies[first:end],
        api=api,
        cursor=str(end) if end < len(worklogs.bodies) else None,
        total=len(worklogs.bodies),
        size=size,
    )


def envelope(bodies: Sequence[bytes], *, api: str, cursor: str | None, total: int, size: int) -> bytes:
    """Render the response of the list call with these worklogs."""
    joined = b",".join(bodies)
    if api == "1.0":
        tail = b"" if cursor is None else b',"next-cursor":"%s"' % cursor.encode()
        return b'{"worklogs":[%s]%s}' % (joined, tail)
    link = b'"self":{"href":"/api/2.0/timeEntries?size=%d"}' % size
    tail = b""
    if cursor is not None:
        link += b',"next":{"href":"/api/2.0/timeEntries?size=%d&after=%s"}' % (size, cursor.encode())
        tail = b',"nextCursor":"%s"' % cursor.encode()
    return b'{"size":%d,"total":%d,"items":[%s],"_links":{%s}%s}' % (size, total, joined, link, tail)


def _per_day(count: int, *, skewed: bool) -> list[int]:
    """Return the number of worklogs of each day."""
    first, end = ((day - FIRST_DAY).days for day in CROWDED_MONTH)
    if skewed:
        inside, outside = 1 / (2 * (end - first)), 1 / (2 * (DAYS - (end - first)))
        weights = [inside if first <= day < end else outside for day in range(DAYS)]
    else:
        weights = [1 / DAYS] * DAYS
    marks = [round(count * share) for share in itertools.accumulate(weights)]
    return [after - before for before, after in itertools.pairwise([0, *marks])]


@functools.cache
def _day(days: int) -> str:
    return (_EPOCH + dt.timedelta(days=days)).isoformat()


def _moment(milliseconds: int) -> str:
    days, rest = divmod(milliseconds, _DAY_MS)
    seconds, rest = divmod(rest, 1000)
    return f"{_day(days)}T{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:03d}Z"


def _optional(milliseconds: int | None) -> str:
    return "null" if milliseconds is None else f'"{_moment(milliseconds)}"'


_QUOTED = [json.dumps(text, ensure_ascii=False) for text in _TEXTS]


def _render_v1(number: int, date: int, created: int | None, updated: int | None) -> str:
    minutes = minutes_of(number)
    said = "" if created is None else f'"createdDate":"{_moment(created)}",'
    return (
        f'{{"itemId":"{5_273_000_000 + number % 5000}","userId":"{35_851_000 + number % 113}",'
        f'"description":{_QUOTED[number % len(_QUOTED)]},"worklogCategory":"{_CATEGORIES[number % 12]}",'
        f'"worklogDate":"{_moment(date)}","worklogMinutes":{minutes},'
        f'"worklogBillableMinutes":{"null" if number % 9 == 0 else minutes // 2},"worklogId":"wl-{number:08d}",'
        f'{said}"updatedDate":{_optional(updated)},"approvalStatus":"{_STATUSES[number % 5]}",'
        f'"approverUserId":"{35_851_000 + number % 7}"}}'
    )


def _render_v2(number: int, date: int, created: int | None, updated: int | None) -> str:
    minutes = minutes_of(number)
    said = "" if created is None else f'"createdDate":"{_moment(created)}",'
    return (
        f'{{"id":"wl-{number:08d}","item":"{5_273_000_000 + number % 5000}","user":"{35_851_000 + number % 113}",'
        f'"date":"{_day(date // _DAY_MS)}","minutes":{minutes},'
        f'"billableMinutes":{"null" if number % 9 == 0 else minutes // 2},'
        f'"team":"{929_300 + number % 8}","description":{_QUOTED[number % len(_QUOTED)]},'
        f'"customFields":{{"category":"{_CATEGORIES[number % 12]}","project":"P{number % 40}"}},'
        f'"board":"{5_272_688_000 + number % 30}","parentItem":null,'
        f'"approval":{{"status":"{_STATUSES[number % 5]}","approver":"{35_851_000 + number % 7}"}},'
        f'{said}"updatedDate":{_optional(updated)}}}'
    )


_LONG_TEXTS = [" ".join(f"{n}. {text}" for n, text in enumerate([*filter(None, _TEXTS), *_TEXTS[5:9]])) * times
               for times in (1, 2, 3)]  # fmt: skip
_OWN_FIELDS = ("cost_centre", "phase", "on_site")


def _varied(number: int, date: int, created: int | None, updated: int | None, *, api: str) -> str:
    """Render a worklog of the shapes that accounts have.

    Each tenth text is of several hundred characters, in several scripts and with escapes. Some members are null, and
    some are missing. In 2.0, most worklogs have custom fields of the account's own, some of them null.
    """
    render = _render_v1 if api == "1.0" else _render_v2
    worklog: dict[str, Any] = json.loads(render(number, date, created, updated))
    if number % 10 == 3:
        worklog["description"] = _LONG_TEXTS[number // 10 % 3] + '\n\t"quoted"'
    missing, null = number % 17, number % 13
    if api == "1.0":
        optional = ("description", "worklogCategory", "worklogBillableMinutes", "approverUserId", "itemId")
    else:
        optional = ("description", "team", "billableMinutes", "parentItem", "item")
        fields = worklog["customFields"]
        fields.update(dict.fromkeys(_OWN_FIELDS[: number % 4], f"option-{number % 9}"))
        if number % 11 == 0:
            fields["project"] = fields["phase"] = None
        if number % 3 == 0:
            worklog["parentItem"] = f"{7_172_000_000 + number % 900}"
        if number % 5 == 3:
            worklog["approval"]["approver"] = None
    if null < len(optional):
        worklog[optional[null]] = None
    if missing < len(optional):
        worklog.pop(optional[missing])
    return json.dumps(worklog, ensure_ascii=False, separators=(",", ":"))
