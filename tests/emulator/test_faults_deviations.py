"""Deviations: servers that work, but not as on the vendor's pages, as a plain client sees them."""

from __future__ import annotations

import asyncio
import json

import pytest

from tracket_async.emulator.faults import (
    AddedHeaders,
    BriefCreated,
    DateOffset,
    IgnoredCursor,
    IgnoredFilters,
    LinkedCursor,
    MuteConnections,
    NoContent,
    NoDate,
    NormalizedText,
    OtherWorklog,
    RestrictedToken,
    SecondResponse,
    Status,
    TrimmedText,
    WrongTotal,
)

V1 = "/api/1.0/worklogs"
V2 = "/api/2.0/timeEntries"


@pytest.fixture
async def emulator(serve, worklog):
    return await serve(seed=[worklog(number) for number in range(1, 6)], page_size=2)


@pytest.fixture
async def http(emulator, connect):
    return await connect(emulator)


def days(page):
    return [row["date"][:10] for row in page.json["items"]]


async def test_a_second_response_follows_the_true_one(emulator, raw):
    emulator.faults.add(SecondResponse())
    received = (await raw(emulator, path=f"{V2}/w0001", headers=["Connection: close"])).all
    first, second = received.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert json.loads(first.partition(b"\r\n\r\n")[2])["id"] == "w0001"
    assert json.loads(second.partition(b"\r\n\r\n")[2]) == {"items": [], "worklogs": [], "total": 0}


async def test_connections_that_are_open_go_mute_and_new_ones_answer(emulator, connect, until):
    idle, asking, fresh = [await connect(emulator) for _ in range(3)]
    assert (await idle("GET", V1)).status == 200
    emulator.faults.add(MuteConnections(), nth=1)
    mute = []
    for http in (asking, idle):
        mute.append(asyncio.create_task(http("GET", V1)))
        await until(lambda: emulator.request_log.in_progress == len(mute))
    assert (await fresh("GET", V1)).status == 200
    assert emulator.request_log.in_progress == 2
    for request in mute:
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
    await until(lambda: not emulator.request_log.in_progress)
    assert [each.status for each in emulator.request_log] == [200, None, None, 200]


@pytest.mark.parametrize("body", ["", '{"message": "deleted"}'])
async def test_a_204_can_have_bytes_behind_it(emulator, raw, body):
    emulator.faults.add(NoContent(body))
    reply = await raw(emulator, "DELETE", f"{V1}/w0001", headers=["Connection: close"])
    assert reply.status == "HTTP/1.1 204 No Content"
    assert reply.body == body.encode()
    assert emulator.count == 4
    reply = await raw(emulator, "DELETE", f"{V1}/w0001", headers=["Connection: close"])
    assert reply.status == "HTTP/1.1 404 Not Found"


@pytest.mark.parametrize(("path", "name"), [(V1, "worklogId"), (V2, "id")])
async def test_a_201_need_not_show_the_worklog(emulator, http, new_v1, new_v2, path, name):
    for form in ("id", "location", "empty"):
        emulator.faults.clear()
        emulator.faults.add(BriefCreated(form))
        before = {each["id"] for each in emulator.time_entries()}
        reply = await http("POST", path, body=new_v1 if path == V1 else new_v2)
        (ident,) = {each["id"] for each in emulator.time_entries()} - before
        assert reply.status == 201
        assert reply.body == (json.dumps({name: ident}, separators=(",", ":")).encode() if form == "id" else b"")
        assert reply.headers.get("Location") == (f"{path}/{ident}" if form == "location" else None)
        assert emulator.request_log.entries[-1].committed
    assert (await http("POST", path, body={})).status == 400


async def test_headers_can_be_added(emulator, http):
    emulator.faults.add(AddedHeaders({"Keep-Alive": "timeout=5", "X-Odd": "1"}))
    reply = await http("GET", V1)
    assert (reply.status, reply.headers["Keep-Alive"], reply.headers["X-Odd"]) == (200, "timeout=5", "1")


async def test_descriptions_can_be_stored_trimmed(emulator, http, new_v1):
    emulator.faults.add(TrimmedText())
    reply = await http("POST", V1, body={**new_v1, "description": " stand-up \n"})
    assert reply.json["description"] == "stand-up"
    assert (await http("POST", V1, body=new_v1)).json["description"] is None
    assert (await http("POST", V1, raw=b"{")).status == 400


async def test_descriptions_can_be_stored_in_nfc(emulator, http, new_v1):
    emulator.faults.add(NormalizedText())
    reply = await http("POST", V1, body={**new_v1, "description": "e\N{COMBINING ACUTE ACCENT}"})
    assert reply.json["description"] == "\N{LATIN SMALL LETTER E WITH ACUTE}"


async def test_a_get_can_be_answered_with_another_worklog(emulator, http):
    emulator.faults.add(OtherWorklog("w0002"), method="GET")
    assert (await http("GET", f"{V1}/w0001")).json["worklogId"] == "w0002"
    assert (await http("GET", f"{V2}/w0001")).json["id"] == "w0002"
    assert len((await http("GET", V2)).json["items"]) == 5


@pytest.mark.parametrize("path", [V1, V2])
async def test_a_response_can_have_no_date(emulator, http, path):
    emulator.faults.add(NoDate(), nth=2)
    dates = [(await http("GET", path)).headers.get("Date") for _ in range(3)]
    assert [date is None for date in dates] == [False, True, False]


async def test_a_token_can_see_one_users_worklogs_alone(emulator, http):
    emulator.update("w0002", {"userId": "me"})
    emulator.update("w0004", {"userId": "me"})
    emulator.faults.add(RestrictedToken("me"))
    assert [row["worklogId"] for row in (await http("GET", V1)).json["worklogs"]] == ["w0002", "w0004"]
    page = (await http("GET", V2, size=1)).json
    assert (page["total"], len(page["items"])) == (2, 1)
    page = (await http("GET", V2, size=1, after=page["nextCursor"])).json
    assert (page["total"], len(page["items"]), "nextCursor" in page) == (2, 1, False)
    for path in (V1, V2):
        statuses = [
            (await http(method, f"{path}/{ident}", **({"body": {}} if method == "PUT" else {}))).status
            for method in ("GET", "PUT", "DELETE")
            for ident in ("w0001", "none")
        ]
        assert statuses == [403, 404] * 3
        assert (await http("GET", f"{path}/w0002")).status == 200
    assert (await http("DELETE", f"{V1}/w0002")).status == 200
    assert emulator.count == 4


async def test_filters_can_do_nothing(emulator, http):
    emulator.faults.add(IgnoredFilters(), nth=2)
    pages = [await http("GET", V2, **{"fields.date.gte": "2024-03-04", "size": 3}) for _ in range(2)]
    assert [page.json["total"] for page in pages] == [2, 5]
    assert days(pages[1]) == ["2024-03-05", "2024-03-04", "2024-03-03"]


async def test_a_cursor_can_do_nothing_and_each_page_has_a_new_one(emulator, http):
    emulator.faults.add(IgnoredCursor())
    for path, rows, parameter, name in (
        (V1, "worklogs", "cursor", "next-cursor"),
        (V2, "items", "after", "nextCursor"),
    ):
        first = (await http("GET", path, size=2)).json
        cursors, cursor = {first[name]}, first[name]
        for _ in range(3):
            page = (await http("GET", path, size=2, **{parameter: cursor})).json
            assert page[rows] == first[rows]
            cursor = page[name]
            cursors.add(cursor)
        assert len(cursors) == 4
    emulator.faults.clear()
    assert (await http("GET", V2, size=2, after=cursor)).json["items"] != first["items"]
    emulator.faults.add(IgnoredCursor())
    assert "nextCursor" not in (await http("GET", V2, size=100)).json


@pytest.mark.parametrize("under", ["_links", "links"])
@pytest.mark.parametrize("string", [False, True])
async def test_only_the_link_can_tell_of_the_next_page(emulator, http, under, string):
    emulator.faults.add(LinkedCursor(under, string=string))
    page = (await http("GET", V2, size=3)).json
    link = page[under]["next"]
    assert page["nextCursor"] is None
    assert set(page["_links"]) == ({"self", "next"} if under == "_links" else {"self"})
    href = link if string else link["href"]
    following = await http("GET", href)
    assert len(following.json["items"]) == 2
    assert "next" not in following.json["_links"]
    assert (await http("GET", V1)).json["next-cursor"]


async def test_a_total_can_be_wrong(emulator, http):
    emulator.faults.add(WrongTotal(7))
    assert (await http("GET", V2)).json["total"] == 12
    assert "total" not in (await http("GET", V1)).json


@pytest.mark.parametrize(
    ("offset", "by_instant", "found"),
    [
        ("+02:00", False, ["2024-03-03", "2024-03-02"]),
        ("+02:00", True, ["2024-03-04", "2024-03-03"]),
        ("-08:00", True, ["2024-03-03", "2024-03-02"]),
        ("+00:00", True, ["2024-03-03", "2024-03-02"]),
    ],
)
async def test_dates_can_have_an_offset_and_be_compared_as_instants(emulator, http, offset, by_instant, found):
    emulator.faults.add(DateOffset(offset, by_instant=by_instant))
    page = await http("GET", V2, **{"fields.date.gte": "2024-03-02", "fields.date.lte": "2024-03-03"})
    assert days(page) == found
    assert {row["date"][10:] for row in page.json["items"]} == {f"T00:00:00.000{offset}"}
    assert (await http("GET", f"{V2}/w0001")).json["date"] == f"2024-03-01T00:00:00.000{offset}"
    assert (await http("GET", V1)).json["worklogs"][0]["worklogDate"] == "2024-03-01T08:00:00.000Z"
    assert (await http("GET", V2, **{"fields.date.gte": "soon"})).status == 400


def test_an_offset_that_is_none_is_refused():
    with pytest.raises(ValueError, match="offset"):
        DateOffset("CET")


async def test_an_error_passes_a_deviation_as_it_is(emulator, http):
    emulator.faults.add(WrongTotal(7))
    assert (await http("GET", V2, size=0)).json["field"] == "size"
    emulator.faults.clear()
    emulator.faults.add(Status(500))
    emulator.faults.add(WrongTotal(7))
    assert (await http("GET", V2)).status == 500
