"""Other libraries that a user could pick, on the same pages from the same server."""

from __future__ import annotations

from benchmarks.rows import NONE, Budget, Case, Row, Serve, Side, Subject, cpu_each, peak, wall
from benchmarks.sizes import Sizes

_TO_PARQUET = (
    ("dlt_rest.parquet", "dlt, REST API source", ("dlt", "pyarrow"), True, 5),
    ("httpx_polars.parquet", "httpx + polars", ("httpx", "polars"), True, 3),
    ("requests_pandas.parquet", "requests + pandas", ("requests", "pandas", "pyarrow"), False, None),
)
"""Work, label, what it needs, whether it reads many pages at once, and how many times more CPU it is to take."""


def subject(sizes: Sizes) -> Subject:
    """Compare walks with httpx and pydantic, and with requests and pandas; and exports to Parquet with three peers."""
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
        "store": Case(
            work="store.parquet",
            label="export to Parquet",
            serve=slow,
            expects=slow.worklogs,
            arguments={"workers": sizes.workers},
            needs=("duckdb", "pyarrow"),
        ),
    }
    for work, label, needs, concurrent, _ in _TO_PARQUET:
        cases[work] = Case(
            work=work,
            label=label,
            serve=slow,
            expects=slow.worklogs,
            arguments={"workers": sizes.workers} if concurrent else {},
            needs=needs,
        )
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
    parquet = [
        Row(
            name=f"to Parquet, {sizes.page_latency:g} ms a page, 2.0" if figure is wall else "the same",
            unit=unit,
            ours=Side("tracket-async", "store", figure),
            other=Side(label, work, figure),
            inverse=True,
            budget=Budget(at_least=least) if figure is cpu_each and least else NONE,
        )
        for work, label, _, _, least in _TO_PARQUET
        for figure, unit in ((wall, "s"), (cpu_each, "us CPU a worklog"), (peak, "MB at the peak"))
    ]
    return Subject(name="peers", cases=cases, rows=(*rows, *parquet), rounds=3)
