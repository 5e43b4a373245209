"""Faults that answer in place of the API: a status, a page of HTML, JSON that is none, far too much of it.

With `commit`, the request is carried out first and its honest answer thrown away: the write has happened, and
the client is told something else.
"""

from __future__ import annotations

import zlib
from abc import abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from typing import ClassVar, Final

from aiohttp import web
from attrs import evolve, field, frozen
from attrs.validators import and_, ge, instance_of, le

from tracket_async.emulator.answers import JSON, Answer, json_answer
from tracket_async.emulator.faults.base import Disturbance, Exchange

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
