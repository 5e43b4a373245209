"""What an observer is told: frozen events, in the order in which they happen, never a secret.

An observer is any callable that takes one event. It is called on the event loop, synchronously, from the middle of a
request: it must be quick and must not raise (an exception is logged by ``tracket_async`` and otherwise ignored).
Durations are seconds. ``request`` numbers the calls of one session from 1 and ties their events together; ``route``
is the path with its ids replaced (``/worklogs/{id}``), fit to be a metric's label.

What a session tells its observers of a call: the events, made of what is known of it.

Imported by a session that has observers, so that no other pays for the events. An observer cannot do harm: one that
raises is logged once and otherwise ignored.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

import attrs

from tracket_async._http.attempt import Call


@attrs.frozen(kw_only=True)
class RequestStarted:
    """A call enters the session."""

    request: int
    method: str
    route: str
    path: str


@attrs.frozen(kw_only=True)
class AttemptStarted:
    """An attempt has its place in the gate and goes out. ``waited``: seconds queued for pace, pause and gate."""

    request: int
    method: str
    route: str
    attempt: int
    waited: float


@attrs.frozen(kw_only=True)
class AttemptEnded:
    """An attempt is over. ``status`` is None when no answer came; ``error`` is the name of the exception's type."""

    request: int
    method: str
    route: str
    attempt: int
    duration: float
    status: int | None
    error: str | None


@attrs.frozen(kw_only=True)
class RetryScheduled:
    """Another attempt will follow after ``delay`` seconds."""

    request: int
    method: str
    route: str
    attempt: int
    delay: float
    error: str


@attrs.frozen(kw_only=True)
class SessionPaused:
    """The server asked for a pause: no attempt of the session starts for ``seconds``."""

    seconds: float
    status: int


@attrs.frozen(kw_only=True)
class TokenRefreshed:
    """A new access token is in use. ``expires_in`` is None when the server did not say."""

    duration: float
    expires_in: float | None


@attrs.frozen(kw_only=True)
class RequestEnded:
    """A call leaves the session. ``error`` is None on success, else the name of the exception's type."""

    request: int
    method: str
    route: str
    path: str
    duration: float
    attempts: int
    status: int | None
    error: str | None


Event = RequestStarted | AttemptStarted | AttemptEnded | RetryScheduled | SessionPaused | TokenRefreshed | RequestEnded


class Observer(Protocol):
    """Anything that can be called with an event."""

    def __call__(self, event: Event, /) -> None:
        """Take note of the event."""
        ...


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
