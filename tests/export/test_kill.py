"""A real export process, killed with SIGKILL: the same export goes on, and its files are those of one never killed."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tracket_async.emulator import Emulator

SCRIPT = Path(__file__).with_name("mortal.py")
KILLED, STORAGE = -9, 3
WORKLOGS = 700

# The n-th time that an export passes a point; `mortal.py` says what the points are.
POINTS = {
    "page": (1, 6),
    "append": (1, 3),
    "statement": (1, 7, 19, 33),
    "checkpoint": (1,),
    "deduplicate": (1,),
    "upsert": (1,),
    "set_meta": (1, 2),
    "read": (2, 9),
    "write": (1, 3),
    "close": (1,),
    "replace": (1, 2, 4),
    "unlink": (1, 2),
    "fsync": (1, 3, 5),
    "log": (1, 2),
}


# The same of an export in parts, which has all the others in its merge.
PART_POINTS = {
    "keep plan": (1,),
    "write part": (1, 4),
    "manifest": (1,),
    "forget plan": (1,),
    "clear": (1,),
    "append": (2,),
    "replace": (2, 5),
    "unlink": (5,),
}


class Mortals:
    """Starts exports that die."""

    def __init__(self, process, emulator, api):
        self.process, self.said, self.order = process, "", {"api": api, "url": emulator.url, "token": emulator.token}

    async def export(self, folder, **order):
        """Runs one export; its exit code, and what it said goes to ``said``."""
        folder.mkdir(exist_ok=True)
        line = json.dumps(self.order | {"folder": str(folder), "concurrency": 4} | order)
        self.process.stdin.write(line.encode() + b"\n")
        self.said = ""
        while code := (await self.process.stdout.readline()).decode().strip():
            if code.lstrip("-").isdigit():
                return int(code)
            self.said = code
        raise AssertionError("the process that forks has ended")


def digests(folder):
    """What is in the folder: names and SHA-256."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture
def mortals():
    """``async with mortals(api) as them``."""

    @asynccontextmanager
    async def run(api):
        async with Emulator(sample=WORKLOGS) as emulator:
            # Changed just now: on API 2.0 every export meets it once more when it looks for what changed.
            emulator.update(emulator.worklogs()[0]["worklogId"], {"worklogMinutes": 1})
            process = await asyncio.create_subprocess_exec(
                sys.executable, SCRIPT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
            try:
                assert await process.stdout.readline() == b"ready\n"
                yield Mortals(process, emulator, api)
            finally:
                process.stdin.close()
                await process.wait()

    return run


async def killed_at_every_named_point(them, tmp_path, points=POINTS, **order):
    """How many exports were killed; each went on and made the same files."""
    assert await them.export(tmp_path / "clean") == 0
    clean, kills = digests(tmp_path / "clean"), 0
    assert set(clean) == {"out.ndjson", "out.csv", "out.parquet"}
    for point, nths in points.items():
        for nth in nths:
            folder = tmp_path / f"{point}-{nth}"
            for after in (False, True):
                # The second kill meets what the first has left; an export may end before it comes to the point.
                code = await them.export(folder, point=point, nth=nth, after=after, **order)
                assert code in {KILLED, 0}, (point, nth, after)
                kills += code == KILLED
            assert await them.export(folder, **order) == 0, (point, nth)
            assert digests(folder) == clean, (point, nth)
    return kills


async def killed_at_random(them, tmp_path, kills, seed):
    """Exports are killed after random times, several times each, until there were so many kills."""
    chance, done, number = random.Random(seed), 0, 0
    begun = time.perf_counter()
    assert await them.export(tmp_path / "clean") == 0
    whole = time.perf_counter() - begun
    clean = digests(tmp_path / "clean")
    while done < kills:
        folder, number = tmp_path / f"r{number}", number + 1
        for _ in range(chance.randrange(1, 5)):
            done += (
                await them.export(folder, fuse=chance.uniform(0, whole), concurrency=chance.randrange(1, 9)) == KILLED
            )
        assert await them.export(folder) == 0
        assert digests(folder) == clean


@pytest.mark.timeout(300)
async def test_an_export_killed_at_named_points_ends_with_the_same_bytes(mortals, tmp_path):
    async with mortals("2.0") as them:
        assert await killed_at_every_named_point(them, tmp_path) >= 40


@pytest.mark.timeout(300)
async def test_an_export_in_parts_killed_at_named_points_ends_with_the_same_bytes(mortals, tmp_path):
    async with mortals("2.0") as them:
        assert await killed_at_every_named_point(them, tmp_path, PART_POINTS, rows_per_part=150) >= 16


@pytest.mark.timeout(300)
@pytest.mark.parametrize("api", ["1.0", "2.0"])
async def test_an_export_killed_at_random_ends_with_the_same_bytes(mortals, tmp_path, api):
    async with mortals(api) as them:
        await killed_at_random(them, tmp_path, kills=8, seed=api)


@pytest.mark.timeout(300)
async def test_an_export_that_runs_out_of_space_says_so_and_goes_on_when_there_is_some(mortals, tmp_path):
    """A limit on the size of files takes the place of a full disk: a write fails in the middle, as it would there."""
    async with mortals("2.0") as them:
        assert await them.export(tmp_path / "clean") == 0
        clean = digests(tmp_path / "clean")
        folder, failed = tmp_path / "full", 0
        for limit in (50, 20_000, 300_000, *range(540_000, 1_500_000, 80_000)):
            code = await them.export(folder, limit=limit)
            assert code in {0, STORAGE}, limit
            if code == 0:  # what is missing now fits
                assert digests(folder) == clean
                break
            failed += 1
            assert "File too large" in them.said
            assert "run the same again" in them.said
            assert set(digests(folder)) < {
                "out.ndjson",
                "out.csv",
                "out.parquet",
                "out.ndjson.resume",
                "out.ndjson.resume.wal",
            }, limit
        assert failed >= 5
        assert await them.export(folder) == 0
        assert digests(folder) == clean


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("api", ["1.0", "2.0"])
async def test_500_kills_lose_nothing_and_repeat_nothing(mortals, tmp_path, api):
    async with mortals(api) as them:
        await killed_at_every_named_point(them, tmp_path)
        await killed_at_random(them, tmp_path, kills=250, seed=api)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("api", ["1.0", "2.0"])
async def test_an_export_in_parts_survives_kills_everywhere(mortals, tmp_path, api):
    everywhere = {**POINTS, **PART_POINTS, "look for part": (1, 5), "replace": range(1, 18), "unlink": range(1, 14)}
    async with mortals(api) as them:
        await killed_at_every_named_point(them, tmp_path, everywhere, rows_per_part=100)
