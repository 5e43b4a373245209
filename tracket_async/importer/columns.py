"""The columns of an import file: which attribute each name means, and how its values are read. Pure.

A file has our attribute names, as ``tracket export`` writes them, or the names of API 1.0. An unknown name is refused
and not left out: it is more likely to be a typing mistake than something to do without.

The value readers undo what ``export/text.py`` does, so that an export can be read back: one table for the values of
JSON, one for the cells of CSV. They are never given a null or an empty cell, whose meaning is the caller's business.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs
import msgspec

from tracket_async._api import v1
from tracket_async._timestamps import parse_date
from tracket_async.export.text import unescape_formula
from tracket_async.frames import MOMENTS, NUMBERS
from tracket_async.models import NewWorklog, Worklog

SETTABLE: Final = tuple(attribute.name for attribute in attrs.fields(NewWorklog))
"""The attributes that a caller can set."""

ATTRIBUTES: Final[Mapping[str, str]] = {
    **{wire_name: name for name, wire_name in v1.SCHEMA.names.items()},
    **{attribute.name: attribute.name for attribute in attrs.fields(Worklog)},
    "day": "day",
}
"""The attribute of each column name; ``day`` is the calendar day that an export writes next to the date."""


def column_attributes(columns: Iterable[str], *, only_id: bool = False) -> list[str | None]:
    """Return the attribute of each column.

    Args:
        columns: the names in the file.
        only_id: return None for every column but the id's, whatever its name.

    Raises:
        ValueError: a column is unknown, or two of them mean the same attribute.
    """
    names: list[str | None] = []
    found: dict[str, str] = {}
    for column in columns:
        name = ATTRIBUTES.get(column)
        if only_id and name != "id":
            names.append(None)
            continue
        if name is None:
            raise ValueError(f"there is no column {column!r}; the columns are {', '.join((*SETTABLE, 'day', 'id'))}")
        if name in found:
            raise ValueError(f"{name} is given twice, as {found[name]} and as {column}; remove one of the two")
        found[name] = column
        names.append(name)
    return names


ValueReader = Callable[[str, Any], Any]
"""Read the value of an attribute, given the attribute's name; raise `ValueError` with a reason."""
ValueReaders = Mapping[str, ValueReader]

_NUMBER: Final = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_SHOWN: Final = 40


def shortened(value: object) -> str:
    """Return the repr of a value for an error message, cut to 40 characters."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _date(name: str, value: object) -> dt.date:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a string, not {shortened(value)}")  # noqa: TRY004 - one kind for all
    try:
        return parse_date(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _day(name: str, value: object) -> dt.date:
    found = _date(name, value)
    if isinstance(found, dt.datetime):
        raise ValueError(f"{name} must be YYYY-MM-DD, without a time of day, not {shortened(value)}")  # noqa: TRY004
    return found


def _json_number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number of minutes, not {shortened(value)}")  # noqa: TRY004 - one kind for all
    return value


def _json_id(name: str, value: object) -> str:
    # Spreadsheets and other programs make numbers of ids that consist of digits.
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    raise ValueError(f"{name} must be a string, not {shortened(value)}")


def _json_text(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError(f"{name} must be a string, not {shortened(value)}")


def _json_object(name: str, value: object) -> dict[str, Any]:
    if isinstance(value, dict):
        return value  # pyright: ignore[reportUnknownVariableType] - the model looks at what is in it
    raise ValueError(f"{name} must be an object, not {shortened(value)}")


def _raw_cell(_name: str, value: str) -> str:
    return value


def _cell(_name: str, value: str) -> str:
    return unescape_formula(value)


def _cell_number(name: str, value: str) -> float:
    if _NUMBER.fullmatch(value):
        return float(value)
    raise ValueError(f"{name} must be a number of minutes, with a point and not a comma, not {shortened(value)}")


def _cell_object(name: str, value: str) -> dict[str, Any]:
    try:
        read = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        raise ValueError(f"{name} must be JSON, not {shortened(value)}") from None
    return _json_object(name, read)


def _table(text: ValueReader, others: ValueReader, numbers: ValueReader, objects: ValueReader) -> ValueReaders:
    return {
        **dict.fromkeys(("id", *SETTABLE), others),
        "description": text,
        **{name: _date for name in SETTABLE if name in MOMENTS},
        "day": _day,
        **{name: numbers for name in SETTABLE if name in NUMBERS},
        "custom_fields": objects,
    }


JSON_READERS: Final = _table(_json_text, _json_id, _json_number, _json_object)
CSV_READERS: Final = _table(_cell, _cell, _cell_number, _cell_object)
RAW_CSV_READERS: Final = _table(_raw_cell, _raw_cell, _cell_number, _cell_object)
"""For a file that was written with ``--raw``: every apostrophe belongs to its text."""
