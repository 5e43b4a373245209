"""Many cursors at once against one: the share of the ideal that is left when a server takes its time for each page.

The ideal is as many times one walk's throughput as there are workers. The data are even, and then with half of all
worklogs in one month, which punishes whoever splits the time into equal parts and leaves it at that.
"""

from __future__ import annotations

from benchmarks.rows import Budget, Case, Row, Serve, Side, Subject, wall
from benchmarks.sizes import Sizes


def subject(sizes: Sizes) -> Subject:
    """Compare 2.0 on both data sets, and 1.0, whose partitions have no upper bound, on the harder one."""
    cases: dict[str, Case] = {}
    rows: list[Row] = []
    for api, skewed, shape in (("2.0", False, "even"), ("2.0", True, "skewed"), ("1.0", True, "skewed")):
        serve = Serve(api, sizes.concurrent_worklogs, skewed=skewed, latency=sizes.page_latency)
        one, many = f"{api} {shape} one", f"{api} {shape} many"
        cases[one] = Case(
            work="ours.walk", label="one walk", serve=serve, expects=serve.worklogs, arguments={"warm_up": 1}
        )
        cases[many] = Case(
            work="ours.export",
            label=f"{sizes.workers} workers",
            serve=serve,
            expects=serve.worklogs,
            arguments={"workers": sizes.workers, "warm_up": 1},
        )
        rows.append(
            Row(
                name=f"export, {sizes.workers} workers, {sizes.page_latency:g} ms a page, {shape}, {api}",
                unit="s; share of the ideal",
                ours=Side("export", many, wall),
                other=Side("one walk", one, wall),
                inverse=True,
                scale=1 / sizes.workers,
                budget=Budget(at_least=0.9),
            )
        )
    return Subject(name="concurrency", cases=cases, rows=tuple(rows), rounds=3)
