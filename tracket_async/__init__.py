"""The asyncio client for Tracket, the time tracking of monday.com teams: its public names, and nothing else.

Each name is imported when it is first used. A pytest that merely finds the plugin of this package, or a command line
that merely prints its help, should not have to wait for aiohttp.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from tracket_async._version import __version__

if TYPE_CHECKING:
    from tracket_async._http.auth import AccessToken, BearerToken, ClientCredentials, TokenSource
    from tracket_async._http.limits import LearnedRate
    from tracket_async._http.messages import Request, Response
    from tracket_async._http.session import TracketSession
    from tracket_async.bulk import Ambiguous, Failed, NotSent, Ok, Outcome, Outcomes
    from tracket_async.changes import Change, ChangeBatch
    from tracket_async.client import TracketClient
    from tracket_async.config import Limits, RetryPolicy, SharedRate, Timeouts
    from tracket_async.errors import (
        AmbiguousWriteError,
        AttemptTimeoutError,
        AuthenticationError,
        BadRequestError,
        CertificateError,
        ClientStateError,
        ConfigurationError,
        ConflictError,
        ConnectError,
        ConnectionLostError,
        CursorLoopError,
        DeadlineExceededError,
        ExportError,
        GoneError,
        IncompleteExportError,
        MalformedResponseError,
        MismatchedResponseError,
        MissingExtraError,
        NetworkError,
        NotFoundError,
        PayloadTooLargeError,
        PermissionDeniedError,
        RateLimitedError,
        RedirectError,
        RequestError,
        ResponseError,
        ResponseTooLargeError,
        ServerError,
        StatusError,
        StorageError,
        StoreError,
        TargetBusyError,
        TracketError,
        TruncatedResponseError,
        UnreadableResponseError,
        UnsupportedError,
        UsageError,
    )
    from tracket_async.frames import WorklogTable
    from tracket_async.models import (
        UNSET,
        ApprovalStatus,
        BadRow,
        Category,
        NewWorklog,
        Page,
        Worklog,
        WorklogChanges,
        WorklogFilter,
    )
    from tracket_async.pagination import Paginator
    from tracket_async.with_response import WithResponse
    from tracket_async.worklogs import Categories, Worklogs

__all__ = [
    "UNSET",
    "AccessToken",
    "Ambiguous",
    "AmbiguousWriteError",
    "ApprovalStatus",
    "AttemptTimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "BadRow",
    "BearerToken",
    "Categories",
    "Category",
    "CertificateError",
    "Change",
    "ChangeBatch",
    "ClientCredentials",
    "ClientStateError",
    "ConfigurationError",
    "ConflictError",
    "ConnectError",
    "ConnectionLostError",
    "CursorLoopError",
    "DeadlineExceededError",
    "ExportError",
    "Failed",
    "GoneError",
    "IncompleteExportError",
    "LearnedRate",
    "Limits",
    "MalformedResponseError",
    "MismatchedResponseError",
    "MissingExtraError",
    "NetworkError",
    "NewWorklog",
    "NotFoundError",
    "NotSent",
    "Ok",
    "Outcome",
    "Outcomes",
    "Page",
    "Paginator",
    "PayloadTooLargeError",
    "PermissionDeniedError",
    "RateLimitedError",
    "RedirectError",
    "Request",
    "RequestError",
    "Response",
    "ResponseError",
    "ResponseTooLargeError",
    "RetryPolicy",
    "ServerError",
    "SharedRate",
    "StatusError",
    "StorageError",
    "StoreError",
    "TargetBusyError",
    "Timeouts",
    "TokenSource",
    "TracketClient",
    "TracketError",
    "TracketSession",
    "TruncatedResponseError",
    "UnreadableResponseError",
    "UnsupportedError",
    "UsageError",
    "WithResponse",
    "Worklog",
    "WorklogChanges",
    "WorklogFilter",
    "WorklogTable",
    "Worklogs",
    "__version__",
]

_HOMES: Final = {
    "bulk": ("Ambiguous", "Failed", "NotSent", "Ok", "Outcome", "Outcomes"),
    "changes": ("Change", "ChangeBatch"),
    "client": ("TracketClient",),
    "frames": ("WorklogTable",),
    "models": (
        "UNSET",
        "ApprovalStatus",
        "BadRow",
        "Category",
        "NewWorklog",
        "Page",
        "Worklog",
        "WorklogChanges",
        "WorklogFilter",
    ),
    "_http.auth": ("AccessToken", "BearerToken", "ClientCredentials", "TokenSource"),
    "_http.limits": ("LearnedRate",),
    "_http.messages": ("Request", "Response"),
    "_http.session": ("TracketSession",),
    "config": ("Limits", "RetryPolicy", "SharedRate", "Timeouts"),
    "pagination": ("Paginator",),
    "with_response": ("WithResponse",),
    "worklogs": ("Categories", "Worklogs"),
}
"""The module of each public name; all others are errors."""

_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = importlib.import_module(f"{__name__}.{_HOME_OF.get(name, 'errors')}")
    value = globals()[name] = getattr(home, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
