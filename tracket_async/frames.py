"""Worklogs as Arrow columns: their names and types, record batches made of rows, and a table for pandas and others.

* The columns are the attributes of `Worklog`, in their order, with ``day`` behind ``id``: the calendar day of ``date``.
* Timestamps are in UTC with microseconds, ``day`` is a date32, numbers are float64, everything else is UTF-8 text.
  ``custom_fields`` and ``extra`` are JSON text with sorted keys, so that equal worklogs have equal columns.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import html
import importlib
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import cache
from typing import Any, Final, Self

import attrs
import msgspec

from tracket_async._api.fast import Row, columns_of, row_of
from tracket_async._tasks import Nested
from tracket_async.errors import MissingExtraError, install_hint, pip_install
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


def load(name: str, *, extra: str | None = None) -> Any:
    """Import an optional library.

    Raises:
        MissingExtraError: it is not installed; the hint says how to install the extra, or without one the library.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        hint = f"Run: {pip_install(name)}" if extra is None else install_hint(extra)
        raise MissingExtraError(f"this needs {name}, which is not installed", hint=hint) from error


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


# -- what client.worklogs.arrow and table return -------------------------------------------------------------------

BATCH_ROWS: Final = 1_000
"""Worklogs of a record batch, at least. The last has what is left.

Converting them holds the event loop for 1 to 3 ms. More at once would not make it cheaper.
"""
_SHOWN_ROWS: Final = 10
_SHOWN_CHARACTERS: Final = 60


def load_converters() -> None:
    """Convert a row to Arrow: the first conversion loads what pyarrow needs for it.

    Where pandas is installed, pyarrow imports it then, which takes seconds.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    with_day(arrow_batch([row_of(Worklog(id="", user_id=None, date=_EPOCH, minutes=0))]))


async def warm_up() -> None:
    """Call `load_converters` in a thread; raises as that does."""
    await asyncio.to_thread(load_converters)


def with_day(batch: Any) -> Any:
    """Return the batch with the column ``day``: that of its date in UTC."""
    day = batch.column("date").cast(pyarrow().date32())
    columns = [day if name == DAY else batch.column(name) for name in ALL_NAMES]
    return pyarrow().record_batch(columns, schema=arrow_schema(ALL_NAMES))


async def record_batches(pages: AsyncGenerator[Sequence[Row]]) -> AsyncGenerator[Any]:
    """Yield the rows of pages as Arrow record batches with all columns. Call `warm_up` before."""
    rows: list[Row] = []
    async with Nested(pages) as each:
        async for page in each:
            rows += page
            if len(rows) >= BATCH_ROWS:
                yield with_day(arrow_batch(rows))
                rows = []
    if rows:
        yield with_day(arrow_batch(rows))


class WorklogTable:
    """Worklogs as an Arrow table, ordered by date and id.

    pandas, polars, DuckDB, pyarrow and whatever else reads the Arrow PyCapsule interface take it without a copy in
    Python: ``polars.DataFrame(table)``, ``duckdb.sql("SELECT ... FROM table")``, ``pyarrow.table(table)``.
    """

    def __init__(self, table: Any) -> None:
        self._table = table

    @classmethod
    async def collect(cls, batches: AsyncGenerator[Any]) -> Self:
        """Return a table of all the record batches; it sorts them in a thread."""
        async with aclosing(batches) as each:
            found = [batch async for batch in each]
        return cls(await asyncio.to_thread(_ordered, found))

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self):,} worklogs>"

    @property
    def schema(self) -> Any:
        """Return the ``pyarrow.Schema``: the columns and their types."""
        return self._table.schema

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)

    def to_pandas(self) -> Any:
        """Return a ``pandas.DataFrame``, its ``day`` a datetime without a time zone.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        load("pandas")
        return self._table.to_pandas(date_as_object=False)

    def to_polars(self) -> Any:
        """Return a ``polars.DataFrame``.

        Raises:
            MissingExtraError: polars is not installed.
        """
        return load("polars").from_arrow(self._table)

    def _repr_html_(self) -> str:
        """Return the first rows for a notebook, without the columns that are empty in all of them."""
        rows = self._table.slice(0, _SHOWN_ROWS).to_pylist()
        names = [name for name in self.schema.names if any(row[name] not in {None, "{}"} for row in rows)]
        head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
        body = "".join(f"<tr>{''.join(f'<td>{_shown(row[name])}</td>' for name in names)}</tr>" for row in rows)
        more = f"; these are the first {_SHOWN_ROWS}" if len(self) > _SHOWN_ROWS else ""
        return f"<table><tr>{head}</tr>{body}</table><p>{len(self):,} worklogs{more}.</p>"


def _ordered(batches: Sequence[Any]) -> Any:
    table = pyarrow().Table.from_batches(batches, schema=arrow_schema(ALL_NAMES))
    return table.sort_by([("date", "ascending"), ("id", "ascending")]).combine_chunks()


def _shown(value: Any) -> str:
    text = "" if value is None else str(value)
    return html.escape(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…")
