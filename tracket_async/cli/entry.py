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
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Container, Coroutine, Iterable, Sequence
from types import FrameType
from typing import Any, Final, TypeVar

from tracket_async.cli import exits, output
from tracket_async.cli.exits import ExitCode, Terminated, describe, exit_code
from tracket_async.cli.output import escape, library_warnings, one_line
from tracket_async.errors import UsageError, install_hint

EXTRA: Final = frozenset({"cyclopts", "rich"})
NOT_KNOWN: Final = re.compile(
    r'Unknown command(?: "[a-z]{1,12}"(?=\.))?|Unknown option: (?:--[a-z][a-z-]{0,20}(?![\w-])|-\w)?'
)
"""What a parser's error says of a command or an option that does not exist, as far as it may be shown."""
NOT_CONVERTED: Final = {
    "unable to convert into int": "it must be a whole number",
    "unable to convert into float": "it must be a number",
    "unable to convert into bool": "it takes no value",
    ": is no d": ": it is no d",  # date, duration
    ": has no offset": ": it has no offset",
}
"""Words of a parser's error whose value is left out, and what is said in their place."""
DID_YOU_MEAN: Final = re.compile(r"Did you mean [^?]+\?")
SECRETS: Final = ("TRACKET_TOKEN", "TRACKET_CLIENT_SECRET")
SHORTEST: Final = 8
"""Characters of a secret: a shorter one could be a part of any word."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments without the name of the program. None: those of the process.

    Returns:
        The exit code; `ExitCode` has the table.
    """
    open_standard_streams()
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


def open_standard_streams() -> None:
    """Open the null device in the place of standard input, output and error, where they are closed (cron, daemons).

    Otherwise, a file that is opened later would become standard output. (And uvloop ends the process.)
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
        if getattr(sys, name) is None:
            output.closed.add(name)
            setattr(sys, name, os.fdopen(descriptor, "w" if descriptor else "r", encoding="utf-8", closefd=False))


def _run(arguments: list[str]) -> int:
    # Not at the top of the file: they need the extra, and `main` answers when it is missing.
    from cyclopts.exceptions import CycloptsError

    from tracket_async.cli.app import NAMES, app, install_completion
    from tracket_async.cli.options import secret_flag

    if setting := secret_flag(arguments):
        raise UsageError(
            "A secret must not be an argument, because other users of this machine can read arguments."
            f" Set {setting} in the environment or in an --env-file, or give a token with --token-file"
        )
    arguments = rearranged(arguments, NAMES)
    if arguments[:1] == ["--install-completion"]:
        return install_completion(arguments[1:])
    try:
        command, bound, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        mistake = _mistake(type(error).__name__, str(error), arguments[1:])
        raise UsageError(f"{mistake} {_hint(arguments, NAMES)}") from None
    result = command(*bound.args, **bound.kwargs)
    if inspect.iscoroutine(result):
        result = run(result)
    return ExitCode.DONE if result is None else int(result)


QUIET: Final = frozenset({"-q", "--quiet"})
OF_THE_PROGRAM: Final = frozenset({"--help", "-h", "--version", "--install-completion"})


def rearranged(arguments: list[str], commands: Container[str]) -> list[str]:
    """Return the arguments as the parser takes them: where people put them does not matter.

    ``help list`` is ``list --help``. Options before the command come behind it. ``-q`` is left out where there is
    nothing to be silenced.
    """
    if arguments[:1] == ["help"]:
        return [*arguments[1:], "--help"]
    if arguments and arguments[0].startswith("-") and arguments[0] not in OF_THE_PROGRAM:
        place = next((number for number, word in enumerate(arguments) if word in commands), None)
        if place is not None:
            name, *rest = arguments[place:]
            arguments = [name, *arguments[:place], *rest]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    shown = [word for word in arguments[:end] if word not in QUIET]
    return arguments if shown[:1] and shown[0] in WITH_QUIET else [*shown, *arguments[end:]]


WITH_QUIET: Final = frozenset({"export", "sync", "watch", "report", "import", "update", "delete"})
"""The commands that have ``--quiet``."""
_MISSING: Final = re.compile(r'Command "[a-z ]+" parameter (?P<name>\S+) requires an argument')


def _mistake(kind: str, text: str, arguments: Iterable[str]) -> str:
    """Return the text of a parser's error without the arguments that it did not understand: they may be secrets."""
    for argument in arguments:
        for word in filter(None, (argument, argument.partition("=")[2])):
            for shown in (f'"{word}"', f"{word!r:.40}"):
                text = text.replace(f"{shown} ", "")
    for said, meant in NOT_CONVERTED.items():
        text = text.replace(said, meant)
    if kind == "UnusedCliTokensError":
        return "There are too many arguments."
    if missing := _MISSING.match(text):
        is_option = missing["name"].startswith("-")
        return f"{missing['name']} is missing{', or has no value' if is_option else ''}."
    if found := NOT_KNOWN.match(text):
        guess = DID_YOU_MEAN.search(text)
        return f"{found[0].rstrip(': ')}.{f' {guess[0]}' if guess else ''}"
    return f"{one_line(text).rstrip('.')}.".replace("?.", "?")


def _hint(arguments: list[str], commands: Collection[str]) -> str:
    if arguments[0].startswith("-"):
        return "Name a command first: see tracket --help"
    if arguments[0] in commands:
        return f"See tracket {arguments[0]} --help"
    return f"The commands are {', '.join(commands)}. See tracket --help"


def _failed(error: BaseException, invocation: exits.Invocation) -> int:
    if isinstance(error, SystemExit):
        if isinstance(error.__context__, BrokenPipeError):  # so rich ends when nobody reads the help any more
            return ExitCode.UNREAD
        return error.code if isinstance(error.code, int) else ExitCode.INCOMPLETE
    _close_output(discard=isinstance(error, KeyboardInterrupt | Terminated) and not output.is_read())
    if type(error) is BrokenPipeError:
        return ExitCode.UNREAD
    lines = traceback.format_exception(error) if "--debug" in invocation.arguments else []
    lines.append(f"tracket: {describe(error)}\n")
    if (hint := exits.resume_hint(invocation)) is not None:
        lines.append(f"{hint}\n")
    with contextlib.suppress(OSError):
        sys.stderr.write(escape(_masked("".join(lines)), lines=True))
        sys.stderr.flush()
    return exit_code(error)


def _masked(text: str) -> str:
    """Return the text without the secrets of the environment, which may be among the arguments that it shows."""
    for name in SECRETS:
        if len(secret := os.environ.get(name, "")) >= SHORTEST:
            text = text.replace(secret, "***")
    return text


def _close_output(*, discard: bool) -> None:
    """Discard output that cannot be written, or the interpreter tries again when it ends, and complains.

    Args:
        discard: do not even try: its reader has stalled, and it would wait for it.
    """
    try:
        if not discard:
            sys.stdout.flush()
            return
    except OSError:
        pass
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
    with library_warnings(), asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_terminable(work))


PATIENCE: Final = 1.0
"""Seconds from a SIGTERM to the first look whether output that nobody reads is what keeps the command from ending."""


async def _terminable(work: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(work)
    terminated, ended = False, threading.Event()

    def terminate(_number: int, _frame: FrameType | None) -> None:
        # Not a handler of the loop: it would not run while the loop is blocked.
        nonlocal terminated
        terminated = True
        threading.Thread(target=end_if_stalled, args=(ended,), daemon=True).start()
        loop.call_soon_threadsafe(task.cancel)

    before = None
    with contextlib.suppress(ValueError):  # only the main thread may set a handler
        before = signal.signal(signal.SIGTERM, terminate)
    try:
        return await task
    except asyncio.CancelledError:
        if terminated:
            raise Terminated from None
        raise
    finally:
        ended.set()
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def end_if_stalled(ended: threading.Event) -> None:
    """End the process when the reader of its output has stalled, unless it ends by itself before.

    Nothing is cleaned up then; what it has committed is kept, as after a crash.
    """
    while not ended.wait(PATIENCE):
        can_tell = output.is_read(ERROR)
        if can_tell and output.is_read():
            continue  # the command is only busy
        if can_tell:
            os.write(ERROR, b"tracket: terminated\n")
        os._exit(ExitCode.TERMINATED)


ERROR: Final = 2
"""The descriptor of standard error."""
