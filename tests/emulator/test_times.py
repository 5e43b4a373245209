"""Instants as text: what is read, what is refused, what is written."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracket_async.emulator.records import DAY, format_day, format_instant, parse_day, parse_instant, start_of_day

UTC_INSTANTS = st.datetimes(timezones=st.just(dt.UTC))


def milliseconds(moment):
    return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(milliseconds=1)


@given(UTC_INSTANTS)
def test_what_is_written_is_what_python_writes_and_reads_back_the_same(moment):
    instant = milliseconds(moment)
    text = format_instant(instant)
    assert text == moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert parse_instant(text) == instant
    assert format_day(instant) == moment.date().isoformat()
    assert start_of_day(instant) == parse_day(format_day(instant))
    assert 0 <= instant - start_of_day(instant) < DAY


@given(st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 1, 1)), st.integers(-1439, 1439))  # noqa: DTZ001
def test_offsets_are_taken_to_utc(local, offset):
    zone = dt.timezone(dt.timedelta(minutes=offset))
    moment = local.replace(tzinfo=zone)
    assert parse_instant(moment.isoformat()) == milliseconds(moment)


@pytest.mark.parametrize(
    ("text", "milliseconds_of_second"),
    [("", 0), (".1", 100), (".12", 120), (".123", 123), (".1239", 123), (".9999999999", 999)],
)
def test_finer_fractions_are_cut_off(text, milliseconds_of_second):
    assert parse_instant(f"1970-01-01T00:00:00{text}Z") == milliseconds_of_second


@pytest.mark.parametrize("text", ["1970-01-01t00:00:01z", "1970-01-01 00:00:01Z", "1970-01-01T00:00:01+00:00"])
def test_rfc_3339_has_some_freedom(text):
    assert parse_instant(text) == 1000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1970-01-01",
        "1970-01-01T00:00:00",
        "1970-01-01T00:00Z",
        "1970-01-01T24:00:00Z",
        "1970-01-01T00:60:00Z",
        "1970-01-01T00:00:60Z",
        "1970-01-01T00:00:00.Z",
        "1970-01-01T00:00:00+24:00",
        "1970-01-01T00:00:00+0100",
        "1970-02-29T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "١٩٧٠-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z\n",
    ],
)
def test_what_is_no_instant_is_refused(text):
    with pytest.raises(ValueError, match="must"):
        parse_instant(text)


@pytest.mark.parametrize("text", ["", "1970-1-1", "1970-02-30", "0000-01-01", "19700101", "1970-01-01 ", "1970-W01-1"])
def test_what_is_no_day_is_refused(text):
    with pytest.raises(ValueError, match="must be a day"):
        parse_day(text)
