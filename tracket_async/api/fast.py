"""The fast path from bytes to models: for what a well-behaved server sends, and only for that.

It takes a body or it declines, and never says why: whoever asks then goes the general path (``general.py``), which
reads what is merely unusual and names what is wrong. What it takes, the general path would read alike; a property test
holds the two equal on any input.

How: there is no second definition of a worklog. From the attributes of `Worklog` and a layout, a msgspec Struct of the
wire's shape is derived, which decodes and validates in C; and a function is generated, as attrs and cattrs generate
theirs, that takes each Struct apart.

To make a model, that function fills the slots of a *thawed* twin, a plain class with the same slots as `Worklog`, and
then declares the object to be a `Worklog`, which Python allows between classes of one layout. The frozen class's own
``__init__`` must go through ``object.__setattr__`` for each attribute; for a page of 100 that alone costs twice of what
all of the rest does. Nothing of a `Worklog` is thereby different: `Worklog` has no validators, converters or
``__post_init__`` that would be passed over (a test holds that too).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import msgspec

from tracket_async.api.dates import in_utc, read_day
from tracket_async.api.decode import FAILURES
from tracket_async.api.layout import ATTRIBUTES, DAY, MOMENT, OBJECT, STATUS, STATUSES, Kind, Layout, leaf
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


class _Thawed:
    """`Worklog` without its lock: the same slots, assignable."""

    __slots__ = tuple(name for name in ATTRIBUTES)


@attrs.frozen
class FastPage:
    """A page's contents: models or rows (``rows.py``), next to what the page says of itself.

    Attributes:
        entries: the models, or the rows.
        cursor: what stands where the cursor should; None of null, UNSET of nothing.
        links: the bytes of the page's links, UNSET when it has none.
        total: how many worklogs match, None when the page does not say.
    """

    entries: list[Any]
    cursor: Any
    links: Any
    total: int | None


class FastReader:
    """Reads the bodies of one layout; every method gives None of a body that it declines."""

    def __init__(self, layout: Layout) -> None:
        # What has another form than the likeliest is declined at its first worklog, so that asking twice costs little.
        self._forms = [
            _Form(layout, likeliest=likeliest) for likeliest in ((True, False) if layout.splits else (False,))
        ]

    def models(self, body: bytes) -> FastPage | None:
        """A page as models."""
        return next(filter(None, (form.page(body, form.to_models) for form in self._forms)), None)

    def worklog(self, body: bytes) -> Worklog | None:
        """One worklog."""
        for form in self._forms:
            found = form.worklog(body)
            if found is not None:
                return found
        return None


class _Form:
    """One form of the bodies of a layout; every method gives None of a body that has another.

    Args:
        layout: the layout.
        likeliest: the objects that the layout splits have exactly the members that its names say. False: any.
    """

    def __init__(self, layout: Layout, *, likeliest: bool) -> None:
        worklog = _worklog_struct(layout, likeliest=likeliest)
        self._worklog = msgspec.json.Decoder(worklog)
        self._page: msgspec.json.Decoder[Any] = msgspec.json.Decoder(page_struct(layout, worklog))
        self.to_models = _generate(layout, _end_with_model, likeliest=likeliest)

    def page(self, body: bytes, convert: Callable[[list[Any]], list[Any]]) -> FastPage | None:
        try:
            page = self._page.decode(body)
            return FastPage(convert(page.items), page.cursor, page.links, page.total)
        except FAILURES:
            return None

    def worklog(self, body: bytes) -> Worklog | None:
        try:
            made: list[Worklog] = self.to_models([self._worklog.decode(body)])
        except FAILURES:
            return None
        return made[0]


def _worklog_struct(layout: Layout, *, likeliest: bool) -> type[msgspec.Struct]:
    """The Struct of a worklog: a field for each of its members, m0, m1... in the layout's order."""
    fields: list[Any] = []
    for index, (member, attributes) in enumerate(layout.groups.items()):
        attribute = ATTRIBUTES[attributes[0]]
        kind = OBJECT if len(attributes) > 1 else layout.kinds[attribute.name]
        if member in layout.splits:
            fields.append((f"m{index}", _part_struct(layout, attributes) | None if likeliest else Any, None))
        elif kind is not OBJECT and attribute.default is attrs.NOTHING:
            fields.append((f"m{index}", kind.wire_type))
        else:
            fields.append((f"m{index}", kind.wire_type | None, None))
    names = {f"m{index}": member for index, member in enumerate(layout.groups)}
    # Nothing that comes out of JSON can hold itself, so the garbage collector need not follow these.
    return msgspec.defstruct("WireWorklog", fields, rename=names, gc=False)


def _part_struct(layout: Layout, attributes: tuple[str, ...]) -> Any:
    """The Struct of an object inside a worklog: a field for each of these attributes, by its name, and nothing else."""
    fields: list[Any] = [(name, layout.kinds[name].wire_type | None) for name in attributes]
    names = {name: leaf(layout.names[name]) for name in attributes}
    return msgspec.defstruct("WirePart", fields, rename=names, forbid_unknown_fields=True, gc=False)


def page_struct(layout: Layout, worklog: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """The Struct of a page; what the layout does not have is the same on every page."""
    types: dict[str, Any] = {
        "cursor": str | msgspec.UnsetType | None,
        "links": msgspec.Raw | msgspec.UnsetType,
        "total": int | None,
    }
    defaults: dict[str, Any] = {"cursor": msgspec.UNSET, "links": msgspec.UNSET, "total": None}
    names = {"items": layout.items, "cursor": layout.cursor, "links": layout.links, "total": layout.total}
    known = {field: name for field, name in names.items() if name}
    fields: list[Any] = [("items", list[worklog])]  # type: ignore[valid-type]
    fields += [(field, kind, defaults[field]) for field, kind in types.items() if field in known]
    missing = {field: default for field, default in defaults.items() if field not in known}
    return msgspec.defstruct("WirePage", fields, rename=known, namespace=missing)


@attrs.frozen
class _Step:
    """What becomes of a decoded value of one kind, which stands for ``{0}``.

    Attributes:
        unless: a condition under which the value is the attribute's as it is; ``""`` for never.
        result: an expression for the attribute's value.
    """

    unless: str = ""
    result: str = "{0}"


_AS_IT_IS: Final = _Step()
_STEPS: Final[Mapping[Kind, _Step]] = {
    MOMENT: _Step(unless="{0} is None or {0}.tzinfo is UTC", result="in_utc({0})"),
    DAY: _Step(result="days[{0}]"),
    STATUS: _Step(result="known_status({0}, {0})"),
}


def _end_with_model(values: Mapping[str, str]) -> list[str]:
    filled = [f"model.{name} = {value}" for name, value in values.items()]
    return ["model = Thawed()", *filled, "model.__class__ = Worklog", "add(model)"]


def _generate(
    layout: Layout, end: Callable[[Mapping[str, str]], list[str]], *, likeliest: bool
) -> Callable[[list[msgspec.Struct]], list[Any]]:
    """A function from the Structs of a page's worklogs to what ``end`` makes of each."""
    scope: dict[str, Any] = {
        "Thawed": _Thawed,
        "Worklog": Worklog,
        "Unusual": Unusual,
        "UTC": dt.UTC,
        "in_utc": in_utc,
        "days": Days(),
        "known_status": STATUSES.get,
        **{f"split_{member}": split for member, split in layout.splits.items()},
    }
    values = {name: _default(attribute) for name, attribute in ATTRIBUTES.items()}
    lines: list[str] = []
    for index, (member, attributes) in enumerate(layout.groups.items()):
        source = f"struct.m{index}"
        known = likeliest and member in layout.splits
        lines += _read_part(member, attributes, source) if known else _take_apart(layout, member, attributes, source)
        for name in attributes:
            kind = layout.kinds[name]
            step = _STEPS.get(kind, _AS_IT_IS)
            if kind != OBJECT and len(attributes) > 1 and not known:
                # The Struct has not looked at what is inside an object.
                lines.append(f"if {name} is not None and type({name}) is not {kind.wire_type.__name__}: raise Unusual")
            if step.unless:
                lines.append(f"if not ({step.unless}): {name} = {step.result}".format(name))
                values[name] = name
            else:
                values[name] = step.result.format(name)
    lines += end(values)
    source = "\n".join(
        [
            "def take_apart(structs):",
            "    made = []",
            "    add = made.append",
            "    for struct in structs:",
            *(f"        {line}" for line in lines),
            "    return made",
        ]
    )
    exec(compile(source, f"<tracket_async: fast path of API {layout.version}>", "exec"), scope)  # noqa: S102 - made of this package's own names; attrs and cattrs do the same
    return scope["take_apart"]  # type: ignore[no-any-return]


def _read_part(member: str, attributes: tuple[str, ...], source: str) -> list[str]:
    """Statements that give each attribute of a Struct inside a Struct its name."""
    return [
        f"part = {source}",
        f"if part is None: {', '.join(attributes)} = split_{member}(None)",
        "else:",
        *(f"    {name} = part.{name}" for name in attributes),
    ]


def _take_apart(layout: Layout, member: str, attributes: tuple[str, ...], source: str) -> list[str]:
    """Statements that give each attribute's raw value its name."""
    if member in layout.splits:
        return [f"{', '.join(attributes)} = split_{member}({source})"]
    if len(attributes) == 1:
        return [f"{attributes[0]} = {source}"]
    inner = [name for name in attributes if leaf(layout.names[name])]
    (rest,) = set(attributes) - {*inner}
    return [
        f"{rest} = {source}",
        f"if {rest}:",
        *(f"    {name} = {rest}.pop({leaf(layout.names[name])!r}, None)" for name in inner),
        "else:",
        f"    {' = '.join(inner)} = None",
        f"    {rest} = {{}}",
    ]


def _default(attribute: attrs.Attribute[Any]) -> str:
    """The default of an attribute that a layout does not have, as an expression."""
    default: Any = attribute.default
    return repr(default.factory() if isinstance(default, attrs.Factory) else default)  # type: ignore[arg-type]
