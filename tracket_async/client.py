"""The versions of the API by their names. A version is imported when it is used, and no other is.

What reads and writes worklogs (cattrs, msgspec and the functions made with them) is a third of what importing the
client would take.

The client: what is chosen, what is open, and the door to every operation.

`worklogs.py` has the operations themselves, `net/session.py` what happens to each request.
"""

from __future__ import annotations

import os
import ssl as ssl_module
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar

import attrs

from tracket_async._http.auth import Auth, BearerToken, ClientCredentials
from tracket_async._http.limits import Clock
from tracket_async._http.messages import Request, Response
from tracket_async._http.session import SessionStatistics, TracketSession
from tracket_async.config import CallOptions, Limits, RetryPolicy, Timeouts
from tracket_async.errors import ClientStateError, ConfigurationError, UsageError
from tracket_async.worklogs import Categories, Life, Line, Worklogs

if TYPE_CHECKING:
    from tracket_async._api.endpoints import ApiVersion, StartDate
    from tracket_async.events import Observer


def _v1(**settings: Any) -> ApiVersion:
    from tracket_async._api import v1  # noqa: PLC0415

    return v1.api_version(**settings)


def _v2(**settings: Any) -> ApiVersion:
    from tracket_async._api import v2  # noqa: PLC0415

    return v2.api_version(**settings)


API_VERSIONS: Final[Mapping[str, Callable[..., ApiVersion]]] = {"1.0": _v1, "2.0": _v2}
"""Each version's function that makes its `ApiVersion`; the settings that it takes are its own."""


T = TypeVar("T")
Api = Literal["1.0", "2.0"]


API: Final = "TRACKET_API"
BASE_URL: Final = "TRACKET_BASE_URL"
TOKEN: Final = "TRACKET_TOKEN"  # noqa: S105 - the variable's name
CREDENTIALS: Final = ("TRACKET_CLIENT_ID", "TRACKET_CLIENT_SECRET", "TRACKET_ACCOUNT_ID")


def settings_of(environ: Mapping[str, str], *, auth: bool = True) -> dict[str, Any]:
    """The arguments of `TracketClient` that the environment gives. A variable that is empty is not set.

    TRACKET_TOKEN, where it is set, is used as it is, whatever is set beside it. Otherwise TRACKET_CLIENT_ID,
    TRACKET_CLIENT_SECRET and TRACKET_ACCOUNT_ID together are exchanged for tokens.

    Args:
        environ: the variables.
        auth: whether to look for credentials.

    Raises:
        ConfigurationError: there are no credentials, or only a part of them; no value is shown.
    """
    found: dict[str, Any] = {}
    if api := environ.get(API):
        found["api"] = api
    if base_url := environ.get(BASE_URL):
        found["base_url"] = base_url
    if auth:
        found["auth"] = _auth(environ)
    return found


def _auth(environ: Mapping[str, str]) -> Auth:
    if token := environ.get(TOKEN):
        return BearerToken(token)
    missing = [name for name in CREDENTIALS if not environ.get(name)]
    if len(missing) == len(CREDENTIALS):
        raise _missing(f"Neither {TOKEN} nor {', '.join(CREDENTIALS[:-1])} and {CREDENTIALS[-1]} are set")
    if missing:
        present = [name for name in CREDENTIALS if name not in missing]
        raise _missing(f"{' and '.join(present)} {_is(present)} set, but {' and '.join(missing)} {_is(missing)} not")
    client_id, client_secret, account_id = (environ[name] for name in CREDENTIALS)
    return ClientCredentials(client_id, client_secret, account_id)


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _missing(message: str) -> ConfigurationError:
    return ConfigurationError(
        message, hint="Make a client id and secret in Tracket under Preferences, API tokens, or set an access token"
    )


class TracketClient:
    """An asyncio client for one Tracket account, fit to be used by many tasks at once.

    Use it with ``async with`` (or close it with `aclose`), on one event loop::

        async with TracketClient(auth=BearerToken(token)) as client:
            async for worklog in client.worklogs.list(since=monday):
                ...

    Args:
        auth: `BearerToken` or `ClientCredentials`; None sends no Authorization header (a proxy adds it, say).
        api: the version of the API: ``"2.0"``, the live one, or ``"1.0"``.
        base_url: an origin with an optional path in front of ``/api/...``; https, or a loopback host. None: the
            vendor's for that version.
        timeouts: how long things may take, in seconds.
        retry: when a failed call is repeated.
        limits: how much at once, how fast, how big.
        observers: called with each event of ``tracket_async.events``, in this order.
        page_size: worklogs on a page of a list, 1 to 100, API 2.0 only. None: as many as there may be.
        cursor_parameter: API 1.0 only: the query parameter that takes a cursor. None: ``"cursor"``.
        start_date: API 1.0 only: how the first date of a list is sent: ``"moment"``, a date-time, or ``"day"``.
            None: ``"moment"``.
        user_agent: the User-Agent header; None: ``tracket-async/<version>``.
        ssl: how to verify the server; None: as the operating system does.
        trust_env: whether the environment's proxy settings count.
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
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008
        limits: Limits = Limits(),  # noqa: B008
        observers: Iterable[Observer] = (),
        page_size: int | None = None,
        cursor_parameter: str | None = None,
        start_date: StartDate | None = None,
        user_agent: str | None = None,
        ssl: ssl_module.SSLContext | None = None,
        trust_env: bool = False,
        clock: Clock = Clock(),  # noqa: B008
    ) -> None:
        api_version = _api_version(api, cursor_parameter=cursor_parameter, start_date=start_date)
        session = TracketSession(
            api_version.default_origin if base_url is None else base_url,
            auth=auth,
            timeouts=timeouts,
            retry=retry,
            limits=limits,
            observers=observers,
            user_agent=user_agent,
            ssl=ssl,
            trust_env=trust_env,
            clock=clock,
        )
        size = _page_size(api_version, page_size)
        self._set(
            Line(
                session=session,
                api_version=api_version,
                options=CallOptions(),
                page_size=size,
                life=Life(),
                clock=clock,
                account=auth.account_id if isinstance(auth, ClientCredentials) else None,
            )
        )
        self._is_view = False

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **settings: Any) -> Self:
        """The client that the environment describes.

        TRACKET_API (``1.0`` or ``2.0``), TRACKET_BASE_URL, and for the credentials TRACKET_TOKEN, which wins where it
        is set, or TRACKET_CLIENT_ID, TRACKET_CLIENT_SECRET and TRACKET_ACCOUNT_ID. A variable that is empty is not set.

        Args:
            environ: the variables; None: those of this process.
            settings: arguments of `TracketClient`, which win over the environment. With ``auth`` among them, the
                environment's credentials are not looked at.

        Raises:
            ConfigurationError: what is missing or wrong, by its name, never by its value.
        """
        variables = os.environ if environ is None else environ
        return cls(**(settings_of(variables, auth="auth" not in settings) | settings))

    def _set(self, line: Line) -> None:
        self._line = line
        self.worklogs = Worklogs(line)
        self.categories = Categories(line)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} API {self.api} at {self.base_url}>"

    @property
    def api(self) -> str:
        """The version of the API: ``"1.0"`` or ``"2.0"``."""
        return self._line.api_version.version

    @property
    def base_url(self) -> str:
        """Where the server is. Never holds a secret: an address with a user name or a query is refused."""
        return self._line.session.base_url

    @property
    def account(self) -> str | None:
        """The id of the monday.com account that the credentials name; None where they name none, as a token does."""
        return self._line.account

    @property
    def api_version(self) -> ApiVersion:
        """The version of the API as functions: what makes requests and reads answers."""
        return self._line.api_version

    async def __aenter__(self) -> Self:
        """Opens it on the running event loop.

        Raises:
            ClientStateError: it is, or was, open; or it is a view (`with_options`).
        """
        if self._is_view:
            raise ClientStateError("This is a view made by with_options: open the client that it was made from")
        await self._line.session.__aenter__()
        self._line.life.is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes every connection; calls in progress end with an error. Does nothing to a view, or the second time."""
        if not self._is_view:
            self._line.life.is_open = False
            await self._line.session.aclose()

    def with_options(self, *, timeout: float | None = None, attempts: int | None = None) -> Self:
        """A view of this client whose calls have other limits. It shares the session, and is not opened or closed.

        Args:
            timeout: seconds for each call with its queueing and repetitions. None: as this client's.
            attempts: how often each call is tried in all. None: as this client's.

        Raises:
            ConfigurationError: one of them is not above 0.
        """
        current = self._line.options
        options = CallOptions(
            timeout=current.timeout if timeout is None else timeout,
            attempts=current.attempts if attempts is None else attempts,
        )
        view = object.__new__(type(self))
        view._set(attrs.evolve(self._line, options=options))
        view._is_view = True
        return view

    def statistics(self) -> SessionStatistics:
        """How the session stands: its gate, its retries, its pauses."""
        return self._line.session.statistics()

    async def send(self, request: Request, parse: Callable[[Response], T]) -> T:
        """Sends any request, for what has no method here; with this client's credentials, limits and repetitions.

        Args:
            request: what to send; its path begins with ``/api/``.
            parse: makes the result of a 2xx answer.

        Raises:
            RequestError: the call failed.
        """
        return await self._line.send(request, parse)


def _api_version(api: str, **settings: Any) -> ApiVersion:
    make = API_VERSIONS.get(api)
    if make is None:
        raise ConfigurationError(f"The version of the API must be {' or '.join(API_VERSIONS)}, not {api!r}")
    given = {name: value for name, value in settings.items() if value is not None}
    if given and api != "1.0":
        raise ConfigurationError(f"{' and '.join(given)} can be chosen on API 1.0 only")
    try:
        return make(**given)
    except UsageError as error:
        raise ConfigurationError(error.message) from None


def _page_size(api_version: ApiVersion, wanted: int | None) -> int | None:
    largest = api_version.max_page_size
    if wanted is None:
        return largest
    if largest is None:
        raise ConfigurationError(f"API {api_version.version} has no page_size to choose: leave it out")
    if not 1 <= wanted <= largest:
        raise ConfigurationError(f"page_size must lie between 1 and {largest}, not be {wanted}")
    return wanted
