"""Secrets go to the server and nowhere else, whatever goes wrong: through the client, its stores and its command."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
import os
import pickle
import stat
import sys
import traceback

import pytest

from tracket_async import (
    BearerToken,
    ClientCredentials,
    ConfigurationError,
    Limits,
    NewWorklog,
    RequestError,
    ResponseTooLargeError,
    Timeouts,
    TracketClient,
    TracketError,
    UsageError,
    WorklogChanges,
)
from tracket_async.emulator import Emulator, faults
from tracket_async.export.run import export_to_store, request_of
from tracket_async.export.store import Store
from tracket_async.instrumentation import LoggingObserver

TOKEN, SECRET, CLIENT = "canary-token-5e1f", "canary-secret-88d0", "canary-client-77aa"
NEW = NewWorklog(item_id="i", user_id="u", date=dt.date(2024, 5, 6), minutes=1)
ECHO = json.dumps({"error": f"Bearer {TOKEN} {SECRET}", "token": TOKEN, "client_secret": SECRET})
BROKEN = [
    faults.Status(400, body=ECHO),
    faults.Status(401, body=ECHO),
    faults.Status(403, body=ECHO),
    faults.Status(404, body=ECHO),
    faults.Status(429, body=ECHO, retry_after="9999"),
    faults.Status(500, body=ECHO),
    faults.Status(200, body=ECHO),
    faults.Status(200, body=f"<html>{TOKEN} {SECRET}", content_type="text/html"),
    faults.Status(502, body=f"<html>{TOKEN} {SECRET}", content_type="text/html"),
    faults.Redirect(f"https://elsewhere.example/?token={TOKEN}&secret={SECRET}"),
    faults.Reset(),
    faults.Truncate(),
    faults.Hang(),
]
KINDS = [f"{number} {fault.kind}" for number, fault in enumerate(BROKEN)]
CREDENTIALS = {"token": BearerToken(TOKEN), "client credentials": ClientCredentials(CLIENT, SECRET, "5")}


def has_canary(*seen, secrets=(TOKEN, SECRET)):
    return any(secret in one for one in seen for secret in secrets)


def everything_about(error, *, with_locals=True):
    # Without the first frame, which is that of the test and knows the canary.
    frames = error.__traceback__.tb_next
    told = traceback.TracebackException(type(error), error, frames, capture_locals=with_locals)
    return "".join([str(error), repr(error), repr(error.__dict__), *told.format()])


def served(**settings):
    return Emulator(token=TOKEN, client_secret=SECRET, client_id=CLIENT, account_id="5", **settings)


@pytest.mark.parametrize("auth", CREDENTIALS)
@pytest.mark.parametrize("fault", BROKEN, ids=KINDS)
async def test_a_canary_is_in_no_log_repr_traceback_event_or_pickle(running, caplog, api, auth, fault):
    caplog.set_level(logging.DEBUG)
    events = []
    # A client can recognise the secret that it was given, and no stranger's.
    secrets = [TOKEN] if auth == "token" else [SECRET]
    # The variables of what reads an answer hold that answer, and here it is an echo of the secret.
    is_read = getattr(fault, "status", None) == 200
    hasty = Timeouts(read=0.05, attempt=0.2, total=5)
    settings = {"auth": CREDENTIALS[auth], "observers": [events.append, LoggingObserver()], "timeouts": hasty}
    emulating = {"token": TOKEN, "client_secret": SECRET, "client_id": CLIENT, "account_id": "5", "sample": 5}
    async with running(settings=settings, **emulating) as (emulator, client):
        emulator.faults.add(fault)
        worklogs = client.with_options(attempts=2).worklogs
        calls = [worklogs.list, lambda: worklogs.get("1"), lambda: worklogs.create(NEW)]
        for call in calls:
            with pytest.raises(RequestError) as caught:
                await call()
            told = everything_about(caught.value, with_locals=not is_read)
            assert not has_canary(told, secrets=secrets)
            copy = pickle.loads(pickle.dumps(caught.value))
            assert str(copy) == str(caught.value)
            assert not has_canary(repr(pickle.dumps(caught.value)), secrets=secrets)
            assert caught.value.__context__ is None or isinstance(caught.value.__context__, TracketError)
        assert events
        seen = [repr(events), caplog.text, repr(client), repr(client.statistics()), repr(settings)]
        assert not has_canary(*seen, secrets=secrets)


async def test_a_canary_is_in_no_store(running, tmp_path, route):
    emulating = {"token": TOKEN, "client_secret": SECRET, "client_id": CLIENT, "account_id": "5", "sample": 200}
    async with running(**emulating) as (emulator, client):
        with Store(tmp_path / "store", request=request_of(client)) as store:
            emulator.faults.add(faults.Status(400, body=ECHO), route=route, nth=2)
            with pytest.raises(RequestError):
                await export_to_store(client, store)
            emulator.faults.clear()
            await export_to_store(client, store)
        for path in tmp_path.iterdir():
            content = path.read_bytes()
            assert TOKEN.encode() not in content
            assert SECRET.encode() not in content
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def tracket(environment, *arguments):
    """What the command writes to both streams."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tracket_async.cli", *arguments),
        env={k: v for k, v in os.environ.items() if not k.startswith("TRACKET_")} | environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, (out + err).decode()


@pytest.mark.parametrize("fault", [BROKEN[0], BROKEN[1], BROKEN[7], BROKEN[9]], ids=lambda fault: fault.kind)
async def test_a_canary_is_in_no_output_of_the_command_however_much_it_is_asked_to_tell(fault):
    async with served(sample=5) as emulator:
        emulator.faults.add(fault)
        code, told = await tracket(emulator.env(), "list", "--debug")
        assert code != 0
        assert "Traceback" in told
        assert not has_canary(told)


async def test_ids_cannot_leave_their_path(running):
    async with running() as (emulator, client):
        for one in ("..", "../../admin", "a/b", "a?b", "a#b", "", "%2e%2e"):
            with pytest.raises(UsageError):
                await client.worklogs.get(one)
        assert len(emulator.request_log) == 0


@pytest.mark.parametrize("url", ["http://tracket.dev", "http://192.168.0.1", "https://u:p@tracket.dev", "ftp://x"])
def test_an_address_without_tls_is_refused_unless_it_is_this_machine(url):
    with pytest.raises(ConfigurationError):
        TracketClient(auth=BearerToken(TOKEN), base_url=url)
    TracketClient(auth=BearerToken(TOKEN), base_url="http://127.0.0.1:1")


@pytest.mark.parametrize("bad", ["a\rb", "a\nb", "a\0b", "a\r\nX-Evil: 1"])
def test_a_header_takes_no_line_breaks_and_shows_none_of_what_it_refuses(bad):
    for make in (lambda: BearerToken(bad), lambda: TracketClient(auth=None, user_agent=bad)):
        with pytest.raises(ConfigurationError) as caught:
            make()
        assert bad not in str(caught.value)


async def test_a_bomb_is_not_unpacked_beyond_the_cap(running):
    async with running(settings={"limits": Limits(max_response_bytes=1 << 20)}) as (emulator, client):
        emulator.faults.add(faults.HugeBody(size=64 << 20, gzip=True), method="GET")
        with pytest.raises(ResponseTooLargeError):
            await client.worklogs.list()


async def test_cookies_are_not_kept_and_no_redirect_is_followed(running, route):
    async with running() as (emulator, client):
        emulator.faults.add(faults.Status(400, headers={"Set-Cookie": "a=b"}), route=route, nth=1)
        emulator.faults.add(faults.Redirect(emulator.url + "/api/1.0/worklogs"), route=route, nth=2)
        for _ in range(2):
            with pytest.raises(RequestError):
                await client.worklogs.list()
        assert emulator.request_log.count(route=route) == 2


async def take(iteration):
    """Iterate to the end; give the errors that outcomes hold."""
    return [error async for each in iteration if (error := getattr(each, "error", None)) is not None]


INTERRUPTED = {
    "get": lambda worklogs: worklogs.get("w1"),
    "update": lambda worklogs: worklogs.update("w1", WorklogChanges(minutes=2)),
    "create": lambda worklogs: worklogs.create(NEW),
    "first page": lambda worklogs: worklogs.list(),
    "list": lambda worklogs: take(worklogs.list()),
    "pages": lambda worklogs: take(worklogs.list(read_ahead=0).pages()),
    "export": lambda worklogs: take(worklogs.export(concurrency=3)),
    "export, in order": lambda worklogs: take(worklogs.export(concurrency=3, ordered=True)),
    "table": lambda worklogs: worklogs.table(),
    "create_many": lambda worklogs: take(worklogs.create_many([NEW] * 3, on_error="collect")),
    "create_many, reconciled": lambda worklogs: take(worklogs.create_many([NEW] * 3, reconcile=True)),
    "update_many": lambda worklogs: take(worklogs.update_many([("w1", WorklogChanges(minutes=2))] * 3)),
    "delete_many": lambda worklogs: take(worklogs.delete_many(["w1", "w2"])),
    "drain": lambda worklogs: worklogs.create_many([NEW] * 3).drain(grace=0),
}


async def interrupted(client, call, how, ready):
    """What a call raises, or what its outcomes hold, when it is interrupted once it is ready."""

    async def waiting():
        return await call

    task = asyncio.create_task(waiting())
    await ready.wait()
    for _ in range(10):
        await asyncio.sleep(0)
    if how == "a close":
        await client.aclose()
    elif how == "a cancellation":
        task.cancel()
    try:
        async with asyncio.timeout(0 if how == "a timeout" else None):
            return await task or []
    except (TimeoutError, asyncio.CancelledError, TracketError) as error:
        return [error]


@pytest.mark.parametrize("api", ["1.0", "2.0"])
@pytest.mark.parametrize("how", ["a timeout", "a cancellation", "a close"])
@pytest.mark.parametrize("name", INTERRUPTED)
async def test_no_frame_of_anything_that_is_interrupted_holds_a_secret(api, name, how, caplog):
    """A crash report shows the locals of every frame of every exception of the chain."""
    ready = asyncio.Event()
    async with served(sample=300) as emulator:
        emulator.faults.add(
            lambda request: faults.Call(lambda _: ready.set()) if "oauth2" not in request.path else None
        )
        emulator.faults.add(lambda request: faults.Hang() if "oauth2" not in request.path else None)
        async with TracketClient.from_env(emulator.env(api), timeouts=Timeouts(total=None)) as client:
            errors = await interrupted(client, INTERRUPTED[name](client.worklogs), how, ready)
    told = [
        "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format()) for error in errors
    ]
    assert errors or how == "a close"
    assert not has_canary(*told, caplog.text)
    assert "aiohttp" not in "".join(line for one in told for line in one.splitlines() if line.startswith('  File "'))
