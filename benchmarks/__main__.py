"""The command line: ``python -m benchmarks``, from the root of the checkout.

Exit code 0 when everything was measured or skipped for want of a peer, whatever the budgets say (a missed budget is a
finding, and on a busy machine perhaps none); 1 when something failed to run.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

from benchmarks import harness, report
from benchmarks.serving import Servers
from benchmarks.sizes import QUICK, WHOLE, Sizes
from benchmarks.subjects import SUBJECTS

_PACKAGES = (
    "tracket-async", "aiohttp", "attrs", "cattrs", "msgspec", "tenacity", "orjson", "httpx", "pydantic", "requests",
    "pandas", "duckdb", "pyarrow", "dlt", "polars",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, keep the JSON."""
    options = _parser().parse_args(arguments)
    sizes: Sizes = QUICK if options.quick else WHOLE
    subjects = [make(sizes) for name, make in SUBJECTS.items() if not options.only or name in options.only]
    made: list[report.Line] = []
    with Servers() as servers:
        if options.quick:
            rough = harness.measure_roughly(subjects, servers)
            made = [line for subject in subjects for line in report.lines(subject, rough[subject.name])]
        else:
            for subject in subjects:
                rounds = min(options.rounds, subject.rounds or options.rounds)
                made += report.lines(subject, harness.measure(subject, rounds, servers, _progress))
    print(report.table(made, judge=not options.quick))
    print(f"\n{'A quick run judges nothing: it shows what runs.' if options.quick else report.verdict(made)}")
    if options.json:
        options.json.write_text(json.dumps(_keep(made, options), indent=1) + "\n", encoding="utf-8")
    return int(any(line.reason and not line.reason.startswith("skipped") for line in made))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure ratios against the budgets.")
    parser.add_argument(
        "--only",
        action="extend",
        type=_subjects,
        metavar="NAME,...",
        default=[],
        help=f"some of: {', '.join(SUBJECTS)}",
    )
    parser.add_argument("--rounds", type=_positive, default=5, help="rounds of every subject (default 5)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round: only to see that all of it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep every number there")
    return parser


def _subjects(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in SUBJECTS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(SUBJECTS)}")
    return names


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _keep(made: list[report.Line], options: argparse.Namespace) -> dict[str, Any]:
    versions: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "when": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "python": sys.version,
        "machine": {"platform": platform.platform(), "cores": os.cpu_count()},
        "packages": versions,
        "quick": options.quick,
        "lines": [line.as_json() for line in made],
    }


if __name__ == "__main__":
    sys.exit(main())
