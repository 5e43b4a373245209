"""A store opened in a thread."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tracket_async.errors import StoreError
from tracket_async.export import opening
from tracket_async.export.opening import open_store
from tracket_async.export.store import Store


async def test_it_opens_a_store_or_says_why_not(tmp_path, request_2024):
    store = await open_store(tmp_path / "s.duckdb", request=request_2024)
    store.close()
    with pytest.raises(StoreError, match="there is no store"):
        await open_store(tmp_path / "t.duckdb", request=None)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancellation_leaves_no_store_that_is_open(tmp_path, request_2024, monkeypatch, fails):
    begun, go_on = threading.Event(), threading.Event()

    def slowly(path, *, request):
        begun.set()
        go_on.wait(30)
        return Store(path, request=None if fails else request)

    monkeypatch.setattr(opening, "Store", slowly)
    task = asyncio.create_task(open_store(tmp_path / "s.duckdb", request=request_2024))
    await asyncio.to_thread(begun.wait, 30)
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    Store(tmp_path / "s.duckdb", request=request_2024).close()
