"""Imports, changes and deletions against an emulator, and how a run ends early and goes on."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import random
import threading
from contextlib import asynccontextmanager

import attrs
import pytest

from tracket_async import RetryPolicy, TracketClient
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
from tracket_async.importer.reader import MAX_LISTED, InputFile, InputSource, ReadOptions, make_change, make_worklog_id
from tracket_async.importer.run import (
    NOT_FOUND,
    UNANSWERED,
    ChangeRun,
    FirstErrors,
    RowError,
    RunReport,
    deletions,
    updates,
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


NO_RETRY = RetryPolicy(attempts=1)


@pytest.fixture
def there(emulator):
    """Ids of ten worklogs on the server."""
    made = [
        emulator.create(
            {
                "itemId": "i",
                "userId": "u",
                "worklogDate": "2024-05-20T00:00:00Z",
                "worklogMinutes": n + 1,
                "description": f"text {n}",
                "worklogCategory": "c",
            }
        )
        for n in range(10)
    ]
    return [worklog["worklogId"] for worklog in made]


@pytest.fixture
def run(emulator, api, tmp_path):
    """Runs over a file of these lines."""

    @asynccontextmanager
    async def prepared(lines, apply, make, **settings):
        path = tmp_path / "file"
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        async with TracketClient.from_env(emulator.env(api), retry=NO_RETRY) as client:
            with InputSource(str(path)) as source:
                options = ReadOptions(format="ids" if make is make_worklog_id else "ndjson")
                input_file = InputFile(source=source, options=options, make=make, api_version=client.api_version)
                yield ChangeRun(
                    apply(client),
                    input_file,
                    total=input_file.validate().rows,
                    **{"concurrency": 2, **settings},
                )

    async def go(*arguments, **settings):
        async with prepared(*arguments, **settings) as work:
            await work.run()
            return work.report()

    go.prepared = prepared
    return go


def summary(report):
    names = ("done", "found", "already", "failed", "ambiguous", "not_sent")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


async def test_an_update_changes_the_named_values_and_null_clears(emulator, run, there):
    lines = [
        json.dumps({"id": there[0], "minutes": 99, "description": None}),
        json.dumps({"worklogId": there[1], "worklogCategory": "d"}),
    ]
    report = await run(lines, updates, make_change)
    assert (summary(report), report.complete) == ({"done": 2}, True)
    found = {worklog["worklogId"]: worklog for worklog in emulator.worklogs()}
    first, second, third = (found[one] for one in there[:3])
    assert (first["worklogMinutes"], first["description"], first["worklogCategory"]) == (99, None, "c")
    assert (second["worklogMinutes"], second["description"], second["worklogCategory"]) == (2, "text 1", "d")
    assert third["updatedDate"] is None


async def test_a_second_deletion_needs_nothing(emulator, run, there):
    told = []
    assert summary(await run(there[:7], deletions, make_worklog_id, on_row=lambda: told.append(1))) == {"done": 7}
    assert (emulator.count, len(told)) == (3, 7)
    assert summary(await run(there, deletions, make_worklog_id)) == {"done": 3, "already": 7}
    assert emulator.count == 0


async def test_a_change_of_a_missing_worklog_fails_with_its_line(run, there):
    lines = [json.dumps({"id": one, "minutes": 1}) for one in (there[0], "nobody", there[1])]
    report = await run(lines, updates, make_change)
    assert summary(report) == {"done": 2, "failed": 1}
    assert [(each.line, each.kind) for each in report.errors] == [(2, "failed")]


async def test_an_ambiguous_deletion_is_told_apart_from_a_failed_one(emulator, run, there, route):
    emulator.faults.add(faults.CommitThenCut(), method="DELETE", route=f"{route}/{{id}}", nth=1)
    emulator.faults.add(faults.Status(403), method="DELETE", route=f"{route}/{{id}}", nth=2)
    report = await run(there, deletions, make_worklog_id, concurrency=1)
    assert summary(report) == {"done": 8, "failed": 1, "ambiguous": 1}
    assert [(each.line, each.kind) for each in report.errors] == [(1, "ambiguous"), (2, "failed")]
    assert summary(await run(there, deletions, make_worklog_id)) == {"done": 1, "already": 9}


async def test_a_change_run_stops_at_a_failure_with_on_error_stop(emulator, run, there, route):
    emulator.faults.add(faults.Status(403), method="DELETE", route=f"{route}/{{id}}", nth=2)
    report = await run(there, deletions, make_worklog_id, concurrency=1, on_error="stop")
    assert (summary(report), report.stopped) == ({"done": 1, "failed": 1, "not_sent": 8}, None)


async def test_a_change_run_stops_when_the_credentials_are_refused(emulator, run, there, route):
    emulator.faults.add(faults.Status(401), method="DELETE", route=f"{route}/{{id}}")
    report = await run(there, deletions, make_worklog_id, concurrency=1)
    assert summary(report) == {"failed": 1, "not_sent": 9}
    assert isinstance(report.stopped, AuthenticationError)


async def test_a_change_run_stops_after_many_failures_in_a_row(emulator, run, there, route):
    emulator.faults.add(faults.Status(500), method="DELETE", route=f"{route}/{{id}}")
    report = await run(there, deletions, make_worklog_id, concurrency=1, patience=3)
    assert summary(report) == {"ambiguous": 3, "not_sent": 7}


async def test_an_interrupted_change_run_still_reports_what_was_done(emulator, run, there, route):
    async with run.prepared(there, deletions, make_worklog_id, concurrency=1) as work:
        task = asyncio.create_task(work.run())
        emulator.faults.add(faults.Call(lambda _: task.cancel()), method="DELETE", route=f"{route}/{{id}}", nth=4)
        with pytest.raises(asyncio.CancelledError):
            await task
        report = work.report()
    assert summary(report) == {"done": 4, "not_sent": 6}


NOON = dt.datetime(2024, 6, 1, 12, tzinfo=dt.UTC)
EVERYTHING = {
    "item_id": "i",
    "user_id": "u",
    "date": "2024-05-20",
    "minutes": 7.5,
    "description": "été",
    "category_id": "c",
    "billable_minutes": 5.0,
}


ALIKE = {
    "itemId": "i",
    "userId": "u",
    "worklogDate": "2024-05-20T00:00:00Z",
    "worklogMinutes": 7.5,
    "description": "été",
}
"""What `EVERYTHING` is compared by."""


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


@pytest.mark.parametrize(
    "fault", [faults.CommitThenCut(), faults.Truncate(), faults.Html(status=200, commit=True), faults.Reset("headers")]
)
async def test_a_create_whose_answer_is_lost_is_found_by_reading_back(
    emulator, file, rows, route, fault, contents, posts
):
    emulator.faults.add(fault, method="POST", route=route, nth={2, 5, 6})
    given = rows(10)
    report = await file(given).load(emulator)
    assert summary(report) == {"done": 10, "found": 3}
    assert contents(emulator.worklogs()) == contents(given)
    assert posts(emulator) == 10


async def test_an_ambiguous_row_is_looked_for_at_once(emulator, file, rows, route):
    emulator.faults.add(faults.CommitThenCut(), method="POST", route=route, nth=3)
    made = file(rows(10))
    assert summary(await made.load(emulator, concurrency=1)) == {"done": 10, "found": 1}
    methods = [received.method for received in emulator.request_log if received.route == route]
    assert methods == ["GET", *["POST"] * 3, "GET", "GET", *["POST"] * 7]
    assert [entry["line"] for entry in made.entries if "created_id" in entry] == list(range(1, 11))


@pytest.mark.parametrize("fault", [faults.Status(503), faults.CommitThenCut()])
async def test_an_ambiguous_row_does_not_stop_the_run(emulator, file, rows, route, fault):
    """One plain 503 does not end an import of thousands."""
    emulator.faults.add(fault, method="POST", route=route, nth=3)
    report = await file(rows(40)).load(emulator, concurrency=1, on_error="stop")
    lost = isinstance(fault, faults.CommitThenCut)
    assert summary(report) == ({"done": 40, "found": 1} if lost else {"done": 39, "ambiguous": 1})
    assert report.stopped is None


async def test_lost_answers_of_created_rows_do_not_end_the_run(emulator, file, rows, route, contents, posts):
    emulator.faults.add(faults.CommitThenCut(), method="POST", route=route)
    given = rows(30)
    report = await file(given).load(emulator, patience=3)
    assert summary(report) == {"done": 30, "found": 30}
    assert contents(emulator.worklogs()) == contents(given)
    assert posts(emulator) == 30


async def test_alike_rows_in_progress_are_not_taken_for_each_other(emulator, file, route, posts):
    """Of 40 alike rows at once, some answers are lost and some rows are not created."""
    emulator.faults.add(faults.CommitThenCut(), method="POST", route=route, nth=range(2, 41, 5))
    emulator.faults.add(faults.Status(503), method="POST", route=route, nth={4, 13, 24, 33, 40})
    made = file([EVERYTHING] * 40)
    report = await made.load(emulator, concurrency=16)
    assert (report.done, report.ambiguous, posts(emulator)) == (35, 5, 40)
    created = [entry["created_id"] for entry in made.entries if "created_id" in entry]
    assert sorted(created) == sorted(worklog["worklogId"] for worklog in emulator.worklogs())


async def test_an_ambiguous_row_stays_so_when_the_lookup_fails(emulator, file, rows, route):
    emulator.faults.add(faults.CommitThenCut(), method="POST", route=route, nth=3)
    emulator.faults.add(faults.Status(403), method="GET", route=route, nth=2)
    made = file(rows(10))
    # The look at once fails, and the one at the end finds it.
    assert summary(await made.load(emulator, concurrency=1)) == {"done": 10, "found": 1}
    emulator.faults.add(faults.CommitThenCut(), method="POST", route=route, nth=1)
    emulator.faults.add(faults.Status(403), method="GET", route=route, nth=range(2, 100))
    other = attrs.evolve(made, path=made.path.with_name("other.ndjson"))
    other.path.write_text(made.path.read_text(encoding="utf-8"), encoding="utf-8")
    report = await other.load(emulator, concurrency=1)
    assert summary(report) == {"done": 9, "ambiguous": 1}
    assert report.errors[0].reason.startswith("Looking for it failed: ")


async def test_every_row_is_reported_once(emulator, file, rows, route):
    emulator.faults.add(faults.CommitThenCut(), method="POST", route=route, nth=2)
    emulator.faults.add(faults.Status(503), method="POST", route=route, nth={4, 6})
    emulator.faults.add(faults.Status(400), method="POST", route=route, nth=7)
    made, told = file(rows(10)), []
    for reported in (10, 3):  # an earlier run's rows that were created are not reported again
        await made.load(emulator, on_row=told.append)
        assert len(told) == reported
        told.clear()


@pytest.mark.parametrize("fault", [faults.Status(500), faults.Html(status=200), faults.Reset()])
async def test_an_ambiguous_row_is_never_sent_again_unasked(emulator, file, rows, route, fault, contents, posts):
    emulator.faults.add(fault, method="POST", route=route, nth={2, 5})
    given = rows(10)
    made = file(given)
    for run in range(3):
        report = await made.load(emulator, concurrency=1)
        assert summary(report) == {"done": 8, "ambiguous": 2} if run == 0 else {"already": 8, "ambiguous": 2}
        assert [(each.line, each.kind) for each in report.errors] == [(2, "ambiguous"), (5, "ambiguous")]
        assert "it is not there, but may still arrive" in report.errors[0].reason
        assert posts(emulator) == 10
    assert summary(await made.load(emulator, resend_ambiguous=True)) == {"done": 2, "already": 8}
    assert contents(emulator.worklogs()) == contents(given)


async def test_a_resent_row_can_be_ambiguous_again(emulator, file, rows, route, posts):
    emulator.faults.add(faults.Status(500), method="POST", route=route, times=2)
    made = file(rows(1))
    await made.load(emulator)
    assert summary(await made.load(emulator, resend_ambiguous=True)) == {"ambiguous": 1}
    assert posts(emulator) == 2
    assert summary(await made.load(emulator, resend_ambiguous=True)) == {"done": 1}


async def test_a_create_that_arrives_late_is_found_by_the_next_run(emulator, file, rows, route):
    emulator.faults.add(faults.Status(500), method="POST", route=route, nth=1)
    made = file([EVERYTHING, *rows(3)])
    assert summary(await made.load(emulator, concurrency=1)) == {"done": 3, "ambiguous": 1}
    emulator.create(ALIKE)
    assert summary(await made.load(emulator, resend_ambiguous=True)) == {"done": 1, "found": 1, "already": 3}
    assert emulator.count == 4


@pytest.mark.parametrize(("sent", "stored"), [("stand-up ", "stand-up"), ("e\u0301te\u0301", "\u00e9t\u00e9")])
async def test_a_server_that_rewrites_text_makes_no_twins(emulator, file, route, posts, sent, stored):
    """It trims text or normalizes it, and its answer to the create is lost."""
    emulator.faults.add(faults.Status(503), method="POST", route=route, nth=1)
    kept = ALIKE | {"description": stored}
    emulator.faults.add(faults.Call(lambda _: emulator.create(kept)), method="GET", route=route, nth=2)
    report = await file([EVERYTHING | {"description": sent}]).load(emulator, resend_ambiguous=True)
    assert summary(report) == {"done": 1, "found": 1}
    assert (posts(emulator), emulator.count) == (1, 1)


async def test_alike_rows_are_told_apart_by_their_number(emulator, file, route):
    """Of five, one is answered, two happen without an answer and two do not happen."""
    emulator.faults.add(faults.CommitThenCut(), method="POST", route=route, nth={2, 4})
    emulator.faults.add(faults.Status(500), method="POST", route=route, nth={3, 5})
    made = file([EVERYTHING] * 5)
    assert summary(await made.load(emulator, concurrency=1)) == {"done": 3, "found": 2, "ambiguous": 2}
    assert emulator.count == 3
    assert summary(await made.load(emulator, resend_ambiguous=True)) == {"done": 2, "already": 3}
    assert emulator.count == 5


async def test_an_older_alike_worklog_is_not_taken_for_a_row(file, route):
    clock = [NOON.timestamp()]
    async with Emulator(wall=lambda: clock[0]) as emulator:
        emulator.create(ALIKE)
        clock[0] += 60
        emulator.faults.add(faults.Status(500), method="POST", route=route, nth=1)
        made = file([EVERYTHING])
        assert summary(await made.load(emulator)) == {"ambiguous": 1}
        assert summary(await made.load(emulator, resend_ambiguous=True)) == {"done": 1}
        assert emulator.count == 2


async def test_a_row_with_several_candidates_is_never_sent_again(emulator, file, route, posts):
    emulator.faults.add(faults.CommitThenCut(), method="POST", route=route, nth=1)
    emulator.faults.add(faults.Call(lambda _: emulator.create(ALIKE)), method="GET", route=route, nth=2)
    made = file([EVERYTHING])
    report = await made.load(emulator)
    assert summary(report) == {"ambiguous": 1}
    assert "several worklogs of the same content" in report.errors[0].reason
    assert set(report.errors[0].candidates) == {worklog["worklogId"] for worklog in emulator.worklogs()}
    assert summary(await made.load(emulator, resend_ambiguous=True)) == {"ambiguous": 1}
    assert posts(emulator) == 1
    emulator.delete(report.errors[0].candidates[0])
    assert summary(await made.load(emulator)) == {"done": 1, "found": 1}


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
    with pytest.raises(StoreError, match="the file was changed since"):
        await made.load(emulator)
    made.path.write_bytes(content)
    assert summary(await made.load(emulator)) == {"done": 45, "already": 5}


async def test_an_interrupted_import_waits_for_answers_on_their_way(emulator, file, rows, route):
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


async def test_rows_that_wait_out_a_429_when_they_are_interrupted_are_not_ambiguous(emulator, file, rows, route, posts):
    """All of them were refused, or still wait for their turn."""
    emulator.faults.add(faults.Status(429, retry_after="60"), method="POST", route=route)
    made = file(rows(40))
    async with made.opened(emulator, settings={"concurrency": 16, "grace": 0}) as work:
        task = asyncio.create_task(work.run())
        in_use = lambda: work._client.statistics().concurrency.in_use  # noqa: E731
        while len(made.entries) < 16 or not posts(emulator) or in_use():  # noqa: ASYNC110 - of the server
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert summary(work.report()) == {"not_sent": 40}
    assert [("not_sent" in entry, "sent_at" in entry) for entry in made.entries] == [(False, True)] * 16 + [
        (True, False)
    ] * 16
    emulator.faults.clear()
    assert summary(await made.load(emulator)) == {"done": 40}
    assert emulator.count == 40


async def interrupted(work, calls=4, *, maybe_sent=False):
    """Interrupt the import when so many creates are in progress, which end as cancelled calls do."""
    began = asyncio.Semaphore(0)

    async def create(_new):
        began.release()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            error.maybe_sent = maybe_sent
            raise

    work._client.worklogs.create = create
    task = asyncio.create_task(work.run())
    for _ in range(calls):
        await began.acquire()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_interrupted_row_that_was_never_sent_is_not_ambiguous(emulator, file, rows):
    made = file(rows(10))
    async with made.opened(emulator, settings={"grace": 0}) as work:
        await interrupted(work)
        assert summary(work.report()) == {"not_sent": 10}
    assert [entry["not_sent"] for entry in made.entries[4:]] == ["It was interrupted before it was sent"] * 4
    assert summary(await made.load(emulator)) == {"done": 10}


async def test_an_interrupted_row_that_may_have_been_sent_is_ambiguous(emulator, file, rows):
    async with file(rows(10)).opened(emulator, settings={"grace": 0}) as work:
        await interrupted(work, maybe_sent=True)
        assert summary(work.report()) == {"ambiguous": 4, "not_sent": 6}
        assert [each.reason for each in work.report().errors] == [UNANSWERED] * 4


async def test_an_interrupted_row_that_was_to_be_sent_again_stays_ambiguous(emulator, file, rows, route):
    made = file(rows(1))
    emulator.faults.add(faults.Status(503), method="POST", route=route, nth=1)
    await made.load(emulator)
    async with made.opened(emulator, settings={"grace": 0, "resend_ambiguous": True}) as work:
        await interrupted(work, calls=1)
        assert summary(work.report()) == {"ambiguous": 1}
    assert made.entries[-1]["ambiguous"] == NOT_FOUND


async def test_a_row_that_is_interrupted_while_its_entry_is_written_is_not_ambiguous(emulator, file, rows, monkeypatch):
    began, go, fsync = threading.Event(), threading.Event(), os.fsync

    def slow(descriptor):
        began.set()
        go.wait(30)
        fsync(descriptor)

    made = file(rows(1))
    async with made.opened(emulator, settings={"grace": 0}) as work:
        monkeypatch.setattr(os, "fsync", slow)
        task = asyncio.create_task(work.run())
        await asyncio.to_thread(began.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert summary(work.report()) == {"not_sent": 1}
        go.set()
    assert (await made.load(emulator)).complete


async def test_an_interruption_on_a_full_disk_stays_an_interruption(emulator, file, rows, monkeypatch):
    pwrite = os.pwrite

    def full(descriptor, data, offset):
        if b"not_sent" in data:
            raise OSError(28, "No space left on device")
        return pwrite(descriptor, data, offset)

    made = file(rows(4))
    async with made.opened(emulator, settings={"grace": 0}) as work:
        monkeypatch.setattr(os, "pwrite", full)
        await interrupted(work)
        assert summary(work.report()) == {"ambiguous": 4}


@pytest.mark.parametrize("happened", [True, False])
async def test_rows_that_a_killed_run_had_sent_are_looked_for(emulator, file, rows, route, happened, posts):
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


async def test_rows_stay_unresolved_when_the_lookup_fails(emulator, file, rows, route, posts):
    made = file(rows(4))
    async with made.opened(emulator) as work:
        await work._journal.record_sent(2, work._clock.now(), None)
    emulator.faults.add(faults.Status(403), method="GET", route=route, nth=range(2, 100))
    report = await made.load(emulator, resend_ambiguous=True)
    assert summary(report) == {"done": 3, "ambiguous": 1}
    assert report.errors[0].reason.startswith("Looking for it failed: ")
    assert posts(emulator) == 3


async def test_a_worklog_of_unknown_age_is_a_candidate_and_never_the_answer(file, rows):
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
        # With --resend-ambiguous neither: sent again, it might be there twice.
        assert summary(await made.load(emulator, resend_ambiguous=True)) == {"ambiguous": 1}
        assert emulator.count == 1


@pytest.mark.parametrize("ahead", [-7200.0, 7200.0])
@pytest.mark.parametrize("header_lies", [False, True])
async def test_a_created_row_is_found_although_the_clocks_differ(file, rows, route, ahead, header_lies, posts):
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


async def test_the_second_look_waits_for_late_requests(emulator, file, rows, route):
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
