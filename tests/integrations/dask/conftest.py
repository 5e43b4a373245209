"""Servers, clients and folders for the tests of exports in parts; no `distributed` is needed."""

from __future__ import annotations

import datetime as dt
import hashlib
from contextlib import asynccontextmanager

import pytest

from tracket_async._http.auth import BearerToken
from tracket_async.client import TracketClient
from tracket_async.config import RetryPolicy
from tracket_async.emulator import Emulator
from tracket_async.export.run import export_to_files, request_of
from tracket_async.integrations.dask import merge as merging
from tracket_async.integrations.dask import plan as planning
from tracket_async.integrations.dask.part import write_part

FORMATS = ("ndjson", "csv", "parquet")
HASTE = RetryPolicy(attempts=3, wait_initial=0, wait_initial_rate_limited=0, wait_jitter=0)


@pytest.fixture(params=["1.0", "2.0"])
def api(request):
    return request.param


@pytest.fixture
def launch():
    """``async with launch(version, sample=...) as (emulator, client)``."""

    @asynccontextmanager
    async def run(version, **settings):
        async with Emulator(**settings) as emulator:
            client = TracketClient(auth=BearerToken(emulator.token), api=version, base_url=emulator.url, retry=HASTE)
            async with client:
                yield emulator, client

    return run


@pytest.fixture
def parts_folder(tmp_path):
    """The folder of an export, locked."""
    with planning.locked_folder(tmp_path / "parts"):
        yield tmp_path / "parts"


@pytest.fixture
def some_worklogs():
    """Worklogs of the 1.0 shape; the date of each is so many hours after that of the one before."""

    def make(count, hours=9):
        first = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
        return [
            {
                "worklogId": f"wl-{number:05}",
                "itemId": f"item-{number % 7}",
                "userId": f"u-{number % 5}",
                "worklogDate": f"{first + dt.timedelta(hours=number * hours):%Y-%m-%dT%H:%M:%S}.000Z",
                "worklogMinutes": number % 480,
                "createdDate": "2024-01-01T00:00:00.000Z",
            }
            for number in range(count)
        ]

    return make


@pytest.fixture
def digests():
    """The SHA-256 of each file that an export has written in a folder."""
    return lambda folder: {name: hashlib.sha256((folder / f"out.{name}").read_bytes()).hexdigest() for name in FORMATS}


@pytest.fixture
def whole(tmp_path, digests):
    """An export by one machine; its result and the digests of its files."""

    async def export(client, settings=None, **bounds):
        folder = tmp_path / "whole"
        folder.mkdir(exist_ok=True)
        targets = {folder / f"out.{name}": name for name in FORMATS}
        result = await export_to_files(client, targets, request_of(client, **bounds), settings)
        return result, digests(folder)

    return export


@pytest.fixture
def in_parts(tmp_path, parts_folder, digests):
    """The same in parts, by one process; ``meanwhile`` is called with the number of each part that is written."""

    async def export(client, rows_per_part, settings=None, *, meanwhile=lambda _number: None, keep=False, **bounds):
        request = request_of(client, **bounds)
        plan = await planning.begin(client, request, parts_folder, rows_per_part=rows_per_part)
        for part in plan.parts:
            await write_part(client, plan, part.number, parts_folder)
            meanwhile(part.number)
        targets = {tmp_path / f"out.{name}": name for name in FORMATS}
        result = await merging.merge(client, plan, parts_folder, targets, settings, keep_parts=keep)
        return result, digests(tmp_path)

    return export
