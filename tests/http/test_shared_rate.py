"""Several sessions keep one rate: what one of them is told, the others hear of."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest

from tests.http.conftest import GET, TOKEN, URL, Bucket, FakeTransport, body, reply
from tracket_async._http.limits import Clock, LearnedRate
from tracket_async._http.session import TracketSession
from tracket_async.config import CallOptions, Limits, RetryPolicy, SharedRate
from tracket_async.errors import RateLimitedError

PATIENT = CallOptions(wait_for_rate=True)


class Distant:
    """A rate in another process: each question, each answer and whatever is told is late by ``late`` seconds or less.

    It keeps the order in which a process tells and asks.
    """

    def __init__(self, rate, late, chance):
        self.rate, self.late, self.chance = rate, late, chance
        self.arrived = 0.0

    async def acquire(self):
        await asyncio.sleep(self._delay())
        permit = await self.rate.acquire()
        await asyncio.sleep(self.late * self.chance.random())
        return permit

    def on_success(self, permit):
        self._tell(self.rate.on_success, permit)

    def on_refusal(self, permit, pause):
        self._tell(self.rate.on_refusal, permit, pause)

    def on_pause(self, seconds):
        self._tell(self.rate.on_pause, seconds)

    def _tell(self, listener, *told):
        asyncio.get_running_loop().call_later(self._delay(), listener, *told)

    def _delay(self):
        now = asyncio.get_running_loop().time()
        self.arrived = max(self.arrived, now + self.late * self.chance.random())
        return self.arrived - now


@pytest.fixture
def run_sessions(monkeypatch, virtually):
    """Run ``scenario(sessions, rate)`` of several sessions with one `LearnedRate`, all answered by ``behave``.

    ``late``: each session is a process of its own, and messages between it and the rate take so many seconds at most.
    """

    def run(scenario, behave, *, count=4, latency=0.05, highest=None, late=0.0, seed=1, **settings):
        def transport(*_args, **_kwargs):
            made = FakeTransport(latency)
            made.behave = behave
            return made

        monkeypatch.setattr("tracket_async._http.session.Transport", transport)

        async def main():
            clock = Clock(time=asyncio.get_running_loop().time, random=lambda: 0.5)
            rate = LearnedRate(highest, clock=clock)
            chance = random.Random(seed)
            rates = [Distant(rate, late, chance) if late else rate for _ in range(count)]
            async with contextlib.AsyncExitStack() as stack:
                made = [
                    TracketSession(
                        URL,
                        auth=TOKEN,
                        clock=clock,
                        limits=Limits(max_concurrency=8, requests_per_second=each),
                        **settings,
                    )
                    for each in rates
                ]
                return await scenario([await stack.enter_async_context(each) for each in made], rate)

        return virtually(main())

    return run


def test_a_learned_rate_is_a_shared_rate():
    rate = LearnedRate(3)
    assert isinstance(rate, SharedRate)
    assert (rate.requests_per_second, rate.paused_for, rate.permits, rate.refusals) == (3, 0, 0, 0)
    assert Limits(requests_per_second=rate).requests_per_second is rate


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("late", [0.002, 0.01, 0.05])
def test_processes_that_begin_at_the_same_moment_find_the_rate_of_their_server(run_sessions, late, seed):
    bucket = Bucket(100, 10)

    async def scenario(sessions, rate):
        await asyncio.gather(*(session.send(GET, body, options=PATIENT) for session in sessions for _ in range(500)))
        return asyncio.get_running_loop().time(), rate

    def behave(_sent):
        return 200 if bucket.accepts(asyncio.get_running_loop().time()) else 429

    seconds, rate = run_sessions(scenario, behave, late=late, seed=seed, latency=0.005)
    assert seconds < 1.2 * 2000 / 100
    assert rate.refusals < 0.05 * rate.permits


@pytest.mark.parametrize("pause", [None, "1"])
def test_sessions_find_the_rate_of_their_server_together(run_sessions, pause):
    bucket, moments = Bucket(100, 10), []

    def behave(sent):
        moments.append(sent.at)
        if bucket.accepts(asyncio.get_running_loop().time()):
            return 200
        return reply(429) if pause is None else reply(429, Retry_After=pause)

    async def scenario(sessions, rate):
        calls = [session.send(GET, body, options=PATIENT) for session in sessions for _ in range(400)]
        await asyncio.gather(*calls)
        return asyncio.get_running_loop().time(), rate

    seconds, rate = run_sessions(scenario, behave)
    assert seconds < 1.2 * (1600 - 10) / 100
    assert rate.refusals == len(moments) - 1600 < 0.05 * len(moments)
    assert rate.permits == len(moments)
    assert 80 < rate.requests_per_second < 140


def test_a_rate_that_is_set_is_that_of_all_sessions_together(run_sessions):
    async def scenario(sessions, rate):
        await asyncio.gather(*(session.send(GET, body) for session in sessions for _ in range(5)))
        return asyncio.get_running_loop().time()

    assert run_sessions(scenario, lambda _sent: 200, highest=10) == pytest.approx(19 / 10 + 0.05)


@pytest.mark.parametrize(
    "answer",
    [
        reply(429, Retry_After="20"),
        reply(503, Retry_After="20"),
        reply(200, RateLimit_Remaining="0", RateLimit_Reset="20"),
    ],
    ids=["429", "503", "no request left"],
)
def test_a_pause_that_one_session_is_told_holds_all(run_sessions, answer):
    answers = [answer]

    async def scenario(sessions, rate):
        first = asyncio.create_task(sessions[0].send(GET, body, options=PATIENT))
        await asyncio.sleep(0.1)
        paused = rate.paused_for
        assert paused == pytest.approx(19.95)
        await sessions[1].send(GET, body)
        await first
        assert rate.paused_for == 0
        return asyncio.get_running_loop().time()

    assert 20.1 <= run_sessions(scenario, lambda _sent: answers.pop() if answers else 200) < 22.2


def test_the_pause_of_a_refusal_may_be_for_its_call_alone(run_sessions):
    async def scenario(sessions, rate):
        rate.on_refusal(await rate.acquire(), 0.0)  # from here on a rate is learned
        await asyncio.sleep(1)
        rate.on_refusal(await rate.acquire(), 1.0)
        return rate.paused_for

    assert run_sessions(scenario, lambda _sent: 200) == 0


def test_a_shared_rate_does_not_make_an_impatient_call_wait(run_sessions):
    async def scenario(sessions, rate):
        with pytest.raises(RateLimitedError):
            await sessions[0].send(GET, body)
        return rate.refusals

    assert run_sessions(scenario, lambda _sent: 429, retry=RetryPolicy(attempts=1)) == 1


def test_a_session_with_a_shared_rate_learns_none_of_its_own(run_sessions):
    async def scenario(sessions, rate):
        await asyncio.gather(*(session.send(GET, body, options=PATIENT) for session in sessions[:1]))
        return sessions[0].statistics().rate, rate.requests_per_second

    answers = [429]
    own, shared = run_sessions(scenario, lambda _sent: answers.pop() if answers else 200)
    assert own is None
    assert shared is not None
