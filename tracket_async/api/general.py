"""The general path from bytes to models: it decides what is right, and says what is wrong and where.

It reads the members that it needs and skips the others: what those hold does not matter, as long as the whole is JSON.
The fast path (``fast.py``) skips with the same decoder, so that both take the same bodies.
"""

from __future__ import annotations

from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import attrs
import msgspec

from tracket_async.api.body import Json, unreadable
from tracket_async.api.codec import json_type, malformed, worklog_reader
from tracket_async.api.layout import Layout
from tracket_async.api.request import Response
from tracket_async.errors import MalformedResponseError
from tracket_async.models import Worklog

T = TypeVar("T")

FAILURES = (msgspec.DecodeError, ValueError, RecursionError)
"""What msgspec raises on a body: no JSON, or of another type; text that is not UTF-8; nested too deeply."""

AFTER = "after"
"""The one parameter of a next link that is taken from it."""


@attrs.frozen
class Contents:
    """What a page says about worklogs, without what its headers say."""

    worklogs: list[Worklog]
    next_cursor: str | None
    total: int | None


class Members:
    """Reads some members of a JSON object, each as its bytes, and skips the others."""

    def __init__(self, *names: str | None) -> None:
        self.names = tuple(name for name in names if name)
        fields = {f"f{index}": name for index, name in enumerate(self.names)}
        types = [(field, msgspec.Raw | msgspec.UnsetType, msgspec.UNSET) for field in fields]
        self._decoder = msgspec.json.Decoder(msgspec.defstruct("Members", types, rename=fields))

    def of(self, content: bytes | msgspec.Raw) -> dict[str, msgspec.Raw] | None:
        """Those that are there; None if the content is no object. The content is known to be JSON."""
        try:
            found = self._decoder.decode(content)
        except msgspec.ValidationError:
            return None
        pairs = zip(self.names, msgspec.structs.astuple(found), strict=True)
        return {name: raw for name, raw in pairs if raw is not msgspec.UNSET}


class GeneralReader:
    """Reads the bodies of one layout."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._read = worklog_reader(layout)
        self._of_page = Members(layout.items, layout.cursor, layout.total, layout.links)
        self._of_worklog = Members(*layout.groups)

    def page(self, response: Response) -> Contents:
        """The answer to a list."""
        layout = self.layout
        members = self._members(self._of_page, checked(response), "$", response)
        path = f"$.{layout.items}"
        if layout.items not in members:
            raise malformed(path, "an array", "missing", status=response.status)
        items = elements(members[layout.items], path, response)
        return Contents(
            worklogs=[self._worklog(item, f"{path}[{index}]", response) for index, item in enumerate(items)],
            next_cursor=next_cursor(
                self._optional(members, layout.cursor, str, "a string or null", response),
                members.get(layout.links or "", msgspec.UNSET),
            ),
            total=or_none(self._optional(members, layout.total, int, "a whole number or null", response)),
        )

    def worklog(self, response: Response) -> Worklog:
        """The answer to a get, a create or an update."""
        return self._worklog(checked(response), "$", response)

    def _worklog(self, content: bytes | msgspec.Raw, path: str, response: Response) -> Worklog:
        members = self._members(self._of_worklog, content, path, response)
        values = {name: value(raw, f"{path}.{name}", response) for name, raw in members.items()}
        try:
            return self._read(values, path)
        except MalformedResponseError as error:
            error.add(status=response.status)
            raise

    @staticmethod
    def _members(
        wanted: Members, content: bytes | msgspec.Raw, path: str, response: Response
    ) -> dict[str, msgspec.Raw]:
        members = wanted.of(content)
        if members is None:
            raise malformed(path, "an object", json_type(value(content, path, response)), status=response.status)
        return members

    @staticmethod
    def _optional(
        members: dict[str, msgspec.Raw], name: str | None, kind: type[T], expected: str, response: Response
    ) -> T | msgspec.UnsetType | None:
        if name not in members:
            return msgspec.UNSET
        found = value(members[name], f"$.{name}", response)
        if found is not None and type(found) is not kind:
            raise malformed(f"$.{name}", expected, json_type(found), status=response.status)
        return found


def or_none(found: T | msgspec.UnsetType) -> T | None:
    """What was found, None if nothing was."""
    return None if isinstance(found, msgspec.UnsetType) else found


def checked(response: Response) -> bytes:
    """The body, if it is JSON from its beginning to its end.

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
    """The value of what is known to be JSON.

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
    """The elements of what is known to be JSON and should be an array, each as its bytes."""
    try:
        return _ELEMENTS.decode(content)
    except msgspec.ValidationError:
        pass
    raise malformed(path, "an array", json_type(value(content, path, response)), status=response.status)


_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])


def next_cursor(cursor: Any, links: Any) -> str | None:
    """The cursor of the page after this one, None if this is the last.

    Args:
        cursor: of the page, a string or None; ``UNSET`` where it has no member of that name. Null and the empty string
            say as much as no cursor.
        links: the bytes of the page's links; ``UNSET`` without any. Where there is no cursor, the ``after`` of the next
            link is taken, and nothing else of it (inferred: the vendor's example has both). Links that cannot be
            understood are none.
    """
    if cursor is not msgspec.UNSET:
        return cursor or None
    if links is msgspec.UNSET:
        return None
    try:
        following = _LINKS.decode(links).next
        query = urlsplit(following.href).query if following else ""
    except FAILURES:
        return None
    # Not parse_qs: it takes a plus for a space, and a cursor in base64 has pluses and no spaces.
    given = (part.partition("=") for part in query.split("&"))
    return next((unquote(text) for name, _, text in given if name == AFTER and text), None)


class _Link(msgspec.Struct):
    href: str


class _Links(msgspec.Struct):
    next: _Link | None = None


_LINKS = msgspec.json.Decoder(_Links)
