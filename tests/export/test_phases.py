"""The phases of an export: fetch all, check what changed, compare ranges of dates."""

from __future__ import annotations

import asyncio
import datetime as dt
from contextlib import asynccontextmanager
from types import SimpleNamespace

import attrs
import pytest

from tracket_async._api.fast import row_of
from tracket_async.changes import OVERLAP
from tracket_async.emulator import faults
from tracket_async.errors import BadRequestError, PermissionDeniedError, StorageError
from tracket_async.export import phases
from tracket_async.export.phases import (
    CommitBuffer,
    Settings,
    changes_since,
    check,
    compare,
    differing,
    fetch,
    in_lots,
    narrowed,
    open_job,
    upsert,
)
from tracket_async.export.run import export
from tracket_async.export.store import NO_CHANGES, ChangeCounts
from tracket_async.models import WorklogFilter
from tracket_async.scan.partition import Batch, PartitionState

STATE = PartitionState(id=0, since=None, until=None, asked_since=None, asked_until=None)


@pytest.fixture
def commits(monkeypatch):
    """The number of worklogs of each commit to any store."""
    from tracket_async.export.store import Store

    seen, real = [], Store.append

    def append(self, batches, states, bad_rows, *, ahead):
        seen.append((sum(batch.num_rows for batch in [*batches, *ahead]), len(states)))
        real(self, batches, states, bad_rows, ahead=ahead)

    monkeypatch.setattr(Store, "append", append)
    return seen


async def test_everything_is_stored_once_over_many_chains(running, stored, texts_in, texts_on):
    async with running(sample=1000) as (_, client):
        with stored(client) as store:
            async with open_job(client, store, Settings(concurrency=7)) as job:
                assert await fetch(job, 0, None) is False
            assert len(store.partitions()) >= 2
            assert all(state["done"] for state in store.partitions())
            store.deduplicate()
            assert texts_in(store) == await texts_on(client)


async def test_commits_are_of_the_same_size_but_for_the_last(running, stored, commits, monkeypatch):
    monkeypatch.setattr(phases, "COMMIT_ROWS", 333)
    monkeypatch.setattr(phases, "_ARROW_ROWS", 150)
    async with running(sample=1000) as (_, client):
        with stored(client) as store:
            async with open_job(client, store, Settings(concurrency=2)) as job:
                await fetch(job, 0, None)
            assert store.count() == 1000
    assert [rows for rows, _ in commits] == [333, 333, 333, 1]
    assert all(states for _, states in commits)


async def test_a_page_that_does_not_fit_fills_a_commit_ahead_of_its_state(buffer, monkeypatch):
    monkeypatch.setattr(phases, "COMMIT_ROWS", 5)
    made, shelf, bring = buffer
    bring(0, 1, 2)
    bring(1, 11, 12)
    assert not made.is_due
    bring(0, 3, 4, 5)
    assert made.is_due
    await made.begin_commit()
    assert not made.is_due
    bring(0, 6)
    await made.finish()
    assert shelf.kept == [(4, [0, 1]), (3, [0])]
    assert shelf.batches == [
        [["wl-00001", "wl-00002", "wl-00011", "wl-00012"], ["wl-00003"]],
        [["wl-00004", "wl-00005", "wl-00006"], []],
    ]


async def test_an_interruption_after_a_page_that_does_not_fit_loses_none_of_it(buffer, monkeypatch):
    monkeypatch.setattr(phases, "COMMIT_ROWS", 2)
    made, shelf, bring = buffer
    bring(0, 1)
    bring(1, 11, 12)
    await made.finish()
    assert shelf.kept == [(1, [0]), (1, [1])]
    assert shelf.batches == [[["wl-00001"], ["wl-00011"]], [["wl-00012"], []]]


async def test_the_worklogs_of_a_partition_are_neighbours_in_a_commit(buffer, monkeypatch):
    monkeypatch.setattr(phases, "_ARROW_ROWS", 2)
    made, shelf, bring = buffer
    for number, worklog in ((1, 11), (0, 1), (1, 12), (0, 2), (1, 13), (0, 3)):
        bring(number, worklog)
    await made.finish()
    assert shelf.batches == [[[f"wl-{number:05}" for number in (1, 2, 3, 11, 12, 13)], []]]


async def test_commits_come_when_enough_time_has_passed(running, stored, commits):
    times = [0.0]

    def clock():
        times[0] += phases.COMMIT_SECONDS / 2.5  # three looks at the clock
        return times[0]

    async with running(sample=500) as (_, client):
        with stored(client) as store:
            async with open_job(client, store, None) as job:
                await fetch(attrs.evolve(job, clock=clock), 0, None)
    assert len(commits) >= 2
    assert sum(rows for rows, _ in commits) == 500


async def test_an_error_keeps_what_has_come_and_the_next_run_fetches_only_the_rest(
    running, stored, texts_in, texts_on, route
):
    async with running(sample=1000) as (emulator, client):
        emulator.faults.add(faults.Status(403), route=route, cursor=True, nth=5)
        with stored(client) as store:
            with pytest.raises(PermissionDeniedError):
                async with open_job(client, store, Settings(concurrency=1)) as job:
                    await fetch(job, 0, None)
            assert store.count() == 500
            emulator.request_log.clear()
            async with open_job(client, store, Settings(concurrency=1)) as job:
                await fetch(job, 500, None)
            # On API 1.0, which does not count, the last page is asked for once more.
            again = client.api == "1.0"
            assert len([entry for entry in emulator.request_log if entry.cursor is not None]) == 5 + again
            assert store.deduplicate() == 0
            assert texts_in(store) == await texts_on(client)


async def test_a_cancellation_keeps_what_has_come(running, stored, route):
    reached = asyncio.Event()
    async with running(sample=1000) as (emulator, client):
        emulator.faults.add(faults.Call(lambda _: reached.set()), route=route, cursor=True, nth=5)
        emulator.faults.add(faults.Hang(), route=route, cursor=True, nth=5)
        with stored(client) as store:

            async def run():
                async with open_job(client, store, Settings(concurrency=1)) as job:
                    await fetch(job, 0, None)

            task = asyncio.create_task(run())
            await reached.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert store.count() == 500


class Shelf:
    """A store that fails when it is told to, and takes note."""

    def __init__(self):
        self.kept, self.batches, self.fail, self.gate = [], [], False, None

    def append(self, batches, states, bad_rows, *, ahead):
        assert not bad_rows
        if self.fail:
            raise StorageError("full")
        self.kept.append((sum(batch.num_rows for batch in batches), sorted(states)))
        self.batches.append(
            [[id_ for batch in part for id_ in batch.column("id").to_pylist()] for part in (batches, ahead)]
        )


@pytest.fixture
def buffer(make_worklog):
    """A `CommitBuffer`, its store, and a function that brings it one worklog of a window."""
    from types import SimpleNamespace

    from tracket_async._api.fast import row_of

    shelf = Shelf()

    async def do(work, *args):
        if shelf.gate is not None:
            await shelf.gate.wait()
        return work(*args)

    made = CommitBuffer(SimpleNamespace(store=shelf, do=do, clock=lambda: 0.0))

    def bring(number, *worklogs):
        state = attrs.evolve(STATE, id=number)
        items = [row_of(make_worklog(worklog)) for worklog in worklogs or [number]]
        made.take(Batch(partition=number, items=items, states=(state,)))

    return made, shelf, bring


async def test_a_batch_without_worklogs_commits_its_states(buffer):
    made, shelf, _ = buffer
    made.take(Batch(partition=3, items=[], states=(attrs.evolve(STATE, id=3),)))
    await made.finish()
    await made.finish()
    assert shelf.kept == [(0, [3])]


async def test_a_commit_that_is_due_with_nothing_to_keep_is_none(buffer):
    made, shelf, bring = buffer
    await made.begin_commit()
    await made.finish()
    assert shelf.kept == []
    bring(1)
    await made.finish()
    assert shelf.kept == [(1, [1])]


async def test_after_a_commit_has_failed_no_later_one_gets_ahead_of_its_rows(buffer):
    made, shelf, bring = buffer
    shelf.fail = True
    bring(1)
    await made.begin_commit()
    shelf.fail = True
    bring(2)
    for _ in range(2):
        with pytest.raises(StorageError):
            await made.finish()
        shelf.fail = False
    assert shelf.kept == []


async def test_a_cancellation_while_a_commit_is_awaited_loses_nothing(buffer):
    made, shelf, bring = buffer
    shelf.gate = asyncio.Event()
    bring(1)
    await made.begin_commit()
    bring(2)
    waiting = asyncio.create_task(made.begin_commit())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert shelf.kept == []
    shelf.gate.set()
    await made.finish()
    assert shelf.kept == [(1, [1]), (1, [2])]


async def test_a_store_that_fails_ends_the_walk_with_its_error(running, stored, monkeypatch):
    async with running(sample=300) as (_, client):
        with stored(client) as store:

            def append(*_, ahead):
                raise StorageError("full")

            monkeypatch.setattr(store, "append", append)
            with pytest.raises(StorageError, match="full"):
                async with open_job(client, store, None) as job:
                    await fetch(job, 0, None)


async def test_the_order_of_the_server_is_found_out_and_told(on_1, stored, texts_in, texts_on, caplog):
    async with on_1(sample=1000, v1_order="unsorted") as (_, client):
        with stored(client) as store:
            async with open_job(client, store, Settings()) as job:
                assert await fetch(job, 0, None) is True
            store.deduplicate()
            assert texts_in(store) == await texts_on(client)
    assert len(caplog.messages) == 1


async def test_progress_tells_how_far_it_is(running, stored, api):
    heard = []
    async with running(sample=500) as (_, client):
        with stored(client) as store:
            async with open_job(client, store, Settings(on_progress=heard.append)) as job:
                job.reporter._last = -1e9
                await fetch(job, 7, 507)
    assert heard
    first = heard[0]
    assert (first.phase, first.resumed, first.total, first.single_partition) == ("fetching", 7, 507, False)
    assert 7 < first.done <= 507
    assert first.active >= 0


async def test_errors_that_are_not_the_networks_pass(running, stored, route):
    async with running(sample=300) as (emulator, client):
        emulator.faults.add(faults.Status(400), route=route, cursor=False)
        with stored(client) as store, pytest.raises(BadRequestError):
            async with open_job(client, store, None) as job:
                await fetch(job, 0, None)


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
                wall.now += OVERLAP.total_seconds() + 1
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
                assert (found.verdict, found.total, found.gone) == ("verified", 300, 0)
                assert len(emulator.request_log.entries) == 5
    assert heard[-1].phase == "checking"
    assert (heard[-1].done, heard[-1].total) == (300, 300)


async def test_what_was_deleted_is_found_by_the_numbers_and_becomes_a_tombstone(on_2, stored, texts_in, texts_on):
    async with on_2(sample=3000) as (emulator, client):
        with stored(client) as store:
            async with open_job(client, store, None) as job:
                await export(job)
                ids = [worklog["worklogId"] for worklog in emulator.worklogs()]
                for at in (0, 1500, 2999):
                    emulator.delete(ids[at])
                found = await check(job, BEFORE)
                assert (found.verdict, found.total, found.gone) == ("verified", 2997, 3)
                assert store.tombstones() == 3
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
                assert (found.verdict, found.doubt) == ("incomplete", None)
                assert store.count() < found.total
                assert found.changes.added > 0
    assert phases.ROUNDS == 5


async def test_a_server_that_does_not_count_leaves_it_open(on_2, stored, monkeypatch):
    async with on_2(sample=50) as (_, client):
        with stored(client) as store:
            async with open_job(client, store, None) as job:
                await export(job)

                async def count(wanted):
                    return None

                monkeypatch.setattr(job.source, "count", count)
                found = await check(job, BEFORE)
                assert (found.verdict, found.total) == ("not verifiable", None)


def partition(since, until=None, *, reached=None, **state):
    moments = {"since": since, "until": until, "reached": reached}
    moments = {name: number and dt.datetime(2024, 1, number, tzinfo=dt.UTC) for name, number in moments.items()}
    return PartitionState(id=0, asked_since=None, asked_until=None, **moments, **state)


@pytest.mark.parametrize(
    ("states", "found"),
    [
        ([], []),
        ([partition(1, 5)], []),
        ([partition(None)], []),
        ([partition(None, done=True, seen=9)], [(None, None)]),
        ([partition(1, 5, reached=3, seen=9)], [(1, 3)]),
        ([partition(6, 9, done=True, seen=5), partition(1, 5, reached=3, seen=5), partition(10, 12)], [(1, 9)]),
        ([partition(6, 9, done=True, seen=6), partition(1, 5, done=True, seen=5)], [(1, 5), (6, 9)]),
        ([partition(None, 5, done=True, seen=1), partition(6, None, done=True, seen=1)], [(None, None)]),
        ([partition(1, 5, done=True, seen=1), partition(1, 9, reached=3, seen=1, whole=True)], [(None, None)]),
    ],
)
def test_the_dates_that_partitions_have_fetched_are_put_together(monkeypatch, states, found):
    monkeypatch.setattr(phases, "LOT", 10)
    expected = [[number and f"2024-01-{number:02}T00:00:00+00:00" for number in bounds] for bounds in found]
    assert phases.dates_fetched(states) == expected


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
    monkeypatch.setattr(phases, "LOT", 50)
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


@pytest.mark.parametrize(
    ("users", "deleted", "asked", "doubt"),
    [
        ("aabb", [0], 0, None),  # the server lists another one of a
        ("abbb", [0], 0, "one user (1"),
        ("abbc", [0, 3], 0, "2 users (2"),
        ("abb--a", [0], 1, None),  # it lists none of these dates, and shows one of others
        ("abb--aa", [0, 6], 2, None),
        ("abb--aaaaa", [0, 6, 7, 8, 9], 3, "one user (1"),
    ],
)
async def test_a_worklog_is_gone_if_the_server_shows_others_of_its_user(
    launch, stored, some_worklog, users, deleted, asked, doubt
):
    """The first days are compared; behind ``--`` are days that are not."""
    seed = [
        some_worklog(24 * number, userId=user) | {"worklogId": f"wl-{number}"}
        for number, user in enumerate(users)
        if user != "-"
    ]
    async with launch(version="2.0", seed=seed) as (emulator, client):
        with stored(client) as store:
            async with open_job(client, store, None) as job:
                await export(job)
                for number in deleted:
                    emulator.delete(f"wl-{number}")
                emulator.request_log.clear()
                found = await compare(job, narrowed(EVERYTHING, None, day(4)))
                compared = [number for number in deleted if number < 4]
                assert emulator.request_log.count(route="/timeEntries/{id}") == len(compared) + asked
                assert found.gone == tuple(f"wl-{number}" for number in compared)
    assert (found.doubt is None) is (doubt is None)
    assert (
        doubt is None
        or f"the server no longer shows any worklog of {doubt} of them are gone), and they are kept" in found.doubt
    )


@pytest.mark.parametrize("answer", ["403", "of another user"])
async def test_a_worklog_that_is_refused_or_of_another_user_does_not_show_its_user(
    launch, stored, some_worklog, answer
):
    seed = [some_worklog(24 * number, userId=user) for number, user in enumerate("ab-a") if user != "-"]
    async with launch(version="2.0", seed=seed) as (emulator, client):
        with stored(client) as store:
            async with open_job(client, store, None) as job:
                await export(job)
                emulator.delete("wl-00000")
                if answer == "403":
                    emulator.faults.add(faults.Status(403), route="/timeEntries/{id}", nth=2)
                else:
                    emulator.update("wl-00072", {"userId": "b"})
                found = await compare(job, narrowed(EVERYTHING, None, day(2)))
    assert "any worklog of one user (1 of them are gone), and they are kept" in found.doubt


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


async def test_the_days_that_differ_are_found_by_halving_and_neighbours_are_one(counting, monkeypatch):
    monkeypatch.setattr(phases, "FEW", 1)
    async with counting(24 * 28) as (emulator, _, job):
        for number in (30, 54, 78):  # of three days
            emulator.delete(f"wl-{number:05}")
        emulator.create({"itemId": "i", "userId": "u", "worklogDate": "2024-01-20T00:00:00.000Z", "worklogMinutes": 3})
        emulator.create({"itemId": "i", "userId": "u", "worklogDate": "2024-01-20T00:00:00.000Z", "worklogMinutes": 3})
        emulator.request_log.clear()
        found = await differing(job, EVERYTHING, job.store.days())
        assert len(emulator.request_log.entries) < 24
    assert [(part.since.date(), part.until.date()) for part in found] == [(day(2), day(4)), (day(20), day(20))]


async def test_both_halves_are_counted_at_once(counting, monkeypatch):
    monkeypatch.setattr(phases, "FEW", 1)
    async with counting(24 * 28) as (emulator, _, job):
        for number in (30, 500):
            emulator.delete(f"wl-{number:05}")
        count, flying, most = type(job.source).count, 0, 0

        async def noting(source, wanted):
            nonlocal flying, most
            flying += 1
            most = max(most, flying)
            try:
                return await count(source, wanted)
            finally:
                flying -= 1

        monkeypatch.setattr(type(job.source), "count", noting)
        assert len(await differing(job, EVERYTHING, job.store.days())) == 2
        assert most > 1


async def test_a_worklog_beyond_all_days_of_the_store_is_found(counting, monkeypatch):
    monkeypatch.setattr(phases, "FEW", 1)
    async with counting(48) as (emulator, _, job):
        emulator.create({"itemId": "i", "userId": "u", "worklogDate": "2029-01-01T00:00:00.000Z", "worklogMinutes": 3})
        [part] = await differing(job, EVERYTHING, job.store.days())
        assert (part.since.date(), part.until) == (day(2), None)
        assert (await compare(job, part)).changes.added == 1


async def test_a_doubt_about_one_range_leaves_the_others_uncompared(counting, monkeypatch):
    monkeypatch.setattr(phases, "FEW", 1)
    async with counting(24 * 28) as (emulator, _, job):
        emulator.delete("wl-00030")
        emulator.delete("wl-00500")
        emulator.faults.add(faults.Status(403), route="/timeEntries/{id}")
        emulator.request_log.clear()
        found = await check(job, BEFORE)
        assert (found.verdict, found.gone) == ("not verified", 0)
        assert emulator.request_log.count(route="/timeEntries/{id}") == 1


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
