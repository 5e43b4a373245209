"""One request from its arrival to its answer: the order of the checks, and the headers of every response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from attrs import frozen

from tracket_async.emulator import routes
from tracket_async.emulator.answers import JSON, Answer, Refusal
from tracket_async.emulator.ledger import Received
from tracket_async.emulator.oauth import Tokens
from tracket_async.emulator.operations import Asked
from tracket_async.emulator.routes import Resource
from tracket_async.emulator.settings import Settings
from tracket_async.emulator.wire import Wire

Operation = Callable[[Asked], Answer]


@frozen(kw_only=True)
class Surroundings:
    """What all exchanges of a server share.

    Attributes:
        settings: Its settings.
        tokens: Who may do what.
        operations: The function of each action, by the action's name.
        wall: Seconds since the epoch, by the server's clock.
        sleep: Waits that many seconds.
        wires: The connections that were taken over and are still there.
    """

    settings: Settings
    tokens: Tokens
    operations: Mapping[str, Operation]
    wall: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    wires: set[Wire]


class ClientLeftError(Exception):
    """The client has gone before its request was complete: there is nobody to answer."""


class HttpExchange:
    """One request, as aiohttp gives it, and its way to an answer.

    Args:
        around: What it shares with others.
        request: The request.
        received: Its entry in the ledger.
        resource: The resource that its path names.
        ident: The id in its path.
    """

    def __init__(
        self,
        around: Surroundings,
        request: web.BaseRequest,
        received: Received,
        resource: Resource | None,
        ident: str,
    ) -> None:
        self.received = received
        self._around = around
        self._request = request
        self._resource = resource
        self._ident = ident
        self._skew = 0.0

    async def answer(self) -> Answer:
        """Do what was asked; a refusal is an answer, too.

        Raises:
            ClientLeftError: The client went while it was sending.
        """
        try:
            answer = await self._perform()
        except Refusal as refusal:
            answer = refusal.answer()
        self.received.committed = answer.committed
        return answer

    async def _perform(self) -> Answer:
        request = self._request
        body = await self._read_body()
        action = routes.action_of(self._resource, request.method)
        if not action.open:
            self._around.tokens.authorise(request.headers.get("Authorization"), writes=action.writes)
        if self._around.settings.latency:
            await self._around.sleep(self._around.settings.latency)
        if action.has_body and not _is_json(request.content_type):
            raise Refusal(415, f"the Content-Type must be {JSON}")
        repeated = [name for name in self.received.query if len(request.query.getall(name)) > 1]
        if repeated:
            raise Refusal(400, "must be given once", repeated[0])
        asked = Asked(path=self.received.path, ident=self._ident, query=self.received.query, body=body)
        return self._around.operations[action.name](asked)

    async def _read_body(self) -> bytes:
        if not self._request.can_read_body:
            return b""
        try:
            self.received.body = await self._request.read()
        except web.HTTPRequestEntityTooLarge:
            limit = self._around.settings.body_limit
            raise Refusal(413, f"the body is larger than {limit} bytes") from None
        except (HttpProcessingError, web.RequestPayloadError) as error:
            raise Refusal(400, f"the body cannot be read: {str(error)[:200]}") from None
        except OSError as error:
            raise ClientLeftError from error
        return self.received.body

    def headers(self, answer: Answer) -> list[tuple[str, str]]:
        """Every response's headers: the server's Date, an id to ask the vendor about, and the answer's own."""
        return [
            ("Date", formatdate(self._around.wall() + self._skew, usegmt=True)),
            ("X-Request-Id", f"req-{self.received.number:08d}"),
            ("Content-Type", answer.content_type),
            *answer.headers,
        ]

    def respond(self, answer: Answer) -> web.StreamResponse:
        """The response that sends this answer."""
        self.received.status = answer.status
        self.received.committed = answer.committed
        response = web.Response(status=answer.status, body=answer.body)
        response.headers.update(self.headers(answer))
        return response

    def take_over(self) -> Wire:
        """Take the connection from aiohttp.

        Raises:
            ClientLeftError: There is none any more.
        """
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ClientLeftError
        wire = Wire(transport, self._around.sleep)
        self._around.wires.add(wire)
        return wire

    def gone(self, status: int | None) -> web.StreamResponse:
        """A response that goes nowhere, because the connection has been ended."""
        self.received.status = status
        return web.Response()

    async def pause(self, seconds: float) -> None:
        """Let seconds pass."""
        await self._around.sleep(seconds)

    def skew_clock(self, seconds: float) -> None:
        """Shift the Date header of this answer."""
        self._skew += seconds

    def expire_tokens(self) -> None:
        """Make every token from the token call invalid."""
        self._around.tokens.expire()


def _is_json(content_type: str) -> bool:
    return content_type == JSON or (content_type.startswith("application/") and content_type.endswith("+json"))
