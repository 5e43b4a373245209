"""Count what is odd in a server's answers, and tell each oddity once, when the client is closed.

An oddity was read, or passed by and kept in `Worklog.extra`; what cannot be passed by is an error instead. A notice
names the field and the type of an example, and never shows a value, which is somebody's data.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias

import attrs

_logger = logging.getLogger("tracket_async")

Kind = Literal["unknown", "unreadable", "unusual", "missing", "ignored", "repaired"]
Odd: TypeAlias = tuple[str, Kind, str, int]
"""The name of a field in JSON, its kind, the type of an example with its article, and how often."""

MEANINGS: Final[Mapping[Kind, str]] = {
    "unknown": "is not known to this version, or not all of it: it is kept in `extra`",
    "unreadable": "cannot be read: the field is None, and what was sent is kept in `extra`",
    "unusual": "is of another type than it should be, and was read all the same",
    "missing": "is null or missing, and should not be: the field is None",
    "ignored": "cannot be read, and is passed by",
    "repaired": "is no JSON as it was sent (a lone surrogate, a byte that is no UTF-8, a byte order mark, a control "
    "character, NaN): it was read as far as that is possible",
}
MOST: Final = 100
"""So many different oddities are counted; a server that makes up names must not fill the memory."""


@attrs.define
class _Count:
    path: str
    example: str
    times: int = 0


class Oddities:
    """Count the oddities of one client's answers, by field and kind, and say others once."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, Kind], _Count] = {}
        self._warnings: set[str] = set()

    def warn_once(self, message: str, *values: object) -> None:
        """Log a warning, unless this client has logged it before, with whatever values."""
        if message not in self._warnings:
            self._warnings.add(message)
            _logger.warning(message, *values)

    def add(self, field: str, kind: Kind, example: str, *, path: str, times: int = 1) -> None:
        """Count an oddity.

        Args:
            field: its name in JSON.
            kind: decides what is said of it.
            example: the type of an example, with its article.
            path: the JSON path, with ``[]`` for any place of an array.
            times: how often.
        """
        count = self._counts.get((field, kind))
        if count is None:
            if len(self._counts) >= MOST:
                return
            count = self._counts[field, kind] = _Count(path, example)
        count.times += times

    def add_all(self, odd: Iterable[Odd], path: str) -> None:
        """Count what is odd in the object, or in any of the objects, at a JSON path."""
        for field, kind, example, times in odd:
            count = self._counts.get((field, kind))
            if count is None:
                self.add(field, kind, example, path=f"{path}.{field}", times=times)
            else:
                count.times += times

    def tell(self) -> None:
        """Log each oddity, and forget them."""
        for (field, kind), count in self._counts.items():
            _logger.warning(
                "The server's field %.80r (at %.120r) %s: %d times, for example %s",
                field,
                count.path,
                MEANINGS[kind],
                count.times,
                count.example,
            )
        self._counts.clear()
