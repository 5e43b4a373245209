"""What a client leaves to others of the event loop: no late imports, no files, no long callbacks."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import sys
import threading

import pytest

from tracket_async.emulator import Emulator

LATE = """
import asyncio, datetime as dt, importlib.metadata, sys

def missing(name):
    raise importlib.metadata.PackageNotFoundError(name)

importlib.metadata.distribution = importlib.metadata.version = missing  # as in a frozen app

from tracket_async import BearerToken, NewWorklog, TracketClient, __version__
from tracket_async.emulator import Emulator, faults

late, opened = [], []

class Hook:
    @staticmethod
    def find_spec(name, path=None, target=None):
        late.append(name)

async def main(api):
    new = NewWorklog(item_id="1", user_id="2", date=dt.date(2026, 1, 1), minutes=30)
    async with Emulator(sample=300) as emulator:
        TracketClient(auth=BearerToken(emulator.token), api=api)
        watching = True
        sys.addaudithook(lambda event, args: watching and event == "open" and opened.append(args[0]))
        client = TracketClient(auth=BearerToken(emulator.token), api=api, base_url=emulator.url)
        watching = False
        assert client._context.session._user_agent == f"tracket-async/{__version__}"
        async with client:
            sys.meta_path.insert(0, Hook)
            emulator.faults.add(faults.Reset(), method="GET", nth=1)
            worklogs = [worklog async for worklog in client.worklogs.list()]
            await client.worklogs.get(worklogs[0].id)
            await client.worklogs.create(new)
            async for _ in client.worklogs.export():
                pass
            async for outcome in client.worklogs.create_many([new] * 3, reconcile=True):
                assert outcome.status == "ok"
    print(opened, late)

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize("api", ["1.0", "2.0"])
def test_no_call_imports_anything_and_making_a_client_reads_no_file(api):
    done = subprocess.run([sys.executable, "-c", LATE, api], capture_output=True, text=True, check=False, timeout=100)
    assert (done.stdout.strip(), done.stderr) == ("[] []", "")


class Served:
    """An emulator in a thread of its own, so that a process can use it while the test waits for that."""

    def __enter__(self):
        self.ready, self.done = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.serve()))
        self.thread.start()
        self.ready.wait()
        return self.emulator

    async def serve(self):
        async with Emulator(sample=2_500) as self.emulator:
            self.ready.set()
            await asyncio.to_thread(self.done.wait)

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def test_no_callback_holds_the_loop_for_more_than_5_ms(benchmarks):
    """Of CPU. Libraries are imported in threads."""
    rows = benchmarks("rows")
    serve, arguments = rows.Serve("2.0", 2_500), {"rounds": 20, "enough": 5}
    case = rows.Case(work="loop.callbacks", label="", serve=serve, expects=5, arguments=arguments)
    with benchmarks("serving").Servers() as servers:
        [took] = benchmarks("harness").run([case], servers)
    assert len(took.figures) == 6
    assert {work: ms for work, ms in took.figures.items() if not 0 < ms <= 5} == {}


LIBRARIES = """
import asyncio, json, sys, tempfile, threading
from pathlib import Path

from tracket_async import BearerToken, TracketClient
from tracket_async.export.run import export_to_files, request_of

by_thread = {}

class Hook:
    @staticmethod
    def find_spec(name, path=None, target=None):
        library = name.partition(".")[0]
        if library not in sys.stdlib_module_names and library != "tracket_async":
            by_thread.setdefault(threading.current_thread() is threading.main_thread(), set()).add(library)

async def main(url, token, work):
    sys.meta_path.insert(0, Hook)
    async with TracketClient(auth=BearerToken(token), base_url=url) as client:
        if work == "table":
            assert len(await client.worklogs.table()) >= 2_500
        else:
            with tempfile.TemporaryDirectory() as folder:
                await export_to_files(client, {Path(folder, "worklogs.parquet"): "parquet"}, request_of(client))
    print(json.dumps({"loop": sorted(by_thread.get(True, ())), "threads": sorted(by_thread[False])}))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("work", ["table", "export"])
def test_no_library_is_imported_on_the_event_loops_thread(work):
    """Where pandas is installed, pyarrow's first conversion imports it, which takes seconds."""
    with Served() as emulator:
        command = [sys.executable, "-c", LIBRARIES, emulator.url, emulator.token, work]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.stderr == ""
    imported = json.loads(done.stdout)
    assert imported["loop"] == []
    assert {"tenacity", "cattrs", "pyarrow"} <= set(imported["threads"])
    assert importlib.util.find_spec("pandas") is None or "pandas" in imported["threads"]
