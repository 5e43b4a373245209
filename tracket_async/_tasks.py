"""Structured concurrency: several awaitables at once, all finished when the call ends; and what a cancellation says."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import contextmanager
from typing import Any, Final, Generic, Self, TypeVar

from tracket_async.errors import ClientStateError

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


_started: Final[set[asyncio.Task[Any]]] = set()


def start(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start a task that is not collected as garbage before it is done, since the event loop does not hold it."""
    task = asyncio.create_task(coroutine)
    _started.add(task)
    task.add_done_callback(_started.discard)
    return task


class Nested(Generic[T]):
    """Iterate an async generator inside of another one, and close it at the end of the block, as `aclosing` does.

    The event loop closes all generators that it knows of, at once, when it ends; so does the garbage collector. Either
    would close this one while the outer one closes it, and log "asynchronous generator is already running". So the loop
    is not told of it: its outer one alone closes it.
    """

    def __init__(self, generator: AsyncGenerator[T]) -> None:
        self._generator = generator
        self._begun = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._generator.aclose()

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Coroutine[Any, Any, T]:
        if self._begun:
            return self._generator.__anext__()
        self._begun = True
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=None, finalizer=_leave_to_outer)
        try:
            return self._generator.__anext__()  # the loop is told of it here
        finally:
            sys.set_asyncgen_hooks(*hooks)


def _leave_to_outer(_generator: AsyncGenerator[Any]) -> None:
    """Do nothing for a generator that is collected as garbage, since its outer one is, too, and closes it."""


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


def check_asyncio() -> None:
    """Check that this is a task of asyncio.

    Raises:
        ClientStateError: it is none: under trio there is no event loop of asyncio, or (in its guest mode) no task.
    """
    try:
        if asyncio.current_task() is not None:
            return
    except RuntimeError:
        pass
    raise ClientStateError(
        "This package needs asyncio, and this code does not run in a task of asyncio",
        hint="Under trio, run the part that calls Tracket with asyncio.run in a thread; with AnyIO, choose its asyncio"
        " backend",
    )
