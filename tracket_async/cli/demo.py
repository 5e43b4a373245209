"""``tracket demo`` and ``tracket emulator``: an emulated Tracket server with a made-up company.

The demo exports the worklogs of that company as it would those of a real server, and sums them up. It needs no account
and no settings, and nothing leaves the machine. Its emulator is a process with a session of its own, so that Ctrl-C
reaches only the demo, which ends it; if the demo is killed, the emulator sees the end of its input and ends itself.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import io
import json
import math
import os
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from tracket_async._api.fast import Row
from tracket_async._files import atomic_write
from tracket_async._platform import PLATFORM
from tracket_async.cli import output
from tracket_async.cli.destinations import open_file
from tracket_async.cli.env_file import parse
from tracket_async.cli.exits import command_line
from tracket_async.cli.export import export_files, store_unavailable_reason
from tracket_async.cli.options import CONCURRENCY, Concurrency, between
from tracket_async.cli.progress import ProgressDisplay, show_progress
from tracket_async.cli.stream import Tally, copy, rendering
from tracket_async.client import TracketClient
from tracket_async.errors import StorageError, TracketError, UsageError
from tracket_async.export.formats import FORMATS, FileOptions, Format, TargetFormat
from tracket_async.export.postgres import Target
from tracket_async.export.progress import ExportResult
from tracket_async.export.run import request_of
from tracket_async.export.store import Store
from tracket_async.models import WorklogFilter
from tracket_async.report.page import Names, page
from tracket_async.report.source import open_worklogs

# -- the emulator --------------------------------------------------------------------------------------------------


def emulator(*arguments: Annotated[str, Parameter(allow_leading_hyphen=True, metavar="OPTION")]) -> int:
    """Run a server on this machine that behaves like Tracket; see tracket emulator --help.

    Args:
        arguments: The options of the emulator.
    """
    # Not at the top of the file: only this command needs a web server.
    from tracket_async.emulator.__main__ import main

    return main(arguments, formatter=PanelFormatter)


class PanelFormatter(argparse.HelpFormatter):
    """The help of the emulator in the panels of all other commands."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog)
        self._texts: list[str] = []
        self._panels: list[tuple[str, list[tuple[str, str]]]] = []

    def add_usage(self, *_: Any, **_settings: Any) -> None:
        """Take the place of the usage of argparse, which names every option."""
        self._texts.append("Usage: tracket emulator [OPTIONS]")

    def add_text(self, text: str | None) -> None:
        """Add the description; there may be none."""
        if text:
            self._texts.append(text)

    def start_section(self, heading: str | None) -> None:
        """Begin a panel."""
        self._panels.append(((heading or "").capitalize(), []))

    def end_section(self) -> None:
        """Do nothing: the next panel ends it."""

    def add_argument(self, action: argparse.Action) -> None:
        """Add a line to the panel."""
        value = action.metavar or ("CHOICE" if action.choices else "TEXT")
        name = action.option_strings[-1] if action.nargs == 0 else f"{action.option_strings[-1]} {value}"
        choices = f" [choices: {', '.join(map(str, action.choices))}]" if action.choices else ""
        said = (action.help or "").rstrip(".")
        self._panels[-1][1].append((name, f"{said[:1].upper()}{said[1:]}.{choices}"))

    def format_help(self) -> str:
        """Return the text."""
        # Not at the top of the file: only this help needs them.
        from rich import box
        from rich.console import Console
        from rich.panel import Panel
        from rich.table import Table
        from rich.text import Text

        drawn = box.ROUNDED if _mark() == BLOCK else box.ASCII
        out = io.StringIO()
        console = Console(file=out, width=shutil.get_terminal_size().columns)
        for text in self._texts:
            console.print(Text(text), end="\n\n")
        for heading, rows in self._panels:
            if rows:
                table = Table.grid(padding=(0, 2, 0, 0))
                for row in rows:
                    table.add_row(*map(Text, row))
                console.print(Panel(table, box=drawn, title=heading, title_align="left"))
        return out.getvalue()


def terminate_at_end(descriptor: int) -> None:
    """Read to the end of the input, then send SIGTERM to this process.

    The process that started it holds the other end and never writes to it, so the end comes with the end of that
    process, even if it is killed.
    """
    while os.read(descriptor, 1024):
        pass
    PLATFORM.terminate_this_process()


BLOCK: Final = "█"
PATIENCE: Final = 120.0
"""Seconds that the emulator may take to make its sample and to listen."""

GRACE: Final = 5.0
"""Seconds between SIGTERM and SIGKILL."""


@contextlib.asynccontextmanager
async def running_emulator(*arguments: str) -> AsyncGenerator[dict[str, str]]:
    """Start an emulator and yield the ``TRACKET_*`` settings with which to connect to it.

    Args:
        arguments: further options, as in ``tracket emulator --help``.

    Raises:
        TracketError: it does not start; its own message is in the error.
    """
    with tempfile.TemporaryDirectory(prefix="tracket-") as folder, tempfile.TemporaryFile() as complaints:
        settings = Path(folder, "emulator.env")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tracket_async.cli.demo", "--port", "0", "--env-file", str(settings), *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=complaints,
            start_new_session=True,
        )
        try:
            if not await _listens(process):
                complaints.seek(0)
                said = complaints.read().decode(errors="replace").strip() or "it printed nothing"
                raise TracketError(f"The emulator does not start: {said}")
            yield parse(_text(settings), name="the emulator's settings")
        finally:
            await _end(process)


async def _listens(process: asyncio.subprocess.Process) -> bool:
    """Return whether it listens, which it says on standard output; False: it has ended, or took too long."""
    try:
        return process.stdout is not None and bool(await asyncio.wait_for(process.stdout.readline(), PATIENCE))
    except TimeoutError:
        return False


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.communicate(), GRACE)
    except TimeoutError:
        process.kill()
        await process.communicate()


# -- the demo ------------------------------------------------------------------------------------------------------

WORKLOGS: Final = 20_000
FOLDER: Final = Path("tracket-demo")
WRITTEN: Final[tuple[Format, ...]] = ("parquet", "csv", "ndjson")
SUMS: Final = """
SELECT strftime(day, '%Y-%m') AS month, category_id, list(DISTINCT user_id), count(*), sum(minutes)
FROM worklogs GROUP BY month, category_id ORDER BY month, category_id"""
HOURS: Final = "user_id, sum(minutes) / 60 AS hours"
WIDEST: Final = 100
"""Columns of the summary at most."""
MOST: Final = 5
"""Categories that are named at most."""

LABEL: Final = 9
NUMBER: Final = 12
NARROWEST: Final = 10


async def demo(
    *,
    worklogs: Annotated[int, Parameter(metavar="N", validator=between(1))] = WORKLOGS,
    folder: Annotated[Path, Parameter(metavar="FOLDER")] = FOLDER,
    concurrency: Concurrency = CONCURRENCY,
    debug: Annotated[bool, Parameter(negative=(), show_default=False)] = False,  # noqa: ARG001 - read by entry
) -> None:
    """Show an export without an account: start an emulator with sample worklogs, export them, and sum them up.

    Args:
        worklogs: Make this many sample worklogs.
        folder: Write the files to this folder; it is created if it does not exist.
        concurrency: see `Concurrency`.
        debug: Show the traceback of an error.
    """
    try:
        folder.mkdir(exist_ok=True)
    except FileNotFoundError:
        raise UsageError(f"The folder {folder.parent} does not exist. Create it, or give another --folder") from None
    except FileExistsError:
        raise UsageError(f"{folder} is not a folder. Give another --folder") from None
    except OSError as error:
        raise StorageError(f"The folder {folder} cannot be created: {error.strerror}") from None
    output.note(f"Starting an emulator of Tracket with {worklogs:,} sample worklogs ...")
    async with running_emulator("--sample", str(worklogs)) as settings:
        output.note(f"It listens on {settings['TRACKET_BASE_URL']}. Exporting over API 2.0 ...")
        async with TracketClient.from_env({**settings, "TRACKET_API": "2.0"}) as client:
            summary = await _export(client, folder, concurrency)
            names = {category.id: category.name for category in await client.categories.list()}
    written = _write_page(folder, names)
    _print(summary, names, folder, worklogs)
    if written is not None:
        output.line(f"To see charts of it all, open {written} in a browser.")


async def _export(client: TracketClient, folder: Path, concurrency: int) -> Summary:
    unavailable, started = store_unavailable_reason(), time.monotonic()
    files: dict[Path, Format] = {folder / f"worklogs.{name}": name for name in WRITTEN}
    if unavailable is not None:
        output.note(f"No Parquet file is written: {unavailable}")
        files = {path: named for path, named in files.items() if FORMATS[named].text}
    async with show_progress("auto", client.statistics) as display:
        if unavailable is None:
            summary, result = await _through_store(client, files, display, concurrency)
        else:
            summary, result = await _streamed(client, files, display, concurrency), None
    seconds = time.monotonic() - started
    output.note(output.exported(summary.worklogs, summary.hours, seconds, files=files, result=result))
    return summary


async def _through_store(
    client: TracketClient, files: Mapping[Path, Format], display: ProgressDisplay, concurrency: int
) -> tuple[Summary, ExportResult]:
    # Not beside the files: the next demo has another emulator, so it could not resume this export.
    with tempfile.TemporaryDirectory(prefix="tracket-") as elsewhere:
        done = await export_files(
            client,
            dict[Target, TargetFormat](files.items()),
            request_of(client),
            display,
            store=Path(elsewhere, "store.duckdb"),
            file_options=FileOptions(),
            concurrency=concurrency,
            read=summary_of,
        )
    return done.read, done.result


async def _streamed(
    client: TracketClient, files: Mapping[Path, Format], display: ProgressDisplay, concurrency: int
) -> Summary:
    summary = Summary()
    with contextlib.ExitStack() as stack:
        sinks = [
            (stack.enter_context(open_file(path)), rendering(named, FileOptions(), client.api_version))
            for path, how in files.items()
            if (named := FORMATS[how].text)
        ]
        await copy(client, WorklogFilter(), sinks, summary, display, concurrency=concurrency)
    return summary


def _write_page(folder: Path, names: Mapping[str, str | None]) -> Path | None:
    """Write the page of tracket report; return its path, None where there is no Parquet file to make it of."""
    if store_unavailable_reason() is not None:
        return None
    source, target = folder / "worklogs.parquet", folder / "report.html"
    known = Names(categories={key: name for key, name in names.items() if name is not None})
    with open_worklogs(source) as worklogs, atomic_write(target) as file:
        file.write(page(worklogs, title="Hours of a made-up company", about=[source.name], names=known))
    return target


# -- the summary ---------------------------------------------------------------------------------------------------


class Summary(Tally):
    """A tally by person, month and category. Memory grows with these, not with worklogs."""

    def __init__(self) -> None:
        super().__init__()
        self.people: set[str] = set()
        self.months: dict[str, float] = collections.defaultdict(float)
        self.categories: dict[str | None, float] = collections.defaultdict(float)

    def counting(self, worklogs: Sequence[Row]) -> Callable[[], None]:
        """Return a function that counts the worklogs, and keeps none of them."""
        count_all = super().counting(worklogs)
        people = {worklog.user_id or "" for worklog in worklogs}
        together: dict[tuple[int, int, str | None], list[float]] = collections.defaultdict(list)
        for worklog in worklogs:
            together[worklog.date.year, worklog.date.month, worklog.category_id].append(worklog.minutes)

        def count() -> None:
            count_all()
            self.people.update(people)
            for (year, month, category), minutes in together.items():
                self._spread(f"{year:04}-{month:02}", category, math.fsum(minutes))

        return count

    def add_group(self, month: str, category: str | None, people: Iterable[str], worklogs: int, minutes: float) -> None:
        """Count worklogs of one month (``YYYY-MM``) and category, already added up."""
        self.worklogs += worklogs
        self.minutes += minutes
        self.people.update(people)
        self._spread(month, category, minutes)

    def _spread(self, month: str, category: str | None, minutes: float) -> None:
        self.months[month] += minutes
        self.categories[category] += minutes

    def lines(self, names: Mapping[str, str | None], *, width: int, mark: str) -> Iterator[str]:
        """Yield the summary as lines of text.

        Args:
            names: the names of the categories by id; an id without a name stands for itself.
            width: columns of the longest line.
            mark: the character that bars are made of.
        """
        yield f"{self.worklogs:,} worklogs, {self.hours:,.0f} hours, {len(self.people):,} people"
        if not self.worklogs:
            return
        yield ""
        yield "Hours a month"
        yield from bars(sorted(self.months.items()), width=width, mark=mark)
        yield ""
        most = sorted(self.categories.items(), key=lambda each: -each[1])[:MOST]
        yield "Hours a category" if len(most) == len(self.categories) else f"Hours in the {MOST} largest categories"
        named = [(_name_of(category, names), minutes) for category, minutes in most]
        yield from bars(named, width=width, mark=mark)


def bars(rows: Iterable[tuple[str, float]], *, width: int, mark: str) -> Iterator[str]:
    """Yield a line for each label and minutes: the label, the hours, and a bar; the longest bar fills the width."""
    rows = list(rows)
    label = max((LABEL, *(len(name) for name, _ in rows)))
    most = max((minutes for _, minutes in rows), default=0) or 1
    room = max(width - label - NUMBER - 4, NARROWEST)
    for name, minutes in rows:
        bar = mark * round(room * minutes / most)
        yield f"  {name:<{label}}{minutes / 60:>{NUMBER},.1f}  {bar}".rstrip()


def _name_of(category: str | None, names: Mapping[str, str | None]) -> str:
    return "(none)" if category is None else output.text(names.get(category) or category)


def summary_of(store: Store) -> Summary:
    """Return the summary of the worklogs in a store."""
    summary = Summary()
    for row in store.database.rows(SUMS):
        summary.add_group(*row)
    return summary


def _print(summary: Summary, names: Mapping[str, str | None], folder: Path, worklogs: int) -> None:
    width = min(shutil.get_terminal_size().columns, WIDEST)
    for line in (*summary.lines(names, width=width, mark=_mark()), "", *_next(folder, worklogs)):
        output.line(line)


def _mark() -> str:
    """Return the character of bars: a block where standard output can encode it."""
    try:
        BLOCK.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return "#"
    return BLOCK


def _next(folder: Path, worklogs: int) -> Iterable[str]:
    settings = str(folder / "emulator.env")
    parquet = folder / "worklogs.parquet"
    if parquet.exists():
        question = f"duckdb.read_parquet({json.dumps(str(parquet))}).aggregate({json.dumps(HOURS)})"
        yield "To query the Parquet file for the hours of each person:"
        yield f"  {shlex.join((sys.executable, '-c', f'import duckdb; print({question})'))}"
        yield ""
    yield "To continue, start the emulator and leave it running:"
    yield f"  {command_line('emulator', '--sample', str(worklogs), '--env-file', settings)}"
    yield "Then, in another terminal:"
    commands: list[tuple[str, ...]] = [
        ("list", "--descending", "--limit", "10"),
        ("categories",),
        ("create", "--item", "1", "--user", "1", "--date", "2024-05-20", "--minutes", "90"),
        ("export", "--since", "2024-01-01", "--output", "since.csv"),
    ]
    if parquet.exists():  # what writes it is what a store needs, too
        commands.append(("sync", str(folder / "company.duckdb")))
    for command, *options in commands:
        yield f"  {command_line(command, *options, '--env-file', settings)}"
    yield "To read the worklogs of your own Tracket, put its client id, client secret"
    yield "and account id into that file."


if __name__ == "__main__":
    threading.Thread(target=terminate_at_end, args=(sys.stdin.fileno(),), daemon=True).start()
    code = emulator(*sys.argv[1:])
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the end of the input may send another one
    sys.exit(code)
