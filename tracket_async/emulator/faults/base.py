"""What a fault is: a frozen value with a kind, met by one exchange in place of, or around, the honest answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Protocol

from aiohttp import web

from tracket_async.emulator.answers import Answer
from tracket_async.emulator.ledger import Received
from tracket_async.emulator.wire import Wire


class Exchange(Protocol):
    """One request on its way to its answer, as a fault sees it."""

    @property
    def received(self) -> Received:
        """The request."""
        ...

    async def answer(self) -> Answer:
        """Do what was asked, and give the honest answer; it is not sent."""
        ...

    def respond(self, answer: Answer) -> web.StreamResponse:
        """The response that sends this answer."""
        ...

    def headers(self, answer: Answer) -> list[tuple[str, str]]:
        """The headers that go with this answer, without those of its framing."""
        ...

    def take_over(self) -> Wire:
        """Take the connection from aiohttp."""
        ...

    def gone(self, status: int | None) -> web.StreamResponse:
        """What a fault gives back when it has ended the connection itself, after sending this status or none."""
        ...

    async def pause(self, seconds: float) -> None:
        """Let seconds pass."""
        ...

    def skew_clock(self, seconds: float) -> None:
        """Shift the Date header of this answer."""
        ...

    def expire_tokens(self) -> None:
        """Make every token from the token call invalid."""
        ...


class Fault(ABC):
    """Something that goes wrong with one request.

    Attributes:
        kind: Its name in the ledger and in fault files.
    """

    kind: ClassVar[str]


class Effect(Fault):
    """Happens before the request is worked on, which then goes its way; several can meet one request."""

    @abstractmethod
    async def prepare(self, exchange: Exchange) -> None:
        """Let it happen."""


class Disturbance(Fault):
    """Decides what the client gets; only one can meet a request."""

    @abstractmethod
    async def inflict(self, exchange: Exchange) -> web.StreamResponse:
        """Answer, or not."""
