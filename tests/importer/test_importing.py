"""An import against an emulator: every row exactly once, or reported as one of which nobody can tell."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from tracket_async.emulator import Emulator, faults

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


def summary(report):
    names = ("done", "found", "already", "failed", "ambiguous", "not_sent")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


async def test_every_row_is_created_as_it_stands_there(emulator, file):
    report = await file([EVERYTHING]).load(emulator)
    assert report.complete
    (found,) = emulator.worklogs()
    assert (found["itemId"], found["userId"], found["worklogDate"]) == ("i", "u", "2024-05-20T00:00:00.000Z")
    assert (found["worklogMinutes"], found["worklogBillableMinutes"]) == (7.5, 5.0)
    assert (found["description"], found["worklogCategory"]) == ("été", "c")


async def test_every_row_is_created_once_and_the_journal_knows_its_id(emulator, file, rows, contents):
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


async def test_no_row_leaves_before_its_entry_is_in_the_journal(emulator, file, rows, route):
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


async def test_a_row_that_fails_does_not_keep_the_others_back_and_is_tried_again_by_the_next_run(
    emulator, file, rows, route
):
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


@pytest.mark.parametrize("fault", [faults.Status(500), faults.Html(status=200), faults.Reset()])
async def test_a_create_that_did_not_happen_is_never_sent_again_unasked(
    emulator, file, rows, route, fault, contents, posts
):
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


async def test_a_row_that_is_ambiguous_again_when_it_is_sent_again_stays_so(emulator, file, rows, route, posts):
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


async def test_rows_that_are_alike_are_told_apart_by_their_number(emulator, file, route):
    """Of five, one is answered, two happen without an answer and two do not happen."""
    emulator.faults.add(faults.CommitThenCut(), method="POST", route=route, nth={2, 4})
    emulator.faults.add(faults.Status(500), method="POST", route=route, nth={3, 5})
    made = file([EVERYTHING] * 5)
    assert summary(await made.load(emulator, concurrency=1)) == {"done": 3, "found": 2, "ambiguous": 2}
    assert emulator.count == 3
    assert summary(await made.load(emulator, resend_ambiguous=True)) == {"done": 2, "already": 3}
    assert emulator.count == 5


async def test_what_is_alike_and_was_there_before_is_not_taken_for_a_row(file, route):
    clock = [NOON.timestamp()]
    async with Emulator(wall=lambda: clock[0]) as emulator:
        emulator.create(ALIKE)
        clock[0] += 60
        emulator.faults.add(faults.Status(500), method="POST", route=route, nth=1)
        made = file([EVERYTHING])
        assert summary(await made.load(emulator)) == {"ambiguous": 1}
        assert summary(await made.load(emulator, resend_ambiguous=True)) == {"done": 1}
        assert emulator.count == 2


async def test_several_that_could_be_it_are_named_and_it_is_not_sent_again_even_if_asked(emulator, file, route, posts):
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
