"""Many writes at once: the share of the ideal, which is the server's time for all of them divided among the writers."""

from __future__ import annotations

from benchmarks.rows import Budget, Case, Row, Serve, Side, Subject, wall
from benchmarks.sizes import Sizes


def subject(sizes: Sizes) -> Subject:
    """``create_many``, both versions."""
    ideal = sizes.creates * sizes.create_latency / 1000 / sizes.workers
    cases = {
        api: Case(
            work="ours.create_many",
            label="create_many",
            serve=Serve(api, 100, latency=sizes.create_latency),
            expects=sizes.creates,
            arguments={"creates": sizes.creates, "workers": sizes.workers, "warm_up": sizes.workers},
        )
        for api in ("2.0", "1.0")
    }
    rows = tuple(
        Row(
            name=f"{sizes.creates:,} creates, {sizes.workers} writers, {sizes.create_latency:g} ms each, {api}",
            unit="s; share of the ideal",
            ours=Side("create_many", api, wall),
            other=Side("ideal", fixed=ideal),
            inverse=True,
            budget=Budget(at_least=0.9),
        )
        for api in cases
    )
    return Subject(name="bulk", cases=cases, rows=rows, rounds=3)
