"""Columns: the types in DuckDB and Arrow, and rows turned into columns."""

from __future__ import annotations

import datetime as dt
import types
import typing

import attrs
import pyarrow as pa
import pytest

from tracket_async._api.fast import row_of
from tracket_async.export import tables as table
from tracket_async.export import text as cells
from tracket_async.models import Worklog

TYPES = {dt.datetime: "TIMESTAMPTZ", float: "DOUBLE", str: "VARCHAR", dict: "VARCHAR"}


def kinds(annotation):
    """The types of an annotation, without None."""
    parts = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    return {typing.get_origin(part) or part for part in parts} - {types.NoneType}


def test_every_attribute_has_the_column_type_of_its_python_type():
    hints = typing.get_type_hints(Worklog)
    for field in attrs.fields(Worklog):
        expected = {
            sql for kind, sql in TYPES.items() if any(issubclass(one, kind) for one in kinds(hints[field.name]))
        }
        assert expected == {table.sql_type(field.name)}, field.name


def test_exactly_what_is_never_none_is_not_null():
    hints = typing.get_type_hints(Worklog)
    for field in table.arrow_schema():
        optional = types.NoneType in typing.get_args(hints[field.name])
        assert field.nullable == optional, field.name
        assert ("NOT NULL" in table.sql_definitions([field.name])) == (not optional)


def test_of_a_row_the_id_and_the_date_can_be_told(make_worklog):
    worklog = make_worklog(3)
    assert (table.id_of(row_of(worklog)), table.date_of(row_of(worklog))) == (worklog.id, worklog.date)


def test_of_two_rows_of_one_worklog_the_later_stays(make_worklog):
    first, second, other = map(row_of, [make_worklog(1), make_worklog(1, minutes=9.0), make_worklog(2)])
    assert table.unique([first, other, second]) == [second, other]


@pytest.mark.parametrize(
    "moment",
    [
        dt.datetime(1, 1, 1, tzinfo=dt.UTC),
        dt.datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC),
        dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC),
        dt.datetime(2024, 5, 6, 12, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30))),
    ],
)
def test_a_moment_keeps_its_microsecond(make_worklog, moment):
    batch = table.arrow_batch([row_of(make_worklog(1, date=moment, updated_date=moment, created_date=None))])
    assert batch.schema.field("date").type == pa.timestamp("us", tz="UTC")
    assert batch.column("date").cast(pa.int64()).to_pylist() == [
        (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    ]
    assert batch.column("created_date").null_count == 1


def test_custom_fields_are_json_with_sorted_keys(make_worklog):
    rows = [row_of(make_worklog(1)), row_of(make_worklog(2))]
    assert table.arrow_batch(rows).column(cells.JSON).to_pylist() == ['{"a":"1","b":"2"}', "{}"]
