"""Rows made models: each `Worklog` is filled as what it is made of comes, and frozen at the end.

The slots of a *thawed* object are filled, whose class is `Worklog` without its lock, and then the object is declared to
be a `Worklog`, which Python allows between classes of one layout. The frozen class's own ``__init__`` must go
through ``object.__setattr__`` for each attribute; for a page of 100 that alone costs as much as decoding it does.
Nothing of a `Worklog` is thereby different: `Worklog` has no validators, converters or ``__post_init__`` that would be
passed over (a test holds that too).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs

from tracket_async.api.layout import ATTRIBUTES, OBJECT, STATUS, STATUSES, Layout
from tracket_async.api.rows import Row
from tracket_async.models import Worklog


class _Thawed(Worklog):
    """`Worklog` without its lock: nothing has to be given, and everything can be assigned."""

    __slots__ = ()
    __init__ = object.__init__  # pyright: ignore[reportAssignmentType] - that is the point
    # Both, or Python would look for the two in the class whenever a slot is filled.
    __setattr__ = object.__setattr__
    __delattr__ = object.__delattr__


def thawing(layout: Layout) -> Callable[[Iterable[Row]], list[Worklog]]:
    """The function that makes a model of each row of this layout, in their order."""
    fill = [f"model.{name} = {_value(layout, attribute)}" for name, attribute in ATTRIBUTES.items()]
    source = "\n".join(
        [
            "def models_of(rows):",
            "    models = []",
            "    add = models.append",
            "    for row in rows:",
            *(f"        {line}" for line in ("model = Thawed()", *fill, "model.__class__ = Worklog", "add(model)")),
            "    return models",
        ]
    )
    scope: dict[str, Any] = {"Thawed": _Thawed, "Worklog": Worklog, "known": STATUSES.get}
    exec(compile(source, f"<tracket_async: models of API {layout.version}>", "exec"), scope)  # noqa: S102 - made of this package's own names; attrs and cattrs do the same
    return scope["models_of"]  # type: ignore[no-any-return]


def _value(layout: Layout, attribute: attrs.Attribute[Any]) -> str:
    """The expression of an attribute's value: the row's, but for an enum, and for custom fields, which no two share."""
    value, kind = f"row.{attribute.name}", layout.kinds[attribute.name]
    if attribute.name not in layout.names:
        return "{}" if kind is OBJECT else repr(attribute.default)
    if kind is STATUS:
        return f"known({value}, {value})"
    return f"{value} or {{}}" if kind is OBJECT else value
