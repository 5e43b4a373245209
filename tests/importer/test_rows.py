"""From a record to what is to be done, and what is refused before anything is sent."""

from __future__ import annotations

import datetime as dt

import pytest

from tracket_async.client import API_VERSIONS
from tracket_async.errors import UsageError
from tracket_async.importer.reader import Record, make_change, make_new_worklog, make_worklog_id
from tracket_async.models import NewWorklog, WorklogChanges

V1, V2 = API_VERSIONS["1.0"](), API_VERSIONS["2.0"]()
DAY = dt.date(2024, 5, 20)
WHOLE = {"id": "old", "item_id": "i", "user_id": "u", "date": DAY, "minutes": 90.0}


def record(**values):
    return Record(1, {name: value for name, value in values.items() if value is not ...})


@pytest.mark.parametrize("api_version", [V1, V2])
def test_a_worklog_has_what_the_record_says_without_its_id_and_its_nulls(api_version):
    found = make_new_worklog(record(**WHOLE, description=None, team_id=None, custom_fields={}), api_version)
    assert found == NewWorklog(item_id="i", user_id="u", date=DAY, minutes=90.0)


@pytest.mark.parametrize("empty", [..., None])
@pytest.mark.parametrize("name", ["item_id", "user_id", "date", "minutes"])
def test_what_is_required_is_asked_for_by_name(name, empty):
    with pytest.raises(UsageError, match=f"^{name} must be given$"):
        make_new_worklog(record(**WHOLE | {name: empty}), V2)


def test_everything_that_is_missing_is_told_at_once():
    with pytest.raises(UsageError, match="item_id, user_id, date, minutes must be given"):
        make_new_worklog(record(id="x"), V2)


@pytest.mark.parametrize("values", [{"minutes": -1.0}, {"item_id": " "}, {"custom_fields": {"category": "x"}}])
def test_what_the_model_refuses_is_refused(values):
    with pytest.raises((ValueError, TypeError), match=next(iter(values))):
        make_new_worklog(record(**WHOLE | values), V2)


def test_what_the_version_lacks_is_refused():
    assert make_new_worklog(record(**WHOLE, team_id="t"), V2).team_id == "t"
    with pytest.raises(UsageError, match="team_id"):
        make_new_worklog(record(**WHOLE, team_id="t"), V1)


@pytest.mark.parametrize("make", [make_new_worklog, make_change])
def test_what_cannot_be_written_as_json_is_refused(make):
    with pytest.raises((ValueError, TypeError)):
        make(record(**WHOLE, description="\ud800"), V2)


def test_changes_are_what_the_record_says_null_included():
    named, changes = make_change(record(id="w", minutes=30.0, description=None, date=DAY), V2)
    assert named == "w"
    assert changes == WorklogChanges(minutes=30.0, description=None, date=DAY)


def test_no_custom_fields_are_no_change():
    assert make_change(record(**WHOLE, custom_fields={}), V1)[1] == make_change(record(**WHOLE), V1)[1]
    assert make_change(record(id="w", custom_fields={"a": None}), V2)[1] == WorklogChanges(custom_fields={"a": None})


@pytest.mark.parametrize("name", ["team_id", "project_id"])
def test_what_1_0_lacks_is_null_there_already(name):
    assert make_change(record(id="w", minutes=1.0, **{name: None}), V1)[1] == WorklogChanges(minutes=1.0)
    assert getattr(make_change(record(id="w", minutes=1.0, **{name: None}), V2)[1], name) is None
    with pytest.raises(UsageError, match=name):
        make_change(record(id="w", **{name: "x"}), V1)


def test_what_cannot_be_null_is_refused():
    with pytest.raises((ValueError, TypeError), match="minutes"):
        make_change(record(id="w", minutes=None), V2)


@pytest.mark.parametrize("values", [{"id": "w"}, {"id": "w", "custom_fields": {}}])
def test_a_record_without_changes_is_refused(values):
    with pytest.raises(UsageError, match="there is nothing to change"):
        make_change(record(**values), V2)


@pytest.mark.parametrize("make", [make_worklog_id, make_change])
@pytest.mark.parametrize("named", [..., None, ""])
def test_an_id_is_required(make, named):
    with pytest.raises(UsageError, match="id must be given"):
        make(record(id=named, minutes=1.0), V2)


@pytest.mark.parametrize("make", [make_worklog_id, make_change])
@pytest.mark.parametrize("named", ["..", "../x", "a/b", "a b"])
def test_what_cannot_be_an_id_is_refused(make, named):
    with pytest.raises(UsageError, match="cannot be the id of a worklog"):
        make(record(id=named, minutes=1.0), V2)


def test_an_id_is_the_id():
    assert make_worklog_id(record(id="w-1"), V1) == "w-1"
