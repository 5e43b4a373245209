"""Sums of worklogs by one or two dimensions, and the cube of sums that a page holds.

DuckDB adds up. A sum of billable minutes is over the worklogs that say how many are billable: null is not 0, so the
minutes of the others are summed up apart, as ``unsaid``.
"""
# ruff: noqa: S608 - what is put into the statements are names and expressions of this file

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, Final, Literal, get_args

import attrs

from tracket_async.errors import UsageError
from tracket_async.report.source import Worklogs

Dimension = Literal["day", "week", "month", "user", "category", "project", "item", "approval"]
DIMENSIONS: Final[tuple[Dimension, ...]] = get_args(Dimension)
TIMES: Final = frozenset({"day", "week", "month"})
"""The dimensions whose values are in the order of time; the others are ordered by hours, the largest first."""

Key = str | None
"""A value of a dimension: ``2026-03-02``, ``2026-W10`` (ISO 8601), ``2026-03``, an id, or a status; None: none."""

_SQL: Final[Mapping[Dimension, str]] = {
    "day": "day",
    "week": "date_trunc('week', day)",
    "month": "date_trunc('month', day)",
    "user": "user_id",
    "category": "category_id",
    "project": "project_id",
    "item": "item_id",
    "approval": "approval_status",
}
_SUMS: Final = (
    "count(*) AS worklogs, sum(minutes) AS minutes, sum(billable_minutes) AS billable,"
    " coalesce(sum(minutes) FILTER (billable_minutes IS NULL), 0) AS unsaid"
)


@attrs.frozen
class Sums:
    """The sums of some worklogs.

    Attributes:
        worklogs: how many they are.
        minutes: minutes worked.
        billable: billable minutes of the worklogs that say them; None: no worklog does.
        unsaid: minutes worked of the worklogs that do not say how many are billable.
    """

    worklogs: int = 0
    minutes: float = 0.0
    billable: float | None = None
    unsaid: float = 0.0

    def __add__(self, other: Sums) -> Sums:
        said = [part.billable for part in (self, other) if part.billable is not None]
        return Sums(
            self.worklogs + other.worklogs,
            self.minutes + other.minutes,
            sum(said) if said else None,
            self.unsaid + other.unsaid,
        )


NOTHING: Final = Sums()


@attrs.frozen(kw_only=True)
class Table:
    """The sums by one or two dimensions.

    Attributes:
        by: the dimensions.
        total: the sums of all worklogs.
        rows: the sums by each value of the first dimension, in order (see `TIMES`).
        columns: the same of the second dimension; empty where there is one alone.
        cells: the sums by both; a pair without a worklog is not there. Empty where there is one dimension alone.
    """

    by: tuple[Dimension, ...]
    total: Sums
    rows: Mapping[Key, Sums]
    columns: Mapping[Key, Sums]
    cells: Mapping[tuple[Key, Key], Sums]

    def records(self) -> list[tuple[tuple[Key, ...], Sums]]:
        """Return the values of all dimensions with their sums: a record for each row, or for each cell."""
        if not self.columns:
            return [((key,), sums) for key, sums in self.rows.items()]
        return [(pair, self.cells[pair]) for pair in product(self.rows, self.columns) if pair in self.cells]


def dimensions(names: Sequence[str]) -> tuple[Dimension, ...]:
    """Return the dimensions of these names.

    Raises:
        UsageError: there is none of that name, one is named twice, or they are not one or two.
    """
    found: tuple[Dimension, ...] = tuple(each for name in names for each in DIMENSIONS if each == name)
    for name in names:
        if name not in DIMENSIONS:
            raise UsageError(f"there is no {name!r} to sum up by", hint=f"Give one or two of {', '.join(DIMENSIONS)}")
    if not 1 <= len(found) <= 2 or len(set(found)) < len(found):  # noqa: PLR2004 - rows and columns
        raise UsageError("hours are summed up by one or two different dimensions", hint="Give --by month,user, say")
    return found


def table(worklogs: Worklogs, by: tuple[Dimension, ...]) -> Table:
    """Return the sums of the worklogs by one or two dimensions (see `dimensions`)."""
    names = [f"key{place}" for place in range(len(by))]
    keys = ", ".join(f"{_SQL[each]} AS {name}" for each, name in zip(by, names, strict=True))
    sets = ["()", *(f"({name})" for name in names), *([f"({', '.join(names)})"] if len(names) > 1 else [])]
    # A key that is null may be a value or stand for all of them: `grouping` tells.
    found = worklogs.rows(
        f"SELECT grouping({', '.join(names)}), {', '.join(names)}, {_SUMS} FROM (SELECT {keys}, * FROM worklogs)"
        f" GROUP BY GROUPING SETS ({', '.join(sets)})"
    )
    groups: dict[int, dict[tuple[Key, ...], Sums]] = {}
    for group, *row in found:
        pair = tuple(_key(each, value) for each, value in zip(by, row, strict=False))
        groups.setdefault(group, {})[pair] = Sums(*row[len(by) :])
    whole = (1 << len(by)) - 1
    single = [
        _ordered({keys[place]: sums for keys, sums in groups.get(whole ^ (1 << len(by) - 1 - place), {}).items()}, each)
        for place, each in enumerate(by)
    ]
    [total] = groups.get(whole, {(): NOTHING}).values()
    return Table(
        by=by,
        total=total if total.worklogs else NOTHING,
        rows=single[0],
        columns=single[1] if len(by) > 1 else {},
        cells={(keys[0], keys[1]): sums for keys, sums in groups.get(0, {}).items()} if len(by) > 1 else {},
    )


def _key(by: Dimension, value: Any) -> Key:
    """Return the key of a value of DuckDB: a date, of a period its first, as the text of the day or the period."""
    if not isinstance(value, dt.date):
        key: Key = value
        return key
    if by == "week":
        year, week, _ = value.isocalendar()
        return f"{year:04}-W{week:02}"
    return value.isoformat()[: _LENGTH[by]]


_LENGTH: Final = {"day": len("YYYY-MM-DD"), "month": len("YYYY-MM")}


def _ordered(sums: Mapping[Key, Sums], by: Dimension) -> dict[Key, Sums]:
    if by in TIMES:
        return dict(sorted(sums.items(), key=lambda each: each[0] or ""))
    return dict(sorted(sums.items(), key=lambda each: (-each[1].minutes, each[0] or "")))


# -- the cube ----------------------------------------------------------------------------------------------------------

FACETS: Final = ("month", "weekday", "approval", "person", "project", "category")
"""The dimensions of a cube, from the most to the least significant of a cell's key."""
WEEKDAYS: Final = 7
STATUSES: Final = ("approved", "submitted", "open", "rejected")
"""The order of the statuses in a cube; others follow."""
MOST_STATUSES: Final = 6


@attrs.frozen(kw_only=True)
class Cube:
    """The sums by month, weekday, approval, person, project and category.

    A cell's key is a number: the codes of its facets, in the order of `FACETS`, as digits of a mixed radix. The radix
    of a facet is the number of its labels, and 7 for the weekday (0 is Monday).

    Attributes:
        facets: the values that the codes of each facet stand for, without the weekday. Months are in the order of time
            and the others in that of hours.
        folded: how many values of a facet are summed up together: as its last code, months as the first. 0: none.
        apart: value, worklogs, minutes, billable, unsaid of the people, projects and categories that are summed up
            together, the largest `MOST_APART` of each.
        cells: key, worklogs, minutes, billable, unsaid of each cell, ordered by key; no billable minutes are 0 there.
    """

    facets: Mapping[str, Sequence[Key]]
    folded: Mapping[str, int]
    apart: Mapping[str, Sequence[tuple[Key, int, float, float, float]]]
    cells: Sequence[tuple[int, int, float, float, float]]


_FACETS: Final = {
    "month": _SQL["month"],
    "approval": "approval_status",
    "person": "user_id",
    "project": "project_id",
    "category": "category_id",
}
"""The SQL of each facet but the weekday."""


def prepare_cube(worklogs: Worklogs) -> None:
    """Give a rank to each value of a facet, and sum up the worklogs by the ranks, for `cube`."""
    cases = [f"WHEN '{status}' THEN {place}" for place, status in enumerate(STATUSES)]
    for facet, value in _FACETS.items():
        values, order = (
            f"SELECT {value} AS value, sum(minutes) AS size FROM worklogs GROUP BY {value}",
            "size DESC, value",
        )
        if facet == "month":
            values, order = _months(worklogs), "value DESC"
        if facet == "approval":
            order = f"CASE value {' '.join(cases)} ELSE {len(STATUSES)} END, {order}"
        worklogs.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {facet}_ranks AS"
            f" SELECT value, CAST(row_number() OVER (ORDER BY {order}) - 1 AS INTEGER) AS place FROM ({values})"
        )
    places = ", ".join(f"{facet}_ranks.place AS {facet}" for facet in _FACETS)
    joins = " ".join(
        f"JOIN {facet}_ranks ON {value} IS NOT DISTINCT FROM {facet}_ranks.value" for facet, value in _FACETS.items()
    )
    worklogs.connection.execute(
        f"CREATE OR REPLACE TEMP TABLE coded AS SELECT {places}, isodow(day) - 1 AS weekday, {_SUMS}"
        f" FROM worklogs {joins} GROUP BY ALL"
    )


def _months(worklogs: Worklogs) -> str:
    """Return the query of the months: those without worklogs too, unless a date that is far off makes them too many."""
    month = _SQL["month"]
    [(first, last)] = worklogs.rows(f"SELECT min({month}), max({month}) FROM worklogs")
    if first is None or (last.year - first.year) * 12 + last.month - first.month >= LONGEST_SPAN:
        return f"SELECT DISTINCT {month} AS value FROM worklogs"
    series = f"generate_series(TIMESTAMP '{first}', TIMESTAMP '{last}', INTERVAL 1 MONTH)"
    return f"SELECT CAST(unnest({series}) AS DATE) AS value"


LONGEST_SPAN: Final = 240
"""Months from the first to the last at most that are all shown."""


def cube(worklogs: Worklogs, *, most: int, months: int, cells: int) -> Cube | None:
    """Return the cube, with the smallest values of a facet summed up together; None if it has too many cells.

    Args:
        worklogs: after `prepare_cube`.
        most: people, projects and categories that are kept apart, each.
        months: the months that are kept apart, the latest.
        cells: the cells that there may be.
    """
    limits = {"month": months, "approval": MOST_STATUSES, "person": most, "project": most, "category": most}
    facets: dict[str, list[Key]] = {}
    folded: dict[str, int] = {}
    for facet in _FACETS:
        values = [_key("month", value) for (value,) in worklogs.rows(f"SELECT value FROM {facet}_ranks ORDER BY place")]
        folded[facet] = max(len(values) - limits[facet], 0)
        facets[facet] = values[: limits[facet]] + [None] * (folded[facet] > 0)
    facets["month"].reverse()
    key = "CAST(0 AS BIGINT)"
    for facet in FACETS:
        radix = WEEKDAYS if facet == "weekday" else len(facets[facet])
        code = facet if facet == "weekday" else f"least({facet}, {limits[facet]})"
        key = f"({key} * {radix} + {f'{radix - 1} - {code}' if facet == 'month' else code})"
    grouped = (
        f"SELECT CAST({key} AS BIGINT) AS key, CAST(sum(worklogs) AS BIGINT) AS worklogs, sum(minutes) AS minutes,"
        " coalesce(sum(billable), 0) AS billable, sum(unsaid) AS unsaid FROM coded GROUP BY key"
    )
    if worklogs.rows(f"SELECT count(DISTINCT {key}) FROM coded")[0][0] > cells:
        return None
    apart = {facet: _apart(worklogs, facet, most) for facet in ("person", "project", "category")}
    found: list[Any] = worklogs.rows(f"{grouped} ORDER BY key")
    return Cube(facets=facets, folded=folded, apart=apart, cells=found)


MOST_APART: Final = 1_000


def _apart(worklogs: Worklogs, facet: str, most: int) -> list[Any]:
    return worklogs.rows(
        f"SELECT value, CAST(sum(worklogs) AS BIGINT), sum(minutes), coalesce(sum(billable), 0), sum(unsaid)"
        f" FROM coded JOIN {facet}_ranks ON coded.{facet} = {facet}_ranks.place WHERE place >= {most}"
        f" GROUP BY value, place ORDER BY place LIMIT {MOST_APART}"
    )
