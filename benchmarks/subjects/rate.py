"""A server that allows so many requests a second: the time, against what its rate allows, and the share of 429s.

The limiter is a token bucket in the server's process. The ideal is the time in which the bucket gives out what was
needed, or, where that is longer, the time that the answers take. Sessions begin without a warm-up: they do not know the
rate. A call that fails, and a worklog that is missing, fails the case. At most 5 % may be refused, 8 % where a run has
fewer than 500 requests: what is sent at once before the first answer is a larger share of them.
"""

from __future__ import annotations

from typing import Final

from benchmarks.rows import Budget, Case, Row, Serve, Side, Subject, own, wall
from benchmarks.sizes import Sizes

_MANY: Final = 500

CASES: Final = (
    # what, API, requests a second, burst, Retry-After, ms for an answer
    ("export", "2.0", 50, 10, None, 0),
    ("create", "1.0", 10, 1, "0", 50),
    ("walk", "2.0", 10, 1, None, 0),
    ("walk", "1.0", 10, 10, "0", 50),
    ("walk", "2.0", 50, 10, "1", 0),
    ("walk", "1.0", 50, 1, "1", 0),
    ("export", "2.0", 10, 1, "1", 50),
    ("export", "2.0", 50, 1, None, 200),
    ("export", "1.0", 50, 10, "0", 50),
    ("export", "1.0", 10, 10, "1", 200),
    ("create", "2.0", 10, 10, None, 0),
    ("create", "2.0", 50, 1, "1", 50),
    ("create", "1.0", 50, 10, "1", 200),
)


def subject(sizes: Sizes) -> Subject:
    """Compare both versions, walks, exports and creates, over rates, bursts, Retry-After and latencies."""
    cases: dict[str, Case] = {}
    rows: list[Row] = []
    for what, api, rate, burst, retry_after, latency in CASES[: sizes.limited_cases]:
        requests = max(2, round(rate * sizes.limited_seconds))
        count = requests if what == "create" else requests * 100
        said = "none" if retry_after is None else f"{retry_after} s"
        key = f"{what} {api}, {rate}/s, burst {burst}, Retry-After {said}, {latency} ms"
        cases[key] = Case(
            work="ours.limited",
            label=what,
            serve=Serve(api, 100 if what == "create" else count, False, latency, rate, burst, retry_after),
            expects=count,
            arguments={"what": what, "count": count, "rate": rate, "burst": burst, "latency": latency / 1000},
        )
        rows += [
            Row(
                name=key,
                unit="s; of the ideal",
                ours=Side(what, key, wall),
                other=Side("the ideal", key, own("ideal")),
                budget=Budget(at_most=1.2),
            ),
            Row(
                name="the same",
                unit="% 429",
                ours=Side(what, key, own("refused")),
                other=Side("the most", fixed=5.0 if requests >= _MANY else 8.0),
                budget=Budget(at_most=1.0),
            ),
        ]
    return Subject(name="rate", cases=cases, rows=tuple(rows), rounds=1)
