"""The cost of ``import tracket_async``, against that of aiohttp, which it needs."""

from __future__ import annotations

from benchmarks.rows import Budget, Case, Row, Side, Subject, own
from benchmarks.sizes import Sizes

_STATEMENTS = {
    # the package's names are imported when they are first used: what counts is the import that a program has to make
    "client": "from tracket_async import TracketClient",
    "package": "import tracket_async",
    "aiohttp": "import aiohttp",
}


def subject(sizes: Sizes) -> Subject:
    """Compare imports in fresh interpreters, with byte code already written."""
    cases = {
        key: Case(
            work="imports.fresh",
            label=statement,
            expects=sizes.imports,
            arguments={"statement": statement, "times": sizes.imports},
        )
        for key, statement in _STATEMENTS.items()
    }
    rows = tuple(
        Row(
            name=cases[key].label,
            unit="ms CPU",
            ours=Side("tracket-async", key, own("ms")),
            other=Side("import aiohttp", "aiohttp", own("ms")),
            budget=Budget(at_most=1.3),
        )
        for key in ("client", "package")
    )
    return Subject(name="imports", cases=cases, rows=rows)
