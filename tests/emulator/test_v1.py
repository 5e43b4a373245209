"""The 1.0 API, call by call and field by field, as the vendor's page describes it."""

from __future__ import annotations

import json

import pytest

from tracket_async.emulator.handlers import V1, ApiRequest, WorklogHandlers
from tracket_async.emulator.routes import ApiError
from tracket_async.emulator.store import Store

LIST = "/api/1.0/worklogs"


async def test_a_created_worklog_is_open_and_carries_the_servers_time(serve, connect, clock, new_v1):
    emulator = await serve(wall=clock)
    http = await connect(emulator)
    made = await http("POST", LIST, body=new_v1)
    assert made.status == 200
    ident = made.json.pop("worklogId")
    assert ident.count("-") == 4
    assert made.json == {
        "itemId": "111",
        "userId": "222",
        "description": None,
        "worklogCategory": None,
        "worklogDate": "2024-10-22T18:45:31.370Z",
        "worklogMinutes": 90,
        "worklogBillableMinutes": None,
        "createdDate": "2027-01-15T08:00:00.000Z",
        "updatedDate": None,
        "approvalStatus": "open",
        "approverUserId": None,
    }
    assert (await http("GET", f"{LIST}/{ident}")).json == {**made.json, "worklogId": ident}


async def test_a_created_worklog_keeps_the_optional_fields(serve, connect, new_v1):
    emulator = await serve()
    http = await connect(emulator)
    given = {"description": 'ü "q" \n 🚀', "worklogCategory": "a/b", "worklogBillableMinutes": 12.25}
    made = await http("POST", LIST, body={**new_v1, **given, "unknown": [1]})
    assert {name: made.json[name] for name in given} == given


@pytest.mark.parametrize(
    ("minutes", "written"),
    [
        (b"90", b"90"),
        (b"90.0", b"90"),
        (b"0.1", b"0.1"),
        (b"-0.0", b"0"),
        (b"999999999999999", b"999999999999999"),
        (b"1000000000000000", b"1000000000000000.0"),
        (b"1e300", b"1e+300"),
    ],
)
async def test_numbers_are_written_as_short_as_they_are(serve, connect, new_v1, minutes, written):
    http = await connect(await serve())
    body = json.dumps({**new_v1, "worklogMinutes": 0}).encode().replace(b": 0}", b": " + minutes + b"}")
    reply = await http("POST", LIST, raw=body)
    assert b'"worklogMinutes":' + written + b"," in reply.body


async def test_ids_are_the_same_for_the_same_seed_number(serve, connect, new_v1):
    ids = []
    for seed_number in (5, 5, 6):
        http = await connect(await serve(seed_number=seed_number))
        ids.append((await http("POST", LIST, body=new_v1)).json["worklogId"])
    assert ids[0] == ids[1] != ids[2]


async def test_an_id_that_is_taken_is_passed_over(serve, connect, new_v1, worklog):
    first, second = [
        (await http("POST", LIST, body=new_v1)).json["worklogId"]
        for http in [await connect(await serve(seed=[worklog()]))]
        for _ in range(2)
    ]
    # as old a store, and so the same ids to come, the first of which is there already
    http = await connect(await serve(seed=[worklog(worklogId=first)]))
    assert (await http("POST", LIST, body=new_v1)).json["worklogId"] == second


def test_an_id_that_utf_8_cannot_carry_is_that_of_no_worklog():
    # aiohttp's parser in C refuses such paths, the one in Python lets them through
    store = Store()
    handlers = WorklogHandlers(store, V1, iter(()), int)
    with pytest.raises(ApiError, match="no worklog with this id") as caught:
        handlers.get(ApiRequest(path="", ident="\udcff", query={}))
    assert caught.value.status == 404
    store.close()


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("itemId", None, "must be a string"),
        ("itemId", "", "must not be empty"),
        ("itemId", 5, "must be a string"),
        ("userId", None, "must be a string"),
        ("userId", "\ud800", "lone surrogate"),
        ("description", 5, "must be a string"),
        ("worklogCategory", [], "must be a string"),
        ("worklogDate", None, "must be a string"),
        ("worklogDate", "2024-10-22", "RFC 3339"),
        ("worklogDate", "2024-10-22T18:45:31", "RFC 3339"),
        ("worklogDate", "2024-02-30T18:45:31Z", "calendar"),
        ("worklogDate", "0001-01-01T00:00:00+01:00", "years 1 to 9999"),
        ("worklogMinutes", None, "number of minutes"),
        ("worklogMinutes", "90", "number of minutes"),
        ("worklogMinutes", True, "number of minutes"),
        ("worklogMinutes", 10**400, "finite"),
        ("worklogBillableMinutes", 10**400, "finite"),
        ("worklogBillableMinutes", "x", "number of minutes"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_wrong_field_is_refused_by_name_and_changes_nothing(
    serve, connect, new_v1, worklog, method, field, value, says
):
    emulator = await serve(seed=[worklog(1)])
    http = await connect(emulator)
    before = emulator.worklogs()
    path, body = (LIST, {**new_v1, field: value}) if method == "POST" else (f"{LIST}/w0001", {field: value})
    reply = await http(method, path, body=body)
    assert reply.status == 400
    assert reply.json["field"] == field
    assert reply.json["error"].startswith(field)
    assert says in reply.json["error"]
    assert emulator.worklogs() == before


@pytest.mark.parametrize("field", ["itemId", "userId", "worklogDate", "worklogMinutes"])
async def test_a_required_field_that_is_missing_is_named(serve, connect, new_v1, field):
    http = await connect(await serve())
    del new_v1[field]
    reply = await http("POST", LIST, body=new_v1)
    assert (reply.status, reply.json) == (400, {"error": f"{field} is required", "field": field})


async def test_an_update_leaves_what_is_absent_and_clears_what_is_null(serve, connect, clock, worklog):
    seed = worklog(
        description="kept",
        worklogCategory="c",
        worklogBillableMinutes=30,
        approvalStatus="approved",
        approverUserId="9",
    )
    emulator = await serve(seed=[seed], wall=clock)
    http = await connect(emulator)
    reply = await http("PUT", f"{LIST}/w0001", body={"worklogCategory": None, "worklogMinutes": 45.5})
    assert reply.status == 200
    # the vendor's page lists no approvalStatus in this answer
    assert "approvalStatus" not in reply.json
    expected = {
        **seed,
        "worklogCategory": None,
        "worklogMinutes": 45.5,
        "updatedDate": "2027-01-15T08:00:00.000Z",
    }
    assert emulator.get("w0001") == expected
    assert reply.json == {name: value for name, value in expected.items() if name != "approvalStatus"}


async def test_an_update_can_change_every_field(serve, connect, worklog):
    emulator = await serve(seed=[worklog()])
    http = await connect(emulator)
    changes = {
        "itemId": "i",
        "userId": "u",
        "description": "d",
        "worklogCategory": "c",
        "worklogDate": "2020-01-01T01:02:03.004Z",
        "worklogMinutes": 1,
        "worklogBillableMinutes": 0,
    }
    await http("PUT", f"{LIST}/w0001", body=changes)
    assert {name: emulator.get("w0001")[name] for name in changes} == changes


async def test_a_deleted_worklog_is_gone(serve, connect, worklog):
    emulator = await serve(seed=[worklog(1), worklog(2)])
    http = await connect(emulator)
    reply = await http("DELETE", f"{LIST}/w0001")
    assert (reply.status, reply.json) == (200, {"message": "The worklog was deleted."})
    assert emulator.count == 1
    for method in ("GET", "DELETE"):
        assert (await http(method, f"{LIST}/w0001")).status == 404
    assert (await http("PUT", f"{LIST}/w0001", body={})).status == 404


@pytest.mark.parametrize("ident", ["nope", "a%2Fb", "..%2F..%2Fadmin", "%2e%2e", "%00", "%ff", "%ED%A0%80", "x" * 3000])
async def test_an_id_that_does_not_exist_is_404_whatever_it_looks_like(serve, raw, ident):
    reply = await raw(await serve(), path=f"{LIST}/{ident}", headers=["Connection: close"])
    assert reply.status == "HTTP/1.1 404 Not Found"


async def test_an_id_with_a_slash_is_found_when_it_is_escaped(serve, connect, raw, worklog):
    emulator = await serve(seed=[worklog(worklogId="a/b c")])
    reply = await raw(emulator, path=f"{LIST}/a%2Fb%20c", headers=["Connection: close"])
    assert b'"worklogId":"a/b c"' in reply.body


async def test_a_worklog_from_before_creation_was_recorded_has_no_created_date(serve, connect, worklog):
    seed = worklog()
    del seed["createdDate"]
    http = await connect(await serve(seed=[seed]))
    assert "createdDate" not in (await http("GET", f"{LIST}/w0001")).json
    assert "createdDate" not in (await http("GET", "/api/2.0/timeEntries/w0001")).json


# ---- lists


async def test_a_list_is_ascending_by_date_and_ends_without_a_cursor(serve, connect, worklog):
    emulator = await serve(seed=[worklog(number) for number in (5, 3, 1, 4, 2)], page_size=2)
    http = await connect(emulator)
    pages = []
    query = {}
    while True:
        page = (await http("GET", LIST, **query)).json
        pages.append([each["worklogId"] for each in page["worklogs"]])
        if "next-cursor" not in page:
            break
        query = {"cursor": page["next-cursor"]}
    assert pages == [["w0001", "w0002"], ["w0003", "w0004"], ["w0005"]]


@pytest.mark.parametrize(("count", "cursor"), [(99, False), (100, False), (101, True)])
async def test_a_page_holds_a_hundred_and_has_a_cursor_only_when_more_follows(serve, connect, worklog, count, cursor):
    http = await connect(await serve(seed=[worklog(number) for number in range(1, count + 1)]))
    page = (await http("GET", LIST)).json
    assert len(page["worklogs"]) == min(count, 100)
    assert ("next-cursor" in page) is cursor


@pytest.mark.parametrize(
    ("start", "first"),
    [
        ("2024-03-03", "w0003"),
        ("2024-03-03T08:00:00.000Z", "w0003"),
        ("2024-03-03T08:00:00.001Z", "w0004"),
        ("2024-03-03T10:00:00+02:00", "w0003"),
        ("2024-03-03T10:00:00.9-02:00", "w0004"),
        ("1999-01-01", "w0001"),
    ],
)
async def test_start_date_is_inclusive_and_may_be_a_day_or_an_instant(serve, connect, worklog, start, first):
    http = await connect(await serve(seed=[worklog(number) for number in range(1, 6)], page_size=2))
    assert (await http.walk_v1(startDate=start))[0]["worklogId"] == first


@pytest.mark.parametrize("start", ["", "yesterday", "2024-02-30", "2024-03-03T08:00:00", "1709452800000"])
async def test_a_malformed_start_date_is_refused(serve, connect, start):
    reply = await (await connect(await serve()))("GET", LIST, startDate=start)
    assert (reply.status, reply.json["field"]) == (400, "startDate")


async def test_the_other_orders_give_every_worklog_once_too(serve, connect, worklog):
    seed = [worklog(number) for number in range(1, 29)]
    ids = [each["worklogId"] for each in seed]
    walked = {}
    for order in ("ascending", "descending", "unsorted"):
        http = await connect(await serve(seed=seed, page_size=3, v1_order=order))
        walked[order] = [each["worklogId"] for each in await http.walk_v1(startDate="2024-03-01")]
    assert walked["ascending"] == ids
    assert walked["descending"] == ids[::-1]
    assert sorted(walked["unsorted"]) == ids
    assert walked["unsorted"] not in (ids, ids[::-1])


async def test_a_cursor_of_another_order_or_of_nobody_is_refused(serve, connect, worklog):
    http = await connect(await serve(seed=[worklog(1), worklog(2)], page_size=1))
    other = (await http("GET", "/api/2.0/timeEntries", size=1, sortBy="createdDate")).json["nextCursor"]
    for cursor in (other, "x", "AAAA", "bnVsbA==", ""):
        reply = await http("GET", LIST, cursor=cursor)
        assert (reply.status, reply.json["field"]) == (400, "cursor"), cursor
