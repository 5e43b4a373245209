"""Files that are replaced whole, locked by one writer, or appended to durably.

* `atomic_write` writes beside the target (``.NAME.part``) and renames: a reader sees the old file or the whole new one.
  A second writer of the same target is refused, and what a killed writer left is overwritten.
* `FileLock` gives one process the right to write a file. The lock ends with its process, and says who holds it.
* `DurableAppender` appends to a file and waits until what was appended would survive a power cut.

Files are readable by their owner alone (mode 0600). No symbolic link is followed and nothing but a file is replaced.
Errors of the operating system become `StorageError`.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import errno
import hashlib
import json
import os
import socket
import stat
import sys
from collections.abc import Generator
from pathlib import Path
from typing import IO, Any, Self

import attrs

from tracket_async._platform import FLAGS, PLATFORM
from tracket_async.errors import StorageError, TargetBusyError, TracketError

_PRIVATE = 0o600
_BUFFER_BYTES = 1 << 17
_NAME_BYTES = 239
"""Bytes of a name that is made here: of the 255 of a file system, some are left for what DuckDB appends to it."""


# -- errors ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def storage_errors(path: Path, doing: str) -> Generator[None]:
    """Raise each OSError from within as a `StorageError` that names the file and what was being done ("write")."""
    try:
        yield
    except TracketError:
        raise
    except OSError as error:
        raise storage_error(path, doing, error) from error


def storage_error(path: Path, doing: str, error: OSError) -> StorageError:
    """Return the `StorageError` for an error of the operating system, with what to do next."""
    if error.errno == errno.ELOOP:
        return _link_error(path)
    hint = _HINTS.get(error.errno or 0, "Check the folder and its permissions, then run the same again")
    translated = StorageError(f"cannot {doing} {path}: {error.strerror or error}", hint=hint)
    translated.errno, translated.filename = error.errno, os.fspath(path)
    return translated


_HINTS = {
    errno.ENOSPC: "Free some space, then run the same again",
    errno.EDQUOT: "Free some of your quota, then run the same again",
    errno.EFBIG: "Raise the limit on the size of files, then run the same again",
    errno.ENOENT: "Create the folder first",
    errno.ENOTDIR: "Create the folder first",
    errno.EISDIR: "Name a file, not a folder",
}


def _link_error(path: Path) -> StorageError:
    error = StorageError(f"{path} is a symbolic link, which is not followed", hint="Name the file itself")
    error.errno, error.filename = errno.ELOOP, os.fspath(path)
    return error


def refuse_link(path: Path) -> None:
    """Check that the path is a regular file, or nothing yet.

    Raises:
        StorageError: it is a symbolic link, a folder or a device.
    """
    with storage_errors(path, "look at"):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            return
        if stat.S_ISLNK(mode):
            raise _link_error(path)
        if not stat.S_ISREG(mode):
            raise IsADirectoryError(errno.EISDIR, "it is not a file")


# -- whole files -----------------------------------------------------------------------------------------------------


def beside(path: Path, suffix: str, *, prefix: str = "") -> Path:
    """Return a path in the same folder, named after another: ``PREFIX NAME SUFFIX``.

    Where that is too long for a name, the end of NAME is replaced by a digest of it. Bytes of NAME that are not UTF-8,
    which DuckDB does not open, become text (``&#56553;``).
    """
    name = path.name.encode("utf-8", "xmlcharrefreplace").decode()
    if _size(prefix + name + suffix) > _NAME_BYTES:
        suffix = f"~{hashlib.sha256(name.encode()).hexdigest()[:16]}{suffix}"
        while _size(prefix + name + suffix) > _NAME_BYTES:
            name = name[:-1]
    return path.with_name(prefix + name + suffix)


def _size(name: str) -> int:
    return len(name.encode())


def part_of(target: Path) -> Path:
    """Return the file beside the target in which it is written."""
    return beside(target, ".part", prefix=".")


@contextlib.contextmanager
def atomic_write(target: Path) -> Generator[IO[bytes]]:
    """Open a new binary file that replaces the target at the end, or is removed on an error.

    An OSError from within the block is taken for one of this file.

    Raises:
        TargetBusyError: another process is writing the same target.
        StorageError: the operating system refuses, or the target is a symbolic link or a folder; or it cannot be
            replaced, see `replace`.
    """
    refuse_link(target)
    part = part_of(target)
    with storage_errors(target, "write"), contextlib.ExitStack() as stack:
        file = _open_part(part, stack)
        if file is None:
            raise TargetBusyError(
                f"another process is writing {target}", hint="Wait until it ends, or name another file"
            )
        try:
            PLATFORM.make_private(file.fileno(), _PRIVATE)
            file.truncate()
            yield file
            file.flush()
            os.fsync(file.fileno())
            refuse_link(target)
            if not PLATFORM.moves_open_files:
                file.close()
            replace(part, target)
        except BaseException:
            with contextlib.suppress(OSError):
                if not PLATFORM.moves_open_files:
                    file.close()
                part.unlink(missing_ok=True)
            raise
        fsync_folder(target.parent)


def _open_part(part: Path, stack: contextlib.ExitStack) -> IO[bytes] | None:
    """Open the file, locked until the stack ends; None when it is locked."""
    if PLATFORM.moves_open_files:
        descriptor = open_locked(part)
        if descriptor is None:
            return None
    else:  # it is closed before it is renamed, which ends a lock of its own
        try:
            stack.enter_context(contextlib.closing(FileLock(part)))
        except TargetBusyError:
            return None
        descriptor = os.open(part, FLAGS, _PRIVATE)
    return stack.enter_context(os.fdopen(descriptor, "w+b", buffering=_BUFFER_BYTES))


def replace(new: Path, target: Path) -> None:
    """Rename a file that is complete into the place of the target.

    Raises:
        StorageError: the target cannot be replaced (on Windows, a spreadsheet that has it open is enough), and what was
            written is kept beside it, under the name in the message.
        OSError: neither can be done.
    """
    try:
        new.replace(target)
    except PermissionError as error:
        kept = beside(target.with_suffix(""), f".kept{target.suffix}")
        new.replace(kept)
        refusal = StorageError(
            f"{target} cannot be replaced ({error.strerror}): another program, such as a spreadsheet, may have it open."
            f" What was written is kept in {kept}",
            hint=f"Close {target.name} there, and rename {kept.name}",
        )
        refusal.errno, refusal.filename = error.errno, os.fspath(target)
        raise refusal from error


def fsync_folder(folder: Path) -> None:
    """Make the names in the folder survive a power cut, where the operating system can."""
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


# -- locks -----------------------------------------------------------------------------------------------------------


def open_locked(path: Path) -> int | None:
    """Return a descriptor of the file, created if need be and locked until it is closed; None when it is locked.

    The operating system drops the lock with the process, however that ends.

    Raises:
        OSError: as `os.open` does; a symbolic link is ``ELOOP``.
    """
    while True:
        descriptor = os.open(path, FLAGS, _PRIVATE)
        try:
            locked = PLATFORM.lock(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        if locked and (not PLATFORM.moves_open_files or _is_still(path, descriptor)):
            return descriptor
        os.close(descriptor)
        if not locked:
            return None
        # Its owner renamed or removed it between the two calls: what is locked is no longer the file of this name.


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))


_NOTE_BYTES = 4096


@attrs.frozen(kw_only=True)
class LockOwner:
    """The process that holds a lock.

    Attributes:
        pid: the process id.
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
        """Return this process, now."""
        return cls(
            pid=os.getpid(),
            host=socket.gethostname(),
            since=dt.datetime.now(dt.UTC),
            command=Path(sys.argv[0] or sys.executable).name,
        )

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return the owner that a lock file names; None when it cannot be read: it may be about to be written."""
        try:
            note: dict[str, Any] = json.loads(path.read_bytes()[:_NOTE_BYTES])
            since = dt.datetime.fromisoformat(note["since"])
            return cls(pid=int(note["pid"]), host=str(note["host"]), since=since, command=str(note["command"]))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def to_json(self) -> bytes:
        """Return the contents of a lock file."""
        return json.dumps(attrs.asdict(self) | {"since": self.since.isoformat()}).encode()

    def __str__(self) -> str:
        since = self.since.isoformat(sep=" ", timespec="seconds")
        return f"process {self.pid} on {self.host} ({self.command}) since {since}"


class FileLock:
    """The right of one process to write a file, from construction to `close`.

    The lock is on a file beside it, ``NAME.lock``. (DuckDB has a lock of its own, which names a process id at best, and
    does not work between two connections of one process.)

    Raises:
        TargetBusyError: another process has it; the message says which.
        StorageError: the lock file cannot be created.
    """

    def __init__(self, target: Path) -> None:
        self.path = beside(target, ".lock")
        with storage_errors(self.path, "lock"):
            descriptor = open_locked(self.path)
            if descriptor is None:
                owner = LockOwner.read(self.path) or "another process"
                hint = "Wait until it ends, or name another file"
                raise TargetBusyError(f"{target} is being written by {owner}", hint=hint)
            self._descriptor: int | None = descriptor
            try:
                os.ftruncate(descriptor, 0)
                os.write(descriptor, LockOwner.me().to_json())
            except OSError:
                self.close()
                raise

    def close(self) -> None:
        """Release the lock; a second call does nothing."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        if PLATFORM.moves_open_files:
            # Removed while it is still locked, or it could be the lock of the next one that is removed.
            self.path.unlink(missing_ok=True)
            os.close(descriptor)
            return
        PLATFORM.unlock(descriptor)
        os.close(descriptor)
        with contextlib.suppress(OSError):  # it is the next one's already
            self.path.unlink()


# -- files that only grow --------------------------------------------------------------------------------------------


class DurableAppender:
    """Append to a file; many waiters share one ``fsync``.

    `append` hands the bytes to the operating system at once, which keeps them even if this process is killed. `flush`
    returns when everything appended before it would survive a power cut, too. While one ``fsync`` runs, in a thread,
    those who come meanwhile wait for the next: 16 writers need one for up to 16 of them.

    Args:
        path: for errors.
        descriptor: of the file, opened for writing; closed by `close`.
        size: its length in bytes: where to append.
    """

    def __init__(self, path: Path, descriptor: int, size: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._size = size
        self._synced = size
        self._syncing: asyncio.Future[None] | None = None
        self._broken: OSError | None = None

    def append(self, data: bytes) -> None:
        """Write all of it at the end, or nothing.

        Raises:
            StorageError: it cannot be written, or something before could not; nothing is ever written again then.
        """
        if self._broken is not None:
            raise self._error(self._broken)
        written = 0
        try:
            os.lseek(self._descriptor, self._size, os.SEEK_SET)  # Windows has no pwrite
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        except OSError as error:
            # A part of a line must not come to stand before the lines of a later run.
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise self._error(error) from error
        self._size += written

    async def flush(self) -> None:
        """Wait until all that was appended is on the disk.

        Raises:
            StorageError: it will not be. Nothing is ever written again then.
        """
        wanted = self._size
        while self._synced < wanted:
            if self._broken is not None:
                raise self._error(self._broken)
            if self._syncing is None:
                self._syncing = asyncio.ensure_future(self._fsync())
            # Shielded: others wait for the same, and whoever closes the file has to wait for its end.
            await asyncio.shield(self._syncing)

    async def close(self) -> None:
        """Flush, as far as that is possible, and close the file."""
        try:
            if self._broken is None:
                await self.flush()
        finally:
            try:
                if self._syncing is not None:
                    await asyncio.wait([self._syncing])
            finally:
                os.close(self._descriptor)

    async def _fsync(self) -> None:
        size = self._size
        try:
            await asyncio.to_thread(os.fsync, self._descriptor)
        except OSError as error:
            # What an fsync that failed has left on the disk is anybody's guess, and the next one would not tell.
            self._broken = error
        else:
            self._synced = size
        finally:
            self._syncing = None

    def _error(self, error: OSError) -> StorageError:
        self._broken = error
        return storage_error(self._path, "write", error)
