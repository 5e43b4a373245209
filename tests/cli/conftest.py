"""A terminal to print to, and ``tracket`` run in this process against an emulator in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import os
import sys
import threading

import attrs
import pydantic  # noqa: F401 - cyclopts checks values with it where it is imported, in whatever order the tests run
import pytest

from tracket_async.cli import main
from tracket_async.cli.options import SETTINGS
from tracket_async.client import TracketClient
from tracket_async.config import RetryPolicy


class Terminal(io.TextIOWrapper):
    """A stream that says that it is a terminal."""

    def __init__(self, encoding="utf-8"):
        super().__init__(io.BytesIO(), encoding=encoding, write_through=True)

    def isatty(self):
        return True

    @property
    def text(self):
        return self.buffer.getvalue().decode(self.encoding)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path_factory):
    """No setting of whoever runs the tests, and a width that is always the same."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
    for name in (*SETTINGS, "TRACKET_PROFILE", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    # Output that is not buffered fails at other places than output that is, which is what users have.
    for name in ("PYTHONUNBUFFERED", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "JUPYTER_COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "40")
    monkeypatch.setenv("TERM", "xterm")
    # What hints say to run is `tracket`, wherever the tests run it from.
    program = tmp_path_factory.mktemp("bin") / "tracket"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setattr(sys, "argv", ["tracket"])


@pytest.fixture
def terminal(monkeypatch):
    """Makes standard output or standard error (by its name) a terminal, for the rest of the test."""

    def make(name, **settings):
        # Not in the fixture itself: pytest's capturing begins anew after the fixtures.
        made = Terminal(**settings)
        monkeypatch.setattr(sys, name, made)
        return made

    return make


@attrs.frozen
class Result:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def lines(self):
        return self.out.splitlines()


@pytest.fixture
def tracket(capsys):
    """Runs a command in this process."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return run


class Served:
    """An emulator in a thread with an event loop of its own, because a command has its own as well."""

    def __init__(self, **settings):
        self._settings = settings
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self):
        from tracket_async.emulator import Emulator

        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            async with Emulator(**self._settings) as self.emulator:
                self._listening.set()
                await self._stop.wait()
        finally:
            self._listening.set()

    def __enter__(self):
        self._thread.start()
        self._listening.wait()
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def ask(self, function, *args, **kwargs):
        """Call the emulator in its own thread (its database belongs to it)."""

        async def call():
            return function(*args, **kwargs)

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result()

    @property
    def count(self):
        return self.ask(lambda: self.emulator.count)

    @property
    def env(self):
        return self.emulator.env()


@pytest.fixture
def serve(monkeypatch):
    """Starts emulators, and makes the last one the server of the environment."""
    running = []

    def start(api="2.0", **settings):
        served = Served(**settings)
        running.append(served)
        served.__enter__()
        emulator = served.emulator
        monkeypatch.setenv("TRACKET_BASE_URL", emulator.url)
        monkeypatch.setenv("TRACKET_API", api)
        monkeypatch.setenv("TRACKET_TOKEN", emulator.token)
        return served

    yield start
    for served in running:
        served.__exit__()


@pytest.fixture
def impatient(monkeypatch):
    """Commands repeat what fails as often as always, but at once."""
    at_once = RetryPolicy(wait_initial=0, wait_initial_rate_limited=0, wait_jitter=0)
    monkeypatch.setattr(TracketClient, "from_env", functools.partial(TracketClient.from_env, retry=at_once))


@pytest.fixture
def no_extra(monkeypatch):
    """``with no_extra(): ...``: DuckDB and pyarrow are not installed."""

    @contextlib.contextmanager
    def without():
        with monkeypatch.context() as patched:
            for name in ("duckdb", "pyarrow", "pyarrow.parquet"):
                patched.setitem(sys.modules, name, None)
            yield

    return without


@pytest.fixture
def seed():
    """Makes a worklog of the 1.0 shape from a number."""

    def make(number, **changes):
        return {
            "itemId": f"{1000 + number}",
            "userId": "7",
            "description": f"Text {number}",
            "worklogCategory": "support",
            "worklogDate": f"2024-05-{1 + number % 28:02}T00:00:00.000Z",
            "worklogMinutes": 30 + number,
            "worklogBillableMinutes": None,
            "worklogId": f"wl-{number:03}",
            "createdDate": "2024-05-01T08:00:00.000Z",
            "updatedDate": None,
            "approvalStatus": "open",
            "approverUserId": None,
            **changes,
        }

    return make
