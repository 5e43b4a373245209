"""Worklogs as Arrow record batches, and as a table for pandas, polars and DuckDB."""

from __future__ import annotations

import datetime as dt
import re
import sys
import textwrap
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tracket_async import MissingExtraError, TracketClient, Worklog, WorklogFilter, WorklogTable, frames
from tracket_async._api.fast import row_of
from tracket_async.emulator.faults import Status
from tracket_async.errors import ClientStateError, MalformedResponseError, ServerError, UsageError
from tracket_async.export.formats import FileOptions
from tracket_async.export.run import export_to_files, request_of

SAMPLE = pytest.mark.tracket(sample=321)


async def batches_of(iterator):
    return [batch async for batch in iterator]


@SAMPLE
@pytest.mark.parametrize("api", ["1.0", "2.0"])
async def test_batches_have_every_worklog_once_with_typed_columns(tracket_emulator, api):
    async with TracketClient.from_env(tracket_emulator.env(api)) as client:
        batches = await batches_of(client.worklogs.arrow())
    assert {type(batch) for batch in batches} == {pa.RecordBatch}
    assert all(batch.schema == frames.arrow_schema(frames.ALL_NAMES) for batch in batches)
    ids = [id_ for batch in batches for id_ in batch.column("id").to_pylist()]
    assert sorted(ids) == sorted(each["worklogId"] for each in tracket_emulator.worklogs())
    for batch in batches:
        moments = batch.column("date").to_pylist()
        assert batch.column("day").to_pylist() == [moment.date() for moment in moments]


@SAMPLE
async def test_rows_are_gathered_into_batches(tracket_client, monkeypatch):
    monkeypatch.setattr(frames, "BATCH_ROWS", 150)
    sizes = [batch.num_rows for batch in await batches_of(tracket_client.worklogs.arrow(concurrency=1))]
    assert sizes[:-1]
    assert all(150 <= size < 250 for size in sizes[:-1])
    monkeypatch.setattr(frames, "BATCH_ROWS", 1)
    sizes = [batch.num_rows for batch in await batches_of(tracket_client.worklogs.arrow(concurrency=1))]
    assert sum(sizes) == 321
    assert min(sizes) > 0


@SAMPLE
async def test_batches_come_in_order_on_request(tracket_client, monkeypatch):
    monkeypatch.setattr(frames, "BATCH_ROWS", 10)
    batches = await batches_of(tracket_client.worklogs.arrow(ordered=True))
    dates = [date for batch in batches for date in batch.column("date").to_pylist()]
    assert dates == sorted(dates)


@SAMPLE
async def test_a_table_is_the_same_as_an_exported_file(tracket_client, tmp_path):
    client, columns = tracket_client, frames.ALL_NAMES
    since, until = dt.date(2024, 1, 1), dt.date(2024, 12, 31)
    table = await client.worklogs.table(since=since, filter=WorklogFilter(until=until))
    targets, request = {tmp_path / "o.parquet": "parquet"}, request_of(client, since=since, until=until)
    await export_to_files(client, targets, request, file_options=FileOptions(columns=columns))
    exported = pq.read_table(tmp_path / "o.parquet")
    assert 0 < len(table) == exported.num_rows < 321
    assert pa.table(table).equals(exported)
    assert table.schema.equals(exported.schema)
    assert repr(table) == f"<WorklogTable of {len(table)} worklogs>"


async def test_a_table_is_ordered_by_date_and_then_by_id(tracket_client, tracket_emulator):
    for number in range(20):
        day = f"2026-03-{2 - number % 2:02}T00:00:00.000Z"
        tracket_emulator.create({"itemId": "1", "userId": "2", "worklogDate": day, "worklogMinutes": 30})
    found = pa.table(await tracket_client.worklogs.table()).select(["date", "id"]).to_pylist()
    keys = [(row["date"], row["id"]) for row in found]
    assert keys == sorted(keys)
    assert len(set(keys)) == 20


def test_a_batch_has_unknown_fields_and_the_day_in_utc():
    moments = [
        dt.datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC),
        dt.datetime(1, 1, 1, tzinfo=dt.UTC),
        dt.datetime(9999, 12, 31, 23, 59, tzinfo=dt.UTC),
    ]
    extra = {"b": 1, "a": [2]}
    rows = [row_of(Worklog(id="1", user_id=None, date=moment, minutes=1.0, extra=extra)) for moment in moments]
    batch = frames.with_day(frames.arrow_batch(rows))
    assert batch.column("day").to_pylist() == [moment.date() for moment in moments]
    assert set(batch.column("extra").to_pylist()) == {'{"a":[2],"b":1}'}


@SAMPLE
async def test_duckdb_queries_a_table_where_it_lies(tracket_client):
    worklogs = await tracket_client.worklogs.table()
    [(count, minutes)] = duckdb.sql("SELECT count(*), sum(minutes) FROM worklogs").fetchall()
    assert count == len(worklogs) == 321
    assert minutes == pytest.approx(sum(pa.table(worklogs).column("minutes").to_pylist()))


@SAMPLE
async def test_pandas_takes_a_table(tracket_client):
    pandas = pytest.importorskip("pandas")
    frame = (await tracket_client.worklogs.table()).to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == 321
    assert str(frame.dtypes["day"]).startswith("datetime64[")
    assert str(frame.dtypes["date"]) == "datetime64[us, UTC]"
    assert str(frame.dtypes["minutes"]) == "float64"


@SAMPLE
async def test_polars_takes_a_table(tracket_client):
    polars = pytest.importorskip("polars")
    table = await tracket_client.worklogs.table()
    frame = table.to_polars()
    assert frame.schema["day"] == polars.Date
    assert frame.schema["date"] == polars.Datetime("us", "UTC")
    assert frame.equals(polars.DataFrame(table))
    assert len(frame) == 321


def test_a_library_that_is_not_installed_is_named(monkeypatch):
    table = WorklogTable(None)
    for name, convert in (("pandas", table.to_pandas), ("polars", table.to_polars)):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingExtraError, match=f"this needs {name}, which is not installed.* pip install {name}"):
            convert()


def test_frames_are_made_by_their_libraries(monkeypatch):
    table = SimpleNamespace(to_pandas=lambda *, date_as_object: ("pandas", date_as_object))
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "polars", SimpleNamespace(from_arrow=lambda table: ("polars", table)))
    assert WorklogTable(table).to_pandas() == ("pandas", False)
    assert WorklogTable(table).to_polars() == ("polars", table)


async def test_a_bad_row_is_handed_over_and_the_others_are_in_the_table(hostile, connect):
    hostile.overlay = {"wl-0003": {"minutes": "many"}, "wl-0004": {"newField": [1]}}
    async with connect() as client:
        with pytest.raises(MalformedResponseError, match="wl-0003"):
            await client.worklogs.table()
        bad = []
        table = await client.worklogs.table(on_bad_row=lambda _, error: bad.append(error.worklog_id))
    assert bad == ["wl-0003"]
    assert len(table) == 599
    extra = dict(zip(*pa.table(table).select(["id", "extra"]).to_pydict().values(), strict=True))
    assert extra.pop("wl-0004") == '{"newField":[1]}'
    assert set(extra.values()) == {"{}"}


async def test_without_pyarrow_nothing_is_sent(tracket_client, tracket_emulator, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"this needs pyarrow.*\[export\]"):
        await tracket_client.worklogs.table()
    assert len(tracket_emulator.request_log) == 0


async def test_a_mistake_is_told_at_once(tracket_client):
    with pytest.raises(UsageError):
        tracket_client.worklogs.arrow(concurrency=0)
    with pytest.raises(UsageError):
        tracket_client.worklogs.arrow(since=dt.date(2026, 1, 1), filter=WorklogFilter(since=dt.date(2026, 1, 1)))
    with pytest.raises(UsageError):
        tracket_client.worklogs.arrow(filter=WorklogFilter(descending=True))


async def test_after_a_failure_the_iteration_does_not_pass_for_complete(tracket_client, tracket_emulator):
    tracket_emulator.faults.add(Status(501), method="GET", nth=1)
    batches = tracket_client.worklogs.arrow()
    with pytest.raises(ServerError):
        await anext(batches)
    with pytest.raises(ClientStateError):
        await anext(batches)


async def test_no_worklogs_are_a_table_with_all_columns(tracket_client):
    table = await tracket_client.worklogs.table()
    assert len(table) == 0
    assert tuple(table.schema.names) == frames.ALL_NAMES
    assert table._repr_html_() == "<table><tr></tr></table><p>0 worklogs.</p>"


async def test_a_notebook_shows_the_first_rows_and_runs_no_description(tracket_client, tracket_emulator):
    for number in range(1, 13):
        day, text = f"2026-03-{number:02}T00:00:00.000Z", "<script>x</script>" + "y" * 60
        tracket_emulator.create(
            {"itemId": "1", "userId": "2", "worklogDate": day, "worklogMinutes": 30, "description": text}
        )
    shown = (await tracket_client.worklogs.table())._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;x&lt;/script&gt;" + "y" * 42 + "…</td>" in shown
    assert shown.count("<tr>") == 11
    assert "<th>day</th>" in shown
    assert "<th>extra</th>" not in shown
    assert shown.endswith("<p>12 worklogs; these are the first 10.</p>")


DOCUMENT = (Path(__file__).parents[1] / "docs" / "pages" / "how-to" / "frames.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)


def namespace_of(code, **names):
    namespace = {"dt": dt, "duckdb": duckdb, "pyarrow": pa, "aclosing": aclosing, **names}
    exec(code, namespace)
    return namespace


@SAMPLE
async def test_the_code_of_the_docs_sums_hours_in_three_libraries(tracket_client):
    pytest.importorskip("pandas")
    read = namespace_of(BLOCKS[0].replace("2026", "2023"), polars=pytest.importorskip("polars"))["read"]
    by_month, by_user, by_approval = await read(tracket_client)
    total = by_month.sum()
    assert total == pytest.approx(by_user["minutes"].sum())
    assert total == pytest.approx(sum(hours for _, hours in by_approval))
    assert total > 0


@SAMPLE
async def test_the_code_of_the_docs_runs_in_a_notebook(tracket_emulator, monkeypatch):
    for name, value in tracket_emulator.env().items():
        monkeypatch.setenv(name, value)
    code = f"async def cells():\n{textwrap.indent(BLOCKS[1], '    ')}    return worklogs"
    worklogs = await namespace_of(code.replace("2026", "2023"), TracketClient=TracketClient)["cells"]()
    assert len(worklogs) > 0


@SAMPLE
async def test_the_code_of_the_docs_writes_batches_as_they_come(tracket_client, tmp_path, monkeypatch):
    monkeypatch.setattr(frames, "BATCH_ROWS", 100)
    await namespace_of(BLOCKS[2])["write"](tracket_client, tmp_path / "o.parquet")
    assert pq.ParquetFile(tmp_path / "o.parquet").metadata.num_rows == 321
