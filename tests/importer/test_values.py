"""Values of an import file: ids, minutes, dates, and what decides between two readings."""

from __future__ import annotations

import datetime as dt
import re

import pytest

from tracket_async.errors import UsageError
from tracket_async.importer.columns import HOURS, SETTABLE, UNNAMED
from tracket_async.importer.values import (
    ORDERS,
    Notation,
    RepairedIds,
    Survey,
    read_id,
    read_local_date,
    read_minutes,
    shortened,
    value_readers,
)

JSON_READERS = RAW_CSV_READERS = value_readers(Notation(), RepairedIds())
CSV_READERS = value_readers(Notation(), RepairedIds(), escaped=True)


@pytest.mark.parametrize("readers", [JSON_READERS, CSV_READERS, RAW_CSV_READERS])
def test_only_the_id_the_day_and_settable_values_have_readers(readers):
    assert set(readers) == {"id", "day", UNNAMED, *HOURS, *SETTABLE}


@pytest.mark.parametrize("readers", [JSON_READERS, CSV_READERS])
@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-05-20", "2024-05-20"),
        ("2024-05-20 09:30:00z", "2024-05-20T09:30:00+00:00"),
        ("2024-05-20T11:30:00+02:00", "2024-05-20T11:30:00+02:00"),
        ("2024-05-20T09:30:00.123456Z", "2024-05-20T09:30:00.123456+00:00"),
    ],
)
def test_a_date_is_a_day_or_a_moment_with_its_offset(readers, text, moment):
    assert readers["date"]("date", text).isoformat() == moment


@pytest.mark.parametrize("readers", [JSON_READERS, CSV_READERS])
def test_a_day_has_no_time_of_day(readers):
    assert readers["day"]("day", "2024-05-20") == dt.date(2024, 5, 20)
    with pytest.raises(ValueError, match="day must be YYYY-MM-DD, without a time of day, not '2024-05-20T00:00Z'"):
        readers["day"]("day", "2024-05-20T00:00Z")
    with pytest.raises(ValueError, match=r"^day: 'soon' is no date"):
        readers["day"]("day", "soon")


@pytest.mark.parametrize("readers", [JSON_READERS, CSV_READERS])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("soon", "date: 'soon' is no date. Give YYYY-MM-DD"),
        ("20/05/2024", "date: '20/05/2024' is no date"),
    ],
)
def test_a_text_that_is_no_date_is_refused_with_the_column(readers, text, reason):
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}"):
        readers["date"]("date", text)


@pytest.mark.parametrize("value", [20240520, 2024.5, True, ["2024-05-20"], {}])
def test_a_json_value_that_is_no_string_is_no_date(value):
    with pytest.raises(ValueError, match=r"^date must be a string, not "):
        JSON_READERS["date"]("date", value)


@pytest.mark.parametrize(("value", "number"), [(90, 90), (7.5, 7.5), (-1, -1), (0, 0)])
def test_a_json_number_is_left_to_the_model(value, number):
    assert JSON_READERS["minutes"]("minutes", value) == number


@pytest.mark.parametrize("value", [True, [90], {}])
def test_a_json_value_that_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match="billable_minutes must be a number of minutes, not "):
        JSON_READERS["billable_minutes"]("billable_minutes", value)


@pytest.mark.parametrize(
    ("text", "number"), [("90", 90), ("90.0", 90), (".5", 0.5), ("5.", 5), ("+7.25", 7.25), ("1e2", 100), ("-1", -1)]
)
def test_a_number_in_a_cell_is_decimal(text, number):
    assert CSV_READERS["minutes"]("minutes", text) == number


@pytest.mark.parametrize(
    "text",
    [
        "7,5",
        "1_000",
        "nan",
        "inf",
        "0x10",
        "1 d",
        "5 5",
        "",
        "'5",
        "٩",
        ".",
        "e5",
        "--1",
        "1:60",
        "PT",
        "P1D",
        "h",
        "1..2h",
    ],
)
def test_a_cell_that_is_no_number_is_refused(text):
    with pytest.raises(
        ValueError, match=r"^minutes must be a number of minutes, or a duration such as 1:30, 1\.5h or PT90M, "
    ):
        CSV_READERS["minutes"]("minutes", text)


def test_a_json_id_may_be_a_whole_number():
    assert JSON_READERS["item_id"]("item_id", 5273029382) == "5273029382"
    assert JSON_READERS["item_id"]("item_id", "5273029382") == "5273029382"


@pytest.mark.parametrize("value", [True, [], {}])
def test_any_other_json_value_is_no_id(value):
    with pytest.raises(ValueError, match="user_id must be a string, not "):
        JSON_READERS["user_id"]("user_id", value)


@pytest.mark.parametrize("value", [1, True, [], {}])
def test_a_json_text_is_a_string(value):
    with pytest.raises(ValueError, match="description must be a string, not "):
        JSON_READERS["description"]("description", value)
    assert JSON_READERS["description"]("description", "'=1+1") == "'=1+1"


def test_custom_fields_are_an_object_or_its_json():
    assert JSON_READERS["custom_fields"]("custom_fields", {"a": 1}) == {"a": 1}
    assert CSV_READERS["custom_fields"]("custom_fields", '{"a":"b"}') == {"a": "b"}
    for value in ("[]", "5", "null"):
        with pytest.raises(ValueError, match="custom_fields must be an object, not "):
            CSV_READERS["custom_fields"]("custom_fields", value)
    for value in ("{", "a=b", "[" * 100_000):
        with pytest.raises(ValueError, match="custom_fields must be JSON, not "):
            CSV_READERS["custom_fields"]("custom_fields", value)


@pytest.mark.parametrize("name", ["description", "category_id", "id"])
def test_the_one_apostrophe_of_an_export_is_removed(name):
    for cell, value in {"'=1": "=1", "''s avonds": "'s avonds", "''=1": "'=1", "'s avonds": "'s avonds"}.items():
        assert CSV_READERS[name](name, cell) == value
        assert RAW_CSV_READERS[name](name, cell) == cell


def test_a_value_in_a_message_is_shortened():
    assert shortened("x") == "'x'"
    assert shortened("x" * 38) == repr("x" * 38)
    assert shortened("x" * 39) == "'" + "x" * 39 + "..."


@pytest.mark.parametrize(
    "text", ["5000204173", "wl-1", "21e5614a-7f3c-4b11-9f0e-0a1b2c3d4e5f", "123e4567", "naN-1", "a b", "1-2", "..", ""]
)
def test_an_id_is_read_as_it_stands(text):
    assert read_id("id", text) == text


@pytest.mark.parametrize(
    ("text", "read"), [("5000204173.0", "5000204173"), ("123456789012345.00", "123456789012345"), ("0.0", "0")]
)
def test_a_float_of_up_to_15_digits_is_repaired(text, read):
    assert read_id("id", text) == read


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1234567890123456.0", "digits may be lost"),
        ("5.000204173e+09", "digits may be lost"),
        ("5E9", "digits may be lost"),
        ("5,00E+09", "digits may be lost"),
        ("5,000,204,173", "digits may be lost"),
        ("5.000", "5"),
        ("007.0", "digits may be lost"),
        ("1.5", "digits may be lost"),
        ("-5000204173.0", "digits may be lost"),
        ("nan", "stands for no value"),
        ("NaN", "stands for no value"),
        ("<NA>", "stands for no value"),
        ("#REF!", "stands for no value"),
        ("#N/A", "stands for no value"),
        (" 5000204173", "white space around it"),
        ("5000204173\u00a0", "white space around it"),
        ("\u200b5000204173", "white space around it"),
        ("wl-1\t", "white space around it"),
        (" ", "white space around it"),
    ],
)
def test_an_id_that_a_program_has_spoilt_is_refused(text, reason):
    if text == "5.000":  # only zeros behind the point: nothing is lost
        assert read_id("id", text) == reason
        return
    with pytest.raises(ValueError, match=f"^item_id {re.escape(shortened(text))} .*{reason}"):
        read_id("item_id", text)


@pytest.mark.parametrize("name", ["id", "item_id", "user_id", "category_id", "team_id", "project_id"])
def test_every_id_is_repaired_or_refused_and_repairs_are_counted(name):
    repaired = RepairedIds()
    readers = value_readers(Notation(), repaired, escaped=True)
    assert [readers[name](name, value) for value in ("7.0", 7.0, 7, "7", 123456789012345.0)] == ["7"] * 4 + [
        "123456789012345"
    ]
    assert repaired.count == 3
    for value in (1e15, 1.5, float("nan"), float("inf"), 5e16, "#REF!", "'=1\n"):
        with pytest.raises(ValueError, match=f"^{name} "):
            readers[name](name, value)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("1:30", 90),
        ("01:30:00", 90),
        ("0:00:30", 0.5),
        ("-1:30", -90),
        ("100:00", 6000),
        ("1:00:00.6", 60.01),
        ("1.5h", 90),
        ("1,5 h", None),
        ("1.5\u00a0hours", 90),
        ("2 hrs 5 min", 125),
        ("1h30", 90),
        ("1 h 30m 30s", 90.5),
        ("90m", 90),
        ("90 Minutes", 90),
        ("45 sec", 0.75),
        ("-2h", -120),
        ("PT90M", 90),
        ("pt1h30m", 90),
        ("PT1,5H", 90),
        ("-PT0.5H", -30),
        ("PT30S", 0.5),
        ("1,234.5", 1234.5),
        ("1'234", 1234),
        ("1 234", 1234),
        ("1\u202f234.5", 1234.5),
        ("12,34", None),
        ("0,123", None),
    ],
)
def test_a_duration_is_minutes(text, minutes):
    assert read_minutes(text, ".") == minutes


def test_a_decimal_comma_is_read_where_the_file_has_it():
    assert [read_minutes(text, ",") for text in ("7,5", "1.234,5", "1,5h", "1:00:00,6", "PT1.5H", "7.5")] == [
        *(7.5, 1234.5, 90, 60.01, 90),
        None,
    ]


def test_a_column_of_hours_becomes_minutes():
    for value, minutes in (("1.1", 66), (1.1, 66), ("1:30", 90), (2, 120)):
        assert CSV_READERS["hours"]("hours", value) == minutes
    with pytest.raises(ValueError, match=r"^billable_hours must be a number of hours, or a duration"):
        CSV_READERS["billable_hours"]("billable_hours", "soon")


@pytest.mark.parametrize(
    ("text", "order", "date"),
    [
        ("20/05/2024", "dmy", "2024-05-20"),
        ("05/20/2024", "mdy", "2024-05-20"),
        ("2024/5/20", "ymd", "2024-05-20"),
        ("20.05.24", "dmy", "2024-05-20"),
        ("1-2-70", "dmy", "1970-02-01"),
        ("24-05-20", "ymd", "2024-05-20"),
        ("20/05/2024 09:30", "dmy", "2024-05-20T09:30:00"),
        ("5/20/2024, 12:05:09 AM", "mdy", "2024-05-20T00:05:09"),
        ("5/20/2024 9:30 p.m.", "mdy", "2024-05-20T21:30:00"),
        ("20.05.2024 09:30 +0200", "dmy", "2024-05-20T09:30:00+02:00"),
        ("20 May 2024", "%d %b %Y", "2024-05-20"),
        ("20.05.2024 17h", "%d.%m.%Y %Hh", "2024-05-20T17:00:00"),
    ],
)
def test_a_local_date_is_read_in_its_order(text, order, date):
    assert read_local_date(text, order).isoformat() == date


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("05.20.2024", "mdy"),
        ("31/04/2024", "dmy"),
        ("2024/05/20", "dmy"),
        ("20/05/2024", "ymd"),
        ("20/05/124", "dmy"),
        ("20/05/2024 25:00", "dmy"),
        ("20/05/2024 soon", "dmy"),
        ("soon", "dmy"),
        ("soon", "%d.%m.%Y"),
    ],
)
def test_a_text_in_another_order_is_no_local_date(text, order):
    assert read_local_date(text, order) is None


def test_iso_dates_are_read_beside_local_ones():
    read = value_readers(Notation(date_order="dmy"), RepairedIds())["date"]
    assert read("date", " 5/6/2024 ") == dt.date(2024, 6, 5)
    assert read("date", "2024-05-20") == dt.date(2024, 5, 20)
    assert read("date", "2024-05-20T09:30") == dt.datetime(2024, 5, 20, 9, 30)  # noqa: DTZ001
    assert read("date", dt.date(2024, 5, 20)) == dt.date(2024, 5, 20)
    with pytest.raises(ValueError, match=r"^date: '6/5/124' is no date"):
        read("date", "6/5/124")


def test_a_day_at_midnight_without_an_offset_is_a_day():
    assert CSV_READERS["day"]("day", "2024-05-20 00:00:00") == dt.date(2024, 5, 20)


def test_a_cell_without_a_column_name_is_refused():
    with pytest.raises(ValueError, match=r"^'0' stands in a column without a name; .* --map ="):
        CSV_READERS[UNNAMED](UNNAMED, "0")


def survey(*cells, decimal=None, date_order=None, as_documented=False):
    made = Survey(decimal, date_order, as_documented=as_documented)
    for line, (attribute, value) in enumerate(cells, start=2):
        made.add(line, attribute, value)
    return made.notation()


def numbers(*texts, **settings):
    return survey(*(("minutes", text) for text in texts), **settings).decimal


def test_the_decimal_point_is_the_one_that_every_number_allows():
    assert numbers() == numbers("90", " 60 ", "", 7.5) == "."
    assert numbers("90.5", "1,234") == "."
    assert numbers("1.234", "7,5") == ","
    assert numbers("1,5h", "90") == ","
    assert numbers("1:30", "PT1,5H", "soon") == "."  # the same in both, or wrong in both
    assert numbers("1,234", decimal=".") == "."
    assert numbers("1.234", "1,234", as_documented=True) == "."


def test_a_number_that_can_be_read_in_two_ways_is_asked_for():
    for texts in (("1,234",), ("90", "1.234"), ("1.234h",)):
        with pytest.raises(UsageError) as caught:
            numbers(*texts)
        assert str(caught.value) == (
            f"The numbers can be read in two ways: {texts[-1]!r} on line {len(texts) + 1} may be a number with a"
            " decimal point or one with a decimal comma. Give --decimal '.' or --decimal ','"
        )


def test_numbers_that_contradict_each_other_are_refused():
    with pytest.raises(UsageError) as caught:
        numbers("7,5", "7.5", "8,5")
    assert str(caught.value) == (
        "The numbers are not all written in one way: '7,5' on line 2 cannot be a number with a decimal"
        " point; '7.5' on line 3 cannot be one with a decimal comma. Write them alike"
    )


def test_the_decimal_point_of_an_export_is_a_point():
    assert numbers("1.234", as_documented=True) == "."
    assert numbers("90", as_documented=True) == "."
    assert numbers("7,5", as_documented=True) == ","
    with pytest.raises(UsageError, match="two ways"):
        numbers("1,234", as_documented=True)


def dates(*texts, **settings):
    return survey(*(("date", text) for text in texts), **settings).date_order


def test_the_order_of_dates_is_the_one_that_every_date_allows():
    assert dates("2024-05-20", "2024-05-20T09:30", dt.date(2024, 5, 20), "") is None
    assert dates("05/07/2024", "13/07/2024", "soon") == "dmy"
    assert dates("05/07/2024", "05/13/2024") == "mdy"
    assert dates("05.07.2024") == "dmy"
    assert dates("2024/05/07") == "ymd"
    assert dates("05/05/2024") == "dmy"  # the same day in both
    assert dates("05/07/2024", date_order="mdy") == "mdy"
    assert survey(("day", "13/07/2024"), ("description", "1/2/2024")).date_order == "dmy"


def test_a_date_that_can_be_read_in_two_ways_is_asked_for():
    with pytest.raises(UsageError) as caught:
        dates("05/05/2024", "05/07/2024")
    assert str(caught.value) == (
        "The dates can be read in two ways: '05/07/2024' on line 3 may be day/month/year or month/day/year."
        " Give --date-format 'dmy' or --date-format 'mdy'"
    )
    with pytest.raises(UsageError, match=r"written in one way: .*; '07/13/2024' on line 3 cannot be day/month/year\. "):
        dates("13/07/2024", "07/13/2024")
    assert set(ORDERS) == {"dmy", "mdy", "ymd"}
