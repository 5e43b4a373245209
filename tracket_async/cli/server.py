"""An emulator in a process of its own, for as long as a ``with`` lasts.

The process has its own session, so that Ctrl-C reaches only us, and we end it whatever happens to us.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from tracket_async.cli import envfile
from tracket_async.errors import TracketError

PATIENCE: Final = 120.0
"""Seconds that it may take to make its sample and to listen."""

GRACE: Final = 5.0
"""Seconds between the request to end and the kill."""


@contextlib.asynccontextmanager
async def emulator(*arguments: str) -> AsyncIterator[dict[str, str]]:
    """The ``TRACKET_*`` settings of an emulator that listens.

    Args:
        arguments: what else to tell it, as in ``python -m tracket_async.emulator --help``.

    Raises:
        TracketError: it does not start; its own words are in the message.
    """
    with tempfile.TemporaryDirectory(prefix="tracket-") as folder, tempfile.TemporaryFile() as complaints:
        settings = Path(folder, "emulator.env")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tracket_async.emulator", "--port", "0", "--env-file", str(settings), *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=complaints,
            start_new_session=True,
        )
        try:
            if not await _listens(process, settings):
                complaints.seek(0)
                said = complaints.read().decode(errors="replace").strip() or "it says nothing"
                raise TracketError(f"The emulator does not start: {said}")
            yield envfile.parse(_read(settings), name="the emulator's settings")
        finally:
            await _end(process)


async def _listens(process: asyncio.subprocess.Process, settings: Path) -> bool:
    """Whether it came to listen; False: it ended, or lost our patience."""
    if process.stdout is None:  # never: it was asked for
        return False
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while await process.stdout.readline():
                if _read(settings):
                    return True
    return False


def _read(settings: Path) -> str:
    try:
        return settings.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.communicate(), GRACE)
    except TimeoutError:
        process.kill()
        await process.communicate()
