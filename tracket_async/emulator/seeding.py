"""The worklogs to begin with: the sample of a made-up company, or a seed.

The sample is the same for the same `Sample` in every process, and believable at a glance.
People work for a while in an office with its own script, some of them part time. Days are weekdays without
holidays and leave, busier in spring and autumn than in summer. Each working day of a person (a slot) has a weight,
and the worklogs are dealt out along the running sum of the weights, so their number is exact. There is no call
whose result depends on the platform, the locale, the time zone or hash seeds, and weights are whole numbers, because
sums of floats differ between versions of Python.

A seed is worklogs in the 1.0 shape, or as `tracket export` writes them, from a file of one JSON object a line, from CSV
or from Python. All of it is checked before anything is served; an error names every bad line and its field.
"""
# ruff: noqa: PLR2004 -- the shares and spans below are the company; names for them would only say so again

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, timedelta
from itertools import accumulate, chain
from pathlib import Path
from random import Random
from typing import Any, Final

from attrs import field, frozen
from attrs.validators import ge, instance_of

from tracket_async.emulator import v1
from tracket_async.emulator.json_fields import parse_object
from tracket_async.emulator.records import DAY, HOUR, MINUTE, NEVER, Worklog
from tracket_async.emulator.routes import ApiError
from tracket_async.emulator.sample_texts import CATEGORIES, ENDINGS, LOCATIONS, ODD_DESCRIPTIONS, OFFICES, Office

FIRST_DAY: Final = date(2023, 11, 1)
LAST_DAY: Final = date(2026, 10, 31)
CREATION_RECORDED: Final = date(2024, 11, 1)
"""Worklogs from before this day have no createdDate."""

_EPOCH: Final = date(1970, 1, 1)
_END: Final = ((LAST_DAY - _EPOCH).days + 1) * DAY - 1  # nothing was written down later
_MONTH: Final = re.compile(r"\d{4}-(0[1-9]|1[0-2])", re.ASCII)
_WORKLOGS_A_PERSON: Final = 1200
_BUSY: Final = (100, 105, 115, 110, 100, 95, 70, 65, 110, 115, 115, 75)  # by month
_FIXED_HOLIDAYS: Final = ((1, 1), (5, 1), (12, 24), (12, 25), (12, 26), (12, 31))
_EASTER_MONDAYS: Final = (date(2024, 4, 1), date(2025, 4, 21), date(2026, 4, 6))


def _a_month_of_the_sample(_instance: object, _attribute: object, value: str | None) -> None:
    if value is None:
        return
    if not _MONTH.fullmatch(value) or not f"{FIRST_DAY:%Y-%m}" <= value <= f"{LAST_DAY:%Y-%m}":
        raise ValueError(f"skew_month must lie between {FIRST_DAY:%Y-%m} and {LAST_DAY:%Y-%m}, not be {value!r}")


@frozen
class Sample:
    """The choice of a sample.

    Attributes:
        count: Number of worklogs.
        seed: Another number is another company.
        skew_month: ``YYYY-MM``: half of all worklogs fall into this month; None for an even spread.

    Raises:
        ValueError: A setting is out of range.
    """

    count: int = field(default=20_000, validator=[instance_of(int), ge(0)])
    seed: int = 0
    skew_month: str | None = field(default=None, validator=_a_month_of_the_sample)


@frozen
class _Project:
    ident: str
    board: str
    items: tuple[str, ...]
    parent: str | None
    billable: bool
    usual: tuple[int, ...]  # indices of the categories, the common ones more than once


@frozen
class _Person:
    ident: str
    lead: str
    team: str
    office: Office
    quarters: int  # hours a day, in quarters
    weekdays: frozenset[int]
    first: date
    last: date
    leave: frozenset[date]
    projects: tuple[_Project, ...]


@frozen
class _Slot:
    day: date
    person: _Person


def sample_categories(seed: int = 0) -> list[tuple[str, str]]:
    """Return id and name of each category of the sample company."""
    chance = Random(f"categories {seed}")  # noqa: S311 -- ids are no secret
    return [(_uuid(chance), name) for name in CATEGORIES]


def sample_worklogs(sample: Sample) -> Iterator[Worklog]:
    """Yield the worklogs of the sample company, ordered by day.

    Args:
        sample: Which.
    """
    chance = Random(f"sample {sample.seed}")  # noqa: S311 -- a sample is no secret
    people = _people(chance, max(2, round(sample.count / _WORKLOGS_A_PERSON)))
    slots = list(_slots(chance, people))
    weights = _weights(chance, slots, sample.skew_month)
    categories = [ident for ident, _ in sample_categories(sample.seed)]
    given = 0
    total = sum(weights)
    for slot, reached in zip(slots, accumulate(weights), strict=True):
        due = sample.count * reached // total
        if due > given:
            yield from _worklogs_of(chance, slot, due - given, categories)
            given = due


def _people(chance: Random, count: int) -> list[_Person]:
    projects = [_project(chance, number) for number in range(max(3, count // 3))]
    idents = [str(chance.randrange(10_000_000, 99_999_999)) for _ in range(count)]
    return [_person(chance, number, idents, projects) for number in range(count)]


def _project(chance: Random, number: int) -> _Project:
    first = 5_000_000_000 + 1_000_000 * number + chance.randrange(500_000)
    usual = [chance.randrange(len(CATEGORIES)) for _ in range(3)]
    return _Project(
        ident=_uuid(chance),
        board=str(first),
        items=tuple(str(first + chance.randrange(1, 400_000)) for _ in range(chance.randrange(8, 40))),
        parent=str(first + 400_001) if chance.random() < 0.4 else None,
        billable=number % 4 != 0,
        usual=(0, 0, 0, 1, 2, 4, *usual, *range(len(CATEGORIES))),
    )


def _person(chance: Random, number: int, idents: list[str], projects: list[_Project]) -> _Person:
    span = (LAST_DAY - FIRST_DAY).days
    stays = number < len(idents) // 3 or number == 0  # somebody is there from the first day to the last
    first = FIRST_DAY if stays else FIRST_DAY + timedelta(chance.randrange(span * 2 // 3))
    last = LAST_DAY if stays or chance.random() < 0.7 else first + timedelta(chance.randrange(120, span))
    part_time = chance.random() < 0.3
    weekdays = frozenset(chance.sample(range(5), chance.choice((2, 3, 4)))) if part_time else frozenset(range(5))
    return _Person(
        ident=idents[number],
        lead=idents[number - number % 8],
        team=str(929_300 + number // 8),
        office=OFFICES[number // 4 % len(OFFICES)],
        quarters=chance.choice((16, 24, 28, 32)) if part_time else 32,
        weekdays=weekdays | {5} if chance.random() < 0.03 else weekdays,
        first=first,
        last=min(last, LAST_DAY),
        leave=_leave(chance),
        projects=tuple(chance.sample(projects, min(len(projects), chance.choice((1, 2, 3, 3))))),
    )


def _leave(chance: Random) -> frozenset[date]:
    starts: list[tuple[date, int]] = []
    for year in range(FIRST_DAY.year, LAST_DAY.year + 1):
        starts.append((date(year, 7, 1) + timedelta(chance.randrange(50)), chance.choice((14, 21))))
        starts.extend((date(year, 1, 2) + timedelta(chance.randrange(360)), chance.choice((1, 2, 5))) for _ in range(3))
    return frozenset(start + timedelta(number) for start, days in starts for number in range(days))


def _slots(chance: Random, people: list[_Person]) -> Iterator[_Slot]:
    day = FIRST_DAY
    while day <= LAST_DAY:
        closed = (day.month, day.day) in _FIXED_HOLIDAYS or day in _EASTER_MONDAYS
        weekend = day.weekday() >= 5
        for person in people:
            usual = day.weekday() in person.weekdays and not closed and day not in person.leave
            # now and then somebody is called out of a weekend or a holiday
            called = (closed or weekend) and chance.random() < 0.004
            if person.first <= day <= person.last and (usual or called):
                yield _Slot(day, person)
        day += timedelta(1)


def _weights(chance: Random, slots: list[_Slot], skew_month: str | None) -> list[int]:
    weights = [(600 + chance.randrange(800)) * _BUSY[slot.day.month - 1] * slot.person.quarters for slot in slots]
    if skew_month is None:
        return weights
    year, month = map(int, skew_month.split("-"))
    inside = [(slot.day.year, slot.day.month) == (year, month) for slot in slots]
    outside_sum = sum(weight for weight, within in zip(weights, inside, strict=True) if not within)
    inside_sum = sum(weights) - outside_sum
    return [weight * (outside_sum if within else inside_sum) for weight, within in zip(weights, inside, strict=True)]


def _worklogs_of(chance: Random, slot: _Slot, count: int, categories: list[str]) -> Iterator[Worklog]:
    random = chance.random  # called a dozen times for each of up to a million worklogs
    person = slot.person
    day = (slot.day - _EPOCH).days * DAY
    clock = day + 9 * HOUR - person.office.utc_offset * HOUR + int(random() * 4) * 15 * MINUTE
    share = max(1, person.quarters // count)
    age = (LAST_DAY - slot.day).days
    recorded = slot.day >= CREATION_RECORDED
    for _ in range(count):
        project = person.projects[int(random() * len(person.projects))]
        activity = project.usual[int(random() * len(project.usual))]
        minutes = max(1, share + int(random() * 3) - 1) * 15.0 if random() < 0.97 else int(random() * 600) / 10
        timed = random() < 0.2  # a stopwatch knows seconds; people write quarters of an hour
        start = clock + (int(random() * 60_000) if timed else 0)
        # a crowded day wraps around rather than spilling over into the next
        clock = day + (clock - day + int(minutes) * MINUTE) % DAY
        late = random() * random() * random()  # mostly the same day, sometimes a week later
        logged = min(start + int(minutes * MINUTE + late * late * 10 * DAY) + int(random() * 1000), _END)
        approval = _approval(random(), age)
        yield Worklog(
            id=_uuid(chance),
            item=project.items[int(random() * len(project.items))] if recorded or random() < 0.98 else None,
            user=person.ident,
            description=_description(random(), random(), person.office, activity),
            category=categories[activity] if random() < 0.97 else None,
            date=start,
            minutes=minutes,
            billable=_billable(random(), minutes) if project.billable else 0.0,
            created=logged if recorded else NEVER,
            updated=min(logged + int(random() * 10 * DAY), _END) if random() < 0.6 else NEVER,
            approval=approval,
            approver=person.lead if approval in ("approved", "rejected") else None,
            team=person.team,
            board=project.board,
            parent=project.parent,
            project=project.ident,
            custom=_CUSTOM[int(random() * len(_CUSTOM))],
        )


_CUSTOM: Final = ("{}", *(json.dumps({"location": each}, separators=(",", ":")) for each in LOCATIONS))


def _approval(dice: float, age: int) -> str:
    if age > 45:
        return "approved" if dice < 0.93 else "rejected" if dice < 0.96 else "submitted" if dice < 0.98 else "open"
    if age > 14:
        return "approved" if dice < 0.6 else "submitted" if dice < 0.95 else "open"
    return "submitted" if dice < 0.2 else "open"


def _billable(dice: float, minutes: float) -> float | None:
    if dice < 0.88:
        return minutes
    if dice < 0.95:
        return minutes // 30 * 15
    return None if dice < 0.98 else 0.0


def _description(dice: float, other: float, office: Office, activity: int) -> str | None:
    if dice < 0.08:
        return None
    if dice < 0.1:
        return ODD_DESCRIPTIONS[int(other * len(ODD_DESCRIPTIONS))]
    text = f"{office.activities[activity]}: {office.subjects[int(other * len(office.subjects))]}"
    return text if dice < 0.9 else text + ENDINGS[int((dice - 0.9) * 10 * len(ENDINGS))]


def _uuid(chance: Random) -> str:
    digits = f"{chance.getrandbits(128):032x}"
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


class SeedError(ValueError):
    """A seed cannot be used; the message names the file, each line or item, and what is wrong with it."""


_MOST_LISTED: Final = 20
"""So many bad lines are listed; the others are counted."""

_EXPORTED: Final[Mapping[str, str]] = {
    "id": "worklogId",
    "item_id": "itemId",
    "user_id": "userId",
    "date": "worklogDate",
    "minutes": "worklogMinutes",
    "category_id": "worklogCategory",
    "billable_minutes": "worklogBillableMinutes",
    "created_date": "createdDate",
    "updated_date": "updatedDate",
    "approval_status": "approvalStatus",
    "approver_user_id": "approverUserId",
    "team_id": "team",
    "board_id": "board",
    "parent_item_id": "parentItem",
    "project_id": "project",
    "custom_fields": "customFields",
}
"""The columns of `tracket export`, and the keys of the 1.0 shape that they fill."""
_NUMBERS: Final = frozenset({"worklogMinutes", "worklogBillableMinutes"})
_OFTEN_NULL: Final = ("approvalStatus", "customFields")
_ESCAPED: Final = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20'")
"""What an export to CSV writes an apostrophe before."""
_BOM: Final = b"\xef\xbb\xbf"


def read_seed(seed: Path | Iterable[Mapping[str, Any]]) -> list[Worklog]:
    """Read the worklogs of a seed, in its order; empty lines are skipped, and keys that mean nothing are ignored.

    Args:
        seed: A file, or the objects themselves, of the 1.0 shape or with the columns of `tracket export`. A file is one
            JSON object a line, or CSV where its name ends in ``.csv``; in UTF-8, a byte order mark may stand before it;
            behind ``.gz`` it is compressed.

    Raises:
        SeedError: The file cannot be read, or worklogs are malformed or have an id that came before: it names them all,
            up to 20.
    """
    items = _lines(seed) if isinstance(seed, Path) else _items(seed)
    worklogs: list[Worklog] = []
    places: dict[str, str] = {}
    wrong: list[str] = []
    for where, item in items:
        try:
            payload = parse_object(item) if isinstance(item, bytes) else item
            worklog = Worklog(**v1.read_stored(_in_1_0_shape(payload)))
        except (ApiError, ValueError) as error:
            wrong.append(f"{where}: {error}")
            continue
        first = places.setdefault(worklog.id, where)
        if first != where:
            wrong.append(f"{where}: worklogId {worklog.id!r} was on {first} already")
        worklogs.append(worklog)
    if wrong:
        more = [f"and {len(wrong) - _MOST_LISTED:,} more"] if len(wrong) > _MOST_LISTED else []
        raise SeedError("\n".join([*wrong[:_MOST_LISTED], *more]))
    return worklogs


def _in_1_0_shape(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    if "worklogId" in payload or "id" not in payload:
        return payload
    shape = {_EXPORTED.get(name, name): value for name, value in payload.items()}
    for name in _OFTEN_NULL:
        if shape.get(name) is None:
            shape.pop(name, None)
    return shape


def _lines(path: Path) -> Iterator[tuple[str, bytes | Mapping[str, Any]]]:
    packed = path.suffix.lower() == ".gz"
    name = path.with_suffix("") if packed else path
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            lines = (line if number else line.removeprefix(_BOM) for number, line in enumerate(file))
            yield from _csv(path, lines) if name.suffix.lower() == ".csv" else _ndjson(path, lines)
    except (OSError, EOFError) as error:
        raise SeedError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def _ndjson(path: Path, lines: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield f"{path}, line {number}", line


def _csv(path: Path, lines: Iterator[bytes]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        texts = (line.decode() for line in lines)
        head = next(texts, "")
        # The separator is the one that the header has most of: no column name holds any of them.
        rows = csv.reader(chain((head,), texts), delimiter=max(",;\t", key=head.count), strict=True)
        names: list[str] = next(rows, list[str]())
        line = rows.line_num + 1
        for cells in rows:
            if cells:
                yield f"{path}, line {line}", _from_cells(names, cells)
            line = rows.line_num + 1
    except (csv.Error, UnicodeDecodeError) as error:
        raise SeedError(f"{path} is not CSV in UTF-8: {error}") from None


def _from_cells(names: list[str], cells: list[str]) -> dict[str, Any]:
    """Return the values of a record; what is no value stays text, for the checks to refuse."""
    values: dict[str, Any] = dict.fromkeys(names)
    for name, cell in zip(names, cells, strict=False):
        key = _EXPORTED.get(name, name)
        if not cell:
            continue
        if key in _NUMBERS:
            values[name] = _value(float, cell)
        elif key == "customFields":
            values[name] = _value(json.loads, cell)
        else:
            values[name] = cell[1:] if cell[0] == "'" and cell[1:2] in _ESCAPED else cell
    return values


def _value(read: Callable[[str], Any], cell: str) -> Any:
    try:
        return read(cell)
    except ValueError:
        return cell


def _items(seed: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((f"item {number}", item) for number, item in enumerate(seed, start=1))
