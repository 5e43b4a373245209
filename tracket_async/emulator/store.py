"""The worklogs, in one SQLite table that both versions of the API read and write.

The columns are the truth. Each row also keeps its JSON of 1.0 and of 2.0, rendered when it is written, so that a page
is an index seek and a join of bytes: benchmarks then do not measure the server.

A page is a keyset seek: the cursor is the key of the last row of the page before, and the next page begins at the
first key past it, so a walk stays exact while rows are added elsewhere and costs the same on page 1 and 1,000.
Every order ends in the unique id, which breaks ties.

Calls take well under a millisecond and are made straight from the event loop; the connection belongs to the
thread that opened it.
"""

from __future__ import annotations

import base64
import binascii
import json
import sqlite3
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, cast

from attrs import frozen

from tracket_async.emulator import v1, v2
from tracket_async.emulator.records import NEVER, Worklog

Order = Literal["date", "createdDate", "updatedDate", "unsorted"]
Key = tuple[Any, ...]

KEY_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "date": ("date", "created", "id"),
    "createdDate": ("created", "id"),
    "updatedDate": ("updated", "id"),
    # a fixed order that has nothing to do with any date: for servers that promise none
    "unsorted": ("id_hash", "id"),
}

_LARGEST: Final = (1 << 63) - 1  # of an integer in SQLite


@frozen
class Bounds:
    """A range of milliseconds, both ends inclusive, None is open. A missing date lies in open bounds only."""

    low: int | None = None
    high: int | None = None


_OPEN: Final = Bounds()


@frozen(kw_only=True)
class Filter:
    """A filter of worklogs: all three bounds must hold, and with a `user` they must be that user's."""

    date: Bounds = _OPEN
    created: Bounds = _OPEN
    updated: Bounds = _OPEN
    user: str | None = None


@frozen(kw_only=True)
class Statement:
    """SQL text and its parameters."""

    sql: str
    parameters: tuple[Any, ...]


def select_page(
    column: str, matching: Filter, order: Order, *, descending: bool, after: Key | None, limit: int
) -> Statement:
    """Return the statement that selects `column` and the key of the first `limit` rows past `after`, in `order`.

    Args:
        column: The column with the rendered worklog.
        matching: The filter.
        order: The key to sort by.
        descending: Largest key first.
        after: The key that the page before ended with; None for the first page.
        limit: Most rows to select.
    """
    keys = KEY_COLUMNS[order]
    conditions, parameters = _bounds(
        matching, walked=keys[0], skip=_bound_behind_cursor(matching, keys[0], after, descending)
    )
    if after is not None:
        conditions.append(f"({', '.join(keys)}) {'<' if descending else '>'} ({', '.join('?' * len(keys))})")
        parameters.extend(after)
    direction = " DESC" if descending else ""
    sql = (
        f"SELECT {column}, {', '.join(keys)} FROM worklogs"  # noqa: S608 -- names from the tables above
        f"{_where(conditions)} ORDER BY {', '.join(key + direction for key in keys)} LIMIT ?"
    )
    return Statement(sql=sql, parameters=(*parameters, limit))


def count_rows(matching: Filter) -> Statement:
    """Return the statement that counts the rows that match."""
    conditions, parameters = _bounds(matching, walked=None, skip=None)
    return Statement(
        sql=f"SELECT count(*) FROM worklogs{_where(conditions)}",  # noqa: S608 -- as above
        parameters=tuple(parameters),
    )


def _where(conditions: list[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _bound_behind_cursor(matching: Filter, walked: str, after: Key | None, descending: bool) -> str | None:  # noqa: FBT001
    """Return the comparison on the walked column that the cursor makes redundant, so that one start is left to seek to.

    With both, SQLite seeks to the bound and steps over every row up to the cursor, again on each page: a walk would
    cost the square of its length.
    """
    bounds: Bounds = getattr(matching, walked, _OPEN)
    if after is None:
        return None
    if descending:
        return "<=" if bounds.high is not None and after[0] <= bounds.high else None
    return ">=" if bounds.low is not None and after[0] >= bounds.low else None


def _bounds(matching: Filter, *, walked: str | None, skip: str | None) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    parameters: list[Any] = []
    if matching.user is not None:
        conditions.append("user = ?")
        parameters.append(matching.user)
    for column in ("date", "created", "updated"):
        bounds: Bounds = getattr(matching, column)
        # a unary plus keeps the planner off this column's index, whose use would sort all matches on every page
        operand = column if walked in (None, column) else f"+{column}"
        if bounds.low is None and bounds.high is not None and column != "date":
            conditions.append(f"{operand} > {NEVER}")
        for comparison, bound in ((">=", bounds.low), ("<=", bounds.high)):
            if bound is None or (column == walked and comparison == skip):
                continue
            conditions.append(f"{operand} {comparison} ?")
            parameters.append(bound)
    return conditions, parameters


def write_cursor(order: Order, *, descending: bool, key: Key) -> str:
    """Return the opaque cursor of a walk in this order that has come to `key`."""
    facts = [order, "desc" if descending else "asc", *key]
    return base64.urlsafe_b64encode(json.dumps(facts, separators=(",", ":")).encode()).decode()


def equivalent_cursor(cursor: str, spaces: int = 1) -> str:
    """Return another cursor for the same key: longer by white space that `read_cursor` ignores."""
    return base64.urlsafe_b64encode(b" " * spaces + base64.urlsafe_b64decode(cursor)).decode()


def initial_cursor(cursor: str) -> str:
    """Return a cursor before the first row, for the order that `cursor` was made for."""
    order, direction, *_, _ident = json.loads(base64.urlsafe_b64decode(cursor))
    end = _LARGEST if direction == "desc" else -_LARGEST
    numbers = [end] * (len(KEY_COLUMNS[order]) - 1)
    return write_cursor(order, descending=direction == "desc", key=(*numbers, ""))


def read_cursor(cursor: str, order: Order, *, descending: bool) -> Key:
    """Return the key inside a cursor that `write_cursor` made for the same order.

    Raises:
        ValueError: It is no cursor of this server, or was made for another order.
    """
    try:
        facts: Any = json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
    except (ValueError, RecursionError, binascii.Error):
        raise ValueError("is no cursor of this server") from None
    if not isinstance(facts, list):
        raise ValueError("is no cursor of this server")  # noqa: TRY004 -- its value is at fault
    parts = list(cast("Iterable[Any]", facts))
    made_for, key = parts[:2], parts[2:]
    if made_for != [order, "desc" if descending else "asc"] or len(key) != len(KEY_COLUMNS[order]):
        raise ValueError("is no cursor of this server, or was given for another order")
    *numbers, ident = key
    if not isinstance(ident, str) or not all(_is_key_number(number) for number in numbers):
        raise ValueError("is no cursor of this server")
    return (*numbers, ident)


def _is_key_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -_LARGEST <= value <= _LARGEST


Version = Literal["v1", "v2"]

SCHEMA_VERSION: Final = 1

_TABLES: Final = """
CREATE TABLE worklogs (
    id TEXT NOT NULL, item TEXT, user TEXT NOT NULL, description TEXT, category TEXT,
    date INTEGER NOT NULL, minutes REAL NOT NULL, billable REAL,
    created INTEGER NOT NULL, updated INTEGER NOT NULL, approval TEXT NOT NULL, approver TEXT,
    team TEXT, board TEXT, parent TEXT, project TEXT, custom TEXT NOT NULL,
    id_hash INTEGER NOT NULL, v1 BLOB NOT NULL, v2 BLOB NOT NULL
);
CREATE TABLE categories (id TEXT PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""

_INDEXES: Final = {
    "by_id": "CREATE UNIQUE INDEX by_id ON worklogs (id)",
    **{
        f"by_{columns[0]}": f"CREATE INDEX by_{columns[0]} ON worklogs ({', '.join(columns)})"
        for columns in KEY_COLUMNS.values()
    },
}

_COLUMNS: Final = ", ".join(Worklog._fields)
_INSERT: Final = f"INSERT INTO worklogs VALUES ({', '.join('?' * (len(Worklog._fields) + 3))})"  # noqa: S608
_REPLACE: Final = (
    f"UPDATE worklogs SET {', '.join(f'{name} = ?' for name in Worklog._fields)}, "  # noqa: S608
    "id_hash = ?, v1 = ?, v2 = ? WHERE id = ?"
)
_TOTALS_KEPT: Final = 4096
_EVERYTHING: Final = Filter()


class StoreError(Exception):
    """The store cannot be used: the file is not the emulator's, or of another version."""


class DuplicateIdError(Exception):
    """A worklog with that id is there already."""


class Store:
    """All worklogs and the categories.

    Args:
        path: Database file, made when it is not there; None keeps everything in memory.
        approval_shape: How 2.0 shows the approval.

    Raises:
        StoreError: The file cannot be opened, or is something else.
    """

    def __init__(self, path: Path | None = None, *, approval_shape: v2.ApprovalShape = "object") -> None:
        self._render_v2: Callable[[Worklog], bytes] = v2.renderer(approval_shape)
        self._totals: dict[Filter, int] = {}
        try:
            self._db = sqlite3.connect(":memory:" if path is None else path, isolation_level=None)
        except sqlite3.Error as error:
            raise StoreError(f"cannot open {path}: {error}") from error
        try:
            self._open(approval_shape)
        except (sqlite3.Error, StoreError) as error:
            self._db.close()
            raise StoreError(f"cannot use {path}: {error}") from error

    def close(self) -> None:
        """Close the database; calling it again does nothing."""
        self._db.close()

    @property
    def count(self) -> int:
        """Return the number of worklogs."""
        return self.total(_EVERYTHING)

    def get(self, ident: str) -> Worklog | None:
        """Return the worklog with that id, or None."""
        row = self._db.execute(
            f"SELECT {_COLUMNS} FROM worklogs WHERE id = ?",  # noqa: S608 -- names of the columns
            (ident,),
        ).fetchone()
        return None if row is None else Worklog._make(row)

    def rendered(self, version: Version, ident: str) -> bytes | None:
        """Return the worklog with that id as JSON of one version, or None."""
        row = self._db.execute(f"SELECT {version} FROM worklogs WHERE id = ?", (ident,)).fetchone()  # noqa: S608
        return None if row is None else row[0]

    def all_rendered(self, version: Version) -> Iterator[bytes]:
        """Return every worklog as JSON of one version, ordered by date, creation and id."""
        rows = self._db.execute(f"SELECT {version} FROM worklogs ORDER BY date, created, id")  # noqa: S608
        return (row[0] for row in rows)

    def page(
        self, version: Version, matching: Filter, order: Order, *, descending: bool, after: Key | None, size: int
    ) -> tuple[list[bytes], Key | None]:
        """Return one page: the rendered worklogs, and the key of the last, or None when nothing is left."""
        statement = select_page(version, matching, order, descending=descending, after=after, limit=size + 1)
        rows = self._db.execute(statement.sql, statement.parameters).fetchall()
        more = len(rows) > size
        del rows[size:]
        return [row[0] for row in rows], rows[-1][1:] if more else None

    def total(self, matching: Filter) -> int:
        """Return the number of worklogs that match; counted once for a filter, until the next write."""
        total = self._totals.get(matching)
        if total is None:
            statement = count_rows(matching)
            total = int(self._db.execute(statement.sql, statement.parameters).fetchone()[0])
            if len(self._totals) >= _TOTALS_KEPT:
                self._totals.clear()
            self._totals[matching] = total
        return total

    def insert(self, worklog: Worklog) -> None:
        """Add one worklog.

        Raises:
            DuplicateIdError: Its id is taken.
        """
        with self._changing(), _unique_ids():
            self._db.execute(_INSERT, self._row(worklog))

    def replace(self, worklog: Worklog) -> None:
        """Replace the worklog that has its id."""
        with self._changing():
            self._db.execute(_REPLACE, (*self._row(worklog), worklog.id))

    def delete(self, ident: str) -> bool:
        """Delete the worklog with that id; return False when there is none."""
        with self._changing():
            return self._db.execute("DELETE FROM worklogs WHERE id = ?", (ident,)).rowcount > 0

    def load(self, worklogs: Iterable[Worklog]) -> None:
        """Add many worklogs in one transaction: all of them or, when anything is raised, none.

        The indexes are taken away and built again afterwards, which for a large load into an empty table is
        several times faster than keeping them up to date.

        Raises:
            DuplicateIdError: An id is taken, or occurs twice.
        """
        with self._changing(), self._transaction(), _unique_ids():
            for index in _INDEXES:
                self._db.execute(f"DROP INDEX {index}")
            self._db.executemany(_INSERT, map(self._row, worklogs))
            for statement in _INDEXES.values():
                self._db.execute(statement)

    def categories(self) -> list[tuple[str, str]]:
        """Return id and name of every category, by name."""
        return self._db.execute("SELECT id, name FROM categories ORDER BY name, id").fetchall()

    def add_categories(self, categories: Iterable[tuple[str, str]]) -> None:
        """Add categories (id and name); one that is there keeps its name."""
        with self._transaction():
            self._db.executemany("INSERT OR IGNORE INTO categories VALUES (?, ?)", categories)

    def add_used_categories(self) -> None:
        """Make a category of every id that a worklog uses, named as its id, where there is none."""
        self._db.execute(
            "INSERT OR IGNORE INTO categories"
            " SELECT DISTINCT category, category FROM worklogs WHERE category IS NOT NULL"
        )

    def last_row(self) -> int:
        """Return the largest row number: it tells how far a seeded id sequence has come."""
        return int(self._db.execute("SELECT coalesce(max(rowid), 0) FROM worklogs").fetchone()[0])

    def _row(self, worklog: Worklog) -> tuple[Any, ...]:
        id_hash = zlib.crc32(worklog.id.encode())
        return (*worklog, id_hash, v1.render(worklog), self._render_v2(worklog))

    def _open(self, approval_shape: v2.ApprovalShape) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if version == SCHEMA_VERSION:
            self._show_approvals_as(approval_shape)
            return
        if version or tables:
            raise StoreError("it is no database of this emulator, or of another version of it")
        with self._transaction():
            for statement in (*filter(str.strip, _TABLES.split(";")), *_INDEXES.values()):
                self._db.execute(statement)
            self._db.execute("INSERT INTO settings VALUES ('approval_shape', ?)", (approval_shape,))
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _show_approvals_as(self, shape: v2.ApprovalShape) -> None:
        """Render every entry again if the file was written with the other shape."""
        ((written,),) = self._db.execute("SELECT value FROM settings WHERE name = 'approval_shape'").fetchall()
        if written == shape:
            return
        with self._transaction():
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM worklogs").fetchall()  # noqa: S608
            self._db.executemany(
                "UPDATE worklogs SET v2 = ? WHERE id = ?",
                ((self._render_v2(Worklog._make(row)), row[0]) for row in rows),
            )
            self._db.execute("UPDATE settings SET value = ? WHERE name = 'approval_shape'", (shape,))

    @contextmanager
    def _changing(self) -> Generator[None]:
        self._totals.clear()
        yield

    @contextmanager
    def _transaction(self) -> Generator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


@contextmanager
def _unique_ids() -> Generator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise DuplicateIdError("a worklog with that id is there already") from error
