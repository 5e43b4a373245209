"""tracket-async from Python, called as its README shows it."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeVar

import attrs

from benchmarks.child import Meter
from tracket_async import BearerToken, Limits, NewWorklog, TracketClient, WorklogFilter
from tracket_async._api.endpoints import RowPage
from tracket_async._http.messages import Request, Response
from tracket_async.scan import ScanSettings, row_format
from tracket_async.scan import scan as parallel_scan

T = TypeVar("T")


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
    """Scan every row over many cursors; and, in turn, decode the answers to the same requests, as many at once.

    The answers come from memory, where a first scan has kept them, so that no network and no server is in the figure.
    Both sides send the same requests in the same order. As a scan has the pages that came at once in memory at once,
    whoever only decodes keeps as many.

    The figure ``scan`` is the CPU that the scan takes beyond that, in us a worklog: the least of its turns, less the
    least of the others'. Whatever else the machine does only adds to a turn.
    """
    everything, now = WorklogFilter(), dt.datetime.now(dt.UTC)
    answers: dict[Request, Response] = {}
    asked: list[Request] = []
    async with client_of(url, api, concurrency=workers) as client:
        version = client.api_version
        settings = ScanSettings(item_format=row_format(version), concurrency=workers)

        async def send(request: Request, parse: Callable[[Response], T], /) -> T:
            asked.append(request)
            if request not in answers:
                answer = await client.send(request, lambda response: response)
                answers[request] = attrs.evolve(answer, reused=True)
            await asyncio.sleep(0)
            return parse(answers[request])

        async def scanned() -> int:
            asked.clear()
            found = await parallel_scan(send, version, everything, settings, now=lambda: now)
            return sum([len(batch.items) async for batch in found.batches()])

        async def decoded(requests: Iterator[Request]) -> None:
            kept: deque[RowPage] = deque(maxlen=workers)

            async def work() -> None:
                for request in requests:
                    kept.append(await send(request, version.rows))

            await asyncio.gather(*(work() for _ in range(workers)))

        await scanned()
        count = await scanned()  # in the order of all further ones
        requests = [*asked]
        scans, others = list[float](), list[float]()
        with meter:
            for _ in range(turns):
                begun = time.thread_time()
                await decoded(iter(requests))
                between = time.thread_time()
                await scanned()
                others.append(between - begun)
                scans.append(time.thread_time() - between)
    meter.figures["scan"] = (min(scans) - min(others)) / count * 1e6
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
