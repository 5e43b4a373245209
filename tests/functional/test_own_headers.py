"""Send headers and query parameters of one's own: with every call of a client, or with some."""

from __future__ import annotations

import datetime as dt
import socket

import pytest
from aiohttp.abc import AbstractResolver

from tracket_async import (
    BearerToken,
    ClientCredentials,
    ConfigurationError,
    RequestError,
    RetryPolicy,
    TracketClient,
    TracketSession,
)
from tracket_async._http.messages import Request

CANARY = "canary-51ab"
URL = "https://tracket.dev/api/1.0/worklogs"
SHOWN = {"worklogId": "wl-1", "userId": "2", "worklogDate": "2026-03-02T00:00:00Z", "worklogMinutes": 30}


def make(**settings):
    return TracketClient(**{"auth": BearerToken("t"), "api": "1.0", "retry": RetryPolicy(attempts=1), **settings})


def asked(responses):
    """Return the URL and the headers of each request."""
    return [(str(url), call.kwargs["headers"]) for (_, url), calls in responses.requests.items() for call in calls]


async def test_headers_of_a_client_and_of_a_call_are_sent_and_the_calls_win(tracket_responses):
    tracket_responses.get(f"{URL}/wl-1", payload=SHOWN, repeat=True)
    async with make(headers={"X-Team": "blue", "X-Trace": "1"}) as client:
        await client.worklogs.get("wl-1")
        view = client.with_options(headers={"x-team": "red"})
        await view.with_options(timeout=5).worklogs.get("wl-1")
    own = [
        {name: value for name, value in headers.items() if name.lower().startswith("x-")}
        for _, headers in asked(tracket_responses)
    ]
    assert own == [{"X-Team": "blue", "X-Trace": "1"}, {"X-Trace": "1", "x-team": "red"}]


async def test_a_query_is_added_to_every_page_of_a_list(tracket_responses):
    start = "startDate=2026-03-01T00:00:00.000Z&tenant=7"
    tracket_responses.get(f"{URL}?{start}", payload={"worklogs": [SHOWN], "next-cursor": "c"})
    second = {"worklogs": [{**SHOWN, "worklogId": "wl-2"}]}
    tracket_responses.get(f"{URL}?cursor=c&{start}", payload=second, repeat=True)
    async with make(query={"tenant": "6"}) as client:
        view = client.with_options(query={"tenant": "7"})
        assert len([w async for w in view.worklogs.list(since=dt.date(2026, 3, 1))]) == 2


async def test_the_token_call_has_none_of_them(tracket_responses):
    async with TracketClient(auth=ClientCredentials("i", "s", "5"), headers={"X-Team": "blue"}) as client:
        with pytest.raises(RequestError):
            await client.with_options(attempts=1).worklogs.get("1")
    [*calls] = asked(tracket_responses)
    assert calls
    assert all("X-Team" not in headers for _, headers in calls)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"authorization": CANARY}, r"header authorization belongs to the client.*auth"),
        ({"Host": CANARY}, "belongs to the client.*base_url"),
        ({"Content-Length": CANARY}, "belongs to the client.*Leave it out"),
        ({"CONTENT-TYPE": CANARY}, "belongs to the client.*Leave it out"),
        ({"User-Agent": CANARY}, "belongs to the client.*user_agent"),
        ({"Accept-Encoding": CANARY}, "belongs to the client"),
        ({"X-A": f"{CANARY}\r\nX-B: 2"}, "The header X-A contains a line end"),
        ({"X-A": f"{CANARY}\n"}, "The header X-A begins or ends with white space"),
        ({"X-A": ""}, "The header X-A is empty"),
        ({"X-A": 5}, "The header X-A must be a string, not int"),
        ({"X A": CANARY}, "'X A' is no name of a header"),
        ({"": CANARY}, "'' is no name of a header"),
        ({5: CANARY}, "5 is no name of a header"),
    ],
)
def test_headers_of_the_client_and_malformed_ones_are_refused(headers, message):
    for refused in (lambda: make(headers=headers), lambda: make().with_options(headers=headers)):
        with pytest.raises(ConfigurationError, match=message) as caught:
            refused()
        assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("api", "query", "message"),
    [
        ("1.0", {"cursor": "c"}, "cursor belongs to the client.*arguments of list"),
        ("1.0", {"startDate": "c"}, "startDate belongs"),
        ("2.0", {"after": "c"}, "after belongs"),
        ("2.0", {"size": "5"}, "size belongs"),
        ("2.0", {"sortBy": "date"}, "sortBy belongs"),
        ("2.0", {"fields.date.gte": "c"}, "fields.date.gte belongs"),
        ("2.0", {"tenant": 7}, "'tenant' needs a name and a text"),
        ("2.0", {"": "7"}, "'' needs a name and a text"),
        ("2.0", {7: "7"}, "7 needs a name and a text"),
    ],
)
def test_parameters_of_the_client_are_refused(api, query, message):
    for refused in (lambda: make(api=api, query=query), lambda: make(api=api).with_options(query=query)):
        with pytest.raises(ConfigurationError, match=message):
            refused()


async def test_a_header_that_the_server_echoes_is_in_no_error_and_no_repr(tracket_responses, caplog):
    caplog.set_level("DEBUG")
    echo = f"no team {CANARY}"
    tracket_responses.get(f"{URL}/wl-1", status=403, body=echo, headers={"X-Request-Id": CANARY})
    async with make(headers={"X-Key": CANARY}) as client:
        assert CANARY not in repr(client._context.options)
        with pytest.raises(RequestError) as caught:
            await client.worklogs.get("wl-1")
    assert CANARY not in repr(vars(caught.value)) + str(caught.value) + caplog.text
    assert "no team ***" in caught.value.excerpt


async def test_a_request_of_ones_own_cannot_replace_a_header_of_the_client_either(tracket_responses):
    for api in ("1.0", "2.0"):
        async with make(api=api, headers={"X-Team": "blue"}) as client:
            request = Request("GET", "/api/1.0/x", "/api/1.0/x", headers=(("AUTHORIZATION", "mine"),))
            with pytest.raises(ConfigurationError, match="belongs to the client"):
                await client.send(request, lambda response: response.status)
    assert tracket_responses.requests == {}


class OneAddress(AbstractResolver):
    """Every host is on loopback."""

    def __init__(self):
        self.asked = []
        self.closed = False

    async def resolve(self, host, port=0, family=socket.AF_INET):
        self.asked.append(host)
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": family, "proto": 0, "flags": 0}]

    async def close(self):
        self.closed = True


async def test_a_resolver_of_ones_own_finds_the_server(running):
    resolver = OneAddress()
    async with running(settings={"resolver": resolver}, sample=3) as (emulator, client):
        environ = {**emulator.env(client.api), "TRACKET_BASE_URL": emulator.url.replace("127.0.0.1", "localhost")}
        async with TracketClient.from_env(environ, resolver=resolver) as other:
            assert len((await other.worklogs.list()).items) == 3
    assert set(resolver.asked) == {"localhost"}
    assert not resolver.closed


def test_what_is_no_resolver_is_refused():
    with pytest.raises(ConfigurationError, match=r"must be an aiohttp\.abc\.AbstractResolver, not str"):
        TracketSession("https://tracket.dev", auth=None, resolver="8.8.8.8")
