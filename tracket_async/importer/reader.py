"""From the lines of a file to numbered records: NDJSON, CSV, or one id a line. Pure: it is given the lines.

A line that cannot be read becomes a `BadLine` and the next one is read nevertheless, so that whoever has to mend the
file learns everything at once. A record has the number of the line on which it begins, counted from 1.

From a record to what is to be done: a worklog to create, changes to make, an id to delete. Pure.

What a model or the version of the API would refuse is refused here, before anything is sent.

A file that is read more than once and must not change meanwhile; what cannot be read twice is copied first.

The copy of standard input, or of a pipe, is a temporary file without a name, for this user alone, which is gone with
the process. Whoever reads twice gets the same bytes, or an error.

The first pass over a file: every line is looked at, nothing is sent, and memory does not grow with the file.
"""

from __future__ import annotations

import csv
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
from tracket_async.errors import StoreError, UsageError
from tracket_async.importer.columns import FROM_CELLS, FROM_JSON, FROM_RAW_CELLS, Readers, attributes_of, shown
from tracket_async.models import NewWorklog, WorklogChanges

InputFormat = Literal["ndjson", "csv", "ids"]

SUFFIXES: Final[Mapping[str, InputFormat]] = {".ndjson": "ndjson", ".jsonl": "ndjson", ".csv": "csv"}

NOT_TEXT: Final = "it is not UTF-8 text"
_BOM: Final = b"\xef\xbb\xbf"


@attrs.frozen
class Record:
    """One worklog of the file.

    Attributes:
        line: where it begins.
        values: attribute to value: the id and what can be set, None for a null of JSON. What the file does not say, an
            empty cell of CSV among it, is not in it.
        ignored: the attributes that it says and that only the server sets; without the id.
    """

    line: int
    values: dict[str, Any]
    ignored: frozenset[str] = frozenset()


@attrs.frozen
class BadLine:
    """A line that cannot be used, and why."""

    line: int
    reason: str


@attrs.frozen(kw_only=True)
class ReadOptions:
    """How a file is read.

    Attributes:
        format: ``"ndjson"``: an object a line; ``"csv"``: a header and then a record for each worklog (RFC 4180);
            ``"ids"``: an id a line. Empty lines do not count.
        raw: CSV only: an apostrophe before what looks like a formula belongs to the text.
        only_id: nothing but the id is looked at.
    """

    format: InputFormat
    raw: bool = False
    only_id: bool = False


def read(lines: Iterable[bytes], options: ReadOptions) -> Iterator[Record | BadLine]:
    """The records, in their order.

    Args:
        lines: each with its line break, in UTF-8; a byte order mark may stand before the first.
        options: how.
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
            names = attributes_of(found, only_id=options.only_id)
            yield _record(number, zip(names, found.values(), strict=True), FROM_JSON)
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
    raise ValueError("it must be a JSON object")


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
    """The lines as text. An iterator that goes on after it has raised, which a generator does not."""

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
    readers = FROM_RAW_CELLS if options.raw else FROM_CELLS
    while True:
        line = texts.number + 1
        try:
            cells = next(rows)
            if not cells:
                continue
            if names is None:
                names = attributes_of(cells, only_id=options.only_id)
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
        raise ValueError(f"it has {len(cells)} cells, and the header has {len(names)}")
    return [(name, cell) for name, cell in zip(names, cells, strict=True) if cell]


def _record(line: int, pairs: Iterable[tuple[str | None, Any]], readers: Readers) -> Record:
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

REQUIRED: Final = tuple(each.name for each in attrs.fields(NewWorklog) if each.default is attrs.NOTHING)


@attrs.frozen
class InputRow(Generic[T]):
    """What is to be done for one record of a file.

    Attributes:
        line: where the record begins.
        item: what to do it with.
    """

    line: int
    item: T


Change = tuple[str, WorklogChanges]
"""An id, and what to change in its worklog."""
Make = Callable[[Record, ApiVersion], T]
"""Makes the item of a record; raises `ValueError` or `TypeError` with a reason."""


def new_worklog(record: Record, api_version: ApiVersion) -> NewWorklog:
    """The worklog to create. The id that the record may have is not looked at; null is as if nothing were said."""
    given = {name: value for name, value in record.values.items() if name != "id" and value is not None}
    missing = [name for name in REQUIRED if name not in given]
    if missing:
        raise UsageError(f"{' and '.join(missing)} must be given")
    new = NewWorklog(**given)
    api_version.create(new)
    return new


def change(record: Record, api_version: ApiVersion) -> Change:
    """The id and the changes. Null means null, and what is not given stays as it is."""
    named = worklog_id(record, api_version)
    given: dict[str, Any] = {
        name: value for name, value in record.values.items() if name != "id" and not _says_nothing(name, value)
    }
    # Null for what this version does not have asks for nothing.
    given = {name: value for name, value in given.items() if value is not None or api_version.has(name)}
    if not given:
        raise UsageError("there is nothing to change")
    changes = WorklogChanges(**given)
    api_version.update(named, changes)
    return named, changes


def worklog_id(record: Record, api_version: ApiVersion) -> str:
    """The id, and that it can be one."""
    named = record.values.get("id")
    if not named:
        raise UsageError("id must be given")
    try:
        api_version.delete(named)
    except UsageError:
        raise UsageError(f"{shown(named)} cannot be the id of a worklog") from None
    return str(named)


def _says_nothing(name: str, value: Any) -> bool:
    # Every record of an export has it; changes to none of the fields in it are none.
    return name == "custom_fields" and not value


File: TypeAlias = io.BufferedReader | io.BufferedRandom

STANDARD_INPUT: Final = "-"
LONGEST_LINE: Final = 1 << 20
"""Bytes. A worklog has a few hundred; what has more is no file of worklogs, and is not taken into memory."""


@attrs.frozen(kw_only=True)
class Fingerprint:
    """What tells one content from another: its length in bytes, and its SHA-256 in hexadecimal digits."""

    size: int
    sha256: str


class InputSource:
    """A file, or standard input for ``-``; open from its construction to `close`.

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
        """Closes it; a copy is gone then."""
        self._file.close()

    path: Path | None
    """Where the file really is, with links followed; None of a copy."""

    def lines(self) -> Iterator[bytes]:
        """The lines from the first on, each with its line break. One iteration at a time.

        Raises:
            StoreError: the file was changed since it was opened.
            UsageError: a line is longer than `LONGEST_LINE`, or the file cannot be read.
        """
        self._file.seek(0)
        number = 0
        while line := self._next(number + 1):
            number += 1
            yield line
        self._check()

    def fingerprint(self) -> Fingerprint:
        """Of all its bytes, which are read for it.

        Raises:
            StoreError: the file was changed since it was opened.
        """
        self._file.seek(0)
        digest = hashlib.file_digest(self._file, "sha256")
        self._check()
        return Fingerprint(size=self._seen[0], sha256=digest.hexdigest())

    def _next(self, number: int) -> bytes:
        try:
            line = self._file.readline(LONGEST_LINE + 1)
        except OSError as error:
            raise UsageError(f"{self.name} cannot be read: {error.strerror}") from None
        if len(line) > LONGEST_LINE:
            raise UsageError(
                f"Line {number} of {self.name} is longer than {LONGEST_LINE:,} bytes: this is no file of worklogs"
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


MOST: Final = 20
"""So many lines are named in one report; the others are only counted."""


@attrs.define(kw_only=True)
class Validation:
    """What the first pass found.

    Attributes:
        rows: how many records can be used.
        bad: the first `MOST` lines that cannot, in their order.
        bad_lines: how many there are of them in all.
        ignored: the attributes that the file has and that only the server sets, the id not among them.
    """

    rows: int = 0
    bad: list[BadLine] = attrs.field(factory=list[BadLine])
    bad_lines: int = 0
    ignored: frozenset[str] = frozenset()

    def refuse(self, bad: BadLine) -> None:
        """Take note of a line that cannot be used."""
        self.bad_lines += 1
        if len(self.bad) < MOST:
            self.bad.append(bad)


@attrs.frozen(kw_only=True)
class InputFile(Generic[T]):
    """How a file becomes rows.

    Attributes:
        source: the file.
        options: how it is written.
        make: makes the item of a record.
        api_version: the version of the API that it is for.
        id_of: the id of an item, where every item must have one of its own: the first pass then keeps all of them in
            memory. None: the same may come again.
    """

    source: InputSource
    options: ReadOptions
    make: Make[T]
    api_version: ApiVersion
    id_of: Callable[[T], str] | None = None

    def validate(self) -> Validation:
        """Look at every line.

        Raises:
            StoreError: the file changed meanwhile.
            UsageError: it cannot be read at all.
        """
        found = Validation()
        lines: dict[str, int] = {}
        for record in read(self.source.lines(), self.options):
            row = self._row(record)
            if isinstance(row, InputRow) and self.id_of is not None:
                row = _alone(row, self.id_of(row.item), lines)
            if isinstance(row, BadLine):
                found.refuse(row)
                continue
            found.rows += 1
            if isinstance(record, Record) and not record.ignored <= found.ignored:
                found.ignored |= record.ignored
        return found

    def rows(self, wanted: Callable[[int], bool] = lambda _line: True) -> Iterator[InputRow[T]]:
        """The rows, in the file's order; for a file in which `validate` found nothing wrong.

        Args:
            wanted: whether to give the row on that line; asked when its turn has come.

        Raises:
            StoreError: the file changed since it was opened.
        """
        for record in read(self.source.lines(), self.options):
            row = self._row(record) if wanted(record.line) else None
            if isinstance(row, InputRow):
                yield row

    def _row(self, record: Record | BadLine) -> InputRow[T] | BadLine:
        if isinstance(record, BadLine):
            return record
        try:
            return InputRow(record.line, self.make(record, self.api_version))
        except UsageError as error:
            return BadLine(record.line, error.message)
        except (ValueError, TypeError) as error:
            return BadLine(record.line, str(error))


def _alone(row: InputRow[T], named: str, lines: dict[str, int]) -> InputRow[T] | BadLine:
    first = lines.setdefault(named, row.line)
    return row if first == row.line else BadLine(row.line, f"the id {shown(named)} is on line {first} already")
