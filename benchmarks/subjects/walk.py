"""A typed walk over one cursor, against the least that could be written with aiohttp and orjson."""

from __future__ import annotations

from benchmarks.rows import Budget, Case, Row, Serve, Side, Subject, server_cpu_each
from benchmarks.sizes import Sizes


def subject(sizes: Sizes) -> Subject:
    """Compare walks of both versions, on both kinds of pages; and show what the server took, which is not measured."""
    cases: dict[str, Case] = {}
    rows: list[Row] = []
    for api, varied in (("2.0", False), ("1.0", False), ("2.0", True), ("1.0", True)):
        serve = Serve(api, sizes.walk_pages * 100, varied=varied)
        pages = f"{api}, varied" if varied else api
        for key, work, label in (("ours", "ours.walk", "tracket-async"), ("bare", "bare.walk", "aiohttp + orjson")):
            cases[f"{key} {pages}"] = Case(
                work=work,
                label=label,
                serve=serve,
                expects=serve.worklogs,
                arguments={"warm_up": sizes.warm_up},
                needs=() if key == "ours" else ("orjson",),
            )
        ours = Side("tracket-async", f"ours {pages}")
        rows += [
            Row(
                name=f"typed walk, {pages}",
                unit="us CPU a worklog",
                ours=ours,
                other=Side("aiohttp + orjson, dicts", f"bare {pages}"),
                budget=Budget(at_most=1.25),
            ),
            Row(
                name=f"typed walk, {pages}",
                unit="us CPU a worklog",
                ours=ours,
                other=Side("the server's own CPU", f"ours {pages}", server_cpu_each),
            ),
        ]
    return Subject(name="walk", cases=cases, rows=tuple(rows))
