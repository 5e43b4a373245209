"""Blocking work in a thread of its own."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tracket_async.export.store import WorkThread


async def test_work_returns_and_raises_and_keeps_its_order():
    done = []
    async with WorkThread() as thread:
        names = {await thread(lambda: threading.current_thread().name) for _ in range(3)}
        await asyncio.gather(*(thread(done.append, number) for number in range(20)))
        with pytest.raises(ZeroDivisionError):
            await thread(divmod, 1, 0)
    assert done == list(range(20))
    assert len(names) == 1
    assert threading.current_thread().name not in names


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("cancellations", [1, 3])
async def test_a_cancellation_waits_until_the_work_is_done(cancellations, fails):
    begun, go_on, done = threading.Event(), threading.Event(), []

    def work():
        begun.set()
        go_on.wait(30)
        done.append(1)
        if fails:
            raise KeyError

    async with WorkThread() as thread:
        task = asyncio.create_task(thread(work))
        await asyncio.to_thread(begun.wait, 30)
        for _ in range(cancellations):
            task.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert done == [1]


async def test_work_that_has_not_begun_is_awaited_as_well():
    go_on, done = threading.Event(), []
    async with WorkThread() as thread:
        first = asyncio.create_task(thread(go_on.wait, 30))
        second = asyncio.create_task(thread(done.append, 2))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
        assert not second.done()
        go_on.set()
        await first
        with pytest.raises(asyncio.CancelledError):
            await second
    assert done == [2]
