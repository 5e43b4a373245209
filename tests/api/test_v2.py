"""What API 2.0 is asked: every call, every field that can be written, every bound of a filter."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from tracket_async._api import v2
from tracket_async.errors import UsageError
from tracket_async.models import NewWorklog, WorklogChanges, WorklogFilter

API = v2.api_version()
SIZE = ("size", "100")
NOON = dt.datetime(2024, 3, 1, 12, 0, 0, 1_500, tzinfo=dt.UTC)
NEW = {"item_id": "i", "user_id": "u", "date": NOON, "minutes": 1.5}


def test_it_is_version_2():
    assert API.version == "2.0"
    assert API.default_origin == "https://us.production.timesheet.avisi-apps.com"
    assert API.max_page_size == 100


@pytest.mark.parametrize(
    ("request_", "method", "path", "body"),
    [
        (API.list(WorklogFilter()), "GET", "/api/2.0/timeEntries", None),
        (API.get("e-1"), "GET", "/api/2.0/timeEntries/e-1", None),
        (
            API.create(NewWorklog(**NEW)),
            "POST",
            "/api/2.0/timeEntries",
            {"item": "i", "user": "u", "date": "2024-03-01", "minutes": 1.5},
        ),
        (API.update("e-1", WorklogChanges(minutes=2.0)), "PUT", "/api/2.0/timeEntries/e-1", {"minutes": 2}),
        (API.delete("e-1"), "DELETE", "/api/2.0/timeEntries/e-1", None),
        (API.categories(), "GET", "/api/2.0/templates/timeEntry/fields/category/options", None),
    ],
)
def test_each_call_has_its_method_path_and_body(request_, method, path, body):
    assert (request_.method, request_.path) == (method, path)
    assert request_.route == path.replace("e-1", "{id}")
    assert (None if request_.body is None else json.loads(request_.body)) == body


def test_every_field_that_can_be_written_is_written():
    new = NewWorklog(
        **NEW,
        description="text",
        category_id="c",
        billable_minutes=1,
        team_id="t",
        project_id="p",
        custom_fields={"r": "o"},
    )
    assert json.loads(API.create(new).body) == {
        "item": "i",
        "user": "u",
        "date": "2024-03-01",
        "minutes": 1.5,
        "description": "text",
        "billableMinutes": 1,
        "team": "t",
        "customFields": {"category": "c", "project": "p", "r": "o"},
    }


@pytest.mark.parametrize(
    ("changes", "body"),
    [
        ({}, {}),
        ({"category_id": None}, {"customFields": {"category": None}}),
        ({"project_id": None, "team_id": None}, {"customFields": {"project": None}, "team": None}),
        ({"custom_fields": {"r": None}}, {"customFields": {"r": None}}),
        ({"custom_fields": {"r": "o"}, "category_id": "c"}, {"customFields": {"r": "o", "category": "c"}}),
        ({"custom_fields": {}}, {"customFields": {}}),
        ({"description": None, "billable_minutes": None}, {"description": None, "billableMinutes": None}),
        ({"item_id": "i", "user_id": "u", "date": NOON}, {"item": "i", "user": "u", "date": "2024-03-01"}),
    ],
)
def test_an_update_sends_what_is_set_and_null_for_none(changes, body):
    assert json.loads(API.update("e", WorklogChanges(**changes)).body) == body


@pytest.mark.parametrize("custom_fields", [{"x": float("nan")}, {"x": object()}, {"x": "\ud800"}, {"x": {(1, 2): 3}}])
def test_what_json_cannot_say_is_refused_before_it_is_sent(custom_fields):
    with pytest.raises(UsageError, match="JSON"):
        API.create(NewWorklog(**NEW, custom_fields=custom_fields))


@pytest.mark.parametrize(
    ("minutes", "text"),
    [
        (90.0, b"90"),
        (90, b"90"),
        (0.5, b"0.5"),
        (2.0**53 - 1, b"9007199254740991"),
        (2.0**53, b"9007199254740992.0"),
        (1e300, b"1e+300"),
    ],
)
def test_whole_minutes_are_written_without_a_fraction_while_that_is_exact(minutes, text):
    body = API.create(NewWorklog(**{**NEW, "minutes": minutes})).body
    assert body.endswith(b'"minutes":' + text + b"}")


@pytest.mark.parametrize(
    ("wanted", "query"),
    [
        ({}, ()),
        ({"since": dt.date(2024, 3, 1)}, (("fields.date.gte", "2024-03-01"),)),
        ({"since": NOON}, (("fields.date.gte", "2024-03-02"),)),
        ({"until": dt.date(2024, 3, 1)}, (("fields.date.lte", "2024-03-01"),)),
        ({"until": NOON}, (("fields.date.lte", "2024-03-01"),)),
        ({"since": NOON, "until": NOON}, (("fields.date.gte", "2024-03-02"), ("fields.date.lte", "2024-03-01"))),
        ({"created_since": NOON}, (("fields.createdDate.gte", "2024-03-01T12:00:00.001Z"),)),
        ({"created_until": NOON}, (("fields.createdDate.lte", "2024-03-01T12:00:00.002Z"),)),
        ({"updated_since": NOON}, (("fields.updatedDate.gte", "2024-03-01T12:00:00.001Z"),)),
        ({"updated_until": NOON}, (("fields.updatedDate.lte", "2024-03-01T12:00:00.002Z"),)),
    ],
)
def test_each_bound_of_a_filter_has_its_parameter(wanted, query):
    assert API.list(WorklogFilter(**wanted)).query == (SIZE, ("sortBy", "date"), ("sortType", "asc"), *query)


@pytest.mark.parametrize(
    ("sort_by", "field"), [("date", "date"), ("created_date", "createdDate"), ("updated_date", "updatedDate")]
)
@pytest.mark.parametrize(("descending", "kind"), [(True, "desc"), (False, "asc")])
def test_the_order_is_always_said(sort_by, field, descending, kind):
    query = API.list(WorklogFilter(sort_by=sort_by, descending=descending)).query
    assert query == (SIZE, ("sortBy", field), ("sortType", kind))


@pytest.mark.parametrize("size", [1, 2, 99, 100])
def test_the_size_of_a_page_can_be_chosen(size):
    query = API.list(WorklogFilter(), cursor="c", size=size).query
    assert query[:2] == (("size", str(size)), ("after", "c"))


def test_the_size_of_every_page_can_be_chosen_at_once():
    chosen = v2.api_version(page_size=7)
    assert chosen.list(WorklogFilter()).query[0] == ("size", "7")
    assert chosen.list(WorklogFilter(), size=8).query[0] == ("size", "8")


@pytest.mark.parametrize("size", [-1, 0, 101, 1.5, True, "10"])
def test_a_size_that_the_api_refuses_is_refused_here(size):
    with pytest.raises(UsageError, match="1 to 100"):
        API.list(WorklogFilter(), size=size)
