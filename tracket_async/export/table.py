"""The columns of a store: the attributes of `Worklog` as types of DuckDB and Arrow, and rows turned into columns.

What a row is: see `tracket_async.api.rows`. ``custom_fields`` is stored as JSON text with sorted keys, so that equal
worklogs have equal columns.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, Final

from tracket_async.api.rows import Row, columns_of
from tracket_async.export import extras
from tracket_async.export.cells import JSON, MOMENTS, NAMES, NUMBERS, json_text

id_of: Final[Callable[[Row], str]] = attrgetter("id")
date_of: Final[Callable[[Row], dt.datetime]] = attrgetter("date")

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_REQUIRED: Final = frozenset({"id", "user_id", "date", "minutes", JSON})


def unique(rows: Iterable[Row]) -> list[Row]:
    """Each id once: of two rows of one worklog, the later one, which is the newer one."""
    return list({id_of(row): row for row in rows}.values())


def sql_type(name: str) -> str:
    """The column's type in DuckDB: TIMESTAMPTZ, DOUBLE or VARCHAR."""
    if name in MOMENTS:
        return "TIMESTAMPTZ"
    return "DOUBLE" if name in NUMBERS else "VARCHAR"


def sql_definitions(columns: Sequence[str] = NAMES) -> str:
    """The columns as ``CREATE TABLE`` wants them."""
    return ", ".join(f"{name} {sql_type(name)}{' NOT NULL' if name in _REQUIRED else ''}" for name in columns)


def sql_text(name: str) -> str:
    """The SQL expression of a column's cell as `cells` has it: a moment as text, everything else as it is."""
    if name not in MOMENTS:
        return name
    return (
        f"lpad(CAST(year({name}) AS VARCHAR), 4, '0') || strftime({name}, CASE WHEN microsecond({name}) % 1000 = 0 "
        f"THEN '-%m-%dT%H:%M:%S.%gZ' ELSE '-%m-%dT%H:%M:%S.%fZ' END)"
    )


def arrow_schema(columns: Sequence[str] = NAMES) -> Any:
    """The Arrow schema of the columns: timestamps in UTC with microseconds, float64, and UTF-8 text."""
    pa = extras.pyarrow()
    moment, number, text = pa.timestamp("us", tz="UTC"), pa.float64(), pa.string()
    types = [moment if name in MOMENTS else number if name in NUMBERS else text for name in columns]
    return pa.schema(
        [pa.field(name, kind, nullable=name not in _REQUIRED) for name, kind in zip(columns, types, strict=True)]
    )


_whole_schema: Final = cache(arrow_schema)
_columns: Final = columns_of(NAMES)


def arrow_batch(rows: Sequence[Row]) -> Any:
    """The rows, at least one, as an Arrow record batch; 1 us a row."""
    pa = extras.pyarrow()
    schema = _whole_schema()
    arrays: list[Any] = []
    for field, part in zip(schema, _columns(rows), strict=True):
        if field.name in MOMENTS:
            # Through durations, because pyarrow converts those five times as fast as datetimes.
            since = [None if moment is None else moment - _EPOCH for moment in part]
            arrays.append(pa.array(since, pa.duration("us")).view(field.type))
        elif field.name == JSON:
            arrays.append(pa.array([json_text(value) if value else "{}" for value in part], field.type))
        else:
            arrays.append(pa.array(part, field.type))
    return pa.record_batch(arrays, schema=schema)
