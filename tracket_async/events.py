"""The events of a session, in the order in which they happen, and their dispatcher. No event holds a secret.

An observer is any callable that takes one event. It is called on the event loop, synchronously, in the middle of a
request: it must be quick and must not raise (an exception is logged by ``tracket_async``, once, and otherwise ignored).
An ``async def`` observer is refused, as nobody would await it: let a plain one start a task, or fill a queue.
Durations are seconds. ``request`` numbers the calls of one session from 1 and ties their events together; ``route`` is
the path with its ids replaced (``/worklogs/{id}``), fit to be a metric's label; ``error`` is the name of an exception's
type, None without one.

Events are msgspec structs, as importing the client must stay quick: `msgspec.structs.asdict` makes a dict of one.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from tracket_async._tasks import is_async
from tracket_async.errors import ConfigurationError


class RequestStarted(msgspec.Struct, frozen=True, kw_only=True):
    """A call enters the session."""

    request: int
    method: str
    route: str
    path: str


class AttemptStarted(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt has its slot and goes out. ``waited``: seconds in the queue for slot, pause and rate."""

    request: int
    method: str
    route: str
    attempt: int
    waited: float


class AttemptEnded(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt is over. ``status`` is None when no answer came."""

    request: int
    method: str
    route: str
    attempt: int
    duration: float
    status: int | None
    error: str | None


class RetryScheduled(msgspec.Struct, frozen=True, kw_only=True):
    """Another attempt will follow after ``delay`` seconds."""

    request: int
    method: str
    route: str
    attempt: int
    delay: float
    error: str


class SessionPaused(msgspec.Struct, frozen=True, kw_only=True):
    """The server asked for a pause: no attempt of the session starts for ``seconds``."""

    seconds: float
    status: int


class TokenRefreshed(msgspec.Struct, frozen=True, kw_only=True):
    """A new access token is in use. ``expires_in`` is None when the server did not say."""

    duration: float
    expires_in: float | None


class RequestEnded(msgspec.Struct, frozen=True, kw_only=True):
    """A call leaves the session."""

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
    """Any callable that takes an event."""

    def __call__(self, event: Event, /) -> None:
        """Take note of the event."""
        ...


_log = logging.getLogger("tracket_async")


class EventDispatcher:
    """Call the observers of one session, in order. One that raises is logged once and otherwise ignored.

    Raises:
        ConfigurationError: an observer cannot be called, or is asynchronous.
    """

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = tuple(map(_checked, observers))
        self._logged: set[int] = set()

    def dispatch(self, event: Event) -> None:
        """Call every observer with the event."""
        for index, observer in enumerate(self._observers):
            try:
                _call(observer, event)
            except Exception:  # noqa: BLE001 - an observer's fault must not become the request's
                if index not in self._logged:
                    self._logged.add(index)
                    _log.exception("An observer raised on %s; that it does is not logged again", type(event).__name__)


def _call(observer: Callable[[Event], object], event: Event) -> None:
    outcome = observer(event)
    if inspect.iscoroutine(outcome):
        outcome.close()
        raise TypeError("an observer returned a coroutine, which nobody awaits")


def _checked(observer: Observer) -> Observer:
    if not callable(observer):
        raise ConfigurationError(f"An observer must be callable, and {type(observer).__name__} is not")
    if is_async(observer):
        raise ConfigurationError(
            f"The observer {getattr(observer, '__qualname__', type(observer).__name__)} is asynchronous: an observer is"
            " called and never awaited",
            hint="Write `def` in place of `async def`, and let it start a task (asyncio.create_task) or fill a queue",
        )
    return observer
