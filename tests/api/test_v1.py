"""API 1.0, line by line of the vendor's page, and the settings for what that page leaves open.

The tables are that page in this test's own notation. A field is its wire name, a JSON value that the page allows, the
attribute that it is, the attribute's value, and marks: ``*`` always there, ``0`` may be null.
"""

from __future__ import annotations

import datetime as dt
import json

import attrs
import pytest

from tracket_async._api import v1, v2
from tracket_async._api.schema import STATUSES
from tracket_async._http.messages import Response
from tracket_async.client import API_VERSIONS
from tracket_async.errors import (
    ConnectError,
    GoneError,
    MalformedResponseError,
    NotFoundError,
    RedirectError,
    ServerError,
    UnreadableResponseError,
    UnsupportedError,
    UsageError,
)
from tracket_async.models import UNSET, ApprovalStatus, NewWorklog, Worklog, WorklogChanges, WorklogFilter

API = API_VERSIONS["1.0"]()
TEXT = "2024-10-22T18:45:31.370Z"
MOMENT = dt.datetime(2024, 10, 22, 18, 45, 31, 370_000, tzinfo=dt.UTC)

SENT = (
    # wire name, JSON value, attribute, its value, marks when creating, marks when updating
    ("itemId", "i", "item_id", "i", "*", ""),
    ("userId", "u", "user_id", "u", "*", ""),
    ("description", "d", "description", "d", "0", "0"),
    ("worklogCategory", "c", "category_id", "c", "0", "0"),
    ("worklogDate", TEXT, "date", MOMENT, "*", ""),
    ("worklogMinutes", 12.5, "minutes", 12.5, "*", ""),
    ("worklogBillableMinutes", 7.25, "billable_minutes", 7.25, "0", "0"),
)
ANSWERED = (
    # wire name, JSON value, attribute, its value, marks
    ("itemId", "i", "item_id", "i", "*0"),
    ("userId", "u", "user_id", "u", "*"),
    ("description", "d", "description", "d", "0"),
    ("worklogCategory", "c", "category_id", "c", "0"),
    ("worklogDate", TEXT, "date", MOMENT, "*"),
    ("worklogMinutes", 12.5, "minutes", 12.5, "*"),
    ("worklogBillableMinutes", 7.25, "billable_minutes", 7.25, "0"),
    ("worklogId", "w", "id", "w", "*"),
    ("createdDate", TEXT, "created_date", MOMENT, ""),
    ("updatedDate", TEXT, "updated_date", MOMENT, "0"),
    ("approvalStatus", "open", "approval_status", ApprovalStatus.OPEN, ""),
    ("approverUserId", "a", "approver_user_id", "a", "0"),
)
CALLS = (
    # call, method, path, the request's body
    (API.list(WorklogFilter()), "GET", "/api/1.0/worklogs", None),
    (API.get("w-1"), "GET", "/api/1.0/worklogs/w-1", None),
    (
        API.create(NewWorklog(item_id="i", user_id="u", date=MOMENT, minutes=0)),
        "POST",
        "/api/1.0/worklogs",
        {"itemId": "i", "userId": "u", "worklogDate": TEXT, "worklogMinutes": 0},
    ),
    (API.update("w-1", WorklogChanges()), "PUT", "/api/1.0/worklogs/w-1", {}),
    (API.delete("w-1"), "DELETE", "/api/1.0/worklogs/w-1", None),
)
WHOLE = {name: value for name, value, *_ in ANSWERED}


def answer(content):
    return Response(status=200, headers={}, body=json.dumps(content).encode())


def ways(content):
    """The worklog in every way: one by itself, a page of models, a page of rows, the converter."""
    page = answer({"worklogs": [content]})
    yield API.worklog(answer(content))
    yield API.page(page).items[0]
    [row] = API.rows(page).items
    found = Worklog(**{name: getattr(row, name) for name in attrs.fields_dict(Worklog)})
    yield attrs.evolve(found, approval_status=STATUSES.get(row.approval_status, row.approval_status))
    yield API.converter.structure(content, Worklog)


def test_it_is_the_page_of_version_1():
    assert API.version == "1.0"
    assert API.default_origin == "https://tracket.dev"
    assert API.max_page_size is None


@pytest.mark.parametrize(("request_", "method", "path", "body"), CALLS)
def test_each_call_has_its_method_path_and_body(request_, method, path, body):
    assert request_.method == method
    assert request_.path == path
    assert request_.route == path.replace("w-1", "{id}")
    assert request_.query == ()
    assert (None if request_.body is None else json.loads(request_.body)) == body


def test_the_tables_name_every_attribute_that_the_page_knows():
    known = {attribute for _, _, attribute, _, _ in ANSWERED}
    assert known == set(attrs.fields_dict(Worklog)) - {
        "team_id",
        "project_id",
        "board_id",
        "parent_item_id",
        "custom_fields",
        "extra",
    }
    assert {attribute for _, _, attribute, *_ in SENT} <= known


@pytest.mark.parametrize(("name", "value", "attribute", "meant", "marks"), ANSWERED)
def test_each_field_of_an_answer_is_read(name, value, attribute, meant, marks):
    for worklog in ways(WHOLE):
        assert getattr(worklog, attribute) == meant
        assert type(getattr(worklog, attribute)) is type(meant)


@pytest.mark.parametrize(("name", "value", "attribute", "meant", "marks"), ANSWERED)
def test_each_field_may_be_null_or_missing_where_the_page_says_so_and_tolerantly_where_none_has_a_meaning(
    name, value, attribute, meant, marks
):
    # Tolerated beyond the page: null for what may only be missing, and the missing for what may only be null; no user.
    optional = "*" not in marks or "0" in marks or attribute == "user_id"
    for content in ({**WHOLE, name: None}, {key: each for key, each in WHOLE.items() if key != name}):
        if optional:
            for worklog in ways(content):
                assert getattr(worklog, attribute) is None
                assert attrs.evolve(worklog, **{attribute: meant}) == next(ways(WHOLE))
        else:
            with pytest.raises(MalformedResponseError) as caught:
                API.page(answer({"worklogs": [WHOLE, content]}))
            assert caught.value.json_path == f"$.worklogs[1].{name}"
            assert caught.value.worklog_id == (None if attribute == "id" else "w")


@pytest.mark.parametrize("status", ["open", "approved", "submitted", "rejected"])
def test_each_approval_status_of_the_page_is_known(status):
    for worklog in ways({**WHOLE, "approvalStatus": status}):
        assert worklog.approval_status is ApprovalStatus(status)


def test_an_approval_status_that_the_page_does_not_know_is_kept():
    for worklog in ways({**WHOLE, "approvalStatus": "paid"}):
        assert worklog.approval_status == "paid"
        assert type(worklog.approval_status) is str


def test_the_answer_to_an_update_lists_no_approval_status():
    content = {key: each for key, each in WHOLE.items() if key != "approvalStatus"}
    worklog = API.worklog(answer(content))
    assert worklog.approval_status is None
    assert worklog.approver_user_id == "a"


def test_a_list_has_worklogs_and_maybe_a_next_cursor():
    page = API.page(answer({"next-cursor": "c", "worklogs": [WHOLE, {**WHOLE, "worklogId": "v"}]}))
    assert [worklog.id for worklog in page.items] == ["w", "v"]
    assert page.next_cursor == "c"
    assert page.total is None
    for last in ({}, {"next-cursor": None}, {"next-cursor": ""}):
        page = API.page(answer({"worklogs": [], **last}))
        assert page.items == []
        assert page.next_cursor is None


def test_a_list_begins_at_start_date_and_goes_on_at_a_cursor():
    wanted = WorklogFilter(since=MOMENT, until=MOMENT)
    assert API.list(wanted).query == (("startDate", TEXT),)
    assert API.list(wanted, cursor="c/+=&").query == (("cursor", "c/+=&"), ("startDate", TEXT))


def test_a_delete_answers_with_a_message():
    assert API.deleted(answer({"message": "text"})) == "text"
    for without in ({}, {"message": 1}, [], "text", None):
        assert API.deleted(answer(without)) is None
    assert API.deleted(attrs.evolve(answer({}), body=b" ")) is None


LIST = API.list(WorklogFilter())


@pytest.mark.parametrize(
    ("request_", "error", "offline"),
    [
        (LIST, ConnectError("refused"), True),
        (API.get("w-1"), GoneError("410"), True),
        (API.get("w-1"), RedirectError("301"), True),
        (LIST, UnreadableResponseError("an HTML page"), True),
        (LIST, NotFoundError("404"), True),
        (API.get("w-1"), NotFoundError("404", excerpt="<!doctype html>"), True),
        (API.get("w-1"), NotFoundError("404", excerpt='{"error"'), False),
        (LIST, ServerError("500"), False),
    ],
)
def test_where_the_version_seems_to_be_offline_the_error_says_so(request_, error, offline):
    before = error.hint
    API.explain(error, request_)
    assert ("Tracket took API 1.0 offline on 2024-10-01: use API 2.0" in error.hint) is offline
    assert "docs/pages/how-to/migrating-to-2.0.md" in error.hint or not offline
    assert error.hint.startswith(before)
    again = NotFoundError("404")
    v2.api_version().explain(again, LIST)
    assert again.hint == NotFoundError.hint


@pytest.mark.parametrize(("name", "value", "attribute", "meant", "creating", "updating"), SENT)
def test_each_field_is_sent_when_a_worklog_is_created(name, value, attribute, meant, creating, updating):
    required = {attribute: meant for _, _, attribute, meant, marks, _ in SENT if "*" in marks}
    everything = {attribute: meant for _, _, attribute, meant, *_ in SENT}
    assert json.loads(API.create(NewWorklog(**everything)).body)[name] == value
    least = json.loads(API.create(NewWorklog(**required)).body)
    assert (name in least) is ("*" in creating)


@pytest.mark.parametrize(("name", "value", "attribute", "meant", "creating", "updating"), SENT)
def test_each_field_can_be_the_only_one_that_an_update_sends(name, value, attribute, meant, creating, updating):
    body = API.update("w", WorklogChanges(**{attribute: meant})).body
    assert json.loads(body) == {name: value}


@pytest.mark.parametrize(("name", "value", "attribute", "meant", "creating", "updating"), SENT)
def test_an_update_sets_to_null_what_the_page_lets_be_null(name, value, attribute, meant, creating, updating):
    if "0" in updating:
        body = API.update("w", WorklogChanges(**{attribute: None})).body
        assert json.loads(body) == {name: None}
    else:
        with pytest.raises((TypeError, ValueError), match=attribute):
            WorklogChanges(**{attribute: None})


@pytest.mark.parametrize("attribute", ["team_id", "project_id", "custom_fields"])
def test_what_the_page_does_not_know_is_refused_by_name(attribute):
    value = {"x": "1"} if attribute == "custom_fields" else "x"
    required = {attribute: meant for _, _, attribute, meant, marks, _ in SENT if "*" in marks}
    with pytest.raises(UnsupportedError, match=rf"1\.0.*{attribute}"):
        API.create(NewWorklog(**required, **{attribute: value}))
    with pytest.raises(UnsupportedError, match=rf"1\.0.*{attribute}"):
        API.update("w", WorklogChanges(**{attribute: value}))


def test_setting_to_null_what_the_page_does_not_know_is_refused_and_leaving_it_is_not():
    with pytest.raises(UnsupportedError, match="team_id"):
        API.update("w", WorklogChanges(team_id=None))
    assert json.loads(API.update("w", WorklogChanges(team_id=UNSET, minutes=1)).body) == {"worklogMinutes": 1}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("created_since", MOMENT),
        ("created_until", MOMENT),
        ("updated_since", MOMENT),
        ("updated_until", MOMENT),
        ("sort_by", "updated_date"),
        ("descending", True),
    ],
)
def test_a_filter_that_the_page_does_not_know_is_refused_by_name(name, value):
    with pytest.raises(UnsupportedError, match=rf"1\.0.*{name}"):
        API.list(WorklogFilter(**{name: value}))


def test_the_size_of_a_page_and_categories_are_not_offered():
    with pytest.raises(UnsupportedError, match="size"):
        API.list(WorklogFilter(), size=10)
    with pytest.raises(UnsupportedError, match="categories"):
        API.categories()
    with pytest.raises(UnsupportedError, match="categories"):
        API.category_list(answer({"items": []}))


SINCE = WorklogFilter(since=dt.datetime(2024, 3, 1, 22, 30, 15, 1_999, tzinfo=dt.UTC))


def test_start_date_is_a_whole_millisecond_that_is_not_after_what_is_meant():
    assert v1.api_version().list(SINCE).query == (("startDate", "2024-03-01T22:30:15.001Z"),)


def test_start_date_can_be_sent_as_a_day():
    assert v1.api_version(start_date="day").list(SINCE).query == (("startDate", "2024-03-01"),)


def test_start_date_as_a_day_is_never_after_what_is_meant():
    auckland = dt.datetime(2024, 3, 2, 8, tzinfo=dt.timezone(dt.timedelta(hours=13)))
    assert v1.api_version(start_date="day").list(WorklogFilter(since=auckland)).query == (("startDate", "2024-03-01"),)


def test_the_cursors_parameter_can_be_named():
    query = v1.api_version(cursor_parameter="next-cursor").list(WorklogFilter(), cursor="c").query
    assert query == (("next-cursor", "c"),)


@pytest.mark.parametrize(
    "settings", [{"start_date": "year"}, {"cursor_parameter": ""}, {"cursor_parameter": "startDate"}]
)
def test_settings_that_cannot_be_meant_are_refused(settings):
    with pytest.raises(UsageError, match=next(iter(settings))):
        v1.api_version(**settings)


@pytest.mark.parametrize("cursor", ["", 5, b"c"])
def test_a_cursor_that_would_begin_again_is_refused(cursor):
    with pytest.raises(UsageError, match="cursor"):
        v1.api_version().list(WorklogFilter(), cursor=cursor)


def test_two_versions_of_the_same_settings_are_equal_and_say_which_they_are():
    assert v1.api_version() == v1.api_version()
    assert v1.api_version() != v1.api_version(cursor_parameter="after")
    assert "version='1.0'" in repr(v1.api_version())
