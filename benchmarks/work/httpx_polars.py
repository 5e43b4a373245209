"""An httpx client that reads the months at the same time, and polars, which writes them to Parquet."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import httpx
import polars as pl

from benchmarks.child import Meter
from benchmarks.work.months import months


async def parquet(meter: Meter, *, url: str, api: str, workers: int) -> int:
    """Export every worklog into a Parquet file, and return its rows. Only for API 2.0."""
    if api != "2.0":
        raise ValueError("only for API 2.0")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "worklogs.parquet")
        async with httpx.AsyncClient(
            base_url=url, headers={"Authorization": "Bearer benchmark"}, limits=httpx.Limits(max_connections=workers)
        ) as client:
            await _month(client, "1999-01-01", "1999-01-01")
            with meter:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(_month(client, *days)) for days in months()]
                entries = [entry for task in tasks for entry in task.result()]
                frame = pl.DataFrame(entries, infer_schema_length=None).with_columns(
                    pl.col("date").str.to_date(), pl.col("createdDate", "updatedDate").str.to_datetime(time_zone="UTC")
                )
                frame.sort("date", "id").write_parquet(path)
        return pl.scan_parquet(path).select(pl.len()).collect().item()


async def _month(client: httpx.AsyncClient, since: str, until: str) -> list[dict[str, Any]]:
    query = {"size": "100", "sortBy": "date", "sortType": "asc", "fields.date.gte": since, "fields.date.lte": until}
    found: list[dict[str, Any]] = []
    while True:
        response = await client.get("/api/2.0/timeEntries", params=query)
        response.raise_for_status()
        page = response.json()
        found += page["items"]
        if not page.get("nextCursor"):
            return found
        query["after"] = page["nextCursor"]
