"""The CPU of an import statement, in fresh interpreters."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.child import Meter

_PROGRAM = "import time; begun = time.process_time(); {}; print(time.process_time() - begun)"


def fresh(meter: Meter, *, statement: str, times: int) -> int:
    """Run it so many times; the figure is the least, in ms: whatever is more is the machine's."""
    taken: list[float] = []
    command = [sys.executable, "-c", _PROGRAM.format(statement)]
    subprocess.run(command, check=True, capture_output=True)  # it may have to write its byte code first
    with meter:
        for _ in range(times):
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            taken.append(float(done.stdout))
    meter.figures["ms"] = min(taken) * 1000
    return times
