"""Files that are never half there, never anybody else's to read, and never behind a symbolic link.

A file is written beside its target and renamed into its place: whoever looks sees the old one or the new one, whole.
What is beside it (``.NAME.part``) is locked while it is written, so that a second writer is turned away, and what a
killed one left is taken over. Errors of the operating system become `StorageError`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Generator
from pathlib import Path
from typing import IO

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
    translated = StorageError(f"cannot {doing} {path}: {error.strerror or error}")
    translated.errno, translated.filename = error.errno, os.fspath(path)
    translated.hint = _HINTS.get(error.errno or 0, "Check the folder and its permissions, then run the same again")
    return translated


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
    error = StorageError(f"{path} is a symbolic link, which is not followed")
    error.errno, error.filename = errno.ELOOP, os.fspath(path)
    error.hint = "Name the file itself"
    return error


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
        # Its holder renamed or removed it between the two calls: what is locked is no longer the file of this name.
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
            busy = TargetBusyError(f"another process is writing {target}")
            busy.hint = "Wait for it, or name another file"
            raise busy
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
