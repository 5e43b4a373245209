r"""A file of ``KEY=value`` lines, as text in and settings out. Reads no file itself, and never quotes a value.

Understood: blank lines, ``#`` comments (also after a space behind an unquoted value), an ``export`` before the key,
single quotes (taken literally) and double quotes (in which ``\n`` is a line break, and a backslash before a quote, a
backslash, a dollar or a backtick is dropped). Nothing is expanded or executed. The last of equal keys counts.
"""

from __future__ import annotations

import re
from typing import Final

from tracket_async.errors import ConfigurationError

_LINE: Final = re.compile(r"(?:export\s+)?(?P<key>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*)", re.DOTALL)
_SINGLE: Final = re.compile(r"'([^']*)'\s*(?:#.*)?")
_DOUBLE: Final = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?')
_BARE: Final = re.compile(r"([^\s'\"#][^'\"]*?)?(?:\s+#.*|\s*)")
_ESCAPE: Final = re.compile(r"\\(.)")


def parse(text: str, *, name: str) -> dict[str, str]:
    """The settings of the text.

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
