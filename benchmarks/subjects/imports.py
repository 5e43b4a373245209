"""How long ``import tracket_async`` keeps a program waiting, against the import that it cannot do without."""

from __future__ import annotations

from benchmarks.rows import Budget, Case, Row, Side, Subject, own
from benchmarks.sizes import Sizes


def subject(sizes: Sizes) -> Subject:
    """Fresh interpreters, byte code already written."""
    cases = {
        package: Case(
            work="imports.fresh",
            label=f"import {package}",
            expects=sizes.imports,
            arguments={"package": package, "times": sizes.imports},
        )
        for package in ("tracket_async", "aiohttp")
    }
    row = Row(
        name="import tracket_async",
        unit="ms CPU",
        ours=Side("tracket-async", "tracket_async", own("ms")),
        other=Side("import aiohttp", "aiohttp", own("ms")),
        budget=Budget(at_most=1.3),
    )
    return Subject(name="imports", cases=cases, rows=(row,))
