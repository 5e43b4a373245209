"""The way of a public client of this API: a ``requests.get`` a page, and each page's frame appended to the one before.

Written anew after that pattern: no session (so a connection for each page), ``pandas.concat`` inside the loop. It is
what somebody gets who takes the package that the registry offers.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import requests

from benchmarks.child import Meter


def walk(meter: Meter, *, url: str, api: str) -> int:
    """Read everything into one frame. Only for API 2.0, as the client that it follows."""
    if api != "2.0":
        raise ValueError("only for API 2.0")
    headers = {"Authorization": "Bearer benchmark"}
    address = f"{url}/api/2.0/timeEntries?size=100&"
    with meter:
        frame = pd.DataFrame()
        target = address
        while True:
            response = requests.get(target, headers=headers, timeout=3600)
            response.raise_for_status()
            page = response.json()
            if page["items"]:
                frame = pd.concat([frame, pd.DataFrame(page["items"])])
            if not page.get("nextCursor"):
                break
            target = f"{address}after={page['nextCursor']}"
    return len(frame)


def parquet(meter: Meter, *, url: str, api: str) -> int:
    """Export every worklog into a Parquet file as pandas' documentation advises, and return its rows. Only for 2.0.

    One session, so that connections are kept, one cursor, and one frame, made at the end.
    """
    if api != "2.0":
        raise ValueError("only for API 2.0")
    with tempfile.TemporaryDirectory() as folder, requests.Session() as session:
        path = Path(folder, "worklogs.parquet")
        session.headers["Authorization"] = "Bearer benchmark"
        query = {"size": "100", "sortBy": "date", "sortType": "asc"}
        pd.DataFrame({"loads": ["what there is to load"]}).to_parquet(path)
        with meter:
            entries: list[Any] = []
            while True:
                response = session.get(f"{url}/api/2.0/timeEntries", params=query, timeout=3600)
                response.raise_for_status()
                page = response.json()
                entries += page["items"]
                if not page.get("nextCursor"):
                    break
                query["after"] = page["nextCursor"]
            frame = pd.json_normalize(entries)
            for name in ("date", "createdDate", "updatedDate"):
                frame[name] = pd.to_datetime(frame[name], format="ISO8601", utc=True)
            frame.sort_values(["date", "id"]).to_parquet(path)
        return len(pd.read_parquet(path, columns=["id"]))
