"""``tracket export --dask`` and ``--workers``: what is passed on, said and refused. No `distributed` is needed."""

from __future__ import annotations

from types import SimpleNamespace

import attrs
import pytest

pytest.importorskip("pyarrow")

from tracket_async.client import TracketClient
from tracket_async.export.run import export_to_files
from tracket_async.integrations import dask

STATUS = SimpleNamespace(
    parts=3, parts_done=3, workers=2, permits=1_213, refusals=4, rate=None, paused_for=7.0, token_calls=1, waiting={}
)


@pytest.fixture
def by_one_process(monkeypatch):
    """Replace the export on Dask by one of this process; returns what each was called with."""
    calls = []

    async def export(environ, targets, request, *, folder, how, on_status, file_options, store, keep_store, **more):
        calls.append({"environ": environ, "folder": folder, "how": how, **more})
        folder.mkdir(exist_ok=True)
        if on_status is not None:
            on_status(calls[0].get("status", STATUS))
        if failure := calls[0].get("failure"):
            (folder / "part.parquet").touch()
            raise failure
        async with TracketClient.from_env(environ) as client:
            options = {"file_options": file_options, "store": store, "keep_store": keep_store}
            return await export_to_files(client, targets, request, how, **options)

    # Not setattr, which would look for what is there, and so import `distributed`.
    monkeypatch.setitem(vars(dask), "export", export)
    monkeypatch.setitem(vars(dask), "TLSFiles", lambda **files: files)
    return calls


def test_processes_of_this_machine_export_to_files(tracket, serve, tmp_path, by_one_process):
    serve(sample=20)
    result = tracket("export", "--workers", "2", "--output", tmp_path / "a.csv", "--concurrency", "2", "--no-proxy")
    assert (result.code, result.out) == (0, "")
    assert "Exported 20 worklogs" in result.err
    assert result.err.endswith("Parts: 3; workers: 2; requests: 1,213, 4 of them answered 429; 1 token call.\n")
    [call] = by_one_process
    assert (call["scheduler"], call["workers"], call["tls"], call["trust_env"]) == (None, 2, None, False)
    assert call["how"].concurrency == 2
    assert {path.name for path in tmp_path.iterdir()} == {"a.csv"}


def test_the_workers_of_a_scheduler_export_to_files(tracket, serve, tmp_path, by_one_process, monkeypatch):
    serve(sample=20)
    monkeypatch.setitem(vars(STATUS), "token_calls", 2)
    arguments = ("--dask", "tls://a.example:8786", "--parts", tmp_path / "parts")
    tls = ("--tls-ca", "ca.pem", "--tls-cert", "cert.pem", "--tls-key", "key.pem")
    result = tracket("export", *arguments, *tls, "--output", tmp_path / "a.csv", "--progress", "json")
    assert result.code == 0
    assert result.err.endswith("4 of them answered 429; 2 token calls.\n")
    [call] = by_one_process
    assert (call["scheduler"], call["workers"], call["folder"]) == ("tls://a.example:8786", None, tmp_path / "parts")
    assert {name: str(file) for name, file in call["tls"].items()} == {
        "ca": "ca.pem",
        "cert": "cert.pem",
        "key": "key.pem",
    }
    assert call["how"].concurrency == 4
    assert (tmp_path / "parts").exists()  # it is the user's


def test_nothing_is_said_if_nobody_wants_to_know(tracket, serve, tmp_path, by_one_process):
    serve(sample=20)
    assert tracket("export", "-q", "--workers", "2", "--output", tmp_path / "a.csv").err == ""


def test_an_export_that_ends_early_says_how_to_go_on(tracket, serve, tmp_path, by_one_process):
    serve(sample=20)
    by_one_process.append({"failure": KeyboardInterrupt()})
    result = tracket("export", "--workers", "2", "--output", tmp_path / "a.csv")
    assert result.code == 130
    assert f"What was fetched is kept in {tmp_path / 'a.csv.resume.parts'}. To resume: " in result.err
    assert "--workers 2" in result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--workers", "2"], "are for an export to files"),
        (["--workers", "0", "--output", "a.csv"], "at least 1"),
        (["--workers", "2", "--dask", "tcp://127.0.0.1:1", "--output", "a.csv"], "contradict each other"),
        (["--dask", "tcp://127.0.0.1:1", "--output", "a.csv"], "Give --parts FOLDER"),
        (["--parts", "b", "--output", "a.csv"], "--parts is for --dask or --workers"),
        (["--workers", "2", "--tls-ca", "a", "--tls-cert", "b", "--tls-key", "c", "--output", "a.csv"], "for --dask"),
        (["--dask", "tls://a:1", "--parts", "b", "--tls-ca", "a", "--output", "a.csv"], "TLS needs three files"),
    ],
)
def test_options_that_mean_nothing_are_refused(tracket, serve, tmp_path, monkeypatch, by_one_process, arguments, said):
    serve(sample=1)
    monkeypatch.chdir(tmp_path)
    result = tracket("export", *arguments)
    assert (result.code, by_one_process) == (2, [])
    assert said in result.err
    assert not list(tmp_path.iterdir())


def test_without_the_extra_for_stores_it_is_named(tracket, serve, tmp_path, no_extra, by_one_process):
    serve(sample=1)
    with no_extra():
        result = tracket("export", "--workers", "2", "--output", tmp_path / "a.csv")
    assert result.code == 2
    assert "pip install" in result.err
    assert by_one_process == []


def test_the_pause_of_all_is_that_of_the_display(serve, tmp_path):
    from tracket_async.cli.cluster import Cluster, ClusterExport
    from tracket_async.cli.options import Connection

    serve(sample=1)
    made = ClusterExport(Cluster(workers=2), Connection(), tmp_path / "a.resume")
    assert made.statistics().paused_for == 0
    made._keep(STATUS)
    assert made.statistics() == attrs.evolve(made.client.statistics(), paused_for=7.0)


def test_without_a_status_nothing_is_said(serve, tmp_path, capsys):
    from tracket_async.cli.cluster import Cluster, ClusterExport
    from tracket_async.cli.options import Connection
    from tracket_async.cli.progress import Reporting

    serve(sample=1)
    ClusterExport(Cluster(workers=2), Connection(), tmp_path / "a.resume").say(Reporting())
    assert capsys.readouterr().err == ""
