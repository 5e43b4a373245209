"""The 2.0 API: sizes, sorting, filters, cursors, and its own shape of a worklog."""

from __future__ import annotations

import base64
import json

import pytest

LIST = "/api/2.0/timeEntries"


@pytest.fixture
def dated(worklog):
    """Twelve worklogs, one a day at noon; the odd ones without createdDate, every third updated."""

    def seed():
        for number in range(1, 13):
            each = worklog(
                number,
                worklogDate=f"2024-03-{number:02d}T12:00:00.000Z",
                createdDate=f"2024-05-{13 - number:02d}T10:00:00.000Z",
                updatedDate=f"2024-06-{number:02d}T10:00:00.000Z" if number % 3 == 0 else None,
            )
            if number % 2:
                del each["createdDate"]
            yield each

    return list(seed())


def ids(entries):
    return [int(entry["id"][1:]) for entry in entries]


async def test_a_created_entry_has_the_2_0_shape(serve, connect, clock, new_v2):
    http = await connect(await serve(wall=clock))
    more = {
        "billableMinutes": 0,
        "team": "929301",
        "description": "Größe ✓",
        "customFields": {"category": "c1", "project": "PC", "location": "office"},
    }
    made = await http("POST", LIST, body={**new_v2, **more})
    assert made.status == 200
    ident = made.json.pop("id")
    assert made.json == {
        **new_v2,
        **more,
        "board": None,
        "parentItem": None,
        "approval": {"status": "open", "approver": None},
        "createdDate": "2027-01-15T08:00:00.000Z",
        "updatedDate": None,
    }
    assert (await http("GET", f"{LIST}/{ident}")).json == {**made.json, "id": ident}
    as_v1 = (await http("GET", f"/api/1.0/worklogs/{ident}")).json
    assert (as_v1["worklogDate"], as_v1["worklogCategory"]) == ("2024-10-22T00:00:00.000Z", "c1")


async def test_everything_that_only_2_0_shows_lies_in_the_same_row(serve, connect, worklog):
    extra = {"team": "t", "board": "b", "parentItem": "p", "project": "j", "customFields": {"x": "y"}}
    emulator = await serve(seed=[worklog(worklogCategory="c", approvalStatus="rejected", approverUserId="7", **extra)])
    http = await connect(emulator)
    entry = (await http("GET", f"{LIST}/w0001")).json
    assert (entry["team"], entry["board"], entry["parentItem"]) == ("t", "b", "p")
    assert entry["customFields"] == {"category": "c", "project": "j", "x": "y"}
    assert entry["approval"] == {"status": "rejected", "approver": "7"}
    assert emulator.time_entries() == [entry]


async def test_the_approval_can_be_a_bare_string(serve, connect, worklog):
    http = await connect(await serve(seed=[worklog(approvalStatus="submitted")], approval_shape="string"))
    assert (await http("GET", f"{LIST}/w0001")).json["approval"] == "submitted"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("item", None),
        ("user", ""),
        ("date", "2024-10-22T00:00:00Z"),
        ("date", "20241022"),
        ("date", "2024-13-01"),
        ("minutes", "1"),
        ("billableMinutes", "x"),
        ("team", 1),
        ("description", {}),
        ("customFields", None),
        ("customFields", "x"),
        ("customFields.category", 1),
        ("customFields.own", 1),
        ("customFields.", "x"),
        ("customFields.?", "\ud800"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_wrong_field_is_refused_by_name(serve, connect, new_v2, worklog, method, field, value):
    emulator = await serve(seed=[worklog()])
    http = await connect(emulator)
    name, _, key = field.partition(".")
    wrong = {name: {key: value}} if "." in field else {name: value}
    path, body = (LIST, {**new_v2, **wrong}) if method == "POST" else (f"{LIST}/w0001", wrong)
    reply = await http(method, path, body=body)
    assert (reply.status, reply.json["field"]) == (400, field)
    assert emulator.count == 1


async def test_a_surrogate_in_a_key_is_refused(serve, connect, new_v2):
    http = await connect(await serve())
    reply = await http("POST", LIST, body={**new_v2, "customFields": {"\ud800": "x"}})
    assert (reply.status, reply.json["field"]) == (400, "customFields.?")


async def test_custom_fields_are_merged_by_key_and_null_removes_one(serve, connect, worklog):
    seed = worklog(worklogCategory="c", project="p", customFields={"a": "1", "b": "2"})
    http = await connect(await serve(seed=[seed]))
    changes = {"customFields": {"category": None, "a": None, "c": "3", "none": None}}
    reply = await http("PUT", f"{LIST}/w0001", body=changes)
    assert reply.json["customFields"] == {"project": "p", "b": "2", "c": "3"}
    assert (await http("PUT", f"{LIST}/w0001", body={"minutes": 5})).json["customFields"] == {
        "project": "p",
        "b": "2",
        "c": "3",
    }


async def test_the_same_day_leaves_the_time_and_another_day_begins_at_midnight(serve, connect, worklog):
    emulator = await serve(seed=[worklog()])
    http = await connect(emulator)
    await http("PUT", f"{LIST}/w0001", body={"date": "2024-03-01"})
    assert emulator.get("w0001")["worklogDate"] == "2024-03-01T08:00:00.000Z"
    await http("PUT", f"{LIST}/w0001", body={"date": "2024-03-02"})
    assert emulator.get("w0001")["worklogDate"] == "2024-03-02T00:00:00.000Z"


async def test_a_deleted_entry_is_gone(serve, connect, worklog):
    http = await connect(await serve(seed=[worklog()]))
    assert (await http("DELETE", f"{LIST}/w0001")).json == {"message": "The time entry was deleted."}
    assert (await http("GET", f"{LIST}/w0001")).json == {"error": "there is no time entry with this id"}


# ---- lists


@pytest.mark.parametrize(("size", "rows"), [(None, 25), (1, 1), (99, 99), (100, 100)])
async def test_the_size_is_25_by_default_and_100_at_most(serve, connect, worklog, size, rows):
    http = await connect(await serve(seed=[worklog(number) for number in range(1, 102)]))
    page = (await http("GET", LIST, **({} if size is None else {"size": size}))).json
    assert (len(page["items"]), page["size"], page["total"]) == (rows, rows, 101)


@pytest.mark.parametrize("size", ["0", "101", "-1", "1.5", "x", "", "1e2", "٣", "1000000000000000000000"])
async def test_a_size_out_of_range_is_refused_by_name(serve, connect, size):
    reply = await (await connect(await serve()))("GET", LIST, size=size)
    assert (reply.status, reply.json["field"]) == (400, "size")


async def test_links_lead_through_all_pages_with_the_same_query(serve, connect, dated):
    http = await connect(await serve(seed=dated))
    page = (await http("GET", LIST, size=5, **{"fields.date.gte": "2024-03-02"})).json
    assert page["_links"]["self"]["href"] == f"{LIST}?size=5&fields.date.gte=2024-03-02"
    seen = ids(page["items"])
    while "next" in page["_links"]:
        page = (await http("GET", page["_links"]["next"]["href"])).json
        seen += ids(page["items"])
    assert seen == list(range(12, 1, -1))
    assert "nextCursor" not in page
    assert (await http("GET", LIST)).json["_links"] == {"self": {"href": LIST}}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]),
        ({"sortType": "asc"}, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
        # without a date, oldest of all, and among themselves by id
        ({"sortBy": "createdDate", "sortType": "asc"}, [1, 3, 5, 7, 9, 11, 12, 10, 8, 6, 4, 2]),
        ({"sortBy": "createdDate"}, [2, 4, 6, 8, 10, 12, 11, 9, 7, 5, 3, 1]),
        ({"sortBy": "updatedDate"}, [12, 9, 6, 3, 11, 10, 8, 7, 5, 4, 2, 1]),
        ({"sortBy": "updatedDate", "sortType": "asc"}, [1, 2, 4, 5, 7, 8, 10, 11, 3, 6, 9, 12]),
        ({"fields.date.gte": "2024-03-10"}, [12, 11, 10]),
        ({"fields.date.lte": "2024-03-02"}, [2, 1]),
        ({"fields.date.gte": "2024-03-04", "fields.date.lte": "2024-03-06", "sortType": "asc"}, [4, 5, 6]),
        ({"fields.date.gte": "2024-03-06", "fields.date.lte": "2024-03-04"}, []),
        ({"fields.createdDate.gte": "2024-05-07T10:00:00Z"}, [6, 4, 2]),
        ({"fields.createdDate.gte": "2024-05-07T10:00:00.001Z"}, [4, 2]),
        # an upper bound alone does not let those without a date in
        ({"fields.createdDate.lte": "2024-05-03"}, [12, 10]),
        ({"fields.createdDate.lte": "2024-05-03T09:59:59.999Z"}, [12]),
        ({"fields.updatedDate.lte": "2024-06-06"}, [6, 3]),
        ({"fields.updatedDate.gte": "2024-06-06", "sortBy": "updatedDate", "sortType": "asc"}, [6, 9, 12]),
        (
            {"fields.updatedDate.gte": "2024-06-01", "fields.createdDate.gte": "2024-05-01", "sortBy": "createdDate"},
            [6, 12],
        ),
        ({"fields.date.gte": "2024-03-03", "fields.date.lte": "2024-03-12", "sortBy": "updatedDate"}, None),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 100])
async def test_filters_and_orders_give_exactly_the_matching_entries(serve, connect, dated, query, expected, size):
    http = await connect(await serve(seed=dated))
    expected = [12, 9, 6, 3, 11, 10, 8, 7, 5, 4] if expected is None else expected
    assert ids(await http.walk_v2(size=size, **query)) == expected
    assert (await http("GET", LIST, **query)).json["total"] == len(expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sortBy", "minutes"),
        ("sortType", "up"),
        ("fields.date.gte", "2024-03-01T00:00:00Z"),
        ("fields.date.lte", "x"),
        ("fields.createdDate.gte", "2024-03"),
        ("fields.createdDate.lte", "2024-03-01T00:00:00"),
        ("fields.updatedDate.gte", ""),
        ("fields.updatedDate.lte", "now"),
        ("after", "not base64!"),
    ],
)
async def test_a_malformed_parameter_is_refused_by_name(serve, connect, name, value):
    reply = await (await connect(await serve()))("GET", LIST, **{name: value})
    assert (reply.status, reply.json["field"]) == (400, name)


@pytest.mark.parametrize(
    "facts",
    [
        None,
        "date",
        [],
        ["date", "desc"],
        ["date", "asc", 1, 2, "x"],
        ["createdDate", "desc", 1, "x"],
        ["date", "desc", 1, 2, 3],
        ["date", "desc", "1", 2, "x"],
        ["date", "desc", True, 2, "x"],
        ["date", "desc", 1 << 70, 2, "x"],
        ["date", "desc", 1, 2, 3, "x"],
    ],
)
async def test_a_cursor_that_was_tampered_with_is_refused(serve, connect, worklog, facts):
    http = await connect(await serve(seed=[worklog()]))
    cursor = base64.urlsafe_b64encode(json.dumps(facts).encode()).decode()
    reply = await http("GET", LIST, after=cursor)
    assert (reply.status, reply.json["field"]) == (400, "after")


async def test_a_walk_is_exact_while_rows_are_added_elsewhere(serve, connect, dated, worklog):
    emulator = await serve(seed=dated)
    http = await connect(emulator)
    seen = []
    query = {"size": 3, "sortType": "asc"}
    number = 100
    while True:
        page = (await http("GET", LIST, **query)).json
        seen += ids(page["items"])
        if "nextCursor" not in page:
            break
        query["after"] = page["nextCursor"]
        # before what was seen, in the middle of a tie with the last row, and one that is to come: only that is new
        last = max(each for each in seen if each < 100)
        emulator.create(worklog(number, worklogDate="2024-01-01T00:00:00Z"))
        emulator.create(worklog(number + 1, worklogDate=f"2024-03-{last:02d}T11:59:59Z"))
        emulator.create(worklog(number + 2, worklogDate="2024-12-31T00:00:00Z"))
        number += 3
    assert [each for each in seen if each < 100] == list(range(1, 13))
    assert len(seen) == len(set(seen))
    assert {each for each in seen if each >= 100} == {each for each in range(100, number) if (each - 100) % 3 == 2}


async def test_rows_that_share_all_dates_are_told_apart_by_their_id(serve, connect, worklog):
    same = {"worklogDate": "2024-03-01T08:00:00Z"}
    seed = [worklog(number, **same) for number in range(1, 51)]
    http = await connect(await serve(seed=seed, page_size=7))
    for sort in ("date", "createdDate", "updatedDate"):
        for way in ("asc", "desc"):
            walked = ids(await http.walk_v2(size=7, sortBy=sort, sortType=way))
            assert walked == sorted(range(1, 51), reverse=way == "desc")


async def test_the_total_follows_every_write(serve, connect, worklog, new_v2):
    emulator = await serve(seed=[worklog(1)])
    http = await connect(emulator)

    async def total():
        return (await http("GET", LIST, **{"fields.date.gte": "2024-03-01"})).json["total"]

    assert await total() == 1
    made = (await http("POST", LIST, body=new_v2)).json["id"]
    assert await total() == 2
    await http("PUT", f"{LIST}/{made}", body={"date": "2020-01-01"})
    assert await total() == 1
    await http("DELETE", f"{LIST}/w0001")
    assert await total() == 0


async def test_categories_have_an_id_and_a_name(serve, connect, worklog):
    path = "/api/2.0/templates/timeEntry/fields/category/options"
    default = (await (await connect(await serve()))("GET", path)).json["items"]
    assert len(default) == 12
    assert all(set(each) == {"id", "name"} for each in default)
    seeded = await serve(seed=[worklog(1, worklogCategory="b/x"), worklog(2, worklogCategory="a"), worklog(3)])
    items = (await (await connect(seeded))("GET", path)).json["items"]
    assert items == [{"id": "a", "name": "a"}, {"id": "b/x", "name": "b/x"}]
