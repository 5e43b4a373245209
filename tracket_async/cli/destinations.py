"""The destinations of worklogs: files that appear whole or not at all, or standard output, each with its format.

The format is the one of ``--format``, or else the one of the file's ending. An ending that names no format is refused,
because the file would not be what its name promises.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import stat
import threading
from collections.abc import Callable, Container, Generator, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Annotated, Final, Literal, Protocol

import msgspec
from cyclopts import Parameter

from tracket_async._files import atomic_write, refuse_link, storage_errors
from tracket_async.cli import exits, output
from tracket_async.cli.options import named_columns
from tracket_async.errors import IncompleteExportError, MalformedResponseError, StorageError, UsageError
from tracket_async.export.database import refuse_store
from tracket_async.export.formats import (
    ENDINGS,
    FORMATS,
    POSTGRES,
    Delimiter,
    FileOptions,
    Format,
    TargetFormat,
    TextFormat,
    check_format,
    format_of,
)
from tracket_async.export.postgres import PostgresTable, Target, is_database
from tracket_async.export.writers import check_target, open_text

Outputs = Annotated[
    list[str] | None,
    # "-" begins with a hyphen, too; any other word that does is refused in `files`.
    Parameter(alias="-o", metavar="FILE", negative=(), show_default=False, allow_leading_hyphen=True),
]
ChosenFormat = Annotated[Format | None, Parameter(show_default=False)]
Columns = Annotated[
    str | None,
    Parameter(
        metavar="NAME,NAME",
        show_default=False,
        help="Write these columns, in this order. Default: all but extra, which has the fields that are not known (a"
        " table of PostgreSQL has it, too).",
    ),
]
Raw = Annotated[
    bool,
    Parameter(
        negative=(),
        show_default=False,
        help="Leave CSV cells as they are. Without it, an apostrophe defuses text that a spreadsheet would execute.",
    ),
]

Bom = Annotated[
    bool,
    Parameter(negative=(), show_default=False, help="Begin CSV with a byte order mark, by which Excel knows UTF-8."),
]
ChosenDelimiter = Annotated[
    Literal[",", ";", "tab"], Parameter(help="Write this between the cells of CSV: a comma, a semicolon or a tab.")
]
DELIMITERS: Final[dict[str, Delimiter]] = {",": ",", ";": ";", "tab": "\t"}


def file_options(columns: str | None, *, raw: bool, bom: bool, delimiter: str, tz: str | None) -> FileOptions:
    """Return the settings of files that the options of a command give.

    Raises:
        UsageError: ``columns`` names no column, or one twice, or a setting is for another format.
    """
    named = None if columns is None else named_columns(columns)
    return FileOptions(columns=named, raw=raw, bom=bom, delimiter=DELIMITERS[delimiter], tz=tz)


AcceptDeletions = Annotated[
    bool,
    Parameter(
        negative=(),
        show_default=False,
        help="Remove from the store what the server no longer has, however much it is. Without it, worklogs are kept"
        " when more than 5 percent and more than 20 of them are gone.",
    ),
]

Table = Annotated[
    str,
    Parameter(
        metavar="NAME",
        help="Write this table of the PostgreSQL database that --output names, or SCHEMA.TABLE. It is created if there"
        " is none. The password comes from PGPASSWORD, PGPASSFILE or PGSERVICE, never from the URL.",
    ),
]
DeleteRows = Annotated[
    bool,
    Parameter(
        negative=(),
        show_default=False,
        help="Delete the rows of worklogs that no longer exist from the table of PostgreSQL. Without it, their"
        " deleted_at is set.",
    ),
]

AllRows = Annotated[
    bool,
    Parameter(
        negative=(),
        show_default=False,
        help="Compare all rows of the table of PostgreSQL, and mend those that others have changed. Without it, only"
        " worklogs that have changed since the last time are sent.",
    ),
]

STANDARD_OUTPUT: Final = "-"
TABLE: Final = "worklogs"
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]+://")
_BAD_ROW: Final = b'{"reason":'
"""How a file of bad rows begins."""
_SLICE: Final = 1 << 16
"""Bytes that are written, perhaps compressed, before the event loop has its turn: 2 ms at most."""


BadRowsFile = Annotated[
    Path | None,
    Parameter(
        name="--bad-rows",
        metavar="FILE",
        show_default=False,
        help="Write rows whose id, date or minutes cannot be read to this file (NDJSON: the reason, and the row as it"
        " was sent), go on with the others, and end with exit code 1. Without it, such a row is an error.",
    ),
]


class BadRows:
    """The rows that cannot be read, written to the file of ``--bad-rows``.

    Attributes:
        path: the file.
        count: how many there were.
    """

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self.count = 0
        self._file = file

    def write(self, row: bytes, error: MalformedResponseError) -> None:
        """Write a row and the reason as a line of JSON."""
        self.count += 1
        line = msgspec.json.encode({"reason": error.message, "row": msgspec.Raw(row)})
        with storage_errors(self.path, "write"):
            self._file.write(line + b"\n")


@contextlib.contextmanager
def bad_rows(path: Path | None, files: Container[Target] = ()) -> Generator[BadRows | None]:
    """Open the file of ``--bad-rows``, which appears at the end of the block; None: there is none.

    Raises:
        MalformedResponseError: without a file, with the hint to give one.
        UsageError: no file can be there, it is one of ``files``, or another file is there than one of bad rows.
        StorageError: as `atomic_write`.
    """
    if path is None:
        try:
            yield None
        except MalformedResponseError as error:
            if "[" in error.json_path:  # in a row, and not around all of them
                error.add(hint=f"To leave such rows out, run: {exits.same_command('--bad-rows', 'bad-rows.ndjson')}")
            raise
        return
    check(path)
    if path in files:
        raise UsageError(f"{path} cannot be the file of --bad-rows and another file of this command")
    with storage_errors(path, "read"), contextlib.suppress(FileNotFoundError), path.open("rb") as before:
        if before.read(len(_BAD_ROW)) not in {b"", _BAD_ROW}:
            raise UsageError(
                f"{path} is there, and is no file of bad rows, so it is not replaced. Give --bad-rows another name"
            )
    with atomic_write(path) as file:
        yield BadRows(path, file)


def require_readable(found: BadRows | None, *, in_store: int = 0) -> None:
    """Check that there were no bad rows.

    Args:
        found: those of this run; None: there is no file for them.
        in_store: how many there are in a store, from earlier runs.

    Raises:
        IncompleteExportError: there were some; the message names the file, or the hint says how to get one.
    """
    if found is None and in_store:
        raise IncompleteExportError(
            f"{output.counted(in_store, 'row')} of the server cannot be read, and are left out",
            hint=f"To see them, run: {exits.same_command('--bad-rows', 'bad-rows.ndjson')}",
        )
    if found is not None and found.count:
        raise IncompleteExportError(
            f"The server sent {output.counted(found.count, 'row')} that cannot be read. {found.path} has the reason and"
            " what was sent",
            hint="Report it to the vendor",
        )


class Destination(Protocol):
    """Anything that takes bytes in order."""

    async def write(self, data: bytes, /) -> None:
        """Write the bytes; return when the next may come."""
        ...


class StandardOutput:
    """Standard output. A slow reader blocks a thread and never the event loop, so that connections stay alive."""

    async def write(self, data: bytes, /) -> None:
        """Write the bytes.

        Raises:
            BrokenPipeError: nobody reads any more.
        """
        await asyncio.wrap_future(_started(output.write, data))


def _started(write: Callable[[bytes], None], data: bytes) -> Future[None]:
    """Write in a thread that nothing waits for when the program ends: its reader may have stalled for ever."""
    done: Future[None] = Future()

    def run() -> None:
        done.set_running_or_notify_cancel()
        try:
            write(data)
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            done.set_exception(error)
        else:
            done.set_result(None)

    threading.Thread(target=run, daemon=True).start()
    return done


class File:
    """A file that is being written."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._file = file

    async def write(self, data: bytes, /) -> None:
        """Write the bytes.

        Raises:
            StorageError: the disk is full, say; it names this file, whatever other files are open around it.
        """
        with storage_errors(self._path, "write"):
            for at in range(0, len(data), _SLICE):
                self._file.write(data[at : at + _SLICE])
                await asyncio.sleep(0)


@contextlib.contextmanager
def open_file(path: Path) -> Generator[File]:
    """Open a file that appears at the end of the block, whole, or not at all; raises as `open_text`."""
    with open_text(path) as file:
        yield File(path, file)


def check(path: Path, option: str = "--output") -> None:
    """Check, before anything is sent, that a file can be created or replaced there; ``option`` names it.

    Raises:
        UsageError: the folder does not exist, or the path is a link or something else that is not a file.
    """
    if _takes_a_stream(path):
        raise UsageError(
            f"{path} is a pipe or a device, not a file that can be written whole."
            " Give --output -, and let the shell send standard output there"
        )
    if not path.parent.is_dir():
        raise UsageError(f"The folder {path.parent} does not exist. Create it, or give another {option}")
    try:
        refuse_link(path)
    except StorageError as error:
        raise UsageError(str(error)) from None


def _takes_a_stream(path: Path) -> bool:
    """Return whether it is a FIFO or a device, or a link to one, as /dev/stdout and what a shell makes of >(...)."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def to_standard_output(outputs: Sequence[str]) -> bool:
    """Return whether standard output is the destination.

    Raises:
        UsageError: it is one of several destinations, or closed.
    """
    if STANDARD_OUTPUT not in outputs:
        return False
    if len(outputs) > 1:
        raise UsageError("Standard output (-) cannot be combined with another --output")
    if "stdout" in output.closed:
        raise UsageError("Standard output is closed, so nothing would get the worklogs. Give --output FILE")
    return True


def streamed(format: Format | None) -> TextFormat:
    """Return the format for standard output.

    Raises:
        UsageError: the format cannot be streamed.
    """
    found = FORMATS[format or "ndjson"].text
    if found is None:
        raise UsageError(f"--format {format} needs a file. Give --output FILE")
    return found


def files(
    outputs: Iterable[str],
    format: Format | None,
    *,
    table: str = TABLE,
    delete_rows: bool = False,
    all_rows: bool = False,
) -> dict[Target, TargetFormat]:
    """Return each file, or table, with its format, in the order of the options.

    Args:
        outputs: names of files and URLs of databases.
        format: of the files; None: that of each ending.
        table: the table in a database.
        delete_rows: as in `PostgresTable`.
        all_rows: as in `PostgresTable`.

    Raises:
        UsageError: an ending names no format, a file is given twice, or a file cannot be there; a URL has a password,
            or asks for no TLS, and ``table`` is no name; an option of a table is given, and no database.
        MissingExtraError: the driver of the database is not installed.
    """
    found: dict[Target, TargetFormat] = {}
    for name in outputs:
        if name.startswith("-"):
            raise UsageError(f"--output needs a file, and {name} is an option. A file of that name is ./{name}")
        if (scheme := _SCHEME.match(name)) and not is_database(name):
            raise UsageError(
                f"--output cannot write to {scheme[0]}... Give a file, or a database as postgresql://USER@HOST/DATABASE"
            )
        target: Target = Path(name)
        if is_database(name):
            target = PostgresTable(name, table, delete_rows=delete_rows, all_rows=all_rows)
        if target in found:
            raise UsageError(f"--output {name} is given twice")
        if isinstance(target, PostgresTable):
            found[target] = POSTGRES
            check_target(target, POSTGRES)
            continue
        check(target)
        refuse_store(target)
        found[target] = format or _format_of(target)
        check_format(target, found[target])
    given = {"--table": table != TABLE, "--delete-rows": delete_rows, "--all-rows": all_rows}
    if (options := [option for option, is_given in given.items() if is_given]) and POSTGRES not in found.values():
        raise UsageError(f"{options[0]} is for a table of PostgreSQL. Give --output postgresql://USER@HOST/DATABASE")
    return found


def _format_of(path: Path) -> Format:
    found = format_of(path) if path.suffix else "ndjson"
    if found is None:
        raise UsageError(f"The ending of {path} names no format. Give --format, or use one of {', '.join(ENDINGS)}")
    return found
