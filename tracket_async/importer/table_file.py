"""Rows of Parquet and DuckDB files: of those that an export writes, and of others with the same columns.

A DuckDB file may come from a stranger: nothing but its table or view ``worklogs`` is read, over a connection that can
reach no other file.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator
from typing import Any, Final

from tracket_async.errors import UsageError
from tracket_async.export import database as modules
from tracket_async.frames import pyarrow
from tracket_async.importer.records import CheckHeader, Rows
from tracket_async.importer.source import InputSource

_BATCH: Final = 2_000
"""So many rows are Python objects at once."""


def parquet_rows(source: InputSource, check_header: CheckHeader) -> Rows:
    """Yield the rows of a Parquet file; see `Rows`.

    Raises:
        UsageError: it is none.
        MissingExtraError: pyarrow is not installed.
    """
    pa = pyarrow()
    try:
        found = modules.parquet().ParquetFile(source.rewound())
        yield from _checked(found.schema_arrow.names, found.iter_batches(_BATCH), check_header)
    except pa.ArrowException as error:
        raise _unreadable(source, "Parquet", error) from None
    source.check()


def duckdb_rows(source: InputSource, check_header: CheckHeader) -> Rows:
    """Yield the rows of the table ``worklogs`` of a DuckDB file, in the order in which it has them; see `Rows`.

    Raises:
        UsageError: it is none, it has no such table, or it is standard input.
        MissingExtraError: DuckDB or pyarrow is not installed.
    """
    duckdb = modules.duckdb()
    pyarrow()
    if source.path is None:
        raise UsageError(f"A DuckDB database cannot be read from {source.name}. Give its file")
    path = str(source.path).replace("'", "''")
    try:
        with contextlib.closing(duckdb.connect()) as connection:
            connection.execute(f"ATTACH '{path}' AS given (READ_ONLY)")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            connection.execute("USE given")
            found = connection.execute("SELECT * FROM given.worklogs")
            names = [column[0] for column in found.description]
            yield from _checked(names, found.fetch_record_batch(_BATCH), check_header)
    except duckdb.Error as error:
        raise _unreadable(source, "DuckDB", error) from None
    source.check()


def _checked(names: list[str], batches: Iterator[Any], check_header: CheckHeader) -> Rows:
    try:
        check_header(names)
    except ValueError as error:
        raise UsageError(f"The columns of the file cannot be used: {error}") from None
    number = 0
    for batch in batches:
        columns = [_values(column) for column in batch.columns]
        for cells in zip(*columns, strict=True):
            number += 1
            yield number, dict(zip(names, cells, strict=True))


def _values(column: Any) -> list[Any]:
    """Return the values of a column; moments in UTC, whatever the name of their zone."""
    pa = pyarrow()
    if not pa.types.is_timestamp(column.type):
        return list(column.to_pylist())
    epoch = dt.datetime(1970, 1, 1, tzinfo=None if column.type.tz is None else dt.UTC)
    microseconds = column.cast(pa.timestamp("us", tz=column.type.tz)).cast(pa.int64()).to_pylist()
    return [None if value is None else epoch + dt.timedelta(microseconds=value) for value in microseconds]


def _unreadable(source: InputSource, format: str, error: Exception) -> UsageError:
    return UsageError(f"{source.name} is no {format} file of worklogs: {str(error).splitlines()[0]}")
