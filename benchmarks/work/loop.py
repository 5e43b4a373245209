"""How long the event loop of tracket-async's user is held, and what its iteration adds to a generator."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import math
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

from benchmarks.child import Meter
from benchmarks.work.ours import client_of
from tracket_async import NewWorklog, TracketClient
from tracket_async.export.run import export_to_files, request_of
from tracket_async.pagination import Position, ResumableIteration

CREATES = 100


class Callbacks:
    """Measures every callback of the main thread's event loop, from when it is entered.

    Attributes:
        longest: ms of CPU of the thread.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        run = asyncio.Handle._run  # noqa: SLF001 - nothing else sees each callback

        def timed(handle: asyncio.Handle) -> None:
            begun = time.thread_time()
            run(handle)
            if threading.current_thread() is threading.main_thread():
                self.longest = max(self.longest, (time.thread_time() - begun) * 1000)

        asyncio.Handle._run = timed  # type: ignore[method-assign]  # noqa: SLF001

    async def longest_of(self, awaitable: Awaitable[object]) -> float:
        """Return the longest callback while something is awaited; the caller's own, which made that, is none."""
        await asyncio.sleep(0)
        self.longest = 0.0
        await awaitable
        await asyncio.sleep(0)
        return self.longest


async def walk(client: TracketClient) -> None:
    """Read everything, one page after the other."""
    async for _ in client.worklogs.list():
        pass


async def scan(client: TracketClient) -> None:
    """Read everything, many pages at once."""
    async for _ in client.worklogs.export():
        pass


async def table(client: TracketClient) -> None:
    """Read everything into a table of Arrow."""
    await client.worklogs.table()


async def parquet(client: TracketClient) -> None:
    """Export everything through the store."""
    with tempfile.TemporaryDirectory() as folder:
        await export_to_files(client, {Path(folder, "worklogs.parquet"): "parquet"}, request_of(client))


async def create(client: TracketClient) -> None:
    """Create worklogs in bulk."""
    new = NewWorklog(item_id="1", user_id="2", date=dt.date(2026, 1, 1), minutes=30)
    async for _ in client.worklogs.create_many([new] * CREATES):
        pass


WORK: tuple[Callable[[TracketClient], Awaitable[None]], ...] = (walk, scan, table, parquet, create)


async def callbacks(meter: Meter, *, url: str, api: str, rounds: int, enough: float) -> int:
    """Find the longest callback of opening a client, in ms of CPU, and of each kind of work: the best of some rounds.

    Args:
        meter: gets a figure for each.
        url: of the server.
        api: its version.
        rounds: how often each kind of work is done at most; whatever else the machine does takes time of its caches.
        enough: it is not done again when no callback took more ms than that.
    """
    gc.disable()  # its time is the app's
    watched = Callbacks()
    client = client_of(url, api)
    with meter:
        meter.figures["open"] = await watched.longest_of(client.open())
        for work in WORK:
            best = math.inf
            for _ in range(rounds):
                best = min(best, await watched.longest_of(work(client)))
                if best <= enough:
                    break
            meter.figures[work.__name__] = best
        await client.aclose()
    return len(WORK)


async def opening(meter: Meter, *, url: str, api: str) -> int:
    """Open a client, and make its first table, beside a task that wants to run all the time: its longest wait in ms."""
    client, longest = client_of(url, api), 0.0

    async def tick() -> None:
        nonlocal longest
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    with meter:
        await client.open()
        meter.figures["open"], longest = longest * 1000, 0.0
        await client.worklogs.table()
        meter.figures["table"] = longest * 1000
    ticking.cancel()
    await client.aclose()
    return 2


async def wrapper(meter: Meter, *, items: int, turns: int) -> int:
    """Iterate a generator, and one that is wrapped as those of ``list`` and ``export`` are: us more for each item."""

    async def generator() -> AsyncGenerator[int]:
        for item in range(items):
            yield item

    async def took(iteration: AsyncGenerator[int]) -> float:
        begun = time.process_time()
        async for _ in iteration:
            pass
        return time.process_time() - begun

    bare, wrapped = math.inf, math.inf
    with meter:
        for _ in range(turns):
            bare = min(bare, await took(generator()))
            wrapped = min(wrapped, await took(ResumableIteration(generator(), Position())))
    meter.figures["added"] = max(wrapped - bare, 0.0) / items * 1e6
    return items
