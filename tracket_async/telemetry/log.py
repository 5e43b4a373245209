"""Events as lines of the standard library's logging.

Quiet by default: nothing is above INFO, since what went wrong is raised to the caller as well, and INFO is not shown
unless somebody has asked for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from tracket_async.events import (
    AttemptEnded,
    AttemptStarted,
    Event,
    RequestEnded,
    RequestStarted,
    RetryScheduled,
    SessionPaused,
    TokenRefreshed,
)

_CALL: Final = "[%(request)d] %(method)s %(path)s "
_ROUTE: Final = "[%(request)d] %(method)s %(route)s "

TEMPLATES: Final[Mapping[type[Event], str]] = {
    RequestStarted: _CALL + "begins",
    AttemptStarted: _ROUTE + "attempt %(attempt)d goes out, after %(waited).3f s in the queue",
    AttemptEnded: _ROUTE + "attempt %(attempt)d took %(duration).3f s: status %(status)s, error %(error)s",
    RetryScheduled: _ROUTE + "attempt %(attempt)d failed (%(error)s), the next one follows in %(delay).3f s",
    SessionPaused: "The server answers %(status)d and asks for a pause of %(seconds).3f s",
    TokenRefreshed: "A new access token came in %(duration).3f s, for %(expires_in)s s",
    RequestEnded: _CALL + "took %(duration).3f s in %(attempts)d attempts: status %(status)s, error %(error)s",
}
"""What is said of each event; the names are the event's attributes."""


def _failed(event: Any) -> int:
    return logging.DEBUG if event.error is None else logging.INFO


def _always(level: int) -> Callable[[Any], int]:
    return lambda _event: level


LEVELS: Final[Mapping[type[Event], Callable[[Any], int]]] = {
    RequestStarted: _always(logging.DEBUG),
    AttemptStarted: _always(logging.DEBUG),
    AttemptEnded: _always(logging.DEBUG),
    RetryScheduled: _always(logging.INFO),
    SessionPaused: _always(logging.INFO),
    TokenRefreshed: _always(logging.DEBUG),
    RequestEnded: _failed,
}
"""How loudly: waits and failures at INFO, everything else at DEBUG."""


class LoggingObserver:
    """Logs each event.

    The event itself is the record's attribute ``tracket_event``, for handlers that keep what is structured.

    Args:
        logger: where to; None: the logger ``tracket_async``.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger("tracket_async")

    def __call__(self, event: Event, /) -> None:
        """Log the event."""
        kind = type(event)
        level = LEVELS[kind](event)
        if self._logger.isEnabledFor(level):
            self._logger.log(level, TEMPLATES[kind], attrs.asdict(event), extra={"tracket_event": event})
