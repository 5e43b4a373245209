"""Everything to a file: through the store to Parquet, and streamed as NDJSON, against only fetching the bytes."""

from __future__ import annotations

from benchmarks.rows import Budget, Case, Row, Serve, Side, Subject
from benchmarks.sizes import Sizes


def subject(sizes: Sizes) -> Subject:
    """Compare exports of 2.0. The CPU of all threads counts, the database's and the compressor's too."""
    serve = Serve("2.0", sizes.store_worklogs)
    cases = {
        "parquet": Case(
            work="store.parquet",
            label="export through the store",
            serve=serve,
            expects=serve.worklogs,
            arguments={"workers": sizes.workers},
            needs=("duckdb", "pyarrow"),
        ),
        "ndjson": Case(
            work="command.ndjson",
            label="streamed NDJSON",
            serve=serve,
            expects=serve.worklogs,
            arguments={"workers": sizes.workers},
        ),
        "read": Case(
            work="bare.read",
            label="GET and read",
            serve=serve,
            expects=serve.worklogs,
            arguments={"pages": serve.worklogs // 100, "warm_up": sizes.warm_up},
            needs=("orjson",),
        ),
    }
    read = Side("aiohttp, bodies dropped", "read")
    rows = (
        Row(
            name="export to Parquet through the store, 2.0",
            unit="us CPU a worklog",
            ours=Side("tracket-async", "parquet"),
            other=read,
            budget=Budget(at_most=5.0),
        ),
        Row(
            name="export as streamed NDJSON, 2.0",
            unit="us CPU a worklog",
            ours=Side("tracket-async", "ndjson"),
            other=read,
            budget=Budget(at_most=2.8),
        ),
    )
    return Subject(name="export", cases=cases, rows=rows)
