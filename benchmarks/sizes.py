"""Sizes of a run: the whole, or just enough to see that everything runs."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Sizes:
    """The sizes of one run; the defaults are those that the budgets speak of.

    Attributes:
        decode_pages: different pages that each decoder reads in one turn.
        decode_turns: turns that each decoder gets in one run.
        walk_pages: pages (of 100) of a walk whose CPU is measured.
        gets: calls of ``get`` in a row.
        warm_up: calls or pages before the measured part.
        concurrent_worklogs: worklogs in each of the data sets that are exported over many cursors.
        page_latency: milliseconds that the server takes for each page there.
        workers: workers of an export, or writers, at once.
        many_workers: workers at once against requests and pandas.
        creates: worklogs created.
        create_latency: milliseconds that the server takes for each.
        store_worklogs: worklogs exported through the store; memory and cost are compared with ten times as many.
        scan_turns: scans, each beside as many pages that are only decoded; the least of each counts.
        size_pages: the smallest of three walks, each ten times the one before.
        imports: interpreters started for each import.
        loop_rounds: how often each kind of work is done to find its longest callback.
        iterated: items of a generator.
        limited_seconds: seconds that a run under a rate limit takes at best.
        limited_cases: how many of these runs; None: all.
    """

    decode_pages: int = 50
    decode_turns: int = 20
    walk_pages: int = 2_000
    gets: int = 3_000
    warm_up: int = 10
    concurrent_worklogs: int = 100_000
    page_latency: float = 50
    workers: int = 16
    many_workers: int = 64
    creates: int = 10_000
    create_latency: float = 20
    store_worklogs: int = 100_000
    scan_turns: int = 15
    size_pages: int = 100
    imports: int = 10
    loop_rounds: int = 5
    iterated: int = 300_000
    limited_seconds: float = 20
    limited_cases: int | None = None


WHOLE = Sizes()
QUICK = Sizes(
    decode_pages=2,
    decode_turns=1,
    walk_pages=4,
    gets=5,
    warm_up=1,
    concurrent_worklogs=600,
    page_latency=1,
    workers=3,
    many_workers=3,
    creates=20,
    create_latency=1,
    store_worklogs=300,
    scan_turns=1,
    size_pages=1,
    imports=1,
    loop_rounds=1,
    iterated=100,
    limited_seconds=0.2,
    limited_cases=2,
)
