"""Rows of an import of which nobody knows whether they were created, and how they are found."""

from __future__ import annotations

import asyncio
import datetime as dt

import attrs
import pytest

from tracket_async._http.limits import Clock
from tracket_async.emulator import Emulator, faults
from tracket_async.importer.run import (
    UNANSWERED,
)

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
    # That there is nothing yet counts on 2.0 when it was said twice: its connection was used for the token call.
    first = ["GET"] if made.api == "1.0" else ["GET", "GET"]
    assert methods == [*first, *["POST"] * 3, "GET", "GET", *["POST"] * 7]
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
    made = file(rows(10))
    first = 1 if made.api == "1.0" else 2  # requests for the list that is empty yet
    emulator.faults.add(faults.CommitThenCut(), method="POST", route=route, nth=3)
    emulator.faults.add(faults.Status(403), method="GET", route=route, nth=first + 1)
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
    first = 1 if made.api == "1.0" else 2  # requests for the list that is empty yet
    emulator.faults.add(faults.Status(403), method="GET", route=route, nth=range(first + 1, 100))
    report = await made.load(emulator, resend_ambiguous=True)
    assert summary(report) == {"done": 3, "ambiguous": 1}
    assert report.errors[0].reason.startswith("Looking for it failed: ")
    assert posts(emulator) == 3


async def test_a_worklog_of_unknown_age_is_a_candidate_and_never_the_answer(file, rows):
    made = file(rows(1))
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
