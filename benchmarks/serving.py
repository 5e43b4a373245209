"""Servers as processes: started when a case first needs one, kept for the later rounds, ended with the block."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from types import TracebackType
from typing import Self

import attrs

from benchmarks.rows import Serve


class Servers:
    """A context manager that owns the server processes of a run."""

    def __init__(self) -> None:
        self._running: dict[Serve, tuple[subprocess.Popen[str], int]] = {}

    def url(self, settings: Serve) -> str:
        """Return the address of the server with these settings, and start it if need be."""
        return f"http://127.0.0.1:{self._port(settings)}"

    def cpu(self, settings: Serve) -> float:
        """Return the seconds of CPU that this server has spent."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port(settings), timeout=60)
        try:
            connection.request("GET", "/cpu")
            return float(connection.getresponse().read())
        finally:
            connection.close()

    def stop(self) -> None:
        """End them all, and wait for it."""
        for process, _ in self._running.values():
            process.communicate()  # closes its standard input, which is what it waits for
        self._running.clear()

    def _port(self, settings: Serve) -> int:
        if settings not in self._running:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.server", json.dumps(attrs.asdict(settings))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise RuntimeError(f"the server of {settings} did not start (exit code {process.wait()})")
            self._running[settings] = process, int(line)
        return self._running[settings][1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
