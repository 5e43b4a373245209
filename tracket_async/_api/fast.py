"""The Structs that the fast path decodes to, derived from the attributes of `Worklog` and a schema.

There is no second definition of a worklog: types and defaults are those of the attributes, names those of the schema.

What is left to do to a decoded worklog, as source: everything to its attribute, and what it means there.

What the Struct (``structs.py``) has decoded is called ``row``. What is an object on the wire stands in the field of one
of the attributes that are read out of it, and has to be spread over all of them; a moment has to be in UTC, a day to be
a moment, a status to be spelled as it is here. The source is generated, as attrs and cattrs generate theirs: a loop
over the attributes would take several times as long.

Rows: worklogs that stay in the objects in which they were decoded.

A *row* is a msgspec Struct whose fields are the attributes of `Worklog`, in their order, with values that are equal to
those that the `Worklog` would have. It costs half of a model, and the garbage collector does not follow it.

Rows made models: each `Worklog` is filled as what it is made of comes, and frozen at the end.

The slots of a *thawed* object are filled, whose class is `Worklog` without its lock, and then the object is declared to
be a `Worklog`, which Python allows between classes of one schema. The frozen class's own ``__init__`` must go
through ``object.__setattr__`` for each attribute; for a page of 100 that alone costs as much as decoding it does.
Nothing of a `Worklog` is thereby different: `Worklog` has no validators, converters or ``__post_init__`` that would be
passed over (a test holds that too).

The fast path from bytes to rows and to models: for what a well-behaved server sends, and only for that.

It takes a body or it declines, and never says why: whoever asks then goes the converters (``general.py``), which
reads what is merely unusual and names what is wrong. What it takes, the converters would read alike; a property test
holds the two equal on any input.

How: a Struct of the wire's shape (``structs.py``) decodes and validates in C, and a generated function (``rows.py``,
``thaw.py``) does what is left to be done.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, cached_property
from types import MappingProxyType
from typing import Annotated, Any, Final, Protocol, TypeAlias, TypeVar, cast

import attrs
import msgspec

from tracket_async._api.schema import (
    ATTRIBUTES,
    DAY,
    FAILURES,
    MOMENT,
    OBJECT,
    STATUS,
    STATUSES,
    DecodedPage,
    FieldType,
    Schema,
    leaf,
)
from tracket_async._timestamps import in_utc, read_day
from tracket_async.models import Worklog

NO_FIELDS: Final[Mapping[str, Any]] = MappingProxyType({})
"""The custom fields of every row that has none."""

# Nothing is such a number, so a field of this type is one that no JSON can fill.
_NEVER: Final = Annotated[int, msgspec.Meta(gt=0, lt=0)]


def row_struct(schema: Schema, certain: frozenset[str]) -> type[msgspec.Struct]:
    """The Struct of a worklog, whose fields are the attributes of `Worklog` in their order.

    Args:
        schema: how it is written.
        certain: the objects in a worklog that have no other members than those that the schema's names say. What is in
            them is decoded, too; any other object stays as it is.
    """
    types: dict[str, Any] = {}
    names: dict[str, str] = {}
    for member, attributes in schema.groups.items():
        at = holder(schema, attributes)
        names[at] = member
        if len(attributes) == 1:
            types[at] = schema.field_types[at].wire_type
        elif member in certain:
            types[at] = _part_struct(schema, member, attributes)
        else:
            types[at] = Any if member in schema.splits else OBJECT.wire_type
    fields: list[Any] = []
    for name, attribute in ATTRIBUTES.items():
        if name not in types:
            names[name] = f"(no member: {name})"
            fields.append((name, _NEVER, NO_FIELDS if schema.field_types[name] is OBJECT else None))
        elif attribute.default is attrs.NOTHING:
            fields.append((name, types[name]))
        else:
            fields.append((name, types[name] | None, None))
    # Nothing that comes out of JSON can hold itself, so the garbage collector need not follow these.
    return msgspec.defstruct("WireRow", fields, rename=names, gc=False)


def holder(schema: Schema, attributes: Sequence[str]) -> str:
    """The attribute in whose field a member of a worklog is found: the one that is the object itself, if one is."""
    return next((name for name in attributes if not leaf(schema.names[name])), attributes[-1])


def _part_struct(schema: Schema, member: str, attributes: Sequence[str]) -> Any:
    """The Struct of an object inside a worklog: a field for each of these attributes, by its name, and nothing else."""
    inner = [name for name in attributes if leaf(schema.names[name])]
    field_types = [(name, schema.field_types[name].wire_type | None) for name in inner]
    # What is missing in an object that is split may be there under another name.
    fields: list[Any] = field_types if member in schema.splits else [(*each, None) for each in field_types]
    names = {name: leaf(schema.names[name]) for name in inner}
    return msgspec.defstruct("WirePart", fields, rename=names, forbid_unknown_fields=True, gc=False)


def page_struct(schema: Schema, worklog: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """The Struct of a page; what the schema does not have is the same on every page."""
    types: dict[str, Any] = {
        "cursor": str | msgspec.UnsetType | None,
        "links": msgspec.Raw | msgspec.UnsetType,
        "total": int | None,
    }
    defaults: dict[str, Any] = {"cursor": msgspec.UNSET, "links": msgspec.UNSET, "total": None}
    names = {"items": schema.items, "cursor": schema.cursor, "links": schema.links, "total": schema.total}
    known = {field: name for field, name in names.items() if name}
    fields: list[Any] = [("items", list[worklog])]  # type: ignore[valid-type]
    fields += [(field, kind, defaults[field]) for field, kind in types.items() if field in known]
    missing = {field: default for field, default in defaults.items() if field not in known}
    return msgspec.defstruct("WirePage", fields, rename=known, namespace=missing)


_MANY_DAYS: Final = 4096


class Declined(ValueError):  # noqa: N818 - it never leaves this package
    """Well-formed, and for the converters to judge."""


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


_STEPS: Final[Mapping[FieldType, str]] = {
    MOMENT: "if {0} is not None and {0}.tzinfo is not UTC: {0} = in_utc({0})",
    DAY: "{0} = days[{0}]",
    STATUS: "if {0} in statuses: {0} = statuses[{0}]",
}
"""What is done to a value of a kind, which stands for ``{0}``."""


def spread(schema: Schema, certain: frozenset[str], *, none: str) -> Spread:
    """What has to be done to a row of this schema.

    Args:
        schema: how worklogs are written.
        certain: the objects that were decoded by Structs of their own, see `row_struct`.
        none: the expression for no custom fields.
    """
    lines: list[str] = []
    values = {
        name: none if schema.field_types[name] is OBJECT else repr(each.default) for name, each in ATTRIBUTES.items()
    }
    for member, attributes in schema.groups.items():
        if len(attributes) == 1:
            [name] = attributes
            step = _step(schema, name)
            lines += [f"{name} = row.{name}", *step] if step else []
            values[name] = name if step else f"row.{name}"
            continue
        values |= dict(zip(attributes, attributes, strict=True))
        if member in schema.splits:
            lines += _split(schema, member, attributes, certain=member in certain)
        else:
            lines += _object(schema, attributes, certain=member in certain, none=none)
    return Spread(lines, values)


def compiled(
    schema: Schema, name: str, lines: Sequence[str], *, statuses: Mapping[str, str], **scope: Any
) -> Callable[..., Any]:
    """The function of that name.

    Args:
        schema: whose source it is made of.
        name: what it is called in its source.
        lines: its source, with what `spread` says in it.
        statuses: from a spelling to the status that it means; what is not in it stays as it is.
        scope: what else its source names.
    """
    scope |= {"Declined": Declined, "UTC": dt.UTC, "in_utc": in_utc, "days": Days(), "statuses": statuses}
    scope |= {f"split_{member}": split for member, split in schema.splits.items()}
    exec(compile("\n".join(lines), f"<tracket_async: {name} of API {schema.version}>", "exec"), scope)  # noqa: S102 - made of this package's own names
    return scope[name]  # type: ignore[no-any-return]


def _step(schema: Schema, name: str) -> list[str]:
    step = _STEPS.get(schema.field_types[name])
    return [step.format(name)] if step else []


def _inner(schema: Schema, name: str, *, certain: bool) -> list[str]:
    """Statements for what was inside an object; where that is not certain, its Struct has not looked at it."""
    wire_type = schema.field_types[name].wire_type.__name__
    check = f"if {name} is not None and type({name}) is not {wire_type}: raise Declined"
    return [*([] if certain else [check]), *_step(schema, name)]


def _split(schema: Schema, member: str, attributes: Sequence[str], *, certain: bool) -> list[str]:
    """Statements for an object that the schema splits."""
    targets, at = ", ".join(attributes), f"row.{holder(schema, attributes)}"
    inner = [line for name in attributes for line in _inner(schema, name, certain=certain)]
    if not certain:
        return [f"{targets} = split_{member}({at})", *inner]
    parts = ", ".join(f"part.{name}" for name in attributes)
    return [f"part = {at}", f"if part is None: {targets} = split_{member}(None)", f"else: {targets} = {parts}", *inner]


def _object(schema: Schema, attributes: Sequence[str], *, certain: bool, none: str) -> list[str]:
    """Statements for an object of which one attribute is whatever no other attribute is."""
    rest = holder(schema, attributes)
    known = [name for name in attributes if name != rest]
    nothing = f"{' = '.join(known)} = None"
    inner = [line for name in known for line in _inner(schema, name, certain=certain)]
    if certain:
        parts = [f"{name} = part.{name}" for name in known]
        return [
            f"part = row.{rest}",
            f"if part is None: {nothing}",
            f"else: {'; '.join(parts)}",
            f"{rest} = {none}",
            *inner,
        ]
    pops = [f"{name} = {rest}.pop({leaf(schema.names[name])!r}, None)" for name in known]
    return [
        f"{rest} = row.{rest}",
        f"if {rest} is None: {nothing}; {rest} = {none}",
        f"else: {'; '.join(pops)}",
        *inner,
    ]


class Row(Protocol):
    """See the top; here stands what is asked of single rows. To be read only: what rows have in common, they share."""

    @property
    def id(self) -> str:
        """As in `Worklog`, all of them."""
        ...

    @property
    def user_id(self) -> str: ...

    @property
    def date(self) -> dt.datetime: ...

    @property
    def minutes(self) -> float: ...

    @property
    def category_id(self) -> str | None: ...


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


def spreading(schema: Schema, certain: frozenset[str]) -> Spreading:
    """The function that makes rows, in place, of what was decoded; for ``certain`` see `spread`."""
    source = spread(schema, certain, none="no_fields")
    changed = [(name, value) for name, value in source.values.items() if name in schema.names and value == name]
    body = [*source.lines, *(f"row.{name} = {value}" for name, value in changed)]
    lines = ["def to_rows(rows):", " for row in rows:", *(f"  {line}" for line in body)]
    return compiled(schema, "to_rows", lines, statuses=_SPELLED, no_fields=NO_FIELDS)


Thawing: TypeAlias = Callable[[Iterable[Row]], list[Worklog]]


class _Thawed(Worklog):
    """`Worklog` without its lock: nothing has to be given, and everything can be assigned."""

    __slots__ = ()
    __init__ = object.__init__  # pyright: ignore[reportAssignmentType] - that is the point
    # Both, or Python would look for the two in the class whenever a slot is filled.
    __setattr__ = object.__setattr__
    __delattr__ = object.__delattr__


def thawing(schema: Schema, certain: frozenset[str]) -> Thawing:
    """The function that makes a model of each row as it was decoded, in their order; for `certain` see `spread`."""
    source = spread(schema, certain, none="{}")
    fill = [f"model.{name} = {value}" for name, value in source.values.items()]
    body = [*source.lines, "model = Thawed()", *fill, "model.__class__ = Worklog", "add(model)"]
    lines = ["def models_of(rows):", " models = []", " add = models.append", " for row in rows:"]
    lines += [*(f"  {line}" for line in body), " return models"]
    return compiled(schema, "models_of", lines, statuses=STATUSES, Thawed=_Thawed, Worklog=Worklog)


T = TypeVar("T")


class FastReader:
    """Reads the bodies of one schema; every method gives None of a body that it declines.

    What has another form than the likeliest is declined at its first worklog, so that asking twice costs little; and
    what an account has once, it has again: a form that another one had to stand in for is not tried any more.
    """

    def __init__(self, schema: Schema) -> None:
        objects = [member for member, attributes in schema.groups.items() if len(attributes) > 1]
        whole = [member for member in objects if member not in schema.splits]
        # From the likeliest form of the objects in a worklog to any form of them.
        certain = dict.fromkeys((frozenset(objects), frozenset(objects) - {*whole}, frozenset[str]()))
        self._forms = [Form(schema, each) for each in certain]

    def rows(self, body: bytes) -> DecodedPage[Row] | None:
        """A page as rows."""
        return self._first(Form.rows, body)

    def models(self, body: bytes) -> DecodedPage[Worklog] | None:
        """A page as models."""
        return self._first(Form.models, body)

    def worklog(self, body: bytes) -> Worklog | None:
        """One worklog."""
        for form in self._forms:
            if (worklog := form.worklog(body)) is not None:
                return worklog
        return None

    def _first(self, read: Callable[[Form, bytes], DecodedPage[T] | None], body: bytes) -> DecodedPage[T] | None:
        for number, form in enumerate(self._forms):
            if (found := read(form, body)) is not None:
                if number:
                    del self._forms[:number]
                return found
        return None


@cache
def fast_reader(schema: Schema) -> FastReader:
    """Return the reader of a schema, which is made once."""
    return FastReader(schema)


class Form:
    """One form of the bodies of a schema; every method gives None of a body that has another.

    Args:
        schema: the schema.
        certain: the objects in a worklog that have no other members than those that the schema's names say.
    """

    def __init__(self, schema: Schema, certain: frozenset[str]) -> None:
        self._schema = schema
        self._certain = certain

    # Made when they are first needed: most processes need a few of them.

    @cached_property
    def _row(self) -> type[msgspec.Struct]:
        return row_struct(self._schema, self._certain)

    @cached_property
    def _decode_page(self) -> Callable[[bytes], Any]:
        return msgspec.json.Decoder(page_struct(self._schema, self._row)).decode

    @cached_property
    def _decode_worklog(self) -> Callable[[bytes], Any]:
        return msgspec.json.Decoder(self._row).decode

    @cached_property
    def _to_rows(self) -> Spreading:
        return spreading(self._schema, self._certain)

    @cached_property
    def _to_models(self) -> Thawing:
        return thawing(self._schema, self._certain)

    def rows(self, body: bytes) -> DecodedPage[Row] | None:
        """A page as rows."""
        try:
            page = self._decode_page(body)
            self._to_rows(page.items)
        except FAILURES:
            return None
        return DecodedPage(page.items, page.cursor, page.links, page.total)

    def models(self, body: bytes) -> DecodedPage[Worklog] | None:
        """A page as models."""
        try:
            page = self._decode_page(body)
            models = self._to_models(page.items)
        except FAILURES:
            return None
        return DecodedPage(models, page.cursor, page.links, page.total)

    def worklog(self, body: bytes) -> Worklog | None:
        """One worklog."""
        try:
            return self._to_models((self._decode_worklog(body),))[0]
        except FAILURES:
            return None
