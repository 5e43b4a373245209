"""A whole export into files."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import io
import json
import threading

import pyarrow.parquet as pq
import pytest

from tracket_async.emulator import faults
from tracket_async.errors import (
    IncompleteExportError,
    PermissionDeniedError,
    StorageError,
    StoreError,
    TargetBusyError,
    UsageError,
)
from tracket_async.export import run as files
from tracket_async.export import text as cells
from tracket_async.export import writers as formats
from tracket_async.export.phases import Settings
from tracket_async.export.run import FileOptions, export_to_files, request_of, sync_store
from tracket_async.export.store import Store


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
    ordered = cells.cells_of(sorted(worklogs, key=lambda worklog: (worklog.date, worklog.id)))
    assert (tmp_path / "out.ndjson").read_bytes() == cells.ndjson_encoder()(ordered)
    assert (tmp_path / "out.csv").read_bytes() == cells.csv_header() + cells.csv_encoder()(ordered)


async def test_a_layout_chooses_columns_and_leaves_formulas(running, tmp_path, some_worklog):
    async with running(seed=[some_worklog(1, description="=1")]) as (_, client):
        file_options = FileOptions(columns=["description", "id"], raw=True)
        await export_to_files(client, {str(tmp_path / "o"): "csv"}, request_of(client), file_options=file_options)
    assert (tmp_path / "o").read_bytes() == b"description,id\r\n=1,wl-00001\r\n"
    with pytest.raises(UsageError, match="no column 'x'"):
        FileOptions(columns=["x"])


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
        ({"o": "xlsx"}, UsageError, "no format 'xlsx'"),
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
    monkeypatch.setattr(formats, "_CHUNK", 10)
    loop, target, heard = asyncio.get_running_loop(), tmp_path / "out.ndjson", []
    real, chunks, stopped = files.write_file, [], threading.Event()

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
        monkeypatch.setattr(files, "write_file", write_file)
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
    assert {(event.phase, event.total) for event in heard} == {("writing", 300)}


async def test_an_error_while_writing_keeps_the_store(running, tmp_path, monkeypatch):
    def write_file(*_, **__):
        raise StorageError("full")

    async with running(sample=30) as (_, client):
        monkeypatch.setattr(files, "write_file", write_file)
        with pytest.raises(StorageError, match="full"):
            await export_to_files(client, {tmp_path / "o": "csv"}, request_of(client))
        assert [path.name for path in tmp_path.iterdir()] == ["o.resume"]
