"""A sync: brings a store that an export has filled up to date, for a fraction of what the export took.

On API 2.0 it fetches what was created or updated since the last one, by the server's clock and with an overlap; on 1.0,
which has no such filter, all worklogs of the last days (``lookback``), compared worklog by worklog. Neither notices
that an older worklog was deleted: a reconciliation of the days in question does (`ranges.compare`), and leaves a
tombstone of each. Run again, with nothing changed on the server, it changes nothing.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

import attrs

from tracket_async.client import TracketClient
from tracket_async.export.checking import changes_since
from tracket_async.export.desk import Desk, Settings, desk
from tracket_async.export.progress import SyncResult, Verdict
from tracket_async.export.ranges import Comparison, compare, narrowed
from tracket_async.export.run import export
from tracket_async.export.store import Revision, Store

OVERLAP: Final = dt.timedelta(minutes=5)
LOOKBACK: Final = dt.timedelta(days=35)


@attrs.frozen(kw_only=True)
class Window:
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
    reconcile: Window | None = None,
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
    async with desk(client, store, settings) as its:
        exported = await export(its)
        _, now = await its.source.count(store.request.filter)
        if its.source.counts:
            mark = await its.do(lambda: store.fact("synced") or store.fact("started"))
            found = Comparison(
                changes=await changes_since(its, dt.datetime.fromisoformat(mark) - overlap, stage="syncing")
            )
        else:
            found = await _compared(its, Window(since=now - lookback))
        if reconcile is not None:
            found += await _compared(its, reconcile)
        gone = await its.do(store.bury, found.gone, found=now.isoformat()) if found.gone else 0
        total, _ = await its.source.count(store.request.filter)
        return await its.do(_result, store, exported.changes + found.changes, gone, total, now)


async def _compared(its: Desk, window: Window) -> Comparison:
    part = narrowed(its.store.request.filter, window.since, window.until)
    return Comparison() if part is None else await compare(its, part)


def _result(store: Store, changes: Revision, gone: int, total: int | None, now: dt.datetime) -> SyncResult:
    count = store.count()
    verdict: Verdict = "not verifiable" if total is None else "verified" if total == count else "incomplete"
    store.remember(synced=now.isoformat(), verdict=verdict, total=total)
    return SyncResult(worklogs=count, changes=changes, gone=gone, total=total, verdict=verdict)
