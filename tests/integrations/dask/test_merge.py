"""The merge of parts: the same bytes, verdicts and refusals as an export on one machine."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
from pathlib import Path

import attrs
import pytest

from tracket_async import WorklogFilter
from tracket_async._files import FileLock
from tracket_async.errors import MalformedResponseError, StorageError, StoreError, TargetBusyError
from tracket_async.export import phases
from tracket_async.export.phases import Settings
from tracket_async.export.run import export_to_files, request_of
from tracket_async.export.store import Store
from tracket_async.integrations.dask import merge as merging
from tracket_async.integrations.dask import part as parting
from tracket_async.integrations.dask.merge import merge
from tracket_async.integrations.dask.part import find_part, write_part
from tracket_async.integrations.dask.plan import begin, keep_plan, kept_plan

PAGES = Path(__file__).parents[3] / "docs" / "pages"
SIP = Path(__file__).parents[4] / "shared" / "data" / "sip" / "worklogs.ndjson"
BOTH = pytest.mark.parametrize("api", ["1.0", "2.0"])


async def test_an_export_in_parts_has_the_bytes_of_one_machine(launch, api, whole, in_parts, parts_folder):
    async with launch(api, sample=3_000) as (_, client):
        expected = await whole(client)
        assert await in_parts(client, 200) == expected
        assert {path.name for path in parts_folder.iterdir()} == {"plan.json.lock"}


@pytest.mark.soak
@pytest.mark.timeout(300)
async def test_40_000_worklogs_in_parts_have_the_bytes_of_one_machine(launch, api, whole, in_parts):
    async with launch(api, sample=40_000) as (_, client):
        assert await in_parts(client, 2_500) == await whole(client)


@pytest.mark.skipif(not SIP.exists(), reason="the data of others is not here")
async def test_worklogs_of_a_real_company_in_parts_have_the_bytes_of_one_machine(launch, api, whole, in_parts):
    async with launch(api, seed=SIP) as (_, client):
        expected = await whole(client)
        assert expected[0].worklogs == 12_299
        assert await in_parts(client, 800) == expected


ZONE = dt.timezone(dt.timedelta(hours=9))


@pytest.mark.parametrize(
    "bounds",
    [
        {"since": dt.date(2024, 3, 9), "until": dt.date(2024, 6, 11)},
        {"since": dt.datetime(2024, 3, 9, 5, tzinfo=ZONE), "until": dt.datetime(2024, 6, 11, 5, 30, tzinfo=ZONE)},
        {"since": dt.date(2030, 1, 1)},
        {"filter": WorklogFilter(user_ids=["u-3"])},
    ],
)
async def test_bounds_and_choices_hold_in_parts(launch, api, whole, in_parts, some_worklogs, bounds):
    async with launch(api, seed=some_worklogs(600)) as (_, client):
        assert await in_parts(client, 50, **bounds) == await whole(client, **bounds)


async def test_bounds_of_creation_hold_in_parts(launch, whole, in_parts):
    async with launch("2.0", sample=600) as (emulator, client):
        dates = sorted(each["createdDate"] for each in emulator.worklogs() if each.get("createdDate"))
        low, high = (dt.datetime.fromisoformat(dates[place]) for place in (100, 400))
        bounds = {"filter": WorklogFilter(created_since=low, created_until=high)}
        expected = await whole(client, **bounds)
        assert 200 < expected[0].worklogs < 400
        assert await in_parts(client, 50, **bounds) == expected


async def test_no_worklog_at_all_gives_empty_files(launch, api, whole, in_parts):
    async with launch(api) as (_, client):
        expected = await whole(client)
        assert expected[0].worklogs == 0
        assert await in_parts(client, 50) == expected


async def test_a_day_of_more_worklogs_than_a_part_and_a_commit_may_have(
    launch, api, whole, in_parts, some_worklogs, monkeypatch
):
    monkeypatch.setattr(parting, "GROUP_ROWS", 30)
    monkeypatch.setattr(merging, "COMMIT_ROWS", 60)
    seed = [*some_worklogs(300, hours=0), *some_worklogs(400)[300:]]
    async with launch(api, seed=seed) as (_, client):
        assert await in_parts(client, 20) == await whole(client)


@BOTH
@pytest.mark.parametrize("deviation", ["unsorted", "ignored", "offset", "unknown fields"])
async def test_a_server_that_deviates_gives_the_same_bytes(hostile, connect, api, whole, in_parts, deviation):
    if deviation == "unsorted":
        hostile.order = "unsorted"
    elif deviation == "ignored":
        hostile.ignore_dates = hostile.ignore_start = True
    elif deviation == "offset":
        hostile.by_instant, hostile.offset = True, "+02:00"
    else:
        hostile.overlay = {"*": {"mood": {"b": 2, "a": 1}}}
    async with connect(api) as client:
        bounds = {} if deviation == "ignored" else {"since": dt.date(2024, 3, 3), "until": dt.date(2024, 5, 3)}
        (expected, digests), (found, found_digests) = (
            await whole(client, **bounds),
            await in_parts(client, 90, **bounds),
        )
        assert found_digests == digests
        assert attrs.evolve(found, single_partition=False) == attrs.evolve(expected, single_partition=False)


@BOTH
async def test_rows_that_cannot_be_read_are_told_in_the_end(hostile, connect, api, whole, tmp_path, parts_folder):
    hostile.overlay = {f"wl-0{number}11": {"worklogMinutes": "x", "minutes": "x"} for number in range(6)}
    told = {"whole": [], "parts": []}
    async with connect(api) as client:
        settings = {
            name: Settings(on_bad_row=lambda row, _, seen=seen: seen.append(row)) for name, seen in told.items()
        }
        expected, _ = await whole(client, settings["whole"])
        plan = await begin(client, request_of(client), parts_folder, rows_per_part=100)
        for part in plan.parts[1:]:
            await write_part(client, plan, part.number, parts_folder, keep_bad_rows=True)
        with pytest.raises(MalformedResponseError):  # the first part is made by the merge, and may have none
            await merge(client, plan, parts_folder, {tmp_path / "out.ndjson": "ndjson"})
        found = await merge(client, plan, parts_folder, {tmp_path / "out.ndjson": "ndjson"}, settings["parts"])
        assert told["parts"] == told["whole"]
        assert found == expected
        assert found.bad_rows == 6
        assert (tmp_path / "out.ndjson").read_bytes() == (tmp_path / "whole" / "out.ndjson").read_bytes()


# -- changes while parts are written ----------------------------------------------------------------------------------


async def test_what_changes_while_parts_are_written_is_fetched_at_the_end_on_2_0(launch, whole, in_parts):
    async with launch("2.0", sample=600) as (emulator, client):
        rows = sorted(emulator.worklogs(), key=lambda each: each["worklogDate"])

        def change(number):
            if number == 3:
                emulator.update(rows[5]["worklogId"], {"worklogMinutes": 7, "worklogDate": rows[-5]["worklogDate"]})
                emulator.update(rows[-9]["worklogId"], {"worklogDate": rows[2]["worklogDate"]})
                emulator.delete(rows[9]["worklogId"])
                emulator.create({name: rows[0][name] for name in ("itemId", "userId", "worklogDate", "worklogMinutes")})

        found, digests = await in_parts(client, 50, meanwhile=change)
        assert found.verdict == "verified"
        assert (found.resumed, found.changes.removed, found.worklogs) == (0, 1, 600)
        assert digests == (await whole(client))[1]


async def test_a_worklog_that_moves_between_parts_comes_once_on_1_0(launch, whole, in_parts):
    async with launch("1.0", sample=600) as (emulator, client):
        rows = sorted(emulator.worklogs(), key=lambda each: each["worklogDate"])

        def change(number):
            if number == 3:  # it was read at its first date, and comes again
                emulator.update(rows[5]["worklogId"], {"worklogDate": rows[-5]["worklogDate"]})

        found, digests = await in_parts(client, 50, meanwhile=change)
        assert (found.verdict, found.worklogs) == ("not verifiable", 600)
        assert digests == (await whole(client))[1]


@pytest.mark.parametrize("same_run", [True, False])
async def test_dates_that_an_earlier_run_has_read_are_compared_on_1_0(
    launch, whole, parts_folder, digests, tmp_path, same_run
):
    async with launch("1.0", sample=600) as (emulator, client):
        plan = await begin(client, request_of(client), parts_folder)
        for part in plan.parts[:5]:
            await write_part(client, plan, part.number, parts_folder)
        emulator.delete(min(emulator.worklogs(), key=lambda each: each["worklogDate"])["worklogId"])
        if not same_run:
            plan = await begin(client, request_of(client), parts_folder)
        targets = {tmp_path / f"out.{name}": name for name in ("ndjson", "csv", "parquet")}
        found = await merge(client, plan, parts_folder, targets)
        assert (found.resumed > 0) == (not same_run)
        assert found.worklogs == (600 if same_run else 599)
        assert (digests(tmp_path) == (await whole(client))[1]) == (not same_run)


# -- parts that are missing, or not what was written ------------------------------------------------------------------


async def test_the_merge_makes_what_is_missing_or_poisoned(launch, api, whole, parts_folder, digests, tmp_path):
    async with launch(api, sample=600) as (_, client):
        expected = await whole(client)
        plan = await begin(client, request_of(client), parts_folder, rows_per_part=60)
        results = [await write_part(client, plan, part.number, parts_folder) for part in plan.parts]
        (parts_folder / results[0].name).unlink()
        (parts_folder / results[2].name).write_bytes(b"")
        (parts_folder / f"{results[3].name}.new").write_bytes(b"left by a task that was killed")
        (parts_folder / "mine.parquet").write_bytes(b"of the user")
        targets = {tmp_path / f"out.{name}": name for name in ("ndjson", "csv", "parquet")}
        result = await merge(client, plan, parts_folder, targets, keep_parts=True)
        assert (result, digests(tmp_path)) == expected
        manifest = json.loads((parts_folder / "manifest.json").read_text())
        assert manifest["worklogs"] == 600
        assert [part["name"] for part in manifest["parts"]] == [
            find_part(plan, part.number, parts_folder).name for part in plan.parts
        ]
        assert [part["number"] for part in manifest["parts"]] == list(range(len(plan.parts)))
        for part in manifest["parts"]:
            assert part["size"] == (parts_folder / part["name"]).stat().st_size
            assert part["sha256"] in part["name"]
        kept = {"manifest.json", "plan.json.lock", "mine.parquet", *(part["name"] for part in manifest["parts"])}
        assert {path.name for path in parts_folder.iterdir()} == kept


async def test_parts_that_are_kept_are_read_by_the_manifest(in_parts, launch, tmp_path, monkeypatch, capsys):
    page = (PAGES / "reference" / "files.md").read_text(encoding="utf-8")
    [code] = re.findall(r"^```python\n(.*?manifest.*?)^```", page, re.MULTILINE | re.DOTALL)
    async with launch("2.0", sample=300) as (emulator, client):
        await in_parts(client, 60, keep=True)
        minutes = sum(each["worklogMinutes"] for each in emulator.worklogs())
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    shown = capsys.readouterr().out
    assert " 300 " in shown
    assert f" {float(minutes)} " in shown


async def test_a_part_that_changes_after_it_was_looked_at_is_an_error_and_then_made_again(
    launch, whole, parts_folder, tmp_path, monkeypatch
):
    async with launch("2.0", sample=300) as (_, client):
        plan = await begin(client, request_of(client), parts_folder, rows_per_part=60)
        write_manifest, poisoned = merging._write_manifest, []

        def poison(folder, plan, parts):
            write_manifest(folder, plan, parts)
            if not poisoned:
                poisoned.append(folder / parts[1].name)
                poisoned[0].write_bytes(b"nonsense" * 10)

        monkeypatch.setattr(merging, "_write_manifest", poison)
        targets = {tmp_path / "out.ndjson": "ndjson"}
        with pytest.raises(StorageError, match="was changed while it was being read"):
            await merge(client, plan, parts_folder, targets)
        await merge(client, plan, parts_folder, targets)
        await whole(client)
        assert (tmp_path / "out.ndjson").read_bytes() == (tmp_path / "whole" / "out.ndjson").read_bytes()


# -- stores and runs that were interrupted ----------------------------------------------------------------------------


class Interrupted(Exception):  # noqa: N818 - not an error
    pass


@pytest.fixture
def interrupting(monkeypatch):
    """``with interrupting(2)``: commits are small, and after two of them comes `Interrupted`."""

    @contextlib.contextmanager
    def run(commits):
        append, done = Store.append, []

        def armed(self, *args, **meta):
            if len(done) == commits:
                raise Interrupted
            done.append(1)
            append(self, *args, **meta)

        with monkeypatch.context() as patch, pytest.raises(Interrupted):  # noqa: PT012 - the caller's block raises
            patch.setattr(merging, "COMMIT_ROWS", 100)
            patch.setattr(phases, "COMMIT_ROWS", 100)
            patch.setattr(Store, "append", armed)
            yield

    return run


@pytest.mark.parametrize("way", ["merged again", "exported on one machine", "both"])
async def test_an_interrupted_merge_goes_on_either_way(
    launch, api, whole, parts_folder, digests, tmp_path, interrupting, way
):
    async with launch(api, sample=600) as (_, client):
        expected, expected_digests = await whole(client)
        targets, request = {tmp_path / f"out.{name}": name for name in ("ndjson", "csv", "parquet")}, request_of(client)
        plan = await begin(client, request, parts_folder, rows_per_part=60)
        with interrupting(3):
            await merge(client, plan, parts_folder, targets)
        if way == "both":
            with interrupting(1):
                await export_to_files(client, targets, request)
        if way == "exported on one machine":
            result = await export_to_files(client, targets, request)
            assert 0 < result.resumed < 600
        else:
            result = await merge(client, await begin(client, request, parts_folder), parts_folder, targets)
            assert result.resumed == 600
        assert digests(tmp_path) == expected_digests
        assert (result.verdict, result.worklogs) == (expected.verdict, expected.worklogs)


async def test_a_merge_that_was_interrupted_is_compared_on_1_0(launch, parts_folder, tmp_path, interrupting):
    async with launch("1.0", sample=300) as (emulator, client):
        targets, request = {tmp_path / "out.ndjson": "ndjson"}, request_of(client)
        plan = await begin(client, request, parts_folder, rows_per_part=60)
        with interrupting(2):
            await merge(client, plan, parts_folder, targets)
        emulator.delete(emulator.worklogs()[7]["worklogId"])
        result = await merge(client, await begin(client, request, parts_folder), parts_folder, targets)
        assert (result.worklogs, result.changes.removed) == (299, 1)


async def test_a_merge_that_ends_before_the_store_is_deduplicated_goes_on(
    launch, whole, parts_folder, tmp_path, monkeypatch
):
    def interrupted(_store, **_meta):
        raise Interrupted

    async with launch("2.0", sample=300) as (_, client):
        targets = {tmp_path / "out.ndjson": "ndjson"}
        plan = await begin(client, request_of(client), parts_folder, rows_per_part=60)
        with monkeypatch.context() as patch:
            patch.setattr(Store, "deduplicate", interrupted)
            with pytest.raises(Interrupted):
                await merge(client, plan, parts_folder, targets)
        assert (await merge(client, plan, parts_folder, targets)).worklogs == 300
        await whole(client)
        assert (tmp_path / "out.ndjson").read_bytes() == (tmp_path / "whole" / "out.ndjson").read_bytes()


async def test_a_part_that_one_machine_has_cut_in_two_is_not_taken_for_merged(launch, parts_folder):
    async with launch("2.0", sample=100) as (_, client):
        plan = await begin(client, request_of(client), parts_folder, rows_per_part=60)
    state = plan.parts[0].state(done=True)
    halved = attrs.evolve(state, until=state.until - dt.timedelta(days=3))
    assert merging._is_in({0: state}, plan, 0)
    assert not merging._is_in({0: halved}, plan, 0)
    assert not merging._is_in({0: plan.parts[0].state()}, plan, 0)
    assert not merging._is_in({}, plan, 0)


async def test_a_store_that_one_machine_has_begun_is_refused(launch, api, parts_folder, tmp_path):
    async with launch(api, sample=100) as (_, client):
        request, target = request_of(client), tmp_path / "out.csv"
        with Store(tmp_path / "out.csv.resume", request=request) as store:
            store.set_meta(mark="2024-01-01T00:00:00+00:00")
        plan = await begin(client, request, parts_folder)
        with pytest.raises(StoreError, match="was begun without these parts"):
            await merge(client, plan, parts_folder, {target: "csv"})


async def test_a_store_that_has_all_parts_needs_none_of_them(launch, api, parts_folder, tmp_path):
    """The files could not be written, and meanwhile the parts are gone."""
    async with launch(api, sample=300) as (emulator, client):
        plan = await begin(client, request_of(client), parts_folder, rows_per_part=60)
        target = tmp_path / "out.duckdb"
        lock = FileLock(target)
        with pytest.raises(TargetBusyError):
            await merge(client, plan, parts_folder, {target: "duckdb"})
        lock.close()
        for path in parts_folder.glob("part-*"):
            path.unlink()
        asked = len(emulator.request_log)
        result = await merge(client, plan, parts_folder, {target: "duckdb"})
        assert result.worklogs == 300
        assert len(emulator.request_log) - asked < 10


async def test_a_doubt_keeps_the_plan_for_the_next_run(launch, parts_folder, tmp_path):
    async with launch("2.0", sample=600) as (emulator, client):
        first = await begin(client, request_of(client), parts_folder, rows_per_part=100)
        for part in first.parts:
            await write_part(client, first, part.number, parts_folder)
        for each in emulator.worklogs()[:100]:
            emulator.delete(each["worklogId"])
        targets = {tmp_path / "out.csv": "csv"}
        result = await merge(client, await begin(client, first.request, parts_folder), parts_folder, targets)
        assert (result.verdict, result.worklogs) == ("not verified", 600)
        again = await begin(client, first.request, parts_folder)
        assert again.key == first.key
        result = await merge(client, again, parts_folder, targets, Settings(accept_deletions=True))
        assert (result.verdict, result.worklogs) == ("verified", 500)
        assert kept_plan(parts_folder) is None


async def test_parts_that_are_kept_are_not_taken_for_those_of_the_next_export(launch, api, parts_folder, tmp_path):
    async with launch(api, sample=300) as (emulator, client):
        targets, request = {tmp_path / "out.ndjson": "ndjson"}, request_of(client)
        first = await begin(client, request, parts_folder, rows_per_part=60)
        await merge(client, first, parts_folder, targets, keep_parts=True)
        emulator.delete(emulator.worklogs()[7]["worklogId"])
        before = {path.name for path in parts_folder.glob("part-*")}
        second = await begin(client, request, parts_folder, rows_per_part=60)
        second = attrs.evolve(second, now=second.now + dt.timedelta(seconds=1))  # the emulator's Date has seconds
        keep_plan(parts_folder, second)
        result = await merge(client, second, parts_folder, targets, keep_parts=True)
        assert result.worklogs == 299
        assert not before & {path.name for path in parts_folder.glob("part-*")}


async def test_progress_has_a_phase_of_its_own(launch, parts_folder, tmp_path):
    shown = []
    async with launch("2.0", sample=300) as (_, client):
        plan = await begin(client, request_of(client), parts_folder, rows_per_part=60)
        settings = Settings(on_progress=lambda progress: shown.append(progress.phase))
        await merge(client, plan, parts_folder, {tmp_path / "out.csv": "csv"}, settings)
    assert list(dict.fromkeys(shown)) == ["merging", "checking", "writing"]
