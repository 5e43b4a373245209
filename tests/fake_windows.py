"""A fake of what Windows is documented to do with files that are locked or open, over Linux (it reads ``/proc``)."""

from __future__ import annotations

import errno
import os
from pathlib import Path


class Msvcrt:
    """``msvcrt.locking``: ranges of bytes, which belong to a descriptor, from its position on."""

    LK_UNLCK, LK_NBLCK = 0, 2

    def __init__(self):
        self.locked = {}
        self.error = None

    def locking(self, descriptor, mode, nbytes):
        if self.error is not None:
            raise self.error
        at = os.lseek(descriptor, 0, os.SEEK_CUR)
        assert at > os.fstat(descriptor).st_size, "nobody else could read these bytes"
        found = os.fstat(descriptor)
        place = found.st_dev, found.st_ino, at, nbytes
        if mode == self.LK_UNLCK:
            assert self.locked.pop(place) == descriptor
        elif place in self.locked:
            raise PermissionError(errno.EACCES, "Permission denied")
        else:
            self.locked[place] = descriptor


class Sharing:
    """The file system of Windows: a file that is open here, or by `others`, is neither renamed nor removed."""

    def __init__(self, patch=setattr):
        self.others = set()
        self._real = {name: getattr(Path, name) for name in ("replace", "unlink")}
        patch(Path, "replace", lambda path, target: self._move("replace", path, target))
        patch(Path, "unlink", lambda path, missing_ok=False: self._move("unlink", path, missing_ok))

    def _move(self, name, path, argument):
        opened = {os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()}
        for each in (path, argument) if name == "replace" else (path,):
            if os.fspath(each) in opened or each in self.others:
                raise PermissionError(errno.EACCES, "The process cannot access the file", os.fspath(each))
        return self._real[name](path, argument)
