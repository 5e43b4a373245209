"""How the parts of a session are put together, once it has a running event loop. Nothing is decided here."""

from __future__ import annotations

import asyncio
import random
import ssl as ssl_module
from typing import TYPE_CHECKING

import attrs

from tracket_async.net.address import Address
from tracket_async.net.attempt import Attempts
from tracket_async.net.auth import Auth, Authorizer, FixedAuthorizer
from tracket_async.net.budget import RetryBudget
from tracket_async.net.exchange import TokenExchange
from tracket_async.net.gate import Gate
from tracket_async.net.pace import Pace
from tracket_async.net.pause import Pause
from tracket_async.net.secret import NO_SECRET
from tracket_async.net.settings import Limits, RetryPolicy, Timeouts
from tracket_async.net.transport import Transport
from tracket_async.net.turn import Turns
from tracket_async.net.world import Clock, World

if TYPE_CHECKING:
    from tracket_async.net.retry import Repeater
    from tracket_async.net.telling import Telling


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
    world: World


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
    from tracket_async.net.retry import Repeater  # noqa: PLC0415 - with it comes tenacity, which only an open session needs

    loop = asyncio.get_running_loop()
    world, policy = settings.world, settings.retry
    clock = world.clock or loop.time
    rng = world.rng or random.Random()  # noqa: S311 - jitter is no secret
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
        repeater=Repeater(policy, RetryBudget(None), rng, clock, world.sleep),
        deadline=settings.timeouts.call,
        telling=state.telling,
        world=world,
    )
    auth = settings.auth
    authorizer = FixedAuthorizer(NO_SECRET) if auth is None else auth.authorizer(exchange, clock=clock)
    turns = Turns(state.gate, state.pause, state.pace, jitter=policy.jitter, rng=rng, clock=clock, sleep=world.sleep)
    attempts = Attempts(
        transport,
        authorizer,
        gate=state.gate,
        pause=state.pause,
        turns=turns,
        policy=policy,
        telling=state.telling,
        world=world,
        clock=clock,
    )
    repeater = Repeater(policy, state.budget, rng, clock, world.sleep)
    return Parts(loop, clock, transport, authorizer, exchange, attempts, repeater)
