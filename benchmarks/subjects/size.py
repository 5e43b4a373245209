"""Cost against size: ten times and a hundred times the worklogs, at the same CPU for each."""

from __future__ import annotations

from benchmarks.rows import Budget, Case, Row, Serve, Side, Subject
from benchmarks.sizes import Sizes


def subject(sizes: Sizes) -> Subject:
    """Compare walks of three sizes, each ten times the one before."""
    cases: dict[str, Case] = {}
    for times in (1, 10, 100):
        serve = Serve("2.0", sizes.size_pages * times * 100)
        cases[f"{times}x"] = Case(
            work="ours.walk",
            label=f"{serve.worklogs:,} worklogs",
            serve=serve,
            expects=serve.worklogs,
            arguments={"warm_up": 10 * sizes.warm_up},
        )
    rows = tuple(
        Row(
            name=f"typed walk, {cases[more].label}",
            unit="us CPU a worklog",
            ours=Side("tracket-async", more),
            other=Side(cases[less].label, less),
            budget=Budget(at_least=0.9, at_most=1.1),
        )
        for less, more in (("1x", "10x"), ("10x", "100x"))
    )
    return Subject(name="size", cases=cases, rows=rows)
