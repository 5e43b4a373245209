"""Lines on standard error that are no progress: what was done, and what was left, with and without ``--quiet``."""

from __future__ import annotations

import contextlib
import json
import socket

import pytest

from tracket_async.cli import entry, export
from tracket_async.cli.app import NAMES
from tracket_async.emulator.faults import Reset, Status
from tracket_async.errors import AuthenticationError
from tracket_async.export.store import Store

REFUSED = AuthenticationError("401")
OUTPUTS = pytest.mark.parametrize("arguments", [(), ("-o", "out.csv")])


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Everything happens in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def nobody(monkeypatch):
    """The server of the environment is an address on which nobody listens."""
    with contextlib.closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))  # not to be taken by anybody else meanwhile
        monkeypatch.setenv("TRACKET_BASE_URL", f"http://127.0.0.1:{bound.getsockname()[1]}")
        monkeypatch.setenv("TRACKET_TOKEN", "secret")
        yield


@pytest.fixture
def rows(folder, seed):
    """A file of three worklogs."""
    (folder / "in.ndjson").write_text("".join(json.dumps(seed(n)) + "\n" for n in range(3)), encoding="utf-8")


@OUTPUTS
@pytest.mark.parametrize("progress", ["off", "auto", "json"])
def test_an_export_says_what_was_done_whatever_the_progress(tracket, serve, seed, arguments, progress):
    serve(seed=[seed(1)])
    result = tracket("export", *arguments, "--progress", progress)
    assert result.code == 0
    verdict = "; verified: as many as the server counts.\n" if arguments else "/s.\n"
    assert "Exported 1 worklog (0.5 h)" in result.err
    assert result.err.endswith(verdict)


@OUTPUTS
def test_an_export_without_the_extra_says_what_was_done_as_well(tracket, serve, seed, no_extra, arguments):
    serve(seed=[seed(1)])
    with no_extra():
        result = tracket("export", *arguments, "--progress", "off")
    assert "Exported 1 worklog (0.5 h)" in result.err


@pytest.mark.parametrize("option", ["-q", "--quiet"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("export", "-o", "out.csv"),
        ("sync", "store.duckdb", "-o", "out.csv"),
        ("watch", "store.duckdb", "--once"),
        ("report", "--html", "page.html"),
        ("update", "--from-file", "out.csv", "--yes"),
        ("delete", "--from-file", "out.csv", "--yes"),
        ("delete", "--user", "7", "--yes"),
        ("delete", "--user", "8", "--yes"),
        ("delete", "wl-001", "--yes"),
    ],
)
def test_quiet_says_nothing_of_what_was_done(tracket, serve, seed, arguments, option):
    serve(seed=[seed(number) for number in range(3)])
    if "out.csv" in arguments and "--from-file" in arguments:
        assert tracket("export", "-o", "out.csv", "--columns", "id,minutes").code == 0
    loud = ("sync", "store.duckdb") if arguments[0] == "watch" else ("check",)
    assert tracket(*loud).out != ""
    result = tracket(*arguments, option)
    assert (result.code, result.out, result.err) == (0, "", "")


@pytest.mark.usefixtures("rows")
def test_a_quiet_import_says_nothing_but_what_failed(tracket, serve):
    served = serve()
    served.emulator.faults.add(Status(422), method="POST", nth=2)
    failed = tracket("import", "in.ndjson", "-q")
    assert failed.code == 1
    assert "in.ndjson: 2 created, 1 failed in " in failed.err
    assert "  line 2: failed: " in failed.err
    done, again = tracket("import", "in.ndjson", "-q"), tracket("import", "in.ndjson", "-q")
    for result in (done, again):
        lines = [line for line in result.err.splitlines() if not line.startswith("Ignored columns")]
        assert (result.code, result.out, lines) == (0, "", [])
    assert served.count == 3


def test_a_quiet_delete_says_what_failed(tracket, serve, seed):
    served = serve(seed=[seed(number) for number in range(3)])
    served.emulator.faults.add(Status(403), method="DELETE", nth=2)
    result = tracket("delete", "--user", "7", "--yes", "-q")
    assert result.code == 1
    assert "Worklogs: 2 deleted, 1 failed in " in result.err


def test_a_quiet_sync_prints_the_json_that_was_asked_for_and_its_errors(tracket, serve, seed):
    served = serve(seed=[seed(1)])
    result = tracket("sync", "store.duckdb", "--json", "-q")
    assert json.loads(result.out)["worklogs"] == 1
    served.emulator.faults.add(Status(403))
    refused = tracket("sync", "store.duckdb", "-q")
    assert (refused.code, refused.out) == (7, "")
    assert refused.err.startswith("tracket: ")


def test_the_commands_with_quiet_are_those_whose_help_has_it(tracket):
    assert {name for name in NAMES if "--quiet" in tracket(name, "--help").out} == entry.WITH_QUIET


@pytest.mark.parametrize("arguments", [("export", "-o", "out.csv"), ("sync", "s.duckdb"), ("watch", "s.duckdb")])
@pytest.mark.usefixtures("nobody", "impatient")
def test_a_server_that_is_not_there_leaves_nothing_and_says_nothing_of_it(tracket, folder, arguments):
    result = tracket(*arguments)
    assert result.code in {1, 5}
    assert result.err.count("\n") == 1
    assert "kept" not in result.err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("arguments", [("export", "-o", "out.csv"), ("export", "-o", "out.csv", "--store", "s.duckdb")])
def test_a_token_that_is_refused_leaves_nothing_and_says_nothing_of_it(tracket, serve, folder, monkeypatch, arguments):
    serve(sample=10)
    monkeypatch.setenv("TRACKET_TOKEN", "wrong")
    result = tracket(*arguments)
    assert (result.code, result.err.count("\n")) == (7, 1)
    assert list(folder.iterdir()) == []


def test_a_store_that_was_complete_is_kept_without_a_word(tracket, serve, folder, monkeypatch):
    serve(sample=10)
    assert tracket("sync", "s.duckdb").code == 0
    monkeypatch.setenv("TRACKET_TOKEN", "wrong")
    result = tracket("sync", "s.duckdb")
    assert (result.code, result.err.count("\n")) == (7, 1)
    assert [path.name for path in folder.iterdir()] == ["s.duckdb"]


def test_a_store_that_cannot_be_looked_into_may_have_worklogs(tracket, serve, folder):
    serve(sample=10)
    assert tracket("sync", "s.duckdb").code == 0
    path = folder / "s.duckdb"
    with Store(path):
        assert export.has_worklogs(path, REFUSED)
        assert export.is_unfinished(path, REFUSED)
    assert export.has_worklogs(path, REFUSED)
    assert not export.is_unfinished(path, REFUSED)


def test_an_export_of_nothing_that_fails_late_has_nothing_to_resume(tracket, serve, folder):
    served = serve(seed=[])
    served.emulator.faults.add(Reset(), nth=[*range(3, 100)])
    result = tracket("export", "-o", "out.csv", "--wait", "0s")
    assert result.code == 5
    assert "kept" not in result.err
