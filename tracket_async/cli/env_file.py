r"""Files of ``TRACKET_*`` settings.

An env file has lines of ``KEY=value``. Understood are blank lines, ``#`` comments (also after a space behind an
unquoted value), an ``export`` before the key, single quotes (taken literally) and double quotes (in which ``\n`` is a
line break, and a backslash before a quote, a backslash, a dollar or a backtick is dropped). Nothing is expanded or
executed. The last of equal keys counts. No value of the file is ever shown.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from tracket_async.errors import ConfigurationError

LARGEST_FILE: Final = 1 << 20
"""Characters of an env file or token file at most: a longer one is a mistake."""

_LINE: Final = re.compile(r"(?:export\s+)?(?P<key>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*)", re.DOTALL)
_SINGLE: Final = re.compile(r"'([^']*)'\s*(?:#.*)?")
_DOUBLE: Final = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?')
_BARE: Final = re.compile(r"([^\s'\"#][^'\"]*?)?(?:\s+#.*|\s*)")
_ESCAPE: Final = re.compile(r"\\(.)")


def parse(text: str, *, name: str) -> dict[str, str]:
    """Return the settings in the text of an env file.

    Args:
        text: the file's content.
        name: what to call the file in an error.

    Raises:
        ConfigurationError: naming the file and the number of the line; the line may hold a secret and is not shown.
    """
    settings: dict[str, str] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        found = _LINE.fullmatch(stripped)
        value = _value(found["value"]) if found else None
        if found is None or value is None:
            raise ConfigurationError(
                f"{name}, line {number} is not a setting. Write KEY=value, with quotes around a value that has spaces"
                " at its ends, quotes or a # in it"
            )
        settings[found["key"]] = value
    return settings


def _value(text: str) -> str | None:
    if found := _SINGLE.fullmatch(text):
        return found[1]
    if found := _DOUBLE.fullmatch(text):
        return _ESCAPE.sub(lambda escape: _unescape(escape[1]), found[1])
    if found := _BARE.fullmatch(text):
        return found[1] or ""
    return None


def _unescape(character: str) -> str:
    if character == "n":
        return "\n"
    return character if character in '"\\$`' else f"\\{character}"


def read(path: Path, *, name: str) -> str:
    """Return the text of a file of settings, or of a token.

    Raises:
        ConfigurationError: it cannot be read, is too long, or is not UTF-8.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigurationError(f"{name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{name} is not UTF-8 text") from None
    if len(text) > LARGEST_FILE:
        raise ConfigurationError(f"{name} is longer than {LARGEST_FILE} characters. Give a file of settings")
    return text
