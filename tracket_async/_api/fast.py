"""The fast decoder: bytes to rows or worklogs by msgspec, for what a well-behaved server sends and only for that.

It takes a body or declines it, and never says why: the caller then asks the cattrs converters (``converters.py``),
which read what is merely unusual and name what is wrong. What it takes, the converters would read alike; a property
test holds the two equal on any input.

1. msgspec decodes and validates in C, into Structs that are derived from the attributes of `Worklog` and a `Schema`.
   So there is no second definition of a worklog here.
2. A *finisher*, written by hand for each version (``v1.py``, ``v2.py``), does what is left: moments to UTC, days to
   moments, the spelling of statuses, the members of objects inside a worklog to their attributes.

3. A member that no Struct has makes it decline. Its name is then *learned*: the Structs are derived once more, with a
   field for it, and the finished worklogs are given an `Worklog.extra` of these fields. So a server that has such a
   member in every row is read fast from the second page on, and one that has none pays nothing.

A *row* is such a Struct when it is finished: its fields are the attributes of `Worklog`, in their order, with values
that are equal to those of the `Worklog`. It costs half of a model, and the garbage collector does not follow it.

A `Worklog` is filled through `Unfrozen`, a subclass that can be assigned to, and is then declared to be a `Worklog`,
which Python allows between classes of one memory layout. The frozen class's own ``__init__`` must go through
``object.__setattr__`` for each attribute; for a page of 100 that alone costs as much as decoding it does. Nothing is
passed over thereby: `Worklog` has no validators, converters or ``__post_init__`` (a test holds that, too).
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol, TypeVar, cast

import attrs
import msgspec

from tracket_async._api.schema import ATTRIBUTES, ERROR_NAMES, FAILURES, OBJECT, DecodedPage, Schema, leaf
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


_NAMES: Final = (*ATTRIBUTES, "extra")
_PlainRow: Final = msgspec.defstruct("PlainRow", [(name, Any) for name in _NAMES], gc=False)
_INDEX: Final = {name: index for index, name in enumerate(_NAMES)}


def row_of(worklog: Worklog) -> Row:
    """Return the worklog as a row."""
    return cast("Row", _PlainRow(*attrs.astuple(worklog, recurse=False)))


def columns_of(rows: Sequence[Row], names: Sequence[str]) -> list[Sequence[Any]]:
    """Return the columns of these names, each with the values of all rows."""
    # Not strict: rows whose Structs have learned fields are longer.
    columns = [*zip(*map(msgspec.structs.astuple, cast("Any", rows)), strict=False)] or [()] * len(_INDEX)
    return [columns[_INDEX[name]] for name in names]


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


def row_struct(schema: Schema, parts: Parts, learned: Sequence[str] = ()) -> type[msgspec.Struct]:
    """Return the Struct of a worklog, whose fields are the attributes of `Worklog` in their order.

    A member of the worklog that is an object stands in the field of one of the attributes that are inside of it.
    Behind the attributes are the fields learned_0, learned_1, ...

    Args:
        schema: how a worklog is written.
        parts: the types of objects inside a worklog; any other object stays as it is.
        learned: the names of further members.
    """
    types: dict[str, Any] = {}
    names: dict[str, str] = {}
    for member, attributes in schema.groups.items():
        # The attribute that is the object itself, if one is.
        holder = next((name for name in attributes if not leaf(schema.names[name])), attributes[-1])
        names[holder] = member
        if len(attributes) == 1:
            types[holder] = schema.field_types[holder].wire_type
        else:
            types[holder] = parts.get(member, Any if member in schema.splits else OBJECT.wire_type)
    fields: list[Any] = []
    for name, attribute in ATTRIBUTES.items():
        if name not in types:
            names[name] = f"{_NO_MEMBER}{name})"
            fields.append((name, _NEVER, NO_FIELDS if schema.field_types[name] is OBJECT else None))
        elif attribute.default is attrs.NOTHING:
            fields.append((name, types[name]))
        else:
            fields.append((name, types[name] | None, None))
    names["extra"] = f"{_NO_MEMBER}extra)"
    fields.append(("extra", _NEVER, NO_EXTRA))
    for number, name in enumerate(learned):
        names[f"learned_{number}"] = name
        fields.append((f"learned_{number}", Any, msgspec.UNSET))
    # Nothing that comes out of JSON can hold itself, so the garbage collector need not follow these.
    return msgspec.defstruct("Row", fields, rename=names, gc=False, kw_only=True, forbid_unknown_fields=True)


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
        self._learned: tuple[str, ...] = ()
        self._forms = [_Form(schema, finisher, parts) for parts in finisher.forms]

    @property
    def keeps_extra(self) -> bool:
        """Return whether what is read can have an ``extra``."""
        return bool(self._learned) or not self._forms[0].parts

    def learn(self, worklogs: Iterable[Worklog]) -> None:
        """Add fields for the unknown members of worklogs that the fast decoder has declined."""
        met = {name for worklog in worklogs for name in worklog.extra}
        names = sorted(met.difference(self._schema.groups, self._learned))
        names = [name for name in names if _can_be_learned(name)][: self.MOST - len(self._learned)]
        if names:
            self._learned = (*self._learned, *names)
            self._forms = [form.with_learned(self._learned) for form in self._forms]

    def rows(self, body: bytes) -> DecodedPage[Row] | None:
        """Read a page as rows."""
        return self._first(_Form.rows, body)

    def worklogs(self, body: bytes) -> DecodedPage[Worklog] | None:
        """Read a page as worklogs."""
        return self._first(_Form.worklogs, body)

    def worklog(self, body: bytes) -> Worklog | None:
        """Read one worklog."""
        for form in self._forms:
            if (worklog := form.worklog(body)) is not None:
                return worklog
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

    def __init__(self, schema: Schema, finisher: Finisher, parts: Parts, learned: tuple[str, ...] = ()) -> None:
        self.parts = parts
        self._schema = schema
        self._finisher = finisher
        self._learned = learned

    def with_learned(self, learned: tuple[str, ...]) -> _Form:
        """Return this form with other learned names."""
        return _Form(self._schema, self._finisher, self.parts, learned)

    # Made when they are first needed: most processes need a few of them.

    @cached_property
    def _row(self) -> type[msgspec.Struct]:
        return row_struct(self._schema, self.parts, self._learned)

    @cached_property
    def _decode_page(self) -> Callable[[bytes], Any]:
        return msgspec.json.Decoder(page_struct(self._schema, self._row)).decode

    @cached_property
    def _decode_worklog(self) -> Callable[[bytes], Any]:
        return msgspec.json.Decoder(self._row).decode

    @cached_property
    def _learned_fields(self) -> list[Callable[[Any], Any]]:
        return [attrgetter(f"learned_{number}") for number in range(len(self._learned))]

    def _give_extra(self, rows: Sequence[Any], items: Sequence[Any], give: Callable[[Any, Any], None]) -> Sequence[str]:
        # Column by column, in C: this runs for every worklog of every page.
        names, unset = self._learned, msgspec.UNSET
        columns = [[*map(field, rows)] for field in self._learned_fields]
        some_lack_one = any(unset in column for column in columns)
        if len(names) == 1 and not some_lack_one:
            [name], [column] = names, columns
            learned: list[dict[str, Any]] = [{name: value} for value in column]
        elif some_lack_one:
            learned = [
                {name: value for name, value in zip(names, values, strict=True) if value is not unset}
                for values in zip(*columns, strict=True)
            ]
        else:
            learned = [dict(zip(names, values)) for values in zip(*columns)]  # noqa: B905 - strict costs half as much again
        if some_lack_one or (not self.parts and any(map(_extra_of, items))):
            for item, extra in zip(items, learned, strict=True):
                give(item, ReadOnlyDict({**extra, **item.extra}) if extra else item.extra)
        else:
            deque(map(give, items, map(ReadOnlyDict, learned)), maxlen=0)
            return names
        return ()

    def _decoded(self, page: Any, items: list[T], give: Callable[[Any, Any], None]) -> DecodedPage[T]:
        unknown = self._give_extra(page.items, items, give) if self._learned and items else ()
        links = [getattr(page, f"links_{number}") for number in range(len(self._schema.links))]
        return DecodedPage(items, page.cursor, links, page.total, (page.errors_0, page.errors_1), unknown)

    def rows(self, body: bytes) -> DecodedPage[Row] | None:
        try:
            page = self._decode_page(body)
            self._finisher.to_rows(page.items)
        except FAILURES:
            return None
        return self._decoded(page, page.items, _give_row)

    def worklogs(self, body: bytes) -> DecodedPage[Worklog] | None:
        try:
            page = self._decode_page(body)
            worklogs = self._finisher.to_worklogs(page.items)
        except FAILURES:
            return None
        return self._decoded(page, worklogs, _give_worklog)

    def worklog(self, body: bytes) -> Worklog | None:
        try:
            row = self._decode_worklog(body)
            worklogs = self._finisher.to_worklogs((row,))
        except FAILURES:
            return None
        if self._learned:
            self._give_extra((row,), worklogs, _give_worklog)
        return worklogs[0]


_extra_of: Final = attrgetter("extra")


def _give_row(row: Any, extra: ReadOnlyDict) -> None:
    row.extra = extra


_give_worklog: Final[Callable[[Any, ReadOnlyDict], None]] = Worklog.extra.__set__  # type: ignore[attr-defined] # a slot's: it passes over the lock
