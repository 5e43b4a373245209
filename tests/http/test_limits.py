"""Concurrency, rate, pauses and the retry budget: each limit at, below and above its value."""

from __future__ import annotations

import asyncio
import random

import attrs
import pytest

from tests.http.conftest import Bucket
from tracket_async._http.limits import (
    RETRY_COST,
    RETRY_COST_AFTER_TIMEOUT,
    SUCCESS_REWARD,
    Clock,
    ConcurrencyLimiter,
    RateLimiter,
    RetryBudget,
    ServerPause,
)
from tracket_async.errors import ClientStateError, RateLimitedError, ServerError


async def turns(count=3):
    for _ in range(count):
        await asyncio.sleep(0)


async def enter(limiter, count):
    """So many tasks that want in, in order, each as far as it comes by itself."""
    tasks = [asyncio.create_task(limiter.acquire()) for _ in range(count)]
    await turns()
    return tasks


@pytest.mark.parametrize("limit", [1, 2, 7])
@pytest.mark.parametrize("surplus", [-1, 0, 1, 5])
async def test_the_limit_is_how_many_get_in(limit, surplus):
    limiter = ConcurrencyLimiter(limit)
    tasks = await enter(limiter, limit + surplus)
    inside = sum(task.done() for task in tasks)
    assert inside == min(limit, limit + surplus)
    statistics = limiter.statistics()
    assert (statistics.in_use, statistics.waiters) == (inside, max(0, surplus))
    assert (statistics.limit, statistics.max_concurrency, statistics.decreases) == (limit, limit, 0)
    assert repr(limiter) == f"<ConcurrencyLimiter {inside}/{limit} in use, {max(0, surplus)} waiting>"
    for _ in range(limit + surplus):
        limiter.release()
        await turns()
    assert all(task.done() for task in tasks)
    assert limiter.statistics().in_use == 0


async def test_statistics_do_not_change():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ConcurrencyLimiter(1).statistics().limit = 2


async def test_who_came_first_gets_in_first():
    limiter, order = ConcurrencyLimiter(1), []
    await limiter.acquire()

    async def visit(number):
        await limiter.acquire()
        order.append(number)
        limiter.release()

    tasks = [asyncio.create_task(visit(number)) for number in range(20)]
    await turns()
    limiter.release()
    await asyncio.gather(*tasks)
    assert order == list(range(20))


async def test_nobody_overtakes_those_who_wait():
    limiter = ConcurrencyLimiter(1)
    await limiter.acquire()
    (waiting,) = await enter(limiter, 1)
    limiter.release()  # the place belongs to the waiter already, though its task has not run yet
    assert not limiter.try_acquire()
    await waiting
    limiter.release()
    assert limiter.try_acquire()


async def test_a_cancelled_waiter_leaves_the_queue():
    limiter = ConcurrencyLimiter(1)
    await limiter.acquire()
    first, second = await enter(limiter, 2)
    first.cancel()
    await turns()
    assert limiter.statistics().waiters == 1
    limiter.release()
    await second
    assert limiter.statistics().in_use == 1


async def test_a_waiter_that_is_cancelled_as_it_gets_its_place_passes_it_on():
    limiter = ConcurrencyLimiter(1)
    await limiter.acquire()
    first, second = await enter(limiter, 2)
    limiter.release()
    first.cancel()  # in the same turn of the loop: the place was given and the task has not seen it
    await turns()
    assert first.cancelled()
    assert second.done()
    assert limiter.statistics().in_use == 1


async def test_a_waiter_that_is_cancelled_before_a_place_is_free_is_passed_over():
    limiter = ConcurrencyLimiter(1)
    await limiter.acquire()
    first, second = await enter(limiter, 2)
    first.cancel()
    limiter.release()  # in the same turn of the loop: the first is still in the queue
    await turns()
    assert second.done()
    assert limiter.statistics().in_use == 1


async def cancel_many(count):
    """Tasks that want in, stay for a few turns and leave; two of three are cancelled at some moment of that."""
    limiter, rng = ConcurrencyLimiter(8), random.Random(1)

    async def visit():
        await limiter.acquire()
        try:
            await turns(rng.randrange(4))
        finally:
            limiter.release()

    for _ in range(count // 100):
        tasks = [asyncio.create_task(visit()) for _ in range(150)]
        await turns(rng.randrange(5))
        for task in rng.sample(tasks, 100):
            task.cancel()
            if rng.random() < 0.1:
                await turns(1)
            assert limiter.statistics().in_use <= 8
        await asyncio.gather(*tasks, return_exceptions=True)
    return limiter.statistics()


async def test_cancellations_leak_no_place():
    statistics = await cancel_many(1_000)
    assert (statistics.in_use, statistics.waiters) == (0, 0)


@pytest.mark.soak
async def test_ten_thousand_cancellations_leak_no_place():
    statistics = await cancel_many(10_000)
    assert (statistics.in_use, statistics.waiters) == (0, 0)


async def test_closing_sends_everybody_away_who_waits():
    limiter = ConcurrencyLimiter(1)
    await limiter.acquire()
    first, second, third = await enter(limiter, 3)
    second.cancel()
    limiter.close()
    await turns()
    for task in (first, third):
        with pytest.raises(ClientStateError, match="closed while"):
            await task
    assert second.cancelled()
    assert limiter.statistics().in_use == 1
    limiter.release()
    assert limiter.statistics().in_use == 0


async def test_a_waiter_that_is_cancelled_as_the_limiter_closes_is_cancelled():
    limiter = ConcurrencyLimiter(1)
    await limiter.acquire()
    (waiting,) = await enter(limiter, 1)
    limiter.close()
    waiting.cancel()
    with pytest.raises((asyncio.CancelledError, ClientStateError)):
        await waiting
    assert limiter.statistics().in_use == 1


async def test_nobody_gets_into_a_closed_limiter():
    limiter = ConcurrencyLimiter(1)
    limiter.close()
    assert not limiter.try_acquire()
    with pytest.raises(ClientStateError):
        await limiter.acquire()


def filled(ceiling, **settings):
    limiter = ConcurrencyLimiter(ceiling, **settings)
    while limiter.try_acquire():
        pass
    return limiter


@pytest.mark.parametrize(("before", "after"), [(16, 8), (3, 1), (2, 1), (1, 1)])
def test_an_overload_halves_the_limit_but_never_below_one(before, after):
    limiter = ConcurrencyLimiter(before)
    limiter.on_overload(began=0, now=1)
    assert limiter.statistics().limit == after


def test_what_was_sent_before_a_cut_cuts_no_more():
    limiter = ConcurrencyLimiter(16)
    limiter.on_overload(began=0, now=10)
    for began in (0, 5, 9.999):
        limiter.on_overload(began=began, now=11)
    assert limiter.statistics().limit == 8
    limiter.on_overload(began=10, now=12)
    assert (limiter.statistics().limit, limiter.statistics().decreases) == (4, 2)


def test_after_a_cut_those_inside_stay_and_nobody_else_comes_in():
    limiter = filled(4)
    limiter.on_overload(began=0, now=1)
    assert (limiter.statistics().in_use, limiter.statistics().limit) == (4, 2)
    limiter.release()
    limiter.release()
    assert not limiter.try_acquire()
    limiter.release()
    assert limiter.try_acquire()
    assert not limiter.try_acquire()


def test_a_round_of_successes_at_full_use_raises_the_limit_by_one():
    limiter = ConcurrencyLimiter(16)
    limiter.on_overload(began=0, now=1)
    while limiter.try_acquire():
        pass
    for _ in range(7):
        limiter.on_success()
    assert limiter.statistics().limit == 8
    limiter.on_success()
    assert limiter.statistics().limit == 9
    assert limiter.try_acquire()
    for _ in range(9):
        limiter.on_success()
    assert limiter.statistics().limit == 10


async def test_a_raised_limit_lets_the_next_one_in():
    limiter = ConcurrencyLimiter(2)
    limiter.on_overload(began=0, now=1)
    await limiter.acquire()
    (waiting,) = await enter(limiter, 1)
    limiter.on_success()
    await waiting
    assert (limiter.statistics().limit, limiter.statistics().in_use) == (2, 2)


def test_successes_below_full_use_raise_nothing():
    limiter = ConcurrencyLimiter(16)
    limiter.on_overload(began=0, now=1)
    for _ in range(7):
        assert limiter.try_acquire()
    for _ in range(100):
        limiter.on_success()
    assert limiter.statistics().limit == 8


def test_the_limit_never_passes_the_ceiling():
    limiter = filled(4)
    limiter.on_overload(began=0, now=1)
    for _ in range(100):
        limiter.on_success()
    assert limiter.statistics().limit == 4


def test_a_cut_begins_a_new_round():
    limiter = filled(4)
    limiter.on_overload(began=0, now=1)
    limiter.on_success()
    limiter.on_overload(began=1, now=2)
    limiter.on_success()
    assert limiter.statistics().limit == 2
    limiter.on_success()
    assert limiter.statistics().limit == 2
    limiter.on_success()
    assert limiter.statistics().limit == 3


def test_a_fixed_limit_does_not_adapt():
    limiter = filled(4, adaptive=False)
    limiter.on_overload(began=0, now=1)
    limiter.on_success()
    assert limiter.statistics() == attrs.evolve(limiter.statistics(), limit=4, decreases=0)


def test_the_limit_finds_what_a_server_can_bear():
    """A server that bears ten at once: the limit swings around it, and is not stuck at either end."""
    limiter, limits = ConcurrencyLimiter(64), []
    for moment in range(2_000):
        while limiter.try_acquire():
            pass
        if limiter.statistics().in_use > 10:
            limiter.on_overload(began=moment, now=moment)
        else:
            limiter.on_success()
        limiter.release()
        limits.append(limiter.statistics().limit)
    settled = limits[500:]
    assert min(settled) >= 5
    assert max(settled) <= 11


def loop_clock():
    return Clock(time=asyncio.get_running_loop().time)


@pytest.mark.parametrize(("rate", "moments"), [(10, [0.0, 0.1, 0.2, 0.3]), (0.5, [0.0, 2.0, 4.0, 6.0])])
def test_attempts_are_evenly_spaced(virtually, rate, moments):
    async def four():
        turn = RateLimiter(rate, clock=loop_clock()).acquire
        clock = asyncio.get_running_loop().time
        times = []

        async def go():
            await turn()
            times.append(clock())

        await asyncio.gather(*[go() for _ in range(4)])
        return times

    assert virtually(four()) == pytest.approx(moments, abs=0.01)


def test_time_that_was_not_used_is_not_made_up_for(virtually):
    async def scenario():
        turn = RateLimiter(10, clock=loop_clock()).acquire
        clock = asyncio.get_running_loop().time
        await turn()
        await asyncio.sleep(5)
        await turn()
        before = clock()
        await turn()
        return clock() - before

    assert virtually(scenario()) == pytest.approx(0.1, abs=0.01)


def course_of(limiter, bucket, *, count, pause, latency=0.05, workers=16):
    """Let so many requests be accepted. Return the seconds that it took, and how many were refused."""
    now, queue, refused, accepted, waiting = 0.0, [], 0, 0, workers
    while accepted < count:
        while waiting and (now >= limiter.start_at(now) - 1e-9 or not limiter.is_limiting):
            limiter.note_start(now)
            queue.append(now)
            waiting -= 1
        if queue and (not waiting or queue[0] + latency <= limiter.start_at(now)):
            began = queue.pop(0)
            now = max(now, began + latency)
            waiting += 1
            if bucket.accepts(began + latency / 2):
                accepted += 1
                limiter.on_success(began=began, now=now)
            else:
                refused += 1
                limiter.on_refusal(began=began, now=now, pause=pause)
        else:
            now = limiter.start_at(now)
    return now, refused


@pytest.mark.parametrize("pause", [0.0, 1.0])
@pytest.mark.parametrize("burst", [1, 10, 100])
@pytest.mark.parametrize("rate", [1, 10, 50, 200])
def test_the_rate_of_a_server_is_found(rate, burst, pause):
    limiter = RateLimiter(clock=Clock())
    count = max(500, 20 * rate)
    seconds, refused = course_of(limiter, Bucket(rate, burst), count=count, pause=pause)
    ideal = (count - burst) / rate
    assert ideal <= seconds <= 1.2 * ideal
    assert refused <= 20 + 0.05 * count  # a session starts with fewer at once
    assert 0.8 * rate < limiter.rate() < 1.4 * rate


def test_a_pause_of_a_second_is_for_the_refused_attempt_alone_while_others_are_accepted():
    limiter = RateLimiter(clock=Clock())
    assert not limiter.on_refusal(began=0.0, now=0.1, pause=1.0)
    assert not limiter.on_refusal(began=0.05, now=0.11, pause=1.0)  # of the same event
    assert limiter.start_at(0.1) < 0.3
    limiter.note_start(0.3)
    limiter.on_success(began=0.3, now=0.31)
    limiter.note_start(0.4)
    assert not limiter.on_refusal(began=0.4, now=0.41, pause=1.0)  # it accepts some meanwhile
    limiter.note_start(0.6)
    assert limiter.on_refusal(began=0.6, now=0.61, pause=1.0)  # it means everybody
    assert limiter.on_refusal(began=0.6, now=0.62, pause=1.0)
    assert limiter.start_at(0.61) == pytest.approx(1.61)
    limiter.note_start(6.0)
    assert limiter.on_refusal(began=6.0, now=6.1, pause=1.1)  # more than a fraction that was rounded up
    assert limiter.start_at(6.1) >= 7.2


def test_what_was_accepted_before_the_first_refusal_was_the_rate_or_what_the_bucket_held():
    limiter = RateLimiter(clock=Clock())
    for n in range(100):
        limiter.on_success(began=n / 100, now=n / 100 + 0.001)
    limiter.on_refusal(began=1.0, now=1.001)
    assert limiter.rate() > 85  # it goes on as before
    limiter.on_refusal(began=1.01, now=1.011)
    assert limiter.rate() < 10  # it was the bucket's content: the probe begins


def test_a_long_time_without_refusals_is_judged_by_its_end():
    limiter = RateLimiter(clock=Clock())
    limiter.on_refusal(began=0.0, now=0.0)
    for n in range(1, 1001):
        limiter.note_start(n / 50)
        limiter.on_success(began=n / 50, now=n / 50)
    limiter.note_start(20.01)
    limiter.on_refusal(began=20.01, now=20.01)
    assert 40 < limiter.rate() < 60


def test_rare_refusals_cost_little():
    limiter, now = RateLimiter(clock=Clock()), 0.0
    for n in range(1, 4001):
        now = max(now + 0.002, limiter.start_at(now))
        if n % 333:
            limiter.on_success(began=now - 0.001, now=now)
        else:
            limiter.on_refusal(began=now - 0.001, now=now)
        limiter.note_start(now)
    assert now < 1.3 * 8


def test_nothing_is_limited_before_the_first_refusal():
    limiter = RateLimiter(clock=Clock())
    limiter.on_success(began=0.0, now=0.1)
    assert (limiter.is_limiting, limiter.rate(), limiter.start_at(0.1)) == (False, None, 0.1)
    limiter.on_refusal(began=0.1, now=0.2, pause=2.0)
    assert limiter.is_limiting
    assert limiter.start_at(0.2) == pytest.approx(2.2)


def test_what_was_sent_before_a_refusal_was_known_is_one_refusal():
    limiter = RateLimiter(clock=Clock())
    limiter.on_refusal(began=0.0, now=1.0)
    rate = limiter.rate()
    limiter.on_refusal(began=0.9, now=1.1)
    assert limiter.rate() == rate
    limiter.on_refusal(began=1.05, now=1.2)
    assert limiter.rate() < rate


def test_a_rate_that_is_set_is_never_exceeded_and_a_learned_one_may_be_lower():
    limiter = RateLimiter(5, clock=Clock())
    assert limiter.rate() == 5
    limiter.on_refusal(began=0.0, now=0.1)
    for n in range(1, 100):
        limiter.on_success(began=n, now=n + 0.1)
        assert limiter.rate() == 5
    limiter.on_refusal(began=200.0, now=200.1)
    limiter.on_refusal(began=200.2, now=200.3)
    assert limiter.rate() < 5


def test_refusals_alone_never_stop_everything():
    limiter, now = RateLimiter(clock=Clock()), 0.0
    for _ in range(200):
        limiter.on_refusal(began=now, now=now)
        now = limiter.start_at(now)
    assert limiter.rate() >= 0.7 / 30


def test_a_limiter_that_does_not_learn_ignores_refusals():
    limiter = RateLimiter(learn=False, clock=Clock())
    assert limiter.on_refusal(began=0.0, now=0.1, pause=9)
    assert (limiter.is_limiting, limiter.rate()) == (False, None)


def test_a_callable_is_awaited_before_each_attempt(virtually):
    permits = []

    async def permit():
        permits.append(len(permits))

    async def scenario():
        limiter = RateLimiter(permit, clock=loop_clock())
        assert limiter.is_limiting
        await asyncio.gather(*[limiter.acquire() for _ in range(3)])
        return limiter.rate()

    assert virtually(scenario()) is None
    assert permits == [0, 1, 2]


def test_a_pause_holds_those_that_wait_for_the_rate_already(virtually):
    async def scenario():
        clock = loop_clock()
        limiter = RateLimiter(1, clock=clock)
        await limiter.acquire()
        waiting = asyncio.create_task(limiter.acquire())
        await asyncio.sleep(0.5)
        limiter.hold(clock.time() + 10)
        await waiting
        return clock.time()

    assert virtually(scenario()) == pytest.approx(10.5, abs=0.01)


def test_without_a_pause_nothing_remains():
    assert ServerPause().remaining(0) == 0


def test_it_lasts_as_long_as_it_was_asked_to():
    pause = ServerPause()
    assert pause.begin(10, status=429, now=100)
    assert pause.remaining(100) == 10
    assert pause.remaining(109.5) == 0.5
    assert pause.remaining(110) == 0
    assert pause.remaining(200) == 0


def test_a_longer_one_takes_its_place_and_a_shorter_one_does_not():
    pause = ServerPause()
    assert pause.begin(10, status=429, now=100)
    assert not pause.begin(5, status=503, now=101)
    assert not pause.begin(9, status=503, now=101)
    assert pause.remaining(101) == 9
    assert pause.begin(9.5, status=503, now=101)
    assert pause.remaining(101) == 9.5


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimitedError), (503, ServerError)])
def test_who_cannot_wait_is_told_what_the_server_would_say(status, kind):
    pause = ServerPause()
    pause.begin(10, status=status, now=100)
    error = pause.error(104)
    assert type(error) is kind
    assert (error.status, error.retry_after, error.stopped_by) == (status, 6, "retry_after")
    assert not error.maybe_sent


def test_a_repetition_costs_five_and_ten_after_a_timeout():
    budget = RetryBudget(500)
    assert budget.acquire(timed_out=False) == RETRY_COST == 5
    assert budget.acquire(timed_out=True) == RETRY_COST_AFTER_TIMEOUT == 10
    assert budget.tokens == 485


def test_five_hundred_tokens_are_a_hundred_repetitions_and_no_more():
    budget = RetryBudget(500)
    assert all(budget.acquire(timed_out=False) for _ in range(100))
    assert budget.tokens == 0
    assert budget.acquire(timed_out=False) is None


def test_what_is_left_pays_for_the_cheaper_repetition_only():
    budget = RetryBudget(9)
    assert budget.acquire(timed_out=True) is None
    assert budget.tokens == 9
    assert budget.acquire(timed_out=False) == 5
    assert budget.acquire(timed_out=False) is None


def test_five_successes_pay_for_one_repetition():
    budget = RetryBudget(500)
    while budget.acquire(timed_out=False):
        pass
    for _ in range(4):
        budget.release(SUCCESS_REWARD)
    assert budget.acquire(timed_out=False) is None
    budget.release(SUCCESS_REWARD)
    assert budget.acquire(timed_out=False) == 5


def test_it_never_holds_more_than_its_capacity():
    budget = RetryBudget(6)
    budget.release(SUCCESS_REWARD)
    assert budget.tokens == 6
    budget.acquire(timed_out=False)
    budget.release(RETRY_COST_AFTER_TIMEOUT)
    assert budget.tokens == 6


def test_without_a_capacity_everything_is_affordable():
    budget = RetryBudget(None)
    assert all(budget.acquire(timed_out=True) == 10 for _ in range(1_000))
    budget.release(SUCCESS_REWARD)
    assert budget.tokens is None
    assert repr(budget) == "<RetryBudget None of None>"
