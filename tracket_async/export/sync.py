"""A sync: bring a store that an export has filled up to date, for a fraction of what the export took.

On API 2.0 it fetches what was created or updated since the last one, then compares the number of worklogs with the
server's, and where they differ the days, as an export does (`check`). API 1.0 has neither filters for changes nor
counts: all worklogs of the last days (``lookback``) are compared, and older ones are not looked at. So they are where
the request chooses values (users, say), which no server counts. A reconciliation compares any dates worklog by worklog.
What was deleted leaves a tombstone. Run again, with nothing changed on the server, a sync changes nothing.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

import attrs

from tracket_async.changes import OVERLAP
from tracket_async.client import TracketClient
from tracket_async.export.phases import (
    Check,
    Settings,
    check,
    compare_dates,
    open_job,
    tell_bad_rows,
    verdict_of,
)
from tracket_async.export.progress import SyncResult
from tracket_async.export.run import compare_fetched_before, fetch_rest, keep_check, moment_of
from tracket_async.export.store import Store

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
        lookback: how far back from the server's time all worklogs are compared: on API 1.0, and where the store's
            request chooses values, which a server does not count.
        overlap: API 2.0: how far before the beginning of the last sync it begins, for clocks that differ and writes
            that take time.
        reconcile: compare these days worklog by worklog. None: none.

    Raises:
        ValueError: ``lookback`` or ``overlap`` is negative.
        StoreError, StorageError, ExportError, RequestError: as `export_to_store`. What was already brought into the
            store is kept; the next sync begins where this one began.
    """
    if min(lookback, overlap) < dt.timedelta(0):
        raise ValueError("lookback and overlap must not be negative")
    async with open_job(client, store, settings) as opened:
        job = attrs.evolve(opened, fresh=await fetch_rest(opened) == 0)
        since = None
        if job.source.counts:
            mark = moment_of(await job.do(store.meta, "mark"))
            found = await check(job, mark, overlap=overlap, phase="syncing")
        else:
            times = await job.source.times(store.request.filter)
            found = attrs.evolve(await compare_fetched_before(job), mark=times.mark, now=times.now)
        if not job.source.counts or store.request.filter.values:
            since = found.now - lookback
            found = await compare_dates(job, found, since, None)
        if reconcile is not None:
            found = await compare_dates(job, found, reconcile.since, reconcile.until)
            total = await job.source.count(store.request.filter)
            here = await job.do(store.count) + await job.do(store.count_bad_rows)
            verdict = verdict_of(total, here, found.doubt)
            found = attrs.evolve(found, total=total, verdict=verdict)
        await job.do(keep_check, store, found, whole=since is None or reconcile == DateBounds())
        bad_rows = await tell_bad_rows(job)
        return attrs.evolve(await job.do(_result, store, found, since), bad_rows=bad_rows)


def _result(store: Store, found: Check, since: dt.datetime | None) -> SyncResult:
    return SyncResult(
        worklogs=store.count(),
        changes=found.changes,
        gone=found.gone,
        total=found.total,
        verdict=found.verdict,
        doubt=found.doubt,
        since=since,
    )
