"""Exports by processes of their own, from a server in another one: the same bytes, whatever is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("distributed")

from dask import config
from distributed import Status

from tests.integrations.dask.clusters import WARNINGS, cluster_of_processes, digest, exported, request_for
from tracket_async.errors import ExportError, UsageError
from tracket_async.integrations import dask
from tracket_async.integrations.dask import run

pytestmark = [*(pytest.mark.filterwarnings(each) for each in WARNINGS), pytest.mark.timeout(300)]
SERVER = Path(__file__).with_name("server.py")


@contextlib.contextmanager
def running(*command):
    """Run a program until the block ends."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, *map(str, command)], **quiet)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def until(found, process=None):
    """Wait until ``found()`` is true, and return it."""
    while not (what := found()):
        assert process is None or process.poll() is None, "it has ended"
        await asyncio.sleep(0.05)
    return what


@pytest.fixture
async def serve(tmp_path):
    """``await serve(sample, rate)``: the settings of a server in a process of its own, for each version of the API."""
    with contextlib.ExitStack() as stack:

        async def start(sample, rate=None):
            file = tmp_path / "server.json"
            arguments = [] if rate is None else [rate]
            process = stack.enter_context(running(SERVER, file, sample, *arguments))
            return json.loads(await until(lambda: file.exists() and file.read_text(), process))

        yield start


@pytest.mark.parametrize("api", ["1.0", "2.0"])
async def test_processes_of_this_machine_write_the_bytes_of_one(serve, tmp_path, api):
    environ = (await serve(40_000))[api]
    expected = await exported(environ, tmp_path / "one.parquet")
    target, statuses = tmp_path / "many.parquet", []
    result = await dask.export(
        environ,
        {target: "parquet"},
        request_for(environ),
        folder=tmp_path / "parts",
        workers=2,
        rows_per_part=4_000,
        on_status=statuses.append,
    )
    assert result.worklogs == 40_000
    assert digest(target) == expected
    assert statuses[-1].parts > 3
    assert statuses[-1].token_calls == (api == "2.0")


def test_a_program_that_starts_workers_without_a_guard_is_told(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import asyncio, sys\n"
        "from tracket_async.integrations import dask\n"
        "asyncio.run(dask.export({}, {sys.argv[1]: 'csv'}, None, folder=sys.argv[2], workers=1))\n"
    )
    command = [sys.executable, program, tmp_path / "a.csv", tmp_path / "parts"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert ended.returncode == 1
    assert "UsageError: A worker that is being started runs the program that starts it" in ended.stderr
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("tracket_async.errors.ExportError: The workers could not be started")
    assert run.GUARD in last


def test_a_worker_that_is_being_started_exports_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    exporting = dask.export({}, {tmp_path / "a.csv": "csv"}, None, folder=tmp_path / "parts", workers=1)
    with pytest.raises(UsageError, match=re.escape(run.GUARD)):
        asyncio.run(exporting)
    assert not list(tmp_path.iterdir())


def is_working(nanny, scheduler):
    """Whether its worker has started and registered: a nanny gives up one that dies while it starts."""
    process = nanny.process
    running = process is not None and nanny.status is process.status is Status.running
    return running and process.worker_address in scheduler.workers


async def kill_workers(environ, folder, expected, kills, seed):
    """Kill a worker at random so many times while exports run, one after the other; returns what was seen."""
    chance, killed, seen = random.Random(seed), 0, []
    async with cluster_of_processes() as cluster:
        while killed < kills:
            target, statuses, began, permits = folder / "out.parquet", [], killed, 0
            exporting = asyncio.create_task(
                dask.export(
                    environ,
                    {target: "parquet"},
                    request_for(environ),
                    folder=folder / "parts",
                    scheduler=cluster.scheduler_address,
                    rows_per_part=1_500,
                    on_status=statuses.append,
                )
            )
            while not exporting.done() and killed < kills:
                await asyncio.sleep(chance.uniform(0.0, 2.0))
                alive = [each for each in cluster.workers.values() if is_working(each, cluster.scheduler)]
                if alive and not exporting.done() and statuses and statuses[-1].permits > permits:
                    permits = statuses[-1].permits  # what is killed next has read something
                    os.kill(chance.choice(alive).pid, signal.SIGKILL)
                    killed += 1
            await exporting
            assert digest(target) == expected
            target.unlink()
            seen.append((killed - began, statuses[-1]))
    return seen


async def test_workers_that_are_killed_20_times_change_no_byte(serve, tmp_path):
    environ = (await serve(15_000))["2.0"] | {"TRACKET_RATE": "60"}
    expected = await exported(environ, tmp_path / "one.parquet")
    seen = await kill_workers(environ, tmp_path, expected, 20, seed=1)
    assert sum(killed for killed, _ in seen) == 20


@pytest.mark.soak
@pytest.mark.timeout(3_600)
async def test_workers_that_are_killed_200_times_change_no_byte(serve, tmp_path):
    environ = (await serve(40_000))["2.0"] | {"TRACKET_RATE": "60"}
    expected = await exported(environ, tmp_path / "one.parquet")
    for killed, status in await kill_workers(environ, tmp_path, expected, 200, seed=2):
        print(killed, status)  # noqa: T201


async def kill_readers_of(number, cluster, export):
    """Kill each worker that reads this part, while an export runs; returns the tasks that it was of."""
    killed = set()
    while not export.done():
        await asyncio.sleep(0.02)
        readers = {key: task.processing_on for key, task in cluster.scheduler.tasks.items()}
        for key, reader in readers.items():
            if reader is None or key in killed or not re.fullmatch(rf"tracket-part-\w+-{number}-\d", str(key)):
                continue
            for nanny in cluster.workers.values():
                if is_working(nanny, cluster.scheduler) and nanny.worker_address == reader.address:
                    os.kill(nanny.pid, signal.SIGKILL)
                    killed.add(key)
    return killed


async def test_a_part_whose_workers_die_each_time_ends_the_export(serve, tmp_path):
    environ = (await serve(15_000))["2.0"]
    expected = await exported(environ, tmp_path / "one.parquet")
    target = tmp_path / "out.parquet"

    async def export(cluster, rate):
        return await dask.export(
            environ | {"TRACKET_RATE": rate},
            {target: "parquet"},
            request_for(environ),
            folder=tmp_path / "parts",
            scheduler=cluster.scheduler_address,
            rows_per_part=1_500,
        )

    with config.set({"distributed.scheduler.allowed-failures": 0}):  # three, as it is, takes four times as long
        async with cluster_of_processes() as cluster:
            exporting = asyncio.create_task(export(cluster, "10"))
            killed = await kill_readers_of(2, cluster, exporting)
            with pytest.raises(
                ExportError, match=r"Part 2 \([-\d.]+\) is given up, as its workers ended again"
            ) as caught:
                await exporting
            assert len(killed) == 3
            assert "The next export with this folder goes on with the parts there" in str(caught.value)
            assert not target.exists()
            result = await export(cluster, "1000")
    assert digest(target) == expected
    assert result.resumed > 0


async def test_a_scheduler_that_is_killed_costs_nothing_but_a_second_run(serve, tmp_path):
    environ = (await serve(15_000))["2.0"]
    expected = await exported(environ, tmp_path / "one.parquet")
    target, parts, statuses = tmp_path / "out.parquet", tmp_path / "parts", []

    async def export(scheduler, rate):
        return await dask.export(
            environ | {"TRACKET_RATE": rate},
            {target: "parquet"},
            request_for(environ),
            folder=parts,
            scheduler=scheduler,
            rows_per_part=1_500,
            on_status=statuses.append,
        )

    async with scheduler_of_its_own(tmp_path) as (address, process):
        exporting = asyncio.create_task(export(address, "30"))
        await until(lambda: statuses and statuses[-1].parts_done)
        process.kill()
        with pytest.raises(ExportError, match="The Dask scheduler is gone") as caught:
            await exporting
        assert "the export goes on with the parts that are there" in str(caught.value)
        assert list(parts.glob("part-*.parquet"))
    async with scheduler_of_its_own(tmp_path) as (address, _process):
        result = await export(address, "1000")
    assert digest(target) == expected
    assert result.resumed > 0


@contextlib.asynccontextmanager
async def scheduler_of_its_own(folder):
    """A scheduler and a worker as the documentation starts them; the scheduler's address and process."""
    file = folder / "scheduler.json"
    file.unlink(missing_ok=True)
    listening = ("--host", "127.0.0.1", "--port", 0, "--dashboard-address", "127.0.0.1:0", "--scheduler-file", file)
    with running("-m", "distributed.cli.dask_scheduler", *listening) as scheduler:
        address = json.loads(await until(lambda: file.exists() and file.read_text(), scheduler))["address"]
        network = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0")
        working = (*network, "--no-nanny", "--nthreads", 1, "--local-directory", folder)
        with running("-m", "distributed.cli.dask_worker", address, *working):
            yield address, scheduler
