"""The plan of an export in parts: the ranges of dates, each of which one task reads, and the folder that keeps it.

* API 2.0 counts: the dates are halved until the server counts at most ``rows_per_part`` worklogs in each range, or a
  range is one day. Neighbours that are small together become one part.
* API 1.0 does not count: a part is some months, by how dense the worklogs are on a few pages. Only where the list
  ascends by date, which is checked: else one part reads everything.
* The parts are disjoint, and together they are all dates of the request: the first and the last are open where it is.

A folder is of one export at a time. Its lock is held from before the plan is made until the end of the merge; the plan
is kept in ``plan.json``, so that the next run goes on with the parts that are there. The key of a plan is a part of the
names of its parts: a part is never taken for that of another request, or of an earlier export of the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import json
import uuid
from collections.abc import Generator, Sequence
from contextlib import aclosing
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

import attrs

from tracket_async._files import FileLock, atomic_write, storage_errors
from tracket_async._tasks import gather
from tracket_async.client import TracketClient
from tracket_async.errors import StorageError, StoreError, TargetBusyError, UsageError
from tracket_async.export.phases import Settings
from tracket_async.export.source import Source
from tracket_async.export.store import ExportRequest
from tracket_async.export.tables import date_of
from tracket_async.models import WorklogFilter
from tracket_async.pagination import OrderCheck
from tracket_async.scan.cuts import cut_within, is_charted
from tracket_async.scan.partition import DAY, MICROSECOND, DateRange, PartitionState

ROWS_PER_PART: Final = 10_000
"""Worklogs of a part, at most, where nothing else is said: as many as a worker that is killed may have to read again.

A part is sorted in memory, some 6 MB of it.
"""
MOST_MONTHS: Final = 500
"""Dates that nobody counts are cut at no more than so many months: every n-th, where the first is that far back."""
PROBES: Final = 24
"""So many pages, at most, tell how dense the worklogs are where the server does not count."""
PROOF_PAGES: Final = 20
"""So many pages, at most, are read to see that a list ascends."""

Moment: TypeAlias = dt.datetime | None
Counted: TypeAlias = tuple[Moment, Moment, int]
"""A range of dates (None: unbounded), and how many worklogs the server counts in it."""


@attrs.frozen(kw_only=True)
class PlannedPart:
    """A range of dates that one task reads. Bounds are inclusive aware datetimes, None means unbounded.

    Attributes:
        number: counts the parts from 0, in the order of their dates.
        since, until: its dates.
        expected: the worklogs that the server counted there; None: it does not count.
    """

    number: int
    since: Moment
    until: Moment
    expected: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the part as a dict that ``json.dumps`` takes."""
        bounds = {name: _moment_to_json(getattr(self, name)) for name in ("since", "until")}
        return {"number": self.number, **bounds, "expected": self.expected}

    @classmethod
    def from_json(cls, part: dict[str, Any]) -> Self:
        """Return the part that `to_json` wrote."""
        since, until = _moment_from_json(part["since"]), _moment_from_json(part["until"])
        return cls(number=part["number"], since=since, until=until, expected=part["expected"])

    def state(self, *, seen: int = 0, done: bool = False) -> PartitionState:
        """Return the part as a partition of a scan that nobody has begun, or that is done."""
        since, until = self.since, self.until
        return PartitionState(
            id=self.number, since=since, until=until, asked_since=since, asked_until=until, seen=seen, done=done
        )


def new_run() -> str:
    """Return a name that no other run has."""
    return uuid.uuid4().hex


@attrs.frozen(kw_only=True)
class Plan:
    """The parts of one export.

    Attributes:
        request: what is exported.
        parts: in the order of their dates.
        mark: the moment from which changes have to be fetched when all parts are there, as `ServerTime.mark`.
        now: the server's time when the plan was made, before any part was read.
        total: the worklogs that the server counted then; None where it does not.
        ascends: the list was seen to ascend by date, so that no part need prove it again.
        run: names the run that works by the plan. On API 1.0, dates that another run has read are compared in the end.
    """

    request: ExportRequest
    parts: tuple[PlannedPart, ...]
    mark: dt.datetime
    now: dt.datetime
    total: int | None = None
    ascends: bool = False
    run: str = attrs.field(factory=new_run)

    @property
    def request_hash(self) -> str:
        """Return the SHA-256 of the request, 16 hexadecimal digits of it."""
        return _digest(self.request.to_json())

    @cached_property
    def key(self) -> str:
        """Return what tells the plan from others, 16 hexadecimal digits: of its request, its time and its parts."""
        return _digest({name: value for name, value in self.to_json().items() if name != "run"})

    def to_json(self) -> dict[str, Any]:
        """Return the plan as a dict that ``json.dumps`` takes. There is nothing secret in it."""
        return {
            "request": self.request.to_json(),
            "parts": [part.to_json() for part in self.parts],
            "mark": self.mark.isoformat(),
            "now": self.now.isoformat(),
            "total": self.total,
            "ascends": self.ascends,
            "run": self.run,
        }

    @classmethod
    def from_json(cls, plan: dict[str, Any]) -> Self:
        """Return the plan that `to_json` wrote."""
        return cls(
            request=ExportRequest.from_json(plan["request"]),
            parts=tuple(map(PlannedPart.from_json, plan["parts"])),
            mark=dt.datetime.fromisoformat(plan["mark"]),
            now=dt.datetime.fromisoformat(plan["now"]),
            total=plan["total"],
            ascends=plan["ascends"],
            run=plan["run"],
        )


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _moment_to_json(moment: Moment) -> str | None:
    return None if moment is None else moment.isoformat()


def _moment_from_json(text: str | None) -> Moment:
    return None if text is None else dt.datetime.fromisoformat(text)


async def plan(
    client: TracketClient,
    request: ExportRequest,
    *,
    rows_per_part: int = ROWS_PER_PART,
    settings: Settings | None = None,
) -> Plan:
    """Return the plan of an export: ask the server how many worklogs the dates have, or when they begin.

    Args:
        client: open.
        request: what to export: `request_of` this client.
        rows_per_part: so many worklogs a part has at most where the server counts, and about so many where it does
            not. There a month is never divided, and else no day.
        settings: for the waits of an outage; None: the defaults.

    Raises:
        UsageError: ``rows_per_part`` is below 1, or the client is of another server than the request.
        ExportError, RequestError: as `export_to_store`.
    """
    if rows_per_part < 1:
        raise UsageError(f"rows_per_part must be at least 1, not {rows_per_part}")
    check_client(client, request)
    source = source_of(client, settings or Settings(), keep_bad_rows=True)
    total, times = await source.count(request.filter), await source.times(request.filter)
    # The values that are chosen count nowhere: all that is within the bounds has to be read.
    ranges, ascends = await _ranges(source, request.filter.bounds_only(), times.now, rows_per_part)
    parts = tuple(
        PlannedPart(number=number, since=since, until=until, expected=expected)
        for number, (since, until, expected) in enumerate(ranges)
    )
    return Plan(request=request, parts=parts, mark=times.mark, now=times.now, total=total, ascends=ascends)


async def _ranges(
    source: Source, wanted: WorklogFilter, now: dt.datetime, most: int
) -> tuple[Sequence[tuple[Moment, Moment, int | None]], bool]:
    """Return the ranges of the parts, with their counts, and whether the list was seen to ascend."""
    counted = await source.count(wanted)
    if counted is not None:
        dates = await _dates(source, wanted, counted)
        halves = await _halved(source, wanted, dates, (wanted.since, wanted.until, counted), most)
        return _together(halves, most), False
    first, ascends = await _first_page(source, wanted)
    cuts = [] if not first else await _cuts(source, wanted, first, min(now, wanted.until or now), most)
    firsts, lasts = [wanted.since, *cuts], [*(cut - MICROSECOND for cut in cuts), wanted.until]
    return [(since, until, None) for since, until in zip(firsts, lasts, strict=True)], ascends


def check_client(client: TracketClient, request: ExportRequest) -> None:
    """Check that the client is of the server, the account and the version of the API that the request is of.

    Raises:
        UsageError: it is not; the message says in which.
    """
    here = attrs.evolve(request, api=client.api, origin=client.base_url, account=client.account)
    if differences := request.differences(here):
        raise UsageError(f"this client cannot read what is asked for: its {differences}")


def source_of(client: TracketClient, settings: Settings, *, keep_bad_rows: bool) -> Source:
    """Return the requests of an export by this client."""
    return Source(
        client,
        patience=settings.patience,
        clock=settings.clock,
        keep_bad_rows=keep_bad_rows,
        on_waiting=settings.on_waiting,
    )


# -- API 2.0: halves -------------------------------------------------------------------------------------------------


async def _dates(source: Source, wanted: WorklogFilter, counted: int) -> DateRange:
    """Return the dates of the request, and where within them the worklogs are."""
    first = last = None
    if counted and (wanted.since is None or wanted.until is None):
        ends = (wanted, attrs.evolve(wanted, descending=True))
        first, last = await gather(*(_first_date(source, end) for end in ends))
    return DateRange(since=wanted.since, until=wanted.until, first=first, last=last, enforced=True)


async def _first_date(source: Source, wanted: WorklogFilter) -> Moment:
    return next(iter(await _first_dates(source, wanted)), None)


async def _first_dates(source: Source, wanted: WorklogFilter) -> list[dt.datetime]:
    """Return the dates of the first page that has a row which can be read."""
    async with aclosing(source.pages(wanted)) as pages:
        async for rows in pages:
            if rows:
                return list(map(date_of, rows))
    return []


async def _halved(source: Source, wanted: WorklogFilter, dates: DateRange, whole: Counted, most: int) -> list[Counted]:
    """Return the range in halves of halves, in order, of which each has at most ``most`` worklogs or is one day."""
    since, until, count = whole
    cut = cut_within(dates, since, until, 0.5) if count > most and is_charted(dates, since, until) else None
    if cut is None:
        return [whole]
    earlier = await source.count(attrs.evolve(wanted, since=since, until=cut - MICROSECOND)) or 0
    # A server that ignores the dates counts all in the first of them: it ends as one part.
    halves: list[Counted] = [(since, cut - MICROSECOND, earlier), (cut, until, max(count - earlier, 0))]
    found = await gather(*(_halved(source, wanted, dates, half, most) for half in halves))
    return [each for half in found for each in half]


def _together(ranges: Sequence[Counted], most: int) -> list[Counted]:
    """Return the ranges, and neighbours of together at most ``most`` worklogs as one."""
    found: list[Counted] = []
    for since, until, count in ranges:
        if found and found[-1][2] + count <= max(most, found[-1][2]):
            first, _, before = found.pop()
            found.append((first, until, before + count))
        else:
            found.append((since, until, count))
    return found


# -- API 1.0: months -------------------------------------------------------------------------------------------------


async def _first_page(source: Source, wanted: WorklogFilter) -> tuple[list[dt.datetime], bool]:
    """Return the dates of the first page, none if the list does not ascend; and whether it was seen to ascend."""
    first, order, number = list[dt.datetime](), OrderCheck(), 0
    async with aclosing(source.pages(wanted)) as pages:
        async for rows in pages:
            dates, number = list(map(date_of, rows)), number + 1
            first = first or dates
            order.see(dates)
            if order.broken or order.proven or number == PROOF_PAGES:
                break
    return [] if order.broken else first, order.proven


async def _cuts(
    source: Source, wanted: WorklogFilter, first: list[dt.datetime], end: dt.datetime, most: int
) -> list[dt.datetime]:
    """Return the first moments of months at which parts of about ``most`` worklogs begin.

    Args:
        source: of the server; it lists in ascending order.
        wanted: which worklogs.
        first: the dates of the first page.
        end: where the worklogs end, probably.
        most: worklogs of a part; a month that has more is a part of its own.
    """
    months = [month for month in _months(first[0], end) if wanted.since is None or wanted.since < month]
    pages: dict[int, list[dt.datetime]] = {}

    async def page(place: int) -> list[dt.datetime]:
        if place not in pages:
            pages[place] = await _first_dates(source, attrs.evolve(wanted, since=months[place]))
        return pages[place]

    low, high = 0, len(months)
    while low < high:  # no worklog is behind the beginning of the month at `high`
        middle = (low + high) // 2
        low, high = (middle + 1, high) if await page(middle) else (low, middle)
    await gather(*(page(place) for place in range(0, high, max(1, -(-high // PROBES)))))
    found, density, expected = list[dt.datetime](), _density(first[0], first), 0.0
    for place, (begin, following) in enumerate(pairwise([first[0], *months[:high], end]), -1):
        if dates := pages.get(place):
            density = _density(begin, dates)
        here = density * (following - begin).total_seconds()
        if place >= 0 and expected + here > most:
            found.append(begin)
            expected = 0.0
        expected += here
    return found


def _density(begin: dt.datetime, dates: Sequence[dt.datetime]) -> float:
    """Return the worklogs of a second, of a page that has everything from a moment to its last date."""
    return len(dates) / max((dates[-1] - begin).total_seconds(), DAY.total_seconds())


def _months(first: dt.datetime, last: dt.datetime) -> list[dt.datetime]:
    """Return the first moments of the months after that of ``first``, up to that of ``last``; every n-th of many."""
    begin, end = (12 * moment.year + moment.month - 1 for moment in (first, last))
    step = max(1, -(-(end - begin) // MOST_MONTHS))
    return [dt.datetime(month // 12, month % 12 + 1, 1, tzinfo=dt.UTC) for month in range(begin + step, end + 1, step)]


# -- the folder ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def locked_folder(folder: Path) -> Generator[None]:
    """Hold the folder of an export, which is created if need be, with mode 0700; the second who asks is refused.

    On a folder of a network, the lock is as good as the file system's ``flock``: see ``docs/pages/reference/files.md``.

    Raises:
        TargetBusyError: another process has it; the message says which.
        StorageError: it cannot be created or written.
    """
    with storage_errors(folder, "create"):
        folder.mkdir(mode=0o700, exist_ok=True)
    try:
        lock = FileLock(_plan_file(folder))
    except TargetBusyError as error:
        hint = "Wait until that export ends, or name another folder"
        raise TargetBusyError(f"{folder} is the folder of another export: {error.message}", hint=hint) from None
    with contextlib.closing(lock):
        yield


async def begin(
    client: TracketClient,
    request: ExportRequest,
    folder: Path,
    *,
    rows_per_part: int = ROWS_PER_PART,
    settings: Settings | None = None,
) -> Plan:
    """Return the plan that the folder has, for a new run; or make one, and keep it there. Hold `locked_folder`.

    A plan that is there stays as it is, whatever ``rows_per_part`` says: its parts are there, too.

    Raises:
        StoreError: the folder has the plan of another request, or one that cannot be read.
        UsageError, ExportError, RequestError, StorageError: as `plan`, or as the folder does.
    """
    kept = await asyncio.to_thread(kept_plan, folder)
    if kept is None:
        kept = await plan(client, request, rows_per_part=rows_per_part, settings=settings)
        await asyncio.to_thread(keep_plan, folder, kept)
    elif differences := kept.request.differences(request):
        raise StoreError(
            f"{folder} has the parts of another export: its {differences}",
            hint="Name another folder; or run that export to its end, or remove its folder",
        )
    return attrs.evolve(kept, run=new_run())


def kept_plan(folder: Path) -> Plan | None:
    """Return the plan that is kept in the folder; None if there is none.

    Raises:
        StoreError: it cannot be read.
        StorageError: the operating system refuses.
    """
    path = _plan_file(folder)
    with storage_errors(path, "read"):
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
    try:
        return Plan.from_json(json.loads(text))
    except (KeyError, TypeError, ValueError, AttributeError):
        hint = "Name another folder, or remove this one to start over"
        raise StoreError(f"{path} is not the plan of an export, or of another version", hint=hint) from None


def shared_plan(folder: Path, key: str) -> Plan:
    """Return the plan with this key, which the folder of its export has.

    Raises:
        StorageError: the folder does not have it, so it is not the folder of that export.
        StoreError: as `kept_plan`.
    """
    kept = kept_plan(folder)
    if kept is None or kept.key != key:
        raise StorageError(
            f"{folder} is not the folder of this export: it does not have its plan",
            hint="Give a folder that all workers share, under the same path. If the export has ended, nothing is lost",
        )
    return kept


def keep_plan(folder: Path, kept: Plan) -> None:
    """Keep the plan in the folder.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    with atomic_write(_plan_file(folder)) as file:
        file.write(json.dumps(kept.to_json(), indent=1).encode())


def forget_plan(folder: Path) -> None:
    """Remove the plan from the folder: the next export makes a new one."""
    with storage_errors(folder, "clear"):
        _plan_file(folder).unlink(missing_ok=True)


def _plan_file(folder: Path) -> Path:
    return folder / "plan.json"
