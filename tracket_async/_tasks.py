"""Structured concurrency: several awaitables at once, all finished when the call ends; and what a cancellation says."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


async def gather(*coroutines: Coroutine[Any, Any, T]) -> list[T]:
    """Return all results, in order. When one fails, the others are cancelled and awaited.

    Raises:
        Exception: the first failure itself, not in a group.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in coroutines]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


@contextmanager
def mark_cancellation(*, maybe_sent: bool) -> Generator[None]:
    """Let a cancellation in here say, as ``maybe_sent``, whether the write that it ends may have been sent.

    The calls that read back after a write say of themselves that nothing was sent, and do not know of the write.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        error.__dict__["maybe_sent"] = maybe_sent
        raise


def is_async(function: object) -> bool:
    """Return whether what is called is an ``async def``: a function, a method, a partial, a ``__call__``."""
    kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
    called = getattr(function, "__call__", None)  # noqa: B004 - not whether, but what is called
    return any(kind(function) or kind(called) for kind in kinds)
