"""Imports against an emulator, and how a run ends early and goes on; the report on a run."""

from __future__ import annotations

import json
import os
import random

import pytest

from tracket_async.emulator import Emulator, faults
from tracket_async.errors import (
    AuthenticationError,
    ConnectError,
    ServerError,
    StorageError,
    StoreError,
    UsageError,
)
from tracket_async.importer.rows import MAX_LISTED
from tracket_async.importer.run import (
    UNANSWERED,
    FirstErrors,
    RowError,
    RunReport,
)


def error(line, kind="failed"):
    return RowError(line=line, kind=kind, reason="no")


def test_the_first_errors_by_line_are_kept_in_any_order():
    lines = list(range(1, 3 * MAX_LISTED))
    random.Random(1).shuffle(lines)
    errors = FirstErrors()
    for line in lines:
        errors.add(error(line))
    assert [each.line for each in errors.first] == list(range(1, MAX_LISTED + 1))


def test_a_later_error_of_a_line_replaces_the_earlier_one():
    errors = FirstErrors()
    errors.add(error(5))
    errors.add(error(5, "ambiguous"))
    assert [each.kind for each in errors.first] == ["ambiguous"]


@pytest.mark.parametrize(
    ("counts", "not_sent", "complete"),
    [
        ({"done": 10}, 0, True),
        ({"done": 4, "already": 6}, 0, True),
        ({"done": 4, "already": 5, "failed": 1}, 0, False),
        ({"done": 4, "already": 5, "ambiguous": 1}, 0, False),
        ({"done": 4}, 6, False),
    ],
)
def test_a_report_is_complete_when_every_row_is_written(counts, not_sent, complete):
    report = RunReport(rows=10, **counts)
    assert (report.not_sent, report.complete) == (not_sent, complete)


def summary(report):
    names = ("done", "found", "already", "failed", "ambiguous", "not_sent")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


EVERYTHING = {
    "item_id": "i",
    "user_id": "u",
    "date": "2024-05-20",
    "minutes": 7.5,
    "description": "été",
    "category_id": "c",
    "billable_minutes": 5.0,
}


async def test_every_value_of_a_row_is_sent(emulator, file):
    report = await file([EVERYTHING]).load(emulator)
    assert report.complete
    (found,) = emulator.worklogs()
    assert (found["itemId"], found["userId"], found["worklogDate"]) == ("i", "u", "2024-05-20T00:00:00.000Z")
    assert (found["worklogMinutes"], found["worklogBillableMinutes"]) == (7.5, 5.0)
    assert (found["description"], found["worklogCategory"]) == ("été", "c")


async def test_a_date_with_an_offset_is_booked_on_its_day_as_written(emulator, file, api):
    """API 1.0 keeps the moment, API 2.0 the day as it stands in the file."""
    assert (await file([EVERYTHING | {"date": "2026-03-02T08:00+13:00"}]).load(emulator)).complete
    (found,) = emulator.worklogs()
    assert found["worklogDate"] == ("2026-03-01T19:00:00.000Z" if api == "1.0" else "2026-03-02T00:00:00.000Z")


async def test_every_row_is_created_once_and_its_id_is_in_the_journal(emulator, file, rows, contents):
    given = rows(100) * 2
    made = file(given)
    told = []
    assert summary(await made.load(emulator, concurrency=16, on_row=told.append)) == {"done": 200}
    assert contents(emulator.worklogs()) == contents(given)
    assert len(told) == 200
    ids = {entry["line"]: entry["created_id"] for entry in made.entries if "created_id" in entry}
    assert sorted(ids) == list(range(1, 201))
    assert set(ids.values()) == {worklog["worklogId"] for worklog in emulator.worklogs()}


async def test_a_second_run_sends_nothing(emulator, file, rows):
    made = file(rows(10))
    await made.load(emulator)
    before = made.journal.read_bytes()
    requests = len(emulator.request_log)
    assert summary(await made.load(emulator)) == {"already": 10}
    assert len(emulator.request_log) == requests
    assert made.journal.read_bytes() == before


async def test_no_row_is_sent_before_its_entry_is_in_the_journal(emulator, file, rows, route):
    made = file(rows(60))
    seen = []

    def look(received):
        minutes = {"worklogMinutes", "minutes"} & json.loads(received.body or b"{}").keys()
        seen.append((minutes, {entry["line"] for entry in made.entries if "sent_at" in entry}))

    emulator.faults.add(faults.Call(look), method="POST", route=route)
    assert (await made.load(emulator, concurrency=8)).complete
    assert len(seen) == 60
    for number, (_, intended) in enumerate(seen, start=1):
        assert number <= len(intended) <= number + 8


async def test_a_failed_row_is_tried_again_by_the_next_run(emulator, file, rows, route):
    emulator.faults.add(faults.Status(400), method="POST", route=route, nth=3)
    made = file(rows(10))
    report = await made.load(emulator, concurrency=1)
    assert summary(report) == {"done": 9, "failed": 1}
    (error,) = report.errors
    assert (error.line, error.kind) == (3, "failed")
    assert "400" in error.reason
    assert "400" in made.entries[5]["failed"]
    assert summary(await made.load(emulator)) == {"done": 1, "already": 9}
    assert emulator.count == 10


async def test_stopping_at_a_failure_leaves_the_rest_for_the_next_run(emulator, file, rows, route):
    emulator.faults.add(faults.Status(400), method="POST", route=route, nth=3)
    made = file(rows(10))
    report = await made.load(emulator, concurrency=1, on_error="stop")
    assert (summary(report), report.stopped) == ({"done": 2, "failed": 1, "not_sent": 7}, None)
    assert summary(await made.load(emulator, on_error="stop")) == {"done": 8, "already": 2}


@pytest.mark.parametrize(("status", "kind"), [(401, AuthenticationError), (500, ServerError)])
async def test_nothing_is_sent_when_the_server_refuses_to_list(emulator, file, rows, route, status, kind, posts):
    emulator.faults.add(faults.Status(status), method="GET", route=route)
    with pytest.raises(kind):
        await file(rows(3)).load(emulator)
    assert posts(emulator) == 0


async def test_nothing_is_sent_when_the_server_is_unreachable(file, rows):
    made = file(rows(3))
    async with Emulator() as emulator:
        async with made.opened(emulator, settings={}) as work:
            await emulator.__aexit__(None, None, None)
            with pytest.raises(ConnectError):
                await work.run()
            assert summary(work.report()) == {"not_sent": 3}
        assert made.entries == []
        await emulator.__aenter__()


async def test_refused_credentials_end_the_run(emulator, file, rows, route):
    emulator.faults.add(faults.Status(401), method="POST", route=route, nth=range(4, 1000))
    made = file(rows(50))
    report = await made.load(emulator, concurrency=1)
    assert summary(report) == {"done": 3, "failed": 1, "not_sent": 46}
    assert isinstance(report.stopped, AuthenticationError)
    emulator.faults.clear()
    assert summary(await made.load(emulator)) == {"done": 47, "already": 3}


async def test_many_failures_in_a_row_end_the_run(emulator, file, rows, route):
    emulator.faults.add(faults.Status(500), method="POST", route=route, nth=range(4, 1000))
    made = file(rows(50))
    report = await made.load(emulator, concurrency=1, patience=5)
    assert summary(report) == {"done": 3, "ambiguous": 5, "not_sent": 42}
    assert isinstance(report.stopped, ServerError) or report.stopped.status == 500
    emulator.faults.clear()
    assert summary(await made.load(emulator, resend_ambiguous=True)) == {"done": 47, "already": 3}
    assert emulator.count == 50


@pytest.mark.parametrize("good", [0, 1, 5])
async def test_on_a_full_disk_no_row_is_sent_without_its_entry(emulator, file, rows, monkeypatch, good, posts):
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


async def test_an_outcome_that_cannot_be_recorded_is_found_by_the_next_run(emulator, file, rows, monkeypatch):
    write = os.write

    def full(descriptor, data):
        if b'"created_id"' in data:
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    made = file(rows(20))
    async with made.opened(emulator, settings={"concurrency": 4}) as work:
        monkeypatch.setattr(os, "write", full)
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


async def test_a_file_that_changes_during_an_import_ends_the_run(emulator, file, rows, route):
    made = file(rows(50))
    content = made.path.read_bytes()

    def change(_received):
        made.path.write_bytes(content + b"\n")

    emulator.faults.add(faults.Call(change), method="POST", route=route, nth=5)
    async with made.opened(emulator, settings={"concurrency": 1}) as work:
        with pytest.raises(StoreError, match="was changed while it was being read"):
            await work.run()
        assert summary(work.report()) == {"done": 5, "not_sent": 45}
    assert summary(await made.load(emulator)) == {"done": 45, "already": 5}


async def test_a_concurrency_below_1_is_refused(emulator, file, rows):
    with pytest.raises(UsageError, match="concurrency must be at least 1"):
        await file(rows(1)).load(emulator, concurrency=0)
    assert len(emulator.request_log) == 0
