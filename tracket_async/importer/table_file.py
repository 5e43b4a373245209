"""Rows of Parquet and DuckDB files: of those that an export writes, and of others with the same columns.

A DuckDB file may come from a stranger: nothing but its table or view ``worklogs`` is read, over a connection that can
reach no other file.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from tracket_async.errors import UsageError
from tracket_async.export import database as modules
from tracket_async.frames import pyarrow
from tracket_async.importer.records import CheckHeader, Rows
from tracket_async.importer.source import InputSource

_BATCH: Final = 2_000
"""So many rows are Python objects at once."""
_EPOCH: Final = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - a moment without a time zone has one, too


def parquet_rows(source: InputSource, check_header: CheckHeader) -> Rows:
    """Yield the rows of a Parquet file; see `Rows`.

    Raises:
        UsageError: it is none.
        MissingExtraError: pyarrow is not installed.
    """
    pa = pyarrow()
    try:
        found = modules.parquet().ParquetFile(source.rewound())
        batches = ([_values(column) for column in batch.columns] for batch in found.iter_batches(_BATCH))
        yield from _checked(found.schema_arrow.names, (zip(*columns, strict=True) for columns in batches), check_header)
    except pa.ArrowException as error:
        raise _unreadable(source, "Parquet", error) from None
    source.check()


def _values(column: Any) -> list[Any]:
    """Return the values of a column; moments in UTC, whatever the name of their zone."""
    pa = pyarrow()
    if not pa.types.is_timestamp(column.type):
        return list(column.to_pylist())
    microseconds = column.cast(pa.timestamp("us", tz=column.type.tz)).cast(pa.int64()).to_pylist()
    return [_moment(value, None if column.type.tz is None else dt.UTC) for value in microseconds]


def duckdb_rows(source: InputSource, check_header: CheckHeader) -> Rows:
    """Yield the rows of the table ``worklogs`` of a DuckDB file, in the order in which it has them; see `Rows`.

    Raises:
        UsageError: it is none, it has no such table, or it is standard input.
        MissingExtraError: DuckDB is not installed.
    """
    duckdb = modules.duckdb()
    if source.path is None:
        raise UsageError(f"A DuckDB database cannot be read from {source.name}. Give its file")
    path = str(source.path).replace("'", "''")
    try:
        with contextlib.closing(duckdb.connect(config={"threads": "1"})) as connection:
            connection.execute(f"ATTACH '{path}' AS given (READ_ONLY)")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            connection.execute("USE given")
            columns = connection.execute("DESCRIBE SELECT * FROM given.worklogs").fetchall()
            # DuckDB hands over no moment in a time zone without a library that it does not bring along.
            moments = {name for name, kind, *_ in columns if kind == "TIMESTAMP WITH TIME ZONE"}
            names = [name for name, *_ in columns]
            cells = ", ".join(f"epoch_us({_quoted(name)})" if name in moments else _quoted(name) for name in names)
            found = connection.execute(f"SELECT {cells} FROM given.worklogs")  # noqa: S608 - quoted names
            places = [place for place, name in enumerate(names) if name in moments]
            batches = iter(lambda: found.fetchmany(_BATCH), [])
            yield from _checked(names, (_with_moments(batch, places) for batch in batches), check_header)
    except duckdb.Error as error:
        raise _unreadable(source, "DuckDB", error) from None
    source.check()


def _with_moments(batch: Iterable[Sequence[Any]], places: Sequence[int]) -> Iterator[Sequence[Any]]:
    for row in batch:
        cells = [*row]
        for place in places:
            cells[place] = _moment(cells[place], dt.UTC)
        yield cells


def _moment(microseconds: int | None, zone: dt.tzinfo | None) -> dt.datetime | None:
    return None if microseconds is None else (_EPOCH + dt.timedelta(microseconds=microseconds)).replace(tzinfo=zone)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _checked(names: list[str], batches: Iterable[Iterable[Sequence[Any]]], check_header: CheckHeader) -> Rows:
    try:
        check_header(names)
    except ValueError as error:
        raise UsageError(f"The columns of the file cannot be used: {error}") from None
    number = 0
    for batch in batches:
        for cells in batch:
            number += 1
            yield number, dict(zip(names, cells, strict=True))


def _unreadable(source: InputSource, format: str, error: Exception) -> UsageError:
    return UsageError(f"{source.name} is no {format} file of worklogs: {str(error).splitlines()[0]}")
