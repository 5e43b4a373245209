"""Imports of what the extra ``export`` installs: on first use, and with an error that says how to install it.

A DuckDB file that is private, small in memory, made whole or not at all, and whose errors are ours.

* Made in a private folder beside (``.NAME.new``) and renamed into place: no half-made store, and mode 0600.
* DuckDB makes its write-ahead log with the process's umask, so an empty one with mode 0600 is laid before it does:
  after opening and after each checkpoint. Checkpoints are therefore made here alone, never by DuckDB in between.
* DuckDB may take `MEMORY_MIB` and one thread; what does not fit goes to ``.NAME.tmp``, a private folder that is
  emptied at opening and removed at closing.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import shutil
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Final

from tracket_async._files import fsync_folder, refuse_link, storage_error, storage_errors
from tracket_async.errors import MissingExtraError, StorageError, StoreError, TargetBusyError, TracketError

# Neither library has complete types (pyarrow has none), so what is imported here is Any, and stays in this package.


def duckdb() -> Any:
    """The module ``duckdb``."""
    return _load("duckdb")


def pyarrow() -> Any:
    """The module ``pyarrow``."""
    return _load("pyarrow")


def parquet() -> Any:
    """The module ``pyarrow.parquet``."""
    return _load("pyarrow.parquet")


def _load(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"the export needs {name}, which is not installed", hint='Run: pip install "tracket-async[export]"'
        ) from error


MEMORY_MIB: Final = 64
"""What DuckDB may hold in memory, MiB."""
_LOG_BYTES: Final = 16 * 1024 * 1024
"""From this size on, the write-ahead log is worked into the file."""
_PRIVATE: Final = 0o600

_SAID_BY_THE_SYSTEM = {
    os.strerror(code): code
    for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)
}


Statement = tuple[str, Sequence[Any]]
"""SQL and the values for its question marks."""


class Database:
    """An open DuckDB file. Not for several threads at once.

    Raises:
        StoreError: it is not a DuckDB file, or one that this version of DuckDB cannot read.
        StorageError: the operating system refuses.
        TargetBusyError: another program has it open.
    """

    def __init__(self, path: Path, *, making: Sequence[Statement]) -> None:
        """Opens the file, or makes it with the statements in ``making`` where there is none."""
        self.path = path
        self._log = path.with_name(path.name + ".wal")
        self._spill = path.with_name(f".{path.name}.tmp")
        refuse_link(path)
        refuse_link(self._log)
        with storage_errors(path, "prepare"):
            # A process that was killed may have left it, with the store already in its place.
            shutil.rmtree(_new_folder(path), ignore_errors=True)
            _emptied(self._spill)
        try:
            if not path.exists():
                # A log without its file is what is left of a database that was being removed.
                self._log.unlink(missing_ok=True)
                self._make(making)
            self._connection: Any = self._connect(path)
            self._lay_log()
        except BaseException:
            shutil.rmtree(self._spill, ignore_errors=True)
            raise

    def _make(self, making: Sequence[Statement]) -> None:
        with (
            replacing_database(self.path) as new,
            self.errors("make"),
            contextlib.closing(self._connect(new)) as connection,
        ):
            for statement, values in making:
                connection.execute(statement, list(values))
            # Closing would do it, and keep to itself that the disk is full.
            connection.execute("CHECKPOINT")

    def _connect(self, path: Path) -> Any:
        with self.errors("open"):
            connection = duckdb().connect(
                os.fspath(path),
                config={
                    "memory_limit": f"{MEMORY_MIB}MiB",
                    "threads": "1",
                    "temp_directory": os.fspath(self._spill),
                    "wal_autocheckpoint": "1TiB",
                    "autoinstall_known_extensions": "false",
                    "autoload_known_extensions": "false",
                },
            )
            connection.execute("SET TimeZone = 'UTC'")
            return connection

    def _lay_log(self) -> None:
        with storage_errors(self._log, "make"), contextlib.suppress(FileExistsError):
            os.close(os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE))

    @contextlib.contextmanager
    def errors(self, doing: str) -> Generator[None]:
        """An error of DuckDB from within becomes one of ours, saying what was being done to the file."""
        module = duckdb()
        try:
            yield
        except module.Error as error:
            raise self._translated(error, doing) from error

    def _translated(self, error: Exception, doing: str) -> TracketError:
        module, text = duckdb(), str(error).splitlines()[0]
        for words, code in _SAID_BY_THE_SYSTEM.items():
            if words in str(error):
                return storage_error(self.path, doing, OSError(code, words))
        if "Could not set lock" in text:
            return TargetBusyError(
                f"{self.path} is open in another program: {text}", hint="Close it there, then run the same again"
            )
        if isinstance(error, module.OutOfMemoryException | module.FatalException | module.InternalException):
            return StorageError(
                f"cannot {doing} {self.path}: {text}", hint="Run the same again: what was stored is kept"
            )
        return StoreError(
            f"cannot {doing} {self.path}: {text}", hint="Name another file, or move this one away to start over"
        )

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """Runs one statement; the connection, to fetch from."""
        with self.errors("use"):
            return self._connection.execute(statement, list(values))

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of the statement's result."""
        with self.errors("read"):
            found: list[tuple[Any, ...]] = self._connection.execute(statement, list(values)).fetchall()
            return found

    def arrow(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """The statement's result as an Arrow table, in memory."""
        with self.errors("read"):
            return self._connection.sql(statement, params=list(values)).to_arrow_table()

    @contextlib.contextmanager
    def given(self, name: str, table: Any) -> Generator[None]:
        """Within, the Arrow table can be read by this name."""
        self._connection.register(name, table)
        try:
            yield
        finally:
            self._connection.unregister(name)

    @contextlib.contextmanager
    def attached(self, path: Path, name: str) -> Generator[None]:
        """Within, another DuckDB file, which is made, is part of this database under the name."""
        quoted = os.fspath(path).replace("'", "''")
        self.execute(f"ATTACH '{quoted}' AS {name}")
        try:
            yield
            # As in `_make`: detaching would keep an error to itself.
            self.execute(f"CHECKPOINT {name}")
        finally:
            self.execute(f"DETACH {name}")

    @contextlib.contextmanager
    def transaction(self) -> Generator[None]:
        """All of what is within, or, on an error, nothing of it. Afterwards it is on the disk."""
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

    def _log_size(self) -> int:
        try:
            return self._log.stat().st_size
        except FileNotFoundError:
            return 0

    def checkpoint(self) -> None:
        """Works the write-ahead log into the file."""
        with self.errors("write"):
            self._connection.execute("CHECKPOINT")
        self._lay_log()

    def close(self) -> None:
        """Closes the file; DuckDB works the log into it first. Twice is harmless."""
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


@contextlib.contextmanager
def replacing_database(target: Path) -> Generator[Path]:
    """Where to make a DuckDB file that takes the target's place at the end. For the holder of its `FileLock`."""
    folder = _new_folder(target)
    with storage_errors(target, "make"):
        _emptied(folder)
        try:
            new = folder / target.name
            yield new
            new.chmod(_PRIVATE)
            new.replace(target)
            fsync_folder(target.parent)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def remove(path: Path) -> None:
    """Removes a DuckDB file that is closed, and its log, which may be left: closing hides that the disk is full.

    Raises:
        StorageError: the operating system refuses.
    """
    with storage_errors(path, "remove"):
        # In this order: a file without its log is an older state of it, a log without its file is in the way.
        path.with_name(path.name + ".wal").unlink(missing_ok=True)
        path.unlink()


def _new_folder(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _emptied(folder: Path) -> None:
    """The folder, private and empty; what a killed process left in it is removed."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
