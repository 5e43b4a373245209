"""Exports into a store, and from there to files."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import io
import json
import threading
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
import pytest

from tracket_async import BearerToken, ClientCredentials, TracketClient
from tracket_async.emulator import faults
from tracket_async.errors import (
    IncompleteExportError,
    PermissionDeniedError,
    ServerError,
    StorageError,
    StoreError,
    TargetBusyError,
    UsageError,
)
from tracket_async.export import phases, sync, text, writers
from tracket_async.export import run as runs
from tracket_async.export.formats import FileOptions
from tracket_async.export.phases import Settings, open_job
from tracket_async.export.run import export_to_files, export_to_store, request_of, write_files
from tracket_async.export.source import OutagePolicy
from tracket_async.export.store import Store
from tracket_async.export.sync import sync_store
from tracket_async.models import WorklogFilter


def verdict_of(client):
    return "verified" if client.api == "2.0" else "not verifiable"


async def test_an_export_has_everything_and_says_how_sure_it_is(running, stored, texts_in, texts_on):
    async with running(sample=1000) as (_, client):
        with stored(client) as store:
            result = await export_to_store(client, store)
            assert (result.worklogs, result.verdict, result.resumed) == (1000, verdict_of(client), 0)
            total = 1000 if client.api == "2.0" else None
            assert (result.total_at_start, result.total) == (total, total)
            assert not result.single_partition
            assert result.changes.different == 0
            assert store.state == "done"
            assert texts_in(store) == await texts_on(client)


async def test_an_empty_account_is_exported_as_well(running, stored):
    async with running() as (_, client):
        with stored(client) as store:
            result = await export_to_store(client, store)
            assert (result.worklogs, result.verdict) == (0, verdict_of(client))


async def test_bounds_are_kept_to_on_both_versions(running, stored, some_worklog, ids_in):
    async with running(seed=[some_worklog(number) for number in range(24 * 9)]) as (_, client):
        with stored(client, since=dt.date(2024, 1, 3), until=dt.date(2024, 1, 4)) as store:
            result = await export_to_store(client, store)
            assert result.worklogs == 48
            assert ids_in(store) == [f"wl-{number:05}" for number in range(48, 96)]


async def test_bounds_of_created_dates_are_kept_to(on_2, stored, some_worklog, ids_in):
    seed = [some_worklog(number, createdDate=f"2024-02-{number + 1:02}T00:00:00.000Z") for number in range(9)]
    async with on_2(seed=seed) as (_, client):
        wanted = WorklogFilter(created_since=dt.date(2024, 2, 3), created_until=dt.datetime(2024, 2, 5, tzinfo=dt.UTC))
        with stored(client, filter=wanted) as store:
            result = await export_to_store(client, store)
            assert ids_in(store) == ["wl-00002", "wl-00003", "wl-00004"]
            assert result.verdict == "verified"


async def test_the_verdict_on_a_store_that_was_done_is_about_this_run(on_2, stored, texts_in, texts_on):
    async with on_2(sample=200) as (emulator, client):
        with stored(client) as store:
            await export_to_store(client, store)
            emulator.update(emulator.worklogs()[0]["worklogId"], {"worklogMinutes": 333})
            emulator.delete(emulator.worklogs()[1]["worklogId"])
            result = await export_to_store(client, store)
            assert (result.verdict, result.worklogs, result.as_of) == ("verified", 199, None)
            assert (result.changes.changed, result.changes.removed) == (1, 1)
            assert texts_in(store) == await texts_on(client)


@pytest.mark.parametrize("answers", [0, 2])
async def test_a_store_that_was_done_is_as_of_its_last_check_when_the_server_does_not_answer(on_2, stored, answers):
    now = [1_750_000_000.0]
    seed = {"sample": 200, "wall": lambda: now[0]}
    at_once = Settings(patience=OutagePolicy(give_up_after=0))
    async with on_2(**seed) as (emulator, client):
        with stored(client) as store:
            await export_to_store(client, store)
            now[0] += 3600
            assert (await export_to_store(client, store)).as_of is None
            checked = dt.datetime.fromtimestamp(now[0], dt.UTC)
            now[0] += 3600
            script = emulator.faults
            script.add(faults.Status(503), nth=range(answers + 1, 99))
            for _ in range(2):
                result = await export_to_store(client, store, at_once)
                assert (result.verdict, result.worklogs, result.total) == ("not verified", 200, None)
                assert result.doubt.startswith("the server does not answer: ")
                assert result.as_of == checked
            script.clear()
            assert (await export_to_store(client, store)).verdict == "verified"


@pytest.mark.parametrize(("module", "run"), [(runs, export_to_store), (sync, sync_store)])
async def test_the_only_worklog_of_a_user_may_be_deleted_during_the_run_that_fetched_it(
    on_2, stored, some_worklog, monkeypatch, module, run
):
    seed = [some_worklog(number, userId=f"u-{number == 0}") for number in range(50)]
    async with on_2(seed=seed) as (emulator, client):

        async def check(*args, **settings):
            emulator.delete("wl-00000")
            return await phases.check(*args, **settings)

        monkeypatch.setattr(module, "check", check)
        with stored(client) as store:
            result = await run(client, store)
            assert (result.verdict, result.doubt, result.worklogs) == ("verified", None, 49)
            assert store.tombstones() == 1


async def test_what_waiting_does_not_mend_is_an_error_of_a_store_that_was_done_too(on_2, stored):
    async with on_2(sample=20) as (emulator, client):
        with stored(client) as store:
            await export_to_store(client, store)
            emulator.faults.add(faults.Status(403))
            with pytest.raises(PermissionDeniedError):
                await export_to_store(client, store)


async def test_a_store_that_was_not_done_has_no_date_that_it_is_as_of(on_2, stored):
    async with on_2(sample=200) as (emulator, client):
        with stored(client) as store:
            async with open_job(client, store, None) as job:
                await runs.fetch_rest(job)
            assert (store.state, store.count()) == ("checking", 200)
            emulator.faults.add(faults.Status(503))
            with pytest.raises(ServerError):
                await export_to_store(client, store)


async def test_a_store_of_1_that_was_done_says_as_of_when_it_is(on_1, stored):
    now = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
    async with on_1(sample=200, wall=now.timestamp) as (emulator, client):
        with stored(client) as store:
            assert (await export_to_store(client, store)).as_of is None
            emulator.request_log.clear()
            result = await export_to_store(client, store)
            assert (result.verdict, result.as_of) == ("not verifiable", now)
            assert len(emulator.request_log.entries) == 0


async def test_on_1_what_earlier_runs_fetched_is_compared_after_a_resume(
    on_1, stored, some_worklog, texts_in, texts_on
):
    async with on_1(seed=[some_worklog(number) for number in range(500)]) as (emulator, client):
        emulator.faults.add(faults.Status(403), route="/worklogs", cursor=True, nth=4)
        with stored(client) as store:
            with pytest.raises(PermissionDeniedError):
                await export_to_store(client, store, Settings(concurrency=2))
            assert 0 < store.count() < 500
            [gone, edited, *_] = sorted(id_ for (id_,) in store.database.rows("SELECT id FROM worklogs"))
            emulator.delete(gone)
            emulator.update(edited, {"worklogMinutes": 333})
            emulator.update("wl-00499", {"worklogDate": "2024-01-01T00:00:00.000Z"})
            result = await export_to_store(client, store)
            assert (result.verdict, result.worklogs) == ("not verifiable", 499)
            assert texts_in(store) == await texts_on(client)
            emulator.request_log.clear()
            assert (await export_to_store(client, store)).changes.different == 0
            assert len(emulator.request_log.entries) == 0


async def test_on_1_an_unsorted_server_is_compared_whole_after_a_resume(on_1, stored, texts_in, texts_on):
    async with on_1(sample=500, v1_order="unsorted") as (emulator, client):
        emulator.faults.add(faults.Status(403), route="/worklogs", cursor=True, nth=4)
        with stored(client) as store:
            with pytest.raises(PermissionDeniedError):
                await export_to_store(client, store, Settings(concurrency=1))
            for worklog in emulator.worklogs():
                emulator.update(worklog["worklogId"], {"worklogMinutes": 333})
            await export_to_store(client, store)
            assert texts_in(store) == await texts_on(client)


async def test_what_cannot_be_shown_after_a_resume_is_kept_and_looked_at_again(on_1, stored, some_worklog):
    async with on_1(seed=[some_worklog(number) for number in range(500)]) as (emulator, client):
        emulator.faults.add(faults.Status(403), route="/worklogs", cursor=True, nth=4)
        with stored(client) as store:
            with pytest.raises(PermissionDeniedError):
                await export_to_store(client, store, Settings(concurrency=1))
            emulator.delete("wl-00000")
            emulator.faults.add(faults.Status(403), route="/worklogs/{id}", times=1)
            result = await export_to_store(client, store)
            assert (result.verdict, result.worklogs) == ("not verified", 500)
            assert "refuses to show" in result.doubt
            result = await export_to_store(client, store)
            assert (result.verdict, result.worklogs, result.doubt) == ("not verifiable", 499, None)


async def test_a_client_that_sees_much_less_removes_nothing_unless_that_is_accepted(on_2, tmp_path, some_worklog):
    async with on_2(seed=[some_worklog(number) for number in range(100)]) as (emulator, client):
        kept, request = tmp_path / "kept.duckdb", request_of(client)
        await export_to_files(client, {tmp_path / "o": "csv"}, request, store=kept, keep_store=True)
        for number in range(21):
            emulator.delete(f"wl-{number:05}")
        result = await export_to_files(client, {tmp_path / "o": "csv"}, request, store=kept)
        assert (result.verdict, result.worklogs, result.total) == ("not verified", 100, 79)
        assert result.doubt.startswith("the server no longer shows 21 of 100 worklogs, and they are kept")
        assert len((tmp_path / "o").read_text().splitlines()) == 101
        accepting = Settings(accept_deletions=True)
        result = await export_to_files(client, {tmp_path / "o": "csv"}, request, accepting, store=kept)
        assert (result.verdict, result.worklogs, result.doubt) == ("verified", 79, None)
        assert not kept.exists()


async def test_a_bound_that_the_client_tightens_is_verified(on_2, stored, some_worklog, ids_in):
    created = ["2024-05-20T23:59:59.999Z", "2024-05-21T00:00:00.000Z"]
    seed = [some_worklog(number, createdDate=date) for number, date in enumerate(created)]
    async with on_2(seed=seed) as (_, client):
        with stored(client, filter=WorklogFilter(created_until=dt.date(2024, 5, 20))) as store:
            result = await export_to_store(client, store)
            assert (result.verdict, result.total, ids_in(store)) == ("verified", 1, ["wl-00000"])


@pytest.mark.parametrize("skew", [-86400, 86400])
async def test_a_change_is_found_though_the_date_header_is_of_another_clock(on_2, stored, skew, texts_in, texts_on):
    async with on_2(sample=500) as (emulator, client):
        first = emulator.worklogs()[0]["worklogId"]
        emulator.faults.add(faults.ClockSkew(skew))
        edit = faults.Call(lambda _: emulator.update(first, {"worklogMinutes": 333}))
        emulator.faults.add(edit, route="/timeEntries", cursor=True, nth=1)
        with stored(client) as store:
            assert (await export_to_store(client, store, Settings(concurrency=1))).changes.changed == 1
            assert texts_in(store) == await texts_on(client)


async def test_an_interrupted_export_goes_on_where_it_was(running, stored, route, texts_in, texts_on):
    heard = []
    async with running(sample=1000) as (emulator, client):
        emulator.faults.add(faults.Status(403), route=route, cursor=True, nth=4)
        with stored(client) as store:
            with pytest.raises(PermissionDeniedError):
                await export_to_store(client, store, Settings(concurrency=1))
            had = store.count()
            assert had > 0
        with stored(client) as store:
            result = await export_to_store(client, store, Settings(concurrency=3, on_progress=heard.append))
            assert (result.worklogs, result.resumed) == (1000, had)
            assert texts_in(store) == await texts_on(client)
    assert (heard[0].phase, heard[0].done, heard[0].resumed) == ("fetching", had, had)


async def test_worklogs_that_change_before_an_interruption_are_found_by_the_run_after_it(
    on_2, stored, some_worklog, texts_in, texts_on
):
    time = [1_750_000_000.0]
    async with on_2(seed=[some_worklog(number) for number in range(500)], wall=lambda: time[0]) as (emulator, client):
        emulator.faults.add(faults.Status(403), route="/timeEntries", cursor=True, nth=3)
        with stored(client) as store:
            with pytest.raises(PermissionDeniedError):
                await export_to_store(client, store, Settings(concurrency=1))
            time[0] += 60
            emulator.update("wl-00000", {"worklogMinutes": 99})
            time[0] += 7 * 86400
            result = await export_to_store(client, store)
            assert result.changes.changed == 1
            assert result.verdict == "verified"
            assert texts_in(store) == await texts_on(client)


async def test_an_interrupted_check_is_made_again_and_the_walk_is_not(on_2, stored):
    async with on_2(sample=500) as (emulator, client):
        with stored(client) as store:
            real = store.deduplicate

            def deduplicate(**meta):
                emulator.faults.add(faults.Status(403), route="/timeEntries", times=1)
                return real(**meta)

            store.deduplicate = deduplicate
            with pytest.raises(PermissionDeniedError):
                await export_to_store(client, store)
            assert store.state == "checking"
            emulator.request_log.clear()
            result = await export_to_store(client, store)
            assert (result.worklogs, result.verdict) == (500, "verified")
            assert len(emulator.request_log.entries) == 5


async def test_a_server_that_changes_all_the_time_makes_it_incomplete_and_the_next_run_compares_again(
    on_2, stored, some_worklog, texts_in, texts_on
):
    async with on_2(seed=[some_worklog(number) for number in range(300)]) as (emulator, client):
        numbers = iter(range(100_000))

        def create(_):
            emulator.create(some_worklog(0, worklogId=f"new-{next(numbers)}", createdDate="2024-01-01T00:00:00Z"))

        script = emulator.faults
        script.add(faults.Call(create), route="/timeEntries")
        with stored(client) as store:
            result = await export_to_store(client, store)
            assert result.verdict == "incomplete"
            assert result.worklogs < result.total
            assert store.state == "checking"
            script.clear()
            result = await export_to_store(client, store)
            assert result.verdict == "verified"
            assert texts_in(store) == await texts_on(client)


@pytest.mark.parametrize("order", ["descending", "unsorted"])
async def test_a_server_in_another_order_is_exported_one_page_after_the_other(
    on_1, stored, order, texts_in, texts_on, caplog
):
    async with on_1(sample=700, v1_order=order) as (_, client):
        with stored(client) as store:
            result = await export_to_store(client, store)
            assert result.single_partition
            assert result.worklogs == 700
            assert len(caplog.messages) == 1
            assert texts_in(store) == await texts_on(client)


async def test_the_server_changing_under_the_export_ends_equal(on_2, stored, some_worklog, texts_in, texts_on):
    """Creations, changes, moves to other dates and deletions, before every second page."""
    async with on_2(seed=[some_worklog(number) for number in range(2000)]) as (emulator, client):
        numbers = iter(range(2000))

        def stir(_):
            at = next(numbers)
            emulator.create(some_worklog(at * 17, worklogId=f"new-{at:05}", createdDate=None) | {"createdDate": _now()})
            emulator.update(f"wl-{at * 29 % 900:05}", {"worklogMinutes": 1000 + at})
            emulator.update(f"wl-{900 + at:05}", {"worklogDate": f"2024-0{1 + at % 3}-1{at % 10}T00:00:00.000Z"})
            emulator.delete(f"wl-{1999 - at:05}")

        emulator.faults.add(faults.Call(stir), route="/timeEntries", cursor=True, every=2, times=8)
        with stored(client) as store:
            result = await export_to_store(client, store, Settings(concurrency=4))
            assert next(numbers) == 8
            assert result.verdict == "verified"
            assert texts_in(store) == await texts_on(client)


def _now():
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


async def test_a_store_of_another_server_is_refused(running, stored):
    async with running(sample=5) as (_, client), running(sample=5) as (_, other):
        with stored(client) as store, pytest.raises(StoreError, match="not of this client: its origin is http"):
            await export_to_store(other, store)


async def test_a_store_of_another_account_is_refused_where_both_are_known(running, tmp_path):
    async with running(sample=5) as (emulator, client):

        def of(auth):
            return TracketClient(auth=auth, api=client.api, base_url=client.base_url)

        def account(number):
            return of(ClientCredentials(emulator.settings.client_id, emulator.settings.client_secret, number))

        async with of(BearerToken(emulator.token)) as unnamed:
            assert (unnamed.account, account(7).account) == (None, "7")
            with Store(tmp_path / "s", request=request_of(account(7))) as store:
                with pytest.raises(StoreError, match="not of this client: its account is 7, not 8"):
                    await export_to_store(account(8), store)
                assert (await export_to_store(unnamed, store)).worklogs == 5


async def test_a_request_takes_its_bounds_once(running):
    async with running() as (_, client):
        request = request_of(client, since=dt.date(2024, 1, 1), filter=WorklogFilter(until=dt.date(2024, 2, 1)))
        assert request.filter == WorklogFilter(since=dt.date(2024, 1, 1), until=dt.date(2024, 2, 1))
        assert (request.api, request.origin) == (client.api, client.base_url)
        with pytest.raises(UsageError, match="since is given twice"):
            request_of(client, since=dt.date(2024, 1, 1), filter=WorklogFilter(since=dt.date(2024, 1, 1)))


async def test_every_format_has_the_same_worklogs_and_nothing_is_left_beside_them(running, tmp_path, texts_on):
    heard = []
    targets = {tmp_path / f"out.{name}": name for name in ("parquet", "csv", "ndjson", "duckdb")}
    async with running(sample=700) as (_, client):
        result = await export_to_files(client, targets, request_of(client), Settings(on_progress=heard.append))
        expected = await texts_on(client)
    assert result.worklogs == 700
    assert set(tmp_path.iterdir()) == set(targets)
    lines = (tmp_path / "out.ndjson").read_text().splitlines()
    assert sorted(lines) == expected
    ids = [json.loads(line)["id"] for line in lines]
    assert pq.read_table(tmp_path / "out.parquet").column("id").to_pylist() == ids
    written = io.StringIO((tmp_path / "out.csv").read_bytes().decode(), newline="")
    assert [row["id"] for row in csv.DictReader(written)] == ids
    assert {event.phase for event in heard} >= {"fetching"}


async def test_the_streaming_export_and_the_store_write_the_same_text(running, tmp_path):
    async with running(sample=300) as (_, client):
        targets = {tmp_path / "out.csv": "csv", tmp_path / "out.ndjson": "ndjson"}
        await export_to_files(client, targets, request_of(client))
        worklogs = [worklog async for worklog in client.worklogs.export(ordered=True)]
    ordered = text.cells_of(sorted(worklogs, key=lambda worklog: (worklog.date, worklog.id)))
    assert (tmp_path / "out.ndjson").read_bytes() == text.ndjson_encoder()(ordered)
    assert (tmp_path / "out.csv").read_bytes() == text.csv_header() + text.csv_encoder()(ordered)


async def test_a_layout_chooses_columns_and_leaves_formulas(running, tmp_path, some_worklog):
    async with running(seed=[some_worklog(1, description="=1")]) as (_, client):
        file_options = FileOptions(columns=["description", "id"], raw=True)
        await export_to_files(client, {str(tmp_path / "o"): "csv"}, request_of(client), file_options=file_options)
    assert (tmp_path / "o").read_bytes() == b"description,id\r\n=1,wl-00001\r\n"
    with pytest.raises(UsageError, match="at place 1 is no column"):
        FileOptions(columns=["x"])


async def test_a_time_zone_says_whose_day_a_moment_is_and_a_day_has_none(running, tmp_path, api, some_worklog):
    seed = [some_worklog(1, worklogDate="2024-03-01T23:30:00.000Z")]
    async with running(seed=seed) as (_, client):
        file_options = FileOptions(columns=["day"], tz="Europe/Amsterdam")
        await export_to_files(client, {tmp_path / "o": "csv"}, request_of(client), file_options=file_options)
        day = "2024-03-02" if api == "1.0" else "2024-03-01"
        assert (tmp_path / "o").read_text().split() == ["day", day]
        assert file_options.zone_of(client.api_version) == (ZoneInfo("Europe/Amsterdam") if api == "1.0" else dt.UTC)
    with pytest.raises(UsageError, match="there is no time zone"):
        FileOptions(tz="Amsterdam")


async def test_an_interrupted_export_leaves_its_store_and_the_same_call_goes_on(running, tmp_path, route, texts_on):
    target = tmp_path / "out.ndjson"
    async with running(sample=700) as (emulator, client):
        emulator.faults.add(faults.Status(403), route=route, cursor=True, nth=4)
        with pytest.raises(PermissionDeniedError):
            await export_to_files(client, {target: "ndjson"}, request_of(client), Settings(concurrency=1))
        assert [path.name for path in tmp_path.iterdir()] == ["out.ndjson.resume"]
        result = await export_to_files(client, {target: "ndjson"}, request_of(client))
        assert result.resumed == 400
        assert sorted(target.read_text().splitlines()) == await texts_on(client)
    assert list(tmp_path.iterdir()) == [target]


async def test_another_request_does_not_go_on_with_it(running, tmp_path, route):
    target = tmp_path / "out.ndjson"
    async with running(sample=300) as (emulator, client):
        emulator.faults.add(faults.Status(403), route=route, cursor=True)
        with pytest.raises(PermissionDeniedError):
            await export_to_files(client, {target: "ndjson"}, request_of(client), Settings(concurrency=1))
        with pytest.raises(StoreError, match="of another request: its since is None, not 2024-01-01"):
            await export_to_files(client, {target: "ndjson"}, request_of(client, since=dt.date(2024, 1, 1)))


async def test_two_exports_on_one_target_do_not_meet(running, tmp_path, route):
    target, reached = tmp_path / "out.ndjson", asyncio.Event()
    async with running(sample=300) as (emulator, client):
        emulator.faults.add(faults.Call(lambda _: reached.set()), route=route, cursor=True, nth=1)
        emulator.faults.add(faults.Hang(), route=route, cursor=True, nth=1)
        alone = Settings(concurrency=1)
        first = asyncio.create_task(export_to_files(client, {target: "ndjson"}, request_of(client), alone))
        await reached.wait()
        with pytest.raises(TargetBusyError, match="is being written by process"):
            await export_to_files(client, {target: "ndjson"}, request_of(client))
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert (await export_to_files(client, {target: "ndjson"}, request_of(client))).worklogs == 300


async def test_a_store_can_be_kept_where_it_is_wanted_and_synced(running, tmp_path):
    async with running(sample=300) as (_, client):
        await export_to_files(
            client, {tmp_path / "o": "csv"}, request_of(client), store=tmp_path / "s.duckdb", keep_store=True
        )
        with Store(tmp_path / "s.duckdb") as store:
            assert (await sync_store(client, store)).worklogs == 300


@pytest.mark.parametrize(
    ("targets", "error", "words"),
    [
        ({}, UsageError, "at least one file"),
        ({"o": "ods"}, UsageError, "no format 'ods'"),
        ({"folder": "csv"}, StorageError, "not a file"),
    ],
)
async def test_what_cannot_be_written_is_told_before_anything_is_asked(running, tmp_path, targets, error, words):
    (tmp_path / "folder").mkdir()
    async with running(sample=3) as (emulator, client):
        with pytest.raises(error, match=words):
            await export_to_files(client, {tmp_path / name: kind for name, kind in targets.items()}, request_of(client))
        assert len(emulator.request_log) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


async def test_files_of_a_store_are_written_without_asking_the_server(running, stored, tmp_path):
    async with running(sample=30) as (emulator, client):
        with stored(client) as store:
            await export_to_store(client, store)
            emulator.request_log.clear()
            file_options = FileOptions(columns=["id"])
            await write_files(client, store, {tmp_path / "o": "csv"}, file_options=file_options)
            assert len((tmp_path / "o").read_text().split()) == 31
            assert len(emulator.request_log.entries) == 0
            with pytest.raises(UsageError, match="name at least one file"):
                await write_files(client, store, {})


async def test_an_incomplete_export_writes_no_file_unless_told_to(on_2, tmp_path, some_worklog):
    target = tmp_path / "out.ndjson"
    async with on_2(seed=[some_worklog(number) for number in range(100)]) as (emulator, client):
        numbers = iter(range(100_000))

        def create(_):
            emulator.create(some_worklog(0, worklogId=f"new-{next(numbers)}", createdDate="2024-01-01T00:00:00Z"))

        emulator.faults.add(faults.Call(create), route="/timeEntries")
        with pytest.raises(
            IncompleteExportError, match=r"has \d+ worklogs and the server counts \d+.*Run the same again"
        ):
            await export_to_files(client, {target: "ndjson"}, request_of(client))
        assert [path.name for path in tmp_path.iterdir()] == ["out.ndjson.resume"]
        result = await export_to_files(client, {target: "ndjson"}, request_of(client), incomplete=True)
        assert result.verdict == "incomplete"
        assert len(target.read_text().splitlines()) == result.worklogs


async def test_writing_tells_how_far_it_is_and_a_cancellation_stops_it(running, tmp_path, monkeypatch):
    monkeypatch.setattr(writers, "_CHUNK", 10)
    loop, target, heard = asyncio.get_running_loop(), tmp_path / "out.ndjson", []
    real, chunks, stopped = runs.write_file, [], threading.Event()

    async def stop():
        task.cancel()
        for _ in range(5):  # until the task has been told
            await asyncio.sleep(0)
        stopped.set()

    def write_file(*args, on_worklogs, **kwargs):
        def told(count):
            chunks.append(count)
            on_worklogs(count)
            if len(chunks) == 3:
                asyncio.run_coroutine_threadsafe(stop(), loop)
                stopped.wait(30)

        return real(*args, on_worklogs=told, **kwargs)

    async with running(sample=300) as (_, client):
        monkeypatch.setattr(runs, "write_file", write_file)
        settings = Settings(on_progress=heard.append)
        task = asyncio.create_task(export_to_files(client, {target: "ndjson"}, request_of(client), settings))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(chunks) == 4
        assert [path.name for path in tmp_path.iterdir()] == ["out.ndjson.resume"]
        monkeypatch.undo()
        heard.clear()
        result = await export_to_files(client, {target: "ndjson"}, request_of(client), settings)
        assert result.worklogs == 300
    assert {event.total for event in heard if event.phase == "writing"} == {300}


async def test_an_error_while_writing_keeps_the_store(running, tmp_path, monkeypatch):
    def write_file(*_, **__):
        raise StorageError("full")

    async with running(sample=30) as (_, client):
        monkeypatch.setattr(runs, "write_file", write_file)
        with pytest.raises(StorageError, match="full"):
            await export_to_files(client, {tmp_path / "o": "csv"}, request_of(client))
        assert [path.name for path in tmp_path.iterdir()] == ["o.resume"]
