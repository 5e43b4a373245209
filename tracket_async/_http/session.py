"""`TracketSession`: an async session manager with a semaphore-bounded pool, retries and one identity.

    deadline( retry( slot( pause -> rate -> authorization -> transport ) -> status -> parse ) )

A call releases its concurrency slot while it waits to retry. The first attempt is made outside of tenacity. What is
inside of ``retry`` stands in `attempt.py`. The token call is made here, past the concurrency limiter: it is a POST that
may be retried, as a token that was made and never seen harms nobody, and it has a retry budget of its own, so that an
outage of the API does not keep a token from being fetched.
"""

from __future__ import annotations

import asyncio
import os
import ssl as ssl_module
import warnings
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar

import attrs

from tracket_async._http.attempt import Attempt, Call
from tracket_async._http.auth import AccessToken, Auth, Authorizer, Token, read_token, token_error
from tracket_async._http.limits import (
    INITIAL_CONCURRENCY,
    SUCCESS_REWARD,
    Clock,
    ConcurrencyLimiter,
    ConcurrencyStatistics,
    RateLimiter,
    RetryBudget,
    ServerPause,
    SharedRateLimiter,
)
from tracket_async._http.messages import NO_AUTHORIZATION, CallRecord, Request, Response, header_text
from tracket_async._http.transport import Resolver, Transport
from tracket_async._http.urls import BaseURL, proxy_for
from tracket_async._tasks import check_asyncio
from tracket_async._version import __version__
from tracket_async.config import CallOptions, Limits, RetryPolicy, SharedRate, Timeouts
from tracket_async.errors import (
    AttemptTimeoutError,
    ClientStateError,
    ConfigurationError,
    ConnectError,
    RequestError,
)
from tracket_async.events import (
    EventDispatcher,
    Observer,
    RequestEnded,
    RequestStarted,
    RetryScheduled,
    TokenRefreshed,
)

if TYPE_CHECKING:
    from tracket_async._http.retry import Retrier

T = TypeVar("T")

DEFAULT_USER_AGENT: Final = f"tracket-async/{__version__}"


@attrs.frozen(kw_only=True)
class SessionStatistics:
    """A session at one moment.

    Attributes:
        concurrency: how many attempts are in progress, may be, and wait.
        retry_tokens: what is left of ``RetryPolicy.budget``; None without one.
        paused_for: seconds until the end of the pause that the server asked for; 0 without one.
        rate: the requests per second that the session keeps to, set or learned from 429s; None: there is no limit.
        requests: how many calls there were.
        attempts: how many attempts these took, replays after a 401 included.
        retries: how many of them were retries after a failure.
        token_refreshes: how many access tokens were fetched.
    """

    concurrency: ConcurrencyStatistics
    retry_tokens: int | None
    paused_for: float
    rate: float | None
    requests: int
    attempts: int
    retries: int
    token_refreshes: int


class TracketSession:
    """Send requests to one server, with one identity, many at once. Use it with ``async with``.

    It is the session manager below `TracketClient`: a pool of connections, bounded by a semaphore of
    ``Limits.max_concurrency`` slots, with time-outs, retries and token refresh.

    Args:
        base_url: an origin with an optional path in front of the API's, ``https://tracket.dev`` say. https, or a
            loopback host.
        auth: `BearerToken` or `ClientCredentials`; None sends no Authorization header (a proxy adds it, say).
        timeouts: how long things may take, in seconds.
        retry: when a failed call is retried.
        limits: how much at once, how fast, how big.
        observers: called with each event of ``tracket_async.events``, in this order.
        user_agent: the User-Agent header; None: ``tracket-async/<version>``.
        ssl: the context that verifies the server; None: verified with the operating system's certificates.
        proxy: the URL of an http proxy, with user and password if need be. None: see ``trust_env``.
        trust_env: whether HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY count; ``~/.netrc`` never does.
        resolver: finds the addresses of a host, an ``aiohttp.abc.AbstractResolver``; you close it. None: aiohttp's own.
        clock: time, waiting and chance, for tests.

    Raises:
        ConfigurationError: a setting is wrong.
    """

    _transport: Transport
    _authorizer: Authorizer
    _attempt: Attempt
    _retrier: Retrier
    _token_retrier: Retrier

    def __init__(
        self,
        base_url: str,
        *,
        auth: Auth | None,
        timeouts: Timeouts = Timeouts(),
        retry: RetryPolicy = RetryPolicy(),
        limits: Limits = Limits(),
        observers: Iterable[Observer] = (),
        user_agent: str | None = None,
        ssl: ssl_module.SSLContext | None = None,
        proxy: str | None = None,
        trust_env: bool = False,
        resolver: Resolver | None = None,
        clock: Clock = Clock(),
    ) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._base_url = BaseURL.parse(base_url)
        if auth is not None and (isinstance(auth, type) or not hasattr(auth, "authorizer")):
            raise ConfigurationError(
                f"auth must be BearerToken(...), ClientCredentials(...) or TokenSource(...), not {type(auth).__name__}"
            )
        self._auth = auth
        self._timeouts = timeouts
        self._policy = retry
        self._limits = limits
        watching = tuple(observers)
        self._dispatcher = EventDispatcher(watching) if watching else None
        self._user_agent = header_text("The user agent", DEFAULT_USER_AGENT if user_agent is None else user_agent)
        self._ssl = _verifying(ssl)
        self._proxy = proxy_for(self._base_url, proxy, os.environ if trust_env else None)
        if not isinstance(resolver, Resolver | None):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
            raise ConfigurationError(f"resolver must be an aiohttp.abc.AbstractResolver, not {type(resolver).__name__}")
        self._resolver = resolver
        self._clock = clock
        self._limiter = ConcurrencyLimiter(
            limits.max_concurrency, adaptive=limits.adaptive, initial=INITIAL_CONCURRENCY
        )
        rate = limits.requests_per_second
        self._rate_limiter = (
            SharedRateLimiter(rate, clock=clock)
            if isinstance(rate, SharedRate)
            else RateLimiter(rate, learn=limits.adaptive, clock=clock)
        )
        self._pause = ServerPause()
        self._budget = RetryBudget(retry.budget)
        self._requests = self._retries = self._token_refreshes = 0

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open" if self._loop else "not open yet"
        return f"<TracketSession {self.base_url} {state}>"

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        # An exception in __init__ leaves neither attribute, and nothing to warn of.
        if getattr(self, "_loop", None) is not None and not self._closed:
            _warn(f"Unclosed {self!r}: use it with `async with`, or call aclose()", ResourceWarning, source=self)

    @property
    def is_open(self) -> bool:
        """Return whether requests can be sent."""
        return self._loop is not None and not self._closed

    @property
    def base_url(self) -> str:
        """Return the base URL, without a final slash."""
        return str(self._base_url)

    @property
    def proxy(self) -> str | None:
        """Return the proxy's address, without user and password, and the variable that names it; None without one."""
        return None if self._proxy is None else str(self._proxy)

    async def __aenter__(self) -> Self:
        """Open the session, on the running event loop.

        Raises:
            ClientStateError: it is, or was, open; or this is trio, and not asyncio.
        """
        from tracket_async._http.retry import Retrier  # tenacity is imported when it is needed

        check_asyncio()
        if self._loop is not None or self._closed:
            raise ClientStateError("A session is opened once; make a new one")
        self._transport = Transport(
            self._base_url,
            timeouts=self._timeouts,
            limits=self._limits,
            user_agent=self._user_agent,
            ssl=self._ssl,
            proxy=self._proxy,
            resolver=self._resolver,
        )
        self._retrier = Retrier(self._policy, self._budget, self._clock)
        self._token_retrier = Retrier(self._policy, RetryBudget(None), self._clock)
        self._authorizer = (
            Authorizer() if self._auth is None else self._auth.authorizer(self._fetch_token, clock=self._clock)
        )
        self._attempt = Attempt(
            self._transport,
            self._authorizer,
            limiter=self._limiter,
            pause=self._pause,
            rate_limiter=self._rate_limiter,
            policy=self._policy,
            dispatcher=self._dispatcher,
            clock=self._clock,
        )
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection. Calls in progress end with `ClientStateError`. Closing twice does no harm."""
        if self._closed:
            return
        self._closed = True
        self._limiter.close()
        if self._loop is not None:
            try:
                await self._authorizer.close()
            finally:
                await self._transport.close()

    async def send(
        self,
        request: Request,
        parse: Callable[[Response], T],
        *,
        options: CallOptions | None = None,
        record: CallRecord | None = None,
    ) -> T:
        """Send a request, retry it as the session's policy says, and return what ``parse`` makes of its answer.

        Args:
            request: what to send.
            parse: called with a 2xx answer. It may raise `UnreadableResponseError`, which is retried like a failure of
                the network; `MismatchedResponseError`, after which an idempotent request is sent once more over another
                connection; or any other `RequestError`, which is final.
            options: settings of this call that replace the session's. Its headers and query are the caller's to put
                into the request.
            record: takes note of the answer, the attempts and the time; None: nobody does.

        Raises:
            RequestError: the call failed. Its ``is_ambiguous`` says whether a request that is not idempotent may have
                taken effect nevertheless.
            ClientStateError: the session is not open, is closed meanwhile, or was opened on another event loop.
            CancelledError: the call was cancelled. `tracket_async.errors.maybe_sent` says of it, as of the others,
                whether anything may have been in flight.
        """
        self._check_open()
        self._requests += 1
        call = self._call(request, number=self._requests, options=options, idempotent=request.idempotent)
        if record is not None:
            parse = record.noting(parse)
        dispatcher, problem = self._dispatcher, None
        if dispatcher is not None:
            dispatcher.dispatch(RequestStarted(**call.labels, path=request.path))
        try:
            try:
                result = await self._attempt.run(call, parse)
            except RequestError as error:
                first = error
            else:
                self._budget.release(SUCCESS_REWARD)
                return result
            return await self._retry(call, parse, first)
        except BaseException as error:
            problem = type(error).__name__
            if isinstance(error, asyncio.CancelledError | ClientStateError):
                error.__dict__["maybe_sent"] = call.maybe_done or getattr(error, "maybe_sent", False)
            raise
        finally:
            if record is not None:
                record.end(call.attempts, self._clock.time() - call.began)
            if dispatcher is not None:
                dispatcher.dispatch(
                    RequestEnded(
                        **call.labels,
                        path=request.path,
                        duration=self._clock.time() - call.began,
                        attempts=call.attempts,
                        status=call.status,
                        error=problem,
                    )
                )

    async def access_token(self, refused: int | None = None) -> AccessToken:
        """Return the token that this session sends, see `TracketClient.access_token`."""
        self._check_open()
        return await self._authorizer.share(refused, self._clock.time())

    def statistics(self) -> SessionStatistics:
        """Return the session's state as it is now."""
        return SessionStatistics(
            concurrency=self._limiter.statistics(),
            retry_tokens=self._budget.tokens,
            paused_for=self._pause.remaining(self._clock.time()),
            rate=self._rate_limiter.rate(),
            requests=self._requests,
            attempts=0 if self._loop is None else self._attempt.made,
            retries=self._retries,
            token_refreshes=self._token_refreshes,
        )

    def _check_open(self) -> None:
        if self._closed or self._loop is None:
            raise ClientStateError(
                "The client is closed" if self._closed else "Open the client with `async with` first"
            )
        if asyncio.get_running_loop() is not self._loop:
            raise ClientStateError("The client was opened on another event loop; make one for each loop")

    def _call(self, request: Request, *, number: int, options: CallOptions | None, idempotent: bool) -> Call:
        began = self._clock.time()
        timeout = (options and options.timeout) or self._timeouts.total
        attempts = (options and options.attempts) or self._policy.attempts
        patient = options is not None and options.wait_for_rate
        return Call(request, number, began, timeout, attempts, idempotent, wait_for_rate=patient)

    async def _retry(self, call: Call, parse: Callable[[Response], T], first: RequestError) -> T:
        def on_retry(error: RequestError, delay: float) -> None:
            self._retries += 1
            if self._dispatcher is not None:
                self._dispatcher.dispatch(
                    RetryScheduled(**call.labels, attempt=call.attempts, delay=delay, error=type(error).__name__)
                )

        try:
            return await self._retrier.retry(call, first, lambda: self._attempt.run(call, parse), on_retry=on_retry)
        except RequestError as error:
            call.explain(error)
            raise

    async def _fetch_token(self, request: Request) -> Token:
        """Fetch an access token.

        Raises:
            RequestError: of the last attempt; ``maybe_sent`` is False, as it is about the call that needed the token.
        """
        call = self._call(request, number=0, options=None, idempotent=True)
        try:
            try:
                token = await self._fetch_token_once(call)
            except RequestError as error:
                # No events: a retry of the token call belongs to no call.
                token = await self._token_retrier.retry(
                    call, error, lambda: self._fetch_token_once(call), on_retry=lambda _error, _delay: None
                )
        except RequestError as error:
            call.explain(error)
            error.add(maybe_sent=False)
            raise
        self._token_refreshes += 1
        if self._dispatcher is not None:
            duration = self._clock.time() - call.began
            self._dispatcher.dispatch(TokenRefreshed(duration=duration, expires_in=token.expires_in))
        return token

    async def _fetch_token_once(self, call: Call) -> Token:
        clock = self._clock
        seconds = call.time_left(clock.time())
        call.attempts += 1
        try:
            response = await self._transport.send(call.request, NO_AUTHORIZATION, seconds=seconds)
        except (AttemptTimeoutError, ConnectError) as error:
            raise call.in_time(error, clock.time()) from None
        failure = token_error(response.scrubbed(self._authorizer.scrub), now=clock.now())
        if failure is not None:
            raise failure
        return read_token(response)


def _verifying(context: object) -> ssl_module.SSLContext | None:
    """Return the context that verifies the server.

    Raises:
        ConfigurationError: it is none. ``ssl=False`` of other libraries turns the verification off.
    """
    if context is None or isinstance(context, ssl_module.SSLContext):
        return context
    message = f"ssl must be an ssl.SSLContext or None, not {context!r}"
    if context is False:
        message = "ssl=False would turn verification off, and anybody on the way could read the token"
    raise ConfigurationError(
        message,
        hint="To trust a company's certificate authority, set TRACKET_CA_BUNDLE to its PEM file and use from_env(), or"
        " give ssl=context with context = ssl.create_default_context(); context.load_verify_locations(file)",
    )
