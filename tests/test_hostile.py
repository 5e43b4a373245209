"""The client against a server that deviates from the vendor's pages: one test for each deviation."""

from __future__ import annotations

import datetime as dt
from contextlib import asynccontextmanager

import pytest

from tracket_async import NewWorklog, RetryPolicy, TracketClient, WorklogChanges

AT_ONCE = RetryPolicy(wait_initial=0, wait_initial_rate_limited=0, wait_jitter=0)
MARCH = dt.date(2024, 3, 1)
BOTH = pytest.mark.parametrize("api", ["1.0", "2.0"])


@pytest.fixture
def connect(hostile):
    """``async with connect(api) as client``; the server has 600 worklogs, five a day from 1 March 2024."""
    hostile.add(*hostile.make_rows(600))

    @asynccontextmanager
    async def open_client(api="2.0", **settings):
        async with TracketClient.from_env(hostile.env(api), **{"retry": AT_ONCE} | settings) as client:
            yield client

    return open_client


async def ids(walk):
    return [worklog.id async for worklog in walk]


def new(number=1, **changes):
    return NewWorklog(
        **{"item_id": "1", "user_id": "2", "date": MARCH, "minutes": 30, "description": f"new {number}"} | changes
    )


# -- without a deviation ------------------------------------------------------------------------------------------


@BOTH
async def test_without_a_switch_it_is_a_plausible_server(hostile, connect, api):
    async with connect(api) as client:
        listed = await ids(client.worklogs.list())
        assert listed == sorted(hostile.rows)
        assert sorted(await ids(client.worklogs.export())) == listed
        some = await ids(client.worklogs.list(since=dt.date(2024, 3, 10), until=dt.date(2024, 3, 11)))
        assert some == [f"wl-{number:04}" for number in range(45, 55)]
        created = await client.worklogs.create(new())
        assert hostile.rows[created.id].description == "new 1"
        await client.worklogs.update(created.id, WorklogChanges(minutes=90, description=None))
        assert (hostile.rows[created.id].minutes, hostile.rows[created.id].description) == (90, None)
        assert (await client.worklogs.get(created.id)).minutes == 90
        await client.worklogs.delete(created.id)
        assert created.id not in hostile.rows


async def test_without_a_switch_it_exchanges_credentials_for_a_token(hostile):
    environ = {
        "TRACKET_BASE_URL": hostile.url,
        "TRACKET_CLIENT_ID": hostile.client_id,
        "TRACKET_CLIENT_SECRET": hostile.client_secret,
        "TRACKET_ACCOUNT_ID": hostile.account_id,
    }
    async with TracketClient.from_env(environ) as client:
        assert await ids(client.worklogs.list()) == []
    assert [each.method for each in hostile.requests] == ["POST", "GET"]
