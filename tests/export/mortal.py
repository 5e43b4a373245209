"""A process that exports and is killed: run by test_kill.py, one JSON line of instructions for each child.

Everything is imported once; each child is forked off, so that a kill costs no start of an interpreter. The points at
which a child kills itself are put around functions of the package here, so that the package knows nothing of them.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import resource
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from tracket_async import frames
from tracket_async._api import v1, v2  # noqa: F401 - imported once for all
from tracket_async._api.endpoints import ApiVersion
from tracket_async._http import retry  # noqa: F401 - imported once for all
from tracket_async._http.auth import BearerToken
from tracket_async.client import TracketClient
from tracket_async.errors import StorageError
from tracket_async.export import database, phases, run, store, tables
from tracket_async.export.phases import Settings
from tracket_async.integrations.dask import merge, part, plan

STORAGE = 3
"""The exit code of a child that ended with a `StorageError`; what it says comes first, on a line of its own."""

# Where a child can die: at the n-th call of one of these, before it or after it.
POINTS = {
    "page": (ApiVersion, "rows"),
    "append": (store.Store, "append"),
    "statement": (database.Database, "execute"),
    "checkpoint": (database.Database, "checkpoint"),
    "deduplicate": (store.Store, "deduplicate"),
    "upsert": (store.Store, "upsert"),
    "set_meta": (store.Store, "set_meta"),
    "read": (database.Database, "arrow"),
    "write": (run, "write_file"),
    "close": (database.Database, "close"),
    "replace": (Path, "replace"),
    "unlink": (Path, "unlink"),
    "fsync": (os, "fsync"),
    "log": (database.Database, "_create_log"),
    # Of an export in parts:
    "keep plan": (plan, "keep_plan"),
    "write part": (part, "_write"),
    "look for part": (merge, "find_part"),
    "manifest": (merge, "_write_manifest"),
    "forget plan": (merge, "forget_plan"),
    "clear": (merge, "_clear"),
}


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point, *, nth, after):
    """The n-th call of the point will be the last, before or after it is made."""
    owner, name = POINTS[point]
    real, calls = getattr(owner, name), []

    @functools.wraps(real)
    def armed(*args, **kwargs):
        calls.append(1)
        if len(calls) == nth and not after:
            die()
        result = real(*args, **kwargs)
        if len(calls) == nth:
            die()
        return result

    setattr(owner, name, armed)


def fuse(seconds):
    """The process will die after so long, wherever it is then."""

    def burn():
        time.sleep(seconds)
        die()

    threading.Thread(target=burn, daemon=True).start()


async def export(order):
    client = TracketClient(auth=BearerToken(order["token"]), api=order["api"], base_url=order["url"])
    async with client:
        targets = {Path(order["folder"]) / f"out.{name}": name for name in ("ndjson", "csv", "parquet")}
        if order.get("rows_per_part"):
            await export_in_parts(client, targets, Path(order["folder"]) / "parts", order["rows_per_part"])
            return
        await run.export_to_files(client, targets, run.request_of(client), Settings(concurrency=order["concurrency"]))


async def export_in_parts(client, targets, folder, rows_per_part):
    with plan.locked_folder(folder):
        made = await plan.begin(client, run.request_of(client), folder, rows_per_part=rows_per_part)
        for each in made.parts:
            await part.write_part(client, made, each.number, folder)
        await merge.merge(client, made, folder, targets)
    folder.rmdir()


def child(order):
    phases.COMMIT_ROWS, tables.WORKLOGS, database._LOG_BYTES = 150, 200, 100_000
    merge.COMMIT_ROWS = 150
    if order.get("point"):
        arm(order["point"], nth=order["nth"], after=order["after"])
    if order.get("fuse") is not None:
        fuse(order["fuse"])
    if order.get("limit") is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["limit"], resource.RLIM_INFINITY))
    try:
        asyncio.run(export(order))
    except StorageError as error:
        return STORAGE, str(error)
    return 0, ""


def main():
    # What a child would import, and its first array imports (pandas, where it is installed).
    database.duckdb()
    database.parquet()
    frames.pyarrow().array(())
    print("ready", flush=True)  # noqa: T201
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code, said = child(json.loads(line))
                if said:
                    print(said, flush=True)  # noqa: T201
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
