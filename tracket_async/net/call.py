"""What is known of one call while it is made: the only mutable thing that travels through the onion."""

from __future__ import annotations

import attrs

from tracket_async.api.request import Request
from tracket_async.errors import DeadlineExceededError, RequestError
from tracket_async.net.secret import NO_SECRET, Secret


@attrs.define(eq=False)
class Call:
    """One call.

    Attributes:
        request: what is to be sent.
        number: which call of the session it is, from 1.
        began: when it entered, a moment of the session's clock in seconds.
        deadline: the moment at which it must be over, None for no such moment.
        attempts_allowed: how often it may be tried.
        repeatable: whether sending it twice has the effect of sending it once.
        attempts: how often it was sent, a replay after a 401 included.
        maybe_done: whether an attempt that failed may have taken effect nevertheless.
        replayed: whether it was sent again after a 401.
        cost: what its latest repetition took from the retry budget.
        status: of the latest answer, None without one.
        authorization: the header that was sent last.
    """

    request: Request
    number: int
    began: float
    deadline: float | None
    attempts_allowed: int
    repeatable: bool
    attempts: int = 0
    maybe_done: bool = False
    replayed: bool = False
    cost: int = 0
    status: int | None = None
    authorization: Secret = NO_SECRET

    def remaining(self, now: float) -> float | None:
        """Seconds to its deadline, at least 0; None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - now)

    def overdue(self, now: float) -> bool:
        """Whether its deadline has come; a millisecond early counts, as timers have that much slack."""
        return self.deadline is not None and now >= self.deadline - 0.001

    def too_late(self, doing: str, *, maybe_sent: bool) -> DeadlineExceededError:
        """The error for a deadline that has come while ``doing`` this."""
        seconds = (self.deadline or 0.0) - self.began
        return DeadlineExceededError(
            f"The call was not done within {seconds:g} s: its time ran out while {doing}", maybe_sent=maybe_sent
        )

    def explain(self, error: RequestError) -> None:
        """Fill into the error that ends the call what is known here and is not in it yet."""
        error.add(maybe_sent=error.maybe_sent or self.maybe_done, maybe_done=self.maybe_done)
        if not error.method:
            error.add(method=self.request.method, path=self.request.path)
        if not error.attempts:
            error.add(attempts=self.attempts)
