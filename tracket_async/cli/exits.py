"""The end of a command: its exit code, its line of error, and the command with which to resume.

    0    done
    1    not done, or not all of it: the server or the disk failed, the id does not exist, or the answer was no
    2    usage: an argument or a setting is wrong, and nothing was sent
    5    all retries failed: the same command may succeed later
    7    refused: the credentials are not accepted, or do not allow this
    130  interrupted from the keyboard (SIGINT)
    141  the reader of the output went away before its end (tracket list | head), as after SIGPIPE
    143  terminated (SIGTERM)

A command that did not do everything never exits with 0. No hint holds a secret: a secret among the arguments is refused
before anything else happens.
"""

from __future__ import annotations

import contextlib
import enum
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Generator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Final

import attrs

from tracket_async import errors
from tracket_async.cli.output import one_line
from tracket_async.errors import StoreError, TargetBusyError, UsageError


class ExitCode(enum.IntEnum):
    """The exit codes of every command."""

    DONE = 0
    INCOMPLETE = 1
    USAGE = 2
    EXHAUSTED = 5
    REFUSED = 7
    INTERRUPTED = 130
    UNREAD = 141
    TERMINATED = 143


class Terminated(BaseException):
    """SIGTERM arrived. Like `KeyboardInterrupt`, it is not an `Exception`: nobody handles it by accident."""


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
"""Exceptions that can happen without a bug in this program."""

FIXED: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (KeyboardInterrupt, "interrupted"),
    (Terminated, "terminated"),
)


def exit_code(error: BaseException) -> ExitCode:
    """Return the exit code of a command that ends with this exception.

    Retries that were used up (``stopped_by``) count before the kind of failure, unless the failure is a refusal.
    """
    cause = error.__cause__
    if isinstance(error, errors.ExportError) and isinstance(cause, errors.RequestError) and cause.is_passing:
        return ExitCode.EXHAUSTED  # an export that has waited for as long as it was to
    code = next((code for kind, code in CODES if isinstance(error, kind)), ExitCode.INCOMPLETE)
    if code is ExitCode.INCOMPLETE and isinstance(error, errors.RequestError) and error.stopped_by is not None:
        return ExitCode.EXHAUSTED
    return code


def describe(error: BaseException) -> str:
    """Return one line that says what happened and what to do."""
    for kind, text in FIXED:
        if isinstance(error, kind):
            return text
    if not isinstance(error, EXPECTED):
        name = type(error).__name__
        return one_line(
            f"unexpected {name}: {error}. This is a bug in tracket: please report it, with what --debug shows"
        )
    if isinstance(error, OSError) and not isinstance(error, errors.TracketError):
        what = error.strerror or (os.strerror(error.errno) if error.errno else str(error)) or type(error).__name__
        where = f": {error.filename}" if error.filename is not None else ""
        return one_line(what + where)
    return one_line(str(error))


def command_line(*arguments: str) -> str:
    """Return a command of this program as text for a shell: it works when pasted where this program was started.

    The program is ``tracket`` if PATH finds the one that runs, else the path that was typed, else this Python.
    """
    typed = sys.argv[0] if sys.argv else ""
    words = [sys.executable, "-m", "tracket_async.cli"]
    if Path(typed).stem == "tracket" and (found := shutil.which(typed)) is not None:
        on_path = shutil.which("tracket")
        words = ["tracket"] if on_path is not None and Path(on_path).samefile(found) else [typed]
    return " ".join(map(_quoted, (*words, *arguments)))


def _quoted(word: str) -> str:
    r"""Return a word of a command line; bytes that are no text, and control characters, as ``$'\x1b'`` (bash, zsh)."""
    if word.isprintable():
        return shlex.quote(word)
    shown = "".join(
        f"\\{character}" if character in "\\'" else character if character.isprintable() else _escaped(character)
        for character in word
    )
    return f"$'{shown}'"


def _escaped(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


_SAME_FAILS_AGAIN: Final = (UsageError, StoreError, TargetBusyError)


@attrs.define
class Invocation:
    """One run of the program: its arguments, and the store that it has left, None while there is none."""

    arguments: Sequence[str]
    kept: Path | None = None


_current: Final[ContextVar[Invocation]] = ContextVar("_current")


def begin(arguments: Sequence[str]) -> Invocation:
    """Make an invocation of these arguments the current one, and return it."""
    invocation = Invocation(tuple(arguments))
    # A value that a task sets in a context variable is lost with the task, so the value is an object that changes.
    _current.set(invocation)
    return invocation


def same_command(*more: str) -> str:
    """Return the command that runs as text for a shell, with more arguments."""
    return command_line(*_current.get(Invocation(())).arguments, *more)


@contextlib.contextmanager
def keeping(store: Path, is_kept: Callable[[Path, BaseException], bool]) -> Generator[None]:
    """Note that the store stays if an exception leaves the block, unless the same command would fail again.

    Args:
        store: the path of the store.
        is_kept: returns whether there is something in it from which the next run goes on after an exception.
    """
    try:
        yield
    except _SAME_FAILS_AGAIN:
        raise
    except BaseException as error:
        if (invocation := _current.get(None)) is not None and store.exists() and is_kept(store, error):
            invocation.kept = store
        raise


def resume_hint(invocation: Invocation) -> str | None:
    """Return the line that says how to resume, None if no store was left."""
    if invocation.kept is None or not invocation.kept.exists():
        return None
    return f"What was fetched is kept in {invocation.kept}. To resume: {command_line(*invocation.arguments)}"
