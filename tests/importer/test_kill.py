"""A real import process, killed with SIGKILL: the same command goes on, and no row is there twice or forgotten."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tracket_async.emulator import Emulator
from tracket_async.emulator.faults import CommitThenCut, ResponseFault, Status
from tracket_async.importer.journal import journal_path

SCRIPT = Path(__file__).with_name("import_children.py")
KILLED = -9
ROWS = 27

# The n-th time that an import passes a point; `import_children.py` says what the points are.
POINTS = {
    "write": (1, 2, 30),
    "torn": (1, 2, 30),
    "fsync": (1, 2, 7),
    "record_sent": (1, 14),
    "create": (1, 4, 27),
    "ok": (1, 20),
    "ambiguous": (1,),
    "reconcile": (1, 2),
    "look": (1, 2),
    "claimed": (1,),
    "close": (1,),
    "cut": (1,),
}


class Killing(ResponseFault):
    """The server kills its client: when it has the request, or when it has carried it out and not yet answered."""

    kind = "killing"

    def __init__(self, kill, *, commit):
        self._kill, self._commit = kill, commit

    async def apply(self, exchange):
        if not self._commit:
            self._kill()
        await exchange.execute()
        if self._commit:
            self._kill()
        connection = exchange.take_over_connection()
        await connection.reset()
        return exchange.disconnected(None)


class ImportChildren:
    """Import in child processes that die."""

    def __init__(self, process, emulator, api, folder):
        self.process, self.emulator, self.api, self.folder = process, emulator, api, folder
        self.route = "/worklogs" if api == "1.0" else "/timeEntries"
        self.pid, self.runs, self.kills = None, 0, 0

    def kill(self, *_):
        os.kill(self.pid, signal.SIGKILL)

    async def load(self, path, *arguments, wait=0.02, **order):
        """Runs one import; its exit code, and what it printed goes to ``said``."""
        self.runs += 1
        out, err = self.folder / "out", self.folder / "err"
        order |= {
            "wait": wait,
            "environ": self.emulator.env("1.0") | {"TRACKET_API": self.api},
            "arguments": ["import", str(path), "--json", "--concurrency=4", *arguments],
            "out": str(out),
            "err": str(err),
        }
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.pid = int(await self.process.stdout.readline())
        code = int(await self.process.stdout.readline())
        self.kills += code == KILLED
        self.said = out.read_text(encoding="utf-8") + err.read_text(encoding="utf-8")
        assert code in {KILLED, 0, 1}, self.said
        while self.emulator.request_log.in_progress:  # noqa: ASYNC110 - what was on its way when it died
            await asyncio.sleep(0.001)
        return code

    async def verify(self, path, rows):
        """Goes on to the end, first without and then with sending again what is ambiguous."""
        self.emulator.faults.clear()
        code = await self.load(path)
        report = json.loads(self.said.splitlines()[0])
        assert report["done"] + report["already"] + report["ambiguous"] == report["rows"] == len(rows), self.said
        there = self.emulator.worklogs()
        assert code == (1 if report["ambiguous"] else 0)
        assert len(there) == len(rows) - report["ambiguous"]
        self.check(path, rows, there)
        if report["ambiguous"]:
            assert await self.load(path, "--resend-ambiguous") == 0, self.said
            there = self.emulator.worklogs()
            assert len(there) == len(rows)
            self.check(path, rows, there)

    def check(self, path, rows, there):
        """The journal's ids are those of the server, one for each row, with that row's content."""
        entries = [json.loads(line) for line in journal_path(path).read_bytes().splitlines()[1:]]
        created = {entry["line"]: entry["created_id"] for entry in entries if "created_id" in entry}
        found = {worklog["worklogId"]: worklog for worklog in there}
        assert sorted(created.values()) == sorted(found)
        for line, identifier in created.items():
            row, worklog = rows[line - 1], found[identifier]
            assert (worklog["worklogMinutes"], worklog["description"]) == (row["minutes"], row["description"])
            assert worklog["worklogCategory"] == row["category_id"]


@pytest.fixture
def children(tmp_path):
    """``async with children(api) as them``."""

    @asynccontextmanager
    async def run(api):
        async with Emulator(latency=0.002) as emulator:
            process = await asyncio.create_subprocess_exec(
                sys.executable, SCRIPT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
            try:
                assert await process.stdout.readline() == b"ready\n"
                yield ImportChildren(process, emulator, api, tmp_path)
            finally:
                process.stdin.close()
                await process.wait()

    return run


@pytest.fixture
def written(tmp_path):
    """Makes a file of rows of which some are alike, and others differ only in their category."""

    def make(name):
        rows = [
            {
                "item_id": "i",
                "user_id": "u",
                "date": f"2024-05-{1 + n % 3:02}",
                "minutes": 30 + n // 9,
                "description": name,
                "category_id": "abc"[n % 9 // 3],
            }
            for n in range(ROWS)
        ]
        path = tmp_path / f"{name}.ndjson"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path, rows

    return make


async def clear(emulator):
    for worklog in emulator.worklogs():
        emulator.delete(worklog["worklogId"])


async def killed_at_random(them, written, kills, seed):
    """Imports are killed after random times, several times each, under faults, until there were so many kills."""
    chance, number = random.Random(seed), 0
    begun = time.perf_counter()
    path, rows = written("clean")
    assert await them.load(path) == 0
    whole = time.perf_counter() - begun
    while them.kills < kills:
        await clear(them.emulator)
        number += 1
        path, rows = written(f"r{number}")
        for fault in (CommitThenCut(), Status(500), Status(503, commit=True)):
            them.emulator.faults.add(fault, method="POST", route=them.route, ratio=0.05)
        for _ in range(chance.randrange(1, 5)):
            again = ["--resend-ambiguous"] * chance.randrange(2)
            await them.load(path, *again, fuse=chance.uniform(0, whole))
        await them.verify(path, rows)


@pytest.mark.timeout(300)
async def test_an_import_killed_at_named_points_creates_every_row_once(children, written):
    async with children("2.0") as them:
        for point, nths in POINTS.items():
            for nth in nths:
                await clear(them.emulator)
                path, rows = written(f"{point}-{nth}")
                # Without faults, some points would never be passed.
                them.emulator.faults.add(CommitThenCut(), method="POST", route=them.route, nth={3, 26})
                them.emulator.faults.add(Status(500), method="POST", route=them.route, nth={5, 25})
                for after in (False, True):
                    # The second kill meets what the first has left; an import may end before it comes to the point.
                    await them.load(path, point=point, nth=nth, after=after)
                await them.verify(path, rows)
        assert them.kills >= 30


@pytest.mark.parametrize("api", ["1.0", "2.0"])
@pytest.mark.parametrize("commit", [False, True])
@pytest.mark.parametrize("nth", [1, ROWS])
async def test_an_import_killed_during_a_request_finds_its_row_again(children, written, api, commit, nth):
    async with children(api) as them:
        path, rows = written("served")
        them.emulator.faults.add(Killing(them.kill, commit=commit), method="POST", route=them.route, nth=nth)
        assert await them.load(path) == KILLED
        # Up to three more were on their way; whichever came to be has to be found.
        assert them.emulator.count >= nth if commit else nth - 4
        await them.verify(path, rows)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("api", ["1.0", "2.0"])
async def test_an_import_killed_at_random_creates_every_row_once(children, written, api):
    async with children(api) as them:
        await killed_at_random(them, written, kills=8, seed=api)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("api", ["1.0", "2.0"])
async def test_an_import_killed_hundreds_of_times_creates_every_row_once(children, written, api):
    async with children(api) as them:
        await killed_at_random(them, written, kills=200, seed=f"soak {api}")
        print(f"API {api}: {them.kills} kills in {them.runs} runs")  # noqa: T201 - the figure
