"""An import file: numbered records from its lines, rows from its records, and a first pass that validates them all.

Three formats are read: NDJSON, CSV, and one id a line. A line that cannot be used becomes a `BadLine` and reading goes
on, so that whoever has to mend the file learns everything at once. A record has the number of the line on which it
begins, counted from 1. What a model or the version of the API would refuse is refused here, before anything is sent.

A file is read twice and must not change in between: whoever reads again gets the same bytes or an error. Standard input
and pipes, which can be read only once, are copied to a temporary file first. It has no name, belongs to this user
alone, and is gone with the process. Memory does not grow with the file, except where every id has to be unique.
"""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Generic, Literal, Self, TypeAlias, TypeVar

import attrs
import msgspec

from tracket_async._api.endpoints import ApiVersion
from tracket_async._files import storage_errors
from tracket_async._timestamps import in_utc
from tracket_async.errors import StoreError, UsageError
from tracket_async.importer.columns import (
    CSV_READERS,
    JSON_READERS,
    RAW_CSV_READERS,
    SETTABLE,
    ValueReaders,
    column_attributes,
    shortened,
)
from tracket_async.models import NewWorklog, WorklogChanges

InputFormat = Literal["ndjson", "csv", "ids"]

FORMAT_OF_SUFFIX: Final[Mapping[str, InputFormat]] = {".ndjson": "ndjson", ".jsonl": "ndjson", ".csv": "csv"}

NOT_TEXT: Final = "it is not UTF-8 text; save the file as UTF-8"
_BOM: Final = b"\xef\xbb\xbf"


@attrs.frozen
class Record:
    """One record of the file.

    Attributes:
        line: the line on which it begins, from 1.
        values: attribute to value, of the id, the day and what can be set; None for a null of JSON. A date keeps the
            offset that is written in the file. An attribute that the file leaves out, or an empty cell of CSV, is
            missing.
        ignored: the attributes in it that only the server sets, the id not among them.
    """

    line: int
    values: dict[str, Any]
    ignored: frozenset[str] = frozenset()


@attrs.frozen
class BadLine:
    """A line that cannot be used, and the reason."""

    line: int
    reason: str


@attrs.frozen(kw_only=True)
class ReadOptions:
    """Options for reading a file.

    Attributes:
        format: ``"ndjson"``: an object a line; ``"csv"``: a header and then a record for each worklog (RFC 4180);
            ``"ids"``: an id a line. Empty lines do not count.
        raw: CSV only: an apostrophe before what looks like a formula belongs to the text.
        only_id: read nothing but the id.
    """

    format: InputFormat
    raw: bool = False
    only_id: bool = False


def read_records(lines: Iterable[bytes], options: ReadOptions) -> Iterator[Record | BadLine]:
    """Yield the records in their order.

    Args:
        lines: each with its line break, in UTF-8; a byte order mark may stand before the first.
        options: how to read them.
    """
    return _FORMATS[options.format](_without_mark(lines), options)


def _without_mark(lines: Iterable[bytes]) -> Iterator[bytes]:
    for number, line in enumerate(lines):
        yield line if number else line.removeprefix(_BOM)


def _ndjson(lines: Iterable[bytes], options: ReadOptions) -> Iterator[Record | BadLine]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found = _object(line)
            names = column_attributes(found, only_id=options.only_id)
            yield _record(number, zip(names, found.values(), strict=True), JSON_READERS)
        except RecursionError:
            yield BadLine(number, "it is nested too deeply")
        except UnicodeDecodeError:
            yield BadLine(number, NOT_TEXT)
        except msgspec.DecodeError as error:
            yield BadLine(number, f"it is not JSON: {error}")
        except ValueError as error:
            yield BadLine(number, str(error))


def _object(line: bytes) -> dict[str, Any]:
    content: dict[str, Any] | list[Any] | str | float | bool | None = msgspec.json.decode(line)
    if isinstance(content, dict):
        return content
    raise ValueError('it must be a JSON object, such as {"id": "wl-1", "minutes": 90}')


def _ids(lines: Iterable[bytes], _options: ReadOptions) -> Iterator[Record | BadLine]:
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode().strip()
        except UnicodeDecodeError:
            yield BadLine(number, NOT_TEXT)
            continue
        if text:
            yield Record(number, {"id": text})


class _Texts:
    """The lines as text: an iterator that goes on after it has raised, which a generator does not."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        try:
            return line.decode()
        except UnicodeDecodeError:
            raise ValueError(NOT_TEXT) from None


def _csv(lines: Iterable[bytes], options: ReadOptions) -> Iterator[Record | BadLine]:
    texts = _Texts(lines)
    rows = csv.reader(texts, strict=True)
    names: list[str | None] | None = None
    readers = RAW_CSV_READERS if options.raw else CSV_READERS
    while True:
        line = texts.number + 1
        try:
            cells = next(rows)
            if not cells:
                continue
            if names is None:
                names = column_attributes(cells, only_id=options.only_id)
                continue
            yield _record(line, _filled(names, cells), readers)
        except StopIteration:
            return
        except (csv.Error, ValueError) as error:
            if names is None:
                # Without a header, every line after it would only be one more complaint.
                yield BadLine(line, f"the header cannot be used: {error}")
                return
            yield BadLine(line, str(error))


def _filled(names: list[str | None], cells: list[str]) -> list[tuple[str | None, str]]:
    if len(cells) != len(names):
        raise ValueError(
            f"it has {len(cells)} cells and the header has {len(names)}; put a cell that contains a comma in quotes"
        )
    return [(name, cell) for name, cell in zip(names, cells, strict=True) if cell]


def _record(line: int, pairs: Iterable[tuple[str | None, Any]], readers: ValueReaders) -> Record:
    kept: dict[str, Any] = {}
    ignored: set[str] = set()
    for name, value in pairs:
        if name is None:
            continue
        if name in readers:
            kept[name] = None if value is None else readers[name](name, value)
        elif value is not None:
            ignored.add(name)
    return Record(line, kept, frozenset(ignored))


_FORMATS: Final[Mapping[InputFormat, Callable[[Iterable[bytes], ReadOptions], Iterator[Record | BadLine]]]] = {
    "ndjson": _ndjson,
    "csv": _csv,
    "ids": _ids,
}


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
    try:
        return in_utc(date)
    except ValueError as error:
        raise UsageError(f"date {date} is {error}") from None


def _may_be_on(date: dt.date, day: dt.date, *, midnight_is_a_day: bool) -> bool:
    """Return whether a date is on a day: its own, or for a moment that is written in UTC, the day in some time zone."""
    if not isinstance(date, dt.datetime):
        return date == day
    if date.utcoffset() or (midnight_is_a_day and date.time() == dt.time.min):
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


File: TypeAlias = io.BufferedReader | io.BufferedRandom

STANDARD_INPUT: Final = "-"
MAX_LINE_BYTES: Final = 1 << 20
"""A worklog has a few hundred bytes. A longer line is not taken into memory: it belongs to no file of worklogs."""


@attrs.frozen(kw_only=True)
class Fingerprint:
    """The length of a content in bytes, and its SHA-256 in hexadecimal digits."""

    size: int
    sha256: str


class InputSource:
    """The bytes of a file, or of standard input for ``-``; open from its construction to `close`.

    Args:
        name: the path, or ``-``.

    Attributes:
        name: for messages.
        path: where the file really is, with links followed; None of a copy.

    Raises:
        UsageError: it cannot be read.
        StorageError: it cannot be copied, because the disk is full, say.
    """

    def __init__(self, name: str) -> None:
        self.name = "standard input" if name == STANDARD_INPUT else name
        self._file, self.path = _opened(name)
        self._seen = self._state()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it. A copy is gone then."""
        self._file.close()

    def lines(self) -> Iterator[bytes]:
        """Yield the lines from the first on, each with its line break. One iteration at a time.

        Raises:
            StoreError: the file was changed since it was opened.
            UsageError: a line is longer than `MAX_LINE_BYTES`, or the file cannot be read.
        """
        self._file.seek(0)
        number = 0
        while line := self._next(number + 1):
            number += 1
            yield line
        self._check()

    def fingerprint(self) -> Fingerprint:
        """Read all bytes and return their fingerprint.

        Raises:
            StoreError: the file was changed since it was opened.
        """
        self._file.seek(0)
        digest = hashlib.file_digest(self._file, "sha256")
        self._check()
        return Fingerprint(size=self._seen[0], sha256=digest.hexdigest())

    def _next(self, number: int) -> bytes:
        try:
            line = self._file.readline(MAX_LINE_BYTES + 1)
        except OSError as error:
            raise UsageError(f"{self.name} cannot be read: {error.strerror}") from None
        if len(line) > MAX_LINE_BYTES:
            raise UsageError(
                f"Line {number} of {self.name} is longer than {MAX_LINE_BYTES:,} bytes, so it is no file of worklogs."
                " Give another file or --format"
            )
        self._check()
        return line

    def _check(self) -> None:
        # Cheap beside what is done with a line; whoever edits the file in an editor is seen before the next one.
        if self._state() != self._seen:
            raise StoreError(
                f"{self.name} was changed while it was being read", hint="Run the same again once nobody writes to it"
            )

    def _state(self) -> tuple[int, int]:
        found = os.fstat(self._file.fileno())
        return found.st_size, found.st_mtime_ns


def _opened(name: str) -> tuple[File, Path | None]:
    if name == STANDARD_INPUT:
        return _copied(sys.stdin.buffer, "standard input"), None
    path = Path(name)
    try:
        file = path.open("rb")
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}") from None
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file, path.resolve()
    with file:
        return _copied(file, name), None


def _copied(stream: IO[bytes], name: str) -> File:
    with storage_errors(Path(tempfile.gettempdir()), f"copy {name} to"):
        copy = tempfile.TemporaryFile(prefix="tracket-")  # noqa: SIM115 - closed by `Source.close`
        try:
            shutil.copyfileobj(stream, copy)
            copy.flush()
        except BaseException:
            copy.close()
            raise
    return copy


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
    """

    rows: int = 0
    bad: list[BadLine] = attrs.field(factory=list[BadLine])
    bad_lines: int = 0
    ignored: frozenset[str] = frozenset()
    dropped_times: int = 0

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

    def validate(self) -> Validation:
        """Read every line and report those that cannot be used.

        Raises:
            StoreError: the file changed meanwhile.
            UsageError: it cannot be read at all.
        """
        found = Validation()
        lines: dict[str, int] = {}
        for record in read_records(self.source.lines(), self.options):
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
        return found

    def rows(self, wanted: Callable[[int], bool] = lambda _line: True) -> Iterator[InputRow[T]]:
        """Yield the rows in the file's order; for a file in which `validate` found no bad line.

        Args:
            wanted: returns whether to yield the row on a line; asked when its turn has come.

        Raises:
            StoreError: the file changed since it was opened.
        """
        for record in read_records(self.source.lines(), self.options):
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
