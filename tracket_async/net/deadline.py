"""A call's deadline, put around whatever waits. Nothing here sets a timer for what need not wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from tracket_async.api.request import Response
from tracket_async.errors import AttemptTimeoutError, ConnectError
from tracket_async.net.call import Call
from tracket_async.net.secret import Secret
from tracket_async.net.transport import Transport
from tracket_async.net.world import Clock

T = TypeVar("T")


async def within(call: Call, waiting: Awaitable[T], *, clock: Clock, doing: str) -> T:
    """Wait, but not past the call's deadline.

    Raises:
        DeadlineExceededError: it has come, while ``doing`` this; nothing was sent meanwhile.
    """
    timeout = asyncio.timeout(call.remaining(clock()))
    try:
        async with timeout:
            return await waiting
    except TimeoutError:
        # What is awaited may raise a TimeoutError of its own.
        if not timeout.expired():
            raise
    raise call.too_late(doing, maybe_sent=False)


async def send_in_time(transport: Transport, call: Call, authorization: Secret, *, clock: Clock) -> Response:
    """Send the call's request once, with what is left of its time.

    Raises:
        DeadlineExceededError: there was nothing left, or not enough.
        RequestError: as `Transport.send` does.
    """
    seconds = call.remaining(clock())
    if seconds == 0:
        raise call.too_late("waiting for its turn", maybe_sent=False)
    try:
        return await transport.send(call.request, authorization, seconds=seconds)
    except (AttemptTimeoutError, ConnectError) as error:
        if not call.overdue(clock()):
            raise
        maybe_sent = error.maybe_sent
    raise call.too_late("waiting for the answer" if maybe_sent else "making a connection", maybe_sent=maybe_sent)
