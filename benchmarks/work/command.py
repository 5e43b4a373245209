"""``tracket export``, called in the child's own process, so that the imports can be left out of the CPU.

The command would take uvloop where it is installed. It is hidden from it here, because what it is compared with runs on
asyncio's own event loop.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Generator

from benchmarks.child import Meter
from tracket_async.cli import main


def ndjson(meter: Meter, *, url: str, api: str, workers: int) -> int:
    """Stream NDJSON to standard output, which is a file here, and return its number of lines."""
    sys.modules["uvloop"] = None  # type: ignore[assignment]  # how Python is told that there is none
    os.environ |= {"TRACKET_API": api, "TRACKET_BASE_URL": url, "TRACKET_TOKEN": "benchmark"}
    command = ["export", "--progress", "off", "--concurrency", str(workers), "--output", "-"]
    with tempfile.TemporaryFile() as file, _standard_output(file.fileno()):
        _run([*command, "--since", "1999-01-01", "--until", "1999-01-01"])  # imports what it needs
        with meter:
            _run(command)
        sys.stdout.flush()
        file.seek(0)
        return sum(1 for _ in file)


@contextlib.contextmanager
def _standard_output(descriptor: int) -> Generator[None]:
    """Redirect the standard output of the process to the descriptor."""
    kept = os.dup(1)
    os.dup2(descriptor, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _run(arguments: list[str]) -> None:
    if code := main(arguments):
        raise RuntimeError(f"tracket {' '.join(arguments)}: exit code {code}")
