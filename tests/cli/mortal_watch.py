"""A process that runs ``tracket`` and is killed: run by test_watch.py, one JSON line of instructions for each child.

Everything is imported once; each child is forked off. The points are put around functions of the package here.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from tracket_async.cli import app, main, output
from tracket_async.export import database
from tracket_async.export.store import Store
from tracket_async.frames import pyarrow

POINTS = {
    "upsert": (Store, "upsert"),
    "delete": (Store, "delete_with_tombstones"),
    "mark": (Store, "set_meta"),
    "write": (output, "write"),
    "forget": (Store, "forget_changes"),
}


def arm(point, *, nth, after):
    """The n-th call of the point will be the last, before or after it is made."""
    owner, name = POINTS[point]
    real, calls = getattr(owner, name), []

    def armed(*args, **kwargs):
        calls.append(1)
        if len(calls) == nth and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **kwargs)
        if len(calls) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, armed)


def child(order):
    file = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(file, 1)
    if order["point"] is not None:
        arm(order["point"], nth=order["nth"], after=order["after"])
    os._exit(main(order["arguments"]))


if __name__ == "__main__":
    database.duckdb()
    pyarrow().array(())
    assert app.app is not None
    print("ready", flush=True)  # noqa: T201
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            child(json.loads(line))
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201
