"""Rows made models: each `Worklog` is filled as what it is made of comes, and frozen at the end.

The slots of a *thawed* object are filled, whose class is `Worklog` without its lock, and then the object is declared to
be a `Worklog`, which Python allows between classes of one layout. The frozen class's own ``__init__`` must go
through ``object.__setattr__`` for each attribute; for a page of 100 that alone costs as much as decoding it does.
Nothing of a `Worklog` is thereby different: `Worklog` has no validators, converters or ``__post_init__`` that would be
passed over (a test holds that too).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from tracket_async.api.layout import STATUSES, Layout
from tracket_async.api.rows import Row
from tracket_async.api.spread import compiled, spread
from tracket_async.models import Worklog

Thawing: TypeAlias = Callable[[Iterable[Row]], list[Worklog]]


class _Thawed(Worklog):
    """`Worklog` without its lock: nothing has to be given, and everything can be assigned."""

    __slots__ = ()
    __init__ = object.__init__  # pyright: ignore[reportAssignmentType] - that is the point
    # Both, or Python would look for the two in the class whenever a slot is filled.
    __setattr__ = object.__setattr__
    __delattr__ = object.__delattr__


def thawing(layout: Layout, certain: frozenset[str]) -> Thawing:
    """The function that makes a model of each row as it was decoded, in their order; for `certain` see `spread`."""
    source = spread(layout, certain, none="{}")
    fill = [f"model.{name} = {value}" for name, value in source.values.items()]
    body = [*source.lines, "model = Thawed()", *fill, "model.__class__ = Worklog", "add(model)"]
    lines = ["def models_of(rows):", " models = []", " add = models.append", " for row in rows:"]
    lines += [*(f"  {line}" for line in body), " return models"]
    return compiled(layout, "models_of", lines, statuses=STATUSES, Thawed=_Thawed, Worklog=Worklog)
