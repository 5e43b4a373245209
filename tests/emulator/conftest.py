"""What the emulator's tests share: a server of one's own, a plain client, a clock that is turned by hand."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from types import SimpleNamespace

import aiohttp
import pytest

from tracket_async.emulator import Emulator


class Clock:
    """Seconds that pass when a test says so; sleeping on it takes no time and is written down."""

    def __init__(self):
        self.seconds = 1_800_000_000.0
        self.slept = []

    def __call__(self):
        return self.seconds

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)


class Http:
    """A client without any cleverness: no retries of its own, no redirects, what came is what is shown."""

    def __init__(self, emulator, session):
        self._emulator = emulator
        self._session = session

    async def __call__(self, method, path, *, body=None, token=None, raw=None, headers=None, **query):
        send = {"Authorization": f"Bearer {self._emulator.token if token is None else token}", **(headers or {})}
        if raw is not None:
            send.setdefault("Content-Type", "application/json")
        url = self._emulator.url + path
        more = {"json": body} if body is not None else {"data": raw} if raw is not None else {}
        async with self._session.request(
            method, url, params=query or None, headers=send, allow_redirects=False, **more
        ) as response:
            content = await response.read()
            value = json.loads(content) if content and response.content_type == "application/json" else None
            return SimpleNamespace(
                status=response.status, body=content, headers=response.headers, json=value, error=(value or {})
            )

    async def walk(self, path, rows, cursor, after, **query):
        """Every row of every page, as a naive client collects them."""
        seen = []
        while True:
            page = (await self("GET", path, **query)).json
            seen += page[rows]
            if after not in page:
                return seen
            query[cursor] = page[after]

    async def walk_v1(self, **query):
        return await self.walk("/api/1.0/worklogs", "worklogs", "cursor", "next-cursor", **query)

    async def walk_v2(self, **query):
        return await self.walk("/api/2.0/timeEntries", "items", "after", "nextCursor", **query)


@pytest.fixture
def until():
    """Lets the loop turn until something is so; the test's time limit is what ends it otherwise."""

    async def turn(condition):
        while not condition():  # noqa: ASYNC110 -- there is no event for what a server has noticed
            await asyncio.sleep(0)

    return turn


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def serve():
    """Starts emulators that stop with the test."""
    async with AsyncExitStack() as stack:

        async def start(**settings):
            return await stack.enter_async_context(Emulator(**settings))

        yield start


@pytest.fixture
async def connect():
    """Makes plain clients that are closed with the test."""
    async with AsyncExitStack() as stack:

        async def client(emulator):
            session = aiohttp.ClientSession()
            # aiohttp would send idempotent requests again when a kept-alive connection drops
            session._retry_connection = False
            await stack.enter_async_context(session)
            return Http(emulator, session)

        yield client


@pytest.fixture
async def raw():
    """Sends a request's bytes and gives back all bytes until the server ends the connection."""

    async def exchange(emulator, method="GET", path="/api/2.0/timeEntries", body=b"", headers=()):
        host, port = emulator.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {host}",
            f"Content-Length: {len(body)}",
            "Content-Type: application/json",
            *headers,
            f"Authorization: Bearer {emulator.token}",  # the first of that name counts
        ]
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            received = await reader.read()
        finally:
            writer.close()
        head, _, rest = received.partition(b"\r\n\r\n")
        status, *header_lines = head.decode("latin-1").split("\r\n")
        found = {}
        for line in header_lines:
            name, _, value = line.partition(": ")
            found[name.lower()] = value
        return SimpleNamespace(status=status, headers=found, body=rest, all=received)

    return exchange


def worklog(number=1, **changes):
    """A worklog of the 1.0 shape; the number makes its id and its date."""
    return {
        "worklogId": f"w{number:04d}",
        "itemId": "111",
        "userId": "222",
        "worklogDate": f"2024-03-{1 + (number - 1) % 28:02d}T08:00:00.000Z",
        "worklogMinutes": 60,
        "createdDate": "2024-04-01T00:00:00.000Z",
        **changes,
    }


@pytest.fixture(name="worklog")
def make_worklog():
    return worklog


NEW_V1 = {"itemId": "111", "userId": "222", "worklogDate": "2024-10-22T18:45:31.370Z", "worklogMinutes": 90}
NEW_V2 = {"item": "111", "user": "222", "date": "2024-10-22", "minutes": 90}


@pytest.fixture
def new_v1():
    return dict(NEW_V1)


@pytest.fixture
def new_v2():
    return dict(NEW_V2)
