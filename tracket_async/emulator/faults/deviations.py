"""Deviations: plausible servers and proxies that differ from the vendor's pages without being broken.

A deviation changes the request that is carried out, the response, or what follows it on the connection.
"""

from __future__ import annotations

import json
import unicodedata
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar, Final, Literal
from urllib.parse import quote

from aiohttp import web
from attrs import evolve, field, frozen
from attrs.validators import in_, matches_re

from tracket_async.emulator.faults.base import Exchange, RequestFault, ResponseFault, head
from tracket_async.emulator.faults.responses import Page, PayloadFault
from tracket_async.emulator.handlers import ApiRequest
from tracket_async.emulator.json_fields import parse_object
from tracket_async.emulator.records import DAY, format_day, parse_day
from tracket_async.emulator.routes import JSON, ApiError, ApiResponse, json_response
from tracket_async.emulator.store import equivalent_cursor

_CURSORS: Final = ("cursor", "after")
_FIRST_ERROR: Final = 400


@frozen
class SecondResponse(ResponseFault):
    """A second response behind the true one, for which nobody asked.

    Attributes:
        body: Its body; an empty page of either version by default.
    """

    kind: ClassVar[str] = "second-response"

    body: str = '{"items":[],"worklogs":[],"total":0}'

    async def apply(self, exchange: Exchange) -> web.StreamResponse:
        """Send both responses."""
        body = self.body.encode()
        second = head(200, [("Content-Type", JSON), ("Content-Length", str(len(body)))]) + body
        return exchange.respond(await exchange.execute(), followed_by=second)


@frozen
class MuteConnections(RequestFault):
    """Connections that go mute: those that are open answer no more, this request included; new ones do."""

    kind: ClassVar[str] = "mute-connections"

    async def apply(self, exchange: Exchange) -> None:
        """Mute the connections."""
        exchange.mute_connections()


@frozen
class NoContent(ResponseFault):
    """A 204 in place of a success.

    Attributes:
        body: Bytes that follow it on the connection, although a 204 ends with its headers (RFC 9110, 15.3.5).
    """

    kind: ClassVar[str] = "no-content"

    body: str = ""

    async def apply(self, exchange: Exchange) -> web.StreamResponse:
        """Carry the request out and send a 204."""
        response = await exchange.execute()
        if response.status >= _FIRST_ERROR:
            return exchange.respond(response)
        return exchange.respond(evolve(response, status=204, body=b""), followed_by=self.body.encode())


@frozen
class BriefCreated(ResponseFault):
    """A 201 that does not show the worklog. Meant for rules with ``method="POST"``.

    Attributes:
        form: "id": the id alone; "location": an empty body and a Location header; "empty": an empty body.
    """

    kind: ClassVar[str] = "brief-created"

    form: Literal["id", "location", "empty"] = field(default="id", validator=in_(("id", "location", "empty")))

    async def apply(self, exchange: Exchange) -> web.StreamResponse:
        """Carry the request out and send the brief response."""
        response = await exchange.execute()
        return exchange.respond(self._brief(response, exchange.received.path) if response.committed else response)

    def _brief(self, response: ApiResponse, path: str) -> ApiResponse:
        worklog: dict[str, Any] = json.loads(response.body)
        name = "worklogId" if "worklogId" in worklog else "id"
        if self.form == "id":
            brief = json_response({name: worklog[name]}, status=201)
        elif self.form == "location":
            brief = ApiResponse(status=201, headers=(("Location", f"{path}/{quote(worklog[name], safe='')}"),))
        else:
            brief = ApiResponse(status=201)
        return evolve(brief, committed=True)


@frozen
class AddedHeaders(ResponseFault):
    """Further headers on the true response.

    Attributes:
        headers: Their names and values.
    """

    kind: ClassVar[str] = "added-headers"

    headers: Mapping[str, str] = field(hash=False)

    async def apply(self, exchange: Exchange) -> web.StreamResponse:
        """Send the response with the headers."""
        response = await exchange.execute()
        return exchange.respond(evolve(response, headers=(*response.headers, *self.headers.items())))


@frozen
class _ChangedText(ResponseFault):
    async def apply(self, exchange: Exchange) -> web.StreamResponse:
        """Carry the request out with a changed description."""
        return exchange.respond(await exchange.execute(self._changed))

    @abstractmethod
    def change(self, text: str) -> str:
        """Return what is stored for a description."""

    def _changed(self, request: ApiRequest) -> ApiRequest:
        with suppress(ApiError):  # a malformed body gets its error from the handler
            payload = parse_object(request.body)
            if isinstance(payload.get("description"), str):
                payload["description"] = self.change(payload["description"])
                return evolve(request, body=json.dumps(payload).encode())
        return request


@frozen
class TrimmedText(_ChangedText):
    """A server that stores descriptions without white space at their ends."""

    kind: ClassVar[str] = "trimmed-text"

    def change(self, text: str) -> str:
        """Return the text without it."""
        return text.strip()


@frozen
class NormalizedText(_ChangedText):
    """A server that stores descriptions in Unicode's NFC."""

    kind: ClassVar[str] = "normalized-text"

    def change(self, text: str) -> str:
        """Return the text in NFC."""
        return unicodedata.normalize("NFC", text)


@frozen
class OtherWorklog(ResponseFault):
    """Another worklog than the one whose id is in the path. Meant for rules with ``method="GET"``.

    Attributes:
        id: Its id.
    """

    kind: ClassVar[str] = "other-worklog"

    id: str

    async def apply(self, exchange: Exchange) -> web.StreamResponse:
        """Carry the request out for the other worklog; a request without an id in its path as it is."""
        return exchange.respond(
            await exchange.execute(lambda request: evolve(request, ident=self.id if request.ident else ""))
        )


@frozen
class RestrictedToken(ResponseFault):
    """A token that sees only one user's worklogs: lists and totals leave out the others, and their ids get a 403.

    Attributes:
        user: The user's id.
    """

    kind: ClassVar[str] = "restricted-token"

    user: str

    async def apply(self, exchange: Exchange) -> web.StreamResponse:
        """Carry the request out with what the token may see."""
        return exchange.respond(await exchange.execute(lambda request: evolve(request, only_user=self.user)))


@frozen
class IgnoredFilters(ResponseFault):
    """Filters that do nothing.

    Attributes:
        prefix: Start of the names of the query parameters that are ignored.
    """

    kind: ClassVar[str] = "ignored-filters"

    prefix: str = "fields.date."

    async def apply(self, exchange: Exchange) -> web.StreamResponse:
        """Carry the request out without the filters."""
        return exchange.respond(await exchange.execute(self._without_filters))

    def _without_filters(self, request: ApiRequest) -> ApiRequest:
        query = {name: value for name, value in request.query.items() if not name.startswith(self.prefix)}
        return evolve(request, query=query)


@frozen
class IgnoredCursor(PayloadFault):
    """A cursor that does nothing, as when its parameter has another name: page 1 again, with a new next cursor."""

    kind: ClassVar[str] = "ignored-cursor"

    _pages: list[int] = field(factory=lambda: [0], init=False, eq=False, repr=False)

    def change(self, request: ApiRequest) -> ApiRequest:
        """Drop the cursor."""
        return evolve(request, query={name: request.query[name] for name in request.query if name not in _CURSORS})

    def modify(self, page: Page) -> None:
        """Set a next cursor that was not given before."""
        self._pages[0] += 1
        if page.next_cursor is not None:
            page.next_cursor = equivalent_cursor(page.next_cursor, self._pages[0])


@frozen
class LinkedCursor(PayloadFault):
    """A next page of 2.0 that only its link tells of: nextCursor is null.

    Attributes:
        under: The member that has the links, "_links" or "links".
        string: Whether the link is a string, and not an object with ``href``.
    """

    kind: ClassVar[str] = "linked-cursor"

    under: Literal["_links", "links"] = field(default="_links", validator=in_(("_links", "links")))
    string: bool = False

    def modify(self, page: Page) -> None:
        """Move the cursor into the link."""
        if "_links" not in page.payload or page.next_cursor is None:
            return
        link = page.payload["_links"].pop("next")
        page.payload["nextCursor"] = None
        page.payload.setdefault(self.under, {})["next"] = link["href"] if self.string else link


@frozen
class WrongTotal(PayloadFault):
    """A total of 2.0 that is not the number of matches.

    Attributes:
        add: The difference.
    """

    kind: ClassVar[str] = "wrong-total"

    add: int

    def modify(self, page: Page) -> None:
        """Change the total."""
        if "total" in page.payload:
            page.payload["total"] += self.add


@frozen
class DateOffset(PayloadFault):
    """Dates of 2.0 that are written as midnight with an offset from UTC.

    Attributes:
        offset: The offset, such as ``+02:00``.
        by_instant: Whether the filters compare instants: with a positive offset a day begins on the day before.
    """

    kind: ClassVar[str] = "date-offset"

    offset: str = field(default="+02:00", validator=matches_re(r"[+-][01]\d:[0-5]\d"))
    by_instant: bool = False

    def change(self, request: ApiRequest) -> ApiRequest:
        """Move the bounds of the date filters by a day, where days begin on the day before."""
        if not self.by_instant or self.offset.startswith("-") or self.offset == "+00:00":
            return request
        query = dict(request.query)
        for name in ("fields.date.gte", "fields.date.lte"):
            with suppress(ValueError, KeyError):  # a malformed bound gets its error from the handler
                query[name] = format_day(parse_day(query[name]) + DAY)
        return evolve(request, query=query)

    def modify(self, page: Page) -> None:
        """Write the dates with the offset."""
        for row in page.rows:
            if "date" in row:
                row["date"] = f"{row['date']}T00:00:00.000{self.offset}"
