"""The columns of an import file, and how their values are read."""

from __future__ import annotations

import datetime as dt
import re

import attrs
import pytest

from tracket_async._api import v1
from tracket_async.importer.columns import (
    ATTRIBUTES,
    CSV_READERS,
    JSON_READERS,
    RAW_CSV_READERS,
    SETTABLE,
    column_attributes,
    shortened,
)
from tracket_async.models import NewWorklog, Worklog, WorklogChanges


def test_every_attribute_has_its_own_column_name_and_that_of_1_0():
    for attribute in attrs.fields(Worklog):
        assert ATTRIBUTES[attribute.name] == attribute.name
    for name, wire_name in v1.SCHEMA.names.items():
        assert ATTRIBUTES[wire_name] == name


def test_the_settable_columns_are_those_of_the_models():
    assert set(SETTABLE) == {each.name for each in attrs.fields(NewWorklog)}
    assert set(SETTABLE) == {each.name for each in attrs.fields(WorklogChanges)}
    assert {each.name for each in attrs.fields(Worklog)} - set(SETTABLE) == {
        "id",
        "created_date",
        "updated_date",
        "approval_status",
        "approver_user_id",
        "board_id",
        "parent_item_id",
        "extra",
    }


@pytest.mark.parametrize("readers", [JSON_READERS, CSV_READERS, RAW_CSV_READERS])
def test_only_the_id_the_day_and_settable_values_have_readers(readers):
    assert set(readers) == {"id", "day", *SETTABLE}


def test_both_kinds_of_names_can_be_mixed_in_any_order():
    assert column_attributes(["worklogMinutes", "id", "day", "date"]) == ["minutes", "id", "day", "date"]


def test_an_unknown_column_is_refused_and_the_known_ones_are_listed():
    with pytest.raises(ValueError, match=r"there is no column 'minuts'; the columns are item_id, .*, day, id$"):
        column_attributes(["date", "minuts"])


def test_two_names_of_one_attribute_are_refused():
    with pytest.raises(ValueError, match="date is given twice, as worklogDate and as date"):
        column_attributes(["worklogDate", "minutes", "date"])


def test_with_only_id_other_column_names_are_not_checked():
    assert column_attributes(["name", "minutes", "worklogId", "minutes"], only_id=True) == [None, None, "id", None]
    with pytest.raises(ValueError, match="id is given twice"):
        column_attributes(["id", "x", "id"], only_id=True)


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
        ("2024-05-20T09:30", "date: '2024-05-20T09:30' has no offset"),
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


@pytest.mark.parametrize("value", ["90", True, [90], {}])
def test_a_json_value_that_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match="billable_minutes must be a number of minutes, not "):
        JSON_READERS["billable_minutes"]("billable_minutes", value)


@pytest.mark.parametrize(
    ("text", "number"), [("90", 90), ("90.0", 90), (".5", 0.5), ("5.", 5), ("+7.25", 7.25), ("1e2", 100), ("-1", -1)]
)
def test_a_number_in_a_cell_is_decimal(text, number):
    assert CSV_READERS["minutes"]("minutes", text) == number


@pytest.mark.parametrize("text", ["7,5", "1_000", "nan", "inf", "0x10", "1 h", " 5", "5 ", "'5", "٩", ".", "e5", "--1"])
def test_a_cell_that_is_no_number_is_refused(text):
    with pytest.raises(ValueError, match="minutes must be a number of minutes, with a point and not a comma"):
        CSV_READERS["minutes"]("minutes", text)


def test_a_json_id_may_be_a_whole_number():
    assert JSON_READERS["item_id"]("item_id", 5273029382) == "5273029382"
    assert JSON_READERS["item_id"]("item_id", "5273029382") == "5273029382"


@pytest.mark.parametrize("value", [1.5, True, [], {}])
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
    with pytest.raises(ValueError, match="custom_fields must be an object, not "):
        JSON_READERS["custom_fields"]("custom_fields", "{}")


@pytest.mark.parametrize("name", ["description", "category_id", "id"])
def test_the_one_apostrophe_of_an_export_is_removed(name):
    for cell, value in {"'=1": "=1", "''s avonds": "'s avonds", "''=1": "'=1", "'s avonds": "'s avonds"}.items():
        assert CSV_READERS[name](name, cell) == value
        assert RAW_CSV_READERS[name](name, cell) == cell


def test_a_value_in_a_message_is_shortened():
    assert shortened("x") == "'x'"
    assert shortened("x" * 38) == repr("x" * 38)
    assert shortened("x" * 39) == "'" + "x" * 39 + "..."
