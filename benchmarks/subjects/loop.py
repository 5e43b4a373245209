"""How long the event loop is held at once, and what the iteration of worklogs adds to a generator."""

from __future__ import annotations

from benchmarks.rows import Budget, Case, Row, Serve, Side, Subject, own
from benchmarks.sizes import Sizes

_NAMES = {
    "open": "opening a client",
    "walk": "a typed walk",
    "scan": "an export to Python, 16 at once",
    "table": "a table of Arrow",
    "parquet": "an export to Parquet",
    "create": "100 creates, 16 at once",
}


def subject(sizes: Sizes) -> Subject:
    """Compare the longest callbacks with 5 ms, and the longest waits while libraries are imported with 30 ms."""
    serve = Serve("2.0", 2_500)
    needs = ("duckdb", "pyarrow")
    cases = {
        "callbacks": Case(
            work="loop.callbacks",
            label="callbacks",
            serve=serve,
            expects=5,
            arguments={"rounds": sizes.loop_rounds, "enough": 0},
            needs=needs,
        ),
        "opening": Case(work="loop.opening", label="opening", serve=serve, expects=2, needs=("pyarrow",)),
        "wrapper": Case(
            work="loop.wrapper",
            label="wrapper",
            expects=sizes.iterated,
            arguments={"items": sizes.iterated, "turns": sizes.loop_rounds},
        ),
    }
    rows = [
        Row(
            name=f"longest callback: {name}",
            unit="ms CPU",
            ours=Side("tracket-async", "callbacks", own(work)),
            other=Side("the most", fixed=5),
            budget=Budget(at_most=1),
        )
        for work, name in _NAMES.items()
    ]
    rows += [
        Row(
            name=f"longest wait of another task: {_NAMES[work]}, first",
            unit="ms",
            ours=Side("tracket-async", "opening", own(work)),
            other=Side("the most", fixed=30),
            budget=Budget(at_most=1),
        )
        for work in ("open", "table")
    ]
    added = Row(
        name="what list() and export() add to a generator",
        unit="us CPU a worklog",
        ours=Side("tracket-async", "wrapper", own("added")),
        other=Side("the most", fixed=0.08),
        budget=Budget(at_most=1),
    )
    return Subject(name="loop", cases=cases, rows=(*rows, added))
