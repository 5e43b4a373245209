"""A request and a response as values, and secrets that show nothing of themselves. No aiohttp type.

What `_api` and `_http` exchange: JSON bodies are written strictly, and a secret has no repr, no str and no pickle.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, Self, TypeAlias, TypeVar

import attrs
import msgspec

from tracket_async.errors import ConfigurationError, UsageError

T = TypeVar("T")

Pairs: TypeAlias = tuple[tuple[str, str], ...]
"""Names and values, in order: of headers, or of a query."""
Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
"""Any JSON value."""

_encoder = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"))
_PLAIN: Final = frozenset({str, int, bool, type(None)})
"""The types of values that msgspec writes as the json module does, in a fifth of the time. It would write NaN as null,
and objects of many types."""


def encode_json(content: Mapping[str, Any]) -> bytes:
    """Return an object as JSON, in UTF-8.

    Raises:
        UsageError: it holds what JSON cannot represent: infinity, NaN, half of a surrogate pair, an object, itself.
    """
    problem: Exception
    try:
        if _PLAIN.issuperset(map(type, content.values())):
            with contextlib.suppress(OverflowError):  # of an int that takes more than 64 bits
                return msgspec.json.encode(content)
        return _encoder.encode(content).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        problem = error
    raise UsageError(f"This cannot be written as JSON: {problem}")


@attrs.frozen
class Request:
    """One call, described and not yet sent.

    Attributes:
        method: the HTTP method, upper case.
        path: what follows the base URL, beginning with ``/api/``; ids in it are already checked and quoted.
        route: the path with its ids replaced, as in ``/api/1.0/worklogs/{id}``; for events and metrics.
        query: the query's names and values, not yet quoted, in order.
        body: the JSON body as bytes, None for none.
        headers: headers of the caller's own, see `own_headers`; their values are treated as secrets.
    """

    method: str
    path: str
    route: str
    query: Pairs = ()
    body: bytes | None = attrs.field(default=None, repr=False)
    headers: Pairs = attrs.field(default=(), repr=False)

    @property
    def idempotent(self) -> bool:
        """Return whether sending it twice has the effect of sending it once (RFC 9110, 9.2.2): all but POST here."""
        return self.method != "POST"


_SCRUBBED_BYTES: Final = 64 * 1024
"""Bytes of a body that an error may be made of: much more than it shows of it."""


@attrs.frozen
class Response:
    """One complete answer.

    Attributes:
        status: the HTTP status.
        headers: names are compared without case; of a repeated header the first counts.
        body: all of it, decompressed.
        reused: whether its connection had been used before, so that it may be an answer that nobody asked for.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    reused: bool = False

    def scrubbed(self, scrub: Callable[[str], str]) -> Self:
        """Return the answer with every secret masked in it, for an error that shows parts of it.

        Scrub first, then cut: half a secret is not recognised any more.
        """
        headers = reversed([(name, scrub(value)) for name, value in self.headers.items()])
        beginning = self.body[:_SCRUBBED_BYTES].decode("utf-8", "replace")
        return attrs.evolve(self, headers=dict(headers), body=scrub(beginning).encode("utf-8", "replace"))


@attrs.define(eq=False)
class CallRecord:
    """A record of what one operation of the client took; the session writes it.

    Attributes:
        response: the 2xx answer to its first call; None while there is none.
        attempts: of all its calls.
        seconds: of all its calls, from queueing to the last byte.
        calls: how many calls have ended.
    """

    response: Response | None = attrs.field(default=None, repr=False)
    attempts: int = 0
    seconds: float = 0.0
    calls: int = 0

    def noting(self, parse: Callable[[Response], T]) -> Callable[[Response], T]:
        """Return the parser, which notes what it is given while this is the first call."""

        def parse_and_note(response: Response) -> T:
            if not self.calls:
                self.response = response
            return parse(response)

        return parse_and_note

    def end(self, attempts: int, seconds: float) -> None:
        """Add a call that has ended."""
        self.calls += 1
        self.attempts += attempts
        self.seconds += seconds


_MASK: Final = "***"
_SHORTEST_SCRUBBED: Final = 4


class Secret:
    """A string that shows nothing of itself. ``reveal()`` returns the text.

    Args:
        text: the secret.
        prefix: what precedes it in a header (``"Bearer "``), which is no secret.
    """

    __slots__ = ("_prefix", "_text")

    def __init__(self, text: str, *, prefix: str = "") -> None:
        self._text = text
        self._prefix = prefix

    def reveal(self) -> str:
        """Return the text itself, with its prefix: for a header or a body, for nothing else."""
        return self._prefix + self._text

    def scrub(self, text: str) -> str:
        """Return the text with this secret masked in it. A secret of under four characters is not looked for."""
        return text.replace(self._text, _MASK) if len(self._text) >= _SHORTEST_SCRUBBED else text

    def __repr__(self) -> str:
        return f"Secret({_MASK!r})"

    def __str__(self) -> str:
        return _MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self.reveal().encode(), other.reveal().encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret is not written anywhere: it cannot be pickled")


NO_AUTHORIZATION: Final = Secret("")
"""The null object in place of an Authorization header: none is sent."""


def header_text(name: str, value: object) -> str:
    """Check a header's value and return it: visible ASCII, and spaces inside (RFC 9110, 5.5).

    Raises:
        ConfigurationError: naming the setting, never showing the value.
    """
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} must be a string, not {type(value).__name__}")
    if not value.strip():
        raise ConfigurationError(f"{name} is empty")
    if value != value.strip():
        raise ConfigurationError(f"{name} begins or ends with white space: remove it (a line end, perhaps)")
    if not (value.isascii() and value.isprintable()):
        raise ConfigurationError(f"{name} contains a line end, a control character or a character outside ASCII")
    return value


_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HINTS: Final = {
    "authorization": "Use the client's auth: BearerToken(token, scheme=...) or ClientCredentials",
    "user-agent": "Use the client's user_agent",
    "host": "Use the client's base_url",
    "proxy-authorization": "Give user and password in the client's proxy",
}
_OURS: Final = frozenset(
    {
        *_HINTS,
        *("accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect"),
        *("keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)
"""The headers that belong to the client, in lower case: another value would break a request or its answer."""


def own_headers(headers: Mapping[str, str]) -> Pairs:
    """Check headers of the caller's own and return them.

    Raises:
        ConfigurationError: one has no valid name or value, or is the client's own. Names the header, shows no value.
    """
    for name, content in headers.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
            raise ConfigurationError(f"{name!r} is no name of a header: letters, digits and hyphens (RFC 9110, 5.1)")
        if (folded := name.lower()) in _OURS:
            hint = _HINTS.get(folded, "Leave it out: the client sets it")
            raise ConfigurationError(f"The header {name} belongs to the client and cannot be replaced", hint=hint)
        header_text(f"The header {name}", content)
    return tuple(headers.items())


def merge_headers(first: Pairs, second: Pairs) -> Pairs:
    """Return the headers of both; of a name that is in both, in whatever case, the second's."""
    replaced = {name.lower() for name, _ in second}
    return (*(pair for pair in first if pair[0].lower() not in replaced), *second)
