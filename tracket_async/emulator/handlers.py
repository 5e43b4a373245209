"""What each call of the API does to the store: synchronous, with an answer or a refusal as its result.

`Operations` is made once for each version; what differs between the two is in the `Dialect` it is given.

How each version lists: query parameters to a page, a page to JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from attrs import frozen

from tracket_async.emulator import json_fields as fields
from tracket_async.emulator import v1, v2
from tracket_async.emulator.json_fields import Checker, checked, parse_object, text
from tracket_async.emulator.records import DAY, Worklog, parse_day, parse_instant
from tracket_async.emulator.routes import Answer, Refusal, json_answer
from tracket_async.emulator.settings import V1Order
from tracket_async.emulator.store import Bounds, Filter, Key, Order, Store, Wire, read_cursor, write_cursor


@frozen(kw_only=True)
class Asked:
    """A request, as far as an operation needs it.

    Attributes:
        path: The path as it was sent, for links.
        ident: The id in the path; empty where there is none.
        query: Query parameters, decoded.
        body: The whole body.
    """

    path: str
    ident: str = ""
    query: Mapping[str, str]
    body: bytes = b""


@frozen(kw_only=True)
class Dialect:
    """One version's wire shapes.

    Attributes:
        wire: The column with the rendering.
        noun: What a worklog is called.
        read_new: Columns of a worklog to create, from a body.
        read_changes: Columns to change, from a body and the current worklog.
        render_updated: What an update answers; None means the same as a read.
    """

    wire: Wire
    noun: str
    read_new: Callable[[Mapping[str, Any]], dict[str, Any]]
    read_changes: Callable[[Mapping[str, Any], Worklog], dict[str, Any]]
    render_updated: Callable[[Worklog], bytes] | None = None


V1: Final = Dialect(
    wire="v1",
    noun="worklog",
    read_new=v1.read_new,
    read_changes=v1.read_changes,
    render_updated=v1.render_updated,
)
V2: Final = Dialect(wire="v2", noun="time entry", read_new=v2.read_new, read_changes=v2.read_changes)


class Operations:
    """Get, create, update and delete in one version.

    Args:
        store: Where the worklogs are.
        dialect: The version.
        ids: Gives the next unused id.
        now: Milliseconds since the epoch, of the server's clock.
    """

    def __init__(self, store: Store, dialect: Dialect, ids: Iterator[str], now: Callable[[], int]) -> None:
        self._store = store
        self._dialect = dialect
        self._ids = ids
        self._now = now

    def get(self, asked: Asked) -> Answer:
        """One worklog."""
        return Answer(body=self._rendered(self._ident(asked)))

    def create(self, asked: Asked) -> Answer:
        """A new worklog, open, created now.

        The vendor's pages do not tell whether the status is 200 or 201; 200 is what a client must expect least.
        """
        columns = self._dialect.read_new(parse_object(asked.body))
        worklog = Worklog(id=next(self._ids), created=self._now(), **columns)
        self._store.insert(worklog)
        return Answer(body=self._rendered(worklog.id), committed=True)

    def update(self, asked: Asked) -> Answer:
        """Changes to one worklog, updated now; an empty set of changes counts as an update, too."""
        payload = parse_object(asked.body)
        current = self._store.get(self._ident(asked))
        if current is None:
            raise self._missing()
        changes = self._dialect.read_changes(payload, current)
        worklog = current._replace(updated=self._now(), **changes)
        self._store.replace(worklog)
        render = self._dialect.render_updated
        body = self._rendered(worklog.id) if render is None else render(worklog)
        return Answer(body=body, committed=True)

    def delete(self, asked: Asked) -> Answer:
        """One worklog less. 2.0 answers as 1.0 does, for the vendor shows no other."""
        if not self._store.delete(self._ident(asked)):
            raise self._missing()
        message = json_answer({"message": f"The {self._dialect.noun} was deleted."})
        return Answer(body=message.body, committed=True)

    def _ident(self, asked: Asked) -> str:
        try:
            return str(checked(text, asked.ident, "id"))
        except Refusal:
            raise self._missing() from None

    def _rendered(self, ident: str) -> bytes:
        body = self._store.rendered(self._dialect.wire, ident)
        if body is None:
            raise self._missing()
        return body

    def _missing(self) -> Refusal:
        return Refusal(404, f"there is no {self._dialect.noun} with this id")


_T = TypeVar("_T")

V2_DEFAULT_SIZE: Final = 25
V2_LARGEST_SIZE: Final = 100
V2_SORTS: Final[dict[str, Order]] = {
    "date": "date",
    "createdDate": "createdDate",
    "updatedDate": "updatedDate",
}
V2_DIRECTIONS: Final = {"desc": True, "asc": False}

_V1_WALKS: Final[dict[V1Order, tuple[Order, bool]]] = {
    "ascending": ("date", False),
    "descending": ("date", True),
    "unsorted": ("unsorted", False),
}


def _first_instant(value: str) -> int:
    try:
        return parse_day(fields.text(value))
    except ValueError:
        return parse_instant(value)


def _last_instant(value: str) -> int:
    try:
        return parse_day(fields.text(value)) + DAY - 1
    except ValueError:
        return parse_instant(value)


def _last_of_day(value: str) -> int:
    return fields.day(value) + DAY - 1


V2_FILTERS: Final[dict[str, tuple[Checker, Checker]]] = {
    "date": (fields.day, _last_of_day),
    "createdDate": (_first_instant, _last_instant),
    "updatedDate": (_first_instant, _last_instant),
}
"""Fields that can be filtered, with what reads their lower and their upper bound."""


def list_v1(store: Store, page_size: int, v1_order: V1Order, asked: Asked) -> Answer:
    """One page of worklogs from `startDate` on.

    The page of the vendor does not tell whether a cursor remembers the startDate that it was given for; a request
    may repeat it, so it is taken from the query, and nowhere else.

    Raises:
        Refusal: 400 for a malformed startDate or cursor.
    """
    order, descending = _V1_WALKS[v1_order]
    low = _optional(asked.query, "startDate", _first_instant)
    after = _after(asked.query, "cursor", order, descending=descending)
    matching = Filter(date=Bounds(low=low))
    rows, key = store.page("v1", matching, order, descending=descending, after=after, size=page_size)
    body = b'{"worklogs":[' + b",".join(rows) + b"]"
    if key is not None:
        body += b',"next-cursor":"' + write_cursor(order, descending=descending, key=key).encode() + b'"'
    return Answer(body=body + b"}")


def list_v2(store: Store, asked: Asked) -> Answer:
    """One page of time entries.

    Raises:
        Refusal: 400, naming the parameter that is malformed or out of range.
    """
    query = asked.query
    size = V2_DEFAULT_SIZE if "size" not in query else checked(_size, query["size"], "size")
    order = _choice(query, "sortBy", V2_SORTS, "date")
    descending = _choice(query, "sortType", V2_DIRECTIONS, "desc")
    bounds = {
        name: Bounds(
            low=_optional(query, f"fields.{name}.gte", first), high=_optional(query, f"fields.{name}.lte", last)
        )
        for name, (first, last) in V2_FILTERS.items()
    }
    matching = Filter(date=bounds["date"], created=bounds["createdDate"], updated=bounds["updatedDate"])
    after = _after(query, "after", order, descending=descending)
    rows, key = store.page("v2", matching, order, descending=descending, after=after, size=size)
    links = {"self": {"href": _href(asked.path, query)}}
    tail: dict[str, Any] = {"_links": links}
    if key is not None:
        cursor = write_cursor(order, descending=descending, key=key)
        links["next"] = {"href": _href(asked.path, {**query, "after": cursor})}
        tail["nextCursor"] = cursor
    head = f'{{"size":{size},"total":{store.total(matching)},"items":['
    body = b"".join((head.encode(), b",".join(rows), b"],", json.dumps(tail).encode()[1:]))
    return Answer(body=body)


def list_categories(store: Store, asked: Asked) -> Answer:  # noqa: ARG001 -- the shape of every operation
    """Every category."""
    return json_answer({"items": [{"id": ident, "name": name} for ident, name in store.categories()]})


def _size(value: str) -> int:
    if not value.isascii() or not value.isdigit() or not 1 <= int(value[:9]) <= V2_LARGEST_SIZE:
        raise ValueError(f"must be a whole number from 1 to {V2_LARGEST_SIZE}")
    return int(value)


def _optional(query: Mapping[str, str], name: str, check: Checker) -> Any:
    return None if name not in query else checked(check, query[name], name)


def _choice(query: Mapping[str, str], name: str, choices: Mapping[str, _T], default: str) -> _T:
    value = query.get(name, default)
    if value not in choices:
        raise Refusal(400, f"must be one of {', '.join(choices)}", name)
    return choices[value]


def _after(query: Mapping[str, str], name: str, order: Order, *, descending: bool) -> Key | None:
    key: Key | None = _optional(query, name, lambda cursor: read_cursor(cursor, order, descending=descending))
    return key


def _href(path: str, query: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(query, errors='replace')}" if query else path
