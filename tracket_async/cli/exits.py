"""What is said after an error that leaves something to go on with: the command, as it was typed, that goes on.

Nothing in it is a secret: a secret among the arguments is refused before anything else happens.

How a command ends: each exception has one exit code and one line of text.

    0    done
    1    not done, or not all of it: the server or the disk failed, nothing of that id, the answer was no
    2    usage: an argument or a setting is wrong, and nothing was sent
    5    given up after every retry that was allowed: the same command may succeed later
    7    refused: the credentials are not accepted, or may not do this
    130  interrupted from the keyboard
    143  terminated (SIGTERM)

A command that did not do everything never ends with 0.
"""

from __future__ import annotations

import contextlib
import enum
import os
import shlex
from collections.abc import Generator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Final

import attrs

from tracket_async import errors
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


def resume_hint(invocation: Invocation) -> str | None:
    """The line that says how to go on, None when nothing was left."""
    if invocation.kept is None or not invocation.kept.exists():
        return None
    return f"What was fetched is kept in {invocation.kept}. To go on: {shlex.join(('tracket', *invocation.arguments))}"


class ExitCode(enum.IntEnum):
    """What the shell is told."""

    DONE = 0
    INCOMPLETE = 1
    USAGE = 2
    EXHAUSTED = 5
    REFUSED = 7
    INTERRUPTED = 130
    TERMINATED = 143


class Terminated(BaseException):
    """SIGTERM arrived. As `KeyboardInterrupt`, it is no `Exception`: nobody handles it by accident."""


CODES: Final[tuple[tuple[type[BaseException], ExitCode], ...]] = (
    (errors.UsageError, ExitCode.USAGE),
    (errors.AuthenticationError, ExitCode.REFUSED),
    (errors.PermissionDeniedError, ExitCode.REFUSED),
    (errors.DeadlineExceededError, ExitCode.EXHAUSTED),
    (errors.RateLimitedError, ExitCode.EXHAUSTED),
    (KeyboardInterrupt, ExitCode.INTERRUPTED),
    (Terminated, ExitCode.TERMINATED),
)
"""The first row that fits counts; anything else is `ExitCode.INCOMPLETE`."""

EXPECTED: Final[tuple[type[BaseException], ...]] = (errors.TracketError, OSError)
"""What can happen to a program without a mistake in it."""

FIXED: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (KeyboardInterrupt, "interrupted"),
    (Terminated, "terminated"),
)


def exit_code(error: BaseException) -> ExitCode:
    """The exit code that the exception ends a command with.

    Retries that were used up (``stopped_by``) count before the kind of failure, unless the failure is a refusal.
    """
    code = next((code for kind, code in CODES if isinstance(error, kind)), ExitCode.INCOMPLETE)
    if code is ExitCode.INCOMPLETE and isinstance(error, errors.RequestError) and error.stopped_by is not None:
        return ExitCode.EXHAUSTED
    return code


def one_line(text: str) -> str:
    """The text with its line breaks made spaces, and control characters (a terminal would obey them) made visible."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in " ".join(text.split())
    )


def describe(error: BaseException) -> str:
    """One line: what happened and what to do."""
    for kind, text in FIXED:
        if isinstance(error, kind):
            return text
    if not isinstance(error, EXPECTED):
        name = type(error).__name__
        return one_line(
            f"unexpected {name}: {error}. This is a mistake in tracket: please report it, with what --debug prints"
        )
    if isinstance(error, OSError) and not isinstance(error, errors.TracketError):
        what = error.strerror or (os.strerror(error.errno) if error.errno else str(error)) or type(error).__name__
        where = f": {error.filename}" if error.filename is not None else ""
        return one_line(what + where)
    return one_line(str(error))
