"""The token call: made past the gate, repeated when the network or the server fails, its failure told to whoever waits.

It is a POST that may be repeated: a token that was made and never seen harms nobody.

How the parts of a session are put together, once it has a running event loop. Nothing is decided here.

The onion: what happens to a request, from outside to inside, and nothing else.

    deadline( retry( gate( pause -> pace -> auth -> transport ) -> status -> parse ) )

- No place in the gate is held while a call waits between its attempts, or for a pause that the server asked for.
- Every attempt is paced, in the gate and not before it: what has queued there would otherwise leave it in one burst.
- A 429 or 503 with Retry-After pauses the whole session.
- A 401 causes one refresh, by whoever is first, and one replay outside the retry budget; a second 401 raises.
- The token call passes the gate by.
- The deadline is a moment that bounds every wait, and not a timer: a call that waits for nothing sets none.
- The first attempt is made outside of tenacity, and no event is made when nobody listens.

What is inside ``retry`` stands in ``attempt.py``.
"""

from __future__ import annotations

import asyncio
import ssl as ssl_module
import warnings
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import attrs

from tracket_async._http.attempt import Attempts, Call, Turns, send_in_time
from tracket_async._http.auth import Auth, Authorizer, FixedAuthorizer, Token, read_token, token_error
from tracket_async._http.limits import SUCCESS, Clock, Gate, GateStatistics, Pace, Pause, RetryBudget, pace
from tracket_async._http.messages import NO_SECRET, Request, Response, header_text
from tracket_async._http.transport import Address, Transport
from tracket_async.config import CallOptions, Limits, RetryPolicy, Timeouts
from tracket_async.errors import ClientStateError, RequestError

if TYPE_CHECKING:
    from tracket_async._http.retry import Repeater
    from tracket_async.events import Observer, Telling


@attrs.define(eq=False)
class TokenExchange:
    """Makes the token calls of one session.

    Attributes:
        transport: sends.
        repeater: repeats, from a budget of its own, so that an outage of the API does not keep a token from being
            fetched.
        deadline: seconds for a token call with its repetitions, None for no end; its callers have their own.
        telling: told of each new token; None: nobody.
        clock: the wall clock, for a Retry-After that is a date.
        fetched: how many tokens there were so far.
    """

    transport: Transport
    repeater: Repeater
    deadline: float | None
    telling: Telling | None
    clock: Clock
    fetched: int = 0

    async def __call__(self, request: Request) -> Token:
        """Fetch a token.

        Raises:
            RequestError: of the last attempt; ``maybe_sent`` is False, as it is about the call that needed the token.
        """
        clock = self.repeater.clock
        began = clock.time()
        call = Call(
            request=request,
            number=0,
            began=began,
            deadline=None if self.deadline is None else began + self.deadline,
            attempts_allowed=self.repeater.policy.attempts,
            repeatable=True,
        )
        try:
            token = await self._fetch(call)
        except RequestError as error:
            call.explain(error)
            error.add(maybe_sent=False)
            raise
        self.fetched += 1
        if self.telling is not None:
            self.telling.token_refreshed(duration=clock.time() - began, expires_in=token.told)
        return token

    async def _fetch(self, call: Call) -> Token:
        try:
            return await self._attempt(call)
        except RequestError as error:
            first = error
        return await self.repeater.go_on(call, first, lambda: self._attempt(call), scheduled=_ignore)

    async def _attempt(self, call: Call) -> Token:
        call.attempts += 1
        response = await send_in_time(self.transport, call, NO_SECRET, clock=self.repeater.clock)
        error = token_error(response, now=self.clock.now())
        if error is not None:
            raise error
        return read_token(response)


def _ignore(_error: RequestError, _delay: float) -> None:
    """The repetitions of the token call are no events: they belong to no call."""


@attrs.frozen(kw_only=True, eq=False)
class SessionSettings:
    """What was chosen for a session, checked; the names are those of `TracketSession`'s arguments."""

    address: Address
    auth: Auth | None
    timeouts: Timeouts
    retry: RetryPolicy
    limits: Limits
    user_agent: str
    ssl: ssl_module.SSLContext | None
    trust_env: bool
    clock: Clock


@attrs.frozen(kw_only=True, eq=False)
class SessionState:
    """What a session has before it is open, and all its calls share."""

    gate: Gate
    pause: Pause
    pace: Pace | None
    budget: RetryBudget
    telling: Telling | None


@attrs.frozen(eq=False)
class Parts:
    """What a session has while it is open, and the loop that this belongs to."""

    loop: asyncio.AbstractEventLoop
    clock: Clock
    transport: Transport
    authorizer: Authorizer
    exchange: TokenExchange
    attempts: Attempts
    repeater: Repeater


def assemble(settings: SessionSettings, state: SessionState) -> Parts:
    """The parts of a session, on the running event loop."""
    from tracket_async._http.retry import Repeater  # noqa: PLC0415

    loop = asyncio.get_running_loop()
    clock, policy = settings.clock, settings.retry
    transport = Transport(
        settings.address,
        timeouts=settings.timeouts,
        limits=settings.limits,
        user_agent=settings.user_agent,
        ssl=settings.ssl,
        trust_env=settings.trust_env,
    )
    exchange = TokenExchange(
        transport=transport,
        repeater=Repeater(policy, RetryBudget(None), clock),
        deadline=settings.timeouts.total,
        telling=state.telling,
        clock=clock,
    )
    auth = settings.auth
    authorizer = FixedAuthorizer(NO_SECRET) if auth is None else auth.authorizer(exchange, clock=clock)
    turns = Turns(state.gate, state.pause, state.pace, jitter=policy.wait_jitter, clock=clock)
    attempts = Attempts(
        transport,
        authorizer,
        gate=state.gate,
        pause=state.pause,
        turns=turns,
        policy=policy,
        telling=state.telling,
        clock=clock,
    )
    repeater = Repeater(policy, state.budget, clock)
    return Parts(loop, clock, transport, authorizer, exchange, attempts, repeater)


T = TypeVar("T")


@attrs.frozen(kw_only=True)
class SessionStatistics:
    """A session at one moment.

    Attributes:
        gate: how many attempts are in progress, may be, and wait.
        retry_tokens: what is left of ``RetryPolicy.budget``; None without one.
        paused_for: seconds until the end of the pause that the server asked for; 0 without one.
        requests: how many calls there were.
        attempts: how many attempts these took, replays after a 401 included.
        retries: how many of them were repetitions after a failure.
        token_refreshes: how many access tokens were fetched.
    """

    gate: GateStatistics
    retry_tokens: int | None
    paused_for: float
    requests: int
    attempts: int
    retries: int
    token_refreshes: int


class TracketSession:
    """Sends requests to one server, with one identity, many at once. Use it with ``async with``.

    Args:
        base_url: an origin with an optional path in front of the API's, ``https://tracket.dev`` say. https, or a
            loopback host.
        auth: who calls; None sends no Authorization header (a proxy adds it, say).
        timeouts: how long things may take.
        retry: when a failed call is repeated.
        limits: how much at once, how fast, how big.
        observers: called with each event, in this order.
        user_agent: the User-Agent header; None: ``tracket-async/<version>``.
        ssl: how to verify the server; None: as the operating system does.
        trust_env: whether HTTPS_PROXY and NO_PROXY count; ``~/.netrc`` never does.
        clock: time, waiting and chance, for tests.

    Raises:
        ConfigurationError: a setting is wrong.
        MissingExtraError: ``Limits.requests_per_second`` is given without the extra ``pace``.
    """

    def __init__(
        self,
        base_url: str,
        *,
        auth: Auth | None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008
        limits: Limits = Limits(),  # noqa: B008
        observers: Iterable[Observer] = (),
        user_agent: str | None = None,
        ssl: ssl_module.SSLContext | None = None,
        trust_env: bool = False,
        clock: Clock = Clock(),  # noqa: B008
    ) -> None:
        self._open: Parts | None = None
        self._closed = False
        self._settings = SessionSettings(
            address=Address.parse(base_url),
            auth=auth,
            timeouts=timeouts,
            retry=retry,
            limits=limits,
            user_agent=header_text("The user agent", default_user_agent() if user_agent is None else user_agent),
            ssl=ssl,
            trust_env=trust_env,
            clock=clock,
        )
        self._state = SessionState(
            gate=Gate(limits.max_concurrency, adaptive=limits.adaptive),
            pause=Pause(),
            pace=None if limits.requests_per_second is None else pace(limits.requests_per_second),
            budget=RetryBudget(retry.budget),
            telling=_telling(observers),
        )
        self._telling = self._state.telling
        self._requests = 0
        self._retries = 0

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open" if self._open else "not open yet"
        return f"<TracketSession {self.base_url} {state}>"

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        # An exception in __init__ leaves neither attribute, and nothing to warn of.
        if getattr(self, "_open", None) is not None and not self._closed:
            _warn(f"Unclosed {self!r}: use it with `async with`, or call aclose()", ResourceWarning, source=self)

    @property
    def is_open(self) -> bool:
        """Return whether requests can be sent."""
        return self._open is not None and not self._closed

    @property
    def base_url(self) -> str:
        """The base URL, without a final slash."""
        return str(self._settings.address)

    async def __aenter__(self) -> Self:
        """Open it, on the running event loop.

        Raises:
            ClientStateError: it is, or was, open.
        """
        if self._open is not None or self._closed:
            raise ClientStateError("A session is opened once; make a new one")
        self._open = assemble(self._settings, self._state)
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
        self._state.gate.close()
        if self._open is not None:
            try:
                await self._open.authorizer.close()
            finally:
                await self._open.transport.close()

    async def send(self, request: Request, parse: Callable[[Response], T], *, options: CallOptions | None = None) -> T:
        """Send a request, repeat it as the session's policy says, and return what ``parse`` makes of its answer.

        Args:
            request: what to send.
            parse: called with a 2xx answer. It may raise `UnreadableResponseError`, which is like a failure of the
                network, or any other `RequestError`, which is final.
            options: what this call does differently from the session.

        Raises:
            RequestError: the call failed. Whether a request that is not idempotent may have taken effect nevertheless:
                its `is_ambiguous`.
            ClientStateError: the session is not open, is closed meanwhile, or was opened on another event loop.
        """
        session = self._usable()
        self._requests += 1
        began = session.clock.time()
        deadline = (options and options.timeout) or self._settings.timeouts.total
        call = Call(
            request,
            self._requests,
            began,
            None if deadline is None else began + deadline,
            (options and options.attempts) or self._settings.retry.attempts,
            request.idempotent,
        )
        telling, problem = self._telling, None
        if telling is not None:
            telling.call_started(call)
        try:
            try:
                result = await session.attempts.make(call, parse)
            except RequestError as error:
                first = error
            else:
                self._state.budget.deposit(SUCCESS)
                return result
            return await self._repeated(session, call, parse, first)
        except BaseException as error:
            problem = type(error).__name__
            raise
        finally:
            if telling is not None:
                telling.call_ended(call, duration=session.clock.time() - began, error=problem)

    def statistics(self) -> SessionStatistics:
        """The session as it is now."""
        session = self._open
        return SessionStatistics(
            gate=self._state.gate.statistics(),
            retry_tokens=self._state.budget.tokens,
            paused_for=0.0 if session is None else self._state.pause.remaining(session.clock.time()),
            requests=self._requests,
            attempts=0 if session is None else session.attempts.made,
            retries=self._retries,
            token_refreshes=0 if session is None else session.exchange.fetched,
        )

    def _usable(self) -> Parts:
        session = self._open
        if session is None or self._closed:
            raise ClientStateError(
                "The client is closed" if self._closed else "Open the client with `async with` first"
            )
        if asyncio.get_running_loop() is not session.loop:
            raise ClientStateError("The client was opened on another event loop; make one for each loop")
        return session

    async def _repeated(self, session: Parts, call: Call, parse: Callable[[Response], T], first: RequestError) -> T:
        try:
            return await session.repeater.go_on(
                call,
                first,
                lambda: session.attempts.make(call, parse),
                scheduled=lambda error, delay: self._scheduled(call, error, delay),
            )
        except RequestError as error:
            call.explain(error)
            raise

    def _scheduled(self, call: Call, error: RequestError, delay: float) -> None:
        self._retries += 1
        if self._telling is not None:
            self._telling.retry_scheduled(call, delay=delay, error=type(error).__name__)


def _telling(observers: Iterable[Observer]) -> Telling | None:
    watching = tuple(observers)
    if not watching:
        return None
    from tracket_async.events import Telling  # noqa: PLC0415

    return Telling(watching)


def default_user_agent() -> str:
    """``tracket-async/`` and the version that is installed."""
    from importlib.metadata import version  # noqa: PLC0415 - slow to import, and not for whoever only imports

    return f"tracket-async/{version('tracket-async')}"
