"""An emulator whose clock the test moves, and a client whose waits take no time and whose jitter can be repeated."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from contextlib import asynccontextmanager

import pytest

from tracket_async import RetryPolicy, Timeouts, TracketClient
from tracket_async._http.limits import Clock
from tracket_async.emulator import Emulator

# A fault that meets every other request can meet one call several times in a row.
STUBBORN = RetryPolicy(attempts=12, wait_initial=0, wait_initial_rate_limited=0, wait_jitter=0, budget=None)
BRIEF = Timeouts(read=0.1, attempt=0.5, total=None)


class FakeTime:
    """The time of both sides, seconds since 1970; each look at it takes a millisecond."""

    def __init__(self):
        self.now = 1_700_000_000.0

    def __call__(self):
        self.now += 0.001
        return self.now

    def moment(self):
        return dt.datetime.fromtimestamp(self(), dt.UTC)

    async def sleep(self, seconds):
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture(params=["1.0", "2.0"])
def api(request):
    return request.param


@pytest.fixture
def route(api):
    """The route of the collection of worklogs."""
    return "/worklogs" if api == "1.0" else "/timeEntries"


@pytest.fixture
def running(api):
    """``async with running(sample=...) as (emulator, client)``; ``settings`` are the client's.

    The wall clock stands still but for those who look at it and for the waits, which take no time.
    """

    @asynccontextmanager
    async def run(*, settings=None, version=api, **emulator_settings):
        time = FakeTime()
        chance = random.Random(1)
        async with Emulator(**{"wall": time} | emulator_settings) as emulator:
            clock = Clock(time=time, now=time.moment, sleep=time.sleep, random=chance.random)
            chosen = {"retry": STUBBORN, "timeouts": BRIEF, "clock": clock} | (settings or {})
            async with TracketClient.from_env(emulator.env(version), **chosen) as client:
                yield emulator, client

    return run
