"""A process that imports and is killed: run by test_kill.py, one JSON line of instructions for each child.

Everything is imported once; each child is forked off, so that a kill costs no start of an interpreter, and runs the
command ``tracket`` itself. The points at which a child kills itself are put around functions here, so that the package
knows nothing of them.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from tracket_async._api import converters, v1, v2  # noqa: F401 - imported once for all
from tracket_async._http import retry  # noqa: F401 - imported once for all
from tracket_async.cli import import_file, main
from tracket_async.cli.app import app  # noqa: F401 - imported once for all
from tracket_async.importer.journal import Journal
from tracket_async.importer.run import ImportRun
from tracket_async.reconcile import ServerLookup
from tracket_async.worklogs import Worklogs

# Where a child can die: at the n-th call of one of these, before it or after it.
POINTS = {
    "write": (os, "write"),
    "cut": (os, "ftruncate"),
    "fsync": (os, "fsync"),
    "record_sent": (Journal, "record_sent"),
    "create": (Worklogs, "create"),
    "ok": (Journal, "record_created"),
    "ambiguous": (Journal, "record_ambiguous"),
    "reconcile": (ImportRun, "_resolve"),
    "look": (ServerLookup, "_look"),
    "claimed": (Journal, "created_among"),
    "close": (Journal, "close"),
}


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point, *, nth, after):
    """The n-th call of the point will be the last, before or after it is made."""
    owner, name = POINTS[point]
    real, calls = getattr(owner, name), []

    def before():
        calls.append(1)
        if len(calls) == nth and not after:
            die()
        return len(calls) == nth

    @functools.wraps(real)
    def armed(*args, **kwargs):
        last = before()
        result = real(*args, **kwargs)
        if last:
            die()
        return result

    @functools.wraps(real)
    async def armed_coroutine(*args, **kwargs):
        last = before()
        result = await real(*args, **kwargs)
        if last:
            die()
        return result

    setattr(owner, name, armed_coroutine if inspect.iscoroutinefunction(real) else armed)


def tear(nth):
    """Of the n-th write only a half will be written."""
    real, calls = os.write, []

    def torn(descriptor, data):
        calls.append(1)
        if len(calls) == nth:
            real(descriptor, data[: len(data) // 2])
            die()
        return real(descriptor, data)

    os.write = torn


def fuse(seconds):
    """The process will die after so long, wherever it is then."""

    def burn():
        time.sleep(seconds)
        die()

    threading.Thread(target=burn, daemon=True).start()


def child(order):
    # What a person waits for, and no test needs to.
    import_file.ImportSettings = functools.partial(import_file.ImportSettings, wait=order["wait"])
    os.environ.update(order["environ"])
    if order.get("point") == "torn":
        tear(order["nth"])
    elif order.get("point"):
        arm(order["point"], nth=order["nth"], after=order["after"])
    if order.get("fuse") is not None:
        fuse(order["fuse"])
    with Path(order["out"]).open("w", encoding="utf-8") as sys.stdout:  # noqa: SIM117 - one for each
        with Path(order["err"]).open("w", encoding="utf-8") as sys.stderr:
            return main(order["arguments"])


def serve():
    print("ready", flush=True)  # noqa: T201
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                code = child(json.loads(line))
            except BaseException:
                traceback.print_exc(file=sys.__stderr__)
                raise
            finally:
                os._exit(code)
        print(pid, flush=True)  # noqa: T201
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


if __name__ == "__main__":
    serve()
