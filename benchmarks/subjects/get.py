"""One call after the other: what a request costs around the bytes."""

from __future__ import annotations

from benchmarks.rows import Budget, Case, Row, Serve, Side, Subject
from benchmarks.sizes import Sizes


def subject(sizes: Sizes) -> Subject:
    """Compare ``get`` on both versions."""
    cases: dict[str, Case] = {}
    rows: list[Row] = []
    for api in ("2.0", "1.0"):
        serve = Serve(api, max(sizes.gets, 100))
        arguments = {"calls": sizes.gets, "warm_up": sizes.warm_up}
        for key, work, label in (("ours", "ours.get", "tracket-async"), ("bare", "bare.get", "aiohttp + orjson")):
            cases[f"{key} {api}"] = Case(
                work=work,
                label=label,
                serve=serve,
                expects=sizes.gets,
                arguments=arguments,
                needs=() if key == "ours" else ("orjson",),
            )
        rows.append(
            Row(
                name=f"one get, {api}",
                unit="us CPU a call",
                ours=Side("tracket-async", f"ours {api}"),
                other=Side("aiohttp + orjson, dict", f"bare {api}"),
                budget=Budget(at_most=1.3),
            )
        )
    return Subject(name="get", cases=cases, rows=tuple(rows))
