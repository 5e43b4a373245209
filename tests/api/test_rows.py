"""Rows: the fast path that makes no models. What it reads is held equal to the converters in ``test_fast.py``."""

from __future__ import annotations

import gc
import json

import attrs
import msgspec
import pytest

from tracket_async._api import v1, v2
from tracket_async._api.fast import NO_FIELDS, FastReader, columns_of, row_of
from tracket_async._http.messages import Response
from tracket_async.models import ApprovalStatus, Worklog

NAMES = tuple(attribute.name for attribute in attrs.fields(Worklog))
SAMPLE = {
    "id": "w",
    "user": "u",
    "date": "2024-10-22",
    "minutes": 1,
    "customFields": {"category": "c"},
    "approval": {"status": "open", "approver": "7"},
}


def fast():
    return FastReader(v2.SCHEMA, v2.FINISHER)


def body(*worklogs):
    return json.dumps({"items": worklogs}).encode()


@pytest.mark.parametrize(("schema", "finisher"), [(v1.SCHEMA, v1.FINISHER), (v2.SCHEMA, v2.FINISHER)])
def test_a_row_has_the_attributes_of_a_worklog_in_their_order(schema, finisher):
    members = {"worklogId": "w", "userId": "u", "worklogDate": "2024-10-22T18:45:31Z", "worklogMinutes": 1}
    page = body(SAMPLE) if schema is v2.SCHEMA else json.dumps({"worklogs": [members]}).encode()
    [row] = FastReader(schema, finisher).rows(page).items
    assert row.__struct_fields__ == NAMES
    assert row.minutes.__class__ is float


def test_a_worklog_as_a_row_has_its_values():
    worklog = Worklog(id="w", user_id="u", date=None, minutes=1.0, approval_status=ApprovalStatus.OPEN)
    assert msgspec.structs.astuple(row_of(worklog)) == attrs.astuple(worklog, recurse=False)


def test_columns_have_the_values_of_all_rows():
    rows = fast().rows(body(SAMPLE, {**SAMPLE, "id": "x"})).items
    assert columns_of(rows, ("category_id", "id")) == [("c", "c"), ("w", "x")]
    assert columns_of([], ("id",)) == [()]


def test_rows_without_custom_fields_share_them_and_nobody_can_change_them():
    rows = fast().rows(body(SAMPLE, {**SAMPLE, "customFields": None})).items
    assert rows[0].custom_fields is rows[1].custom_fields is NO_FIELDS == {}
    with pytest.raises(TypeError):
        NO_FIELDS["a"] = 1


def test_the_garbage_collector_does_not_follow_rows():
    rows = fast().rows(body(SAMPLE)).items
    assert not gc.is_tracked(rows[0])
    assert not gc.is_tracked(row_of(Worklog(id="w", user_id="u", date=None, minutes=1)))


def test_a_form_that_another_one_had_to_stand_in_for_is_not_tried_any_more():
    reader = fast()
    forms = [*reader._forms]
    assert len(forms) == 3
    assert reader.rows(body(SAMPLE)) is not None
    assert reader.rows(b"{}") is None
    assert reader._forms == forms
    [row] = reader.rows(body({**SAMPLE, "customFields": {"category": "c", "r": "o"}})).items
    assert (row.category_id, row.custom_fields) == ("c", {"r": "o"})
    assert reader._forms == forms[1:]
    [row] = reader.rows(body({**SAMPLE, "approval": "approved"})).items
    assert (row.approval_status, row.approver_user_id) == ("approved", None)
    assert reader._forms == forms[2:]
    assert len(reader.rows(body(SAMPLE)).items) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_field_that_is_no_member_of_its_own_cannot_be_filled_by_an_answer(name):
    for value in (None, 0, 1, "x", {}):
        page = body({**SAMPLE, f"(no member: {name})": value})
        found = fast().rows(page)
        no_member = name in {"category_id", "project_id", "approval_status"}
        assert (found is None) == no_member
        if found is not None:
            usual = fast().rows(body(SAMPLE))
            assert [*map(msgspec.structs.astuple, found.items)] == [*map(msgspec.structs.astuple, usual.items)]
        answer = Response(status=200, headers={}, body=page)
        assert v2.api_version().rows(answer).items[0].id == "w"
