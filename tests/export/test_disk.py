"""Files that are whole, private and no symbolic links."""

from __future__ import annotations

import errno
import fcntl
import os
import stat

import pytest

from tracket_async import _files as disk
from tracket_async.errors import ExportError, NetworkError, StorageError, TargetBusyError, UnsupportedError


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_takes_the_place_of_the_old_one_when_it_is_whole(tmp_path):
    target = tmp_path / "out"
    target.write_text("old")
    with disk.replacing(target) as file:
        file.write(b"new")
        file.flush()
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert mode(target) == 0o600
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "out"
    target.write_text("old")
    with pytest.raises(TypeError), disk.replacing(target) as file:
        file.writelines([b"new", None])
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_writer_left_is_taken_over_and_made_private(tmp_path):
    target = tmp_path / "out"
    left = disk.part_of(target)
    left.write_text("half of something long")
    left.chmod(0o644)
    with disk.replacing(target) as file:
        file.write(b"new")
    assert target.read_bytes() == b"new"
    assert mode(target) == 0o600


def test_a_second_writer_is_turned_away(tmp_path):
    target = tmp_path / "out"
    with disk.replacing(target) as file:
        file.write(b"first")
        with pytest.raises(TargetBusyError, match="another process is writing"), disk.replacing(target):
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
    descriptor = disk.open_locked(path)
    assert len(calls) == 3
    assert os.path.samestat(path.stat(), os.fstat(descriptor))
    os.close(descriptor)


def test_a_lock_that_the_system_refuses_is_an_error(tmp_path, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StorageError, match="No locks available"), disk.replacing(tmp_path / "out"):
        raise AssertionError


def test_a_system_without_such_locks_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "fcntl", None)
    with pytest.raises(UnsupportedError, match="POSIX"), disk.replacing(tmp_path / "out"):
        raise AssertionError


def test_no_symbolic_link_is_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("keep")
    target = tmp_path / "out"
    target.symlink_to(secret)
    with pytest.raises(StorageError, match="symbolic link") as caught, disk.replacing(target):
        raise AssertionError
    assert caught.value.errno == errno.ELOOP
    assert secret.read_text() == "keep"


def test_a_link_in_the_place_of_the_part_is_not_followed_either(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("keep")
    disk.part_of(tmp_path / "out").symlink_to(secret)
    with pytest.raises(StorageError, match="symbolic link"), disk.replacing(tmp_path / "out"):
        raise AssertionError
    assert secret.read_text() == "keep"


@pytest.mark.parametrize(("name", "words"), [("folder", "not a file"), ("missing/out", "Make the folder first")])
def test_a_target_that_cannot_be_a_file_is_refused(tmp_path, name, words):
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match=words), disk.replacing(tmp_path / name):
        raise AssertionError


def test_an_error_of_the_system_says_what_to_do_and_whose_file_it_is(tmp_path):
    path = tmp_path / "out"
    with pytest.raises(StorageError) as caught, disk.storage_errors(path, "write"):
        raise OSError(errno.ENOSPC, "No space left on device")
    error = caught.value
    assert isinstance(error, ExportError)
    assert error.errno == errno.ENOSPC
    assert error.filename == str(path)
    assert str(error) == (
        f"cannot write {path}: No space left on device. "
        "Free some space, then run the same again: what was stored is kept"
    )


def test_an_error_of_ours_that_is_an_oserror_as_well_passes(tmp_path):
    class SlowError(NetworkError, TimeoutError):
        pass

    with pytest.raises(SlowError), disk.storage_errors(tmp_path, "write"):
        raise SlowError("too slow")


def test_a_folder_that_cannot_be_synced_is_no_reason_to_fail(tmp_path, monkeypatch):
    disk.sync_folder(tmp_path / "nowhere")

    def fsync(descriptor):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fsync)
    disk.sync_folder(tmp_path)
