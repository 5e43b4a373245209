"""Worklogs as Arrow columns: their names and types, and record batches made of rows.

* The columns are the attributes of `Worklog`, in their order, with ``day`` behind ``id``: the calendar day of ``date``.
* Timestamps are in UTC with microseconds, ``day`` is a date32, numbers are float64, everything else is UTF-8 text.
  ``custom_fields`` and ``extra`` are JSON text with sorted keys, so that equal worklogs have equal columns.
"""

from __future__ import annotations

import datetime as dt
import importlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

import attrs
import msgspec

from tracket_async._api.fast import Row, columns_of
from tracket_async.errors import MissingExtraError, install_hint
from tracket_async.models import Worklog

ATTRIBUTES: Final = tuple(attribute.name for attribute in attrs.fields(Worklog))
"""The attributes of `Worklog`, in their order: the columns that are stored."""
DAY: Final = "day"
EXTRA: Final = "extra"
ALL_NAMES: Final = (ATTRIBUTES[0], DAY, *ATTRIBUTES[1:])
"""Every column that there is, in order."""
MOMENTS: Final = frozenset({"date", "created_date", "updated_date"})
NUMBERS: Final = frozenset({"minutes", "billable_minutes"})
JSON: Final = frozenset({"custom_fields", EXTRA})
REQUIRED: Final = JSON | {"id", DAY, "date", "minutes"}
"""The columns that are never null."""

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_encode: Final = msgspec.json.Encoder(order="sorted").encode

# pyarrow has no types, so what is imported here is Any.


def load(name: str, *, extra: str) -> Any:
    """Import an optional library.

    Raises:
        MissingExtraError: it is not installed; the hint says how to install the extra.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"the export needs {name}, which is not installed", hint=install_hint(extra)) from error


def pyarrow() -> Any:
    """Import ``pyarrow``; raises as `load`."""
    return load("pyarrow", extra="export")


def json_text(value: Any) -> str:
    """Return a JSON value as text, without spaces and with sorted keys: equal values have equal text."""
    return _encode(value).decode()


def json_texts(part: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return each object as `json_text` has it."""
    return [json_text(dict(value)) if value else "{}" for value in part]


def arrow_schema(columns: Sequence[str]) -> Any:
    """Return the Arrow schema of the columns: timestamps in UTC with microseconds, date32, float64, and UTF-8 text."""
    pa = pyarrow()
    moment, number, text = pa.timestamp("us", tz="UTC"), pa.float64(), pa.string()
    kinds = {**dict.fromkeys(MOMENTS, moment), **dict.fromkeys(NUMBERS, number), DAY: pa.date32()}
    types = [kinds.get(name, text) for name in columns]
    return pa.schema(
        [pa.field(name, kind, nullable=name not in REQUIRED) for name, kind in zip(columns, types, strict=True)]
    )


@cache
def _stored_schema() -> Any:
    return arrow_schema(ATTRIBUTES)


def arrow_batch(rows: Sequence[Row]) -> Any:
    """Return the rows, at least one, as an Arrow record batch; 1 us a row."""
    pa = pyarrow()
    schema = _stored_schema()
    arrays: list[Any] = []
    for field, part in zip(schema, columns_of(rows, ATTRIBUTES), strict=True):
        if field.name in MOMENTS:
            # Through durations, because pyarrow converts those five times as fast as datetimes.
            since = [None if moment is None else moment - _EPOCH for moment in part]
            arrays.append(pa.array(since, pa.duration("us")).view(field.type))
        elif field.name in JSON:
            arrays.append(pa.array(json_texts(part), field.type))
        else:
            arrays.append(pa.array(part, field.type))
    return pa.record_batch(arrays, schema=schema)
