"""The columns of an import file: which attribute each name means. Pure.

A file has our attribute names, as ``tracket export`` writes them, or the names of API 1.0; upper case, spaces, hyphens
and underscores make no difference. ``hours`` and ``billable_hours`` stand for minutes. An unknown name is refused and
not left out: it is more likely to be a typing mistake than something to do without. Who wants it otherwise says so with
a mapping of names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from tracket_async._api import v1
from tracket_async.errors import UsageError
from tracket_async.models import NewWorklog, Worklog

SETTABLE: Final = tuple(attribute.name for attribute in attrs.fields(NewWorklog))
"""The attributes that a caller can set."""

HOURS: Final[Mapping[str, str]] = {"hours": "minutes", "billable_hours": "billable_minutes"}
"""The columns that hold an attribute in hours, and the attribute."""

ATTRIBUTES: Final[Mapping[str, str]] = {
    **{wire_name: name for name, wire_name in v1.SCHEMA.names.items()},
    **{attribute.name: attribute.name for attribute in attrs.fields(Worklog)},
    "day": "day",
    **{name: name for name in HOURS},
}
"""The attribute of each column name; ``day`` is the calendar day that an export writes next to the date."""

UNNAMED: Final = ""
"""The attribute of a column without a name. It may be there as long as it is empty."""
OTHERS: Final = "*"
"""In a mapping: every column that is neither mapped nor known."""

_IGNORED_IN_NAMES: Final = re.compile(r"[\s_\-\ufeff]+")


def plain(name: str) -> str:
    """Return a name without upper case, spaces, hyphens and underscores."""
    return _IGNORED_IN_NAMES.sub("", name).casefold()


_PLAIN: Final = {plain(name): attribute for name, attribute in ATTRIBUTES.items()}


def attribute_of(name: str) -> str | None:
    """Return the attribute that a column name means, None if there is none."""
    return ATTRIBUTES.get(name) or _PLAIN.get(plain(name))


def read_mapping(pairs: Sequence[str]) -> dict[str, str | None]:
    """Return the mapping of column names that texts of the form ``old=new`` say: old name to attribute, None to skip.

    Raises:
        UsageError: a text has no ``=``, an old name is given twice, or a new name is no column.
    """
    mapping: dict[str, str | None] = {}
    for pair in pairs:
        old, equals, new = pair.rpartition("=")
        attribute = attribute_of(new) if new.strip() else None
        if not equals or (attribute is None and new.strip()):
            raise UsageError(f"--map {pair!r} is not OLD=NEW. NEW is one of {_names()}, or nothing to skip the column")
        if old.strip() == OTHERS and attribute is not None:
            raise UsageError(
                f"--map {pair!r} gives one name to all columns. Give '*=' to skip those that are not known"
            )
        if mapping.setdefault(_key(old), attribute) != attribute:
            raise UsageError(f"--map names the column {old.strip()!r} twice. Give one new name")
    return mapping


def _key(name: str) -> str:
    return plain(name) or name.strip()


def column_attributes(
    columns: Sequence[str], *, mapping: Mapping[str, str | None] | None = None, only_id: bool = False
) -> list[str | None]:
    """Return the attribute of each column: None for one to skip, `UNNAMED` for one without a name.

    Args:
        columns: the names in the file.
        mapping: see `read_mapping`.
        only_id: return None for every column but the id's, whatever its name.

    Raises:
        ValueError: columns are unknown, or two of them mean the same attribute.
    """
    mapping = mapping or {}
    names: list[str | None] = []
    found: dict[str, str] = {}
    unknown: list[str] = []
    for column in columns:
        key = _key(column)
        name = mapping[key] if key in mapping else UNNAMED if not key else attribute_of(column)
        if only_id and name != "id":
            names.append(None)
            continue
        if name is None and key not in mapping and OTHERS not in mapping:
            unknown.append(column)
            continue
        if name:
            attribute = HOURS.get(name, name)
            if attribute in found:
                raise ValueError(
                    f"{attribute} is given twice, as {found[attribute]} and as {column}; remove one of the two"
                )
            found[attribute] = column
        names.append(name)
    if unknown:
        raise ValueError(_unknown(unknown))
    return names


def check_mapped(columns: Sequence[str], mapping: Mapping[str, str | None]) -> None:
    """Check that a mapping names only columns that are there.

    Raises:
        ValueError: it names another one, in which there is likely to be a typing mistake.
    """
    there = {_key(column) for column in columns}
    for old in mapping:
        if old not in there and old not in (OTHERS, UNNAMED):
            raise ValueError(f"--map names {old!r}, and there is no such column; the columns are {', '.join(columns)}")


def _unknown(unknown: Sequence[str]) -> str:
    listed = ", ".join(repr(name) for name in unknown)
    return (
        f"there is no column {listed}; the columns are {_names()}."
        " --map OLD=NEW gives a column another name, --map OLD= skips one, and --map '*=' skips all that are not known"
    )


def _names() -> str:
    return ", ".join((*SETTABLE, *HOURS, "day", "id"))
