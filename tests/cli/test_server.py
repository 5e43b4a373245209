"""The emulator's process lives exactly as long as it is needed."""

from __future__ import annotations

import asyncio
import os

import pytest

from tracket_async.cli import demo as server
from tracket_async.errors import TracketError


@pytest.fixture
def started(monkeypatch):
    """The processes that were started."""
    processes = []
    real = asyncio.create_subprocess_exec

    async def create(*args, **kwargs):
        processes.append(await real(*args, **kwargs))
        return processes[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", create)
    return processes


def is_gone(process):
    """Ended and waited for, so that not even a zombie is left."""
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
    return process.returncode is not None


async def test_it_gives_its_settings_and_ends_after_the_with(started):
    async with server.emulator("--sample", "10") as settings:
        assert settings["TRACKET_BASE_URL"].startswith("http://127.0.0.1:")
        assert settings.keys() >= {"TRACKET_CLIENT_ID", "TRACKET_CLIENT_SECRET", "TRACKET_ACCOUNT_ID"}
        assert started[0].returncode is None
    assert is_gone(started[0])
    assert started[0].returncode == 0


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, asyncio.CancelledError])
async def test_it_ends_whatever_happens_in_the_with(started, error):
    async def interrupted():
        async with server.emulator():
            raise error

    with pytest.raises(error):
        await interrupted()
    assert is_gone(started[0])


async def test_it_ends_when_we_are_cancelled_while_it_starts(started, monkeypatch):
    waiting = asyncio.Event()

    async def never(_process):
        waiting.set()
        await asyncio.Event().wait()

    async def use():
        async with server.emulator():
            pass

    monkeypatch.setattr(server, "_listens", never)
    task = asyncio.create_task(use())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert is_gone(started[0])


async def test_what_it_says_when_it_does_not_start_is_told(started):
    with pytest.raises(TracketError, match=r"The emulator does not start: tracket emulator: .*count"):
        async with server.emulator("--sample", "-1"):
            pass
    assert is_gone(started[0])


@pytest.fixture
def scripted(monkeypatch, started):
    """Starts Python code in place of the emulator."""
    real = asyncio.create_subprocess_exec

    def script(code):
        async def create(program, *_args, **kwargs):
            return await real(program, "-c", code, **kwargs)

        monkeypatch.setattr(asyncio, "create_subprocess_exec", create)

    return script


async def test_a_process_that_says_nothing_is_given_up(scripted, monkeypatch):
    monkeypatch.setattr(server, "PATIENCE", 0.0)
    scripted("import time; time.sleep(60)")
    with pytest.raises(TracketError, match="The emulator does not start: it says nothing"):
        async with server.emulator():
            pass


async def test_a_process_that_does_not_end_when_asked_is_killed(scripted, monkeypatch, started):
    monkeypatch.setattr(server, "GRACE", 0.0)
    monkeypatch.setattr(server, "_text", lambda _path: "")
    scripted("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); signal.pause()")
    async with server.emulator():
        pass
    assert is_gone(started[0])
    assert started[0].returncode == -9
