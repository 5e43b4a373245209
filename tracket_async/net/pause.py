"""That the server asked the whole session to wait, and until when.

Moments are of the session's monotonic clock, in seconds.
"""

from __future__ import annotations

from tracket_async.errors import RateLimitedError, ServerError, StatusError


class Pause:
    """At most one pause at a time: a longer one takes the place of a shorter one, never the other way round."""

    def __init__(self) -> None:
        self._until = float("-inf")
        self._status = 429

    def begin(self, seconds: float, *, status: int, now: float) -> bool:
        """Pause for so long from now. Returns whether that is longer than what was already asked for."""
        if now + seconds <= self._until:
            return False
        self._until = now + seconds
        self._status = status
        return True

    def remaining(self, now: float) -> float:
        """Seconds until its end, 0 when there is none."""
        return max(0.0, self._until - now)

    def error(self, now: float) -> StatusError:
        """For a call that cannot wait so long: what it would be told if it were sent."""
        kind = RateLimitedError if self._status == 429 else ServerError  # noqa: PLR2004
        return kind(
            "The server has asked for a pause that is longer than this call may take, so it was not sent",
            status=self._status,
            retry_after=self.remaining(now),
            stopped_by="retry_after",
            maybe_sent=False,
        )
