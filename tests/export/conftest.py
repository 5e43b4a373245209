"""Worklogs, stores and servers for the tests of the export."""

from __future__ import annotations

import datetime as dt
from contextlib import asynccontextmanager

import pytest

from tracket_async._api.fast import row_of
from tracket_async._http.auth import BearerToken
from tracket_async.client import TracketClient
from tracket_async.config import RetryPolicy
from tracket_async.emulator import Emulator
from tracket_async.export import text
from tracket_async.export.run import request_of
from tracket_async.export.store import ExportRequest, Store
from tracket_async.export.writers import write_file
from tracket_async.frames import arrow_batch
from tracket_async.models import ApprovalStatus, Worklog, WorklogFilter

FIRST = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def make_worklog():
    """A worklog by its number; its date is that many hours after 2024 began."""

    def make(number, **changes):
        standard = {
            "id": f"wl-{number:05}",
            "user_id": "u-1",
            "date": FIRST + dt.timedelta(hours=number),
            "minutes": float(number % 480),
            "item_id": f"item-{number % 7}",
            "description": f"Work no. {number}",
            "category_id": None,
            "created_date": FIRST,
            "updated_date": None,
            "approval_status": ApprovalStatus.OPEN,
            "custom_fields": {"b": "2", "a": "1"} if number % 2 else {},
        }
        return Worklog(**standard | changes)

    return make


@pytest.fixture
def request_2024():
    return ExportRequest(
        api="2.0", origin="http://127.0.0.1:1", account="7", filter=WorklogFilter(since=dt.date(2024, 1, 1), until=None)
    )


@pytest.fixture
def store(tmp_path, request_2024):
    with Store(tmp_path / "store.duckdb", request=request_2024) as opened:
        yield opened


@pytest.fixture
def batch_of():
    """Worklogs as an Arrow batch."""
    return lambda worklogs: arrow_batch([row_of(worklog) for worklog in worklogs])


@pytest.fixture
def deduplicated(store, make_worklog, batch_of):
    """A store with the worklogs of the given numbers, or the given worklogs."""

    def deduplicate(worklogs):
        made = [make_worklog(one) if isinstance(one, int) else one for one in worklogs]
        if made:
            store.append([batch_of(made)], {})
        store.deduplicate()
        return store

    return deduplicate


@pytest.fixture
def ids_in():
    """The ids in a store, sorted."""
    return lambda store: [id_ for (id_,) in store.database.rows("SELECT id FROM worklogs ORDER BY id")]


# Waits that take no time; faults that come in turns can hit one call several times in a row.
HASTE = RetryPolicy(attempts=3, wait_initial=0, wait_initial_rate_limited=0, wait_jitter=0)


@pytest.fixture(params=["1.0", "2.0"])
def api(request):
    return request.param


@pytest.fixture
def launch():
    """``async with launch(version=..., sample=...) as (emulator, client)``; ``client``: more settings of the client."""

    @asynccontextmanager
    async def run(*, version, client=None, **emulator_settings):
        async with Emulator(**emulator_settings) as emulator:
            settings = {"auth": BearerToken(emulator.token), "api": version, "base_url": emulator.url, "retry": HASTE}
            async with TracketClient(**settings | (client or {})) as opened:
                yield emulator, opened

    return run


@pytest.fixture
def running(launch, api):
    """`launch`, on each version in turn."""
    return lambda **settings: launch(**{"version": api} | settings)


@pytest.fixture
def on_1(launch):
    """`launch` on API 1.0."""
    return lambda **settings: launch(version="1.0", **settings)


@pytest.fixture
def on_2(launch):
    """`launch` on API 2.0."""
    return lambda **settings: launch(version="2.0", **settings)


@pytest.fixture
def route(api):
    return "/worklogs" if api == "1.0" else "/timeEntries"


@pytest.fixture
def stored(tmp_path):
    """``with stored(client, since=...) as store``: the store of an export of that client."""

    def open_store(client, name="export.duckdb", **bounds):
        return Store(tmp_path / name, request=request_of(client, **bounds))

    return open_store


@pytest.fixture
def texts_in(tmp_path):
    """What is in a store, worklog by worklog, as the streaming export writes it, sorted."""

    def read(store):
        write_file(store, tmp_path / "texts", "ndjson")
        return sorted((tmp_path / "texts").read_text().splitlines())

    return read


@pytest.fixture
def texts_on():
    """The same of what a server has."""

    async def read(client, **bounds):
        worklogs = [worklog async for worklog in client.worklogs.list(**bounds)]
        return sorted(text.ndjson_encoder()(text.cells_of(worklogs)).decode().splitlines())

    return read


@pytest.fixture
def some_worklog():
    """The 1.0 shape of a worklog by its number; its date is that many hours after 2024 began."""

    def make(number, **changes):
        date = FIRST + dt.timedelta(hours=number)
        return {
            "worklogId": f"wl-{number:05}",
            "itemId": f"item-{number % 7}",
            "userId": "u-1",
            "worklogDate": f"{date:%Y-%m-%dT%H:%M:%S}.000Z",
            "worklogMinutes": number % 480,
            "createdDate": "2024-01-01T00:00:00.000Z",
        } | changes

    return make
