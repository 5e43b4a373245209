"""The aiohttp application: log a request, ask the fault script about it, and answer it.

One handler serves every path, because faults and the request log concern requests that match no route, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from email.utils import formatdate
from functools import partial
from random import Random
from typing import Any
from uuid import UUID
from weakref import WeakSet

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from attrs import evolve, field, frozen

from tracket_async.emulator import handlers, routes
from tracket_async.emulator.faults import Hang, Script
from tracket_async.emulator.faults.base import RawConnection
from tracket_async.emulator.handlers import ApiRequest, WorklogHandlers
from tracket_async.emulator.oauth import TokenIssuer
from tracket_async.emulator.openapi import document
from tracket_async.emulator.request_log import ReceivedRequest, RequestLog
from tracket_async.emulator.routes import JSON, ApiError, ApiResponse, Resource
from tracket_async.emulator.settings import Settings
from tracket_async.emulator.store import Store
from tracket_async.emulator.v1 import starred

Handler = Callable[[ApiRequest], ApiResponse]


@frozen(kw_only=True)
class ServerContext:
    """The state that all exchanges of a server share.

    Attributes:
        settings: The emulator's settings.
        tokens: The check of every Authorization header.
        handlers: The function of each action, by the action's name.
        wall: Seconds since the epoch, by the server's clock.
        sleep: Waits that many seconds.
        connections: Connections that a fault has taken over and that are still open.
        transports: The transports of all open connections.
        muted: Those that answer no more.
    """

    settings: Settings
    tokens: TokenIssuer
    handlers: Mapping[str, Handler]
    wall: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    connections: set[RawConnection]
    transports: WeakSet[asyncio.BaseTransport] = field(factory=WeakSet[asyncio.BaseTransport])
    muted: WeakSet[asyncio.BaseTransport] = field(factory=WeakSet[asyncio.BaseTransport])


class ClientDisconnectedError(Exception):
    """The client has closed the connection before its request was complete."""


class HttpExchange:
    """One request of aiohttp's, and its way to a response.

    Args:
        context: What it shares with the other exchanges.
        request: The request.
        received: Its entry in the request log.
        resource: The resource that its path names.
        ident: The id in its path.
    """

    def __init__(
        self,
        context: ServerContext,
        request: web.BaseRequest,
        received: ReceivedRequest,
        resource: Resource | None,
        ident: str,
    ) -> None:
        self.received = received
        self._context = context
        self._request = request
        self._resource = resource
        self._ident = ident
        self._skew = 0.0
        self._has_date = True

    async def execute(self, change: Callable[[ApiRequest], ApiRequest] | None = None) -> ApiResponse:
        """Carry the request out and return its response, which may be an error; nothing is sent.

        Args:
            change: Returns the request that is carried out in place of the one that came; None for that one.

        Raises:
            ClientDisconnectedError: The client disconnected while it was sending.
        """
        try:
            response = await self._call_handler(change)
        except ApiError as error:
            response = error.response()
        self.received.committed = response.committed
        return response

    async def _call_handler(self, change: Callable[[ApiRequest], ApiRequest] | None) -> ApiResponse:
        request = self._request
        body = await self._read_body()
        action = routes.find_action(self._resource, request.method)
        if not action.open:
            self._context.tokens.authorise(request.headers.get("Authorization"), writes=action.writes)
        if self._context.settings.latency:
            await self._context.sleep(self._context.settings.latency)
        if action.has_body and not _is_json(request.content_type):
            raise ApiError(415, f"the Content-Type must be {JSON}")
        repeated = [name for name in self.received.query if len(request.query.getall(name)) > 1]
        if repeated:
            raise ApiError(400, "must be given once", repeated[0])
        call = ApiRequest(path=self.received.path, ident=self._ident, query=self.received.query, body=body)
        return self._context.handlers[action.name](call if change is None else change(call))

    async def _read_body(self) -> bytes:
        if not self._request.can_read_body:
            return b""
        try:
            self.received.body = await self._request.read()
        except web.HTTPRequestEntityTooLarge:
            limit = self._context.settings.body_limit
            raise ApiError(413, f"the body is larger than {limit} bytes") from None
        except (HttpProcessingError, web.RequestPayloadError) as error:
            raise ApiError(400, f"the body cannot be read: {str(error)[:200]}") from None
        except OSError as error:
            raise ClientDisconnectedError from error
        return self.received.body

    def headers(self, response: ApiResponse) -> list[tuple[str, str]]:
        """Return the headers of a response: Date, X-Request-Id, Content-Type and the response's own."""
        date = formatdate(self._context.wall() + self._skew, usegmt=True)
        return [
            *([("Date", date)] if self._has_date else []),
            ("X-Request-Id", f"req-{self.received.number:08d}"),
            ("Content-Type", response.content_type),
            *response.headers,
        ]

    def respond(self, response: ApiResponse, *, followed_by: bytes = b"") -> web.StreamResponse:
        """Return the response in the form that aiohttp sends, and log its status."""
        self.received.status = response.status
        self.received.committed = response.committed
        sent = _Response(followed_by, status=response.status, body=response.body)
        sent.headers.update(self.headers(response))
        sent.has_date = self._has_date
        return sent

    def take_over_connection(self) -> RawConnection:
        """Take the connection from aiohttp.

        Raises:
            ClientDisconnectedError: The client has closed it.
        """
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ClientDisconnectedError
        connection = RawConnection(transport, self._context.sleep)
        self._context.connections.add(connection)
        return connection

    def disconnected(self, status: int | None) -> web.StreamResponse:
        """Return the placeholder that aiohttp wants when the connection has been ended; log the status sent."""
        self.received.status = status
        return web.Response()

    @property
    def is_mute(self) -> bool:
        """Return whether the connection answers no more."""
        return self._request.transport in self._context.muted

    async def sleep(self, seconds: float) -> None:
        """Wait that many seconds."""
        await self._context.sleep(seconds)

    def skew_clock(self, seconds: float) -> None:
        """Shift the Date header of this response."""
        self._skew += seconds

    def omit_date(self) -> None:
        """Send this response without a Date header."""
        self._has_date = False

    def mute_connections(self) -> None:
        """Let no connection that is open now answer another request."""
        self._context.muted.update(self._context.transports)

    def expire_tokens(self) -> None:
        """Make every token from the token call invalid."""
        self._context.tokens.expire()


class _Response(web.Response):
    """A response that more bytes can follow on its connection, and that need not have a Date header."""

    has_date = True

    def __init__(self, followed_by: bytes, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._followed_by = followed_by
        self._transport: asyncio.Transport | None = None

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        self._transport = request.transport
        return await super().prepare(request)

    async def write_eof(self, data: bytes = b"") -> None:
        await super().write_eof(data)
        if self._followed_by and self._transport is not None:
            self._transport.write(self._followed_by)


async def _without_added_date(_request: web.Request, response: web.StreamResponse) -> None:
    """Take out the Date header that aiohttp adds where there is none."""
    if isinstance(response, _Response) and not response.has_date:
        response.headers.popall("Date", None)


def _is_json(content_type: str) -> bool:
    return content_type == JSON or (content_type.startswith("application/") and content_type.endswith("+json"))


class Api:
    """The API of one store, ready to be served.

    Args:
        store: The worklogs.
        settings: The emulator's settings.
        faults: The script of faults.
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
        self.tokens = TokenIssuer(settings, monotonic)
        self.ids = _unused_ids(store, settings.seed_number)
        self._wall = wall
        self._connections: set[RawConnection] = set()
        self._context = ServerContext(
            settings=settings,
            tokens=self.tokens,
            handlers=self._handlers(store, settings),
            wall=wall,
            sleep=sleep,
            connections=self._connections,
        )

    def now(self) -> int:
        """Return milliseconds since the epoch, by the server's clock."""
        return int(self._wall() * 1000)

    def application(self) -> web.Application:
        """Return the aiohttp application; it can also be given to aiohttp's own test server."""
        app = web.Application(client_max_size=self._context.settings.body_limit)
        app.router.add_route("*", "/{path:.*}", self.handle)
        app.on_response_prepare.append(_without_added_date)
        return app

    def release_connections(self) -> None:
        """End the faults that hold a connection, because the server is about to stop."""
        for connection in self._connections:
            connection.ended.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, or apply the faults that the script has for it."""
        path = request.rel_url.raw_path
        resource, ident = routes.find_resource(path)
        # of a parameter that is given twice, the first: the request gets a 400 later
        query = {name: request.query[name] for name in request.query}
        received = self.request_log.begin(request.method, "" if resource is None else resource.route, path, query)
        exchange = HttpExchange(self._context, request, received, resource, ident)
        self._context.transports.update(() if request.transport is None else (request.transport,))
        try:
            return await self._respond(exchange)
        except ClientDisconnectedError:
            return exchange.disconnected(None)
        finally:
            self.request_log.end(received)
            self._connections.difference_update([each for each in self._connections if each.ended.is_set()])

    async def _respond(self, exchange: HttpExchange) -> web.StreamResponse:
        request_faults, response_fault = self.faults.choose(exchange.received)
        kinds = [fault.kind for fault in (*request_faults, response_fault) if fault is not None]
        exchange.received.fault = "+".join(kinds) or None
        for fault in request_faults:
            await fault.apply(exchange)
        if exchange.is_mute:
            response_fault = Hang()
        if response_fault is None:
            return exchange.respond(await exchange.execute())
        return await response_fault.apply(exchange)

    def _handlers(self, store: Store, settings: Settings) -> dict[str, Handler]:
        v1 = WorklogHandlers(store, handlers.V1, self.ids, self.now)
        v2 = WorklogHandlers(store, handlers.V2, self.ids, self.now)
        openapi = document(settings)
        served: dict[str, Handler] = {
            "1.0 list": partial(handlers.list_v1, store, settings.page_size, settings.v1_order),
            "1.0 get": v1.get,
            "1.0 create": v1.create,
            "1.0 update": v1.update,
            "1.0 delete": v1.delete,
            "2.0 list": partial(handlers.list_v2, store),
            "2.0 get": v2.get,
            "2.0 create": v2.create,
            "2.0 update": v2.update,
            "2.0 delete": v2.delete,
            "2.0 categories": partial(handlers.list_categories, store),
            "2.0 token": lambda request: self.tokens.issue(request.body),
            "openapi": lambda _: openapi,
        }
        if settings.v1_fields == "starred":
            served |= {name: _starred(handler) for name, handler in served.items() if name.startswith("1.0")}
        return served


def _starred(handler: Handler) -> Handler:
    def handle(request: ApiRequest) -> ApiResponse:
        response = handler(request)
        return evolve(response, body=starred(response.body))

    return handle


def _unused_ids(store: Store, seed: int) -> Iterator[str]:
    """Yield ids that the store does not hold, the same ones for the same seed and the same store."""
    # the store's age goes into the seed, so that a file that is opened again does not try all its ids anew
    random = Random(f"{seed}/{store.last_row()}")  # noqa: S311 -- ids are no secret
    while True:
        ident = str(UUID(int=random.getrandbits(128), version=4))
        if store.get(ident) is None:
            yield ident
