"""A secret that is sent is seen nowhere else, whatever a server does with it; a session that is left open says so."""

from __future__ import annotations

import asyncio
import gc
import logging
import pickle
import traceback
import warnings

import pytest

from tracket_async._http.auth import BearerToken, ClientCredentials
from tracket_async._http.messages import Request
from tracket_async._http.responses import unreadable
from tracket_async._http.session import DEFAULT_USER_AGENT, TracketSession
from tracket_async._http.transport import without_foreign_frames
from tracket_async.config import RetryPolicy, Timeouts
from tracket_async.errors import (
    BadRequestError,
    ClientStateError,
    RedirectError,
    RequestError,
    TracketError,
    UnreadableResponseError,
)

TOKEN, SECRET = "canary-token-7f3a", "canary-secret-91bc"
POST = Request("POST", "/api/2.0/things", "/api/2.0/things", (("after", "x"),), b'{"a": 1}')


def html(response):
    raise UnreadableResponseError("not JSON", excerpt=response.body.decode("latin-1")[:300])


async def echo(exchange, status):
    """A careless server: it says in its answer everything that it was told."""
    content = (exchange.head + exchange.body.decode()).encode() * 2
    exchange.writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(content), content))
    return True


def echoing(status):
    async def answer(exchange):
        return await echo(exchange, status)

    return answer


async def drop(exchange):
    exchange.reset()


async def hang(_exchange):
    await asyncio.Event().wait()


async def redirect(exchange):
    secret = exchange.headers.get("authorization", exchange.body.decode())
    head = f"HTTP/1.1 307 X\r\nLocation: https://evil.example/?{secret}\r\nContent-Length: 0\r\n\r\n"
    exchange.writer.write(head.encode())
    return True


async def issue(exchange):
    content = b'{"access_token": "%b"}' % TOKEN.encode()
    exchange.writer.write(b"HTTP/1.1 200 X\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content))
    return True


ANSWERS = {
    "an echo as 200": echoing(200),
    "an echo as 400": echoing(400),
    "an echo as 401": echoing(401),
    "an echo as 404": echoing(404),
    "an echo as 500": echoing(500),
    "a reset": drop,
    "silence": hang,
    "a redirect": redirect,
    "no HTTP": b"SSH-2.0 canary\r\n\r\n",
    "a cut body": (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "close"),
}


def everything_about(error):
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(
        [str(error), repr(error), repr(error.args), repr(error.__dict__), *told.format(), repr(pickle.dumps(error))]
    )


@pytest.mark.parametrize(
    "auth", [BearerToken(TOKEN), ClientCredentials("id", SECRET, "5")], ids=["token", "credentials"]
)
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("at", ["api", "token call"])
async def test_a_secret_is_seen_nowhere(no_leaks, server, caplog, answer, auth, at):
    caplog.set_level(logging.DEBUG)
    events, misbehave = [], ANSWERS[answer]

    async def route(exchange):
        bad = exchange.target.endswith("/oauth2/token") == (at == "token call")
        chosen = misbehave if bad else (issue if at == "api" else echoing(200))
        if callable(chosen):
            return await chosen(exchange)
        content, then = chosen if isinstance(chosen, tuple) else (chosen, "close")
        exchange.writer.write(content)
        return then != "close"

    server.answers = [route]
    retry = RetryPolicy(attempts=2, wait_initial=0)
    session = TracketSession(
        server.url, auth=auth, observers=[events.append], retry=retry, timeouts=Timeouts(read=0.05)
    )
    async with session:
        with pytest.raises(RequestError) as caught:
            await session.send(POST, html)
        seen = [everything_about(caught.value), repr(events), caplog.text, repr(session), repr(session.statistics())]
    for secret in (TOKEN, SECRET):
        assert secret not in "".join(seen)
    assert caught.value.__context__ is None or isinstance(caught.value.__context__, TracketError)


async def test_a_redirect_is_refused_with_the_address_and_nothing_of_its_path(no_leaks, server):
    server.answers = [redirect]
    async with TracketSession(server.url, auth=BearerToken(TOKEN)) as session:
        with pytest.raises(RedirectError, match=r"https://evil\.example") as caught:
            await session.send(POST, html)
    assert caught.value.status == 307
    assert len(server.received) == 1


async def test_the_token_call_follows_no_redirect(no_leaks, server):
    """aiohttp would send the body, and with it the client secret, to another host."""
    server.answers = [redirect]
    async with TracketSession(server.url, auth=ClientCredentials("id", SECRET, "5")) as session:
        with pytest.raises(RedirectError):
            await session.send(POST, html)
    assert [exchange.target for exchange in server.received] == ["/api/2.0/oauth2/token"]


async def test_a_session_that_is_left_open_says_so(server, get, http):
    server.answers = [http()]

    async def careless():
        session = await TracketSession(server.url, auth=None).__aenter__()
        await session.send(get, lambda response: response.body)

    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    texts = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        await careless()
        for _ in range(3):  # a warning keeps what it is about, and aiohttp's parts warn one after the other
            gc.collect()
            texts += [str(warning.message) for warning in warned]
            warned.clear()
            await asyncio.sleep(0)
    assert "Unclosed <TracketSession" in texts[0]
    assert "aclose()" in texts[0]


async def test_a_session_that_is_closed_or_was_never_open_says_nothing(server):
    async with TracketSession(server.url, auth=None):
        pass
    TracketSession(server.url, auth=None)
    with pytest.raises(TracketError):
        TracketSession("nonsense", auth=None)
    gc.collect()


async def test_the_user_agent_names_the_version(server, get, http):
    server.answers = [http()]
    async with TracketSession(server.url, auth=None) as session:
        await session.send(get, lambda response: response.body)
    async with TracketSession(server.url, auth=None, user_agent="mine/2") as session:
        await session.send(get, lambda response: response.body)
    agents = [exchange.headers["user-agent"] for exchange in server.received]
    assert agents == [DEFAULT_USER_AGENT, "mine/2"]
    assert agents[0].startswith("tracket-async/")


async def test_it_works_with_aioresponses(tracket_responses, get):
    """What a user of this package who tests with aioresponses relies on."""
    tracket_responses.get("https://tracket.dev/api/2.0/things", payload={"a": 1}, headers={"X-Request-Id": "r-1"})
    tracket_responses.get("https://tracket.dev/api/2.0/things", status=503, repeat=True)
    async with TracketSession("https://tracket.dev", auth=None, retry=RetryPolicy(wait_initial=0)) as session:
        response = await session.send(get, lambda response: response)
        assert (response.body, response.headers["x-request-id"]) == (b'{"a": 1}', "r-1")
        with pytest.raises(RequestError) as caught:
            await session.send(get, lambda response: response)
    assert (caught.value.status, caught.value.attempts) == (503, 4)


# -- what crash reports show: the locals of every frame of every exception of the chain -------------------------------


async def in_its_body(exchange):
    """Echo everything, and stop in the middle."""
    content = exchange.head + exchange.body.decode()
    head = f"HTTP/1.1 200 X\r\nX-Echo: {exchange.headers.get('authorization', '')}\r\nContent-Length: 10000\r\n\r\n"
    exchange.writer.write((head + content).encode())
    await asyncio.Event().wait()


async def in_an_errors_body(exchange):
    content = exchange.head + exchange.body.decode()
    exchange.writer.write(f"HTTP/1.1 500 X\r\nContent-Length: 10000\r\n\r\n{content}".encode())
    await asyncio.Event().wait()


STAGES = {"before the answer": hang, "in the body": in_its_body, "in an error's body": in_an_errors_body}
CREDENTIALS = {"token": BearerToken(TOKEN), "credentials": ClientCredentials("id", SECRET, "5")}


async def ended(session, how, ready):
    """The exception with which a call ends that is interrupted once it is ready."""
    try:
        async with asyncio.timeout(None) as timeout:
            call = asyncio.ensure_future(session.send(POST, html)) if how == "a cancellation" else None

            async def interrupt():
                await ready.wait()
                for _ in range(10):
                    await asyncio.sleep(0)
                if how == "a timeout":
                    timeout.reschedule(asyncio.get_running_loop().time())
                elif how == "a close":
                    await session.aclose()
                else:
                    call.cancel()

            interrupting = asyncio.create_task(interrupt())
            await (session.send(POST, html) if call is None else call)
    except (TimeoutError, asyncio.CancelledError, ClientStateError) as error:
        await interrupting
        return error


@pytest.mark.parametrize("auth", CREDENTIALS)
@pytest.mark.parametrize("how", ["a timeout", "a cancellation", "a close"])
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("at", ["api", "token call"])
async def test_no_frame_of_an_interrupted_call_holds_a_secret(no_leaks, server, auth, how, stage, at):
    ready = asyncio.Event()

    async def route(exchange):
        if at == "api" and exchange.target.endswith("/oauth2/token"):
            return await issue(exchange)
        ready.set()
        return await STAGES[stage](exchange)

    server.answers = [route]
    async with TracketSession(server.url, auth=CREDENTIALS[auth], retry=RetryPolicy(attempts=1)) as session:
        error = await ended(session, how, ready)
        assert type(error) is {"a timeout": TimeoutError, "a close": ClientStateError}.get(how, asyncio.CancelledError)
        told = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        for secret in (TOKEN, SECRET):
            assert secret not in told
        assert "aiohttp" not in "".join(line for line in told.splitlines() if line.startswith('  File "'))
    del error


async def test_a_cancellation_keeps_the_callers_own_context(server):
    server.answers = [hang]

    async def calling():
        try:
            int("of the caller")
        except ValueError:
            await session.send(POST, html)

    async with TracketSession(server.url, auth=None) as session:
        call = asyncio.create_task(calling())
        while not server.received:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await call
    assert "of the caller" in str(caught.value.__context__)
    assert caught.value.__context__.__traceback__ is not None


def test_what_aiohttp_was_handling_is_no_context():
    space = {"__name__": "aiohttp.something", "asyncio": asyncio}
    exec(  # a frame of aiohttp's
        "def work():\n"
        "    headers = 'Bearer'\n"
        "    try:\n"
        "        raise OSError\n"
        "    except OSError:\n"
        "        try:\n"
        "            raise KeyError\n"
        "        except KeyError:\n"
        "            raise asyncio.CancelledError\n",
        space,
    )
    try:
        int("of the caller")
    except ValueError:
        with pytest.raises(asyncio.CancelledError) as caught:
            space["work"]()
    error = without_foreign_frames(caught.value)
    assert error.__traceback__ is None
    assert type(error.__context__) is ValueError


async def test_a_mistake_keeps_the_frames_of_ours(server, monkeypatch):
    async with TracketSession(server.url, auth=BearerToken(TOKEN)) as session:

        def fail(*_args, **_settings):
            raise ZeroDivisionError

        monkeypatch.setattr("aiohttp.connector.TCPConnector.connect", fail)
        with pytest.raises(ZeroDivisionError) as caught:
            await session.send(POST, html)
        told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        assert TOKEN not in "".join(told.format())
        assert told.stack[-1].name == "send"


@pytest.mark.parametrize("before", range(180, 206, 3))
@pytest.mark.parametrize("status", [200, 400, 500])
async def test_half_a_secret_is_not_shown_either(server, http, status, before):
    """The excerpt ends in the middle of the token."""
    server.answers = [http(status, b"x " * (before // 2) + TOKEN.encode())]

    def unread(response):
        raise unreadable(response)

    async with TracketSession(server.url, auth=BearerToken(TOKEN), retry=RetryPolicy(attempts=1)) as session:
        with pytest.raises(RequestError) as caught:
            await session.send(POST, unread)
    assert "x x" in caught.value.excerpt
    assert not any(TOKEN[:size] in str(caught.value) for size in range(4, len(TOKEN)))


@pytest.mark.parametrize("header", ["X-Request-Id", "Location"])
@pytest.mark.parametrize("at", ["api", "token call"])
async def test_half_a_secret_in_a_header_is_not_shown_either(server, http, header, at):
    secret = TOKEN if at == "api" else SECRET

    async def route(exchange):
        if at == "api" and exchange.target.endswith("/oauth2/token"):
            return await issue(exchange)
        value = "https://" + "a" * 112 + secret if header == "Location" else "a" * 118 + secret
        exchange.writer.write(http(307, b"", **{header: value}))
        return True

    server.answers = [route]
    auth = CREDENTIALS["token" if at == "api" else "credentials"]
    async with TracketSession(server.url, auth=auth) as session:
        with pytest.raises(RequestError) as caught:
            await session.send(POST, html)
    assert "aaa" in str(caught.value)
    assert not any(secret[:size] in str(caught.value) for size in range(4, len(secret)))


async def test_half_a_secret_in_a_fields_name_is_not_shown_either(server, http):
    server.answers = [http(400, b'{"field": "' + b"a" * 118 + TOKEN.encode() + b'"}')]
    async with TracketSession(server.url, auth=BearerToken(TOKEN)) as session:
        with pytest.raises(BadRequestError, match="aaa") as caught:
            await session.send(POST, html)
    assert caught.value.field == "a" * 118 + "***"
