"""An attempt on virtual time: its slot, the pause, the rate, the deadline, the adapting limit, and its token."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random

import pytest

from tests.http.conftest import CREDENTIALS, GET, POST, PUT, Bucket, Tokens, body, failing, reply, script, token
from tracket_async.config import CallOptions, Limits, RetryPolicy, Timeouts
from tracket_async.errors import (
    AttemptTimeoutError,
    AuthenticationError,
    ConnectError,
    ConnectionLostError,
    DeadlineExceededError,
    NotFoundError,
    RateLimitedError,
    ServerError,
)
from tracket_async.events import SessionPaused

# --- waiting ------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_schedule(run_session):
    async def scenario(session, transport):
        await asyncio.gather(*[session.send(GET, body) for _ in range(5)], return_exceptions=True)
        return [sent.at for sent in transport.sent]

    behave = lambda sent: 503 if sent.at < 2 else 200  # noqa: E731
    schedules = [run_session(scenario, behave, seed=seed) for seed in (1, 1, 2)]
    assert schedules[0] == schedules[1]
    assert schedules[0] != schedules[2]


def test_no_slot_is_held_between_attempts(run_session):
    async def scenario(session, transport):
        first = asyncio.create_task(session.send(GET, body))
        await asyncio.sleep(0.15)  # it has failed once and waits
        await session.send(PUT, body)
        await first
        assert [sent.request.method for sent in transport.sent] == ["GET", "PUT", "GET"]

    retry = RetryPolicy(wait_initial=100, wait_max=100)
    run_session(scenario, script(500, 200), limits=Limits(max_concurrency=1), retry=retry)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_as_many_attempts_are_in_progress_as_the_limit_says(run_session, concurrency):
    async def scenario(session, transport):
        await asyncio.gather(*[session.send(GET, body) for _ in range(20)])
        assert transport.most == concurrency

    run_session(scenario, limits=Limits(max_concurrency=concurrency))


@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_that_the_server_asks_for_holds_for_the_whole_session(run_session, status):
    async def scenario(session, transport):
        first = asyncio.create_task(session.send(GET, body))
        await asyncio.sleep(0.2)
        assert session.statistics().paused_for == pytest.approx(9.9)
        await asyncio.gather(first, *[session.send(GET, body) for _ in range(10)])
        times = sorted(sent.at for sent in transport.sent)[1:]
        assert all(10.1 <= at <= 11.1 for at in times)
        assert len({round(at, 6) for at in times}) == 11
        assert session.statistics().paused_for == 0

    run_session(scenario, script(reply(status, Retry_After="10"), 200))


def test_who_queued_before_a_pause_began_waits_for_its_end(run_session):
    async def scenario(session, transport):
        await asyncio.gather(*[session.send(GET, body) for _ in range(3)])
        assert [sent.at >= 10.1 for sent in transport.sent] == [False, True, True, True]

    run_session(scenario, script(reply(429, Retry_After="10"), 200), limits=Limits(max_concurrency=1))


def test_a_retry_after_on_another_status_pauses_nobody(run_session):
    async def scenario(session, transport):
        await failing(session, attempts=1)
        return session.statistics().paused_for

    assert run_session(scenario, lambda sent: reply(500, Retry_After="10")) == 0


def exhausted(status=200, *, reset="20", prefix="RateLimit_", **more):
    return reply(status, **{f"{prefix}Remaining": "0", f"{prefix}Reset": reset}, **more)


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("prefix", ["RateLimit_", "X_RateLimit_"])
@pytest.mark.parametrize("limits", [Limits(max_concurrency=1), Limits(requests_per_second=10)])
def test_when_nothing_remains_the_session_waits_for_the_reset_and_no_call_fails(run_session, status, prefix, limits):
    async def scenario(session, transport):
        with contextlib.suppress(NotFoundError):
            await session.send(GET, body)
        assert session.statistics().paused_for == pytest.approx(20)
        await asyncio.gather(*[session.send(GET, body, options=CallOptions(timeout=1)) for _ in range(3)])
        assert all(20.1 <= sent.at <= 22.1 for sent in transport.sent[1:])

    run_session(scenario, script(exhausted(status, prefix=prefix), 200), limits=limits)


def test_a_rate_limit_in_one_header_makes_the_session_wait(run_session):
    async def scenario(session, transport):
        await session.send(GET, body)
        return session.statistics().paused_for

    for value in ("limit=10, remaining=0, reset=20", '"default";r=0;t=20'):
        assert run_session(scenario, script(reply(200, RateLimit=value))) == pytest.approx(20)


def test_who_queues_as_the_last_request_is_answered_waits_for_the_reset(run_session):
    async def scenario(session, transport):
        calls = [session.send(GET, body, options=CallOptions(timeout=5)) for _ in range(3)]
        await asyncio.gather(*calls, session.send(GET, body, options=CallOptions(wait_for_rate=True)))
        assert [sent.at >= 20.1 for sent in transport.sent] == [False, True, True, True]

    for limits in (Limits(max_concurrency=1), Limits(requests_per_second=5)):
        run_session(scenario, script(exhausted(), 200), limits=limits)


@pytest.mark.parametrize(("reset", "longest", "paused"), [(86_400, 300, 60), (86_400, 5, 5), (9, 0, 0), (0.5, 5, 0.5)])
def test_the_wait_for_a_reset_is_bounded(run_session, reset, longest, paused):
    async def scenario(session, transport):
        await session.send(GET, body)
        return session.statistics().paused_for

    retry = RetryPolicy(max_retry_after=longest)
    assert run_session(scenario, lambda sent: exhausted(reset=str(reset)), retry=retry) == pytest.approx(paused)


@pytest.mark.parametrize("reset", ["inf", "nan", "-5", "", "0", "9" * 400])
def test_a_reset_that_makes_no_sense_is_no_reason_to_wait(run_session, reset):
    async def scenario(session, transport):
        for _ in range(3):
            await session.send(GET, body)
        return transport.sent[-1].at

    assert run_session(scenario, lambda sent: exhausted(reset=reset)) == pytest.approx(0.2)


def test_answers_that_name_the_same_reset_pause_the_session_once(run_session):
    async def scenario(session, transport):
        await asyncio.gather(*[session.send(GET, body) for _ in range(5)])

    events = []
    run_session(scenario, lambda sent: exhausted(), latency=lambda sent: len(events) / 100, observers=[events.append])
    pauses = [event for event in events if isinstance(event, SessionPaused)]
    assert [(event.seconds, event.status) for event in pauses] == [(20, 200)]


def test_a_shorter_pause_within_a_longer_one_is_not_told_again(run_session):
    async def scenario(session, transport):
        await asyncio.gather(*[session.send(GET, body) for _ in range(2)])

    events = []
    answers = script(reply(503, Retry_After="10"), reply(503, Retry_After="5"), 200)
    run_session(scenario, answers, observers=[events.append])
    assert [event.seconds for event in events if isinstance(event, SessionPaused)] == [10]


def test_a_429_without_retry_after_waits_for_its_reset(run_session):
    async def scenario(session, transport):
        await session.send(GET, body)
        assert 20.1 <= transport.sent[1].at <= 22.1

    run_session(scenario, script(exhausted(429), 200))


def test_a_create_that_is_not_retried_pauses_the_session_nevertheless(run_session):
    async def scenario(session, transport):
        error = await failing(session, POST)
        assert (error.retry_after, len(transport.sent)) == (10, 1)
        return session.statistics().paused_for

    assert run_session(scenario, lambda sent: reply(503, Retry_After="10")) == 10


def test_a_pause_above_the_cap_fails_the_call_at_once_and_stops_nobody_else(run_session):
    async def scenario(session, transport):
        error = await failing(session)
        assert type(error) is RateLimitedError
        assert (error.retry_after, error.stopped_by, error.attempts) == (301, "retry_after", 1)
        await session.send(GET, body)
        return asyncio.get_running_loop().time()

    took = run_session(scenario, script(reply(429, Retry_After="301"), 200))
    assert 0.2 <= took < 1  # the second call waits for the rate that the refusal taught


def test_who_cannot_wait_for_the_end_of_a_pause_is_told_so_at_once(run_session):
    async def scenario(session, transport):
        await failing(session, attempts=1)
        error = await failing(session, POST, timeout=5)
        assert type(error) is RateLimitedError
        assert (error.retry_after, error.stopped_by, error.attempts, error.maybe_sent) == (10, "retry_after", 0, False)
        assert (error.method, error.path) == ("POST", POST.path)
        assert len(transport.sent) == 1

    run_session(scenario, lambda sent: reply(429, Retry_After="10"))


def test_a_date_in_retry_after_is_relative_to_the_servers_clock(run_session):
    async def scenario(session, transport):
        await failing(session, attempts=1)
        return session.statistics().paused_for

    headers = {"Retry_After": "Wed, 21 Oct 2015 07:28:30 GMT", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    assert run_session(scenario, lambda sent: reply(503, **headers)) == 30


@pytest.mark.parametrize("nonsense", ["inf", "nan", "-5", "1,5", "soon", "", "9999999999"])
def test_a_nonsensical_retry_after_is_ignored(run_session, nonsense):
    async def scenario(session, transport):
        await session.send(GET, body)
        return asyncio.get_running_loop().time()

    assert run_session(scenario, script(reply(429, Retry_After=nonsense), 200)) < 1.3


def test_every_attempt_is_paced(run_session):
    async def scenario(session, transport):
        await asyncio.gather(*[session.send(GET, body) for _ in range(3)])
        times = [sent.at for sent in transport.sent]
        gaps = [b - a for a, b in itertools.pairwise(times)]
        assert len(times) == 4
        assert min(gaps) >= 0.5 - 1e-3

    run_session(scenario, script(500, 200), limits=Limits(requests_per_second=2))


def test_what_queues_does_not_leave_the_queue_in_a_burst(run_session):
    async def scenario(session, transport):
        await asyncio.gather(*[session.send(GET, body) for _ in range(6)])
        times = sorted(sent.at for sent in transport.sent)
        assert min(b - a for a, b in itertools.pairwise(times)) >= 0.1 - 1e-3

    latency = lambda sent: 5 if sent.at < 0.15 else 0.1  # noqa: E731
    run_session(scenario, latency=latency, limits=Limits(max_concurrency=2, requests_per_second=10))


def test_who_is_cancelled_while_it_is_paced_gives_its_slot_back(run_session):
    async def scenario(session, transport):
        tasks = [asyncio.create_task(session.send(GET, body)) for _ in range(3)]
        await asyncio.sleep(1)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert len(transport.sent) == 2

    run_session(scenario, limits=Limits(requests_per_second=0.1))


# --- the deadline -------------------------------------------------------------------------------------------------


def test_the_deadline_bounds_an_attempt(run_session):
    async def scenario(session, transport):
        error = await failing(session, timeout=5)
        assert type(error) is DeadlineExceededError
        assert (error.attempts, error.maybe_sent) == (1, True)
        assert str(error).startswith("The call was not done within 5 s: its time ran out while waiting for the answer")
        return asyncio.get_running_loop().time()

    assert run_session(scenario, latency=20) == pytest.approx(5)


def test_a_deadline_that_comes_while_connecting_leaves_nothing_ambiguous(run_session):
    async def scenario(session, transport):
        transport.send = connecting
        error = await failing(session, POST, timeout=5)
        assert type(error) is DeadlineExceededError
        assert not error.is_ambiguous

    async def connecting(request, authorization, *, seconds):
        await asyncio.sleep(seconds)
        raise ConnectError("late")

    run_session(scenario)


def test_an_attempt_that_fails_in_time_is_not_blamed_on_the_deadline(run_session):
    async def scenario(session, transport):
        assert type(await failing(session, timeout=5, attempts=1)) is AttemptTimeoutError

    run_session(scenario, lambda sent: AttemptTimeoutError("x"))


def test_the_deadline_includes_queueing(run_session):
    async def scenario(session, transport):
        first = asyncio.create_task(session.send(GET, body))
        await asyncio.sleep(0.5)
        error = await failing(session, POST, timeout=2)
        assert type(error) is DeadlineExceededError
        assert (error.attempts, error.maybe_sent, error.is_ambiguous) == (0, False, False)
        assert asyncio.get_running_loop().time() == pytest.approx(2.5)
        await first

    run_session(scenario, latency=50, limits=Limits(max_concurrency=1))


def test_no_time_left_after_the_queue_is_too_late(run_session):
    """The clock can pass the deadline without a timer having run: the loop was blocked."""

    async def scenario(session, transport):
        limiter = session._limiter
        take = limiter.try_acquire

        async def blocked():
            assert take()
            asyncio.get_running_loop()._travel.now += 2

        limiter.acquire, limiter.try_acquire = blocked, lambda: False
        with pytest.raises(DeadlineExceededError, match="waiting for its turn") as caught:
            await session.send(GET, body, options=CallOptions(timeout=1))
        assert (caught.value.maybe_sent, caught.value.attempts) == (False, 0)
        assert transport.sent == []

    run_session(scenario)


def test_the_deadline_includes_the_waits_between_attempts(run_session):
    async def scenario(session, transport):
        error = await failing(session, timeout=3, attempts=100)
        assert type(error) is ServerError
        assert error.stopped_by == "deadline"
        assert asyncio.get_running_loop().time() < 3

    run_session(scenario, lambda sent: 500)


@pytest.mark.parametrize(("call", "seconds"), [(90, 90), (None, None)])
def test_the_transport_is_told_what_is_left(run_session, call, seconds):
    async def scenario(session, transport):
        await session.send(GET, body)
        assert transport.sent[0].seconds == seconds

    run_session(scenario, timeouts=Timeouts(total=call))


@pytest.mark.parametrize("statuses", [[500], [502], [503], [504], [500, 502, 503, 504]], ids=str)
def test_a_burst_of_failures_of_the_server_is_survived_by_everybody(run_session, statuses):
    chance = random.Random(2)

    async def scenario(session, transport):
        results = await asyncio.gather(*[session.send(GET, body) for _ in range(50)])
        assert results == [b"{}"] * 50
        assert session.statistics().retries == len(transport.sent) - 50 > 0

    run_session(
        scenario, lambda sent: chance.choice(statuses) if sent.at < 0.5 else 200, retry=RetryPolicy(attempts=10)
    )


# --- the limit adapts ----------------------------------------------------------------------------------------------


def test_the_limit_gives_way_to_a_503_and_recovers(run_session):
    async def scenario(session, transport):
        await asyncio.gather(*[session.send(GET, body) for _ in range(8)])
        low = session.statistics().concurrency.limit
        assert (low, session.statistics().concurrency.decreases) == (3, 1)
        await asyncio.gather(*[session.send(GET, body) for _ in range(200)])
        assert session.statistics().concurrency.limit == 8

    run_session(scenario, lambda sent: 503 if sent.at < 0.05 else 200, limits=Limits(max_concurrency=8))


PATIENT = CallOptions(wait_for_rate=True)


def test_a_429_is_no_failure_for_a_call_that_waits_for_the_rate(run_session):
    async def scenario(session, transport):
        await asyncio.gather(*[session.send(GET, body, options=PATIENT) for _ in range(100)])
        statistics = session.statistics()
        assert statistics.requests == 100
        assert statistics.attempts == len(transport.sent) > 100
        assert (statistics.retries, statistics.retry_tokens) == (0, 500)
        assert 5 < statistics.rate < 15

    bucket = Bucket(10, 1)
    answer = lambda sent: 200 if bucket.accepts(sent.at) else 429  # noqa: E731
    run_session(scenario, answer, timeouts=Timeouts(total=2), retry=RetryPolicy(attempts=1))


@pytest.mark.parametrize("latency", [0.001, 0.2])
@pytest.mark.parametrize("retry_after", ["1", "0", None])
@pytest.mark.parametrize("burst", [1, 10])
@pytest.mark.parametrize("rate", [10, 50])
def test_the_servers_rate_is_used_and_hardly_exceeded(run_session, rate, burst, retry_after, latency):
    bucket, chance, count = Bucket(rate, burst), random.Random(1), max(500, 20 * rate)
    headers = {} if retry_after is None else {"Retry_After": retry_after}

    async def scenario(session, transport):
        left = iter(range(count))

        async def worker():
            for _ in left:
                await session.send(GET, body, options=PATIENT)

        await asyncio.gather(*[worker() for _ in range(16)])
        return len(transport.sent) - count, asyncio.get_running_loop().time()

    refused, seconds = run_session(
        scenario,
        lambda sent: 200 if bucket.accepts(asyncio.get_running_loop().time()) else reply(429, **headers),
        latency=lambda sent: latency + chance.expovariate(5000),
    )
    assert seconds <= 1.2 * max((count - burst) / rate, count * latency / 16)
    assert refused <= 0.05 * count


def test_a_pause_of_one_call_does_not_hold_the_others(run_session):
    async def scenario(session, transport):
        loop = asyncio.get_running_loop()
        await session.send(GET, body, options=PATIENT)  # refused once, then a rate is learned
        await session.send(GET, body, options=PATIENT)
        began = loop.time()
        first = asyncio.create_task(session.send(GET, body, options=PATIENT))
        await asyncio.sleep(0.3)
        await session.send(GET, body, options=PATIENT)
        other = loop.time() - began
        await first
        return other, loop.time() - began

    refusal = reply(429, Retry_After="1")
    other, refused = run_session(scenario, script(refusal, 200, 200, refusal, 200), latency=0.001)
    assert other < 1 <= refused < 1.3


def test_slow_start_raises_the_limit_with_each_success(run_session):
    async def scenario(session, transport):
        await asyncio.gather(*[session.send(GET, body) for _ in range(100)])
        assert session.statistics().concurrency.limit == 16
        return [sum(round(sent.at / 0.1) == n for sent in transport.sent) for n in range(4)]

    assert run_session(scenario) == [6, 12, 16, 16]


def test_a_call_that_waits_for_the_rate_waits_out_a_pause_beyond_its_time(run_session):
    async def scenario(session, transport):
        await session.send(GET, body, options=PATIENT)
        return asyncio.get_running_loop().time()

    took = run_session(scenario, script(reply(429, Retry_After="30"), 200), timeouts=Timeouts(total=2))
    assert 30 < took < 34


def test_a_call_without_a_deadline_waits_for_the_rate_too(run_session):
    async def scenario(session, transport):
        assert await session.send(GET, body, options=PATIENT) == b"{}"
        return asyncio.get_running_loop().time()

    took = run_session(scenario, script(reply(429, Retry_After="30"), 200), timeouts=Timeouts(total=None))
    assert 30 < took < 34


def test_without_any_success_the_wait_for_the_rate_ends_with_the_time_of_the_call(run_session):
    async def scenario(session, transport):
        with pytest.raises(RateLimitedError):
            await session.send(GET, body, options=PATIENT)
        return asyncio.get_running_loop().time()

    assert run_session(scenario, lambda sent: 429, timeouts=Timeouts(total=20), retry=RetryPolicy(attempts=1)) < 200


@pytest.mark.parametrize(
    ("limits", "retry_after"), [(Limits(adaptive=False), None), (Limits(adaptive=False), "301"), (Limits(), "301")]
)
def test_a_429_is_a_failure_where_the_rate_is_not_learned_or_the_pause_is_too_long(run_session, limits, retry_after):
    async def scenario(session, transport):
        with pytest.raises(RateLimitedError):
            await session.send(GET, body, options=PATIENT)
        return len(transport.sent)

    headers = {} if retry_after is None else {"Retry_After": retry_after}
    settings = {"limits": limits, "retry": RetryPolicy(attempts=1)}
    assert run_session(scenario, lambda sent: reply(429, **headers), **settings) == 1


@pytest.mark.parametrize("status", [400, 404, 500, 502])
def test_other_failures_do_not_make_it_give_way(run_session, status):
    async def scenario(session, transport):
        await failing(session, attempts=1)
        assert session.statistics().concurrency.decreases == 0

    run_session(scenario, lambda sent: status)


@pytest.mark.parametrize(
    ("request_", "body", "elsewhere"),
    [(POST, b"{}", True), (GET, b"<!doctype html>", True), (GET, b'{"error": "there is no such worklog"}', False)],
)
def test_where_not_an_id_but_the_path_is_unknown_the_address_is_doubted(run_session, request_, body, elsewhere):
    async def scenario(session, transport):
        error = await failing(session, request_)
        assert ("Tracket's API is not at this address; check TRACKET_BASE_URL" in str(error)) is elsewhere

    run_session(scenario, lambda sent: reply(404, body))


# --- tokens -------------------------------------------------------------------------------------------------------


def test_a_token_is_fetched_before_the_first_call_and_used_for_the_next(run_session):
    async def scenario(session, transport):
        for _ in range(3):
            await session.send(GET, body)
        assert [sent.is_token for sent in transport.sent] == [True, False, False, False]
        assert session.statistics().token_refreshes == 1
        assert transport.sent[0].header == ""

    run_session(scenario, Tokens(), auth=CREDENTIALS)


def test_a_limit_of_one_does_not_lock_the_token_call_out(run_session):
    async def scenario(session, transport):
        await session.send(GET, body)

    run_session(scenario, Tokens(), auth=CREDENTIALS, limits=Limits(max_concurrency=1))


def test_a_token_that_has_become_stale_is_refreshed_before_it_is_refused(run_session):
    async def scenario(session, transport):
        await session.send(GET, body)
        await asyncio.sleep(3_239)
        await session.send(GET, body)
        assert session.statistics().token_refreshes == 1
        await asyncio.sleep(1)
        await session.send(GET, body)
        assert session.statistics().token_refreshes == 2
        assert session.statistics().attempts == 3

    run_session(scenario, Tokens(), auth=CREDENTIALS)


def expiry_in_the_middle(run_session, callers):
    async def scenario(session, transport):
        await session.send(GET, body)
        await asyncio.sleep(30)  # the server forgets the token early: nobody could foresee it
        await asyncio.gather(*[session.send(GET, body) for _ in range(callers)])
        assert sum(sent.is_token for sent in transport.sent) == 2
        assert session.statistics().token_refreshes == 2
        assert session.statistics().retries == 0
        assert session.statistics().retry_tokens == 500

    run_session(scenario, Tokens(lifetime=20), auth=CREDENTIALS, limits=Limits(max_concurrency=callers))


def test_a_token_that_expires_in_the_middle_of_two_hundred_calls_is_refreshed_once(run_session):
    expiry_in_the_middle(run_session, 200)


@pytest.mark.soak
def test_a_token_that_expires_in_the_middle_of_a_thousand_calls_is_refreshed_once(run_session):
    expiry_in_the_middle(run_session, 1_000)


def test_a_second_401_raises(run_session):
    async def scenario(session, transport):
        error = await failing(session)
        assert type(error) is AuthenticationError
        assert (error.attempts, error.stopped_by) == (2, None)
        assert [sent.is_token for sent in transport.sent] == [True, False, True, False]

    run_session(scenario, Tokens(refuse=True), auth=CREDENTIALS)


def test_there_is_one_replay_for_a_call_and_not_one_for_each_attempt(run_session):
    async def scenario(session, transport):
        error = await failing(session)
        assert type(error) is AuthenticationError
        assert error.attempts == 3

    answers = script(401, 503, 401)
    run_session(scenario, lambda sent: token(1) if sent.is_token else answers(sent), auth=CREDENTIALS)


def test_a_create_is_replayed_after_a_401_and_stays_unambiguous(run_session):
    async def scenario(session, transport):
        await session.send(POST, body)
        assert [sent.is_token for sent in transport.sent] == [True, False, True, False]

    answers = script(401, 201)
    run_session(scenario, lambda sent: token(1) if sent.is_token else answers(sent), auth=CREDENTIALS)


def test_a_create_whose_replay_was_not_sent_is_not_ambiguous(run_session):
    async def scenario(session, transport):
        error = await failing(session, POST)
        assert type(error) is ConnectError
        assert not error.is_ambiguous

    answers = script(401, ConnectError("x"))
    run_session(scenario, lambda sent: token(1) if sent.is_token else answers(sent), auth=CREDENTIALS)


def test_a_fixed_token_that_is_refused_is_not_sent_again(run_session):
    async def scenario(session, transport):
        assert type(await failing(session)) is AuthenticationError
        assert len(transport.sent) == 1

    run_session(scenario, lambda sent: 401)


@pytest.mark.parametrize(
    "failure",
    [ConnectError("x"), ConnectionLostError("x"), AttemptTimeoutError("x"), 429, 500, 503, reply(200, b"<html>")],
    ids=str,
)
def test_the_token_call_is_retried_for_all_who_wait(run_session, failure):
    answers = script(failure, failure, token(1))

    async def scenario(session, transport):
        await asyncio.gather(*[session.send(POST, body) for _ in range(10)])
        assert sum(sent.is_token for sent in transport.sent) == 3
        assert len(transport.calls) == 10
        assert session.statistics().retries == 0

    run_session(scenario, lambda sent: answers(sent) if sent.is_token else 200, auth=CREDENTIALS)


def test_a_token_that_cannot_be_fetched_fails_the_call_without_further_attempts(run_session):
    async def scenario(session, transport):
        errors = await asyncio.gather(*[session.send(POST, body) for _ in range(3)], return_exceptions=True)
        assert len(transport.sent) == 4
        for error in errors:
            assert type(error) is ServerError
            assert (error.method, error.path, error.attempts) == ("POST", "/api/2.0/oauth2/token", 4)
            assert error.stopped_by == "attempts"
            assert not error.is_ambiguous

    run_session(scenario, lambda sent: 503, auth=CREDENTIALS)


def test_a_token_call_that_is_too_slow_is_not_blamed_on_the_callers_deadline(run_session):
    async def scenario(session, transport):
        error = await failing(session)
        assert type(error) is AttemptTimeoutError
        assert (error.path, error.stopped_by) == ("/api/2.0/oauth2/token", "attempts")

    run_session(scenario, lambda sent: AttemptTimeoutError("x"), auth=CREDENTIALS)


def test_refused_credentials_are_not_tried_again(run_session):
    async def scenario(session, transport):
        error = await failing(session)
        assert type(error) is AuthenticationError
        assert "TRACKET_CLIENT_SECRET" in str(error)
        assert len(transport.sent) == 1

    run_session(scenario, lambda sent: reply(401, b'{"error": "invalid_client"}'), auth=CREDENTIALS)


def test_a_token_call_that_hangs_is_bounded_by_the_callers_deadline(run_session):
    async def scenario(session, transport):
        error = await failing(session, POST, timeout=3)
        assert type(error) is DeadlineExceededError
        assert "waiting for an access token" in str(error)
        assert (error.attempts, error.is_ambiguous) == (0, False)
        assert asyncio.get_running_loop().time() == pytest.approx(3)

    run_session(scenario, latency=50, auth=CREDENTIALS)


def test_a_token_call_without_any_deadline_has_none(run_session):
    async def scenario(session, transport):
        await session.send(GET, body)
        assert transport.sent[0].seconds is None

    run_session(scenario, Tokens(), auth=CREDENTIALS, timeouts=Timeouts(total=None))


def test_an_outage_of_the_api_does_not_keep_a_token_from_being_fetched(run_session):
    answers = script(503, 503, token(1))

    async def scenario(session, transport):
        session._budget._tokens = 0
        await session.send(GET, body)

    run_session(scenario, lambda sent: answers(sent) if sent.is_token else 200, auth=CREDENTIALS)
