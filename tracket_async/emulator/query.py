"""Which worklogs a page holds: filters, orders and cursors become one SQL statement; nothing is executed here.

A page is a keyset seek: the cursor is the key of the last row that was given, and the next page begins at the
first key past it, so a walk stays exact while rows are added elsewhere and costs the same on page 1 and 1,000.
Every order ends in the unique id, which breaks ties.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from typing import Any, Final, Literal, cast

from attrs import frozen

from tracket_async.emulator.worklog import NEVER

Order = Literal["date", "createdDate", "updatedDate", "unsorted"]
Key = tuple[Any, ...]

KEY_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "date": ("date", "created", "id"),
    "createdDate": ("created", "id"),
    "updatedDate": ("updated", "id"),
    # a fixed order that has nothing to do with any date: for servers that promise none
    "unsorted": ("scramble", "id"),
}

_LARGEST: Final = (1 << 63) - 1  # of an integer in SQLite


@frozen
class Bounds:
    """Both ends are inclusive and in milliseconds; None is open. A missing date lies in no bounds but open ones."""

    low: int | None = None
    high: int | None = None


_OPEN: Final = Bounds()


@frozen(kw_only=True)
class Filter:
    """Which worklogs match: all three bounds must hold."""

    date: Bounds = _OPEN
    created: Bounds = _OPEN
    updated: Bounds = _OPEN


@frozen(kw_only=True)
class Statement:
    """SQL text and its parameters."""

    sql: str
    parameters: tuple[Any, ...]


def page(column: str, matching: Filter, order: Order, *, descending: bool, after: Key | None, limit: int) -> Statement:
    """Selects `column` and the key columns of the first `limit` rows past the key `after`, in `order`.

    Args:
        column: The column with the rendered worklog.
        matching: The filter.
        order: Which key to sort by.
        descending: Largest key first.
        after: The key that the page before ended with; None for the first page.
        limit: Most rows to select.
    """
    keys = KEY_COLUMNS[order]
    conditions, parameters = _bounds(matching, walked=keys[0], skip=_overtaken(matching, keys[0], after, descending))
    if after is not None:
        conditions.append(f"({', '.join(keys)}) {'<' if descending else '>'} ({', '.join('?' * len(keys))})")
        parameters.extend(after)
    direction = " DESC" if descending else ""
    sql = (
        f"SELECT {column}, {', '.join(keys)} FROM worklogs"  # noqa: S608 -- names from the tables above
        f"{_where(conditions)} ORDER BY {', '.join(key + direction for key in keys)} LIMIT ?"
    )
    return Statement(sql=sql, parameters=(*parameters, limit))


def total(matching: Filter) -> Statement:
    """Counts the rows that match."""
    conditions, parameters = _bounds(matching, walked=None, skip=None)
    return Statement(
        sql=f"SELECT count(*) FROM worklogs{_where(conditions)}",  # noqa: S608 -- as above
        parameters=tuple(parameters),
    )


def _where(conditions: list[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _overtaken(matching: Filter, walked: str, after: Key | None, descending: bool) -> str | None:  # noqa: FBT001
    """The comparison on the walked column that the cursor has overtaken, so that one start is left to seek to.

    With both, SQLite seeks to the bound and steps over every row up to the cursor, again on each page: a walk
    would cost the square of its length.
    """
    bounds: Bounds = getattr(matching, walked, _OPEN)
    if after is None:
        return None
    if descending:
        return "<=" if bounds.high is not None and after[0] <= bounds.high else None
    return ">=" if bounds.low is not None and after[0] >= bounds.low else None


def _bounds(matching: Filter, *, walked: str | None, skip: str | None) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    parameters: list[Any] = []
    for column in ("date", "created", "updated"):
        bounds: Bounds = getattr(matching, column)
        # a unary plus keeps the planner off this column's index, whose use would sort all matches on every page
        operand = column if walked in (None, column) else f"+{column}"
        if bounds.low is None and bounds.high is not None and column != "date":
            conditions.append(f"{operand} > {NEVER}")
        for comparison, bound in ((">=", bounds.low), ("<=", bounds.high)):
            if bound is None or (column == walked and comparison == skip):
                continue
            conditions.append(f"{operand} {comparison} ?")
            parameters.append(bound)
    return conditions, parameters


def write_cursor(order: Order, *, descending: bool, key: Key) -> str:
    """An opaque cursor: where a walk in this order stands."""
    facts = [order, "desc" if descending else "asc", *key]
    return base64.urlsafe_b64encode(json.dumps(facts, separators=(",", ":")).encode()).decode()


def same_place(cursor: str) -> str:
    """Another cursor, for the same place: it is longer by white space that reading it ignores."""
    return base64.urlsafe_b64encode(b" " + base64.urlsafe_b64decode(cursor)).decode()


def start_of_walk(cursor: str) -> str:
    """A cursor before the first row, for the order that `cursor` was made for."""
    order, direction, *_, _ident = json.loads(base64.urlsafe_b64decode(cursor))
    end = _LARGEST if direction == "desc" else -_LARGEST
    numbers = [end] * (len(KEY_COLUMNS[order]) - 1)
    return write_cursor(order, descending=direction == "desc", key=(*numbers, ""))


def read_cursor(cursor: str, order: Order, *, descending: bool) -> Key:
    """The key inside a cursor that `write_cursor` made for the same order.

    Raises:
        ValueError: It is none, or was made for another order.
    """
    try:
        facts: Any = json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
    except (ValueError, RecursionError, binascii.Error):
        raise ValueError("is no cursor of this server") from None
    if not isinstance(facts, list):
        raise ValueError("is no cursor of this server")  # noqa: TRY004 -- its value is at fault
    parts = list(cast("Iterable[Any]", facts))
    made_for, key = parts[:2], parts[2:]
    if made_for != [order, "desc" if descending else "asc"] or len(key) != len(KEY_COLUMNS[order]):
        raise ValueError("is no cursor of this server, or was given for another order")
    *numbers, ident = key
    if not isinstance(ident, str) or not all(_is_key_number(number) for number in numbers):
        raise ValueError("is no cursor of this server")
    return (*numbers, ident)


def _is_key_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -_LARGEST <= value <= _LARGEST
