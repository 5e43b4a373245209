"""Slices: everything, in order, bounded."""

from __future__ import annotations

import datetime as dt
from itertools import chain, pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracket_async.export import tables as sql
from tracket_async.export.tables import days_together, slices

DAY = dt.date(2024, 1, 1)


def read(store, most):
    parts = [
        [id_ for (id_,) in store.database.rows(sql.typed_slice(["id"]), part.values)]
        for part in slices(store.database, most)
    ]
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
    days = [(DAY + dt.timedelta(days=at), count) for at, count in enumerate(counts)]
    found = list(days_together(days, 5))
    assert [count for _, _, count in found] == groups
    for (_, last, _), (first, _, _) in pairwise(found):
        assert first > last


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
    if worklogs:
        store.append([batch_of(worklogs)], {})
    parts = read(store, most)
    expected = sorted(worklogs, key=lambda worklog: (worklog.date, worklog.id))
    assert list(chain(*parts)) == [worklog.id for worklog in expected]
    assert max(map(len, parts), default=0) <= most
