"""``tracket export``: write every worklog of a selection to files or to standard output.

Files are made from a store beside the first of them, so that the same command resumes an interrupted export. Standard
output, and files where the extra ``export`` is not installed, are streamed.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Generic, Protocol, TypeVar

import attrs
from cyclopts import Parameter

from tracket_async.cli import destinations, exits, output, stream
from tracket_async.cli.cluster import ALONE, Cluster, ClusterExport
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
from tracket_async.cli.options import (
    CONCURRENCY,
    DEFAULT,
    EVERYTHING,
    WAIT,
    Concurrency,
    Connection,
    Selection,
    Wait,
)
from tracket_async.cli.progress import REPORTING, Mode, ProgressDisplay, Reporting, show_progress
from tracket_async.cli.stream import Tally
from tracket_async.client import TracketClient
from tracket_async.config import Limits
from tracket_async.errors import IncompleteExportError, MissingExtraError, TracketError, UsageError
from tracket_async.export import database
from tracket_async.export.formats import FORMATS, POSTGRES, FileOptions, TargetFormat, TextFormat
from tracket_async.export.phases import Settings
from tracket_async.export.postgres import PostgresTable, Target
from tracket_async.export.progress import ExportResult, SyncResult
from tracket_async.export.run import export_to_files, request_of, store_of
from tracket_async.export.source import OutagePolicy
from tracket_async.export.store import ExportRequest, Store
from tracket_async.frames import pyarrow
from tracket_async.models import WorklogFilter

T = TypeVar("T")


class ExportToFiles(Protocol):
    """`export_to_files`, or what does the same in another way."""

    async def __call__(
        self,
        client: TracketClient,
        targets: Mapping[str | Path | PostgresTable, TargetFormat],
        request: ExportRequest,
        settings: Settings,
        /,
        *,
        file_options: FileOptions,
        store: Path,
        keep_store: bool,
    ) -> ExportResult:
        """Export."""
        ...


@attrs.frozen
class Outcome(Generic[T]):
    """The result of an export, and what was read from its store."""

    result: ExportResult
    read: T


def store_unavailable_reason() -> MissingExtraError | None:
    """Return why there can be no store here, None if there can. It imports what a store needs."""
    try:
        database.duckdb()
        pyarrow()
    except MissingExtraError as error:
        return error
    return None


def settings(
    display: ProgressDisplay, *, concurrency: int, accept_deletions: bool, bad_rows: BadRows | None, wait: float = WAIT
) -> Settings:
    """Return the settings of an export or a sync from the command line."""
    return Settings(
        concurrency=concurrency,
        patience=OutagePolicy(give_up_after=wait),
        on_progress=display.report,
        on_waiting=display.wait,
        accept_deletions=accept_deletions,
        on_bad_row=None if bad_rows is None else bad_rows.write,
    )


def require_verified(result: ExportResult | SyncResult) -> None:
    """Check that the server was asked, and that nothing was kept that it no longer shows.

    Raises:
        IncompleteExportError: it was not, or something was; the hint says what to do.
    """
    if result.doubt is None:
        return
    accepting = exits.same_command("--accept-deletions")
    hint = f"Use credentials that may see every worklog. If the worklogs were deleted, run: {accepting}"
    if isinstance(result, ExportResult) and result.as_of is not None:
        hint = f"Run the same again when it does: {exits.same_command()}"
    raise IncompleteExportError(f"Not verified: {result.doubt}", hint=hint)


def place_of(files: Mapping[Target, TargetFormat], store: Path | None) -> Path:
    """Return the path of the store: the one that was given, else one beside the first file.

    Raises:
        UsageError: no store can be there.
    """
    first = next(iter(files))
    place = store_of(first) if store is None else store
    check_place(place, files)
    return place


def check_place(place: Path, files: Container[Target]) -> None:
    """Check that a store can be there.

    Raises:
        UsageError: it cannot, or the path is one of the files.
    """
    destinations.check(place)
    if place in files:
        raise UsageError(f"{place} cannot be the store and an --output")


async def export_files(
    client: TracketClient,
    files: Mapping[Target, TargetFormat],
    request: ExportRequest,
    display: ProgressDisplay,
    *,
    store: Path | None,
    file_options: FileOptions,
    concurrency: int,
    read: Callable[[Store], T],
    accept_deletions: bool = False,
    bad_rows: BadRows | None = None,
    wait: float = WAIT,
    by: ExportToFiles = export_to_files,
) -> Outcome[T]:
    """Export to the files.

    Args:
        client: an open client.
        files: each file and its format; at least one.
        request: selects the worklogs.
        display: shows the progress.
        store: the path of a store that stays; None: one beside the first file until all files are there.
        file_options: columns and form of the files.
        concurrency: requests at a time, at most.
        read: reads from the store when all files are there.
        accept_deletions: whether to remove what the server no longer has, however much it is.
        bad_rows: is given the rows that cannot be read; None: such a row is an error.
        wait: seconds to wait for a server that does not answer.
        by: exports to files, in one process or in several.

    Raises:
        UsageError, ExportError, RequestError: as `export_to_files`.
    """
    place = place_of(files, store)
    how = settings(display, concurrency=concurrency, accept_deletions=accept_deletions, bad_rows=bad_rows, wait=wait)
    with exits.keeping(place, has_worklogs):
        targets = dict[str | Path | PostgresTable, TargetFormat](files.items())
        result = await by(client, targets, request, how, file_options=file_options, store=place, keep_store=True)
        if result.as_of is not None:
            output.note(
                f"{place} was complete already, so the files show the worklogs as of {output.text(result.as_of)}."
            )
        display.finish(result.worklogs)
        found = await asyncio.to_thread(_read, place, request, read, discard=store is None and result.doubt is None)
    return Outcome(result, found)


def has_worklogs(path: Path, _error: BaseException) -> bool:
    """Return whether a store has worklogs. A store into which a run has brought nothing is removed."""
    return _left_in(path) is not None


def is_unfinished(path: Path, error: BaseException) -> bool:
    """Return whether a sync of a store goes on: it was interrupted, or has more to fetch. Else as `has_worklogs`."""
    return _left_in(path) not in ({None, "done"} if isinstance(error, Exception) else {None})


def _left_in(path: Path) -> str | None:
    """Return the state of a store, None if nothing was ever fetched into it."""
    try:
        store = Store(path)
    except TracketError:
        return "fetching"  # nobody can tell: the disk is full, say
    state, fetched = store.state, store.meta("batch") is not None
    if state == "fetching" and not fetched and not store.partitions():
        store.discard()
        return None
    store.close()
    return state if fetched else None


def _read(place: Path, request: ExportRequest, read: Callable[[Store], T], *, discard: bool) -> T:
    store = Store(place, request=request)
    try:
        found = read(store)
    except BaseException:
        store.close()
        raise
    if discard:
        store.discard()
    else:
        store.close()
    return found


def hours(store: Store) -> float:
    """Return the hours of all worklogs in the store."""
    [(minutes,)] = store.database.rows("SELECT coalesce(sum(minutes), 0) FROM main.worklogs")
    return float(minutes) / 60


@attrs.frozen(kw_only=True)
class _Job:
    """The options of one export, checked."""

    filter: WorklogFilter
    file_options: FileOptions
    concurrency: int
    accept_deletions: bool
    bad_rows: BadRows | None
    ordered: bool
    wait: float
    reporting: Reporting


async def export(
    *,
    selection: Selection = EVERYTHING,
    format: ChosenFormat = None,
    output: Outputs = None,
    columns: Columns = None,
    raw: Raw = False,
    bom: Bom = False,
    delimiter: ChosenDelimiter = ",",
    table: Table = destinations.TABLE,
    delete_rows: DeleteRows = False,
    all_rows: AllRows = False,
    store: Annotated[Path | None, Parameter(metavar="FILE", show_default=False)] = None,
    accept_deletions: AcceptDeletions = False,
    bad_rows: BadRowsFile = None,
    unordered: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    wait: Wait = WAIT,
    concurrency: Concurrency = CONCURRENCY,
    reporting: Reporting = REPORTING,
    connection: Connection = DEFAULT,
    cluster: Cluster = ALONE,
) -> None:
    """Write every worklog of a selection to files or to standard output.

    Worklogs are written in ascending order of date, with moments in UTC. A file appears when it is complete, readable
    by its owner alone. An interrupted export to files leaves FILE.resume; run the same command again to resume it. In
    the end the number of worklogs is compared with the server's count.

    Args:
        selection: which worklogs.
        format: Write this format: one JSON object a line, CSV with a header, Parquet, a DuckDB file, or an Excel
            workbook. Default: the ending of the file's name (.ndjson, .jsonl, .csv, .parquet, .duckdb, .xlsx); on
            standard output, ndjson. Text in a file whose name ends in .gz is compressed.
        output: Write this file, or a table of PostgreSQL (postgresql://USER@HOST/DATABASE, see --table); may be
            repeated. - is standard output, and the default.
        columns: see `Columns`.
        raw: see `Raw`.
        bom: see `Bom`.
        delimiter: see `ChosenDelimiter`.
        table: see `Table`.
        delete_rows: see `DeleteRows`.
        all_rows: see `AllRows`.
        store: Keep the store in this file, for tracket sync. Default: remove the store when all files are complete.
        accept_deletions: see `AcceptDeletions`.
        bad_rows: see `BadRowsFile`.
        unordered: Write worklogs to standard output as they arrive, in no order: for a server of API 1.0 that lists
            them in no order.
        wait: see `Wait`.
        concurrency: see `Concurrency`.
        reporting: see `Reporting`.
        connection: which server.
        cluster: by several processes.
    """
    outputs = output or [destinations.STANDARD_OUTPUT]
    streamed = destinations.streamed(format) if destinations.to_standard_output(outputs) else None
    if streamed is not None and store is not None:
        raise UsageError("--store is for an export to files. Give --output FILE")
    if cluster.is_given and streamed is not None:
        raise UsageError("--dask and --workers are for an export to files. Give --output FILE")
    files = destinations.files(
        outputs if streamed is None else (), format, table=table, delete_rows=delete_rows, all_rows=all_rows
    )
    result: ExportResult | None = None
    with destinations.bad_rows(bad_rows, files) as unreadable:
        job = _Job(
            filter=selection.filter(),
            file_options=destinations.file_options(columns, raw=raw, bom=bom, delimiter=delimiter, tz=selection.tz),
            concurrency=concurrency,
            accept_deletions=accept_deletions,
            bad_rows=unreadable,
            ordered=not unordered,
            wait=wait,
            reporting=reporting,
        )
        if streamed is not None:
            await _to_standard_output(connection, streamed, job)
        else:
            result = await _to_files(connection, files, store, job, cluster)
    if result is not None:
        require_verified(result)
    destinations.require_readable(unreadable, in_store=0 if result is None else result.bad_rows)


def _client(connection: Connection, job: _Job) -> TracketClient:
    return connection.client(limits=Limits(max_concurrency=job.concurrency))


async def _to_standard_output(connection: Connection, named: TextFormat, job: _Job) -> None:
    started = time.monotonic()
    async with _client(connection, job) as client:
        rendering = stream.rendering(named, job.file_options, client.api_version)
        # A terminal that shows the worklogs has no room for a bar.
        mode: Mode = "off" if job.reporting.mode == "auto" and sys.stdout.isatty() else job.reporting.mode
        tally = await _stream(client, [(destinations.StandardOutput(), rendering)], job, mode)
    _say(job, tally.worklogs, tally.hours, started)


async def _to_files(
    connection: Connection, files: Mapping[Target, TargetFormat], store: Path | None, job: _Job, cluster: Cluster
) -> ExportResult | None:
    """Export to files; return the result of the store, None if there was none."""
    started = time.monotonic()
    place = place_of(files, store)  # raises before anything is sent
    without = store_unavailable_reason()
    if cluster.is_given:
        if without is not None:
            raise without
        by = ClusterExport(cluster, connection, place)
        async with show_progress(job.reporting.mode, by.statistics) as display:
            done = await _to_store(by.client, files, store, job, display, by)
        _say(job, done.result.worklogs, done.read, started, files=files, result=done.result)
        by.say(job.reporting)
        return done.result
    async with _client(connection, job) as client:
        if without is None:
            async with show_progress(job.reporting.mode, client.statistics) as display:
                done = await _to_store(client, files, store, job, display)
            _say(job, done.result.worklogs, done.read, started, files=files, result=done.result)
            return done.result
        tally = await _stream_to_files(client, _streamed(files, store, without), job)
    _say(job, tally.worklogs, tally.hours, started, files=files)
    return None


async def _to_store(
    client: TracketClient,
    files: Mapping[Target, TargetFormat],
    store: Path | None,
    job: _Job,
    display: ProgressDisplay,
    by: ExportToFiles = export_to_files,
) -> Outcome[float]:
    return await export_files(
        client,
        files,
        request_of(client, filter=job.filter),
        display,
        store=store,
        file_options=job.file_options,
        concurrency=job.concurrency,
        read=hours,
        accept_deletions=job.accept_deletions,
        bad_rows=job.bad_rows,
        wait=job.wait,
        by=by,
    )


def _streamed(
    files: Mapping[Target, TargetFormat], store: Path | None, without: MissingExtraError
) -> dict[Path, TextFormat]:
    """Return the files if all of them can be streamed.

    Raises:
        MissingExtraError: one of them needs a store.
    """
    streamed: dict[Path, TextFormat] = {
        path: named
        for path, how in files.items()
        if isinstance(path, Path) and how != POSTGRES and (named := FORMATS[how].text) is not None
    }
    if store is not None or len(streamed) < len(files):
        raise without
    output.note(f"This export cannot be resumed if it is interrupted: {without}")
    return streamed


async def _stream_to_files(client: TracketClient, files: Mapping[Path, TextFormat], job: _Job) -> Tally:
    version = client.api_version
    with contextlib.ExitStack() as stack:
        sinks = [
            (stack.enter_context(destinations.open_file(path)), stream.rendering(named, job.file_options, version))
            for path, named in files.items()
        ]
        return await _stream(client, sinks, job, job.reporting.mode)


async def _stream(client: TracketClient, sinks: Sequence[stream.Sink], job: _Job, progress: Mode) -> Tally:
    tally = Tally()
    async with show_progress(progress, client.statistics) as display:
        await stream.copy(
            client,
            job.filter,
            sinks,
            tally,
            display,
            concurrency=job.concurrency,
            ordered=job.ordered,
            on_bad_row=None if job.bad_rows is None else job.bad_rows.write,
        )
    return tally


def _say(
    job: _Job,
    worklogs: int,
    hours: float,
    started: float,
    *,
    files: Iterable[Target] = (),
    result: ExportResult | None = None,
) -> None:
    job.reporting.say(output.exported(worklogs, hours, time.monotonic() - started, files=files, result=result))
