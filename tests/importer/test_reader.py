"""An import file: its bytes, its records, its rows, and the first pass that validates them."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import os
import sys
import tempfile
import threading
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracket_async.client import API_VERSIONS
from tracket_async.errors import StorageError, StoreError, UsageError
from tracket_async.export import text
from tracket_async.importer.columns import SETTABLE
from tracket_async.importer.reader import (
    MAX_LINE_BYTES,
    MAX_LISTED,
    BadLine,
    Fingerprint,
    InputFile,
    InputSource,
    ReadOptions,
    Record,
    make_change,
    make_new_worklog,
    make_worklog_id,
    read_records,
)
from tracket_async.models import NewWorklog, Worklog, WorklogChanges

V1, V2 = API_VERSIONS["1.0"](), API_VERSIONS["2.0"]()
CONTENT = b"one\r\ntwo\n\nlast"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file.csv"
    path.write_bytes(CONTENT)
    return path


def fingerprint(content):
    return Fingerprint(size=len(content), sha256=hashlib.sha256(content).hexdigest())


def test_an_input_source_can_be_read_many_times(path):
    with InputSource(str(path)) as source:
        for _ in range(2):
            assert list(source.lines()) == [b"one\r\n", b"two\n", b"\n", b"last"]
        assert source.fingerprint() == fingerprint(CONTENT)
        assert next(source.lines()) == b"one\r\n"
        assert (source.name, source.path) == (str(path), path.resolve())


def test_a_link_has_the_path_of_its_file(path, tmp_path):
    link = tmp_path / "link.csv"
    link.symlink_to(path)
    with InputSource(str(link)) as source:
        assert (source.name, source.path) == (str(link), path.resolve())


@pytest.mark.parametrize("change", [b"ONE", b"one\r\ntwo\n\nlast and more"])
def test_a_file_that_changes_while_it_is_read_raises(path, change):
    with InputSource(str(path)) as source:
        lines = source.lines()
        next(lines)
        before = path.stat()
        path.write_bytes(change)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        with pytest.raises(StoreError, match=r"was changed while it was being read\. Run the same again once nobody"):
            next(lines)
        with pytest.raises(StoreError):
            source.fingerprint()


def test_a_file_that_was_touched_counts_as_changed(path):
    with InputSource(str(path)) as source:
        os.utime(path, ns=(0, 1))
        with pytest.raises(StoreError):
            list(source.lines())


@pytest.mark.parametrize("extra", [0, 1])
def test_a_line_over_the_limit_is_refused(path, extra):
    path.write_bytes(b"x\n" + b"a" * (MAX_LINE_BYTES + extra))
    with InputSource(str(path)) as source:
        if extra:
            with pytest.raises(UsageError, match=r"Line 2 of .* is longer than 1,048,576 bytes, so it is no file of"):
                list(source.lines())
        else:
            assert len(list(source.lines())) == 2


@pytest.mark.parametrize(("name", "reason"), [("none.csv", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_opened_is_a_usage_error(tmp_path, name, reason):
    with pytest.raises(UsageError, match=f"cannot be read: {reason}"):
        InputSource(str(tmp_path / name))


def test_a_file_that_cannot_be_read_is_a_usage_error(path, monkeypatch):
    class Broken(io.BytesIO):
        def fileno(self):
            return original

        def readline(self, *_):
            raise OSError(5, "Input/output error")

    with InputSource(str(path)) as source:
        original = source._file.fileno()
        monkeypatch.setattr(source, "_file", Broken())
        with pytest.raises(UsageError, match=r"cannot be read: Input/output error"):
            list(source.lines())
        monkeypatch.undo()


class Input:
    def __init__(self, content):
        self.buffer = io.BytesIO(content)


def test_standard_input_is_copied_and_read_twice(monkeypatch):
    monkeypatch.setattr(sys, "stdin", Input(CONTENT))
    with InputSource("-") as source:
        assert (source.name, source.path) == ("standard input", None)
        assert len(list(source.lines())) == len(list(source.lines())) == 4
        assert source.fingerprint() == fingerprint(CONTENT)


def test_the_copy_of_standard_input_has_no_name(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", Input(CONTENT))
    with InputSource("-") as source:
        assert list(tmp_path.iterdir()) == []
        assert os.fstat(source._file.fileno()).st_mode & 0o777 == 0o600


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_copied_too(tmp_path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(CONTENT,))
    writer.start()
    with InputSource(str(pipe)) as source:
        writer.join()
        assert source.path is None
        assert source.fingerprint() == fingerprint(CONTENT)


def test_a_full_disk_while_copying_is_a_storage_error(monkeypatch):
    class Full(io.BytesIO):
        def write(self, _data):
            raise OSError(28, "No space left on device")

    made = Full()
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: made)
    monkeypatch.setattr(sys, "stdin", Input(CONTENT))
    with pytest.raises(StorageError, match=r"cannot copy standard input to .*: No space left on device"):
        InputSource("-")
    assert made.closed


HEADER = b"id,date,minutes,description\r\n"
DAY = dt.date(2024, 5, 20)


def records(content, format, **choices):
    return list(read_records(io.BytesIO(content), ReadOptions(format=format, **choices)))


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
        (b"x,2024-05-20,5,,", "it has 5 cells and the header has 4"),
        (b"x,2024-05-20,5,\xff", "it is not UTF-8 text"),
        (b'x,2024-05-20,5,"a"b', "',' expected after '\"'"),
        (b"x,2024-05-20,5,a\rb", "new-line character seen"),
        (b"x,2024-05-20,5," + b"a" * 200_000, "field larger than field limit"),
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
    assert reasons(b"a\n\xff\nb", "ids") == [(2, "it is not UTF-8 text; save the file as UTF-8")]


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
IDS = st.from_regex(r"\S(.*\S)?", fullmatch=True) | TEXTS.filter(str.strip)
MINUTES = st.floats(0, allow_nan=False, allow_infinity=False)
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
    def lines():
        yield HEADER
        yield b"a,2024-05-20,5,\r\n"
        pytest.fail("nobody has asked for this line")

    assert next(read_records(lines(), ReadOptions(format="csv"))).values["id"] == "a"


def test_the_csv_module_s_limits_stay_as_they_are():
    records(HEADER, "csv")
    assert csv.field_size_limit() == 131072


WHOLE = {"id": "old", "item_id": "i", "user_id": "u", "date": DAY, "minutes": 90.0}


def record(**values):
    return Record(1, {name: value for name, value in values.items() if value is not ...})


@pytest.mark.parametrize("api_version", [V1, V2])
def test_a_new_worklog_leaves_out_the_record_s_id_and_nulls(api_version):
    found = make_new_worklog(record(**WHOLE, description=None, team_id=None, custom_fields={}), api_version)
    assert found == NewWorklog(item_id="i", user_id="u", date=DAY, minutes=90.0)


@pytest.mark.parametrize("empty", [..., None])
@pytest.mark.parametrize("name", ["item_id", "user_id", "date", "minutes"])
def test_a_missing_required_field_is_named(name, empty):
    with pytest.raises(UsageError, match=f"^{name} must be given$"):
        make_new_worklog(record(**WHOLE | {name: empty}), V2)


def test_all_missing_fields_are_named_at_once():
    with pytest.raises(UsageError, match="item_id, user_id, date, minutes must be given"):
        make_new_worklog(record(id="x"), V2)


@pytest.mark.parametrize("values", [{"minutes": -1.0}, {"item_id": " "}, {"custom_fields": {"category": "x"}}])
def test_a_value_that_the_model_refuses_is_refused(values):
    with pytest.raises((ValueError, TypeError), match=next(iter(values))):
        make_new_worklog(record(**WHOLE | values), V2)


def test_a_field_that_the_api_version_lacks_is_refused():
    assert make_new_worklog(record(**WHOLE, team_id="t"), V2).team_id == "t"
    with pytest.raises(UsageError, match="team_id"):
        make_new_worklog(record(**WHOLE, team_id="t"), V1)


@pytest.mark.parametrize("make", [make_new_worklog, make_change])
def test_a_value_that_json_cannot_hold_is_refused(make):
    with pytest.raises((ValueError, TypeError)):
        make(record(**WHOLE, description="\ud800"), V2)


def test_changes_keep_the_nulls_of_the_record():
    named, changes = make_change(record(id="w", minutes=30.0, description=None, date=DAY), V2)
    assert named == "w"
    assert changes == WorklogChanges(minutes=30.0, description=None, date=DAY)


def test_empty_custom_fields_are_no_change():
    assert make_change(record(**WHOLE, custom_fields={}), V1)[1] == make_change(record(**WHOLE), V1)[1]
    assert make_change(record(id="w", custom_fields={"a": None}), V2)[1] == WorklogChanges(custom_fields={"a": None})


@pytest.mark.parametrize("name", ["team_id", "project_id"])
def test_null_for_a_field_that_1_0_lacks_is_no_change(name):
    assert make_change(record(id="w", minutes=1.0, **{name: None}), V1)[1] == WorklogChanges(minutes=1.0)
    assert getattr(make_change(record(id="w", minutes=1.0, **{name: None}), V2)[1], name) is None
    with pytest.raises(UsageError, match=name):
        make_change(record(id="w", **{name: "x"}), V1)


def test_null_for_a_required_field_is_refused():
    with pytest.raises((ValueError, TypeError), match="minutes"):
        make_change(record(id="w", minutes=None), V2)


@pytest.mark.parametrize("values", [{"id": "w"}, {"id": "w", "custom_fields": {}}])
def test_a_record_without_changes_is_refused(values):
    with pytest.raises(UsageError, match="there is nothing to change"):
        make_change(record(**values), V2)


@pytest.mark.parametrize("make", [make_worklog_id, make_change])
@pytest.mark.parametrize("named", [..., None, ""])
def test_an_id_is_required(make, named):
    with pytest.raises(UsageError, match="id must be given"):
        make(record(id=named, minutes=1.0), V2)


@pytest.mark.parametrize("make", [make_worklog_id, make_change])
@pytest.mark.parametrize("named", ["..", "../x", "a/b", "a b"])
def test_an_id_with_a_path_in_it_is_refused(make, named):
    with pytest.raises(UsageError, match="cannot be the id of a worklog"):
        make(record(id=named, minutes=1.0), V2)


def at(text):
    return dt.datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("date", "day"),
    [
        ("2026-03-02T08:00+13:00", dt.date(2026, 3, 2)),  # 2026-03-01 in UTC
        ("2026-03-01T22:00-11:00", dt.date(2026, 3, 1)),  # 2026-03-02 in UTC
        ("2026-03-02T00:00+00:00", dt.date(2026, 3, 2)),
        ("0001-01-01T00:00+14:00", dt.date(1, 1, 1)),
    ],
)
def test_2_0_books_the_day_as_written(date, day):
    values = WHOLE | {"date": at(date)}
    midnight = dt.datetime.combine(day, dt.time(), dt.UTC)
    assert make_new_worklog(record(**values), V2).date == midnight
    assert make_change(record(**values), V2)[1].date == midnight


@pytest.mark.parametrize("make", [make_new_worklog, lambda *args: make_change(*args)[1]])
def test_1_0_keeps_the_moment_whatever_the_day(make):
    moment = at("2026-03-02T08:00+13:00")
    assert make(record(**WHOLE | {"date": moment}), V1).date == moment
    assert make(record(**WHOLE | {"date": moment, "day": dt.date(2026, 3, 2)}), V1).date == moment


def test_1_0_refuses_a_moment_outside_of_the_calendar():
    with pytest.raises(UsageError, match=r"^date 0001-01-01 00:00:00\+14:00 is outside of the years 1 to 9999$"):
        make_new_worklog(record(**WHOLE | {"date": at("0001-01-01T00:00+14:00")}), V1)


@pytest.mark.parametrize("empty", [..., None])
def test_a_day_stands_for_a_missing_date(empty):
    values = WHOLE | {"date": empty, "day": DAY}
    for api_version in (V1, V2):
        assert make_new_worklog(record(**values), api_version).date == dt.datetime(2024, 5, 20, tzinfo=dt.UTC)
    assert make_change(record(**values), V2)[1].date == dt.datetime(2024, 5, 20, tzinfo=dt.UTC)
    with pytest.raises(UsageError, match=r"API 1\.0 keeps the time of day, which day does not say"):
        make_change(record(**values), V1)


@pytest.mark.parametrize(
    ("date", "days"),
    [
        (DAY, [20]),
        (at("2024-05-20T23:30+02:00"), [20]),
        (at("2024-05-20T09:59+00:00"), [19, 20]),
        (at("2024-05-20T10:00+00:00"), [19, 20, 21]),
        (at("2024-05-20T11:59+00:00"), [19, 20, 21]),
        (at("2024-05-20T12:00+00:00"), [20, 21]),
        (at("2024-05-20T00:00:01+00:00"), [19, 20]),
    ],
)
@pytest.mark.parametrize("api_version", [V1, V2])
def test_a_day_that_contradicts_the_date_is_refused(date, days, api_version):
    """A moment in UTC may be on another day in the time zone that an export was made for."""
    for number in range(17, 24):
        values = WHOLE | {"date": date, "day": dt.date(2024, 5, number)}
        if number in days:
            found = make_new_worklog(record(**values), api_version).date
            assert api_version is V1 or found.day == number
            assert make_change(record(**values), api_version)[1].date == found
        else:
            for make in (make_new_worklog, make_change):
                with pytest.raises(UsageError, match=f"^day 2024-05-{number} contradicts date 2024-05-20"):
                    make(record(**values), api_version)


def test_midnight_in_utc_is_a_day_on_2_0_and_a_moment_on_1_0():
    values = WHOLE | {"date": at("2024-05-20T00:00+00:00"), "day": dt.date(2024, 5, 19)}
    assert make_new_worklog(record(**values), V1).date == values["date"]
    with pytest.raises(UsageError, match="contradicts"):
        make_new_worklog(record(**values), V2)


def test_a_record_s_id_is_returned():
    assert make_worklog_id(record(id="w-1"), V1) == "w-1"


GOOD = b'{"item_id": "i", "user_id": "u", "date": "2024-05-20", "minutes": %d, "id": "x", "created_date": "y"}\n'


@pytest.fixture
def input_file(tmp_path):
    """Makes a reading of a file with this content."""
    opened = []

    def make(content, format="ndjson", make=make_new_worklog, api="2.0", **settings):
        path = tmp_path / "file"
        path.write_bytes(content)
        source = InputSource(str(path))
        opened.append(source)
        return InputFile(
            source=source, options=ReadOptions(format=format), make=make, api_version=API_VERSIONS[api](), **settings
        )

    yield make
    for source in opened:
        source.close()


def test_validation_counts_rows_and_names_ignored_attributes(input_file):
    found = input_file(GOOD % 1 + b"\n" + GOOD % 2).validate()
    assert (found.rows, found.bad_lines, found.bad) == (2, 0, [])
    assert found.ignored == {"created_date"}


@pytest.mark.parametrize(("api", "dropped"), [("1.0", 0), ("2.0", 2)])
def test_validation_counts_the_times_of_day_that_are_dropped(input_file, api, dropped):
    dates = [
        "2024-05-20",
        "2024-05-20T00:00:00.000Z",
        "2024-05-20T00:00+02:00",
        "2024-05-20T09:30Z",
        "2024-05-20T00:01Z",
    ]
    lines = [(GOOD % 1).replace(b"2024-05-20", date.encode()) for date in dates]
    found = input_file(b"".join(lines), api=api).validate()
    assert (found.rows, found.bad_lines, found.dropped_times) == (5, 0, dropped)


def test_validation_counts_all_bad_lines_and_lists_the_first(input_file):
    lines = [GOOD % -1 if number % 2 else b"{}\n" for number in range(2 * MAX_LISTED)]
    found = input_file(GOOD % 1 + b"".join(lines)).validate()
    assert (found.rows, found.bad_lines) == (1, 2 * MAX_LISTED)
    assert [bad.line for bad in found.bad] == list(range(2, MAX_LISTED + 2))
    assert found.bad[0] == BadLine(2, "item_id, user_id, date, minutes must be given")
    assert found.bad[1].reason.startswith("minutes must be a finite number of minutes, at least 0, not -1")


def test_bad_values_models_and_api_versions_all_make_bad_lines(input_file):
    content = b"[]\n" + (GOOD % 1).replace(b'"i"', b'" "') + (GOOD % 1).replace(b'"id"', b'"team_id"')
    assert [bad.line for bad in input_file(content, api="1.0").validate().bad] == [1, 2, 3]


def test_rows_come_in_order_without_unwanted_lines(input_file):
    made = input_file(b"".join(GOOD % number for number in range(5)))
    assert [(row.line, row.item.minutes) for row in made.rows()] == [(n + 1, n) for n in range(5)]
    assert [row.line for row in made.rows({2, 4}.__contains__)] == [2, 4]


def test_an_unwanted_row_is_not_made(input_file):
    made = []

    def make(record, _api_version):
        made.append(record.line)
        return "x"

    rows = input_file(b"a\nb\nc\n", "ids", make).rows({2}.__contains__)
    assert ([row.line for row in rows], made) == ([2], [2])


@pytest.mark.parametrize(
    ("make", "content"),
    [
        (make_worklog_id, b'{"id": "a"}\n{"id": "b"}\n{"id": "a"}\n{"id": "a"}'),
        (make_change, b'{"id": "a", "minutes": 1}\n{"id": "b", "minutes": 1}\n' + b'{"id": "a", "minutes": 2}\n' * 2),
    ],
)
def test_a_duplicate_id_is_refused(input_file, make, content):
    found = input_file(content, make=make, id_of=lambda item: item if isinstance(item, str) else item[0]).validate()
    assert found.rows == 2
    assert found.bad == [
        BadLine(3, "the id 'a' is on line 1 already; remove one of the two"),
        BadLine(4, "the id 'a' is on line 1 already; remove one of the two"),
    ]


def test_a_file_that_changes_after_validation_has_no_rows(input_file, tmp_path):
    made = input_file(GOOD % 1)
    assert made.validate().rows == 1
    (tmp_path / "file").write_bytes(GOOD % 1 + GOOD % 2)
    with pytest.raises(StoreError):
        list(made.rows())


def test_an_import_accepts_equal_rows(input_file):
    assert input_file(GOOD % 1 * 50).validate().rows == 50
