"""Rows that cannot be read: the store keeps them, the rest is exported, and nothing is counted twice."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import json

import pytest

from tracket_async._http.limits import Clock
from tracket_async.client import TracketClient
from tracket_async.config import RetryPolicy
from tracket_async.errors import MalformedResponseError, PermissionDeniedError
from tracket_async.export.phases import Settings
from tracket_async.export.run import export_to_files, export_to_store, request_of
from tracket_async.export.store import Store
from tracket_async.export.sync import DateBounds, sync_store
from tracket_async.models import BadRow

QUICK = Clock(sleep=lambda seconds: asyncio.sleep(seconds / 200))
AT_ONCE = RetryPolicy(attempts=2, wait_initial=0, wait_initial_rate_limited=0, wait_jitter=0)
MINUTES = {"minutes": "many", "worklogMinutes": "many"}
NO_ID = {"id": None, "worklogId": None}
BOTH = pytest.mark.parametrize("version", ["1.0", "2.0"])


class Told:
    """The rows that a run has told, as their ids and their text."""

    def __init__(self):
        self.rows = []

    def __call__(self, row, error):
        self.rows.append((error.worklog_id, json.loads(row), str(error)))

    @property
    def ids(self):
        return [ident for ident, _, _ in self.rows]

    @property
    def settings(self):
        return Settings(concurrency=1, on_bad_row=self, clock=QUICK)


@pytest.fixture
def told():
    return Told


@pytest.fixture
def connect(hostile):
    """A client of a server of 300 worklogs, five a day from 1 March 2024."""
    hostile.add(*hostile.make_rows(300))
    hostile.page_size = 40

    def client(version="2.0"):
        return TracketClient.from_env(hostile.env(version), retry=AT_ONCE, clock=QUICK)

    return client


def ids_of(path):
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


@BOTH
async def test_the_rest_is_exported_and_the_result_counts_the_bad_rows(hostile, connect, told, tmp_path, version):
    hostile.overlay = {"wl-0007": MINUTES, "wl-0200": NO_ID}
    found, target = told(), tmp_path / "out.ndjson"
    async with connect(version) as client:
        result = await export_to_files(client, {target: "ndjson"}, request_of(client), found.settings)
    assert (result.worklogs, result.bad_rows) == (298, 2)
    assert result.verdict == ("verified" if version == "2.0" else "not verifiable")
    assert ids_of(target) == sorted(hostile.rows.keys() - hostile.overlay.keys())
    assert sorted(found.ids, key=str) == [None, "wl-0007"]
    shown = [hostile._shown(hostile.rows[ident], int(version[0])) for ident in ("wl-0007", "wl-0200")]
    assert all(row in shown for _, row, _ in found.rows)
    assert any("inutes of worklog 'wl-0007' should be a finite number" in error for _, _, error in found.rows)
    assert not list(tmp_path.glob("*.resume"))


@BOTH
async def test_without_on_bad_row_it_is_an_error_that_names_the_row(hostile, connect, tmp_path, version):
    hostile.overlay = {"wl-0007": MINUTES}
    async with connect(version) as client:
        with pytest.raises(MalformedResponseError, match="'wl-0007'"):
            await export_to_files(client, {tmp_path / "out.csv": "csv"}, request_of(client), Settings(clock=QUICK))


@BOTH
async def test_after_an_interruption_every_bad_row_is_told_once(hostile, connect, told, tmp_path, version):
    hostile.overlay = {f"wl-{number:04}": MINUTES for number in range(0, 300, 9)} | {"wl-0004": NO_ID, "wl-0299": NO_ID}
    target, cursors = tmp_path / "out.ndjson", []

    def fail(request):
        cursors.extend(filter(None, [request.cursor]))
        return 403 if request.cursor and len(cursors) == 4 else None

    hostile.fail, first, second = fail, told(), told()
    async with connect(version) as client:
        with pytest.raises(PermissionDeniedError):
            await export_to_files(client, {target: "ndjson"}, request_of(client), first.settings)
        assert first.rows == []
        with Store(tmp_path / "out.ndjson.resume") as store:
            assert 0 < store.count_bad_rows() < len(hostile.overlay)
        result = await export_to_files(client, {target: "ndjson"}, request_of(client), second.settings)
    assert result.bad_rows == len(second.rows) == len(hostile.overlay)
    assert {ident for ident in second.ids if ident} == {
        ident for ident, odd in hostile.overlay.items() if odd is MINUTES
    }
    assert ids_of(target) == sorted(hostile.rows.keys() - hostile.overlay.keys())


@pytest.fixture
async def synced(hostile, connect, told, tmp_path):
    """``await synced()``: sync a store of the server; the result, what it told, and the ids in the store."""

    async def sync(version="2.0", **settings):
        found = told()
        async with connect(version) as client:
            with Store(tmp_path / "store.duckdb", request=request_of(client)) as store:
                if store.state == "fetching":
                    await export_to_store(client, store, found.settings)
                    found.rows.clear()
                result = await sync_store(client, store, found.settings, **settings)
                ids = {ident for (ident,) in store.database.rows("SELECT id FROM worklogs")}
                assert store.count_bad_rows() == result.bad_rows == len(found.rows)
        return result, found, ids

    return sync


def change(hostile, ident, **changes):
    hostile.add(dataclasses.replace(hostile.rows[ident], updated=dt.datetime.now(dt.UTC), **changes))


async def test_a_row_that_was_mended_is_a_worklog_again(hostile, synced):
    hostile.overlay = {"wl-0007": MINUTES}
    result, found, ids = await synced()
    assert (result.verdict, found.ids, "wl-0007" in ids) == ("verified", ["wl-0007"], False)
    hostile.overlay = {}
    change(hostile, "wl-0007")
    result, found, ids = await synced()
    assert (result.verdict, found.ids, ids) == ("verified", [], hostile.rows.keys())


async def test_a_worklog_that_cannot_be_read_any_more_leaves_the_others(hostile, synced):
    await synced()
    hostile.overlay = {"wl-0007": MINUTES}
    change(hostile, "wl-0007")
    for _ in range(2):
        result, found, ids = await synced()
        assert (result.verdict, result.total, found.ids) == ("verified", 300, ["wl-0007"])
        assert ids == hostile.rows.keys() - {"wl-0007"}


@pytest.mark.parametrize("odd", [MINUTES, NO_ID])
async def test_a_bad_row_that_was_deleted_is_forgotten(hostile, synced, odd):
    hostile.overlay = {"wl-0007": odd, "wl-0100": odd}
    assert len((await synced())[1].rows) == 2
    del hostile.rows["wl-0007"]
    result, found, ids = await synced()
    assert (result.verdict, len(found.rows)) == ("verified", 1)
    assert ids == hostile.rows.keys() - {"wl-0100"}


async def test_a_worklog_that_was_deleted_is_noticed_beside_bad_rows(hostile, synced):
    hostile.overlay = {"wl-0007": MINUTES, "wl-0008": NO_ID}
    await synced()
    del hostile.rows["wl-0100"]
    result, found, ids = await synced()
    assert (result.verdict, result.gone, len(found.rows)) == ("verified", 1, 2)
    assert ids == hostile.rows.keys() - {"wl-0007", "wl-0008"}


@BOTH
async def test_a_reconciliation_brings_bad_rows_up_to_date(hostile, synced, version):
    hostile.overlay = {"wl-0007": MINUTES, "wl-0008": NO_ID, "wl-0009": MINUTES, "wl-0010": MINUTES}
    await synced(version)
    del hostile.rows["wl-0007"], hostile.rows["wl-0008"]
    del hostile.overlay["wl-0009"]
    hostile.overlay["wl-0020"] = MINUTES
    _, found, ids = await synced(version, reconcile=DateBounds())
    assert sorted(found.ids) == ["wl-0010", "wl-0020"]
    assert ids == hostile.rows.keys() - {"wl-0010", "wl-0020"}


async def test_some_dates_that_are_compared_keep_the_bad_rows_of_others(hostile, synced):
    hostile.overlay = {"wl-0007": MINUTES, "wl-0008": NO_ID, "wl-0200": NO_ID, "wl-0201": MINUTES}
    await synced("1.0")
    result, found, _ = await synced("1.0", reconcile=DateBounds(since=dt.date(2024, 4, 1), until=dt.date(2024, 4, 20)))
    assert (result.bad_rows, len(found.rows)) == (4, 4)


def bad(ident, row=b"{}"):
    return BadRow(row=row, error=MalformedResponseError("no", json_path="$", worklog_id=ident))


def test_a_store_keeps_each_bad_row_once_and_no_worklog_of_its_id(store, make_worklog, batch_of, ids_in):
    store.append(
        [batch_of([make_worklog(1), make_worklog(2)])], {0: {}}, [bad("wl-00002"), bad("x"), bad(None, b"[1]")]
    )
    store.append([batch_of([make_worklog(3)])], {}, [bad("x", b'{"new":1}'), bad(None, b"[1]"), bad(None, b"[2]")])
    assert store.count_bad_rows() == 4
    store.deduplicate()
    assert [(one.id, one.row) for one in store.bad_rows()] == [
        (None, b"[1]"), (None, b"[2]"), ("x", b'{"new":1}'),
    ]  # fmt: skip
    assert ids_in(store) == ["wl-00001", "wl-00002", "wl-00003"]
    store.keep_bad_rows([bad("wl-00001")])
    assert ids_in(store) == ["wl-00002", "wl-00003"]
    store.upsert(batch_of([make_worklog(1)]))
    assert [one.id for one in store.bad_rows()] == [None, None, "x"]
    assert store.other_bad_rows(["[1]"]) == (["x"], ["[2]"])
    store.forget_bad_rows(["[2]"])
    store.delete_with_tombstones(["x", "wl-00003"], found=None)
    assert [one.row for one in store.bad_rows()] == [b"[1]"]
