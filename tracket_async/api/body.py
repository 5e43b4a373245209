"""Bodies as JSON: written strictly, and when they cannot be read, said so without showing more than an excerpt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from tracket_async.api.excerpt import excerpt
from tracket_async.api.request import Response
from tracket_async.errors import UnreadableResponseError, UsageError

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
"""What JSON can say."""


def write(content: Mapping[str, Any]) -> bytes:
    """An object as JSON, in ASCII.

    Raises:
        UsageError: it holds what JSON cannot say: infinity or NaN, an object of some class, itself.
    """
    problem: Exception
    try:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        problem = error
    raise UsageError(f"This cannot be written as JSON: {problem}")


def unreadable(response: Response) -> UnreadableResponseError:
    """The error that a body without (usable) JSON is."""
    beginning = response.body[:512].lstrip()
    if not beginning:
        found = "nothing"
    elif beginning.startswith(b"<"):
        found = "an HTML or XML page"
    elif beginning[:1] in b'{["':
        found = "JSON that is broken, cut short or nested too deeply"
    else:
        found = "something that is no JSON"
    return UnreadableResponseError(
        f"The server answers {response.status} with {found}", status=response.status, excerpt=excerpt(response.body)
    )
