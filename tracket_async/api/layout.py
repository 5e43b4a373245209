"""What differs between the versions when a worklog is read or written, as data; and what each attribute's value is.

A *kind* says what JSON value an attribute has; a *layout* says under which name. A name with a dot is a value inside an
object: ``customFields.category``. There is one list of a worklog's attributes, `Worklog` itself: everything here is
keyed by their names, and what is derived from here (converters, Structs) takes types and defaults from there.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import attrs

from tracket_async.api.body import Json
from tracket_async.api.dates import read_day, read_moment, write_day, write_moment
from tracket_async.models import ApprovalStatus, Worklog

ATTRIBUTES: Final[Mapping[str, attrs.Attribute[Any]]] = {each.name: each for each in attrs.fields(Worklog)}

STATUSES: Final[Mapping[str, ApprovalStatus]] = {
    form: status for status in ApprovalStatus for form in (status.value, status.value.upper(), status.value.title())
}
"""The approval statuses as they may be written. The page of 1.0 writes them small; other spellings are inferred."""

WHOLE = 2.0**53
"""Below it a float that is a whole number is that number exactly."""


class Misread(ValueError):  # noqa: N818 - it never leaves this package: it becomes a MalformedResponseError
    """A value is not of its kind; the text says what was expected."""


def _identifier(value: Json) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise Misread("a string")


def _text(value: Json) -> str:
    if isinstance(value, str):
        return value
    raise Misread("a string")


def _status(value: Json) -> str:
    text = _text(value)
    return STATUSES.get(text, text)


def _number(value: Json) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise Misread("a finite number")


def _moment(value: Json) -> dt.datetime:
    try:
        return read_moment(_text(value))
    except ValueError:
        raise Misread("a date-time (RFC 3339)") from None


def _day(value: Json) -> dt.datetime:
    try:
        return read_day(_text(value))
    except ValueError:
        raise Misread("a day (YYYY-MM-DD)") from None


def _object(value: Json) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise Misread("an object")


def _same(value: Any) -> Any:
    return value


def _write_number(value: float) -> float:
    return int(value) if abs(value) < WHOLE and value == int(value) else value


@attrs.frozen
class Kind:
    """What value an attribute has.

    Attributes:
        read: from a JSON value, never null, to the attribute's; raises `Misread`. Tolerant.
        write: from the attribute's value, never None, to a JSON value.
        wire_type: the type that a well-behaved server sends, for the fast path. What msgspec accepts as this type,
            ``read`` accepts too and reads alike; what it does not accept may still be accepted by ``read``.
    """

    read: Callable[[Any], Any]
    wire_type: Any
    write: Callable[[Any], Any] = _same


IDENTIFIER = Kind(_identifier, str)
TEXT = Kind(_text, str)
STATUS = Kind(_status, str, str)
NUMBER = Kind(_number, float, _write_number)
MOMENT = Kind(_moment, dt.datetime, write_moment)
DAY = Kind(_day, str, write_day)
OBJECT = Kind(_object, dict[str, Any])

KINDS: Final[Mapping[str, Kind]] = {
    "id": IDENTIFIER,
    "user_id": IDENTIFIER,
    "date": MOMENT,
    "minutes": NUMBER,
    "item_id": IDENTIFIER,
    "description": TEXT,
    "category_id": IDENTIFIER,
    "billable_minutes": NUMBER,
    "created_date": MOMENT,
    "updated_date": MOMENT,
    "approval_status": STATUS,
    "approver_user_id": IDENTIFIER,
    "team_id": IDENTIFIER,
    "project_id": IDENTIFIER,
    "board_id": IDENTIFIER,
    "parent_item_id": IDENTIFIER,
    "custom_fields": OBJECT,
}
"""The kind of each attribute, where a layout does not say otherwise."""


Split: TypeAlias = Callable[[Json], tuple[Json, ...]]


def _group(self: Layout) -> Mapping[str, tuple[str, ...]]:
    groups: dict[str, tuple[str, ...]] = {}
    for attribute in ATTRIBUTES:
        if attribute in self.names:
            member = self.names[attribute].partition(".")[0]
            groups[member] = (*groups.get(member, ()), attribute)
    return groups


@attrs.frozen(kw_only=True, eq=False)
class Layout:
    """How one version writes worklogs and pages of them. There is one for each version, equal to itself alone.

    Attributes:
        version: ``"1.0"`` or ``"2.0"``.
        names: attribute to wire name. An attribute that is not here does not exist in this version. ``a.b`` is the
            member ``b`` of the object ``a``; if another attribute is ``a`` itself, it has the rest of that object.
        items: where a page has its worklogs.
        cursor: where a page has the cursor of the page after it.
        total: where a page says how many worklogs match, None when it does not.
        links: where a page has its links, None when it has none.
        kinds: the kind of each attribute.
        splits: for objects whose form is not certain: from what there is to the values of its attributes, in the
            order of the attributes.
        omitted: wire names that are left out, and not null, where a `Worklog` is written that has no value for them.
        groups: each member of a worklog's own level, and the attributes that are in it; in the order of the attributes.
    """

    version: str
    names: Mapping[str, str] = attrs.field(repr=False)
    items: str = attrs.field(repr=False)
    cursor: str = attrs.field(repr=False)
    total: str | None = attrs.field(default=None, repr=False)
    links: str | None = attrs.field(default=None, repr=False)
    kinds: Mapping[str, Kind] = attrs.field(default=KINDS, repr=False)
    splits: Mapping[str, Split] = attrs.field(factory=dict[str, Split], repr=False)
    omitted: frozenset[str] = attrs.field(default=frozenset(), repr=False)

    groups: Mapping[str, tuple[str, ...]] = attrs.field(
        default=attrs.Factory(_group, takes_self=True), init=False, repr=False
    )


def flatten(layout: Layout, content: Mapping[str, Json]) -> dict[str, Json]:
    """A worklog as the server sends it, made one level of the names that the layout knows."""
    flat: dict[str, Json] = {}
    for member, attributes in layout.groups.items():
        if member not in content:
            continue
        names = [layout.names[attribute] for attribute in attributes]
        value = content[member]
        if member in layout.splits:
            flat.update(zip(names, layout.splits[member](value), strict=True))
        elif isinstance(value, dict) and len(names) > 1:
            rest = {**value}
            flat.update({name: rest.pop(leaf(name), None) for name in names if leaf(name)})
            flat[member] = rest
        else:
            flat[member] = value
    return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The way back from `flatten`, as far as there is one."""
    content: dict[str, Any] = {}
    for name, value in flat.items():
        member, _, inner = name.partition(".")
        if inner:
            content.setdefault(member, {})[inner] = value
        elif isinstance(value, dict):
            content.setdefault(member, {}).update(value)
        else:
            content[member] = value
    return content


def leaf(name: str) -> str:
    """The last part of a name with a dot, ``""`` of one without."""
    return name.partition(".")[2]
