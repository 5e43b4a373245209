"""What an observer is told: frozen events, in the order in which they happen, never a secret.

An observer is any callable that takes one event. It is called on the event loop, synchronously, from the middle of a
request: it must be quick and must not raise (an exception is logged by ``tracket_async`` and otherwise ignored).
Durations are seconds. ``request`` numbers the calls of one session from 1 and ties their events together; ``route``
is the path with its ids replaced (``/worklogs/{id}``), fit to be a metric's label.
"""

from __future__ import annotations

from typing import Protocol

import attrs


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
