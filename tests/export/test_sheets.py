"""Excel workbooks."""

from __future__ import annotations

import datetime as dt
import errno
import gc
import io
import json
import os
import subprocess
import sys
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from python_calamine import CalamineWorkbook

from tracket_async._files import part_of
from tracket_async.errors import ExportError, MissingExtraError, StorageError
from tracket_async.export import sheets, tables, text
from tracket_async.export.formats import FileOptions
from tracket_async.export.writers import check_target, write_file
from tracket_async.models import Worklog


def rows_of(path):
    _header, *rows = CalamineWorkbook.from_path(path).get_sheet_by_name("worklogs").iter_rows()
    return rows


@pytest.fixture
def written(deduplicated, tmp_path):
    """Worklogs in a workbook: the rows that calamine reads."""

    def write(*worklogs, columns=None):
        write_file(deduplicated(worklogs), tmp_path / "out.xlsx", "xlsx", FileOptions(columns=columns))
        return rows_of(tmp_path / "out.xlsx")

    return write


def part(path, name):
    with zipfile.ZipFile(path) as book:
        return book.read(name).decode()


def test_cells_are_typed_and_ids_are_text(written, make_worklog):
    moment = dt.datetime(2024, 3, 1, 23, 30, 15, 250000, tzinfo=dt.UTC)
    id_, fields = "0012345678901234567", {"a": 1}
    worklog = make_worklog(1, id=id_, user_id="007", date=moment, minutes=90.5, custom_fields=fields)
    columns = ["id", "user_id", "day", "date", "minutes", "category_id", "custom_fields"]
    [row] = written(worklog, columns=columns)
    assert row == [id_, "007", dt.date(2024, 3, 1), moment.replace(tzinfo=None), 90.5, "", '{"a":1}']


def test_no_text_becomes_a_formula_a_link_or_xml(written, make_worklog):
    texts = ["=1+1", "{=1}", "https://example.org/", "<r></r>", "<r></is></c><c><v>1</v></c></r>", "_x0041_", "'=1"]
    texts += ["\x00\r\n ", " a ", "&<>\"'", "1.50", "\x85\u2028\U0001f600"]
    worklogs = [make_worklog(number, description=one) for number, one in enumerate(texts)]
    found = written(*worklogs, columns=["description"])
    assert [row[0] for row in found] == texts


def test_the_header_is_frozen_and_has_a_filter_over_all_rows(written, tmp_path):
    written(1, 2, 3)
    sheet = part(tmp_path / "out.xlsx", "xl/worksheets/sheet1.xml")
    assert '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/>' in sheet
    assert '<autoFilter ref="A1:R4"/>' in sheet
    assert "<f>" not in sheet
    assert '<ignoredError sqref="A1:XFD1048576" numberStoredAsText="1"/>' in sheet
    assert rows_of(tmp_path / "out.xlsx")[0][0] == "wl-00001"


def test_a_workbook_says_what_it_is_and_not_when_it_was_made(written, tmp_path):
    written(1)
    core = part(tmp_path / "out.xlsx", "docProps/core.xml")
    about = json.loads(core.partition("<dc:description>")[2].partition("</dc:description>")[0])
    assert about["api"] == "2.0"
    assert about["filter"]["since"] == "2024-01-01T00:00:00+00:00"
    assert core.count("2000-01-01T00:00:00Z") == 2
    with zipfile.ZipFile(tmp_path / "out.xlsx") as book:
        assert {entry.date_time for entry in book.infolist()} == {(1980, 1, 31, 0, 0, 0)}


def test_a_workbook_is_the_same_in_every_time_zone(tmp_path):
    code = (
        "import sys, io, pathlib; from tracket_async.export.sheets import write_sheet; import pyarrow as pa\n"
        "batch = pa.record_batch([pa.array(['a'])], names=['id'])\n"
        "with open(sys.argv[1], 'w+b') as file: write_sheet(file, [batch], ['id'], worklogs=1, about={},"
        " folder=pathlib.Path(sys.argv[2]), told=lambda _: None)\n"
    )
    (tmp_path / "folder").mkdir()
    made = []
    for name, zone in (("here", "UTC"), ("there", "Asia/Tokyo")):
        command = [sys.executable, "-c", code, str(tmp_path / name), str(tmp_path / "folder")]
        subprocess.run(command, check=True, timeout=60, env=os.environ | {"TZ": zone})
        made.append((tmp_path / name).read_bytes())
    assert made[0] == made[1]


def test_dates_that_a_sheet_does_not_have_are_text(written, make_worklog):
    first = dt.datetime(1900, 3, 1, tzinfo=dt.UTC)
    last, before = dt.datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=dt.UTC), dt.timedelta(milliseconds=1)
    found = written(
        *(make_worklog(number, date=date) for number, date in enumerate([first - before, first, last])),
        columns=["day", "date"],
    )
    assert found == [
        ["1900-02-28", "1900-02-28T23:59:59.999Z"],
        [first.date(), first.date()],  # calamine's reading of midnight
        [last.date(), last.replace(tzinfo=None)],
    ]


def test_a_sheet_has_as_many_rows_as_excel():
    sheets.require_room(sheets.MAX_ROWS - 1)
    with pytest.raises(ExportError, match="1,048,576 rows, and there are 1,048,576 worklogs and a header") as caught:
        sheets.require_room(sheets.MAX_ROWS)
    assert caught.value.fault == "client"


@pytest.mark.parametrize("letter", ["a", "\U0001f600"])
def test_a_cell_has_as_many_characters_as_excel(deduplicated, make_worklog, tmp_path, letter):
    units = len(letter.encode("utf-16-le")) // 2
    longest = letter * (32_767 // units) + "b" * (32_767 % units)
    target = tmp_path / "out.xlsx"
    store = deduplicated([make_worklog(1, description=longest)])
    assert write_file(store, target, "xlsx", FileOptions(columns=["description"])) == 1
    assert rows_of(target) == [[longest]]
    store.database.execute("UPDATE tracket.rows SET description = description || 'c'")
    with pytest.raises(ExportError, match=r"32,767 characters, and description of worklog wl-00001 has 32,768"):
        write_file(store, target, "xlsx")
    assert rows_of(target) == [[longest]]
    assert write_file(store, target, "xlsx", FileOptions(columns=["id", "minutes", "day"])) == 1


def test_without_its_library_the_format_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    with pytest.raises(MissingExtraError, match="needs xlsxwriter") as caught:
        check_target(tmp_path / "out.xlsx", "xlsx")
    assert "excel" in caught.value.hint


@pytest.mark.parametrize("fails", ["rows", "zip"])
def test_a_disk_that_is_full_while_writing_leaves_nothing(deduplicated, tmp_path, monkeypatch, fails):
    class Full:
        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    full, real, target = Full(), sheets._workbook, tmp_path / "out.xlsx"

    def workbook(file, folder, told):
        full.file = file
        return real(full if fails == "zip" else file, folder, told)

    monkeypatch.setattr(sheets, "_workbook", workbook)
    if fails == "rows":
        monkeypatch.setattr(sheets, "_write_row", lambda *_: full.write(b""))
    store = deduplicated([1])
    with pytest.raises(StorageError, match="Free some space"):
        write_file(store, target, "xlsx")
    gc.collect()  # a ZipFile that is deleted writes once more
    assert not part_of(target).exists()
    assert [file.name for file in tmp_path.iterdir() if "out" in file.name] == []


def test_a_zip_file_that_was_given_up_writes_to_what_cannot_be_closed_before():
    target = sheets._Target(io.BytesIO(), lambda _count: None)
    book = zipfile.ZipFile(target, "w")
    book.writestr("a", "b")
    target.give_up()
    getattr(target._file, "__del__", lambda: None)()  # the garbage collector may take it first
    book.close()


def test_packing_can_be_stopped_as_well(deduplicated, tmp_path):
    told = []

    def stop(count):
        told.append(count)
        if len(told) > 3:
            raise KeyError

    with pytest.raises(KeyError):
        write_file(deduplicated([1]), tmp_path / "out.xlsx", "xlsx", on_worklogs=stop)
    gc.collect()
    assert told == [1, 0, 0, 0]
    assert not (tmp_path / "out.xlsx").exists()


def test_temporary_files_lie_beside_the_target_in_a_private_folder(deduplicated, tmp_path):
    folder, seen = tmp_path / ".out.xlsx.new", []
    folder.mkdir()
    (folder / "left behind").touch()
    write_file(
        deduplicated([1]),
        tmp_path / "out.xlsx",
        "xlsx",
        on_worklogs=lambda _: seen.append((folder.stat().st_mode & 0o777, len(list(folder.iterdir())))),
    )
    assert seen[0] == (0o700, 1)
    assert not folder.exists()


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\ufffe\uffff"), max_size=8) | st.sampled_from(
    ["<r>a</r>", "_x000D_", "=1", "0123", "1e5"]
)
FIRST = dt.datetime(1900, 3, 1)  # noqa: DTZ001 - Hypothesis wants it so
MOMENTS = st.datetimes(min_value=FIRST, timezones=st.just(dt.UTC)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)
NUMBERS = st.floats(min_value=0, max_value=1e9).map(lambda number: round(number, 6))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    worklogs=st.lists(
        st.builds(
            Worklog,
            id=TEXT.filter(bool),
            user_id=TEXT,
            date=MOMENTS,
            minutes=NUMBERS,
            description=TEXT,
            billable_minutes=st.none() | NUMBERS,
            created_date=st.none() | MOMENTS,
        ),
        max_size=6,
        unique_by=lambda worklog: worklog.id,
    )
)
def test_a_sheet_has_the_values_of_the_worklogs(store, batch_of, tmp_path, worklogs):
    store.database.execute("DELETE FROM tracket.rows")
    if worklogs:
        store.append([batch_of(worklogs)], {})
    store.set_meta(state="checking")
    columns = ["id", "user_id", "date", "minutes", "description", "billable_minutes", "created_date"]
    write_file(store, tmp_path / "out.xlsx", "xlsx", FileOptions(columns=columns))

    def cell(value):
        if isinstance(value, dt.datetime):
            return value.replace(tzinfo=None) if value.time() != dt.time.min else value.date()
        return "" if value is None else value

    expected = sorted(worklogs, key=lambda worklog: (worklog.date, worklog.id))
    assert rows_of(tmp_path / "out.xlsx") == [[cell(getattr(one, name)) for name in columns] for one in expected]


def test_every_text_column_is_measured():
    assert {name for name in text.NAMES if tables.sql_type(name) == "VARCHAR"} >= {"id", "description", "custom_fields"}
