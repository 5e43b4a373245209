"""The handlers of both versions' calls: synchronous functions from a request to a response, over the store.

`WorklogHandlers` is made once for each version; the differences between the two are in the `ApiVersion` it is given.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from attrs import frozen

from tracket_async.emulator import json_fields, v1, v2
from tracket_async.emulator.json_fields import Checker, checked, parse_object, text
from tracket_async.emulator.records import DAY, Worklog, parse_day, parse_instant
from tracket_async.emulator.routes import ApiError, ApiResponse, json_response
from tracket_async.emulator.settings import V1Order
from tracket_async.emulator.store import Bounds, Filter, Key, Order, Store, Version, read_cursor, write_cursor


@frozen(kw_only=True)
class ApiRequest:
    """The parts of a request that a handler needs.

    Attributes:
        path: The path as it was sent, for links.
        ident: The id in the path; empty where there is none.
        query: Query parameters, decoded.
        body: The whole body.
        only_user: The user whose worklogs the token may see; None for all.
    """

    path: str
    ident: str = ""
    query: Mapping[str, str]
    body: bytes = b""
    only_user: str | None = None


@frozen(kw_only=True)
class ApiVersion:
    """Shapes and names of one version.

    Attributes:
        column: The column of the store with the rendered worklog.
        noun: Name of a worklog in messages.
        read_new: Returns the columns of a worklog to create, from a body.
        read_changes: Returns the columns to change, from a body and the current worklog.
        render_updated: Renders the response of an update; None means the same as a read.
    """

    column: Version
    noun: str
    read_new: Callable[[Mapping[str, Any]], dict[str, Any]]
    read_changes: Callable[[Mapping[str, Any], Worklog], dict[str, Any]]
    render_updated: Callable[[Worklog], bytes] | None = None


V1: Final = ApiVersion(
    column="v1",
    noun="worklog",
    read_new=v1.read_new,
    read_changes=v1.read_changes,
    render_updated=v1.render_updated,
)
V2: Final = ApiVersion(column="v2", noun="time entry", read_new=v2.read_new, read_changes=v2.read_changes)


class WorklogHandlers:
    """Get, create, update and delete in one version.

    Args:
        store: The worklogs.
        version: The version.
        ids: Yields unused ids.
        now: Returns milliseconds since the epoch, by the server's clock.
    """

    def __init__(self, store: Store, version: ApiVersion, ids: Iterator[str], now: Callable[[], int]) -> None:
        self._store = store
        self._version = version
        self._ids = ids
        self._now = now

    def get(self, request: ApiRequest) -> ApiResponse:
        """Return one worklog."""
        return ApiResponse(body=self._rendered(self._visible(request)))

    def create(self, request: ApiRequest) -> ApiResponse:
        """Create a worklog: open, with the server's time as createdDate.

        The vendor's pages do not tell whether the status is 200 or 201; the emulator sends 200.
        """
        columns = self._version.read_new(parse_object(request.body))
        worklog = Worklog(id=next(self._ids), created=self._now(), **columns)
        self._store.insert(worklog)
        return ApiResponse(body=self._rendered(worklog.id), committed=True)

    def update(self, request: ApiRequest) -> ApiResponse:
        """Change one worklog, with the server's time as updatedDate; an empty set of changes is an update, too."""
        payload = parse_object(request.body)
        current = self._store.get(self._visible(request))
        if current is None:
            raise self._missing()
        changes = self._version.read_changes(payload, current)
        worklog = current._replace(updated=self._now(), **changes)
        self._store.replace(worklog)
        render = self._version.render_updated
        body = self._rendered(worklog.id) if render is None else render(worklog)
        return ApiResponse(body=body, committed=True)

    def delete(self, request: ApiRequest) -> ApiResponse:
        """Delete one worklog. 2.0 answers as 1.0 does, because the vendor shows no other response."""
        if not self._store.delete(self._visible(request)):
            raise self._missing()
        message = json_response({"message": f"The {self._version.noun} was deleted."})
        return ApiResponse(body=message.body, committed=True)

    def _visible(self, request: ApiRequest) -> str:
        ident = self._ident(request)
        if request.only_user is not None:
            worklog = self._store.get(ident)
            if worklog is not None and worklog.user != request.only_user:
                raise ApiError(403, f"this token may not see this {self._version.noun}")
        return ident

    def _ident(self, request: ApiRequest) -> str:
        try:
            return str(checked(text, request.ident, "id"))
        except ApiError:
            raise self._missing() from None

    def _rendered(self, ident: str) -> bytes:
        body = self._store.rendered(self._version.column, ident)
        if body is None:
            raise self._missing()
        return body

    def _missing(self) -> ApiError:
        return ApiError(404, f"there is no {self._version.noun} with this id")


_T = TypeVar("_T")

V2_DEFAULT_SIZE: Final = 25
V2_LARGEST_SIZE: Final = 100
V2_SORTS: Final[dict[str, Order]] = {
    "date": "date",
    "createdDate": "createdDate",
    "updatedDate": "updatedDate",
}
V2_DIRECTIONS: Final = {"desc": True, "asc": False}

_V1_ORDERS: Final[dict[V1Order, tuple[Order, bool]]] = {
    "ascending": ("date", False),
    "descending": ("date", True),
    "unsorted": ("unsorted", False),
}


def _first_instant(value: str) -> int:
    try:
        return parse_day(json_fields.text(value))
    except ValueError:
        return parse_instant(value)


def _last_instant(value: str) -> int:
    try:
        return parse_day(json_fields.text(value)) + DAY - 1
    except ValueError:
        return parse_instant(value)


def _last_of_day(value: str) -> int:
    return json_fields.day(value) + DAY - 1


V2_FILTERS: Final[dict[str, tuple[Checker, Checker]]] = {
    "date": (json_fields.day, _last_of_day),
    "createdDate": (_first_instant, _last_instant),
    "updatedDate": (_first_instant, _last_instant),
}
"""Fields that can be filtered, with the functions that read their lower and their upper bound."""


def list_v1(store: Store, page_size: int, v1_order: V1Order, request: ApiRequest) -> ApiResponse:
    """Return one page of worklogs from `startDate` on.

    The vendor's page does not tell whether a cursor remembers the startDate that it was given for; a request may
    repeat it, so it is read from the query, and nowhere else.

    Raises:
        ApiError: 400 for a malformed startDate or cursor.
    """
    order, descending = _V1_ORDERS[v1_order]
    low = _optional(request.query, "startDate", _first_instant)
    after = _after(request.query, "cursor", order, descending=descending)
    matching = Filter(date=Bounds(low=low), user=request.only_user)
    rows, key = store.page("v1", matching, order, descending=descending, after=after, size=page_size)
    body = b'{"worklogs":[' + b",".join(rows) + b"]"
    if key is not None:
        body += b',"next-cursor":"' + write_cursor(order, descending=descending, key=key).encode() + b'"'
    return ApiResponse(body=body + b"}")


def list_v2(store: Store, request: ApiRequest) -> ApiResponse:
    """Return one page of time entries.

    Raises:
        ApiError: 400, naming the parameter that is malformed or out of range.
    """
    query = request.query
    size = V2_DEFAULT_SIZE if "size" not in query else checked(_size, query["size"], "size")
    order = _choice(query, "sortBy", V2_SORTS, "date")
    descending = _choice(query, "sortType", V2_DIRECTIONS, "desc")
    bounds = {
        name: Bounds(
            low=_optional(query, f"fields.{name}.gte", first), high=_optional(query, f"fields.{name}.lte", last)
        )
        for name, (first, last) in V2_FILTERS.items()
    }
    matching = Filter(
        date=bounds["date"], created=bounds["createdDate"], updated=bounds["updatedDate"], user=request.only_user
    )
    after = _after(query, "after", order, descending=descending)
    rows, key = store.page("v2", matching, order, descending=descending, after=after, size=size)
    links = {"self": {"href": _href(request.path, query)}}
    tail: dict[str, Any] = {"_links": links}
    if key is not None:
        cursor = write_cursor(order, descending=descending, key=key)
        links["next"] = {"href": _href(request.path, {**query, "after": cursor})}
        tail["nextCursor"] = cursor
    head = f'{{"size":{size},"total":{store.total(matching)},"items":['
    body = b"".join((head.encode(), b",".join(rows), b"],", json.dumps(tail).encode()[1:]))
    return ApiResponse(body=body)


def list_categories(store: Store, request: ApiRequest) -> ApiResponse:  # noqa: ARG001 -- the signature of every handler
    """Return every category."""
    return json_response({"items": [{"id": ident, "name": name} for ident, name in store.categories()]})


def _size(value: str) -> int:
    if not value.isascii() or not value.isdigit() or not 1 <= int(value[:9]) <= V2_LARGEST_SIZE:
        raise ValueError(f"must be a whole number from 1 to {V2_LARGEST_SIZE}")
    return int(value)


def _optional(query: Mapping[str, str], name: str, check: Checker) -> Any:
    return None if name not in query else checked(check, query[name], name)


def _choice(query: Mapping[str, str], name: str, choices: Mapping[str, _T], default: str) -> _T:
    value = query.get(name, default)
    if value not in choices:
        raise ApiError(400, f"must be one of {', '.join(choices)}", name)
    return choices[value]


def _after(query: Mapping[str, str], name: str, order: Order, *, descending: bool) -> Key | None:
    key: Key | None = _optional(query, name, lambda cursor: read_cursor(cursor, order, descending=descending))
    return key


def _href(path: str, query: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(query, errors='replace')}" if query else path
