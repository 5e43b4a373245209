"""One request from its arrival to its answer: the order of the checks, and the headers of every response.

The handler: it writes each request down, asks the script what goes wrong with it, and answers.

There is one handler for every path, because faults and the request log concern requests that no route matches, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from email.utils import formatdate
from functools import partial
from random import Random
from uuid import UUID

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from attrs import frozen

from tracket_async.emulator import handlers as listing
from tracket_async.emulator import handlers as operations
from tracket_async.emulator import routes
from tracket_async.emulator.faults import Script
from tracket_async.emulator.faults.base import Wire
from tracket_async.emulator.handlers import Asked, Operations
from tracket_async.emulator.oauth import Tokens
from tracket_async.emulator.openapi import document
from tracket_async.emulator.request_log import ReceivedRequest, RequestLog
from tracket_async.emulator.routes import JSON, Answer, Refusal, Resource
from tracket_async.emulator.settings import Settings
from tracket_async.emulator.store import Store

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
        received: Its entry in the request log.
        resource: The resource that its path names.
        ident: The id in its path.
    """

    def __init__(
        self,
        around: Surroundings,
        request: web.BaseRequest,
        received: ReceivedRequest,
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


class Api:
    """The API of one store, ready to be served.

    Args:
        store: The worklogs.
        settings: How it behaves.
        faults: The script of what goes wrong.
        wall: Seconds since the epoch: the server's clock.
        monotonic: Seconds that never go back: the age of tokens.
        sleep: Waits that many seconds: latency and slow faults.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        faults: Script,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.faults = faults
        self.request_log = RequestLog(settings.request_log_size)
        self.tokens = Tokens(settings, monotonic)
        self.ids = _ids(store, settings.seed_number)
        self._wall = wall
        self._wires: set[Wire] = set()
        self._around = Surroundings(
            settings=settings,
            tokens=self.tokens,
            operations=self._operations(store, settings),
            wall=wall,
            sleep=sleep,
            wires=self._wires,
        )

    def now(self) -> int:
        """Milliseconds since the epoch, by the server's clock."""
        return int(self._wall() * 1000)

    def application(self) -> web.Application:
        """The aiohttp application; it can also be given to aiohttp's own test server."""
        app = web.Application(client_max_size=self._around.settings.body_limit)
        app.router.add_route("*", "/{path:.*}", self.handle)
        return app

    def release(self) -> None:
        """Let go of every connection that a fault holds: the server is about to stop."""
        for wire in self._wires:
            wire.over.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, or let happen to it what the script says."""
        path = request.rel_url.raw_path
        resource, ident = routes.find(path)
        # of a parameter that is given twice, the first: the request is refused later
        query = {name: request.query[name] for name in request.query}
        received = self.request_log.begin(request.method, "" if resource is None else resource.route, path, query)
        exchange = HttpExchange(self._around, request, received, resource, ident)
        try:
            return await self._met(exchange)
        except ClientLeftError:
            return exchange.gone(None)
        finally:
            self.request_log.end(received)
            self._wires.difference_update([wire for wire in self._wires if wire.over.is_set()])

    async def _met(self, exchange: HttpExchange) -> web.StreamResponse:
        effects, disturbance = self.faults.choose(exchange.received)
        kinds = [fault.kind for fault in (*effects, disturbance) if fault is not None]
        exchange.received.fault = "+".join(kinds) or None
        for effect in effects:
            await effect.prepare(exchange)
        if disturbance is None:
            return exchange.respond(await exchange.answer())
        return await disturbance.inflict(exchange)

    def _operations(self, store: Store, settings: Settings) -> dict[str, Operation]:
        one = Operations(store, operations.V1, self.ids, self.now)
        two = Operations(store, operations.V2, self.ids, self.now)
        described = document(settings)
        return {
            "1.0 list": partial(listing.list_v1, store, settings.page_size, settings.v1_order),
            "1.0 get": one.get,
            "1.0 create": one.create,
            "1.0 update": one.update,
            "1.0 delete": one.delete,
            "2.0 list": partial(listing.list_v2, store),
            "2.0 get": two.get,
            "2.0 create": two.create,
            "2.0 update": two.update,
            "2.0 delete": two.delete,
            "2.0 categories": partial(listing.list_categories, store),
            "2.0 token": lambda asked: self.tokens.issue(asked.body),
            "openapi": lambda _: described,
        }


def _ids(store: Store, seed: int) -> Iterator[str]:
    """Unused ids, the same ones for the same seed and the same store."""
    # the store's age goes into the seed, so that a file that is opened again does not try all its ids anew
    chance = Random(f"{seed}/{store.last_row()}")  # noqa: S311 -- ids are no secret
    while True:
        ident = str(UUID(int=chance.getrandbits(128), version=4))
        if store.get(ident) is None:
            yield ident
