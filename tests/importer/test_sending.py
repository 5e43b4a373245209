"""Many writes that stop when there is a reason to."""

from __future__ import annotations

import asyncio

import pytest

from tracket_async.bulk import Sending
from tracket_async.errors import (
    AuthenticationError,
    BadRequestError,
    ConnectError,
    ServerError,
    StorageError,
    StoreError,
    UsageError,
)

CALLERS = BadRequestError("no", status=400)
SERVICE = ServerError("down", status=500)


class Server:
    """Fails for the numbers that it is told about."""

    def __init__(self, failures=None):
        self.failures = failures or {}
        self.written = []

    async def write(self, number):
        self.written.append(number)
        if (error := self.failures.get(number)) is not None:
            raise error


def sending(server, **settings):
    return Sending(server.write, **{"concurrency": 1, "on_error": "collect", **settings})


async def test_every_row_is_written_once():
    server = Server()
    work = sending(server, concurrency=4)
    await work.run(range(100))
    assert sorted(server.written) == list(range(100))
    assert work.stopped is None


async def test_collecting_tries_all_whatever_fails():
    server = Server(dict.fromkeys(range(0, 400, 2), CALLERS))
    work = sending(server)
    await work.run(range(400))
    assert len(server.written) == 400
    assert work.stopped is None


async def test_stopping_begins_no_row_after_a_failure_and_reads_no_further():
    server = Server({3: CALLERS})
    rows = iter(range(1000))
    work = sending(server, on_error="stop")
    await work.run(rows)
    assert server.written == [0, 1, 2, 3]
    assert next(rows) < 20
    assert work.stopped is None  # that was the caller's wish


@pytest.mark.parametrize("error", [AuthenticationError("who?", status=401), StorageError("full"), StoreError("no")])
async def test_what_no_other_row_could_survive_stops_the_run(error):
    server = Server({3: error})
    work = sending(server)
    await work.run(range(1000))
    assert server.written == [0, 1, 2, 3]
    assert work.stopped is error


@pytest.mark.parametrize("error", [ServerError("down", status=500), ConnectError("away")])
async def test_patience_ends_after_so_many_failures_in_a_row(error):
    server = Server(dict.fromkeys(range(1000), error))
    work = sending(server, patience=7)
    await work.run(range(1000))
    assert server.written == list(range(7))
    assert work.stopped is error
    assert "the last of 7 failures in a row" in str(error)


@pytest.mark.parametrize("between", [None, CALLERS])
async def test_an_answer_of_any_kind_restores_patience(between):
    failures = {n: SERVICE for n in range(1000) if n % 7 != 6} | dict.fromkeys(range(6, 1000, 7), between)
    server = Server(failures)
    work = sending(server, patience=7)
    await work.run(range(1000))
    assert len(server.written) == 1000
    assert work.stopped is None


async def test_the_first_reason_to_stop_is_told():
    both, raised = asyncio.Barrier(2), []

    async def write(_number):
        await both.wait()
        raised.append(AuthenticationError("who?"))
        raise raised[-1]

    work = Sending(write, concurrency=2, on_error="collect")
    await work.run(range(2))
    assert len(raised) == 2
    assert work.stopped is raised[0]


async def test_a_mistake_of_the_program_is_raised():
    work = sending(Server({2: ZeroDivisionError("oops")}))
    with pytest.raises(ZeroDivisionError):
        await work.run(range(1000))


async def test_what_the_rows_raise_is_raised_after_those_before_are_written():
    def rows():
        yield from range(3)
        raise StoreError("changed")

    server = Server()
    with pytest.raises(StoreError, match="changed"):
        await sending(server).run(rows())
    assert server.written == [0, 1, 2]


async def test_an_interruption_waits_for_the_answers_that_are_on_their_way():
    began, answer, answered = asyncio.Event(), asyncio.Event(), []

    async def write(number):
        began.set()
        await answer.wait()
        answered.append(number)

    work = Sending(write, concurrency=1, on_error="collect", grace=30)
    task = asyncio.create_task(work.run(range(1000)))
    await began.wait()
    task.cancel()
    await asyncio.sleep(0)
    answer.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert answered == [0]


@pytest.mark.parametrize("again", [False, True])
async def test_an_interruption_does_not_wait_for_ever_nor_through_a_second_one(again):
    began, ended = asyncio.Event(), []

    async def write(number):
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    work = Sending(write, concurrency=1, on_error="collect", grace=30 if again else 0)
    task = asyncio.create_task(work.run(range(1000)))
    await began.wait()
    task.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    if again:
        assert not task.done()
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [0]


async def test_a_concurrency_below_1_is_refused():
    with pytest.raises(UsageError, match="concurrency must be at least 1, not 0"):
        sending(Server(), concurrency=0)
