"""Rows: worklogs that stay in the objects in which they were decoded.

A *row* is a msgspec Struct whose fields are the attributes of `Worklog`, in their order, with values that are equal to
those that the `Worklog` would have. It costs half of a model, and the garbage collector does not follow it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final, Protocol, TypeAlias, cast

import attrs
import msgspec

from tracket_async.api.layout import ATTRIBUTES, STATUSES, Layout
from tracket_async.api.spread import compiled, spread
from tracket_async.api.structs import NO_FIELDS
from tracket_async.models import Worklog


class Row(Protocol):
    """See the top; here stands what is asked of single rows. To be read only: what rows have in common, they share."""

    @property
    def id(self) -> str:
        """As in `Worklog`, all of them."""
        ...

    @property
    def user_id(self) -> str: ...  # noqa: D102

    @property
    def date(self) -> dt.datetime: ...  # noqa: D102

    @property
    def minutes(self) -> float: ...  # noqa: D102

    @property
    def category_id(self) -> str | None: ...  # noqa: D102


_SPELLED: Final = {form: status.value for form, status in STATUSES.items() if form != status.value}

_PlainRow: Final = msgspec.defstruct("PlainRow", [(name, Any) for name in ATTRIBUTES], gc=False)


def row_of(worklog: Worklog) -> Row:
    """The worklog as a row."""
    return cast("Row", _PlainRow(*attrs.astuple(worklog, recurse=False)))


@cache
def columns_of(names: tuple[str, ...]) -> Callable[[Sequence[Row]], list[list[Any]]]:
    """A function from rows to the columns of these names, each a list of the values of all rows.

    Generated, because what is written as ``row.name`` costs half of what an ``attrgetter`` costs; and column by column,
    because a tuple for each row would keep the garbage collector busy.
    """
    columns = ", ".join(f"[row.{name} for row in rows]" for name in names)
    scope: dict[str, Any] = {}
    exec(compile(f"def columns(rows): return [{columns}]", "<tracket_async: columns of rows>", "exec"), scope)  # noqa: S102 - made of names of our own
    return scope["columns"]  # type: ignore[no-any-return]


Spreading: TypeAlias = Callable[[Sequence[Row]], None]


def spreading(layout: Layout, certain: frozenset[str]) -> Spreading:
    """The function that makes rows, in place, of what was decoded; for ``certain`` see `spread`."""
    source = spread(layout, certain, none="no_fields")
    changed = [(name, value) for name, value in source.values.items() if name in layout.names and value == name]
    body = [*source.lines, *(f"row.{name} = {value}" for name, value in changed)]
    lines = ["def to_rows(rows):", " for row in rows:", *(f"  {line}" for line in body)]
    return compiled(layout, "to_rows", lines, statuses=_SPELLED, no_fields=NO_FIELDS)
