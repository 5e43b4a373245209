"""The entry point of ``tracket``: from arguments to an exit code. Every exception is caught here.

An error is one line on standard error that says what to do (with ``--debug`` the traceback comes before it), and a
second line where there is something to resume. A reader of the output that goes away (``tracket list | head``) is not
an error.

A command is a coroutine that runs on an event loop of its own: that of uvloop if it is installed. SIGTERM cancels it.
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
from tracket_async.errors import UsageError, install_hint

EXTRA: Final = frozenset({"cyclopts", "rich"})


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments without the name of the program. None: those of the process.

    Returns:
        The exit code; `ExitCode` has the table.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    invocation = exits.begin(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Text in any script must not become a UnicodeEncodeError in a locale without it.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except ModuleNotFoundError as error:
        if error.name not in EXTRA:
            return _failed(error, invocation)
        sys.stderr.write(f"tracket: The command line is not installed. {install_hint('cli')}\n")
        return ExitCode.USAGE
    # The outermost frame: whatever is not caught here is a traceback on the user's terminal.
    except BaseException as error:  # noqa: BLE001
        return _failed(error, invocation)
    return code


def _run(arguments: list[str]) -> int:
    # Not at the top of the file: they need the extra, and `main` answers when it is missing.
    from cyclopts.exceptions import CycloptsError  # noqa: PLC0415

    from tracket_async.cli.app import COMMANDS, app  # noqa: PLC0415
    from tracket_async.cli.options import secret_flag  # noqa: PLC0415

    if setting := secret_flag(arguments):
        raise UsageError(
            "A secret must not be an argument, because other users of this machine can read arguments."
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
    _close_output()
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


def _close_output() -> None:
    """Discard output that cannot be written, or the interpreter tries again when it ends, and complains."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, sys.stdout.fileno())
            os.close(null)


T = TypeVar("T")


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the factory of event loops: that of uvloop if it is installed, None (asyncio's own) otherwise."""
    try:
        uvloop = importlib.import_module("uvloop")
    except ModuleNotFoundError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine and return its result. An interruption cancels it, so that it can clean up, and is raised here.

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

    # Windows has no such handlers, and only the main thread may set them.
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
