"""The tables of a store: their columns and types, all SQL statements, and reading in order of (date, id).

* What is stored are the attributes of `Worklog`, as types of DuckDB and of Arrow. ``custom_fields`` and ``extra`` are
  JSON text with sorted keys, so that equal worklogs have equal columns. ``day`` is computed where it is read
  (`sql_day`).
* Statements are constants here; `store` says what they mean.
* A store is read slice after slice, each sorted in memory, without sorting all of it. A slice is some whole UTC days of
  together at most `WORKLOGS` worklogs; a day that has more is cut between worklogs. Slices depend on what is in the
  store and on nothing else. Ids are ordered by their code points.
"""
# ruff: noqa: S608 - what is put into the statements are the names of columns, from this package

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from operator import attrgetter
from typing import Any, Final

import attrs

from tracket_async._api.fast import Row
from tracket_async.export.database import Database, compute
from tracket_async.export.text import UTC
from tracket_async.frames import ALL_NAMES, ATTRIBUTES, DAY, MOMENTS, NUMBERS, REQUIRED

id_of: Final[Callable[[Row], str]] = attrgetter("id")
date_of: Final[Callable[[Row], dt.datetime]] = attrgetter("date")

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def unique(rows: Iterable[Row]) -> list[Row]:
    """Return each id once: of two rows of one worklog the later one, which is the newer one."""
    return list({id_of(row): row for row in rows}.values())


def sql_type(name: str) -> str:
    """Return the column's type in DuckDB: TIMESTAMPTZ, DATE, DOUBLE or VARCHAR."""
    if name in MOMENTS:
        return "TIMESTAMPTZ"
    if name == DAY:
        return "DATE"
    return "DOUBLE" if name in NUMBERS else "VARCHAR"


def sql_definitions(columns: Sequence[str]) -> str:
    """Return the columns as ``CREATE TABLE`` wants them."""
    return ", ".join(f"{name} {sql_type(name)}{' NOT NULL' if name in REQUIRED else ''}" for name in columns)


def sql_day(tz: str) -> str:
    """Return the SQL expression of the day of a worklog in a time zone, whatever the time zone of the reader is."""
    if tz == UTC:  # spelt without the time zones of the extension ICU, which a reader may not have
        return "CAST(make_timestamp(epoch_us(date)) AS DATE)"
    quoted = tz.replace("'", "''")
    # A day before the year 1, or after 9999, is that of UTC.
    return f"least(greatest(CAST(timezone('{quoted}', date) AS DATE), DATE '0001-01-01'), DATE '9999-12-31')"


def sql_cell(name: str, tz: str) -> str:
    """Return the SQL expression of a column's cell as it is typed."""
    return f"{sql_day(tz)} AS day" if name == DAY else name


def sql_text(name: str, tz: str) -> str:
    """Return the SQL expression of a column's cell in a text format: moments and days as text, the rest as it is."""
    if name == DAY:
        return f"CAST({sql_day(tz)} AS VARCHAR)"
    if name not in MOMENTS:
        return name
    return (
        f"lpad(CAST(year({name}) AS VARCHAR), 4, '0') || strftime({name}, CASE WHEN microsecond({name}) % 1000 = 0 "
        f"THEN '-%m-%dT%H:%M:%S.%gZ' ELSE '-%m-%dT%H:%M:%S.%fZ' END)"
    )


COLUMNS: Final = ", ".join(ATTRIBUTES)
_LATEST: Final = "updated_date DESC NULLS LAST, batch DESC, rowid DESC"


def view(tz: str, *, deduplicated: bool) -> str:
    """Return the statement that creates the view ``worklogs``: one row for each worklog, with its day."""
    cells = ", ".join(sql_cell(name, tz) for name in ALL_NAMES)
    latest = "" if deduplicated else f" QUALIFY row_number() OVER (PARTITION BY id ORDER BY {_LATEST}) = 1"
    return f"CREATE OR REPLACE VIEW main.worklogs AS SELECT {cells} FROM tracket.rows{latest}"


TABLES: Final = {
    "meta": "name VARCHAR NOT NULL, value VARCHAR NOT NULL",
    "partitions": "id INTEGER NOT NULL, state VARCHAR NOT NULL",
    "rows": f"{sql_definitions(ATTRIBUTES)}, batch INTEGER NOT NULL",
    "tombstones": f"{sql_definitions(ATTRIBUTES)}, found TIMESTAMPTZ",
    "changes": f"number BIGINT NOT NULL, kind VARCHAR NOT NULL, {sql_definitions(ATTRIBUTES)}",
    "touched": "revision VARCHAR NOT NULL, id VARCHAR NOT NULL",
    "bad_rows": "key VARCHAR NOT NULL, id VARCHAR, path VARCHAR NOT NULL, reason VARCHAR NOT NULL, "
    '"row" VARCHAR NOT NULL',
}
CREATE: Final = (
    "CREATE SCHEMA tracket",
    *(f"CREATE TABLE tracket.{name} ({columns})" for name, columns in TABLES.items()),
    view(UTC, deduplicated=False),
)

GET_META: Final = "SELECT value FROM tracket.meta WHERE name = ?"
DELETE_META: Final = "DELETE FROM tracket.meta WHERE name = ?"
INSERT_META: Final = "INSERT INTO tracket.meta VALUES (?, ?)"

GET_PARTITIONS: Final = "SELECT state FROM tracket.partitions ORDER BY id"
DELETE_PARTITIONS: Final = "DELETE FROM tracket.partitions WHERE id IN (SELECT unnest(?))"
INSERT_PARTITIONS: Final = "INSERT INTO tracket.partitions SELECT unnest(?), unnest(?)"
DELETE_ALL_PARTITIONS: Final = "DELETE FROM tracket.partitions"

APPEND: Final = f"INSERT INTO tracket.rows SELECT {COLUMNS}, ? FROM given"
DELETE_AHEAD: Final = "DELETE FROM tracket.rows WHERE batch > ?"
# Sorted, because DuckDB before 2.0 cannot group a million of them in the memory that it is given.
_HASHES: Final = "SELECT h, lag(h) OVER (ORDER BY h) AS before FROM (SELECT hash(id) AS h FROM tracket.rows)"
COUNT_DISTINCT: Final = f"SELECT count(*) FROM ({_HASHES}) WHERE h IS DISTINCT FROM before"
COUNT: Final = "SELECT count(*) FROM tracket.rows"

DEDUPLICATE: Final = f"""
DELETE FROM tracket.rows WHERE rowid IN (
    SELECT rowid FROM (
        SELECT rowid, row_number() OVER (PARTITION BY id ORDER BY {_LATEST}) AS place FROM tracket.rows
        WHERE hash(id) IN (SELECT h FROM ({_HASHES}) WHERE h = before)
    ) WHERE place > 1
)"""

CREATE_INCOMING: Final = f"""
CREATE OR REPLACE TEMP TABLE incoming AS
SELECT new.*, old.id IS NOT NULL AS known,
    old.id IS NULL OR {" OR ".join(f"old.{name} IS DISTINCT FROM new.{name}" for name in ATTRIBUTES)} AS differs
FROM given new LEFT JOIN tracket.rows old ON old.id = new.id"""
COUNT_INCOMING: Final = "SELECT count(*), count_if(differs), count_if(known AND differs) FROM incoming"
DELETE_TOMBSTONES: Final = "DELETE FROM tracket.tombstones WHERE id IN (SELECT id FROM incoming)"
DELETE_OUTDATED: Final = "DELETE FROM tracket.rows WHERE id IN (SELECT id FROM incoming WHERE known AND differs)"
INSERT_INCOMING: Final = f"INSERT INTO tracket.rows SELECT {COLUMNS}, 0 FROM incoming WHERE differs ORDER BY date, id"
DROP_INCOMING: Final = "DROP TABLE incoming"

INSERT_TOMBSTONES: Final = f"""
INSERT INTO tracket.tombstones SELECT {COLUMNS}, CAST(? AS TIMESTAMPTZ) FROM tracket.rows
WHERE id IN (SELECT unnest(?))"""
DELETE: Final = "DELETE FROM tracket.rows WHERE id IN (SELECT unnest(?))"
COUNT_TOMBSTONES: Final = "SELECT count(*) FROM tracket.tombstones"

_NEXT_CHANGE: Final = "(SELECT coalesce(max(number), 0) FROM tracket.changes) + row_number()"
RECORD_INCOMING: Final = f"""
INSERT INTO tracket.changes
SELECT {_NEXT_CHANGE} OVER (ORDER BY coalesce(updated_date, created_date), id),
    if(known, 'updated', 'created'), {COLUMNS}
FROM incoming WHERE differs"""
RECORD_ROWS: Final = f"""
INSERT INTO tracket.changes SELECT {_NEXT_CHANGE} OVER (ORDER BY date, id), ?, {COLUMNS} FROM tracket.rows
WHERE id IN (SELECT unnest(?))"""
COUNT_CHANGES: Final = "SELECT count(*) FROM tracket.changes"
DELETE_CHANGES: Final = "DELETE FROM tracket.changes WHERE number <= ?"

_TOUCHED_BEFORE: Final = "id NOT IN (SELECT id FROM tracket.touched WHERE revision = ?)"
TOUCH: Final = f"""
INSERT INTO tracket.touched SELECT DISTINCT ?, id FROM (SELECT unnest(?) AS id) WHERE {_TOUCHED_BEFORE}"""
TOUCH_INCOMING: Final = f"INSERT INTO tracket.touched SELECT ?, id FROM incoming WHERE differs AND {_TOUCHED_BEFORE}"
GET_TOUCHED: Final = "SELECT DISTINCT id FROM tracket.touched WHERE revision IN (SELECT unnest(?))"
FORGET_TOUCHED: Final = "DELETE FROM tracket.touched WHERE revision NOT IN (SELECT unnest(?))"

GET_BAD_ROWS: Final = 'SELECT id, path, reason, "row" FROM tracket.bad_rows ORDER BY key'
COUNT_BAD_ROWS: Final = "SELECT count(*) FROM tracket.bad_rows"
DELETE_BAD_ROWS: Final = "DELETE FROM tracket.bad_rows WHERE key IN (SELECT unnest(?))"
DELETE_GOOD_BAD_ROWS: Final = "DELETE FROM tracket.bad_rows WHERE id IN (SELECT id FROM tracket.rows)"
DELETE_INCOMING_BAD_ROWS: Final = "DELETE FROM tracket.bad_rows WHERE id IN (SELECT id FROM incoming)"
INSERT_BAD_ROWS: Final = "INSERT INTO tracket.bad_rows SELECT unnest(?), unnest(?), unnest(?), unnest(?), unnest(?)"
GET_OTHER_BAD_ROWS: Final = "SELECT key, id FROM tracket.bad_rows WHERE key NOT IN (SELECT unnest(?)) ORDER BY key"

_BETWEEN: Final = "date BETWEEN CAST(? AS TIMESTAMPTZ) AND CAST(? AS TIMESTAMPTZ)"
CREATE_MARKED: Final = "CREATE OR REPLACE TEMP TABLE marked (id VARCHAR NOT NULL)"
INSERT_MARKED: Final = "INSERT INTO marked SELECT id FROM given"
GET_UNMARKED: Final = (
    f"SELECT id FROM tracket.rows WHERE {_BETWEEN} AND id NOT IN (SELECT id FROM marked) ORDER BY date, id"
)

_USER: Final = "coalesce(user_id, '')"
COUNT_UNSEEN_USERS: Final = f"""
SELECT user_id, count(*) FROM tracket.rows WHERE id IN (SELECT unnest(?)) AND {_USER} NOT IN (
    SELECT {_USER} FROM tracket.rows WHERE id IN (SELECT id FROM marked)
) GROUP BY user_id ORDER BY user_id"""
GET_OTHERS_OF: Final = """
SELECT id FROM tracket.rows WHERE user_id IS NOT DISTINCT FROM ? AND id NOT IN (SELECT unnest(?))
ORDER BY date DESC, id LIMIT ?"""

BY_DAY: Final = "SELECT CAST(date AS DATE) AS day, count(*) FROM tracket.rows GROUP BY day ORDER BY day"
# The rows of a slice are looked for in the commits that brought them, which are neighbours in the table,
# and among those that `INSERT_INCOMING` added, which have the number 0. Of all others DuckDB reads nothing.
_LOOKED_AT: Final = f"""(
    SELECT * FROM tracket.rows WHERE batch BETWEEN ? AND ? AND {_BETWEEN}
    UNION ALL SELECT * FROM tracket.rows WHERE batch = 0 AND {_BETWEEN}
)"""
BY_DAY_AND_BATCH: Final = """
SELECT CAST(date AS DATE) AS day, count(*), min(nullif(batch, 0)), max(nullif(batch, 0))
FROM tracket.rows GROUP BY day ORDER BY day"""
# Moments as microseconds: DuckDB hands over none in a time zone without a library that it does not bring along.
EVERY_NTH: Final = f"""
SELECT epoch_us(date), id FROM (
    SELECT date, id, row_number() OVER (ORDER BY date, id) AS place FROM {_LOOKED_AT}
) WHERE place % ? = 0 ORDER BY place"""
_SLICE: Final = f"""
FROM {_LOOKED_AT}
WHERE (CAST(? AS VARCHAR) IS NULL OR date > CAST(? AS TIMESTAMPTZ) OR id > ?)
    AND (CAST(? AS VARCHAR) IS NULL OR date < CAST(? AS TIMESTAMPTZ) OR id <= ?)"""
_ORDER: Final = ("date of the order", "id of the order")


def cells_slice(columns: Sequence[str], tz: str) -> str:
    """Return the query of a slice for `read_slice`, its cells as in a text format."""
    return _slice_query([f"{sql_text(name, tz)} AS {name}" for name in columns])


def typed_slice(columns: Sequence[str], tz: str) -> str:
    """Return the query of a slice for `read_slice`, its cells as they are stored."""
    return _slice_query([sql_cell(name, tz) for name in columns])


def _slice_query(cells: Sequence[str]) -> str:
    date, id_ = _ORDER
    return f'SELECT {", ".join(cells)}, date AS "{date}", id AS "{id_}" {_SLICE}'


def typed_rows(columns: Sequence[str], tz: str) -> str:
    """Return the query of the worklogs whose ids are in ``given``, their cells as they are stored, in no order."""
    cells = ", ".join(sql_cell(name, tz) for name in columns)
    return f"SELECT {cells} FROM tracket.rows WHERE id IN (SELECT id FROM given)"


def get_changes(columns: Sequence[str], tz: str) -> str:
    """Return the query of the first changes that are recorded: number, kind, and the cells as in a text format."""
    cells = ", ".join(f"{sql_text(name, tz)} AS {name}" for name in columns)
    return f"SELECT number, kind, {cells} FROM tracket.changes ORDER BY number LIMIT ?"


def longer_than(name: str) -> str:
    """Return the query of the first id whose text in a column is longer than its question marks, and the length.

    Lengths are UTF-16 code units: two for a character beyond U+FFFF.
    """
    beyond = rf"length(regexp_replace({name}, '[^\x{{10000}}-\x{{10FFFF}}]', '', 'g'))"
    return f"""
SELECT id, units FROM (SELECT id, date, length({name}) + {beyond} AS units FROM tracket.rows WHERE strlen({name}) > ?)
WHERE units > ? ORDER BY date, id LIMIT 1"""


def create_copy(columns: Sequence[str]) -> str:
    """Return the statement that creates the table of a DuckDB file, attached as ``made``."""
    return f"CREATE TABLE made.worklogs ({sql_definitions(columns)})"


def copy_slice(columns: Sequence[str], tz: str) -> str:
    """Return the statement that copies a slice into that table."""
    cells = ", ".join(sql_cell(name, tz) for name in columns)
    return f"INSERT INTO made.worklogs SELECT {cells} {_SLICE} ORDER BY date, id"


CREATE_ABOUT: Final = "CREATE TABLE made.about (name VARCHAR NOT NULL, value VARCHAR NOT NULL)"
INSERT_ABOUT: Final = "INSERT INTO made.about VALUES (?, ?)"


WORKLOGS: Final = 50_000
"""No slice has more worklogs."""


@attrs.frozen
class Edge:
    """A bound of a slice: a moment, as text for DuckDB, and an id of that moment; None: all of them."""

    moment: str
    id: str | None = None


@attrs.frozen
class Slice:
    """The worklogs after one edge, up to and including the other.

    Attributes:
        after, up_to: the edges.
        batches: the numbers of the first and the last commit that brought some of them.
    """

    after: Edge
    up_to: Edge
    batches: tuple[int, int]

    @property
    def values(self) -> Sequence[str | int | None]:
        """Return the values for the question marks of a slice's statement."""
        after, up_to = self.after, self.up_to
        return (
            *_looked_at(self.batches, after.moment, up_to.moment),
            *(after.id, after.moment, after.id),
            *(up_to.id, up_to.moment, up_to.id),
        )


def _looked_at(batches: tuple[int, int], first: str, last: str) -> Sequence[str | int]:
    return (*batches, first, last, first, last)


def bounds(since: dt.date, until: dt.date) -> tuple[str, str]:
    """Return the first and the last moment of some UTC days, as text for DuckDB."""
    return f"{since.isoformat()} 00:00:00+00", f"{until.isoformat()} 23:59:59.999999+00"


@attrs.frozen(kw_only=True)
class Days:
    """Neighbouring UTC days.

    Attributes:
        first, last: the days.
        worklogs: how many they have.
        batches: the numbers of the first and the last commit that brought some; ``NO_BATCHES`` where none did.
    """

    first: dt.date
    last: dt.date
    worklogs: int
    batches: tuple[int, int]

    def __add__(self, later: Days) -> Days:
        (first, last), (other_first, other_last) = self.batches, later.batches
        return Days(
            first=self.first,
            last=later.last,
            worklogs=self.worklogs + later.worklogs,
            batches=(min(first, other_first), max(last, other_last)),
        )


NO_BATCHES: Final = (2**31 - 1, 0)


def days_together(days: Iterable[Days], most: int) -> Iterator[Days]:
    """Yield neighbouring days together, of at most ``most`` worklogs, or one day."""
    group: Days | None = None
    for day in days:
        if group is not None and group.worklogs + day.worklogs <= most:
            group += day
            continue
        if group is not None:
            yield group
        group = day
    if group is not None:
        yield group


def slices(database: Database, most: int | None = None) -> Iterator[Slice]:
    """Yield the slices of a deduplicated store, in order; together they are all of it. ``most``: None is `WORKLOGS`."""
    most = most or WORKLOGS
    days = [
        Days(first=day, last=day, worklogs=count, batches=NO_BATCHES if first is None else (first, last))
        for day, count, first, last in database.rows(BY_DAY_AND_BATCH)
    ]
    for group in days_together(days, most):
        first, last = bounds(group.first, group.last)
        cuts: list[Edge] = []
        if group.worklogs > most:
            keys = database.rows(EVERY_NTH, [*_looked_at(group.batches, first, last), most])
            cuts = [Edge(str(_EPOCH + dt.timedelta(microseconds=moment)), id_) for moment, id_ in keys]
        for after, up_to in pairwise([Edge(first), *cuts, Edge(last)]):
            yield Slice(after, up_to, group.batches)


def read_slice(database: Database, statement: str, part: Slice) -> Any:
    """Return what the statement (`cells_slice` or `typed_slice`) finds of a slice, as an Arrow table in order.

    Arrow sorts it, in less than half of the time that DuckDB takes.
    """
    found = database.arrow(statement, part.values)
    places = compute().sort_indices(found, sort_keys=[(name, "ascending") for name in _ORDER])
    return found.drop_columns([*_ORDER]).take(places)
