"""DuckDB files that are private, small in memory and created whole, and the imports of optional libraries.

A file is created in a private folder beside (``.NAME.new``) and renamed into place: it is never half there, and its
mode is 0600. DuckDB creates its write-ahead log with the process's umask, so an empty one with mode 0600 is created
before it does: after opening and after each checkpoint. Checkpoints are therefore made only where this module asks for
them, never by DuckDB in between. DuckDB may take `MEMORY_MIB` and one thread. What does not fit goes to ``.NAME.tmp``,
a private folder that is emptied when the file is opened and removed when it is closed.

A file that exists may come from a stranger: its macros could read other files. Before any statement is run on it, its
catalog is read over a locked connection, and must be exactly the one that this program creates.

Errors of DuckDB become `StoreError`, `StorageError` or `TargetBusyError`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Generator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from tracket_async._files import beside, fsync_folder, refuse_link, replace, storage_error, storage_errors
from tracket_async.errors import (
    StorageError,
    StoreError,
    TargetBusyError,
    TracketError,
    UsageError,
)
from tracket_async.frames import load

# No library has complete types, so what is imported here is Any, and stays in this package.


def duckdb() -> Any:
    """Import ``duckdb``; raises as `load`."""
    return load("duckdb", extra="export")


def parquet() -> Any:
    """Import ``pyarrow.parquet``; raises as `load`."""
    return load("pyarrow.parquet", extra="export")


def compute() -> Any:
    """Import ``pyarrow.compute``; raises as `load`."""
    return load("pyarrow.compute", extra="export")


def xlsxwriter() -> Any:
    """Import ``xlsxwriter``; raises as `load`."""
    return load("xlsxwriter", extra="excel")


MEMORY_MIB: Final = 64
"""What DuckDB may hold in memory, MiB."""
_LOG_BYTES: Final = 16 * 1024 * 1024
"""From this size on, the write-ahead log is written into the file."""
_PRIVATE: Final = 0o600

_SAID_BY_THE_SYSTEM = {
    os.strerror(code): code
    for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)
} | {"There is not enough space on the disk": errno.ENOSPC, "Access is denied": errno.EACCES}  # so says Windows
_OPEN_ELSEWHERE: Final = ("Could not set lock", "being used by another process")


Statement = tuple[str, Sequence[Any]]
"""SQL and the values for its question marks."""

_CONFIG: Final = {
    "memory_limit": f"{MEMORY_MIB}MiB",
    "threads": "1",
    "wal_autocheckpoint": "1TiB",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    # Every version that pyproject.toml allows can read what any other has written.
    "storage_compatibility_version": "v1.2.0",
}

_START_OVER: Final = "Name another file, or move this one away to start over"
_OF_A_NEWER_DUCKDB: Final = "newer version of DuckDB"


_CATALOG: Final = """
SELECT 'schema ' || schema_name FROM duckdb_schemas() WHERE database_name = 'inspected' AND NOT internal
UNION ALL SELECT concat_ws(' ', 'column', schema_name || '.' || table_name || '.' || column_name, data_type,
    is_nullable, column_default) FROM duckdb_columns() WHERE database_name = 'inspected' AND NOT internal
UNION ALL SELECT 'view ' || view_name FROM duckdb_views() WHERE database_name = 'inspected' AND NOT internal
UNION ALL SELECT 'macro ' || function_name FROM duckdb_functions() WHERE database_name = 'inspected' AND NOT internal
UNION ALL SELECT 'type ' || type_name FROM duckdb_types() WHERE database_name = 'inspected' AND NOT internal
UNION ALL SELECT 'sequence ' || sequence_name FROM duckdb_sequences() WHERE database_name = 'inspected'
UNION ALL SELECT 'index ' || index_name FROM duckdb_indexes() WHERE database_name = 'inspected'
UNION ALL SELECT concat_ws(' ', 'constraint', table_name, constraint_text) FROM duckdb_constraints()
WHERE database_name = 'inspected'"""
"""Everything that was created in a file, each as a line of text."""
_ABOUT_AN_EXPORT: Final = frozenset({"column main.about.name VARCHAR false", "column main.about.value VARCHAR false"})
"""What is in every DuckDB file that `writers` has written, and in no store."""


@cache
def _catalog_of(statements: tuple[str, ...]) -> frozenset[str]:
    """Return the catalog of a database that these statements create."""
    with contextlib.closing(duckdb().connect(config=_CONFIG)) as connection:
        connection.execute("ATTACH ':memory:' AS inspected")
        connection.execute("USE inspected")
        for statement in statements:
            connection.execute(statement)
        return _catalog(connection)


def _catalog_in(path: Path) -> frozenset[str]:
    """Return the catalog of a file, read from beside, where its own macros are not called."""
    with contextlib.closing(duckdb().connect(config=_CONFIG)) as connection:
        connection.execute(f"ATTACH {_quoted(path)} AS inspected (READ_ONLY)")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        return _catalog(connection)


def _catalog(connection: Any) -> frozenset[str]:
    return frozenset(line for (line,) in connection.execute(_CATALOG).fetchall())


def _quoted(path: Path) -> str:
    return "'" + os.fspath(path).replace("'", "''") + "'"


class Database:
    """An open DuckDB file. Not for several threads at once.

    Raises:
        StoreError: it is not a DuckDB file, one that this version of DuckDB cannot read, or one in which there is
            anything else than ``schema`` creates.
        StorageError: the operating system refuses.
        TargetBusyError: another program has it open.
        UsageError: its path is not UTF-8.
    """

    def __init__(self, path: Path, *, schema: Sequence[Statement]) -> None:
        """Open the file, or create it with these statements where there is none."""
        try:
            os.fspath(path).encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"{path} is no UTF-8 text, and DuckDB opens no file of such a name",
                hint="Give the file, or the folder that it is in, another name",
            ) from None
        self.path = path
        self._log = path.with_name(path.name + ".wal")
        self._spill = beside(path, ".tmp", prefix=".")
        refuse_link(path)
        refuse_link(self._log)
        with storage_errors(path, "prepare"):
            # A process that was killed may have left it, with the store already in its place.
            shutil.rmtree(_new_folder(path), ignore_errors=True)
            _empty_folder(self._spill)
        try:
            if not path.exists():
                # A log without its file is what is left of a database that was being removed.
                self._log.unlink(missing_ok=True)
                self._create(schema)
            else:
                self._check_catalog(schema)
            self._connection: Any = self._connect(path)
            self._create_log()
        except BaseException:
            shutil.rmtree(self._spill, ignore_errors=True)
            raise

    def _create(self, schema: Sequence[Statement]) -> None:
        with (
            replacing_database(self.path) as new,
            self.errors("create"),
            contextlib.closing(self._connect(new)) as connection,
        ):
            for statement, values in schema:
                connection.execute(statement, list(values))
            # Closing would do it, and hide that the disk is full.
            connection.execute("CHECKPOINT")

    def _check_catalog(self, schema: Sequence[Statement]) -> None:
        if not _is_duckdb(self.path):
            raise StoreError(f"{self.path} is no DuckDB file, so it is no store", hint=_START_OVER)
        with self.errors("open"):
            found = _catalog_in(self.path)
            expected = _catalog_of(tuple(statement for statement, values in schema if not values))
        if found > _ABOUT_AN_EXPORT:
            raise StoreError(f"{self.path} is a DuckDB file that an export wrote, and no store", hint=_START_OVER)
        if found != expected:
            others = sorted(found - expected)
            what = f"has the {others[0]}" if others else f"lacks the {min(expected - found)}"
            raise StoreError(
                f"{self.path} is a DuckDB file of another program, or of another version of this one: it {what}",
                hint=_START_OVER,
            )

    def _connect(self, path: Path) -> Any:
        with self.errors("open"):
            config = _CONFIG | {"temp_directory": os.fspath(self._spill)}
            connection = duckdb().connect(os.fspath(path), config=config)
            connection.execute("SET TimeZone = 'UTC'")
            return connection

    def _create_log(self) -> None:
        with storage_errors(self._log, "create"), contextlib.suppress(FileExistsError):
            os.close(os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE))

    @contextlib.contextmanager
    def errors(self, doing: str) -> Generator[None]:
        """Raise each error of DuckDB from within as one of this package, with what was being done to the file."""
        module = duckdb()
        try:
            yield
        except module.Error as error:
            raise _translated(self.path, error, doing) from error

    def execute(self, statement: str, values: Sequence[Any] = ()) -> None:
        """Run one statement."""
        with self.errors("use"):
            self._connection.execute(statement, list(values))

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of the statement's result."""
        with self.errors("read"):
            found: list[tuple[Any, ...]] = self._connection.execute(statement, list(values)).fetchall()
            return found

    def arrow(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """Return the statement's result as an Arrow table, in memory."""
        with self.errors("read"):
            return self._connection.sql(statement, params=list(values)).to_arrow_table()

    @contextlib.contextmanager
    def registered(self, name: str, table: Any) -> Generator[None]:
        """Make the Arrow table readable under this name, within the block."""
        self._connection.register(name, table)
        try:
            yield
        finally:
            self._connection.unregister(name)

    @contextlib.contextmanager
    def attached(self, path: Path, name: str) -> Generator[None]:
        """Attach another DuckDB file under this name, within the block; it is created."""
        self.execute(f"ATTACH {_quoted(path)} AS {name}")
        try:
            yield
            # As in `_create`: detaching would hide an error.
            self.execute(f"CHECKPOINT {name}")
        finally:
            self.execute(f"DETACH {name}")

    @contextlib.contextmanager
    def transaction(self, *, size: int = 0) -> Generator[None]:
        """Commit all of the block, or, on an error, nothing of it. Afterwards it is on the disk.

        Args:
            size: about how many bytes it adds. So many that a checkpoint would follow are written into the file at
                once, and not into the log before.
        """
        with self._checkpoint_at_commit() if size > _LOG_BYTES else contextlib.nullcontext():
            self.execute("BEGIN")
            try:
                yield
                with self.errors("write"):
                    self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(duckdb().Error):  # a failed COMMIT has already rolled back
                    self._connection.execute("ROLLBACK")
                raise
        if self._log_size() > _LOG_BYTES:
            self.checkpoint()

    @contextlib.contextmanager
    def _checkpoint_at_commit(self) -> Generator[None]:
        """Let DuckDB make a checkpoint of each commit within the block, in place of writing it into the log."""
        self.execute("SET wal_autocheckpoint = '1KiB'")
        try:
            yield
        finally:
            with contextlib.suppress(duckdb().Error):  # after a failed checkpoint nothing can be done with it any more
                self._connection.execute(f"SET wal_autocheckpoint = '{_CONFIG['wal_autocheckpoint']}'")
            self._create_log()

    def _log_size(self) -> int:
        try:
            return self._log.stat().st_size
        except FileNotFoundError:
            return 0

    def checkpoint(self) -> None:
        """Write what is in the write-ahead log into the file."""
        with self.errors("write"):
            self._connection.execute("CHECKPOINT")
        self._create_log()

    def close(self) -> None:
        """Close the file, after a checkpoint; a second call does nothing."""
        if self._connection is None:
            return
        try:
            with self.errors("close"):
                self._connection.close()
        finally:
            self._connection = None  # nothing that still knows this object shall keep DuckDB alive
            shutil.rmtree(self._spill, ignore_errors=True)
            with contextlib.suppress(OSError):
                if not self._log_size():
                    self._log.unlink()


def _translated(path: Path, error: Exception, doing: str) -> TracketError:
    module, text = duckdb(), str(error).splitlines()[0]
    for words, code in _SAID_BY_THE_SYSTEM.items():
        if words in str(error):
            return storage_error(path, doing, OSError(code, words))
    if any(words in str(error) for words in _OPEN_ELSEWHERE):
        return TargetBusyError(
            f"{path} is open in another program: {text}", hint="Close it there, then run the same again"
        )
    if _OF_A_NEWER_DUCKDB in str(error):
        return StoreError(
            f"cannot {doing} {path}: it was written by a newer version of DuckDB than the one installed here,"
            f" {module.__version__}",
            hint="Upgrade it (pip install --upgrade duckdb), then run the same again",
        )
    if isinstance(error, module.OutOfMemoryException | module.FatalException | module.InternalException):
        return StorageError(f"cannot {doing} {path}: {text}", hint="Run the same again: what was committed is kept")
    return StoreError(f"cannot {doing} {path}: {text}", hint=_START_OVER)


def refuse_store(path: Path) -> None:
    """Check that a file, which is about to be replaced, is not a store: its tombstones and marks are nowhere else.

    Raises:
        UsageError: it is one.
        StorageError: it cannot be read.
        StoreError, TargetBusyError: it is a DuckDB file that cannot be opened, so that nobody knows what it is.
        MissingExtraError: it is a DuckDB file, and DuckDB is not installed.
    """
    if not _is_duckdb(path):
        return
    try:
        catalog = _catalog_in(path)
    except duckdb().Error as error:
        raise _translated(path, error, "read") from error
    if "schema tracket" in catalog:
        raise UsageError(
            f"{path} is a store, and a file in its place would lose what only the store knows",
            hint="Give the file another name",
        )


def _is_duckdb(path: Path) -> bool:
    """Return whether there is a file that begins as every DuckDB file does."""
    with storage_errors(path, "read"), contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        return file.read(12)[8:] == b"DUCK"
    return False


@contextlib.contextmanager
def private_folder(target: Path) -> Generator[Path]:
    """Yield an empty folder beside the target, private, which is removed at the end. Hold the target's `FileLock`."""
    folder = _new_folder(target)
    with storage_errors(target, "create"):
        _empty_folder(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def replacing_database(target: Path) -> Generator[Path]:
    """Yield where to create a DuckDB file that replaces the target at the end. Hold the target's `FileLock`."""
    with private_folder(target) as folder:
        new = folder / "new.duckdb"  # shorter than the target's, which may leave no room for .wal
        yield new
        new.chmod(_PRIVATE)
        replace(new, target)
        fsync_folder(target.parent)


def remove(path: Path) -> None:
    """Remove a DuckDB file that is closed, and its log, which may be left: closing hides that the disk is full.

    Raises:
        StorageError: the operating system refuses.
    """
    with storage_errors(path, "remove"):
        # In this order: a file without its log is an older state of it, a log without its file is in the way.
        path.with_name(path.name + ".wal").unlink(missing_ok=True)
        path.unlink()


def _new_folder(path: Path) -> Path:
    return beside(path, ".new", prefix=".")


def _empty_folder(folder: Path) -> None:
    """Create the folder, private and empty; what a killed process left in it is removed."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
