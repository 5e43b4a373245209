"""Sums by one and two dimensions, and the cube of a page."""

from __future__ import annotations

import json
import math
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracket_async.errors import UsageError
from tracket_async.report.source import open_worklogs
from tracket_async.report.sums import DIMENSIONS, NOTHING, Sums, cube, dimensions, prepare_cube, table


@pytest.fixture
def sums_of(lines_of):
    def sums(worklogs, *by):
        with open_worklogs(lines_of(worklogs)) as opened:
            return table(opened, dimensions(by))

    return sums


def test_each_dimension_has_its_keys_and_a_null_is_a_key(work, sums_of):
    fields = {"user_id": "u", "category_id": "c", "project_id": "p", "item_id": "i", "approval_status": "open"}
    worklogs = [work("2026-01-01", **fields), work("2026-12-31", **dict.fromkeys(fields))]
    expected = {
        "day": ["2026-01-01", "2026-12-31"],
        "week": ["2026-W01", "2026-W53"],
        "month": ["2026-01", "2026-12"],
        "user": [None, "u"],
        "category": [None, "c"],
        "project": [None, "p"],
        "item": [None, "i"],
        "approval": [None, "open"],
    }
    assert {by: list(sums_of(worklogs, by).rows) for by in DIMENSIONS} == expected


@pytest.mark.parametrize(
    ("day", "week"), [("2024-12-30", "2025-W01"), ("2027-01-03", "2026-W53"), ("0999-06-03", "0999-W23")]
)
def test_a_week_is_that_of_iso_8601(work, sums_of, day, week):
    assert list(sums_of([work(day)], "week").rows) == [week]
    assert list(sums_of([work(day)], "month").rows) == [day[:7]]


def test_times_are_in_their_order_and_others_by_hours(work, sums_of):
    worklogs = [work("2026-03-02", 10, user_id="b"), work("2026-01-02", 30, user_id="c"), work("2026-02-02", 10)]
    assert list(sums_of(worklogs, "month").rows) == ["2026-01", "2026-02", "2026-03"]
    assert list(sums_of(worklogs, "user").rows) == ["c", "b", "u-1"]


def test_no_billable_minutes_are_not_0(work, sums_of):
    said, unsaid, zero = work(minutes=60, billable=45.0), work(minutes=30), work("2026-03-03", 15, 0.0)
    found = sums_of([said, unsaid, zero, work("2026-03-04", 5)], "day")
    assert found.rows == {
        "2026-03-02": Sums(2, 90, 45, 30),
        "2026-03-03": Sums(1, 15, 0, 0),
        "2026-03-04": Sums(1, 5, None, 5),
    }
    assert found.total == Sums(4, 110, 45, 35)
    assert found.rows["2026-03-04"] + NOTHING == Sums(1, 5, None, 5)
    assert found.rows["2026-03-04"] + found.rows["2026-03-03"] == Sums(2, 20, 0, 5)


def test_two_dimensions_have_sums_of_rows_columns_and_cells(work, sums_of):
    worklogs = [
        work("2026-03-02", 10, user_id="a"),
        work("2026-04-02", 20, user_id=None),
        work("2026-04-03", 30, user_id="a"),
    ]
    found = sums_of(worklogs, "user", "month")
    assert list(found.rows.items()) == [("a", Sums(2, 40, None, 40)), (None, Sums(1, 20, None, 20))]
    assert {key: sums.minutes for key, sums in found.columns.items()} == {"2026-03": 10, "2026-04": 50}
    assert [keys for keys, _ in found.records()] == [("a", "2026-03"), ("a", "2026-04"), (None, "2026-04")]
    assert found.total.minutes == 60


def test_without_worklogs_there_are_no_rows_and_a_total_of_nothing(sums_of):
    for by in (("month",), ("month", "user")):
        found = sums_of([], *by)
        assert (found.rows, found.columns, found.cells, found.total, found.records()) == ({}, {}, {}, NOTHING, [])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["hour"], "there is no 'hour' to sum up by"),
        (["month", "month"], "one or two different dimensions"),
        (["month", "user", "item"], "one or two different dimensions"),
        ([], "one or two different dimensions"),
    ],
)
def test_dimensions_are_one_or_two_that_exist(names, message):
    with pytest.raises(UsageError, match=message):
        dimensions(names)


# -- the cube ----------------------------------------------------------------------------------------------------------


def decoded(found):
    """The cells of a cube by the values of their facets, the weekday as a number."""
    cells = {}
    for key, *sums in found.cells:
        values, rest = [], key
        for facet in reversed(("month", "weekday", "approval", "person", "project", "category")):
            labels = range(7) if facet == "weekday" else found.facets[facet]
            rest, code = divmod(rest, len(labels))
            values.append(labels[code])
        assert rest == 0
        cells[tuple(reversed(values))] = tuple(sums)
    return cells


def cube_of(path, *, most=100, months=100, cells=1000):
    with open_worklogs(path) as worklogs:
        prepare_cube(worklogs)
        return cube(worklogs, most=most, months=months, cells=cells)


def test_a_cube_has_a_cell_for_each_combination(work, lines_of):
    worklogs = [
        work("2026-03-02", 10, 5.0, category_id="c"),
        work("2026-03-09", 20, None, category_id="c"),
        work("2026-03-08", 30, 0.0, approval_status=None, project_id="p", user_id="v"),
    ]
    found = cube_of(lines_of(worklogs))
    assert decoded(found) == {
        ("2026-03", 0, "approved", "u-1", None, "c"): (2, 30, 5, 20),
        ("2026-03", 6, None, "v", "p", None): (1, 30, 0, 0),
    }
    assert set(found.folded.values()) == {0}


def test_the_smallest_values_and_the_earliest_months_are_summed_up_together(work, lines_of):
    worklogs = [work(f"2026-0{month}-02", 10 * month, user_id=f"u{month}") for month in range(1, 6)]
    found = cube_of(lines_of(worklogs), most=2, months=3)
    assert found.facets["month"] == [None, "2026-03", "2026-04", "2026-05"]
    assert found.facets["person"] == ["u5", "u4", None]
    assert (found.folded["month"], found.folded["person"], found.folded["project"]) == (2, 3, 0)
    months = defaultdict(float)
    for (month, _, _, person, *_), sums in decoded(found).items():
        months[month, person] += sums[1]
    assert months == {
        (None, None): 30,
        ("2026-03", None): 30,
        ("2026-04", "u4"): 40,
        ("2026-05", "u5"): 50,
    }


def test_a_month_without_worklogs_is_there_unless_a_date_is_far_off(work, lines_of):
    year = [f"2025-{month:02}" for month in range(11, 13)] + ["2026-01", "2026-02"]
    assert cube_of(lines_of([work("2025-11-30"), work("2026-02-01")])).facets["month"] == year
    far = lines_of([work("2006-03-01"), work("2026-03-01")])
    assert cube_of(far, months=300).facets["month"] == ["2006-03", "2026-03"]
    near = lines_of([work("2006-04-01"), work("2026-03-01")])
    assert len(cube_of(near, months=300).facets["month"]) == 240


def test_statuses_have_a_fixed_order_and_unknown_ones_follow(work, lines_of):
    statuses = ["new", None, "rejected", "open", "approved", "submitted"]
    worklogs = [work(minutes=number, approval_status=status) for number, status in enumerate(statuses)]
    assert cube_of(lines_of(worklogs)).facets["approval"] == [
        *("approved", "submitted", "open", "rejected"),
        *(None, "new"),
    ]


def test_a_cube_with_too_many_cells_is_none(work, lines_of):
    path = lines_of([work("2026-03-02"), work("2026-03-03")])
    assert cube_of(path, cells=1) is None
    assert len(cube_of(path, cells=2).cells) == 2


IDS = st.sampled_from([None, "", "a", "b", "'", "\u202e", "x" * 50])
WORK = st.tuples(
    st.dates().map(str),
    st.integers(0, 600),
    st.none() | st.integers(0, 600).map(float),
    st.fixed_dictionaries({"user_id": IDS, "category_id": IDS, "project_id": IDS, "approval_status": IDS}),
)


@settings(max_examples=25)
@given(st.lists(WORK, max_size=12), st.integers(1, 4), st.integers(1, 4))
def test_whatever_is_folded_the_sums_stay_the_same(tmp_path_factory, worklogs, most, months):
    path = tmp_path_factory.mktemp("sums") / "a.ndjson"
    names = ("day", "minutes", "billable_minutes")
    lines = (json.dumps(dict(zip(names, values, strict=True)) | ids) for *values, ids in worklogs)
    path.write_text("\n".join(lines), encoding="utf-8")
    found = cube_of(path, most=most, months=months)
    assert [math.fsum(cell[place] for cell in found.cells) for place in range(1, 5)] == [
        len(worklogs),
        sum(minutes for _, minutes, _, _ in worklogs),
        sum(billable or 0 for _, _, billable, _ in worklogs),
        sum(minutes for _, minutes, billable, _ in worklogs if billable is None),
    ]
    keys = [key for key, *_ in found.cells]
    assert keys == sorted(set(keys))
    assert all(len(labels) <= max(most, months, 6) + 1 for labels in found.facets.values())
