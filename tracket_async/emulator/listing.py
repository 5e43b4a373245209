"""How each version lists: query parameters to a page, a page to JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from tracket_async.emulator import fields
from tracket_async.emulator.answers import Answer, Refusal, json_answer
from tracket_async.emulator.fields import Checker, checked
from tracket_async.emulator.operations import Asked
from tracket_async.emulator.query import Bounds, Filter, Key, Order, read_cursor, write_cursor
from tracket_async.emulator.settings import V1Order
from tracket_async.emulator.store import Store
from tracket_async.emulator.times import DAY, parse_day, parse_instant

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
