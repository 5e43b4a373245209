"""One writer for a store, and who it is."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import closing

import pytest

from tracket_async._files import FileLock, LockOwner
from tracket_async.errors import StorageError, TargetBusyError


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
    with pytest.raises(StorageError, match="Make the folder first"):
        FileLock(tmp_path / "missing" / "s.duckdb")


def test_a_note_that_cannot_be_written_gives_the_lock_up(tmp_path, monkeypatch):
    def pwrite(*_):
        raise OSError(28, "No space left on device")

    path = tmp_path / "s.duckdb"
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite)
        with pytest.raises(StorageError, match="No space left"):
            FileLock(path)
    FileLock(path).close()
