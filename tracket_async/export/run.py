"""An export: every worklog of a request into a store, and from there to files.

The store's ``state`` says what is next: ``fetching``, ``checking`` or ``done`` (see `phases`). An export can be
interrupted anywhere; the same export, run again, resumes. A store that is done stays as it is: `sync` updates it.

An export to files goes into a store beside them, then out of it; then the store is removed. A store that is left behind
means that not all files were written.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import attrs

from tracket_async.client import TracketClient
from tracket_async.errors import ExportError, IncompleteExportError, RequestError, UsageError
from tracket_async.export.database import refuse_store
from tracket_async.export.formats import FileOptions, TargetFormat
from tracket_async.export.phases import (
    Check,
    ExportJob,
    Settings,
    check,
    compare_dates,
    fetch,
    open_job,
    tell_bad_rows,
)
from tracket_async.export.postgres import PostgresTable, Target, check_table, is_database
from tracket_async.export.progress import ExportResult
from tracket_async.export.sheets import require_room
from tracket_async.export.store import ChangeCounts, ExportRequest, Store, open_store, store_beside
from tracket_async.export.writers import check_room, check_target, write_file
from tracket_async.models import WorklogFilter, combine_filter


def request_of(
    client: TracketClient,
    *,
    since: dt.date | None = None,
    until: dt.date | None = None,
    filter: WorklogFilter | None = None,
) -> ExportRequest:
    """Return the request that a store is opened with to export from this client's server.

    Args:
        client: tells the version of the API, the address and, where it knows, the account.
        since: as in ``client.worklogs.export``.
        until: as in ``client.worklogs.export``.
        filter: as in ``client.worklogs.export``.

    Raises:
        UsageError: a bound is given twice.
        UnsupportedError: this version of the API has no such filter.
        TypeError, ValueError: a bound is no date, naive, or after its upper bound.
    """
    wanted = client.api_version.resolve(combine_filter(filter, since, until))
    client.api_version.list(wanted)  # what this version cannot filter is told before there is a store
    return ExportRequest(api=client.api, origin=client.base_url, account=client.account, filter=wanted)


async def export_to_store(client: TracketClient, store: Store, settings: Settings | None = None) -> ExportResult:
    """Fetch all worklogs of the store's request that it does not have yet, then check them.

    Args:
        client: open, and of the same server and version of the API as the request (see `request_of`).
        store: open; nobody else uses it meanwhile.
        settings: how to run; None: the defaults.

    Raises:
        StoreError: the store is of another server than the client.
        StorageError: the disk is full or cannot be written.
        ExportError: nothing arrived for `OutagePolicy.give_up_after`.
        RequestError: a call failed in a way that waiting does not mend (the token is not accepted, say).

    After each of them, and after a cancellation or the end of the process, the same export goes on where it was.
    """
    async with open_job(client, store, settings) as job:
        return await export(job)


FetchRest = Callable[[ExportJob], Awaitable[int | None]]
"""Brings into the store what it does not have yet, as `fetch_rest` does, and leaves it deduplicated."""


async def export(job: ExportJob, fetch: FetchRest | None = None) -> ExportResult:
    """Do the same as `export_to_store`, with a job that is open already; ``fetch`` None: by `fetch_rest`."""
    store = job.store
    state, as_of = await job.do(lambda: store.state), None
    if state == "fetching":
        await job.do(store.delete_ahead)
    resumed = await (fetch or fetch_rest)(job)
    job = attrs.evolve(job, fresh=resumed == 0)
    if job.source.counts:
        # Also of a store that was done: a verdict is about this run.
        try:
            found = await check(job, moment_of(await job.do(store.meta, "mark")))
        except (ExportError, RequestError) as error:
            if state != "done" or not (isinstance(error, ExportError) or error.is_passing):
                raise
            found = await job.do(_unchecked, store, error)
            as_of = found.now
        else:
            await job.do(keep_check, store, found)
    else:
        found = await compare_fetched_before(job)
        as_of = found.now if state == "done" else None
    bad_rows = await tell_bad_rows(job)
    return attrs.evolve(await job.do(_result, store, resumed or 0, found), as_of=as_of, bad_rows=bad_rows)


def _unchecked(store: Store, error: ExportError | RequestError) -> Check:
    """Return the check of a store that was done, where the server cannot be asked. The store stays as it is."""
    mark, now = moment_of(store.meta("mark")), moment_of(store.meta("as_of"))
    return Check(verdict="not verified", doubt=f"the server does not answer: {error.message}", mark=mark, now=now)


def _result(store: Store, resumed: int, found: Check) -> ExportResult:
    return ExportResult(
        worklogs=store.count(),
        verdict=found.verdict,
        doubt=found.doubt,
        total_at_start=store.meta("total_at_start"),
        total=found.total,
        resumed=resumed,
        changes=found.changes + ChangeCounts(removed=found.gone),
        single_partition=store.meta("single_partition"),
    )


def moment_of(text: str) -> dt.datetime:
    """Return the moment that a store keeps as this text."""
    return dt.datetime.fromisoformat(text)


def keep_check(store: Store, found: Check, *, whole: bool = True) -> None:
    """Keep in the store that it was checked; it is done unless worklogs are missing or in doubt.

    Args:
        store: deduplicated.
        found: the check.
        whole: all its dates were checked, so that the store is as of this check.
    """
    state = "done" if found.verdict in {"verified", "not verifiable"} else "checking"
    as_of = {"as_of": found.now.isoformat()} if whole else {}
    store.set_meta(state=state, mark=found.mark.isoformat(), **as_of)


async def fetch_rest(job: ExportJob) -> int | None:
    """Fetch what the store does not have yet.

    Returns:
        How many worklogs earlier runs had fetched; None when they had fetched all.
    """
    store = job.store
    if await job.do(lambda: store.state) != "fetching":
        return None
    resumed, total = await job.do(store.count), await job.source.count(store.request.filter)
    if await job.do(store.meta, "mark") is None:
        # The first check has to find what changes from here on, also after several interruptions.
        times = await job.source.times(store.request.filter)
        await job.do(store.set_meta, mark=times.mark.isoformat(), as_of=times.now.isoformat(), total_at_start=total)
    job.reporter.report("fetching", resumed, resumed=resumed, total=total, always=True)
    alone = await fetch(job, resumed, total)
    await job.do(store.deduplicate, single_partition=alone)
    return resumed


async def compare_fetched_before(job: ExportJob) -> Check:
    """Compare the dates that earlier runs fetched, on API 1.0, which does not tell what has changed since.

    What this run fetched itself is not compared, and neither is anything when the store is done.
    """
    store = job.store
    mark, now = [moment_of(await job.do(store.meta, name)) for name in ("mark", "as_of")]
    found = Check(verdict="not verifiable", mark=mark, now=now)
    left: list[tuple[str | None, str | None]] = await job.do(store.meta, "fetched_before")
    for at, bounds in enumerate(left, 1):
        since, until = (None if bound is None else moment_of(bound) for bound in bounds)
        found = await compare_dates(job, found, since, until)
        if found.doubt is not None:
            break
        await job.do(store.set_meta, fetched_before=left[at:])
    await job.do(keep_check, store, found)
    return found


async def export_to_files(
    client: TracketClient,
    targets: Mapping[str | Path | PostgresTable, TargetFormat],
    request: ExportRequest,
    settings: Settings | None = None,
    *,
    file_options: FileOptions | None = None,
    store: str | Path | None = None,
    keep_store: bool = False,
    incomplete: bool = False,
    fetch: FetchRest | None = None,
) -> ExportResult:
    """Export to one or more files, each with its format.

    Args:
        client: open.
        targets: the files; each is replaced when all of it is on the disk. A `PostgresTable`, or a text that begins
            with ``postgresql://`` (then the table ``worklogs``), is brought up to date in one transaction; its format
            is ``"postgres"``.
        request: what to export: `request_of` this client.
        settings: how to run; None: the defaults.
        file_options: how they are written; None: all columns, CSV escaped.
        store: where the store is meanwhile; None: beside the first file, with ``.resume`` behind its name, or of a
            table that name in the current folder.
        keep_store: leave it there, for `sync_store`.
        incomplete: write the files although the numbers of worklogs differ from the server's in the end.
        fetch: how worklogs come into the store; None: from the server, by `fetch_rest`.

    What a format cannot hold (a sheet of Excel has an end) is told before any file is written, and where the server
    counts before anything is fetched. So is what speaks against writing a table.

    The files are written when the verdict is ``"not verified"``, too, and the store is kept then.

    Raises:
        UsageError: no target, a format or column that does not exist.
        IncompleteExportError: see ``incomplete``; the store is kept, and the same call compares again.
        TargetBusyError, StoreError, StorageError, ExportError, RequestError: as `Store` and `export_to_store`.
    """
    files = check_targets(targets)
    options = file_options or FileOptions()
    await check_tables(files, request, options)
    first = next(iter(files))
    path = store_of(first) if store is None else Path(store)
    counted = client.api_version.has_total and not request.filter.values
    if "xlsx" in files.values() and counted and not path.exists():
        first_page = await client.worklogs.list(filter=request.filter, size=client.api_version.smallest_page)
        require_room(first_page.total or 0)
    opened = await open_store(path, request=request)
    discard = False
    try:
        async with open_job(client, opened, settings) as job:
            result = await export(job, fetch)
            if result.verdict == "incomplete" and not incomplete:
                raise _incomplete(result)
            await _write_all(job, files, options)
            discard = not keep_store and result.verdict != "not verified"
    finally:
        await asyncio.to_thread(opened.discard if discard else opened.close)
    return result


async def write_files(
    client: TracketClient,
    store: Store,
    targets: Mapping[str | Path | PostgresTable, TargetFormat],
    settings: Settings | None = None,
    *,
    file_options: FileOptions | None = None,
) -> None:
    """Write what is in a store to files, without asking the server.

    Args:
        client: of the server that the store is of.
        store: open, with all its worklogs; nobody else uses it meanwhile.
        targets: as in `export_to_files`.
        settings: as in `export_to_files`.
        file_options: as in `export_to_files`.

    Raises:
        UsageError, TargetBusyError, StoreError, StorageError: as `export_to_files`.
    """
    files = check_targets(targets)
    async with open_job(client, store, settings) as job:
        await _write_all(job, files, file_options or FileOptions())


def store_of(target: Target) -> Path:
    """Return the path of the store of an export whose first target this is."""
    return store_beside(Path(target.table) if isinstance(target, PostgresTable) else target)


def _target(target: str | Path | PostgresTable) -> Target:
    if isinstance(target, str):
        return PostgresTable(target) if is_database(target) else Path(target)
    return target


def check_targets(targets: Mapping[str | Path | PostgresTable, TargetFormat]) -> dict[Target, TargetFormat]:
    """Return the targets of `export_to_files` as paths and tables, checked.

    Raises:
        UsageError: as `export_to_files`.
    """
    files: dict[Target, TargetFormat] = {_target(target): name for target, name in targets.items()}
    if not files:
        raise UsageError("name at least one file to export to")
    for target, name in files.items():
        check_target(target, name)
        if isinstance(target, Path):
            refuse_store(target)
    return files


async def check_tables(files: Iterable[Target], request: ExportRequest, options: FileOptions) -> None:
    """Check that each table among the targets can be written, before anything is fetched for it.

    Raises:
        UsageError, StoreError, TargetBusyError, StorageError: as `check_table`.
    """
    for target in files:
        if isinstance(target, PostgresTable):
            await asyncio.to_thread(check_table, target, request, options.columns)


async def _write_all(job: ExportJob, files: Mapping[Target, TargetFormat], options: FileOptions) -> None:
    if options.tz is not None and not job.source.client.api_version.keeps_days:
        await job.do(job.store.set_tz, options.tz)
    for name in set(files.values()):
        await job.do(check_room, job.store, name, options)
    for target, name in files.items():
        await _write(job, target, name, options)


def _incomplete(result: ExportResult) -> IncompleteExportError:
    return IncompleteExportError(
        f"the export has {result.worklogs:,} worklogs and the server counts {result.total:,}, after several rounds of "
        "fetching what differs",
        hint="Run the same again: it goes on comparing. If worklogs change all the time, ask for fewer dates",
    )


async def _write(job: ExportJob, target: Target, name: TargetFormat, file_options: FileOptions) -> None:
    """Write a file or a table in the store's thread; a cancellation stops it, and what a server does for it."""
    stopped, loop, written = threading.Event(), asyncio.get_running_loop(), 0
    interrupts: list[Callable[[], None]] = []
    total = await job.do(job.store.count)
    job.reporter.report("writing", 0, total=total, always=True)

    def on_worklogs(count: int) -> None:
        nonlocal written
        if stopped.is_set():
            raise _StoppedError
        written += count
        loop.call_soon_threadsafe(lambda: job.reporter.report("writing", written, total=total))

    task = asyncio.create_task(
        job.do(
            write_file,
            job.store,
            target,
            name,
            file_options,
            on_worklogs=on_worklogs,
            on_connected=interrupts.append,
        )
    )
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        stopped.set()
        while not task.done():
            # Again and again: between two statements there is nothing to interrupt.
            with contextlib.suppress(asyncio.CancelledError):
                for interrupt in interrupts:
                    await asyncio.to_thread(interrupt)
                await asyncio.wait([task], timeout=_INTERRUPT_EVERY)
        task.exception()  # of no interest to whoever has been cancelled
        raise
    task.result()


_INTERRUPT_EVERY: Final = 0.2
"""Seconds."""


class _StoppedError(Exception):
    """Raised in the thread that writes. Never leaves this file."""
