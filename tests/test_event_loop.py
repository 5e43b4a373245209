"""What a client leaves to others of the event loop: no late imports, no files, no long callbacks."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import subprocess
import sys
import threading
import time

import pytest

from tracket_async import BearerToken, NewWorklog, TracketClient
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
    """An emulator in a thread of its own: its callbacks are not the client's."""

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


async def walk(client):
    assert len([worklog async for worklog in client.worklogs.list()]) >= 2_500


async def export(client):
    assert len([worklog async for worklog in client.worklogs.export()]) >= 2_500


async def convert(client):
    assert len(await client.worklogs.table()) >= 2_500


async def write(client):
    new = NewWorklog(item_id="1", user_id="2", date=dt.date(2026, 1, 1), minutes=30)
    outcomes = client.worklogs.create_many([new] * 100)
    assert {outcome.status async for outcome in outcomes} == {"ok"}


@pytest.mark.parametrize("work", [walk, export, convert, write])
def test_no_callback_holds_the_loop_for_long(work, monkeypatch):
    """The goal is 5 ms of CPU. A slow and busy machine has four times as many, and the best of three rounds counts.

    The garbage collector's time is the app's.
    """
    longest = 0.0
    run = asyncio.Handle._run

    def timed(handle):
        nonlocal longest
        begun = time.thread_time()
        run(handle)
        if threading.current_thread() is threading.main_thread():
            longest = max(longest, time.thread_time() - begun)

    async def main(emulator):
        nonlocal longest
        rounds = []
        async with TracketClient(auth=BearerToken(emulator.token), base_url=emulator.url) as client:
            for _ in range(3):
                longest = 0.0
                await work(client)
                rounds.append(longest)
        return min(rounds)

    gc.disable()
    try:
        with Served() as emulator:
            monkeypatch.setattr(asyncio.Handle, "_run", timed)
            took = asyncio.run(main(emulator))
    finally:
        gc.enable()
    assert 0 < took <= 4 * 0.005
