"""Every statement that a store runs: its tables, and what is done to them. `store` says what they mean."""
# ruff: noqa: S608 - what is put into the statements are the names of columns, from this package

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tracket_async.export.cells import NAMES
from tracket_async.export.table import sql_definitions, sql_text

COLUMNS: Final = ", ".join(NAMES)
_LATEST: Final = "updated_date DESC NULLS LAST, batch DESC, rowid DESC"
_VIEW: Final = f"CREATE OR REPLACE VIEW worklogs AS SELECT {COLUMNS} FROM tracket.arrivals"

TABLES: Final = {
    "meta": "name VARCHAR NOT NULL, value VARCHAR NOT NULL",
    "windows": "id INTEGER NOT NULL, state VARCHAR NOT NULL",
    "arrivals": f"{sql_definitions()}, batch INTEGER NOT NULL",
    "tombstones": "id VARCHAR NOT NULL, date TIMESTAMPTZ NOT NULL, minutes DOUBLE NOT NULL, found TIMESTAMPTZ",
}
MAKE: Final = (
    "CREATE SCHEMA tracket",
    *(f"CREATE TABLE tracket.{name} ({columns})" for name, columns in TABLES.items()),
    f"{_VIEW} QUALIFY row_number() OVER (PARTITION BY id ORDER BY {_LATEST}) = 1",
)
TABLES_HERE: Final = "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'tracket'"

FACT: Final = "SELECT value FROM tracket.meta WHERE name = ?"
FORGET: Final = "DELETE FROM tracket.meta WHERE name = ?"
REMEMBER: Final = "INSERT INTO tracket.meta VALUES (?, ?)"

WINDOWS: Final = "SELECT state FROM tracket.windows ORDER BY id"
DROP_WINDOWS: Final = "DELETE FROM tracket.windows WHERE id IN (SELECT unnest(?))"
KEEP_WINDOWS: Final = "INSERT INTO tracket.windows SELECT unnest(?), unnest(?)"
NO_WINDOWS: Final = "DELETE FROM tracket.windows"

# Sorted within the batch, so that a later query for some dates can leave most of it unread.
APPEND: Final = f"INSERT INTO tracket.arrivals SELECT {COLUMNS}, ? FROM given ORDER BY date, id"
COUNT_WALKING: Final = "SELECT count(DISTINCT id) FROM tracket.arrivals"
COUNT: Final = "SELECT count(*) FROM tracket.arrivals"

SETTLE: Final = f"""
DELETE FROM tracket.arrivals WHERE rowid IN (
    SELECT rowid FROM (
        SELECT rowid, row_number() OVER (PARTITION BY id ORDER BY {_LATEST}) AS place FROM tracket.arrivals
        WHERE id IN (SELECT id FROM tracket.arrivals GROUP BY id HAVING count(*) > 1)
    ) WHERE place > 1
)"""
SETTLED_VIEW: Final = _VIEW

NEWS: Final = f"""
CREATE OR REPLACE TEMP TABLE news AS
SELECT new.*, old.id IS NOT NULL AS known,
    old.id IS NULL OR {" OR ".join(f"old.{name} IS DISTINCT FROM new.{name}" for name in NAMES)} AS differs
FROM given new LEFT JOIN tracket.arrivals old ON old.id = new.id"""
COUNT_NEWS: Final = "SELECT count(*), count_if(differs), count_if(known AND differs) FROM news"
UNBURY: Final = "DELETE FROM tracket.tombstones WHERE id IN (SELECT id FROM news)"
DROP_OLD: Final = "DELETE FROM tracket.arrivals WHERE id IN (SELECT id FROM news WHERE known AND differs)"
KEEP_NEWS: Final = f"INSERT INTO tracket.arrivals SELECT {COLUMNS}, 0 FROM news WHERE differs ORDER BY date, id"
FORGET_NEWS: Final = "DROP TABLE news"

BURY: Final = """
INSERT INTO tracket.tombstones SELECT id, date, minutes, CAST(? AS TIMESTAMPTZ) FROM tracket.arrivals
WHERE id IN (SELECT unnest(?))"""
DELETE: Final = "DELETE FROM tracket.arrivals WHERE id IN (SELECT unnest(?))"
TOMBSTONES: Final = "SELECT count(*) FROM tracket.tombstones"

_BETWEEN: Final = "date BETWEEN CAST(? AS TIMESTAMPTZ) AND CAST(? AS TIMESTAMPTZ)"
MEETING: Final = "CREATE OR REPLACE TEMP TABLE met (id VARCHAR NOT NULL)"
MEET: Final = "INSERT INTO met SELECT id FROM given"
UNMET: Final = f"SELECT id FROM tracket.arrivals WHERE {_BETWEEN} AND id NOT IN (SELECT id FROM met) ORDER BY date, id"

BY_DAY: Final = "SELECT CAST(date AS DATE) AS day, count(*) FROM tracket.arrivals GROUP BY day ORDER BY day"
# Moments as microseconds: DuckDB hands over none in a time zone without a library that it does not bring along.
EVERY_NTH: Final = f"""
SELECT epoch_us(date), id FROM (
    SELECT date, id, row_number() OVER (ORDER BY date, id) AS place FROM tracket.arrivals
    WHERE {_BETWEEN}
) WHERE place % ? = 0 ORDER BY place"""
_SLICE: Final = f"""
FROM tracket.arrivals WHERE {_BETWEEN}
    AND (CAST(? AS VARCHAR) IS NULL OR date > CAST(? AS TIMESTAMPTZ) OR id > ?)
    AND (CAST(? AS VARCHAR) IS NULL OR date < CAST(? AS TIMESTAMPTZ) OR id <= ?)
ORDER BY date, id"""


def cells_slice(columns: Sequence[str]) -> str:
    """Some worklogs in order of (date, id), as `cells` has them."""
    return f"SELECT {', '.join(f'{sql_text(name)} AS {name}' for name in columns)} {_SLICE}"


def typed_slice(columns: Sequence[str]) -> str:
    """Some worklogs in order of (date, id), as they are stored."""
    return f"SELECT {', '.join(columns)} {_SLICE}"


def make_copy(columns: Sequence[str]) -> str:
    """The table of a DuckDB file that is made of the store, attached as ``made``."""
    return f"CREATE TABLE made.worklogs ({sql_definitions(columns)})"


def copy_slice(columns: Sequence[str]) -> str:
    """Some worklogs, into that table."""
    return f"INSERT INTO made.worklogs {typed_slice(columns)}"


MAKE_ABOUT: Final = "CREATE TABLE made.about (name VARCHAR NOT NULL, value VARCHAR NOT NULL)"
TELL_ABOUT: Final = "INSERT INTO made.about VALUES (?, ?)"
