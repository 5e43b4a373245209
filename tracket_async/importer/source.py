"""The bytes of an input file, which can be read more than once and must not change in between.

Whoever reads again gets the same bytes or an error. Standard input and pipes, which can be read only once, are copied
to a temporary file first. It has no name, belongs to this user alone, and is gone with the process.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self, TypeAlias

import attrs

from tracket_async._files import storage_errors
from tracket_async.errors import StoreError, UsageError

File: TypeAlias = io.BufferedReader | io.BufferedRandom

STANDARD_INPUT: Final = "-"
MAX_LINE_BYTES: Final = 1 << 20
"""A worklog has a few hundred bytes. A longer line is not taken into memory: it belongs to no file of worklogs."""


@attrs.frozen(kw_only=True)
class Fingerprint:
    """The length of a content in bytes, and its SHA-256 in hexadecimal digits."""

    size: int
    sha256: str


class InputSource:
    """The bytes of a file, or of standard input for ``-``; open from its construction to `close`.

    Args:
        name: the path, or ``-``.

    Attributes:
        name: for messages.
        path: where the file really is, with links followed; None of a copy.

    Raises:
        UsageError: it cannot be read.
        StorageError: it cannot be copied, because the disk is full, say.
    """

    def __init__(self, name: str) -> None:
        self.name = "standard input" if name == STANDARD_INPUT else name
        self._file, self.path = _opened(name)
        self._seen = self._state()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it. A copy is gone then."""
        self._file.close()

    def lines(self) -> Iterator[bytes]:
        """Yield the lines from the first on, each with its line break. One iteration at a time.

        Raises:
            StoreError: the file was changed since it was opened.
            UsageError: a line is longer than `MAX_LINE_BYTES`, or the file cannot be read.
        """
        self._file.seek(0)
        number = 0
        while line := self._next(number + 1):
            number += 1
            yield line
        self._check()

    def fingerprint(self) -> Fingerprint:
        """Read all bytes and return their fingerprint.

        Raises:
            StoreError: the file was changed since it was opened.
        """
        self._file.seek(0)
        digest = hashlib.file_digest(self._file, "sha256")
        self._check()
        return Fingerprint(size=self._seen[0], sha256=digest.hexdigest())

    def _next(self, number: int) -> bytes:
        try:
            line = self._file.readline(MAX_LINE_BYTES + 1)
        except OSError as error:
            raise UsageError(f"{self.name} cannot be read: {error.strerror}") from None
        if len(line) > MAX_LINE_BYTES:
            raise UsageError(
                f"Line {number} of {self.name} is longer than {MAX_LINE_BYTES:,} bytes, so it is no file of worklogs."
                " Give another file or --format"
            )
        self._check()
        return line

    def _check(self) -> None:
        # Cheap beside what is done with a line; whoever edits the file in an editor is seen before the next one.
        if self._state() != self._seen:
            raise StoreError(
                f"{self.name} was changed while it was being read", hint="Run the same again once nobody writes to it"
            )

    def _state(self) -> tuple[int, int]:
        found = os.fstat(self._file.fileno())
        return found.st_size, found.st_mtime_ns


def _opened(name: str) -> tuple[File, Path | None]:
    if name == STANDARD_INPUT:
        return _copied(sys.stdin.buffer, "standard input"), None
    path = Path(name)
    try:
        file = path.open("rb")
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}") from None
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file, path.resolve()
    with file:
        return _copied(file, name), None


def _copied(stream: IO[bytes], name: str) -> File:
    with storage_errors(Path(tempfile.gettempdir()), f"copy {name} to"):
        copy = tempfile.TemporaryFile(prefix="tracket-")  # noqa: SIM115 - closed by `Source.close`
        try:
            shutil.copyfileobj(stream, copy)
            copy.flush()
        except BaseException:
            copy.close()
            raise
    return copy
