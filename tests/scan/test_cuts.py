"""Where a range can be cut: between its ends, at multiples of the grain, and not beyond the calendar."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracket_async.scan.cuts import EPOCH, cut_within, cuts, seconds_ahead
from tracket_async.scan.partition import DAY, EARLIEST, LATEST, MICROSECOND, DateRange, shifted, within

MOMENTS = st.datetimes(timezones=st.just(dt.UTC))
GRAINS = st.sampled_from([DAY, dt.timedelta(minutes=1), MICROSECOND, dt.timedelta(days=7)])
NOON = dt.datetime(2024, 5, 6, 12, tzinfo=dt.UTC)
EXAMPLES = settings(max_examples=100, deadline=None, derandomize=True)


@given(low=MOMENTS, high=MOMENTS, kept=st.floats(0, 1), grain=GRAINS)
@EXAMPLES
def test_a_cut_lies_behind_what_is_kept_and_is_a_multiple_of_the_grain(low, high, kept, grain):
    cut = cut_within(DateRange(grain=grain), low, high, kept)
    if cut is not None:
        assert low < cut <= high
        assert (cut - EPOCH) % grain == dt.timedelta(0)


@given(low=MOMENTS, high=MOMENTS, parts=st.integers(1, 20), grain=GRAINS)
@EXAMPLES
def test_cuts_ascend_and_are_fewer_than_the_parts(low, high, parts, grain):
    low, high = sorted((low, high))
    found = cuts(DateRange(since=low, until=high, grain=grain), parts)
    assert len(found) < parts
    assert found == sorted(set(found))


def test_a_day_that_has_begun_cannot_be_cut_by_days():
    dates = DateRange()
    assert cut_within(dates, NOON, NOON + DAY / 2 - MICROSECOND, 0.5) is None
    assert cut_within(dates, NOON, NOON + DAY / 2, 0.5) == NOON + DAY / 2


@pytest.mark.parametrize(
    ("dates", "low", "expected"),
    [
        (DateRange(), NOON, None),
        (DateRange(last=NOON), None, None),
        (DateRange(first=NOON, last=NOON + 10 * DAY), None, NOON + 4.5 * DAY),
        (DateRange(last=NOON + 10 * DAY), NOON, NOON + 4.5 * DAY),
        # Behind the last date that was expected, it looks as far ahead as it has come.
        (DateRange(since=NOON - 10 * DAY, last=NOON), NOON, NOON + 4.5 * DAY),
        (DateRange(first=NOON - 10 * DAY, last=NOON), NOON, NOON + 4.5 * DAY),
        (DateRange(last=NOON), NOON + 10 * DAY, NOON + 14.5 * DAY),
    ],
)
def test_an_end_that_is_unknown_is_guessed(dates, low, expected):
    assert cut_within(dates, low, None, 0.5) == expected


def test_the_end_of_the_calendar_is_no_error():
    dates = DateRange(since=EARLIEST, last=NOON)
    assert cut_within(dates, LATEST - DAY, None, 0.5) == LATEST.replace(hour=0, minute=0, second=0, microsecond=0)
    assert cut_within(DateRange(grain=7 * DAY), LATEST - DAY, LATEST, 0.0) is None
    assert cut_within(dates, LATEST, None, 0.5) is None
    assert seconds_ahead(dates, LATEST, None) == 0


def test_what_is_ahead_is_never_negative_and_nothing_where_it_is_unknown():
    assert seconds_ahead(DateRange(), NOON, NOON - DAY) == 0
    assert seconds_ahead(DateRange(), NOON, None) == 0
    assert seconds_ahead(DateRange(), NOON, NOON + DAY) == 86_400


def test_without_ends_there_is_no_cut_to_begin_with():
    assert cuts(DateRange(), 8) == []
    assert cuts(DateRange(since=NOON), 8) == []


def test_a_range_that_ends_before_it_begins_is_refused():
    with pytest.raises(ValueError, match="is after until"):
        DateRange(since=NOON, until=NOON - MICROSECOND)
    with pytest.raises(ValueError, match="grain"):
        DateRange(grain=dt.timedelta(0))


def test_bounds_belong_to_the_range():
    dates = DateRange(since=NOON, until=NOON + DAY)
    assert [within(dates, NOON + n * DAY / 2) for n in (-1, 0, 1, 2, 3)] == [False, True, True, True, False]
    assert within(DateRange(), EARLIEST)
    assert within(DateRange(), LATEST)


def test_a_shift_ends_at_the_ends_of_the_calendar():
    assert shifted(None, DAY) is None
    assert shifted(NOON, -DAY) == NOON - DAY
    assert shifted(EARLIEST, -DAY) == EARLIEST
    assert shifted(LATEST, DAY) == LATEST
