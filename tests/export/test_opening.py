"""A store opened in a thread."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tracket_async.errors import StoreError
from tracket_async.export import store as opening
from tracket_async.export.store import Store, open_store


@pytest.fixture
def slow(monkeypatch):
    """Stores that take until ``go`` to open; ``begun`` says that one has begun."""
    begun, go = threading.Event(), threading.Event()

    def make(*args, **kwargs):
        begun.set()
        go.wait(30)
        return Store(*args, **kwargs)

    monkeypatch.setattr(opening, "Store", make)
    return begun, go


async def cancelled_while_it_opens(slow, path, request):
    begun, go = slow
    task = asyncio.create_task(open_store(path, request=request))
    await asyncio.to_thread(begun.wait, 30)
    task.cancel()
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_it_is_opened_or_the_reason_is_told(tmp_path, request_2024):
    with pytest.raises(StoreError, match="there is no store"):
        await open_store(tmp_path / "s", request=None)
    (await open_store(tmp_path / "s", request=request_2024)).close()
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


async def test_whoever_is_cancelled_meanwhile_leaves_nothing_open(slow, tmp_path, request_2024):
    await cancelled_while_it_opens(slow, tmp_path / "s", request_2024)
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    Store(tmp_path / "s", request=request_2024).close()


async def test_a_refusal_that_nobody_waits_for_any_more_is_not_told(slow, tmp_path):
    await cancelled_while_it_opens(slow, tmp_path / "s", None)
    assert list(tmp_path.iterdir()) == []
