"""A coroutine runs to its end on its own loop, and an interruption lets it clean up first."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal

import pytest

from tracket_async.cli.entry import loop_factory, run
from tracket_async.cli.exits import Terminated


def test_the_result_comes_back():
    async def work():
        return 7

    assert run(work()) == 7


def test_an_exception_comes_through():
    async def work():
        raise LookupError

    with pytest.raises(LookupError):
        run(work())


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_cancels_the_work_which_may_clean_up(number, raised):
    cleaned = []

    async def work():
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(10)  # without a signal it ends, and the test fails
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    before = signal.getsignal(number)
    with pytest.raises(raised):
        run(work())
    assert cleaned == [True]
    assert signal.getsignal(number) == before


def test_a_cancellation_from_within_stays_one():
    async def work():
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        run(work())


@pytest.mark.parametrize("error", [NotImplementedError, RuntimeError, ValueError])
def test_where_no_signal_handler_can_be_set_the_work_runs_all_the_same(monkeypatch, error):
    def refuse(*_args):
        raise error

    async def work():
        return 7

    monkeypatch.setattr("tracket_async.cli.entry.loop_factory", lambda: None)
    monkeypatch.setattr(asyncio.SelectorEventLoop, "add_signal_handler", refuse)
    assert run(work()) == 7


def test_uvloop_is_used_where_it_is_installed():
    uvloop = pytest.importorskip("uvloop")

    async def work():
        return type(asyncio.get_running_loop())

    assert issubclass(run(work()), uvloop.Loop)


def test_without_uvloop_the_loop_is_that_of_asyncio(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    assert loop_factory() is None
