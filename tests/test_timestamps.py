"""Moments as text and back."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracket_async import _timestamps as dates

MOMENTS = st.datetimes(timezones=st.just(dt.UTC))

EXAMPLES = settings(max_examples=100, deadline=None, derandomize=True)


def at(*parts):
    return dt.datetime(*parts, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-10-22T18:45:31.370Z", at(2024, 10, 22, 18, 45, 31, 370_000)),
        ("2024-10-22T18:45:31Z", at(2024, 10, 22, 18, 45, 31)),
        ("2024-10-22t18:45:31z", at(2024, 10, 22, 18, 45, 31)),
        ("2024-10-22 18:45:31Z", at(2024, 10, 22, 18, 45, 31)),
        ("2024-10-22T18:45:31.123456Z", at(2024, 10, 22, 18, 45, 31, 123_456)),
        ("2024-10-22T18:45:31.1234564Z", at(2024, 10, 22, 18, 45, 31, 123_456)),
        ("2024-10-22T18:45:31.1234567Z", at(2024, 10, 22, 18, 45, 31, 123_457)),
        ("2024-10-22T18:45:31+02:00", at(2024, 10, 22, 16, 45, 31)),
        ("2024-10-22T18:45:31-05:30", at(2024, 10, 23, 0, 15, 31)),
        ("2024-10-22T18:45:31+00:00", at(2024, 10, 22, 18, 45, 31)),
        ("2024-10-22T18:45:31", at(2024, 10, 22, 18, 45, 31)),
        ("2024-10-22T18:45Z", at(2024, 10, 22, 18, 45)),
        ("2024-10-22", at(2024, 10, 22)),
    ],
)
def test_a_date_time_of_any_offset_is_read_as_utc(text, moment):
    assert dates.read_moment(text) == moment
    assert dates.read_moment(text).tzinfo is dt.UTC
    assert dates.read_day(text) == at(2024, 10, 22)
    assert dates.read_day(text).tzinfo is dt.UTC


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-12-31T23:59:60Z", at(2024, 12, 31, 23, 59, 59)),
        ("2024-12-31T23:59:60.5+01:00", at(2024, 12, 31, 22, 59, 59, 500_000)),
        ("2024-12-31T24:00", at(2025, 1, 1)),
        ("2024-12-31 24:00:00.000Z", at(2025, 1, 1)),
        ("2024-12-31T24:00+02:00", at(2024, 12, 31, 22)),
    ],
)
def test_a_leap_second_is_the_one_before_it_and_24_00_the_next_midnight(text, moment):
    assert dates.read_moment(text) == moment


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+02:00", "9999-12-31T23:59:59-02:00"])
def test_a_moment_that_utc_has_no_year_for_is_a_day_all_the_same(text):
    with pytest.raises(ValueError, match="outside of the years"):
        dates.read_moment(text)
    assert dates.read_day(text).date().isoformat() == text[:10]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2024-13-01",
        "9999-12-31T24:00",
        "2024-12-31T24:01",
        "0000-00-00",
        "2024-10-22T25:00:00Z",
        "2023-02-29",
        "1729622731",
    ],
)
def test_what_is_no_moment_is_a_value_error(text):
    for read in (dates.read_moment, dates.read_day):
        with pytest.raises(ValueError):  # noqa: PT011 - the text is not for people
            read(text)


@pytest.mark.parametrize(
    ("microsecond", "fraction"),
    [(0, "000"), (1, "000001"), (500, "000500"), (999, "000999"), (1000, "001"), (1001, "001001"), (999_000, "999")],
)
def test_six_digits_are_written_where_three_would_lose_something(microsecond, fraction):
    assert dates.write_moment(at(2024, 1, 1, 0, 0, 0, microsecond)) == f"2024-01-01T00:00:00.{fraction}Z"


@EXAMPLES
@given(MOMENTS)
def test_a_moment_comes_back_equal(moment):
    text = dates.write_moment(moment)
    assert dates.read_moment(text) == moment
    assert len(text) == (24 if moment.microsecond % 1000 == 0 else 27)


def test_a_moment_of_another_offset_is_written_in_utc_and_a_day_as_it_is():
    tokyo = dt.datetime(2024, 3, 1, 8, 30, tzinfo=dt.timezone(dt.timedelta(hours=9)))
    assert dates.write_moment(tokyo) == "2024-02-29T23:30:00.000Z"
    assert dates.write_day(tokyo) == "2024-03-01"
    assert dates.write_moment(at(1, 2, 3)) == "0001-02-03T00:00:00.000Z"


@EXAMPLES
@given(MOMENTS)
def test_bounds_are_rounded_outwards_to_whole_milliseconds(moment):
    millisecond = dt.timedelta(milliseconds=1)
    lower = dates.read_moment(dates.first_millisecond(moment))
    assert lower.microsecond % 1000 == 0
    assert dt.timedelta(0) <= moment - lower < millisecond
    upper = dates.read_moment(dates.last_millisecond(moment))
    assert upper.microsecond % 1000 == 0
    assert dt.timedelta(0) <= upper - moment < millisecond


def test_the_last_moment_that_there_is_is_its_own_bound():
    last = dt.datetime.max.replace(tzinfo=dt.UTC)
    assert dates.last_millisecond(last) == "9999-12-31T23:59:59.999999Z"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2024-05-20", dt.date(2024, 5, 20)),
        ("2024-05-20T09:30Z", at(2024, 5, 20, 9, 30)),
        ("2024-05-20t09:30z", at(2024, 5, 20, 9, 30)),
        ("2024-05-20 09:30:15.125+00:00", at(2024, 5, 20, 9, 30, 15, 125_000)),
        ("2024-05-20T11:30+02:00", at(2024, 5, 20, 9, 30)),
    ],
)
def test_a_day_and_a_date_time_with_an_offset_are_read(text, value):
    found = dates.parse_date(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["2024-05-20T09:30", "2024-05-20 09:30:00.5"])
def test_a_date_time_without_an_offset_is_refused_and_says_what_to_append(text):
    with pytest.raises(ValueError, match=r"has no offset, .* Append Z for UTC"):
        dates.parse_date(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "20240520",
        "2024-W21-1",
        "2024-5-20",
        "2024-05-20T",
        "2024-05-20T25:00Z",
        "2024-05-20T09:30 noon",
        " 2024-05-20",
        "20.05.2024",
        "5/20/2024",
        "\u0662\u0660\u0662\u0664-\u0660\u0665-\u0662\u0660",
    ],
)
def test_what_is_no_date_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match=r"is no date\. Give YYYY-MM-DD"):
        dates.parse_date(text)


def test_a_day_that_is_not_in_the_calendar_is_told_to_be_none():
    with pytest.raises(ValueError, match=r"'2024-02-30' is no date: there is no such day$"):
        dates.parse_date("2024-02-30")


def test_a_date_with_an_offset_keeps_the_day_as_written():
    assert dates.parse_date("2026-03-02T08:00+13:00").isoformat() == "2026-03-02T08:00:00+13:00"
    assert dates.parse_date("0999-01-01") == dt.date(999, 1, 1)


def test_a_refused_date_is_shown_short():
    with pytest.raises(ValueError, match=r"^'x{39} is no date"):
        dates.parse_date("x" * 1000)
