"""Time, chance and waiting, as a session sees them: the parts of the world that a test puts its own in place of."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections.abc import Awaitable, Callable

import attrs

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]


def _utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@attrs.frozen(kw_only=True)
class World:
    """What a session asks of its surroundings.

    Attributes:
        clock: monotonic, in seconds. None: the event loop's.
        sleep: waits so many seconds.
        rng: where jitter comes from; the same seed gives the same waits. None: a new one for each session.
        now: the wall clock's time, aware; asked only when a server gives a date and no Date header.
    """

    clock: Clock | None = None
    sleep: Sleep = asyncio.sleep
    rng: random.Random | None = None
    now: Callable[[], dt.datetime] = _utc_now
