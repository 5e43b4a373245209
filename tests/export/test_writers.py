"""Files that are made of a store."""

from __future__ import annotations

import csv
import datetime as dt
import errno
import gzip
import hashlib
import io
import json
import os
import stat
import time

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from python_calamine import CalamineWorkbook

from tracket_async._files import part_of
from tracket_async.errors import StorageError, StoreError, TargetBusyError, UsageError
from tracket_async.export import tables, text
from tracket_async.export.formats import FileOptions
from tracket_async.export.store import Store
from tracket_async.export.writers import write_file
from tracket_async.models import Worklog

FORMATS = ("parquet", "csv", "ndjson", "duckdb", "xlsx")


def contents(path, name):
    """What a file has, as dicts of text forms."""
    if name == "ndjson":
        return [json.loads(line) for line in path.read_text().splitlines()]
    if name == "csv":
        return list(csv.DictReader(io.StringIO(path.read_bytes().decode(), newline="")))
    if name == "parquet":
        return pq.read_table(path).to_pylist()
    if name == "xlsx":
        header, *rows = CalamineWorkbook.from_path(path).get_sheet_by_name("worklogs").iter_rows()
        return [dict(zip(header, row, strict=True)) for row in rows]
    with duckdb.connect(str(path), read_only=True) as database:
        return database.sql("SELECT * FROM worklogs").to_arrow_table().to_pylist()


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_has_every_worklog_once_in_order_of_date_and_id(deduplicated, make_worklog, tmp_path, name):
    same = make_worklog(1).date
    store = deduplicated([make_worklog(5), make_worklog(2, date=same), make_worklog(1), make_worklog(1)])
    target = tmp_path / "out"
    told = []
    assert write_file(store, target, name, on_worklogs=told.append) == 3
    assert sum(told) == 3
    assert [row["id"] for row in contents(target, name)] == ["wl-00001", "wl-00002", "wl-00005"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert {file.name for file in tmp_path.iterdir()} == {
        "out", "store.duckdb", "store.duckdb.lock", "store.duckdb.wal", ".store.duckdb.tmp",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("parquet", ['{"a":[1],"note":"=1"}', "{}"]),
        ("duckdb", ['{"a":[1],"note":"=1"}', "{}"]),
        ("ndjson", [{"a": [1], "note": "=1"}, {}]),
        ("csv", ['{"a":[1],"note":"=1"}', ""]),
        ("xlsx", ['{"a":[1],"note":"=1"}', ""]),
    ],
)
def test_unknown_fields_are_written_when_they_are_asked_for(deduplicated, make_worklog, tmp_path, name, written):
    store = deduplicated([make_worklog(1, extra={"note": "=1", "a": [1]}), make_worklog(2)])
    write_file(store, tmp_path / "out", name, FileOptions(columns=("id", "extra")))
    found = contents(tmp_path / "out", name)
    assert [row["id"] for row in found] == ["wl-00001", "wl-00002"]
    assert [row["extra"] for row in found] == written
    write_file(store, tmp_path / "out", name)
    assert not any("extra" in row for row in contents(tmp_path / "out", name))


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_store_gives_a_file_with_its_columns_and_nothing_else(deduplicated, tmp_path, name):
    target = tmp_path / "out"
    assert write_file(deduplicated([]), target, name) == 0
    assert contents(target, name) == []
    if name == "parquet":
        assert tuple(pq.read_schema(target).names) == text.NAMES
    if name == "csv":
        assert target.read_bytes() == text.csv_header()


@pytest.mark.parametrize("name", FORMATS)
def test_columns_are_those_asked_for_in_their_order(deduplicated, tmp_path, name):
    write_file(deduplicated([3]), tmp_path / "out", name, FileOptions(columns=["minutes", "id"]))
    [row] = contents(tmp_path / "out", name)
    assert list(row) == ["minutes", "id"]
    assert float(row["minutes"]) == 3.0


@pytest.mark.parametrize("name", FORMATS)
def test_the_old_file_stays_until_the_new_one_is_whole(deduplicated, tmp_path, name):
    target = tmp_path / "out"
    target.write_text("old")

    def interrupt(_count):
        assert target.read_text() == "old"
        raise KeyError

    with pytest.raises(KeyError):
        write_file(deduplicated([1]), target, name, on_worklogs=interrupt)
    assert target.read_text() == "old"
    write_file(deduplicated([]), target, name)
    assert len(contents(target, name)) == 1


def test_parquet_is_typed_compressed_and_says_what_it_is(deduplicated, tmp_path):
    target = tmp_path / "out.parquet"
    write_file(deduplicated([1, 2, 3]), target, "parquet")
    schema = pq.read_schema(target)
    assert schema.field("date").type == pa.timestamp("us", tz="UTC")
    assert schema.field("minutes").type == pa.float64()
    assert schema.field("day").type == pa.date32()
    assert not schema.field("day").nullable
    assert schema.field("custom_fields").type == pa.string()
    assert pq.ParquetFile(target).metadata.row_group(0).column(0).compression == "ZSTD"
    assert json.loads(schema.metadata[b"tracket"]) == {
        "api": "2.0",
        "filter": {
            "since": "2024-01-01T00:00:00+00:00",
            "until": None,
            "created_since": None,
            "created_until": None,
            "updated_since": None,
            "updated_until": None,
            "user_ids": [],
            "category_ids": [],
            "project_ids": [],
            "item_ids": [],
            "approval_statuses": [],
        },
        "schema_version": 1,
        "tz": "UTC",
    }


def test_a_duckdb_file_says_the_same_in_a_table(deduplicated, tmp_path):
    write_file(deduplicated([1]), tmp_path / "out.duckdb", "duckdb")
    with duckdb.connect(str(tmp_path / "out.duckdb"), read_only=True) as database:
        about = {name: json.loads(value) for name, value in database.execute("SELECT * FROM about").fetchall()}
    assert about["api"] == "2.0"
    assert about["schema_version"] == 1
    assert about["filter"]["since"] == "2024-01-01T00:00:00+00:00"
    assert about["tz"] == "UTC"


@pytest.mark.parametrize("name", FORMATS)
def test_a_day_is_that_of_the_stores_time_zone(deduplicated, make_worklog, tmp_path, name):
    late = make_worklog(1, date=dt.datetime(2024, 3, 1, 23, 30, tzinfo=dt.UTC))
    store = deduplicated([late])
    for tz, day in (("UTC", "2024-03-01"), ("Europe/Amsterdam", "2024-03-02")):
        store.set_tz(tz)
        write_file(store, tmp_path / "out", name)
        assert [str(row["day"]) for row in contents(tmp_path / "out", name)] == [day]


@pytest.mark.parametrize("name", ["csv", "ndjson", "duckdb"])
@pytest.mark.parametrize("tz", ["America/Los_Angeles", "Pacific/Kiritimati", "UTC"])
def test_a_day_that_the_calendar_does_not_have_is_that_of_utc(deduplicated, make_worklog, tmp_path, name, tz):
    ends = [dt.datetime(1, 1, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 12, 31, 23, tzinfo=dt.UTC)]
    store = deduplicated([make_worklog(number, date=date) for number, date in enumerate(ends, 1)])
    store.set_tz(tz)
    write_file(store, tmp_path / "out", name)
    assert [str(row["day"]) for row in contents(tmp_path / "out", name)] == ["0001-01-01", "9999-12-31"]


@pytest.mark.parametrize("tz", ["UTC", "America/Los_Angeles"])
def test_a_day_does_not_depend_on_the_time_zone_of_the_reader(deduplicated, make_worklog, tmp_path, tz):
    store = deduplicated([make_worklog(1, date=dt.datetime(2024, 3, 1, tzinfo=dt.UTC))])
    write_file(store, tmp_path / "out.duckdb", "duckdb")
    store.close()
    for path in (tmp_path / "out.duckdb", store.path):
        with duckdb.connect(str(path), read_only=True) as database:
            database.execute(f"SET TimeZone = '{tz}'")
            assert database.execute("SELECT day FROM worklogs").fetchall() == [(dt.date(2024, 3, 1),)]


@pytest.mark.parametrize("name", ["parquet", "csv", "ndjson", "xlsx", "csv.gz", "ndjson.gz"])
def test_the_same_worklogs_give_the_same_bytes_however_they_came(
    tmp_path, request_2024, make_worklog, batch_of, monkeypatch, name
):
    monkeypatch.setattr(tables, "WORKLOGS", 7)
    worklogs = [make_worklog(number) for number in range(60)]
    digests = set()
    for turn in range(3):
        with Store(tmp_path / f"{turn}.duckdb", request=request_2024) as store:
            if turn == 0:
                store.append([batch_of(worklogs)], {})
                store.deduplicate()
            elif turn == 1:
                for at in range(0, 60, 9):
                    store.append([batch_of(worklogs[::-1][at : at + 9])], {})
                store.append([batch_of(worklogs[:5])], {})
                store.deduplicate()
            else:
                store.append([batch_of([make_worklog(9, minutes=1.0), make_worklog(999)])], {})
                store.deduplicate()
                store.upsert(batch_of(worklogs), leaving=["wl-00999"])
            target = tmp_path / f"{turn}.{name}"
            monkeypatch.setattr(time, "time", lambda turn=turn: 1e9 * turn)
            write_file(store, target, name.removesuffix(".gz"))
        digests.add(hashlib.sha256(target.read_bytes()).hexdigest())
    assert len(digests) == 1
    if name.endswith(".gz"):
        (tmp_path / "0.out").write_bytes(gzip.decompress(target.read_bytes()))
        assert len(contents(tmp_path / "0.out", name.removesuffix(".gz"))) == 60
    else:
        assert len(contents(target, name)) == 60


def test_a_day_that_is_cut_without_a_rest_has_no_empty_row_group(deduplicated, make_worklog, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "WORKLOGS", 5)
    noon = make_worklog(12).date
    write_file(deduplicated([make_worklog(number, date=noon) for number in range(10)]), tmp_path / "out", "parquet")
    metadata = pq.ParquetFile(tmp_path / "out").metadata
    assert [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)] == [5, 5]


def test_a_row_group_is_a_slice(deduplicated, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "WORKLOGS", 7)
    write_file(deduplicated(range(20)), tmp_path / "out", "parquet")
    metadata = pq.ParquetFile(tmp_path / "out").metadata
    assert [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)] == [7, 7, 6]


def test_csv_is_defused_unless_raw_is_asked_for(deduplicated, make_worklog, tmp_path):
    store = deduplicated([make_worklog(1, description="=1+1")])
    write_file(store, tmp_path / "out", "csv", FileOptions(columns=["description"]))
    assert (tmp_path / "out").read_bytes() == b"description\r\n'=1+1\r\n"
    write_file(store, tmp_path / "out", "csv", FileOptions(columns=["description"], raw=True))
    assert (tmp_path / "out").read_bytes() == b"description\r\n=1+1\r\n"


def test_csv_has_a_byte_order_mark_and_semicolons_on_request(deduplicated, make_worklog, tmp_path):
    store = deduplicated([make_worklog(1, description='a;b,"c"')])
    options = FileOptions(columns=["id", "description", "minutes"], bom=True, delimiter=";")
    write_file(store, tmp_path / "out", "csv", options)
    assert (tmp_path / "out").read_bytes() == (b'\xef\xbb\xbfid;description;minutes\r\nwl-00001;"a;b,""c""";1.0\r\n')


@pytest.mark.parametrize("name", ["csv", "ndjson"])
def test_gzip_is_the_same_text_compressed(deduplicated, tmp_path, name):
    store = deduplicated(range(30))
    write_file(store, tmp_path / "plain", name)
    write_file(store, tmp_path / f"out.{name}.gz", name)
    written = (tmp_path / f"out.{name}.gz").read_bytes()
    assert gzip.decompress(written) == (tmp_path / "plain").read_bytes()
    assert written[3:8] == bytes(5)  # RFC 1952: no name of a file, no time


@pytest.mark.parametrize("name", ["parquet", "duckdb", "xlsx"])
def test_only_text_is_compressed_with_gzip(deduplicated, tmp_path, name):
    with pytest.raises(UsageError, match=f"only CSV and NDJSON are compressed with gzip; leave out .gz for {name}"):
        write_file(deduplicated([]), tmp_path / "out.gz", name)


@pytest.mark.parametrize("name", FORMATS)
def test_no_symbolic_link_is_followed(deduplicated, tmp_path, name):
    (tmp_path / "elsewhere").write_text("keep")
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="symbolic link"):
        write_file(deduplicated([1]), tmp_path / "out", name)
    assert (tmp_path / "elsewhere").read_text() == "keep"


@pytest.mark.parametrize("name", FORMATS)
def test_a_target_that_is_being_written_is_busy(deduplicated, tmp_path, name):
    store, target = deduplicated([1]), tmp_path / "out"

    def again(_count):
        with pytest.raises(TargetBusyError):
            write_file(store, target, name)

    assert write_file(store, target, name, on_worklogs=again) == 1
    assert len(contents(target, name)) == 1
    assert not part_of(target).exists()


def test_the_store_itself_is_no_target(deduplicated, tmp_path):
    store = deduplicated([1])
    with pytest.raises(UsageError, match="is the store itself"):
        write_file(store, tmp_path / "store.duckdb", "duckdb")
    assert store.count() == 1


def test_an_unknown_format_and_an_unknown_column_are_refused(deduplicated, tmp_path):
    with pytest.raises(UsageError, match="no format 'ods'; the formats are parquet, csv, ndjson, duckdb, xlsx"):
        write_file(deduplicated([]), tmp_path / "out", "ods")
    with pytest.raises(UsageError, match="is no column"):
        write_file(deduplicated([]), tmp_path / "out", "csv", FileOptions(columns=["hours"]))


def test_a_store_that_is_not_at_its_end_gives_no_file(store, tmp_path):
    with pytest.raises(StoreError, match="does not have all worklogs yet"):
        write_file(store, tmp_path / "out", "csv")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["parquet", "csv", "ndjson", "xlsx"])
def test_a_full_disk_leaves_the_old_file(deduplicated, tmp_path, monkeypatch, name):
    def fsync(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    target, store = tmp_path / "out", deduplicated([1])
    target.write_text("old")
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError, match="Free some space"):
        write_file(store, target, name)
    assert target.read_text() == "old"
    assert not part_of(target).exists()


TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
MOMENTS = st.datetimes(timezones=st.just(dt.UTC)) | st.datetimes(timezones=st.just(dt.UTC)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)
NUMBERS = st.floats(min_value=0, allow_infinity=False)
WORKLOGS = st.lists(
    st.builds(
        Worklog,
        id=TEXT.filter(bool),
        user_id=TEXT,
        date=MOMENTS,
        minutes=NUMBERS,
        item_id=st.none() | TEXT,
        description=st.none() | TEXT,
        billable_minutes=st.none() | NUMBERS,
        created_date=st.none() | MOMENTS,
        updated_date=st.none() | MOMENTS,
        approval_status=st.none() | TEXT,
        custom_fields=st.dictionaries(
            TEXT, st.none() | TEXT | st.integers(-(2**53), 2**53) | st.lists(TEXT), max_size=3
        ),
    ),
    max_size=6,
    unique_by=lambda worklog: worklog.id,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(worklogs=WORKLOGS)
def test_what_comes_out_of_a_store_is_the_text_of_the_worklogs_that_went_in(store, batch_of, tmp_path, worklogs):
    store.database.execute("DELETE FROM tracket.rows")
    if worklogs:
        store.append([batch_of(worklogs)], {})
    store.set_meta(state="checking")
    ordered = text.cells_of(sorted(worklogs, key=lambda worklog: (worklog.date, worklog.id)))
    write_file(store, tmp_path / "out", "ndjson")
    assert (tmp_path / "out").read_bytes() == text.ndjson_encoder()(ordered)
    write_file(store, tmp_path / "out", "csv")
    assert (tmp_path / "out").read_bytes() == text.csv_header() + text.csv_encoder()(ordered)
    write_file(store, tmp_path / "out", "parquet")
    again = pq.read_table(tmp_path / "out").to_pylist()
    expected = sorted(worklogs, key=lambda worklog: (worklog.date, worklog.id))
    assert [row["date"] for row in again] == [worklog.date for worklog in expected]
    assert [row["minutes"] for row in again] == [worklog.minutes for worklog in expected]
