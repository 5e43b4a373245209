"""The first phase: pages into the store, committed with where the chains stand."""

from __future__ import annotations

import asyncio

import attrs
import pytest

from tracket_async.emulator import faults
from tracket_async.errors import BadRequestError, PermissionDeniedError, StorageError
from tracket_async.export import phases as walking
from tracket_async.export.phases import CommitBuffer, Settings, open_job, walk
from tracket_async.scan.partition import Batch, PartitionState

STATE = PartitionState(id=0, since=None, until=None, asked_since=None, asked_until=None)


@pytest.fixture
def commits(monkeypatch):
    """The number of worklogs of each commit to any store."""
    from tracket_async.export.store import Store  # noqa: PLC0415

    seen, real = [], Store.append

    def append(self, batches, states, **meta):
        seen.append((sum(batch.num_rows for batch in batches), len(states)))
        real(self, batches, states, **meta)

    monkeypatch.setattr(Store, "append", append)
    return seen


async def test_everything_is_stored_once_over_many_chains(running, stored, texts_in, texts_on):
    async with running(sample=1000) as (_, client):
        with stored(client) as store:
            async with open_job(client, store, Settings(concurrency=7)) as job:
                assert await walk(job, 0, None) is False
            assert len(store.partitions()) >= 2
            assert all(state["done"] for state in store.partitions())
            store.deduplicate()
            assert texts_in(store) == await texts_on(client)


async def test_commits_come_when_enough_has_come_and_at_the_end(running, stored, commits, monkeypatch):
    monkeypatch.setattr(walking, "COMMIT_ROWS", 400)
    monkeypatch.setattr(walking, "_ARROW_ROWS", 150)
    async with running(sample=1000) as (_, client):
        with stored(client) as store:
            async with open_job(client, store, Settings(concurrency=2)) as job:
                await walk(job, 0, None)
    assert sum(rows for rows, _ in commits) == 1000
    assert all(400 <= rows < 500 for rows, _ in commits[:-1])
    assert all(states for _, states in commits)


async def test_commits_come_when_enough_time_has_passed(running, stored, commits):
    times = [0.0]

    def clock():
        times[0] += walking.COMMIT_SECONDS / 2.5  # three looks at the clock
        return times[0]

    async with running(sample=500) as (_, client):
        with stored(client) as store:
            async with open_job(client, store, None) as job:
                await walk(attrs.evolve(job, clock=clock), 0, None)
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
                    await walk(job, 0, None)
            assert store.count() == 500
            emulator.request_log.clear()
            async with open_job(client, store, Settings(concurrency=1)) as job:
                await walk(job, 500, None)
            assert len([entry for entry in emulator.request_log if entry.cursor is not None]) == 5
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
                    await walk(job, 0, None)

            task = asyncio.create_task(run())
            await reached.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert store.count() == 500


class Shelf:
    """A store that fails when it is told to, and takes note."""

    def __init__(self):
        self.kept, self.fail, self.gate = [], False, None

    def append(self, batches, states):
        if self.fail:
            raise StorageError("full")
        self.kept.append((sum(batch.num_rows for batch in batches), sorted(states)))


@pytest.fixture
def buffer(make_worklog):
    """A `CommitBuffer`, its store, and a function that brings it one worklog of a window."""
    from types import SimpleNamespace  # noqa: PLC0415

    from tracket_async._api.fast import row_of  # noqa: PLC0415

    shelf = Shelf()

    async def do(work, *args):
        if shelf.gate is not None:
            await shelf.gate.wait()
        return work(*args)

    made = CommitBuffer(SimpleNamespace(store=shelf, do=do, clock=lambda: 0.0))

    def bring(number):
        state = attrs.evolve(STATE, id=number)
        made.take(Batch(partition=number, items=[row_of(make_worklog(number))], states=(state,)))

    return made, shelf, bring


async def test_a_batch_without_worklogs_commits_its_states(buffer):
    made, shelf, _ = buffer
    made.take(Batch(partition=3, items=[], states=(attrs.evolve(STATE, id=3),)))
    await made.finish()
    await made.finish()
    assert shelf.kept == [(0, [3])]


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

            def append(*_):
                raise StorageError("full")

            monkeypatch.setattr(store, "append", append)
            with pytest.raises(StorageError, match="full"):
                async with open_job(client, store, None) as job:
                    await walk(job, 0, None)


async def test_the_order_of_the_server_is_found_out_and_told(on_1, stored, texts_in, texts_on):
    notices = []
    async with on_1(sample=1000, v1_order="unsorted") as (_, client):
        with stored(client) as store:
            async with open_job(client, store, Settings(on_notice=notices.append)) as job:
                assert await walk(job, 0, None) is True
            store.deduplicate()
            assert texts_in(store) == await texts_on(client)
    assert len(notices) == 1


async def test_progress_tells_how_far_it_is(running, stored, api):
    heard = []
    async with running(sample=500) as (_, client):
        with stored(client) as store:
            async with open_job(client, store, Settings(on_progress=heard.append)) as job:
                job.reporter._last = -1e9
                await walk(job, 7, 507)
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
                await walk(job, 0, None)
