"""How much repeating a session can afford: a token bucket that successes refill, not time.

After the retry quota of the AWS SDKs: when everything fails, each call is tried once and no more, and the load on
a server in trouble stays what it was.
"""

from __future__ import annotations

COST = 5
COST_AFTER_TIMEOUT = 10
SUCCESS = 1


class RetryBudget:
    """The tokens of one session. ``capacity`` None: there is no limit."""

    def __init__(self, capacity: int | None) -> None:
        self._capacity = capacity
        self._tokens = capacity or 0

    def __repr__(self) -> str:
        return f"<RetryBudget {self.tokens} of {self._capacity}>"

    @property
    def tokens(self) -> int | None:
        """What is left; None without a limit."""
        return None if self._capacity is None else self._tokens

    def withdraw(self, *, timed_out: bool) -> int | None:
        """Pay for one repetition: its cost, or None when there is not enough left."""
        cost = COST_AFTER_TIMEOUT if timed_out else COST
        if self._capacity is None:
            return cost
        if self._tokens < cost:
            return None
        self._tokens -= cost
        return cost

    def deposit(self, tokens: int) -> None:
        """Put tokens in: `SUCCESS`, or what a repetition that succeeded had cost. Never above the capacity."""
        if self._capacity is not None and self._tokens < self._capacity:
            self._tokens = min(self._capacity, self._tokens + tokens)
