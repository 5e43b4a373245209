"""Fixed responses, payload faults and request faults, as a plain client sees them."""

from __future__ import annotations

import gzip
import json
from email.utils import parsedate_to_datetime

import pytest

from tracket_async.emulator.faults import (
    Call,
    ClockSkew,
    ContentType,
    CyclingCursor,
    DeepJson,
    Delay,
    DuplicateRows,
    EmptyPage,
    ExpireToken,
    Html,
    HugeBody,
    MalformedJson,
    MissingField,
    OddField,
    Redirect,
    RefusedCursor,
    RepeatedCursor,
    Status,
    UnknownStatus,
)

V1 = "/api/1.0/worklogs"
V2 = "/api/2.0/timeEntries"


@pytest.fixture
async def emulator(serve, worklog, clock):
    seed = [worklog(number) for number in range(1, 6)]
    return await serve(seed=seed, page_size=2, wall=clock, monotonic=clock, sleep=clock.sleep)


@pytest.fixture
async def http(emulator, connect):
    return await connect(emulator)


@pytest.mark.parametrize("status", [401, 403, 404, 408, 409, 413, 429, 500, 502, 503, 504])
async def test_any_status_with_a_json_body(emulator, http, status):
    emulator.faults.add(Status(status))
    reply = await http("GET", V1)
    assert (reply.status, reply.json) == (status, {"error": f"a fault: {status}"})
    assert "Retry-After" not in reply.headers


@pytest.mark.parametrize("value", ["0", 7, "Wed, 21 Oct 2026 07:28:00 GMT", "99999999999", "-5", "1.5", "soon", ""])
async def test_retry_after_can_say_anything(emulator, http, value):
    emulator.faults.add(Status(429, retry_after=value))
    assert (await http("GET", V1)).headers["Retry-After"] == str(value)


async def test_a_status_can_have_headers_and_a_body_of_any_kind(emulator, http):
    emulator.faults.add(Status(500, headers={"X-Odd": "1"}, body="oops", content_type="text/plain"))
    reply = await http("GET", V1)
    assert (reply.body, reply.headers["X-Odd"], reply.headers["Content-Type"]) == (b"oops", "1", "text/plain")


@pytest.mark.parametrize("status", [199, 600, "503", 503.0])
def test_a_status_that_is_none_is_refused(status):
    with pytest.raises((ValueError, TypeError)):
        Status(status)


@pytest.mark.parametrize("commit", [False, True])
async def test_an_error_can_come_before_or_after_the_write_has_happened(emulator, http, new_v1, commit):
    emulator.faults.add(Status(502, commit=commit))
    assert (await http("POST", V1, body=new_v1)).status == 502
    assert emulator.count == 5 + commit
    assert emulator.request_log.entries[-1].committed is commit


async def test_a_refused_write_is_not_committed_by_a_fault_that_commits(emulator, http):
    emulator.faults.add(Status(502, commit=True))
    await http("POST", V1, body={})
    assert not emulator.request_log.entries[-1].committed


@pytest.mark.parametrize("status", [200, 502])
async def test_a_page_of_html_where_json_was_expected(emulator, http, status):
    emulator.faults.add(Html(status))
    reply = await http("GET", V1)
    assert (reply.status, reply.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert b"<h1>" in reply.body


async def test_a_redirect_to_elsewhere(emulator, http):
    emulator.faults.add(Redirect("http://127.0.0.1:9/steal"))
    reply = await http("POST", "/api/2.0/oauth2/token", body={})
    assert (reply.status, reply.headers["Location"]) == (307, "http://127.0.0.1:9/steal")


async def test_json_that_is_none(emulator, http):
    emulator.faults.add(MalformedJson())
    with pytest.raises(json.JSONDecodeError):
        await http("GET", V1)


async def test_json_that_is_nested_very_deeply(emulator, http):
    emulator.faults.add(DeepJson(depth=50_000))
    nested = b"[" * 50_000 + b"]" * 50_000
    # Whether Python's own parser takes it depends on its version.
    async with http._session.get(emulator.url + V1, headers={"Authorization": f"Bearer {emulator.token}"}) as response:
        assert await response.read() == b'{"items":%b,"worklogs":%b}' % (nested, nested)


@pytest.mark.parametrize("size", [64, 1_000_000, 3_000_001])
async def test_a_body_far_larger_than_any_page(emulator, http, size):
    emulator.faults.add(HugeBody(size))
    reply = await http("GET", V1)
    assert len(reply.body) == size
    assert reply.json["worklogs"] == reply.json["items"] == []


@pytest.mark.parametrize("size", [64, 5_000_000])
async def test_a_bomb_is_small_on_the_wire_and_large_when_it_is_unpacked(emulator, raw, size):
    emulator.faults.add(HugeBody(size, gzip=True))
    reply = await raw(emulator, headers=["Connection: close"])
    assert reply.headers["content-encoding"] == "gzip"
    assert len(reply.body) < 64 + size / 100
    unpacked = gzip.decompress(reply.body)
    assert len(unpacked) == size
    assert json.loads(unpacked)["items"] == []


@pytest.mark.parametrize("status", [400, 410])
async def test_a_cursor_that_is_refused(emulator, http, status):
    emulator.faults.add(RefusedCursor(status), cursor=True)
    assert (await http("GET", V2)).status == 200
    reply = await http("GET", V2, after="x")
    assert (reply.status, reply.json["field"]) == (status, "after")


async def test_the_right_body_under_a_wrong_content_type(emulator, http):
    honest = (await http("GET", V1)).body
    emulator.faults.add(ContentType())
    reply = await http("GET", V1)
    assert (reply.body, reply.headers["Content-Type"]) == (honest, "text/html; charset=utf-8")


@pytest.mark.parametrize(("path", "ask", "give"), [(V1, "cursor", "next-cursor"), (V2, "after", "nextCursor")])
class TestCursors:
    async def test_a_cursor_that_repeats(self, emulator, http, path, ask, give):
        emulator.faults.add(RepeatedCursor())
        first = (await http("GET", path, size=2)).json[give]
        second = (await http("GET", path, size=2, **{ask: first})).json
        assert second[give] == first

    async def test_cursors_that_go_round(self, emulator, http, path, ask, give):
        emulator.faults.add(CyclingCursor())
        for _ in range(2):  # a first page begins anew
            seen = []
            query = {"size": 1}
            for _ in range(6):
                query[ask] = (await http("GET", path, **query)).json[give]
                seen.append(query[ask])
            assert seen == seen[:2] * 3
            assert len(set(seen)) == 2

    async def test_a_new_walk_goes_round_in_its_own_cursors(self, serve, connect, worklog, path, ask, give):
        emulator = await serve(seed=[worklog(number) for number in range(1, 10)], page_size=1)
        http = await connect(emulator)
        emulator.faults.add(CyclingCursor())
        rounds = []
        for start in ("2024-03-01", "2024-03-05"):
            query = {"size": 1, "sortType": "asc", "startDate": start, "fields.date.gte": start}
            rounds.append(set())
            for _ in range(4):
                query[ask] = (await http("GET", path, **query)).json[give]
                rounds[-1].add(query[ask])
        assert len(rounds[0]) == len(rounds[1]) == 2
        assert not rounds[0] & rounds[1]

    async def test_an_empty_page_leads_back_to_what_it_kept(self, emulator, http, path, ask, give):
        rows = "worklogs" if path == V1 else "items"
        honest = await http.walk(path, rows, ask, give, size=2)
        emulator.faults.add(EmptyPage(), nth=[1, 3, 4, 5, 7])
        assert await http.walk(path, rows, ask, give, size=2) == honest
        assert emulator.request_log.count(fault="empty-page") == 5
        assert len(emulator.request_log) == 3 + 8

    async def test_empty_pages_without_end_have_a_new_cursor_each(self, emulator, http, path, ask, give):
        emulator.faults.add(EmptyPage())
        query = {"size": 2, "sortType": "asc"}
        cursors = set()
        for _ in range(20):
            query[ask] = (await http("GET", path, **query)).json[give]
            cursors.add(query[ask])
        assert len(cursors) == 20

    async def test_a_single_page_has_nowhere_to_lead(self, serve, connect, worklog, path, ask, give):
        emulator = await serve(seed=[worklog()])
        emulator.faults.add(EmptyPage())
        emulator.faults.add(CyclingCursor())
        page = (await (await connect(emulator))("GET", path)).json
        assert give not in page
        emulator.faults.clear()
        emulator.faults.add(CyclingCursor())
        assert give not in (await (await connect(emulator))("GET", path)).json

    async def test_rows_that_occur_twice_in_a_page(self, emulator, http, path, ask, give):
        rows = "worklogs" if path == V1 else "items"
        honest = (await http("GET", path, size=2)).json[rows]
        emulator.faults.add(DuplicateRows(2))
        assert (await http("GET", path, size=2)).json[rows] == honest * 2


async def test_a_cursor_is_not_put_where_there_is_none(emulator, http):
    emulator.faults.add(RepeatedCursor())
    assert "nextCursor" not in (await http("GET", f"{V2}/w0001", after="x")).json


async def test_a_field_that_is_missing_or_odd_in_one_row(emulator, http):
    emulator.faults.add(MissingField("worklogMinutes", row=1), nth=1)
    emulator.faults.add(OddField("worklogMinutes"), nth=2)
    emulator.faults.add(OddField("worklogMinutes", "many", row=1), nth=3)
    missing, null, odd = [(await http("GET", V1)).json["worklogs"] for _ in range(3)]
    assert "worklogMinutes" in missing[0]
    assert "worklogMinutes" not in missing[1]
    assert [row["worklogMinutes"] for row in null] == [None, 60]
    assert [row["worklogMinutes"] for row in odd] == [60, "many"]


async def test_a_single_worklog_counts_as_a_row_and_a_row_past_the_end_as_none(emulator, http):
    honest = (await http("GET", f"{V1}/w0001")).json
    for fault in (MissingField("userId"), OddField("userId"), UnknownStatus()):
        emulator.faults.clear()
        emulator.faults.add(fault)
        assert (await http("GET", f"{V1}/w0001")).json != honest
    for fault in (MissingField("userId", row=1), OddField("userId", row=1), UnknownStatus(row=1)):
        emulator.faults.clear()
        emulator.faults.add(fault)
        assert (await http("GET", f"{V1}/w0001")).json == honest


async def test_an_approval_status_that_is_none_of_the_four(emulator, http, serve, connect, worklog):
    emulator.faults.add(UnknownStatus())
    assert (await http("GET", V1)).json["worklogs"][0]["approvalStatus"] == "escalated"
    assert (await http("GET", V2)).json["items"][0]["approval"]["status"] == "escalated"
    bare = await serve(seed=[worklog()], approval_shape="string")
    bare.faults.add(UnknownStatus("half"))
    assert (await (await connect(bare))("GET", V2)).json["items"][0]["approval"] == "half"


async def test_an_error_is_not_modified(emulator, http):
    emulator.faults.add(DuplicateRows())
    reply = await http("GET", V2, size=0)
    assert (reply.status, reply.json["field"]) == (400, "size")


async def test_a_wrong_clock_is_wrong_for_that_answer_alone(emulator, http, clock):
    emulator.faults.add(ClockSkew(-3600), nth=1)
    dates = [parsedate_to_datetime((await http("GET", V1)).headers["Date"]).timestamp() for _ in range(2)]
    assert dates == [clock.seconds - 3600, clock.seconds]


async def test_a_token_can_expire_just_before_a_request(emulator, http):
    credentials = {
        "grant-type": "client-credentials",
        "monday/account-id": emulator.settings.account_id,
        "client-id": emulator.settings.client_id,
        "client-secret": emulator.settings.client_secret,
    }
    token = (await http("POST", "/api/2.0/oauth2/token", body=credentials)).json["access_token"]
    emulator.faults.add(ExpireToken(), route="/timeEntries", nth=2)
    assert [(await http("GET", V2, token=token)).status for _ in range(3)] == [200, 401, 401]
    assert emulator.request_log.count(fault="expire-token", status=401) == 1


async def test_a_delay_passes_before_the_honest_answer(emulator, http, clock):
    emulator.faults.add(Delay(12.5))
    assert (await http("GET", V1)).status == 200
    assert clock.slept == [12.5]


async def test_a_function_can_change_rows_between_pages(emulator, http):
    emulator.faults.add(Call(lambda received: emulator.delete("w0003")), nth=2)
    assert [row["worklogId"] for row in await http.walk_v1()] == ["w0001", "w0002", "w0004", "w0005"]
    assert emulator.request_log.entries[1].fault == "call"


async def test_effects_add_up_and_the_first_disturbance_wins(emulator, http, clock):
    emulator.faults.add(Status(500))
    emulator.faults.add(Delay(1))
    emulator.faults.add(Html())
    emulator.faults.add(ClockSkew(60))
    reply = await http("GET", V1)
    assert reply.status == 500
    assert parsedate_to_datetime(reply.headers["Date"]).timestamp() == clock.seconds + 60
    assert emulator.request_log.entries[0].fault == "delay+clock-skew+status"
