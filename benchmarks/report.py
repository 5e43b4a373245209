"""From measurements to lines: one for each row, with the median, least and greatest ratio and whether it is met."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import attrs

from benchmarks.harness import Results
from benchmarks.rows import Measurement, Row, Side, Subject

HEADINGS = ("figure", "unit", "ours", "the other", "ratio", "least", "most", "budget", "met")


@attrs.frozen(kw_only=True)
class Line:
    """A row with its numbers.

    Attributes:
        row: what was compared.
        subject: the subject's name.
        ours, other: the median of each side's numbers; None when there are none.
        ratios: one of each round, in order.
        reason: why there are no numbers, None if there are.
    """

    row: Row
    subject: str
    ours: float | None = None
    other: float | None = None
    ratios: tuple[float, ...] = ()
    reason: str | None = None

    @property
    def ratio(self) -> float:
        """Return the median ratio."""
        return statistics.median(self.ratios)

    @property
    def met(self) -> bool | None:
        """Return whether the budget is met; None without a budget or without numbers."""
        return self.row.budget.met(self.ratio) if self.ratios else None

    def as_json(self) -> dict[str, Any]:
        """Return everything about the line, for the JSON file."""
        return {
            "subject": self.subject,
            "figure": self.row.name,
            "unit": self.row.unit,
            "ours": {"label": self.row.ours.label, "median": self.ours},
            "other": {"label": self.row.other.label, "median": self.other},
            "ratio": {
                "what": "other / ours" if self.row.inverse else "ours / other",
                "median": self.ratio if self.ratios else None,
                "rounds": self.ratios,
            },
            "budget": {"at_most": self.row.budget.at_most, "at_least": self.row.budget.at_least},
            "met": self.met,
            "reason": self.reason,
        }


def lines(subject: Subject, results: Results) -> list[Line]:
    """Return the lines of a subject. A ratio is that of two numbers of one round; the median of the rounds is taken."""
    made: list[Line] = []
    for row in subject.rows:
        sides = (row.ours, row.other)
        reason = results.reason(side.case for side in sides if side.case)
        if reason:
            made.append(Line(row=row, subject=subject.name, reason=reason))
            continue
        ours, other = (_numbers(side, results) for side in sides)
        many = max(len(ours), len(other))
        ours, other = (numbers * many if len(numbers) == 1 else numbers for numbers in (ours, other))
        made.append(
            Line(
                row=row,
                subject=subject.name,
                ours=statistics.median(ours),
                other=statistics.median(other),
                ratios=tuple(row.ratio(one, two) for one, two in zip(ours, other, strict=True)),
            )
        )
    return made


def table(made: Sequence[Line], *, judge: bool = True) -> str:
    """Render the table as text, one line a row; below it, what could not be measured and why.

    Args:
        made: the lines.
        judge: say whether the budgets are met; False where the sizes are none that they speak of.
    """
    cells = [HEADINGS, *(_cells(line, judge=judge) for line in made)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADINGS))]
    left = {0, 1, 3}
    texts = [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    texts.insert(1, "-" * sum(widths, 2 * (len(widths) - 1)))
    notes = [f"{line.subject}: {line.row.name}: {line.reason}" for line in made if line.reason]
    return "\n".join([*texts, *([""] if notes else []), *notes])


def verdict(made: Sequence[Line]) -> str:
    """Say in one sentence how many budgets are met, missed, and not measured."""
    bound = [line for line in made if str(line.row.budget) != "-"]
    met = sum(line.met is True for line in bound)
    missed = sum(line.met is False for line in bound)
    return f"{met} of {len(bound)} budgets met, {missed} missed, {len(bound) - met - missed} not measured."


def _numbers(side: Side, results: Results) -> list[float]:
    if side.case is None:
        return [side.fixed]
    measurements: list[Measurement] = results.measurements[side.case]
    return [side.figure(measurement) for measurement in measurements]


def _cells(line: Line, *, judge: bool) -> tuple[str, ...]:
    row = line.row
    if line.ours is None or line.other is None:
        why = "skipped" if line.reason and line.reason.startswith("skipped") else "FAILED"
        return (row.name, row.unit, "", f"{row.other.label}", "", "", "", str(row.budget), why)
    met = {True: "yes", False: "NO", None: "-"}[line.met if judge else None]
    return (
        row.name,
        row.unit,
        _short(line.ours),
        f"{_short(line.other)} {row.other.label}",
        _ratio(line.ratio),
        _ratio(min(line.ratios)),
        _ratio(max(line.ratios)),
        str(row.budget),
        met,
    )


def _ratio(number: float) -> str:
    """Format a ratio finely enough to tell 0.899 from a budget of 0.9."""
    return f"{number:.3f}" if number < 10 else f"{number:.1f}"


def _short(number: float) -> str:
    """Format a number with three significant digits."""
    if number >= 100:
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 10 else f"{number:.2f}"
