"""Make an error of an answer: its status, Retry-After, request id, and an excerpt of its body. Never raises.

Only the status decides about the class of the error; body and headers add what they know: the field that is refused,
how long to wait, the request's id. The names under which servers send these are inferred (the API's pages show no
error) and each stands in one table here. No error shows more of a body than an excerpt, with whatever could be a secret
masked.
"""

from __future__ import annotations

import datetime as dt
import re
import string
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import msgspec

from tracket_async._http.messages import Json, Response
from tracket_async._timestamps import parse_http_date
from tracket_async.errors import (
    AuthenticationError,
    BadRequestError,
    ConflictError,
    GoneError,
    MalformedResponseError,
    NotFoundError,
    PayloadTooLargeError,
    PermissionDeniedError,
    RateLimitedError,
    RedirectError,
    RequestError,
    ServerError,
    StatusError,
    UnreadableResponseError,
)

LONGEST = 200
"""Characters of an excerpt, without the ellipsis."""

LONGEST_MESSAGE = 500
"""Characters of the excerpt that consists of an error's messages, without the ellipsis."""

_WINDOW = 2048
"""Bytes of a body that are read for an excerpt."""

_MASK = "***"

_SPEAKING_NAME = r"(?:token|secret|passw|authorization|credential|api[-_]?key|client[-_]?id|cookie|session)[\w\-]*"

_NAMED: tuple[tuple[re.Pattern[str], str], ...] = (
    # "access_token": "...", also when the window ends before the closing quote
    (re.compile(rf'({_SPEAKING_NAME}"\s*:\s*)"(?:[^"\\]|\\.)*(?:"|\\?$)', re.IGNORECASE), rf'\1"{_MASK}"'),
    # Authorization: Bearer ..., and the scheme with its token wherever it stands
    (re.compile(r"\b(bearer|basic)([\s:=]+)[^\s\"'<>,;]+", re.IGNORECASE), rf"\1\2{_MASK}"),
    # token=... in a query, a form or a log line
    (re.compile(rf"({_SPEAKING_NAME}\s*[=:]\s*)(?!bearer\b|basic\b)[^\s\"'<>&,;]+", re.IGNORECASE), rf"\1{_MASK}"),
)
_ALPHABET = string.ascii_letters + string.digits + "_-+/=.~"
_OPAQUE = re.compile(r"[\w\-+/=.~]{24,}", re.ASCII)
"""JSON Web Tokens, UUIDs, base64 and hexadecimal digits match it; they also have a digit."""


def excerpt(body: bytes, *, longest: int = LONGEST) -> str:
    """Return the beginning of a body as one printable line of at most ``longest`` characters and an ellipsis.

    Text that is not UTF-8 shows replacement characters. Masked are values whose name speaks of a secret, what follows
    ``Bearer``, and every run of 24 or more characters of a token's alphabet that has a digit: rather too much than a
    token that the server echoes.
    """
    text = body[:_WINDOW].decode("utf-8", "replace")
    for pattern, mask in _NAMED:
        text = pattern.sub(mask, text)
    text = _OPAQUE.sub(_masked, text)
    text = " ".join(text.split())
    if len(body) > _WINDOW:
        # What the window cuts in two may be a token that is too short now to be known as one.
        text = text.rstrip(_ALPHABET)
    shown = "".join(character if character.isprintable() else _escaped(character) for character in text[:longest])
    return shown[:longest] + ("..." if len(text) > longest or len(shown) > longest or len(body) > _WINDOW else "")


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _masked(run: re.Match[str]) -> str:
    return _MASK if any(character.isdigit() for character in run[0]) else run[0]


JSON_TYPES: Final[Mapping[type, str]] = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
    type(None): "null",
}
"""The JSON names of the types that a decoder returns."""


def unreadable(response: Response) -> UnreadableResponseError:
    """Create the error for a body without (usable) JSON."""
    beginning = response.body[:512].lstrip()
    if not beginning:
        found = "nothing"
    elif beginning.startswith(b"<"):
        found = "an HTML or XML page"
    elif is_broken_json(beginning):
        found = "JSON that is broken, cut short or nested too deeply"
    else:
        found = "something that is no JSON"
    return UnreadableResponseError(
        f"The server answers {response.status} with {found}", status=response.status, excerpt=excerpt(response.body)
    )


def is_broken_json(body: bytes) -> bool:
    """Return whether a body that cannot be read looks like JSON."""
    return body.lstrip()[:1] in _JSON_BEGINS


def malformed(
    path: str, expected: str, found: str, *, worklog_id: str | None = None, status: int | None = None
) -> MalformedResponseError:
    """Create the error for a value of the wrong shape. It does not show the value, which is somebody's data.

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
    """Return the JSON name of a value's type."""
    return JSON_TYPES.get(type(value), type(value).__name__)


ERRORS: Final[Mapping[int, type[StatusError]]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    413: PayloadTooLargeError,
    422: BadRequestError,
    429: RateLimitedError,
}
"""The error of each status; otherwise its hundred decides."""

HUNDREDS: Final[Mapping[int, type[RequestError]]] = {3: RedirectError, 4: StatusError, 5: ServerError}
"""The error of a status that is not in `ERRORS`; one that is in neither is a `StatusError`."""

REQUEST_ID_HEADERS: Final = ("X-Request-Id", "X-Correlation-Id", "X-Amzn-RequestId", "X-Amzn-Trace-Id", "Request-Id")
FIELD_NAMES: Final = ("field", "property", "propertyPath", "path", "pointer", "param", "parameter", "loc", "name")
"""The names of a refused field's name, in the body's object or in the objects in it."""
NESTING_NAMES: Final = ("error", "errors", "details", "violations", "fieldErrors", "detail", "source")
"""The names of the objects that name a field."""
MESSAGE_NAMES: Final = (
    "message",
    "detail",
    "error_description",
    "defaultMessage",
    "errorMessage",
    "error_message",
    "msg",
    "description",
    "reason",
    "error",
)
"""The names of a message, the most telling one first; a ``title`` (RFC 9457, JSON:API) stands before it."""

_NUMBER = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,12})?", re.ASCII)
_LONGEST_WAIT = 1e9
"""Seconds. A longer wait is nonsense, and a Reset of so much is a moment since 1970."""
_RATE_LIMIT_PREFIXES: Final = ("RateLimit-", "X-RateLimit-")
REMAINING_HEADERS: Final = (*(f"{prefix}Remaining" for prefix in _RATE_LIMIT_PREFIXES), "RateLimit")
"""The headers that may say how many requests are left."""
_QUOTA: Final = re.compile(r"\b(remaining|reset|r|t)\s*=\s*(\d{1,12})", re.ASCII)
_JSON_BEGINS: Final = frozenset({b"{", b"[", b'"'})
_LONGEST_NAME = 128
_DEEPEST = 4


def error_for(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    method: str,
    path: str,
    now: dt.datetime | None = None,
) -> RequestError | None:
    """Return the error that an answer is.

    Args:
        status: the HTTP status.
        headers: of the answer.
        body: as much of it as there is, decompressed.
        method: of the request, for the error.
        path: of the request, without host and query, for the error.
        now: the time here, aware, for a moment in the headers of an answer that has no Date.

    Returns:
        None of a 2xx. An error with ``status``, ``method``, ``path``, ``retry_after`` (seconds), ``request_id`` and
        ``excerpt`` of everything else; a 400 or 422 also with its ``field``. ``attempts`` is left to the caller.
    """
    hundred = status // 100
    if hundred == 2:  # noqa: PLR2004 - RFC 9110, 15.3
        return None
    kind = ERRORS.get(status) or HUNDREDS.get(hundred, StatusError)
    error = kind(
        f"The server answers {_phrase(status)}",
        status=status,
        method=method,
        path=path,
        retry_after=_retry_after(headers, is_limited=kind is RateLimitedError, now=now),
        request_id=request_id(headers),
        excerpt=_telling_excerpt(body),
    )
    if isinstance(error, BadRequestError) and (field := next(_field_names(_json(body), _DEEPEST, path), None)):
        error.add(field=field)
        error.args = (f"{error.message} and names the field {field!r}",)
    elif isinstance(error, RedirectError):
        error.args = (f"The server redirects{_target(header(headers, 'Location'))} ({_phrase(status)})",)
    return error


def parse_retry_after(
    value: str | None, date_header: str | None = None, *, now: dt.datetime | None = None
) -> float | None:
    """Return the seconds that a Retry-After header asks to wait (RFC 9110, 10.2.3). Never raises.

    Args:
        value: the header's value, None without one.
        date_header: the answer's Date header. A date is taken relative to it, so that it does not matter whether
            the clocks here and there agree.
        now: the time here, aware, for a date in an answer that has no (readable) Date header.

    Returns:
        Seconds, at least 0; None when there is nothing to go by: seconds below 1e9, also with a fraction or as a list
        of the same number, and dates count, anything else (``inf``, ``-5``, ``1, 2``, nonsense) does not.
    """
    if value is None:
        return None
    seconds = _number(value)
    if seconds is not None:
        return seconds if seconds < _LONGEST_WAIT else None
    until = parse_http_date(value.strip())
    since = (parse_http_date(date_header) if date_header else None) or now
    if until is None or since is None:
        return None
    return max(0.0, (until - since).total_seconds())


def reset_in(headers: Mapping[str, str], *, now: dt.datetime | None, refused: bool = False) -> float | None:
    """Return the seconds until the server accepts requests again, None when it accepts them now or does not say.

    Args:
        headers: ``RateLimit-Remaining`` and ``-Reset``, or the same with ``X-``, or ``RateLimit`` as the drafts of the
            IETF (draft-ietf-httpapi-ratelimit-headers) have it: ``limit=10, remaining=0, reset=5`` up to 07,
            ``"default";r=0;t=5`` since 08. A Reset is a number of seconds, or a moment in seconds since 1970, which is
            taken relative to the answer's Date.
        now: the time here, aware, for an answer without a Date.
        refused: whether the server answers 429, so that a Reset counts without a Remaining.
    """
    waits = [
        _until(reset, headers, now)
        for remaining, reset in _quotas(headers)
        if reset is not None and not remaining and (remaining is not None or refused)
    ]
    return max((wait for wait in waits if 0 < wait < _LONGEST_WAIT), default=None)


def _until(reset: float, headers: Mapping[str, str], now: dt.datetime | None) -> float:
    """Return the seconds until a reset, 0 when that is not known."""
    if reset < _LONGEST_WAIT:
        return reset
    since = parse_http_date(header(headers, "Date") or "") or now
    return 0.0 if since is None else reset - since.timestamp()


def _quotas(headers: Mapping[str, str]) -> Iterator[tuple[float | None, float | None]]:
    """Yield what each limit leaves, and when it is reset; None: the server does not say."""
    for prefix in _RATE_LIMIT_PREFIXES:
        yield _number(header(headers, f"{prefix}Remaining")), _number(header(headers, f"{prefix}Reset"))
    combined = header(headers, "RateLimit") or ""
    for part in combined.split(",") if combined.startswith('"') else [combined]:
        found: dict[str, str] = dict(_QUOTA.findall(part))
        yield _number(found.get("remaining", found.get("r"))), _number(found.get("reset", found.get("t")))


def _retry_after(headers: Mapping[str, str], *, is_limited: bool, now: dt.datetime | None) -> float | None:
    milliseconds = _number(header(headers, "Retry-After-Ms"))
    if milliseconds is not None and milliseconds < 1000 * _LONGEST_WAIT:
        return milliseconds / 1000
    seconds = parse_retry_after(header(headers, "Retry-After"), header(headers, "Date"), now=now)
    return reset_in(headers, now=now, refused=True) if seconds is None and is_limited else seconds


def _number(text: str | None) -> float | None:
    """Return a number of at least 0; a list of the same one (a proxy adds its own header) is that one."""
    numbers = {part.strip() for part in (text or "").split(",")}
    found = numbers.pop()
    return float(found) if not numbers and _NUMBER.fullmatch(found) else None


def header(headers: Mapping[str, str], name: str) -> str | None:
    """Return a header by its name, whose case does not matter even where the mapping's does; None without it."""
    value = headers.get(name)
    if value is None:
        wanted = name.lower()
        value = next((text for key, text in headers.items() if key.lower() == wanted), None)
    return value


def _phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _printable(text: str) -> str | None:
    """Return text of a server as it may stand in a message: short, and without anything that moves a cursor."""
    cleaned = "".join(character for character in text.strip()[:_LONGEST_NAME] if character.isprintable())
    return cleaned or None


def request_id(headers: Mapping[str, str]) -> str | None:
    """Return the id that the server gave the request, None where it gave none."""
    values = (header(headers, name) for name in REQUEST_ID_HEADERS)
    return next((text for value in values if value and (text := _printable(value))), None)


def _target(location: str | None) -> str:
    """Return where a redirect leads: the origin alone, since the rest may hold what nobody should read."""
    try:
        parts = urlsplit(location or "")
        host = parts.hostname
        port = parts.port
    except ValueError:
        return ""
    if not host:
        return " to another path" if location else ""
    origin = f"{parts.scheme or 'https'}://{host}" + (f":{port}" if port else "")
    return f" to {_printable(origin)}"


def _json(body: bytes) -> Json:
    """Return the JSON that a body is, None where it is none."""
    try:
        content: Json = msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return content


def _telling_excerpt(body: bytes) -> str:
    """Return the excerpt of an error's body: its beginning if it is short, otherwise its messages if it has any."""
    beginning = excerpt(body)
    if not beginning.endswith("..."):
        return beginning
    if body.startswith(b"Traceback (most recent call last)"):
        return excerpt(body.rstrip().rpartition(b"\n")[2], longest=LONGEST_MESSAGE)
    messages = "; ".join(dict.fromkeys(_messages(_json(body), _DEEPEST)))
    return excerpt(messages.encode("utf-8", "replace"), longest=LONGEST_MESSAGE) or beginning


def _messages(content: Json, depth: int) -> Iterator[str]:
    """Return the messages in an error's body, from the outside in, each with the field that it is about."""
    if isinstance(content, str) and content.strip():
        yield content.strip()
    elif depth and isinstance(content, list):
        for entry in content[:_DEEPEST]:
            yield from _messages(entry, depth - 1)
    elif depth and isinstance(content, dict):
        own = _own_message(content, is_outermost=depth == _DEEPEST)
        if own:
            yield own
        for name in NESTING_NAMES:
            if isinstance(nested := content.get(name), list | dict):
                yield from _messages(nested, depth - 1)
        if not own and depth < _DEEPEST:
            yield from _messages_by_field(content)


def _own_message(content: dict[str, Json], *, is_outermost: bool) -> str:
    texts = [text for name in MESSAGE_NAMES if isinstance(text := content.get(name), str) and text.strip()]
    parts = [text.strip() for text in (content.get("title"), *texts[:1]) if isinstance(text, str) and text.strip()]
    field = None if is_outermost else next(_field_names(content, 2, ""), None)
    if parts and field and field not in parts[-1]:
        parts.insert(0, field)
    return ": ".join(dict.fromkeys(parts))


def _messages_by_field(content: dict[str, Json]) -> Iterator[str]:
    """Return the messages in ``{"worklogMinutes": ["must be positive"]}``, as ASP.NET writes its ``errors``."""
    for name, value in list(content.items())[:_DEEPEST]:
        if isinstance(value, list) and name not in NESTING_NAMES:
            yield from (f"{name}: {message}" for message in _messages(value, 1))


def _field_names(content: Json, depth: int, path: str) -> Iterator[str]:
    """Return the names of fields in an error's body; the ``path`` of the request, as Spring sends it, is none."""
    if depth and isinstance(content, list):
        for entry in content[:_DEEPEST]:
            yield from _field_names(entry, depth - 1, path)
    elif depth and isinstance(content, dict):
        for name in FIELD_NAMES:
            value = content.get(name)
            if name == "path" and isinstance(value, str) and (value.endswith(path) or "timestamp" in content):
                continue
            if text := _field_name(value):
                yield text
        for name in NESTING_NAMES:
            yield from _field_names(content.get(name), depth - 1, path)


def _field_name(value: Json) -> str | None:
    """Return a name, or the last part of a path such as ``["body", "worklogMinutes"]`` or ``/worklogMinutes``."""
    if isinstance(value, list):
        value = value[-1] if value else None
    if not isinstance(value, str) or not value.strip("/ "):
        return None
    return _printable(value.strip("/ ").rpartition("/")[2])
