"""``tracket sync``: bring a store up to date for a fraction of the cost of an export."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import attrs
from cyclopts import Parameter

from tracket_async._timestamps import parse_date, write_day, write_moment
from tracket_async.cli import destinations, exits, output
from tracket_async.cli.destinations import (
    AcceptDeletions,
    AllRows,
    BadRows,
    BadRowsFile,
    Bom,
    ChosenDelimiter,
    ChosenFormat,
    Columns,
    DeleteRows,
    Outputs,
    Raw,
    Table,
)
from tracket_async.cli.export import check_place, is_unfinished, require_verified, settings
from tracket_async.cli.options import (
    CONCURRENCY,
    DEFAULT,
    EVERYTHING,
    WAIT,
    Concurrency,
    Connection,
    Json,
    Selection,
    Wait,
    between,
    refusals,
)
from tracket_async.cli.progress import REPORTING, ProgressDisplay, Reporting, show_progress
from tracket_async.client import TracketClient
from tracket_async.config import Limits
from tracket_async.errors import IncompleteExportError, UsageError
from tracket_async.export import sync as export_sync
from tracket_async.export.formats import FileOptions, TargetFormat, format_of
from tracket_async.export.postgres import PostgresTable, Target
from tracket_async.export.progress import SyncResult
from tracket_async.export.run import check_tables, request_of, write_files
from tracket_async.export.store import WorkThread, open_store
from tracket_async.export.sync import DateBounds
from tracket_async.models import WorklogFilter

LOOKBACK: Final = export_sync.LOOKBACK.days
LONGEST: Final = 36_500
ALL: Final = "all"


def date_bounds(text: str) -> DateBounds:
    """Return the bounds of ``SINCE..UNTIL``, of which one may be missing, or of ``all``.

    Raises:
        ValueError: the text is neither, or SINCE is after UNTIL.
    """
    if text == ALL:
        return DateBounds()
    since, dots, until = text.partition("..")
    if not dots or not (since or until):
        raise ValueError(f"{text!r} is not a range of dates. Give SINCE..UNTIL, SINCE.., ..UNTIL or {ALL}")
    found = DateBounds(since=parse_date(since) if since else None, until=parse_date(until) if until else None)
    WorklogFilter(since=found.since, until=found.until)  # raises when SINCE is after UNTIL
    return found


@attrs.frozen(kw_only=True)
class _Job:
    """The options of one sync, checked."""

    store: Path
    filter: WorklogFilter | None
    lookback: dt.timedelta
    reconcile: DateBounds | None
    accept_deletions: bool
    bad_rows: BadRows | None
    files: Mapping[Target, TargetFormat]
    file_options: FileOptions
    concurrency: int
    wait: float


@attrs.frozen(kw_only=True)
class Report:
    """The result of a sync.

    Attributes:
        result: the result of the library.
        exported: worklogs that were fetched because the export that fills the store was not complete.
        tombstones: worklogs that were in the store once and that the server no longer has.
        counted: whether the server counts worklogs: API 2.0.
        waiting: changes that are recorded and that no ``tracket watch`` has printed yet.
    """

    result: SyncResult
    exported: int
    tombstones: int
    counted: bool
    waiting: int


async def sync(
    store: Annotated[Path, Parameter(metavar="STORE")],
    /,
    *,
    lookback: Annotated[int, Parameter(metavar="DAYS", validator=between(0, LONGEST))] = LOOKBACK,
    reconcile: Annotated[str | None, Parameter(metavar="SINCE..UNTIL", show_default=False)] = None,
    accept_deletions: AcceptDeletions = False,
    bad_rows: BadRowsFile = None,
    selection: Selection = EVERYTHING,
    output: Outputs = None,
    format: ChosenFormat = None,
    columns: Columns = None,
    raw: Raw = False,
    bom: Bom = False,
    delimiter: ChosenDelimiter = ",",
    wait: Wait = WAIT,
    table: Table = destinations.TABLE,
    delete_rows: DeleteRows = False,
    all_rows: AllRows = False,
    concurrency: Concurrency = CONCURRENCY,
    reporting: Reporting = REPORTING,
    json: Json = False,
    connection: Connection = DEFAULT,
) -> None:
    """Bring a store up to date, and report what was added, changed and removed.

    A store is what tracket export --store keeps: a DuckDB file with the view worklogs. If there is none yet, it is
    created with the worklogs of the selection. On API 2.0, a sync fetches what was created or updated since the last
    sync, and finds deleted worklogs by the server's counts. On API 1.0, it compares all worklogs of the last days;
    --reconcile finds what was changed or deleted before.

    Args:
        store: The file of the store.
        lookback: Compare the worklogs of so many days back (API 1.0, or with --user and the like).
        reconcile: Compare the worklogs of these dates one by one, and find those that were deleted. Either date may be
            missing; all compares everything.
        accept_deletions: see `AcceptDeletions`.
        bad_rows: see `BadRowsFile`.
        selection: which worklogs; of a store that exists, only those that it was created with.
        output: Write the worklogs of the store to this file, or bring a table of PostgreSQL up to date
            (postgresql://USER@HOST/DATABASE, see --table); may be repeated.
        format: Write this format, as in tracket export.
        columns: see `Columns`.
        raw: see `Raw`.
        bom: see `Bom`.
        delimiter: see `ChosenDelimiter`.
        wait: see `Wait`.
        table: see `Table`.
        delete_rows: see `DeleteRows`.
        all_rows: see `AllRows`.
        concurrency: see `Concurrency`.
        reporting: see `Reporting`. The report on standard output is left out, too, unless it is --json.
        json: Print the report as JSON.
        connection: which server.
    """
    outputs = output or []
    if destinations.STANDARD_OUTPUT in outputs:
        raise UsageError("The --output of a sync must be a file")
    with refusals():
        compared = None if reconcile is None else date_bounds(reconcile)
    files = destinations.files(outputs, format, table=table, delete_rows=delete_rows, all_rows=all_rows)
    if (ending := format_of(store)) not in {None, "duckdb"}:
        raise UsageError(
            f"{store} is the name of a {ending} file, and a store is a DuckDB file. To write such a file from a store:"
            f" tracket sync company.duckdb --output {store}"
        )
    check_place(store, files)
    with destinations.bad_rows(bad_rows, {store, *files}) as unreadable:
        job = _Job(
            store=store,
            filter=None if selection.is_everything and store.exists() else selection.filter(),
            lookback=dt.timedelta(days=lookback),
            reconcile=compared,
            accept_deletions=accept_deletions,
            bad_rows=unreadable,
            files=files,
            file_options=destinations.file_options(columns, raw=raw, bom=bom, delimiter=delimiter, tz=selection.tz),
            concurrency=concurrency,
            wait=wait,
        )
        async with (
            connection.client(limits=Limits(max_concurrency=job.concurrency)) as client,
            show_progress(reporting.mode, client.statistics) as display,
        ):
            with exits.keeping(store, is_unfinished):
                report = await _sync(client, job, display)
    if json or not reporting.quiet:
        _say(job, report, as_json=json)
    require_complete(job.store, report.result)
    destinations.require_readable(unreadable, in_store=report.result.bad_rows)


async def _sync(client: TracketClient, job: _Job, display: ProgressDisplay) -> Report:
    how = settings(
        display,
        concurrency=job.concurrency,
        accept_deletions=job.accept_deletions,
        bad_rows=job.bad_rows,
        wait=job.wait,
    )
    asked = None if job.filter is None else request_of(client, filter=job.filter)
    store = await open_store(job.store, request=asked)
    # A cancellation is raised when the thread has done its work: the store is not closed under its hands.
    async with WorkThread() as thread:
        try:
            await check_tables(job.files, store.request, job.file_options)
            before = None if await thread(lambda: store.state) == "done" else await thread(store.count)
            result = await export_sync.sync_store(client, store, how, lookback=job.lookback, reconcile=job.reconcile)
            tombstones, waiting = await thread(store.tombstones), await thread(store.count_changes)
            if job.files and result.verdict != "incomplete":
                targets = dict[str | Path | PostgresTable, TargetFormat](job.files.items())
                await write_files(client, store, targets, how, file_options=job.file_options)
        finally:
            await thread(store.close)
    display.finish(result.worklogs)
    exported = 0
    if before is not None:
        exported = result.worklogs - before - result.changes.added + result.changes.removed + result.gone
    counted = client.api_version.has_total
    return Report(result=result, exported=exported, tombstones=tombstones, counted=counted, waiting=waiting)


def _say(job: _Job, report: Report, *, as_json: bool) -> None:
    """Print the report on standard output."""
    if as_json:
        output.json([_as_json(job, report)])
        return
    for line in lines(job, report):
        output.line(line)
    if job.files and report.result.verdict != "incomplete":
        output.line(f"Written: {', '.join(map(str, job.files))}")


def require_complete(store: Path, result: SyncResult) -> None:
    """Check that a store has what the server has, as far as that can be known.

    Raises:
        IncompleteExportError: the server counts another number of worklogs than the store has, or no longer shows some.
    """
    if result.verdict == "incomplete":
        raise IncompleteExportError(
            f"{store} has {result.worklogs:,} worklogs and the server counts {result.total:,}",
            hint=f"Worklogs are being written or deleted at this moment. Run the same again: {exits.same_command()}",
        )
    require_verified(result)


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
        "waiting": report.waiting,
        "total": result.total,
        "verdict": result.verdict,
        "doubt": result.doubt,
        "bad_rows": result.bad_rows,
        "since": None if result.since is None else write_moment(result.since),
    }


def lines(job: _Job, report: Report) -> Iterator[str]:
    """Yield the report as lines of text."""
    result, store = report.result, job.store
    if report.exported:
        yield f"Exported {report.exported:,} worklogs into {store}."
    if result.changes.different or result.gone:
        yield f"{output.revised(result.changes)}, {result.gone:,} gone from the server."
    elif not report.exported:
        yield "Nothing has changed."
    if result.since is not None and job.reconcile != DateBounds():
        more = "" if job.reconcile is None else " and of the dates of --reconcile"
        compared = f"Only worklogs from {write_day(result.since)} on{more} were compared"
        why = (
            "no server counts what --user and the like select, so older deletions are not seen"
            if report.counted
            else "API 1.0 does not tell what has changed"
        )
        yield f"{compared}: {why}."
    if report.waiting:
        yield f"{output.counted(report.waiting, 'change')} to be printed by tracket watch."
    buried = f", and tombstones of {report.tombstones:,}" if report.tombstones else ""
    yield f"{store} has {result.worklogs:,} worklogs{buried}; {output.verdict(result)}."
