"""Other libraries that a user could pick, on the same pages from the same server."""

from __future__ import annotations

from benchmarks.rows import Budget, Case, Row, Serve, Side, Subject, wall
from benchmarks.sizes import Sizes


def subject(sizes: Sizes) -> Subject:
    """Compare CPU with httpx and pydantic, and waiting time with requests and pandas."""
    fast = Serve("2.0", sizes.walk_pages * 100)
    slow = Serve("2.0", sizes.concurrent_worklogs, latency=sizes.page_latency)
    warm_up = {"warm_up": sizes.warm_up}
    cases = {
        "walk": Case(work="ours.walk", label="typed walk", serve=fast, expects=fast.worklogs, arguments=warm_up),
        "httpx": Case(
            work="httpx_pydantic.walk",
            label="httpx + pydantic",
            serve=fast,
            expects=fast.worklogs,
            arguments=warm_up,
            needs=("httpx", "pydantic"),
        ),
        "export": Case(
            work="ours.export",
            label="export",
            serve=slow,
            expects=slow.worklogs,
            arguments={"workers": sizes.many_workers, "warm_up": 1},
        ),
        "requests": Case(
            work="requests_pandas.walk",
            label="requests + pandas",
            serve=slow,
            expects=slow.worklogs,
            needs=("requests", "pandas"),
        ),
    }
    rows = (
        Row(
            name="typed walk, 2.0",
            unit="us CPU a worklog",
            ours=Side("tracket-async", "walk"),
            other=Side("httpx + pydantic", "httpx"),
            inverse=True,
            budget=Budget(at_least=2),
        ),
        Row(
            name=f"export, {sizes.many_workers} workers, {sizes.page_latency:g} ms a page, 2.0",
            unit="s",
            ours=Side("tracket-async", "export", wall),
            other=Side("requests + pandas", "requests", wall),
            inverse=True,
            budget=Budget(at_least=30),
        ),
        Row(
            name="the same, CPU",
            unit="us CPU a worklog",
            ours=Side("tracket-async", "export"),
            other=Side("requests + pandas", "requests"),
            inverse=True,
        ),
    )
    return Subject(name="peers", cases=cases, rows=rows, rounds=3)
