"""What of a body may be shown in an error: its beginning, on one line, with whatever could be a secret masked."""

from __future__ import annotations

import re
import string

LONGEST = 200
"""Characters of an excerpt, without the ellipsis."""

_WINDOW = 2048
"""Bytes that are looked at."""

_MASK = "***"

_SPEAKING_NAME = r"(?:token|secret|passw|authorization|credential|api[-_]?key|client[-_]?id|cookie|session)[\w\-]*"

_NAMED: tuple[tuple[re.Pattern[str], str], ...] = (
    # "access_token": "...", also when the window ends before the closing quote
    (re.compile(rf'({_SPEAKING_NAME}"\s*:\s*)"(?:[^"\\]|\\.)*(?:"|\\?$)', re.IGNORECASE), rf'\1"{_MASK}"'),
    # Authorization: Bearer ..., and the scheme with its token wherever it stands
    (re.compile(r"\b(bearer|basic)([\s:=]+)[^\s\"'<>,;]+", re.IGNORECASE), rf"\1\2{_MASK}"),
    # token=... in a query, a form or a log line
    (re.compile(rf"({_SPEAKING_NAME}\s*[=:]\s*)(?!bearer\b|basic\b)[^\s\"'<>&,;]+", re.IGNORECASE), rf"\1{_MASK}"),
)
_ALPHABET = string.ascii_letters + string.digits + "_-+/=.~"
_OPAQUE = re.compile(r"[\w\-+/=.~]{24,}", re.ASCII)
"""What JSON Web Tokens, UUIDs, base64 and hexadecimal digits look like, if there is a digit in it."""


def excerpt(body: bytes) -> str:
    """The beginning of a body as one printable line of at most `LONGEST` characters and an ellipsis; ``""`` of nothing.

    Text that is not UTF-8 shows replacement characters. Masked are values whose name speaks of a secret, what follows
    ``Bearer``, and every run of 24 or more characters of a token's alphabet that has a digit: rather too much than a
    token that the server echoes.
    """
    text = body[:_WINDOW].decode("utf-8", "replace")
    for pattern, mask in _NAMED:
        text = pattern.sub(mask, text)
    text = _OPAQUE.sub(_masked, text)
    text = " ".join(text.split())
    if len(body) > _WINDOW:
        # What the window cuts in two may be a token that is too short now to be known as one.
        text = text.rstrip(_ALPHABET)
    shown = "".join(character if character.isprintable() else _escaped(character) for character in text[:LONGEST])
    return shown[:LONGEST] + ("..." if len(text) > LONGEST or len(shown) > LONGEST or len(body) > _WINDOW else "")


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _masked(run: re.Match[str]) -> str:
    return _MASK if any(character.isdigit() for character in run[0]) else run[0]
