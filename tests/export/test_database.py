"""Private DuckDB files, and the imports of optional libraries."""

from __future__ import annotations

import errno
import importlib
import os
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from tracket_async import frames
from tracket_async.errors import MissingExtraError, StorageError, StoreError, TargetBusyError, UsageError
from tracket_async.export import database as database_module
from tracket_async.export.database import Database, remove, replacing_database
from tracket_async.export.store import Store

SCHEMA = (("CREATE TABLE numbers (n BIGINT)", ()), ("INSERT INTO numbers VALUES (?)", (1,)))


def opened(path, schema=SCHEMA):
    return closing(Database(path, schema=schema))


def insert(database, numbers):
    with database.transaction():
        database.execute("INSERT INTO numbers SELECT unnest(?)", [list(numbers)])


def numbers(database):
    return [n for (n,) in database.rows("SELECT n FROM numbers ORDER BY n")]


def test_it_is_made_once_and_then_opened(tmp_path):
    path = tmp_path / "it's.duckdb"
    for _ in range(2):
        with opened(path) as database:
            assert numbers(database) == [1]
    assert list(tmp_path.iterdir()) == [path]


def test_every_file_is_private_whatever_the_umask(tmp_path, monkeypatch):
    monkeypatch.setattr(database_module, "_LOG_BYTES", 100_000)
    before = os.umask(0)
    try:
        with opened(tmp_path / "d.duckdb") as database:
            for at in range(40):  # several checkpoints, after each of which DuckDB makes its log anew
                insert(database, range(at * 1000, at * 1000 + 1000))
                modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
                assert modes == {"d.duckdb": 0o600, "d.duckdb.wal": 0o600, ".d.duckdb.tmp": 0o700}
    finally:
        os.umask(before)


def test_the_log_is_worked_in_when_it_has_grown(tmp_path, monkeypatch):
    monkeypatch.setattr(database_module, "_LOG_BYTES", 100_000)
    sizes = []
    with opened(tmp_path / "d.duckdb") as database:
        for at in range(40):
            insert(database, range(at * 1000, at * 1000 + 1000))
            sizes.append((tmp_path / "d.duckdb.wal").stat().st_size)
    assert 0 in sizes
    assert 50_000 < max(sizes) <= 110_000


def test_a_large_commit_goes_into_the_file_and_not_into_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr(database_module, "_LOG_BYTES", 1_000)
    path, log = tmp_path / "d.duckdb", tmp_path / "d.duckdb.wal"
    before = os.umask(0)
    try:
        with opened(path) as database:
            written = "INSERT INTO numbers SELECT range FROM range(10, 5000)"
            with database.transaction(size=1_000):
                database.execute("INSERT INTO numbers VALUES (2)")
            assert log.stat().st_size > 0
            with database.transaction(size=1_001):
                database.execute(written)
            assert (log.stat().st_size, stat.S_IMODE(log.stat().st_mode)) == (0, 0o600)
            with database.transaction():
                database.execute("INSERT INTO numbers VALUES (3)")
            assert (log.stat().st_size > 0, stat.S_IMODE(log.stat().st_mode)) == (True, 0o600)
            with pytest.raises(StoreError), database.transaction(size=1_001):
                database.rows(f"{written}; SELECT nothing")
            assert numbers(database) == [1, 2, 3, *range(10, 5000)]
    finally:
        os.umask(before)


def storage_version(path):
    """Return the version of the storage format in a DuckDB file's header: 64 until 1.1, 65 for 1.2."""
    return int.from_bytes(path.read_bytes()[12:20], "little")


def test_every_duckdb_that_the_package_allows_can_read_its_files(tmp_path):
    made = tmp_path / "made.duckdb"
    with opened(tmp_path / "d.duckdb") as database:
        with database.attached(made, "made"):
            database.execute("CREATE TABLE made.numbers AS FROM numbers")
        insert(database, range(10_000))
        database.checkpoint()
    assert storage_version(tmp_path / "d.duckdb") == storage_version(made) == 65


def test_a_transaction_that_fails_changes_nothing(tmp_path):
    with opened(tmp_path / "d.duckdb") as database:
        with pytest.raises(ZeroDivisionError), database.transaction():
            database.execute(
                "INSERT INTO numbers VALUES (?)", [1 / (database.rows("INSERT INTO numbers VALUES (2)")[0][0] - 1)]
            )
        assert numbers(database) == [1]
        insert(database, [3])
        assert numbers(database) == [1, 3]


def test_what_was_committed_survives_a_kill(tmp_path):
    path = tmp_path / "d.duckdb"
    program = f"""
import os, pathlib, signal
from tracket_async.export.database import Database
database = Database(pathlib.Path({str(path)!r}), schema={SCHEMA!r})
with database.transaction():
    database.execute("INSERT INTO numbers VALUES (2)")
database.execute("BEGIN")
database.execute("INSERT INTO numbers VALUES (3)")
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == -9
    (tmp_path / ".d.duckdb.tmp" / "left").write_text("what spilled")
    (tmp_path / ".d.duckdb.new").mkdir()
    with opened(path) as database:
        assert numbers(database) == [1, 2]
    assert list(tmp_path.iterdir()) == [path]


def test_a_schema_that_fails_leaves_nothing_behind(tmp_path):
    with pytest.raises(StoreError, match="cannot create"):
        Database(tmp_path / "d.duckdb", schema=(("CREATE NONSENSE", ()),))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("contents", [b"", b"id,user_id\n1,2\n", b"\0" * 20_000])
def test_a_file_that_is_no_database_is_left_alone(tmp_path, contents):
    path = tmp_path / "d.duckdb"
    path.write_bytes(contents)
    with pytest.raises(StoreError, match="Name another file, or move this one away"):
        Database(path, schema=SCHEMA)
    assert path.read_bytes() == contents
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["d.duckdb", "d.duckdb.wal"])
def test_no_symbolic_link_is_followed(tmp_path, name):
    (tmp_path / "elsewhere").write_bytes(b"keep")
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="symbolic link"):
        Database(tmp_path / "d.duckdb", schema=SCHEMA)
    assert (tmp_path / "elsewhere").read_bytes() == b"keep"


def test_a_path_that_duckdb_cannot_open_is_told_before_it_is_tried(tmp_path):
    folder = tmp_path / "r\udce9sum\udce9"
    folder.mkdir()
    with pytest.raises(UsageError, match=r"is no UTF-8 text, and DuckDB opens no file of such a name. Give the file"):
        Database(folder / "d.duckdb", schema=SCHEMA)
    assert list(folder.iterdir()) == []


def test_a_missing_folder_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="Create the folder first"):
        Database(tmp_path / "missing" / "d.duckdb", schema=SCHEMA)


def test_another_program_that_has_it_open_makes_it_busy(tmp_path):
    path = tmp_path / "d.duckdb"
    opened(path).thing.close()
    program = f"import duckdb; held = duckdb.connect({str(path)!r}); print('open', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        try:
            assert other.stdout.readline() == "open\n"
            with pytest.raises(TargetBusyError, match="open in another program"):
                Database(path, schema=SCHEMA)
        finally:
            other.communicate("\n", timeout=60)
    with opened(path) as database:
        assert numbers(database) == [1]


@pytest.mark.parametrize(
    ("raised", "error", "words"),
    [
        (
            duckdb.IOException("IO Error: Could not write file: No space left on device"),
            StorageError,
            "Free some space",
        ),
        (duckdb.IOException("IO Error: Cannot open file: Permission denied"), StorageError, "Check the folder"),
        (
            duckdb.IOException("IO Error: Cannot open file: There is not enough space on the disk."),
            StorageError,
            "Free some space",
        ),
        (
            duckdb.IOException("IO Error: Cannot open file: It is being used by another process."),
            TargetBusyError,
            "Close it there",
        ),
        (duckdb.OutOfMemoryException("Out of Memory Error: failed to pin"), StorageError, "Run the same again"),
        (duckdb.FatalException("FATAL Error: database has been invalidated"), StorageError, "Run the same again"),
        (duckdb.CatalogException("Catalog Error: Table does not exist"), StoreError, "move this one away"),
        (
            duckdb.IOException(
                "IO Error: Trying to read a database file with version number 999, but we can only read versions "
                "between 64 and 65.\nThe database file was created with an newer version of DuckDB.\n"
            ),
            StoreError,
            r"newer version of DuckDB than the one installed here, \d.*Upgrade it \(pip install --upgrade duckdb\)",
        ),
    ],
)
def test_each_error_of_duckdb_becomes_one_of_ours(tmp_path, raised, error, words):
    with opened(tmp_path / "d.duckdb") as database, pytest.raises(error, match=words), database.errors("use"):
        raise raised


def test_a_full_disk_keeps_its_number(tmp_path):
    with opened(tmp_path / "d.duckdb") as database:
        with pytest.raises(StorageError) as caught, database.errors("write"):
            raise duckdb.IOException("IO Error: No space left on device")
        assert caught.value.errno == errno.ENOSPC


def test_a_commit_that_fails_is_told_and_not_retried(tmp_path):
    class Failing:
        def __init__(self, connection):
            self.connection = connection

        def __getattr__(self, name):
            return getattr(self.connection, name)

        def execute(self, statement, *values):
            if statement == "COMMIT":
                self.connection.execute("ROLLBACK")
                raise duckdb.IOException("IO Error: No space left on device")
            return self.connection.execute(statement, *values)

    with opened(tmp_path / "d.duckdb") as database:
        real = database._connection
        database._connection = Failing(real)
        with pytest.raises(StorageError, match="No space left"):
            insert(database, [2])
        database._connection = real
        assert numbers(database) == [1]


def test_a_log_that_closing_could_not_work_in_stays(tmp_path):
    path = tmp_path / "d.duckdb"
    database = Database(path, schema=SCHEMA)
    real = database._connection
    log = tmp_path / "d.duckdb.wal"

    class FullDisk:
        def close(self):
            real.close()
            log.write_bytes(b"what was committed")

    database._connection = FullDisk()
    database.close()
    database.close()
    assert log.read_bytes() == b"what was committed"


def test_a_database_is_removed_with_its_log_and_the_log_first(tmp_path, monkeypatch):
    path, log = tmp_path / "d.duckdb", tmp_path / "d.duckdb.wal"
    opened(path).thing.close()
    log.write_bytes(b"left")

    def unlink(self, *, missing_ok=False):
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        with pytest.raises(StorageError, match="cannot remove"):
            remove(path)
    order, real = [], Path.unlink
    monkeypatch.setattr(Path, "unlink", lambda self, **settings: (order.append(self), real(self, **settings)))
    remove(path)
    assert order == [log, path]
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_is_left_of_a_removed_database_is_not_taken_for_that_of_a_new_one(tmp_path):
    path = tmp_path / "d.duckdb"
    (tmp_path / "d.duckdb.wal").write_bytes(b"left of something else")
    with opened(path) as database:
        assert numbers(database) == [1]


def test_an_arrow_table_can_be_read_by_its_name_and_only_within(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    with opened(tmp_path / "d.duckdb") as database:
        with database.registered("given", pyarrow.table({"n": [7, 8]})):
            assert database.rows("SELECT sum(n) FROM given") == [(15,)]
        with pytest.raises(StoreError):
            database.rows("SELECT * FROM given")
        assert database.arrow("SELECT n + ? AS m FROM numbers", [5]).to_pylist() == [{"m": 6}]


def test_a_database_that_replaces_another_does_so_at_the_end(tmp_path):
    target = tmp_path / "out.duckdb"
    target.write_text("old")
    with replacing_database(target) as new:
        duckdb.connect(str(new)).close()
        assert target.read_text() == "old"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    duckdb.connect(str(target)).close()
    with pytest.raises(KeyError), replacing_database(target):
        raise KeyError
    assert list(tmp_path.iterdir()) == [target]


def test_it_stays_within_its_memory_and_one_thread(tmp_path):
    with opened(tmp_path / "d.duckdb") as database:
        [(memory, threads, zone)] = database.rows(
            "SELECT current_setting('memory_limit'), current_setting('threads'), current_setting('TimeZone')"
        )
        assert (memory, int(threads), zone) == ("64.0 MiB", 1, "UTC")
        # Half a million rows of 100 bytes do not fit and are sorted all the same.
        [(last,)] = database.rows(
            "SELECT max(t) FROM (SELECT t, row_number() OVER (ORDER BY t) FROM "
            "(SELECT repeat(md5(CAST(i AS VARCHAR)), 3) AS t FROM range(500000) r(i)))"
        )
        assert len(last) == 96


@pytest.mark.parametrize("load", [database_module.duckdb, frames.pyarrow, database_module.parquet])
def test_a_library_that_is_not_installed_is_named_with_the_command_that_installs_it(monkeypatch, load):
    def refuse(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(MissingExtraError, match=r"(duckdb|pyarrow).*pip install .*\[export\]"):
        load()


def test_a_store_without_its_libraries_leaves_nothing_behind(monkeypatch, tmp_path, request_2024):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(MissingExtraError):
        Store(tmp_path / "s.duckdb", request=request_2024)
    assert list(tmp_path.iterdir()) == []


def test_neither_library_is_imported_before_it_is_needed():
    program = (
        "import sys, tracket_async.export.run, tracket_async.export.run, tracket_async.export.text; "
        "sys.exit(int('duckdb' in sys.modules or 'pyarrow' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
