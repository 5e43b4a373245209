"""Profiles: named files of settings, and ``tracket profile add``, ``list`` and ``remove``.

A profile is an env file, ``tracket/NAME.env`` in ``$XDG_CONFIG_HOME`` (``~/.config``), which its owner alone can
read: it holds a secret. The profile ``default`` is used where nothing else gives credentials.
"""

from __future__ import annotations

import getpass
import os
import re
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import App, Parameter

from tracket_async._files import atomic_write, storage_errors
from tracket_async.cli import output
from tracket_async.cli.env_file import LARGEST_FILE, parse, read
from tracket_async.cli.exits import ExitCode
from tracket_async.client import TracketClient
from tracket_async.errors import ConfigurationError, UsageError

DEFAULT: Final = "default"
NAME: Final = "TRACKET_PROFILE"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_ENDING: Final = ".env"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_ASKED: Final = {"TRACKET_CLIENT_SECRET": "client secret", "TRACKET_TOKEN": "access token"}


def folder(environ: Mapping[str, str]) -> Path | None:
    """Return the folder of the profiles, None where nothing says where the home of this user is."""
    if root := environ.get("XDG_CONFIG_HOME"):
        return Path(root, "tracket")
    if home := environ.get("HOME") or environ.get("USERPROFILE"):
        return Path(home, ".config", "tracket")
    return None


def path_of(name: str, environ: Mapping[str, str]) -> Path:
    """Return the path of a profile.

    Raises:
        ConfigurationError: no profile can have this name, or there is no home.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"No profile can be named {name!r:.40}. Use letters, digits, hyphens and underscores")
    root = folder(environ)
    if root is None:
        raise ConfigurationError("There is no place for profiles. Set XDG_CONFIG_HOME or HOME to a folder")
    return root / f"{name}{_ENDING}"


def settings_of(name: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of a profile.

    Raises:
        ConfigurationError: there is no such profile, others can read it, or it is no env file.
    """
    path = path_of(name, environ)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigurationError(
            f"There is no profile {name}: {path}: {error.strerror}",
            hint=f"Create it with: tracket profile add {name}",
        ) from None
    if os.name == "posix" and mode & _OTHERS:
        raise ConfigurationError(
            f"{path} can be read or written by other users of this machine", hint=f"Run: chmod 600 {path}"
        )
    return parse(read(path, name=f"the profile {name}"), name=str(path))


def default_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of the profile that TRACKET_PROFILE names, else of ``default``; none if there is no such.

    Raises:
        ConfigurationError: as `settings_of`; that ``default`` does not exist is no error.
    """
    if name := environ.get(NAME):
        return settings_of(name, environ)
    root = folder(environ)
    if root is None or not (root / f"{DEFAULT}{_ENDING}").exists():
        return {}
    return settings_of(DEFAULT, environ)


# -- the commands ------------------------------------------------------------------------------------------------------


def add(
    name: str,
    /,
    *,
    client_id: Annotated[str | None, Parameter(metavar="ID", show_default=False)] = None,
    account_id: Annotated[str | None, Parameter(metavar="ID", show_default=False)] = None,
    api: Annotated[Literal["1.0", "2.0"] | None, Parameter(show_default=False)] = None,
    base_url: Annotated[str | None, Parameter(metavar="URL", show_default=False)] = None,
    replace: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
) -> ExitCode:
    """Save settings as a profile. The secret is asked for and not shown; without a terminal it is read from stdin.

    Args:
        name: The name of the profile; default is used where nothing else is given.
        client_id: The client id, from Tracket's Preferences, API tokens. The client secret is asked for. Without it, an
            access token is asked for.
        account_id: The monday.com account, which goes with a client id.
        api: The version of the API. Default: 2.0.
        base_url: The server, without /api/...
        replace: Replace the profile of this name.
    """
    path = path_of(name, os.environ)
    if path.exists() and not replace:
        raise UsageError(f"There is a profile {name} already. Give another name, or --replace")
    if (client_id is None) != (account_id is None):
        raise UsageError("A client id goes with the account that it is of. Give both --client-id and --account-id")
    secret = "TRACKET_TOKEN" if client_id is None else "TRACKET_CLIENT_SECRET"
    given = {
        "TRACKET_API": api,
        "TRACKET_BASE_URL": base_url,
        "TRACKET_CLIENT_ID": client_id,
        "TRACKET_ACCOUNT_ID": account_id,
        secret: _secret(_ASKED[secret]),
    }
    settings = {key: value for key, value in given.items() if value is not None}
    TracketClient.from_env(settings)  # raises for what cannot be used
    lines = "".join(f"{key}={_quoted(value)}\n" for key, value in settings.items())
    with storage_errors(path, "write"):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(lines.encode())
    use = "It is used where no other is named." if name == DEFAULT else f"Use it with --profile {name}."
    output.note(f"Saved in {path}. {use}")
    return ExitCode.DONE


def _secret(what: str) -> str:
    """Return the secret that is typed without being shown, or that is all of standard input.

    Raises:
        UsageError: it is nothing, or more than one word.
    """
    if output.can_ask():
        try:
            text = getpass.getpass(f"The {what}: ", stream=sys.stderr)
        except EOFError:
            text = ""
    else:
        text = sys.stdin.read(LARGEST_FILE)
    words = text.removeprefix("\ufeff").split()
    if len(words) != 1:
        found = "nothing" if not words else "more than one word"
        raise UsageError(f"The {what} is {found}. Type it, or write it to standard input. Nothing was saved")
    return words[0]


def _quoted(value: str) -> str:
    escaped = re.sub(r'(["\\$`])', r"\\\1", value)
    return f'"{escaped}"'


def list_profiles(*, json: Annotated[bool, Parameter(negative=(), show_default=False)] = False) -> None:
    """List the profiles: name, version of the API, server and kind of credentials. No secret is shown.

    Args:
        json: Print one JSON object a line.
    """
    root = folder(os.environ)
    paths = sorted(root.glob(f"*{_ENDING}")) if root is not None else []
    rows = [_described(path.stem) for path in paths if _NAME.fullmatch(path.stem)]
    if json:
        output.json([dict(zip(_COLUMNS, row, strict=True)) for row in rows])
    else:
        output.table(_COLUMNS, rows)


_COLUMNS: Final = ("name", "api", "credentials", "server")


def _described(name: str) -> tuple[str, str | None, str, str | None]:
    try:
        found = settings_of(name, os.environ)
    except ConfigurationError as error:
        return name, None, f"cannot be used: {error.message}", None
    kind = "client" if "TRACKET_CLIENT_ID" in found else "token" if "TRACKET_TOKEN" in found else "none"
    return name, found.get("TRACKET_API", "2.0"), kind, found.get("TRACKET_BASE_URL")


async def remove(
    name: str, /, *, yes: Annotated[bool, Parameter(alias="-y", negative=(), show_default=False)] = False
) -> ExitCode:
    """Remove a profile. It asks first, unless --yes is given.

    Args:
        name: The name of the profile.
        yes: Do not ask. Needed where there is no terminal.
    """
    path = path_of(name, os.environ)
    if not path.exists():
        raise UsageError(f"There is no profile {name} in {path.parent}")
    if not yes and not output.can_ask():
        raise UsageError("There is no terminal to ask at. Give --yes to remove it without asking")
    if not yes and not await output.confirm(f"Remove the profile {name} and its secret?"):
        output.note("Nothing was removed.")
        return ExitCode.INCOMPLETE
    with storage_errors(path, "remove"):
        path.unlink()
    output.note(f"Removed {path}.")
    return ExitCode.DONE


def build(*, sort_key: int) -> App:
    """Create the application of the three commands, which has this place among all commands."""
    app = App(
        name="profile",
        sort_key=sort_key,
        help="Keep settings and a secret in a file of this user, and use them by a name.",
    )
    app.command(add, name="add")
    app.command(list_profiles, name="list")
    app.command(remove, name="remove")
    return app
