"""What is repeated, after how long, and what makes it stop: every decision, without a network."""

from __future__ import annotations

import random

import pytest
from tenacity import RetryCallState

from tracket_async._http.attempt import Call
from tracket_async._http.limits import Clock, RetryBudget
from tracket_async._http.messages import Request
from tracket_async._http.retry import FullJitter, Retrier, failure
from tracket_async.config import RetryPolicy
from tracket_async.errors import (
    AttemptTimeoutError,
    AuthenticationError,
    BadRequestError,
    CertificateError,
    ClientStateError,
    ConflictError,
    ConnectError,
    ConnectionLostError,
    DeadlineExceededError,
    GoneError,
    MalformedResponseError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    RedirectError,
    RequestError,
    ResponseTooLargeError,
    ServerError,
    StatusError,
    TruncatedResponseError,
    UnreadableResponseError,
)


def of(kind, status=None, **details):
    return kind("x", status=status, **details)


ALWAYS, IDEMPOTENT, NEVER = "always", "if idempotent", "never"
TABLE = [
    (of(ConnectError), ALWAYS),
    (of(CertificateError), NEVER),
    (of(RateLimitedError, 429), ALWAYS),
    (of(ConnectionLostError), IDEMPOTENT),
    (of(TruncatedResponseError), IDEMPOTENT),
    (of(AttemptTimeoutError), IDEMPOTENT),
    (of(UnreadableResponseError, 200), IDEMPOTENT),
    (of(StatusError, 408), IDEMPOTENT),
    (of(ServerError, 500), IDEMPOTENT),
    (of(ServerError, 502), IDEMPOTENT),
    (of(ServerError, 503), IDEMPOTENT),
    (of(ServerError, 504), IDEMPOTENT),
    *((of(ServerError, status), IDEMPOTENT) for status in (509, 520, 522, 524, 525, 526, 529, 530, 598, 599)),
    *((of(ServerError, status), NEVER) for status in (501, 505, 506, 507, 508, 510, 511)),
    (of(StatusError, 600), NEVER),
    *((of(ConnectError, status), ALWAYS) for status in (408, 429, 502, 503, 504)),
    *((of(ConnectError, status), NEVER) for status in (403, 407)),
    (of(BadRequestError, 400), NEVER),
    (of(AuthenticationError, 401), NEVER),
    (of(PermissionDeniedError, 403), NEVER),
    (of(NotFoundError, 404), NEVER),
    (of(StatusError, 405), NEVER),
    (of(StatusError, 407), NEVER),
    (of(ConflictError, 409), NEVER),
    (of(GoneError, 410), NEVER),
    (of(StatusError, 418), NEVER),
    (of(RedirectError, 307), NEVER),
    (of(MalformedResponseError, 200), NEVER),
    (of(ResponseTooLargeError, 200), NEVER),
    (of(DeadlineExceededError), NEVER),
    (of(DeadlineExceededError, maybe_sent=False), NEVER),
    (of(ServerError, 503, stopped_by="budget"), NEVER),
    (of(ConnectError, stopped_by="attempts"), NEVER),
]


def named(case):
    error, _ = case
    stopped = getattr(error, "stopped_by", None)
    return f"{type(error).__name__} {getattr(error, 'status', '')} {stopped or ''}"


@pytest.mark.parametrize(("error", "when"), TABLE, ids=map(named, TABLE))
def test_the_table_of_what_is_retried(error, when):
    assert error.is_retryable(idempotent=True) is (when != NEVER)
    assert error.is_retryable(idempotent=False) is (when == ALWAYS)


@pytest.mark.parametrize(
    ("error", "ambiguous"),
    [
        (of(ConnectError), False),
        (of(CertificateError), False),
        (of(DeadlineExceededError, maybe_sent=False), False),
        (of(DeadlineExceededError), True),
        (of(ConnectionLostError), True),
        (of(TruncatedResponseError), True),
        (of(AttemptTimeoutError), True),
        (of(UnreadableResponseError, 200), True),
        (of(MalformedResponseError, 200), True),
        (of(ResponseTooLargeError, 200), True),
        (of(RedirectError, 303), True),
        (of(ServerError, 500), True),
        (of(ServerError, 503), True),
        (of(ServerError, 503, maybe_sent=False), False),
        (of(StatusError, 408), True),
        (of(BadRequestError, 400), False),
        (of(AuthenticationError, 401), False),
        (of(NotFoundError, 404), False),
        (of(RateLimitedError, 429), False),
        (of(StatusError, 499), False),
        (of(StatusError), True),
    ],
)
def test_only_the_servers_own_refusal_proves_that_nothing_happened(error, ambiguous):
    assert error.is_ambiguous is ambiguous


def state_of(error, attempt):
    state = RetryCallState(None, None, (), {})
    state.attempt_number = attempt
    state.set_exception((type(error), error, None))
    return state


def highest():
    """The upper end of what is random."""
    return 1.0


def lowest():
    """The lower end."""
    return 0.0


@pytest.mark.parametrize(
    ("error", "longest"),
    [
        (of(ServerError, 503), [0.5, 1, 2, 4, 8, 16, 20, 20]),
        (of(ConnectError), [0.5, 1, 2, 4, 8, 16, 20, 20]),
        (of(RateLimitedError, 429), [1, 2, 4, 8, 16, 20, 20, 20]),
    ],
)
def test_the_wait_is_anything_up_to_a_bound_that_doubles(error, longest):
    waits = range(1, len(longest) + 1)
    assert [FullJitter(RetryPolicy(), highest)(state_of(error, n)) for n in waits] == longest
    assert [FullJitter(RetryPolicy(), lowest)(state_of(error, n)) for n in waits] == [0] * len(longest)


def test_the_bound_of_the_wait_holds_for_any_number_of_attempts():
    assert FullJitter(RetryPolicy(), highest)(state_of(of(ConnectError), 5_000)) == 20


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [(0, 0, 0), (0.5, 0.5, 1.1), (7, 7, 7.7), (300, 300, 301)],
)
def test_the_wait_is_never_shorter_than_the_server_asks(asked, least, most):
    state = state_of(of(RateLimitedError, 429, retry_after=asked), 1)
    assert FullJitter(RetryPolicy(), lowest)(state) == least
    assert FullJitter(RetryPolicy(), highest)(state) == pytest.approx(most)


def test_the_same_seed_gives_the_same_waits():
    def waits(seed):
        jitter = FullJitter(RetryPolicy(), random.Random(seed).random)
        return [jitter(state_of(of(ConnectError), n)) for n in range(1, 6)]

    assert waits(7) == waits(7)
    assert waits(7) != waits(8)


def test_a_failure_that_is_none_of_ours_is_a_mistake_of_this_program():
    with pytest.raises(TypeError, match="only a RequestError"):
        failure(state_of(ValueError("x"), 1))
    with pytest.raises(TypeError):
        failure(RetryCallState(None, None, (), {}))


class Course:
    """A course of attempts with the outcomes that a test wrote down, on a clock that only waiting moves."""

    def __init__(self, policy=None, *, outcomes, deadline=None, idempotent=True, budget=500):
        policy = policy or RetryPolicy()
        self.now, self.slept, self.expires_in = 0.0, [], []
        self.outcomes = list(outcomes)
        self.budget = RetryBudget(budget)
        self.call = Call(Request("GET", "/x", "/x"), 1, 0.0, deadline, policy.attempts, idempotent)
        self.repeater = Retrier(policy, self.budget, Clock(time=lambda: self.now, sleep=self.sleep, random=highest))

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    async def attempt(self):
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def run(self):
        return await self.repeater.retry(
            self.call, self.outcomes.pop(0), self.attempt, on_retry=lambda *facts: self.expires_in.append(facts)
        )

    async def fail(self):
        with pytest.raises(RequestError) as caught:
            await self.run()
        return caught.value


async def test_it_goes_on_until_it_works():
    errors = [of(ServerError, 503), of(ConnectError)]
    course = Course(outcomes=[*errors, "done"])
    assert await course.run() == "done"
    assert course.slept == [0.5, 1]
    assert course.expires_in == [(errors[0], 0.5), (errors[1], 1)]


async def test_what_cannot_be_mended_is_raised_at_once():
    error = of(NotFoundError, 404)
    course = Course(outcomes=[error])
    assert await course.fail() is error
    assert (error.stopped_by, course.slept, course.budget.tokens) == (None, [], 500)


async def test_what_cannot_be_mended_ends_it_later_too():
    error = of(NotFoundError, 404)
    course = Course(outcomes=[of(ServerError, 503), error])
    assert await course.fail() is error
    assert (error.stopped_by, course.slept) == (None, [0.5])


async def test_what_is_no_failure_of_a_request_passes_through():
    course = Course(outcomes=[of(ServerError, 503), ClientStateError("closed")])
    with pytest.raises(ClientStateError):
        await course.run()


@pytest.mark.parametrize("attempts", [1, 2, 4, 7])
async def test_it_stops_when_the_attempts_are_used_up(attempts):
    outcomes = [of(ServerError, 503) for _ in range(10)]
    course = Course(RetryPolicy(attempts=attempts), outcomes=outcomes)
    error = await course.fail()
    assert error is outcomes[attempts - 1]
    assert error.stopped_by == "attempts"
    assert len(course.slept) == attempts - 1
    assert error.__context__ is None


@pytest.mark.parametrize(("asked", "stopped_by"), [(300, None), (300.5, "retry_after"), (1e9, "retry_after")])
async def test_a_wait_above_the_cap_is_refused_and_never_shortened(asked, stopped_by):
    course = Course(outcomes=[of(RateLimitedError, 429, retry_after=asked), "done"])
    if stopped_by is None:
        assert await course.run() == "done"
        assert course.slept == [asked + 1]
    else:
        error = await course.fail()
        assert (error.stopped_by, error.retry_after, course.slept) == (stopped_by, asked, [])


@pytest.mark.parametrize(("asked", "stopped_by"), [(90.001, "retry_after"), (89, "deadline"), (88.5, None)])
async def test_a_wait_past_the_deadline_is_refused(asked, stopped_by):
    course = Course(outcomes=[of(RateLimitedError, 429, retry_after=asked), "done"], deadline=90.0)
    if stopped_by is None:
        assert await course.run() == "done"
        assert course.slept == [asked + 1]
    else:
        error = await course.fail()
        assert (error.stopped_by, course.slept) == (stopped_by, [])


async def test_no_attempt_is_scheduled_for_after_the_deadline():
    course = Course(outcomes=[of(ServerError, 503) for _ in range(9)], deadline=1.5)
    error = await course.fail()
    assert (error.stopped_by, course.slept) == ("deadline", [0.5])


async def test_it_stops_when_the_session_cannot_afford_it():
    course = Course(outcomes=[of(ServerError, 503) for _ in range(9)], budget=9)
    error = await course.fail()
    assert (error.stopped_by, course.slept, course.budget.tokens) == ("budget", [0.5], 4)


async def test_a_repetition_after_a_timeout_is_dearer():
    course = Course(outcomes=[of(AttemptTimeoutError), of(AttemptTimeoutError)], budget=19)
    error = await course.fail()
    assert (error.stopped_by, course.budget.tokens) == ("budget", 9)


@pytest.mark.parametrize(
    ("outcomes", "left"),
    [
        ([of(ServerError, 503), "done"], 100),
        ([of(AttemptTimeoutError), "done"], 100),
        ([of(AttemptTimeoutError), of(ServerError, 503), "done"], 90),
    ],
)
async def test_a_repetition_that_succeeds_gives_back_what_it_cost(outcomes, left):
    course = Course(outcomes=outcomes, budget=100)
    assert await course.run() == "done"
    assert course.budget.tokens == left


@pytest.mark.parametrize("reason", ["attempts", "retry_after", "deadline"])
async def test_who_stops_for_another_reason_pays_nothing(reason):
    policy = RetryPolicy(attempts=1) if reason == "attempts" else RetryPolicy()
    wait = 1e6 if reason == "retry_after" else None
    course = Course(
        policy, outcomes=[of(ServerError, 503, retry_after=wait)], deadline=0.2 if reason == "deadline" else None
    )
    assert (await course.fail()).stopped_by == reason
    assert course.budget.tokens == 500


async def test_what_is_not_idempotent_is_repeated_only_while_it_is_harmless():
    lost = of(ConnectionLostError)
    course = Course(outcomes=[of(ConnectError), of(RateLimitedError, 429), lost, "done"], idempotent=False)
    assert await course.fail() is lost
    assert (lost.stopped_by, course.slept) == (None, [0.5, 2])
