"""From the lines of a file to numbered records."""

from __future__ import annotations

import csv
import datetime as dt
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracket_async.export import text as cells
from tracket_async.importer.reader import BadLine, ReadOptions, Record, read_records
from tracket_async.models import Worklog

HEADER = b"id,date,minutes,description\r\n"
DAY = dt.date(2024, 5, 20)


def records(content, format, **choices):  # noqa: A002 - as the layout
    return list(read_records(io.BytesIO(content), ReadOptions(format=format, **choices)))


def reasons(content, format, **choices):  # noqa: A002
    return [(one.line, one.reason) for one in records(content, format, **choices) if isinstance(one, BadLine)]


def test_a_line_of_ndjson_is_a_record_with_its_number():
    content = b'{"minutes": 5}\n\n  \r\n{"worklogMinutes": 7, "worklogId": "a", "createdDate": "x"}'
    assert records(content, "ndjson") == [
        Record(1, {"minutes": 5}),
        Record(4, {"minutes": 7, "id": "a"}, frozenset({"created_date"})),
    ]


def test_null_is_kept_where_it_can_be_set_and_says_nothing_where_only_the_server_sets():
    (record,) = records(b'{"description": null, "updatedDate": null}', "ndjson")
    assert record == Record(1, {"description": None})


def test_every_bad_line_is_told_and_the_others_are_read():
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
        "date must be YYYY-MM-DD",
        "it is not UTF-8 text; sa",
        "it is nested too deeply",
        "it is not JSON: JSON is",
    ]
    assert [one.line for one in records(content, "ndjson") if isinstance(one, Record)] == [2, 10]


def test_a_record_of_csv_has_the_number_of_its_first_line_and_no_empty_cells():
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
        (b"x,2024-05-20,5,,", "it has 5 cells and the header has 4"),
        (b"x,2024-05-20,5,\xff", "it is not UTF-8 text"),
        (b'x,2024-05-20,5,"a"b', "',' expected after '\"'"),
        (b"x,2024-05-20,5,a\rb", "new-line character seen"),
        (b"x,2024-05-20,5," + b"a" * 200_000, "field larger than field limit"),
    ],
)
def test_a_bad_record_of_csv_does_not_end_the_reading(cell, reason):
    content = HEADER + cell + b"\r\ny,2024-05-20,5,\r\n"
    bad, good = records(content, "csv")
    assert bad.line == 2
    assert bad.reason.startswith(reason)
    assert (good.line, good.values["id"]) == (3, "y")


def test_a_quote_that_is_never_closed_is_told_with_the_line_on_which_it_begins():
    assert reasons(HEADER + b'x,2024-05-20,5,ok\r\ny,2024-05-20,5,"never\r\nends\r\n', "csv") == [
        (3, "unexpected end of data")
    ]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"id;date;minutes\r\n1;2;3\r\n", "there is no column 'id;date;minutes'"),
        (b"id,id\r\n1,2\r\n", "id is given twice"),
        (b"\xff\r\n1\r\n", "it is not UTF-8 text"),
        (b"\r\n\r\nname\r\n1\r\n", "there is no column 'name'"),
    ],
)
def test_a_header_that_cannot_be_used_is_the_only_complaint(header, reason):
    ((line, told),) = reasons(header, "csv")
    assert told.startswith(f"the header cannot be used: {reason}")
    assert line == header.splitlines().index(header.strip().splitlines()[0]) + 1


def test_a_file_without_anything_has_no_records():
    for format in ("ndjson", "csv", "ids"):  # noqa: A001
        assert records(b"", format) == []
    assert records(HEADER, "csv") == []


def test_an_id_a_line():
    assert records(b"a\r\n\n  b \nc d", "ids") == [
        Record(1, {"id": "a"}),
        Record(3, {"id": "b"}),
        Record(4, {"id": "c d"}),
    ]
    assert reasons(b"a\n\xff\nb", "ids") == [(2, "it is not UTF-8 text; save the file as UTF-8")]


@pytest.mark.parametrize(("content", "format"), [(b'{"id": "a"}', "ndjson"), (b"id\r\na\r\n", "csv"), (b"a\n", "ids")])
def test_a_byte_order_mark_is_not_part_of_the_first_line(content, format):  # noqa: A002
    (record,) = records(b"\xef\xbb\xbf" + content, format)
    assert record.values == {"id": "a"}


def test_where_only_the_id_counts_the_rest_may_be_anything():
    assert records(b'{"id": 7, "name": {}, "minutes": "no"}', "ndjson", only_id=True) == [Record(1, {"id": "7"})]
    assert records(b"name,id,date\r\nx,7,soon\r\n", "csv", only_id=True) == [Record(2, {"id": "7"})]


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(texts=st.lists(TEXTS.filter(lambda text: text[:1] != "'"), min_size=1), ndjson=st.booleans())
def test_every_text_that_was_exported_is_read_back_equal(texts, ndjson):
    worklogs = [
        Worklog(
            id=str(number), user_id="u", date=dt.datetime(2024, 5, 20, tzinfo=dt.UTC), minutes=5.0, description=text
        )
        for number, text in enumerate(texts)
    ]
    part = cells.cells_of(worklogs)
    content = cells.ndjson_encoder()(part) if ndjson else cells.csv_header() + cells.csv_encoder()(part)
    found = records(content, "ndjson" if ndjson else "csv")
    assert [one.values["description"] for one in found] == texts
    assert [one.values["date"] for one in found] == [worklog.date for worklog in worklogs]


def test_lines_are_read_as_they_are_needed():
    def lines():
        yield HEADER
        yield b"a,2024-05-20,5,\r\n"
        pytest.fail("nobody has asked for this line")

    assert next(read_records(lines(), ReadOptions(format="csv"))).values["id"] == "a"


def test_no_limit_of_the_csv_module_is_changed_for_others():
    records(HEADER, "csv")
    assert csv.field_size_limit() == 131072
