"""Files that are never half there, never anybody else's to read, and never behind a symbolic link.

A file is written beside its target and renamed into its place: whoever looks sees the old one or the new one, whole.
What is beside it (``.NAME.part``) is locked while it is written, so that a second writer is turned away, and what a
killed one left is taken over. Errors of the operating system become `StorageError`.

A file that only grows, and whose end can be waited for to be on the disk: many waiters share one ``fsync``.

`append` hands the bytes to the operating system at once, which keeps them even if this process is killed. `flush`
returns when everything appended before it would outlast a power cut, too. While one ``fsync`` runs, in a thread, those
who come meanwhile wait for the next: with 16 writers it is one for up to 16 of them.

One writer for a store: a lock that dies with its process, and a note in it that says who holds it.

The lock is on the file ``NAME.lock`` beside the store. DuckDB has a lock of its own, which names a process id at best,
and none between two connections of one process.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import errno
import json
import os
import socket
import stat
import sys
from collections.abc import Generator
from pathlib import Path
from typing import IO, Any, Self

import attrs

from tracket_async.errors import StorageError, TargetBusyError, TracketError, UnsupportedError

try:
    import fcntl
except ImportError:  # pragma: no cover - on Windows
    fcntl = None  # type: ignore[assignment]

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_PRIVATE = 0o600
_BUSY = frozenset({errno.EAGAIN, errno.EACCES})


@contextlib.contextmanager
def storage_errors(path: Path, doing: str) -> Generator[None]:
    """An OSError from within becomes a `StorageError` that names the file and what was being done."""
    try:
        yield
    except TracketError:
        raise
    except OSError as error:
        raise storage_error(path, doing, error) from error


def storage_error(path: Path, doing: str, error: OSError) -> StorageError:
    """The `StorageError` that says what the operating system said, and what to do."""
    if error.errno == errno.ELOOP:
        return refused_link(path)
    return StorageError(
        f"cannot {doing} {path}: {error.strerror or error}",
        errno=error.errno,
        filename=os.fspath(path),
        hint=_HINTS.get(error.errno or 0, "Check the folder and its permissions, then run the same again"),
    )


_HINTS = {
    errno.ENOSPC: "Free some space, then run the same again: what was stored is kept",
    errno.EDQUOT: "Free some of your quota, then run the same again: what was stored is kept",
    errno.EFBIG: "Raise the limit on the size of files, then run the same again: what was stored is kept",
    errno.ENOENT: "Make the folder first",
    errno.ENOTDIR: "Make the folder first",
    errno.EISDIR: "Name a file, not a folder",
}


def refused_link(path: Path) -> StorageError:
    """The error for a target that is a symbolic link."""
    return StorageError(
        f"{path} is a symbolic link, which is not followed",
        errno=errno.ELOOP,
        filename=os.fspath(path),
        hint="Name the file itself",
    )


def refuse_link(path: Path) -> None:
    """Raises if the path is something else than a file, or nothing.

    Raises:
        StorageError: it is a symbolic link or a folder or a device.
    """
    with storage_errors(path, "look at"):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            return
        if stat.S_ISLNK(mode):
            raise refused_link(path)
        if not stat.S_ISREG(mode):
            raise IsADirectoryError(errno.EISDIR, "it is not a file")


def open_locked(path: Path) -> int | None:
    """A descriptor of the file, made with mode 0600 if need be, and locked until it is closed; None: it is locked.

    The operating system drops the lock with the process, however that ends.

    Raises:
        OSError: as `os.open` does; a symbolic link is ``ELOOP``.
        UnsupportedError: this operating system has no such locks.
    """
    if fcntl is None:
        raise UnsupportedError("exports to files need the file locks of a POSIX system, which this one is not")
    while True:
        descriptor = os.open(path, _FLAGS, _PRIVATE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno in _BUSY:
                return None
            raise
        if _is_still(path, descriptor):
            return descriptor
        # Its owner renamed or removed it between the two calls: what is locked is no longer the file of this name.
        os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))


def part_of(target: Path) -> Path:
    """The file beside the target in which it is written."""
    return target.with_name(f".{target.name}.part")


@contextlib.contextmanager
def replacing(target: Path) -> Generator[IO[bytes]]:
    """A binary file, empty and with mode 0600, that takes the target's place at the end; on an error it is removed.

    Raises:
        TargetBusyError: another process is writing the same target.
        StorageError: the operating system refuses, or the target is a symbolic link or a folder.
    """
    refuse_link(target)
    part = part_of(target)
    with storage_errors(target, "write"):
        descriptor = open_locked(part)
        if descriptor is None:
            raise TargetBusyError(f"another process is writing {target}", hint="Wait for it, or name another file")
        with os.fdopen(descriptor, "w+b") as file:
            try:
                os.fchmod(descriptor, _PRIVATE)
                file.truncate()
                yield file
                file.flush()
                os.fsync(descriptor)
                refuse_link(target)
                part.replace(target)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Makes the names in the folder last through a power cut, where the operating system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # folders cannot be opened on Windows
        return
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems refuse; the data itself is already safe
        pass
    finally:
        os.close(descriptor)


class DurableAppender:
    """The end of a file.

    Args:
        path: for errors.
        descriptor: of the file, opened for writing; closed by `close`.
        size: its length in bytes: where it goes on.
    """

    def __init__(self, path: Path, descriptor: int, size: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._size = size
        self._synced = size
        self._syncing: asyncio.Future[None] | None = None
        self._broken: OSError | None = None
        self.syncs = 0

    def append(self, data: bytes) -> None:
        """Write at the end, all of it or nothing.

        Raises:
            StorageError: it cannot be written, or something before could not; nothing is ever written again then.
        """
        if self._broken is not None:
            raise self._error(self._broken)
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._descriptor, data[written:], self._size + written)
        except OSError as error:
            # A part of a line must not come to stand before the lines of a later run.
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise self._error(error) from error
        self._size += written

    async def flush(self) -> None:
        """Return when all that was appended is on the disk.

        Raises:
            StorageError: it will not be. Nothing is ever written again then.
        """
        wanted = self._size
        while self._synced < wanted:
            if self._broken is not None:
                raise self._error(self._broken)
            if self._syncing is None:
                self._syncing = asyncio.ensure_future(self._sync())
            # Shielded: others wait for the same, and whoever closes the file has to wait for its end.
            await asyncio.shield(self._syncing)

    async def close(self) -> None:
        """Bring everything to the disk, as far as that is possible, and close the file."""
        try:
            if self._broken is None:
                await self.flush()
        finally:
            try:
                if self._syncing is not None:
                    await asyncio.wait([self._syncing])
            finally:
                os.close(self._descriptor)

    async def _sync(self) -> None:
        size = self._size
        try:
            await asyncio.to_thread(os.fsync, self._descriptor)
        except OSError as error:
            # What an fsync that failed has left on the disk is anybody's guess, and the next one would not tell.
            self._broken = error
        else:
            self._synced = size
            self.syncs += 1
        finally:
            self._syncing = None

    def _error(self, error: OSError) -> StorageError:
        self._broken = error
        return storage_error(self._path, "write", error)


_NOTE_BYTES = 4096


@attrs.frozen(kw_only=True)
class LockOwner:
    """Who holds a store.

    Attributes:
        pid: the process.
        host: the machine that it runs on.
        since: since when, aware UTC, by that machine's clock.
        command: the program, without its arguments, which may be anything.
    """

    pid: int
    host: str
    since: dt.datetime
    command: str

    @classmethod
    def me(cls) -> Self:
        """This process, now."""
        return cls(
            pid=os.getpid(),
            host=socket.gethostname(),
            since=dt.datetime.now(dt.UTC),
            command=Path(sys.argv[0] or sys.executable).name,
        )

    def note(self) -> bytes:
        """What is written into the lock file."""
        return json.dumps(attrs.asdict(self) | {"since": self.since.isoformat()}).encode()

    def __str__(self) -> str:
        since = self.since.isoformat(sep=" ", timespec="seconds")
        return f"process {self.pid} on {self.host} ({self.command}) since {since}"


class FileLock:
    """The right to write a store, from its construction to `close`.

    Raises:
        TargetBusyError: somebody has it; its message says who.
        StorageError: the lock file cannot be made.
    """

    def __init__(self, store: Path) -> None:
        self.path = store.with_name(store.name + ".lock")
        with storage_errors(self.path, "lock"):
            descriptor = open_locked(self.path)
            if descriptor is None:
                raise _busy(store, self.path)
            self._descriptor: int | None = descriptor
            try:
                os.truncate(descriptor, 0)
                os.pwrite(descriptor, LockOwner.me().note(), 0)
            except OSError:
                self.close()
                raise

    def close(self) -> None:
        """Gives it up; twice is harmless."""
        if self._descriptor is None:
            return
        # Removed while it is still locked, or it could be the lock of the next one that is removed.
        self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = None


def _busy(store: Path, note: Path) -> TargetBusyError:
    owner = _read(note)
    return TargetBusyError(
        f"{store} is being written by {owner or 'another process'}", hint="Wait for it to end, or name another file"
    )


def _read(path: Path) -> LockOwner | None:
    # The owner may be about to write its note, or to remove it.
    try:
        note: dict[str, Any] = json.loads(path.read_bytes()[:_NOTE_BYTES])
        since = dt.datetime.fromisoformat(note["since"])
        return LockOwner(pid=int(note["pid"]), host=str(note["host"]), since=since, command=str(note["command"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
