"""What a run has done."""

from __future__ import annotations

import random

import pytest

from tracket_async.importer.reader import MOST
from tracket_async.importer.run import Report, Trouble, Troubles


def trouble(line, kind="failed"):
    return Trouble(line=line, kind=kind, reason="no")


def test_the_first_troubles_are_kept_whatever_their_order():
    lines = list(range(1, 3 * MOST))
    random.Random(1).shuffle(lines)
    troubles = Troubles()
    for line in lines:
        troubles.add(trouble(line))
    assert [each.line for each in troubles.first] == list(range(1, MOST + 1))


def test_the_last_word_about_a_line_counts():
    troubles = Troubles()
    troubles.add(trouble(5))
    troubles.add(trouble(5, "ambiguous"))
    assert [each.kind for each in troubles.first] == ["ambiguous"]


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
    report = Report(rows=10, **counts)
    assert (report.not_sent, report.complete) == (not_sent, complete)
