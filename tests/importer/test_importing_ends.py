"""How an import ends before its end, and how the next one goes on."""

from __future__ import annotations

import asyncio
import datetime as dt
import os

import pytest

from tracket_async._http.limits import Clock
from tracket_async.emulator import Emulator, faults
from tracket_async.errors import (
    AuthenticationError,
    ConnectError,
    ServerError,
    StorageError,
    StoreError,
    UsageError,
)
from tracket_async.importer.run import UNANSWERED

NOON = dt.datetime(2024, 6, 1, 12, tzinfo=dt.UTC)


def summary(report):
    names = ("done", "found", "already", "failed", "ambiguous", "not_sent")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


@pytest.mark.parametrize(("status", "kind"), [(401, AuthenticationError), (500, ServerError)])
async def test_who_may_not_even_read_sends_nothing(emulator, file, rows, route, status, kind, posts):
    emulator.faults.add(faults.Status(status), method="GET", route=route)
    with pytest.raises(kind):
        await file(rows(3)).load(emulator)
    assert posts(emulator) == 0


async def test_where_nobody_listens_nothing_is_sent_and_nothing_is_in_doubt(file, rows):
    made = file(rows(3))
    async with Emulator() as emulator:
        async with made.opened(emulator, settings={}) as work:
            await emulator.__aexit__(None, None, None)
            with pytest.raises(ConnectError):
                await work.run()
            assert summary(work.report()) == {"not_sent": 3}
        assert made.entries == []
        await emulator.__aenter__()


async def test_credentials_that_are_refused_in_the_middle_end_the_run(emulator, file, rows, route):
    emulator.faults.add(faults.Status(401), method="POST", route=route, nth=range(4, 1000))
    made = file(rows(50))
    report = await made.load(emulator, concurrency=1)
    assert summary(report) == {"done": 3, "failed": 1, "not_sent": 46}
    assert isinstance(report.stopped, AuthenticationError)
    emulator.faults.clear()
    assert summary(await made.load(emulator)) == {"done": 47, "already": 3}


async def test_a_server_that_fails_all_the_time_is_left_alone(emulator, file, rows, route):
    emulator.faults.add(faults.Status(500), method="POST", route=route, nth=range(4, 1000))
    made = file(rows(50))
    report = await made.load(emulator, concurrency=1, patience=5)
    assert summary(report) == {"done": 3, "ambiguous": 5, "not_sent": 42}
    assert isinstance(report.stopped, ServerError) or report.stopped.status == 500
    emulator.faults.clear()
    assert summary(await made.load(emulator, resend_ambiguous=True)) == {"done": 47, "already": 3}
    assert emulator.count == 50


@pytest.mark.parametrize("good", [0, 1, 5])
async def test_on_a_full_disk_no_row_leaves_without_its_entry(emulator, file, rows, monkeypatch, good, posts):
    fsync, left = os.fsync, [good]

    def full(descriptor):
        if not left[0]:
            raise OSError(28, "No space left on device")
        left[0] -= 1
        fsync(descriptor)

    made = file(rows(100))
    async with made.opened(emulator, settings={"concurrency": 4}) as work:
        monkeypatch.setattr(os, "fsync", full)
        await work.run()
        monkeypatch.undo()
        report = work.report()
    assert isinstance(report.stopped, StorageError)
    assert posts(emulator) == emulator.count <= 4 * good
    assert 0 <= emulator.count - report.done < 4  # their answers came when nothing could be written any more
    assert (await made.load(emulator, resend_ambiguous=True)).complete
    assert emulator.count == 100


async def test_an_answer_that_cannot_be_written_down_is_found_by_the_next_run(emulator, file, rows, monkeypatch):
    pwrite = os.pwrite

    def full(descriptor, data, offset):
        if b'"created_id"' in data:
            raise OSError(28, "No space left on device")
        return pwrite(descriptor, data, offset)

    made = file(rows(20))
    async with made.opened(emulator, settings={"concurrency": 4}) as work:
        monkeypatch.setattr(os, "pwrite", full)
        await work.run()
        monkeypatch.undo()
        report = work.report()
    assert isinstance(report.stopped, StorageError)
    assert 1 <= emulator.count <= 4
    assert [each.reason for each in report.errors] == [UNANSWERED] * len(report.errors)
    created = emulator.count
    end = await made.load(emulator, resend_ambiguous=True)
    assert (end.done, end.found) == (20, created)
    assert emulator.count == 20


async def test_a_file_that_is_changed_meanwhile_is_sent_no_further(emulator, file, rows, route):
    made = file(rows(50))
    content = made.path.read_bytes()

    def change(_received):
        made.path.write_bytes(content + b"\n")

    emulator.faults.add(faults.Call(change), method="POST", route=route, nth=5)
    async with made.opened(emulator, settings={"concurrency": 1}) as work:
        with pytest.raises(StoreError, match="was changed while it was being read"):
            await work.run()
        assert summary(work.report()) == {"done": 5, "not_sent": 45}
    with pytest.raises(StoreError, match="the file was changed since"):
        await made.load(emulator)
    made.path.write_bytes(content)
    assert summary(await made.load(emulator)) == {"done": 45, "already": 5}


async def test_what_is_interrupted_leaves_no_row_in_doubt_whose_answer_comes_in_time(emulator, file, rows, route):
    made = file(rows(50))
    async with made.opened(emulator, settings={"concurrency": 4}) as work:
        task = asyncio.create_task(work.run())
        emulator.faults.add(faults.Call(lambda _: task.cancel()), method="POST", route=route, nth=10)
        with pytest.raises(asyncio.CancelledError):
            await task
        report = work.report()
    assert 10 <= report.done <= 16
    assert (report.ambiguous, report.not_sent) == (0, 50 - report.done)
    assert summary(await made.load(emulator)) == {"done": 50 - report.done, "already": report.done}
    assert emulator.count == 50


@pytest.mark.parametrize("happened", [True, False])
async def test_rows_that_a_killed_run_had_in_the_air_are_looked_for(emulator, file, rows, route, happened, posts):
    """The process ends after the entry is on the disk: with the row sent, and before."""
    made = file(rows(4))
    async with made.opened(emulator) as work:
        for line in (1, 2, 3):
            await work._journal.record_sent(line, work._clock.now(), None)
            if happened:
                await work._client.worklogs.create(next(r.item for r in work._rows.rows() if r.line == line))
    assert summary(work.report()) == {"ambiguous": 3, "not_sent": 1}
    assert [each.reason for each in work.report().errors] == [UNANSWERED] * 3
    report = await made.load(emulator)
    assert summary(report) == ({"done": 4, "found": 3} if happened else {"done": 1, "ambiguous": 3})
    assert posts(emulator) == (4 if happened else 1)


async def test_if_nobody_can_look_the_rows_stay_in_doubt_and_the_others_are_sent(emulator, file, rows, route, posts):
    made = file(rows(4))
    async with made.opened(emulator) as work:
        await work._journal.record_sent(2, work._clock.now(), None)
    emulator.faults.add(faults.Status(403), method="GET", route=route, nth=range(2, 100))
    report = await made.load(emulator, resend_ambiguous=True)
    assert summary(report) == {"done": 3, "ambiguous": 1}
    assert report.errors[0].reason.startswith("Looking for it failed: ")
    assert posts(emulator) == 3


async def test_one_of_an_unknown_age_is_named_and_never_taken_for_a_row(file, rows):
    made = file(rows(1))
    if made.api == "2.0":
        pytest.skip("a list that is filtered by created date has none without")
    async with Emulator() as emulator:
        old = emulator.create(
            {
                "itemId": "i",
                "userId": "u",
                "worklogDate": "2024-05-01T00:00:00Z",
                "worklogMinutes": 0.5,
                "createdDate": None,
            }
        )
        assert "createdDate" not in old
        async with made.opened(emulator) as work:
            await work._journal.record_sent(1, work._clock.now(), None)
        report = await made.load(emulator)
        assert summary(report) == {"ambiguous": 1}
        assert "of an unknown age" in report.errors[0].reason
        assert report.errors[0].candidates == (old["worklogId"],)
        assert summary(await made.load(emulator, resend_ambiguous=True)) == {"done": 1}


@pytest.mark.parametrize("ahead", [-7200.0, 7200.0])
@pytest.mark.parametrize("header_lies", [False, True])
async def test_the_clocks_may_differ_and_a_date_header_may_lie(file, rows, route, ahead, header_lies, posts):
    """The server's clock differs from ours; or only what it says in one answer does."""
    now = [NOON]
    offset = 0 if header_lies else ahead
    async with Emulator(wall=lambda: now[0].timestamp() + offset) as emulator:
        emulator.faults.add(faults.CommitThenCut(), method="POST", route=route, nth=2)
        if header_lies:
            emulator.faults.add(faults.ClockSkew(ahead), method="GET", route=route, nth=1)
        report = await file(rows(4)).load(emulator, clock=Clock(now=lambda: now[0], sleep=_nothing))
        assert summary(report) == {"done": 4, "found": 1}
        assert posts(emulator) == 4


async def _nothing(_seconds):
    await asyncio.sleep(0)


async def test_the_second_look_waits_for_what_may_be_late(emulator, file, rows, route):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    emulator.faults.add(faults.CommitThenCut(), method="POST", route=route, nth=1)
    report = await file(rows(2)).load(emulator, wait=1.5, clock=Clock(sleep=sleep))
    assert report.found == 1
    assert waits == [1.5]


async def test_a_concurrency_below_1_is_refused(emulator, file, rows):
    with pytest.raises(UsageError, match="concurrency must be at least 1"):
        await file(rows(1)).load(emulator, concurrency=0)
    assert len(emulator.request_log) == 0
