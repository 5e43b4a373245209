"""A question to the person at the terminal: standard error asks, standard input answers, the event loop goes on."""

from __future__ import annotations

import asyncio
import sys
from typing import Final

YES: Final = frozenset({"y", "yes"})


def possible() -> bool:
    """Whether somebody can be asked: both ends are terminals."""
    return sys.stdin.isatty() and sys.stderr.isatty()


async def agreed(question: str) -> bool:
    """Whether the answer is yes. Anything else, an empty line and the end of the input are a no."""
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    await _line_is_ready()
    return sys.stdin.readline().strip().lower() in YES


async def _line_is_ready() -> None:
    # A blocking read would hold back Ctrl-C until the next Enter: the loop's signal handler runs, and the read goes on.
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    descriptor = sys.stdin.fileno()
    try:
        loop.add_reader(descriptor, ready.set)
    except NotImplementedError:  # Windows: there, Ctrl-C does have to wait
        return
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
