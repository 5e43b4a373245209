"""Which server, and as whom: the flags, the environment and the env file become one set of ``TRACKET_*`` settings.

A flag wins over the environment, and the environment wins over the file that ``--env-file`` names. Credentials are one
thing, never mixed from two places: where a token or any part of client credentials is found, everything of that kind
from a place that counts less is left out. No secret is ever an argument, because other users of the machine can read
arguments; it comes from the environment, from a file, or from standard input.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import attrs
from cyclopts import Group, Parameter

from tracket_async.cli import envfile
from tracket_async.client import TracketClient
from tracket_async.errors import ConfigurationError

CREDENTIALS: Final = frozenset(
    {"TRACKET_TOKEN", "TRACKET_CLIENT_ID", "TRACKET_CLIENT_SECRET", "TRACKET_ACCOUNT_ID"},
)
SETTINGS: Final = CREDENTIALS | {"TRACKET_API", "TRACKET_BASE_URL"}

SECRET_FLAGS: Final[Mapping[str, str]] = {
    "--token": "TRACKET_TOKEN",
    "--client-secret": "TRACKET_CLIENT_SECRET",
    "--password": "TRACKET_CLIENT_SECRET",
    "--secret": "TRACKET_CLIENT_SECRET",
}
"""Flags that people try, and where the secret belongs."""

LARGEST_FILE: Final = 1 << 20
"""Bytes of an env file or token file that are read at most: more of it is a mistake."""


@Parameter(name="*", group=Group("Connection", sort_key=2))
@attrs.frozen(kw_only=True)
class Connection:
    """Which server, and as whom. None: the environment, then the env file, then the library's default decide."""

    api: Annotated[Literal["1.0", "2.0"] | None, Parameter(help="Version of the API (else TRACKET_API, else 2.0).")] = (
        None
    )
    base_url: Annotated[
        str | None,
        Parameter(
            metavar="URL", help="The server's address, without /api/... (else TRACKET_BASE_URL, else Tracket's own)."
        ),
    ] = None
    env_file: Annotated[
        Path | None,
        Parameter(
            metavar="FILE",
            help="File of KEY=value lines with TRACKET_* settings. What the environment sets wins over the file.",
        ),
    ] = None
    token_file: Annotated[
        str | None,
        Parameter(
            metavar="FILE",
            allow_leading_hyphen=True,  # - is standard input
            help="File that holds the access token (else TRACKET_TOKEN); - reads it from standard input.",
        ),
    ] = None
    debug: Annotated[bool, Parameter(negative=(), help="Show the traceback of an error.", show_default=False)] = False

    def settings(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The ``TRACKET_*`` settings that count, and no other variable.

        Raises:
            ConfigurationError: a file cannot be read, or is not what it should be.
        """
        flags: dict[str, str] = {}
        if self.api is not None:
            flags["TRACKET_API"] = self.api
        if self.base_url is not None:
            flags["TRACKET_BASE_URL"] = self.base_url
        if self.token_file is not None:
            flags["TRACKET_TOKEN"] = read_token(self.token_file)
        from_file: dict[str, str] = {}
        if self.env_file is not None:
            from_file = envfile.parse(_read(self.env_file, flag="--env-file"), name=f"--env-file {self.env_file}")
        return merge(flags, environ, from_file)

    def client(self, **settings: Any) -> TracketClient:
        """A client of these settings, not yet open.

        Args:
            settings: further arguments of `TracketClient`.

        Raises:
            ConfigurationError: a setting is missing or wrong.
        """
        return TracketClient.from_env(self.settings(os.environ), **settings)


DEFAULT: Final = Connection()


def merge(*sources: Mapping[str, str]) -> dict[str, str]:
    """The settings of several sources, of which the first counts most. An empty value is none.

    Credentials of a source leave out all credentials of the sources after it.
    """
    merged: dict[str, str] = {}
    for source in sources:
        found = {name: source[name] for name in SETTINGS if source.get(name)}
        if CREDENTIALS.isdisjoint(merged):
            merged = found | merged
        else:
            merged = {name: value for name, value in found.items() if name not in CREDENTIALS} | merged
    return merged


def read_token(source: str) -> str:
    """The token in a file, or on standard input for ``-``: its only line, without white space around it.

    Raises:
        ConfigurationError: unreadable, empty, or more than one line.
    """
    name = "standard input" if source == "-" else f"--token-file {source}"
    text = sys.stdin.read(LARGEST_FILE) if source == "-" else _read(Path(source), flag="--token-file")
    lines = text.removeprefix("\ufeff").split()
    if len(lines) != 1:
        found = "nothing" if not lines else "more than one word"
        raise ConfigurationError(f"{name} holds {found}. It must hold the access token and nothing else")
    return lines[0]


def secret_flag(arguments: list[str]) -> str | None:
    """The setting that a secret among the arguments should have been, None if there is none."""
    for argument in arguments:
        if argument == "--":
            return None
        if setting := SECRET_FLAGS.get(argument.partition("=")[0]):
            return setting
    return None


def _read(path: Path, *, flag: str) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigurationError(f"{flag} {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{flag} {path} is not UTF-8 text") from None
    if len(text) > LARGEST_FILE:
        raise ConfigurationError(f"{flag} {path} is longer than {LARGEST_FILE} characters, so it is not what you mean")
    return text
