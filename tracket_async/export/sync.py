"""A sync: bring a store that an export has filled up to date, for a fraction of what the export took.

On API 2.0 it fetches what was created or updated since the last one, by the server's clock and with an overlap. API 1.0
has no such filter: all worklogs of the last days (``lookback``) are compared. Neither notices that an older worklog was
deleted: a reconciliation of the days in question does (`compare`), and leaves a tombstone of each. Run again, with
nothing changed on the server, a sync changes nothing.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

import attrs

from tracket_async.client import TracketClient
from tracket_async.export.phases import Comparison, ExportJob, Settings, changes_since, compare, narrowed, open_job
from tracket_async.export.progress import SyncResult, Verdict
from tracket_async.export.run import export
from tracket_async.export.store import ChangeCounts, Store

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
    """Bring the store up to date. A store whose export was interrupted is exported to its end first.

    Args:
        client: open, and of the same server and version of the API as the store.
        store: open; nobody else uses it meanwhile.
        settings: how to run; None: the defaults.
        lookback: API 1.0: how far back from the server's time all worklogs are compared.
        overlap: API 2.0: how far before the beginning of the last sync it begins, for clocks that differ and writes
            that take time.
        reconcile: compare these days worklog by worklog, to find what was deleted. None: none.

    Raises:
        ValueError: ``lookback`` or ``overlap`` is negative.
        StoreError, StorageError, ExportError, RequestError: as `export_to_store`. What was already brought into the
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


async def _compared(job: ExportJob, dates: DateBounds) -> Comparison:
    part = narrowed(job.store.request.filter, dates.since, dates.until)
    return Comparison() if part is None else await compare(job, job.source.client.api_version.resolve(part))


def _sync_result(store: Store, changes: ChangeCounts, gone: int, total: int | None, now: dt.datetime) -> SyncResult:
    count = store.count()
    verdict: Verdict = "not verifiable" if total is None else "verified" if total == count else "incomplete"
    store.set_meta(synced=now.isoformat(), verdict=verdict, total=total)
    return SyncResult(worklogs=count, changes=changes, gone=gone, total=total, verdict=verdict)
