"""Connection faults, as a plain client sees them."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import zlib

import aiohttp
import pytest

from tracket_async.emulator import Emulator
from tracket_async.emulator.faults import (
    CommitThenCut,
    Delay,
    Drip,
    Hang,
    Reset,
    Stall,
    Status,
    Truncate,
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


@pytest.mark.parametrize("after", ["request", "headers"])
async def test_a_reset_before_and_after_the_headers(emulator, http, after):
    emulator.faults.add(Reset(after), nth=1)
    with pytest.raises(aiohttp.ClientError):
        await http("GET", V1)
    assert (await http("GET", V1)).status == 200
    assert [each.status for each in emulator.request_log] == [None if after == "request" else 200, 200]


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
async def test_a_write_that_is_cut_has_happened_or_not_and_the_request_log_knows(
    emulator, raw, new_v1, fault, committed, until
):
    emulator.faults.add(fault)
    body = json.dumps(new_v1).encode()
    with contextlib.suppress(ConnectionResetError):
        await raw(emulator, "POST", V1, body, headers=["Connection: close"])
    await until(lambda: not emulator.request_log.in_progress)
    assert emulator.count == 5 + committed
    assert emulator.request_log.entries[0].committed is committed


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
    await until(lambda: not emulator.request_log.in_progress)
    assert emulator.request_log.entries[0].status == 200


@pytest.mark.parametrize(
    ("fault", "status"), [(Hang(), None), (Hang(commit=True), None), (Hang("headers"), 200)], ids=str
)
async def test_a_hang_lasts_until_the_client_goes(emulator, http, new_v1, fault, status, until):
    emulator.faults.add(fault, nth=1)
    request = asyncio.create_task(http("POST", V1, body=new_v1))
    await until(lambda: emulator.request_log.in_progress and (fault == Hang() or emulator.count == 6))
    assert (await http("GET", V1)).status == 200  # nobody else is held up
    assert emulator.request_log.in_progress == 1
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await until(lambda: not emulator.request_log.in_progress)
    first = emulator.request_log.entries[0]
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
    await until(lambda: not emulator.request_log.in_progress)
    assert asked == [30]
    assert (emulator.request_log.entries[0].body, emulator.request_log.entries[0].status) == (b"", None)


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
    (connection,) = emulator._running._connections
    assert 1 <= pieces < 190
    assert connection._transport.get_write_buffer_size() < 1_000_000
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
        await until(lambda: emulator._running._connections)
    with contextlib.suppress(ConnectionError):  # the reset, after whatever was sent before
        await reader.read()
    writer.close()
    assert emulator.request_log.in_progress == 0


async def test_a_client_that_has_gone_before_its_fault_comes_is_no_error(emulator, caplog, until):
    for fault in (Hang(), Truncate(), Status(500)):
        gone = asyncio.Event()
        emulator.faults.clear()
        emulator.faults.add(Wait(gone))
        emulator.faults.add(fault)
        host, port = emulator.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {V1} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await until(lambda: emulator.request_log.in_progress)
        writer.transport.abort()
        for _ in range(20):  # until the server's loop has seen it
            await asyncio.sleep(0)
        gone.set()
        await until(lambda: not emulator.request_log.in_progress)
    assert not caplog.records


async def _drain_and_read(reader, writer):
    await writer.drain()
    await reader.read()


class Wait(Delay):
    """An effect of a user's own: it waits for an event."""

    def __init__(self, event):
        super().__init__(0)
        object.__setattr__(self, "event", event)

    async def apply(self, exchange):
        await self.event.wait()
