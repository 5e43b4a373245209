"""An export: every worklog that matches into a store, resumable, and compared with what the server counts.

The store's ``phase`` says which stage is next: ``walking`` (`walking`), ``checking`` (`checking`), ``done``. Each stage
can be interrupted anywhere; the same export, run again, goes on. A store that is done stays as it is: `sync` brings it
up to date.
"""

from __future__ import annotations

import datetime as dt

from tracket_async.client import TracketClient
from tracket_async.export.checking import check
from tracket_async.export.desk import Desk, Settings, desk
from tracket_async.export.progress import ExportResult, Verdict
from tracket_async.export.request import ExportRequest
from tracket_async.export.store import NOTHING, Revision, Store
from tracket_async.export.walking import walk
from tracket_async.filters import combined
from tracket_async.models import WorklogFilter


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
    wanted = combined(filter, since, until)
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
        ExportError: nothing arrived for `Patience.give_up_after`.
        RequestError: a call failed in a way that waiting does not mend (the token is not accepted, say).

    After each of them, and after a cancellation or the end of the process, the same export goes on where it was.
    """
    async with desk(client, store, settings) as its:
        return await export(its)


async def export(its: Desk) -> ExportResult:
    """As `export_to_store`, for whoever has a desk already."""
    store, resumed, changes = its.store, 0, NOTHING
    if await its.do(lambda: store.phase) == "walking":
        resumed = await its.do(store.count)
        await _walk(its, resumed)
    if await its.do(lambda: store.phase) == "checking":
        changes = await _check(its)
    return await its.do(_result, store, resumed, changes)


def _result(store: Store, resumed: int, changes: Revision) -> ExportResult:
    return ExportResult(
        worklogs=store.count(),
        verdict=store.fact("verdict"),
        total_at_start=store.fact("total_at_start"),
        total=store.fact("total"),
        resumed=resumed,
        changes=changes,
        single_chain=store.fact("single_chain"),
    )


async def _walk(its: Desk, resumed: int) -> None:
    store = its.store
    total, now = await its.source.count(store.request.filter)
    if await its.do(store.fact, "started") is None:
        # What changes from here on, the last round has to find: also after several interruptions.
        await its.do(store.remember, started=now.isoformat(), total_at_start=total)
    its.teller.tell("walking", resumed, resumed=resumed, total=total, always=True)
    alone = await walk(its, resumed, total)
    await its.do(store.settle, single_chain=alone)


async def _check(its: Desk) -> Revision:
    store = its.store
    started = dt.datetime.fromisoformat(await its.do(store.fact, "started"))
    if not its.source.counts:
        await its.do(store.remember, phase="done", verdict="not verifiable", synced=started.isoformat())
        return NOTHING
    found = await check(its, started)
    verdict: Verdict = "not verifiable" if found.total is None else "verified"
    if found.total not in {None, found.count}:
        await its.do(store.remember, verdict="incomplete", total=found.total, started=found.mark.isoformat())
        return found.changes
    await its.do(store.remember, phase="done", verdict=verdict, total=found.total, synced=found.mark.isoformat())
    return found.changes
