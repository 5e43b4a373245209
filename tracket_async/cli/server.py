"""An emulator in a process of its own, for as long as a ``with`` lasts.

The process has its own session, so that Ctrl-C reaches only us, and we end it whatever happens to us. If we are killed,
it notices that its standard input has ended (`emulating`).
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

from tracket_async.cli import envfile
from tracket_async.errors import TracketError

PATIENCE: Final = 120.0
"""Seconds that it may take to make its sample and to listen."""

GRACE: Final = 5.0
"""Seconds between the request to end and the kill."""


@contextlib.asynccontextmanager
async def emulator(*arguments: str) -> AsyncGenerator[dict[str, str]]:
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
            *("-m", "tracket_async.cli.emulating", "--port", "0", "--env-file", str(settings), *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=complaints,
            start_new_session=True,
        )
        try:
            if not await _listens(process):
                complaints.seek(0)
                said = complaints.read().decode(errors="replace").strip() or "it says nothing"
                raise TracketError(f"The emulator does not start: {said}")
            yield envfile.parse(_text(settings), name="the emulator's settings")
        finally:
            await _end(process)


async def _listens(process: asyncio.subprocess.Process) -> bool:
    """Whether it came to listen, which it says on its standard output, after it has written its settings.

    False: it ended, or lost our patience.
    """
    if process.stdout is None:  # pragma: no cover - it was asked for, which its type cannot say
        return False
    try:
        return bool(await asyncio.wait_for(process.stdout.readline(), PATIENCE))
    except TimeoutError:
        return False


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.communicate(), GRACE)
    except TimeoutError:
        process.kill()
        await process.communicate()
