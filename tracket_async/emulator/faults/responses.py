"""Faults of the response: fixed responses in place of the API's, and payload faults that modify the true one.

A fixed response is a status, a page of HTML, malformed or far too much JSON. With `commit`, the request is carried out
first and its true response thrown away: the write has happened, and the client is told something else.

A payload fault knows both versions' keys and changes the JSON that goes out, never the store. A response that is an
error, or has nothing to modify, passes as it is.
"""

from __future__ import annotations

import json
import zlib
from abc import abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar, Final

from aiohttp import web
from attrs import evolve, field, frozen
from attrs.validators import and_, ge, instance_of, le, optional

from tracket_async.emulator.faults.base import Exchange, ResponseFault
from tracket_async.emulator.handlers import ApiRequest
from tracket_async.emulator.routes import JSON, ApiResponse, json_response
from tracket_async.emulator.store import equivalent_cursor, initial_cursor

_HTML: Final = (
    b"<!DOCTYPE html>\n<html><head><title>%d</title></head>"
    b"<body><h1>We will be right back</h1><p>The service is being maintained.</p></body></html>\n"
)
_AN_INDEX: Final[Any] = optional(ge(0))
_a_status: Final = and_(instance_of(int), ge(200), le(599))


def _text_or_none(value: object) -> str | None:
    return None if value is None else str(value)


@frozen(kw_only=True)
class _FixedResponse(ResponseFault):
    commit: bool = False

    @abstractmethod
    def response(self) -> ApiResponse:
        """Return the response that is sent."""

    async def apply(self, exchange: Exchange) -> web.StreamResponse:
        """Carry the request out, if that is wanted, and send the fixed response."""
        committed = self.commit and (await exchange.execute()).committed
        return exchange.respond(evolve(self.response(), committed=committed))


@frozen
class Status(_FixedResponse):
    """An error status (or any other) with a JSON body.

    Attributes:
        status: From 200 to 599.
        retry_after: Value of a Retry-After header: seconds, a date, or nonsense; None for no header.
        headers: Further headers.
        body: The body; None for ``{"error": ...}``.
        content_type: Of the body.
        commit: Whether the request is carried out first.
    """

    kind: ClassVar[str] = "status"

    status: int = field(validator=_a_status)
    retry_after: str | None = field(default=None, kw_only=True, converter=_text_or_none)
    headers: Mapping[str, str] = field(factory=dict[str, str], kw_only=True, hash=False)
    body: str | None = field(default=None, kw_only=True)
    content_type: str = field(default=JSON, kw_only=True)

    def response(self) -> ApiResponse:
        """Return the status and its body."""
        headers = tuple(self.headers.items())
        if self.retry_after is not None:
            headers += (("Retry-After", self.retry_after),)
        if self.body is None:
            return json_response({"error": f"a fault: {self.status}"}, status=self.status, headers=headers)
        return ApiResponse(status=self.status, body=self.body.encode(), content_type=self.content_type, headers=headers)


@frozen
class RefusedCursor(_FixedResponse):
    """An error for the cursor, as when it is too old. Meant for rules with ``cursor=True``.

    Attributes:
        status: 400 or 410, say.
        commit: Whether the request is carried out first.
    """

    kind: ClassVar[str] = "refused-cursor"

    status: int = field(default=400, validator=_a_status)

    def response(self) -> ApiResponse:
        """Return the error."""
        return json_response({"error": "after has expired; start again", "field": "after"}, status=self.status)


@frozen
class Html(_FixedResponse):
    """A page of HTML where JSON was expected, as gateways send.

    Attributes:
        status: 200 for the worst of them.
        commit: Whether the request is carried out first.
    """

    kind: ClassVar[str] = "html"

    status: int = field(default=502, validator=_a_status)

    def response(self) -> ApiResponse:
        """Return the page."""
        return ApiResponse(status=self.status, body=_HTML % self.status, content_type="text/html; charset=utf-8")


@frozen
class Redirect(_FixedResponse):
    """A redirect to elsewhere, which a client with a secret must not follow.

    Attributes:
        location: Where to.
        status: 301, 302, 303, 307 or 308.
        commit: Whether the request is carried out first.
    """

    kind: ClassVar[str] = "redirect"

    location: str
    status: int = field(default=307, validator=_a_status)

    def response(self) -> ApiResponse:
        """Return the redirect."""
        return ApiResponse(status=self.status, headers=(("Location", self.location),))


@frozen
class MalformedJson(_FixedResponse):
    """A body that claims to be JSON.

    Attributes:
        body: The text.
        status: Its status.
        commit: Whether the request is carried out first.
    """

    kind: ClassVar[str] = "malformed-json"

    body: str = '{"items": [{"id": "1", "minutes": NaN, }'
    status: int = field(default=200, validator=_a_status)

    def response(self) -> ApiResponse:
        """Return the body."""
        return ApiResponse(status=self.status, body=self.body.encode())


@frozen
class DeepJson(_FixedResponse):
    """Valid JSON that is nested very deeply.

    Attributes:
        depth: Levels of arrays.
        commit: Whether the request is carried out first.
    """

    kind: ClassVar[str] = "deep-json"

    depth: int = field(default=100_000, validator=ge(1))

    def response(self) -> ApiResponse:
        """Return the body, under the keys of both versions' lists."""
        nested = b"[" * self.depth + b"]" * self.depth
        return ApiResponse(body=b'{"items":' + nested + b',"worklogs":' + nested + b"}")


@frozen
class HugeBody(_FixedResponse):
    """A valid, empty page with a great deal of white space in it.

    Attributes:
        size: Length of the body in bytes.
        gzip: Send it compressed, about a thousandth of that: a bomb.
        commit: Whether the request is carried out first.
    """

    kind: ClassVar[str] = "huge-body"

    size: int = field(default=64 << 20, validator=ge(64))
    gzip: bool = False

    def response(self) -> ApiResponse:
        """Return the body."""
        if self.gzip:
            return ApiResponse(body=_gzip_bomb(self.size), headers=(("Content-Encoding", "gzip"),))
        return ApiResponse(body=_PADDED_HEAD + b" " * (self.size - len(_PADDED_HEAD) - 1) + b"}")


_PADDED_HEAD: Final = b'{"items":[],"worklogs":[],"size":0,"total":0'
_BLOCK: Final = b" " * (1 << 20)


@lru_cache(maxsize=4)
def _gzip_bomb(size: int) -> bytes:
    compressor = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    blocks, rest = divmod(size - len(_PADDED_HEAD) - 1, len(_BLOCK))
    parts = [compressor.compress(_PADDED_HEAD)]
    parts.extend(compressor.compress(_BLOCK) for _ in range(blocks))
    parts += [compressor.compress(_BLOCK[:rest]), compressor.compress(b"}"), compressor.flush()]
    return b"".join(parts)


_ROWS_AND_CURSOR: Final[tuple[tuple[str, str], ...]] = (("worklogs", "next-cursor"), ("items", "nextCursor"))
_FIRST_ERROR: Final = 400


@frozen
class ContentType(ResponseFault):
    """The right body under a wrong Content-Type.

    Attributes:
        value: The header's value.
    """

    kind: ClassVar[str] = "content-type"

    value: str = "text/html; charset=utf-8"

    async def apply(self, exchange: Exchange) -> web.StreamResponse:
        """Send the response under the wrong type."""
        return exchange.respond(evolve(await exchange.execute(), content_type=self.value))


@frozen
class PayloadFault(ResponseFault):
    """A fault that modifies the true response."""

    def change(self, request: ApiRequest) -> ApiRequest:
        """Return the request that is carried out: the one that came."""
        return request

    @abstractmethod
    def modify(self, page: Page) -> None:
        """Change the payload in place."""

    async def apply(self, exchange: Exchange) -> web.StreamResponse:
        """Send the response with the changed payload."""
        response = await exchange.execute(self.change)
        if response.status < _FIRST_ERROR:
            response = self._modified(response, exchange.received.cursor)
        return exchange.respond(response)

    def _modified(self, response: ApiResponse, cursor: str | None) -> ApiResponse:
        payload: dict[str, Any] = json.loads(response.body)
        self.modify(Page(payload, cursor))
        return evolve(response, body=json.dumps(payload, ensure_ascii=False).encode())


class Page:
    """A payload of either version: a page of rows, or one worklog, which counts as a page's only row.

    Args:
        payload: The JSON object; it is changed in place.
        cursor: The cursor that was asked with; None for a first page.
    """

    def __init__(self, payload: dict[str, Any], cursor: str | None) -> None:
        self.payload = payload
        self.cursor = cursor
        self._rows_key, self._next_key = next((keys for keys in _ROWS_AND_CURSOR if keys[0] in payload), ("", ""))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Return the worklogs; changes to the list itself count for a page only."""
        return self.payload[self._rows_key] if self._rows_key else [self.payload]

    @property
    def next_cursor(self) -> str | None:
        """Return the cursor of the next page, or None."""
        cursor: str | None = self.payload.get(self._next_key)
        return cursor

    @next_cursor.setter
    def next_cursor(self, cursor: str) -> None:
        if self._rows_key:
            self.payload[self._next_key] = cursor

    def select(self, number: int | None) -> list[dict[str, Any]]:
        """Return the worklog at that place, counted from 0, or all of them for None; none past the end."""
        return self.rows if number is None else self.rows[number : number + 1]


@frozen
class RepeatedCursor(PayloadFault):
    """A next cursor that is the one of the request, so that the walk stands still; a first page is left alone."""

    kind: ClassVar[str] = "repeated-cursor"

    def modify(self, page: Page) -> None:
        """Set the next cursor to the one of the request."""
        if page.cursor is not None:
            page.next_cursor = page.cursor


@frozen
class CyclingCursor(PayloadFault):
    """Next cursors that cycle: A, B, A, B. One walk at a time; a first page begins anew.

    Attributes:
        length: Number of true cursors before the first one comes again.
    """

    kind: ClassVar[str] = "cycling-cursor"

    length: int = field(default=2, validator=ge(1))
    _given: list[str] = field(factory=list[str], init=False, eq=False, repr=False)
    _turn: list[int] = field(factory=lambda: [0], init=False, eq=False, repr=False)

    def modify(self, page: Page) -> None:
        """Set the next cursor of the cycle."""
        if page.cursor is None:
            self._given.clear()
            self._turn[0] = 0
        if len(self._given) < self.length and page.next_cursor is not None:
            self._given.append(page.next_cursor)
        if self._given:
            page.next_cursor = self._given[self._turn[0] % len(self._given)]
        self._turn[0] += 1


@frozen
class EmptyPage(PayloadFault):
    """A page without rows and with a next cursor, a new one, which leads to the rows that were kept back.

    No worklog is lost to a client that goes on. A single page without a next one passes as it is.
    """

    kind: ClassVar[str] = "empty-page"

    def modify(self, page: Page) -> None:
        """Take the rows out, and let the next cursor lead to them."""
        if page.cursor is not None:
            page.next_cursor = equivalent_cursor(page.cursor)
        elif page.next_cursor is not None:
            page.next_cursor = initial_cursor(page.next_cursor)
        else:
            return
        page.rows.clear()


@frozen
class DuplicateRows(PayloadFault):
    """A page in which the first rows occur a second time.

    Attributes:
        count: Number of those rows.
    """

    kind: ClassVar[str] = "duplicate-rows"

    count: int = field(default=1, validator=ge(1))

    def modify(self, page: Page) -> None:
        """Repeat the rows at the end of the page."""
        page.rows.extend(page.rows[: self.count])


@frozen
class MissingField(PayloadFault):
    """A worklog that lacks a key.

    Attributes:
        name: The key, by the version's name, such as ``worklogMinutes`` or ``minutes``.
        row: Index of the worklog on the page, from 0; None for every worklog.
    """

    kind: ClassVar[str] = "missing-field"

    name: str
    row: int | None = field(default=0, validator=_AN_INDEX)

    def modify(self, page: Page) -> None:
        """Take the key out."""
        for row in page.select(self.row):
            row.pop(self.name, None)


@frozen
class OddField(PayloadFault):
    """A worklog with an odd value under a key.

    Attributes:
        name: The key, by the version's name.
        value: Any JSON value; None stands for null.
        row: Index of the worklog on the page, from 0; None for every worklog.
    """

    kind: ClassVar[str] = "odd-field"

    name: str
    value: Any = None
    row: int | None = field(default=0, validator=_AN_INDEX)

    def modify(self, page: Page) -> None:
        """Put the value in."""
        for row in page.select(self.row):
            row[self.name] = self.value


@frozen
class UnknownStatus(PayloadFault):
    """A worklog with an approval status that is none of the four.

    Attributes:
        value: The status.
        row: Index of the worklog on the page, from 0; None for every worklog.
    """

    kind: ClassVar[str] = "unknown-status"

    value: str = "escalated"
    row: int | None = field(default=0, validator=_AN_INDEX)

    def modify(self, page: Page) -> None:
        """Put the status where the version has it."""
        for row in page.select(self.row):
            if isinstance(row.get("approval"), dict):
                row["approval"]["status"] = self.value
            else:
                row["approval" if "approval" in row else "approvalStatus"] = self.value
