"""The floor: aiohttp and orjson, as their documentation shows them, with nothing around them.

No model, no check of anything, no retry. Nothing that uses aiohttp can take less than ``read``, and nothing that
sends many requests at once less than ``read_at_once``.

The process frees one block of 512 KiB first, as tracket-async does when a client is opened: glibc then keeps the blocks
into which asyncio receives. That helps any process, so it belongs to both sides.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import orjson

from benchmarks.child import Meter

PATHS = {"1.0": "/api/1.0/worklogs", "2.0": "/api/2.0/timeEntries"}
ITEMS = {"1.0": "worklogs", "2.0": "items"}
CURSORS = {"1.0": ("cursor", "next-cursor"), "2.0": ("after", "nextCursor")}
MINUTES = {"1.0": "worklogMinutes", "2.0": "minutes"}
QUERY = {"1.0": {}, "2.0": {"size": "100", "sortBy": "date", "sortType": "asc"}}


def _session(url: str) -> aiohttp.ClientSession:
    bytes(512 * 1024)  # freed at once
    return aiohttp.ClientSession(url, headers={"Authorization": "Bearer benchmark"}, raise_for_status=True)


async def read(meter: Meter, *, url: str, api: str, pages: int, warm_up: int) -> int:
    """Fetch every page and drop its body undecoded; the cursors are known beforehand."""
    name = CURSORS[api][0]
    async with _session(url) as session:

        async def get(page: int) -> None:
            async with session.get(PATHS[api], params={**QUERY[api], name: str(page * 100)}) as response:
                await response.read()

        for _ in range(warm_up):
            await get(0)
        with meter:
            for page in range(pages):
                await get(page)
    return pages * 100


async def read_at_once(meter: Meter, *, url: str, api: str, pages: int, workers: int, warm_up: int) -> int:
    """Do as `read`, so many pages at once."""
    name = CURSORS[api][0]
    async with _session(url) as session:

        async def work(numbers: Iterator[int]) -> None:
            for page in numbers:
                async with session.get(PATHS[api], params={**QUERY[api], name: str(page * 100)}) as response:
                    await response.read()

        async def run(count: int) -> None:
            numbers = iter(range(count))
            await asyncio.gather(*(work(numbers) for _ in range(workers)))

        await run(min(warm_up * workers, pages))
        with meter:
            await run(pages)
    return pages * 100


async def entries(session: aiohttp.ClientSession, api: str) -> AsyncIterator[dict[str, Any]]:
    """Yield every worklog as the dict that the server sends."""
    query, (name, key) = dict(QUERY[api]), CURSORS[api]
    while True:
        async with session.get(PATHS[api], params=query) as response:
            page = orjson.loads(await response.read())
        for entry in page[ITEMS[api]]:
            yield entry
        if not (cursor := page.get(key)):
            return
        query[name] = cursor


async def walk(meter: Meter, *, url: str, api: str, warm_up: int) -> int:
    """Add up the minutes of every worklog."""
    count, minutes, key = 0, 0.0, MINUTES[api]
    async with _session(url) as session:
        for _ in range(warm_up):
            async with session.get(PATHS[api], params=QUERY[api]) as response:
                orjson.loads(await response.read())
        with meter:
            async for entry in entries(session, api):
                minutes += entry[key]
                count += 1
    return count if minutes else 0


async def get(meter: Meter, *, url: str, api: str, calls: int, warm_up: int) -> int:
    """Read single worklogs, one after the other."""
    found = 0
    async with _session(url) as session:

        async def one(number: int) -> dict[str, Any]:
            async with session.get(f"{PATHS[api]}/wl-{number:08d}") as response:
                entry: dict[str, Any] = orjson.loads(await response.read())
                return entry

        for number in range(warm_up):
            await one(number)
        with meter:
            for number in range(calls):
                found += MINUTES[api] in await one(number)
    return found


async def create(meter: Meter, *, url: str, api: str, creates: int, workers: int, warm_up: int) -> int:
    """Create worklogs from a generator of dicts, by workers that take the next as they become free."""
    made = 0
    async with _session(url) as session:

        async def work(entries: Iterator[dict[str, Any]]) -> None:
            nonlocal made
            for entry in entries:
                headers = {"Content-Type": "application/json"}
                async with session.post(PATHS[api], data=orjson.dumps(entry), headers=headers) as response:
                    made += MINUTES[api] in orjson.loads(await response.read())

        async def run(count: int) -> None:
            entries = _new(api, count)
            await asyncio.gather(*(work(entries) for _ in range(workers)))

        await run(warm_up)
        made = 0
        with meter:
            await run(creates)
    return made


def _new(api: str, count: int) -> Iterator[dict[str, Any]]:
    item, user, date = ("itemId", "userId", "worklogDate") if api == "1.0" else ("item", "user", "date")
    for number in range(count):
        day = (dt.date(2026, 1, 1) + dt.timedelta(days=number % 300)).isoformat()
        yield {
            item: f"{5_273_000_000 + number % 5000}",
            user: "35851565",
            date: f"{day}T00:00:00.000Z" if api == "1.0" else day,
            MINUTES[api]: 15 + number % 32 * 15,
            "description": "Imported from the old system",
        }
