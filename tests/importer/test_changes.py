"""Changes and deletions of the worklogs of a file, against an emulator."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from tracket_async import RetryPolicy, TracketClient
from tracket_async.emulator import faults
from tracket_async.errors import (
    AuthenticationError,
)
from tracket_async.importer.records import ReadOptions
from tracket_async.importer.rows import InputFile, make_change, make_worklog_id
from tracket_async.importer.run import (
    ChangeRun,
    deletions,
    updates,
)
from tracket_async.importer.source import InputSource

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
                total = input_file.validate().rows
                yield ChangeRun(
                    apply(client),
                    input_file.rows(),
                    total=total,
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
