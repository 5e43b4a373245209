"""A file that only grows, and whose end can be waited for to be on the disk."""

from __future__ import annotations

import asyncio
import errno
import os
import threading

import pytest

from tracket_async._files import DurableAppender
from tracket_async.errors import StorageError


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
    assert file.syncs == 0
    await file.close()
    assert file.syncs == 1


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
    assert (file.syncs, fsync.lengths) == (2, [1, 17])
    await file.close()
    assert file.syncs == 2  # there was nothing left to bring to the disk


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
    assert file.syncs == 1
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
    pwrite = os.pwrite
    left = [4]

    def short_of_room(descriptor, data, offset):
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(descriptor, data[: left.pop()], offset)

    monkeypatch.setattr(os, "pwrite", short_of_room)
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
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: pwrite(descriptor, data[:3], offset))
    file.append(b"0123456789")
    assert path.read_bytes() == b"0123456789"
    await file.close()
