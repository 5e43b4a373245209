"""The onion, on a loop with a virtual time and a transport that says what a test wrote down."""

from __future__ import annotations

import asyncio
import itertools
import random
import sys

import pytest

from tracket_async._http.auth import BearerToken, ClientCredentials
from tracket_async._http.limits import Clock
from tracket_async._http.messages import Request, Response
from tracket_async._http.session import TracketSession
from tracket_async.config import CallOptions, Limits, RetryPolicy, Timeouts
from tracket_async.errors import (
    AttemptTimeoutError,
    AuthenticationError,
    ClientStateError,
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    DeadlineExceededError,
    MalformedResponseError,
    NotFoundError,
    RateLimitedError,
    RequestError,
    ServerError,
    UnreadableResponseError,
)
from tracket_async.events import (
    AttemptEnded,
    AttemptStarted,
    RequestEnded,
    RequestStarted,
    RetryScheduled,
    SessionPaused,
    TokenRefreshed,
)

URL = "https://tracket.dev"
CANARY = "canary-7f3a"
TOKEN = BearerToken(CANARY)
GET = Request("GET", "/api/2.0/things/1", "/api/2.0/things/{id}")
PUT = Request("PUT", "/api/2.0/things/1", "/api/2.0/things/{id}", body=b"{}")
POST = Request("POST", "/api/2.0/things", "/api/2.0/things", body=b"{}")
DELETE = Request("DELETE", "/api/2.0/things/1", "/api/2.0/things/{id}")


class Sent:
    """One request that reached the transport."""

    def __init__(self, request, authorization, seconds):
        self.request, self.header, self.seconds = request, authorization.reveal(), seconds
        self.at = asyncio.get_running_loop().time()
        self.is_token = request.path.endswith("/oauth2/token")


class FakeTransport:
    """Takes ``latency`` seconds, then answers as ``behave(sent)`` says: a status, a Response, or an exception."""

    def __init__(self, latency):
        self.latency = latency
        self.sent = []
        self.in_progress = self.most = 0
        self.closed = False
        self.tokens = 0

    async def send(self, request, authorization, *, seconds=None):
        sent = Sent(request, authorization, seconds)
        self.sent.append(sent)
        self.in_progress += 1
        self.most = max(self.most, self.in_progress)
        try:
            latency = self.latency(sent) if callable(self.latency) else self.latency
            if seconds is not None and seconds < latency:
                await asyncio.sleep(seconds)
                raise AttemptTimeoutError("late")
            await asyncio.sleep(latency)
            answer = self.behave(sent)
        finally:
            self.in_progress -= 1
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, Response) else reply(answer)

    async def close(self):
        self.closed = True

    @property
    def calls(self):
        return [sent for sent in self.sent if not sent.is_token]


def reply(status, body=b"{}", **headers):
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def token(number, **more):
    return reply(200, b'{"access_token": "token-%d", "expires_in": 3600}' % number)


@pytest.fixture
def onion(monkeypatch, virtually):
    """Run ``scenario(session, transport)`` on a virtual loop, with answers from ``behave``."""

    def run(scenario, behave=lambda sent: 200, *, latency=0.1, auth=TOKEN, seed=1, **settings):
        transport = FakeTransport(latency)
        transport.behave = behave
        monkeypatch.setattr("tracket_async._http.session.Transport", lambda *args, **kwargs: transport)
        chance = random.Random(seed).random

        async def main():
            clock = Clock(time=asyncio.get_running_loop().time, random=chance)
            async with TracketSession(URL, auth=auth, clock=clock, **settings) as session:
                result = await scenario(session, transport)
                statistics = session.statistics()
                assert (statistics.concurrency.in_use, statistics.concurrency.waiters) == (0, 0)
            assert transport.closed
            return result

        return virtually(main())

    return run


def script(*answers):
    """The nth request gets the nth answer, all others the last."""
    left = list(answers)
    return lambda sent: left.pop(0) if len(left) > 1 else left[0]


def body(response):
    return response.body


async def failing(session, request=GET, parse=body, **options):
    with pytest.raises(RequestError) as caught:
        await session.send(request, parse, options=CallOptions(**options))
    return caught.value


# --- one call -------------------------------------------------------------------------------------------------------


def test_a_call_returns_what_parse_makes_of_the_answer(onion):
    async def scenario(session, transport):
        assert await session.send(GET, lambda response: (response.status, response.body)) == (201, b"x")
        assert [(sent.request, sent.header) for sent in transport.sent] == [(GET, f"Bearer {CANARY}")]

    onion(scenario, lambda sent: reply(201, b"x"))


def test_a_first_success_asks_nothing_of_tenacity(onion, monkeypatch):
    monkeypatch.setattr("tracket_async._http.retry.AsyncRetrying", None)

    async def scenario(session, transport):
        await session.send(GET, body)

    onion(scenario)


def test_without_credentials_no_header_is_sent(onion):
    async def scenario(session, transport):
        await session.send(GET, body)
        return transport.sent[0].header

    assert onion(scenario, auth=None) == ""


@pytest.mark.parametrize("request_", [GET, PUT, DELETE], ids=lambda request: request.method)
@pytest.mark.parametrize(
    "failure",
    [
        408,
        429,
        500,
        502,
        503,
        504,
        ConnectError("x"),
        ConnectionLostError("x"),
        AttemptTimeoutError("x"),
        UnreadableResponseError("x"),
    ],
    ids=str,
)
def test_what_is_idempotent_is_repeated_until_it_works(onion, request_, failure):
    async def scenario(session, transport):
        await session.send(request_, body)
        assert len(transport.sent) == 3
        assert session.statistics().retries == 2

    onion(scenario, script(failure, failure, 200))


@pytest.mark.parametrize(
    ("failure", "attempts", "ambiguous"),
    [
        (ConnectError("x"), 2, False),
        (429, 2, False),
        (ConnectionLostError("x"), 1, True),
        (AttemptTimeoutError("x"), 1, True),
        (UnreadableResponseError("x", status=200), 1, True),
        (500, 1, True),
        (503, 1, True),
        (408, 1, True),
        (400, 1, False),
        (403, 1, False),
        (404, 1, False),
        (409, 1, False),
        (307, 1, True),
    ],
    ids=str,
)
def test_a_create_is_sent_again_only_if_it_was_provably_not_done(onion, failure, attempts, ambiguous):
    async def scenario(session, transport):
        if attempts == 2:
            await session.send(POST, body)
        else:
            assert (await failing(session, POST)).is_ambiguous is ambiguous
        assert len(transport.sent) == attempts

    onion(scenario, script(failure, 200))


@pytest.mark.parametrize(("first", "ambiguous"), [(503, True), (ConnectionLostError("x"), True), (429, False)], ids=str)
def test_what_an_earlier_attempt_may_have_done_is_not_forgotten_when_the_last_is_refused(onion, first, ambiguous):
    async def scenario(session, transport):
        error = await failing(session, PUT)
        assert (error.status, error.maybe_done, error.is_ambiguous) == (403, ambiguous, ambiguous)
        assert len(transport.sent) == 2

    onion(scenario, script(reply(first) if isinstance(first, int) else first, 403))


def test_an_unreadable_answer_to_a_create_is_ambiguous(onion):
    def unreadable(response):
        raise UnreadableResponseError("html")

    async def scenario(session, transport):
        error = await failing(session, POST, unreadable)
        assert error.is_ambiguous
        assert (error.status, error.attempts, error.stopped_by) == (200, 1, None)

    onion(scenario)


def test_an_answer_that_parse_cannot_read_is_fetched_again(onion):
    def parse(response):
        if response.body != b"good":
            raise UnreadableResponseError("html")
        return "good"

    async def scenario(session, transport):
        assert await session.send(GET, parse) == "good"
        assert len(transport.sent) == 2

    onion(scenario, script(reply(200, b"<html>"), reply(200, b"good")))


def test_an_answer_of_another_shape_is_final(onion):
    def parse(response):
        raise MalformedResponseError("no", json_path="$.id", status=200)

    async def scenario(session, transport):
        error = await failing(session, GET, parse)
        assert (error.json_path, error.method, error.path, error.attempts) == ("$.id", "GET", GET.path, 1)
        assert (error.status, error.request_id) == (200, "r-1")
        assert len(transport.sent) == 1

    onion(scenario, script(reply(200, b"{}", X_Request_Id="r-1")))


def test_a_mistake_in_parse_passes_through(onion):
    async def scenario(session, transport):
        with pytest.raises(ZeroDivisionError):
            await session.send(GET, lambda response: 1 / 0)

    onion(scenario)


def test_the_error_says_what_was_tried_and_why_it_ended(onion):
    async def scenario(session, transport):
        error = await failing(session)
        assert type(error) is ServerError
        assert (error.method, error.path, error.status, error.attempts, error.stopped_by, error.request_id) == (
            "GET",
            "/api/2.0/things/1",
            503,
            4,
            "attempts",
            "r-1",
        )
        assert error.__context__ is None
        assert error.__cause__ is None

    onion(scenario, lambda sent: reply(503, b"", X_Request_Id="r-1"))


def test_a_failure_of_the_network_says_which_call_it_was(onion):
    async def scenario(session, transport):
        error = await failing(session)
        assert (error.method, error.path, error.status, error.attempts) == ("GET", "/api/2.0/things/1", None, 4)
        assert not error.maybe_sent

    onion(scenario, lambda sent: ConnectError("x"))


def test_a_call_may_have_fewer_or_more_attempts_than_the_session(onion):
    async def scenario(session, transport):
        assert (await failing(session, attempts=1)).attempts == 1
        assert (await failing(session, attempts=6)).attempts == 6
        assert (await failing(session)).attempts == 2

    onion(scenario, lambda sent: 500, retry=RetryPolicy(attempts=2))


def test_the_last_attempt_was_not_sent_but_an_earlier_one_may_have_been(onion):
    async def scenario(session, transport):
        error = await failing(session, PUT)
        assert type(error) is ConnectError
        assert error.maybe_sent

    onion(scenario, script(ConnectionLostError("x"), ConnectError("x")))


# --- deletes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [ConnectionLostError("x"), AttemptTimeoutError("x"), 500, 503, 408], ids=str)
def test_a_404_on_a_delete_that_may_have_been_done_already_is_success(onion, failure):
    async def scenario(session, transport):
        response = await session.send(DELETE, lambda response: response)
        assert (response.status, response.body) == (204, b"")
        assert session.statistics().retry_tokens == 500

    onion(scenario, script(failure, 404))


@pytest.mark.parametrize("failure", [ConnectError("x"), 429], ids=str)
def test_a_404_on_a_delete_that_was_not_done_before_is_what_it_says(onion, failure):
    async def scenario(session, transport):
        assert type(await failing(session, DELETE)) is NotFoundError

    onion(scenario, script(failure, 404))


@pytest.mark.parametrize("request_", [GET, PUT], ids=lambda request: request.method)
def test_a_404_on_anything_else_is_what_it_says(onion, request_):
    async def scenario(session, transport):
        assert type(await failing(session, request_)) is NotFoundError

    onion(scenario, script(500, 404))


# --- waiting --------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_schedule(onion):
    async def scenario(session, transport):
        await asyncio.gather(*[session.send(GET, body) for _ in range(5)], return_exceptions=True)
        return [sent.at for sent in transport.sent]

    behave = lambda sent: 503 if sent.at < 2 else 200  # noqa: E731
    schedules = [onion(scenario, behave, seed=seed) for seed in (1, 1, 2)]
    assert schedules[0] == schedules[1]
    assert schedules[0] != schedules[2]


def test_no_place_in_the_gate_is_held_between_attempts(onion):
    async def scenario(session, transport):
        first = asyncio.create_task(session.send(GET, body))
        await asyncio.sleep(0.15)  # it has failed once and waits
        await session.send(PUT, body)
        await first
        assert [sent.request.method for sent in transport.sent] == ["GET", "PUT", "GET"]

    retry = RetryPolicy(wait_initial=100, wait_max=100)
    onion(scenario, script(500, 200), limits=Limits(max_concurrency=1), retry=retry)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_as_many_attempts_are_in_progress_as_the_limit_says(onion, concurrency):
    async def scenario(session, transport):
        await asyncio.gather(*[session.send(GET, body) for _ in range(20)])
        assert transport.most == concurrency

    onion(scenario, limits=Limits(max_concurrency=concurrency))


@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_that_the_server_asks_for_holds_for_the_whole_session(onion, status):
    async def scenario(session, transport):
        first = asyncio.create_task(session.send(GET, body))
        await asyncio.sleep(0.2)
        assert session.statistics().paused_for == pytest.approx(9.9)
        await asyncio.gather(first, *[session.send(GET, body) for _ in range(10)])
        times = sorted(sent.at for sent in transport.sent)[1:]
        assert all(10.1 <= at <= 11.1 for at in times)
        assert len({round(at, 6) for at in times}) == 11
        assert session.statistics().paused_for == 0

    onion(scenario, script(reply(status, Retry_After="10"), 200))


def test_who_queued_before_a_pause_began_waits_for_its_end(onion):
    async def scenario(session, transport):
        await asyncio.gather(*[session.send(GET, body) for _ in range(3)])
        assert [sent.at >= 10.1 for sent in transport.sent] == [False, True, True, True]

    onion(scenario, script(reply(429, Retry_After="10"), 200), limits=Limits(max_concurrency=1))


def test_a_retry_after_on_another_status_pauses_nobody(onion):
    async def scenario(session, transport):
        await failing(session, attempts=1)
        return session.statistics().paused_for

    assert onion(scenario, lambda sent: reply(500, Retry_After="10")) == 0


def test_a_create_that_is_not_repeated_pauses_the_session_nevertheless(onion):
    async def scenario(session, transport):
        error = await failing(session, POST)
        assert (error.retry_after, len(transport.sent)) == (10, 1)
        return session.statistics().paused_for

    assert onion(scenario, lambda sent: reply(503, Retry_After="10")) == 10


def test_a_pause_above_the_cap_fails_the_call_at_once_and_stops_nobody_else(onion):
    async def scenario(session, transport):
        error = await failing(session)
        assert type(error) is RateLimitedError
        assert (error.retry_after, error.stopped_by, error.attempts) == (301, "retry_after", 1)
        await session.send(GET, body)
        return asyncio.get_running_loop().time()

    assert onion(scenario, script(reply(429, Retry_After="301"), 200)) == pytest.approx(0.2)


def test_who_cannot_wait_for_the_end_of_a_pause_is_told_so_at_once(onion):
    async def scenario(session, transport):
        await failing(session, attempts=1)
        error = await failing(session, POST, timeout=5)
        assert type(error) is RateLimitedError
        assert (error.retry_after, error.stopped_by, error.attempts, error.maybe_sent) == (10, "retry_after", 0, False)
        assert (error.method, error.path) == ("POST", POST.path)
        assert len(transport.sent) == 1

    onion(scenario, lambda sent: reply(429, Retry_After="10"))


def test_a_date_in_retry_after_is_relative_to_the_servers_clock(onion):
    async def scenario(session, transport):
        await failing(session, attempts=1)
        return session.statistics().paused_for

    headers = {"Retry_After": "Wed, 21 Oct 2015 07:28:30 GMT", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    assert onion(scenario, lambda sent: reply(503, **headers)) == 30


@pytest.mark.parametrize("nonsense", ["inf", "nan", "-5", "1.5", "soon", "", "9999999999"])
def test_a_nonsensical_retry_after_is_ignored(onion, nonsense):
    async def scenario(session, transport):
        await session.send(GET, body)
        return asyncio.get_running_loop().time()

    assert onion(scenario, script(reply(429, Retry_After=nonsense), 200)) < 1.3


def test_every_attempt_is_paced(onion):
    async def scenario(session, transport):
        await asyncio.gather(*[session.send(GET, body) for _ in range(3)])
        times = [sent.at for sent in transport.sent]
        gaps = [b - a for a, b in itertools.pairwise(times)]
        assert len(times) == 4
        assert min(gaps) >= 0.5 - 1e-3

    onion(scenario, script(500, 200), limits=Limits(requests_per_second=2))


def test_what_queues_in_the_gate_does_not_leave_it_in_a_burst(onion):
    async def scenario(session, transport):
        await asyncio.gather(*[session.send(GET, body) for _ in range(6)])
        times = sorted(sent.at for sent in transport.sent)
        assert min(b - a for a, b in itertools.pairwise(times)) >= 0.1 - 1e-3

    latency = lambda sent: 5 if sent.at < 0.15 else 0.1  # noqa: E731
    onion(scenario, latency=latency, limits=Limits(max_concurrency=2, requests_per_second=10))


def test_who_is_cancelled_while_it_is_paced_gives_its_place_back(onion):
    async def scenario(session, transport):
        tasks = [asyncio.create_task(session.send(GET, body)) for _ in range(3)]
        await asyncio.sleep(1)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert len(transport.sent) == 2

    onion(scenario, limits=Limits(requests_per_second=0.1))


# --- the deadline ---------------------------------------------------------------------------------------------------


def test_the_deadline_bounds_an_attempt(onion):
    async def scenario(session, transport):
        error = await failing(session, timeout=5)
        assert type(error) is DeadlineExceededError
        assert (error.attempts, error.maybe_sent) == (1, True)
        assert str(error).startswith("The call was not done within 5 s: its time ran out while waiting for the answer")
        return asyncio.get_running_loop().time()

    assert onion(scenario, latency=20) == pytest.approx(5)


def test_a_deadline_that_comes_while_connecting_leaves_nothing_ambiguous(onion):
    async def scenario(session, transport):
        transport.send = connecting
        error = await failing(session, POST, timeout=5)
        assert type(error) is DeadlineExceededError
        assert not error.is_ambiguous

    async def connecting(request, authorization, *, seconds):
        await asyncio.sleep(seconds)
        raise ConnectError("late")

    onion(scenario)


def test_an_attempt_that_fails_in_time_is_not_blamed_on_the_deadline(onion):
    async def scenario(session, transport):
        assert type(await failing(session, timeout=5, attempts=1)) is AttemptTimeoutError

    onion(scenario, lambda sent: AttemptTimeoutError("x"))


def test_the_deadline_includes_queueing(onion):
    async def scenario(session, transport):
        first = asyncio.create_task(session.send(GET, body))
        await asyncio.sleep(0.5)
        error = await failing(session, POST, timeout=2)
        assert type(error) is DeadlineExceededError
        assert (error.attempts, error.maybe_sent, error.is_ambiguous) == (0, False, False)
        assert asyncio.get_running_loop().time() == pytest.approx(2.5)
        await first

    onion(scenario, latency=50, limits=Limits(max_concurrency=1))


def test_no_time_left_after_the_queue_is_too_late(onion):
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

    onion(scenario)


def test_the_deadline_includes_the_waits_between_attempts(onion):
    async def scenario(session, transport):
        error = await failing(session, timeout=3, attempts=100)
        assert type(error) is ServerError
        assert error.stopped_by == "deadline"
        assert asyncio.get_running_loop().time() < 3

    onion(scenario, lambda sent: 500)


@pytest.mark.parametrize(("call", "seconds"), [(90, 90), (None, None)])
def test_the_transport_is_told_what_is_left(onion, call, seconds):
    async def scenario(session, transport):
        await session.send(GET, body)
        assert transport.sent[0].seconds == seconds

    onion(scenario, timeouts=Timeouts(total=call))


@pytest.mark.parametrize("statuses", [[500], [502], [503], [504], [500, 502, 503, 504]], ids=str)
def test_a_burst_of_failures_of_the_server_is_survived_by_everybody(onion, statuses):
    chance = random.Random(2)

    async def scenario(session, transport):
        results = await asyncio.gather(*[session.send(GET, body) for _ in range(50)])
        assert results == [b"{}"] * 50
        assert session.statistics().retries == len(transport.sent) - 50 > 0

    onion(scenario, lambda sent: chance.choice(statuses) if sent.at < 0.5 else 200, retry=RetryPolicy(attempts=10))


# --- the budget -----------------------------------------------------------------------------------------------------


async def outage(session, transport, workers=100, calls=10):
    """Workers that go on calling through an outage; returns how many calls succeeded."""
    succeeded = 0

    async def work():
        nonlocal succeeded
        for _ in range(calls):
            try:
                await session.send(GET, body)
            except ServerError:
                continue
            succeeded += 1

    await asyncio.gather(*[work() for _ in range(workers)])
    return succeeded


def test_an_outage_is_not_made_worse_by_repeating(onion):
    async def scenario(session, transport):
        succeeded = await outage(session, transport)
        assert succeeded == 0
        assert session.statistics().retries == 100
        assert len(transport.sent) == 1_100
        assert (await failing(session)).stopped_by == "budget"

    onion(scenario, lambda sent: 503, limits=Limits(max_concurrency=100))


@pytest.mark.soak
def test_an_outage_with_some_successes_costs_a_hundred_repetitions_and_a_fifth_of_the_successes(onion):
    chance = random.Random(5)

    async def scenario(session, transport):
        refunds = 0
        release = session._budget.release

        def counted(tokens):
            nonlocal refunds
            refunds += tokens >= 5
            release(tokens)

        session._budget.release = counted
        succeeded = await outage(session, transport, calls=60)
        assert succeeded > 500
        assert session.statistics().retries - refunds <= 100 + 0.2 * succeeded

    onion(scenario, lambda sent: 200 if chance.random() < 0.1 else 500, limits=Limits(max_concurrency=100))


def test_a_success_brings_one_token_and_a_replay_is_not_a_repetition(onion):
    async def scenario(session, transport):
        session._budget.acquire(timed_out=True)
        await session.send(GET, body)
        assert session.statistics().retry_tokens == 491

    onion(scenario)


# --- the gate adapts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503])
def test_the_gate_gives_way_and_recovers(onion, status):
    async def scenario(session, transport):
        await asyncio.gather(*[session.send(GET, body) for _ in range(8)])
        low = session.statistics().concurrency.limit
        assert (low, session.statistics().concurrency.decreases) == (4, 1)
        await asyncio.gather(*[session.send(GET, body) for _ in range(200)])
        assert session.statistics().concurrency.limit == 8

    onion(scenario, lambda sent: status if sent.at < 0.05 else 200, limits=Limits(max_concurrency=8))


@pytest.mark.parametrize("status", [400, 404, 500, 502])
def test_other_failures_do_not_make_it_give_way(onion, status):
    async def scenario(session, transport):
        await failing(session, attempts=1)
        assert session.statistics().concurrency.decreases == 0

    onion(scenario, lambda sent: status)


# --- tokens ---------------------------------------------------------------------------------------------------------

CREDENTIALS = ClientCredentials("id", CANARY, "5")


class Tokens:
    """A server that accepts the token that it gave out last, for as long as ``lifetime`` says."""

    def __init__(self, lifetime=1e9, api=lambda sent: 200, refuse=False):
        self.issued, self.lifetime, self.api, self.refuse = [], lifetime, api, refuse

    def __call__(self, sent):
        now = asyncio.get_running_loop().time()
        if sent.is_token:
            self.issued.append(now)
            return token(len(self.issued))
        valid = not self.refuse and sent.header == f"Bearer token-{len(self.issued)}"
        return self.api(sent) if valid and now < self.issued[-1] + self.lifetime else 401


def test_a_token_is_fetched_before_the_first_call_and_used_for_the_next(onion):
    async def scenario(session, transport):
        for _ in range(3):
            await session.send(GET, body)
        assert [sent.is_token for sent in transport.sent] == [True, False, False, False]
        assert session.statistics().token_refreshes == 1
        assert transport.sent[0].header == ""

    onion(scenario, Tokens(), auth=CREDENTIALS)


def test_a_gate_of_one_does_not_lock_the_token_call_out(onion):
    async def scenario(session, transport):
        await session.send(GET, body)

    onion(scenario, Tokens(), auth=CREDENTIALS, limits=Limits(max_concurrency=1))


def test_a_token_that_has_become_stale_is_renewed_before_it_is_refused(onion):
    async def scenario(session, transport):
        await session.send(GET, body)
        await asyncio.sleep(3_239)
        await session.send(GET, body)
        assert session.statistics().token_refreshes == 1
        await asyncio.sleep(1)
        await session.send(GET, body)
        assert session.statistics().token_refreshes == 2
        assert session.statistics().attempts == 3

    onion(scenario, Tokens(), auth=CREDENTIALS)


def expiry_in_the_middle(onion, callers):
    async def scenario(session, transport):
        await session.send(GET, body)
        await asyncio.sleep(30)  # the server forgets the token early: nobody could foresee it
        await asyncio.gather(*[session.send(GET, body) for _ in range(callers)])
        assert sum(sent.is_token for sent in transport.sent) == 2
        assert session.statistics().token_refreshes == 2
        assert session.statistics().retries == 0
        assert session.statistics().retry_tokens == 500

    onion(scenario, Tokens(lifetime=20), auth=CREDENTIALS, limits=Limits(max_concurrency=callers))


def test_a_token_that_expires_in_the_middle_of_two_hundred_calls_is_renewed_once(onion):
    expiry_in_the_middle(onion, 200)


@pytest.mark.soak
def test_a_token_that_expires_in_the_middle_of_a_thousand_calls_is_renewed_once(onion):
    expiry_in_the_middle(onion, 1_000)


def test_a_second_401_raises(onion):
    async def scenario(session, transport):
        error = await failing(session)
        assert type(error) is AuthenticationError
        assert (error.attempts, error.stopped_by) == (2, None)
        assert [sent.is_token for sent in transport.sent] == [True, False, True, False]

    onion(scenario, Tokens(refuse=True), auth=CREDENTIALS)


def test_there_is_one_replay_for_a_call_and_not_one_for_each_attempt(onion):
    async def scenario(session, transport):
        error = await failing(session)
        assert type(error) is AuthenticationError
        assert error.attempts == 3

    answers = script(401, 503, 401)
    onion(scenario, lambda sent: token(1) if sent.is_token else answers(sent), auth=CREDENTIALS)


def test_a_create_is_replayed_after_a_401_and_stays_unambiguous(onion):
    async def scenario(session, transport):
        await session.send(POST, body)
        assert [sent.is_token for sent in transport.sent] == [True, False, True, False]

    answers = script(401, 201)
    onion(scenario, lambda sent: token(1) if sent.is_token else answers(sent), auth=CREDENTIALS)


def test_a_create_whose_replay_was_not_sent_is_not_ambiguous(onion):
    async def scenario(session, transport):
        error = await failing(session, POST)
        assert type(error) is ConnectError
        assert not error.is_ambiguous

    answers = script(401, ConnectError("x"))
    onion(scenario, lambda sent: token(1) if sent.is_token else answers(sent), auth=CREDENTIALS)


def test_a_fixed_token_that_is_refused_is_not_sent_again(onion):
    async def scenario(session, transport):
        assert type(await failing(session)) is AuthenticationError
        assert len(transport.sent) == 1

    onion(scenario, lambda sent: 401)


@pytest.mark.parametrize(
    "failure",
    [ConnectError("x"), ConnectionLostError("x"), AttemptTimeoutError("x"), 429, 500, 503, reply(200, b"<html>")],
    ids=str,
)
def test_the_token_call_is_repeated_for_all_who_wait(onion, failure):
    answers = script(failure, failure, token(1))

    async def scenario(session, transport):
        await asyncio.gather(*[session.send(POST, body) for _ in range(10)])
        assert sum(sent.is_token for sent in transport.sent) == 3
        assert len(transport.calls) == 10
        assert session.statistics().retries == 0

    onion(scenario, lambda sent: answers(sent) if sent.is_token else 200, auth=CREDENTIALS)


def test_a_token_that_cannot_be_had_fails_the_call_without_further_attempts(onion):
    async def scenario(session, transport):
        errors = await asyncio.gather(*[session.send(POST, body) for _ in range(3)], return_exceptions=True)
        assert len(transport.sent) == 4
        for error in errors:
            assert type(error) is ServerError
            assert (error.method, error.path, error.attempts) == ("POST", "/api/2.0/oauth2/token", 4)
            assert error.stopped_by == "attempts"
            assert not error.is_ambiguous

    onion(scenario, lambda sent: 503, auth=CREDENTIALS)


def test_a_token_call_that_is_too_slow_is_not_blamed_on_the_callers_deadline(onion):
    async def scenario(session, transport):
        error = await failing(session)
        assert type(error) is AttemptTimeoutError
        assert (error.path, error.stopped_by) == ("/api/2.0/oauth2/token", "attempts")

    onion(scenario, lambda sent: AttemptTimeoutError("x"), auth=CREDENTIALS)


def test_refused_credentials_are_not_tried_again(onion):
    async def scenario(session, transport):
        error = await failing(session)
        assert type(error) is AuthenticationError
        assert "TRACKET_CLIENT_SECRET" in str(error)
        assert len(transport.sent) == 1

    onion(scenario, lambda sent: reply(401, b'{"error": "invalid_client"}'), auth=CREDENTIALS)


def test_a_token_call_that_hangs_is_bounded_by_the_callers_deadline(onion):
    async def scenario(session, transport):
        error = await failing(session, POST, timeout=3)
        assert type(error) is DeadlineExceededError
        assert "waiting for an access token" in str(error)
        assert (error.attempts, error.is_ambiguous) == (0, False)
        assert asyncio.get_running_loop().time() == pytest.approx(3)

    onion(scenario, latency=50, auth=CREDENTIALS)


def test_a_token_call_without_any_deadline_has_none(onion):
    async def scenario(session, transport):
        await session.send(GET, body)
        assert transport.sent[0].seconds is None

    onion(scenario, Tokens(), auth=CREDENTIALS, timeouts=Timeouts(total=None))


def test_an_outage_of_the_api_does_not_keep_a_token_from_being_fetched(onion):
    answers = script(503, 503, token(1))

    async def scenario(session, transport):
        session._budget._tokens = 0
        await session.send(GET, body)

    onion(scenario, lambda sent: answers(sent) if sent.is_token else 200, auth=CREDENTIALS)


# --- its life -------------------------------------------------------------------------------------------------------


def test_outside_of_async_with_it_says_what_to_do(onion):
    session = TracketSession(URL, auth=None)
    assert repr(session) == "<TracketSession https://tracket.dev not open yet>"
    assert session.base_url == "https://tracket.dev"

    async def scenario(_session, _transport):
        with pytest.raises(ClientStateError, match="async with"):
            await session.send(GET, body)

    onion(scenario)
    assert session.statistics().requests == 0


def test_a_session_that_is_closed_is_closed_for_good(onion):
    async def scenario(session, transport):
        await session.aclose()
        await session.aclose()
        with pytest.raises(ClientStateError, match="is closed"):
            await session.send(GET, body)
        with pytest.raises(ClientStateError, match="opened once"):
            await session.__aenter__()
        assert repr(session).endswith("closed>")

    onion(scenario)


def test_a_session_that_was_never_opened_can_be_closed(virtually):
    session = TracketSession(URL, auth=None)
    virtually(session.aclose())
    assert repr(session).endswith("closed>")


def test_an_open_session_is_not_opened_again(onion):
    async def scenario(session, transport):
        with pytest.raises(ClientStateError, match="opened once"):
            await session.__aenter__()

    onion(scenario)


async def test_it_belongs_to_the_loop_on_which_it_was_opened():
    async with TracketSession(URL, auth=None) as session:
        with pytest.raises(ClientStateError, match="another event loop"):
            await asyncio.to_thread(lambda: asyncio.run(session.send(GET, body)))


def test_calls_in_every_stage_end_when_it_is_closed(onion):
    async def scenario(session, transport):
        kinds = []

        async def call(request):
            try:
                await session.send(request, body)
            except ClientStateError as error:
                kinds.append(str(error))

        queued = [asyncio.create_task(call(GET)) for _ in range(3)]
        await asyncio.sleep(0.5)
        await session.aclose()
        await asyncio.gather(*queued)
        assert len(kinds) == 2

    onion(scenario, latency=1, limits=Limits(max_concurrency=1))


def test_closing_ends_a_token_call(onion):
    async def scenario(session, transport):
        task = asyncio.create_task(session.send(GET, body))
        await asyncio.sleep(1)
        await session.aclose()
        with pytest.raises(ClientStateError, match="closed while"):
            await task

    onion(scenario, latency=50, auth=CREDENTIALS)


@pytest.mark.parametrize("settings", [{"base_url": "http://tracket.dev"}, {"user_agent": "a\r\nb"}])
def test_a_wrong_setting_is_refused_at_once(settings):
    with pytest.raises(ConfigurationError):
        TracketSession(**{"base_url": URL, "auth": None} | settings)


# --- what observers see ---------------------------------------------------------------------------------------------


def kinds(events):
    return [type(event) for event in events]


def test_an_observer_sees_a_call_from_its_start_to_its_end(onion):
    events = []

    async def scenario(session, transport):
        await session.send(GET, body)

    onion(scenario, script(503, 200), observers=[events.append])
    assert kinds(events) == [
        RequestStarted,
        AttemptStarted,
        AttemptEnded,
        RetryScheduled,
        AttemptStarted,
        AttemptEnded,
        RequestEnded,
    ]
    started, first, failed, on_retry, second, answered, ended = events
    names = {"request": 1, "method": "GET", "route": "/api/2.0/things/{id}"}
    assert all(getattr(event, name) == value for event in events for name, value in names.items())
    assert started.path == ended.path == "/api/2.0/things/1"
    assert [event.attempt for event in (first, failed, on_retry, second, answered)] == [1, 1, 1, 2, 2]
    assert (failed.status, failed.error, failed.duration) == (503, "ServerError", pytest.approx(0.1))
    assert (answered.status, answered.error) == (200, None)
    assert on_retry.error == "ServerError"
    assert (ended.attempts, ended.status, ended.error) == (2, 200, None)
    assert ended.duration == pytest.approx(0.2 + on_retry.delay)


def test_an_observer_sees_queues_pauses_and_tokens(onion):
    events = []
    answers = script(reply(429, Retry_After="10"), 200)

    async def scenario(session, transport):
        await asyncio.gather(session.send(GET, body), session.send(PUT, body))

    behave = lambda sent: token(1) if sent.is_token else answers(sent)  # noqa: E731
    onion(scenario, behave, auth=CREDENTIALS, limits=Limits(max_concurrency=1), observers=[events.append])
    assert [event for event in events if isinstance(event, TokenRefreshed)] == [
        TokenRefreshed(duration=pytest.approx(0.1), expires_in=3600)
    ]
    assert [event for event in events if isinstance(event, SessionPaused)] == [SessionPaused(seconds=10, status=429)]
    waited = [event.waited for event in events if isinstance(event, AttemptStarted)]
    assert waited[0] == 0
    assert waited[1] > 0.1 or waited[2] > 0.1


def test_a_failure_without_an_answer_has_no_status(onion):
    events = []

    async def scenario(session, transport):
        await failing(session, attempts=1)

    onion(scenario, lambda sent: ConnectError("x"), observers=[events.append])
    assert (events[2].status, events[2].error) == (None, "ConnectError")
    assert (events[3].status, events[3].error, events[3].attempts) == (None, "ConnectError", 1)


def test_a_cancelled_call_ends_for_observers_too(onion):
    events = []

    async def scenario(session, transport):
        task = asyncio.create_task(session.send(GET, body))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    onion(scenario, observers=[events.append])
    assert kinds(events) == [RequestStarted, AttemptStarted, AttemptEnded, RequestEnded]
    assert [events[2].error, events[3].error] == ["CancelledError"] * 2


def test_an_observer_that_raises_is_logged_once_and_does_no_harm(onion, caplog):
    seen = []

    def broken(event):
        raise ValueError("oops")

    async def scenario(session, transport):
        await session.send(GET, body)

    onion(scenario, observers=[broken, seen.append])
    assert len(seen) == 4
    assert len(caplog.records) == 1
    assert caplog.records[0].name == "tracket_async"


def test_no_event_is_made_when_nobody_listens(onion, monkeypatch):
    # Importing it would raise an ImportError now, and nothing else makes events.
    monkeypatch.setitem(sys.modules, "tracket_async.events", None)
    answers = script(reply(429, Retry_After="1"), 200)

    async def scenario(session, transport):
        await session.send(GET, body)

    onion(scenario, lambda sent: token(1) if sent.is_token else answers(sent), auth=CREDENTIALS)


def test_statistics_count_everything(onion):
    async def scenario(session, transport):
        await session.send(GET, body)
        await session.send(GET, body)
        statistics = session.statistics()
        assert (statistics.requests, statistics.attempts, statistics.retries) == (2, 3, 1)
        assert (statistics.concurrency.max_concurrency, statistics.retry_tokens) == (16, 500)

    onion(scenario, script(500, 200))
