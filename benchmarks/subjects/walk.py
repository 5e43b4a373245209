"""A typed walk over one cursor, against the least that could be written with aiohttp and orjson."""

from __future__ import annotations

from benchmarks.rows import Budget, Case, Row, Serve, Side, Subject, server_cpu_each
from benchmarks.sizes import Sizes


def subject(sizes: Sizes) -> Subject:
    """Compare walks of both versions; and show what the server took, which is not what is measured."""
    cases: dict[str, Case] = {}
    rows: list[Row] = []
    for api in ("2.0", "1.0"):
        serve = Serve(api, sizes.walk_pages * 100)
        for key, work, label in (("ours", "ours.walk", "tracket-async"), ("bare", "bare.walk", "aiohttp + orjson")):
            cases[f"{key} {api}"] = Case(
                work=work,
                label=label,
                serve=serve,
                expects=serve.worklogs,
                arguments={"warm_up": sizes.warm_up},
                needs=() if key == "ours" else ("orjson",),
            )
        ours = Side("tracket-async", f"ours {api}")
        rows += [
            Row(
                name=f"typed walk, {api}",
                unit="us CPU a worklog",
                ours=ours,
                other=Side("aiohttp + orjson, dicts", f"bare {api}"),
                budget=Budget(at_most=1.25),
            ),
            Row(
                name=f"typed walk, {api}",
                unit="us CPU a worklog",
                ours=ours,
                other=Side("the server's own CPU", f"ours {api}", server_cpu_each),
            ),
        ]
    return Subject(name="walk", cases=cases, rows=tuple(rows))
