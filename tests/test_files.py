"""Files that are written whole, locked, or appended to durably."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tracket_async import _files
from tracket_async._files import DurableAppender, FileLock, LockOwner
from tracket_async.errors import ExportError, NetworkError, StorageError, TargetBusyError


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_takes_the_place_of_the_old_one_when_it_is_whole(tmp_path):
    target = tmp_path / "out"
    target.write_text("old")
    with _files.atomic_write(target) as file:
        file.write(b"new")
        file.flush()
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert mode(target) == 0o600
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "out"
    target.write_text("old")
    with pytest.raises(TypeError), _files.atomic_write(target) as file:
        file.writelines([b"new", None])
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_writer_left_is_taken_over_and_made_private(tmp_path):
    target = tmp_path / "out"
    left = _files.part_of(target)
    left.write_text("half of something long")
    left.chmod(0o644)
    with _files.atomic_write(target) as file:
        file.write(b"new")
    assert target.read_bytes() == b"new"
    assert mode(target) == 0o600


def test_a_second_writer_is_turned_away(tmp_path):
    target = tmp_path / "out"
    with _files.atomic_write(target) as file:
        file.write(b"first")
        with pytest.raises(TargetBusyError, match="another process is writing"), _files.atomic_write(target):
            raise AssertionError
    assert target.read_bytes() == b"first"


def test_a_lock_on_a_file_that_has_been_renamed_away_is_not_taken_for_one_on_its_successor(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    real, calls = fcntl.flock, []

    def flock(descriptor, operation):
        calls.append(descriptor)
        if len(calls) == 1:
            path.rename(tmp_path / "elsewhere")
        if len(calls) == 2:
            path.unlink()
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    descriptor = _files.open_locked(path)
    assert len(calls) == 3
    assert os.path.samestat(path.stat(), os.fstat(descriptor))
    os.close(descriptor)


def test_a_lock_that_the_system_refuses_is_an_error(tmp_path, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StorageError, match="No locks available"), _files.atomic_write(tmp_path / "out"):
        raise AssertionError


def test_no_symbolic_link_is_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("keep")
    target = tmp_path / "out"
    target.symlink_to(secret)
    with pytest.raises(StorageError, match="symbolic link") as caught, _files.atomic_write(target):
        raise AssertionError
    assert caught.value.errno == errno.ELOOP
    assert secret.read_text() == "keep"


def test_a_link_in_the_place_of_the_part_is_not_followed_either(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("keep")
    _files.part_of(tmp_path / "out").symlink_to(secret)
    with pytest.raises(StorageError, match="symbolic link"), _files.atomic_write(tmp_path / "out"):
        raise AssertionError
    assert secret.read_text() == "keep"


@pytest.mark.parametrize(("name", "words"), [("folder", "not a file"), ("missing/out", "Create the folder first")])
def test_a_target_that_cannot_be_a_file_is_refused(tmp_path, name, words):
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match=words), _files.atomic_write(tmp_path / name):
        raise AssertionError


def test_an_error_of_the_system_says_what_to_do_and_whose_file_it_is(tmp_path):
    path = tmp_path / "out"
    with pytest.raises(StorageError) as caught, _files.storage_errors(path, "write"):
        raise OSError(errno.ENOSPC, "No space left on device")
    error = caught.value
    assert isinstance(error, ExportError)
    assert error.errno == errno.ENOSPC
    assert error.filename == str(path)
    assert str(error) == (f"cannot write {path}: No space left on device. Free some space, then run the same again")


def test_an_error_of_ours_that_is_an_oserror_as_well_passes(tmp_path):
    class SlowError(NetworkError, TimeoutError):
        pass

    with pytest.raises(SlowError), _files.storage_errors(tmp_path, "write"):
        raise SlowError("too slow")


@pytest.mark.parametrize("name", ["x" * 240, "é" * 120, "\udcff" * 240, "é" * 119 + ".csv"])
def test_the_names_that_are_made_from_a_long_one_fit(tmp_path, name):
    target = tmp_path / name
    other = target.with_name(name[:-1] + "y")
    made = [_files.beside(each, suffix) for each in (target, other) for suffix in (".resume", ".lock")]
    made += [_files.beside(made[0], suffix) for suffix in (".lock", ".wal")]
    assert len(set(made)) == len(made)
    assert max(len(os.fsencode(each.name)) for each in made) <= 239
    assert all(each.parent == tmp_path for each in made)
    with closing(FileLock(target)), _files.atomic_write(target) as file:
        file.write(b"new")
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_a_short_name_stays_in_the_names_that_are_made_from_it(tmp_path):
    assert _files.beside(tmp_path / "x", ".part", prefix=".") == tmp_path / ".x.part"
    assert _files.beside(tmp_path / ("x" * 234), ".lock").name == "x" * 234 + ".lock"


def refuse_to_replace(monkeypatch, *names):
    real = Path.replace

    def replace(self, target):
        if target.name in names:
            raise PermissionError(errno.EACCES, "Permission denied", str(self), str(target))
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)


def test_what_cannot_take_its_place_is_kept_beside_it(tmp_path, monkeypatch):
    target = tmp_path / "report.csv"
    target.write_text("open in a spreadsheet")
    refuse_to_replace(monkeypatch, "report.csv")
    with pytest.raises(StorageError) as caught, _files.atomic_write(target) as file:
        file.write(b"new")
    kept = tmp_path / "report.kept.csv"
    assert str(caught.value) == (
        f"{target} cannot be replaced (Permission denied): another program, such as a spreadsheet, may have it open. "
        f"What was written is kept in {kept}. Close report.csv there, and rename report.kept.csv"
    )
    assert (caught.value.errno, caught.value.filename) == (errno.EACCES, str(target))
    assert kept.read_bytes() == b"new"
    assert target.read_text() == "open in a spreadsheet"
    assert sorted(tmp_path.iterdir()) == [target, kept]


def test_what_can_neither_take_its_place_nor_be_kept_is_removed(tmp_path, monkeypatch):
    refuse_to_replace(monkeypatch, "report.csv", "report.kept.csv")
    refused = pytest.raises(StorageError, match=r"cannot write .*report\.csv: Permission denied\. Check the folder")
    with refused, _files.atomic_write(tmp_path / "report.csv"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_synced_is_no_reason_to_fail(tmp_path, monkeypatch):
    _files.fsync_folder(tmp_path / "nowhere")

    def fsync(descriptor):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fsync)
    _files.fsync_folder(tmp_path)


def test_the_second_is_told_who_the_first_is(tmp_path):
    path = tmp_path / "s.duckdb"
    with closing(FileLock(path)), pytest.raises(TargetBusyError) as caught:
        FileLock(path)
    text = str(caught.value)
    assert f"{path} is being written by process {os.getpid()} on {socket.gethostname()}" in text
    assert LockOwner.me().command in text
    assert "since 2" in text


def test_the_arguments_of_the_program_are_not_told_to_anybody(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/tracket", "--token", "s3cret"])
    with closing(FileLock(tmp_path / "s.duckdb")):
        note = (tmp_path / "s.duckdb.lock").read_text()
    assert json.loads(note)["command"] == "tracket"
    assert "s3cret" not in note


def test_afterwards_it_is_free_and_the_lock_file_gone(tmp_path):
    path = tmp_path / "s.duckdb"
    for _ in range(2):
        lock = FileLock(path)
        lock.close()
        lock.close()
    assert list(tmp_path.iterdir()) == []


def test_the_lock_file_is_removed_while_it_is_still_locked(tmp_path, monkeypatch):
    lock, there, real = FileLock(tmp_path / "s.duckdb"), [], os.close

    def close(descriptor):
        there.append(lock.path.exists())
        real(descriptor)

    monkeypatch.setattr(os, "close", close)
    lock.close()
    assert there == [False]


def test_a_killed_holder_holds_nothing(tmp_path):
    program = (
        "import os, signal, pathlib; from tracket_async._files import FileLock; "
        f"FileLock(pathlib.Path({str(tmp_path / 's.duckdb')!r})); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == -9
    assert (tmp_path / "s.duckdb.lock").exists()
    with closing(FileLock(tmp_path / "s.duckdb")):
        assert json.loads((tmp_path / "s.duckdb.lock").read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("note", [b"", b"{}", b"[]", b"\xff", b'{"since": "x"}'])
def test_a_note_that_cannot_be_read_is_somebody_all_the_same(tmp_path, note):
    path = tmp_path / "s.duckdb"
    with closing(FileLock(path)) as lock:
        lock.path.write_bytes(note)
        with pytest.raises(TargetBusyError, match="by another process"):
            FileLock(path)


def test_a_lock_file_that_cannot_be_made_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="Create the folder first"):
        FileLock(tmp_path / "missing" / "s.duckdb")


def test_a_note_that_cannot_be_written_gives_the_lock_up(tmp_path, monkeypatch):
    def write(*_):
        raise OSError(28, "No space left on device")

    path = tmp_path / "s.duckdb"
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(StorageError, match="No space left"):
            FileLock(path)
    FileLock(path).close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal"


@pytest.fixture
def opened(path):
    def make(content=b""):
        path.write_bytes(content)
        return DurableAppender(path, os.open(path, os.O_RDWR), len(content))

    return make


class Fsync:
    """An fsync that lasts until it is let go, and knows how long the file was when it began."""

    def __init__(self, monkeypatch, path):
        self._fsync = os.fsync
        self._path = path
        self.lengths = []
        self.began = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.error = None
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, descriptor):
        self.lengths.append(self._path.stat().st_size)
        self.began.release()
        assert self.go.acquire(timeout=30)
        if self.error is not None:
            raise self.error
        self._fsync(descriptor)

    async def begun(self):
        assert await asyncio.to_thread(self.began.acquire, timeout=30)


@pytest.fixture
def fsync(monkeypatch, path):
    return Fsync(monkeypatch, path)


async def test_what_is_appended_is_there_at_once_behind_what_was(opened, path):
    file = opened(b"one\n")
    file.append(b"two\n")
    file.append(b"three\n")
    assert path.read_bytes() == b"one\ntwo\nthree\n"
    await file.close()


async def test_who_waits_waits_for_an_fsync_that_began_after_its_bytes_were_written(opened, fsync):
    file = opened()
    file.append(b"a")
    first = asyncio.create_task(file.flush())
    await fsync.begun()
    file.append(b"b")
    second = asyncio.create_task(file.flush())
    fsync.go.release()
    await first
    await fsync.begun()
    assert not second.done()
    fsync.go.release()
    await second
    assert fsync.lengths == [1, 2]
    await file.close()


async def test_all_who_come_during_one_fsync_share_the_next(opened, fsync):
    file = opened()
    file.append(b"a")
    waiting = [asyncio.create_task(file.flush())]
    await fsync.begun()
    for _ in range(16):
        file.append(b"b")
        waiting.append(asyncio.create_task(file.flush()))
    fsync.go.release(2)
    await asyncio.gather(*waiting)
    assert fsync.lengths == [1, 17]
    await file.close()
    assert fsync.lengths == [1, 17]  # there was nothing left to bring to the disk


async def test_one_who_gives_up_waiting_takes_nothing_from_the_others(opened, fsync):
    file = opened()
    file.append(b"a")
    impatient, patient = asyncio.create_task(file.flush()), asyncio.create_task(file.flush())
    await fsync.begun()
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    fsync.go.release()
    await patient
    assert fsync.lengths == [1]
    await file.close()


async def test_closing_waits_for_the_fsync_that_runs(opened, fsync):
    file = opened()
    file.append(b"a")
    waiting = asyncio.create_task(file.flush())
    await fsync.begun()
    waiting.cancel()
    closing = asyncio.create_task(file.close())
    await asyncio.sleep(0)
    os.fstat(file._descriptor)
    fsync.go.release()
    await closing
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file._descriptor)


async def test_closing_that_is_interrupted_still_waits_for_the_fsync_that_runs(opened, fsync):
    file = opened()
    file.append(b"a")
    closing = asyncio.create_task(file.close())
    await fsync.begun()
    closing.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    os.fstat(file._descriptor)
    fsync.go.release()
    with pytest.raises(asyncio.CancelledError):
        await closing
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file._descriptor)


async def test_an_fsync_that_fails_is_told_to_all_who_wait_and_nothing_is_written_any_more(opened, fsync, path):
    file = opened()
    file.append(b"a")
    waiting = [asyncio.create_task(file.flush()) for _ in range(2)]
    await fsync.begun()
    fsync.error = OSError(errno.EIO, "Input/output error")
    fsync.go.release()
    for one in waiting:
        with pytest.raises(StorageError, match=r"cannot write .*journal: Input/output error"):
            await one
    with pytest.raises(StorageError) as caught:
        file.append(b"b")
    assert caught.value.errno == errno.EIO
    assert path.read_bytes() == b"a"
    with pytest.raises(StorageError):
        await file.flush()
    await file.close()
    assert fsync.lengths == [1]  # what a second fsync says after one that failed means nothing


async def test_a_full_disk_leaves_no_part_of_a_line(opened, path, monkeypatch):
    file = opened(b"whole\n")
    write = os.write
    left = [4]

    def short_of_room(descriptor, data):
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[: left.pop()])

    monkeypatch.setattr(os, "write", short_of_room)
    with pytest.raises(StorageError, match=r"No space left on device. Free some space, then run the same again"):
        file.append(b"a long line\n")
    monkeypatch.undo()
    assert path.read_bytes() == b"whole\n"
    with pytest.raises(StorageError, match="No space left"):
        file.append(b"x\n")
    await file.close()
    assert path.read_bytes() == b"whole\n"


async def test_a_write_that_comes_in_pieces_is_put_together(opened, path, monkeypatch):
    file = opened()
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    file.append(b"0123456789")
    assert path.read_bytes() == b"0123456789"
    await file.close()
