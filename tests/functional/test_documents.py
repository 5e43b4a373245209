"""Run the code of docs/pages/how-to/client.md."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from pathlib import Path

import pytest
from aiohttp import ThreadedResolver

from tracket_async import LearnedRate, Limits, TokenSource, TracketClient

DOCUMENT = (Path(__file__).parents[2] / "docs" / "pages" / "how-to" / "client.md").read_text(encoding="utf-8")
NAMES = {
    **{each.__name__: each for each in (LearnedRate, Limits, TokenSource, TracketClient)},
    "AsyncResolver": lambda nameservers: ThreadedResolver(),
    "asyncio": asyncio,
}


@pytest.fixture
def code(tracket_emulator, monkeypatch):
    for name, value in tracket_emulator.env().items():
        monkeypatch.setenv(name, value)
    namespace = dict(NAMES)
    for block in re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL):
        exec(block, namespace)
    return namespace


@pytest.mark.tracket(sample=3)
async def test_headers_go_through_a_gateway(code, tracket_emulator):
    id = tracket_emulator.worklogs()[0]["worklogId"]
    assert (await code["through_a_gateway"](id)).id == id
    received = [dict(request.query) for request in tracket_emulator.request_log if request.method == "GET"]
    assert received == [{"tenant": "7"}, {"tenant": "7"}]


@pytest.mark.tracket(sample=3)
async def test_a_response_stands_beside_its_model(code, tracket_client, tracket_emulator):
    id = tracket_emulator.worklogs()[0]["worklogId"]
    assert re.fullmatch(r"[\d.]+ min, HTTP 200, 1 attempts, \d\.\d{3} s", await code["timed"](tracket_client, id))


@pytest.mark.tracket(sample=3)
async def test_a_resolver_finds_the_server(code):
    assert len((await code["over_a_resolver"]([])).items) == 3


@pytest.mark.tracket(sample=3)
async def test_two_clients_share_a_rate_and_a_token(code, tracket_emulator):
    first, second = await code["together"](dt.date(2000, 1, 1))
    assert first.items == second.items
    assert [request.method for request in tracket_emulator.request_log] == ["POST", "GET", "GET"]
