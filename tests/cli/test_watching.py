"""What standard error shows of an export that goes through the store."""

from __future__ import annotations

import asyncio
import datetime as dt
import json

import attrs
import pytest

from tracket_async.cli.progress import details, watching
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
async def test_without_a_terminal_nothing_is_said(capsys, mode):
    async with watching(mode, Session()) as watch:
        assert not watch.wanted
        watch.report(START)
        watch.finish(300)
    assert capsys.readouterr() == ("", "")
    assert watch.phases == {"fetching"}


async def test_json_lines_come_for_each_stage_once_a_second_and_at_the_end(capsys):
    time = Time()
    async with watching("json", Session(), clock=time, sleep=time.sleep) as watch:
        watch.report(START)
        time.now += 0.99
        watch.report(attrs.evolve(START, done=150))  # too soon
        time.now += 1.01
        watch.report(attrs.evolve(START, done=200, reached=MAY, active=16, retries=2, waiting="it does"))
        watch.report(Progress(phase="writing", done=0, total=300))
        time.now += 0.5
        watch.finish(300)
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


async def test_while_nothing_arrives_retries_and_pauses_are_told(capsys):
    time, session = Time(), Session()
    async with watching("json", session, clock=time, sleep=time.sleep) as watch:
        await time.pass_(1)  # nothing has begun
        assert capsys.readouterr().err == ""
        watch.report(START)
        session.retries, session.paused_for = 3, 20.04
        await time.pass_(1)
        lines = said(capsys)
    assert [(one["retries"], one["paused_for"]) for one in lines] == [(0, 0.0), (3, 20.0)]


async def test_json_lines_end_after_a_failure_but_not_what_never_began(capsys):
    async def fail():
        async with watching("json", Session()) as watch:
            watch.report(START)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert [line["event"] for line in said(capsys)] == ["progress", "end"]
    async with watching("json", Session()) as watch:
        watch.finish(3)
    assert said(capsys) == []


async def test_a_bar_shows_stage_count_date_and_details(terminal):
    stderr = terminal("stderr")
    async with watching("auto", Session()) as watch:
        assert watch.wanted
        watch.report(START)
        watch.report(attrs.evolve(START, done=200, reached=MAY, active=4))
        assert "Fetching" in stderr.text
        watch._display._bars.refresh()
        assert "200 of 300 worklogs" in stderr.text
        assert "2024-05-20" in stderr.text
        assert "4 active" in stderr.text
        watch.report(Progress(phase="checking", done=0))
        watch.report(Progress(phase="writing", done=10, total=300))
        watch.finish(300)
    assert "Writing" in stderr.text
    assert "300 of 300 worklogs" in stderr.text


def test_details_are_words_and_nothing_when_all_is_quiet():
    assert details(START) == ""
    assert details(attrs.evolve(START, retries=1)) == "1 retry"
    told = attrs.evolve(START, active=3, retries=1200, paused_for=4.4, waiting="503\x1b")
    assert details(told) == "3 active, 1,200 retries, paused for 4 s, waiting: 503\\x1b"
