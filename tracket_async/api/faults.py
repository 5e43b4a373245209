"""The two errors that a body can be: unreadable and malformed. Neither shows more of it than an excerpt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tracket_async.api.excerpt import excerpt
from tracket_async.api.request import Response
from tracket_async.errors import MalformedResponseError, UnreadableResponseError

JSON_TYPES: Final[Mapping[type, str]] = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
    type(None): "null",
}
"""What the types that a decoder gives are called in JSON."""


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


def malformed(
    path: str, expected: str, found: str, *, worklog_id: str | None = None, status: int | None = None
) -> MalformedResponseError:
    """The error that a value of the wrong shape is. It does not show the value, which is somebody's data.

    Args:
        path: where it stands, as in ``$.worklogs[17].worklogMinutes``.
        expected: what should stand there, with its article.
        found: what stands there, with its article.
        worklog_id: of the worklog that it is in, None when it cannot be told.
        status: of the answer.
    """
    whose = f" of worklog {worklog_id!r}" if worklog_id is not None else ""
    return MalformedResponseError(
        f"The server's answer is malformed: {path}{whose} should be {expected}, and is {found}",
        json_path=path,
        worklog_id=worklog_id,
        status=status,
    )


def json_type(value: object) -> str:
    """What a value is called in JSON."""
    return JSON_TYPES.get(type(value), type(value).__name__)
