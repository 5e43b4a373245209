"""An answer that is cut at any byte is never taken for a whole one, however its end is marked, and is fetched again."""

from __future__ import annotations

import gzip

import msgspec
import pytest

from tracket_async._http.messages import Request
from tracket_async._http.session import TracketSession
from tracket_async.config import CallOptions, RetryPolicy
from tracket_async.errors import ConnectionLostError, TruncatedResponseError, UnreadableResponseError

CONTENT = {"items": [{"id": "wl-1", "minutes": 90.5, "description": "Zürich 東京"}], "nextCursor": None, "total": 1}
LONG = {"items": [{"id": f"wl-{number}", "minutes": number} for number in range(40)]}
PUT = Request("PUT", "/x", "/x", body=b"{}")


def head(*lines):
    return "\r\n".join(["HTTP/1.1 200 OK", "Content-Type: application/json", *lines, "", ""]).encode()


def chunked(data):
    parts = [data[start : start + 17] for start in range(0, len(data), 17)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def cut_anywhere(*lines, pack=bytes):
    """The whole answer, cut at each of its bytes."""

    def make(data):
        packed = pack(data)
        whole = head(*[line.format(len(packed)) for line in lines]) + packed
        return whole, [whole[:end] for end in range(len(whole))]

    return make


def cut_with_its_length(data):
    """The compressed data is cut, and Content-Length says what is left of it: the framing is without a fault."""
    packed = gzip.compress(data, mtime=0)

    def answer(end):
        return head("Content-Encoding: gzip", f"Content-Length: {end}") + packed[:end]

    return answer(len(packed)), [answer(end) for end in range(len(packed))]


FRAMINGS = {
    "Content-Length": cut_anywhere("Content-Length: {}"),
    "chunked": cut_anywhere("Transfer-Encoding: chunked", pack=chunked),
    "gzip of another length": cut_with_its_length,
    "gzip in chunks": cut_anywhere(
        "Transfer-Encoding: chunked", "Content-Encoding: gzip", pack=lambda data: chunked(gzip.compress(data, mtime=0))
    ),
    "gzip until the connection closes": cut_anywhere(
        "Content-Encoding: gzip", pack=lambda data: gzip.compress(data, mtime=0)
    ),
    "until the connection closes": cut_anywhere(),
}


def parse(response):
    try:
        return msgspec.json.decode(response.body)
    except msgspec.DecodeError:
        raise UnreadableResponseError("not JSON") from None


async def accepted(server, framing, content):
    whole, cuts = FRAMINGS[framing](msgspec.json.encode(content))
    async with TracketSession(server.url, auth=None, retry=RetryPolicy(wait_initial=0, budget=None)) as session:
        server.answers = [(whole, "close")]
        assert await session.send(PUT, parse) == content
        taken = []
        for cut in cuts:
            server.answers, server.received = [(cut, "close")], []
            try:
                await session.send(PUT, parse, options=CallOptions(attempts=1))
            except (ConnectionLostError, TruncatedResponseError, UnreadableResponseError):
                pass
            else:
                taken.append(cut)
        return len(cuts), taken


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_no_cut_answer_is_taken_for_a_whole_one(no_leaks, server, framing):
    count, taken = await accepted(server, framing, CONTENT)
    assert count > 80
    assert taken == []


@pytest.mark.soak
@pytest.mark.parametrize("framing", FRAMINGS)
async def test_no_cut_answer_of_many_pieces_is_taken_for_a_whole_one(no_leaks, server, framing):
    _, taken = await accepted(server, framing, LONG)
    assert taken == []


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_a_cut_answer_is_fetched_again(no_leaks, server, framing):
    whole, cuts = FRAMINGS[framing](msgspec.json.encode(CONTENT))
    async with TracketSession(server.url, auth=None, retry=RetryPolicy(wait_initial=0, budget=None)) as session:
        for cut in cuts[::10]:
            server.answers, server.received = [(cut, "close"), (whole, "close")], []
            assert await session.send(PUT, parse) == CONTENT
            assert len(server.received) == 2
