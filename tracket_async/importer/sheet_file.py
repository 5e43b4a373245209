"""Rows of Excel workbooks: of those that an export writes, and of others with the same columns.

python-calamine reads them. A row has the number that Excel shows. Cells have types: a date is a day, a number is a
number. The whole sheet is in memory while it is read.

Two things calamine does not tell, so they are read from the file itself: a cell whose formula failed (``#N/A``), which
looks empty, and whether an export wrote the workbook, whose moments are then in UTC.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, Final
from xml.etree import ElementTree as ET

from tracket_async.errors import UsageError
from tracket_async.frames import load
from tracket_async.importer.columns import UNNAMED
from tracket_async.importer.records import CheckHeader, Rows
from tracket_async.importer.source import InputSource

_EXACT: Final = 10**15
"""From here on, Excel has rounded a number."""
_CHUNK: Final = 1 << 20
_LONGEST_CELL: Final = 1 << 16
"""Bytes of a cell with its formula, at most."""
_ERROR: Final = b't="e"'
_CELL: Final = re.compile(rb"<c\s([^<>]*\bt=\"e\"[^<>]*)>(?:(?!</c>).)*?<v>([^<]*)</v>", re.DOTALL)
_REFERENCE: Final = re.compile(rb"\br=\"([A-Z]+)([0-9]+)\"")
_MAIN: Final = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_RELATIONS: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_BROKEN: Final = (zipfile.BadZipFile, ET.ParseError, KeyError, ValueError, EOFError)


def sheet_rows(source: InputSource, sheet: str | None, check_header: CheckHeader) -> Rows:
    """Yield the rows of a sheet; see `Rows`. An empty cell is "".

    Args:
        source: the workbook.
        sheet: the name of the sheet; None: the first.
        check_header: called with the names of the columns.

    Raises:
        UsageError: it is no workbook, or has no such sheet.
        MissingExtraError: python-calamine is not installed.
    """
    calamine = load("python_calamine", extra="excel")
    try:
        book = calamine.CalamineWorkbook.from_filelike(source.rewound())
        names: Sequence[str] = book.sheet_names
        if sheet is not None and sheet not in names:
            raise UsageError(f"There is no sheet {sheet!r} in {source.name}. Its sheets are {', '.join(names)}")
        chosen = sheet or names[0]
        found = book.get_sheet_by_name(chosen)
        about = _About(source.rewound(), chosen)
    except (calamine.CalamineError, *_BROKEN) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{source.name} is no Excel workbook (.xlsx) that can be read: {error}") from None
    source.check()
    # calamine has a panic for a sheet without cells.
    yield from _rows(() if found.start is None else found.iter_rows(), about, check_header)


def _rows(rows: Iterator[list[Any]] | tuple[()], about: _About, check_header: CheckHeader) -> Rows:
    names: list[str] | None = None
    for number, cells in enumerate(rows, start=1):
        values = [_value(cell, in_utc=about.in_utc) for cell in cells]
        for column, error in about.errors.get(number, {}).items():
            values[column] = error
        if all(value == "" for value in values):
            continue
        if names is None:
            names = [str(value).strip() for value in values]
            try:
                check_header(names)
            except ValueError as error:
                raise UsageError(f"The columns of the sheet cannot be used: {error}") from None
            continue
        row = dict(zip(names, values, strict=True))
        if UNNAMED in row:
            nameless = (value for name, value in zip(names, values, strict=True) if not name and value != "")
            row[UNNAMED] = next(nameless, "")
        yield number, row


def _value(cell: Any, *, in_utc: bool) -> Any:
    """Return a cell's value: whole numbers as integers, durations and times of day as text like ``1:30:00``."""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < _EXACT:
        return int(cell)
    if isinstance(cell, dt.datetime):
        return cell.replace(tzinfo=dt.UTC) if in_utc else cell
    if isinstance(cell, dt.time):
        return cell.isoformat("seconds")
    if isinstance(cell, dt.timedelta):
        minutes, seconds = divmod(round(cell.total_seconds()), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    return cell.strip() if isinstance(cell, str) and not cell.strip() else cell


class _About:
    """The facts about a workbook that calamine does not tell.

    Attributes:
        errors: row (from 1) to column (from 0) to error: the cells whose formula failed.
        in_utc: an export wrote the workbook, with moments in UTC.
    """

    def __init__(self, file: IO[bytes], sheet: str) -> None:
        with zipfile.ZipFile(file) as book:
            self.in_utc = _is_export(book)
            self.errors: dict[int, dict[int, str]] = {}
            with book.open(_part_of(book, sheet)) as part:
                for row, column, error in _errors(part):
                    self.errors.setdefault(row, {})[column] = error


def _xml(book: zipfile.ZipFile, part: str) -> ET.Element:
    return ET.fromstring(book.read(part))  # noqa: S314 - expat itself bounds what entities grow to


def _is_export(book: zipfile.ZipFile) -> bool:
    if "docProps/core.xml" not in book.namelist():
        return False
    description = _xml(book, "docProps/core.xml").findtext("{*}description") or ""
    try:
        about = json.loads(description)
    except ValueError:
        return False
    return isinstance(about, Mapping) and {"api", "schema_version", "tz"} <= about.keys()


def _part_of(book: zipfile.ZipFile, sheet: str) -> str:
    """Return the path of the part of a workbook that has the cells of a sheet."""
    sheets = _xml(book, "xl/workbook.xml").iter(f"{_MAIN}sheet")
    relation = next((each.get(f"{_RELATIONS}id") for each in sheets if each.get("name") == sheet), None)
    relations = _xml(book, "xl/_rels/workbook.xml.rels")
    target = next((each.get("Target", "") for each in relations if each.get("Id") == relation), "")
    return target.removeprefix("/") if target.startswith("/") else f"xl/{target}"


def _errors(part: IO[bytes]) -> Iterator[tuple[int, int, str]]:
    rest = b""
    while chunk := part.read(_CHUNK):
        rest += chunk
        end = 0
        for cell in _CELL.finditer(rest) if _ERROR in rest else ():
            end = cell.end()
            if reference := _REFERENCE.search(cell[1]):
                yield int(reference[2]), _column(reference[1]), cell[2].decode()
        rest = rest[max(end, len(rest) - _LONGEST_CELL) :]


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - ord("A") + 1
    return number - 1
