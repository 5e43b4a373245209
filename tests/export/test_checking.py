"""The second phase: what changed meanwhile, and whether the numbers agree."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace

import pytest

from tracket_async.emulator import faults
from tracket_async.export import phases as checking
from tracket_async.export.phases import Settings, changes_since, check, in_lots, open_job
from tracket_async.export.run import export
from tracket_async.export.store import NO_CHANGES, ChangeCounts

BEFORE = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


class Time:
    """The server's clock."""

    def __init__(self):
        self.now = 1_750_000_000.0

    def __call__(self):
        return self.now

    @property
    def moment(self):
        return dt.datetime.fromtimestamp(self.now, dt.UTC)


@pytest.fixture
def wall():
    return Time()


async def numbered(lists):
    for one in lists:
        yield [SimpleNamespace(id=str(number), turn=turn) for turn, number in enumerate(one)]


@pytest.mark.parametrize(
    ("pages", "lots"),
    [
        ([], []),
        ([[]], []),
        ([[1, 2], [3]], [[1, 2, 3]]),
        ([[1, 2], [3, 4], [5]], [[1, 2, 3, 4], [5]]),
        ([[1, 2, 3], [4, 5, 6]], [[1, 2, 3], [4, 5, 6]]),
        ([[1, 2], [2, 1], [3]], [[1, 2, 3]]),
    ],
)
async def test_lots_are_of_whole_pages_and_have_an_id_once(pages, lots):
    found = [[int(row.id) for row in lot] async for lot in in_lots(numbered(pages), size=3)]
    assert found == lots


async def test_in_a_lot_the_last_row_of_an_id_stays():
    [lot] = [lot async for lot in in_lots(numbered([[7, 8], [9, 7]]), size=99)]
    assert {row.id: row.turn for row in lot}["7"] == 1


async def test_what_was_updated_or_created_since_is_brought_in(on_2, stored, wall, texts_in, texts_on, some_worklog):
    async with on_2(seed=[some_worklog(number) for number in range(300)], wall=wall) as (emulator, client):
        with stored(client) as store:
            async with open_job(client, store, None) as job:
                await export(job)
                wall.now += 3600
                since = wall.moment
                emulator.update("wl-00001", {"worklogMinutes": 77})
                emulator.update("wl-00002", {"worklogDate": "2028-01-01T00:00:00.000Z"})
                emulator.create(
                    {"itemId": "i", "userId": "u", "worklogDate": "2024-01-01T00:00:00.000Z", "worklogMinutes": 3}
                )
                assert await changes_since(job, since) == ChangeCounts(added=1, changed=2)
                assert await changes_since(job, since) == ChangeCounts(unchanged=3)
                wall.now += 1
                assert await changes_since(job, wall.moment) == NO_CHANGES
                assert texts_in(store) == await texts_on(client)


async def test_the_first_round_is_enough_when_nothing_was_deleted(on_2, stored, wall, some_worklog):
    heard = []
    async with on_2(seed=[some_worklog(number) for number in range(300)], wall=wall) as (emulator, client):
        with stored(client) as store:
            async with open_job(client, store, Settings(on_progress=heard.append)) as job:
                await export(job)
                emulator.request_log.clear()
                found = await check(job, wall.moment)
                assert (found.total, found.count, found.mark) == (300, 300, wall.moment)
                assert len(emulator.request_log.entries) == 4
    assert heard[-1].phase == "checking"
    assert (heard[-1].done, heard[-1].total) == (300, 300)


async def test_what_was_deleted_is_found_by_the_numbers_and_removed_without_a_tombstone(
    on_2, stored, texts_in, texts_on
):
    async with on_2(sample=3000) as (emulator, client):
        with stored(client) as store:
            async with open_job(client, store, None) as job:
                await export(job)
                ids = [worklog["worklogId"] for worklog in emulator.worklogs()]
                for at in (0, 1500, 2999):
                    emulator.delete(ids[at])
                found = await check(job, BEFORE)
                assert (found.total, found.count, found.changes.removed) == (2997, 2997, 3)
                assert store.tombstones() == 0
                assert texts_in(store) == await texts_on(client)


async def test_a_row_that_slipped_through_is_found_by_the_numbers(on_2, stored, some_worklog, texts_in, texts_on):
    async with on_2(seed=[some_worklog(number) for number in range(300)]) as (_, client):
        with stored(client) as store:
            async with open_job(client, store, None) as job:
                await export(job)
                store.database.execute("DELETE FROM tracket.rows WHERE id IN ('wl-00007', 'wl-00290')")
                found = await check(job, dt.datetime.now(dt.UTC))
                assert found.changes.added == 2
                assert texts_in(store) == await texts_on(client)


async def test_a_server_that_never_stops_changing_ends_after_some_rounds(on_2, stored, some_worklog):
    async with on_2(seed=[some_worklog(number) for number in range(100)]) as (emulator, client):
        with stored(client) as store:
            async with open_job(client, store, None) as job:
                await export(job)
                numbers = iter(range(100_000))

                def create(_):
                    emulator.create(
                        some_worklog(0, worklogId=f"new-{next(numbers)}", createdDate="2024-01-01T00:00:00Z")
                    )

                emulator.faults.add(faults.Call(create), route="/timeEntries")
                emulator.request_log.clear()
                found = await check(job, dt.datetime.now(dt.UTC))
                assert found.count < found.total
                assert found.changes.added > 0
    assert checking.ROUNDS == 5


async def test_a_server_that_does_not_count_leaves_it_open(on_2, stored, monkeypatch):
    async with on_2(sample=50) as (_, client):
        with stored(client) as store:
            async with open_job(client, store, None) as job:
                await export(job)

                async def count(wanted):
                    return None, BEFORE

                monkeypatch.setattr(job.source, "count", count)
                found = await check(job, BEFORE)
                assert (found.total, found.count, found.mark) == (None, 50, BEFORE)
