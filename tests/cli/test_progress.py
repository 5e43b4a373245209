"""What standard error shows of an export that runs."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from tracket_async.cli import progress

DAY = dt.date(2024, 5, 20)


class Clock:
    """Seconds, as many as a test says."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_without_a_terminal_nothing_is_said(capsys):
    with progress.meter("auto", "Exporting") as meter:
        meter.expect(10)
        meter.advance(10, DAY)
    assert capsys.readouterr() == ("", "")


def test_off_says_nothing_on_a_terminal_either(terminal):
    stderr = terminal("stderr")
    with progress.meter("off", "Exporting") as meter:
        meter.expect(10)
        meter.advance(10, DAY)
    assert stderr.text == ""


def test_a_bar_shows_count_total_and_rate(terminal):
    stderr = terminal("stderr")
    with progress.meter("auto", "Exporting") as meter:
        meter.expect(2000)
        meter.advance(1500, DAY)
        meter.advance(500, DAY)
    assert "Exporting" in stderr.text
    assert "2,000 of 2,000 worklogs" in stderr.text
    assert "2024-05-20" in stderr.text


def test_a_bar_without_a_total_shows_the_count_and_the_day_reached(terminal):
    stderr = terminal("stderr")
    with progress.meter("auto", "Exporting") as meter:
        meter.expect(None)
        meter.advance(1500, DAY)
    assert "1,500 worklogs" in stderr.text
    assert "2024-05-20" in stderr.text


def test_a_bar_shows_its_rate_per_second(terminal):
    terminal("stderr")
    with progress.meter("auto", "Exporting") as meter:
        task = meter._progress.tasks[0]
        assert progress.Rate().render(task).plain == ""
        task.finished_speed = 1234.5
        assert progress.Rate().render(task).plain == "1,234/s"


def said(capsys):
    out, err = capsys.readouterr()
    assert out == ""
    return [json.loads(line) for line in err.splitlines()]


def test_json_lines_come_once_a_second_and_at_the_end(capsys):
    clock = Clock()
    with progress.meter("json", "Exporting", clock=clock) as meter:
        meter.expect(300)
        clock.now += 0.999
        meter.advance(100, DAY)
        clock.now += 0.001
        meter.advance(100, DAY)
        clock.now += 1
        meter.advance(100, DAY + dt.timedelta(1))
        clock.now += 0.5
    start = {"event": "progress", "done": 0, "total": 300, "reached": None, "seconds": 0.0, "rate": None}
    assert said(capsys) == [
        start,
        {**start, "done": 200, "reached": "2024-05-20", "seconds": 1.0, "rate": 200.0},
        {**start, "done": 300, "reached": "2024-05-21", "seconds": 2.0, "rate": 150.0},
        {**start, "event": "end", "done": 300, "reached": "2024-05-21", "seconds": 2.5, "rate": 120.0},
    ]


def test_json_lines_end_after_a_failure_too(capsys):
    with pytest.raises(RuntimeError), progress.meter("json", "Exporting", clock=Clock()):
        raise RuntimeError
    assert [line["event"] for line in said(capsys)] == ["end"]
