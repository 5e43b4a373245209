"""The store's columns, and its worklogs read slice by slice in order."""

from __future__ import annotations

import datetime as dt
import types
import typing
from collections.abc import Mapping
from itertools import chain, pairwise

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracket_async import frames
from tracket_async._api.fast import row_of
from tracket_async.export import tables
from tracket_async.export.tables import NO_BATCHES, Days, days_together, read_slice, slices
from tracket_async.models import Worklog

TYPES = {dt.datetime: "TIMESTAMPTZ", float: "DOUBLE", str: "VARCHAR", Mapping: "VARCHAR"}


def kinds(annotation):
    """The types of an annotation, without None."""
    parts = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    return {typing.get_origin(part) or part for part in parts} - {types.NoneType}


def test_every_attribute_has_the_column_type_of_its_python_type():
    hints = typing.get_type_hints(Worklog)
    for name in frames.ATTRIBUTES:
        expected = {sql for kind, sql in TYPES.items() if any(issubclass(one, kind) for one in kinds(hints[name]))}
        assert expected == {tables.sql_type(name)}, name


def test_exactly_what_is_never_none_is_not_null():
    hints = typing.get_type_hints(Worklog)
    for field in frames.arrow_schema(frames.ATTRIBUTES):
        optional = types.NoneType in typing.get_args(hints[field.name])
        assert field.nullable == optional, field.name
        assert ("NOT NULL" in tables.sql_definitions([field.name])) == (not optional)


def test_of_a_row_the_id_and_the_date_can_be_told(make_worklog):
    worklog = make_worklog(3)
    assert (tables.id_of(row_of(worklog)), tables.date_of(row_of(worklog))) == (worklog.id, worklog.date)


def test_of_two_rows_of_one_worklog_the_later_stays(make_worklog):
    first, second, other = map(row_of, [make_worklog(1), make_worklog(1, minutes=9.0), make_worklog(2)])
    assert tables.unique([first, other, second]) == [second, other]


@pytest.mark.parametrize(
    "moment",
    [
        dt.datetime(1, 1, 1, tzinfo=dt.UTC),
        dt.datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC),
        dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC),
        dt.datetime(2024, 5, 6, 12, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30))),
    ],
)
def test_a_moment_keeps_its_microsecond(make_worklog, moment):
    batch = frames.arrow_batch([row_of(make_worklog(1, date=moment, updated_date=moment, created_date=None))])
    assert batch.schema.field("date").type == pa.timestamp("us", tz="UTC")
    assert batch.column("date").cast(pa.int64()).to_pylist() == [
        (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    ]
    assert batch.column("created_date").null_count == 1


def test_custom_fields_are_json_with_sorted_keys(make_worklog):
    rows = [row_of(make_worklog(1)), row_of(make_worklog(2))]
    assert frames.arrow_batch(rows).column("custom_fields").to_pylist() == ['{"a":"1","b":"2"}', "{}"]


DAY = dt.date(2024, 1, 1)


def read(store, most):
    statement = tables.typed_slice(["id"], "UTC")
    parts = [read_slice(store.database, statement, part)["id"].to_pylist() for part in slices(store.database, most)]
    return [part for part in parts if part]


def test_an_empty_store_has_no_slices(deduplicated):
    assert read(deduplicated([]), 10) == []


@pytest.mark.parametrize(
    ("counts", "groups"),
    [
        ([], []),
        ([3], [3]),
        ([9], [9]),
        ([2, 2, 1], [5]),
        ([2, 2, 2], [4, 2]),
        ([5, 1], [5, 1]),
        ([1, 9, 1], [1, 9, 1]),
    ],
)
def test_days_are_put_together_up_to_the_limit(counts, groups):
    each = [DAY + dt.timedelta(days=at) for at in range(len(counts))]
    days = [Days(first=day, last=day, worklogs=count, batches=(1, 1)) for day, count in zip(each, counts, strict=True)]
    found = list(days_together(days, 5))
    assert [group.worklogs for group in found] == groups
    for earlier, later in pairwise(found):
        assert later.first > earlier.last


def test_days_together_have_the_batches_of_all_of_them():
    several = [
        Days(first=DAY, last=DAY, worklogs=1, batches=batches) for batches in [(3, 4), NO_BATCHES, (2, 2), NO_BATCHES]
    ]
    assert [group.batches for group in days_together(several, 4)] == [(2, 4)]
    assert [group.batches for group in days_together(several[1:2], 4)] == [NO_BATCHES]


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5])
def test_a_day_that_is_too_large_is_cut_between_worklogs_also_of_one_moment(deduplicated, make_worklog, most):
    moment = dt.datetime(2024, 1, 5, tzinfo=dt.UTC)
    store = deduplicated([make_worklog(number, date=moment) for number in (3, 1, 4, 2)])
    parts = read(store, most)
    assert [len(part) for part in parts] == {1: [1] * 4, 2: [2, 2], 3: [3, 1], 4: [4], 5: [4]}[most]
    assert list(chain(*parts)) == ["wl-00001", "wl-00002", "wl-00003", "wl-00004"]


HOURS = st.lists(st.integers(0, 100) | st.integers(0, 3), max_size=40)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(hours=HOURS, most=st.integers(1, 12), ids=st.randoms(use_true_random=False))
def test_slices_are_everything_in_order_of_date_and_id_and_no_larger_than_allowed(
    store, make_worklog, batch_of, hours, most, ids
):
    names = [f"{number:03}" for number in range(len(hours))]
    ids.shuffle(names)
    worklogs = [make_worklog(hour, id=name) for hour, name in zip(hours, names, strict=True)]
    store.database.execute("DELETE FROM tracket.rows")
    for at in range(0, len(worklogs), 7):
        store.append([batch_of(worklogs[at : at + 7])], {})
    store.database.execute("UPDATE tracket.rows SET batch = 0 WHERE minutes % 3 = 0")  # as after `upsert`
    parts = read(store, most)
    expected = sorted(worklogs, key=lambda worklog: (worklog.date, worklog.id))
    assert list(chain(*parts)) == [worklog.id for worklog in expected]
    assert max(map(len, parts), default=0) <= most


def test_a_slice_knows_which_commits_brought_its_worklogs(store, make_worklog, batch_of):
    for hours in ([0, 48, 49], [1, 50], [96]):
        store.append([batch_of([make_worklog(hour) for hour in hours])], {})
    store.deduplicate()
    store.upsert(batch_of([make_worklog(120), make_worklog(97)]))
    assert [part.batches for part in slices(store.database, 3)] == [(1, 2), (1, 2), (3, 3)]
    assert [part.batches for part in slices(store.database, 1)][-1] == NO_BATCHES
    assert read(store, 3) == [
        ["wl-00000", "wl-00001"],
        ["wl-00048", "wl-00049", "wl-00050"],
        ["wl-00096", "wl-00097", "wl-00120"],
    ]
