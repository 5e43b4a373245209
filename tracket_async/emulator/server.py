"""The emulator as an ``async with``: open the store, fill it, listen, and close everything at its end."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, cast

from aiohttp import web

from tracket_async.emulator import v1
from tracket_async.emulator.app import Api
from tracket_async.emulator.faults import Script
from tracket_async.emulator.records import Worklog
from tracket_async.emulator.request_log import RequestLog
from tracket_async.emulator.routes import ApiError
from tracket_async.emulator.seeding import Sample, SeedError, read_seed, sample_categories, sample_worklogs
from tracket_async.emulator.settings import Settings
from tracket_async.emulator.store import Store

_GRACE: Final = 2.0  # seconds that a request in progress gets when the server stops
_BACKLOG: Final = 128  # connections that wait to be accepted, as in aiohttp's sites
_TURNS: Final = 5  # of the event loop: more than it takes until a connection that was accepted is served
LARGEST_PORT: Final = 65_535


class Emulator:
    """A Tracket server on a loopback port, for as long as the ``async with`` lasts.

    Args:
        seed: Worklogs to begin with, in the 1.0 wire shape: a file of one JSON object a line, or the objects.
        sample: Worklogs of a made-up company to begin with: their number, or a `Sample` with more choices.
        db: Database file to keep the worklogs in; None keeps them in memory. A file that holds worklogs already
            can be served, but neither seeded nor sampled into.
        host: Address to listen on. Anything but loopback lets other machines in, with a token that is printed.
        port: Port to listen on; 0 takes a free one.
        faults: A script of faults to begin with; None for an empty one.
        wall: Seconds since the epoch: the server's clock (createdDate, updatedDate, Date).
        monotonic: Seconds that never go back: the age of tokens.
        sleep: Waits that many seconds: latency and slow faults.
        settings: Everything else, by the names in `Settings`: latency (seconds), page_size, v1_order,
            token_lifetime (seconds), token, client_id, ...

    Raises:
        ValueError: A setting is out of range, or both a seed and a sample are given.
    """

    def __init__(
        self,
        *,
        seed: str | Path | Iterable[Mapping[str, Any]] | None = None,
        sample: int | Sample | None = None,
        db: str | Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: Script | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        **settings: Any,
    ) -> None:
        if seed is not None and sample is not None:
            raise ValueError("give a seed or a sample, not both")
        if not isinstance(sample, int | Sample | None):  # pyright: ignore[reportUnnecessaryIsInstance] - of callers without a type checker
            raise TypeError("sample must be a number of worklogs, or a Sample")
        if not isinstance(port, int):  # pyright: ignore[reportUnnecessaryIsInstance] - as above
            raise TypeError("port must be a number")
        if not 0 <= port <= LARGEST_PORT:
            raise ValueError(f"port must lie between 0, which takes a free one, and {LARGEST_PORT}, not be {port}")
        self._settings = Settings(**settings)
        self._seed = Path(seed) if isinstance(seed, str) else seed
        self._sample = Sample(count=sample) if isinstance(sample, int) else sample
        self._db = None if db is None else Path(db)
        self._host = host
        self._port = port
        self.faults = Script() if faults is None else faults
        """The script of faults."""
        self._clocks: dict[str, Any] = {"wall": wall, "monotonic": monotonic, "sleep": sleep}
        self._store: Store | None = None
        self._api: Api | None = None
        self._opened = AsyncExitStack()
        self._serving = False
        self._url = ""

    async def __aenter__(self) -> Self:
        """Open the store, fill it, and listen.

        Raises:
            StoreError: The database file cannot be used.
            SeedError: The seed is malformed, or the database holds worklogs already.
            OSError: The address cannot be listened on.
        """
        if self._serving:
            raise RuntimeError("this emulator is running already")
        async with AsyncExitStack() as opened:
            self._store = Store(self._db, approval_shape=self._settings.approval_shape)
            opened.callback(self._store.close)
            self._load(self._store)
            self._api = Api(self._store, self._settings, self.faults, **self._clocks)
            await self._listen(self._api, opened)
            opened.callback(self._api.release_connections)
            self._opened = opened.pop_all()
        self._serving = True
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop listening, end every connection, and close the store."""
        self._serving = False
        await self._opened.aclose()

    def __repr__(self) -> str:
        return f"<Emulator {self._url or 'not started'}>"

    @property
    def url(self) -> str:
        """Return the origin, such as ``http://127.0.0.1:49152``, without a slash at its end."""
        return self._url

    @property
    def settings(self) -> Settings:
        """Return the settings, with the credentials that were made up."""
        return self._settings

    @property
    def token(self) -> str:
        """Return a bearer token that both versions accept and that never expires."""
        return self._settings.token

    @property
    def request_log(self) -> RequestLog:
        """Return the requests that were received; they can still be read when the server has stopped."""
        return self._running.request_log

    @property
    def token_requests(self) -> int:
        """Return the number of token calls, refused ones included."""
        return self._running.tokens.requests

    @property
    def count(self) -> int:
        """Return the number of worklogs."""
        return self._open_store.count

    def env(self, api: Literal["1.0", "2.0"] = "2.0") -> dict[str, str]:
        """Return the TRACKET_* settings with which a client finds this server.

        Args:
            api: For 2.0 they hold the credentials of the token call; for 1.0, which has none, the fixed token.
        """
        shared = {"TRACKET_BASE_URL": self._url, "TRACKET_API": api}
        if api == "1.0":
            return {**shared, "TRACKET_TOKEN": self.token}
        return {
            **shared,
            "TRACKET_CLIENT_ID": self._settings.client_id,
            "TRACKET_CLIENT_SECRET": self._settings.client_secret,
            "TRACKET_ACCOUNT_ID": self._settings.account_id,
        }

    def expire_tokens(self) -> None:
        """Make every token from the token call invalid."""
        self._running.tokens.expire()

    def worklogs(self) -> list[dict[str, Any]]:
        """Return every worklog in the 1.0 shape, ordered by date, creation and id."""
        return [json.loads(body) for body in self._open_store.all_rendered("v1")]

    def time_entries(self) -> list[dict[str, Any]]:
        """Return every worklog in the 2.0 shape, in the same order."""
        return [json.loads(body) for body in self._open_store.all_rendered("v2")]

    def get(self, worklog_id: str) -> dict[str, Any] | None:
        """Return the worklog in the 1.0 shape, or None."""
        body = self._open_store.rendered("v1", worklog_id)
        return None if body is None else json.loads(body)

    def create(self, worklog: Mapping[str, Any]) -> dict[str, Any]:
        """Add a worklog behind the client's back: it is in no request log, and gets no fault.

        Args:
            worklog: The 1.0 shape, with `team`, `board`, `parentItem`, `project` and `customFields` for what only
                2.0 shows. Without worklogId it gets a new one; without createdDate the server's time, with null
                none.

        Returns:
            The new worklog in the 1.0 shape.

        Raises:
            ValueError: It is malformed.
            DuplicateIdError: Its id is taken.
        """
        ident = worklog.get("worklogId") or next(self._running.ids)
        columns: dict[str, Any] = {"created": self._running.now()} | _read_stored(
            {**worklog, "worklogId": ident}, partial=False
        )
        self._open_store.insert(Worklog(**columns))
        return self._as_v1(ident)

    def update(self, worklog_id: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Change a worklog behind the client's back.

        Args:
            worklog_id: Its id.
            changes: Any keys that `create` takes, but for worklogId; without updatedDate it is the server's time.

        Returns:
            The changed worklog in the 1.0 shape.

        Raises:
            ValueError: A change is malformed.
            LookupError: There is no such worklog.
        """
        current = self._open_store.get(worklog_id)
        if current is None:
            raise LookupError(worklog_id)
        columns: dict[str, Any] = (
            {"updated": self._running.now()} | _read_stored(changes, partial=True) | {"id": worklog_id}
        )
        self._open_store.replace(current._replace(**columns))
        return self._as_v1(worklog_id)

    def delete(self, worklog_id: str) -> None:
        """Delete a worklog behind the client's back.

        Raises:
            LookupError: There is no such worklog.
        """
        if not self._open_store.delete(worklog_id):
            raise LookupError(worklog_id)

    @property
    def _running(self) -> Api:
        if self._api is None:
            raise RuntimeError("the emulator has not been started: use it in an `async with`")
        return self._api

    @property
    def _open_store(self) -> Store:
        if self._store is None or not self._serving:
            raise RuntimeError("the emulator does not run: its worklogs are there inside its `async with`")
        return self._store

    def _as_v1(self, ident: str) -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(self._open_store.rendered("v1", ident) or b"{}")
        return shown

    def _load(self, store: Store) -> None:
        if self._seed is None and self._sample is None:
            if not store.categories():
                store.add_categories(sample_categories())
            return
        if store.count:
            raise SeedError(
                f"{self._db} holds {store.count} worklogs already: serve it without a seed and a sample, "
                "or give another file"
            )
        if self._seed is not None:
            store.load(read_seed(self._seed))
            store.add_used_categories()
        else:
            sample = self._sample or Sample()
            store.load(sample_worklogs(sample))
            store.add_categories(sample_categories(sample.seed))

    async def _listen(self, api: Api, opened: AsyncExitStack) -> None:
        runner = web.AppRunner(api.application(), access_log=None, shutdown_timeout=_GRACE, handle_signals=False)
        opened.push_async_callback(runner.cleanup)
        await runner.setup()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(cast("Any", runner.server), self._host, self._port, backlog=_BACKLOG)
        opened.push_async_callback(_stop_listening, server)
        host, port = server.sockets[0].getsockname()[:2]
        self._url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _stop_listening(server: asyncio.Server) -> None:
    """Close a server, and lose no connection that it has just accepted.

    asyncio makes the transport of such a connection a turn of its loop later. If the server is closed by then, the
    assertion in ``Server._attach`` fails, nobody hears of it, and the socket stays open.
    """
    with suppress(NotImplementedError):  # on Windows; only `asyncio.Server.close` stops its accepting
        for listener in server.sockets:
            asyncio.get_running_loop().remove_reader(listener.fileno())
    for _ in range(_TURNS):
        await asyncio.sleep(0)
    server.close()


def _read_stored(payload: Mapping[str, Any], *, partial: bool) -> dict[str, Any]:
    try:
        return v1.read_stored(payload, partial=partial)
    except ApiError as error:
        raise ValueError(str(error)) from None
