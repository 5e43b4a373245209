"""From arguments to an exit code: the one place of the command line that catches everything.

Whatever goes wrong is one line on standard error that says what to do (with ``--debug`` the traceback comes before it),
and a second one where there is something to go on with.
A reader of our output that has gone away (``tracket list | head``) is no error worth a word.

Runs one coroutine to its end on an event loop of its own: uvloop's where it is installed, and SIGTERM cancels it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Container, Coroutine, Sequence
from typing import Any, Final, TypeVar

from tracket_async.cli import exits
from tracket_async.cli.exits import ExitCode, Terminated, describe, exit_code, one_line
from tracket_async.errors import UsageError

EXTRA: Final = frozenset({"cyclopts", "rich"})
NOT_INSTALLED: Final = (
    "tracket: the command line is an extra that is not installed. Run: pip install 'tracket-async[cli]'"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments, without the program's name. None: those of the process.

    Returns:
        The exit code; ``tracket_async.cli.exits`` has the table.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    invocation = exits.begin(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A description in any script must not become a UnicodeEncodeError in a locale without it.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except ModuleNotFoundError as error:
        if error.name not in EXTRA:
            return _failed(error, invocation)
        sys.stderr.write(f"{NOT_INSTALLED}\n")
        return ExitCode.USAGE
    # A program's outermost frame: whatever arrives here would otherwise be a traceback on the user's terminal.
    except BaseException as error:  # noqa: BLE001
        return _failed(error, invocation)
    return code


def _run(arguments: list[str]) -> int:
    # Not at the top of the file: these need the extra, and its absence is answered above.
    from cyclopts.exceptions import CycloptsError  # noqa: PLC0415

    from tracket_async.cli.app import COMMANDS, app  # noqa: PLC0415
    from tracket_async.cli.options import secret_flag  # noqa: PLC0415

    if setting := secret_flag(arguments):
        raise UsageError(
            "A secret does not belong among the arguments, where others on this machine can read it."
            f" Set {setting} in the environment or in an --env-file, or give a token with --token-file"
        )
    try:
        command, bound, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise UsageError(f"{one_line(str(error)).rstrip('.')}. {_hint(arguments, dict(COMMANDS))}") from None
    result = command(*bound.args, **bound.kwargs)
    if inspect.iscoroutine(result):
        result = run(result)
    return ExitCode.DONE if result is None else int(result)


def _hint(arguments: list[str], commands: Container[str]) -> str:
    if arguments[0].startswith("-"):
        return "Options come after the command: see tracket --help"
    return f"See tracket {arguments[0]} --help" if arguments[0] in commands else "See tracket --help"


def _failed(error: BaseException, invocation: exits.Invocation) -> int:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else ExitCode.INCOMPLETE
    _let_go_of_output()
    if type(error) is BrokenPipeError:
        return ExitCode.INCOMPLETE
    if "--debug" in invocation.arguments:
        traceback.print_exception(error, file=sys.stderr)
    with contextlib.suppress(OSError):
        sys.stderr.write(f"tracket: {describe(error)}\n")
        if (hint := exits.resume_hint(invocation)) is not None:
            sys.stderr.write(f"{hint}\n")
        sys.stderr.flush()
    return exit_code(error)


def _let_go_of_output() -> None:
    """What cannot be written now must not be tried again, and complained about, when the interpreter ends."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, sys.stdout.fileno())
            os.close(null)


T = TypeVar("T")


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop: uvloop if the extra ``uvloop`` is installed, None (asyncio's own) otherwise."""
    try:
        uvloop = importlib.import_module("uvloop")
    except ModuleNotFoundError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def run(work: Coroutine[Any, Any, T]) -> T:
    """The coroutine's result. It is cancelled, and may clean up, before an interruption is raised from here.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        Terminated: SIGTERM.
    """
    # Not at the top of the file: it needs what `_run` has imported by now.
    from tracket_async.cli import output  # noqa: PLC0415

    with output.library_warnings(), asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_terminable(work))


async def _terminable(work: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(work)
    terminated = False

    def terminate() -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    # Windows has no such handlers, and only the main thread may set one.
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        loop.add_signal_handler(signal.SIGTERM, terminate)
    try:
        return await task
    except asyncio.CancelledError:
        if terminated:
            raise Terminated from None
        raise
    finally:
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.remove_signal_handler(signal.SIGTERM)
