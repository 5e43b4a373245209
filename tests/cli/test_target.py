"""A file is there whole or not at all, private, and never where a link points."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from tracket_async.cli import destinations, output
from tracket_async.errors import StorageError, UsageError


async def write(path, *pieces):
    with destinations.open_file(path) as place:
        for piece in pieces:
            await place.write(piece)


async def test_a_file_holds_what_was_written_is_private_and_alone(tmp_path):
    path = tmp_path / "out.ndjson"
    await write(path, b"one\n", b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


async def test_the_target_does_not_change_before_the_end(tmp_path):
    path = tmp_path / "out.ndjson"
    path.write_bytes(b"before")
    with destinations.open_file(path) as place:
        await place.write(b"after" * 100_000)
        assert path.read_bytes() == b"before"
        beside = next(one for one in tmp_path.iterdir() if one != path)
        assert stat.S_IMODE(beside.stat().st_mode) == 0o600
    assert path.read_bytes() == b"after" * 100_000


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError, SystemExit])
async def test_what_ends_early_leaves_the_target_as_it_was_and_nothing_beside_it(tmp_path, kind):
    path = tmp_path / "out.ndjson"
    path.write_bytes(b"before")
    with pytest.raises(kind):  # noqa: PT012, SIM117 - the exception goes through the target
        with destinations.open_file(path) as place:
            await place.write(b"half")
            raise kind
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


async def test_a_missing_folder_is_named_before_anything_is_written(tmp_path):
    with pytest.raises(UsageError, match=r"The folder .*nowhere does not exist. Create it"):
        await write(tmp_path / "nowhere" / "out.csv", b"x")


async def test_a_symbolic_link_is_not_followed_and_not_replaced(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"before")
    link.symlink_to(real)
    with pytest.raises(UsageError, match="is a symbolic link"):
        await write(link, b"x")
    assert real.read_bytes() == b"before"
    assert link.is_symlink()


@pytest.mark.parametrize("make", ["folder", "fifo", "socket"])
async def test_what_is_no_file_is_not_replaced(tmp_path, make, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    if make == "folder":
        os.mkdir("it")  # noqa: PTH102
    elif make == "fifo":
        os.mkfifo("it")
    else:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("it")
    before = os.lstat("it").st_mode
    with pytest.raises(UsageError, match=r"it is not a file. Give a file, or - for standard output"):
        await write(Path("it"), b"x")
    assert os.lstat("it").st_mode == before


async def test_a_device_is_not_replaced():
    with pytest.raises(UsageError, match="/dev/null is not a file"):
        await write(Path("/dev/null"), b"x")


async def test_a_name_that_is_too_long_is_the_users_mistake(tmp_path):
    with pytest.raises(UsageError, match="cannot be written: File name too long"):
        await write(tmp_path / ("x" * 300), b"x")


async def test_a_name_with_no_room_for_the_name_beside_it_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match=r"cannot write .*: File name too long"):
        await write(tmp_path / ("x" * 250), b"x")


class Full:
    """A file on a disk that is full."""

    def __init__(self, file, broken):
        self._file = file
        self._broken = broken

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __getattr__(self, name):
        if name in self._broken:
            return self._fail
        return getattr(self._file, name)

    def _fail(self, *_args):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("broken", [{"write"}, {"flush"}, {"flush", "close"}, {"write", "flush", "close"}])
async def test_a_full_disk_is_a_storage_error_and_leaves_nothing_beside_the_target(tmp_path, monkeypatch, broken):
    path = tmp_path / "out.ndjson"
    path.write_bytes(b"before")
    opened = []

    def full(descriptor, *args, **kwargs):
        opened.append(open(descriptor, *args, **kwargs))  # noqa: PTH123, SIM115
        return Full(opened[-1], broken)

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(StorageError, match=r"cannot write .*: No space left on device. Free some space"):
        await write(path, b"x" * 10)
    opened[0].close()
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


async def test_a_folder_that_cannot_be_synced_is_no_error(tmp_path, monkeypatch):
    real = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    await write(tmp_path / "out", b"x")
    assert (tmp_path / "out").read_bytes() == b"x"


async def test_file_and_folder_are_on_the_disk_before_the_end(tmp_path, monkeypatch):
    synced = []
    real = os.fsync

    def fsync(descriptor):
        synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    await write(tmp_path / "out", b"x")
    assert synced == [False, True]


async def test_standard_output_gets_the_bytes_in_order(capsysbinary):
    for piece in ("é\n".encode(), b"two\n"):
        await destinations.StandardOutput().write(piece)
    assert capsysbinary.readouterr().out == "é\ntwo\n".encode()


async def test_a_slow_reader_of_standard_output_does_not_stop_the_event_loop(monkeypatch):
    written, read = [], threading.Event()

    def slow(data):
        read.wait()
        written.append(data)

    monkeypatch.setattr(output, "write", slow)
    task = asyncio.create_task(destinations.StandardOutput().write(b"one"))
    await asyncio.sleep(0)  # the loop still runs while nobody reads
    assert written == []
    read.set()
    await task
    assert written == [b"one"]
