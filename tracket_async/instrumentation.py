"""Two observers: one writes log records, one OpenTelemetry spans and metrics. They know events and nothing else.

TRACKET_LOG=debug or info makes `TracketClient.from_env` call `log_to_stderr`.

`LoggingObserver` is quiet by default: nothing is above INFO, as what went wrong is raised to the caller as well.

`OpenTelemetryObserver` follows the semantic conventions for HTTP clients: every attempt is a span of kind CLIENT (a
resend is a span of its own, with its count), under whatever span is current where the call was made. While it lasts,
OpenTelemetry's own instrumentation of aiohttp is told to make none, by the key that its HTTP instrumentations agree on.
https://opentelemetry.io/docs/specs/semconv/http/http-spans/ and http-metrics. Waits, pauses and token refreshes become
events of the current span. The query is left out of ``url.full``: it holds cursors, which are different each time.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from tracket_async.errors import ConfigurationError, MissingExtraError, install_hint
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

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider


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
"""The message of each event; the names are the event's attributes."""


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
"""The level of each event: waits and failures at INFO, everything else at DEBUG."""


class LoggingObserver:
    """Log each event.

    The event itself is the record's attribute ``tracket_event``, for handlers of structured logs.

    Args:
        logger: the logger to write to; None: the logger ``tracket_async``.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger("tracket_async")

    def __call__(self, event: Event, /) -> None:
        """Log the event."""
        kind = type(event)
        level = LEVELS[kind](event)
        if self._logger.isEnabledFor(level):
            self._logger.log(level, TEMPLATES[kind], msgspec.structs.asdict(event), extra={"tracket_event": event})


class StderrHandler(logging.StreamHandler[Any]):
    """The handler of `log_to_stderr`. It is set up once, whatever the number of clients."""


def log_to_stderr(level: str) -> LoggingObserver:
    """Write the log of this package to standard error, and return the observer that logs each event.

    It sets the level of the logger ``tracket_async``, and gives it a handler where neither it nor the root logger has
    one for records of that level. The log has paths with the ids of worklogs, and no secret.

    Args:
        level: ``"debug"``: every request, attempt and token call; ``"info"``: waits and failures.

    Raises:
        ConfigurationError: it is neither.
    """
    if level.lower() not in {"debug", "info"}:
        raise ConfigurationError(f"TRACKET_LOG must be debug or info, not {level!r}", hint="Unset it for no log")
    logger = logging.getLogger("tracket_async")
    logger.setLevel(level.upper())
    handlers = [*logger.handlers, *(logging.getLogger().handlers if logger.propagate else ())]
    if all(handler.level > logger.level for handler in handlers):
        handler = StderrHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)
    return LoggingObserver(logger)


SCOPE: Final = "tracket_async"
SCHEMA: Final = "https://opentelemetry.io/schemas/1.27.0"
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds; the conventions' advice for ``http.client.request.duration``."""

EVENT_NAMES: Final[Mapping[type[Event], str]] = {
    RetryScheduled: "tracket.retry",
    SessionPaused: "tracket.pause",
    TokenRefreshed: "tracket.token_refresh",
}
"""The events that become events of the current span."""

_PORTS: Final = {"http": 80, "https": 443}
_FIRST_ERROR: Final = 400


class OpenTelemetryObserver:
    """Make spans and metrics. One observer serves one client: requests are told apart by their number in it.

    Args:
        base_url: of the server, as the client has it; it gives ``server.address``, ``server.port`` and ``url.full``.
            None leaves these out.
        tracer_provider: None: the global one.
        meter_provider: None: the global one.

    Raises:
        MissingExtraError: opentelemetry is not installed.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        if importlib.util.find_spec("opentelemetry") is None:
            raise MissingExtraError(
                "The OpenTelemetry observer needs opentelemetry, which is not installed",
                hint=install_hint("otel"),
            )
        from opentelemetry import context, metrics, trace  # an optional dependency

        self._trace = trace
        self._context = context
        # There is no public name for it; a test fails when this one goes.
        self._suppress_http = context._SUPPRESS_HTTP_INSTRUMENTATION_KEY  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        self._tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider, schema_url=SCHEMA)
        self._duration = metrics.get_meter(SCOPE, meter_provider=meter_provider, schema_url=SCHEMA).create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )
        self._base_url = (base_url or "").rstrip("/")
        self._server = _server(self._base_url)
        self._paths: dict[int, str] = {}
        self._spans: dict[int, tuple[Span, Token[Context]]] = {}

    def __call__(self, event: Event, /) -> None:
        """Take note of the event."""
        match event:
            case RequestStarted():
                self._paths[event.request] = event.path
            case AttemptStarted():
                self._begin(event)
            case AttemptEnded():
                self._end(event)
            case RequestEnded():
                self._paths.pop(event.request, None)
            case _:
                facts = {name: value for name, value in msgspec.structs.asdict(event).items() if value is not None}
                self._trace.get_current_span().add_event(EVENT_NAMES[type(event)], facts)

    def _begin(self, event: AttemptStarted) -> None:
        attributes = _common(event) | self._server
        if self._base_url:
            attributes["url.full"] = self._base_url + self._paths.get(event.request, event.route)
        if event.attempt > 1:
            attributes["http.request.resend_count"] = event.attempt - 1
        span = self._tracer.start_span(
            f"{event.method} {event.route}", kind=self._trace.SpanKind.CLIENT, attributes=attributes
        )
        # An attempt begins and ends in one task, and with it in one context.
        context = self._context.set_value(self._suppress_http, value=True)
        self._spans[event.request] = span, self._context.attach(context)

    def _end(self, event: AttemptEnded) -> None:
        outcome = _outcome(event)
        self._duration.record(event.duration, _common(event) | self._server | outcome)
        begun = self._spans.pop(event.request, None)
        if begun is None:
            return
        span, token = begun
        self._context.detach(token)
        span.set_attributes(outcome)
        if "error.type" in outcome:
            span.set_status(self._trace.StatusCode.ERROR)
        span.end()


def _common(event: AttemptStarted | AttemptEnded) -> dict[str, Any]:
    return {"http.request.method": event.method, "url.template": event.route}


def _outcome(event: AttemptEnded) -> dict[str, Any]:
    """Return the status, and the type of the error: the status again where there is one, else the exception's name."""
    outcome: dict[str, Any] = {}
    if event.status is not None:
        outcome["http.response.status_code"] = event.status
    if event.status is not None and event.status >= _FIRST_ERROR:
        outcome["error.type"] = str(event.status)
    elif event.error is not None:
        outcome["error.type"] = event.error
    return outcome


def _server(base_url: str) -> dict[str, Any]:
    parts = urlsplit(base_url)
    if not parts.hostname:
        return {}
    return {"server.address": parts.hostname, "server.port": parts.port or _PORTS[parts.scheme]}
