"""An emulator and a client for each test, over a real socket, and waits that take no time."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from tracket_async import RetryPolicy, TracketClient
from tracket_async.emulator import Emulator

# Faults that come in turns can meet one call several times in a row.
HASTE = RetryPolicy(attempts=12, wait_initial=0, wait_initial_rate_limited=0, wait_jitter=0)


@pytest.fixture(params=["1.0", "2.0"])
def api(request):
    return request.param


@pytest.fixture
def running(api):
    """``async with running(sample=...) as (emulator, client)``; ``settings`` are the client's."""

    @asynccontextmanager
    async def run(*, settings=None, version=api, **emulator_settings):
        async with Emulator(**emulator_settings) as emulator:
            chosen = {"retry": HASTE} | (settings or {})
            async with TracketClient.from_env(emulator.env(version), **chosen) as client:
                yield emulator, client

    return run


@pytest.fixture
def route(api):
    """The route of the collection of worklogs."""
    return "/worklogs" if api == "1.0" else "/timeEntries"
