"""Rows of Excel workbooks."""

from __future__ import annotations

import datetime as dt
import io
import sys
import zipfile
from pathlib import Path

import pytest
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st

from tracket_async._api.fast import row_of
from tracket_async.client import API_VERSIONS
from tracket_async.errors import MissingExtraError, UsageError
from tracket_async.export.sheets import write_sheet
from tracket_async.frames import ALL_NAMES, arrow_batch, with_day
from tracket_async.importer import sheet_file
from tracket_async.importer.reader import RecordReader
from tracket_async.importer.records import BadLine, ReadOptions, Record
from tracket_async.importer.rows import make_new_worklog
from tracket_async.importer.source import InputSource
from tracket_async.models import Worklog

DAY = "yyyy-mm-dd"
HEADER = ["id", "date", "minutes", "description"]


class Cell:
    """A value with a format, or a formula with its result."""

    def __init__(self, value, format=None, formula=None):
        self.value, self.format, self.formula = value, format, formula


@pytest.fixture
def workbook(tmp_path):
    """Writes sheets (name to rows) into a workbook, and returns its path."""

    def write(**sheets):
        path = tmp_path / "in.xlsx"
        with xlsxwriter.Workbook(path, {"strings_to_formulas": False}) as book:
            for name, rows in sheets.items():
                sheet = book.add_worksheet(name)
                for at, row in enumerate(rows):
                    for column, cell in enumerate(row):
                        if not isinstance(cell, Cell):
                            sheet.write(at, column, cell)
                        elif cell.formula:
                            sheet.write_formula(at, column, cell.formula, None, cell.value)
                        else:
                            sheet.write(at, column, cell.value, book.add_format({"num_format": cell.format}))
        return path

    return write


def read(path, **choices):
    with InputSource(str(path)) as source:
        return list(RecordReader(source, ReadOptions(format="xlsx", **choices)).records())


def reasons(path, **choices):
    return [(one.line, one.reason) for one in read(path, **choices) if isinstance(one, BadLine)]


def test_cells_have_types_and_a_row_has_the_number_that_excel_shows(workbook):
    day = dt.date(2024, 5, 1)
    path = workbook(
        one=[
            [],
            [" ID ", "Date", "minutes", "description", "created date"],
            [],
            ["0012", Cell(day, DAY), 90, "=1", Cell(day, DAY)],
            ["a", Cell(dt.datetime(2024, 5, 1, 8, 30), "yyyy-mm-dd hh:mm"), 0.5, None],  # noqa: DTZ001
            ["  ", None, " "],
            ["b", "2024-05-01", "1,5", 2024],
        ]
    )
    assert read(path) == [
        Record(4, {"id": "0012", "date": day, "minutes": 90, "description": "=1"}, frozenset({"created_date"})),
        Record(5, {"id": "a", "date": dt.datetime(2024, 5, 1, 8, 30), "minutes": 0.5}),  # noqa: DTZ001
        Record(7, {"id": "b", "date": day, "minutes": 1.5, "description": "2024"}),
    ]


def test_ids_are_read_as_in_csv(workbook):
    path = workbook(
        one=[
            ["id", "minutes"],
            [5000204173, 1],
            ["5000204173.0", 1],
            [999_999_999_999_999, 1],
            [1_000_000_000_000_000, 1],
            [1.5, 1],
            ["#REF!", 1],
            [True, 1],
        ]
    )
    found = read(path)
    assert [one.values["id"] for one in found[:3]] == ["5000204173", "5000204173", "999999999999999"]
    assert [line for line, _ in reasons(path)] == [5, 6, 7, 8]


def test_the_error_of_a_formula_is_no_empty_cell(workbook):
    path = workbook(
        other=[[Cell("#N/A", formula="=NA()")] * 5] * 5,
        one=[
            ["id", "category_id", "minutes"],
            ["a", Cell("#N/A", formula="=VLOOKUP(1,A1:B2,2)"), 1],
            ["b", Cell("7", formula='=CONCAT("7")'), Cell("#DIV/0!", formula="=1/0")],
            ["c", "1", Cell(2, formula="=1+1")],
        ],
    )
    (first, why), (second, _) = reasons(path, sheet="one")
    assert (first, second) == (2, 3)
    assert "#N/A" in why
    assert read(path, sheet="one")[-1] == Record(4, {"id": "c", "category_id": "1", "minutes": 2})


def test_an_error_far_inside_a_sheet_is_found(workbook, monkeypatch):
    monkeypatch.setattr(sheet_file, "_CHUNK", 64)
    monkeypatch.setattr(sheet_file, "_LONGEST_CELL", 256)
    rows = [["id", "minutes"], *([f"w{number}", number] for number in range(300))]
    rows[200][1] = Cell("#NUM!", formula="=SQRT(-1)")
    assert [line for line, _ in reasons(workbook(one=rows))] == [201]
    assert [sheet_file._column(letters) for letters in (b"A", b"Z", b"AA")] == [0, 25, 26]


def test_times_and_durations_are_minutes(workbook):
    rows = [
        ["id", "minutes"],
        ["a", Cell(0.0625, "h:mm")],
        ["b", Cell(1.5, "[h]:mm")],
        ["c", Cell(1 / 86_400, "h:mm:ss")],
    ]
    found = read(workbook(one=rows))
    assert [one.values["minutes"] for one in found] == [90, 36 * 60, pytest.approx(1 / 60, abs=1e-5)]


def test_numbers_and_dates_in_text_are_read_in_one_notation(workbook):
    rows = [["date", "minutes"], ["31.5.2024", "1,5"], ["1.6.2024", "1.000,25"]]
    assert [one.values["date"] for one in read(workbook(one=rows))] == [dt.date(2024, 5, 31), dt.date(2024, 6, 1)]
    with pytest.raises(UsageError, match="can be read in two ways"):
        read(workbook(one=[["date", "minutes"], ["1/6/2024", 1]]))


def test_a_sheet_is_chosen_by_its_name(workbook):
    path = workbook(first=[["id"], ["a"]], second=[["id"], ["b"]])
    assert [one.values["id"] for one in read(path)] == ["a"]
    assert [one.values["id"] for one in read(path, sheet="second")] == ["b"]
    with pytest.raises(UsageError, match=r"There is no sheet 'x' in .*in.xlsx. Its sheets are first, second"):
        read(path, sheet="x")
    with pytest.raises(UsageError, match=r"--sheet is for Excel workbooks"):
        ReadOptions(format="csv", sheet="x")


def test_an_empty_sheet_has_no_rows(workbook):
    assert read(workbook(one=[])) == []


def test_a_column_without_a_name_may_be_there_as_long_as_it_is_empty(workbook):
    assert read(workbook(one=[["id", None, "minutes", None], ["a", None, 1]])) == [Record(2, {"id": "a", "minutes": 1})]
    [(line, reason)] = reasons(workbook(one=[["id", None, None], ["a", None, "x"]]))
    assert line == 2
    assert "'x' stands in a column without a name" in reason


def test_columns_that_are_not_known_are_refused_and_can_be_mapped(workbook):
    path = workbook(one=[["id", "Mins"], ["a", 1]])
    with pytest.raises(UsageError, match="The columns of the sheet cannot be used: there is no column 'Mins'"):
        read(path)
    assert read(path, mapping={"mins": "minutes"}) == [Record(2, {"id": "a", "minutes": 1})]


@pytest.mark.parametrize("content", [b"", b"id,minutes\r\n", b"PK\x03\x04" + bytes(100)])
def test_what_is_no_workbook_is_said_to_be_none(tmp_path, content):
    (tmp_path / "in.xlsx").write_bytes(content)
    with pytest.raises(UsageError, match=r"in.xlsx is no Excel workbook \(.xlsx\) that can be read"):
        read(tmp_path / "in.xlsx")


def test_a_workbook_that_was_cut_off_is_refused(workbook):
    path = workbook(one=[["id"], ["a"]])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UsageError, match="is no Excel workbook"):
        read(path)


def test_without_its_library_a_workbook_is_refused(workbook, monkeypatch):
    path = workbook(one=[["id"], ["a"]])
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(MissingExtraError, match=r"this needs python_calamine.*\[excel\]"):
        read(path)


def rewritten(path, part, change):
    """The workbook, with one part changed; None removes it."""
    with zipfile.ZipFile(path) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    parts[part] = change and change(parts[part])
    with zipfile.ZipFile(path, "w") as book:
        for name, content in parts.items():
            if content is not None:
                book.writestr(name, content)
    return path


@pytest.mark.parametrize("comments", [None, "", "[1]", '{"api": "2.0"}', "{"])
def test_a_moment_of_a_sheet_of_no_export_has_no_time_zone(workbook, comments):
    moment = dt.datetime(2024, 5, 1, 8, 30)  # noqa: DTZ001
    path = workbook(one=[["date"], [Cell(moment, "yyyy-mm-dd hh:mm")]])
    described = f"<dc:description>{comments}</dc:description></cp:coreProperties>".encode()
    change = comments and (lambda content: content.replace(b"</cp:coreProperties>", described))
    if comments != "":
        rewritten(path, "docProps/core.xml", change)
    assert read(path) == [Record(2, {"date": moment})]


def test_a_part_with_an_absolute_path_is_found(workbook):
    path = workbook(one=[["id", "minutes"], ["a", Cell("#N/A", formula="=NA()")]])
    absolute = b'Target="/xl/worksheets/'
    rewritten(path, "xl/_rels/workbook.xml.rels", lambda content: content.replace(b'Target="worksheets/', absolute))
    assert [line for line, _ in reasons(path)] == [2]


def test_an_error_without_a_reference_says_nothing(workbook):
    path = workbook(one=[["id", "minutes"], ["a", Cell("#N/A", formula="=NA()")]])
    assert list(sheet_file._errors(io.BytesIO(b'<c t="e"><v>#N/A</v></c>'))) == []
    assert list(sheet_file._errors(io.BytesIO(b'<c s="1" t="e" r="B7"><f>NA()</f><v>#N/A</v></c>'))) == [(7, 1, "#N/A")]
    assert path.exists()


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\ufffe\uffff"), min_size=1, max_size=8).filter(
    str.strip
)
WORKLOGS = st.builds(
    Worklog,
    id=st.sampled_from(["wl-1", "5000204173", "007"]),
    user_id=st.sampled_from(["u", "12", "00"]),
    item_id=st.sampled_from(["i", "5"]),
    date=st.datetimes(min_value=dt.datetime(1900, 3, 1), timezones=st.just(dt.UTC)).map(  # noqa: DTZ001
        lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    ),
    minutes=st.floats(min_value=0, max_value=1e6).map(lambda number: round(number, 6)),
    description=st.none() | TEXT,
)


@pytest.mark.parametrize("api", ["1.0", "2.0"])
@settings(max_examples=15)
@given(worklog=WORKLOGS)
def test_what_is_exported_is_imported(tmp_path_factory, api, worklog):
    version = API_VERSIONS[api]()
    if version.keeps_days:
        midnight = worklog.date.replace(hour=0, minute=0, second=0, microsecond=0)
        worklog = Worklog(
            **{name: getattr(worklog, name) for name in ("id", "user_id", "item_id", "minutes", "description")},
            date=midnight,
        )
    path = tmp_path_factory.mktemp("export") / "in.xlsx"
    about = {"api": api, "schema_version": 1, "tz": "UTC", "filter": {}}
    batch = with_day(arrow_batch([row_of(worklog)]))
    with path.open("w+b") as file:
        settings = {"worklogs": 1, "about": about, "folder": Path(path.parent), "told": lambda _count: None}
        write_sheet(file, [batch], ALL_NAMES, **settings)
    [record] = read(path)
    new = make_new_worklog(record, version)
    for name in ("user_id", "item_id", "minutes", "date", "description"):
        assert getattr(new, name) == getattr(worklog, name)
