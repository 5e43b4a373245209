"""CSV as spreadsheets, pandas and time trackers write it."""

from __future__ import annotations

import codecs
import csv

import pytest

from tracket_async.errors import StoreError, UsageError
from tracket_async.importer import csv_file
from tracket_async.importer.columns import read_mapping
from tracket_async.importer.reader import RecordReader, format_of
from tracket_async.importer.records import BadLine, ReadOptions
from tracket_async.importer.source import InputSource


@pytest.fixture
def read(tmp_path):
    """Reads CSV: the values of each record, or why its line is bad."""

    def records(content, **options):
        path = tmp_path / "in.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with InputSource(str(path)) as source:
            found = list(RecordReader(source, ReadOptions(format="csv", **options)).records())
        return [(one.line, one.reason) if isinstance(one, BadLine) else (one.line, one.values) for one in found]

    return records


GOOD = [(2, {"id": "a", "minutes": 90.0}), (3, {"id": "b", "minutes": 7.5})]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_separator_is_the_one_of_the_header(read, delimiter):
    lines = ["id,minutes,description", 'a,90,"x;y,z\t"', "b,7.5,"]
    first, second = read("\r\n".join(line.replace(",", delimiter, 2) for line in lines))
    if delimiter == ",":
        assert first == (2, {"id": "a", "minutes": 90.0, "description": "x;y,z\t"})
    assert second == GOOD[1]


def test_a_header_that_falls_apart_in_two_ways_is_read_in_the_known_one(read):
    assert read("id;minutes;team,id\r\na;1;b", mapping=read_mapping(["*="])) == [
        (1, "the header cannot be used: its columns may be separated by ',' or ';'; give --delimiter")
    ]
    mapping = read_mapping(["team,id=team_id"])
    assert read("id;minutes;team,id\r\na;1;b", mapping=mapping) == [(2, {"id": "a", "minutes": 1.0, "team_id": "b"})]
    assert read("id;minutes;team,id\r\na;1;b", mapping=mapping, delimiter=";")[0][0] == 2


def test_a_header_that_is_no_text_is_one_bad_line(read):
    assert read(b"\xff,x;y\r\n1,2") == [(1, f"the header cannot be used: {csv_file.NOT_TEXT}")]


@pytest.mark.parametrize("delimiter", ["|", "tab", "\\t", "semicolon"])
def test_any_separator_can_be_given(read, delimiter):
    character = {"tab": "\t", "\\t": "\t", "semicolon": ";"}.get(delimiter, delimiter)
    content = "id,minutes\na,90\nb,7.5".replace(",", character)
    assert read(content, delimiter=delimiter, decimal=".") == GOOD


@pytest.mark.parametrize("first", ["sep=|", '"sep=|"'])
def test_a_sep_line_names_the_separator_and_counts_as_a_line(read, first):
    assert read(f"{first}\r\nid|minutes\r\na|90\r\nb|7.5|x\r\n") == [
        (3, {"id": "a", "minutes": 90.0}),
        (4, "it has 3 cells and the header has 2; put a cell that contains '|' in quotes"),
    ]


def test_a_tab_in_a_message_is_named(read):
    ((_, reason),) = read("id\tminutes\na\t1\tx")
    assert reason.endswith("put a cell that contains 'tab' in quotes")


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("utf-8", codecs.BOM_UTF8),
        ("utf-16-le", codecs.BOM_UTF16_LE),
        ("utf-16-be", codecs.BOM_UTF16_BE),
        ("utf-32-le", codecs.BOM_UTF32_LE),
        ("utf-16-le", b""),
        ("utf-16-be", b""),
        ("utf-8", b""),
    ],
)
def test_the_first_bytes_say_the_encoding(read, encoding, mark):
    content = mark + 'id,description\r\na,"é\r\n\U0001f680"\r\nb,x'.encode(encoding)
    expected = [(2, {"id": "a", "description": "é\r\n\U0001f680"}), (4, {"id": "b", "description": "x"})]
    assert read(content) == expected
    if mark:
        assert read(content, encoding="cp1252") == expected  # a byte order mark leaves no doubt


def test_another_encoding_is_suspected_and_asked_for(read):
    content = "id,description\r\na,café\r\n".encode("cp1252")
    assert read(content) == [(2, csv_file.NOT_TEXT)]
    assert "--encoding (cp1252 is Excel's on Windows)" in csv_file.NOT_TEXT
    assert read(content, encoding="cp1252") == [(2, {"id": "a", "description": "café"})]


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (b"id,description\r\na,\x81\r\n", "cp1252"),
        (b"\r\ni\x81\r\n", "cp1252"),
        (b"i\0d\0\r\0\n\0a\0\x00\xd8", "utf-16-le"),
    ],
)
def test_a_line_that_is_not_in_the_encoding_is_named(read, content, encoding):
    with pytest.raises(UsageError, match=rf"^Line 2 of .* is not {encoding} text\. Give another --encoding"):
        read(content, encoding=encoding)


def test_a_wide_text_without_a_last_line_break_or_with_a_long_line(read, monkeypatch):
    monkeypatch.setattr("tracket_async.importer.source._CHUNK", 10)
    assert read("id,minutes\na,90\nb,7.5\n".encode("utf-16")) == GOOD
    monkeypatch.setattr("tracket_async.importer.source.MAX_LINE_BYTES", 20)
    with pytest.raises(UsageError, match=r"Line 2 of .* is longer than 20 bytes"):
        read(("id,minutes\n" + "a" * 100).encode("utf-16"))


def test_empty_rows_and_columns_at_the_end_count_for_nothing(read):
    content = "\r\n , ;\r\n".replace(";", "") + "id, Minutes ,,\r\n,,,\r\na,90,,,\r\n\r\nb,7.5, ,\r\n ,,\t,\r\n"
    assert read(content) == [(5, {"id": "a", "minutes": 90.0}), (7, {"id": "b", "minutes": 7.5})]


def test_a_column_without_a_name_must_be_empty(read):
    ((line, reason),) = read(",id,minutes,\n0,a,90,\n")
    assert (line, reason[:42]) == (2, "'0' stands in a column without a name; giv")
    assert read(",id,minutes,\n0,a,90,\n1,b,7.5,\n", mapping=read_mapping(["="])) == GOOD


def test_a_field_over_128_kib_and_a_line_over_1_mib_are_read(read):
    text = "é" * (1 << 20)
    assert read(f'id,description\r\na,"{text}"\r\nb,x\r\n') == [
        (2, {"id": "a", "description": text}),
        (3, {"id": "b", "description": "x"}),
    ]
    assert csv.field_size_limit() == 131072


def test_a_field_over_the_limit_is_a_bad_line_and_reading_goes_on(read, monkeypatch):
    monkeypatch.setattr(csv_file, "MAX_LINE_BYTES", 1000)
    bad, good = read(f'id,description\r\na,"{"x" * 600}\n{"x" * 600}"\r\nb,x\r\n'.replace('\n"', '"'))[:2]
    assert bad == (2, "field larger than field limit (1000)")
    assert good[1] != bad[1]


@pytest.mark.parametrize(
    ("lines", "minutes"),
    [
        (["id;minutes", "a;7,5", "b;1.234,5"], [7.5, 1234.5]),
        (["id;minutes", "a;7.5", 'b;"1,234.5"'], [7.5, 1234.5]),
        (["id,minutes", 'a,"7,5"', "b,90"], [7.5, 90]),
        (["id,minutes", "a,7.125", "b,1.234"], [7.125, 1.234]),
        (["id,hours", "a,1.5", "b,1:30"], [90, 90]),
        (["id;hours", "a;1,5", "b;1,5h"], [90, 90]),
        (["id,minutes", "a,PT90M", "b,01:30:00"], [90, 90]),
        (["id,minutes", "a,-30", "b,-1:30"], [-30, -90]),
    ],
)
def test_numbers_are_read_in_the_notation_of_the_whole_file(read, lines, minutes):
    assert [values["minutes"] for _, values in read("\n".join(lines))] == minutes


def test_numbers_and_dates_with_two_readings_are_asked_for(read):
    with pytest.raises(UsageError, match="'1,234' on line 3 may be a number with a decimal point or one"):
        read('id,minutes\na,90\nb,"1,234"')
    assert read('id,minutes\na,90\nb,"1,234"', decimal=",")[1][1]["minutes"] == 1.234
    assert read('id,minutes\na,90\nb,"1,234"', decimal=".")[1][1]["minutes"] == 1234
    with pytest.raises(UsageError, match=r"'1\.234' on line 2 may be"):
        read("id;minutes\na;1.234")
    with pytest.raises(UsageError, match="Give --date-format 'dmy' or --date-format 'mdy'"):
        read("id,date\na,05/07/2024")
    assert read("id,date\na,05/07/2024", date_format="mdy")[0][1]["date"].isoformat() == "2024-05-07"
    assert read("id,date\na,05/07/2024\nb,13/07/2024")[0][1]["date"].isoformat() == "2024-07-05"
    assert read("id,date\na,5 Jul 24", date_format="%d %b %y")[0][1]["date"].isoformat() == "2024-07-05"


def test_with_only_the_id_nothing_else_has_to_be_readable(read):
    assert read('id,minutes\na,"1,234"', only_id=True) == [(2, {"id": "a"})]


def test_a_file_that_changes_between_two_passes_raises(tmp_path):
    path = tmp_path / "in.csv"
    path.write_bytes(b"id,minutes\na,1\n")
    with InputSource(str(path)) as source:
        records = RecordReader(source, ReadOptions(format="csv")).records()
        next(records)
        path.write_bytes(b"id,minutes\na,1\nb,2\n")
        with pytest.raises(StoreError):
            list(records)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"encoding": "klingon"}, "there is no encoding 'klingon'"),
        ({"encoding": "base64"}, "there is no encoding 'base64'"),
        ({"delimiter": "::"}, "--delimiter must be one character, or tab, not '::'"),
        ({"delimiter": '"'}, "--delimiter must be one character"),
        (
            {"date_format": "dd.mm"},
            "--date-format must be dmy, mdy, ymd, or a pattern such as %d.%m.%Y .*, not 'dd.mm'",
        ),
        ({"date_format": "%d.%m."}, r"\(with its year\), not '%d.%m.'"),
    ],
)
def test_an_option_without_a_meaning_is_refused(options, reason):
    with pytest.raises(UsageError, match=reason):
        ReadOptions(format="csv", **options)


def test_the_ending_of_a_name_says_the_format():
    assert [format_of(name) for name in ("a.CSV", "a.tsv", "a.jsonl", "a.parquet", "a.duckdb", "a", "csv")] == [
        *("csv", "csv", "ndjson", "parquet", "duckdb"),
        *(None, None),
    ]


def test_a_mapping_of_a_column_that_is_not_there_is_refused(read):
    """With '*=', a typing mistake would lose the column without a word."""
    mapping = read_mapping(["Txt=description", "*=", "="])
    ((line, reason),) = read("id,minutes,Text\na,1,b", mapping=mapping)
    assert line == 1
    assert reason.endswith("--map names 'txt', and there is no such column; the columns are id, minutes, Text")
    mapping = read_mapping(["Text=description", "*=", "="])
    assert read("id,minutes,Text\na,1,b", mapping=mapping) == [(2, {"id": "a", "minutes": 1.0, "description": "b"})]


def test_a_row_may_leave_out_the_nameless_columns_at_the_end(read):
    assert read("id;minutes;;\na;90;;\nb;7.5\n") == GOOD
    assert read("id,minutes,,\na,90,,x")[0] == (
        2,
        "it has 4 cells and the header has 2; put a cell that contains ',' in quotes",
    )
