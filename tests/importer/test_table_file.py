"""Parquet and DuckDB files: those of an export, those of pandas and others."""

from __future__ import annotations

import datetime as dt

import attrs
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tracket_async._api.fast import row_of
from tracket_async.client import API_VERSIONS
from tracket_async.errors import StoreError, UsageError
from tracket_async.export import text
from tracket_async.export.tables import create_copy
from tracket_async.frames import arrow_batch
from tracket_async.importer.columns import SETTABLE
from tracket_async.importer.reader import RecordReader
from tracket_async.importer.records import BadLine, ReadOptions
from tracket_async.importer.rows import make_new_worklog
from tracket_async.importer.source import InputSource
from tracket_async.models import NewWorklog, Worklog

V1 = API_VERSIONS["1.0"]()
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
IDS = st.from_regex(r"[a-z][a-z0-9-]{0,9}\Z", fullmatch=True).filter(lambda text: len(text) > 4) | st.from_regex(
    r"[1-9][0-9]{0,17}", fullmatch=True
)
MINUTES = st.floats(allow_nan=False, allow_infinity=False)
WORKLOGS = st.builds(
    Worklog,
    id=IDS,
    user_id=IDS,
    date=st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2200, 1, 1), timezones=st.just(dt.UTC)),  # noqa: DTZ001
    minutes=MINUTES,
    item_id=IDS,
    description=st.none() | TEXTS,
    billable_minutes=st.none() | MINUTES,
    category_id=st.none() | IDS,
)


def records(path, format, **options):
    with InputSource(str(path)) as source:
        return list(RecordReader(source, ReadOptions(format=format, **options)).records())


def write_parquet(path, worklogs):
    """As an export has them: with the day, timestamps in UTC, and custom fields as text."""
    table = pa.Table.from_batches([arrow_batch([row_of(worklog) for worklog in worklogs])])
    table = table.add_column(1, "day", table["date"].cast(pa.timestamp("us")).cast(pa.date32()))
    pq.write_table(table, path)


def write_duckdb(path, worklogs):
    path.unlink(missing_ok=True)
    columns = text.NAMES
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"ATTACH '{str(path).replace(chr(39), chr(39) * 2)}' AS made")
        connection.execute(create_copy(columns))
        given = pa.Table.from_batches([arrow_batch([row_of(worklog) for worklog in worklogs])])
        connection.register("given", given)
        cells = ["CAST(make_timestamp(epoch_us(date)) AS DATE)" if name == "day" else name for name in columns]
        connection.execute(f"INSERT INTO made.worklogs SELECT {', '.join(cells)} FROM given")


WRITERS = {"parquet": write_parquet, "duckdb": write_duckdb}


@pytest.mark.parametrize("format", WRITERS)
@settings(max_examples=10, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(worklogs=st.lists(WORKLOGS, min_size=1, max_size=5))
def test_every_exported_worklog_is_imported_equal(format, worklogs, tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / f"in.{format}"
    WRITERS[format](path, worklogs)
    found = records(path, format)
    for number, (record, worklog) in enumerate(zip(found, worklogs, strict=True), start=1):
        values = {name: getattr(worklog, name) for name in SETTABLE}
        assert (record.line, record.values["id"]) == (number, worklog.id)
        assert make_new_worklog(record, V1) == NewWorklog(**values)


WORKLOG = Worklog(id="w", user_id="7", date=dt.datetime(2024, 5, 20, tzinfo=dt.UTC), minutes=1.0, item_id="5")


@pytest.mark.parametrize("format", WRITERS)
def test_a_table_is_read_more_than_once_and_in_its_order(tmp_path, format):
    path = tmp_path / f"it's.{format}"
    WRITERS[format](path, [attrs.evolve(WORKLOG, id=f"w-{number}") for number in (3, 1, 2)])
    with InputSource(str(path)) as source:
        reader = RecordReader(source, ReadOptions(format=format))
        for _ in range(2):
            assert [record.values["id"] for record in reader.records()] == ["w-3", "w-1", "w-2"]


def test_what_pandas_makes_of_ids_and_days_is_repaired(tmp_path):
    """A column of whole numbers with a gap is one of floats, and a day is a timestamp at midnight."""
    path = tmp_path / "in.parquet"
    columns = {
        "id": [5000204173.0, None, 1e16],
        "day": [dt.datetime(2024, 5, 20)] * 3,  # noqa: DTZ001
        "minutes": ["1:30", "7,5", "8"],
    }
    pq.write_table(pa.table(columns), path)
    first, second, third = records(path, "parquet")
    assert first.values == {"id": "5000204173", "day": dt.date(2024, 5, 20), "minutes": 90.0}
    assert second.values == {"id": None, "day": dt.date(2024, 5, 20), "minutes": 7.5}
    assert isinstance(third, BadLine)
    assert third.line == 3
    assert "digits may be lost" in third.reason


@pytest.mark.parametrize("format", WRITERS)
def test_unknown_columns_are_refused_once(tmp_path, format):
    path = tmp_path / "in"
    with duckdb.connect() if format == "parquet" else duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE worklogs AS SELECT 'a' AS id, 'b' AS name UNION ALL SELECT 'c', 'd'")
        if format == "parquet":
            connection.execute(f"COPY worklogs TO '{path}' (FORMAT parquet)")
    with pytest.raises(UsageError, match="The columns of the file cannot be used: there is no column 'name'"):
        records(path, format)
    assert len(records(path, format, only_id=True)) == 2


@pytest.mark.parametrize(("format", "name"), [("parquet", "Parquet"), ("duckdb", "DuckDB")])
def test_a_file_of_another_format_is_refused(tmp_path, format, name):
    path = tmp_path / "in"
    path.write_bytes(b"id,minutes\na,1\n" * 100)
    with pytest.raises(UsageError, match=f"in is no {name} file of worklogs: "):
        records(path, format)


def test_a_database_without_the_table_is_refused(tmp_path):
    path = tmp_path / "in.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE other (id VARCHAR)")
    with pytest.raises(UsageError, match=r"is no DuckDB file of worklogs: .*worklogs"):
        records(path, "duckdb")


def test_a_database_of_a_stranger_reads_no_other_file(tmp_path):
    (tmp_path / "secret.csv").write_text("id\nsecret\n")
    path = tmp_path / "in.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"CREATE VIEW worklogs AS SELECT * FROM read_csv('{tmp_path / 'secret.csv'}')")
    with pytest.raises(UsageError, match="is no DuckDB file of worklogs: "):
        records(path, "duckdb")


def test_a_database_cannot_be_read_from_a_pipe(monkeypatch, tmp_path):
    path = tmp_path / "in.duckdb"
    write_duckdb(path, [WORKLOG])
    with InputSource(str(path)) as source:
        source.path, source.name = None, "standard input"
        with pytest.raises(UsageError, match=r"^A DuckDB database cannot be read from standard input\. Give its file"):
            list(RecordReader(source, ReadOptions(format="duckdb")).records())


@pytest.mark.parametrize("format", WRITERS)
def test_a_table_that_changes_while_it_is_read_raises(tmp_path, format):
    path = tmp_path / "in"
    WRITERS[format](path, [WORKLOG])
    with InputSource(str(path)) as source:
        records = RecordReader(source, ReadOptions(format=format)).records()
        next(records)
        with path.open("ab") as file:
            file.write(b"x")
        with pytest.raises(StoreError):
            list(records)
