"""Many writes at once: the share of the ideal, which is the server's time for all of them divided among the writers."""

from __future__ import annotations

from benchmarks.rows import Budget, Case, Row, Serve, Side, Subject, wall
from benchmarks.sizes import Sizes


def subject(sizes: Sizes) -> Subject:
    """Compare ``create_many`` on both versions; and show what aiohttp alone reaches, which is no budget."""
    ideal = sizes.creates * sizes.create_latency / 1000 / sizes.workers
    arguments = {"creates": sizes.creates, "workers": sizes.workers, "warm_up": sizes.workers}
    cases: dict[str, Case] = {}
    rows: list[Row] = []
    for api in ("2.0", "1.0"):
        serve = Serve(api, 100, latency=sizes.create_latency)
        for work, label, needs in (("ours.create_many", "create_many", ()), ("bare.create", "aiohttp", ("orjson",))):
            key = f"{label} {api}"
            cases[key] = Case(
                work=work, label=label, serve=serve, expects=sizes.creates, arguments=arguments, needs=needs
            )
        name = f"{sizes.creates:,} creates, {sizes.workers} writers, {sizes.create_latency:g} ms each, {api}"
        ours = f"create_many {api}"
        rows += [
            Row(
                name=name,
                unit="s; share of the ideal",
                ours=Side("create_many", ours, wall),
                other=Side("the ideal", fixed=ideal),
                inverse=True,
                budget=Budget(at_least=0.9),
            ),
            Row(
                name=name,
                unit="s",
                ours=Side("create_many", ours, wall),
                other=Side("aiohttp + orjson", f"aiohttp {api}", wall),
            ),
            Row(
                name=name,
                unit="us CPU a call",
                ours=Side("create_many", ours),
                other=Side("aiohttp + orjson", f"aiohttp {api}"),
            ),
        ]
    return Subject(name="bulk", cases=cases, rows=tuple(rows), rounds=3)
