"""What the vendor's page of API 1.0 leaves open, and how it can be set."""

from __future__ import annotations

import datetime as dt

import pytest

from tracket_async._api import v1
from tracket_async.errors import UsageError
from tracket_async.models import WorklogFilter

SINCE = WorklogFilter(since=dt.datetime(2024, 3, 1, 22, 30, 15, 1_999, tzinfo=dt.UTC))


def test_start_date_is_a_whole_millisecond_that_is_not_after_what_is_meant():
    assert v1.api_version().list(SINCE).query == (("startDate", "2024-03-01T22:30:15.001Z"),)


def test_start_date_can_be_sent_as_a_day():
    assert v1.api_version(start_date="day").list(SINCE).query == (("startDate", "2024-03-01"),)


def test_the_cursors_parameter_can_be_named():
    query = v1.api_version(cursor_parameter="next-cursor").list(WorklogFilter(), cursor="c").query
    assert query == (("next-cursor", "c"),)


@pytest.mark.parametrize(
    "settings", [{"start_date": "year"}, {"cursor_parameter": ""}, {"cursor_parameter": "startDate"}]
)
def test_settings_that_cannot_be_meant_are_refused(settings):
    with pytest.raises(UsageError, match=next(iter(settings))):
        v1.api_version(**settings)


@pytest.mark.parametrize("cursor", ["", 5, b"c"])
def test_a_cursor_that_would_begin_again_is_refused(cursor):
    with pytest.raises(UsageError, match="cursor"):
        v1.api_version().list(WorklogFilter(), cursor=cursor)


def test_two_wires_of_the_same_settings_are_equal_and_say_which_they_are():
    assert v1.api_version() == v1.api_version()
    assert v1.api_version() != v1.api_version(cursor_parameter="after")
    assert "version='1.0'" in repr(v1.api_version())
