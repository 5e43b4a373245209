"""The commands of ``tracket``: a table, from which cyclopts makes the parser and the help."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Annotated, Any, Final

from cyclopts import App, Parameter

from tracket_async.cli import demo, export, files, sync, worklogs

HELP: Final = """Tracket, the time tracking of monday.com teams, from the command line.

Settings come from options, then from the environment, then from the file that --env-file names: TRACKET_API,
TRACKET_BASE_URL, and TRACKET_TOKEN or TRACKET_CLIENT_ID, TRACKET_CLIENT_SECRET and TRACKET_ACCOUNT_ID.

Exit codes: 0 done, 1 not (all) done, 2 usage, 5 retries exhausted, 7 refused, 130 interrupted, 143 terminated.

tracket demo shows what it does, without an account.
"""


def emulator(*arguments: Annotated[str, Parameter(allow_leading_hyphen=True, metavar="OPTION")]) -> int:
    """Run a server on this machine that behaves like Tracket; its options are in tracket emulator --help.

    Args:
        arguments: what is handed on to it.
    """
    # Not at the top of the file: only this command needs a web server.
    from tracket_async.emulator.__main__ import main  # noqa: PLC0415

    return main(arguments)


COMMANDS: Final[tuple[tuple[str, Callable[..., Any]], ...]] = (
    ("demo", demo.demo),
    ("export", export.export),
    ("sync", sync.sync),
    ("import", files.import_worklogs),
    ("list", worklogs.list_worklogs),
    ("get", worklogs.get),
    ("create", worklogs.create),
    ("update", worklogs.update),
    ("delete", worklogs.delete),
    ("categories", worklogs.categories),
)


def build() -> App:
    """The application, its commands in the order of the table."""
    app = App(
        name="tracket", help=HELP, help_format="markdown", version=lambda: importlib.metadata.version("tracket-async")
    )
    for place, (name, command) in enumerate(COMMANDS):
        app.command(command, name=name, sort_key=place)
    # Its --help and --version are its own, so cyclopts must not take them.
    app.command(emulator, name="emulator", sort_key=len(COMMANDS), help_flags=(), version_flags=())
    return app


app: Final = build()
