"""Faults that answer in place of the API, as a client without any cleverness sees them."""

from __future__ import annotations

import gzip
import json

import pytest

from tracket_async.emulator.faults import (
    DeepJson,
    Html,
    HugeBody,
    MalformedJson,
    Redirect,
    RefusedCursor,
    Status,
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
