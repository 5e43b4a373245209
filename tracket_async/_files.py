"""A file that only grows, and whose end can be waited for to be on the disk: many waiters share one ``fsync``.

`append` hands the bytes to the operating system at once, which keeps them even if this process is killed. `synced`
returns when everything appended before it would outlast a power cut, too. While one ``fsync`` runs, in a thread, those
who come meanwhile wait for the next: with 16 writers it is one for up to 16 of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

from tracket_async.errors import StorageError
from tracket_async.export.disk import storage_error


class Durable:
    """The end of a file.

    Args:
        path: for errors.
        descriptor: of the file, opened for writing; closed by `close`.
        size: its length in bytes: where it goes on.
    """

    def __init__(self, path: Path, descriptor: int, size: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._size = size
        self._synced = size
        self._syncing: asyncio.Future[None] | None = None
        self._broken: OSError | None = None
        self.syncs = 0

    def append(self, data: bytes) -> None:
        """Write at the end, all of it or nothing.

        Raises:
            StorageError: it cannot be written, or something before could not; nothing is ever written again then.
        """
        if self._broken is not None:
            raise self._error(self._broken)
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._descriptor, data[written:], self._size + written)
        except OSError as error:
            # A part of a line must not come to stand before the lines of a later run.
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise self._error(error) from error
        self._size += written

    async def synced(self) -> None:
        """Return when all that was appended is on the disk.

        Raises:
            StorageError: it will not be. Nothing is ever written again then.
        """
        wanted = self._size
        while self._synced < wanted:
            if self._broken is not None:
                raise self._error(self._broken)
            if self._syncing is None:
                self._syncing = asyncio.ensure_future(self._sync())
            # Shielded: others wait for the same, and whoever closes the file has to wait for its end.
            await asyncio.shield(self._syncing)

    async def close(self) -> None:
        """Bring everything to the disk, as far as that is possible, and close the file."""
        try:
            if self._broken is None:
                await self.synced()
        finally:
            try:
                if self._syncing is not None:
                    await asyncio.wait([self._syncing])
            finally:
                os.close(self._descriptor)

    async def _sync(self) -> None:
        size = self._size
        try:
            await asyncio.to_thread(os.fsync, self._descriptor)
        except OSError as error:
            # What an fsync that failed has left on the disk is anybody's guess, and the next one would not tell.
            self._broken = error
        else:
            self._synced = size
            self.syncs += 1
        finally:
            self._syncing = None

    def _error(self, error: OSError) -> StorageError:
        self._broken = error
        return storage_error(self._path, "write", error)
