"""A pytest plugin: an emulator and a client that talks to it, fresh for every test.

Installing the package installs the plugin. Client and emulator are imported when a test uses a fixture::

    async def test_report_counts_minutes(tracket_client):
        await tracket_client.worklogs.create(NewWorklog(item_id="1", user_id="2", date=monday, minutes=30))
        assert await report(tracket_client) == 30

    @pytest.mark.tracket(api="1.0", sample=500)
    async def test_report_on_500_worklogs_of_api_1_0(tracket_client, tracket_emulator): ...

The mark ``tracket`` takes ``api`` (the client's version, ``"2.0"`` by default) and every argument of
``tracket_async.emulator.Emulator``. The fixtures run on the loop of pytest-asyncio, in its strict mode as well as in
its auto mode; without pytest-asyncio, a test that uses them fails and says so.
"""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tracket_async.client import TracketClient
    from tracket_async.emulator import Emulator

MARK = "tracket(api='2.0', **settings): how tracket_emulator and tracket_client are set up"


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


async def _emulator(request: pytest.FixtureRequest) -> AsyncGenerator[Emulator]:
    from tracket_async.emulator import Emulator  # imported when a test uses it

    settings = _arguments(request)
    settings.pop("api", None)
    try:
        made = Emulator(**settings)
    except (TypeError, ValueError) as error:
        # "Settings.__init__() got an unexpected keyword argument 'x'", or a message that shows no value.
        pytest.fail(
            f"The mark tracket cannot be used: {str(error).removeprefix('Settings.__init__() ')}", pytrace=False
        )
    async with made as emulator:
        yield emulator


async def _client(request: pytest.FixtureRequest, tracket_emulator: Emulator) -> AsyncGenerator[TracketClient]:
    from tracket_async.client import TracketClient  # imported when a test uses it

    api = _arguments(request).get("api", "2.0")
    if api not in {"1.0", "2.0"}:
        pytest.fail("The mark tracket cannot be used: api must be '1.0' or '2.0'", pytrace=False)
    async with TracketClient.from_env(tracket_emulator.env(api)) as client:
        yield client


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
