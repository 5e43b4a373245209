"""The text of worklogs: lines of NDJSON and records of CSV."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracket_async import frames
from tracket_async._api.fast import row_of
from tracket_async._timestamps import write_moment
from tracket_async.errors import UsageError
from tracket_async.export import text
from tracket_async.models import ApprovalStatus, Worklog

MOMENT = dt.datetime(2024, 10, 22, 18, 45, 31, 370000, tzinfo=dt.UTC)
WORKLOG = Worklog(
    id="wl-1",
    user_id="u-1",
    date=MOMENT,
    minutes=90,
    description='He said "ö, 日本"\nand left',
    approval_status=ApprovalStatus.APPROVED,
    custom_fields={"z": "1", "a": {"y": 1, "b": None}},
)


def ndjson(*worklogs, columns=text.NAMES):
    return text.ndjson_encoder(columns)(text.cells_of(worklogs, columns)).decode()


def csv_rows(*worklogs, columns=text.NAMES, raw=False):
    written = text.csv_encoder(columns, raw=raw)(text.cells_of(worklogs, columns)).decode()
    return list(csv.reader(io.StringIO(written, newline="")))


def test_the_columns_are_the_attributes_of_a_worklog_in_their_order():
    assert text.NAMES[:5] == ("id", "day", "user_id", "date", "minutes")
    assert len(text.NAMES) == 18
    assert text.NAMES[-1] == "custom_fields"
    assert (*text.NAMES, "extra") == frames.ALL_NAMES


def test_a_line_of_ndjson_has_every_attribute_nulls_too():
    line = json.loads(ndjson(WORKLOG))
    assert tuple(line) == text.NAMES
    assert line["description"] == WORKLOG.description
    assert line["minutes"] == 90.0
    assert line["date"] == "2024-10-22T18:45:31.370Z"
    assert line["item_id"] is None
    assert line["approval_status"] == "approved"
    assert line["custom_fields"] == WORKLOG.custom_fields


def test_ndjson_is_utf_8_with_one_line_each_and_sorted_custom_fields():
    written = ndjson(WORKLOG, WORKLOG)
    assert written.count("\n") == 2
    assert written.endswith("\n")
    assert "日本" in written
    assert '"minutes":90.0' in written
    assert '"custom_fields":{"a":{"b":null,"y":1},"z":"1"}' in written


def test_ndjson_of_no_worklogs_is_nothing():
    assert ndjson() == ""


def test_columns_can_be_chosen_in_any_order():
    assert ndjson(WORKLOG, columns=("minutes", "id")) == '{"minutes":90.0,"id":"wl-1"}\n'
    assert csv_rows(WORKLOG, columns=("minutes", "id")) == [["90.0", "wl-1"]]
    assert text.csv_header(("minutes", "id")) == b"minutes,id\r\n"
    assert text.columns_named(["minutes", "id"]) == ("minutes", "id")
    assert text.columns_named(None) == text.NAMES


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (["id", "hours"], "at place 2 is no column\\. The"),
        (["id", "id"], "'id' is named twice"),
        ([], "no column is named"),
    ],
)
def test_columns_that_make_no_sense_are_refused_by_name(columns, words):
    with pytest.raises(UsageError, match=words):
        text.columns_named(columns)


def test_a_name_that_is_no_column_is_not_shown_but_what_may_be_meant_is():
    with pytest.raises(UsageError, match=r"Did you mean minutes\?") as caught:
        text.columns_named(["id", "minuts"])
    with pytest.raises(UsageError, match="place 1") as secret:
        text.columns_named(["canary-0123456789"])
    assert "minuts" not in str(caught.value)
    assert "canary" not in str(secret.value)
    assert "mean" not in str(secret.value)


def test_a_name_that_is_no_time_zone_is_not_shown():
    with pytest.raises(UsageError, match="no time zone of this name") as caught:
        text.time_zone("canary-0123456789")
    assert "canary" not in str(caught.value)


def test_a_record_of_csv_reads_back_as_it_was():
    [row] = csv_rows(WORKLOG)
    found = dict(zip(text.NAMES, row, strict=True))
    assert found["description"] == WORKLOG.description
    assert found["date"] == "2024-10-22T18:45:31.370Z"
    assert found["minutes"] == "90.0"
    assert found["item_id"] == ""
    assert json.loads(found["custom_fields"]) == WORKLOG.custom_fields


def test_no_custom_fields_are_an_empty_cell_in_csv():
    assert csv_rows(Worklog(id="1", user_id="2", date=MOMENT, minutes=0), columns=["id", "custom_fields"]) == [
        ["1", ""]
    ]


def test_csv_ends_its_records_with_crlf_and_quotes_a_lone_cr():
    written = text.csv_encoder(["description"])([["a\rb", "c\nd", "e"]])
    assert written == b'"a\rb"\r\n"c\nd"\r\ne\r\n'


@pytest.mark.parametrize(
    "cell", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\nx", "=", "=\nx", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20x"]
)
def test_text_that_a_spreadsheet_would_run_is_escaped(cell):
    assert text.escape_formula(cell) == "'" + cell
    assert text.unescape_formula("'" + cell) == cell
    for name in set(text.NAMES) - frames.MOMENTS - frames.NUMBERS - {frames.DAY} - frames.JSON:
        [record] = csv.reader(io.StringIO(text.csv_encoder([name])([[cell]]).decode(), newline=""))
        assert record == ["'" + cell], name


@pytest.mark.parametrize("cell", ["'s avonds", "'", "''", "'=1"])
def test_an_apostrophe_gets_one_more_so_that_it_can_be_read_back(cell):
    assert text.escape_formula(cell) == "'" + cell
    assert text.unescape_formula("'" + cell) == cell


@pytest.mark.parametrize("cell", ["", "a", "'tis", "'", "a'=1", "' =1", "=1"])
def test_only_the_apostrophe_of_an_escape_is_taken_away(cell):
    assert text.unescape_formula(cell) == cell


def test_text_is_left_as_it_is_when_it_is_harmless_or_raw_is_asked_for():
    assert text.escape_formula("a=1") == "a=1"
    assert text.escape_formula("") == ""
    assert text.csv_encoder(["id"])([["a-1", ""]]) == b'a-1\r\n""\r\n'
    assert text.csv_encoder(["id"], raw=True)([["=1"]]) == b"=1\r\n"


def test_numbers_are_not_escaped():
    odd = Worklog(id="1", user_id="2", date=MOMENT, minutes=-5.0)
    assert csv_rows(odd, columns=["minutes"]) == [["-5.0"]]


MOMENTS = st.datetimes(timezones=st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=2))])) | st.none()


@given(moments=st.lists(MOMENTS | MOMENTS.map(lambda moment: moment and moment.replace(microsecond=370_000))))
@settings(deadline=None, derandomize=True)
def test_a_column_of_moments_is_the_text_of_each(moments):
    worklogs = [Worklog(id="w", user_id="u", date=moment, minutes=1) for moment in moments]
    assert text.cells_of(worklogs, ["date"]) == [[moment and write_moment(moment) for moment in moments]]


def test_rows_have_the_cells_of_their_worklogs():
    worklogs = [
        Worklog(
            id=str(number),
            user_id="u",
            date=dt.datetime(2024, 10, 22, 18, 45, 31, number * 370_001, tzinfo=dt.UTC),
            minutes=float(number),
            billable_minutes=None,
            custom_fields={"r": "o"} if number else {},
        )
        for number in range(3)
    ]
    rows = [row_of(worklog) for worklog in worklogs]
    assert [*map(list, text.cells_of_rows(rows))] == text.cells_of(worklogs)
    columns = ["minutes", "custom_fields", "date"]
    assert [*map(list, text.cells_of_rows(rows, columns))] == text.cells_of(worklogs, columns)
    assert [*map(list, text.cells_of_rows([], columns))] == [[], [], []]


def test_days_that_rows_share_are_each_written():
    first, second = (dt.datetime(2024, 10, day, tzinfo=dt.UTC) for day in (22, 23))
    late = dt.datetime(2024, 10, 23, 1, 2, 3, 4000, tzinfo=dt.UTC)
    rows = [row_of(Worklog(id="w", user_id="u", date=date, minutes=1)) for date in (first, first, second, late, second)]
    assert text.cells_of_rows(rows, ["date", "created_date"]) == [
        [write_moment(row.date) for row in rows],
        [None] * 5,
    ]


LATE = dt.datetime(2024, 3, 1, 23, 30, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("name", "day"), [("UTC", "2024-03-01"), ("Europe/Amsterdam", "2024-03-02"), ("America/Los_Angeles", "2024-03-01")]
)
def test_the_day_of_a_moment_is_that_of_the_time_zone(name, day):
    zone, worklog = text.time_zone(name), attrs.evolve(WORKLOG, date=LATE)
    assert text.cells_of([worklog], ["day", "date"], zone=zone) == [[day], ["2024-03-01T23:30:00.000Z"]]
    assert text.cells_of_rows([row_of(worklog)], ["date", "day"], zone=zone) == [["2024-03-01T23:30:00.000Z"], [day]]


def test_a_day_that_the_time_zone_cannot_express_is_that_of_utc():
    worklog = attrs.evolve(WORKLOG, date=dt.datetime.max.replace(tzinfo=dt.UTC))
    assert text.cells_of([worklog], ["day"], zone=text.time_zone("Asia/Tokyo")) == [["9999-12-31"]]


@pytest.mark.parametrize("name", ["Amsterdam", "", "../etc/passwd", "Europe"])
def test_an_unknown_time_zone_is_refused(name):
    with pytest.raises(UsageError, match=r"there is no time zone .* Give a name like Europe/Amsterdam"):
        text.time_zone(name)
