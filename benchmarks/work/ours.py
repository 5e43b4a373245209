"""tracket-async from Python, called as its README shows it."""

from __future__ import annotations

import asyncio
import datetime as dt
import statistics
import time
from collections.abc import Iterator

from benchmarks.child import Meter
from tracket_async import BearerToken, Limits, NewWorklog, TracketClient, WorklogFilter
from tracket_async.scan import ScanSettings, row_format
from tracket_async.scan import scan as parallel_scan


def client_of(url: str, api: str, *, concurrency: int = 16) -> TracketClient:
    """Make a client, not yet open."""
    return TracketClient(
        auth=BearerToken("benchmark"),
        api=api,  # type: ignore[arg-type]  # it comes from JSON
        base_url=url,
        limits=Limits(max_concurrency=concurrency),
    )


async def walk(meter: Meter, *, url: str, api: str, warm_up: int) -> int:
    """Add up the minutes of every worklog, one page after the other."""
    count, minutes = 0, 0.0
    async with client_of(url, api) as client:
        for _ in range(warm_up):
            await client.worklogs.list()
        with meter:
            async for worklog in client.worklogs.list():
                minutes += worklog.minutes
                count += 1
    return count if minutes else 0


async def get(meter: Meter, *, url: str, api: str, calls: int, warm_up: int) -> int:
    """Read single worklogs, one after the other."""
    found = 0
    async with client_of(url, api) as client:
        for number in range(warm_up):
            await client.worklogs.get(f"wl-{number:08d}")
        with meter:
            for number in range(calls):
                found += (await client.worklogs.get(f"wl-{number:08d}")).minutes > 0
    return found


async def export(meter: Meter, *, url: str, api: str, workers: int, warm_up: int) -> int:
    """Export every worklog over many cursors at once, and count distinct ids: nothing twice, nothing missed."""
    ids: list[str] = []
    async with client_of(url, api, concurrency=workers) as client:
        for _ in range(warm_up):
            await client.worklogs.list()
        with meter:
            async for worklog in client.worklogs.export(concurrency=workers):
                ids.append(worklog.id)  # noqa: PERF401 -- a comprehension is not how such a loop looks
    return len(set(ids)) if len(set(ids)) == len(ids) else -1


async def scan(meter: Meter, *, url: str, api: str, workers: int, turns: int) -> int:
    """Scan every row over many cursors; and, in turn, fetch the same pages by known cursors and decode them to rows.

    The figure ``scan`` is the CPU that the scan takes beyond that, in us a worklog: the median of the turns.
    """
    everything, cursor_step = WorklogFilter(), 100
    async with client_of(url, api, concurrency=workers) as client:
        version = client.api_version
        settings = ScanSettings(item_format=row_format(version), concurrency=workers)

        async def scanned() -> int:
            found = await parallel_scan(client.send, version, everything, settings)
            return sum([len(batch.items) async for batch in found.batches()])

        async def decoded(count: int) -> None:
            request_for = version.pages(everything)
            cursors = iter(range(0, count, cursor_step))

            async def work() -> None:
                for cursor in cursors:
                    await client.send(request_for(str(cursor) if cursor else None), version.rows)

            await asyncio.gather(*(work() for _ in range(workers)))

        count = await scanned()
        spent: list[float] = []
        with meter:
            for _ in range(turns):
                begun = time.process_time()
                await decoded(count)
                between = time.process_time()
                await scanned()
                spent.append(time.process_time() - between - (between - begun))
    meter.figures["scan"] = statistics.median(spent) / count * 1e6
    return count


async def create_many(meter: Meter, *, url: str, api: str, creates: int, workers: int, warm_up: int) -> int:
    """Create worklogs from a generator; those that the server has made."""
    made = 0
    async with client_of(url, api, concurrency=workers) as client:
        async for _ in client.worklogs.create_many(_new(warm_up), concurrency=workers):
            pass  # opens the connections
        with meter:
            async for outcome in client.worklogs.create_many(_new(creates), concurrency=workers):
                made += outcome.status == "ok"
    return made


async def limited(
    meter: Meter, *, url: str, api: str, what: str, count: int, rate: float, burst: int, latency: float
) -> int:
    """Walk, export or create under a rate limit, and say what would have been ideal, and how much was refused."""
    seen: set[str] = set()
    async with client_of(url, api) as client:
        with meter:
            if what == "create":
                async for outcome in client.worklogs.create_many(_new(count)):
                    if outcome.status == "ok":
                        seen.add(outcome.worklog.id)
            else:
                async for worklog in client.worklogs.list() if what == "walk" else client.worklogs.export():
                    seen.add(worklog.id)
        statistics = client.statistics()
    requests, at_once = statistics.requests, 2 if what == "walk" else 16  # a walk reads one page ahead
    meter.figures["ideal"] = max((requests - burst) / rate, requests * latency / at_once) + latency
    meter.figures["refused"] = 100 * (statistics.attempts - requests) / statistics.attempts
    return len(seen)


def _new(count: int) -> Iterator[NewWorklog]:
    day = dt.date(2026, 1, 1)
    for number in range(count):
        yield NewWorklog(
            item_id=f"{5_273_000_000 + number % 5000}",
            user_id="35851565",
            date=day + dt.timedelta(days=number % 300),
            minutes=15 + number % 32 * 15,
            description="Imported from the old system",
        )
