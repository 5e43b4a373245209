"""The columns of an import file."""

from __future__ import annotations

import attrs
import pytest

from tracket_async._api import v1
from tracket_async.errors import UsageError
from tracket_async.importer.columns import (
    ATTRIBUTES,
    SETTABLE,
    UNNAMED,
    attribute_of,
    column_attributes,
    plain,
    read_mapping,
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


def test_both_kinds_of_names_can_be_mixed_in_any_order():
    assert column_attributes(["worklogMinutes", "id", "day", "date"]) == ["minutes", "id", "day", "date"]


def test_an_unknown_column_is_refused_and_the_known_ones_are_listed():
    with pytest.raises(
        ValueError,
        match=r"^there is no column 'minuts', 'x'; the columns are item_id, .*, day, id\. --map OLD=NEW gives",
    ):
        column_attributes(["date", "minuts", "x"])


def test_two_names_of_one_attribute_are_refused():
    with pytest.raises(ValueError, match="date is given twice, as worklogDate and as date"):
        column_attributes(["worklogDate", "minutes", "date"])


def test_with_only_id_other_column_names_are_not_checked():
    assert column_attributes(["name", "minutes", "worklogId", "minutes"], only_id=True) == [None, None, "id", None]
    with pytest.raises(ValueError, match="id is given twice"):
        column_attributes(["id", "x", "id"], only_id=True)


@pytest.mark.parametrize("name", ["Item ID", " item_id ", "ITEM-ID", "itemid", "\ufeffItemId", "worklog  date"])
def test_upper_case_spaces_and_hyphens_make_no_difference(name):
    assert column_attributes([name]) == ["date" if "date" in name else "item_id"]


def test_no_two_attributes_have_the_same_plain_name():
    assert {plain(name): ATTRIBUTES[name] for name in ATTRIBUTES} == {
        plain(name): attribute_of(name.upper()) for name in ATTRIBUTES
    }


def test_hours_stand_for_minutes_and_only_one_of_them_may_be_there():
    assert column_attributes(["Hours", "billable hours"]) == ["hours", "billable_hours"]
    with pytest.raises(ValueError, match="minutes is given twice, as minutes and as hours"):
        column_attributes(["minutes", "hours"])


def test_a_mapping_renames_and_skips_columns():
    mapping = read_mapping(["Start Date=date", "task=Item ID", "user=", "a=b=description"])
    assert mapping == {"startdate": "date", "task": "item_id", "user": None, "a=b": "description"}
    names = ["START DATE", "Task", "user", "minutes"]
    assert column_attributes(names, mapping=mapping) == ["date", "item_id", None, "minutes"]
    with pytest.raises(ValueError, match="there is no column 'Client'"):
        column_attributes(["Client"], mapping=mapping)
    assert column_attributes(["Client", "day"], mapping=read_mapping(["*="])) == [None, "day"]
    with pytest.raises(ValueError, match="date is given twice, as Start Date and as date"):
        column_attributes(["Start Date", "date"], mapping=mapping)


def test_a_column_without_a_name_can_be_skipped():
    assert column_attributes(["", "id", " "]) == [UNNAMED, "id", UNNAMED]
    assert column_attributes(["", "id"], mapping=read_mapping(["="])) == [None, "id"]


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        (["date"], "--map 'date' is not OLD=NEW. NEW is one of item_id, "),
        (["x=day off"], "--map 'x=day off' is not OLD=NEW"),
        (["*=date"], r"--map '\*=date' gives one name to all columns"),
        (["x=date", "X=day"], "--map names the column 'X' twice"),
    ],
)
def test_a_mapping_that_says_nothing_is_refused(pairs, reason):
    with pytest.raises(UsageError, match=reason):
        read_mapping(pairs)
