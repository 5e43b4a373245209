"""What is said after an error that leaves something to go on with: the command, as it was typed, that goes on.

Nothing in it is a secret: a secret among the arguments is refused before anything else happens.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Generator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Final

import attrs

from tracket_async.errors import StoreError, TargetBusyError, UsageError

_OTHERS_FAULT: Final = (UsageError, StoreError, TargetBusyError)
"""After these, running the same again is no way to go on."""


@attrs.define
class Invocation:
    """One run of ``tracket``: its arguments, and the store that it has left, None while there is none."""

    arguments: Sequence[str]
    kept: Path | None = None


_current: Final[ContextVar[Invocation]] = ContextVar("_current")


def begin(arguments: Sequence[str]) -> Invocation:
    """From now on, this is what runs."""
    invocation = Invocation(tuple(arguments))
    # What a task sets in a variable of the context is lost with the task, so the value is an object that it changes.
    _current.set(invocation)
    return invocation


@contextlib.contextmanager
def keeping(store: Path) -> Generator[None]:
    """Whatever ends what is within, the store stays, and the same command goes on with it."""
    try:
        yield
    except _OTHERS_FAULT:
        raise
    except BaseException:
        if (invocation := _current.get(None)) is not None and store.exists():
            invocation.kept = store
        raise


def words(invocation: Invocation) -> str | None:
    """The line that says how to go on, None when nothing was left."""
    if invocation.kept is None or not invocation.kept.exists():
        return None
    return f"What was fetched is kept in {invocation.kept}. To go on: {shlex.join(('tracket', *invocation.arguments))}"
