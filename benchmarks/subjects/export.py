"""Everything to a file: through the store to Parquet, and streamed as NDJSON, against only fetching the bytes.

The budgets compare with one request at a time. The lines below them compare with as many at once as the export has,
which costs aiohttp less for each page. The last lines are what scanning over many cursors takes beyond decoded rows.
"""

from __future__ import annotations

from benchmarks.rows import Budget, Case, Row, Serve, Side, Subject, own
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
        "read at once": Case(
            work="bare.read_at_once",
            label="GET and read, at once",
            serve=serve,
            expects=serve.worklogs,
            arguments={"pages": serve.worklogs // 100, "workers": sizes.workers, "warm_up": sizes.warm_up},
            needs=("orjson",),
        ),
        **{
            f"scan {api}": Case(
                work="ours.scan",
                label="scan",
                serve=Serve(api, sizes.store_worklogs),
                expects=sizes.store_worklogs,
                arguments={"workers": sizes.workers, "turns": sizes.scan_turns},
            )
            for api in ("2.0", "1.0")
        },
    }
    read = Side("aiohttp, bodies dropped", "read")
    at_once = Side(f"aiohttp, {sizes.workers} at once", "read at once")
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
        Row(
            name="export to Parquet through the store, 2.0",
            unit="us CPU a worklog",
            ours=Side("tracket-async", "parquet"),
            other=at_once,
        ),
        Row(
            name="export as streamed NDJSON, 2.0",
            unit="us CPU a worklog",
            ours=Side("tracket-async", "ndjson"),
            other=at_once,
        ),
        *(
            Row(
                name=f"the scan beyond decoded rows, {api}",
                unit="us CPU a worklog",
                ours=Side("scan", f"scan {api}", own("scan")),
                other=Side("the limit", fixed=0.5),
                budget=Budget(at_most=1),
            )
            for api in ("2.0", "1.0")
        ),
    )
    return Subject(name="export", cases=cases, rows=rows)
