"""Rows of an input file, made of its records, and a first pass that validates them all.

What a model or the version of the API would refuse is refused here, before anything is sent. Memory does not grow with
the file, except where every id has to be unique.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Final, Generic, TypeVar

import attrs

from tracket_async._api.endpoints import ApiVersion
from tracket_async._timestamps import in_utc
from tracket_async.errors import UsageError
from tracket_async.importer.columns import SETTABLE
from tracket_async.importer.reader import RecordReader
from tracket_async.importer.records import BadLine, ReadOptions, Record
from tracket_async.importer.source import InputSource
from tracket_async.importer.values import shortened
from tracket_async.models import NewWorklog, WorklogChanges

T = TypeVar("T")

REQUIRED_FIELDS: Final = tuple(each.name for each in attrs.fields(NewWorklog) if each.default is attrs.NOTHING)


@attrs.frozen
class InputRow(Generic[T]):
    """One record of a file, as what is to be written.

    Attributes:
        line: the line on which the record begins.
        item: a worklog to create, changes to make, or an id to delete.
    """

    line: int
    item: T


_NEXT_DAY_HOUR: Final = 24 - 14
"""From this hour UTC on, it is the next day where the offset is +14:00, the largest that there is."""
_DAY_BEFORE_HOUR: Final = 12
"""Until this hour UTC, it is the day before where the offset is -12:00, the smallest that there is."""

Change = tuple[str, WorklogChanges]
"""An id, and what to change in its worklog."""
MakeItem = Callable[[Record, ApiVersion], T]
"""Make the item of a record; raise `ValueError` or `TypeError` with a reason."""


def make_new_worklog(record: Record, api_version: ApiVersion) -> NewWorklog:
    """Return the worklog to create. An id in the record is ignored, and null is the same as a missing value.

    Where the API version keeps only days, the day is the one that the file writes, whatever the offset behind it.
    """
    given = {name: value for name, value in record.values.items() if value is not None}
    given.pop("id", None)
    date = _date(given.get("date"), given.pop("day", None), api_version)
    if date is not None:
        given["date"] = date
    missing = [name for name in REQUIRED_FIELDS if name not in given]
    if missing:
        raise UsageError(f"{', '.join(missing)} must be given")
    new = NewWorklog(**given)
    api_version.create(new)
    return new


def content_of(new: NewWorklog, api_version: ApiVersion) -> str:
    """Return a digest of what creates the worklog: rows of the same digest create the same."""
    return hashlib.blake2b(api_version.create(new).body or b"", digest_size=16).hexdigest()


def make_change(record: Record, api_version: ApiVersion) -> Change:
    """Return the id and the changes. Null sets to null, and a missing value stays as it is on the server."""
    worklog_id = make_worklog_id(record, api_version)
    given: dict[str, Any] = {
        name: value
        for name, value in record.values.items()
        # Two values ask for no change: the empty custom fields that every record of an export has, and null for what
        # this version of the API does not have.
        if name in SETTABLE
        and not (name == "custom_fields" and not value)
        and (value is not None or api_version.has(name))
    }
    date = _date(given.get("date"), record.values.get("day"), api_version)
    if date is not None:
        if given.get("date") is None and not api_version.keeps_days:
            raise UsageError(
                f"API {api_version.version} keeps the time of day, which day does not say;"
                " give date, or remove the column day"
            )
        given["date"] = date
    if not given:
        raise UsageError("there is nothing to change; give a value beside the id")
    changes = WorklogChanges(**given)
    api_version.update(worklog_id, changes)
    return worklog_id, changes


def _date(date: dt.date | None, day: dt.date | None, api_version: ApiVersion) -> dt.date | None:
    """Return the date of a record from its ``date`` and its ``day``; None when it has neither.

    Raises:
        UsageError: the two contradict each other, or the date is not in a year from 1 to 9999 in UTC.
    """
    if date is None:
        return day
    if day is not None and not _may_be_on(date, day, midnight_is_a_day=api_version.keeps_days):
        raise UsageError(f"day {day} contradicts date {date}; correct one of them, or remove the column day")
    if not isinstance(date, dt.datetime):
        return date
    if api_version.keeps_days:
        return date.date() if day is None else day
    if date.tzinfo is None:
        raise UsageError(f"date {date} has no offset, so nobody knows which moment it is. Append Z for UTC, or +02:00")
    try:
        return in_utc(date)
    except ValueError as error:
        raise UsageError(f"date {date} is {error}") from None


def _may_be_on(date: dt.date, day: dt.date, *, midnight_is_a_day: bool) -> bool:
    """Return whether a date is on a day: its own, or for a moment that is written in UTC, the day in some time zone."""
    if not isinstance(date, dt.datetime):
        return date == day
    if date.tzinfo is None or date.utcoffset() or (midnight_is_a_day and date.time() == dt.time.min):
        return date.date() == day
    shift = day.toordinal() - date.toordinal()
    return shift == 0 or (shift == 1 and date.hour >= _NEXT_DAY_HOUR) or (shift == -1 and date.hour < _DAY_BEFORE_HOUR)


def _drops_time(record: Record, api_version: ApiVersion) -> bool:
    date = record.values.get("date")
    return isinstance(date, dt.datetime) and date.time() != dt.time.min and api_version.keeps_days


def make_worklog_id(record: Record, api_version: ApiVersion) -> str:
    """Return the id, and check that it can be one."""
    worklog_id: str | None = record.values.get("id")
    if not worklog_id:
        raise UsageError("id must be given")
    try:
        api_version.delete(worklog_id)
    except UsageError:
        raise UsageError(f"{shortened(worklog_id)} cannot be the id of a worklog") from None
    return worklog_id


MAX_LISTED: Final = 20
"""So many lines are listed in a report; the others are only counted."""


@attrs.define(kw_only=True)
class Validation:
    """The result of the first pass over a file.

    Attributes:
        rows: the number of records that can be used.
        bad: the first `MAX_LISTED` lines that cannot be used, in their order.
        bad_lines: the number of all of them.
        ignored: the attributes in the file that only the server sets, the id not among them.
        dropped_times: the number of rows with a time of day, which the API version does not keep.
        repaired_ids: the number of ids that were floats, and were read as the whole numbers that they stand for.
    """

    rows: int = 0
    bad: list[BadLine] = attrs.field(factory=list[BadLine])
    bad_lines: int = 0
    ignored: frozenset[str] = frozenset()
    dropped_times: int = 0
    repaired_ids: int = 0

    def add_bad_line(self, bad: BadLine) -> None:
        """Count a line that cannot be used, and list it if it is one of the first."""
        self.bad_lines += 1
        if len(self.bad) < MAX_LISTED:
            self.bad.append(bad)


@attrs.frozen(kw_only=True)
class InputFile(Generic[T]):
    """The rows of a file.

    Attributes:
        source: its bytes.
        options: how to read them.
        make: makes the item of a record.
        api_version: the version of the API that the rows are for.
        id_of: returns the id of an item, where no two items may have the same: the first pass then keeps all ids in
            memory. None: items may be alike.
    """

    source: InputSource
    options: ReadOptions
    make: MakeItem[T]
    api_version: ApiVersion
    id_of: Callable[[T], str] | None = None
    _reader: RecordReader = attrs.field(
        init=False, default=attrs.Factory(lambda self: RecordReader(self.source, self.options), takes_self=True)
    )

    def validate(self) -> Validation:
        """Read every line and report those that cannot be used.

        Raises:
            StoreError: the file changed meanwhile.
            UsageError: it cannot be read at all, or can be read in two ways.
        """
        found = Validation()
        lines: dict[str, int] = {}
        for record in self._reader.records():
            if isinstance(record, BadLine):
                found.add_bad_line(record)
                continue
            row = self._row(record)
            if isinstance(row, InputRow) and self.id_of is not None:
                row = _unique(row, self.id_of(row.item), lines)
            if isinstance(row, BadLine):
                found.add_bad_line(row)
                continue
            found.rows += 1
            found.dropped_times += _drops_time(record, self.api_version)
            if not record.ignored <= found.ignored:
                found.ignored |= record.ignored
        found.repaired_ids = self._reader.repaired.count
        return found

    def rows(self, wanted: Callable[[int], bool] = lambda _line: True) -> Iterator[InputRow[T]]:
        """Yield the rows in the file's order; for a file in which `validate` found no bad line.

        Args:
            wanted: returns whether to yield the row on a line; asked when its turn has come.

        Raises:
            StoreError: the file changed since it was opened.
        """
        for record in self._reader.records():
            row = self._row(record) if isinstance(record, Record) and wanted(record.line) else None
            if isinstance(row, InputRow):
                yield row

    def _row(self, record: Record) -> InputRow[T] | BadLine:
        try:
            return InputRow(record.line, self.make(record, self.api_version))
        except UsageError as error:
            return BadLine(record.line, error.message)
        except (ValueError, TypeError) as error:
            return BadLine(record.line, str(error))


def _unique(row: InputRow[T], worklog_id: str, lines: dict[str, int]) -> InputRow[T] | BadLine:
    first = lines.setdefault(worklog_id, row.line)
    if first == row.line:
        return row
    return BadLine(row.line, f"the id {shortened(worklog_id)} is on line {first} already; remove one of the two")
