"""The columns that a file may have."""

from __future__ import annotations

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
)
from tracket_async.models import NewWorklog, Worklog, WorklogChanges


def test_every_attribute_is_a_column_under_its_own_name_and_under_that_of_1_0():
    for attribute in attrs.fields(Worklog):
        assert ATTRIBUTES[attribute.name] == attribute.name
    for name, wire_name in v1.SCHEMA.names.items():
        assert ATTRIBUTES[wire_name] == name


def test_what_can_be_set_is_what_the_models_take_and_the_rest_is_the_server_s():
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
    }


@pytest.mark.parametrize("readers", [JSON_READERS, CSV_READERS, RAW_CSV_READERS])
def test_the_id_and_what_can_be_set_is_read_and_nothing_else(readers):
    assert set(readers) == {"id", *SETTABLE}


def test_both_kinds_of_names_can_stand_side_by_side_in_any_order():
    assert column_attributes(["worklogMinutes", "id", "date"]) == ["minutes", "id", "date"]


def test_an_unknown_column_is_refused_by_its_name_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"there is no column 'minuts'; the columns are item_id, .*, id$"):
        column_attributes(["date", "minuts"])


def test_two_names_of_one_attribute_are_refused():
    with pytest.raises(ValueError, match="date is given twice, as worklogDate and as date"):
        column_attributes(["worklogDate", "minutes", "date"])


def test_where_only_the_id_counts_no_other_column_is_looked_at():
    assert column_attributes(["name", "minutes", "worklogId", "minutes"], only_id=True) == [None, None, "id", None]
    with pytest.raises(ValueError, match="id is given twice"):
        column_attributes(["id", "x", "id"], only_id=True)
