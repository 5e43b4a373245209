"""A session on virtual time: what is retried, the retry budget, opening and closing, events."""

from __future__ import annotations

import asyncio
import functools
import random
import sys

import pytest

from tests.http.conftest import CANARY, CREDENTIALS, DELETE, GET, POST, PUT, URL, body, failing, reply, script, token
from tracket_async._http.session import TracketSession
from tracket_async.config import Limits, RetryPolicy, Timeouts
from tracket_async.errors import (
    AttemptTimeoutError,
    ClientStateError,
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    MalformedResponseError,
    NotFoundError,
    ServerError,
    UnreadableResponseError,
    maybe_sent,
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

# --- one call -----------------------------------------------------------------------------------------------------


def test_a_call_returns_what_parse_makes_of_the_answer(run_session):
    async def scenario(session, transport):
        assert await session.send(GET, lambda response: (response.status, response.body)) == (201, b"x")
        assert [(sent.request, sent.header) for sent in transport.sent] == [(GET, f"Bearer {CANARY}")]

    run_session(scenario, lambda sent: reply(201, b"x"))


def test_a_first_success_asks_nothing_of_tenacity(run_session, monkeypatch):
    monkeypatch.setattr("tracket_async._http.retry.AsyncRetrying", None)

    async def scenario(session, transport):
        await session.send(GET, body)

    run_session(scenario)


def test_without_credentials_no_header_is_sent(run_session):
    async def scenario(session, transport):
        await session.send(GET, body)
        return transport.sent[0].header

    assert run_session(scenario, auth=None) == ""


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
def test_what_is_idempotent_is_retried_until_it_works(run_session, request_, failure):
    async def scenario(session, transport):
        await session.send(request_, body)
        assert len(transport.sent) == 3
        assert session.statistics().retries == 2

    run_session(scenario, script(failure, failure, 200))


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
def test_a_create_is_sent_again_only_if_it_was_provably_not_done(run_session, failure, attempts, ambiguous):
    async def scenario(session, transport):
        if attempts == 2:
            await session.send(POST, body)
        else:
            assert (await failing(session, POST)).is_ambiguous is ambiguous
        assert len(transport.sent) == attempts

    run_session(scenario, script(failure, 200))


@pytest.mark.parametrize(("first", "ambiguous"), [(503, True), (ConnectionLostError("x"), True), (429, False)], ids=str)
def test_a_refusal_does_not_hide_what_an_earlier_attempt_may_have_done(run_session, first, ambiguous):
    async def scenario(session, transport):
        error = await failing(session, PUT)
        assert (error.status, error.maybe_done, error.is_ambiguous) == (403, ambiguous, ambiguous)
        assert len(transport.sent) == 2

    run_session(scenario, script(reply(first) if isinstance(first, int) else first, 403))


def test_an_unreadable_answer_to_a_create_is_ambiguous(run_session):
    def unreadable(response):
        raise UnreadableResponseError("html")

    async def scenario(session, transport):
        error = await failing(session, POST, unreadable)
        assert error.is_ambiguous
        assert (error.status, error.attempts, error.stopped_by) == (200, 1, None)

    run_session(scenario)


def test_an_answer_that_parse_cannot_read_is_fetched_again(run_session):
    def parse(response):
        if response.body != b"good":
            raise UnreadableResponseError("html")
        return "good"

    async def scenario(session, transport):
        assert await session.send(GET, parse) == "good"
        assert len(transport.sent) == 2

    run_session(scenario, script(reply(200, b"<html>"), reply(200, b"good")))


def test_an_answer_of_another_shape_is_final(run_session):
    def parse(response):
        raise MalformedResponseError("no", json_path="$.id", status=200)

    async def scenario(session, transport):
        error = await failing(session, GET, parse)
        assert (error.json_path, error.method, error.path, error.attempts) == ("$.id", "GET", GET.path, 1)
        assert (error.status, error.request_id) == (200, "r-1")
        assert len(transport.sent) == 1

    run_session(scenario, script(reply(200, b"{}", X_Request_Id="r-1")))


def test_a_mistake_in_parse_passes_through(run_session):
    async def scenario(session, transport):
        with pytest.raises(ZeroDivisionError):
            await session.send(GET, lambda response: 1 / 0)

    run_session(scenario)


def test_the_error_says_what_was_tried_and_why_it_ended(run_session):
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

    run_session(scenario, lambda sent: reply(503, b"", X_Request_Id="r-1"))


def test_a_failure_of_the_network_says_which_call_it_was(run_session):
    async def scenario(session, transport):
        error = await failing(session)
        assert (error.method, error.path, error.status, error.attempts) == ("GET", "/api/2.0/things/1", None, 4)
        assert not error.maybe_sent

    run_session(scenario, lambda sent: ConnectError("x"))


def test_a_call_may_have_fewer_or_more_attempts_than_the_session(run_session):
    async def scenario(session, transport):
        assert (await failing(session, attempts=1)).attempts == 1
        assert (await failing(session, attempts=6)).attempts == 6
        assert (await failing(session)).attempts == 2

    run_session(scenario, lambda sent: 500, retry=RetryPolicy(attempts=2))


def test_the_last_attempt_was_not_sent_but_an_earlier_one_may_have_been(run_session):
    async def scenario(session, transport):
        error = await failing(session, PUT)
        assert type(error) is ConnectError
        assert error.maybe_sent

    run_session(scenario, script(ConnectionLostError("x"), ConnectError("x")))


# --- what a call that is cancelled or closed has done -------------------------------------------------------------


async def cancelled_at(session, moment, request=POST):
    """The CancelledError of a call that is cancelled at that moment."""
    call = asyncio.create_task(session.send(request, body))
    await asyncio.sleep(moment)
    call.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await call
    return caught.value


WAITING = {
    "for its turn": ({"limits": Limits(max_concurrency=1)}, script(200), False),
    "for the rate": ({"limits": Limits(requests_per_second=0.01)}, script(200), False),
    "for a pause": ({}, script(reply(429, Retry_After="100")), False),
    "after a 429": ({}, script(429), False),
    "after a failed connection": ({}, script(ConnectError("x")), False),
    "for the answer": ({}, script(200), True),
}


@pytest.mark.parametrize("what", WAITING)
def test_a_cancelled_call_says_whether_anything_was_in_flight(run_session, what):
    settings, behave, sent = WAITING[what]

    async def scenario(session, transport):
        first = asyncio.create_task(session.send(GET, body)) if what in {"for its turn", "for the rate"} else None
        error = await cancelled_at(session, 50)
        assert maybe_sent(error) is sent
        if first is not None:
            await first

    retry = RetryPolicy(wait_initial=100, wait_initial_rate_limited=100, wait_max=100)
    latency = 60 if what in {"for its turn", "for the answer"} else 0.1
    timeouts = Timeouts(attempt=None, total=None)
    # The first draw of this seed is above a half: the wait for the next attempt lasts for more than 50 seconds.
    run_session(scenario, behave, latency=latency, retry=retry, timeouts=timeouts, seed=2, **settings)


def test_a_call_that_is_cancelled_while_it_waits_for_a_token_was_not_sent(run_session):
    async def scenario(session, transport):
        assert not maybe_sent(await cancelled_at(session, 0.05))
        assert transport.calls == []

    run_session(scenario, lambda sent: token(1), auth=CREDENTIALS)


def test_what_an_earlier_attempt_may_have_done_is_not_forgotten_by_a_cancellation(run_session):
    async def scenario(session, transport):
        assert maybe_sent(await cancelled_at(session, 50, PUT))

    retry = RetryPolicy(wait_initial=100, wait_max=100)
    run_session(scenario, script(ConnectionLostError("x")), retry=retry, timeouts=Timeouts(total=None), seed=2)


def test_a_timeout_of_the_caller_says_it_in_its_cause(run_session):
    async def scenario(session, transport):
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.05):
                await session.send(POST, body)
        assert maybe_sent(caught.value.__cause__)
        assert maybe_sent(caught.value)

    run_session(scenario)


def test_of_a_closed_client_a_call_that_waited_was_not_sent(run_session):
    async def scenario(session, transport):
        calls = [asyncio.create_task(session.send(POST, body)) for _ in range(2)]
        await asyncio.sleep(0.05)
        await session.aclose()
        with pytest.raises(ClientStateError) as caught:
            await calls[1]
        assert not maybe_sent(caught.value)
        await calls[0]

    run_session(scenario, limits=Limits(max_concurrency=1))


# --- deletes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [ConnectionLostError("x"), AttemptTimeoutError("x"), 500, 503, 408], ids=str)
def test_a_404_on_a_delete_that_may_have_been_done_already_is_success(run_session, failure):
    async def scenario(session, transport):
        response = await session.send(DELETE, lambda response: response)
        assert (response.status, response.body) == (204, b"")
        assert session.statistics().retry_tokens == 500

    run_session(scenario, script(failure, 404))


@pytest.mark.parametrize("failure", [ConnectError("x"), 429], ids=str)
def test_a_404_on_a_delete_that_was_not_done_before_is_what_it_says(run_session, failure):
    async def scenario(session, transport):
        assert type(await failing(session, DELETE)) is NotFoundError

    run_session(scenario, script(failure, 404))


@pytest.mark.parametrize("request_", [GET, PUT], ids=lambda request: request.method)
def test_a_404_on_anything_else_is_what_it_says(run_session, request_):
    async def scenario(session, transport):
        assert type(await failing(session, request_)) is NotFoundError

    run_session(scenario, script(500, 404))


# --- the budget ---------------------------------------------------------------------------------------------------


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


def test_an_outage_is_not_made_worse_by_retries(run_session):
    async def scenario(session, transport):
        succeeded = await outage(session, transport)
        assert succeeded == 0
        assert session.statistics().retries == 100
        assert len(transport.sent) == 1_100
        assert (await failing(session)).stopped_by == "budget"

    run_session(scenario, lambda sent: 503, limits=Limits(max_concurrency=100))


@pytest.mark.soak
def test_an_outage_with_some_successes_costs_100_retries_and_a_fifth_of_the_successes(run_session):
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

    run_session(scenario, lambda sent: 200 if chance.random() < 0.1 else 500, limits=Limits(max_concurrency=100))


def test_a_success_brings_one_token_and_a_replay_is_no_retry(run_session):
    async def scenario(session, transport):
        session._budget.acquire(timed_out=True)
        await session.send(GET, body)
        assert session.statistics().retry_tokens == 491

    run_session(scenario)


# --- its life -----------------------------------------------------------------------------------------------------


def test_outside_of_async_with_it_says_what_to_do(run_session):
    session = TracketSession(URL, auth=None)
    assert repr(session) == "<TracketSession https://tracket.dev not open yet>"
    assert session.base_url == "https://tracket.dev"

    async def scenario(_session, _transport):
        with pytest.raises(ClientStateError, match="async with"):
            await session.send(GET, body)

    run_session(scenario)
    assert session.statistics().requests == 0


def test_a_session_that_is_closed_is_closed_for_good(run_session):
    async def scenario(session, transport):
        await session.aclose()
        await session.aclose()
        with pytest.raises(ClientStateError, match="is closed"):
            await session.send(GET, body)
        with pytest.raises(ClientStateError, match="opened once"):
            await session.__aenter__()
        assert repr(session).endswith("closed>")

    run_session(scenario)


def test_a_session_that_was_never_opened_can_be_closed(virtually):
    session = TracketSession(URL, auth=None)
    virtually(session.aclose())
    assert repr(session).endswith("closed>")


def test_an_open_session_is_not_opened_again(run_session):
    async def scenario(session, transport):
        with pytest.raises(ClientStateError, match="opened once"):
            await session.__aenter__()

    run_session(scenario)


async def test_it_belongs_to_the_loop_on_which_it_was_opened():
    async with TracketSession(URL, auth=None) as session:
        with pytest.raises(ClientStateError, match="another event loop"):
            await asyncio.to_thread(lambda: asyncio.run(session.send(GET, body)))


def test_calls_in_every_stage_end_when_it_is_closed(run_session):
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

    run_session(scenario, latency=1, limits=Limits(max_concurrency=1))


def test_closing_ends_a_token_call(run_session):
    async def scenario(session, transport):
        task = asyncio.create_task(session.send(GET, body))
        await asyncio.sleep(1)
        await session.aclose()
        with pytest.raises(ClientStateError, match="closed while"):
            await task

    run_session(scenario, latency=50, auth=CREDENTIALS)


@pytest.mark.parametrize("settings", [{"base_url": "http://tracket.dev"}, {"user_agent": "a\r\nb"}])
def test_a_wrong_setting_is_refused_at_once(settings):
    with pytest.raises(ConfigurationError):
        TracketSession(**{"base_url": URL, "auth": None} | settings)


# --- what observers see -------------------------------------------------------------------------------------------


def kinds(events):
    return [type(event) for event in events]


def test_an_observer_sees_a_call_from_its_start_to_its_end(run_session):
    events = []

    async def scenario(session, transport):
        await session.send(GET, body)

    run_session(scenario, script(503, 200), observers=[events.append])
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


def test_an_observer_sees_queues_pauses_and_tokens(run_session):
    events = []
    answers = script(reply(429, Retry_After="10"), 200)

    async def scenario(session, transport):
        await asyncio.gather(session.send(GET, body), session.send(PUT, body))

    behave = lambda sent: token(1) if sent.is_token else answers(sent)  # noqa: E731
    run_session(scenario, behave, auth=CREDENTIALS, limits=Limits(max_concurrency=1), observers=[events.append])
    assert [event for event in events if isinstance(event, TokenRefreshed)] == [
        TokenRefreshed(duration=pytest.approx(0.1), expires_in=3600)
    ]
    assert [event for event in events if isinstance(event, SessionPaused)] == [SessionPaused(seconds=10, status=429)]
    waited = [event.waited for event in events if isinstance(event, AttemptStarted)]
    assert waited[0] == 0
    assert waited[1] > 0.1 or waited[2] > 0.1


def test_a_failure_without_an_answer_has_no_status(run_session):
    events = []

    async def scenario(session, transport):
        await failing(session, attempts=1)

    run_session(scenario, lambda sent: ConnectError("x"), observers=[events.append])
    assert (events[2].status, events[2].error) == (None, "ConnectError")
    assert (events[3].status, events[3].error, events[3].attempts) == (None, "ConnectError", 1)


def test_a_cancelled_call_ends_for_observers_too(run_session):
    events = []

    async def scenario(session, transport):
        task = asyncio.create_task(session.send(GET, body))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run_session(scenario, observers=[events.append])
    assert kinds(events) == [RequestStarted, AttemptStarted, AttemptEnded, RequestEnded]
    assert [events[2].error, events[3].error] == ["CancelledError"] * 2


async def async_observer(event):
    """Be never awaited."""


async def async_stream(event):
    """Be never iterated."""
    yield event


class AsyncObserver:
    """An object that is called as an ``async def``."""

    async def __call__(self, event):
        """Be never awaited."""

    async def observe(self, event):
        """Be never awaited."""


@pytest.mark.parametrize(
    ("observer", "name"),
    [
        (async_observer, "async_observer"),
        (async_stream, "async_stream"),
        (AsyncObserver(), "AsyncObserver"),
        (AsyncObserver().observe, "AsyncObserver.observe"),
        (functools.partial(async_observer), "partial"),
    ],
)
def test_an_async_observer_is_refused_at_construction(observer, name):
    with pytest.raises(ConfigurationError, match=rf"^The observer {name} is asynchronous") as caught:
        TracketSession(URL, auth=None, observers=[print, observer])
    assert "create_task" in str(caught.value)


def test_an_observer_that_cannot_be_called_is_refused():
    with pytest.raises(ConfigurationError, match="An observer must be callable, and str is not"):
        TracketSession(URL, auth=None, observers="x")


def test_an_observer_that_returns_a_coroutine_is_logged_and_not_dropped(run_session, caplog):
    async def scenario(session, transport):
        await session.send(GET, body)

    run_session(scenario, observers=[lambda event: async_observer(event) if event else None])
    (record,) = caplog.records
    assert "An observer raised on RequestStarted" in record.message
    assert "returned a coroutine" in str(record.exc_info[1])


def test_an_observer_that_raises_is_logged_once_and_does_no_harm(run_session, caplog):
    seen = []

    def broken(event):
        raise ValueError("oops")

    async def scenario(session, transport):
        await session.send(GET, body)

    run_session(scenario, observers=[broken, seen.append])
    assert len(seen) == 4
    assert len(caplog.records) == 1
    assert caplog.records[0].name == "tracket_async"


def test_no_event_is_made_when_nobody_listens(run_session, monkeypatch):
    # Importing it would raise an ImportError now, and nothing else makes events.
    monkeypatch.setitem(sys.modules, "tracket_async.events", None)
    answers = script(reply(429, Retry_After="1"), 200)

    async def scenario(session, transport):
        await session.send(GET, body)

    run_session(scenario, lambda sent: token(1) if sent.is_token else answers(sent), auth=CREDENTIALS)


def test_statistics_count_everything(run_session):
    async def scenario(session, transport):
        await session.send(GET, body)
        await session.send(GET, body)
        statistics = session.statistics()
        assert (statistics.requests, statistics.attempts, statistics.retries) == (2, 3, 1)
        assert (statistics.concurrency.max_concurrency, statistics.retry_tokens) == (16, 500)

    run_session(scenario, script(500, 200))
