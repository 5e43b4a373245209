"""Excel workbooks (``.xlsx``) of worklogs, written by XlsxWriter row after row, so that memory stays flat.

One sheet, ``worklogs``: a frozen header with a filter; ids and other text as text, never as numbers, formulas or
links; numbers as numbers; ``day`` as a date; moments as date and time of day in UTC, since a sheet knows no time zones.
Dates of a sheet begin in March 1900 (it counts the days before wrongly): an earlier one is text. ``custom_fields`` and
``extra`` are JSON.

A sheet has `MAX_ROWS` rows, and a cell `MAX_CHARACTERS` characters: both are checked before anything is written.
Everything that would tell two exports apart is fixed, such as the date of creation.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

from tracket_async._timestamps import write_moment
from tracket_async.errors import ExportError
from tracket_async.export import database as modules
from tracket_async.export import tables as sql
from tracket_async.export.database import Database
from tracket_async.frames import DAY, JSON, MOMENTS, NUMBERS, pyarrow

MAX_ROWS: Final = 1_048_576
"""Of a sheet, the header among them."""
MAX_CHARACTERS: Final = 32_767
"""Of a cell, as Excel counts them: in UTF-16."""

_SHEET: Final = "worklogs"
_CREATED: Final = dt.datetime(2000, 1, 1)  # noqa: DTZ001 - a sheet knows no time zones
_DAY_US: Final = 86_400_000_000
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_UNIX_EPOCH: Final = 25_569
"""The number of 1970-01-01 in a sheet."""
_FIRST: Final = 61
"""The number of 1900-03-01. Sheets count a 1900-02-29, so that earlier numbers are other dates for other programs."""
_FORMATS: Final = {DAY: "yyyy-mm-dd", **dict.fromkeys(MOMENTS, "yyyy-mm-dd hh:mm:ss")}
_WIDTHS: Final = {
    DAY: 11,
    **dict.fromkeys(MOMENTS, 19),
    **dict.fromkeys(NUMBERS, 9),
    "description": 50,
    **dict.fromkeys(JSON, 30),
}
_WIDTH: Final = 14

Cell = str | float | None
Told = Callable[[int], None]


def require_room(worklogs: int) -> None:
    """Check that so many worklogs fit into a sheet.

    Raises:
        ExportError: there are too many.
    """
    if worklogs >= MAX_ROWS:
        raise ExportError(
            f"an Excel sheet has {MAX_ROWS:,} rows, and there are {worklogs:,} worklogs and a header",
            fault="client",
            hint="Export to .csv or .parquet, or fewer dates to each file",
        )


def require_short_cells(database: Database, columns: Sequence[str]) -> None:
    """Check that the text of each worklog in the store fits into a cell.

    Raises:
        ExportError: one does not; it names the worklog and the column.
    """
    for name in columns:
        if sql.sql_type(name) != "VARCHAR":
            continue
        for id_, length in database.rows(sql.longer_than(name), [MAX_CHARACTERS, MAX_CHARACTERS]):
            raise ExportError(
                f"a cell of an Excel sheet has {MAX_CHARACTERS:,} characters,"
                f" and {name} of worklog {id_} has {length:,}",
                fault="client",
                hint=f"Export to .csv or .parquet, or without the column {name}",
            )


def write_sheet(
    file: IO[bytes],
    chunks: Iterable[Any],
    columns: Sequence[str],
    *,
    worklogs: int,
    about: Mapping[str, Any],
    folder: Path,
    told: Told,
) -> int:
    """Write a workbook and return the number of its worklogs.

    Args:
        file: where to, open for reading and writing.
        chunks: Arrow record batches of these columns, in order.
        columns: their names.
        worklogs: how many there will be.
        about: what the file says about itself, as JSON in its comments.
        folder: for temporary files; empty and private.
        told: called with how many more worklogs have been written, also with 0; what it raises ends the writing.

    Raises:
        OSError: it cannot be written.
    """
    written = 0
    with _workbook(file, folder, told) as book:
        book.set_properties({"title": _SHEET, "comments": json.dumps(about, sort_keys=True), "created": _CREATED})
        sheet = book.add_worksheet(_SHEET)
        _lay_out(book, sheet, columns, worklogs)
        for chunk in chunks:
            cells = [_cells(name, column) for name, column in zip(columns, chunk.columns, strict=True)]
            for row in zip(*cells, strict=True):
                written += 1
                _write_row(sheet, written, row)
            told(chunk.num_rows)
    return written


def _lay_out(book: Any, sheet: Any, columns: Sequence[str], worklogs: int) -> None:
    """Set the widths and formats of the columns, and write the header."""
    formats = {pattern: book.add_format({"num_format": pattern}) for pattern in sorted(set(_FORMATS.values()))}
    bold, last = book.add_format({"bold": True}), len(columns) - 1
    for at, name in enumerate(columns):
        sheet.set_column(at, at, _WIDTHS.get(name, _WIDTH), formats.get(_FORMATS.get(name, "")))
        sheet.write_string(0, at, name, bold)
    sheet.freeze_panes(1, 0)
    sheet.autofilter(0, 0, worklogs, last)
    sheet.ignore_errors({"number_stored_as_text": f"A1:XFD{MAX_ROWS}"})  # ids: no green corner


def _write_row(sheet: Any, number: int, row: Sequence[Cell]) -> None:
    for at, cell in enumerate(row):
        if isinstance(cell, int | float):
            sheet.write_number(number, at, cell)
        elif not cell:
            continue
        elif cell.startswith("<r>"):
            # XlsxWriter takes such text for XML of its own, unescaped; in parts, it is text.
            sheet.write_rich_string(number, at, "<", "r", cell[2:])
        else:
            sheet.write_string(number, at, cell)


def _cells(name: str, column: Any) -> list[Cell]:
    if name in MOMENTS or name == DAY:
        unit = 1 if name == DAY else _DAY_US
        numbers: list[int | None] = column.cast(pyarrow().int32() if name == DAY else "int64").to_pylist()
        return [None if number is None else _date(number, unit) for number in numbers]
    found: list[Cell] = column.to_pylist()
    return [None if cell == "{}" else cell for cell in found] if name in JSON else found


def _date(number: int, unit: int) -> Cell:
    """Return the number of a date in a sheet; text where there is none. ``number``: of 1 / ``unit`` days since 1970."""
    if number >= (_FIRST - _UNIX_EPOCH) * unit:
        return (number + _UNIX_EPOCH * unit) / unit
    moment = _EPOCH + dt.timedelta(days=number) if unit == 1 else _EPOCH + dt.timedelta(microseconds=number)
    return moment.date().isoformat() if unit == 1 else write_moment(moment)


@contextlib.contextmanager
def _workbook(file: IO[bytes], folder: Path, told: Told) -> Generator[Any]:
    """Yield a workbook that is written into the file at the end of the block; raise OSError as it is."""
    xlsxwriter, target = modules.xlsxwriter(), _Target(file, told)
    options = {
        "constant_memory": True,
        "tmpdir": str(folder),
        "use_zip64": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
    }
    book = xlsxwriter.Workbook(target, options)
    try:
        yield book
        book.close()
    except xlsxwriter.exceptions.FileCreateError as error:
        target.give_up()
        raise error.args[0] from None
    except BaseException:
        target.give_up()
        raise
    finally:
        for sheet in book.worksheets():
            with contextlib.suppress(OSError):
                sheet._opt_close()  # noqa: SLF001 - its temporary file, which is closed by a whole workbook alone


def _nobody(_count: int) -> None:
    pass


class _Target:
    """A file for a ZipFile, which writes once more when it is deleted after an error: then to nowhere.

    Each write can be ended by what ``told`` raises, for packing a large workbook takes a while.
    """

    def __init__(self, file: IO[bytes], told: Told) -> None:
        self._file: IO[bytes] | _Nowhere = file
        self._told = told

    def write(self, data: bytes) -> int:
        self._told(0)
        return self._file.write(data)

    def give_up(self) -> None:
        self._file, self._told = _Nowhere(), _nobody

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Nowhere:
    """A file that keeps nothing. An `io.BytesIO` may be collected, and so be closed, before the ZipFile is."""

    def __init__(self) -> None:
        self._position = 0

    def write(self, data: bytes) -> int:
        self._position += len(data)
        return len(data)

    def seek(self, position: int) -> int:
        self._position = position
        return position

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        pass
