r"""The worklogs of a store or of an export file, as the table ``worklogs`` of an in-memory DuckDB.

The file is opened for reading alone. A DuckDB file may come from a stranger, and its views could read other files: once
it is attached, the connection can open no further file, and only plain tables of it are read.

The columns are those of an export, by their names; ids are text. A column that the file does not have is null
everywhere. ``day`` is the day that is counted:

* API 2.0 keeps days, and they are never moved.
* On API 1.0, a worklog has a moment. Its day is counted in the time zone that is asked for, else in that of the store
  or of the file.
* CSV and NDJSON do not say which API they come from. When every date in them is 00:00 UTC they are taken for days.
"""
# ruff: noqa: S608 - what is put into the statements are names of columns and quoted paths, from this package

from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import io
import json
import math
import os
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, get_args

import attrs

from tracket_async._files import storage_errors
from tracket_async.client import API_VERSIONS
from tracket_async.errors import StoreError, TargetBusyError, UsageError
from tracket_async.export import database as modules
from tracket_async.export.formats import ENDINGS, Delimiter, Format, format_of, is_gzip
from tracket_async.export.tables import sql_day, sql_type
from tracket_async.export.text import UTC, time_zone
from tracket_async.frames import DAY, NUMBERS, load, pyarrow
from tracket_async.models import first_moment, last_moment

COLUMNS: Final = (
    DAY,
    "date",
    "created_date",
    "updated_date",
    "user_id",
    "category_id",
    "project_id",
    "item_id",
    "approval_status",
    "minutes",
    "billable_minutes",
)
"""The columns of an export that a report can use."""
BOUNDS: Final = (
    ("since", "date", ">="),
    ("until", "date", "<="),
    ("created_since", "created_date", ">="),
    ("created_until", "created_date", "<="),
    ("updated_since", "updated_date", ">="),
    ("updated_until", "updated_date", "<="),
)
LONGEST_LINE: Final = 1 << 24
"""Bytes of a line of CSV or NDJSON at most."""
_CONFIG: Final = {
    "memory_limit": "1GiB",
    "temp_directory": "",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}


@attrs.frozen(kw_only=True)
class Selection:
    """The worklogs of a file that count.

    Attributes:
        bounds: by the names of `WorklogFilter` (``since``, ...), each inclusive. A day is a whole day, in the time zone
            in which days are counted; an aware datetime is a moment, or its day as it is written where the file keeps
            days. An unknown date is in no bounded range. None is no bound.
        values: the values that count, by the name of a column; an empty collection is every value.
    """

    bounds: Mapping[str, dt.date | None] = MappingProxyType({})
    values: Mapping[str, Collection[str]] = MappingProxyType({})


EVERYTHING: Final = Selection()


@attrs.frozen(kw_only=True)
class Worklogs:
    """Worklogs that can be summed up: the table ``worklogs`` of the connection.

    Attributes:
        path: the file.
        tz: the IANA name of the time zone in which days are counted; None: the file has days, which are of no time
            zone.
        number: the number of worklogs.
        connection: of DuckDB.
    """

    path: Path
    tz: str | None
    number: int
    connection: Any

    def rows(self, statement: str, values: Collection[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of the statement's result."""
        found: list[tuple[Any, ...]] = self.connection.execute(statement, list(values)).fetchall()
        return found


@attrs.frozen(kw_only=True)
class _Found:
    """The content of a file: how SQL names it, its columns, and what it says about itself.

    ``api`` and ``tz`` are None where it does not say.
    """

    relation: str
    columns: Collection[str]
    api: str | None = None
    tz: str | None = None


@contextlib.contextmanager
def open_worklogs(path: Path, *, tz: str | None = None, selection: Selection = EVERYTHING) -> Generator[Worklogs]:
    """Read the worklogs of a store or an export file, and close it again.

    Args:
        path: the file; what it is, its first bytes and its name say.
        tz: the IANA name of the time zone in which the days of moments are counted; None: as the file has them.
        selection: the worklogs that count.

    Raises:
        UsageError: there is no such file or time zone, or it is no export.
        StoreError: it is a store that does not have all its worklogs yet.
        TargetBusyError: another program is writing it.
        MissingExtraError: DuckDB is not installed.
    """
    if tz is not None:
        time_zone(tz)
    duckdb = modules.duckdb()
    with contextlib.closing(duckdb.connect(config=_CONFIG)) as connection:
        with _errors(path):
            connection.execute("SET TimeZone = 'UTC'")
            found = _FORMATS[_format_of(path)](connection, path)
            worklogs = _selected(connection, path, found, tz, selection)
        yield worklogs


@contextlib.contextmanager
def _errors(path: Path) -> Generator[None]:
    module = modules.duckdb()
    try:
        with storage_errors(path, "read"):
            yield
    except module.Error as error:
        text = str(error).splitlines()[0]
        if "Could not set lock" in text:
            raise TargetBusyError(
                f"{path} is being written by another program", hint="Wait until it ends, then run the same again"
            ) from error
        raise UsageError(f"{path} cannot be read as worklogs: {text}", hint=_HINT) from error


_HINT: Final = "Give a store, or a file that tracket export wrote"


# -- the formats -------------------------------------------------------------------------------------------------------

_DAY_LENGTH: Final = len("YYYY-MM-DD")
_MAGIC: Final[tuple[tuple[Format, int, bytes], ...]] = (
    ("duckdb", 8, b"DUCK"),
    ("parquet", 0, b"PAR1"),
    ("xlsx", 0, b"PK\x03\x04"),
)
"""The bytes by which a file of a format is known, and their place: a store may have any name."""


def _format_of(path: Path) -> Format:
    """Return the format of a file: that of its first bytes, else that of its name."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint=_HINT) from None
    for name, place, magic in _MAGIC:
        if head[place:].startswith(magic):
            return name
    found = format_of(path)
    if found is None:
        raise UsageError(f"The ending of {path} names no format. Its name should end with one of {', '.join(ENDINGS)}")
    return found


def _quoted(path: Path) -> str:
    # A path with a colon could be an address to DuckDB, and one with an asterisk a pattern.
    text = os.fspath(path.absolute())
    return _literal("".join(f"[{letter}]" if letter in "*?[" else letter for letter in text))


def _text_columns(columns: Collection[str]) -> str:
    return ", ".join(f"{_literal(name)}: 'VARCHAR'" for name in columns)


_DELIMITERS: Final[tuple[Delimiter, ...]] = get_args(Delimiter)


def _csv(_connection: Any, path: Path) -> _Found:
    first = _first_line(path)
    delimiter = max(_DELIMITERS, key=first.count)
    header = first.rstrip("\r\n").replace('"', "").split(delimiter)
    if "" in header or len(set(header)) < len(header):
        raise UsageError(f"{path} has no header of CSV in its first line", hint=_HINT)
    # All settings are given, because a guess could be wrong, and on one thread a line break in a cell does no harm.
    relation = (
        f"read_csv({_quoted(path)}, auto_detect = false, header = true, delim = '{delimiter}', quote = '\"',"
        " escape = '\"',"
        f" nullstr = '', parallel = false, max_line_size = {LONGEST_LINE}, columns = {{{_text_columns(header)}}})"
    )
    cells = ", ".join(
        name if name in NUMBERS or name == DAY else _unescaped(name) for name in COLUMNS if name in header
    )
    return _Found(relation=f"(SELECT {cells or 'NULL'} FROM {relation})", columns=header)


def _unescaped(name: str) -> str:
    """Return the SQL for a cell without the apostrophe that `escape_formula` has put in front."""
    return f"regexp_replace({name}, '^''([=+\\-@\\t\\r\\n＝＋－＠''])', '\\1') AS {name}"  # noqa: RUF001 - full width


def _first_line(path: Path) -> str:
    """Return the first line, empty where it is no text."""
    with io.TextIOWrapper(_opened(path), encoding="utf-8-sig", newline="") as file:
        try:
            return file.readline(LONGEST_LINE)
        except (ValueError, EOFError, gzip.BadGzipFile):
            return ""


def _opened(path: Path) -> Any:
    return gzip.open(path, "rb") if is_gzip(path) else path.open("rb")


def _ndjson(_connection: Any, path: Path) -> _Found:
    first = _first_line(path).strip()
    if first and not (first.startswith("{") and first.endswith("}")):  # older DuckDBs pass over half an object
        raise UsageError(f"{path} has no JSON object in its first line", hint=_HINT)
    relation = (
        f"read_json({_quoted(path)}, format = 'newline_delimited', maximum_object_size = {LONGEST_LINE},"
        f" columns = {{{_text_columns(COLUMNS)}}})"
    )
    return _Found(relation=relation, columns=COLUMNS)


def _parquet(connection: Any, path: Path) -> _Found:
    relation = f"read_parquet({_quoted(path)})"
    about = connection.execute(
        f"SELECT value FROM parquet_kv_metadata({_quoted(path)}) WHERE key = 'tracket'::BLOB"
    ).fetchall()
    columns = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()]
    said: dict[str, Any] = json.loads(about[0][0]) if about else {}
    return _Found(relation=relation, columns=columns, api=said.get("api"), tz=said.get("tz"))


def _xlsx(connection: Any, path: Path) -> _Found:
    calamine = load("python_calamine", extra="excel")
    try:
        sheet = calamine.CalamineWorkbook.from_path(os.fspath(path)).get_sheet_by_index(0)
        # calamine has a panic for a sheet without cells.
        cells: list[list[Any]] = [[]] if sheet.start is None else [*sheet.iter_rows()]
    except (calamine.CalamineError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as a workbook: {error}", hint=_HINT) from None
    header, *rows = cells
    names = [name for name in COLUMNS if name in header]
    columns = [[_sheet_text(row[header.index(name)]) for row in rows] for name in names]
    if not names:
        raise UsageError(f"{path} has no columns of dates and minutes", hint=_HINT)
    pa = pyarrow()
    connection.register("sheet", pa.table([pa.array(column, pa.string()) for column in columns], names=names))
    return _Found(relation="sheet", columns=names)


def _sheet_text(value: Any) -> str | None:
    """Return the text of a cell, None of an empty one. A moment of a sheet is in UTC."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) or None


def _duckdb(connection: Any, path: Path) -> _Found:
    connection.execute(f"ATTACH {_literal(os.fspath(path.absolute()))} AS file (READ_ONLY)")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    columns: dict[str, list[str]] = {}
    for table, column in connection.execute(_TABLE_COLUMNS).fetchall():
        columns.setdefault(table, []).append(column)
    if "tracket.rows" in columns:
        said = _values(connection, "tracket.meta")
        if said.get("state") not in {"checking", "done"}:
            raise StoreError(f"{path} does not have all worklogs yet", hint="Run its export or sync again, to its end")
        return _Found(
            relation="file.tracket.rows",
            columns=columns["tracket.rows"],
            api=said["request"]["api"],
            tz=said.get("tz") or UTC,
        )
    if "main.worklogs" not in columns:
        raise UsageError(f"{path} is a DuckDB file without the worklogs of an export", hint=_HINT)
    said = _values(connection, "main.about") if "main.about" in columns else {}
    return _Found(
        relation="file.main.worklogs", columns=columns["main.worklogs"], api=said.get("api"), tz=said.get("tz")
    )


_TABLE_COLUMNS: Final = """
SELECT schema_name || '.' || table_name, column_name FROM duckdb_columns() JOIN duckdb_tables()
USING (database_name, schema_name, table_name) WHERE database_name = 'file'"""


def _values(connection: Any, table: str) -> dict[str, Any]:
    return {name: json.loads(value) for name, value in connection.execute(f"FROM file.{table}").fetchall()}


_FORMATS: Final[Mapping[Format, Callable[[Any, Path], _Found]]] = {
    "csv": _csv,
    "ndjson": _ndjson,
    "parquet": _parquet,
    "duckdb": _duckdb,
    "xlsx": _xlsx,
}


# -- the table ---------------------------------------------------------------------------------------------------------


def _selected(connection: Any, path: Path, found: _Found, tz: str | None, selection: Selection) -> Worklogs:
    """Read all of the file into the table ``given``, and make ``worklogs`` a view of what counts."""
    if "minutes" not in found.columns or not {DAY, "date"} & {*found.columns}:
        raise UsageError(f"{path} has no columns of dates and minutes", hint=_HINT)
    cells = (f"CAST({name if name in found.columns else 'NULL'} AS {sql_type(name)}) AS {name}" for name in COLUMNS)
    connection.execute(f"CREATE TEMP TABLE given AS SELECT {', '.join(cells)} FROM {found.relation}")
    keeps_days = _keeps_days(connection, found)
    zone = None if keeps_days else tz or found.tz
    day = f"CASE WHEN date IS NOT NULL THEN {sql_day(zone or UTC)} END"
    if keeps_days or tz in {None, found.tz}:
        day = f"coalesce(day, {day})"
    where = "".join(f" AND {condition}" for condition in _conditions(selection, keeps_days=keeps_days))
    connection.execute(
        f"CREATE TEMP VIEW worklogs AS SELECT * FROM (SELECT * REPLACE ({day} AS day) FROM given) WHERE true{where}"
    )
    [(rows, dates, minutes, total)] = connection.execute(
        f"SELECT count(*), count({day}), count(minutes), coalesce(sum(minutes), 0) FROM given"
    ).fetchall()
    for name, known in (("date", dates), ("minutes", minutes)):
        if known < rows:
            raise UsageError(f"{path} has no {name} in {rows - known:,} of {rows:,} worklogs", hint=_HINT)
    if not math.isfinite(total):
        raise UsageError(f"The minutes in {path} are too large to be added up", hint="Correct the file")
    [(number,)] = connection.execute("SELECT count(*) FROM worklogs").fetchall()
    return Worklogs(path=path, tz=zone, number=number, connection=connection)


def _keeps_days(connection: Any, found: _Found) -> bool:
    if found.api is not None and found.api in API_VERSIONS:
        return API_VERSIONS[found.api]().keeps_days
    [(moments,)] = connection.execute("SELECT count_if(epoch_us(date) % 86400000000 != 0) FROM given").fetchall()
    return not moments


def _conditions(selection: Selection, *, keeps_days: bool) -> Iterator[str]:
    for name, column, operator in BOUNDS:
        bound = selection.bounds.get(name)
        if bound is None:
            continue
        if column == "date" and (keeps_days or not isinstance(bound, dt.datetime)):
            yield f"day {operator} DATE '{bound.isoformat()[:_DAY_LENGTH]}'"
        else:
            moment = last_moment(bound) if operator == "<=" else first_moment(bound)
            yield f"{column} {operator} TIMESTAMPTZ '{moment.isoformat()}'"
    for column, values in selection.values.items():
        if values:
            yield f"{column} IN ({', '.join(map(_literal, values))})"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
