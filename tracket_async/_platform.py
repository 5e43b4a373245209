"""The calls of the operating system that POSIX and Windows answer differently, each in one place.

`POSIX` was run and is tested on Linux. `WINDOWS` is written from the documentation of ``msvcrt.locking`` and of
CreateFile, and was only ever run over a fake of them: please report what is otherwise there.

On Windows, nobody renames or removes a file that any program holds open, a lock keeps others from reading what is
locked, and a folder cannot be opened.
"""

from __future__ import annotations

import errno
import importlib
import os
import signal
from typing import Any, Final, Protocol

FLAGS: Final = (
    os.O_RDWR
    | os.O_CREAT
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOINHERIT", 0)
    | getattr(os, "O_BINARY", 0)
)
"""The flags with which to open a file for writing: created, as bytes, for this process alone; no link is followed."""

_BUSY: Final = frozenset({errno.EAGAIN, errno.EACCES})
_FAR: Final = 1 << 30


class Platform(Protocol):
    """The operating system.

    Attributes:
        moves_open_files: whether a file can be renamed and removed while a program holds it open.
    """

    moves_open_files: bool

    def lock(self, descriptor: int) -> bool:
        """Lock the file until `unlock` or the end of the process; return False when another descriptor has it locked.

        Raises:
            OSError: it cannot be locked at all.
        """
        ...

    def unlock(self, descriptor: int) -> None:
        """Give the lock up, before the descriptor is closed."""
        ...

    def make_private(self, descriptor: int, mode: int) -> None:
        """Set the mode of the file, where files have one."""
        ...

    def terminate_this_process(self) -> None:
        """Send SIGTERM to this process, so that its handler runs; from any thread."""
        ...


class Posix:
    """Linux, macOS and the BSDs."""

    moves_open_files = True

    def __init__(self, fcntl: Any) -> None:
        self._fcntl = fcntl

    def lock(self, descriptor: int) -> bool:
        """Lock the file; see `Platform`."""
        try:
            self._fcntl.flock(descriptor, self._fcntl.LOCK_EX | self._fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _BUSY:
                return False
            raise
        return True

    def unlock(self, descriptor: int) -> None:
        """Do nothing: closing does it."""

    def make_private(self, descriptor: int, mode: int) -> None:
        """Set the mode of the file."""
        os.fchmod(descriptor, mode)

    def terminate_this_process(self) -> None:
        """Send SIGTERM to this process."""
        os.kill(os.getpid(), signal.SIGTERM)


class Windows:
    """Windows. A file's access rights are those of its folder."""

    moves_open_files = False

    def __init__(self, msvcrt: Any) -> None:
        self._msvcrt = msvcrt

    def lock(self, descriptor: int) -> bool:
        """Lock the file; see `Platform`."""
        try:
            self._locking(descriptor, self._msvcrt.LK_NBLCK)
        except OSError as error:
            if error.errno in _BUSY:
                return False
            raise
        return True

    def unlock(self, descriptor: int) -> None:
        """Give the lock up: the system may take its time about one that is left to closing."""
        self._locking(descriptor, self._msvcrt.LK_UNLCK)

    def make_private(self, descriptor: int, mode: int) -> None:
        """Do nothing."""

    def terminate_this_process(self) -> None:
        """Raise SIGTERM in this process: os.kill would end it at once, without its handler."""
        signal.raise_signal(signal.SIGTERM)

    def _locking(self, descriptor: int, mode: int) -> None:
        # One byte far behind the end: nobody else could read a byte that is locked.
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        try:
            self._msvcrt.locking(descriptor, mode, 1)
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)


def this_platform() -> Platform:
    """Return the platform that Python runs on, by the module for locks that it has."""
    try:
        return Posix(importlib.import_module("fcntl"))
    except ModuleNotFoundError:
        return Windows(importlib.import_module("msvcrt"))


PLATFORM: Final = this_platform()
