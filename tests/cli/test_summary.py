"""What is said about a set of worklogs."""

from __future__ import annotations

import datetime as dt

from tracket_async.cli.stream import Summary, bars
from tracket_async.models import Worklog


def worklog(day, minutes, *, user="1", category=None):
    date = dt.datetime.combine(dt.date.fromisoformat(day), dt.time(), dt.UTC)
    return Worklog(id=day, user_id=user, date=date, minutes=minutes, category_id=category)


def test_worklogs_hours_people_months_and_categories_are_counted():
    summary = Summary()
    summary.add([worklog("2024-01-31", 90), worklog("2024-02-01", 30, user="2", category="a")])
    summary.add([worklog("2024-01-01", 60, category="a")])
    assert list(summary.lines({"a": "Support"}, width=60, mark="#")) == [
        "3 worklogs, 3 hours, 2 people",
        "",
        "Hours a month",
        f"  2024-01           2.5  {'#' * 35}",
        f"  2024-02           0.5  {'#' * 7}",
        "",
        "Hours a category",
        f"  (none)            1.5  {'#' * 35}",
        f"  Support           1.5  {'#' * 35}",
    ]


def test_without_a_worklog_there_is_nothing_to_draw():
    assert list(Summary().lines({}, width=60, mark="#")) == ["0 worklogs, 0 hours, 0 people"]


def test_only_the_largest_categories_are_named_and_a_category_without_a_name_by_its_id():
    summary = Summary()
    summary.add([worklog("2024-01-01", number, category=f"c{number}") for number in range(1, 7)])
    lines = list(summary.lines({"c6": "Six\x1b", "c5": None}, width=60, mark="#"))
    assert lines[5] == "Hours in the 5 largest categories"
    assert [line.split()[0] for line in lines[6:]] == ["Six\\x1b", "c5", "c4", "c3", "c2"]


def test_minutes_add_up_without_drifting():
    summary = Summary()
    for _ in range(100):
        summary.add([worklog("2024-01-01", 0.1)] * 100)
    assert abs(summary.minutes - 1000) < 1e-9


def test_the_longest_bar_fills_the_width_and_nothing_worked_has_no_bar():
    lines = list(bars([("a", 60), ("b", 30), ("c", 0)], width=60, mark="#"))
    assert [line.count("#") for line in lines] == [35, 18, 0]
    assert len(lines[0]) == 60
    assert not lines[2].endswith(" ")


def test_a_narrow_terminal_still_has_bars():
    assert next(iter(bars([("a", 60)], width=1, mark="#"))).count("#") == 10


def test_no_row_and_no_minutes_are_no_error():
    assert list(bars([], width=60, mark="#")) == []
    assert "#" not in next(iter(bars([("a", 0)], width=60, mark="#")))
