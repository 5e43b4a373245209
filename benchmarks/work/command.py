"""``tracket export``, called in the child's own process, so that the imports can be left out of the CPU.

The command would take uvloop where it is installed. It is hidden from it here, because what it is compared with runs on
asyncio's own event loop.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from benchmarks.child import Meter
from tracket_async.cli import main


def ndjson(meter: Meter, *, url: str, api: str, workers: int) -> int:
    """Streamed NDJSON into a file; its lines."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "worklogs.ndjson")
        _export(meter, path, url=url, api=api, workers=workers)
        with path.open("rb") as file:
            return sum(1 for _ in file)


def _export(meter: Meter, path: Path, *, url: str, api: str, workers: int) -> None:
    sys.modules["uvloop"] = None  # type: ignore[assignment]  # how Python is told that there is none
    os.environ |= {"TRACKET_API": api, "TRACKET_BASE_URL": url, "TRACKET_TOKEN": "benchmark"}
    command = ["export", "--progress", "off", "--concurrency", str(workers), "--output"]
    nothing = path.with_name(f"nothing{path.suffix}")
    _run([*command, str(nothing), "--since", "1999-01-01", "--until", "1999-01-01"])  # imports what it needs
    with meter:
        _run([*command, str(path)])


def _run(arguments: list[str]) -> None:
    if code := main(arguments):
        raise RuntimeError(f"tracket {' '.join(arguments)}: exit code {code}")
