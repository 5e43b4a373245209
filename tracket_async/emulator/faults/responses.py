"""Faults that answer in place of the API: a status, a page of HTML, JSON that is none, far too much of it.

With `commit`, the request is carried out first and its honest answer thrown away: the write has happened, and
the client is told something else.

Faults that let the request be carried out and then bend its honest answer.

They know both versions' keys and change the JSON that goes out, never the store. An answer that is an error, or
has nothing to bend, passes as it is.
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
from attrs.validators import and_, ge, instance_of, le

from tracket_async.emulator.faults.base import Disturbance, Exchange
from tracket_async.emulator.routes import JSON, Answer, json_answer
from tracket_async.emulator.store import same_place, start_of_walk

_HTML: Final = (
    b"<!DOCTYPE html>\n<html><head><title>%d</title></head>"
    b"<body><h1>We will be right back</h1><p>The service is being maintained.</p></body></html>\n"
)
_a_status: Final = and_(instance_of(int), ge(200), le(599))


def _text_or_none(value: object) -> str | None:
    return None if value is None else str(value)


@frozen(kw_only=True)
class _Instead(Disturbance):
    commit: bool = False

    @abstractmethod
    def answer(self) -> Answer:
        """What is answered."""

    async def inflict(self, exchange: Exchange) -> web.StreamResponse:
        """Carry the request out, if that is wanted, and answer something else."""
        committed = self.commit and (await exchange.answer()).committed
        return exchange.respond(evolve(self.answer(), committed=committed))


@frozen
class Status(_Instead):
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

    def answer(self) -> Answer:
        """The status and its body."""
        headers = tuple(self.headers.items())
        if self.retry_after is not None:
            headers += (("Retry-After", self.retry_after),)
        if self.body is None:
            return json_answer({"error": f"a fault: {self.status}"}, status=self.status, headers=headers)
        return Answer(status=self.status, body=self.body.encode(), content_type=self.content_type, headers=headers)


@frozen
class RefusedCursor(_Instead):
    """The cursor is refused, as when it is too old. Meant for rules with ``cursor=True``.

    Attributes:
        status: 400 or 410, say.
        commit: Whether the request is carried out first.
    """

    kind: ClassVar[str] = "refused-cursor"

    status: int = field(default=400, validator=_a_status)

    def answer(self) -> Answer:
        """The refusal."""
        return json_answer({"error": "after has expired; start again", "field": "after"}, status=self.status)


@frozen
class Html(_Instead):
    """A page of HTML where JSON was expected, as gateways send.

    Attributes:
        status: 200 for the worst of them.
        commit: Whether the request is carried out first.
    """

    kind: ClassVar[str] = "html"

    status: int = field(default=502, validator=_a_status)

    def answer(self) -> Answer:
        """The page."""
        return Answer(status=self.status, body=_HTML % self.status, content_type="text/html; charset=utf-8")


@frozen
class Redirect(_Instead):
    """A redirect to elsewhere, which a client with a secret must not follow.

    Attributes:
        location: Where to.
        status: 301, 302, 303, 307 or 308.
        commit: Whether the request is carried out first.
    """

    kind: ClassVar[str] = "redirect"

    location: str
    status: int = field(default=307, validator=_a_status)

    def answer(self) -> Answer:
        """The redirect."""
        return Answer(status=self.status, headers=(("Location", self.location),))


@frozen
class MalformedJson(_Instead):
    """A body that says it is JSON.

    Attributes:
        body: What it is.
        status: Its status.
        commit: Whether the request is carried out first.
    """

    kind: ClassVar[str] = "malformed-json"

    body: str = '{"items": [{"id": "1", "minutes": NaN, }'
    status: int = field(default=200, validator=_a_status)

    def answer(self) -> Answer:
        """The body."""
        return Answer(status=self.status, body=self.body.encode())


@frozen
class DeepJson(_Instead):
    """Valid JSON that is nested very deeply.

    Attributes:
        depth: Levels of arrays.
        commit: Whether the request is carried out first.
    """

    kind: ClassVar[str] = "deep-json"

    depth: int = field(default=100_000, validator=ge(1))

    def answer(self) -> Answer:
        """The body, under the keys of both versions' lists."""
        nested = b"[" * self.depth + b"]" * self.depth
        return Answer(body=b'{"items":' + nested + b',"worklogs":' + nested + b"}")


@frozen
class HugeBody(_Instead):
    """A valid, empty page with a great deal of white space in it.

    Attributes:
        size: Length of the body in bytes.
        gzip: Send it compressed, about a thousandth of that: a bomb.
        commit: Whether the request is carried out first.
    """

    kind: ClassVar[str] = "huge-body"

    size: int = field(default=64 << 20, validator=ge(64))
    gzip: bool = False

    def answer(self) -> Answer:
        """The body."""
        if self.gzip:
            return Answer(body=_bomb(self.size), headers=(("Content-Encoding", "gzip"),))
        return Answer(body=_PADDED_HEAD + b" " * (self.size - len(_PADDED_HEAD) - 1) + b"}")


_PADDED_HEAD: Final = b'{"items":[],"worklogs":[],"size":0,"total":0'
_BLOCK: Final = b" " * (1 << 20)


@lru_cache(maxsize=4)
def _bomb(size: int) -> bytes:
    squeeze = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    blocks, rest = divmod(size - len(_PADDED_HEAD) - 1, len(_BLOCK))
    parts = [squeeze.compress(_PADDED_HEAD)]
    parts.extend(squeeze.compress(_BLOCK) for _ in range(blocks))
    parts += [squeeze.compress(_BLOCK[:rest]), squeeze.compress(b"}"), squeeze.flush()]
    return b"".join(parts)


_ROWS_AND_CURSOR: Final[tuple[tuple[str, str], ...]] = (("worklogs", "next-cursor"), ("items", "nextCursor"))
_BAD: Final = 400


@frozen
class ContentType(Disturbance):
    """The right body under a wrong Content-Type.

    Attributes:
        value: The header's value.
    """

    kind: ClassVar[str] = "content-type"

    value: str = "text/html; charset=utf-8"

    async def inflict(self, exchange: Exchange) -> web.StreamResponse:
        """Answer under the wrong type."""
        return exchange.respond(evolve(await exchange.answer(), content_type=self.value))


@frozen
class _Bend(Disturbance):
    @abstractmethod
    def bend(self, page: Page) -> None:
        """Change the payload in place."""

    async def inflict(self, exchange: Exchange) -> web.StreamResponse:
        """Answer with the changed payload."""
        answer = await exchange.answer()
        if answer.status < _BAD:
            answer = self._bent(answer, exchange.received.cursor)
        return exchange.respond(answer)

    def _bent(self, answer: Answer, cursor: str | None) -> Answer:
        payload: dict[str, Any] = json.loads(answer.body)
        self.bend(Page(payload, cursor))
        return evolve(answer, body=json.dumps(payload, ensure_ascii=False).encode())


class Page:
    """A payload of either version: a page of rows, or one worklog, which counts as a page's only row.

    Args:
        payload: The JSON object; it is changed in place.
        cursor: The cursor that was asked with; None for a first page.
    """

    def __init__(self, payload: dict[str, Any], cursor: str | None) -> None:
        self._payload = payload
        self.cursor = cursor
        self._rows_key, self._next_key = next((keys for keys in _ROWS_AND_CURSOR if keys[0] in payload), ("", ""))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The worklogs; changes to the list itself count for a page only."""
        return self._payload[self._rows_key] if self._rows_key else [self._payload]

    @property
    def next_cursor(self) -> str | None:
        """The cursor of the next page."""
        cursor: str | None = self._payload.get(self._next_key)
        return cursor

    @next_cursor.setter
    def next_cursor(self, cursor: str) -> None:
        if self._rows_key:
            self._payload[self._next_key] = cursor

    def row(self, number: int) -> dict[str, Any] | None:
        """The worklog at that place, counted from 0; None past the end."""
        return self.rows[number] if number < len(self.rows) else None


@frozen
class RepeatedCursor(_Bend):
    """The next cursor is the one that was asked with, so the walk stands still; a first page is honest."""

    kind: ClassVar[str] = "repeated-cursor"

    def bend(self, page: Page) -> None:
        """Give the cursor back."""
        if page.cursor is not None:
            page.next_cursor = page.cursor


@frozen
class CyclingCursor(_Bend):
    """The next cursors go round: A, B, A, B. One walk at a time; a first page begins a new round.

    Attributes:
        length: How many cursors are honest before they come round.
    """

    kind: ClassVar[str] = "cycling-cursor"

    length: int = field(default=2, validator=ge(1))
    _given: list[str] = field(factory=list[str], init=False, eq=False, repr=False)
    _turn: list[int] = field(factory=lambda: [0], init=False, eq=False, repr=False)

    def bend(self, page: Page) -> None:
        """Give the next cursor of the round."""
        if page.cursor is None:
            self._given.clear()
            self._turn[0] = 0
        if len(self._given) < self.length and page.next_cursor is not None:
            self._given.append(page.next_cursor)
        if self._given:
            page.next_cursor = self._given[self._turn[0] % len(self._given)]
        self._turn[0] += 1


@frozen
class EmptyPage(_Bend):
    """A page without rows and with a next cursor, a new one, which leads to the rows that were kept back.

    So no worklog is lost to a client that goes on. A single page without a next one passes as it is.
    """

    kind: ClassVar[str] = "empty-page"

    def bend(self, page: Page) -> None:
        """Take the rows out, and lead back to them."""
        if page.cursor is not None:
            page.next_cursor = same_place(page.cursor)
        elif page.next_cursor is not None:
            page.next_cursor = start_of_walk(page.next_cursor)
        else:
            return
        page.rows.clear()


@frozen
class DuplicateRows(_Bend):
    """The first rows of the page occur in it a second time.

    Attributes:
        count: How many.
    """

    kind: ClassVar[str] = "duplicate-rows"

    count: int = field(default=1, validator=ge(1))

    def bend(self, page: Page) -> None:
        """Repeat them at the end."""
        page.rows.extend(page.rows[: self.count])


@frozen
class MissingField(_Bend):
    """One worklog lacks a key.

    Attributes:
        name: The key, by the version's name, such as ``worklogMinutes`` or ``minutes``.
        row: Which worklog of the page, from 0.
    """

    kind: ClassVar[str] = "missing-field"

    name: str
    row: int = field(default=0, validator=ge(0))

    def bend(self, page: Page) -> None:
        """Take the key out."""
        row = page.row(self.row)
        if row is not None:
            row.pop(self.name, None)


@frozen
class OddField(_Bend):
    """One worklog has an odd value under a key.

    Attributes:
        name: The key, by the version's name.
        value: Any JSON value; None stands for null.
        row: Which worklog of the page, from 0.
    """

    kind: ClassVar[str] = "odd-field"

    name: str
    value: Any = None
    row: int = field(default=0, validator=ge(0))

    def bend(self, page: Page) -> None:
        """Put the value in."""
        row = page.row(self.row)
        if row is not None:
            row[self.name] = self.value


@frozen
class UnknownStatus(_Bend):
    """One worklog has an approval status that is none of the four.

    Attributes:
        value: The status.
        row: Which worklog of the page, from 0.
    """

    kind: ClassVar[str] = "unknown-status"

    value: str = "escalated"
    row: int = field(default=0, validator=ge(0))

    def bend(self, page: Page) -> None:
        """Put the status where the version has it."""
        row = page.row(self.row)
        if row is None:
            return
        if isinstance(row.get("approval"), dict):
            row["approval"]["status"] = self.value
        else:
            row["approval" if "approval" in row else "approvalStatus"] = self.value
