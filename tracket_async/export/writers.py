"""Output files, a function for each format, made of a store: ordered by (date, id), created whole or not at all.

The same worklogs give the same bytes, whatever happened on the way to them (DuckDB files: the same contents).

* ``ndjson``, ``csv``: see `text`.
* ``parquet``: zstd; the columns typed as in `tables` (timestamps in UTC with microseconds, ``day`` as a date, numbers
  as float64, ``custom_fields`` as JSON text); a row group for each slice. Its metadata has the key ``tracket``: JSON
  with the API's version, the request's bounds, the schema version and the time zone of the days.
* ``duckdb``: a database with the table ``worklogs`` and the table ``about`` (name, value): the same metadata.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

import attrs

from tracket_async._files import FileLock, atomic_write, refuse_link
from tracket_async.errors import StoreError, UsageError
from tracket_async.export import database as modules
from tracket_async.export import tables as sql
from tracket_async.export.database import replacing_database
from tracket_async.export.store import SCHEMA_VERSION, Store
from tracket_async.export.tables import arrow_schema, slices
from tracket_async.export.text import Encoder, columns_named, csv_encoder, csv_header, ndjson_encoder

Format = Literal["parquet", "csv", "ndjson", "duckdb"]

_CHUNK: Final = 2_000
"""How many worklogs are Python objects at once."""

_MANY_VALUES: Final = frozenset({"id", "created_date", "updated_date"})
"""Nearly every worklog has its own, so that a dictionary of them would only be in the way."""

OnWorklogs = Callable[[int], None]
"""Called with how many more worklogs have been written."""


def write_file(
    store: Store,
    target: str | Path,
    format: Format,
    *,
    columns: Iterable[str] | None = None,
    raw: bool = False,
    on_worklogs: OnWorklogs | None = None,
) -> int:
    """Write all worklogs of a store to a file, with mode 0600. Return how many there were.

    Args:
        store: it has all its worklogs.
        target: the file, replaced if it is there.
        format: see above.
        columns: in the order in which they are wanted; None: all.
        raw: in CSV, write text that begins like a formula as it is.
        on_worklogs: is called with a number of worklogs, from the thread that writes, each time some are written.

    Raises:
        UsageError: a format or a column that does not exist.
        StoreError: it does not have all its worklogs yet.
        StorageError: the disk is full, the folder cannot be written, the target is a symbolic link or a folder.
        TargetBusyError: another process is writing the target.
    """
    named, target = columns_named(columns), Path(target)
    check_target(target, format)
    if target.exists() and target.samefile(store.path):
        raise UsageError(f"{target} is the store itself: a DuckDB file with the view worklogs")
    if store.state == "fetching":
        raise StoreError(
            f"{store.path} does not have all worklogs yet", hint="Run the same export again: it goes on where it was"
        )
    output = _Output(store=store, target=target, columns=named, raw=raw, told=on_worklogs or _nobody)
    return _WRITERS[format](output)


def check_target(target: Path, format: str) -> None:
    """Check, before there is anything to write, that the format exists and that a file can be there.

    Raises:
        UsageError, StorageError: as `write_file`.
    """
    if format not in _WRITERS:
        raise UsageError(f"there is no format {format!r}; the formats are {', '.join(_WRITERS)}")
    refuse_link(target)


def metadata(store: Store) -> dict[str, Any]:
    """Return what a file says about itself: the same for the same request."""
    request = store.request
    return {"api": request.api, "filter": request.bounds(), "schema_version": SCHEMA_VERSION, "tz": store.tz}


def _nobody(_count: int) -> None:
    pass


@attrs.frozen(kw_only=True)
class _Output:
    """A file to be written; ``told`` is called as `OnWorklogs`."""

    store: Store
    target: Path
    columns: Sequence[str]
    raw: bool
    told: OnWorklogs


def _text(output: _Output, head: bytes, encode: Encoder) -> int:
    database, statement, written = output.store.database, sql.cells_slice(output.columns, output.store.tz), 0
    with atomic_write(output.target) as file:
        file.write(head)
        for part in slices(database):
            for chunk in database.arrow(statement, part.values).to_batches(max_chunksize=_CHUNK):
                file.write(encode([column.to_pylist() for column in chunk.columns]))
                written += chunk.num_rows
                output.told(chunk.num_rows)
    return written


def _ndjson(output: _Output) -> int:
    return _text(output, b"", ndjson_encoder(output.columns))


def _csv(output: _Output) -> int:
    return _text(output, csv_header(output.columns), csv_encoder(output.columns, raw=output.raw))


def _parquet(output: _Output) -> int:
    about = json.dumps(metadata(output.store), sort_keys=True)
    schema = arrow_schema(output.columns).with_metadata({"tracket": about})
    database, statement, written = output.store.database, sql.typed_slice(output.columns, output.store.tz), 0
    few = [name for name in output.columns if name not in _MANY_VALUES]
    with (
        atomic_write(output.target) as file,
        modules.parquet().ParquetWriter(file, schema, compression="zstd", use_dictionary=few) as writer,
    ):
        for part in slices(database):
            table = database.arrow(statement, part.values).cast(schema)
            if table.num_rows:
                writer.write_table(table, row_group_size=table.num_rows)
            written += table.num_rows
            output.told(table.num_rows)
    return written


def _duckdb(output: _Output) -> int:
    database, written = output.store.database, 0
    with (
        contextlib.closing(FileLock(output.target)),
        replacing_database(output.target) as new,
        database.attached(new, "made"),
    ):
        database.execute(sql.create_copy(output.columns))
        database.execute(sql.CREATE_ABOUT)
        for name, value in metadata(output.store).items():
            database.execute(sql.INSERT_ABOUT, [name, json.dumps(value, sort_keys=True)])
        for part in slices(database):
            count = int(database.rows(sql.copy_slice(output.columns, output.store.tz), part.values)[0][0])
            written += count
            output.told(count)
    return written


_WRITERS: Mapping[str, Callable[[_Output], int]] = MappingProxyType(
    {"parquet": _parquet, "csv": _csv, "ndjson": _ndjson, "duckdb": _duckdb}
)
