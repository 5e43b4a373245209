"""An httpx client and a pydantic model, as their documentation shows them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx

from benchmarks.child import Meter
from benchmarks.work.pydantic_models import PAGES, Entry, PageV1


async def entries(client: httpx.AsyncClient, api: str) -> AsyncIterator[Entry]:
    """Yield every worklog, validated."""
    path, name, params = (
        ("/api/1.0/worklogs", "cursor", {})
        if api == "1.0"
        else ("/api/2.0/timeEntries", "after", {"size": "100", "sortBy": "date", "sortType": "asc"})
    )
    while True:
        response = await client.get(path, params=params)
        response.raise_for_status()
        page = PAGES[api].model_validate_json(response.content)
        for entry in page.worklogs if isinstance(page, PageV1) else page.items:
            yield entry
        if not page.next_cursor:
            return
        params[name] = page.next_cursor


async def walk(meter: Meter, *, url: str, api: str, warm_up: int) -> int:
    """Add up the minutes of every worklog."""
    count, minutes = 0, 0.0
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": "Bearer benchmark"}) as client:
        for _ in range(warm_up):
            await anext(entries(client, api))
        with meter:
            async for entry in entries(client, api):
                minutes += entry.minutes
                count += 1
    return count if minutes else 0
