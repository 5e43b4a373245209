"""What every stage of an export or a sync works with: the server, the store, its thread, and somebody to tell."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import ParamSpec, TypeVar

import attrs

from tracket_async.client import TracketClient
from tracket_async.errors import StoreError
from tracket_async.export.progress import OnProgress, Teller
from tracket_async.export.source import Patience, Source
from tracket_async.export.store import Store
from tracket_async.export.thread import WorkThread
from tracket_async.net.world import World

P = ParamSpec("P")
T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Settings:
    """How an export or a sync runs; nothing here changes what is exported.

    Attributes:
        concurrency: pages fetched at once; the session's ``Limits.concurrency`` bounds it, too.
        patience: how long to wait for a server that does not answer.
        on_progress: is told how far it is; None: nobody.
        on_notice: is told in a sentence when the server's order leaves no choice but one chain; None: a warning of the
            logger ``tracket_async``.
        world: time and chance, for tests.
    """

    concurrency: int = attrs.field(default=16, validator=attrs.validators.ge(1))
    patience: Patience = attrs.field(factory=Patience)
    on_progress: OnProgress | None = None
    on_notice: Callable[[str], None] | None = None
    world: World = attrs.field(factory=World)


@attrs.frozen(kw_only=True)
class Desk:
    """See above. ``clock``: seconds, never going back."""

    source: Source
    store: Store
    thread: WorkThread
    teller: Teller
    settings: Settings
    clock: Callable[[], float]

    async def do(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a method of the store, in its thread."""
        return await self.thread(work, *args, **kwargs)


@contextlib.asynccontextmanager
async def desk(client: TracketClient, store: Store, settings: Settings | None) -> AsyncGenerator[Desk]:
    """The desk for one run.

    Raises:
        StoreError: the store is of another server, account, or version of the API, than the client.
    """
    wanted = store.request
    here = attrs.evolve(wanted, api=client.api, origin=client.base_url, account=client.account)
    if differences := wanted.differences(here):
        error = StoreError(f"{store.path} is not of this client: its {differences}")
        error.hint = "Use a client of the server and the account that it was exported from, or name another file"
        raise error
    settings = Settings() if settings is None else settings
    clock = settings.world.clock or asyncio.get_running_loop().time
    async with WorkThread() as thread:
        yield Desk(
            source=Source(client, patience=settings.patience, world=settings.world, clock=clock),
            store=store,
            thread=thread,
            teller=Teller(settings.on_progress, statistics=client.statistics, clock=clock),
            settings=settings,
            clock=clock,
        )
