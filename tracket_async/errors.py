"""The exceptions of this package, and whose fault each one is.

    TracketError
    |-- UsageError (ValueError)            client: a bad argument or setting; nothing was sent
    |   |-- ConfigurationError             settings or environment
    |   |-- UnsupportedError               not offered by this version of the API
    |   `-- MissingExtraError              an optional dependency is not installed
    |-- ClientStateError (RuntimeError)    client: the client is not open (any more)
    |-- RequestError                       one call failed; it says which, and how often it was tried
    |   |-- NetworkError                   network
    |   |   |-- ConnectError               no connection: the request was provably not sent
    |   |   |   `-- CertificateError       the server's certificate is not trusted; not retried
    |   |   |-- ConnectionLostError        the connection broke before the whole answer was there
    |   |   |-- TruncatedResponseError     the answer ended early
    |   |   |-- AttemptTimeoutError (TimeoutError)    one attempt took too long
    |   |   `-- DeadlineExceededError (TimeoutError)  the whole call took too long
    |   |-- StatusError                    the server answered with an error
    |   |   |-- BadRequestError            400, 422     client
    |   |   |-- AuthenticationError        401          client
    |   |   |-- PermissionDeniedError      403          client
    |   |   |-- NotFoundError              404          client
    |   |   |-- ConflictError              409          client
    |   |   |-- GoneError                  410          client
    |   |   |-- PayloadTooLargeError       413          client
    |   |   |-- RateLimitedError           429          server
    |   |   `-- ServerError                5xx          server
    |   |-- ResponseError                  server: the answer cannot be used
    |   |   |-- UnreadableResponseError    not JSON (an HTML page, say)
    |   |   |-- MalformedResponseError     JSON of another shape; names the path and the worklog
    |   |   |-- MismatchedResponseError    the answer to another request
    |   |   |-- ResponseTooLargeError      longer than the cap
    |   |   `-- RedirectError              the server sent us elsewhere; never followed
    |   |-- CursorLoopError                server: the cursors of a walk go round in a circle
    |   `-- AmbiguousWriteError            network: a create whose answer was lost
    `-- ExportError                        an export or a sync stopped before its end
        |-- TargetBusyError                client: another process is writing there
        |-- StoreError                     client: the store is of another request, version or program
        |-- StorageError (OSError)         client: disk full, or not writable
        `-- IncompleteExportError          what was exported could not be verified to be everything

Rules: an exception carries data and not only a sentence; it survives pickling; it never holds a secret, a header
or a body beyond a short redacted excerpt; a foreign exception never hides in ``__context__``.

Which failures are retried, as a retry could succeed and does no harm:

| call | is retried after |
|---|---|
| GET, PUT, DELETE | a failure of the network, an unreadable answer, 408, 429, 5xx but those of `FINAL_STATUSES` |
| POST | what provably did not reach the server, 429 |
| any | never after a certificate that is not trusted, or a proxy's 4xx: they stay what they are |
"""

from __future__ import annotations

import datetime as dt
import json
import shlex
import sys
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit
from urllib.request import url2pathname

Fault = Literal["client", "server", "network"]

FINAL_STATUSES: Final = frozenset({501, 505, 506, 507, 508, 510, 511})
"""The 5xx that stay what they are. Any other, known or not, is like 500 (RFC 9110, 15)."""

LIMITED: Final = 429
REQUEST_TIMEOUT: Final = 408


def _restore(cls: type[TracketError], args: tuple[Any, ...], state: dict[str, Any]) -> TracketError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class TracketError(Exception):
    """The root of the tree: catch it to catch everything that this package raises on purpose.

    Attributes:
        fault: whose fault it is: ``"client"``, ``"server"`` or ``"network"``.
        hint: what to do next, one sentence.
        cursor: in the middle of a walk, the cursor from which the walk can be resumed: nothing that was yielded
            before comes again, nothing is missed. None: resume from the start, or this is no walk.
    """

    fault: Fault = "client"
    hint: str = ""
    cursor: str | None = None

    def __init__(self, *args: object, **details: Any) -> None:
        super().__init__(*args)
        self.add(**details)

    def add(self, **details: Any) -> Self:
        """Set attributes that were not known where the error arose.

        Raises:
            TypeError: the error has no such attribute.
        """
        for name, value in details.items():
            if not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__} has no detail {name!r}")
            setattr(self, name, value)
        return self

    @property
    def message(self) -> str:
        """Return what happened, without the hint."""
        return str(self.args[0]) if self.args else type(self).__name__

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__.copy())


class UsageError(TracketError, ValueError):
    """An argument or setting is wrong. Nothing was sent."""


class ConfigurationError(UsageError):
    """A setting, or the environment, is incomplete or contradicts itself."""


class UnsupportedError(UsageError):
    """The version of the API in use does not offer this."""


class MissingExtraError(UsageError):
    """An optional dependency is needed for this and is not installed."""


def install_hint(extra: str) -> str:
    """Return the sentence that says how to install an extra, from the same source as this package.

    Args:
        extra: its name in ``pyproject.toml``.
    """
    import importlib.metadata  # slow, and only an error needs it

    try:
        found = importlib.metadata.distribution("tracket-async").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        found = None
    source: dict[str, Any] = json.loads(found or "{}")
    words = [f"tracket-async[{extra}]"]
    if "dir_info" in source:  # a clone; see the packaging specification of direct_url.json
        url: str = source["url"]
        words = [f"{url2pathname(urlsplit(url).path)}[{extra}]"]
        if source["dir_info"].get("editable"):
            words.insert(0, "--editable")
    return f"Run: {pip_install(*words)}"


def pip_install(*words: str) -> str:
    """Return a command for a shell that installs something for this Python, wherever it is pasted."""
    return shlex.join((sys.executable, "-m", "pip", "install", *words))


class ClientStateError(TracketError, RuntimeError):
    """The client was used outside ``async with``, or after it was closed.

    Attributes:
        maybe_sent: True when the call was in progress as the client was closed, and its request may have been sent.
    """

    maybe_sent: bool = False


class RequestError(TracketError):
    """One call failed.

    Attributes:
        method: the HTTP method, ``""`` when unknown.
        path: the path of the request, without host and query.
        status: the HTTP status, None when no answer came.
        attempts: how many attempts were made; 0 when the first was never made.
        retry_after: seconds that the server asked to wait, None when it did not say.
        request_id: the server's id of the (last) request, None when it gave none.
        excerpt: the beginning of the answer's body, shortened and redacted; ``""`` without one.
        maybe_sent: False when the request provably had no effect: it was never sent, or refused.
        maybe_done: True when an attempt of the call, the last or an earlier one, may have taken effect: an update that
            is refused at last may have happened in the attempt before, whose answer was lost.
        stopped_by: why no further attempt was made: ``"attempts"`` (all used up), ``"deadline"``, ``"budget"``
            (too many calls of this session are failing), ``"retry_after"`` (the server asked for a longer wait
            than is allowed), or None: a retry could not have succeeded.
    """

    method: str = ""
    path: str = ""
    status: int | None = None
    attempts: int = 0
    retry_after: float | None = None
    request_id: str | None = None
    excerpt: str = ""
    maybe_sent: bool = True
    maybe_done: bool = False
    stopped_by: Literal["attempts", "deadline", "budget", "retry_after"] | None = None

    @property
    def is_ambiguous(self) -> bool:
        """Return whether what was asked may have happened although the call failed.

        Of a call that is not idempotent this is what a caller must know before sending it again. A 4xx is the server's
        own word that it did nothing, except 408, which a proxy may say of a request that it has already passed on. An
        earlier attempt of the same call is another matter: ``maybe_done``.
        """
        return self.maybe_done or self.maybe_sent

    @property
    def is_passing(self) -> bool:
        """Return whether the fault may be over after a while; False of one that stays until somebody mends it."""
        if isinstance(self, UnreadableResponseError):
            return not self.came_twice
        if self.status is None:
            passing = isinstance(self, NetworkError | ServerError | RateLimitedError)
            return passing and not isinstance(self, CertificateError)
        if 500 <= self.status < 600:  # noqa: PLR2004
            return self.status not in FINAL_STATUSES
        return self.status in {REQUEST_TIMEOUT, LIMITED}

    def is_retryable(self, *, idempotent: bool) -> bool:
        """Return whether a retry could succeed, and does no harm. See the table at the top.

        Args:
            idempotent: whether sending the request twice has the effect of sending it once.
        """
        if self.stopped_by is not None or isinstance(self, DeadlineExceededError):
            return False
        return self.is_passing and (idempotent or not self.maybe_sent or self.status == LIMITED)

    def __str__(self) -> str:
        facts: list[str] = []
        if self.method:
            facts.append(f"{self.method} {self.path}")
        if self.attempts > 1:
            facts.append(f"{self.attempts} attempts")
        if self.stopped_by == "budget":
            facts.append("the session's retry budget is used up")
        if self.retry_after is not None:
            facts.append(f"the server asks to wait {self.retry_after:g} s")
        if self.request_id:
            facts.append(f"request id {self.request_id}")
        text = self.message + (f" ({', '.join(facts)})" if facts else "")
        if self.excerpt:
            text += f": {self.excerpt!r}"
        return f"{text}. {self.hint}" if self.hint else text


class NetworkError(RequestError):
    """Something between here and the server."""

    fault: Fault = "network"


class ConnectError(NetworkError):
    """No connection could be made (DNS, TCP, TLS): the request was not sent."""

    hint = "Check TRACKET_BASE_URL and the network"
    maybe_sent = False


class CertificateError(ConnectError):
    """The server's certificate is not trusted, expired or another's. Never retried: it stays what it is."""

    hint = (
        "Check TRACKET_BASE_URL and this machine's clock. Name a certificate authority of your own in"
        " TRACKET_CA_BUNDLE, or give ssl="
    )


class ConnectionLostError(NetworkError):
    """The connection broke before the whole answer had arrived."""


class TruncatedResponseError(NetworkError):
    """The answer ended before its announced or well-formed end."""


class AttemptTimeoutError(NetworkError, TimeoutError):
    """One attempt took longer than ``Timeouts`` allows."""


class DeadlineExceededError(NetworkError, TimeoutError):
    """The call, with its queueing and its retries, took longer than its deadline."""

    hint = "Raise Timeouts.total, or make fewer calls at once"


class StatusError(RequestError):
    """The server answered, and the answer is an error."""

    fault: Fault = "server"

    @property
    def is_ambiguous(self) -> bool:
        """Return whether what was asked may have happened although the call failed. See `RequestError`."""
        refused = 400 <= (self.status or 0) < 500 and self.status != REQUEST_TIMEOUT  # noqa: PLR2004
        return self.maybe_done or (self.maybe_sent and not refused)


class BadRequestError(StatusError):
    """400 or 422: the server refuses what was sent.

    Attributes:
        field: the field that the server names, None when it names none.
    """

    fault: Fault = "client"
    field: str | None = None


class AuthenticationError(StatusError):
    """401: the token or the client credentials are not accepted."""

    fault: Fault = "client"
    hint = "Check TRACKET_TOKEN, or TRACKET_CLIENT_ID, TRACKET_CLIENT_SECRET and TRACKET_ACCOUNT_ID"


class PermissionDeniedError(StatusError):
    """403: the token is good, and may not do this."""

    fault: Fault = "client"
    hint = "Use credentials of a user who may do this; monday.com admins see every user's worklogs"


class NotFoundError(StatusError):
    """404: there is nothing of that id."""

    fault: Fault = "client"


class ConflictError(StatusError):
    """409: what was sent contradicts what the server has."""

    fault: Fault = "client"


class GoneError(StatusError):
    """410: it was there once (a cursor that has expired, say)."""

    fault: Fault = "client"


class PayloadTooLargeError(StatusError):
    """413: the server refuses a body of this size."""

    fault: Fault = "client"


class RateLimitedError(StatusError):
    """429: too many requests; ``retry_after`` says how long to wait, if the server said so."""

    hint = "Wait, or lower Limits.max_concurrency"


class ServerError(StatusError):
    """5xx: the server failed."""

    hint = "Try again later"


class ResponseError(RequestError):
    """The server's answer cannot be used."""

    fault: Fault = "server"


class UnreadableResponseError(ResponseError):
    """The body is not JSON.

    Attributes:
        came_twice: True when the same broken JSON has come twice: it is no fault of the way, and would come again.
    """

    came_twice: bool = False
    hint = "A proxy or a login page may stand between; check TRACKET_BASE_URL"


class MalformedResponseError(ResponseError):
    """The body is JSON, and not of the shape that the API promises.

    Attributes:
        json_path: where, as in ``$.worklogs[17].worklogMinutes``.
        worklog_id: the id of the worklog concerned, None when it cannot be told.
    """

    json_path: str = "$"
    worklog_id: str | None = None


class MismatchedResponseError(ResponseError):
    """The answer is that to another request: a worklog of another id, twice, the second time over a new connection."""

    hint = "A proxy mixes answers up, or the server does; check TRACKET_BASE_URL"


class ResponseTooLargeError(ResponseError):
    """The body is longer than ``Limits.max_response_bytes``, decompressed."""


class RedirectError(ResponseError):
    """The server redirects. Following it could hand credentials to another host, so it is refused."""

    hint = "Set TRACKET_BASE_URL to the address that the server really has"


class CursorLoopError(RequestError):
    """The server's cursors, or its pages, lead back to where the walk has been."""

    fault: Fault = "server"
    hint = (
        "The server may expect the cursor in another query parameter: on API 1.0, set cursor_parameter,"
        " --v1-cursor-parameter or TRACKET_V1_CURSOR_PARAMETER. Otherwise report it to the vendor;"
        " narrowing the dates may walk around it"
    )


class AmbiguousWriteError(RequestError):
    """A create was sent and its answer was lost: it may or may not have happened.

    Attributes:
        payload: the ``NewWorklog`` that was sent.
        sent_at: this machine's time before it was sent, aware UTC; None when unknown.
        candidates: worklogs found by reading back that could be the one, ``()`` when nobody looked.
    """

    fault: Fault = "network"
    hint = "Look whether it exists before you send it again"
    payload: Any = None
    sent_at: dt.datetime | None = None
    candidates: tuple[Any, ...] = ()


class ExportError(TracketError):
    """An export or a sync stopped before its end. What is in the store is kept."""


class TargetBusyError(ExportError):
    """Another process is exporting to the same target."""


class StoreError(ExportError):
    """The store belongs to another request, another schema version, or another program."""


class StorageError(ExportError, OSError):
    """The disk is full, or the target is not writable."""


class IncompleteExportError(ExportError):
    """A list or an export ended, and what it has is not provably everything.

    Attributes:
        seen: how many worklogs it has; None when unknown.
        total: how many the server counts; None when unknown.
    """

    fault: Fault = "server"
    seen: int | None = None
    total: int | None = None


def maybe_sent(error: BaseException) -> bool:
    """Return whether what was asked may have happened although the call ended with this exception.

    Of a `RequestError` it is `RequestError.is_ambiguous`. A `ClientStateError` and an ``asyncio.CancelledError`` that
    have left `TracketSession.send` know whether a request was in flight, or an earlier attempt may have taken effect: a
    call that is cancelled while it waits for its turn, a pause, a token or its next attempt was not sent. Of any other
    exception nothing is known: True.
    """
    if isinstance(error, RequestError):
        return error.is_ambiguous
    return bool(getattr(error, "maybe_sent", True))
