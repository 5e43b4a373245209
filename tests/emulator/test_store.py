"""The store: keyset walks that miss nothing, files that last, plans that use the indexes, and instants as text."""

from __future__ import annotations

import datetime as dt
import sqlite3
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracket_async.emulator import DuplicateIdError, StoreError
from tracket_async.emulator.records import (
    DAY,
    NEVER,
    Worklog,
    format_day,
    format_instant,
    parse_day,
    parse_instant,
    start_of_day,
)
from tracket_async.emulator.store import (
    KEY_COLUMNS,
    Bounds,
    Filter,
    Store,
    equivalent_cursor,
    initial_cursor,
    read_cursor,
    select_page,
    write_cursor,
)

FEW = st.integers(0, 5)
BOUNDS = st.builds(Bounds, low=st.none() | FEW, high=st.none() | FEW)


@st.composite
def some_worklogs(draw):
    dates = draw(st.lists(st.tuples(FEW, FEW | st.just(NEVER), FEW | st.just(NEVER)), max_size=25))
    return [make(f"id{number}", *each) for number, each in enumerate(dates)]


def make(ident, date=0, created=NEVER, updated=NEVER, **more):
    return Worklog(ident, "i", "u", None, None, date, 1.0, None, created, updated, **more)


def within(bounds, value):
    if bounds == Bounds():
        return True
    return (
        value != NEVER and (bounds.low is None or value >= bounds.low) and (bounds.high is None or value <= bounds.high)
    )


def key_of(order, worklog):
    names = [name for name in KEY_COLUMNS[order] if name != "id_hash"]
    return tuple(getattr(worklog, name) for name in names)


@settings(max_examples=150, deadline=None)
@given(
    worklogs=some_worklogs(),
    matching=st.builds(Filter, date=BOUNDS, created=BOUNDS, updated=BOUNDS),
    order=st.sampled_from(list(KEY_COLUMNS)),
    descending=st.booleans(),
    size=st.integers(1, 7),
)
def test_a_walk_gives_every_match_once_and_in_order(worklogs, matching, order, descending, size):
    store = Store()
    try:
        store.load(worklogs)
        expected = [
            each
            for each in worklogs
            if within(matching.date, each.date)
            and within(matching.created, each.created)
            and within(matching.updated, each.updated)
        ]
        assert store.total(matching) == len(expected)
        seen, after = [], None
        while True:
            rows, after = store.page("v1", matching, order, descending=descending, after=after, size=size)
            assert len(rows) <= size
            seen += [row.split(b'"worklogId":"')[1].split(b'"')[0].decode() for row in rows]
            if after is None:
                break
            # a cursor comes back as it went
            cursor = write_cursor(order, descending=descending, key=after)
            assert read_cursor(cursor, order, descending=descending) == after
            assert read_cursor(equivalent_cursor(cursor), order, descending=descending) == after
        assert sorted(seen) == sorted(each.id for each in expected)
        if order != "unsorted":
            by_id = {each.id: each for each in worklogs}
            keys = [key_of(order, by_id[ident]) for ident in seen]
            assert all(left > right if descending else left < right for left, right in pairwise(keys))
    finally:
        store.close()


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("order", list(KEY_COLUMNS))
def test_a_walk_can_be_led_back_to_its_start(order, descending):
    store = Store()
    store.load([make(f"id{number}", number, number, number) for number in range(4)])
    first, key = store.page("v1", Filter(), order, descending=descending, after=None, size=3)
    start = initial_cursor(write_cursor(order, descending=descending, key=key))
    again, _ = store.page(
        "v1", Filter(), order, descending=descending, after=read_cursor(start, order, descending=descending), size=3
    )
    assert again == first
    store.close()


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("order", list(KEY_COLUMNS))
@pytest.mark.parametrize(
    "matching",
    [
        Filter(),
        Filter(date=Bounds(2, 8)),
        Filter(created=Bounds(2, 8), updated=Bounds(None, 8)),
        Filter(date=Bounds(2, None), created=Bounds(None, 8), updated=Bounds(1, 8)),
    ],
    ids=["all", "date", "two", "three"],
)
def test_every_page_is_a_seek_in_the_orders_index_without_sorting(order, descending, matching):
    store = Store()
    key = (*[5] * (len(KEY_COLUMNS[order]) - 1), "x")
    for after in (None, key):
        statement = select_page("v1", matching, order, descending=descending, after=after, limit=3)
        plan = store._db.execute(f"EXPLAIN QUERY PLAN {statement.sql}", statement.parameters).fetchall()
        ((*_, step),) = plan
        assert f"USING INDEX by_{KEY_COLUMNS[order][0]}" in step
        assert "SEARCH" in step or after is None
    store.close()


def test_the_cursor_takes_the_place_of_the_bound_that_it_has_overtaken():
    # with both, SQLite would step over everything between the two on each page
    key = (5, 5, "x")
    window = Filter(date=Bounds(2, 8))
    sql = select_page("v1", window, "date", descending=False, after=key, limit=1).sql
    assert "date >= ?" not in sql
    assert "date <= ?" in sql
    sql = select_page("v1", window, "date", descending=True, after=key, limit=1).sql
    assert "date >= ?" in sql
    assert "date <= ?" not in sql
    # a cursor from before the window leaves the bound in place
    sql = select_page("v1", window, "date", descending=False, after=(1, 1, "x"), limit=1).sql
    assert "date >= ?" in sql


def test_a_duplicate_is_refused_and_a_load_is_all_or_nothing():
    store = Store()
    store.insert(make("a"))
    with pytest.raises(DuplicateIdError):
        store.insert(make("a"))
    with pytest.raises(DuplicateIdError):
        store.load([make("b"), make("c"), make("b")])
    assert store.count == 1
    store.load([make("b")])  # the indexes are there again
    with pytest.raises(DuplicateIdError):
        store.insert(make("b"))
    assert store.count == 2
    store.close()
    store.close()


def test_totals_are_counted_once_until_a_write_and_not_kept_without_limit(monkeypatch):
    monkeypatch.setattr("tracket_async.emulator.store._TOTALS_KEPT", 2)
    store = Store()
    store.insert(make("a", 5))
    counted = []
    store._db.set_trace_callback(lambda sql: counted.append(sql) if "count(*)" in sql else None)
    for _ in range(3):
        assert store.total(Filter(date=Bounds(1))) == 1
    assert len(counted) == 1
    for low in (2, 3, 4):
        store.total(Filter(date=Bounds(low)))
    assert len(store._totals) <= 2
    store.insert(make("b", 5))
    assert store.total(Filter(date=Bounds(1))) == 2
    store.close()


# ---- files


def test_a_file_keeps_the_worklogs_and_the_categories(tmp_path):
    path = tmp_path / "db.sqlite"
    store = Store(path)
    store.load([make("a"), make("b")])
    store.add_categories([("1", "one")])
    store.add_categories([("1", "other"), ("2", "two")])
    store.close()
    store = Store(path)
    assert store.count == 2
    assert store.categories() == [("1", "one"), ("2", "two")]
    store.close()


def test_a_file_that_was_written_with_the_other_approval_shape_is_rendered_again(tmp_path):
    path = tmp_path / "db.sqlite"
    for shape, expected in (
        ("object", b'{"status":"open","approver":null}'),
        ("string", b'"open"'),
        ("string", b'"open"'),
    ):
        store = Store(path, approval_shape=shape)
        if not store.count:
            store.insert(make("a"))
        assert b'"approval":' + expected in store.rendered("v2", "a")
        store.close()


def test_a_file_that_is_something_else_is_left_alone(tmp_path):
    text = tmp_path / "text"
    text.write_text("no database at all, but long enough to look at its header" * 20)
    with pytest.raises(StoreError, match=r"cannot use .*text"):
        Store(text)
    other = tmp_path / "other"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    with pytest.raises(StoreError, match="no database of this emulator"):
        Store(other)
    newer = tmp_path / "newer"
    db = sqlite3.connect(newer)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="another version"):
        Store(newer)
    with pytest.raises(StoreError, match="cannot open"):
        Store(tmp_path / "no" / "such" / "folder")


UTC_INSTANTS = st.datetimes(timezones=st.just(dt.UTC))


def milliseconds(moment):
    return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(milliseconds=1)


@given(UTC_INSTANTS)
def test_what_is_written_is_what_python_writes_and_reads_back_the_same(moment):
    instant = milliseconds(moment)
    text = format_instant(instant)
    assert text == moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert parse_instant(text) == instant
    assert format_day(instant) == moment.date().isoformat()
    assert start_of_day(instant) == parse_day(format_day(instant))
    assert 0 <= instant - start_of_day(instant) < DAY


@given(st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 1, 1)), st.integers(-1439, 1439))  # noqa: DTZ001
def test_offsets_are_taken_to_utc(local, offset):
    zone = dt.timezone(dt.timedelta(minutes=offset))
    moment = local.replace(tzinfo=zone)
    assert parse_instant(moment.isoformat()) == milliseconds(moment)


@pytest.mark.parametrize(
    ("text", "milliseconds_of_second"),
    [("", 0), (".1", 100), (".12", 120), (".123", 123), (".1239", 123), (".9999999999", 999)],
)
def test_finer_fractions_are_cut_off(text, milliseconds_of_second):
    assert parse_instant(f"1970-01-01T00:00:00{text}Z") == milliseconds_of_second


@pytest.mark.parametrize("text", ["1970-01-01t00:00:01z", "1970-01-01 00:00:01Z", "1970-01-01T00:00:01+00:00"])
def test_rfc_3339_has_some_freedom(text):
    assert parse_instant(text) == 1000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1970-01-01",
        "1970-01-01T00:00:00",
        "1970-01-01T00:00Z",
        "1970-01-01T24:00:00Z",
        "1970-01-01T00:60:00Z",
        "1970-01-01T00:00:60Z",
        "1970-01-01T00:00:00.Z",
        "1970-01-01T00:00:00+24:00",
        "1970-01-01T00:00:00+0100",
        "1970-02-29T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "١٩٧٠-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z\n",
    ],
)
def test_what_is_no_instant_is_refused(text):
    with pytest.raises(ValueError, match="must"):
        parse_instant(text)


@pytest.mark.parametrize("text", ["", "1970-1-1", "1970-02-30", "0000-01-01", "19700101", "1970-01-01 ", "1970-W01-1"])
def test_what_is_no_day_is_refused(text):
    with pytest.raises(ValueError, match="must be a day"):
        parse_day(text)
