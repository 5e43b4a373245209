"""The records of an input file."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import re
import tempfile
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracket_async.client import API_VERSIONS
from tracket_async.errors import UsageError
from tracket_async.export import text
from tracket_async.importer.columns import SETTABLE
from tracket_async.importer.csv_file import NOT_TEXT
from tracket_async.importer.reader import RecordReader, format_of
from tracket_async.importer.records import BadLine, ReadOptions, Record
from tracket_async.importer.rows import make_new_worklog
from tracket_async.importer.source import InputSource
from tracket_async.importer.values import read_id
from tracket_async.models import NewWorklog, Worklog

V1, V2 = API_VERSIONS["1.0"](), API_VERSIONS["2.0"]()
HEADER = b"id,date,minutes,description\r\n"
DAY = dt.date(2024, 5, 20)


class Content(InputSource):
    """An input that has these bytes."""

    def __init__(self, content):
        self.name, self.path = "in.csv", None
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._file.write(content)
        self._file.flush()
        self._seen = self._state()


def records(content, format, **choices):
    with Content(content) as source:
        return list(RecordReader(source, ReadOptions(format=format, **choices)).records())


def reasons(content, format, **choices):
    return [(one.line, one.reason) for one in records(content, format, **choices) if isinstance(one, BadLine)]


def test_a_line_of_ndjson_is_a_record_with_its_number():
    content = b'{"minutes": 5}\n\n  \r\n{"worklogMinutes": 7, "worklogId": "a", "createdDate": "x"}'
    assert records(content, "ndjson") == [
        Record(1, {"minutes": 5}),
        Record(4, {"minutes": 7, "id": "a"}, frozenset({"created_date"})),
    ]


def test_null_is_kept_for_settable_attributes_only():
    (record,) = records(b'{"description": null, "updatedDate": null}', "ndjson")
    assert record == Record(1, {"description": None})


def test_every_bad_line_is_reported_and_the_others_are_read():
    content = b"\n".join(
        [
            b"{",
            b'{"minutes": 5}',
            b"[1]",
            b"7",
            b'{"minuts": 5}',
            b'{"date": "soon"}',
            b'{"description": "\xff"}',
            b"[" * 100_000,
            b'{"minutes": NaN}',
            b'{"minutes": 6}',
        ]
    )
    bad = reasons(content, "ndjson")
    assert [line for line, _ in bad] == [1, 3, 4, 5, 6, 7, 8, 9]
    assert [reason[:24].rstrip() for _, reason in bad] == [
        "it is not JSON: Input da",
        "it must be a JSON object",
        "it must be a JSON object",
        "there is no column 'minu",
        "date: 'soon' is no date.",
        "it is not UTF-8 text; sa",
        "it is nested too deeply",
        "it is not JSON: JSON is",
    ]
    assert [one.line for one in records(content, "ndjson") if isinstance(one, Record)] == [2, 10]


def test_a_csv_record_has_its_first_line_s_number_and_no_empty_cells():
    content = HEADER + b'a,2024-05-20,5,"two\r\nlines"\r\n\r\nb,,6,\r\nc,2024-05-20,7,"\r\n\n"'
    assert records(content, "csv") == [
        Record(2, {"id": "a", "date": DAY, "minutes": 5.0, "description": "two\r\nlines"}),
        Record(5, {"id": "b", "minutes": 6.0}),
        Record(6, {"id": "c", "date": DAY, "minutes": 7.0, "description": "\r\n\n"}),
    ]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (b"x,2024-05-20,soon,", "minutes must be a number"),
        (b"x,2024-05-20,5", "it has 3 cells and the header has 4"),
        (b"x,2024-05-20,5,,z", "it has 5 cells and the header has 4; put a cell that contains ',' in quotes"),
        (b"x,2024-05-20,5,\xff", "it is not UTF-8 text"),
        (b'x,2024-05-20,5,"a"b', "',' expected after '\"'"),
        (b"x,2024-05-20,5,a\rb", "new-line character seen"),
    ],
)
def test_reading_goes_on_after_a_bad_csv_record(cell, reason):
    content = HEADER + cell + b"\r\ny,2024-05-20,5,\r\n"
    bad, good = records(content, "csv")
    assert bad.line == 2
    assert bad.reason.startswith(reason)
    assert (good.line, good.values["id"]) == (3, "y")


def test_an_unclosed_quote_is_reported_with_its_first_line():
    assert reasons(HEADER + b'x,2024-05-20,5,ok\r\ny,2024-05-20,5,"never\r\nends\r\n', "csv") == [
        (3, "a quote that opens here is never closed")
    ]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"id;date;minuts\r\n1;2;3\r\n", "there is no column 'minuts'"),
        (b"name,id;minutes\r\n", "its columns may be separated by ',' or ';'; give --delimiter"),
        (b"id,minutes;date,description;day\r\n", "its columns may be separated by ',' or ';'; give --delimiter"),
        (b"id,id\r\n1,2\r\n", "id is given twice"),
        (b"\xff\r\n1\r\n", "it is not UTF-8 text"),
        (b"\r\n\r\nname\r\n1\r\n", "there is no column 'name'"),
    ],
)
def test_a_bad_header_is_the_only_bad_line(header, reason):
    ((line, told),) = reasons(header, "csv")
    assert told.startswith(f"the header cannot be used: {reason}")
    assert line == header.splitlines().index(header.strip().splitlines()[0]) + 1


def test_an_empty_file_has_no_records():
    for format in ("ndjson", "csv", "ids"):
        assert records(b"", format) == []
    assert records(HEADER, "csv") == []


def test_a_line_of_ids_is_an_id():
    assert records(b"a\r\n\n  b \nc d", "ids") == [
        Record(1, {"id": "a"}),
        Record(3, {"id": "b"}),
        Record(4, {"id": "c d"}),
    ]
    assert reasons(b"a\n\xff\nb\nc.0\n7.0\n\xa0d", "ids")[0] == (2, NOT_TEXT)


@pytest.mark.parametrize(("content", "format"), [(b'{"id": "a"}', "ndjson"), (b"id\r\na\r\n", "csv"), (b"a\n", "ids")])
def test_a_byte_order_mark_is_not_part_of_the_first_line(content, format):
    (record,) = records(b"\xef\xbb\xbf" + content, format)
    assert record.values == {"id": "a"}


def test_with_only_id_the_other_values_are_not_read():
    assert records(b'{"id": 7, "name": {}, "minutes": "no"}', "ndjson", only_id=True) == [Record(1, {"id": "7"})]
    assert records(b"name,id,date\r\nx,7,soon\r\n", "csv", only_id=True) == [Record(2, {"id": "7"})]


TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    st.sampled_from(["'s avonds", "''", "'=1", "=1+1", "\n=1", "\uff1d1", 'a,b\r\n"c"', "\t", "\0", "\ufeffx"]),
)
MINUTES = st.floats(allow_nan=False, allow_infinity=False)


def is_plain_id(text):
    """No program has spoilt it."""
    try:
        return read_id("id", text) == text
    except ValueError:
        return False


IDS = TEXTS.filter(is_plain_id)
WORKLOGS = st.builds(
    Worklog,
    id=IDS,
    user_id=IDS,
    date=st.datetimes(timezones=st.just(dt.UTC)),
    minutes=MINUTES,
    item_id=IDS,
    description=st.none() | TEXTS,
    billable_minutes=st.none() | MINUTES,
    category_id=st.none() | IDS,
    team_id=st.none() | IDS,
    project_id=st.none() | IDS,
    custom_fields=st.dictionaries(IDS, st.none() | TEXTS | st.lists(TEXTS, max_size=2), max_size=2),
)


@pytest.mark.parametrize("format", ["ndjson", "csv", "raw csv"])
@given(worklogs=st.lists(WORKLOGS, min_size=1, max_size=5), only_2_0=st.booleans())
def test_every_exported_worklog_is_imported_equal(format, worklogs, only_2_0):
    """A text that a spreadsheet would take for a formula has an apostrophe on the way, and only on the way."""
    api_version, midnight = (V2, dt.time(tzinfo=dt.UTC)) if only_2_0 else (V1, None)
    if not only_2_0:
        worklogs = [attrs.evolve(one, team_id=None, project_id=None, custom_fields={}) for one in worklogs]
    part, raw = text.cells_of(worklogs), format == "raw csv"
    content = text.csv_header() + text.csv_encoder(raw=raw)(part) if "csv" in format else text.ndjson_encoder()(part)
    found = records(content, format.split()[-1], raw=raw)
    for one, worklog in zip(found, worklogs, strict=True):
        values = {name: getattr(worklog, name) for name in SETTABLE}
        if midnight:
            values["date"] = dt.datetime.combine(worklog.date.date(), midnight)
        assert make_new_worklog(one, api_version) == NewWorklog(**values)
        assert one.values["id"] == worklog.id


@given(
    date=st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC)),  # noqa: DTZ001
    zone=st.sampled_from(["UTC", "Europe/Amsterdam", "America/Los_Angeles", "Pacific/Kiritimati", "Etc/GMT+12"]),
)
def test_the_day_in_the_time_zone_of_an_export_is_accepted(date, zone):
    worklog = Worklog(id="w", user_id="u", item_id="i", date=date, minutes=1.0)
    content = text.csv_header() + text.csv_encoder()(text.cells_of([worklog], zone=ZoneInfo(zone)))
    (found,) = records(content, "csv")
    assert make_new_worklog(found, V1).date == date
    if date.time() != dt.time.min:
        assert make_new_worklog(found, V2).date.date() == date.astimezone(ZoneInfo(zone)).date()


def test_lines_are_read_lazily():
    class Endless(Content):
        def lines(self, _encoding):
            yield b'{"id": "a"}'
            pytest.fail("nobody has asked for this line")

    with Endless(b"") as source:
        assert next(RecordReader(source, ReadOptions(format="ndjson")).records()).values["id"] == "a"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PK\x03\x04and more", "an Excel workbook: give --format xlsx"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "a workbook of an old Excel: save it there as .xlsx or CSV"),
        (b"PAR1\x15\x04", "a Parquet file: give --format parquet"),
        (b"12345678DUCK", "a DuckDB file: give --format duckdb"),
        (gzip.compress(HEADER, mtime=0), "compressed with gzip: give it a name that ends in .gz, or decompress it"),
    ],
)
@pytest.mark.parametrize("format", ["csv", "ndjson", "ids"])
def test_a_file_that_is_no_text_is_told_to_be_what_it_is(content, what, format):
    with pytest.raises(UsageError, match=f"^in.csv is no text but {re.escape(what)}$"):
        records(content, format)


def test_the_csv_module_s_limits_stay_as_they_are():
    records(HEADER, "csv")
    assert csv.field_size_limit() == 131072


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("a.ndjson", "ndjson"), ("a.JSONL.gz", "ndjson"), ("a.csv", "csv"), ("a.csv.gz", "csv"), ("a.tsv", "csv"),
        ("a.TSV.gz", "csv"), ("a.parquet", "parquet"), ("a.duckdb", "duckdb"), ("a.XLSX", "xlsx"), ("a", None),
        ("-", None),
    ],
)  # fmt: skip
def test_the_ending_of_a_name_says_the_format(name, format):
    assert format_of(name) == format


def test_an_exponent_in_a_json_id_is_seen_although_the_number_is_whole():
    content = b'{"id": 5000204173.0, "minutes": 1.5}\n{"id": 5e9}\n{"Task": 7e2}\n{"minutes": 1e2}\n{"x": 1.5}'
    found = records(content, "ndjson", mapping={"task": "item_id"})
    assert (found[0].values, found[3].values) == ({"id": "5000204173", "minutes": 1.5}, {"minutes": 100})
    assert ["'5e9' was made a number" in found[1].reason, "'7e2' was made" in found[2].reason] == [True, True]
    assert found[4].reason.startswith("there is no column 'x'")


def test_objects_that_all_have_other_names_are_read():
    content = b"".join(b'{"name %d": 1, "id": "w-%d"}\n' % (number, number) for number in range(1005))
    assert len(records(content, "ndjson", only_id=True)) == 1005


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_another_encoding_of_json_and_of_ids_is_read(encoding):
    assert records('{"description": "é"}'.encode(encoding), "ndjson", encoding=encoding)[0].values == {
        "description": "é"
    }
    assert records("é1\n".encode(encoding), "ids", encoding=encoding)[0].values == {"id": "é1"}
