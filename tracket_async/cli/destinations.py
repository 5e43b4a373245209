"""Where an export goes: a file that appears whole or not at all, or standard output.

A file is written beside its target, private to its owner (0600), and renamed over it when everything is on the disk;
what ends before that leaves the target as it was. No symbolic link is followed and nothing but a file is ever replaced.

Which file gets which format: the one that is said, or else the one that the ending of its name says.

A file whose ending says no format is refused, because what is in it would not be what its name promises.
"""

from __future__ import annotations

import asyncio
import contextlib
import stat
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import IO, Annotated, Final, Literal, Protocol

from cyclopts import Parameter

from tracket_async._files import atomic_write, storage_errors
from tracket_async.cli import output
from tracket_async.errors import UsageError

STANDARD_OUTPUT: Final = "-"


class Target(Protocol):
    """Anything that bytes can be written to, in order."""

    async def write(self, data: bytes, /) -> None:
        """Write the bytes; returns when the next may come."""
        ...


class StandardOutput:
    """Standard output. A slow reader blocks a thread and never the event loop, so that connections stay alive."""

    async def write(self, data: bytes, /) -> None:
        """Write the bytes.

        Raises:
            BrokenPipeError: nobody reads any more.
        """
        await asyncio.to_thread(output.write, data)


class FileTarget:
    """A file that is being written by `open_file`."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._file = file

    async def write(self, data: bytes, /) -> None:
        """Write the bytes.

        Raises:
            StorageError: the disk is full, say; it names this file, whatever other files are open around it.
        """
        with storage_errors(self._path, "write"):
            self._file.write(data)


@contextlib.contextmanager
def open_file(path: Path) -> Generator[Target]:
    """Open a file that appears at the end of the block, whole, or not at all (see `atomic_write`).

    Raises:
        UsageError: there can be no file there.
        StorageError: the disk is full, or the folder cannot be written to.
    """
    check(path)
    with atomic_write(path) as file:
        yield FileTarget(path, file)


def check(path: Path) -> None:
    """See to it, before anything is asked of a server, that a file can come to be there.

    Raises:
        UsageError: the folder is missing, or something that is no file has the name.
    """
    if not path.parent.is_dir():
        raise UsageError(f"The folder {path.parent} does not exist. Create it, or give another --output")
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    if stat.S_ISLNK(mode):
        raise UsageError(f"{path} is a symbolic link, which is not followed. Give the place that it points to")
    if not stat.S_ISREG(mode):
        raise UsageError(f"{path} is not a file. Give a file, or - for standard output")


Format = Literal["ndjson", "csv", "parquet", "duckdb"]
Streamed = Literal["ndjson", "csv"]

Outputs = Annotated[
    list[str] | None,
    # "-" begins with a hyphen, too; what else does is refused in `files`.
    Parameter(alias="-o", metavar="FILE", negative=(), show_default=False, allow_leading_hyphen=True),
]
ChosenFormat = Annotated[Format | None, Parameter(show_default=False)]

ENDINGS: Final[dict[str, Format]] = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".csv": "csv",
    ".parquet": "parquet",
    ".duckdb": "duckdb",
    "": "ndjson",
}
STREAMED: Final[dict[Format, Streamed]] = {"ndjson": "ndjson", "csv": "csv"}
"""Formats that can be written while worklogs come; the others need all of them first."""


def to_standard_output(outputs: Sequence[str]) -> bool:
    """Whether that is where everything goes.

    Raises:
        UsageError: it is one of several places.
    """
    if STANDARD_OUTPUT not in outputs:
        return False
    if len(outputs) > 1:
        raise UsageError("Standard output (-) goes with no other --output")
    return True


def streamed(format: Format | None) -> Streamed:  # noqa: A002 - the word that people use
    """The format on standard output.

    Raises:
        UsageError: it cannot be streamed.
    """
    found = STREAMED.get(format or "ndjson")
    if found is None:
        raise UsageError(f"--format {format} needs a file. Give --output FILE")
    return found


def files(outputs: Iterable[str], format: Format | None) -> dict[Path, Format]:  # noqa: A002
    """Each file and its format, in the order in which they were given.

    Raises:
        UsageError: an ending says no format, a file is given twice, or a file cannot be there.
    """
    found: dict[Path, Format] = {}
    for name in outputs:
        if name.startswith("-"):
            raise UsageError(f"--output needs a file, and {name} is an option. A file of that name is ./{name}")
        path = Path(name)
        check(path)
        if path in found:
            raise UsageError(f"--output {path} is given twice")
        found[path] = format or _ending(path)
    return found


def _ending(path: Path) -> Format:
    found = ENDINGS.get(path.suffix.lower())
    if found is None:
        known = ", ".join(ending for ending in ENDINGS if ending)
        raise UsageError(f"The ending of {path} says no format. Give --format, or one of {known}")
    return found
