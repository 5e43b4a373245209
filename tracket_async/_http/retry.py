"""When a failed call is tried again, and when no more: tenacity's callables over what is `repeatable`.

What decides is synchronous and draws chance from the random generator that it is given: the same seed, the same waits.
The first attempt of a call is not made here: a call that succeeds at once should not pay for machinery that it does
not need, and tenacity is imported when a session is opened.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, TypeVar

import attrs
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from tracket_async._http.attempt import Call
from tracket_async._http.limits import Clock, RetryBudget
from tracket_async.config import RetryPolicy
from tracket_async.errors import LIMITED, AttemptTimeoutError, RequestError

T = TypeVar("T")
Reason = Literal["attempts", "deadline", "budget", "retry_after"]

_MOST_DOUBLINGS: Final = 30  # a float has room for it, and no backoff has


class FullJitter(wait_base):
    """``uniform(0, min(wait_max, base * 2**(n - 1)))`` after attempt n; Retry-After, if longer, and some jitter."""

    def __init__(self, policy: RetryPolicy, random: Callable[[], float]) -> None:
        self._policy = policy
        self._random = random

    def __call__(self, retry_state: RetryCallState) -> float:
        """Seconds to wait."""
        error = failure(retry_state)
        policy = self._policy
        base = policy.wait_initial_rate_limited if error.status == LIMITED else policy.wait_initial
        doublings = min(retry_state.attempt_number - 1, _MOST_DOUBLINGS)
        backoff = min(policy.wait_max, base * 2.0**doublings) * self._random()
        if error.retry_after is None:
            return backoff
        return max(backoff, error.retry_after) + policy.wait_jitter * self._random()


class StopBecause(stop_base):
    """Stops for the first of its rules that applies, and remembers which one it was.

    The rules after it are not asked: one may have a price.
    """

    def __init__(self, *rules: tuple[Reason, Callable[[RetryCallState], bool]]) -> None:
        self._rules = rules
        self.reason: Reason | None = None

    def __call__(self, retry_state: RetryCallState) -> bool:
        """Whether to stop."""
        self.reason = next((reason for reason, applies in self._rules if applies(retry_state)), None)
        return self.reason is not None


@attrs.frozen(eq=False)
class Repeater:
    """What repeats the calls of one session.

    Attributes:
        policy: how often, and how long to wait.
        budget: what the session can afford.
        clock: time, waiting and chance.
    """

    policy: RetryPolicy
    budget: RetryBudget
    clock: Clock

    async def go_on(
        self,
        call: Call,
        first: RequestError,
        attempt: Callable[[], Awaitable[T]],
        *,
        scheduled: Callable[[RequestError, float], None],
    ) -> T:
        """Try again after a first failure, until it works or there is a reason to stop.

        Args:
            call: whose limits count; its ``cost`` is kept up to date.
            first: how the first attempt failed.
            attempt: makes one more attempt.
            scheduled: told the failure and the seconds to wait, before each wait.

        Raises:
            RequestError: the latest failure, with ``stopped_by`` if repeating could have gone on.
        """
        if not first.is_retryable(idempotent=call.repeatable):
            raise first
        stop = self._stop(call)

        def before_sleep(state: RetryCallState) -> None:
            scheduled(failure(state), state.upcoming_sleep)

        def give_up(state: RetryCallState) -> Any:
            raise failure(state).add(stopped_by=stop.reason)

        # tenacity is told of the first failure as if it had made that attempt, so that its count is the call's.
        already: list[RequestError] = [first]

        async def next_attempt() -> T:
            if already:
                raise already.pop()
            return await attempt()

        retrying = AsyncRetrying(
            retry=retry_if_exception(
                lambda error: isinstance(error, RequestError) and error.is_retryable(idempotent=call.repeatable)
            ),
            wait=FullJitter(self.policy, self.clock.random),
            stop=stop,
            sleep=self.clock.sleep,
            before_sleep=before_sleep,
            retry_error_callback=give_up,
        )
        result: T = await retrying(next_attempt)
        self.budget.deposit(call.cost)
        return result

    def _stop(self, call: Call) -> StopBecause:
        def all_used_up(state: RetryCallState) -> bool:
            return state.attempt_number >= call.attempts_allowed

        def asked_to_wait_too_long(state: RetryCallState) -> bool:
            wait = failure(state).retry_after
            return wait is not None and (
                wait > self.policy.max_retry_after
                or (call.deadline is not None and self.clock.time() + wait > call.deadline)
            )

        def too_late(state: RetryCallState) -> bool:
            return call.deadline is not None and self.clock.time() + state.upcoming_sleep >= call.deadline

        def not_affordable(state: RetryCallState) -> bool:
            cost = self.budget.withdraw(timed_out=isinstance(failure(state), AttemptTimeoutError))
            call.cost = cost or 0
            return cost is None

        return StopBecause(
            ("attempts", all_used_up),
            ("retry_after", asked_to_wait_too_long),
            ("deadline", too_late),
            ("budget", not_affordable),
        )


def failure(state: RetryCallState) -> RequestError:
    """What the latest attempt failed with; only asked of attempts that `is_retryable` has let pass."""
    error = state.outcome.exception() if state.outcome is not None else None
    if not isinstance(error, RequestError):
        raise TypeError(f"only a RequestError is repeated, not {error!r}")
    return error
