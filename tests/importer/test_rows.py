"""Rows of an input file, and the first pass that validates them."""

from __future__ import annotations

import datetime as dt

import pytest

from tracket_async.client import API_VERSIONS
from tracket_async.errors import StoreError, UsageError
from tracket_async.importer.records import BadLine, ReadOptions, Record
from tracket_async.importer.rows import MAX_LISTED, InputFile, make_change, make_new_worklog, make_worklog_id
from tracket_async.importer.source import InputSource
from tracket_async.models import NewWorklog, WorklogChanges

V1, V2 = API_VERSIONS["1.0"](), API_VERSIONS["2.0"]()
DAY = dt.date(2024, 5, 20)

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


@pytest.mark.parametrize("values", [{"minutes": float("inf")}, {"item_id": " "}, {"custom_fields": {"category": "x"}}])
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
    lines = [GOOD.replace(b"%d", b"true") if number % 2 else b"{}\n" for number in range(2 * MAX_LISTED)]
    found = input_file(GOOD % 1 + b"".join(lines)).validate()
    assert (found.rows, found.bad_lines) == (1, 2 * MAX_LISTED)
    assert [bad.line for bad in found.bad] == list(range(2, MAX_LISTED + 2))
    assert found.bad[0] == BadLine(2, "item_id, user_id, date, minutes must be given")
    assert found.bad[1].reason.startswith("minutes must be a number of minutes, not True")


def test_bad_values_models_and_api_versions_all_make_bad_lines(input_file):
    content = b"[]\n" + GOOD.replace(b"%d", b"1" + b"0" * 400) + (GOOD % 1).replace(b'"id"', b'"team_id"')
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


def test_a_date_without_an_offset_is_a_day_on_2_0_and_refused_on_1_0():
    values = WHOLE | {"date": dt.datetime(2024, 5, 20, 9, 30)}  # noqa: DTZ001
    assert make_new_worklog(record(**values), V2).date == dt.datetime(2024, 5, 20, tzinfo=dt.UTC)
    assert make_new_worklog(record(**values, day=DAY), V2).date == dt.datetime(2024, 5, 20, tzinfo=dt.UTC)
    with pytest.raises(UsageError, match=r"^day 2024-05-21 contradicts date 2024-05-20 09:30:00"):
        make_new_worklog(record(**values, day=dt.date(2024, 5, 21)), V2)
    with pytest.raises(UsageError, match=r"^date 2024-05-20 09:30:00 has no offset, .* Append Z for UTC, or \+02:00"):
        make_new_worklog(record(**values), V1)


def test_repaired_ids_are_counted_once_however_often_the_file_is_read(input_file):
    made = input_file((GOOD % 1).replace(b'"i"', b"7.0") * 3)
    assert made.validate().repaired_ids == 3
    assert [row.item.item_id for row in made.rows()] == ["7"] * 3
    assert made.validate().repaired_ids == 3
