"""A store opened in a thread: whoever is cancelled meanwhile leaves none behind that is open, and locked."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from tracket_async.errors import TracketError
from tracket_async.export.request import ExportRequest
from tracket_async.export.store import Store


async def open_store(path: str | Path, *, request: ExportRequest | None) -> Store:
    """The store, as `Store` opens it; whoever gets it has to close it.

    Raises:
        TargetBusyError, StoreError, StorageError, MissingExtraError: as `Store`.
    """
    opening = asyncio.ensure_future(asyncio.to_thread(Store, path, request=request))
    try:
        # Not awaited itself: a cancellation would lose the store that the thread goes on to open.
        await asyncio.wait([opening])
    except asyncio.CancelledError:
        with contextlib.suppress(TracketError):
            store = await opening
            await asyncio.to_thread(store.close)
        raise
    return opening.result()
