"""The table of the commands of ``tracket``, from which cyclopts makes the parser and the help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

from cyclopts import App

from tracket_async._version import __version__
from tracket_async.cli import check, demo, export, import_file, mcp, output, profile, report, sync, watch, worklogs
from tracket_async.cli.exits import ExitCode
from tracket_async.errors import UsageError

HELP: Final = """Read and write the worklogs of Tracket, the time tracking of monday.com teams.

tracket demo shows an export, without an account.

Settings are read from options, then from the environment, then from the file of --env-file; or from a profile, see
tracket profile: TRACKET_API, TRACKET_BASE_URL, and TRACKET_TOKEN or TRACKET_CLIENT_ID, TRACKET_CLIENT_SECRET and
TRACKET_ACCOUNT_ID.

Exit codes: 0 done, 1 incomplete, 2 usage, 5 retries exhausted, 7 refused, 130 interrupted, 141 output not read,
143 terminated.

tracket --install-completion adds completion by the Tab key to your shell.
"""

COMMANDS: Final[tuple[tuple[str, Callable[..., Any]], ...]] = (
    ("demo", demo.demo),
    ("export", export.export),
    ("sync", sync.sync),
    ("watch", watch.watch),
    ("report", report.report),
    ("import", import_file.import_worklogs),
    ("list", worklogs.list_worklogs),
    ("get", worklogs.get),
    ("create", worklogs.create),
    ("update", worklogs.update),
    ("delete", worklogs.delete),
    ("categories", worklogs.categories),
    ("check", check.check),
    ("mcp", mcp.mcp),
)


NAMES: Final = (*(name for name, _ in COMMANDS), "profile", "emulator")
"""The names of all commands."""


def build() -> App:
    """Create the application, with its commands in the order of the table."""
    app = App(name="tracket", help=HELP, help_format="markdown", version=__version__)
    for place, (name, command) in enumerate(COMMANDS):
        app.command(command, name=name, sort_key=place)
    app.command(profile.build(sort_key=len(COMMANDS)))
    # The emulator has a --help and a --version of its own, so cyclopts must not take them.
    app.command(demo.emulator, name="emulator", sort_key=len(COMMANDS) + 1, help_flags=(), version_flags=())
    return app


app: Final = build()


def install_completion(arguments: Sequence[str]) -> ExitCode:
    """Install completion for a shell, and say where.

    Args:
        arguments: the name of the shell; none: the shell that runs this.

    Raises:
        UsageError: the shell is not known, or cannot be told.
    """
    from cyclopts.completion import ShellDetectionError

    shells: dict[str | None, Literal["bash", "fish", "zsh"] | None]
    shells = {None: None, "bash": "bash", "fish": "fish", "zsh": "zsh"}
    named = " ".join(arguments) or None
    if named not in shells:
        raise UsageError("Completion is there for bash, fish and zsh. Name one of them, or none for this shell")
    try:
        path = app.install_completion(shell=shells[named])
    except ShellDetectionError:
        raise UsageError("It cannot be told which shell this is. Name it: tracket --install-completion bash") from None
    output.note(f"Saved in {path}. Open a new shell to use it.")
    return ExitCode.DONE
