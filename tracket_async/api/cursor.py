"""The cursor of the page after this one: the only thing of a page that finds its way into the next request."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from tracket_async.api.decode import FAILURES

AFTER = "after"
"""The one parameter of a next link that is taken from it."""


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
