"""Output files, a function for each format, made of a store: ordered by (date, id), created whole or not at all.

The same worklogs give the same bytes, whatever happened on the way to them (DuckDB files: the same contents).

* ``ndjson``, ``csv``: see `text`; compressed with gzip where the name of the file ends in ``.gz``.
* ``parquet``: zstd; the columns typed as in `tables` (timestamps in UTC with microseconds, ``day`` as a date, numbers
  as float64, ``custom_fields`` as JSON text); a row group for each slice. Its metadata has the key ``tracket``: JSON
  with the API's version, the request's bounds, the schema version and the time zone of the days.
* ``duckdb``: a database with the table ``worklogs`` and the table ``about`` (name, value): the same metadata.
* ``xlsx``: see `sheets`.
"""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Final, cast

import attrs

from tracket_async._files import FileLock, atomic_write, refuse_link
from tracket_async.errors import StoreError, UsageError
from tracket_async.export import database as modules
from tracket_async.export import postgres, sheets
from tracket_async.export import tables as sql
from tracket_async.export.database import private_folder, replacing_database
from tracket_async.export.formats import POSTGRES, FileOptions, TargetFormat, check_format, is_gzip
from tracket_async.export.postgres import PostgresTable
from tracket_async.export.store import SCHEMA_VERSION, Store
from tracket_async.export.tables import read_slice, slices
from tracket_async.export.text import NAMES, Encoder, csv_encoder, csv_header, ndjson_encoder
from tracket_async.frames import arrow_schema

_CHUNK: Final = 2_000
"""How many worklogs are Python objects at once."""

_GZIP_LEVEL: Final = 6
"""4 times as fast as 9, Python's default, and larger by a twentieth."""

_MANY_VALUES: Final = frozenset({"id", "created_date", "updated_date"})
"""Nearly every worklog has its own, so that a dictionary of them would only be in the way."""

OnWorklogs = Callable[[int], None]
"""Called with how many more worklogs have been written."""


def write_file(
    store: Store,
    target: str | Path | PostgresTable,
    format: TargetFormat,
    file_options: FileOptions | None = None,
    *,
    on_worklogs: OnWorklogs | None = None,
    on_connected: Callable[[Callable[[], None]], None] | None = None,
) -> int:
    """Write all worklogs of a store to a file, with mode 0600, or to a table. Return how many there were.

    Args:
        store: it has all its worklogs.
        target: the file, replaced if it is there, or the table of PostgreSQL (see `postgres`).
        format: see above; of a table, ``"postgres"``.
        file_options: how it is written; None: all columns, CSV escaped. The days are those of the store's time zone.
        on_worklogs: is called with a number of worklogs, from the thread that writes, each time some are written.
        on_connected: of a table: as `postgres.write_table` has it.

    Raises:
        UsageError: a format that does not exist, or one that the name of the file contradicts.
        MissingExtraError: the format needs an extra.
        ExportError: the worklogs do not fit into a sheet of Excel; nothing was written.
        StoreError: it does not have all its worklogs yet.
        StorageError: the disk is full, the folder cannot be written, the target is a symbolic link or a folder.
        TargetBusyError: another process is writing the target.
    """
    if not isinstance(target, PostgresTable):
        target = Path(target)
    check_target(target, format)
    if isinstance(target, Path) and target.exists() and target.samefile(store.path):
        raise UsageError(f"{target} is the store itself: a DuckDB file with the view worklogs")
    if store.state == "fetching":
        raise StoreError(
            f"{store.path} does not have all worklogs yet", hint="Run the same export again: it goes on where it was"
        )
    options, told = file_options or FileOptions(), on_worklogs or _nobody
    if isinstance(target, PostgresTable):
        return postgres.write_table(store, target, options.columns, on_worklogs=told, on_connected=on_connected)
    check_room(store, format, options)
    return _WRITERS[format](_Output(store=store, target=target, options=options, told=told))


def check_target(target: Path | PostgresTable, format: str) -> None:
    """Check, before there is anything to write, that the format exists and that a file can be there.

    Raises:
        UsageError, MissingExtraError, StorageError: as `write_file`.
    """
    if isinstance(target, PostgresTable):
        if format != POSTGRES:
            raise UsageError(f"{target.url} is a database, whose format is {POSTGRES}, not {format}")
        postgres.connection_url(target.url)
        postgres.driver()
        return
    check_format(target, format)
    if format == "xlsx":
        modules.xlsxwriter()
    refuse_link(target)


def check_room(store: Store, format: str, options: FileOptions) -> None:
    """Check that all worklogs of a store fit into a file of the format.

    Raises:
        ExportError: as `write_file`.
    """
    if format == "xlsx":
        sheets.require_room(store.count())
        sheets.require_short_cells(store.database, options.columns or NAMES)


def metadata(store: Store) -> dict[str, Any]:
    """Return what a file says about itself: the same for the same request."""
    request = store.request
    return {"api": request.api, "filter": request.filter_to_json(), "schema_version": SCHEMA_VERSION, "tz": store.tz}


def _nobody(_count: int) -> None:
    pass


@attrs.frozen(kw_only=True)
class _Output:
    """A file to be written; ``told`` is called as `OnWorklogs`."""

    store: Store
    target: Path
    options: FileOptions
    told: OnWorklogs

    @property
    def columns(self) -> Sequence[str]:
        return self.options.columns or NAMES


def _chunks(output: _Output, statement: str) -> Iterator[Any]:
    """Yield what the query of a slice finds, in order, as Arrow record batches that are small as Python objects."""
    database = output.store.database
    for part in slices(database):
        yield from read_slice(database, statement, part).to_batches(max_chunksize=_CHUNK)


@contextlib.contextmanager
def open_text(target: Path) -> Generator[IO[bytes]]:
    """Open a file of text as `atomic_write` does, compressed where its name says so: equal text gives equal files."""
    with atomic_write(target) as file:
        if not is_gzip(target):
            yield file
            return
        with gzip.GzipFile(filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=file, mtime=0) as compressed:
            yield cast("IO[bytes]", compressed)


def _text(output: _Output, head: bytes, encode: Encoder) -> int:
    written = 0
    with open_text(output.target) as file:
        file.write(head)
        for chunk in _chunks(output, sql.cells_slice(output.columns, output.store.tz)):
            file.write(encode([column.to_pylist() for column in chunk.columns]))
            written += chunk.num_rows
            output.told(chunk.num_rows)
    return written


def _ndjson(output: _Output) -> int:
    return _text(output, b"", ndjson_encoder(output.columns))


def _csv(output: _Output) -> int:
    columns, options = output.columns, output.options
    head = csv_header(columns, delimiter=options.delimiter, bom=options.bom)
    return _text(output, head, csv_encoder(columns, delimiter=options.delimiter, raw=options.raw))


def _xlsx(output: _Output) -> int:
    with atomic_write(output.target) as file, private_folder(output.target) as folder:
        return sheets.write_sheet(
            file,
            _chunks(output, sql.typed_slice(output.columns, output.store.tz)),
            output.columns,
            worklogs=output.store.count(),
            about=metadata(output.store),
            folder=folder,
            told=output.told,
        )


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
            table = read_slice(database, statement, part).cast(schema)
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
    {"parquet": _parquet, "csv": _csv, "ndjson": _ndjson, "duckdb": _duckdb, "xlsx": _xlsx}
)
