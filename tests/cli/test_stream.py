"""Bytes that are buffered on their way to their destinations."""

from __future__ import annotations

import asyncio

import pytest

from tracket_async.cli import stream
from tracket_async.cli.stream import DELAY, PIECE, BufferedWriter


class Shelf:
    """A target that keeps what is written, after the gate has opened; or fails."""

    def __init__(self, failure=None):
        self.written = []
        self.failure = failure
        self.gate = asyncio.Event()
        self.gate.set()
        self.busy = False

    async def write(self, data):
        assert not self.busy, "two writes at once"
        self.busy = True
        try:
            await self.gate.wait()
        finally:
            self.busy = False
        if self.failure is not None:
            raise self.failure
        self.written.append(data)


class Clock:
    """Sleeps that end when the test says so."""

    def __init__(self):
        self.asked = []
        self.over = asyncio.Event()

    async def sleep(self, seconds):
        self.asked.append(seconds)
        self.over.clear()
        await self.over.wait()


@pytest.fixture
def clock():
    return Clock()


async def settled():
    """Every task has gone as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def fill(shelf, clock, error):
    """Puts something there, and fails."""
    async with BufferedWriter([shelf], sleep=clock.sleep) as out:
        await out.put([b"a"])
        raise error


async def test_what_is_put_waits_for_a_piece_of_it(clock):
    first, second = Shelf(), Shelf()
    async with BufferedWriter([first, second], sleep=clock.sleep) as out:
        await out.put([b"a" * (PIECE - 2), b"b"])
        assert (first.written, second.written) == ([], [])
        await out.put([b"", b"c"])
        assert (first.written, second.written) == ([b"a" * (PIECE - 2)], [b"bc"])
        await out.put([b"d", b"e"])
    assert (first.written[1:], second.written[1:]) == ([b"d"], [b"e"])


async def test_less_than_a_piece_is_written_after_the_delay(clock):
    shelf = Shelf()
    async with BufferedWriter([shelf], sleep=clock.sleep) as out:
        await settled()
        assert clock.asked == []
        for turn in range(1, 3):
            await out.put([b"a"])
            await out.put([b"b"])
            await settled()
            assert clock.asked == [DELAY] * turn
            assert shelf.written == [b"ab"] * (turn - 1)
            clock.over.set()
            await settled()
            assert shelf.written == [b"ab"] * turn
            assert clock.asked == [DELAY] * turn


async def test_while_something_is_written_nothing_else_is(clock):
    shelf = Shelf()
    async with BufferedWriter([shelf], sleep=clock.sleep) as out:
        await out.put([b"a"])
        await settled()
        shelf.gate.clear()
        clock.over.set()
        await settled()
        assert shelf.busy
        waiting = asyncio.create_task(out.put([b"b" * PIECE]))
        await settled()
        assert not waiting.done()
        shelf.gate.set()
        await waiting
    assert shelf.written == [b"a", b"b" * PIECE]


async def test_leaving_waits_for_the_write_that_is_going_on(clock):
    shelf = Shelf()

    async def run():
        async with BufferedWriter([shelf], sleep=clock.sleep) as out:
            await out.put([b"a"])
            await settled()
            shelf.gate.clear()
            clock.over.set()
            await settled()

    running = asyncio.create_task(run())
    await settled()
    await settled()
    await settled()
    assert not running.done()
    shelf.gate.set()
    await running
    assert shelf.written == [b"a"]


async def test_a_failure_is_told_to_who_puts_and_nothing_is_written_any_more(clock):
    shelf = Shelf(BrokenPipeError("nobody reads"))
    with pytest.raises(BrokenPipeError, match="nobody reads"):
        async with BufferedWriter([shelf], sleep=clock.sleep) as out:
            await out.put([b"a" * PIECE])
    assert shelf.written == []


async def test_a_failure_in_between_is_told_at_the_next_put(clock):
    shelf = Shelf(BrokenPipeError("nobody reads"))

    async def run():
        async with BufferedWriter([shelf], sleep=clock.sleep) as out:
            await out.put([b"a"])
            await settled()
            clock.over.set()
            await settled()
            shelf.failure = None
            await out.put([b"b"])

    with pytest.raises(BrokenPipeError, match="nobody reads"):
        await run()
    assert shelf.written == []


async def test_a_failure_after_the_last_put_is_told_at_the_end(clock):
    shelf = Shelf(BrokenPipeError())

    async def run():
        async with BufferedWriter([shelf], sleep=clock.sleep) as out:
            await out.put([b"a"])
            await settled()
            clock.over.set()
            await settled()

    with pytest.raises(BrokenPipeError):
        await run()


@pytest.mark.parametrize("failure", [None, BrokenPipeError()])
async def test_an_error_of_the_walk_is_told_after_what_came_before_it_is_written(clock, failure):
    shelf = Shelf(failure)
    with pytest.raises(LookupError):
        await fill(shelf, clock, LookupError())
    assert shelf.written == ([b"a"] if failure is None else [])


async def test_a_cancellation_writes_no_more(clock):
    shelf = Shelf()
    with pytest.raises(asyncio.CancelledError):
        await fill(shelf, clock, asyncio.CancelledError())
    assert shelf.written == []


async def test_a_cancellation_does_not_wait_for_who_has_stopped_reading(clock):
    shelf = Shelf()

    async def run():
        async with BufferedWriter([shelf], sleep=clock.sleep) as out:
            await out.put([b"a"])
            await settled()
            shelf.gate.clear()
            clock.over.set()
            await asyncio.Event().wait()

    running = asyncio.create_task(run())
    for _ in range(3):
        await settled()
    assert shelf.busy
    running.cancel()
    await settled()
    assert running.cancelled()
    assert shelf.written == []


async def test_the_delay_is_one_of_real_time(monkeypatch):
    monkeypatch.setattr(stream, "DELAY", 0.0)
    shelf = Shelf()
    async with BufferedWriter([shelf]) as out:
        await out.put([b"a"])
        await settled()
        assert shelf.written == [b"a"]
