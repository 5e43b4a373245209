"""Every kind of fault, as a client without any cleverness sees it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import zlib
from email.utils import parsedate_to_datetime

import aiohttp
import pytest

from tracket_async.emulator import Emulator
from tracket_async.emulator.faults import (
    Call,
    ClockSkew,
    CommitThenCut,
    ContentType,
    CyclingCursor,
    DeepJson,
    Delay,
    Drip,
    DuplicateRows,
    EmptyPage,
    ExpireToken,
    Hang,
    Html,
    HugeBody,
    MalformedJson,
    MissingField,
    OddField,
    Redirect,
    RefusedCursor,
    RepeatedCursor,
    Reset,
    Stall,
    Status,
    Truncate,
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


# ---- answers in place of the API's


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
    assert emulator.ledger.entries[-1].committed is commit


async def test_a_refused_write_is_not_committed_by_a_fault_that_commits(emulator, http):
    emulator.faults.add(Status(502, commit=True))
    await http("POST", V1, body={})
    assert not emulator.ledger.entries[-1].committed


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
    with pytest.raises(ValueError, match="Expecting"):
        await http("GET", V1)


async def test_json_that_is_nested_very_deeply(emulator, http):
    emulator.faults.add(DeepJson(depth=50_000))
    with pytest.raises(RecursionError):
        await http("GET", V1)


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


# ---- the honest answer, bent


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
        assert emulator.ledger.count(fault="empty-page") == 5
        assert len(emulator.ledger) == 3 + 8

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


async def test_an_error_is_not_bent(emulator, http):
    emulator.faults.add(DuplicateRows())
    reply = await http("GET", V2, size=0)
    assert (reply.status, reply.json["field"]) == (400, "size")


# ---- effects


async def test_a_wrong_clock_is_wrong_for_that_answer_alone(emulator, http, clock):
    emulator.faults.add(ClockSkew(-3600), nth=1)
    dates = [parsedate_to_datetime((await http("GET", V1)).headers["Date"]).timestamp() for _ in range(2)]
    assert dates == [clock.seconds - 3600, clock.seconds]


async def test_a_token_can_expire_just_before_a_request(emulator, http):
    credentials = {
        "grant-type": "client-credentials",
        "monday/account-id": emulator.account_id,
        "client-id": emulator.client_id,
        "client-secret": emulator.client_secret,
    }
    token = (await http("POST", "/api/2.0/oauth2/token", body=credentials)).json["access_token"]
    emulator.faults.add(ExpireToken(), route="/timeEntries", nth=2)
    assert [(await http("GET", V2, token=token)).status for _ in range(3)] == [200, 401, 401]
    assert emulator.ledger.count(fault="expire-token", status=401) == 1


async def test_a_delay_passes_before_the_honest_answer(emulator, http, clock):
    emulator.faults.add(Delay(12.5))
    assert (await http("GET", V1)).status == 200
    assert clock.slept == [12.5]


async def test_a_function_can_change_rows_between_pages(emulator, http):
    emulator.faults.add(Call(lambda received: emulator.delete("w0003")), nth=2)
    assert [row["worklogId"] for row in await http.walk_v1()] == ["w0001", "w0002", "w0004", "w0005"]
    assert emulator.ledger.entries[1].fault == "call"


async def test_effects_add_up_and_the_first_disturbance_wins(emulator, http, clock):
    emulator.faults.add(Status(500))
    emulator.faults.add(Delay(1))
    emulator.faults.add(Html())
    emulator.faults.add(ClockSkew(60))
    reply = await http("GET", V1)
    assert reply.status == 500
    assert parsedate_to_datetime(reply.headers["Date"]).timestamp() == clock.seconds + 60
    assert emulator.ledger.entries[0].fault == "delay+clock-skew+status"


# ---- the connection


@pytest.mark.parametrize("after", ["request", "headers"])
async def test_a_reset_before_and_after_the_headers(emulator, http, after):
    emulator.faults.add(Reset(after), nth=1)
    with pytest.raises(aiohttp.ClientError):
        await http("GET", V1)
    assert (await http("GET", V1)).status == 200
    assert [each.status for each in emulator.ledger] == [None if after == "request" else 200, 200]


async def test_a_reset_is_one_and_no_polite_end(emulator, raw):
    emulator.faults.add(Reset())
    with pytest.raises(ConnectionResetError):
        await raw(emulator)


@pytest.mark.parametrize(
    ("fault", "committed"),
    [
        (Reset(), False),
        (Reset(commit=True), True),
        (Reset("headers"), True),
        (CommitThenCut(), True),
        (Truncate(0), True),
        (Status(503), False),
    ],
)
async def test_a_write_that_is_cut_has_happened_or_not_and_the_ledger_knows(
    emulator, raw, new_v1, fault, committed, until
):
    emulator.faults.add(fault)
    body = json.dumps(new_v1).encode()
    with contextlib.suppress(ConnectionResetError):
        await raw(emulator, "POST", V1, body, headers=["Connection: close"])
    await until(lambda: not emulator.ledger.in_progress)
    assert emulator.count == 5 + committed
    assert emulator.ledger.entries[0].committed is committed


async def test_commit_then_cut_sends_not_a_byte(emulator, raw):
    emulator.faults.add(CommitThenCut())
    assert (await raw(emulator, "DELETE", f"{V1}/w0001")).all == b""
    assert emulator.count == 4


@pytest.mark.parametrize("framing", ["length", "chunked", "gzip", "close"])
async def test_a_body_can_be_cut_at_every_byte_of_every_framing(serve, raw, worklog, framing):
    emulator = await serve(seed=[worklog()])
    path = f"{V1}/w0001"
    honest = (await raw(emulator, path=path, headers=["Connection: close"])).body
    emulator.faults.add(Truncate(10_000, framing=framing), nth=1)
    whole = await raw(emulator, path=path)
    for at in (0, 1, 2, 30, 31, 70, 71, len(whole.body) - 1, -1, None):
        emulator.faults.clear()
        emulator.faults.add(Truncate(at, framing=framing))
        cut = await raw(emulator, path=path)
        sent = whole.body[: len(whole.body) // 2 if at is None else at]
        assert cut.body == sent
        if framing == "length":
            assert cut.headers["content-length"] == str(len(honest))
        elif framing == "gzip":
            assert cut.headers["content-length"] == str(len(sent))
        elif framing == "chunked":
            assert cut.headers["transfer-encoding"] == "chunked"
        else:
            assert "content-length" not in cut.headers
            assert cut.headers["connection"] == "close"
        assert {"date", "x-request-id", "content-type"} <= cut.headers.keys()
    if framing == "gzip":
        assert gzip.decompress(whole.body) == honest
        with pytest.raises((EOFError, zlib.error)):
            gzip.decompress(whole.body[:-1])


async def test_a_whole_chunked_body_is_read_as_the_honest_one(emulator, http, connect):
    honest = (await http("GET", V1)).body
    emulator.faults.add(Truncate(10**6, framing="chunked"))
    assert (await http("GET", V1)).body == honest
    emulator.faults.clear()
    emulator.faults.add(Truncate(-6, framing="chunked"))
    another = await connect(emulator)  # the server has closed the connection of the first
    with pytest.raises(aiohttp.ClientPayloadError):
        await another("GET", V1)


async def test_a_body_larger_than_every_buffer_is_written_as_the_client_reads(serve, raw, worklog):
    emulator = await serve(seed=[worklog(number, description="x" * 500_000) for number in range(1, 25)])
    emulator.faults.add(Truncate(-1))
    reply = await raw(emulator, path=V1)
    assert len(reply.body) == int(reply.headers["content-length"]) - 1 > 12_000_000


def test_a_framing_that_is_none_is_refused():
    with pytest.raises(ValueError, match="framing"):
        Truncate(framing="tar")


async def test_a_slow_drip_is_the_whole_body_a_few_bytes_at_a_time(emulator, raw, clock):
    honest = (await raw(emulator, path=V1, headers=["Connection: close"])).body
    emulator.faults.add(Drip(size=100, interval=0.5))
    assert (await raw(emulator, path=V1)).body == honest
    assert clock.slept == [0.5] * -(-len(honest) // 100)


async def test_a_drip_ends_when_the_client_goes(emulator, http, until):
    emulator.faults.add(Drip(size=1, interval=0.001))
    async with http._session.get(emulator.url + V1, headers={"Authorization": f"Bearer {emulator.token}"}) as response:
        await response.content.readany()
        response.close()
    await until(lambda: not emulator.ledger.in_progress)
    assert emulator.ledger.entries[0].status == 200


@pytest.mark.parametrize(
    ("fault", "status"), [(Hang(), None), (Hang(commit=True), None), (Hang("headers"), 200)], ids=str
)
async def test_a_hang_lasts_until_the_client_goes(emulator, http, new_v1, fault, status, until):
    emulator.faults.add(fault, nth=1)
    request = asyncio.create_task(http("POST", V1, body=new_v1))
    await until(lambda: emulator.ledger.in_progress and (fault == Hang() or emulator.count == 6))
    assert (await http("GET", V1)).status == 200  # nobody else is held up
    assert emulator.ledger.in_progress == 1
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await until(lambda: not emulator.ledger.in_progress)
    first = emulator.ledger.entries[0]
    assert (first.status, first.committed) == (status, fault != Hang())


async def _at_rest(value):
    """The value, once it has not changed for many turns of the loop."""
    last, turns = value(), 0
    while turns < 200:
        await asyncio.sleep(0)
        turns = turns + 1 if value() == last else 0
        last = value()
    return last


async def test_a_stalled_upload_is_not_read_any_further_and_reset_after_its_time(serve, until):
    time_is_up = asyncio.Event()
    asked = []

    async def sleep(seconds):
        asked.append(seconds)
        await time_is_up.wait()

    emulator = await serve(sleep=sleep)
    emulator.faults.add(Stall(seconds=30))
    host, port = emulator.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {V1} HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n"
    writer.write(head.encode() + b" " * 50_000_000)
    await until(lambda: asked)
    assert await _at_rest(writer.transport.get_write_buffer_size) > 20_000_000
    time_is_up.set()
    with pytest.raises(ConnectionError):
        await _drain_and_read(reader, writer)
    writer.close()
    await until(lambda: not emulator.ledger.in_progress)
    assert asked == [30]
    assert (emulator.ledger.entries[0].body, emulator.ledger.entries[0].status) == (b"", None)


async def test_a_drip_waits_for_a_client_that_does_not_read(serve, worklog, clock):
    emulator = await serve(
        seed=[worklog(number, description="x" * 500_000) for number in range(1, 41)], sleep=clock.sleep
    )
    emulator.faults.add(Drip(size=100_000, interval=1))
    host, port = emulator.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"GET {V1} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {emulator.token}\r\n\r\n"
    writer.write(head.encode())
    pieces = await _at_rest(lambda: len(clock.slept))
    (wire,) = emulator._running._wires
    assert 1 <= pieces < 190
    assert wire._transport.get_write_buffer_size() < 1_000_000
    assert len(await reader.read()) > 20_000_000
    writer.close()


@pytest.mark.parametrize("fault", [Hang(), Hang("headers"), Stall(), Drip(interval=3600)], ids=str)
async def test_a_server_that_stops_lets_go_of_every_connection_that_a_fault_holds(
    no_leaks, worklog, fault, until, monkeypatch
):
    # it need not wait for its handlers' time to run out
    monkeypatch.setattr("tracket_async.emulator.server._GRACE", 3600)
    async with Emulator(seed=[worklog()]) as emulator:
        emulator.faults.add(fault)
        host, port = emulator.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {V1}/w0001 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await until(lambda: emulator._running._wires)
    with contextlib.suppress(ConnectionError):  # the reset, after whatever was sent before
        await reader.read()
    writer.close()
    assert emulator.ledger.in_progress == 0


async def test_a_client_that_has_gone_before_its_fault_comes_is_no_error(emulator, caplog, until):
    for fault in (Hang(), Truncate(), Status(500)):
        gone = asyncio.Event()
        emulator.faults.clear()
        emulator.faults.add(Wait(gone))
        emulator.faults.add(fault)
        host, port = emulator.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {V1} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await until(lambda: emulator.ledger.in_progress)
        writer.transport.abort()
        for _ in range(20):  # until the server's loop has seen it
            await asyncio.sleep(0)
        gone.set()
        await until(lambda: not emulator.ledger.in_progress)
    assert not caplog.records


async def _drain_and_read(reader, writer):
    await writer.drain()
    await reader.read()


class Wait(Delay):
    """An effect of a user's own: it waits for an event."""

    def __init__(self, event):
        super().__init__(0)
        object.__setattr__(self, "event", event)

    async def prepare(self, exchange):
        await self.event.wait()
