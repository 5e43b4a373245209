"""Iterations that are left in the middle by an exception: nothing is logged, and nothing is left over."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from tracket_async import TracketClient

READERS = {
    "list": lambda worklogs: worklogs.list().items(),
    "list, no reading ahead": lambda worklogs: worklogs.list(read_ahead=0).items(),
    "pages": lambda worklogs: worklogs.list().pages(),
    "export": lambda worklogs: worklogs.export(concurrency=3),
    "export, in order": lambda worklogs: worklogs.export(concurrency=3, ordered=True),
    "arrow": lambda worklogs: worklogs.arrow(concurrency=3),
}
BOTH = pytest.mark.parametrize("api", ["1.0", "2.0"])


@BOTH
@pytest.mark.parametrize("reader", READERS)
def test_an_exception_in_the_body_of_a_loop_is_all_that_is_heard(hostile, api, reader, caplog):
    """The variable holds the iteration until the event loop ends, and closes whatever it knows of."""
    hostile.add(*hostile.make_rows(3_000 if reader == "arrow" else 600))
    caplog.set_level(logging.WARNING)
    heard = []

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: heard.append(context["message"]))
        try:
            async with TracketClient.from_env(hostile.env(api)) as client:
                iteration = READERS[reader](client.worklogs)
                async for _ in iteration:
                    await settled(client)
                    raise ZeroDivisionError
        finally:
            await turns(10)  # transports close their sockets in the turn after the one in which they are told to

    with pytest.raises(ZeroDivisionError):
        asyncio.run(main())
    assert (heard, caplog.messages) == ([], [])


@BOTH
@pytest.mark.parametrize("reader", READERS)
async def test_an_iteration_in_garbage_is_closed_by_the_loop(no_leaks, hostile, api, reader):
    hostile.add(*hostile.make_rows(3_000 if reader == "arrow" else 600))
    heard = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: heard.append(context["message"]))
    async with TracketClient.from_env(hostile.env(api)) as client:

        async def leave():
            cycle = [READERS[reader](client.worklogs)]
            cycle.append(cycle)
            async for _ in cycle[0]:
                await settled(client)
                return

        await leave()
        gc.collect()
        await asyncio.wait_for(alone(), 10)
    assert heard == []


async def turns(number):
    for _ in range(number):
        await asyncio.sleep(0)


async def settled(client):
    """Wait until what is read ahead has come, so that no connection is in use."""
    quiet = 0
    while quiet < 20:
        await asyncio.sleep(0)
        quiet = 0 if client.statistics().concurrency.in_use else quiet + 1


async def alone():
    """Wait until no other task is left."""
    while len(asyncio.all_tasks()) > 2:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)
