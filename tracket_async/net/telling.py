"""What a session tells its observers of a call: the events, made of what is known of it.

Imported by a session that has observers, so that no other pays for the events. An observer cannot do harm: one that
raises is logged once and otherwise ignored.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from tracket_async.events import (
    AttemptEnded,
    AttemptStarted,
    Event,
    Observer,
    RequestEnded,
    RequestStarted,
    RetryScheduled,
    SessionPaused,
    TokenRefreshed,
)
from tracket_async.net.call import Call

_log = logging.getLogger("tracket_async")


class Telling:
    """The observers of one session. Durations are seconds; ``error`` names an exception's type, None: no error."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = tuple(observers)
        self._complained: set[int] = set()

    def call_started(self, call: Call) -> None:
        """A call enters the session."""
        request = call.request
        self._tell(RequestStarted(request=call.number, method=request.method, route=request.route, path=request.path))

    def call_ended(self, call: Call, *, duration: float, error: str | None) -> None:
        """A call leaves the session."""
        request = call.request
        self._tell(
            RequestEnded(
                request=call.number,
                method=request.method,
                route=request.route,
                path=request.path,
                duration=duration,
                attempts=call.attempts,
                status=call.status,
                error=error,
            )
        )

    def attempt_started(self, call: Call, *, waited: float) -> None:
        """The call's latest attempt goes out."""
        request = call.request
        self._tell(
            AttemptStarted(
                request=call.number, method=request.method, route=request.route, attempt=call.attempts, waited=waited
            )
        )

    def attempt_ended(
        self, call: Call, *, attempt: int, duration: float, status: int | None, error: str | None
    ) -> None:
        """That attempt is over."""
        request = call.request
        self._tell(
            AttemptEnded(
                request=call.number,
                method=request.method,
                route=request.route,
                attempt=attempt,
                duration=duration,
                status=status,
                error=error,
            )
        )

    def retry_scheduled(self, call: Call, *, delay: float, error: str) -> None:
        """Another attempt will follow."""
        request = call.request
        self._tell(
            RetryScheduled(
                request=call.number,
                method=request.method,
                route=request.route,
                attempt=call.attempts,
                delay=delay,
                error=error,
            )
        )

    def paused(self, *, seconds: float, status: int) -> None:
        """The server asked the session to wait."""
        self._tell(SessionPaused(seconds=seconds, status=status))

    def token_refreshed(self, *, duration: float, expires_in: float | None) -> None:
        """A new access token is in use."""
        self._tell(TokenRefreshed(duration=duration, expires_in=expires_in))

    def _tell(self, event: Event) -> None:
        """Call every observer, in order."""
        for index, observer in enumerate(self._observers):
            try:
                observer(event)
            except Exception:  # noqa: BLE001 - an observer's fault must not become the request's
                if index not in self._complained:
                    self._complained.add(index)
                    _log.exception("An observer raised on %s; that it does is not logged again", type(event).__name__)
