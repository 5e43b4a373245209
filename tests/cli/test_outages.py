"""Outages: a server that has answered and then does not, for a while or for good."""

from __future__ import annotations

import functools
import json

import pytest

from tracket_async.cli import export
from tracket_async.emulator.faults import Status

pytestmark = pytest.mark.usefixtures("impatient", "quick")
WAITING = "tracket: waiting for the server: "


@pytest.fixture
def quick(monkeypatch):
    """An export looks again at once."""
    monkeypatch.setattr(export, "OutagePolicy", functools.partial(export.OutagePolicy, first_wait=0.001))


@pytest.fixture
def outage(serve, seed):
    """Makes a server whose answers from the third on are 503: so many of them."""

    def make(times):
        served = serve(seed=[seed(number) for number in range(5)])
        served.emulator.faults.add(Status(503), nth=list(range(3, 3 + times)))
        return served

    return make


@pytest.mark.parametrize("command", ["export", "sync"])
@pytest.mark.parametrize("progress", ["off", "auto"])
def test_a_wait_is_one_line_also_without_progress(tracket, outage, tmp_path, command, progress):
    outage(20)
    arguments = ("export", "-o", tmp_path / "a.csv") if command == "export" else ("sync", tmp_path / "a.duckdb")
    result = tracket(*arguments, "--progress", progress)
    assert result.code == 0, result.err
    assert result.err.count(WAITING) == 1
    assert "503" in next(line for line in result.err.splitlines() if line.startswith(WAITING))


def test_json_tells_that_it_waits_and_that_it_goes_on(tracket, outage, tmp_path):
    outage(20)
    result = tracket("sync", tmp_path / "a.duckdb", "--progress", "json")
    lines = [json.loads(line) for line in result.err.splitlines()]
    waits = [line["waiting"] for line in lines]
    assert any(wait is not None and "503" in wait for wait in waits)
    assert waits[-1] is None


@pytest.mark.parametrize("command", ["export", "sync"])
def test_giving_up_after_answers_had_come_ends_with_5(tracket, outage, tmp_path, command):
    outage(1000)
    arguments = ("export", "-o", tmp_path / "a.csv") if command == "export" else ("sync", tmp_path / "a.duckdb")
    result = tracket(*arguments, "--wait", "0s")
    assert result.code == 5
    assert "the export gives up, no answer for 0 s: " in result.err
    assert "Run the same again: it goes on where it was" in result.err


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("15min", 900), ("2H", 7200)])
def test_a_time_to_wait_has_a_unit(tracket, outage, tmp_path, monkeypatch, text, seconds):
    given = []
    policy = export.OutagePolicy
    monkeypatch.setattr(export, "OutagePolicy", lambda **settings: given.append(settings) or policy(**settings))
    outage(0)
    assert tracket("export", "-o", tmp_path / "a.csv", "--wait", text).code == 0
    assert given == [{"give_up_after": seconds}]


@pytest.mark.parametrize("text", ["", "soon", "1.5h", "-1", "1d"])
def test_a_time_to_wait_that_is_none_is_refused(tracket, tmp_path, text):
    result = tracket("export", "-o", tmp_path / "a.csv", f"--wait={text}")
    assert result.code == 2
    assert "--wait" in result.err
