"""The CPU of an import statement, in fresh interpreters."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from benchmarks.child import Meter

_PROGRAM = "import time; begun = time.process_time(); {}; print(time.process_time() - begun)"


def fresh(meter: Meter, *, statement: str, times: int) -> int:
    """Run it so many times; the figure is the least, in ms: whatever is more is the machine's.

    Byte code is written to a folder of its own first, whatever PYTHONDONTWRITEBYTECODE says: what is installed has its
    byte code, and a checkout would be compiled each time.
    """
    taken: list[float] = []
    command = [sys.executable, "-c", _PROGRAM.format(statement)]
    with tempfile.TemporaryDirectory() as folder:
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environ["PYTHONPYCACHEPREFIX"] = folder
        subprocess.run(command, check=True, capture_output=True, env=environ)
        with meter:
            for _ in range(times):
                done = subprocess.run(command, check=True, capture_output=True, text=True, env=environ)
                taken.append(float(done.stdout))
    meter.figures["ms"] = min(taken) * 1000
    return times
