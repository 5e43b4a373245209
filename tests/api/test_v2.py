"""API 2.0: every call, every field, every bound of a filter, and how tolerantly inferred names are read."""

from __future__ import annotations

import datetime as dt
import json

import attrs
import pytest

from tracket_async._api import v2
from tracket_async._http.messages import Response
from tracket_async.errors import MalformedResponseError, UnreadableResponseError, UsageError
from tracket_async.models import ApprovalStatus, Category, NewWorklog, Worklog, WorklogChanges, WorklogFilter

API = v2.api_version()
SIZE = ("size", "100")
NOON = dt.datetime(2024, 3, 1, 12, 0, 0, 1_500, tzinfo=dt.UTC)
TOKYO = dt.datetime(2024, 3, 2, 8, tzinfo=dt.timezone(dt.timedelta(hours=9)))
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


def test_the_day_as_written_is_booked():
    assert json.loads(API.create(NewWorklog(**{**NEW, "date": TOKYO})).body)["date"] == "2024-03-02"
    assert json.loads(API.update("e", WorklogChanges(date=TOKYO)).body)["date"] == "2024-03-02"


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
        ({"since": NOON}, (("fields.date.gte", "2024-03-01"),)),
        ({"since": TOKYO, "until": TOKYO}, (("fields.date.gte", "2024-03-02"), ("fields.date.lte", "2024-03-02"))),
        ({"until": dt.date(2024, 3, 1)}, (("fields.date.lte", "2024-03-01"),)),
        ({"until": NOON}, (("fields.date.lte", "2024-03-01"),)),
        ({"since": NOON, "until": NOON}, (("fields.date.gte", "2024-03-01"), ("fields.date.lte", "2024-03-01"))),
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


ENTRY = {
    "id": "e",
    "item": "5273029382",
    "user": "35851565",
    "date": "2023-05-20",
    "minutes": 60,
    "billableMinutes": 0,
    "team": "929301",
    "description": "text",
    "customFields": {"category": "c", "project": "PC", "reference": "option"},
    "board": "5272688006",
    "approval": {"status": "approved", "approver": "7"},
    "parentItem": "7172688044",
    "createdDate": "2023-05-21T08:00:00.000Z",
    "updatedDate": None,
}
WORKLOG = Worklog(
    id="e",
    item_id="5273029382",
    user_id="35851565",
    date=dt.datetime(2023, 5, 20, tzinfo=dt.UTC),
    minutes=60.0,
    billable_minutes=0.0,
    team_id="929301",
    description="text",
    category_id="c",
    project_id="PC",
    custom_fields={"reference": "option"},
    board_id="5272688006",
    approval_status=ApprovalStatus.APPROVED,
    approver_user_id="7",
    parent_item_id="7172688044",
    created_date=dt.datetime(2023, 5, 21, 8, tzinfo=dt.UTC),
)


def answer(content):
    return Response(status=200, headers={"Date": "Sun, 06 Nov 1994 08:49:37 GMT"}, body=json.dumps(content).encode())


def read(**changes):
    return API.worklog(answer({**ENTRY, **changes}))


def test_every_field_is_read():
    page = answer({"items": [ENTRY], "total": 1})
    assert API.worklog(answer(ENTRY)) == WORKLOG
    assert API.page(page).items == [WORKLOG]
    [row] = API.rows(page).items
    assert Worklog(**{name: getattr(row, name) for name in attrs.fields_dict(Worklog)}) == WORKLOG
    assert API.converter.structure(ENTRY, Worklog) == WORKLOG


@pytest.mark.parametrize(
    ("approval", "status", "approver"),
    [
        (None, None, None),
        ("approved", ApprovalStatus.APPROVED, None),
        ("APPROVED", ApprovalStatus.APPROVED, None),
        ("Rejected", ApprovalStatus.REJECTED, None),
        ("paid", "paid", None),
        ({}, None, None),
        ({"status": "open"}, ApprovalStatus.OPEN, None),
        ({"approver": "7"}, None, "7"),
        ({"approvalStatus": "open", "approverUserId": 7}, ApprovalStatus.OPEN, "7"),
        ({"state": "submitted", "approvedBy": {"id": "7", "name": "x"}}, ApprovalStatus.SUBMITTED, "7"),
        ({"value": None, "user": {"userId": 7}}, None, "7"),
        ({"status": "open", "approver": {"name": "x"}}, ApprovalStatus.OPEN, None),
        ({"status": "open", "approver": {"id": "7"}, "more": [1]}, ApprovalStatus.OPEN, "7"),
    ],
)
def test_an_approval_is_read_in_any_likely_form(approval, status, approver):
    worklog = read(approval=approval)
    assert (worklog.approval_status, worklog.approver_user_id) == (status, approver)
    assert type(worklog.approval_status) is type(status)


@pytest.mark.parametrize(
    ("approval", "status", "approver"),
    [
        (5, None, None),
        (True, None, None),
        (["open"], None, None),
        ({"status": 5}, None, None),
        ({"status": {"name": "open"}, "approver": "7"}, None, "7"),
        ({"status": "open", "approver": True}, ApprovalStatus.OPEN, None),
        ({"approver": [1]}, None, None),
        ({"decision": "open"}, None, None),
        ({"status": "open", "approver": "7", "approvedAt": "today"}, ApprovalStatus.OPEN, "7"),
        ({"status": "open", "approver": {"id": "7", "name": "x"}}, ApprovalStatus.OPEN, "7"),
    ],
)
def test_an_approval_of_no_likely_form_is_kept_as_it_was_sent(approval, status, approver, caplog):
    reader = v2.api_version()
    page = answer({"items": [{**ENTRY, "approval": approval}]})
    for _ in range(2):
        [worklog] = reader.page(page).items
        [row] = reader.rows(page).items
        for found in (worklog, row):
            assert (found.approval_status, found.approver_user_id) == (status, approver)
            assert found.extra == {"approval": approval}
    reader.oddities.tell()
    [record] = caplog.records
    assert "approval" in record.getMessage()
    assert "4 times" in record.getMessage()


@pytest.mark.parametrize(
    ("approval", "status", "approver"),
    [
        ({"status": None, "state": "open", "approver": None, "user": "7"}, ApprovalStatus.OPEN, "7"),
        ({"approvedBy": {"id": None, "userId": "7"}}, None, "7"),
    ],
)
def test_where_one_likely_name_of_an_approval_is_null_the_next_is_tried(approval, status, approver):
    worklog = read(approval=approval)
    assert (worklog.approval_status, worklog.approver_user_id, worklog.extra) == (status, approver, {})


@pytest.mark.parametrize(
    ("custom", "category", "project", "rest"),
    [
        (None, None, None, {}),
        ({}, None, None, {}),
        ({"category": None}, None, None, {}),
        ({"category": 5, "project": 6}, "5", "6", {}),
        ({"a.b": "1", "customFields.category": "2"}, None, None, {"a.b": "1", "customFields.category": "2"}),
        ({"project": "p", "r": {"deep": [1]}}, None, "p", {"r": {"deep": [1]}}),
    ],
)
def test_custom_fields_give_up_their_category_and_project(custom, category, project, rest):
    worklog = read(customFields=custom)
    assert (worklog.category_id, worklog.project_id, worklog.custom_fields) == (category, project, rest)


def test_two_worklogs_without_custom_fields_do_not_share_them():
    page = API.page(answer({"items": [{**ENTRY, "customFields": None}, {**ENTRY, "customFields": {}}]}))
    assert page.items[0].custom_fields == page.items[1].custom_fields == {}
    assert page.items[0].custom_fields is not page.items[1].custom_fields


@pytest.mark.parametrize(
    ("custom", "kept"),
    [
        (5, 5),
        ("x", "x"),
        ([], []),
        ({"category": True}, {"category": True}),
        ({"project": ["p"], "category": {}}, {"project": ["p"], "category": {}}),
    ],
)
def test_custom_fields_of_another_form_are_kept_as_they_were_sent(custom, kept):
    worklog = read(customFields=custom)
    assert (worklog.category_id, worklog.project_id, worklog.custom_fields) == (None, None, {})
    assert worklog.extra == {"customFields": kept}


def test_a_member_that_looks_like_a_path_is_no_custom_field():
    content = {key: value for key, value in ENTRY.items() if key not in ("customFields", "approval")}
    worklog = API.worklog(answer({**content, "customFields.category": "x", "approval.status": "open"}))
    assert worklog.category_id is None
    assert worklog.approval_status is None


DAYS_AS_WRITTEN = [
    "2023-05-20",
    "2023-05-20T00:00:00+02:00",
    "2023-05-20T00:00:00.000-11:00",
    "2023-05-20T23:59:59+14:00",
    "2023-05-20T10:00:00Z",
    "2023-05-20T00:00",
    "2023-05-20 00:00:00+02:00",
]


def test_a_day_is_the_day_as_written_on_both_ways_of_reading():
    for text in DAYS_AS_WRITTEN:
        for user in ("35851565", 35851565):  # a number is read by the converters
            page = answer({"items": [{**ENTRY, "date": text, "user": user}]})
            assert [found.day for found in API.page(page).items] == [dt.date(2023, 5, 20)]
            assert [row.date for row in API.rows(page).items] == [dt.datetime(2023, 5, 20, tzinfo=dt.UTC)]


def test_a_date_may_be_a_full_date_time():
    for text in DAYS_AS_WRITTEN:
        assert read(date=text).date == dt.datetime(2023, 5, 20, tzinfo=dt.UTC)
    with pytest.raises(MalformedResponseError, match=r"should be a day .* is another string"):
        read(date="20th of May")


def test_a_page_says_how_many_match_and_when():
    page = API.page(answer({"size": 1, "total": 1354, "items": [ENTRY], "nextCursor": "c"}))
    assert page.total == 1354
    assert page.next_cursor == "c"
    assert page.server_date == dt.datetime(1994, 11, 6, 8, 49, 37, tzinfo=dt.UTC)
    assert API.page(answer({"total": None, "items": []})).total is None


@pytest.mark.parametrize(
    ("sent", "total"),
    [(5, 5), ("5", 5), (" 5 ", 5), (5.0, 5), ("5.0", 5), (True, None), (1.5, None), ("many", None), (-1, None)],
)
def test_a_total_is_any_whole_number_and_none_where_it_is_none(sent, total):
    for read_page in (API.page, API.rows):
        assert read_page(answer({"items": [ENTRY], "total": sent})).total == total


@pytest.mark.parametrize(("sent", "cursor"), [(5, "5"), (5.0, "5"), (2**53, "9007199254740992"), (0, None), ("0", "0")])
def test_a_cursor_may_be_a_whole_number(sent, cursor):
    for read_page in (API.page, API.rows):
        assert read_page(answer({"items": [ENTRY], "nextCursor": sent})).next_cursor == cursor


@pytest.mark.parametrize("errors", [None, [], {}, "", False])
def test_errors_that_say_nothing_and_errors_beside_worklogs_are_no_error(errors):
    assert API.page(answer({"items": [], "errors": errors})).items == []
    assert len(API.page(answer({"items": [ENTRY], "errors": ["x"]})).items) == 1


@pytest.mark.parametrize(
    ("changes", "attribute", "expected"),
    [
        ({"user": None}, "user_id", None),
        ({"minutes": " 7.5 "}, "minutes", 7.5),
        ({"billableMinutes": "7"}, "billable_minutes", 7.0),
        ({"user": 5.0}, "user_id", "5"),
        ({"description": 2024}, "description", "2024"),
        ({"createdDate": "2024-01-31T23:59:60Z"}, "created_date", dt.datetime(2024, 1, 31, 23, 59, 59, tzinfo=dt.UTC)),
        ({"createdDate": "2024-01-31T24:00"}, "created_date", dt.datetime(2024, 2, 1, tzinfo=dt.UTC)),
    ],
)
def test_what_is_plainly_meant_is_read(changes, attribute, expected):
    worklog = read(**changes)
    assert getattr(worklog, attribute) == expected
    assert worklog.extra == {}


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("user", ["5"]),
        ("item", True),
        ("item", 1.5),
        ("description", {"text": "x"}),
        ("billableMinutes", "an hour"),
        ("createdDate", ""),
        ("updatedDate", "0000-00-00"),
        ("updatedDate", 1_700_000_000_000),
    ],
)
def test_an_optional_value_that_cannot_be_read_is_none_and_kept_as_it_was_sent(name, sent, caplog):
    reader = v2.api_version()
    page = answer({"items": [{**ENTRY, name: sent}, ENTRY]})
    attribute = next(key for key, wire_name in v2.SCHEMA.names.items() if wire_name == name)
    for first, second in (reader.page(page).items, reader.rows(page).items):
        assert getattr(first, attribute) is None
        assert first.extra == {name: sent}
        assert second.extra == {}
    reader.oddities.tell()
    reader.oddities.tell()
    [record] = caplog.records
    assert f"'{name}' (at '$.items[].{name}') cannot be read" in record.getMessage()
    assert "2 times" in record.getMessage()


@pytest.mark.parametrize("name", ["id", "date", "minutes"])
@pytest.mark.parametrize("sent", [None, [], "\n"])
def test_what_a_worklog_cannot_be_without_is_an_error_that_names_it(name, sent):
    if (name, sent) != ("id", "\n"):
        with pytest.raises(MalformedResponseError) as caught:
            read(**{name: sent})
        assert caught.value.json_path == f"$.{name}"


@pytest.mark.parametrize(
    ("content", "cursor"),
    [
        ({}, None),
        ({"nextCursor": None}, None),
        ({"nextCursor": ""}, None),
        ({"nextCursor": "c", "_links": {"next": {"href": "/x?after=other"}}}, "c"),
        ({"nextCursor": None, "_links": {"next": {"href": "/x?after=other"}}}, "other"),
        ({"nextCursor": "", "_links": {"next": "/x?after=other"}}, "other"),
        ({"nextCursor": None, "links": {"next": {"href": "/x?after=other"}}}, "other"),
        ({"links": {"next": "/x?after=other"}}, "other"),
        ({"_links": {"next": "/x?after=one"}, "links": {"next": "/x?after=other"}}, "one"),
        ({"_links": {"self": "/x?after=one"}, "links": {"next": "/x?after=other"}}, "other"),
        ({"_links": {"next": ""}, "links": [{"next": "/x?after=other"}]}, None),
        ({"_links": {"next": {"href": "/api/2.0/timeEntries?size=100&after=a%2Bb%3D"}}}, "a+b="),
        ({"_links": {"next": {"href": "https://elsewhere.example/x?after=a+b&after=c#after=d"}}}, "a+b"),
        ({"_links": {"next": {"href": "/x?before=c&after="}}}, None),
        ({"_links": {"next": {"href": "http://[broken?after=c"}}}, None),
        ({"_links": {"next": {"href": 5}}}, None),
        ({"_links": {"next": {}}}, None),
        ({"_links": {"next": None}}, None),
        ({"_links": {}}, None),
        ({"_links": None}, None),
        ({"_links": "/x?after=c"}, None),
    ],
)
def test_from_a_next_link_only_the_cursor_is_taken_and_only_without_a_cursor(content, cursor):
    assert API.page(answer({"items": [], **content})).next_cursor == cursor
    assert API.rows(answer({"items": [], **content})).next_cursor == cursor


@pytest.mark.parametrize(
    ("content", "path"),
    [
        ({"items": [], "nextCursor": 1.5}, "$.nextCursor"),
        ({"items": [], "nextCursor": True}, "$.nextCursor"),
        ({"items": [], "nextCursor": {}}, "$.nextCursor"),
        ({"items": [], "errors": [{"message": "no"}]}, "$.errors"),
        ({"items": [], "error": "no", "errors": []}, "$.error"),
        ({"items": {}}, "$.items"),
        ({"items": None}, "$.items"),
        ({}, "$.items"),
        ([], "$"),
        (None, "$"),
        ({"items": [ENTRY, 5]}, "$.items[1]"),
        ({"items": [ENTRY, {**ENTRY, "minutes": "sixty"}]}, "$.items[1].minutes"),
    ],
)
def test_a_page_of_another_shape_is_malformed_at_its_path(content, path):
    for read_page in (API.page, API.rows):
        with pytest.raises(MalformedResponseError) as caught:
            read_page(answer(content))
        assert caught.value.json_path == path
        assert caught.value.status == 200


@pytest.mark.parametrize(
    ("content", "categories"),
    [
        ({"items": []}, []),
        ({"items": [{"id": "c", "name": "Development"}]}, [Category(id="c", name="Development")]),
        ({"items": [{"value": 5, "label": "Five"}, {"id": "x"}]}, [Category(id="5", name="Five"), Category(id="x")]),
        ({"options": [{"optionId": "c", "title": None}]}, [Category(id="c")]),
        ([{"id": "c", "text": "T"}], [Category(id="c", name="T")]),
    ],
)
def test_categories_are_read_in_any_likely_form(content, categories):
    assert API.category_list(answer(content)) == categories


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (5, "$"),
        ({}, "$.items"),
        ({"items": {"id": "c"}}, "$.items"),
        ({"items": [5]}, "$.items[0]"),
        ({"items": [{"id": "c"}, {"name": "x"}]}, "$.items[1].id"),
        ({"items": [{"id": None}]}, "$.items[0].id"),
        ({"items": [{"id": "c", "label": [5]}]}, "$.items[0].label"),
    ],
)
def test_categories_of_another_shape_are_malformed_at_their_path(content, path):
    with pytest.raises(MalformedResponseError) as caught:
        API.category_list(answer(content))
    assert caught.value.json_path == path


@pytest.mark.parametrize("body", [b"", b"  \n", b"{}", b'{"message": "gone"}', b'"gone"', b"null"])
def test_a_delete_may_answer_with_any_json_or_nothing(body):
    message = "gone" if b"message" in body else None
    assert API.deleted(Response(status=204, headers={}, body=body)) == message


@pytest.mark.parametrize("body", [b"<html>", b"gone", b'{"message": "go'])
def test_a_page_of_somebody_else_is_no_confirmation_of_a_delete(body):
    with pytest.raises(UnreadableResponseError):
        API.deleted(Response(status=200, headers={}, body=body))
