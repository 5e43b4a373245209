"""An emulator in a process of its own, for as long as a ``with`` lasts.

The process has its own session, so that Ctrl-C reaches only us, and we end it whatever happens to us. If we are killed,
it notices that its standard input has ended (`emulating`).

``tracket demo``: an emulator with a made-up company, exported as a real server would be, and what its people did.

Nothing leaves the machine, and nothing is needed beforehand: no account, no token, no settings.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from tracket_async.cli import destinations, output
from tracket_async.cli import export as storing
from tracket_async.cli import options as envfile
from tracket_async.cli.destinations import STREAMED, Format
from tracket_async.cli.export import CONCURRENCY
from tracket_async.cli.progress import Watch, watching
from tracket_async.cli.stream import Summary, copy, rendering
from tracket_async.client import TracketClient
from tracket_async.errors import StorageError, TracketError, UsageError
from tracket_async.export.progress import ExportResult
from tracket_async.export.run import FileOptions, request_of
from tracket_async.export.store import Store
from tracket_async.models import WorklogFilter

PATIENCE: Final = 120.0
"""Seconds that it may take to make its sample and to listen."""

GRACE: Final = 5.0
"""Seconds between the request to end and the kill."""


@contextlib.asynccontextmanager
async def emulator(*arguments: str) -> AsyncGenerator[dict[str, str]]:
    """The ``TRACKET_*`` settings of an emulator that listens.

    Args:
        arguments: what else to tell it, as in ``python -m tracket_async.emulator --help``.

    Raises:
        TracketError: it does not start; its own words are in the message.
    """
    with tempfile.TemporaryDirectory(prefix="tracket-") as folder, tempfile.TemporaryFile() as complaints:
        settings = Path(folder, "emulator.env")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tracket_async.cli.emulating", "--port", "0", "--env-file", str(settings), *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=complaints,
            start_new_session=True,
        )
        try:
            if not await _listens(process):
                complaints.seek(0)
                said = complaints.read().decode(errors="replace").strip() or "it says nothing"
                raise TracketError(f"The emulator does not start: {said}")
            yield envfile.parse(_text(settings), name="the emulator's settings")
        finally:
            await _end(process)


async def _listens(process: asyncio.subprocess.Process) -> bool:
    """Whether it came to listen, which it says on its standard output, after it has written its settings.

    False: it ended, or lost our patience.
    """
    if process.stdout is None:  # pragma: no cover - it was asked for, which its type cannot say
        return False
    try:
        return bool(await asyncio.wait_for(process.stdout.readline(), PATIENCE))
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


WORKLOGS: Final = 20_000
FOLDER: Final = Path("tracket-demo")
FORMATS: Final[tuple[Format, ...]] = ("parquet", "csv", "ndjson")
SUMS: Final = """
SELECT strftime(date, '%Y-%m') AS month, category_id, list(DISTINCT user_id), count(*), sum(minutes)
FROM worklogs GROUP BY month, category_id ORDER BY month, category_id"""
HOURS: Final = "user_id, sum(minutes) / 60 AS hours"
WIDEST: Final = 100
"""Columns of the summary at most: longer bars say nothing more."""


async def demo(
    *,
    worklogs: Annotated[int, Parameter(metavar="N")] = WORKLOGS,
    folder: Annotated[Path, Parameter(metavar="FOLDER")] = FOLDER,
    concurrency: Annotated[int, Parameter(metavar="N")] = CONCURRENCY,
    debug: Annotated[bool, Parameter(negative=(), show_default=False)] = False,  # noqa: ARG001 - read by entry
) -> None:
    """Watch an export, without an account: start an emulator with sample worklogs, export them, sum them up.

    Args:
        worklogs: How many worklogs the sample company has.
        folder: Where the exported files go; made if it is not there.
        concurrency: How many requests at once, at most.
        debug: Show the traceback of an error.
    """
    for name, value in (("--worklogs", worklogs), ("--concurrency", concurrency)):
        if value < 1:
            raise UsageError(f"{name} must be at least 1, not {value}")
    try:
        folder.mkdir(exist_ok=True)
    except FileNotFoundError:
        raise UsageError(f"The folder {folder.parent} does not exist. Create it, or give another --folder") from None
    except FileExistsError:
        raise UsageError(f"{folder} is not a folder. Give another --folder") from None
    except OSError as error:
        raise StorageError(f"{folder} cannot be made: {error.strerror}") from None
    output.note(f"Starting an emulator of Tracket with {worklogs:,} sample worklogs ...")
    async with emulator("--sample", str(worklogs)) as settings:
        output.note(f"It listens on {settings['TRACKET_BASE_URL']}. Exporting over API 2.0 ...")
        async with TracketClient.from_env({**settings, "TRACKET_API": "2.0"}) as client:
            summary = await _export(client, folder, concurrency)
            names = {category.id: category.name for category in await client.categories.list()}
    _print(summary, names, folder, worklogs)


async def _export(client: TracketClient, folder: Path, concurrency: int) -> Summary:
    without, started = storing.store_unavailable_reason(), time.monotonic()
    files: dict[Path, Format] = {folder / f"worklogs.{name}": name for name in FORMATS}
    if without is not None:
        output.note(f"There will be no Parquet file, because {without}")
        files = {path: named for path, named in files.items() if named in STREAMED}
    async with watching("auto", client.statistics) as watch:
        if without is None:
            summary, result = await _through_store(client, files, watch, concurrency)
        else:
            summary, result = await _streamed(client, files, watch, concurrency), None
    seconds = time.monotonic() - started
    output.note(output.exported(summary.worklogs, summary.hours, seconds, files=files, result=result))
    return summary


async def _through_store(
    client: TracketClient, files: Mapping[Path, Format], watch: Watch, concurrency: int
) -> tuple[Summary, ExportResult]:
    # Not beside the files: the next demo has another emulator, so it could not go on with what is left of this one.
    with tempfile.TemporaryDirectory(prefix="tracket-") as elsewhere:
        done = await storing.export_files(
            client,
            files,
            request_of(client),
            watch,
            store=Path(elsewhere, "store.duckdb"),
            file_options=FileOptions(),
            concurrency=concurrency,
            read=summary_of,
        )
    return done.read, done.result


async def _streamed(client: TracketClient, files: Mapping[Path, Format], watch: Watch, concurrency: int) -> Summary:
    summary = Summary()
    with contextlib.ExitStack() as stack:
        sinks = [
            (stack.enter_context(destinations.open_file(path)), rendering(STREAMED[named], FileOptions()))
            for path, named in files.items()
        ]
        await copy(client, WorklogFilter(), sinks, summary, watch, concurrency=concurrency)
    return summary


def summary_of(store: Store) -> Summary:
    """What the worklogs in a store say about the people who wrote them."""
    summary = Summary()
    for row in store.database.rows(SUMS):
        summary.add_group(*row)
    return summary


def _print(summary: Summary, names: Mapping[str, str | None], folder: Path, worklogs: int) -> None:
    width = min(shutil.get_terminal_size().columns, WIDEST)
    for line in (*summary.lines(names, width=width, mark=_mark()), "", *_next(folder, worklogs)):
        output.line(line)


def _mark() -> str:
    """What bars are made of: a block, where standard output can say it."""
    try:
        "█".encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return "#"
    return "█"


def _next(folder: Path, worklogs: int) -> Iterable[str]:
    settings = folder / "emulator.env"
    if (parquet := folder / "worklogs.parquet").exists():
        question = f"duckdb.read_parquet({json.dumps(str(parquet))}).aggregate({json.dumps(HOURS)})"
        yield "To ask the Parquet file who worked how long:"
        yield f"  python -c {shlex.quote(f'import duckdb; print({question})')}"
        yield ""
    yield "To go on, start the emulator yourself, and leave it running:"
    yield f"  tracket emulator --sample {worklogs} --env-file {settings}"
    yield "and in another terminal:"
    yield f"  tracket list --env-file {settings} --descending --limit 10"
    yield f"  tracket categories --env-file {settings}"
    yield f"  tracket create --env-file {settings} --item 1 --user 1 --date 2024-05-20 --minutes 90"
    yield f"  tracket export --env-file {settings} --since 2024-01-01 --output since.csv"
    yield f"  tracket sync {folder / 'company.duckdb'} --env-file {settings}"
    yield "With the client id, client secret and account id of your own Tracket in such a file, they read that instead."
