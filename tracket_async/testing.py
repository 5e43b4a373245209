"""A pytest plugin: an emulator, a client that talks to it, and mocked responses, fresh for every test.

Installing the package installs the plugin. Client and emulator are imported when a test uses a fixture:

    async def test_report_counts_minutes(tracket_client):
        await tracket_client.worklogs.create(NewWorklog(item_id="1", user_id="2", date=monday, minutes=30))
        assert await report(tracket_client) == 30

    @pytest.mark.tracket(api="1.0", sample=500)
    async def test_report_on_500_worklogs_of_api_1_0(tracket_client, tracket_emulator): ...

The mark ``tracket`` takes ``api`` (the client's version, ``"2.0"`` by default) and every argument of
``tracket_async.emulator.Emulator``. ``tracket_emulator`` and ``tracket_client`` run on the loop of pytest-asyncio, in
its strict mode as well as in its auto mode; without pytest-asyncio, a test that uses them fails and says so.

``tracket_server`` is an emulator in a thread of its own, for synchronous tests and for subprocesses.
``tracket_responses`` answers without any server: it is aioresponses, for those who mock.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from unittest.mock import Mock

import pytest

if TYPE_CHECKING:
    from aioresponses import aioresponses

    from tracket_async.client import TracketClient
    from tracket_async.emulator import Emulator

T = TypeVar("T")

MARK = "tracket(api='2.0', **settings): how tracket_emulator, tracket_server and tracket_client are set up"


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark ``tracket``, for ``--strict-markers``."""
    config.addinivalue_line("markers", MARK)


def _arguments(request: pytest.FixtureRequest) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    # The closest mark comes first and wins, name by name.
    node: pytest.Item = request.node
    for mark in node.iter_markers("tracket"):
        if mark.args:
            pytest.fail(f"The mark tracket takes settings by their names: {MARK}", pytrace=False)
        arguments = {**mark.kwargs, **arguments}
    return arguments


def _made(request: pytest.FixtureRequest) -> Emulator:
    from tracket_async.emulator import Emulator  # imported when a test uses it

    settings = _arguments(request)
    settings.pop("api", None)
    try:
        return Emulator(**settings)
    except (TypeError, ValueError) as error:
        # "Settings.__init__() got an unexpected keyword argument 'x'", or a message that shows no value.
        problem = str(error).removeprefix("Settings.__init__() ")
    pytest.fail(f"The mark tracket cannot be used: {problem}", pytrace=False)


def _api(request: pytest.FixtureRequest) -> Any:
    api = _arguments(request).get("api", "2.0")
    if api not in {"1.0", "2.0"}:
        pytest.fail("The mark tracket cannot be used: api must be '1.0' or '2.0'", pytrace=False)
    return api


async def _emulator(request: pytest.FixtureRequest) -> AsyncGenerator[Emulator]:
    async with _made(request) as emulator:
        yield emulator


async def _client(request: pytest.FixtureRequest, tracket_emulator: Emulator) -> AsyncGenerator[TracketClient]:
    from tracket_async.client import TracketClient  # imported when a test uses it

    async with TracketClient.from_env(tracket_emulator.env(_api(request))) as client:
        yield client


class ServerThread:
    """An emulator that runs in a thread of its own, for tests that are not async and for other processes.

    Attributes:
        base_url: its address, such as ``http://127.0.0.1:49152``.
        token: a bearer token that it accepts and that never expires.
        env: the TRACKET_* variables with which a client, or the command ``tracket``, finds it.
    """

    def __init__(self, emulator: Emulator, loop: asyncio.AbstractEventLoop, env: Mapping[str, str]) -> None:
        self._emulator = emulator
        self._loop = loop
        self.base_url = emulator.url
        self.token = emulator.token
        self.env = dict(env)

    def __repr__(self) -> str:
        return f"<ServerThread {self.base_url}>"

    def call(self, function: Callable[[Emulator], T]) -> T:
        """Return what a function makes of the emulator: it is called in the emulator's thread.

        ``tracket_server.call(lambda emulator: emulator.count)``, say. What it raises is raised here.
        """

        async def called() -> T:
            return function(self._emulator)

        return asyncio.run_coroutine_threadsafe(called(), self._loop).result()


@contextlib.contextmanager
def _loop_in_a_thread() -> Generator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="tracket_server", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def tracket_server(request: pytest.FixtureRequest) -> Generator[ServerThread]:
    """Start a Tracket server in a thread of its own, for this test alone."""
    api, emulator = _api(request), _made(request)
    with _loop_in_a_thread() as loop:
        asyncio.run_coroutine_threadsafe(emulator.__aenter__(), loop).result()
        try:
            yield ServerThread(emulator, loop, emulator.env(api))
        finally:
            asyncio.run_coroutine_threadsafe(emulator.__aexit__(None, None, None), loop).result()


@pytest.fixture
def tracket_responses(monkeypatch: pytest.MonkeyPatch) -> Generator[aioresponses]:
    """Answer the requests of every aiohttp session without a network: ``tracket_responses.get(url, payload=...)``.

    It is an ``aioresponses`` object. Release 0.7.9 of that package fails with aiohttp 3.14, whose responses ask for a
    ``stream_writer`` (its issue 289); here they are given one.
    """
    try:
        core: Any = importlib.import_module("aioresponses.core")
    except ImportError:
        pytest.fail("The fixture tracket_responses needs aioresponses: pip install aioresponses", pytrace=False)
    response_class: Any = core.ClientResponse

    def make_response(*arguments: Any, **settings: Any) -> Any:
        return response_class(*arguments, **{"stream_writer": Mock(output_size=0), **settings})

    monkeypatch.setattr(core, "ClientResponse", make_response)
    with core.aioresponses() as responses:
        yield responses


def _async_fixture(function: Callable[..., Any], name: str, docstring: str) -> Any:
    if importlib.util.find_spec("pytest_asyncio") is None:

        def explain() -> None:
            pytest.fail(f"The fixture {name} needs pytest-asyncio: pip install pytest-asyncio", pytrace=False)

        explain.__doc__ = docstring
        return pytest.fixture(name=name)(explain)
    import pytest_asyncio  # an optional companion, which pytest has loaded already

    function.__doc__ = docstring
    return pytest_asyncio.fixture(name=name)(function)


tracket_emulator = _async_fixture(
    _emulator, "tracket_emulator", "A Tracket server on a loopback port, for this test alone."
)
tracket_client = _async_fixture(_client, "tracket_client", "An open client of `tracket_emulator`.")
