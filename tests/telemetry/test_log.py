"""The logging observer says something of every event, nothing loudly, and keeps the event for whoever wants it."""

from __future__ import annotations

import logging
import typing

import pytest

from tracket_async import events
from tracket_async.events import (
    AttemptEnded,
    AttemptStarted,
    RequestEnded,
    RequestStarted,
    RetryScheduled,
    SessionPaused,
    TokenRefreshed,
)
from tracket_async.instrumentation import LEVELS, TEMPLATES, LoggingObserver

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
