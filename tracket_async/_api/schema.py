"""The differences between the versions when a worklog is read or written, as data; and the reading of single members.

A *field type* says which JSON value an attribute has; a `Schema` says under which name. A name with a dot is a value
inside an object: ``customFields.category``. There is one list of a worklog's attributes, `Worklog` itself: everything
here is keyed by their names, and what is derived from here (converters, Structs) takes types and defaults from there.

What is not asked for in a body is skipped, and never judged by what it holds.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Generic, TypeAlias, TypeVar
from urllib.parse import unquote, urlsplit

import attrs
import msgspec

from tracket_async._api.oddities import Odd
from tracket_async._http.messages import Json, Response
from tracket_async._http.responses import excerpt, json_type, malformed, unreadable
from tracket_async._timestamps import read_day, read_moment, write_day, write_moment
from tracket_async.models import ApprovalStatus, BadRow, Worklog

FAILURES = (msgspec.DecodeError, ValueError, RecursionError)
"""The errors that msgspec raises on a body: no JSON, or of another type; text that is not UTF-8; nested too deeply."""

T = TypeVar("T")

_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])


class Members:
    """Read some members of a JSON object, each as its bytes, and skip the others."""

    def __init__(self, *names: str | None) -> None:
        self.names = tuple(name for name in names if name)
        fields = {f"f{index}": name for index, name in enumerate(self.names)}
        types = [(field, msgspec.Raw | msgspec.UnsetType, msgspec.UNSET) for field in fields]
        self._decoder = msgspec.json.Decoder(msgspec.defstruct("Members", types, rename=fields))

    def of(self, content: bytes | msgspec.Raw) -> dict[str, msgspec.Raw] | None:
        """Return those that are there; None if the content is no object. The content is known to be JSON."""
        try:
            found = self._decoder.decode(content)
        except msgspec.ValidationError:
            return None
        pairs = zip(self.names, msgspec.structs.astuple(found), strict=True)
        return {name: raw for name, raw in pairs if raw is not msgspec.UNSET}


_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def all_members(content: bytes | msgspec.Raw) -> dict[str, msgspec.Raw] | None:
    """Return all members of what is known to be JSON, each as its bytes; None if it is no object of readable names."""
    try:
        return _OBJECT.decode(content)
    except FAILURES:
        return None


def checked(response: Response) -> bytes:
    """Return the body, which is JSON from its beginning to its end.

    Raises:
        UnreadableResponseError: it is not.
    """
    try:
        msgspec.json.decode(response.body, type=msgspec.Raw)
    except FAILURES:
        pass
    else:
        return response.body
    raise unreadable(response)


def value(content: bytes | msgspec.Raw, path: str, response: Response) -> Json:
    """Return the value of what is known to be JSON.

    Raises:
        MalformedResponseError: a number in it is too large.
        UnreadableResponseError: text in it is not UTF-8, or it is nested too deeply.
    """
    try:
        decoded: Json = msgspec.json.decode(content)
    except msgspec.ValidationError:
        error: Exception = malformed(path, "a number that a computer can hold", "larger", status=response.status)
    except FAILURES:
        error = unreadable(response)
    else:
        return decoded
    raise error


def elements(content: bytes | msgspec.Raw, path: str, response: Response) -> list[msgspec.Raw]:
    """Return the elements of what is known to be JSON and should be an array, each as its bytes."""
    try:
        return _ELEMENTS.decode(content)
    except msgspec.ValidationError:
        pass
    raise malformed(path, "an array", json_type(value(content, path, response)), status=response.status)


@attrs.frozen(eq=False)
class DecodedPage(Generic[T]):
    """A page's contents.

    Attributes:
        items: the worklogs, as rows or as models, in the server's order.
        cursor: what stands where the cursor should; None or UNSET of nothing.
        links: the bytes of each member of the page that may hold its links; UNSET for one that is not there.
        total: what stands where the number of worklogs that match should; None of null or nothing.
        errors: the bytes of each member of `ERROR_NAMES`; UNSET for one that is not there.
        odd: what was odd in the worklogs, and is not counted yet.
        unusual: how many worklogs have a value for an attribute that the fast decoder declines.
        bad_rows: the rows that cannot be read.
    """

    items: list[T]
    cursor: Any
    links: Sequence[Any]
    total: Any
    errors: Sequence[Any] = ()
    odd: Sequence[Odd] = ()
    unusual: Mapping[str, int] = MappingProxyType({})
    bad_rows: Sequence[BadRow] = ()


ERROR_NAMES: Final = ("errors", "error")
"""The members of a page that may say that it is none (inferred)."""

AFTER = "after"
"""The one parameter of a next link that is taken from it."""


_WHOLE: Final = re.compile(r"\s*\d{1,18}(?:\.0*)?\s*", re.ASCII)


def whole_number(found: Json) -> int | None:
    """Return the whole number, at least 0, that a number or a text of digits is; None of anything else."""
    if isinstance(found, str) and _WHOLE.fullmatch(found):
        return int(float(found)) if "." in found else int(found)
    if isinstance(found, float) and 0 <= found < WHOLE and found.is_integer():
        return int(found)
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None


def read_cursor(found: Any, path: str, response: Response) -> str | None:
    """Return the cursor that a page holds: a text or a whole number. No page follows with the cursor 0.

    Raises:
        MalformedResponseError: it is something else.
    """
    if isinstance(found, str):
        return found
    if found is None or found is msgspec.UNSET:
        return None
    number = whole_number(found)
    if number is None:
        raise malformed(path, "a string, a whole number or null", json_type(found), status=response.status)
    return str(number) if number else None


def check_no_errors(errors: Iterable[Any], response: Response) -> None:
    """Check that a page without a worklog does not say why.

    Args:
        errors: the bytes of each member of `ERROR_NAMES`; UNSET for one that is not there. Null, false and what is
            empty say nothing.
        response: which it is in.

    Raises:
        MalformedResponseError: it does.
    """
    for name, raw in zip(ERROR_NAMES, errors, strict=True):
        if raw is not msgspec.UNSET and bytes(raw).strip() not in _SAYS_NOTHING:
            error = malformed(f"$.{name}", "empty in a list without worklogs", "an error", status=response.status)
            raise error.add(excerpt=excerpt(bytes(raw)))


_SAYS_NOTHING: Final = frozenset({b"null", b"false", b"[]", b"{}", b'""', b"0"})


def next_cursor(cursor: Any, links: Iterable[Any]) -> str | None:
    """Return the cursor of the page after this one; None if this is the last.

    Args:
        cursor: of the page, a string or None; ``UNSET`` where it has no member of that name. Null and the empty string
            say as much as no cursor.
        links: the bytes of each member of the page that may hold its links; ``UNSET`` for one that is not there. Where
            there is no cursor, the ``after`` of the first next link is taken, and nothing else of it (inferred: the
            vendor's example has both). Links that cannot be understood are none.
    """
    return cursor or next(filter(None, map(_cursor_of_link, links)), None)


def _cursor_of_link(links: Any) -> str | None:
    if links is msgspec.UNSET:
        return None
    try:
        following = _LINKS.decode(links).next
        link = following.href if isinstance(following, _Link) else following or ""
        query = urlsplit(link).query
    except FAILURES:
        return None
    # Not parse_qs: it takes a plus for a space, and a cursor in base64 has pluses and no spaces.
    given = (part.partition("=") for part in query.split("&"))
    return next((unquote(text) for name, _, text in given if name == AFTER and text), None)


class _Link(msgspec.Struct):
    href: str


class _Links(msgspec.Struct):
    next: _Link | str | None = None


_LINKS = msgspec.json.Decoder(_Links)


ATTRIBUTES: Final[Mapping[str, attrs.Attribute[Any]]] = {
    each.name: each for each in attrs.fields(Worklog) if each.name != "extra"
}
"""The attributes of a worklog that have a field type: all but ``extra``, which has what is in none of them."""

STATUSES: Final[Mapping[Any, ApprovalStatus]] = {
    form: status for status in ApprovalStatus for form in (status.value, status.value.upper(), status.value.title())
}
"""The approval statuses as they may be written. The page of 1.0 writes them small; other spellings are inferred."""

OTHER_SPELLINGS: Final[Mapping[Any, str]] = {
    form: status.value for form, status in STATUSES.items() if form != status.value
}
"""The statuses of spellings that are not their own."""

WHOLE = 2.0**53
"""Below it a float that is a whole number is that number exactly."""


class FieldError(ValueError):
    """A value is not of its field type; the text says what was expected."""


def read_string(value: Json) -> str:
    """Return the value, which is a string; raise `FieldError` otherwise."""
    if isinstance(value, str):
        return value
    raise FieldError("a string")


def _text(value: Json) -> str:
    if isinstance(value, float) and abs(value) < WHOLE and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else read_string(value)


def _status(value: Json) -> str:
    text = read_string(value)
    return STATUSES.get(text, text)


_NUMBER = re.compile(r"\s*[+-]?\d{1,300}(?:\.\d{0,300})?(?:[eE][+-]?\d{1,3})?\s*", re.ASCII)


def _number(value: Json) -> float:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise FieldError("a finite number")


def _moment(value: Json) -> dt.datetime:
    try:
        return read_moment(read_string(value))
    except ValueError:
        raise FieldError("a date-time (RFC 3339)") from None


def _day(value: Json) -> dt.datetime:
    try:
        return read_day(read_string(value))
    except ValueError:
        raise FieldError("a day (YYYY-MM-DD)") from None


def _object(value: Json) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise FieldError("an object")


def _same(value: Any) -> Any:
    return value


def _write_number(value: float) -> float:
    return int(value) if abs(value) < WHOLE and value == int(value) else value


@attrs.frozen
class FieldType:
    """The JSON values of an attribute, and how they are read and written.

    Attributes:
        read: from a JSON value, never null, to the attribute's; raises `FieldError`. Tolerant.
        write: from the attribute's value, never None, to a JSON value.
        wire_type: the type that a well-behaved server sends, for the fast decoder. What msgspec accepts as this type,
            ``read`` accepts too and reads alike; what it does not accept may still be accepted by ``read``.
        usual: the types of the JSON values that are nothing to tell anybody.
    """

    read: Callable[[Any], Any]
    wire_type: Any
    write: Callable[[Any], Any] = _same
    usual: tuple[type, ...] = (str,)


IDENTIFIER = FieldType(_text, str)
TEXT = FieldType(_text, str)
STATUS = FieldType(_status, str, str)
NUMBER = FieldType(_number, float, _write_number, (int, float))
MOMENT = FieldType(_moment, dt.datetime, write_moment)
DAY = FieldType(_day, str, write_day)
OBJECT = FieldType(_object, dict[str, Any], usual=(dict,))

FIELD_TYPES: Final[Mapping[str, FieldType]] = {
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
"""The field type of each attribute, where a schema does not say otherwise."""


EXPECTED: Final = frozenset({"user_id"})
"""The attributes whose absence is told, although a worklog can be without."""

ESSENTIAL: Final = frozenset(name for name, each in ATTRIBUTES.items() if each.default is attrs.NOTHING)
"""The attributes without which there is no worklog: id, date, minutes."""


Split: TypeAlias = Callable[[Json], tuple[Json, ...]]
"""Return the values, and last whether the object holds nothing else."""


def _group(self: Schema) -> Mapping[str, tuple[str, ...]]:
    groups: dict[str, tuple[str, ...]] = {}
    for attribute in ATTRIBUTES:
        if attribute in self.names:
            member = self.names[attribute].partition(".")[0]
            groups[member] = (*groups.get(member, ()), attribute)
    return groups


@attrs.frozen(kw_only=True, eq=False)
class Schema:
    """The names and field types with which one version writes worklogs and pages of them.

    There is one for each version, equal to itself alone.

    Attributes:
        version: ``"1.0"`` or ``"2.0"``.
        names: attribute to wire name, in the order in which the server writes them. An attribute that is not here does
            not exist in this version. ``a.b`` is the member ``b`` of the object ``a``; if another attribute is ``a``
            itself, it has the rest of that object.
        items: where a page has its worklogs.
        cursor: where a page has the cursor of the page after it.
        total: where a page says how many worklogs match, None when it does not.
        links: the members of a page that may hold its links.
        field_types: the field type of each attribute.
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
    links: tuple[str, ...] = attrs.field(default=(), repr=False)
    field_types: Mapping[str, FieldType] = attrs.field(default=FIELD_TYPES, repr=False)
    splits: Mapping[str, Split] = attrs.field(factory=dict[str, Split], repr=False)
    omitted: frozenset[str] = attrs.field(default=frozenset(), repr=False)

    groups: Mapping[str, tuple[str, ...]] = attrs.field(
        default=attrs.Factory(_group, takes_self=True), init=False, repr=False
    )

    def holder(self, attributes: Sequence[str]) -> str:
        """Return the attribute in whose field a member with these stands: the one that is the object, if one is."""
        return next((name for name in attributes if not leaf(self.names[name])), attributes[-1])


def flatten(schema: Schema, content: Mapping[str, Json]) -> tuple[dict[str, Json], list[str]]:
    """Return a worklog as the server sends it, made one level of the names that the schema knows.

    Also return the members that hold more than that.
    """
    flat: dict[str, Json] = {}
    incomplete: list[str] = []
    for member, attributes in schema.groups.items():
        if member not in content:
            continue
        names = [schema.names[attribute] for attribute in attributes]
        value = content[member]
        if member in schema.splits:
            *parts, complete = schema.splits[member](value)
            flat.update(zip(names, parts, strict=True))
            if not complete:
                incomplete.append(member)
        elif isinstance(value, dict) and len(names) > 1:
            rest = {**value}
            flat.update({name: rest.pop(leaf(name), None) for name in names if leaf(name)})
            flat[member] = rest
        else:
            flat[member] = value
    return flat, incomplete


def nest_unreadable(schema: Schema, unreadable: Mapping[str, Json], content: Mapping[str, Json]) -> dict[str, Any]:
    """Return values that cannot be read, by their names with dots, under the names of a worklog's own level.

    Args:
        schema: of the worklog.
        unreadable: the values.
        content: the worklog as it was sent; of an object whose form is not certain, all of it is kept.
    """
    nested: dict[str, Any] = {}
    for where, found in unreadable.items():
        member, _, inner = where.partition(".")
        if member in schema.splits:
            nested[member] = content[member]
        elif inner:
            nested[member] = {**nested.get(member, {}), inner: found}
        else:
            nested[member] = found
    return nested


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Undo `flatten`, as far as that is possible."""
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
    """Return the last part of a name with a dot, ``""`` of one without."""
    return name.partition(".")[2]
