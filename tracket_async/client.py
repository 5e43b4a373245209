"""The client: its settings, its session and the way to every operation.

``worklogs.py`` has the operations, ``_http/session.py`` has what happens to each request. A version of the API is
imported when a client of it is made, and what writes worklogs, retries and exports when it is opened: together, these
would be half of the time that importing the client takes.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import importlib
import math
import os
import re
import ssl as ssl_module
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypedDict, TypeVar, Unpack

import attrs

from tracket_async._http.auth import AccessToken, Auth, BearerToken, ClientCredentials
from tracket_async._http.limits import Clock
from tracket_async._http.messages import Request, Response, merge_headers, own_headers
from tracket_async._http.session import SessionStatistics, TracketSession
from tracket_async._tasks import check_asyncio
from tracket_async.config import CallOptions, Limits, RetryPolicy, Timeouts
from tracket_async.errors import ClientStateError, ConfigurationError, UsageError
from tracket_async.worklogs import CallContext, Categories, Worklogs

if TYPE_CHECKING:
    from tracket_async._api.endpoints import ApiVersion, StartDate
    from tracket_async._http.transport import Resolver
    from tracket_async.events import Observer


def _v1(**settings: Any) -> ApiVersion:
    from tracket_async._api import v1

    return v1.api_version(**settings)


def _v2(**settings: Any) -> ApiVersion:
    from tracket_async._api import v2

    return v2.api_version(**settings)


API_VERSIONS: Final[Mapping[str, Callable[..., ApiVersion]]] = {"1.0": _v1, "2.0": _v2}
"""Functions that make the `ApiVersion` of each version."""

_VERSION_OF_SETTING: Final = {"cursor_parameter": "1.0", "start_date": "1.0", "page_size": "2.0"}
"""The settings of `TracketClient` that one version of the API takes alone."""

_IMPORTED_AT_OPENING: Final = (
    "tracket_async._http.retry",
    "tracket_async._api.converters",
    "tracket_async.bulk",
    "tracket_async.reconcile",
    "tracket_async.scan.parallel",
)
"""What importing the client would take too long for, and what would hold the event loop in the middle of a call."""

T = TypeVar("T")
Api = Literal["1.0", "2.0"]


API: Final = "TRACKET_API"
BASE_URL: Final = "TRACKET_BASE_URL"
CA_BUNDLE: Final = "TRACKET_CA_BUNDLE"
LOG: Final = "TRACKET_LOG"
RATE: Final = "TRACKET_RATE"
V1_SCHEME: Final = "TRACKET_V1_SCHEME"
V1_SETTINGS: Final = {"TRACKET_V1_CURSOR_PARAMETER": "cursor_parameter", "TRACKET_V1_START_DATE": "start_date"}
"""What the vendor's page of API 1.0 leaves open, and the argument of `TracketClient` for it."""
TOKEN: Final = "TRACKET_TOKEN"  # noqa: S105 - the variable's name
CREDENTIALS: Final = ("TRACKET_CLIENT_ID", "TRACKET_CLIENT_SECRET", "TRACKET_ACCOUNT_ID")


@functools.cache
def import_rest() -> None:
    """Import what is imported at opening. In a thread: it gives way to the event loop every 5 ms."""
    for name in _IMPORTED_AT_OPENING:
        importlib.import_module(name)


def settings_of(environ: Mapping[str, str], *, auth: bool = True, api: str | None = None) -> dict[str, Any]:
    """Return the arguments of `TracketClient` that the environment gives. A variable that is empty is not set.

    TRACKET_TOKEN, where it is set, is used as it is, whatever is set beside it. Otherwise TRACKET_CLIENT_ID,
    TRACKET_CLIENT_SECRET and TRACKET_ACCOUNT_ID together are exchanged for tokens.

    Args:
        environ: the variables.
        auth: whether to look for credentials.
        api: the version of the API that is used, whatever the environment says; None: the environment's. TRACKET_V1_*
            counts with 1.0 alone.

    Raises:
        ConfigurationError: credentials are missing, or a part of them (names the variables and shows no value); the CA
            bundle cannot be read; the rate is no number above 0.
    """
    found: dict[str, Any] = {}
    if named := environ.get(API):
        found["api"] = named
    is_v1 = (api or named) == "1.0"
    if is_v1:
        found |= {argument: environ[name] for name, argument in V1_SETTINGS.items() if environ.get(name)}
    if base_url := environ.get(BASE_URL):
        found["base_url"] = base_url
    if bundle := environ.get(CA_BUNDLE):
        found["ssl"] = _trusting(bundle)
    if rate := environ.get(RATE):
        found["limits"] = Limits(requests_per_second=_rate(rate))
    if auth:
        found["auth"] = _auth(environ, environ.get(V1_SCHEME) if is_v1 else None)
    return found


def _trusting(bundle: str) -> ssl_module.SSLContext:
    """Return a context that trusts a file or folder of PEM certificates beside those of the operating system."""
    context = ssl_module.create_default_context()
    is_folder = os.path.isdir(bundle)  # noqa: PTH112 - any text is an answer, and no exception
    try:
        context.load_verify_locations(**{"capath" if is_folder else "cafile": bundle})
    except OSError as error:
        reason = "it holds no PEM certificate" if isinstance(error, ssl_module.SSLError) else error.strerror
        problem = f"{CA_BUNDLE}={bundle} cannot be used: {reason}"
    else:
        return context
    raise ConfigurationError(problem, hint="Give a file of PEM certificates (BEGIN CERTIFICATE), or unset it")


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise ConfigurationError(f"{RATE} must be a number of requests a second above 0, not {text!r}")
    return rate


def _auth(environ: Mapping[str, str], scheme: str | None) -> Auth:
    if token := environ.get(TOKEN):
        return BearerToken(token) if not scheme else BearerToken(token, scheme="" if scheme == "none" else scheme)
    missing = [name for name in CREDENTIALS if not environ.get(name)]
    if len(missing) == len(CREDENTIALS):
        raise _missing(f"Neither {TOKEN} nor {', '.join(CREDENTIALS[:-1])} and {CREDENTIALS[-1]} are set")
    if missing:
        present = [name for name in CREDENTIALS if name not in missing]
        raise _missing(f"{' and '.join(present)} {_is(present)} set, but {' and '.join(missing)} {_is(missing)} not")
    if scheme:
        raise ConfigurationError(
            f"{V1_SCHEME} goes with {TOKEN}, and client credentials are set", hint=f"Unset it, or set {TOKEN}"
        )
    client_id, client_secret, account_id = (environ[name] for name in CREDENTIALS)
    return ClientCredentials(client_id, client_secret, account_id)


_API_PATH: Final = re.compile(r"/api/\d+\.\d+(?:/(?:worklogs|timeEntries)?)?", re.ASCII)


def _without_api(base_url: Any) -> Any:
    """Check that a base URL does not have the path that each request adds.

    Raises:
        ConfigurationError: it has.
    """
    found = _API_PATH.search(base_url) if isinstance(base_url, str) else None
    if found is not None and found.end() == len(base_url):
        without = base_url[: found.start()]
        if "@" in without or "?" in without:
            return base_url  # refused elsewhere, and not shown
        raise ConfigurationError(
            f"The base URL ends with {found[0]}, which is added to it", hint=f"Leave that part out: {without}"
        )
    return base_url


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _missing(message: str) -> ConfigurationError:
    return ConfigurationError(
        message, hint="Make a client id and secret in Tracket under Preferences, API tokens, or set an access token"
    )


class ClientSettings(TypedDict, total=False):
    """The arguments of `TracketClient`, for type checkers: those that `TracketClient.from_env` takes, too."""

    auth: Auth | None
    api: Api
    base_url: str | None
    timeouts: Timeouts
    retry: RetryPolicy
    limits: Limits
    observers: Iterable[Observer]
    page_size: int | None
    cursor_parameter: str | None
    start_date: StartDate | None
    user_agent: str | None
    ssl: ssl_module.SSLContext | None
    proxy: str | None
    trust_env: bool
    resolver: Resolver | None
    headers: Mapping[str, str] | None
    query: Mapping[str, str] | None
    clock: Clock


class TracketClient:
    """Call the Tracket API for one account, from as many tasks at once as you like, on one event loop.

    Use it with ``async with``, or `open` and `aclose` it:

        async with TracketClient(auth=BearerToken(token)) as client:
            async for worklog in client.worklogs.list(since=monday):
                ...

    Args:
        auth: `BearerToken` or `ClientCredentials`; None sends no Authorization header (a proxy adds it, say).
        api: the version of the API: ``"2.0"``, the live one, or ``"1.0"``.
        base_url: an origin with an optional path in front of ``/api/...``; https, or a loopback host. None: the
            vendor's for that version.
        timeouts: how long a call, an attempt and its parts may take, in seconds.
        retry: how often and after which waits a failed call is tried again.
        limits: how many requests at once, how many a second, how large a response.
        observers: called with each event of ``tracket_async.events``, in this order.
        page_size: API 2.0 only: worklogs on a page of a list, 1 to 100. None: 100.
        cursor_parameter: API 1.0 only: the query parameter that takes a cursor. None: ``"cursor"``.
        start_date: API 1.0 only: how the first date of a list is sent: ``"moment"``, a date-time, or ``"day"``.
            None: ``"moment"``.
        user_agent: the User-Agent header; None: ``tracket-async/<version>``.
        ssl: the context that verifies the server; None: verified with the operating system's certificates.
        proxy: the URL of an http proxy, with user and password if need be. None: see ``trust_env``.
        trust_env: whether HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY count; ``~/.netrc`` never does.
        resolver: finds the addresses of a host, an ``aiohttp.abc.AbstractResolver``; you close it. None: aiohttp's own.
        headers: sent with each call besides the client's own, which it cannot replace; not with the token call. Their
            values are kept out of logs and errors.
        query: added to the query of each call; no names that the client uses. Servers and proxies log it.
        clock: time, waiting and chance, for tests.

    Attributes:
        worklogs: the operations on worklogs.
        categories: the operations on categories (API 2.0).

    Raises:
        ConfigurationError: a setting is wrong, or contradicts another.
    """

    def __init__(
        self,
        *,
        auth: Auth | None,
        api: Api = "2.0",
        base_url: str | None = None,
        timeouts: Timeouts = Timeouts(),
        retry: RetryPolicy = RetryPolicy(),
        limits: Limits = Limits(),
        observers: Iterable[Observer] = (),
        page_size: int | None = None,
        cursor_parameter: str | None = None,
        start_date: StartDate | None = None,
        user_agent: str | None = None,
        ssl: ssl_module.SSLContext | None = None,
        proxy: str | None = None,
        trust_env: bool = False,
        resolver: Resolver | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        clock: Clock = Clock(),
    ) -> None:
        api_version = _api_version(api, cursor_parameter=cursor_parameter, start_date=start_date, page_size=page_size)
        session = TracketSession(
            api_version.default_origin if base_url is None else _without_api(base_url),
            auth=auth,
            timeouts=timeouts,
            retry=retry,
            limits=limits,
            observers=observers,
            user_agent=user_agent,
            ssl=ssl,
            proxy=proxy,
            trust_env=trust_env,
            resolver=resolver,
            clock=clock,
        )
        self._account = auth.account_id if isinstance(auth, ClientCredentials) else None
        options = CallOptions(headers=own_headers(headers or {}), query=api_version.own_query(query or {}))
        self._use(CallContext(session=session, api_version=api_version, options=options, clock=clock))

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **settings: Unpack[ClientSettings]) -> Self:
        """Make the client that the environment describes.

        TRACKET_API (``1.0`` or ``2.0``), TRACKET_BASE_URL, and for the credentials TRACKET_TOKEN, which wins where it
        is set, or TRACKET_CLIENT_ID, TRACKET_CLIENT_SECRET and TRACKET_ACCOUNT_ID. TRACKET_CA_BUNDLE is a file or
        folder of PEM certificates that are trusted beside the operating system's, TRACKET_RATE the highest number of
        requests a second. With API 1.0, TRACKET_V1_CURSOR_PARAMETER is its ``cursor_parameter``, TRACKET_V1_START_DATE
        its ``start_date``, and TRACKET_V1_SCHEME the word before TRACKET_TOKEN in the Authorization header (or
        ``none``). TRACKET_LOG (``debug`` or ``info``) writes a log to standard error, see
        `tracket_async.instrumentation.log_to_stderr`. A variable that is empty is not set.

        Args:
            environ: the variables; None: those of this process.
            settings: arguments of `TracketClient`, which win over the environment. With ``auth`` among them, the
                environment's credentials are not looked at. ``limits`` without a rate take that of TRACKET_RATE.

        Raises:
            ConfigurationError: what is missing or wrong, by its name, never by its value.
        """
        variables = os.environ if environ is None else environ
        found = settings_of(variables, auth="auth" not in settings, api=settings.get("api"))
        if level := variables.get(LOG):
            from tracket_async.instrumentation import log_to_stderr

            settings["observers"] = (*settings.get("observers", ()), log_to_stderr(level))
        if "limits" in found and "limits" in settings:
            given = settings["limits"]
            rate = given.requests_per_second or found["limits"].requests_per_second
            settings["limits"] = attrs.evolve(given, requests_per_second=rate)
        chosen: dict[str, Any] = {**found, **settings}
        return cls(**chosen)

    def _use(self, context: CallContext, *, is_view: bool = False) -> None:
        self._is_view = is_view
        self._context = context
        self.worklogs = Worklogs(context)
        self.categories = Categories(context)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} API {self.api} at {self.base_url}>"

    @property
    def api(self) -> str:
        """Return the version of the API: ``"1.0"`` or ``"2.0"``."""
        return self._context.api_version.version

    @property
    def base_url(self) -> str:
        """Return the server's address, without a final slash. A user name or a query in it would have been refused."""
        return self._context.session.base_url

    @property
    def proxy(self) -> str | None:
        """Return the proxy's address, without user and password, and the variable that names it; None without one."""
        return self._context.session.proxy

    @property
    def account(self) -> str | None:
        """Return the id of the monday.com account of the client credentials; None with a token or without any."""
        return self._account

    @property
    def api_version(self) -> ApiVersion:
        """Return the version of the API as functions that make requests and read responses, for use with `send`."""
        return self._context.api_version

    async def __aenter__(self) -> Self:
        return await self.open()

    async def open(self) -> Self:
        """Open the client on the running event loop, and return it: in a notebook, say, in place of ``async with``.

        Close it with `aclose`.

        Raises:
            ClientStateError: it is, or was, open; it is a view (`with_options`); or this is trio, and not asyncio.
        """
        if self._is_view:
            raise ClientStateError("This is a view made by with_options: open the client that it was made from")
        check_asyncio()
        if not import_rest.cache_info().currsize:
            await asyncio.to_thread(import_rest)
        await self._context.session.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection; calls in progress end with `ClientStateError`. Does nothing to a view, or twice."""
        if not self._is_view:
            await self._context.session.aclose()
            self._context.api_version.oddities.tell()

    def with_options(
        self,
        *,
        timeout: float | None = None,
        attempts: int | None = None,
        wait_for_rate: bool | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Self:
        """Return a view of this client whose calls have other settings. It shares the session; do not open or close it.

        Args:
            timeout: seconds for each call, with its queueing and its retries. None: as this client's.
            attempts: attempts of each call, the first included. None: as this client's.
            wait_for_rate: True: a 429 is no failure while the server accepts other calls, and the wait for its rate
                counts against neither ``timeout`` nor ``attempts``, as in lists, exports and bulk writes. None: as this
                client's.
            headers: sent besides those of this client, of which they replace those of the same name. None: none.
            query: added to the query of each call besides that of this client, as ``headers``. None: none.

        Raises:
            ConfigurationError: a limit is not above 0; a header or a query parameter is the client's own, or malformed.
        """
        current, api_version = self._context.options, self._context.api_version
        options = CallOptions(
            timeout=current.timeout if timeout is None else timeout,
            attempts=current.attempts if attempts is None else attempts,
            wait_for_rate=current.wait_for_rate if wait_for_rate is None else wait_for_rate,
            headers=merge_headers(current.headers, own_headers(headers or {})),
            query=tuple({**dict(current.query), **dict(api_version.own_query(query or {}))}.items()),
        )
        view = copy.copy(self)
        view._use(attrs.evolve(self._context, options=options), is_view=True)  # noqa: SLF001 - of the same class
        return view

    async def access_token(self, refused: int | None = None) -> AccessToken:
        """Return the access token that this client sends, fetched if need be: for the `TokenSource` of another process.

        Args:
            refused: the serial number of the token that the server refused there. A new one is fetched only if that is
                still the current one, once for all who ask meanwhile. None: nothing was refused.

        Returns:
            The token, with the seconds that are left of it and its serial number. That of a `BearerToken` is itself.

        Raises:
            RequestError: it could not be fetched.
            ConfigurationError: this client has no credentials.
            ClientStateError: it is not open.
        """
        return await self._context.session.access_token(refused)

    def statistics(self) -> SessionStatistics:
        """Return the state of the session: its concurrency limit, retries and pauses."""
        return self._context.session.statistics()

    async def send(self, request: Request, parse: Callable[[Response], T]) -> T:
        """Send any request, for what has no method here, with this client's credentials, limits and retries.

        Args:
            request: its path begins with ``/api/``.
            parse: makes the result of a 2xx response.

        Raises:
            RequestError: the call failed.
        """
        return await self._context.send(request, parse)


def _api_version(api: str, **settings: Any) -> ApiVersion:
    make = API_VERSIONS.get(api)
    if make is None:
        raise ConfigurationError(f"The version of the API must be {' or '.join(API_VERSIONS)}, not {api!r}")
    given = {name: value for name, value in settings.items() if value is not None}
    for version in API_VERSIONS:
        others = [name for name in given if _VERSION_OF_SETTING[name] == version != api]
        if others:
            raise ConfigurationError(f"{' and '.join(others)} can be chosen on API {version} only: leave it out")
    try:
        return make(**given)
    except UsageError as error:
        raise ConfigurationError(error.message) from None
