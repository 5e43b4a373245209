"""A range of dates, compared worklog by worklog."""

from __future__ import annotations

import datetime as dt
from contextlib import asynccontextmanager

import pytest

from tracket_async._api.fast import row_of
from tracket_async.emulator import faults
from tracket_async.errors import BadRequestError
from tracket_async.export import phases as ranges
from tracket_async.export.phases import compare, differing, narrowed, open_job, upsert
from tracket_async.export.run import export
from tracket_async.export.store import NO_CHANGES, ChangeCounts
from tracket_async.models import WorklogFilter

UTC = dt.UTC
EVERYTHING = WorklogFilter()


def day(number):
    return dt.date(2024, 1, number)


@pytest.fixture
def export_of(launch, stored, some_worklog):
    """``async with export_of(count, version=...) as (emulator, client, job)``: a job whose store has everything."""

    @asynccontextmanager
    async def run(count, *, version):
        seed = [some_worklog(number) for number in range(count)]
        async with launch(version=version, seed=seed) as (emulator, client):
            with stored(client) as store:
                async with open_job(client, store, None) as job:
                    await export(job)
                    yield emulator, client, job

    return run


@pytest.fixture
def exported(export_of, api):
    """`export_of`, on each version in turn."""
    return lambda count: export_of(count, version=api)


@pytest.fixture
def counting(export_of):
    """`export_of` a server that counts."""
    return lambda count: export_of(count, version="2.0")


@pytest.mark.parametrize(
    ("own", "since", "until", "first", "last"),
    [
        ((None, None), None, None, None, None),
        ((None, None), day(2), day(3), (2, 0), (3, 23)),
        ((day(1), day(9)), day(2), day(3), (2, 0), (3, 23)),
        ((day(5), day(6)), day(2), day(9), (5, 0), (6, 23)),
        ((day(5), None), None, day(9), (5, 0), (9, 23)),
        ((day(5), day(5)), day(5), day(5), (5, 0), (5, 23)),
    ],
)
def test_a_filter_is_narrowed_to_where_both_bounds_agree(own, since, until, first, last):
    found = narrowed(WorklogFilter(since=own[0], until=own[1]), since, until)
    assert (found.since and (found.since.day, found.since.hour)) == first
    assert (found.until and (found.until.day, found.until.hour)) == last


def test_a_filter_that_is_narrowed_to_nothing_is_none():
    assert narrowed(WorklogFilter(since=day(5)), None, day(4)) is None
    assert narrowed(WorklogFilter(until=day(5)), day(6), None) is None


def test_the_other_bounds_of_the_filter_stay():
    wanted = WorklogFilter(created_since=day(1))
    assert narrowed(wanted, day(2), None).created_since == wanted.created_since


async def test_what_the_server_lists_is_brought_in_and_what_is_gone_is_told(exported, texts_in, texts_on, monkeypatch):
    monkeypatch.setattr(ranges, "LOT", 50)
    async with exported(230) as (emulator, client, job):
        emulator.delete("wl-00003")
        emulator.update("wl-00004", {"worklogMinutes": 1.5})
        emulator.update("wl-00005", {"worklogDate": "2031-05-05T00:00:00.000Z"})
        emulator.create({"itemId": None, "userId": "u", "worklogDate": "2024-01-01T00:00:00.000Z", "worklogMinutes": 3})
        found = await compare(job, EVERYTHING)
        assert found.changes == ChangeCounts(added=1, changed=2, unchanged=227)
        assert found.gone == ("wl-00003",)
        assert job.store.count() == 231
        job.store.delete_with_tombstones(found.gone, found=None)
        assert texts_in(job.store) == await texts_on(client)


async def test_a_worklog_that_has_only_moved_out_of_the_range_is_not_gone(exported):
    async with exported(48) as (emulator, _, job):
        emulator.update("wl-00003", {"worklogDate": "2031-05-05T00:00:00.000Z"})
        found = await compare(job, narrowed(EVERYTHING, day(1), day(1)))
        assert found.gone == ()
        assert found.changes == ChangeCounts(changed=1, unchanged=23)
        assert job.store.days()[-1] == (dt.date(2031, 5, 5), 1)


async def test_a_range_without_worklogs_is_compared_as_well(exported):
    async with exported(24) as (emulator, _, job):
        for number in range(24):
            emulator.delete(f"wl-{number:05}")
        found = await compare(job, EVERYTHING)
        assert found.changes == NO_CHANGES
        assert len(found.gone) == 24


async def test_only_the_range_is_compared(exported):
    async with exported(72) as (emulator, _, job):
        for number in (3, 30, 60):
            emulator.delete(f"wl-{number:05}")
        found = await compare(job, narrowed(EVERYTHING, day(2), day(2)))
        assert found.gone == ("wl-00030",)


async def test_when_one_worklog_cannot_be_asked_for_the_others_are_not_left_asking(exported, api):
    route = "/worklogs/{id}" if api == "1.0" else "/timeEntries/{id}"
    async with exported(48) as (emulator, _, job):
        emulator.faults.add(faults.Status(400), route=route, nth=1)
        emulator.faults.add(faults.Hang(), route=route)
        for number in range(5):
            emulator.delete(f"wl-{number:05}")
        with pytest.raises(BadRequestError):
            await compare(job, EVERYTHING)


async def test_a_worklog_that_no_longer_matches_the_request_leaves_the_store(
    running, stored, some_worklog, make_worklog
):
    async with running(seed=[some_worklog(number) for number in range(48)]) as (_, client):
        with stored(client, since=day(2)) as store:
            async with open_job(client, store, None) as job:
                await export(job)
                assert store.count() == 24
                moved = row_of(make_worklog(30, date=dt.datetime(2024, 1, 1, tzinfo=UTC)))
                assert await upsert(job, [moved]) == ChangeCounts(removed=1)
                assert await upsert(job, [moved]) == NO_CHANGES
                assert store.count() == 23


async def test_nothing_is_asked_further_when_the_numbers_agree(counting):
    async with counting(200) as (emulator, _, job):
        emulator.request_log.clear()
        assert await differing(job, EVERYTHING, job.store.days()) == []
        assert len(emulator.request_log.entries) == 1


async def test_the_days_that_differ_are_found_by_halving(counting, monkeypatch):
    monkeypatch.setattr(ranges, "FEW", 1)
    async with counting(24 * 28) as (emulator, _, job):
        emulator.delete("wl-00030")
        emulator.create({"itemId": "i", "userId": "u", "worklogDate": "2024-01-20T00:00:00.000Z", "worklogMinutes": 3})
        emulator.create({"itemId": "i", "userId": "u", "worklogDate": "2024-01-20T00:00:00.000Z", "worklogMinutes": 3})
        emulator.request_log.clear()
        found = await differing(job, EVERYTHING, job.store.days())
        assert len(emulator.request_log.entries) < 24
    assert [(part.since.date(), part.until.date()) for part in found] == [(day(2), day(2)), (day(20), day(20))]


async def test_a_worklog_beyond_all_days_of_the_store_is_found(counting, monkeypatch):
    monkeypatch.setattr(ranges, "FEW", 1)
    async with counting(48) as (emulator, _, job):
        emulator.create({"itemId": "i", "userId": "u", "worklogDate": "2029-01-01T00:00:00.000Z", "worklogMinutes": 3})
        [part] = await differing(job, EVERYTHING, job.store.days())
        assert (part.since.date(), part.until) == (day(2), None)
        assert (await compare(job, part)).changes.added == 1


async def test_few_worklogs_are_not_halved(counting):
    async with counting(72) as (emulator, _, job):
        emulator.delete("wl-00030")
        assert await differing(job, EVERYTHING, job.store.days()) == [EVERYTHING]


async def test_an_empty_store_differs_everywhere(counting):
    async with counting(1) as (emulator, _, job):
        job.store.database.execute("DELETE FROM tracket.rows")
        assert await differing(job, EVERYTHING, []) == [EVERYTHING]
        emulator.delete("wl-00000")
        assert await differing(job, EVERYTHING, []) == []
