"""Which ids may stand in a path. An id is data: whatever it holds, it must stay one segment of its path."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from tracket_async.errors import UsageError

LONGEST: Final = 200
"""Characters of an id."""

ALLOWED: Final = frozenset("-_.~:@!$&'()*+,;=|")
"""What an id may hold besides letters and digits. Not among them: ``/`` and ``\\``, which end a segment for some
server or proxy; ``%``, which one of them may decode once more; ``?`` and ``#``, which end the path; white space and
control characters."""

_usual: Final = re.compile("[A-Za-z0-9_-]{1,200}").fullmatch
"""What needs no closer look, and no quoting."""


def path_segment(id: str) -> str:  # noqa: A002 - it is what the API calls it
    """An id, checked and percent-encoded as one segment of a path (RFC 3986, 3.3).

    Raises:
        UsageError: it is no string, empty, longer than `LONGEST`, made of dots alone (``..`` stays ``..`` however it
            is quoted, and means the level above), or holds a character that is not allowed.
    """
    if isinstance(id, str) and _usual(id):  # pyright: ignore[reportUnnecessaryIsInstance] - as below
        return id
    if not isinstance(id, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        raise UsageError(f"An id must be a string, not {type(id).__name__}")
    if not id:
        raise UsageError("An id must not be empty")
    if len(id) > LONGEST:
        raise UsageError(f"An id must not be longer than {LONGEST} characters; this one begins with {id[:20]!r}")
    if not id.strip("."):
        raise UsageError(f"{id!r} is no id: in a path it would mean another place")
    for character in id:
        if not character.isalnum() and character not in ALLOWED:
            raise UsageError(f"{id!r} is no id: it holds {character!r}")
    return quote(id, safe="")
