"""The fast decoder: bytes to rows or worklogs by msgspec, for what a well-behaved server sends and only for that.

It takes a body or declines it, and never says why: the caller then asks the cattrs converters (``converters.py``),
which read what is merely unusual and name what is wrong. What it takes, the converters would read alike; a property
test holds the two equal on any input.

1. msgspec decodes and validates in C, into Structs that are derived from the attributes of `Worklog` and a `Schema`.
   So there is no second definition of a worklog here.
2. A *finisher*, written by hand for each version (``v1.py``, ``v2.py``), does what is left: moments to UTC, days to
   moments, the spelling of statuses, the members of objects inside a worklog to their attributes.

3. What no Struct has room for makes it decline: an unknown member, a value of another type. It is then *learned* from
   what the converters have read (`Learned`), and the Structs are derived once more, with a field for the member, or a
   wider one. So a server that has such in every row is read fast from the second page on, and one that has none pays
   nothing. An unknown member costs its decoding: `LearnedExtra` reads the Struct when somebody looks.

A *row* is such a Struct when it is finished: its first fields are the attributes of `Worklog`, with values that are
equal to those of the `Worklog`. They stand in the order of the schema's names, which is the server's, since msgspec
looks for each member behind the one before: in another order, decoding a page takes a tenth longer. A row costs half of
a model, and the garbage collector does not follow it.

A `Worklog` is filled through `Unfrozen`, a subclass that can be assigned to, and is then declared to be a `Worklog`,
which Python allows between classes of one memory layout. The frozen class's own ``__init__`` must go through
``object.__setattr__`` for each attribute; for a page of 100 that alone costs as much as decoding it does. Nothing is
passed over thereby: `Worklog` has no validators, converters or ``__post_init__`` (a test holds that, too).
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from functools import cached_property
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Protocol, TypeVar, cast

import attrs
import msgspec

from tracket_async._api.oddities import Odd
from tracket_async._api.schema import (
    ATTRIBUTES,
    ERROR_NAMES,
    EXPECTED,
    FAILURES,
    OBJECT,
    DecodedPage,
    Schema,
)
from tracket_async._api.unusual import WideField, WideObject
from tracket_async._http.responses import json_type
from tracket_async._timestamps import read_day
from tracket_async.models import NO_EXTRA, ReadOnlyDict, Worklog

T = TypeVar("T")

NO_FIELDS: Final[Mapping[str, Any]] = MappingProxyType({})
"""The custom fields of every row that has none."""

Parts = Mapping[str, Any]
"""The Structs of objects inside a worklog, by the name of their member."""


class Row(Protocol):
    """A worklog as a Struct, with what is asked of single rows. Read only: rows share what they have in common."""

    @property
    def id(self) -> str:
        """Return the id; this and the others are as in `Worklog`."""
        ...

    @property
    def user_id(self) -> str | None: ...

    @property
    def date(self) -> dt.datetime: ...

    @property
    def minutes(self) -> float: ...

    @property
    def category_id(self) -> str | None: ...

    @property
    def extra(self) -> Mapping[str, Any]: ...


class RowBase(msgspec.Struct, gc=False):
    """The base of all rows. Their fields are the attributes of `Worklog`, ``kept``, and what is learned.

    In place of the attribute ``extra``, ``kept`` has what is of it in no other field.
    """

    if TYPE_CHECKING:
        kept: Mapping[str, Any]
    learned: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """The fields of unknown members, by the names of these."""

    @property
    def extra(self) -> Mapping[str, Any]:
        """Return as `Worklog.extra`."""
        if not self.learned:
            return self.kept
        found = {name: getattr(self, field) for name, field in self.learned.items()}
        found = {name: value for name, value in found.items() if value is not msgspec.UNSET}
        return ReadOnlyDict({**found, **self.kept}) if found else self.kept


_SEALED: Final = object()


class LearnedExtra(msgspec.Struct, gc=False, eq=False):
    """The `Worklog.extra` of a worklog that was made of a row. To make one costs a seventh of what a dict costs.

    It is a mapping, and no field of it can be written as JSON: not this one, and not its row.
    """

    row: RowBase
    sealed: Any = _SEALED

    def __getitem__(self, name: str) -> Any:
        return self.row.extra[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.row.extra)

    def __len__(self) -> int:
        return len(self.row.extra)

    def __contains__(self, name: object) -> bool:
        return name in self.row.extra

    def __eq__(self, other: object) -> bool:
        return self.row.extra == (other.row.extra if isinstance(other, LearnedExtra) else other)

    __hash__ = None  # type: ignore[assignment] # as of any mapping

    def get(self, name: str, default: Any = None) -> Any:
        return self.row.extra.get(name, default)

    def keys(self) -> KeysView[str]:
        return self.row.extra.keys()

    def items(self) -> ItemsView[str, Any]:
        return self.row.extra.items()

    def values(self) -> ValuesView[Any]:
        return self.row.extra.values()

    def _refuse(self, *_: object, **__: object) -> Any:
        raise TypeError("This mapping is read only: make a dict of it to change it")

    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = _refuse

    def __repr__(self) -> str:
        return repr(self.row.extra)

    def __reduce__(self) -> tuple[Any, ...]:
        return ReadOnlyDict, (dict(self.row.extra),)


cast("Any", Mapping).register(LearnedExtra)

_FIELDS: Final = (*ATTRIBUTES, "kept")
_PlainRow: Final = msgspec.defstruct("PlainRow", [(name, Any) for name in _FIELDS], bases=(RowBase,), gc=False)


def row_of(worklog: Worklog) -> Row:
    """Return the worklog as a row."""
    return cast("Row", _PlainRow(*attrs.astuple(worklog, recurse=False)))


def columns_of(rows: Sequence[Row], names: Sequence[str]) -> list[Sequence[Any]]:
    """Return the columns of these names, each with the values of all rows."""
    if not rows:
        return [()] * len(names)
    kinds = cast("set[type[RowBase]]", {*map(type, rows)})
    orders = {kind.__struct_fields__[: len(_FIELDS)] for kind in kinds}
    if len(orders) > 1:
        return [[*map(attrgetter(name), rows)] for name in names]
    # Not strict: rows whose Structs have learned fields are longer.
    columns = dict(zip(*orders, zip(*map(msgspec.structs.astuple, cast("Any", rows)), strict=False), strict=False))
    if "extra" in names:
        columns["extra"] = [row.extra for row in rows] if any(kind.learned for kind in kinds) else columns["kept"]
    return [columns[name] for name in names]


# -- for the finishers of the versions --------------------------------------------------------------------------------


class Declined(ValueError):  # noqa: N818 - it never leaves this package
    """A worklog is well-formed, and for the converters to judge."""


class Days(dict[str, dt.datetime]):
    """The moments of days that were met lately; asking a dict costs half of calling a function."""

    MOST: Final = 4096

    def __missing__(self, text: str) -> dt.datetime:
        if len(self) >= self.MOST:
            self.clear()
        moment = self[text] = read_day(text)
        return moment


class Unfrozen(Worklog):
    """`Worklog` without its lock: everything can be assigned. Made by `unfrozen`, without a value for any attribute."""

    __slots__ = ()
    if TYPE_CHECKING:

        def __init__(self) -> None: ...

    else:
        __init__ = object.__init__
    # Both, or Python would look for the two in the class whenever a slot is filled.
    __setattr__ = object.__setattr__
    __delattr__ = object.__delattr__


unfrozen = cast("Callable[[], Any]", Unfrozen)
"""Makes an `Unfrozen` with nothing in it."""


@attrs.frozen(kw_only=True, eq=False)
class Finisher:
    """The hand-written rest of decoding the worklogs of one version. Both functions may raise what `FAILURES` holds.

    Attributes:
        forms: the forms that the objects inside a worklog may have, the likeliest first: the Struct of each object that
            has no other members than that Struct; any other object is decoded to a dict, or whatever it is.
        to_rows: makes rows of what was decoded, in place.
        to_worklogs: makes a worklog of each thing that was decoded, in their order.
    """

    forms: tuple[Parts, ...] = ({},)
    to_rows: Callable[[Sequence[Any]], None]
    to_worklogs: Callable[[Sequence[Any]], list[Worklog]]


# -- the Structs ------------------------------------------------------------------------------------------------------

# Nothing is such a number, so a field of this type is one that no JSON can fill.
_NEVER: Final = Annotated[int, msgspec.Meta(gt=0, lt=0)]
_NO_MEMBER: Final = "(no member: "


@attrs.frozen
class Learned:
    """The members and the types that the worklogs of a server have, and the schema does not foresee.

    Attributes:
        names: unknown members.
        wider: the attributes whose values are of other types, or missing.
    """

    names: tuple[str, ...] = ()
    wider: frozenset[str] = frozenset()


NOTHING: Final = Learned()


def row_struct(
    schema: Schema, parts: Parts, learned: Learned = NOTHING, *, all_have_them: bool = False
) -> type[msgspec.Struct]:
    """Return the Struct of a worklog, whose fields are those of `RowBase`.

    A member of the worklog that is an object stands in the field of one of the attributes that are inside of it.
    Behind the attributes are the fields learned_0, learned_1, ...

    Args:
        schema: how a worklog is written.
        parts: the types of objects inside a worklog; any other object stays as it is.
        learned: what to make room for.
        all_have_them: whether a worklog without one of the learned members is declined.
    """
    types: dict[str, Any] = {}
    names: dict[str, str] = {}
    for member, attributes in schema.groups.items():
        holder = schema.holder(attributes)
        names[holder] = member
        if not learned.wider.isdisjoint(attributes):
            types[holder] = Any
        elif len(attributes) == 1:
            types[holder] = schema.field_types[holder].wire_type
        else:
            types[holder] = parts.get(member, Any if member in schema.splits else OBJECT.wire_type)
    fields: list[Any] = []
    for name in dict.fromkeys((*schema.names, *ATTRIBUTES)):
        attribute = ATTRIBUTES[name]
        if name not in types:
            names[name] = f"{_NO_MEMBER}{name})"
            fields.append((name, _NEVER, NO_FIELDS if schema.field_types[name] is OBJECT else None))
        elif attribute.default is attrs.NOTHING or (name in EXPECTED and name not in learned.wider):
            fields.append((name, types[name]))
        else:
            fields.append((name, types[name] | None, None))
    names["kept"] = f"{_NO_MEMBER}extra)"
    fields.append(("kept", _NEVER, NO_EXTRA))
    learned_fields = {name: f"learned_{number}" for number, name in enumerate(learned.names)}
    for name, field in learned_fields.items():
        names[field] = name
        fields.append((field, Any) if all_have_them else (field, Any, msgspec.UNSET))
    # Nothing that comes out of JSON can hold itself, so the garbage collector need not follow these.
    return msgspec.defstruct(
        "Row",
        fields,
        bases=(RowBase,),
        namespace={"learned": learned_fields},
        rename=names,
        gc=False,
        kw_only=True,
        forbid_unknown_fields=True,
    )


def page_struct(schema: Schema, worklog: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """Return the Struct of a page, with the fields items, cursor, total, links_0, ..., errors_0, ...

    What the schema does not have is the same on every page.
    """
    names = {"items": schema.items, "cursor": schema.cursor}
    fields: list[Any] = [("items", list[worklog])]  # type: ignore[valid-type] # it is made at run time
    fields.append(("cursor", str | int | float | msgspec.UnsetType | None, msgspec.UNSET))
    if schema.total is not None:
        names["total"] = schema.total
        fields.append(("total", int | float | str | None, None))
    for kind, members in (("links", schema.links), ("errors", ERROR_NAMES)):
        for number, name in enumerate(members):
            names[f"{kind}_{number}"] = name
            fields.append((f"{kind}_{number}", msgspec.Raw | msgspec.UnsetType, msgspec.UNSET))
    missing = {} if "total" in names else {"total": None}
    return msgspec.defstruct("PageOfRows", fields, rename=names, namespace=missing)


# -- the decoder ------------------------------------------------------------------------------------------------------


class FastReader:
    """Read the bodies of one schema; every method returns None for a body that it declines.

    A body of another form than the likeliest is declined at its first worklog, so that asking twice costs little; and
    what an account has once, it has again: a form that another one had to stand in for is not tried any more.
    """

    MOST: Final = 64
    """So many names are learned, of one account's own fields, say."""

    def __init__(self, schema: Schema, finisher: Finisher) -> None:
        self._schema = schema
        self._learned = NOTHING
        self._forms = [_Form(schema, finisher, parts) for parts in finisher.forms]

    def learn(self, worklogs: Sequence[Worklog], unusual: Mapping[str, int]) -> None:
        """Make room for what is in worklogs that the fast decoder has declined.

        Args:
            worklogs: of one page.
            unusual: how many of them have a value that is not of the usual type, by the attribute. Of an object it is
                learned when half of them have one: objects are read slowly then.
        """
        met = {name for worklog in worklogs for name in worklog.extra}
        names = sorted(met.difference(self._schema.groups, self._learned.names))
        names = [name for name in names if _can_be_learned(name)][: self.MOST - len(self._learned.names)]
        alone = {attributes[0] for attributes in self._schema.groups.values() if len(attributes) == 1}
        odd = {name for name, times in unusual.items() if name in alone or 2 * times >= len(worklogs)}
        learned = Learned((*self._learned.names, *names), self._learned.wider | odd)
        if learned != self._learned:
            self._learned = learned
            self._forms = [
                _Form(self._schema, self._forms[0].finisher, parts, learned, all_have_them=all_have_them)
                for parts in self._parts(learned)
                for all_have_them in ((True, False) if learned.names else (False,))
            ]

    def _parts(self, learned: Learned) -> list[Parts]:
        """Return the parts of the forms that are still tried, each once, without the objects that are read slowly."""
        wide = {name for name, attributes in self._schema.groups.items() if not learned.wider.isdisjoint(attributes)}
        found: list[Parts] = []
        for form in self._forms:
            parts = {name: part for name, part in form.parts.items() if name not in wide}
            if parts not in found:
                found.append(parts)
        return found

    def rows(self, body: bytes) -> DecodedPage[Row] | None:
        """Read a page as rows."""
        return self._first(_Form.rows, body)

    def worklogs(self, body: bytes) -> DecodedPage[Worklog] | None:
        """Read a page as worklogs."""
        return self._first(_Form.worklogs, body)

    def worklog(self, body: bytes) -> tuple[Worklog, Sequence[Odd]] | None:
        """Read one worklog; return what is odd in it, too."""
        for form in self._forms:
            if (found := form.worklog(body)) is not None:
                return found
        return None

    def _first(self, read: Callable[[_Form, bytes], DecodedPage[T] | None], body: bytes) -> DecodedPage[T] | None:
        for number, form in enumerate(self._forms):
            if (found := read(form, body)) is not None:
                if number:
                    del self._forms[:number]
                return found
        return None


def _can_be_learned(name: str) -> bool:
    """Return whether msgspec allows it to be a field's name in JSON, and it is not one already."""
    return name.isprintable() and not {'"', "\\"}.intersection(name) and not name.startswith(_NO_MEMBER)


class _Form:
    """Read bodies whose objects inside a worklog have one form; return None for a body that has another."""

    def __init__(
        self,
        schema: Schema,
        finisher: Finisher,
        parts: Parts,
        learned: Learned = NOTHING,
        *,
        all_have_them: bool = False,
    ) -> None:
        self.parts = parts
        self.finisher = finisher
        self._schema = schema
        self._learned = learned
        self._all_have_them = all_have_them
        read_slowly = {name for name, attributes in schema.groups.items() if not learned.wider.isdisjoint(attributes)}
        self._may_keep = [member for member in schema.splits if member not in parts and member not in read_slowly]

    # Made when they are first needed: most processes need a few of them.

    @cached_property
    def _row(self) -> type[msgspec.Struct]:
        return row_struct(self._schema, self.parts, self._learned, all_have_them=self._all_have_them)

    @cached_property
    def _decode_page(self) -> Callable[[bytes], Any]:
        return msgspec.json.Decoder(page_struct(self._schema, self._row)).decode

    @cached_property
    def _decode_worklog(self) -> Callable[[bytes], Any]:
        return msgspec.json.Decoder(self._row).decode

    @cached_property
    def _widened(self) -> list[WideField | WideObject]:
        wider, found = self._learned.wider, list[WideField | WideObject]()
        for member, attributes in self._schema.groups.items():
            if not wider.isdisjoint(attributes):
                make = WideField if len(attributes) == 1 else WideObject
                found.append(make(self._schema, member, attributes, self._row))
        return found

    def _usual(self, rows: Sequence[Any]) -> list[Odd]:
        """Make usual values of those that are not, in place. Return what is odd."""
        return [odd for field in self._widened for odd in field.read(rows)]

    def _unknown(self, rows: Sequence[Any]) -> Iterator[Odd]:
        """Yield the unknown members of finished rows."""
        for number, name in enumerate(self._learned.names):
            if self._all_have_them:
                yield name, "unknown", json_type(getattr(rows[0], f"learned_{number}")), len(rows)
                continue
            values = [*map(attrgetter(f"learned_{number}"), rows)]
            if times := len(values) - values.count(msgspec.UNSET):
                example = next(value for value in values if value is not msgspec.UNSET)
                yield name, "unknown", json_type(example), times

    def _kept(self, rows: Sequence[Any]) -> Iterator[Odd]:
        """Yield the objects that were kept, as they hold more than is known of them, before any learned field is."""
        for member in self._may_keep:
            kept = [row.kept[member] for row in rows if member in row.kept]
            if kept:
                yield member, "unknown", json_type(kept[0]), len(kept)

    def _finished(self, rows: Sequence[Any], finish: Callable[[Sequence[Any]], T]) -> tuple[T, Sequence[Odd]]:
        """Finish rows; return what comes out, and what is odd.

        Raises:
            ValueError: one of them is for the converters.
        """
        if not (self._may_keep or self._learned is not NOTHING) or not rows:
            return finish(rows), ()
        odd = self._usual(rows)
        finished = finish(rows)
        return finished, [*odd, *self._kept(rows), *self._unknown(rows)]

    def _page(self, page: Any, items: list[T], odd: Sequence[Odd]) -> DecodedPage[T]:
        links = [getattr(page, f"links_{number}") for number in range(len(self._schema.links))]
        return DecodedPage(items, page.cursor, links, page.total, (page.errors_0, page.errors_1), odd)

    def rows(self, body: bytes) -> DecodedPage[Row] | None:
        try:
            page = self._decode_page(body)
            _, odd = self._finished(page.items, self.finisher.to_rows)
        except FAILURES:
            return None
        return self._page(page, page.items, odd)

    def worklogs(self, body: bytes) -> DecodedPage[Worklog] | None:
        try:
            page = self._decode_page(body)
            worklogs, odd = self._finished(page.items, self.finisher.to_worklogs)
        except FAILURES:
            return None
        self._give_extra(page.items, worklogs)
        return self._page(page, worklogs, odd)

    def worklog(self, body: bytes) -> tuple[Worklog, Sequence[Odd]] | None:
        try:
            rows = (self._decode_worklog(body),)
            worklogs, odd = self._finished(rows, self.finisher.to_worklogs)
        except FAILURES:
            return None
        self._give_extra(rows, worklogs)
        return worklogs[0], odd

    def _give_extra(self, rows: Sequence[Any], worklogs: Sequence[Worklog]) -> None:
        if self._learned.names:
            deque(map(_give_extra, worklogs, map(LearnedExtra, rows)), maxlen=0)


_give_extra: Final[Callable[[Worklog, LearnedExtra], None]] = Worklog.extra.__set__  # type: ignore[attr-defined] # a slot's: it passes over the lock
