"""An export: every worklog that matches into a store, resumable, and compared with what the server counts.

The store's ``phase`` says which phase is next: ``walking`` (`walking`), ``checking`` (`checking`), ``done``. Each phase
can be interrupted anywhere; the same export, run again, goes on. A store that is done stays as it is: `sync` brings it
up to date.

An export to files: into a store beside them, then out of it, then the store is removed.

Interrupted anywhere, the same call goes on where it was: a store that is left says that the files are not all there.

A sync: brings a store that an export has filled up to date, for a fraction of what the export took.

On API 2.0 it fetches what was created or updated since the last one, by the server's clock and with an overlap; on 1.0,
which has no such filter, all worklogs of the last days (``lookback``), compared worklog by worklog. Neither notices
that an older worklog was deleted: a reconciliation of the days in question does (`ranges.compare`), and leaves a
tombstone of each. Run again, with nothing changed on the server, it changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import attrs

from tracket_async.client import TracketClient
from tracket_async.errors import IncompleteExportError, UsageError
from tracket_async.export.phases import (
    Comparison,
    ExportJob,
    Settings,
    changes_since,
    check,
    compare,
    narrowed,
    open_job,
    walk,
)
from tracket_async.export.progress import ExportResult, SyncResult, Verdict
from tracket_async.export.store import NO_CHANGES, ChangeCounts, ExportRequest, Store, open_store
from tracket_async.export.text import columns_named
from tracket_async.export.writers import Format, check_target, write_file
from tracket_async.models import WorklogFilter, combine_filter


def request_of(
    client: TracketClient,
    *,
    since: dt.date | None = None,
    until: dt.date | None = None,
    filter: WorklogFilter | None = None,  # noqa: A002 - as in the client
) -> ExportRequest:
    """What a store is opened with to export from this client's server.

    Args:
        client: tells the version of the API, the address and, where it knows, the account.
        since: as in ``client.worklogs.export``.
        until: as in ``client.worklogs.export``.
        filter: as in ``client.worklogs.export``.

    Raises:
        UsageError: a bound is given twice.
        TypeError, ValueError: a bound is no date, naive, or after its upper bound.
    """
    wanted = combine_filter(filter, since, until)
    return ExportRequest(api=client.api, origin=client.base_url, account=client.account, filter=wanted)


async def export_to_store(client: TracketClient, store: Store, settings: Settings | None = None) -> ExportResult:
    """Fetches all worklogs of the store's request that it does not have yet, then compares.

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


async def export(job: ExportJob) -> ExportResult:
    """As `export_to_store`, for whoever has a job already."""
    store, resumed, changes = job.store, 0, NO_CHANGES
    if await job.do(lambda: store.state) == "fetching":
        resumed = await job.do(store.count)
        await _walk(job, resumed)
    if await job.do(lambda: store.state) == "checking":
        changes = await _check(job)
    return await job.do(_result, store, resumed, changes)


def _result(store: Store, resumed: int, changes: ChangeCounts) -> ExportResult:
    return ExportResult(
        worklogs=store.count(),
        verdict=store.meta("verdict"),
        total_at_start=store.meta("total_at_start"),
        total=store.meta("total"),
        resumed=resumed,
        changes=changes,
        single_partition=store.meta("single_partition"),
    )


async def _walk(job: ExportJob, resumed: int) -> None:
    store = job.store
    total, now = await job.source.count(store.request.filter)
    if await job.do(store.meta, "started") is None:
        # What changes from here on, the last round has to find: also after several interruptions.
        await job.do(store.set_meta, started=now.isoformat(), total_at_start=total)
    job.reporter.report("fetching", resumed, resumed=resumed, total=total, always=True)
    alone = await walk(job, resumed, total)
    await job.do(store.deduplicate, single_partition=alone)


async def _check(job: ExportJob) -> ChangeCounts:
    store = job.store
    started = dt.datetime.fromisoformat(await job.do(store.meta, "started"))
    if not job.source.counts:
        await job.do(store.set_meta, state="done", verdict="not verifiable", synced=started.isoformat())
        return NO_CHANGES
    found = await check(job, started)
    verdict: Verdict = "not verifiable" if found.total is None else "verified"
    if found.total not in {None, found.count}:
        await job.do(store.set_meta, verdict="incomplete", total=found.total, started=found.mark.isoformat())
        return found.changes
    await job.do(store.set_meta, state="done", verdict=verdict, total=found.total, synced=found.mark.isoformat())
    return found.changes


def _named(columns: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if columns is None else columns_named(columns)


@attrs.frozen(kw_only=True)
class FileOptions:
    """What the files look like.

    Attributes:
        columns: attributes of `Worklog`, in the order in which they are wanted; None: all.
        raw: in CSV, write text that begins like a formula as it is.

    Raises:
        UsageError: a column that does not exist, or is named twice.
    """

    columns: tuple[str, ...] | None = attrs.field(default=None, converter=_named)
    raw: bool = False


async def export_to_files(
    client: TracketClient,
    targets: Mapping[str | Path, Format],
    request: ExportRequest,
    settings: Settings | None = None,
    *,
    file_options: FileOptions | None = None,
    store: str | Path | None = None,
    keep_store: bool = False,
    incomplete: bool = False,
) -> ExportResult:
    """Exports to one or more files, each with its format.

    Args:
        client: open.
        targets: the files; each is replaced when all of it is on the disk.
        request: what to export: `request_of` this client.
        settings: how to run; None: the defaults.
        file_options: what the files look like; None: all columns, CSV defused.
        store: where the store is meanwhile; None: beside the first file, with ``.resume`` behind its name.
        keep_store: leave it there, for `sync_store`.
        incomplete: write the files although the numbers of worklogs differ from the server's in the end.

    Raises:
        UsageError: no target, a format or column that does not exist.
        IncompleteExportError: see ``incomplete``; the store is kept, and the same call compares again.
        TargetBusyError, StoreError, StorageError, ExportError, RequestError: as `Store` and `export_to_store`.
    """
    files: dict[Path, Format] = {Path(target): name for target, name in targets.items()}
    if not files:
        raise UsageError("name at least one file to export to")
    for target, name in files.items():
        check_target(target, name)
    first = next(iter(files))
    path = first.with_name(first.name + ".resume") if store is None else Path(store)
    opened = await open_store(path, request=request)
    discard = False
    try:
        async with open_job(client, opened, settings) as job:
            result = await export(job)
            if result.verdict == "incomplete" and not incomplete:
                raise _incomplete(result)
            for target, name in files.items():
                await _write(job, target, name, file_options or FileOptions())
            discard = not keep_store
    finally:
        await asyncio.to_thread(opened.discard if discard else opened.close)
    return result


def _incomplete(result: ExportResult) -> IncompleteExportError:
    return IncompleteExportError(
        f"the export has {result.worklogs:,} worklogs and the server counts {result.total:,}, after several rounds of "
        "fetching what differs",
        hint="Run the same again: it goes on comparing. If worklogs change all the time, ask for fewer dates",
    )


async def _write(job: ExportJob, target: Path, name: Format, file_options: FileOptions) -> None:
    """Writes a file in the store's thread; a cancellation stops it."""
    stopped, loop, written = threading.Event(), asyncio.get_running_loop(), 0
    total = await job.do(job.store.count)

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
            columns=file_options.columns,
            raw=file_options.raw,
            on_worklogs=on_worklogs,
        )
    )
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        stopped.set()
        with contextlib.suppress(_StoppedError):
            await task
        raise
    task.result()


class _StoppedError(Exception):
    """Thrown into the thread that writes. Never leaves this file."""


OVERLAP: Final = dt.timedelta(minutes=5)
LOOKBACK: Final = dt.timedelta(days=35)


@attrs.frozen(kw_only=True)
class DateBounds:
    """Days to be reconciled, both included; None: unbounded. An aware datetime is that moment."""

    since: dt.date | None = None
    until: dt.date | None = None


async def sync_store(
    client: TracketClient,
    store: Store,
    settings: Settings | None = None,
    *,
    lookback: dt.timedelta = LOOKBACK,
    overlap: dt.timedelta = OVERLAP,
    reconcile: DateBounds | None = None,
) -> SyncResult:
    """Brings the store up to date. A store whose export was interrupted is exported to its end first.

    Args:
        client: open, and of the same server and version of the API as the store.
        store: open; nobody else uses it meanwhile.
        settings: how to run; None: the defaults.
        lookback: API 1.0: how far back from the server's time all worklogs are compared.
        overlap: API 2.0: how far behind the beginning of the last sync it begins, for clocks that are not quite the
            same and writes that were not quite finished.
        reconcile: compare these days worklog by worklog, to find what was deleted. None: none.

    Raises:
        ValueError: ``lookback`` or ``overlap`` is negative.
        StoreError, StorageError, ExportError, RequestError: as `run.export_to_store`. What was already brought into the
            store is kept; the next sync begins where this one began.
    """
    if min(lookback, overlap) < dt.timedelta(0):
        raise ValueError("lookback and overlap must not be negative")
    async with open_job(client, store, settings) as job:
        exported = await export(job)
        _, now = await job.source.count(store.request.filter)
        if job.source.counts:
            mark = await job.do(lambda: store.meta("synced") or store.meta("started"))
            found = Comparison(
                changes=await changes_since(job, dt.datetime.fromisoformat(mark) - overlap, phase="syncing")
            )
        else:
            found = await _compared(job, DateBounds(since=now - lookback))
        if reconcile is not None:
            found += await _compared(job, reconcile)
        gone = await job.do(store.delete_with_tombstones, found.gone, found=now.isoformat()) if found.gone else 0
        total, _ = await job.source.count(store.request.filter)
        return await job.do(_sync_result, store, exported.changes + found.changes, gone, total, now)


async def _compared(job: ExportJob, window: DateBounds) -> Comparison:
    part = narrowed(job.store.request.filter, window.since, window.until)
    return Comparison() if part is None else await compare(job, part)


def _sync_result(store: Store, changes: ChangeCounts, gone: int, total: int | None, now: dt.datetime) -> SyncResult:
    count = store.count()
    verdict: Verdict = "not verifiable" if total is None else "verified" if total == count else "incomplete"
    store.set_meta(synced=now.isoformat(), verdict=verdict, total=total)
    return SyncResult(worklogs=count, changes=changes, gone=gone, total=total, verdict=verdict)
