"""The other end of the harness: runs one function (or several, one after the other) and prints what it took.

``python -m benchmarks.child '[{"work": "bare.walk", "arguments": {...}}]'`` prints a JSON object a line. A work
function takes a `Meter` and keyword arguments, does its set-up and its warm-up, enters the meter for the part that
counts, and returns how many things it handled there. It may be a coroutine function; all run on asyncio's own event
loop.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import inspect
import json
import resource
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs


@attrs.define
class Meter:
    """Measures the ``with`` block, which may be entered more than once.

    Attributes:
        cpu, wall: seconds.
        figures: what the work function wants to say besides, by name.
    """

    cpu: float = 0.0
    wall: float = 0.0
    figures: dict[str, float] = attrs.field(factory=dict)
    _begun: tuple[float, float] = (0.0, 0.0)

    def __enter__(self) -> Self:
        gc.collect()  # the garbage of the warm-up is not this block's
        self._begun = time.process_time(), time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cpu += time.process_time() - self._begun[0]
        self.wall += time.perf_counter() - self._begun[1]


def highest_memory() -> int:
    """Return the highest resident memory of this process, in bytes.

    Linux keeps the ``ru_maxrss`` of the process that was there before ``exec``; VmHWM begins anew.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def run(work: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run one work function; what it took, as JSON values."""
    module, _, name = work.rpartition(".")
    function = getattr(importlib.import_module(f"benchmarks.work.{module}"), name)
    meter = Meter()
    count = function(meter, **arguments)
    if inspect.iscoroutine(count):
        count = asyncio.run(count)
    return {
        "count": count,
        "cpu": meter.cpu,
        "wall": meter.wall,
        "peak": highest_memory(),
        "figures": meter.figures,
    }


if __name__ == "__main__":
    for job in json.loads(sys.argv[1]):
        print(json.dumps(run(job["work"], job["arguments"])), flush=True)
