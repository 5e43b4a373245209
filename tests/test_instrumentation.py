"""The observers that come with the package: events become log records, spans and measurements."""

from __future__ import annotations

import contextlib
import logging
import sys
import typing

import pytest
from opentelemetry import context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tracket_async import TracketClient, events
from tracket_async.errors import ConfigurationError, ConnectError, MissingExtraError
from tracket_async.events import (
    AttemptEnded,
    AttemptStarted,
    RequestEnded,
    RequestStarted,
    RetryScheduled,
    SessionPaused,
    TokenRefreshed,
)
from tracket_async.instrumentation import (
    BUCKETS,
    LEVELS,
    TEMPLATES,
    LoggingObserver,
    OpenTelemetryObserver,
    StderrHandler,
    log_to_stderr,
)

NAMES = {"request": 7, "method": "GET", "route": "/x/{id}"}
SAID = [
    (RequestStarted(**NAMES, path="/x/1"), logging.DEBUG, "[7] GET /x/1 begins"),
    (
        AttemptStarted(**NAMES, attempt=2, waited=0.5),
        logging.DEBUG,
        "[7] GET /x/{id} attempt 2 goes out, after 0.500 s in the queue",
    ),
    (
        AttemptEnded(**NAMES, attempt=2, duration=0.25, status=None, error="ConnectError"),
        logging.DEBUG,
        "[7] GET /x/{id} attempt 2 took 0.250 s: status None, error ConnectError",
    ),
    (
        RetryScheduled(**NAMES, attempt=2, delay=1.5, error="ServerError"),
        logging.INFO,
        "[7] GET /x/{id} attempt 2 failed (ServerError), the next one follows in 1.500 s",
    ),
    (SessionPaused(seconds=10, status=429), logging.INFO, "The server answers 429 and asks for a pause of 10.000 s"),
    (TokenRefreshed(duration=0.1, expires_in=3600), logging.DEBUG, "A new access token came in 0.100 s, for 3600 s"),
    (
        RequestEnded(**NAMES, path="/x/1", duration=2, attempts=3, status=200, error=None),
        logging.DEBUG,
        "[7] GET /x/1 took 2.000 s in 3 attempts: status 200, error None",
    ),
    (
        RequestEnded(**NAMES, path="/x/1", duration=2, attempts=3, status=503, error="ServerError"),
        logging.INFO,
        "[7] GET /x/1 took 2.000 s in 3 attempts: status 503, error ServerError",
    ),
]


@pytest.mark.parametrize(("event", "level", "text"), SAID, ids=lambda value: type(value).__name__)
def test_each_event_is_said(caplog, event, level, text):
    caplog.set_level(logging.DEBUG, "tracket_async")
    LoggingObserver()(event)
    (record,) = caplog.records
    assert (record.name, record.levelno, record.getMessage()) == ("tracket_async", level, text)
    assert record.tracket_event is event


def test_every_kind_of_event_has_its_line_and_its_level():
    kinds = set(typing.get_args(events.Event))
    assert set(TEMPLATES) == set(LEVELS) == kinds == {type(event) for event, _, _ in SAID}


def test_nothing_is_said_to_who_has_not_asked(capsys):
    """Without any configuration Python shows what is at WARNING or above."""
    logger = logging.getLogger("tests.quiet")
    logger.propagate = False  # pytest listens at the root
    observer = LoggingObserver(logger)
    for event, _, _ in SAID:
        observer(event)
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_it_may_log_elsewhere(caplog):
    caplog.set_level(logging.INFO, "mine")
    LoggingObserver(logging.getLogger("mine"))(SessionPaused(seconds=1, status=503))
    LoggingObserver(logging.getLogger("mine"))(RequestStarted(**NAMES, path="/x/1"))
    assert [record.name for record in caplog.records] == ["mine"]


class Lab:
    def __init__(self, base_url):
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.observe = OpenTelemetryObserver(base_url, tracer_provider=self.tracers, meter_provider=self.meters)

    @property
    def spans(self):
        return self.exporter.get_finished_spans()

    def points(self):
        data = self.reader.get_metrics_data()
        (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
        assert (metric.name, metric.unit) == ("http.client.request.duration", "s")
        return metric.data.data_points


@pytest.fixture
def lab():
    made = []

    def make(base_url=None):
        made.append(Lab(base_url))
        return made[-1]

    yield make
    for one in made:
        one.tracers.shutdown()
        one.meters.shutdown()


def attempt(lab, *, number=1, status=200, error=None):
    lab.observe(RequestStarted(**NAMES, path="/x/1"))
    lab.observe(AttemptStarted(**NAMES, attempt=number, waited=0))
    lab.observe(AttemptEnded(**NAMES, attempt=number, duration=0.3, status=status, error=error))
    lab.observe(RequestEnded(**NAMES, path="/x/1", duration=0.3, attempts=number, status=status, error=error))


def test_an_attempt_is_a_client_span(lab):
    lab = lab("https://tracket.dev/proxy/")
    attempt(lab)
    (span,) = lab.spans
    assert (span.name, span.kind, span.status.status_code) == ("GET /x/{id}", SpanKind.CLIENT, StatusCode.UNSET)
    assert dict(span.attributes) == {
        "http.request.method": "GET",
        "url.template": "/x/{id}",
        "url.full": "https://tracket.dev/proxy/x/1",
        "server.address": "tracket.dev",
        "server.port": 443,
        "http.response.status_code": 200,
    }


@pytest.mark.parametrize(
    ("base_url", "address", "port"),
    [("http://127.0.0.1", "127.0.0.1", 80), ("http://[::1]:8000", "::1", 8000)],
)
def test_the_server_is_named(lab, base_url, address, port):
    lab = lab(base_url)
    attempt(lab)
    attributes = lab.spans[0].attributes
    assert (attributes["server.address"], attributes["server.port"]) == (address, port)


def test_without_a_base_url_the_server_is_left_out(lab):
    lab = lab()
    attempt(lab)
    assert not {"url.full", "server.address", "server.port"} & set(lab.spans[0].attributes)


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [(503, "ServerError", "503"), (404, "NotFoundError", "404"), (None, "ConnectError", "ConnectError")],
)
def test_a_failed_attempt_has_the_type_of_its_error(lab, status, error, kind):
    lab = lab()
    attempt(lab, status=status, error=error)
    (span,) = lab.spans
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == kind
    assert span.attributes.get("http.response.status_code") == status
    assert lab.points()[0].attributes["error.type"] == kind


def test_a_repetition_says_which_one_it_is(lab):
    lab = lab()
    attempt(lab, number=1, status=503, error="ServerError")
    attempt(lab, number=2)
    assert [span.attributes.get("http.request.resend_count") for span in lab.spans] == [None, 1]


def test_spans_are_children_of_the_current_one_which_gets_the_waits_as_events(lab):
    lab = lab()
    tracer = lab.tracers.get_tracer("test")
    with tracer.start_as_current_span("caller"):
        attempt(lab)
        lab.observe(RetryScheduled(**NAMES, attempt=1, delay=0.5, error="ServerError"))
        lab.observe(SessionPaused(seconds=10, status=429))
        lab.observe(TokenRefreshed(duration=0.1, expires_in=None))
    child, caller = lab.spans
    assert child.parent.span_id == caller.context.span_id
    assert [(event.name, dict(event.attributes)) for event in caller.events] == [
        ("tracket.retry", {**NAMES, "attempt": 1, "delay": 0.5, "error": "ServerError"}),
        ("tracket.pause", {"seconds": 10, "status": 429}),
        ("tracket.token_refresh", {"duration": 0.1}),
    ]


def test_durations_are_measured(lab):
    lab = lab("https://tracket.dev")
    attempt(lab)
    attempt(lab)
    (point,) = lab.points()
    assert (point.count, point.sum) == (2, pytest.approx(0.6))
    assert tuple(point.explicit_bounds) == BUCKETS
    assert dict(point.attributes) == {
        "http.request.method": "GET",
        "url.template": "/x/{id}",
        "server.address": "tracket.dev",
        "server.port": 443,
        "http.response.status_code": 200,
    }


async def test_during_an_attempt_no_other_http_instrumentation_makes_a_span(lab):
    lab, suppressed = lab(), {}

    def look(event):
        suppressed[type(event)] = context.get_value(context._SUPPRESS_HTTP_INSTRUMENTATION_KEY)

    async with TracketClient(auth=None, base_url="http://127.0.0.1:9", observers=[lab.observe, look]) as client:
        with pytest.raises(ConnectError):
            await client.with_options(attempts=1).worklogs.get("wl-1")
    assert suppressed[AttemptStarted] is True
    assert suppressed[AttemptEnded] is suppressed[RequestEnded] is None
    assert context.get_value(context._SUPPRESS_HTTP_INSTRUMENTATION_KEY) is None
    assert [span.name for span in lab.spans] == ["GET /api/2.0/timeEntries/{id}"]


def test_an_end_without_a_beginning_is_measured_and_no_more(lab):
    lab = lab()
    lab.observe(AttemptEnded(**NAMES, attempt=1, duration=0.3, status=200, error=None))
    assert lab.spans == ()
    assert lab.points()[0].count == 1


def test_nothing_is_kept_of_a_call_that_is_over(lab):
    lab = lab()
    attempt(lab)
    assert (lab.observe._paths, lab.observe._spans) == ({}, {})


def test_the_global_providers_are_the_default():
    OpenTelemetryObserver()(SessionPaused(seconds=1, status=503))


def test_without_the_extra_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[otel\]") as caught:
        OpenTelemetryObserver()
    assert caught.value.__context__ is None


# -- TRACKET_LOG ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def bare_logger(*handlers):
    """Yield the logger of the package as a process has it that sets up no logging but these handlers.

    Within the test alone: pytest sets up handlers of its own before it, and removes them after it.
    """
    logger = logging.getLogger("tracket_async")
    before = logger.handlers, logger.propagate, logger.level
    logger.handlers, logger.propagate = list(handlers), False
    try:
        yield logger
    finally:
        logger.handlers, logger.propagate = before[:2]
        logger.setLevel(before[2])


@pytest.mark.parametrize(("level", "said"), [("debug", True), ("INFO", False)])
async def test_the_environment_turns_on_a_log_without_secrets(tracket_emulator, capsys, level, said):
    seen = []
    environ = {**tracket_emulator.env(), "TRACKET_LOG": level}
    with bare_logger(logging.Handler(logging.WARNING)) as logger:
        for _ in range(2):
            async with TracketClient.from_env(environ, observers=[seen.append]) as client:
                await client.worklogs.list()
        assert [type(handler) for handler in logger.handlers] == [logging.Handler, StderrHandler]
    logged = capsys.readouterr().err
    assert ("GET /api/2.0/timeEntries took" in logged) is said
    assert logged.count("GET /api/2.0/timeEntries begins") == (2 if said else 0)
    assert tracket_emulator.settings.client_secret not in logged
    assert seen


def test_where_logging_is_set_up_no_handler_is_added(caplog):
    with bare_logger(own := logging.NullHandler()) as logger:
        log_to_stderr("debug")
        assert logger.handlers == [own]
        assert logger.level == logging.DEBUG
    with bare_logger() as logger:
        logger.propagate = True  # to the root logger, which has the handler of caplog
        log_to_stderr("info")
        assert logger.handlers == []


def test_a_level_that_is_none_is_refused_and_an_empty_one_is_not_set():
    with bare_logger() as logger:
        with pytest.raises(ConfigurationError, match="TRACKET_LOG must be debug or info, not 'loud'"):
            TracketClient.from_env({"TRACKET_TOKEN": "t", "TRACKET_LOG": "loud"})
        TracketClient.from_env({"TRACKET_TOKEN": "t", "TRACKET_LOG": ""})
        assert logger.handlers == []
