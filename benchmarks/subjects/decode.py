"""Bytes to models: how far from orjson, which makes only dicts, and how far ahead of what makes models, too."""

from __future__ import annotations

from benchmarks.rows import Budget, Case, Row, Side, Subject, own
from benchmarks.sizes import Sizes
from benchmarks.work.decoding import ODDITIES

_OTHERS = (
    ("orjson", "orjson.loads, dicts", False, Budget(at_most=1.8)),
    ("pydantic", "pydantic", True, Budget(at_least=1.8)),
    ("cattrs", "default cattrs", True, Budget(at_least=3)),
)


def subject(sizes: Sizes) -> Subject:
    """Compare decoders on a page of 100, on both versions."""
    cases: dict[str, Case] = {}
    rows: list[Row] = []
    for api in ("2.0", "1.0"):
        for name, label, inverse, budget in _OTHERS:
            key = f"{api} {name}"
            needs = ("orjson", "cattrs") if name == "cattrs" else (name,)
            cases[key] = Case(
                work="decoding.compare",
                label=label,
                expects=sizes.decode_pages * 100,
                arguments={
                    "api": api,
                    "decoders": ["tracket_async", name],
                    "pages": sizes.decode_pages,
                    "turns": sizes.decode_turns,
                },
                needs=needs,
            )
            rows.append(
                Row(
                    name=f"decode a page, {api}",
                    unit="us CPU a page",
                    ours=Side("tracket-async", key, own("tracket_async")),
                    other=Side(label, key, own(name)),
                    inverse=inverse,
                    budget=budget,
                )
            )
        for oddity in ODDITIES:
            key = f"{api} {oddity}"
            cases[key] = Case(
                work="decoding.compare",
                label="tracket-async",
                expects=sizes.decode_pages * 100,
                arguments={
                    "api": api,
                    "decoders": ["tracket_async", oddity],
                    "pages": sizes.decode_pages,
                    "turns": sizes.decode_turns,
                },
            )
            rows.append(
                Row(
                    name=f"{oddity} in every worklog, {api}",
                    unit="us CPU a page",
                    ours=Side(f"tracket-async, {oddity}", key, own(oddity)),
                    other=Side("tracket-async, none", key, own("tracket_async")),
                    inverse=False,
                    budget=Budget(at_most=1.3),
                )
            )
    return Subject(name="decode", cases=cases, rows=tuple(rows))
