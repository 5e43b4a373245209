"""Models as dicts, in the names of the attributes and in those of the API, in both directions."""

from __future__ import annotations

import datetime as dt
import json

import attrs
import pytest

from tracket_async import (
    ApprovalStatus,
    MalformedResponseError,
    NewWorklog,
    UnsupportedError,
    UsageError,
    Worklog,
    WorklogChanges,
)
from tracket_async.serialization import from_dict, from_wire, to_dict, to_wire

MOMENT = dt.datetime(2026, 3, 2, 8, 30, tzinfo=dt.UTC)
WORKLOG = Worklog(
    id="wl-1",
    user_id="2",
    item_id="1",
    date=MOMENT,
    minutes=30.0,
    description="é",
    approval_status=ApprovalStatus.OPEN,
    created_date=MOMENT,
    custom_fields={"a": "b"},
    extra={"phase": [2]},
)
NEW = NewWorklog(item_id="1", user_id="2", date=MOMENT, minutes=30)
MODELS = [
    WORKLOG,
    attrs.evolve(WORKLOG, approval_status="frozen", created_date=None),
    NEW,
    attrs.evolve(NEW, description="x", billable_minutes=-1.5, custom_fields={"a": None}),
    attrs.evolve(NEW, date=MOMENT.replace(microsecond=123456, tzinfo=dt.timezone(dt.timedelta(hours=-3.5)))),
    attrs.evolve(WORKLOG, date=MOMENT.replace(microsecond=1)),
    WorklogChanges(description=None, minutes=5),
    WorklogChanges(date=dt.date(2026, 3, 2)),
    WorklogChanges(),
]


@pytest.mark.parametrize("model", MODELS)
def test_a_model_becomes_a_dict_that_json_holds_and_back(model):
    written = json.loads(json.dumps(to_dict(model)))
    assert from_dict(written, type(model)) == model


def test_the_names_are_those_of_the_attributes_and_dates_are_text():
    written = to_dict(WORKLOG)
    assert set(written) == set(attrs.fields_dict(Worklog))
    assert (written["date"], written["approval_status"]) == ("2026-03-02T08:30:00+00:00", "open")
    assert to_dict(NEW) == {"item_id": "1", "user_id": "2", "date": "2026-03-02T08:30:00+00:00", "minutes": 30}
    assert to_dict(WorklogChanges(description=None)) == {"description": None}
    with pytest.raises(TypeError, match="read only"):
        from_dict(written, Worklog).extra["a"] = 1


@pytest.mark.parametrize("api", ["1.0", "2.0"])
def test_a_worklog_becomes_what_the_server_sends_and_back(api):
    day = dt.datetime(2026, 3, 2, tzinfo=dt.UTC)
    worklog = attrs.evolve(WORKLOG, date=day, extra={}, custom_fields={} if api == "1.0" else {"a": "b"})
    assert from_wire(json.loads(json.dumps(to_wire(worklog, api=api))), api=api) == worklog


def test_the_names_of_the_wire_are_those_of_the_version():
    assert to_wire(NEW, api="1.0") == {
        "itemId": "1",
        "userId": "2",
        "worklogDate": "2026-03-02T08:30:00.000Z",
        "worklogMinutes": 30,
    }
    assert to_wire(WorklogChanges(category_id="c")) == {"customFields": {"category": "c"}}
    assert from_wire({"id": 1, "date": "2026-03-02", "minutes": 5, "colour": "red"}).extra == {"colour": "red"}


def test_what_the_wire_cannot_say_or_read_is_an_error():
    with pytest.raises(UnsupportedError, match=r"API 1\.0 has no team_id"):
        to_wire(attrs.evolve(NEW, team_id="7"), api="1.0")
    with pytest.raises(MalformedResponseError, match="minutes"):
        from_wire({"id": "1", "date": "2026-03-02"})
    with pytest.raises(UsageError, match=r"1\.0 or 2\.0, not '3\.0'"):
        to_wire(NEW, api="3.0")


@pytest.mark.parametrize(
    ("model", "change", "message"),
    [
        (NewWorklog, {"date": "2026-03-02T08:30:00"}, "has no offset"),
        (NewWorklog, {"date": "yesterday"}, "is no date"),
        (NewWorklog, {"minutes": "30"}, "minutes must be a number of minutes, not str"),
        (NewWorklog, {"item_id": ""}, "item_id must not be empty"),
        (NewWorklog, {"colour": 1, "size": 2}, "NewWorklog has no colour and no size"),
        (WorklogChanges, {"minutes": None}, "minutes must be a number of minutes, not NoneType"),
        (Worklog, {"minutes": "many"}, "minutes must be a finite number"),
        (Worklog, {"id": None}, "id must be"),
        (Worklog, {"colour": 1}, "Worklog has no colour"),
    ],
)
def test_a_field_that_is_wrong_is_named(model, change, message):
    said = {Worklog: to_dict(WORKLOG), NewWorklog: to_dict(NEW), WorklogChanges: {}}[model]
    with pytest.raises((TypeError, ValueError), match=message):
        from_dict({**said, **change}, model)


def test_a_field_that_is_missing_is_named():
    with pytest.raises(ValueError, match="user_id is missing"):
        from_dict({"item_id": "1", "date": "2026-03-02", "minutes": 1}, NewWorklog)
