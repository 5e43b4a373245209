"""The handler: it writes each request down, asks the script what goes wrong with it, and answers.

There is one handler for every path, because faults and the ledger concern requests that no route matches, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from random import Random
from typing import TYPE_CHECKING
from uuid import UUID

from aiohttp import web

from tracket_async.emulator import listing, operations, routes
from tracket_async.emulator.exchange import ClientLeftError, HttpExchange, Operation, Surroundings
from tracket_async.emulator.faults import Script
from tracket_async.emulator.ledger import Ledger
from tracket_async.emulator.oauth import Tokens
from tracket_async.emulator.openapi import document
from tracket_async.emulator.operations import Operations
from tracket_async.emulator.settings import Settings
from tracket_async.emulator.store import Store

if TYPE_CHECKING:
    from tracket_async.emulator.wire import Wire


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
        self.ledger = Ledger(settings.ledger_size)
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
        received = self.ledger.begin(request.method, "" if resource is None else resource.route, path, query)
        exchange = HttpExchange(self._around, request, received, resource, ident)
        try:
            return await self._met(exchange)
        except ClientLeftError:
            return exchange.gone(None)
        finally:
            self.ledger.end(received)
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
