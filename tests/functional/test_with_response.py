"""The server's response beside the model."""

from __future__ import annotations

import datetime as dt

import pytest

from tracket_async import (
    BearerToken,
    NewWorklog,
    NotFoundError,
    ServerError,
    TracketClient,
    WithResponse,
    WorklogChanges,
)
from tracket_async.emulator import faults

NEW = NewWorklog(item_id="1", user_id="2", date=dt.date(2026, 3, 2), minutes=30)


async def test_each_operation_gives_its_model_and_its_response(running):
    async with running() as (emulator, client):
        created = await client.worklogs.with_response.create(NEW)
        assert isinstance(created, WithResponse)
        id = created.model.id
        got = await client.worklogs.with_response.get(id)
        assert got.model == await client.worklogs.get(id)
        updated = await client.worklogs.with_response.update(id, WorklogChanges(minutes=45))
        assert updated.model.minutes == 45
        deleted = await client.worklogs.with_response.delete(id)
        assert deleted.model.endswith("was deleted.")
        for each in (created, got, updated, deleted):
            assert 200 <= each.status < 300
            assert each.attempts == 1
            assert each.seconds > 0
            assert each.headers["CONTENT-TYPE"].startswith("application/json")
            assert "Content-Type" not in repr(each)
        assert emulator.count == 0


async def test_a_retry_counts_as_an_attempt(running):
    async with running() as (emulator, client):
        id = (await client.worklogs.create(NEW)).id
        emulator.faults.add(faults.Status(503), method="GET", nth=1)
        assert (await client.worklogs.with_response.get(id)).attempts == 2


async def test_a_create_that_is_read_back_has_the_response_of_the_create(tracket_responses):
    url = "https://tracket.dev/api/1.0/worklogs"
    shown = {"worklogId": "wl-1", "userId": "2", "worklogDate": "2026-03-02T00:00:00Z", "worklogMinutes": 30}
    headers = {"Location": "/api/1.0/worklogs/wl-1", "X-Request-Id": "r-1"}
    tracket_responses.post(url, status=201, body="", headers=headers)
    tracket_responses.get(f"{url}/wl-1", payload=shown, headers={"X-Request-Id": "r-2"})
    async with TracketClient(auth=BearerToken("t"), api="1.0") as client:
        created = await client.worklogs.with_response.create(NEW)
    assert (created.model.id, created.status, created.request_id, created.attempts) == ("wl-1", 201, "r-1", 2)


async def test_without_a_request_id_it_is_none_and_errors_are_those_of_the_operation(tracket_responses):
    url = "https://tracket.dev/api/1.0/worklogs"
    tracket_responses.delete(f"{url}/wl-1", status=204)
    tracket_responses.get(f"{url}/wl-1", status=404)
    async with TracketClient(auth=BearerToken("t"), api="1.0") as client:
        deleted = await client.worklogs.with_response.delete("wl-1")
        assert (deleted.model, deleted.status, deleted.request_id) == (None, 204, None)
        with pytest.raises(NotFoundError):
            await client.worklogs.with_response.get("wl-1")


async def test_a_view_keeps_its_settings(running):
    async with running() as (emulator, client):
        id = (await client.worklogs.create(NEW)).id
        emulator.faults.add(faults.Status(503), method="GET", nth=1)
        with pytest.raises(ServerError):
            await client.with_options(attempts=1).worklogs.with_response.get(id)
