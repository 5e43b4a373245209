"""One writer for a store: a lock that dies with its process, and a note in it that says who holds it.

The lock is on the file ``NAME.lock`` beside the store. DuckDB has a lock of its own, which names a process id at best,
and none between two connections of one process.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any, Self

import attrs

from tracket_async.errors import TargetBusyError
from tracket_async.export.disk import open_locked, storage_errors

_NOTE_BYTES = 4096


@attrs.frozen(kw_only=True)
class Holder:
    """Who holds a store.

    Attributes:
        pid: the process.
        host: the machine that it runs on.
        since: since when, aware UTC, by that machine's clock.
        command: the program, without its arguments, which may be anything.
    """

    pid: int
    host: str
    since: dt.datetime
    command: str

    @classmethod
    def me(cls) -> Self:
        """This process, now."""
        return cls(
            pid=os.getpid(),
            host=socket.gethostname(),
            since=dt.datetime.now(dt.UTC),
            command=Path(sys.argv[0] or sys.executable).name,
        )

    def note(self) -> bytes:
        """What is written into the lock file."""
        return json.dumps(attrs.asdict(self) | {"since": self.since.isoformat()}).encode()

    def __str__(self) -> str:
        since = self.since.isoformat(sep=" ", timespec="seconds")
        return f"process {self.pid} on {self.host} ({self.command}) since {since}"


class WriterLock:
    """The right to write a store, from its construction to `close`.

    Raises:
        TargetBusyError: somebody has it; its message says who.
        StorageError: the lock file cannot be made.
    """

    def __init__(self, store: Path) -> None:
        self.path = store.with_name(store.name + ".lock")
        with storage_errors(self.path, "lock"):
            descriptor = open_locked(self.path)
            if descriptor is None:
                raise _busy(store, self.path)
            self._descriptor: int | None = descriptor
            try:
                os.truncate(descriptor, 0)
                os.pwrite(descriptor, Holder.me().note(), 0)
            except OSError:
                self.close()
                raise

    def close(self) -> None:
        """Gives it up; twice is harmless."""
        if self._descriptor is None:
            return
        # Removed while it is still locked, or it could be the lock of the next one that is removed.
        self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = None


def _busy(store: Path, note: Path) -> TargetBusyError:
    holder = _read(note)
    busy = TargetBusyError(f"{store} is being written by {holder or 'another process'}")
    busy.hint = "Wait for it to end, or name another file"
    return busy


def _read(path: Path) -> Holder | None:
    # The holder may be about to write its note, or to remove it.
    try:
        note: dict[str, Any] = json.loads(path.read_bytes()[:_NOTE_BYTES])
        since = dt.datetime.fromisoformat(note["since"])
        return Holder(pid=int(note["pid"]), host=str(note["host"]), since=since, command=str(note["command"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
