"""What an export has come to, in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracket_async.cli.output import exported, verdict
from tracket_async.export.progress import ExportResult
from tracket_async.export.store import ChangeCounts


def test_a_streamed_export_says_what_it_knows():
    assert exported(1200, 10.04, 2.0) == "Exported 1,200 worklogs (10.0 h) in 2.0 s, 600/s."
    assert exported(0, 0, 0.0, files=[Path("a")]) == "Exported 0 worklogs (0.0 h) to a in 0.0 s."


def test_what_came_in_this_run_makes_the_rate_and_what_changed_meanwhile_is_told():
    result = ExportResult(
        worklogs=1200, verdict="verified", resumed=200, changes=ChangeCounts(added=3, changed=2, removed=1), total=1200
    )
    assert exported(1200, 10, 2.0, files=[Path("a"), Path("b")], result=result) == (
        "Exported 1,200 worklogs (10.0 h) to a, b in 2.0 s, 500/s; 200 of them were there from before; "
        "3 added, 2 changed, 1 removed while it ran; verified: as many as the server counts."
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("verified", "verified: as many as the server counts"),
        ("not verifiable", "not verifiable: API 1.0 gives no counts"),
        ("incomplete", "incomplete: the server counts 1,300"),
    ],
)
def test_each_verdict_has_its_words(name, words):
    assert verdict(ExportResult(worklogs=1, verdict=name, total=1300)) == words
