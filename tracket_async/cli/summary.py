"""What a set of worklogs says about the people who wrote them: counted as they pass, told as lines of text."""

from __future__ import annotations

import collections
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from tracket_async.api.rows import Row
from tracket_async.cli import output

MOST: Final = 5
"""How many categories are named."""

LABEL: Final = 9
NUMBER: Final = 12
NARROWEST: Final = 10


class Tally:
    """How many worklogs were added, and their minutes."""

    def __init__(self) -> None:
        self.worklogs: int = 0
        self.minutes: float = 0.0

    def add(self, worklogs: Sequence[Row]) -> None:
        """Count the worklogs."""
        self.worklogs += len(worklogs)
        self.minutes += math.fsum([worklog.minutes for worklog in worklogs])

    @property
    def hours(self) -> float:
        """All minutes, in hours."""
        return self.minutes / 60


class Summary(Tally):
    """The same, by person, month and category. Memory grows with these, not with worklogs."""

    def __init__(self) -> None:
        super().__init__()
        self.people: set[str] = set()
        self.months: collections.Counter[str] = collections.Counter()
        self.categories: collections.Counter[str | None] = collections.Counter()

    def add(self, worklogs: Sequence[Row]) -> None:
        """Count the worklogs."""
        super().add(worklogs)
        together: dict[tuple[int, int, str | None], list[float]] = collections.defaultdict(list)
        for worklog in worklogs:
            self.people.add(worklog.user_id)
            together[worklog.date.year, worklog.date.month, worklog.category_id].append(worklog.minutes)
        for (year, month, category), minutes in together.items():
            self._spread(f"{year:04}-{month:02}", category, math.fsum(minutes))

    def add_group(self, month: str, category: str | None, people: Iterable[str], worklogs: int, minutes: float) -> None:
        """Count worklogs of one month (``YYYY-MM``) and category that somebody else has added up."""
        self.worklogs += worklogs
        self.minutes += minutes
        self.people.update(people)
        self._spread(month, category, minutes)

    def _spread(self, month: str, category: str | None, minutes: float) -> None:
        self.months[month] += minutes  # type: ignore[assignment]
        self.categories[category] += minutes  # type: ignore[assignment]

    def lines(self, names: Mapping[str, str | None], *, width: int, mark: str) -> Iterator[str]:
        """The summary for people.

        Args:
            names: the categories' names by id; an id without a name stands for itself.
            width: columns of the longest line.
            mark: what bars are made of, one character.
        """
        yield f"{self.worklogs:,} worklogs, {self.hours:,.0f} hours, {len(self.people):,} people"
        if not self.worklogs:
            return
        yield ""
        yield "Hours a month"
        yield from bars(sorted(self.months.items()), width=width, mark=mark)
        yield ""
        most = self.categories.most_common(MOST)
        yield "Hours a category" if len(most) == len(self.categories) else f"Hours in the {MOST} largest categories"
        called = [(_called(category, names), minutes) for category, minutes in most]
        yield from bars(called, width=width, mark=mark)


def bars(rows: Iterable[tuple[str, float]], *, width: int, mark: str) -> Iterator[str]:
    """A line for each row of label and minutes: the label, the hours, and a bar; the longest bar fills the width."""
    rows = list(rows)
    label = max((LABEL, *(len(name) for name, _ in rows)))
    most = max((minutes for _, minutes in rows), default=0) or 1
    room = max(width - label - NUMBER - 4, NARROWEST)
    for name, minutes in rows:
        bar = mark * round(room * minutes / most)
        yield f"  {name:<{label}}{minutes / 60:>{NUMBER},.1f}  {bar}".rstrip()


def _called(category: str | None, names: Mapping[str, str | None]) -> str:
    return "(none)" if category is None else output.text(names.get(category) or category)
