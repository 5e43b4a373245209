"""Which columns a file may have: our attribute names, or the names of API 1.0; each means one attribute. Pure.

A file that `tracket export` wrote has the first, data that was taken from API 1.0 itself the second. A name that is
neither is refused rather than left out: it is more likely to be a mistake in writing than something to do without.

From what a file says to what a model takes: one table for values of JSON, one for the cells of CSV. Pure.

Both undo what ``export/cells.py`` does, so that an export can be read back. A reader gets no null: what null and the
empty cell mean is for others to say.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs
import msgspec

from tracket_async._api import v1
from tracket_async.export.text import JSON, MOMENTS, NUMBERS, defused
from tracket_async.models import NewWorklog, Worklog

SETTABLE: Final = tuple(attribute.name for attribute in attrs.fields(NewWorklog))
"""What a caller says about a worklog."""

ATTRIBUTES: Final[Mapping[str, str]] = {
    **{wire_name: name for name, wire_name in v1.SCHEMA.names.items()},
    **{attribute.name: attribute.name for attribute in attrs.fields(Worklog)},
}
"""Each column's attribute."""


def attributes_of(columns: Iterable[str], *, only_id: bool = False) -> list[str | None]:
    """The attribute of each column.

    Args:
        columns: as the file names them.
        only_id: whether all columns but the id's are None, whatever they are.

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
            raise ValueError(f"there is no column {column!r}; the columns are {', '.join((*SETTABLE, 'id'))}")
        if name in found:
            raise ValueError(f"{name} is given twice: as {found[name]} and as {column}")
        found[name] = column
        names.append(name)
    return names


Reader = Callable[[str, Any], Any]
"""Given an attribute's name and its value in the file; raises `ValueError` with a reason."""
Readers = Mapping[str, Reader]

_SHAPE: Final = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d.*)?", re.ASCII | re.IGNORECASE)
_NUMBER: Final = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_DAY: Final = len("YYYY-MM-DD")
_SHOWN: Final = 40
TEXT: Final = "description"


def shown(value: object) -> str:
    """A value for an error: short, and on one line."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def moment(name: str, value: object) -> dt.date:
    """``YYYY-MM-DD`` as a date, or an ISO 8601 date-time with an offset as an aware datetime."""
    refusal = ValueError(
        f"{name} must be YYYY-MM-DD or a date-time with an offset, such as 2024-05-20T09:30Z, not {shown(value)}"
    )
    if not isinstance(value, str) or not _SHAPE.fullmatch(value):
        raise refusal
    try:
        read = dt.date.fromisoformat(value) if len(value) == _DAY else dt.datetime.fromisoformat(value.upper())
    except ValueError:
        raise refusal from None
    if isinstance(read, dt.datetime):
        if read.utcoffset() is None:
            raise ValueError(f"{name} has no offset, so nobody knows which moment {shown(value)} is: append Z for UTC")
        try:
            return read.astimezone(dt.UTC)
        except OverflowError:
            raise refusal from None
    return read


def _json_number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number of minutes, not {shown(value)}")  # noqa: TRY004 - one kind for all
    return value


def _json_id(name: str, value: object) -> str:
    # Spreadsheets and other programs make numbers of ids that consist of digits.
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    raise ValueError(f"{name} must be a string, not {shown(value)}")


def _json_text(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError(f"{name} must be a string, not {shown(value)}")


def _json_object(name: str, value: object) -> dict[str, Any]:
    if isinstance(value, dict):
        return value  # pyright: ignore[reportUnknownVariableType] - the model looks at what is in it
    raise ValueError(f"{name} must be an object, not {shown(value)}")


def _cell(_name: str, value: str) -> str:
    return value


def _disarmed(_name: str, value: str) -> str:
    plain = value[1:]
    return plain if value.startswith("'") and defused(plain) == value else value


def _cell_number(name: str, value: str) -> float:
    if _NUMBER.fullmatch(value):
        return float(value)
    raise ValueError(f"{name} must be a number of minutes, with a point and not a comma, not {shown(value)}")


def _cell_object(name: str, value: str) -> dict[str, Any]:
    try:
        read = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        raise ValueError(f"{name} must be JSON, not {shown(value)}") from None
    return _json_object(name, read)


def _table(text: Reader, others: Reader, numbers: Reader, objects: Reader) -> Readers:
    return {
        **dict.fromkeys(("id", *SETTABLE), others),
        TEXT: text,
        **{name: moment for name in SETTABLE if name in MOMENTS},
        **{name: numbers for name in SETTABLE if name in NUMBERS},
        JSON: objects,
    }


FROM_JSON: Final = _table(_json_text, _json_id, _json_number, _json_object)
FROM_CELLS: Final = _table(_disarmed, _disarmed, _cell_number, _cell_object)
"""Of a text to which a spreadsheet's formula was disarmed with an apostrophe, the apostrophe goes."""
FROM_RAW_CELLS: Final = _table(_cell, _cell, _cell_number, _cell_object)
"""For a file that was written with ``--raw``: its texts are as they are."""
