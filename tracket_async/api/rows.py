"""The fast path from bytes to rows: worklogs that stay in the objects in which they were decoded.

A *row* is a msgspec Struct whose fields are the attributes of `Worklog`, in their order, with values that are equal to
those that the `Worklog` would have. It costs half of a model, and the garbage collector does not follow it.

This is for what a well-behaved server sends, and only for that. It takes a body or it declines, and never says why:
whoever asks then goes the general path (``general.py``), which reads what is merely unusual and names what is wrong.
What it takes, the general path would read alike; a property test holds the two equal on any input.

How: a Struct of the wire's shape (``structs.py``) decodes and validates in C. What is an object on the wire stands at
first, as it was decoded, in the field of one of the attributes that are read out of it; a function that is generated,
as attrs and cattrs generate theirs, then spreads it over their fields.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from typing import Any, Final, Protocol, cast

import attrs
import msgspec

from tracket_async.api.dates import in_utc, read_day
from tracket_async.api.decode import FAILURES
from tracket_async.api.layout import ATTRIBUTES, DAY, MOMENT, STATUS, STATUSES, Kind, Layout, leaf
from tracket_async.api.structs import NO_FIELDS, holder, page_struct, row_struct
from tracket_async.models import Worklog

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
    exec(compile(f"def columns(rows): return [{columns}]", "<tracket_async: columns of rows>", "exec"), scope)  # noqa: S102 - see `_generate`
    return scope["columns"]  # type: ignore[no-any-return]


@attrs.frozen(eq=False)
class Found:
    """A page's contents.

    Attributes:
        rows: the worklogs, in the server's order.
        cursor: what stands where the cursor should; None of null, UNSET of nothing.
        links: the bytes of the page's links, UNSET when it has none.
        total: how many worklogs match, None when the page does not say.
    """

    rows: list[Row]
    cursor: Any
    links: Any
    total: int | None


class RowReader:
    """Reads the bodies of one layout; every method gives None of a body that it declines.

    What has another form than the likeliest is declined at its first worklog, so that asking twice costs little; and
    what an account has once, it has again: a form that another one had to stand in for is not tried any more.
    """

    def __init__(self, layout: Layout) -> None:
        objects = [member for member, attributes in layout.groups.items() if len(attributes) > 1]
        whole = [member for member in objects if member not in layout.splits]
        # From the likeliest form of the objects in a worklog to any form of them.
        certain = dict.fromkeys((frozenset(objects), frozenset(objects) - {*whole}, frozenset[str]()))
        self._forms = [Form(layout, each) for each in certain]

    def page(self, body: bytes) -> Found | None:
        """A page."""
        for number, form in enumerate(self._forms):
            if (found := form.page(body)) is not None:
                if number:
                    del self._forms[:number]
                return found
        return None

    def worklog(self, body: bytes) -> Row | None:
        """One worklog."""
        for form in self._forms:
            if (row := form.worklog(body)) is not None:
                return row
        return None


class Form:
    """One form of the bodies of a layout, made when the first of them comes.

    Args:
        layout: the layout.
        certain: the objects in a worklog that have no other members than those that the layout's names say.
    """

    def __init__(self, layout: Layout, certain: frozenset[str]) -> None:
        self._layout = layout
        self._certain = certain

    @cached_property
    def _row(self) -> type[msgspec.Struct]:
        return row_struct(self._layout, self._certain)

    @cached_property
    def _decode_page(self) -> Callable[[bytes], Any]:
        return msgspec.json.Decoder(page_struct(self._layout, self._row)).decode

    @cached_property
    def _decode_worklog(self) -> Callable[[bytes], Any]:
        return msgspec.json.Decoder(self._row).decode

    @cached_property
    def _spread(self) -> Callable[[Sequence[Row]], None]:
        return _generate(self._layout, self._certain)

    def page(self, body: bytes) -> Found | None:
        """A page; None of a body that has another form."""
        try:
            page = self._decode_page(body)
            self._spread(page.items)
        except FAILURES:
            return None
        return Found(page.items, page.cursor, page.links, page.total)

    def worklog(self, body: bytes) -> Row | None:
        """One worklog; None of a body that has another form."""
        try:
            row: Row = self._decode_worklog(body)
            self._spread((row,))
        except FAILURES:
            return None
        return row


@attrs.frozen
class _Step:
    """What becomes of a decoded value of one kind, which stands for ``{0}``.

    Attributes:
        when: the condition; ``"True"`` for always.
        result: an expression for the attribute's value.
    """

    when: str
    result: str


_STEPS: Final[Mapping[Kind, _Step]] = {
    MOMENT: _Step("{0} is not None and {0}.tzinfo is not UTC", "in_utc({0})"),
    DAY: _Step("True", "days[{0}]"),
    STATUS: _Step("{0} in spelled", "spelled[{0}]"),
}


def _generate(layout: Layout, certain: frozenset[str]) -> Callable[[Sequence[Row]], None]:
    """The function that makes the rows of a page out of what was decoded, in place."""
    scope: dict[str, Any] = {
        "Unusual": Unusual,
        "UTC": dt.UTC,
        "in_utc": in_utc,
        "days": Days(),
        "spelled": _SPELLED,
        "no_fields": NO_FIELDS,
        **{f"split_{member}": split for member, split in layout.splits.items()},
    }
    lines: list[str] = []
    for member, attributes in layout.groups.items():
        if len(attributes) == 1:
            lines += _alone(layout, attributes[0])
        elif member in layout.splits:
            lines += _split(layout, member, attributes, certain=member in certain)
        else:
            lines += _object(layout, attributes, certain=member in certain)
    source = "\n".join(["def spread(rows):", "    for row in rows:", *(f"        {line}" for line in lines)])
    exec(compile(source, f"<tracket_async: rows of API {layout.version}>", "exec"), scope)  # noqa: S102 - made of this package's own names; attrs and cattrs do the same
    return scope["spread"]  # type: ignore[no-any-return]


def _alone(layout: Layout, name: str) -> list[str]:
    """Statements for an attribute that is a member of its own."""
    step = _STEPS.get(layout.kinds[name])
    if step is None:
        return []
    return [f"value = row.{name}", f"if {step.when}: row.{name} = {step.result}".format("value")]


def _inner(layout: Layout, name: str, value: str, *, checked: bool) -> list[str]:
    """Statements that give a row an attribute whose value was inside an object, and was ``checked`` by its Struct."""
    kind = layout.kinds[name]
    lines = [f"value = {value}"]
    if not checked:
        lines.append(f"if value is not None and type(value) is not {kind.wire_type.__name__}: raise Unusual")
    if (step := _STEPS.get(kind)) is not None:
        lines.append(f"if {step.when}: value = {step.result}".format("value"))
    return [*lines, f"row.{name} = value"]


def _split(layout: Layout, member: str, attributes: Sequence[str], *, certain: bool) -> list[str]:
    """Statements for an object that the layout splits."""
    found = f"part = row.{holder(layout, attributes)}"
    if certain:
        inner = [line for name in attributes for line in _inner(layout, name, f"part.{name}", checked=True)]
        targets = ", ".join(f"row.{name}" for name in attributes)
        return [found, f"if part is None: {targets} = split_{member}(None)", "else:", *_indented(inner)]
    targets = ", ".join(f"value_{name}" for name in attributes)
    inner = [line for name in attributes for line in _inner(layout, name, f"value_{name}", checked=False)]
    return [found, f"{targets} = split_{member}(part)", *inner]


def _object(layout: Layout, attributes: Sequence[str], *, certain: bool) -> list[str]:
    """Statements for an object of which one attribute is whatever no other attribute is."""
    rest = holder(layout, attributes)
    lines = [f"part = row.{rest}"]
    known = [name for name in attributes if name != rest]
    if certain:
        inner = [line for name in known for line in _inner(layout, name, f"part.{name}", checked=True)]
        return [*lines, "if part is not None:", *_indented(inner), f"row.{rest} = no_fields"]
    values = {name: f"part.pop({leaf(layout.names[name])!r}, None)" for name in known}
    inner = [line for name, value in values.items() for line in _inner(layout, name, value, checked=False)]
    return [*lines, f"if part is None: row.{rest} = no_fields", "else:", *_indented(inner)]


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines]
