"""The way of a public client of this API: a ``requests.get`` a page, and each page's frame appended to the one before.

Written anew after that pattern: no session (so a connection for each page), ``pandas.concat`` inside the loop. It is
what somebody gets who takes the package that the registry offers.
"""

from __future__ import annotations

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
