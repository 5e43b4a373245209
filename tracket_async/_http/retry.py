"""Decide whether a failed attempt is retried, and how long to wait first: tenacity, full jitter, Retry-After, a budget.

The decisions are synchronous and take chance from the session's clock: the same seed gives the same waits. The first
attempt of a call is not made here, as a call that succeeds at once should not pay for what it does not need; tenacity
is imported when a session is opened.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, TypeVar

import attrs
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception
from tenacity.wait import wait_base

from tracket_async._http.attempt import Call
from tracket_async._http.limits import Clock, RetryBudget
from tracket_async.config import RetryPolicy
from tracket_async.errors import LIMITED, AttemptTimeoutError, RequestError

T = TypeVar("T")
StopReason = Literal["attempts", "deadline", "budget", "retry_after"]

_MAX_DOUBLINGS: Final = 30  # a float has room for it, and no wait has


class FullJitter(wait_base):
    """Wait ``uniform(0, min(wait_max, wait_initial * 2**(n - 1)))`` after attempt n, or Retry-After and some jitter."""

    def __init__(self, policy: RetryPolicy, random: Callable[[], float]) -> None:
        self._policy = policy
        self._random = random

    def __call__(self, retry_state: RetryCallState) -> float:
        """Return the seconds to wait."""
        error = failure(retry_state)
        policy = self._policy
        initial = policy.wait_initial_rate_limited if error.status == LIMITED else policy.wait_initial
        doublings = min(retry_state.attempt_number - 1, _MAX_DOUBLINGS)
        wait = min(policy.wait_max, initial * 2.0**doublings) * self._random()
        if error.retry_after is None:
            return wait
        if not error.retry_after:
            return 0.0
        wait = max(wait, error.retry_after)
        return wait + policy.jitter(wait) * self._random()


@attrs.frozen(eq=False)
class Retrier:
    """Retry the calls of one session.

    Attributes:
        policy: how often, and how long to wait.
        budget: the session's retry tokens.
        clock: time, waiting and chance.
    """

    policy: RetryPolicy
    budget: RetryBudget
    clock: Clock

    async def retry(
        self,
        call: Call,
        first: RequestError,
        attempt: Callable[[], Awaitable[T]],
        *,
        on_retry: Callable[[RequestError, float], None],
    ) -> T:
        """Make further attempts after a first failure, until one succeeds or there is a reason to stop.

        Args:
            call: whose limits count; its ``retry_cost`` is kept up to date.
            first: the failure of the first attempt.
            attempt: makes one more attempt.
            on_retry: called with the failure and the seconds to wait, before each wait.

        Raises:
            RequestError: the latest failure, with ``stopped_by`` if a retry could have succeeded.
        """
        if not first.is_retryable(idempotent=call.idempotent):
            raise first
        reason: StopReason | None = None

        def stop(state: RetryCallState) -> bool:
            nonlocal reason
            reason = self._stop_reason(call, state)
            return reason is not None

        def before_sleep(state: RetryCallState) -> None:
            on_retry(failure(state), state.upcoming_sleep)

        def give_up(state: RetryCallState) -> Any:
            raise failure(state).add(stopped_by=reason)

        # tenacity is told of the first failure as if it had made that attempt, so that its count is the call's.
        already: list[RequestError] = [first]

        async def next_attempt() -> T:
            if already:
                raise already.pop()
            return await attempt()

        retrying = AsyncRetrying(
            retry=retry_if_exception(
                lambda error: isinstance(error, RequestError) and error.is_retryable(idempotent=call.idempotent)
            ),
            wait=FullJitter(self.policy, self.clock.random),
            stop=stop,
            sleep=self.clock.sleep,
            before_sleep=before_sleep,
            retry_error_callback=give_up,
        )
        result: T = await retrying(next_attempt)
        self.budget.release(call.retry_cost)
        return result

    def _stop_reason(self, call: Call, state: RetryCallState) -> StopReason | None:
        """Return the first reason to stop. The budget comes last, as asking it pays for the retry."""
        error, now = failure(state), self.clock.time()
        if state.attempt_number >= call.max_attempts:
            return "attempts"
        wait = error.retry_after
        if wait is not None and (
            wait > self.policy.max_retry_after or (call.deadline is not None and now + wait > call.deadline)
        ):
            return "retry_after"
        if call.deadline is not None and now + state.upcoming_sleep >= call.deadline:
            return "deadline"
        cost = self.budget.acquire(timed_out=isinstance(error, AttemptTimeoutError))
        call.retry_cost = cost or 0
        return "budget" if cost is None else None


def failure(state: RetryCallState) -> RequestError:
    """Return the failure of the latest attempt.

    Raises:
        TypeError: it did not fail with a `RequestError`.
    """
    error = state.outcome.exception() if state.outcome is not None else None
    if not isinstance(error, RequestError):
        raise TypeError(f"only a RequestError is retried, not {error!r}")
    return error
