"""What a run has done."""

from __future__ import annotations

import random

import pytest

from tracket_async.importer.reader import MAX_LISTED
from tracket_async.importer.run import FirstErrors, RowError, RunReport


def error(line, kind="failed"):
    return RowError(line=line, kind=kind, reason="no")


def test_the_first_troubles_are_kept_whatever_their_order():
    lines = list(range(1, 3 * MAX_LISTED))
    random.Random(1).shuffle(lines)
    errors = FirstErrors()
    for line in lines:
        errors.add(error(line))
    assert [each.line for each in errors.first] == list(range(1, MAX_LISTED + 1))


def test_the_last_word_about_a_line_counts():
    errors = FirstErrors()
    errors.add(error(5))
    errors.add(error(5, "ambiguous"))
    assert [each.kind for each in errors.first] == ["ambiguous"]


@pytest.mark.parametrize(
    ("counts", "not_sent", "complete"),
    [
        ({"done": 10}, 0, True),
        ({"done": 4, "already": 6}, 0, True),
        ({"done": 4, "already": 5, "failed": 1}, 0, False),
        ({"done": 4, "already": 5, "ambiguous": 1}, 0, False),
        ({"done": 4}, 6, False),
    ],
)
def test_it_is_complete_when_every_row_is_written(counts, not_sent, complete):
    report = RunReport(rows=10, **counts)
    assert (report.not_sent, report.complete) == (not_sent, complete)
