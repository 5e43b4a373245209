"""The highest memory of an export, which must not grow with ten times the worklogs."""

from __future__ import annotations

from benchmarks.rows import Budget, Case, Row, Serve, Side, Subject, peak
from benchmarks.sizes import Sizes


def subject(sizes: Sizes) -> Subject:
    """Compare the peak of the whole process, interpreter and imports included."""
    few, many = Serve("2.0", sizes.store_worklogs), Serve("2.0", sizes.store_worklogs * 10)
    cases: dict[str, Case] = {}
    for key, work, serve, needs in (
        ("store", "store.parquet", few, ("duckdb", "pyarrow")),
        ("store x10", "store.parquet", many, ("duckdb", "pyarrow")),
        ("stream", "command.ndjson", few, ()),
        ("stream x10", "command.ndjson", many, ()),
    ):
        cases[key] = Case(
            work=work,
            label=key,
            serve=serve,
            expects=serve.worklogs,
            arguments={"workers": sizes.workers},
            needs=needs,
        )
    rows = (
        Row(
            name=f"through the store, {many.worklogs:,} worklogs",
            unit="MB at the peak",
            ours=Side("tracket-async", "store x10", peak),
            other=Side(f"{few.worklogs:,} worklogs", "store", peak),
            budget=Budget(at_most=1.25),
        ),
        Row(
            name=f"streamed NDJSON, {many.worklogs:,} worklogs",
            unit="MB at the peak",
            ours=Side("tracket-async", "stream x10", peak),
            other=Side("the limit", fixed=100),
            budget=Budget(at_most=1),
        ),
        Row(
            name=f"streamed NDJSON, {many.worklogs:,} worklogs",
            unit="MB at the peak",
            ours=Side("tracket-async", "stream x10", peak),
            other=Side(f"{few.worklogs:,} worklogs", "stream", peak),
        ),
    )
    return Subject(name="memory", cases=cases, rows=rows, rounds=3)
