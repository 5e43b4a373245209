"""The progress on standard error."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import re

import attrs
import pytest

from tracket_async.cli.progress import details, show_progress, words
from tracket_async.export.progress import Progress

MAY = dt.datetime(2024, 5, 20, 12, tzinfo=dt.UTC)
START = Progress(phase="fetching", done=100, resumed=100, total=300)


@attrs.define
class Session:
    """Its statistics are itself."""

    retries: int = 0
    paused_for: float = 0.0

    def __call__(self):
        return self


class Time:
    """Seconds as many as a test says; whoever sleeps is woken by `pass_`."""

    def __init__(self):
        self.now = 100.0
        self._waking = asyncio.Queue()
        self.asleep = asyncio.Event()

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        assert seconds == 1
        self.asleep.set()
        await self._waking.get()

    async def pass_(self, seconds):
        await self.asleep.wait()
        self.asleep.clear()
        self.now += seconds
        self._waking.put_nowait(None)
        await self.asleep.wait()


def said(capsys):
    out, err = capsys.readouterr()
    assert out == ""
    return [json.loads(line) for line in err.splitlines()]


@pytest.mark.parametrize("mode", ["auto", "off"])
async def test_without_a_terminal_nothing_is_shown(capsys, mode):
    async with show_progress(mode, Session()) as display:
        assert not display.shown
        display.report(START)
        display.finish(300)
    assert capsys.readouterr() == ("", "")
    assert display.phases == {"fetching"}


async def test_off_shows_nothing_at_a_terminal_either(terminal):
    stderr = terminal("stderr")
    async with show_progress("off", Session()) as display:
        display.begin("importing", 10)
        display.advance(MAY)
    assert stderr.text == ""


async def test_json_lines_come_for_each_phase_once_a_second_and_at_the_end(capsys):
    time = Time()
    async with show_progress("json", Session(), clock=time, sleep=time.sleep) as display:
        display.report(START)
        time.now += 0.99
        display.report(attrs.evolve(START, done=150))  # too soon
        time.now += 1.01
        display.report(attrs.evolve(START, done=200, reached=MAY, active=16, retries=2, waiting="it does"))
        display.report(Progress(phase="writing", done=0, total=300))
        time.now += 0.5
        display.finish(300)
    first = {
        "event": "progress",
        "phase": "fetching",
        "done": 100,
        "resumed": 100,
        "total": 300,
        "reached": None,
        "active": 0,
        "single_partition": False,
        "seconds": 0.0,
        "retries": 0,
        "paused_for": 0.0,
        "waiting": None,
        "rate": None,
    }
    writing = {**first, "phase": "writing", "done": 0, "resumed": 0, "seconds": 2.0}
    assert said(capsys) == [
        first,
        {**first, "done": 200, "reached": "2024-05-20", "active": 16, "retries": 2, "waiting": "it does"}
        | {"seconds": 2.0, "rate": 50.0},
        writing,
        {**writing, "event": "end", "done": 300, "seconds": 2.5, "rate": 600.0},
    ]


async def test_worklogs_that_are_sent_are_counted_in_a_phase_of_their_own(capsys):
    time = Time()
    async with show_progress("json", Session(), clock=time, sleep=time.sleep) as display:
        display.advance(MAY)  # nothing has begun
        display.begin("importing", 3)
        time.now += 1
        display.advance(None)
        display.advance(MAY)
        time.now += 1
    lines = said(capsys)
    assert [(one["event"], one["phase"], one["done"], one["total"]) for one in lines] == [
        ("progress", "importing", 0, 3),
        ("progress", "importing", 1, 3),
        ("end", "importing", 2, 3),
    ]
    assert [(one["reached"], one["rate"]) for one in lines] == [(None, None), (None, 1.0), ("2024-05-20", 1.0)]


async def test_while_nothing_arrives_retries_and_pauses_are_shown(capsys):
    time, session = Time(), Session()
    async with show_progress("json", session, clock=time, sleep=time.sleep) as display:
        await time.pass_(1)  # nothing has begun
        assert capsys.readouterr().err == ""
        display.report(START)
        session.retries, session.paused_for = 3, 20.04
        await time.pass_(1)
        lines = said(capsys)
    assert [(one["retries"], one["paused_for"]) for one in lines] == [(0, 0.0), (3, 20.0)]


async def test_json_lines_end_after_a_failure_but_not_what_never_began(capsys):
    async def fail():
        async with show_progress("json", Session()) as display:
            display.report(START)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert [line["event"] for line in said(capsys)] == ["progress", "end"]
    async with show_progress("json", Session()) as display:
        display.finish(3)
    assert said(capsys) == []


async def test_a_bar_shows_phase_count_date_and_details(terminal):
    stderr = terminal("stderr")
    async with show_progress("auto", Session()) as display:
        assert display.shown
        display.report(START)
        display.report(attrs.evolve(START, done=200, reached=MAY, active=4))
        assert "Fetching" in stderr.text
        display._renderer._bars.refresh()
        assert "200 of 300 worklogs" in stderr.text
        assert "2024-05-20" in stderr.text
        assert "4 active" in stderr.text
        display.report(Progress(phase="checking", done=0))
        display.report(Progress(phase="writing", done=10, total=300))
        display.finish(300)
    assert "Writing" in stderr.text
    assert "300 of 300 worklogs" in stderr.text


async def test_a_bar_without_a_total_shows_the_count(terminal):
    stderr = terminal("stderr")
    async with show_progress("auto", Session()) as display:
        display.report(Progress(phase="fetching", done=1500, reached=MAY))
    assert "1,500 worklogs" in stderr.text
    assert " of " not in stderr.text


async def test_a_bar_shows_its_rate_per_second(terminal):
    terminal("stderr")
    async with show_progress("auto", Session()) as display:
        display.begin("deleting", 2000)
        task = display._renderer._bars.tasks[0]
        assert list(words(task)) == ["Deleting", "0 of 2,000 worklogs", "0:00:00"]
        task.finished_speed = 1234.5
        assert list(words(task))[2] == "1,234/s"


@pytest.mark.parametrize("columns", [40, 60])
async def test_on_a_narrow_terminal_the_line_is_cut_and_not_folded(terminal, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    stderr = terminal("stderr")
    async with show_progress("auto", Session()) as display:
        display.report(attrs.evolve(START, active=16, retries=1200, paused_for=4.4, waiting="503", reached=MAY))
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stderr.text).strip("\r\n")
    assert "\n" not in shown  # it is drawn over and over in one line
    line = shown.rpartition("\r")[2]
    assert len(line) <= columns
    assert "100 of 300 worklogs" in line
    assert line.endswith("…")


def test_details_are_words_and_nothing_when_all_is_quiet():
    assert details(START) == ""
    assert details(attrs.evolve(START, retries=1)) == "1 retry"
    busy = attrs.evolve(START, active=3, retries=1200, paused_for=4.4, waiting="503\x1b")
    assert details(busy) == "3 active, 1,200 retries, paused for 4 s, waiting: 503\\u001b"


async def test_a_wait_is_told_at_once_and_at_most_once_a_minute(capsys):
    time = Time()
    async with show_progress("off", Session(), clock=time, sleep=time.sleep) as display:
        display.wait("503\x1b")  # before there is any progress
        display.report(START)
        display.wait("503 again")
        display.wait(None)
        time.now += 60
        display.wait("later")
    lines = ["tracket: waiting for the server: 503\\u001b", "tracket: waiting for the server: later"]
    assert capsys.readouterr().err.splitlines() == lines


async def test_json_lines_tell_a_wait_at_once_without_a_note(capsys):
    time = Time()
    async with show_progress("json", Session(), clock=time, sleep=time.sleep) as display:
        display.report(START)
        display.wait("503")
        display.wait(None)
    assert [(line["event"], line["waiting"]) for line in said(capsys)] == [
        ("progress", None),
        ("progress", "503"),
        ("progress", None),
        ("end", None),
    ]
