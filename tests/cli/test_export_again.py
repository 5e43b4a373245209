"""``tracket export`` over a store that an earlier run has left: the verdict is about the run that says it."""

from __future__ import annotations

import contextlib
import csv
import signal
import subprocess
import sys

import pytest

from tracket_async._files import atomic_write
from tracket_async.emulator.faults import Status
from tracket_async.errors import StorageError
from tracket_async.export import writers

DIES_BEFORE_IT_DISCARDS = """
import os, signal, sys
from tracket_async.cli import main
from tracket_async.export.store import Store
Store.discard = lambda _store: os.kill(os.getpid(), signal.SIGKILL)
main(sys.argv[1:])
"""


def minutes_in(path):
    with path.open(encoding="utf-8", newline="") as file:
        return {row["id"]: float(row["minutes"]) for row in csv.DictReader(file)}


@contextlib.contextmanager
def full(target):
    """A disk that has room for one file."""
    if target.name != "first.csv":
        raise StorageError(f"{target}: No space left on device")
    with atomic_write(target) as file:
        yield file


@pytest.fixture(params=["busy target", "full disk", "killed", "kept"])
def left(request, tracket, serve, seed, monkeypatch, tmp_path):
    """An emulator, a command that has left a store in phase ``done``, and its output. The server changes then."""
    served, out = serve(seed=[seed(number) for number in range(30)]), tmp_path / "out.csv"
    words = ["export", "-o", out]
    if request.param == "busy target":
        with atomic_write(out):
            result = tracket(*words)
        assert (result.code, "another process is writing" in result.err) == (1, True)
    elif request.param == "full disk":
        words[1:1] = ["-o", tmp_path / "first.csv"]
        with monkeypatch.context() as patched:
            patched.setattr(writers, "atomic_write", full)
            result = tracket(*words)
        assert (result.code, "No space left" in result.err, out.exists()) == (1, True, False)
    elif request.param == "killed":
        command = [sys.executable, "-c", DIES_BEFORE_IT_DISCARDS, *map(str, words)]
        assert subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == -signal.SIGKILL
        assert len(minutes_in(out)) == 30
    else:
        words += ["--store", tmp_path / "kept.resume"]
        assert tracket(*words).code == 0
    served.ask(served.emulator.update, "wl-003", {"worklogMinutes": 1})
    served.ask(served.emulator.delete, "wl-004")
    return served, words, out


@pytest.mark.parametrize("order", ["descending", "unsorted", "ascending"])
@pytest.mark.parametrize("refused", [{1}, {2, 9}])
@pytest.mark.parametrize("interrupted", [None, 6])
def test_a_refused_cursor_costs_no_worklog_in_any_order(
    tracket, hostile, monkeypatch, tmp_path, order, refused, interrupted
):
    """1,250 worklogs, newest first, and one 410: 250 were written once, and the exit code was 0."""
    hostile.add(*hostile.make_rows(1250))
    hostile.order, hostile.refused_cursors = order, refused
    hostile.fail = lambda _request: 403 if len(hostile.requests) == interrupted else None
    for name, value in hostile.env("1.0").items():
        monkeypatch.setenv(name, value)
    out = tmp_path / "out.csv"
    command = ("export", "-o", out, "--concurrency=2")
    if interrupted is not None:
        result = tracket(*command)
        assert (result.code, "To resume: " in result.err) == (7, True)
    result = tracket(*command)
    assert result.code == 0, result.err
    assert minutes_in(out) == {row.id: row.minutes for row in hostile.rows.values()}
    assert len(out.read_text(encoding="utf-8").splitlines()) == 1251
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


@pytest.mark.parametrize("arguments", [(), ("-o", "out.csv")])
def test_the_first_page_again_for_every_cursor_ends_an_export(tracket, hostile, monkeypatch, tmp_path, arguments):
    hostile.add(*hostile.make_rows(600))
    hostile.cursor_name = "page"
    for name, value in hostile.env("1.0").items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    result = tracket("export", *arguments)
    assert result.code == 1
    assert "The server sent the same page again for another cursor" in result.err
    assert "set cursor_parameter, --v1-cursor-parameter or TRACKET_V1_CURSOR_PARAMETER" in result.err
    assert len(hostile.requests) <= 2 * 16 + 3
    assert not (tmp_path / "out.csv").exists()
    monkeypatch.setenv("TRACKET_V1_CURSOR_PARAMETER", "page")
    assert tracket("export", "-o", "out.csv").code == 0
    assert len(minutes_in(tmp_path / "out.csv")) == 600


def test_the_next_run_has_what_changed_since_and_verifies_it(tracket, left, tmp_path):
    _, words, out = left
    result = tracket(*words)
    assert result.code == 0, result.err
    assert "0 added, 1 changed, 1 removed while it ran; verified: as many as the server counts" in result.err
    found = minutes_in(out)
    assert (len(found), found["wl-003"], "wl-004" in found) == (29, 1.0, False)
    assert [path.name for path in tmp_path.glob("*.resume")] == ["kept.resume"] * ("--store" in words)


@pytest.mark.usefixtures("impatient")
def test_without_the_server_the_file_is_as_of_the_last_check_and_not_verified(tracket, left):
    served, words, out = left
    served.emulator.faults.add(Status(503))
    result = tracket(*words)
    assert result.code == 1
    assert result.out == ""
    note, summary, error = result.err.splitlines()
    assert " was complete already, so the files show the worklogs as of 20" in note
    assert summary.endswith("; not verified.")
    assert error.startswith("tracket: Not verified: the server does not answer: ")
    assert "Run the same again when it does: tracket export" in error
    found = minutes_in(out)
    assert (len(found), found["wl-003"]) == (30, 33.0)
    served.ask(served.emulator.faults.clear)
    assert "verified: as many as the server counts" in tracket(*words).err
    assert len(minutes_in(out)) == 29
