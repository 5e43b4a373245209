"""An export to files through the store, and what is read from the store before it goes.

``tracket export``: every worklog of a selection, into files or to standard output.

Files go through a store beside the first of them: whatever interrupts the export, the same command goes on with it.
Standard output, and files without the extra ``export``, are written while worklogs come.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Generic, TypeVar

import attrs
from cyclopts import Parameter

from tracket_async.cli import destinations, exits, output, stream
from tracket_async.cli.destinations import ChosenFormat, Format, Outputs, Streamed
from tracket_async.cli.options import DEFAULT, EVERYTHING, Connection, Selection, named_columns
from tracket_async.cli.progress import Mode, Watch, watching
from tracket_async.cli.stream import Tally
from tracket_async.client import TracketClient
from tracket_async.config import Limits, check_concurrency
from tracket_async.errors import MissingExtraError, UsageError
from tracket_async.export import database as extras
from tracket_async.export.phases import Settings
from tracket_async.export.progress import ExportResult
from tracket_async.export.run import FileOptions, export_to_files, request_of
from tracket_async.export.store import ExportRequest, Store
from tracket_async.models import WorklogFilter

T = TypeVar("T")


@attrs.frozen
class Outcome(Generic[T]):
    """What the export has come to, and what was read from its store."""

    result: ExportResult
    read: T


def store_unavailable_reason() -> MissingExtraError | None:
    """Why there can be no store here; None: there can. It imports what a store needs."""
    if importlib.util.find_spec("fcntl") is None:
        return MissingExtraError("a store needs the file locks of a POSIX system, which this one is not")
    try:
        extras.duckdb()
        extras.pyarrow()
    except MissingExtraError as error:
        return error
    return None


def settings(watch: Watch, *, concurrency: int) -> Settings:
    """How an export or a sync of the command line runs."""
    return Settings(concurrency=concurrency, on_progress=watch.report)


def place_of(files: Mapping[Path, Format], store: Path | None) -> Path:
    """Where the store is: where it was asked for, else beside the first file.

    Raises:
        UsageError: it cannot be there, or one of the files is to be there.
    """
    first = next(iter(files))
    place = first.with_name(f"{first.name}.resume") if store is None else store
    check_place(place, files)
    return place


def check_place(place: Path, files: Container[Path]) -> None:
    """See to it that a store can be there.

    Raises:
        UsageError: it cannot, or one of the files is to be there.
    """
    destinations.check(place)
    if place in files:
        raise UsageError(f"{place} cannot be the store and an --output")


async def export_files(
    client: TracketClient,
    files: Mapping[Path, Format],
    request: ExportRequest,
    watch: Watch,
    *,
    store: Path | None,
    file_options: FileOptions,
    concurrency: int,
    read: Callable[[Store], T],
) -> Outcome[T]:
    """Exports to the files.

    Args:
        client: open.
        files: where to, and as what; at least one.
        request: what.
        watch: is told how far it is.
        store: where the store is to stay; None: beside the first file until all files are there.
        file_options: what the files look like.
        concurrency: requests at once, at most.
        read: is given the store when all files are there.

    Raises:
        UsageError, ExportError, RequestError: as `export_to_files`.
    """
    place, how = place_of(files, store), settings(watch, concurrency=concurrency)
    with exits.keeping(place):
        targets = dict[str | Path, Format](files.items())
        result = await export_to_files(
            client, targets, request, how, file_options=file_options, store=place, keep_store=True
        )
        if watch.phases.isdisjoint({"fetching", "checking"}):
            output.note(f"{place} was complete already, so the files show what was exported then.")
        watch.finish(result.worklogs)
        found = await asyncio.to_thread(_read, place, request, read, discard=store is None)
    return Outcome(result, found)


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
    """The hours of all worklogs in the store."""
    [(minutes,)] = store.database.rows("SELECT coalesce(sum(minutes), 0) FROM worklogs")
    return float(minutes) / 60


CONCURRENCY: Final = 16


def checked(concurrency: int) -> int:
    """The number of requests at once.

    Raises:
        UsageError: it is none.
    """
    check_concurrency(concurrency, "--concurrency")
    return concurrency


@attrs.frozen(kw_only=True)
class _Job:
    """What is to be exported, and how."""

    filter: WorklogFilter
    file_options: FileOptions
    concurrency: int
    ordered: bool
    progress: Mode


async def export(
    *,
    selection: Selection = EVERYTHING,
    format: ChosenFormat = None,  # noqa: A002 - the word that people use
    output: Outputs = None,
    columns: Annotated[str | None, Parameter(metavar="NAME,NAME", show_default=False)] = None,
    raw: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    store: Annotated[Path | None, Parameter(metavar="FILE", show_default=False)] = None,
    unordered: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    concurrency: Annotated[int, Parameter(metavar="N")] = CONCURRENCY,
    progress: Mode = "auto",
    connection: Connection = DEFAULT,
) -> None:
    """Write every worklog of a selection to files or to standard output.

    The columns are those of the library's Worklog, moments are in UTC, and worklogs come in ascending order of date. A
    file appears only when it is complete, readable by its owner alone. An export to files that was interrupted leaves
    FILE.resume; the same command goes on with it. In the end the number of worklogs is compared with the server's.

    Args:
        selection: which worklogs.
        format: How to write: one JSON object a line, CSV with a header, Parquet, or a DuckDB file. Without it, the
            ending of the file's name decides (.ndjson, .jsonl, .csv, .parquet, .duckdb); on standard output, ndjson.
        output: The file to write, or several, each with its --output; - is standard output, and the default.
        columns: Which attributes, in which order; all by default.
        raw: Leave CSV cells as they are. Without it, an apostrophe defuses text that a spreadsheet would execute.
        store: Keep the store here, for tracket sync. Without it, the store is removed when all files are there.
        unordered: To standard output, write worklogs as they come, in no order: for a server of API 1.0 that lists in
            no order either.
        concurrency: How many requests at once, at most.
        progress: What standard error shows: auto (a bar, only on a terminal), json (a line a second), or off.
        connection: which server.
    """
    job = _Job(
        filter=selection.filter(),
        file_options=FileOptions(columns=None if columns is None else named_columns(columns), raw=raw),
        concurrency=checked(concurrency),
        ordered=not unordered,
        progress=progress,
    )
    outputs = output or [destinations.STANDARD_OUTPUT]
    if destinations.to_standard_output(outputs):
        if store is not None:
            raise UsageError("--store is for an export to files. Give --output FILE")
        await _to_standard_output(connection, destinations.streamed(format), job)
    else:
        await _to_files(connection, destinations.files(outputs, format), store, job)


def _client(connection: Connection, job: _Job) -> TracketClient:
    return connection.client(limits=Limits(max_concurrency=job.concurrency))


async def _to_standard_output(connection: Connection, named: Streamed, job: _Job) -> None:
    started = time.monotonic()
    async with _client(connection, job) as client:
        tally = await _stream(client, [(destinations.StandardOutput(), stream.rendering(named, job.file_options))], job)
    _say(job, tally.worklogs, tally.hours, started)


async def _to_files(connection: Connection, files: Mapping[Path, Format], store: Path | None, job: _Job) -> None:
    started = time.monotonic()
    place_of(files, store)  # whether it can be there is told before anything is sent
    async with _client(connection, job) as client:
        without = store_unavailable_reason()
        if without is None:
            async with watching(job.progress, client.statistics) as watch:
                done = await export_files(
                    client,
                    files,
                    request_of(client, filter=job.filter),
                    watch,
                    store=store,
                    file_options=job.file_options,
                    concurrency=job.concurrency,
                    read=hours,
                )
            _say(job, done.result.worklogs, done.read, started, files=files, result=done.result)
            return
        tally = await _stream_to_files(client, _streamed(files, store, without), job)
    _say(job, tally.worklogs, tally.hours, started, files=files)


def _streamed(files: Mapping[Path, Format], store: Path | None, without: MissingExtraError) -> dict[Path, Streamed]:
    """The files, if they can do without a store.

    Raises:
        MissingExtraError: they cannot.
    """
    streamed: dict[Path, Streamed] = {
        path: named for path, how in files.items() if (named := destinations.STREAMED.get(how)) is not None
    }
    if store is not None or len(streamed) < len(files):
        raise without
    output.note(f"If it is interrupted, this export has to begin again, because {without}")
    return streamed


async def _stream_to_files(client: TracketClient, files: Mapping[Path, Streamed], job: _Job) -> Tally:
    with contextlib.ExitStack() as stack:
        sinks = [
            (stack.enter_context(destinations.open_file(path)), stream.rendering(named, job.file_options))
            for path, named in files.items()
        ]
        return await _stream(client, sinks, job)


async def _stream(client: TracketClient, sinks: Sequence[stream.Sink], job: _Job) -> Tally:
    tally = Tally()
    async with watching(job.progress, client.statistics) as watch:
        await stream.copy(client, job.filter, sinks, tally, watch, concurrency=job.concurrency, ordered=job.ordered)
    return tally


def _say(
    job: _Job,
    worklogs: int,
    hours: float,
    started: float,
    *,
    files: Iterable[Path] = (),
    result: ExportResult | None = None,
) -> None:
    if job.progress != "off":
        output.note(output.exported(worklogs, hours, time.monotonic() - started, files=files, result=result))
