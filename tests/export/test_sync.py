"""A store that is kept up to date."""

from __future__ import annotations

import datetime as dt
from contextlib import asynccontextmanager

import pytest

from tracket_async.changes import OVERLAP
from tracket_async.emulator import faults
from tracket_async.errors import PermissionDeniedError
from tracket_async.export.phases import Settings
from tracket_async.export.progress import SyncResult
from tracket_async.export.run import export_to_store
from tracket_async.export.store import ChangeCounts
from tracket_async.export.sync import DateBounds, sync_store

HOUR = 3600


class Server:
    """An emulator whose clock is set, and the store of a client of it."""

    def __init__(self, emulator, client, store, time):
        self.emulator, self.client, self.store, self.time = emulator, client, store, time

    def stir(self, name):
        """A creation, two changes, a move."""
        self.emulator.create(
            {"itemId": name, "userId": "u", "worklogDate": "2024-01-02T00:00:00.000Z", "worklogMinutes": 5}
        )
        self.emulator.update("wl-00001", {"worklogMinutes": 111})
        self.emulator.update("wl-00002", {"description": name})
        self.emulator.update("wl-00003", {"worklogDate": "2024-01-09T00:00:00.000Z"})

    async def sync(self, **choices):
        return await sync_store(self.client, self.store, **choices)


@pytest.fixture
def serve(launch, stored, some_worklog):
    """``async with serve(version=...) as it``, exported; its time is the 2024-01-10, after all worklogs."""

    @asynccontextmanager
    async def run(count=200, *, version, bounds=None):
        time = [dt.datetime(2024, 1, 10, tzinfo=dt.UTC).timestamp()]
        seed = [some_worklog(number) for number in range(count)]
        async with launch(version=version, seed=seed, wall=lambda: time[0]) as (emulator, client):
            with stored(client, **bounds or {}) as store:
                await export_to_store(client, store)
                time[0] += HOUR
                yield Server(emulator, client, store, time)

    return run


@pytest.fixture
def server(serve, api):
    """`serve`, on each version in turn."""
    return lambda *args, **settings: serve(*args, version=api, **settings)


async def test_a_sync_makes_the_store_equal_to_the_server_and_the_next_changes_nothing(server, texts_in, texts_on):
    async with server() as it:
        for name in ("first", "second"):
            it.stir(name)
            result = await it.sync()
            assert (result.changes.added, result.changes.changed) == (1, 3)
            assert texts_in(it.store) == await texts_on(it.client)
            again = await it.sync()
            assert (again.changes.different, again.gone) == (0, 0)
            it.time[0] += HOUR
    assert result.worklogs == 202


async def test_running_it_twice_leaves_every_row_where_it_was(server):
    async with server() as it:
        it.stir("x")
        await it.sync()
        rows = it.store.database.rows("SELECT rowid, id FROM tracket.rows ORDER BY rowid")
        await it.sync()
        await it.sync()
        assert it.store.database.rows("SELECT rowid, id FROM tracket.rows ORDER BY rowid") == rows


async def test_a_sync_on_2_asks_for_what_changed_since_the_newest_change_of_the_last_one(serve):
    async with serve(version="2.0") as it:
        it.emulator.update("wl-00001", {"worklogMinutes": 111})
        newest = dt.datetime.fromtimestamp(it.time[0], dt.UTC)
        it.time[0] += HOUR
        await it.sync()
        it.time[0] += 30 * 86400
        it.emulator.request_log.clear()
        result = await it.sync()
        assert result == SyncResult(
            worklogs=200, total=200, verdict="verified", changes=ChangeCounts(unchanged=1), doubt=None, since=None
        )
        asked = [entry.query for entry in it.emulator.request_log if "fields.updatedDate.gte" in entry.query]
        assert len(asked) == 1
        assert dt.datetime.fromisoformat(asked[0]["fields.updatedDate.gte"]) == newest - OVERLAP
        assert len(it.emulator.request_log.entries) == 5


@pytest.mark.parametrize("days", [-1, 1])
async def test_an_edit_is_fetched_though_the_date_header_is_of_another_clock(serve, days, texts_in, texts_on):
    async with serve(version="2.0") as it:
        it.emulator.faults.add(faults.ClockSkew(days * 86400))
        for minutes in (111, 222):
            it.emulator.update("wl-00001", {"worklogMinutes": minutes})
            assert (await it.sync()).changes.changed == 1
            it.time[0] += HOUR
        assert texts_in(it.store) == await texts_on(it.client)


async def test_a_change_within_the_overlap_is_still_met(serve):
    async with serve(version="2.0") as it:
        await it.sync()
        synced = it.time[0]
        it.time[0] = synced - OVERLAP.total_seconds()
        it.emulator.update("wl-00001", {"worklogMinutes": 333})  # a write that took its time to be seen
        it.time[0] = synced + HOUR
        assert (await it.sync()).changes.changed == 1


async def test_a_sync_that_failed_is_made_up_for_by_the_next(server, route, texts_in, texts_on):
    async with server() as it:
        it.stir("x")
        it.emulator.faults.add(faults.Status(403), route=route, nth=3)
        with pytest.raises(PermissionDeniedError):
            await it.sync()
        it.time[0] += 30 * HOUR
        await it.sync(lookback=dt.timedelta(days=20))
        assert texts_in(it.store) == await texts_on(it.client)


async def test_deletions_are_found_by_the_numbers_on_2_and_healed_in_the_same_run(serve, texts_in, texts_on):
    async with serve(version="2.0") as it:
        for id_ in ("wl-00005", "wl-00150"):
            it.emulator.delete(id_)
        it.emulator.update("wl-00006", {"worklogMinutes": 111})
        result = await it.sync()
        assert (result.verdict, result.worklogs, result.total) == ("verified", 198, 198)
        assert (result.gone, result.changes.changed, result.changes.removed) == (2, 1, 0)
        assert it.store.tombstones() == 2
        assert texts_in(it.store) == await texts_on(it.client)
        [(found,)] = it.store.database.rows("SELECT max(epoch(found)) FROM tracket.tombstones")
        assert found == it.time[0]
        assert (await it.sync()).gone == 0


async def test_a_reconciliation_finds_what_the_numbers_hide(serve, texts_in, texts_on):
    async with serve(version="2.0") as it:
        it.emulator.update("wl-00006", {"worklogMinutes": 111})
        await it.sync()
        it.store.database.execute("UPDATE tracket.rows SET minutes = 1 WHERE id = 'wl-00005'")
        assert (await it.sync()).verdict == "verified"
        result = await it.sync(reconcile=DateBounds(since=dt.date(2024, 1, 1), until=dt.date(2024, 1, 1)))
        assert (result.verdict, result.total, result.changes.changed, result.gone) == ("verified", 200, 1, 0)
        assert texts_in(it.store) == await texts_on(it.client)


async def delete(it, count):
    for number in range(count):
        it.emulator.delete(f"wl-{number:05}")


@pytest.mark.parametrize(("count", "gone", "verdict"), [(400, 20, "verified"), (400, 21, "not verified")])
async def test_more_than_20_worklogs_that_are_gone_have_to_be_accepted(serve, count, gone, verdict):
    async with serve(count, version="2.0") as it:
        await delete(it, gone)
        result = await it.sync()
        assert (result.verdict, result.total) == (verdict, count - gone)


async def test_at_most_5_percent_that_are_gone_need_not_be_accepted(serve):
    async with serve(500, version="2.0") as it:
        await delete(it, 25)
        assert ((await it.sync()).verdict, it.store.tombstones()) == ("verified", 25)


async def test_what_is_gone_stays_until_it_is_accepted(server, api):
    async with server(100) as it:
        await delete(it, 21)
        everything = dt.timedelta(days=99)
        result = await it.sync(lookback=everything, reconcile=DateBounds())
        assert (result.verdict, result.worklogs, result.gone) == ("not verified", 100, 0)
        assert "the server no longer shows 21 of 100 worklogs, and they are kept" in result.doubt
        assert it.store.tombstones() == 0
        result = await it.sync(settings=Settings(accept_deletions=True), lookback=everything)
        verdict = "verified" if api == "2.0" else "not verifiable"
        assert (result.verdict, result.worklogs, result.gone, result.doubt) == (verdict, 79, 21, None)


async def test_what_is_gone_in_several_rounds_is_added_up(serve):
    async with serve(100, version="2.0") as it:
        await delete(it, 15)

        def delete_more(_):
            for number in range(15, 30):
                it.emulator.delete(f"wl-{number:05}")

        it.emulator.faults.add(faults.Call(delete_more), route="/timeEntries/{id}", nth=1)
        result = await it.sync()
        assert (result.verdict, result.gone, result.worklogs) == ("not verified", 15, 85)


async def test_a_403_is_no_proof_that_a_worklog_is_gone(server, api):
    async with server() as it:
        await delete(it, 2)
        route = "/worklogs/{id}" if api == "1.0" else "/timeEntries/{id}"
        it.emulator.faults.add(faults.Status(403), route=route)
        result = await it.sync(lookback=dt.timedelta(days=99))
        assert (result.verdict, result.worklogs, result.gone) == ("not verified", 200, 0)
        assert "the server refuses to show worklogs that the store has, and they are kept" in result.doubt
        it.emulator.faults.clear()
        assert (await it.sync(lookback=dt.timedelta(days=99))).gone == 2


async def test_a_reconciliation_of_dates_that_the_store_does_not_ask_for_does_nothing(server):
    async with server(bounds={"until": dt.date(2024, 1, 5)}) as it:
        it.emulator.delete("wl-00180")
        result = await it.sync(reconcile=DateBounds(since=dt.date(2024, 1, 6)), lookback=dt.timedelta(0))
        assert result.gone == 0
        assert result.changes.different == 0


async def test_on_1_worklogs_of_the_last_days_are_compared_and_older_ones_are_left(serve, ids_in):
    async with serve(version="1.0") as it:
        it.emulator.update("wl-00001", {"worklogMinutes": 111})  # the 1st of January
        it.emulator.update("wl-00190", {"worklogMinutes": 222})  # the 8th
        it.emulator.delete("wl-00002")
        it.emulator.delete("wl-00191")
        result = await it.sync(lookback=dt.timedelta(days=3))
        assert (result.changes.changed, result.gone, result.verdict) == (1, 1, "not verifiable")
        assert result.since == dt.datetime.fromtimestamp(it.time[0], dt.UTC) - dt.timedelta(days=3)
        result = await it.sync(lookback=dt.timedelta(days=30))
        assert (result.changes.changed, result.gone) == (1, 1)
        assert "wl-00002" not in ids_in(it.store)
        assert it.store.tombstones() == 2


async def test_a_sync_of_some_dates_leaves_a_store_of_1_as_of_when_it_was(serve):
    async with serve(version="1.0") as it:
        exported = it.time[0] - HOUR
        await it.sync(lookback=dt.timedelta(days=3), reconcile=DateBounds(since=dt.date(2024, 1, 2)))
        assert (await export_to_store(it.client, it.store)).as_of.timestamp() == exported
        await it.sync(reconcile=DateBounds())
        assert (await export_to_store(it.client, it.store)).as_of.timestamp() == it.time[0]


async def test_a_worklog_that_moved_out_of_the_lookback_is_not_taken_for_deleted(serve, texts_in, texts_on):
    async with serve(version="1.0") as it:
        it.emulator.update("wl-00199", {"worklogDate": "2023-05-05T00:00:00.000Z"})
        result = await it.sync(lookback=dt.timedelta(days=3))
        assert (result.changes.changed, result.gone) == (1, 0)
        assert texts_in(it.store) == await texts_on(it.client)


async def test_a_worklog_that_moves_out_of_the_request_leaves_the_store_and_one_that_moves_in_comes(
    serve, texts_in, texts_on
):
    bounds = {"since": dt.date(2024, 1, 2), "until": dt.date(2024, 1, 8)}
    async with serve(version="2.0", bounds=bounds) as it:
        it.emulator.update("wl-00100", {"worklogDate": "2024-02-01T00:00:00.000Z"})
        it.emulator.update("wl-00001", {"worklogDate": "2024-01-03T00:00:00.000Z"})
        result = await it.sync()
        assert (result.changes.added, result.changes.changed, result.changes.removed) == (1, 0, 1)
        assert result.verdict == "verified"
        assert it.store.tombstones() == 0
        assert texts_in(it.store) == await texts_on(it.client, **bounds)


async def test_an_export_that_was_interrupted_is_brought_to_its_end_first(
    running, stored, some_worklog, route, texts_in, texts_on
):
    async with running(seed=[some_worklog(number) for number in range(500)]) as (emulator, client):
        emulator.faults.add(faults.Status(403), route=route, cursor=True, nth=3)
        with stored(client) as store:
            with pytest.raises(PermissionDeniedError):
                await export_to_store(client, store, Settings(concurrency=1))
            assert store.state == "fetching"
            result = await sync_store(client, store)
            assert result.worklogs == 500
            assert texts_in(store) == await texts_on(client)


async def test_a_check_that_never_agreed_is_taken_up_by_the_sync(on_2, stored, some_worklog, texts_in, texts_on):
    async with on_2(seed=[some_worklog(number) for number in range(100)]) as (emulator, client):
        numbers = iter(range(100_000))

        def create(_):
            emulator.create(some_worklog(0, worklogId=f"new-{next(numbers)}", createdDate="2024-01-01T00:00:00Z"))

        emulator.faults.add(faults.Call(create), route="/timeEntries")
        with stored(client) as store:
            await export_to_store(client, store)
            result = await sync_store(client, store)
            assert result.verdict == "incomplete"
            emulator.faults.clear()
            result = await sync_store(client, store)
            assert result.verdict == "verified"
            assert texts_in(store) == await texts_on(client)


async def test_progress_is_told(server):
    heard = []
    async with server() as it:
        it.stir("x")
        await sync_store(it.client, it.store, Settings(on_progress=heard.append))
    assert {event.phase for event in heard} <= {"syncing", "comparing", "checking"}


@pytest.mark.parametrize("name", ["lookback", "overlap"])
async def test_negative_durations_are_refused(server, name):
    async with server(count=1) as it:
        with pytest.raises(ValueError, match="must not be negative"):
            await it.sync(**{name: dt.timedelta(seconds=-1)})
