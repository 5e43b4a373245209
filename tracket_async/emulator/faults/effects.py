"""Faults that happen before a request is worked on, which then goes its way."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from attrs import frozen

from tracket_async.emulator.faults.base import Effect, Exchange
from tracket_async.emulator.ledger import Received


@frozen
class Delay(Effect):
    """The request waits.

    Attributes:
        seconds: How long; other requests go on meanwhile.
    """

    kind: ClassVar[str] = "delay"

    seconds: float

    async def prepare(self, exchange: Exchange) -> None:
        """Wait."""
        await exchange.pause(self.seconds)


@frozen
class ClockSkew(Effect):
    """The Date header is wrong.

    Attributes:
        seconds: Added to the server's time; negative for a clock that is behind.
    """

    kind: ClassVar[str] = "clock-skew"

    seconds: float

    async def prepare(self, exchange: Exchange) -> None:
        """Shift the header."""
        exchange.skew_clock(self.seconds)


@frozen
class ExpireToken(Effect):
    """Every token from the token call expires just before this request, which so gets a 401."""

    kind: ClassVar[str] = "expire-token"

    async def prepare(self, exchange: Exchange) -> None:
        """Expire them."""
        exchange.expire_tokens()


@frozen
class Call(Effect):
    """A function of yours is called: to change worklogs between two pages, or to note the time.

    Attributes:
        function: Given the request; called in the event loop, so it must not block.
    """

    kind: ClassVar[str] = "call"

    function: Callable[[Received], object]

    async def prepare(self, exchange: Exchange) -> None:
        """Call it."""
        self.function(exchange.received)
