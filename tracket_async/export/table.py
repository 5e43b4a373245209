"""The columns of a store: the attributes of `Worklog` as types of DuckDB and Arrow, and rows turned into columns.

A *row* is a tuple of the attributes of a worklog in their order, as `Worklog` has them. ``custom_fields`` is stored as
JSON text with sorted keys, so that equal worklogs have equal columns.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, Final

from tracket_async.export import extras
from tracket_async.export.cells import JSON, MOMENTS, NAMES, NUMBERS, json_text
from tracket_async.models import Worklog

Row = tuple[Any, ...]

ID: Final = NAMES.index("id")
DATE: Final = NAMES.index("date")

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_REQUIRED: Final = frozenset({"id", "user_id", "date", "minutes", JSON})
_row: Final = attrgetter(*NAMES)


def row_of(worklog: Worklog) -> Row:
    """The worklog as a row."""
    row: Row = _row(worklog)
    return row


def unique(rows: Iterable[Row]) -> list[Row]:
    """Each id once: of two rows of one worklog, the later one, which is the newer one."""
    return list({row[ID]: row for row in rows}.values())


def worklog_of(row: Row) -> Worklog:
    """The row as a worklog."""
    return Worklog(**dict(zip(NAMES, row, strict=True)))


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


def arrow_batch(rows: Sequence[Row]) -> Any:
    """The rows, at least one, as an Arrow record batch; 1.3 us a row."""
    pa = extras.pyarrow()
    schema = arrow_schema()
    arrays: list[Any] = []
    for field, part in zip(schema, zip(*rows, strict=True), strict=True):
        if field.name in MOMENTS:
            # Through durations, because pyarrow converts those five times as fast as datetimes.
            since = [None if moment is None else moment - _EPOCH for moment in part]
            arrays.append(pa.array(since, pa.duration("us")).view(field.type))
        elif field.name == JSON:
            arrays.append(pa.array([json_text(value) if value else "{}" for value in part], field.type))
        else:
            arrays.append(pa.array(part, field.type))
    return pa.record_batch(arrays, schema=schema)


def rows_of(worklogs: Iterable[Worklog]) -> list[Row]:
    """The worklogs as rows."""
    return list(map(_row, worklogs))
