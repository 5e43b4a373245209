"""What is left to do to a decoded worklog, as source: everything to its attribute, and what it means there.

What the Struct (``structs.py``) has decoded is called ``row``. What is an object on the wire stands in the field of one
of the attributes that are read out of it, and has to be spread over all of them; a moment has to be in UTC, a day to be
a moment, a status to be spelled as it is here. The source is generated, as attrs and cattrs generate theirs: a loop
over the attributes would take several times as long.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from tracket_async.api.dates import in_utc, read_day
from tracket_async.api.layout import ATTRIBUTES, DAY, MOMENT, OBJECT, STATUS, Kind, Layout, leaf
from tracket_async.api.structs import holder

_MANY_DAYS: Final = 4096


class Unusual(ValueError):  # noqa: N818 - it never leaves this package
    """Well-formed, and for the general path to judge."""


class Days(dict[str, dt.datetime]):
    """The moments of days that were met lately; to ask a dict costs half of what to call a function does."""

    def __missing__(self, text: str) -> dt.datetime:
        if len(self) >= _MANY_DAYS:
            self.clear()
        moment = self[text] = read_day(text)
        return moment


@attrs.frozen(eq=False)
class Spread:
    """The source of what has to be done to one row.

    Attributes:
        lines: statements, to come first.
        values: the expression of each attribute's value, in the order of the attributes. ``row.NAME``, where the row
            has it in its place already.
    """

    lines: list[str]
    values: dict[str, str]


_STEPS: Final[Mapping[Kind, str]] = {
    MOMENT: "if {0} is not None and {0}.tzinfo is not UTC: {0} = in_utc({0})",
    DAY: "{0} = days[{0}]",
    STATUS: "if {0} in statuses: {0} = statuses[{0}]",
}
"""What is done to a value of a kind, which stands for ``{0}``."""


def spread(layout: Layout, certain: frozenset[str], *, none: str) -> Spread:
    """What has to be done to a row of this layout.

    Args:
        layout: how worklogs are written.
        certain: the objects that were decoded by Structs of their own, see `row_struct`.
        none: the expression for no custom fields.
    """
    lines: list[str] = []
    values = {name: none if layout.kinds[name] is OBJECT else repr(each.default) for name, each in ATTRIBUTES.items()}
    for member, attributes in layout.groups.items():
        if len(attributes) == 1:
            [name] = attributes
            step = _step(layout, name)
            lines += [f"{name} = row.{name}", *step] if step else []
            values[name] = name if step else f"row.{name}"
            continue
        values |= dict(zip(attributes, attributes, strict=True))
        if member in layout.splits:
            lines += _split(layout, member, attributes, certain=member in certain)
        else:
            lines += _object(layout, attributes, certain=member in certain, none=none)
    return Spread(lines, values)


def compiled(
    layout: Layout, name: str, lines: Sequence[str], *, statuses: Mapping[str, str], **scope: Any
) -> Callable[..., Any]:
    """The function of that name.

    Args:
        layout: whose source it is made of.
        name: what it is called in its source.
        lines: its source, with what `spread` says in it.
        statuses: from a spelling to the status that it means; what is not in it stays as it is.
        scope: what else its source names.
    """
    scope |= {"Unusual": Unusual, "UTC": dt.UTC, "in_utc": in_utc, "days": Days(), "statuses": statuses}
    scope |= {f"split_{member}": split for member, split in layout.splits.items()}
    exec(compile("\n".join(lines), f"<tracket_async: {name} of API {layout.version}>", "exec"), scope)  # noqa: S102 - made of this package's own names
    return scope[name]  # type: ignore[no-any-return]


def _step(layout: Layout, name: str) -> list[str]:
    step = _STEPS.get(layout.kinds[name])
    return [step.format(name)] if step else []


def _inner(layout: Layout, name: str, *, certain: bool) -> list[str]:
    """Statements for what was inside an object; where that is not certain, its Struct has not looked at it."""
    wire_type = layout.kinds[name].wire_type.__name__
    check = f"if {name} is not None and type({name}) is not {wire_type}: raise Unusual"
    return [*([] if certain else [check]), *_step(layout, name)]


def _split(layout: Layout, member: str, attributes: Sequence[str], *, certain: bool) -> list[str]:
    """Statements for an object that the layout splits."""
    targets, at = ", ".join(attributes), f"row.{holder(layout, attributes)}"
    inner = [line for name in attributes for line in _inner(layout, name, certain=certain)]
    if not certain:
        return [f"{targets} = split_{member}({at})", *inner]
    parts = ", ".join(f"part.{name}" for name in attributes)
    return [f"part = {at}", f"if part is None: {targets} = split_{member}(None)", f"else: {targets} = {parts}", *inner]


def _object(layout: Layout, attributes: Sequence[str], *, certain: bool, none: str) -> list[str]:
    """Statements for an object of which one attribute is whatever no other attribute is."""
    rest = holder(layout, attributes)
    known = [name for name in attributes if name != rest]
    nothing = f"{' = '.join(known)} = None"
    inner = [line for name in known for line in _inner(layout, name, certain=certain)]
    if certain:
        parts = [f"{name} = part.{name}" for name in known]
        return [
            f"part = row.{rest}",
            f"if part is None: {nothing}",
            f"else: {'; '.join(parts)}",
            f"{rest} = {none}",
            *inner,
        ]
    pops = [f"{name} = {rest}.pop({leaf(layout.names[name])!r}, None)" for name in known]
    return [
        f"{rest} = row.{rest}",
        f"if {rest} is None: {nothing}; {rest} = {none}",
        f"else: {'; '.join(pops)}",
        *inner,
    ]
