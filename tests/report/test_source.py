"""The worklogs of stores and export files."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys

import duckdb
import pytest
import xlsxwriter

from tracket_async.errors import MissingExtraError, StorageError, StoreError, TargetBusyError, UsageError
from tracket_async.export.store import Store
from tracket_async.report.source import Selection, open_worklogs

TYPICAL = ("parquet", "csv")
ENDINGS = ("parquet", "csv", "ndjson", "duckdb", "xlsx")
LATE = "2026-03-31T23:30:00+00:00"


def read(path, columns="day, user_id, minutes, billable_minutes", **settings):
    with open_worklogs(path, **settings) as worklogs:
        rows = worklogs.rows(f"SELECT {columns} FROM worklogs ORDER BY ALL")
        assert worklogs.number == len(rows)
        return rows


def days(path, **settings):
    return [str(day) for (day,) in read(path, "day", **settings)]


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_and_the_store_have_the_same_worklogs(work, store_of, file_of, ending):
    worklogs = [
        work(
            "2026-03-02", 90, 30.5, user_id="=1+1", category_id="a,b", project_id="'p", item_id='"', description="a\nb"
        ),
        work("2026-03-03", 0.25, None, user_id="ж", approval_status=None, description="'\r\n,\""),
    ]
    columns = "day, user_id, category_id, project_id, item_id, approval_status, minutes, billable_minutes"
    found = read(file_of(worklogs, ending), columns)
    assert found == read(store_of(worklogs), columns)
    assert found == [
        (dt.date(2026, 3, 2), "=1+1", "a,b", "'p", '"', "approved", 90.0, 30.5),
        (dt.date(2026, 3, 3), "ж", None, None, None, None, 0.25, None),
    ]


@pytest.mark.parametrize("ending", ["csv.gz", "ndjson.gz"])
def test_a_compressed_file_is_read_like_another(work, file_of, ending):
    worklogs = [work(), work("2026-03-03", billable=1.5)]
    assert read(file_of(worklogs, ending)) == read(file_of(worklogs, ending.removesuffix(".gz")))


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_csv_for_excel_is_read_like_another(work, file_of, delimiter):
    worklogs = [work(user_id="a;b\t", billable=1.5), work("2026-03-03", description=";;;;\t\t,,,,\n")]
    path = file_of(worklogs, "csv", name="excel.csv", options={"delimiter": delimiter, "bom": True})
    assert read(path) == read(file_of(worklogs, "csv"))


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_name_with_what_duckdb_takes_for_a_pattern_is_only_that_file(work, file_of, tmp_path, ending):
    file_of([work(), work()], ending, name=f"it's 1.{ending}")
    path = file_of([work()], ending).rename(tmp_path / f"it's [1]*.{ending}")
    assert len(read(path)) == 1


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_without_worklogs_has_none(file_of, ending):
    assert read(file_of([], ending)) == []


@pytest.mark.parametrize("ending", TYPICAL)
def test_columns_that_a_file_does_not_have_are_null(work, file_of, ending):
    path = file_of([work(billable=5.0)], ending, columns=["day", "minutes"])
    assert read(path) == [(dt.date(2026, 3, 2), None, 60.0, None)]


@pytest.mark.parametrize("columns", [["date", "id"], ["minutes", "id"]])
def test_a_file_without_a_column_of_dates_or_minutes_is_no_export(work, file_of, columns):
    for ending in ("parquet", "csv"):
        with pytest.raises(UsageError, match=r"has no columns of dates and minutes\. Give a store, or a file that"):
            read(file_of([], ending, columns=columns))


def test_worklogs_without_a_date_or_minutes_are_refused_with_their_number(tmp_path):
    path = tmp_path / "a.ndjson"
    for lines, what in (
        ('{"minutes": 1}\n{"day": "2026-03-02", "minutes": 1}\n', "date"),
        ('{"day": "2026-03-02"}\n{}', "date"),
    ):
        path.write_text(lines, encoding="utf-8")
        with pytest.raises(UsageError, match=f"has no {what} in 1 of 2 worklogs"):
            read(path)
    path.write_text('{"day": "2026-03-02"}', encoding="utf-8")
    with pytest.raises(UsageError, match="has no minutes in 1 of 1 worklogs"):
        read(path)


# -- days --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", TYPICAL)
def test_moments_are_counted_on_the_days_of_the_time_zone_that_is_asked_for(work, file_of, ending):
    path = file_of([work(LATE)], ending, api="1.0")
    assert days(path) == ["2026-03-31"]
    assert days(path, tz="Europe/Amsterdam") == ["2026-04-01"]
    path = file_of([work(LATE)], ending, api="1.0", tz="Europe/Amsterdam", name=f"amsterdam.{ending}")
    assert days(path) == days(path, tz="Europe/Amsterdam") == ["2026-04-01"]
    assert days(path, tz="America/New_York") == ["2026-03-31"]


@pytest.mark.parametrize("ending", TYPICAL)
def test_days_of_api_2_are_of_no_time_zone(work, file_of, ending):
    path = file_of([work("2026-03-31")], ending)
    with open_worklogs(path, tz="America/New_York") as worklogs:
        assert worklogs.tz is None
    assert days(path, tz="America/New_York") == ["2026-03-31"]


def test_a_store_counts_days_in_its_time_zone_unless_another_is_asked_for(work, store_of):
    path = store_of([work(LATE)], api="1.0", tz="Europe/Amsterdam")
    with open_worklogs(path) as worklogs:
        assert worklogs.tz == "Europe/Amsterdam"
    assert days(path) == ["2026-04-01"]
    assert days(path, tz="UTC") == ["2026-03-31"]


def test_a_file_without_dates_cannot_be_moved_to_another_time_zone(work, file_of):
    path = file_of([work(LATE)], columns=["day", "minutes"], api="1.0")
    with pytest.raises(UsageError, match="has no date in 1 of 1 worklogs"):
        read(path, tz="Europe/Amsterdam")


def test_an_unknown_time_zone_is_refused(work, store_of):
    with pytest.raises(UsageError, match="there is no time zone of this name"):
        read(store_of([work()]), tz="Mars/Olympus")


# -- selections --------------------------------------------------------------------------------------------------------


def chosen(**bounds):
    return Selection(bounds=bounds)


@pytest.mark.parametrize("ending", TYPICAL)
def test_both_bounds_are_inclusive_and_a_date_is_a_whole_day(work, file_of, ending):
    path = file_of([work(f"2026-03-0{day}") for day in range(1, 6)], ending)
    selection = chosen(since=dt.date(2026, 3, 2), until=dt.date(2026, 3, 4), created_since=None)
    assert days(path, selection=selection) == ["2026-03-02", "2026-03-03", "2026-03-04"]
    moment = dt.datetime(2026, 3, 4, 18, tzinfo=dt.UTC)
    assert days(path, selection=chosen(since=moment)) == ["2026-03-04", "2026-03-05"]


def test_bounds_of_moments_are_days_of_the_time_zone_or_moments(work, store_of):
    path = store_of([work(LATE), work("2026-03-31T10:00:00+00:00")], api="1.0")
    april = chosen(since=dt.date(2026, 4, 1))
    assert days(path, tz="Europe/Amsterdam", selection=april) == ["2026-04-01"]
    assert days(path, selection=april) == []
    noon = dt.datetime(2026, 3, 31, 12, tzinfo=dt.UTC)
    assert len(read(path, selection=chosen(since=noon))) == len(read(path, selection=chosen(until=noon))) == 1


def test_bounds_of_changes_leave_out_what_has_no_such_date(work, store_of):
    at = dt.datetime(2026, 3, 5, 12, tzinfo=dt.UTC)
    path = store_of([work(user_id="a", created_date=at), work(user_id="b", updated_date=at), work(user_id="c")])
    for bounds, users in (
        ({"created_since": at, "created_until": at}, "a"),
        ({"created_since": dt.date(2026, 3, 6)}, ""),
        ({"updated_until": dt.date(2026, 3, 5)}, "b"),
        ({"updated_since": at + dt.timedelta(microseconds=1)}, ""),
    ):
        assert "".join(user for (user,) in read(path, "user_id", selection=chosen(**bounds))) == users


def test_values_select_and_an_empty_choice_is_every_value(work, store_of):
    path = store_of([work(user_id="it's"), work(user_id="b"), work(user_id="c", approval_status="open")])
    for values, number in (
        ({"user_id": ["it's", "c"]}, 2),
        ({"user_id": ["c"], "approval_status": ["approved"]}, 0),
        ({"user_id": []}, 3),
    ):
        assert len(read(path, selection=Selection(values=values))) == number


# -- what cannot be read -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "names no format. Its name should end with one of .parquet, "),
        ("a.csv", b"", "has no header"),
        ("a.csv", b"minutes,minutes\r\n1,2\r\n", "has no header"),
        ("a.csv", b"\xff\xfe\r\n", "has no header"),
        ("a.csv", b'"a\r\n', "has no columns of dates and minutes"),
        ("a.csv", b"day,minutes\r\n2026-03-02,ninety\r\n", "cannot be read as worklogs: .*ninety"),
        ("a.csv", b"day,minutes\r\n,1\r\n", "has no date in 1 of 1"),
        ("a.xlsx", b"PK", "cannot be read as a workbook: "),
        ("a.csv.gz", b"\x1f\x8bno", "has no header"),
        ("a.ndjson", b"{", "has no JSON object in its first line"),
        ("a.ndjson", b"{}\n{", "cannot be read as worklogs: "),
        ("a.ndjson", b'{"day": "2026-03-02", "minutes": 1e308}\n' * 2, "too large to be added up|cannot be read"),
        ("a.parquet", b"PAR1", "cannot be read as worklogs: "),
        ("a.duckdb", b"\0" * 8 + b"DUCK" + b"\0" * 9000, "cannot be read as worklogs: "),
    ],
)
def test_a_file_that_is_no_export_is_refused_with_a_reason(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"no\.csv cannot be read: No such file"):
        read(tmp_path / "no.csv")
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        read(tmp_path)


def test_a_file_that_goes_away_meanwhile_is_an_error_of_storage(work, file_of, monkeypatch):
    path = file_of([work()], "csv")

    def gone(_path):
        raise FileNotFoundError(2, "No such file")

    monkeypatch.setattr("tracket_async.report.source._opened", gone)
    with pytest.raises(StorageError, match=r"cannot read .*worklogs\.csv: No such file"):
        read(path)


def test_a_store_that_is_not_complete_is_refused(work, store_of):
    with pytest.raises(StoreError, match="does not have all worklogs yet"):
        read(store_of([work()], state="fetching"))
    assert len(read(store_of([work()], state="checking", name="checking.duckdb"))) == 1


def test_a_store_that_another_process_writes_is_busy(work, store_of):
    path = store_of([work()])
    code = (
        "import sys; from tracket_async.export.store import Store\n"
        "with Store(sys.argv[1]): print(1, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with pytest.raises(TargetBusyError, match="is being written by another program"):
            read(path)
        process.stdin.close()
    assert len(read(path)) == 1


def test_a_store_is_left_as_it_is(work, store_of):
    path = store_of([work()])
    before = path.read_bytes()
    read(path)
    assert path.read_bytes() == before
    with Store(path) as store:
        assert store.count() == 1


def test_a_duckdb_file_of_a_stranger_opens_no_other_file(tmp_path):
    secret = tmp_path / "secret.csv"
    secret.write_text("day,minutes\n2026-03-02,1\n", encoding="utf-8")
    path = tmp_path / "a.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"CREATE VIEW worklogs AS FROM read_csv('{secret}')")
    with pytest.raises(UsageError, match="is a DuckDB file without the worklogs of an export"):
        read(path)
    with duckdb.connect(str(path)) as connection:
        connection.execute("DROP VIEW worklogs")
        connection.execute(f"CREATE MACRO epoch_us(x) AS (SELECT minutes FROM read_csv('{secret}'))")
        connection.execute("CREATE TABLE worklogs AS SELECT DATE '2026-03-02' AS day, 90 AS minutes, 7 AS user_id")
    assert read(path) == [(dt.date(2026, 3, 2), "7", 90.0, None)]


def test_parquet_of_another_program_is_read_by_the_names_of_its_columns(tmp_path):
    path = tmp_path / "a.parquet"
    duckdb.execute(f"COPY (SELECT DATE '2026-03-02' AS day, 90 AS minutes, 'x' AS more) TO '{path}' (FORMAT parquet)")
    assert read(path) == [(dt.date(2026, 3, 2), None, 90.0, None)]


def test_numbers_in_place_of_ids_are_text(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"day": "2026-03-02", "minutes": 1, "user_id": 58, "x": [1]}) + "\n", encoding="utf-8")
    assert read(path) == [(dt.date(2026, 3, 2), "58", 1.0, None)]
    book = tmp_path / "a.xlsx"
    with xlsxwriter.Workbook(book) as workbook:
        sheet = workbook.add_worksheet()
        for row, cells in enumerate((["user_id", "x", "day", "minutes"], [58, 1, "2026-03-02", 1.5])):
            sheet.write_row(row, 0, cells)
    assert read(book) == [(dt.date(2026, 3, 2), "58", 1.5, None)]


def test_a_workbook_is_known_by_its_first_bytes_and_may_be_empty(work, file_of, tmp_path):
    given = file_of([work()], "xlsx")
    named = given.rename(tmp_path / "a.csv")
    assert len(read(named)) == 1
    with xlsxwriter.Workbook(tmp_path / "b.xlsx") as workbook:
        workbook.add_worksheet()
    with pytest.raises(UsageError, match=r"b\.xlsx has no columns of dates and minutes"):
        read(tmp_path / "b.xlsx")


def test_without_duckdb_the_extra_is_named(work, store_of, monkeypatch):
    path = store_of([work()])
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(MissingExtraError, match="duckdb"):
        read(path)
