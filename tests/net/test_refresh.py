"""A token is fetched once for all who need it, by whoever is first, and outlives whoever is cancelled."""

from __future__ import annotations

import asyncio
import gc

import pytest

from tracket_async._http.auth import Token, TokenKeeper
from tracket_async._http.messages import Secret
from tracket_async.errors import ClientStateError, ServerError


class Desk:
    """Gives out tokens ``t1``, ``t2`` and so on, of an hour, when it is told to."""

    def __init__(self):
        self.now = 0.0
        self.calls = 0
        self.open = asyncio.Event()
        self.error = None
        self.keeper = TokenKeeper(self.fetch, secret=Secret("client-secret"), clock=lambda: self.now)

    async def fetch(self):
        self.calls += 1
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return Token(Secret(f"token-{self.calls}", before="Bearer "), 3600.0, None)

    def current(self):
        header = self.keeper.current(self.now)
        return None if header is None else header.reveal()


@pytest.fixture
async def desk(no_leaks):
    desk = Desk()
    yield desk
    await desk.keeper.close()


async def start(desk, count):
    tasks = [asyncio.create_task(desk.keeper.renew()) for _ in range(count)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_before_the_first_fetch_there_is_none(desk):
    assert desk.current() is None


async def test_many_who_need_one_at_once_cause_one_call(desk):
    tasks = await start(desk, 1_000)
    desk.open.set()
    headers = await asyncio.gather(*tasks)
    assert desk.calls == 1
    assert {header.reveal() for header in headers} == {"Bearer token-1"}
    assert desk.current() == "Bearer token-1"


async def test_it_is_fresh_until_a_tenth_before_its_end(desk):
    desk.open.set()
    desk.now = 1_000.0
    await desk.keeper.renew()
    desk.now = 1_000 + 3_240 - 0.001
    assert desk.current() == "Bearer token-1"
    desk.now = 1_000 + 3_240
    assert desk.current() is None
    await desk.keeper.renew()
    assert desk.current() == "Bearer token-2"


async def test_its_life_begins_when_it_is_asked_for(desk):
    (task,) = await start(desk, 1)
    desk.now = 50.0
    desk.open.set()
    await task
    desk.now = 3_240.0
    assert desk.current() is None


async def test_whoever_is_first_may_be_cancelled(desk):
    first, second = await start(desk, 2)
    first.cancel()
    await asyncio.sleep(0)
    desk.open.set()
    assert (await second).reveal() == "Bearer token-1"
    assert first.cancelled()
    assert desk.calls == 1


async def test_everybody_may_be_cancelled_and_the_token_comes_nevertheless(desk):
    tasks = await start(desk, 3)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    desk.open.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert desk.current() == "Bearer token-1"


async def test_a_failure_that_nobody_waits_for_is_no_complaint(desk, caplog):
    tasks = await start(desk, 1)
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    desk.error = ServerError("no")
    desk.open.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert desk.current() is None
    del tasks
    gc.collect()  # asyncio complains when the task goes
    assert caplog.text == ""


async def test_a_failure_is_everybodys_and_each_has_its_own_exception(desk):
    tasks = await start(desk, 3)
    desk.error = ServerError("no", status=503, attempts=4)
    desk.open.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert len({id(error) for error in [*errors, desk.error]}) == 4
    assert [(str(error), error.status, error.attempts) for error in errors] == [(str(desk.error), 503, 4)] * 3
    assert all(error.__context__ is None for error in errors)


async def test_after_a_failure_the_next_one_tries_again(desk):
    desk.open.set()
    desk.error = ServerError("no")
    with pytest.raises(ServerError):
        await desk.keeper.renew()
    desk.error = None
    assert (await desk.keeper.renew()).reveal() == "Bearer token-2"


async def test_a_refusal_makes_the_current_token_stale(desk):
    desk.open.set()
    header = await desk.keeper.renew()
    assert desk.keeper.refused(header)
    assert desk.current() is None


async def test_a_refusal_of_an_older_token_leaves_the_current_one(desk):
    desk.open.set()
    old = await desk.keeper.renew()
    desk.keeper.refused(old)
    await desk.keeper.renew()
    assert desk.keeper.refused(old)
    assert desk.current() == "Bearer token-2"


async def test_both_secrets_are_scrubbed(desk):
    assert desk.keeper.scrub("client-secret token-1") == "*** token-1"
    desk.open.set()
    await desk.keeper.renew()
    assert desk.keeper.scrub("client-secret token-1") == "*** ***"


async def test_closing_ends_a_fetch_and_those_who_wait_are_told_and_not_cancelled(desk):
    tasks = await start(desk, 3)
    await desk.keeper.close()
    for task in tasks:
        with pytest.raises(ClientStateError, match="closed while"):
            await task
    assert desk.current() is None


async def test_who_is_cancelled_while_it_closes_is_cancelled(desk):
    (task,) = await start(desk, 1)
    task.cancel()
    await desk.keeper.close()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_closed_keeper_fetches_nothing(desk):
    await desk.keeper.close()
    await desk.keeper.close()
    with pytest.raises(ClientStateError):
        await desk.keeper.renew()
    assert desk.calls == 0
