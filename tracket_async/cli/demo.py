"""``tracket demo``: an emulator with a made-up company, exported as a real server would be, and what its people did.

Nothing leaves the machine, and nothing is needed beforehand: no account, no token, no settings.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from tracket_async.cli import output, target
from tracket_async.cli.export import CONCURRENCY, copy, rendering, tell
from tracket_async.cli.progress import meter
from tracket_async.cli.server import emulator
from tracket_async.cli.summary import Summary
from tracket_async.client import TracketClient
from tracket_async.errors import StorageError, UsageError
from tracket_async.models import WorklogFilter

WORKLOGS: Final = 20_000
FOLDER: Final = Path("tracket-demo")
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
    started = time.monotonic()
    summary = Summary()
    with contextlib.ExitStack() as stack:
        sinks = [
            (stack.enter_context(target.File(folder / f"worklogs.{format}")), rendering(format))
            for format in ("ndjson", "csv")  # noqa: A001 - the word that people use
        ]
        shown = stack.enter_context(meter("auto", "Exporting"))
        await copy(client, WorklogFilter(), sinks, summary, concurrency=concurrency, meter=shown)
    tell(summary, str(folder), time.monotonic() - started)
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
    yield f"Written: {folder / 'worklogs.ndjson'}, {folder / 'worklogs.csv'}"
    yield ""
    yield "To go on, start the emulator yourself, and leave it running:"
    yield f"  tracket emulator --sample {worklogs} --env-file {settings}"
    yield "and in another terminal:"
    yield f"  tracket list --env-file {settings} --descending --limit 10"
    yield f"  tracket categories --env-file {settings}"
    yield f"  tracket create --env-file {settings} --item 1 --user 1 --date 2024-05-20 --minutes 90"
    yield f"  tracket export --env-file {settings} --since 2024-01-01 --output since.csv"
    yield "With the client id, client secret and account id of your own Tracket in such a file, they read that instead."
