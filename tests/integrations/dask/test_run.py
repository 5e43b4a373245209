"""An export by the workers of a cluster: the same bytes, and every way in which a cluster can fail."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from concurrent.futures import CancelledError
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest

pytest.importorskip("distributed")

from distributed import Client, Security
from distributed.scheduler import KilledWorker

from tests.integrations.dask.clusters import WARNINGS, cluster_in_this_process, digest, exported, request_for
from tracket_async.emulator import Emulator
from tracket_async.errors import (
    ClientStateError,
    ExportError,
    MissingExtraError,
    StorageError,
    TargetBusyError,
    UsageError,
)
from tracket_async.export.phases import Settings
from tracket_async.integrations import dask
from tracket_async.integrations.dask import run, worker

SAMPLES = Path(__file__).parents[2] / "samples" / "http"

pytestmark = [pytest.mark.filterwarnings(each) for each in WARNINGS]


@pytest.fixture
async def cluster():
    async with cluster_in_this_process() as cluster:
        yield cluster


class Exports:
    """Exports of one emulator by one cluster into one folder."""

    def __init__(self, emulator, folder, cluster):
        self.environ = emulator.env("2.0")
        self.folder = folder
        self.target = folder / "out.parquet"
        self.scheduler = cluster.scheduler_address
        self.statuses = []
        self.progress = []

    async def run(self, **more):
        settings = {
            "folder": self.folder / "parts",
            "scheduler": self.scheduler,
            "rows_per_part": 300,
            "on_status": self.statuses.append,
            "how": Settings(concurrency=2, on_progress=self.progress.append),
        }
        return await dask.export(self.environ, {self.target: "parquet"}, request_for(self.environ), **(settings | more))


@pytest.fixture
async def exports(cluster, tmp_path):
    async with Emulator(sample=1_500) as emulator:
        made = Exports(emulator, tmp_path, cluster)
        made.emulator, made.cluster = emulator, cluster
        yield made


@pytest.fixture
def parts(monkeypatch):
    """Replace what a worker does with a part by an async function of its number, its folder and its settings."""

    def replace(function):
        async def write_part(client, plan, number, folder, *, settings, keep_bad_rows):
            found = await function(number, settings)
            return found or await real(client, plan, number, folder, settings=settings, keep_bad_rows=keep_bad_rows)

        real = worker.write_part
        monkeypatch.setattr(worker, "write_part", write_part)

    return replace


@pytest.mark.parametrize("api", ["1.0", "2.0"])
async def test_the_bytes_are_those_of_one_machine(exports, tmp_path, api):
    expected = await exported(exports.emulator.env(api), tmp_path / "one.parquet")
    exports.environ = exports.emulator.env(api)
    tokens = exports.emulator.token_requests
    result = await exports.run()
    assert digest(exports.target) == expected
    assert (result.worklogs, result.resumed) == (1_500, 0)
    assert exports.emulator.token_requests - tokens <= 1
    last = exports.statuses[-1]
    assert last.parts == last.parts_done > 3
    assert (last.workers, last.refusals, last.rate, last.paused_for, last.waiting) == (2, 0, None, 0, {})
    assert last.permits >= 15
    fetched = [each for each in exports.progress if each.phase == "fetching"]
    assert (fetched[-1].done, fetched[-1].active, fetched[-1].waiting) == (1_500, 0, None)
    assert not list((tmp_path / "parts").glob("part-*"))


async def test_a_cancelled_export_leaves_no_task_and_goes_on_where_it_was(exports, parts):
    arrived, numbers = asyncio.Event(), []

    async def hang(number, _settings):
        if number >= 2:
            numbers.append(number)
            arrived.set()
            await asyncio.Event().wait()

    parts(hang)
    exporting = asyncio.create_task(exports.run())
    await arrived.wait()
    while not list((exports.folder / "parts").glob("part-0000[01]-*.parquet")):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    exporting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exporting
    assert not exports.target.exists()
    while exports.cluster.scheduler.tasks:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert exports.cluster.scheduler.plugins["tracket-async"]._jobs == {}


async def test_parts_that_are_there_are_not_read_again(exports, parts, tmp_path):
    full = [True]

    async def fail(number, _settings):
        if full and number == 3:
            raise StorageError("no space left on device")

    expected = await exported(exports.environ, tmp_path / "one.parquet")
    parts(fail)
    with pytest.raises(StorageError, match="no space left"):
        await exports.run()
    full.clear()
    there = len(list((tmp_path / "parts").glob("part-*.parquet")))
    result = await exports.run()
    assert (result.resumed > 0) == (there > 0)
    assert digest(exports.target) == expected


async def test_an_error_of_a_part_ends_the_export_at_once(exports, parts):
    tried = []

    async def fail(number, _settings):
        tried.append(number)
        raise StorageError(f"part {number} cannot be written")

    parts(fail)
    with pytest.raises(StorageError, match="cannot be written"):
        await exports.run()
    assert len(tried) == len(set(tried))


@pytest.mark.parametrize("lost", [OSError("connection lost"), "killed"])
async def test_a_part_whose_worker_died_is_given_to_another(exports, parts, tmp_path, lost):
    left = [1] * run.RESUBMISSIONS

    async def die(number, _settings):
        if number == 1 and left:
            left.pop()
            raise KilledWorker("part", SimpleNamespace(address="tcp://127.0.0.1:1"), 3) if lost == "killed" else lost

    expected = await exported(exports.environ, tmp_path / "one.parquet")
    parts(die)
    await exports.run()
    assert digest(exports.target) == expected


async def test_a_part_that_its_workers_die_of_is_given_up(exports, parts):
    tried = []

    async def die(number, _settings):
        if number == 0:
            tried.append(number)
            raise KilledWorker("part", SimpleNamespace(address="tcp://127.0.0.1:1"), 3)

    parts(die)
    with pytest.raises(ExportError, match=r"Part 0 \(\.\.\d{4}-\d\d-\d\d\) is given up"):
        await exports.run()
    assert len(tried) == 1 + run.RESUBMISSIONS


async def test_a_scheduler_that_answers_no_more_ends_the_export(exports, parts, monkeypatch):
    monkeypatch.setattr(run, "STATUS_EVERY", 0.01)
    gone = []

    def asking(scheduler, job):
        async def ask(question, **given):
            if gone and question in {"status", "end"}:
                raise OSError("connection refused")
            return await real(question, **given)

        real = worker.asking(scheduler, job)
        return ask

    async def die(_number, _settings):
        gone.append(True)
        await asyncio.Event().wait()

    monkeypatch.setattr(run, "asking", asking)
    parts(die)
    with pytest.raises(ExportError, match="The Dask scheduler is gone: connection refused"):
        await exports.run()


@pytest.mark.parametrize("error", [CancelledError("connection lost"), ClientStateError("no such export")])
async def test_a_scheduler_that_has_lost_the_tasks_ends_the_export(exports, parts, error):
    async def lose(_number, _settings):
        raise error

    parts(lose)
    with pytest.raises(ExportError, match=f"The Dask scheduler is gone: {error}"):
        await exports.run()


@pytest.mark.parametrize(("fails", "why"), [(True, "Nanny failed"), (False, "it takes too long")])
async def test_workers_that_cannot_be_started_are_an_error(tmp_path, monkeypatch, fails, why):
    @contextlib.asynccontextmanager
    async def start(**_settings):
        if fails:
            raise RuntimeError("Nanny failed to start.")
        yield await asyncio.Event().wait()

    monkeypatch.setattr(run._DASK, "LocalCluster", start)
    monkeypatch.setattr(run, "WORKERS_WITHIN", 0.01)
    monkeypatch.setattr(run, "START_WITHIN", 0.0)
    with pytest.raises(ExportError, match=f"could not be started: {why}"):
        await dask.export({}, {tmp_path / "a.csv": "csv"}, None, folder=tmp_path / "parts", workers=1)


async def test_a_connection_that_is_lost_ends_the_export(exports, parts, monkeypatch):
    monkeypatch.setattr(run, "STATUS_EVERY", 0.01)

    async def lose(_number, _settings):
        [client] = [each for each in Client._instances if each.futures]
        client.status = "connecting"
        await asyncio.Event().wait()

    parts(lose)
    with pytest.raises(ExportError, match="The Dask scheduler is gone: its connection is lost"):
        await exports.run()


async def test_why_workers_wait_is_told(exports, parts, monkeypatch):
    monkeypatch.setattr(run, "STATUS_EVERY", 0.01)

    async def wait(_number, settings):
        settings.on_waiting("no answer")
        while not exports.statuses or not exports.statuses[-1].waiting:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        settings.on_waiting(None)

    parts(wait)
    await exports.run()
    waiting = {each.waiting for each in exports.progress} - {None}
    assert any("tcp://127.0.0.1:" in each and each.endswith(": no answer") for each in waiting)


async def test_without_listeners_nothing_is_told(exports):
    result = await exports.run(on_status=None, how=None)
    assert result.worklogs == 1_500


async def test_a_cluster_with_tls_is_used_with_its_files(tmp_path):
    ca, key = SAMPLES / "certificate.pem", SAMPLES / "key.pem"
    of_all = {
        f"tls_{who}_{what}": str(file)
        for who in ("scheduler", "worker", "client")
        for what, file in (("cert", ca), ("key", key))
    }
    security = Security(tls_ca_file=str(ca), require_encryption=True, **of_all)
    async with (
        Emulator(sample=300) as emulator,
        cluster_in_this_process(1, protocol="tls://", security=security) as cluster,
    ):
        exports = Exports(emulator, tmp_path, cluster)
        assert exports.scheduler.startswith("tls://")
        assert (await exports.run(tls=dask.TLSFiles(ca=ca, cert=ca, key=key))).worklogs == 300


async def test_the_code_of_the_docs_runs(exports, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, value in exports.environ.items():
        monkeypatch.setenv(name, value)
    page = (Path(__file__).parents[3] / "docs" / "pages" / "how-to" / "dask.md").read_text(encoding="utf-8")
    namespace = {"__name__": "docs"}
    exec(page.partition("```python\n")[2].partition("```")[0], namespace)
    await namespace["main"](exports.scheduler, str(tmp_path / "parts"))
    assert capsys.readouterr().out.endswith("1 of 1 parts, None requests/s\n1500 verified\n")


def test_a_cluster_without_workers_is_why_it_waits():
    status = run.ClusterStatus(
        parts=1, parts_done=0, workers=0, permits=0, refusals=0, rate=None, paused_for=0, token_calls=0, waiting={}
    )
    assert run._why(status) == "the cluster has no worker"


# -- what is refused ----------------------------------------------------------------------------------------------


async def test_a_second_export_into_the_same_folder_is_refused_at_once(exports, parts):
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_number, _settings):
        arrived.set()
        await go_on.wait()

    parts(wait)
    first = asyncio.create_task(exports.run())
    await arrived.wait()
    with pytest.raises(TargetBusyError, match="is the folder of another export"):
        await exports.run()
    go_on.set()
    assert (await first).worklogs == 1_500


@pytest.mark.parametrize("where", [{}, {"scheduler": "tcp://127.0.0.1:8786", "workers": 2}])
async def test_a_scheduler_or_a_number_of_workers_is_given(tmp_path, where):
    with pytest.raises(UsageError, match="Give either"):
        await dask.export({}, {tmp_path / "a.csv": "csv"}, None, folder=tmp_path / "parts", **where)


async def test_targets_are_checked_before_anything_else(tmp_path):
    with pytest.raises(UsageError, match="at least one file"):
        await dask.export({}, {}, None, folder=tmp_path / "parts", workers=1)
    assert not (tmp_path / "parts").exists()


async def test_a_number_of_workers_is_at_least_one(tmp_path):
    with pytest.raises(UsageError, match="workers must be at least 1"):
        await dask.export({}, {tmp_path / "a.csv": "csv"}, None, folder=tmp_path / "parts", workers=0)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:8786", "tcp://[::1]:8786", "tcp://localhost:1", "tls://a.b:8786"])
def test_an_address_on_this_machine_or_with_tls_is_taken(address):
    run.check_address(address)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("tcp://10.0.0.7:8786", "beyond this machine"),
        ("tcp://example.org:8786", "beyond this machine"),
        ("tcp://[2001:db8::1]:8786", "beyond this machine"),
        ("tcp://0.0.0.0:8786", "beyond this machine"),
        ("127.0.0.1:8786", "is no address"),
        ("ws://127.0.0.1:8786", "is no address"),
        ("", "is no address"),
    ],
)
async def test_other_addresses_are_refused(tmp_path, address, why):
    with pytest.raises(UsageError, match=why):
        await dask.export({}, {tmp_path / "a.csv": "csv"}, None, folder=tmp_path / "parts", scheduler=address)


async def test_a_scheduler_that_listens_beyond_this_machine_is_refused(exports, monkeypatch):
    monkeypatch.setattr(run, "_described", lambda dask_scheduler: (["tcp://10.0.0.7:8786"], worker.versions()))
    with pytest.raises(UsageError, match=r"tcp://10\.0\.0\.7:8786 is beyond this machine"):
        await exports.run()
    assert "tracket-async" not in exports.cluster.scheduler.plugins  # it was given nothing


async def test_a_scheduler_of_another_version_is_refused(exports, monkeypatch):
    other = worker.versions() | {"tracket-async": "0.0.1"}
    monkeypatch.setattr(run, "_described", lambda dask_scheduler: ([], other))
    with pytest.raises(UsageError, match=r"The scheduler has tracket-async 0\.0\.1, and this process has \d"):
        await exports.run()


async def test_a_worker_of_another_version_that_comes_later_is_refused(exports, monkeypatch):
    other = worker.versions() | {"distributed": "1.2"}
    monkeypatch.setattr(worker, "versions", lambda: other)
    with pytest.raises(UsageError, match=r"The worker tcp://127.* has distributed 1\.2, and this process has \d"):
        await exports.run()


async def test_a_process_without_this_package_is_refused(exports, monkeypatch):
    def described(dask_scheduler):
        raise ModuleNotFoundError("No module named 'tracket_async'")

    monkeypatch.setattr(run, "_described", described)
    with pytest.raises(UsageError, match="cannot import tracket-async") as caught:
        await exports.run()
    assert "Install tracket-async[dask]" in str(caught.value)


async def test_without_a_scheduler_the_export_ends(tmp_path, unused_tcp_port_factory, monkeypatch):
    monkeypatch.setattr(run, "WORKERS_WITHIN", 0.2)
    address = f"tcp://127.0.0.1:{unused_tcp_port_factory()}"
    with pytest.raises(ExportError, match="There is no Dask scheduler with a worker at"):
        await dask.export({}, {tmp_path / "a.csv": "csv"}, None, folder=tmp_path / "parts", scheduler=address)


async def test_without_a_worker_the_export_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "WORKERS_WITHIN", 0.2)
    async with cluster_in_this_process(workers=0) as cluster:
        at = {"scheduler": cluster.scheduler_address, "folder": tmp_path / "parts"}
        with pytest.raises(ExportError, match="There is no Dask scheduler with a worker at"):
            await dask.export({}, {tmp_path / "a.csv": "csv"}, None, **at)


def test_without_distributed_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match="distributed"):
        _ = dask.export
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dask.nothing


# -- secrets ------------------------------------------------------------------------------------------------------


async def test_the_credentials_are_in_no_task_log_part_or_page_of_dask(tmp_path, caplog, parts):
    async with (
        Emulator(sample=900) as emulator,
        cluster_in_this_process() as cluster,
        aiohttp.ClientSession() as http,
    ):
        exports = Exports(emulator, tmp_path, cluster)
        exports.environ = emulator.env("2.0")
        scheduler, shown = cluster.scheduler, []
        for logger in ("", "distributed", "distributed.core", "distributed.scheduler", "distributed.worker"):
            caplog.set_level(logging.DEBUG, logger=logger)

        async def look(_number, _settings):
            for page in ("info/main/workers.html", "info/logs.html", "json/identity.json", "metrics", "health"):
                async with http.get(f"http://127.0.0.1:{scheduler.http_server.port}/{page}") as response:
                    shown.append(f"{page} {response.status} {await response.text()}")
            shown.extend(repr((task, task.run_spec, task.annotations)) for task in scheduler.tasks.values())
            shown.append(str(scheduler.get_events()))

        parts(look)
        await exports.run(keep_parts=True)
        shown += [str(scheduler.get_logs()), *(str(each.get_logs()) for each in cluster.workers.values())]
        shown += [record.getMessage() for record in caplog.records]
        files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        secrets = [exports.environ["TRACKET_CLIENT_SECRET"], emulator.token]
        assert len(files) > 3
        assert any("read_part" in each for each in shown)
        assert any(each.startswith("Message from") and "***" in each for each in shown)
        for secret in secrets:
            assert [each for each in shown if secret in each] == []
            assert [each for each in files if secret.encode() in each] == []
