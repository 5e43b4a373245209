"""Output of the commands: data and tables on standard output, notes and questions on standard error.

At a terminal a table is drawn; elsewhere it is tab-separated values without a single escape code.

No text of a server or a file may command the terminal, so whatever goes to one goes through `escape`. In files and
pipes JSON and CSV are as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import errno
import logging
import os
import re
import select
import stat
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from tracket_async._timestamps import write_day, write_moment
from tracket_async.export import text as cells
from tracket_async.export.progress import ExportResult, SyncResult
from tracket_async.export.store import ChangeCounts
from tracket_async.frames import json_text
from tracket_async.models import Worklog


def counted(number: int, what: str) -> str:
    """Return a number of things: 1 row, 2 rows."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def verdict(result: ExportResult | SyncResult) -> str:
    """Return whether the result is complete, and how that is known."""
    left_out = f", {counted(result.bad_rows, 'row')} that cannot be read among them" if result.bad_rows else ""
    return f"{_verdict(result)}{left_out}"


def _verdict(result: ExportResult | SyncResult) -> str:
    if result.verdict == "verified":
        return "verified: as many as the server counts"
    if result.verdict == "incomplete":
        return f"incomplete: the server counts {result.total:,}"
    if result.verdict == "not verified":
        return "not verified"  # the error says why
    return "not verifiable: the server gives no count of them"


def revised(changes: ChangeCounts) -> str:
    """Return the counts of changes in words."""
    return f"{changes.added:,} added, {changes.changed:,} changed, {changes.removed:,} removed"


def exported(
    worklogs: int, hours: float, seconds: float, *, files: Iterable[object] = (), result: ExportResult | None = None
) -> str:
    """Return the line about a complete export.

    Args:
        worklogs: how many there are.
        hours: their hours.
        seconds: how long it took.
        files: the files and databases; none: standard output.
        result: the result of the store; None: the export was streamed.
    """
    names = ", ".join(map(str, files))
    resumed = 0 if result is None else result.resumed
    parts = [
        f"Exported {counted(worklogs, 'worklog')} ({hours:,.1f} h)",
        f" to {names}" if names else "",
        f" in {seconds:.1f} s",
        f", {(worklogs - resumed) / seconds:,.0f}/s" if seconds > 0 else "",
        f"; {resumed:,} of them by an earlier run" if resumed else "",
    ]
    if result is not None:
        parts.append(f"; {revised(result.changes)} while it ran" if result.changes.different else "")
        parts.append(f"; {verdict(result)}")
    return "".join(parts) + "."


_worklogs: Final = cells.ndjson_encoder()
_MIDNIGHT: Final = dt.time(tzinfo=dt.UTC)


# -- text that commands no terminal --------------------------------------------------------------------------------

_SHORT: Final = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}
_COMMANDS: Final = (
    r"\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f"  # Cc but LF and CR: control characters
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # Bidi_Control: they reorder the text around them
    r"\u2028\u2029"  # Zl and Zp: line and paragraph separators
)
_IN_A_LINE: Final = re.compile(rf"[\r\n{_COMMANDS}]")
_IN_LINES: Final = re.compile(rf"[{_COMMANDS}]|\r(?!\n)")


def escape(text: str, *, lines: bool = False) -> str:
    """Return the text with control characters, bidirectional controls and line separators as escapes of JSON.

    Every other character stays: an ideographic space, a no-break space and the joiners of emoji are text. JSON means
    the same before and after. Escaping twice changes nothing.

    Args:
        text: for a terminal.
        lines: keep line breaks (LF and CR LF): it is more than one line.
    """
    pattern = _IN_LINES if lines else _IN_A_LINE
    return pattern.sub(lambda found: _SHORT.get(found[0]) or f"\\u{ord(found[0]):04x}", text)


def one_line(text: str) -> str:
    """Return the text escaped, with each run of spaces and line breaks as one space."""
    return escape(re.sub("[ \t\r\n]+", " ", text).strip(" "))


# -- printing ------------------------------------------------------------------------------------------------------


def write(data: bytes) -> None:
    """Write lines of UTF-8 on standard output, after the text that was printed before."""
    sys.stdout.flush()
    if sys.stdout.isatty():
        data = escape(data.decode(), lines=True).encode()
    # Without the buffer's lock: the interpreter takes it when it ends, even if a write is blocked for ever.
    raw = getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)
    rest = memoryview(data)
    while rest:
        if (written := raw.write(rest)) is None:
            raise BlockingIOError(errno.EAGAIN, "Standard output takes no more: it does not block")
        rest = rest[written:]


closed: Final[set[str]] = set()
"""The names of the standard streams that were closed when the program began."""

OUTPUT: Final = 1
"""The descriptor of standard output."""


def is_read(descriptor: int = OUTPUT) -> bool:
    """Return whether a write to it would begin at once; False where it waits for a reader."""
    try:
        return bool(select.select([], [descriptor], [], 0)[1])
    except (OSError, ValueError):  # closed; or no socket, on Windows
        return True


def unread(descriptor: int = OUTPUT) -> int:
    """Return how many bytes in a pipe its reader has not taken yet; 0 of anything else, and on Windows.

    Raises:
        BrokenPipeError: nobody has its other end any more.
    """
    try:
        import fcntl
        import termios

        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return 0
        waiting = fcntl.ioctl(descriptor, termios.FIONREAD, bytes(_INT))
    except (ImportError, OSError):
        return 0
    ends = select.poll()
    ends.register(descriptor, 0)  # an error is told in any case
    if ends.poll(0):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
    return int.from_bytes(waiting, sys.byteorder)


_INT: Final = 4
"""Bytes of a C int."""
_AT_ONCE: Final = getattr(select, "PIPE_BUF", 512)
"""So many bytes a pipe takes without waiting, once it takes any."""
_LOOK: Final = 0.02
"""Seconds between two looks at a pipe."""


async def hand_over(lines: Iterable[bytes], descriptor: int = OUTPUT) -> None:
    """Write lines on standard output, and return when its reader has taken them, as far as that can be told.

    While the reader takes no more, the event loop is free, and this can be cancelled.

    Raises:
        BrokenPipeError: the reader has gone away.
    """
    sys.stdout.flush()
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        write(b"".join(lines))
        return
    for line in lines:
        for at in range(0, len(line), _AT_ONCE):
            while not is_read(descriptor):  # noqa: ASYNC110 - nor when one is full
                await asyncio.sleep(_LOOK)
            os.write(descriptor, line[at : at + _AT_ONCE])
    while unread(descriptor):  # noqa: ASYNC110 - nobody tells when a pipe is empty
        await asyncio.sleep(_LOOK)


def json(values: Iterable[Any], *, columns: Sequence[str] | None = None) -> None:
    """Print values (worklogs, categories) as JSON, one a line, in UTF-8 whatever the locale says.

    Args:
        values: of one kind.
        columns: of worklogs, the columns to print; None: all, and whatever else is printed as it is.
    """
    values = list(values)
    if columns is not None:
        write(cells.ndjson_encoder(columns)(cells.cells_of(values, columns)))
    elif all(isinstance(value, Worklog) for value in values):
        write(_worklogs(cells.cells_of(values)))
    else:
        write(msgspec.json.Encoder().encode_lines(values))


def line(text: str = "") -> None:
    """Print a line on standard output."""
    sys.stdout.write(f"{escape(text)}\n")


_print_note: Callable[[str], object] | None = None


@contextlib.contextmanager
def notes_by(print_note: Callable[[str], object]) -> Generator[None]:
    """Print notes with this function until the block is left: the one that knows where the progress bar is."""
    global _print_note  # noqa: PLW0603 - there is one terminal
    before, _print_note = _print_note, print_note
    try:
        yield
    finally:
        _print_note = before


def note(text: str) -> None:
    """Print a line on standard error, after what was printed before."""
    sys.stdout.flush()
    if _print_note is not None:
        _print_note(escape(text))
        return
    sys.stderr.write(f"{escape(text)}\n")
    sys.stderr.flush()


class _Notes(logging.Handler):
    """Prints each message once: a notice says the same for every call."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._printed: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if (message := record.getMessage()) not in self._printed:
            self._printed.add(message)
            note(message)


@contextlib.contextmanager
def library_warnings() -> Generator[None]:
    """Print the library's warnings as notes until the block is left."""
    logger, handler = logging.getLogger("tracket_async"), _Notes()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def text(value: Any) -> str:
    """Return a value as one line of escaped text: None is empty, 00:00 UTC is only the day, 90.0 is 90."""
    return escape(_plain(value))


def _cell(value: Any) -> str:
    """Return a value as a cell of tab-separated values, in which only an escape has a single backslash."""
    return escape(_plain(value).replace("\\", r"\\"))


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dt.datetime):
        return write_day(value) if value.timetz() == _MIDNIGHT else write_moment(value)
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, Mapping):
        return json_text({**value}) if value else ""
    return str(value)


YES: Final = frozenset({"y", "yes"})


def can_ask() -> bool:
    """Return whether standard input and standard error are a terminal, so that a question can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


async def confirm(question: str) -> bool:
    """Ask, and return whether the answer is yes. Anything else, an empty line and the end of the input mean no."""
    sys.stderr.write(f"{escape(question)} [y/N] ")
    sys.stderr.flush()
    await _line_is_ready()
    return sys.stdin.readline().strip().lower() in YES


async def _line_is_ready() -> None:
    # A blocking read would hold back Ctrl-C until the next Enter: the loop's signal handler runs, and the read goes on.
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    descriptor = sys.stdin.fileno()
    try:
        loop.add_reader(descriptor, ready.set)
    except NotImplementedError:  # on Windows, Ctrl-C does have to wait
        return
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


def table(
    header: Sequence[str], rows: Iterable[Sequence[Any]], *, right: frozenset[str] = frozenset(), head: bool = True
) -> None:
    """Print rows under a header.

    Args:
        header: the names of the columns.
        rows: as many values each.
        right: the columns of numbers, aligned to the right at a terminal.
        head: False: the rows continue those before, so without a terminal the header is not repeated.
    """
    if sys.stdout.isatty():
        _draw(header, rows, right)
        return
    if head:
        sys.stdout.write("\t".join(header) + "\n")
    for row in rows:
        sys.stdout.write("\t".join(map(_cell, row)) + "\n")


def fields(pairs: Iterable[tuple[str, Any]]) -> None:
    """Print names and values, one pair a line. At a terminal the names are aligned and empty values are left out."""
    if not sys.stdout.isatty():
        for name, value in pairs:
            sys.stdout.write(f"{name}\t{_cell(value)}\n")
        return
    rows = [(name, text(value)) for name, value in pairs]
    width = max(len(name) for name, _ in rows)
    for name, shown in rows:
        if shown:
            line(f"{name:<{width}}  {shown}")


def worklog(worklog: Worklog, *, as_json: bool) -> None:
    """Print a worklog with all columns."""
    if as_json:
        json([worklog])
    else:
        fields((name, getattr(worklog, name)) for name in cells.NAMES)


GAP: Final = 2
"""Spaces between two columns of a table."""
CARDS: Final = 60
"""The width below which each row of a table of more than `FEW` columns becomes lines of name and value."""
FEW: Final = 3
NARROWEST: Final = 20
"""Spaces for the last column of a table at least; with less, it goes below its row."""


def _draw(header: Sequence[str], rows: Iterable[Sequence[Any]], right: frozenset[str]) -> None:
    """Draw a table in the width of the terminal. Only the last column is ever cut.

    Where there is no room for the last column, it stands below its row. Where there is none for the others either, or
    the terminal is narrow, each row becomes lines of name and value.
    """
    # Not at the top of the file: without a terminal they are not needed.
    from rich.cells import cell_len, set_cell_size
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout)
    table = [[text(value) for value in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(header, *table, strict=True)]
    room = console.width - sum(widths[:-1]) - GAP * (len(widths) - 1)
    if room < -GAP or (console.width < CARDS and len(header) > FEW):
        for row in table:
            fields(zip(header, row, strict=True))
            line()
        return

    below = len(header) > 1 and room < min(widths[-1], NARROWEST)
    shown = len(header) - 1 if below else len(header)
    widths[-1] = min(widths[-1], max(room, 0))

    def cut(cell: str, width: int) -> str:
        return cell if cell_len(cell) <= width else f"{set_cell_size(cell, width - 1)}…"

    def aligned(row: Sequence[str]) -> str:
        cells = [
            " " * (width - cell_len(cell)) + cell if name in right else set_cell_size(cut(cell, width), width)
            for name, cell, width in zip(header[:shown], row[:shown], widths[:shown], strict=True)
        ]
        return (" " * GAP).join(cells).rstrip()

    console.print(Text(aligned(header), style="bold"), soft_wrap=True)
    for row in table:
        line(aligned(row))
        if below and row[-1]:
            line(" " * GAP + cut(row[-1], console.width - GAP))
