"""The transport over real sockets: whatever a server or a network does, once, and with nothing left over."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import zlib
from pathlib import Path
from unittest.mock import Mock

import aiohttp
import pytest

from tracket_async._http.messages import NO_AUTHORIZATION, Request, Secret
from tracket_async._http.streams import ReadWatch
from tracket_async._http.transport import Transport, _Pieces
from tracket_async._http.urls import BaseURL
from tracket_async.config import Limits, Timeouts
from tracket_async.errors import (
    AttemptTimeoutError,
    CertificateError,
    ClientStateError,
    ConnectError,
    ConnectionLostError,
    ResponseError,
    ResponseTooLargeError,
    TruncatedResponseError,
    UnreadableResponseError,
)

SAMPLES = Path(__file__).parents[1] / "samples" / "http"
TOKEN = Secret("canary-7f3a", prefix="Bearer ")
POST = Request("POST", "/api/2.0/things", "/api/2.0/things", body=b'{"a":1}')

pytestmark = pytest.mark.usefixtures("no_leaks")


def make(url, *, timeouts=Timeouts(), limits=Limits(), ssl=None):
    return Transport(BaseURL.parse(url), timeouts=timeouts, limits=limits, user_agent="ua/1", ssl=ssl)


@pytest.fixture
async def transport(server):
    transport = make(server.url, limits=Limits(max_response_bytes=10_000))
    yield transport
    await transport.close()


async def test_an_answer_comes_back_whole(server, transport, get, http):
    server.answers = [http(200, b'{"a": 1}', X_Request_Id="r-1")]
    response = await transport.send(get, TOKEN)
    assert (response.status, response.body, response.headers["x-request-id"]) == (200, b'{"a": 1}', "r-1")


async def test_a_request_says_what_it_must_and_no_more(server, transport, http):
    server.answers = [http()]
    await transport.send(Request("GET", "/api/2.0/things", "", (("after", "a+b c"),)), TOKEN)
    received = server.received[0]
    assert received.line == "GET /api/2.0/things?after=a%2Bb+c HTTP/1.1"
    assert received.headers == {
        "host": server.url.removeprefix("http://"),
        "user-agent": "ua/1",
        "accept": "application/json",
        "accept-encoding": "gzip, deflate",
        "authorization": "Bearer canary-7f3a",
    }


async def test_a_body_is_sent_as_json(server, transport, http):
    server.answers = [http()]
    await transport.send(POST, NO_AUTHORIZATION)
    received = server.received[0]
    assert received.body == b'{"a":1}'
    assert received.headers["content-type"] == "application/json"
    assert received.headers["content-length"] == "7"
    assert "authorization" not in received.headers


async def test_a_long_body_is_sent_piece_by_piece_and_whole(server, transport, http):
    server.answers = [http()]
    body = b'"' + bytes(range(35, 127)) * 20_000 + b'"'
    await transport.send(Request("PUT", "/x", "/x", body=body), NO_AUTHORIZATION)
    assert server.received[0].body == body
    assert server.received[0].headers["content-length"] == str(len(body))


async def test_a_connection_is_used_again(server, transport, get, http):
    server.answers = [http()]
    for _ in range(5):
        await transport.send(get, TOKEN)
    assert server.connections == 1


async def test_the_pool_is_as_large_as_the_limit_and_the_token_call(server, transport):
    connector = transport._session.connector
    assert connector.limit == connector.limit_per_host == Limits().max_concurrency + 1


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
async def test_nothing_is_sent_again_when_a_kept_connection_drops(server, transport, http, method):
    """aiohttp would do it by itself; fails when the private switch, `_retry_connection`, no longer works."""

    async def drop(exchange):
        exchange.reset()

    server.answers = [http(), drop, http()]
    request = Request(method, "/x", "/x", body=b"{}" if method in {"PUT", "POST"} else None)
    await transport.send(request, TOKEN)
    with pytest.raises(ConnectionLostError):
        await transport.send(request, TOKEN)
    assert len(server.received) == 2


def test_the_private_switch_still_has_its_name():
    assert "_retry_connection" in aiohttp.ClientSession.ATTRS


async def test_a_reset_before_the_headers_is_a_lost_connection(server, transport, get):
    async def reset(exchange):
        exchange.reset()

    server.answers = [reset]
    with pytest.raises(ConnectionLostError) as caught:
        await transport.send(get, TOKEN)
    assert caught.value.maybe_sent


async def test_a_reset_in_the_body_is_a_failure_of_the_network(server, transport, get):
    async def reset(exchange):
        exchange.writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"a')
        await exchange.writer.drain()
        await asyncio.sleep(0.02)  # until it has left this process: a reset overtakes what has not
        exchange.reset()

    server.answers = [reset]
    with pytest.raises((ConnectionLostError, TruncatedResponseError)):
        await transport.send(get, TOKEN)


@pytest.mark.parametrize(
    "what", [b"", b"HTTP/1.1 200 O", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nA: b\r\n"]
)
async def test_a_connection_that_ends_in_the_headers_is_a_lost_one(server, transport, get, what):
    server.answers = [(what, "close")]
    with pytest.raises(ConnectionLostError):
        await transport.send(get, TOKEN)


@pytest.mark.parametrize(
    "what",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_unreadable(server, transport, get, what):
    server.answers = [(what, "close")]
    with pytest.raises(UnreadableResponseError, match="is not HTTP") as caught:
        await transport.send(get, TOKEN)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("chunk", [b"x\r\n{}\r\n0\r\n\r\n", b"2\r\n{}XX0\r\n\r\n"])
async def test_broken_chunks_are_a_failure_of_the_answer(server, transport, get, chunk):
    server.answers = [(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk, "close")]
    with pytest.raises((TruncatedResponseError, UnreadableResponseError)):
        await transport.send(get, TOKEN)


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [("gzip", gzip.compress(b'{"a": 1}', mtime=0)), ("deflate", zlib.compress(b'{"a": 1}')), ("identity", b'{"a": 1}')],
)
async def test_a_compressed_answer_is_decompressed(server, transport, get, http, encoding, packed):
    server.answers = [http(200, packed, Content_Encoding=encoding)]
    assert (await transport.send(get, TOKEN)).body == b'{"a": 1}'


async def test_an_answer_in_chunks_is_put_together(server, transport, get):
    server.answers = [b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{"a"\r\n4\r\n: 1}\r\n0\r\n\r\n']
    assert (await transport.send(get, TOKEN)).body == b'{"a": 1}'


@pytest.mark.parametrize("status", [204, 205])
async def test_an_answer_without_a_body_is_an_empty_one(server, transport, get, status):
    server.answers = [f"HTTP/1.1 {status} No Content\r\nContent-Length: 0\r\n\r\n".encode()]
    assert (await transport.send(get, TOKEN)).body == b""


async def test_an_answer_may_be_as_long_as_the_cap_and_no_byte_longer(server, transport, get, http):
    server.answers = [http(200, b"x" * 10_000), http(200, b"x" * 10_001)]
    assert len((await transport.send(get, TOKEN)).body) == 10_000
    with pytest.raises(ResponseTooLargeError):
        await transport.send(get, TOKEN)


async def test_an_endless_answer_is_cut_off(server, transport, get):
    sent = 0

    async def flood(exchange):
        nonlocal sent
        exchange.writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            exchange.writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
            sent += 1024
            await exchange.writer.drain()

    server.answers = [flood]
    with pytest.raises(ResponseTooLargeError):
        await transport.send(get, TOKEN)
    assert sent < 20_000_000


async def test_a_bomb_is_cut_off(server, transport, get, http):
    server.answers = [http(200, gzip.compress(bytes(5_000_000)), Content_Encoding="gzip")]
    with pytest.raises(ResponseTooLargeError):
        await transport.send(get, TOKEN)


async def test_a_header_may_be_as_long_as_64_kib(server, transport, get, http):
    server.answers = [http(200, b"{}", X_Policy="x" * 65_000)]
    assert (await transport.send(get, TOKEN)).headers["X-Policy"] == "x" * 65_000


async def test_an_unknown_encoding_is_refused(server, transport, get, http):
    server.answers = [http(200, b"x", Content_Encoding="br")]
    with pytest.raises(ResponseError, match="'br'"):
        await transport.send(get, TOKEN)


async def test_a_connection_whose_answer_was_not_read_is_not_used_again(server, transport, get, http):
    server.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 10001\r\n\r\nx", http()]
    with pytest.raises(ResponseTooLargeError):
        await transport.send(get, TOKEN)
    await transport.send(get, TOKEN)
    assert server.connections == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304])
async def test_a_redirect_is_not_followed(server, transport, http, status):
    server.answers = [http(status, b"", Location=f"{server.url}/elsewhere"), http()]
    response = await transport.send(POST, TOKEN)
    assert response.status == status
    assert [exchange.target for exchange in server.received] == ["/api/2.0/things"]


async def test_cookies_are_not_kept(server, transport, get, http):
    server.answers = [http(200, b"{}", Set_Cookie="session=1; Path=/")]
    for _ in range(2):
        await transport.send(get, TOKEN)
    assert all("cookie" not in exchange.headers for exchange in server.received)


async def test_of_an_errors_body_the_beginning_is_kept(server, transport, get, http):
    server.answers = [
        http(500, b"x" * 70_000),
        http(500, b"short"),
        http(500, gzip.compress(b"packed"), Content_Encoding="gzip"),
    ]
    assert (await transport.send(get, TOKEN)).body == b"x" * 65_536
    assert (await transport.send(get, TOKEN)).body == b"short"
    assert (await transport.send(get, TOKEN)).body == b"packed"


async def test_of_an_endless_error_no_more_than_the_beginning_is_read(server, transport, get, http):
    server.answers = [b"HTTP/1.1 500 Oops\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 70_000, http()]
    assert (await transport.send(get, TOKEN)).body == b"x" * 65_536
    assert transport._session.connector._acquired == set()
    await transport.send(get, TOKEN)
    assert server.connections == 2


@pytest.mark.parametrize(
    ("head", "body", "kept"),
    [
        ("Content-Length: 100", b"cut", b"cut"),
        ("Content-Length: 3\r\nContent-Encoding: br", b"abc", b""),
        ("Content-Length: 3\r\nContent-Encoding: gzip", b"abc", b""),
        ("Content-Length: 3\r\nContent-Encoding: gzip", gzip.compress(b"x", mtime=0)[:3], b""),
        ("Transfer-Encoding: chunked", b"3\r\ncut\r\n5\r\nxx", b"cutxx"),
        ("Content-Encoding: gzip", gzip.compress(bytes(1_000_000), mtime=0), b""),
    ],
)
async def test_an_error_counts_although_its_body_cannot_be_read(server, transport, get, head, body, kept):
    server.answers = [(f"HTTP/1.1 429 Slow\r\n{head}\r\n\r\n".encode() + body, "close")]
    response = await transport.send(get, TOKEN)
    assert (response.status, response.body) == (429, kept)


async def test_a_server_that_hangs_is_left(server, get):
    async def hang(_exchange):
        await asyncio.Event().wait()

    server.answers = [hang]
    transport = make(server.url, timeouts=Timeouts(read=0.05))
    with pytest.raises(AttemptTimeoutError, match="silent for too long") as caught:
        await transport.send(get, TOKEN)
    assert caught.value.maybe_sent
    await transport.close()


async def test_a_server_that_stops_in_the_body_is_left(server, get):
    async def stop(exchange):
        exchange.writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"a')
        await asyncio.Event().wait()

    server.answers = [stop]
    transport = make(server.url, timeouts=Timeouts(read=0.05))
    with pytest.raises(AttemptTimeoutError):
        await transport.send(get, TOKEN)
    await transport.close()


async def test_making_a_connection_does_not_count_as_reading(server, get, http, monkeypatch):
    server.answers = [http()]
    connect = aiohttp.TCPConnector.connect

    async def slowly(*arguments):
        await asyncio.sleep(0.1)
        return await connect(*arguments)

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", slowly)
    transport = make(server.url, timeouts=Timeouts(read=0.05))
    assert (await transport.send(get, TOKEN)).status == 200
    await transport.close()


async def test_an_error_that_stops_in_its_body_counts(server, get):
    async def stop(exchange):
        exchange.writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\nlater")
        await asyncio.Event().wait()

    server.answers = [stop]
    transport = make(server.url, timeouts=Timeouts(read=0.05))
    response = await transport.send(get, TOKEN)
    assert (response.status, response.body) == (503, b"later")
    await transport.close()


async def test_a_cancellation_in_the_body_of_an_error_leaves_no_connection(server, get, monkeypatch):
    entered, left, beginning = asyncio.Event(), asyncio.Event(), Transport._beginning

    async def stop(exchange):
        exchange.writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\nlater")
        await exchange.reader.read()
        left.set()

    def told(self, answer, watch):
        entered.set()
        return beginning(self, answer, watch)

    monkeypatch.setattr(Transport, "_beginning", told)
    server.answers = [stop]
    transport = make(server.url)
    sending = asyncio.create_task(transport.send(get, TOKEN))
    await entered.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await left.wait()
    await transport.close()


@pytest.mark.parametrize("status", [200, 503])
async def test_each_piece_of_an_answer_is_a_sign_of_life(server, get, monkeypatch, status):
    told, received = asyncio.Queue(), ReadWatch.received

    def tell(self):
        received(self)
        told.put_nowait(None)

    async def piece_by_piece(exchange):
        exchange.writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 3\r\n\r\n" % status)
        await told.get()  # the connection
        await told.get()  # the status line
        for piece in (b"a", b"b", b"c"):
            exchange.writer.write(piece)
            await told.get()

    monkeypatch.setattr(ReadWatch, "received", tell)
    server.answers = [piece_by_piece]
    transport = make(server.url, timeouts=Timeouts(read=5))
    response = await transport.send(get, TOKEN)
    assert (response.status, response.body) == (status, b"abc")
    await transport.close()


def test_each_piece_of_a_long_body_that_is_taken_is_a_sign_of_life():
    watch = Mock()
    pieces = _Pieces(b"abcdef", watch)
    assert [pieces.read(4), pieces.read(4), pieces.read(4)] == [b"abcd", b"ef", b""]
    assert [name for name, _, _ in watch.mock_calls] == ["begin_body", "received", "received", "received"]


async def drip(exchange):
    exchange.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        exchange.writer.write(b"x")
        await exchange.writer.drain()
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("limit", ["attempt", "seconds"])
async def test_a_server_that_drips_is_left_when_the_attempt_has_taken_too_long(server, get, limit):
    server.answers = [drip]
    transport = make(server.url, timeouts=Timeouts(read=5, attempt=0.1 if limit == "attempt" else 30))
    with pytest.raises(AttemptTimeoutError, match="did not answer in time"):
        await transport.send(get, TOKEN, seconds=0.1 if limit == "seconds" else 30)
    await transport.close()


async def test_an_upload_that_stalls_is_left(server):
    async def stall(exchange):
        exchange.reader._transport.pause_reading()
        await asyncio.Event().wait()

    server.answers, server.read_body = [stall], False
    transport = make(server.url, timeouts=Timeouts(attempt=0.2))
    with pytest.raises(AttemptTimeoutError):
        await transport.send(Request("POST", "/x", "/x", body=bytes(20_000_000)), NO_AUTHORIZATION)
    await transport.close()


async def test_an_answer_that_comes_before_the_upload_is_done_counts(server, http):
    async def refuse(exchange):
        exchange.reader._transport.pause_reading()
        exchange.writer.write(http(413, b"too big"))
        await asyncio.Event().wait()

    server.answers, server.read_body = [refuse], False
    transport = make(server.url)
    response = await transport.send(Request("POST", "/x", "/x", body=bytes(20_000_000)), NO_AUTHORIZATION)
    assert (response.status, response.body) == (413, b"too big")
    await transport.close()


async def test_a_port_on_which_nobody_listens_gives_no_connection(get):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else gets it
        transport = make(f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(ConnectError, match=r"No connection to http://127\.0\.0\.1:\d+ can be made") as caught:
            await transport.send(get, TOKEN)
        assert not caught.value.maybe_sent
        await transport.close()


async def test_a_name_that_nobody_knows_gives_no_connection(get, monkeypatch):
    async def nobody_knows(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", nobody_knows)
    transport = make("https://tracket.invalid")
    with pytest.raises(ConnectError, match=r"The name of https://tracket\.invalid cannot be resolved") as caught:
        await transport.send(get, TOKEN)
    assert not caught.value.maybe_sent
    await transport.close()


async def test_a_connection_that_takes_too_long_is_none(get, monkeypatch):
    async def never(*args, **kwargs):
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    transport = make("https://tracket.invalid", timeouts=Timeouts(connect=0.05))
    with pytest.raises(ConnectError, match="in time") as caught:
        await transport.send(get, TOKEN)
    assert not caught.value.maybe_sent
    await transport.close()


@pytest.fixture
async def secure_server(server):
    await server.stop()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(SAMPLES / "certificate.pem", SAMPLES / "key.pem")
    await server.start(ssl=context)
    return server


async def test_a_certificate_that_nobody_vouches_for_is_not_trusted(secure_server, get, http):
    secure_server.answers = [http()]
    transport = make(secure_server.url)
    with pytest.raises(CertificateError, match="is not trusted") as caught:
        await transport.send(get, TOKEN)
    assert not caught.value.maybe_sent
    assert "TRACKET_CA_BUNDLE" in str(caught.value)
    assert secure_server.received == []
    await transport.close()


async def test_a_certificate_that_the_caller_trusts_is_trusted(secure_server, get, http):
    secure_server.answers = [http()]
    transport = make(secure_server.url, ssl=ssl.create_default_context(cafile=SAMPLES / "certificate.pem"))
    assert (await transport.send(get, TOKEN)).status == 200
    await transport.close()


async def test_tls_is_never_given_up(get):
    """A server that speaks no TLS gets no request: there is no second try without."""
    received = []

    async def refuse(reader, writer):
        received.append(await reader.read(100))
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    transport = make(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(ConnectError) as caught:
        await transport.send(get, TOKEN)
    assert not caught.value.maybe_sent
    assert len(received) == 1
    assert b"HTTP" not in received[0]
    await transport.close()
    server.close()
    await server.wait_closed()


async def test_what_is_in_progress_ends_when_it_is_closed(server, transport, get):
    arrived = asyncio.Event()

    async def hang(_exchange):
        arrived.set()
        await asyncio.Event().wait()

    server.answers = [hang]
    task = asyncio.create_task(transport.send(get, TOKEN))
    await arrived.wait()
    await transport.close()
    with pytest.raises(ClientStateError, match="closed while"):
        await task
    with pytest.raises(ClientStateError):
        await transport.send(get, TOKEN)


@pytest.mark.parametrize("closed", [True, False])
async def test_a_runtime_error_is_told_from_a_closed_session(transport, get, monkeypatch, closed):
    """aiohttp raises one for a session that was closed while a request waited for its connection."""

    def request(*args, **kwargs):
        monkeypatch.setattr(transport, "_is_closed", lambda: closed)
        raise RuntimeError("Session is closed")

    monkeypatch.setattr(transport._session, "request", request, raising=False)
    with pytest.raises(ClientStateError if closed else RuntimeError) as caught:
        await transport.send(get, TOKEN)
    assert isinstance(caught.value, ClientStateError) is closed


async def test_a_cancelled_request_says_whether_it_had_a_connection(server, transport, get, monkeypatch):
    server.answers = [lambda exchange: asyncio.Event().wait()]
    for is_connected in (True, False):
        if not is_connected:
            monkeypatch.setattr(transport._connector, "connect", lambda *_, **__: asyncio.Event().wait())
        sending = asyncio.create_task(transport.send(get, TOKEN))
        await asyncio.sleep(0)
        while is_connected and not server.received:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await sending
        assert caught.value.maybe_sent is is_connected


async def test_what_was_in_progress_as_it_closed_may_have_been_sent(server, transport, get, monkeypatch):
    server.answers = [lambda exchange: asyncio.Event().wait()]
    sending = asyncio.create_task(transport.send(get, TOKEN))
    while not server.received:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)
    await transport.close()
    with pytest.raises(ClientStateError) as caught:
        await sending
    assert caught.value.maybe_sent
    with pytest.raises(ClientStateError) as caught:
        await transport.send(get, TOKEN)
    assert not caught.value.maybe_sent


async def test_an_attempt_without_a_connection_in_time_was_not_sent(get, monkeypatch):
    transport = make("https://tracket.invalid", timeouts=Timeouts(connect=None, attempt=0.05))
    monkeypatch.setattr(transport._connector, "connect", lambda *_, **__: asyncio.Event().wait())
    with pytest.raises(AttemptTimeoutError) as caught:
        await transport.send(get, TOKEN)
    assert not caught.value.maybe_sent
    await transport.close()
