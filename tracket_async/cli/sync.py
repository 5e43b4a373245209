"""``tracket sync``: a store brought up to date, for a fraction of what an export takes."""

from __future__ import annotations

import asyncio
import datetime as dt
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import attrs
from cyclopts import Parameter

from tracket_async._timestamps import parse_date
from tracket_async.cli import destinations, exits, output
from tracket_async.cli import export as storing
from tracket_async.cli.destinations import ChosenFormat, Format, Outputs
from tracket_async.cli.export import CONCURRENCY, checked
from tracket_async.cli.options import DEFAULT, EVERYTHING, Connection, Json, Selection, named_columns, refusals
from tracket_async.cli.progress import Mode, Watch, watching
from tracket_async.client import TracketClient
from tracket_async.config import Limits
from tracket_async.errors import IncompleteExportError, UsageError
from tracket_async.export import sync as syncing
from tracket_async.export.progress import SyncResult
from tracket_async.export.run import FileOptions, export_to_files, request_of
from tracket_async.export.store import open_store
from tracket_async.export.sync import DateBounds
from tracket_async.models import WorklogFilter

LOOKBACK: Final = syncing.LOOKBACK.days
LONGEST: Final = 36_500
ALL: Final = "all"


def window(text: str) -> DateBounds:
    """``SINCE..UNTIL``, of which one may be missing, or ``all``.

    Raises:
        ValueError: it is neither, or SINCE is after UNTIL.
    """
    if text == ALL:
        return DateBounds()
    since, dots, until = text.partition("..")
    if not dots or not (since or until):
        raise ValueError(f"{text!r} is no range of dates. Give SINCE..UNTIL, SINCE.., ..UNTIL, or {ALL}")
    found = DateBounds(since=parse_date(since) if since else None, until=parse_date(until) if until else None)
    WorklogFilter(since=found.since, until=found.until)  # says which of the two is after the other
    return found


@attrs.frozen(kw_only=True)
class _Job:
    """What is to be done with the store."""

    store: Path
    filter: WorklogFilter | None
    lookback: dt.timedelta
    reconcile: DateBounds | None
    files: Mapping[Path, Format]
    file_options: FileOptions
    concurrency: int


@attrs.frozen(kw_only=True)
class Report:
    """What a sync has come to.

    Attributes:
        result: says the store.
        exported: worklogs that were missing because the export that fills the store had not come to its end.
        tombstones: worklogs that were in the store once, and that the server no longer has.
    """

    result: SyncResult
    exported: int
    tombstones: int


async def sync(
    store: Annotated[Path, Parameter(metavar="STORE")],
    /,
    *,
    lookback: Annotated[int, Parameter(metavar="DAYS")] = LOOKBACK,
    reconcile: Annotated[str | None, Parameter(metavar="SINCE..UNTIL", show_default=False)] = None,
    selection: Selection = EVERYTHING,
    output: Outputs = None,
    format: ChosenFormat = None,  # noqa: A002 - the word that people use
    columns: Annotated[str | None, Parameter(metavar="NAME,NAME", show_default=False)] = None,
    raw: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    concurrency: Annotated[int, Parameter(metavar="N")] = CONCURRENCY,
    progress: Mode = "auto",
    json: Json = False,
    connection: Connection = DEFAULT,
) -> None:
    """Bring a store up to date, and say what was added, changed and removed.

    A store is what tracket export --store leaves: a DuckDB file with the view worklogs. If there is none yet, this
    exports the selection into it. Run twice, it changes nothing the second time. API 2.0 tells what was created or
    updated since the last sync; on API 1.0 all worklogs of the last days are fetched and compared. What was deleted is
    found by --reconcile alone.

    Args:
        store: The store.
        lookback: On API 1.0, how many days back all worklogs are compared.
        reconcile: Compare the worklogs of these dates one by one, and find those that were deleted; either date may be
            missing, and all compares everything.
        selection: which worklogs; for a store that exists, nothing else than it was made with.
        output: Write the store's worklogs to this file, too, or to several, each with its --output.
        format: How to write it, as in tracket export.
        columns: Which attributes, in which order; all by default.
        raw: Leave CSV cells as they are. Without it, an apostrophe defuses text that a spreadsheet would execute.
        concurrency: How many requests at once, at most.
        progress: What standard error shows: auto (a bar, only on a terminal), json (a line a second), or off.
        json: Say it as JSON.
        connection: which server.
    """
    if not 0 <= lookback <= LONGEST:
        raise UsageError(f"--lookback must be a number of days from 0 to {LONGEST}, not {lookback}")
    outputs = output or []
    if destinations.STANDARD_OUTPUT in outputs:
        raise UsageError("--output of a sync has to be a file")
    with refusals():
        compared = None if reconcile is None else window(reconcile)
    files = destinations.files(outputs, format)
    storing.check_place(store, files)
    job = _Job(
        store=store,
        filter=None if selection == EVERYTHING and store.exists() else selection.filter(),
        lookback=dt.timedelta(days=lookback),
        reconcile=compared,
        files=files,
        file_options=FileOptions(columns=None if columns is None else named_columns(columns), raw=raw),
        concurrency=checked(concurrency),
    )
    async with (
        connection.client(limits=Limits(max_concurrency=job.concurrency)) as client,
        watching(progress, client.statistics) as watch,
    ):
        with exits.keeping(store):
            report = await _sync(client, job, watch)
    _say(job, report, as_json=json)


async def _sync(client: TracketClient, job: _Job, watch: Watch) -> Report:
    how = storing.settings(watch, concurrency=job.concurrency)
    asked = None if job.filter is None else request_of(client, filter=job.filter)
    store = await open_store(job.store, request=asked)
    try:
        before = (
            None if await asyncio.to_thread(lambda: store.state) == "done" else await asyncio.to_thread(store.count)
        )
        result = await syncing.sync_store(client, store, how, lookback=job.lookback, reconcile=job.reconcile)
        tombstones = await asyncio.to_thread(store.tombstones)
    finally:
        await asyncio.to_thread(store.close)
    if job.files and result.verdict != "incomplete":
        targets = dict[str | Path, Format](job.files.items())
        await export_to_files(
            client, targets, store.request, how, file_options=job.file_options, store=job.store, keep_store=True
        )
    watch.finish(result.worklogs)
    exported = 0
    if before is not None:
        exported = result.worklogs - before - result.changes.added + result.changes.removed + result.gone
    return Report(result=result, exported=exported, tombstones=tombstones)


def _say(job: _Job, report: Report, *, as_json: bool) -> None:
    """Says it on standard output.

    Raises:
        IncompleteExportError: the server counts another number of worklogs than the store.
    """
    if as_json:
        output.json([_as_json(job, report)])
    else:
        for line in lines(job.store, report):
            output.line(line)
        if job.files and report.result.verdict != "incomplete":
            output.line(f"Written: {', '.join(map(str, job.files))}")
    if report.result.verdict == "incomplete":
        result = report.result
        raise IncompleteExportError(
            f"{job.store} has {result.worklogs:,} worklogs and the server counts {result.total:,}",
            hint=f"Worklogs were deleted, or are being written. Run: {_reconciling(job.store)}",
        )


def _reconciling(store: Path) -> str:
    return shlex.join(("tracket", "sync", str(store), "--reconcile", ALL))


def _as_json(job: _Job, report: Report) -> dict[str, Any]:
    result, changes = report.result, report.result.changes
    return {
        "store": str(job.store),
        "worklogs": result.worklogs,
        "exported": report.exported,
        "added": changes.added,
        "changed": changes.changed,
        "removed": changes.removed,
        "gone": result.gone,
        "tombstones": report.tombstones,
        "total": result.total,
        "verdict": result.verdict,
    }


def lines(store: Path, report: Report) -> Iterator[str]:
    """The report for people."""
    result = report.result
    if report.exported:
        yield f"Exported {report.exported:,} worklogs into {store}."
    if result.changes.different or result.gone:
        yield f"{output.revised(result.changes)}, {result.gone:,} gone from the server."
    elif not report.exported:
        yield "Nothing has changed."
    buried = f", and tombstones of {report.tombstones:,}" if report.tombstones else ""
    yield f"{store} has {result.worklogs:,} worklogs{buried}; {output.verdict(result)}."
