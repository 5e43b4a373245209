"""Worklogs in a table of PostgreSQL, brought up to date in one transaction.

Worklogs of a store are copied into a temporary table, which PostgreSQL does not log, and merged from there: rows that
differ are updated, new ones are inserted, and those that the store does not have get ``deleted_at`` (or are deleted).
The merge, and what `tracket_about` says of the table, are committed together: whatever is killed, and whenever, the
table is as it was or as it shall be, and nothing else is left behind. The table is never replaced, so its views, grants
and further columns stay.

Where ``tracket_about`` names a revision of this very store, written with the same settings, only worklogs that the
store has touched since are copied. A revision is a random name for what is in a store at that moment, given before the
table is committed. One of another store, or one that is newer than the backup which a store was restored from, is
unknown to the store: then all are copied, as with ``all_rows``, which also mends what others have changed in the table.

* A table has the columns of `tables`, typed: text, ``date``, ``timestamptz``, ``double precision``; ``custom_fields``
  and ``extra`` are ``jsonb``. ``id`` is the primary key, and ``day`` has an index. ``deleted_at`` is null of a worklog
  that exists.
* A table that this program did not create, or that is of another request, is refused. Its comment and its row in
  ``tracket_about`` say so.
* PostgreSQL holds no character U+0000 (NUL): it becomes U+FFFD, and a warning is logged. (Lone surrogates have become
  U+FFFD when they were read.)
* A transaction-level advisory lock lets one program at a time write a table.
* What libpq reads from the environment counts (PGPASSWORD, PGPASSFILE, PGSERVICE, ...). TLS is required unless the
  server is on this machine.

See https://www.postgresql.org/docs/current/libpq-connect.html and .../sql-merge.html.
"""
# ruff: noqa: S608 - what is put into the statements are quoted names, and columns of this package

from __future__ import annotations

import configparser
import contextlib
import errno
import ipaddress
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import attrs

from tracket_async.errors import StorageError, StoreError, TargetBusyError, TracketError, UsageError
from tracket_async.export import tables as sql
from tracket_async.export.store import SCHEMA_VERSION, ExportRequest, Store
from tracket_async.export.tables import read_slice, slices
from tracket_async.frames import ALL_NAMES, DAY, JSON, MOMENTS, NUMBERS, REQUIRED, load, pyarrow

_logger: Final = logging.getLogger("tracket_async")

_SCHEMES: Final = ("postgresql://", "postgres://")
_OLDEST: Final = 15
_ABOUT: Final = "tracket_about"
_DELETED: Final = "deleted_at"
_STAGE: Final = "tracket_stage"
_TOUCHED: Final = "tracket_touched"
_COMMENT: Final = "Worklogs of Tracket, written by tracket-async"
"""What the comment of every table that this program creates begins with."""

_NAME: Final = re.compile(r"(?:[^\W\d]\w*\.)?[^\W\d]\w*")
_LONGEST_NAME: Final = 63
"""Bytes of a name; PostgreSQL cuts off the rest."""
_WITH_TLS: Final = frozenset({"require", "verify-ca", "verify-full"})
_CONNECTION: Final = {"connect_timeout": "15", "keepalives_idle": "30", "keepalives_interval": "10"}
"""Seconds; so that a server that has vanished is noticed. The URL may say otherwise."""
_DRIVER_ERROR: Final = re.compile(r"(?:ERROR|FATAL|PANIC):\s+(.*)")
_ESCAPED_NUL: Final = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")

_HINTS: Final = {
    "42501": "To create the table, a role needs CREATE on the schema; to bring one of another role up to date, SELECT, "
    f"INSERT, UPDATE and DELETE on it and on {_ABOUT}; for both, TEMPORARY on the database",
    "25006": "Connect as a role, and to a server, that may write",
    "53100": "Free some space on the server's disk, then run the same again",
    "55P03": "Another session holds a lock on it: end that, then run the same again",
    "53400": "Raise that limit on the server, then run the same again",
    "3F000": "Create the schema first",
    "23505": "Two rows would be equal in the index of that name (as ids are that differ in U+0000 alone)",
    **dict.fromkeys(
        ("0A", "22", "23", "42", "54", "P0"),
        "Something that others have changed in the table (a column, a constraint, an index, a trigger) "
        "does not allow it: change that, then run the same again",
    ),
}
"""What to do, by SQLSTATE or, where that is not here, by its first two characters, its class."""

_ERRNOS: Final = {"53100": errno.ENOSPC, "53400": errno.ENOSPC, "42501": errno.EACCES, "25006": errno.EROFS}
_UNCHANGED: Final = "The table is as it was before"
_NOT_CONNECTED: Final = (
    "Check that the server runs, and the user, host, port and database of the URL. The password comes from PGPASSWORD, "
    "PGPASSFILE or PGSERVICE"
)
_AGAIN: Final = f"{_UNCHANGED}. Run the same again"
_PERHAPS_COMMITTED: Final = f"{_UNCHANGED}, or all of it is new. Run the same again"


def is_database(target: str) -> bool:
    """Return whether a target is the URL of a database, and no file."""
    return target.startswith(_SCHEMES)


def _valid_url(_table: object, _attribute: object, url: str) -> None:
    try:
        parts, options = urlsplit(url), _options(url)
        password = parts.password
    except ValueError as error:
        raise UsageError(f"this is no URL of PostgreSQL: {error}. Give postgresql://host/database") from None
    if not url.startswith(_SCHEMES):
        raise UsageError("a URL of PostgreSQL begins with postgresql://")
    if password or "password" in options or "sslpassword" in options:
        raise UsageError(
            "the URL of the database has a password, which other users of this machine could read",
            hint="Leave it out, and set PGPASSWORD, PGPASSFILE or PGSERVICE",
        )


def _valid_name(_table: object, _attribute: object, name: str) -> None:
    parts = name.split(".")
    if not _NAME.fullmatch(name) or max(len(part.encode()) for part in parts) > _LONGEST_NAME or parts[-1] == _ABOUT:
        raise UsageError(
            f"{name!r} cannot be the name of a table",
            hint=f"Give letters, digits and _, at most {_LONGEST_NAME} bytes, if need be after the schema and a dot",
        )


@attrs.frozen
class PostgresTable:
    """A table of PostgreSQL that worklogs are written to.

    Attributes:
        url: ``postgresql://user@host:port/database?option=value``, as libpq reads it, without a password.
        table: the name of the table, or ``schema.table``.
        delete_rows: delete the rows of worklogs that no longer exist. False: set their ``deleted_at``.
        all_rows: compare all rows with the store, and so mend those that others have changed. False: only the rows of
            worklogs that have changed since this store was written to the table; all, where it was not.

    Raises:
        UsageError: the URL is none, or has a password; there can be no table of that name.
    """

    url: str = attrs.field(validator=_valid_url)
    table: str = attrs.field(default="worklogs", validator=_valid_name)
    delete_rows: bool = attrs.field(default=False, kw_only=True)
    all_rows: bool = attrs.field(default=False, kw_only=True)

    def __str__(self) -> str:
        return f"the table {self.table} of {self.url}"


Target = Path | PostgresTable


def driver() -> Any:
    """Import ``adbc_driver_postgresql.dbapi``; raises as `load`."""
    return load("adbc_driver_postgresql.dbapi", extra="postgres")


# -- the connection ------------------------------------------------------------------------------------------------


def _options(url: str) -> Mapping[str, str]:
    query = parse_qs(urlsplit(url).query, keep_blank_values=True, strict_parsing=bool(urlsplit(url).query))
    return {name: values[-1] for name, values in query.items()}


def connection_url(url: str) -> str:
    """Return the URL to connect to, with TLS required where the server is not, or may not be, on this machine.

    Raises:
        UsageError: TLS is required, and the URL, the service or PGSSLMODE does not ask for it.
    """
    options = _options(url)
    service = _service(options.get("service") or os.environ.get("PGSERVICE"))
    named = [_without_port(host) for host in urlsplit(url).netloc.rpartition("@")[2].split(",") if host]
    named_hosts = {"host": ",".join(named)} if named else {}
    settings = {**_environment(), **(service or {}), **named_hosts, **options}
    hosts = [*named, *settings.get("host", "").split(","), *settings.get("hostaddr", "").split(",")]
    added = {name: value for name, value in _CONNECTION.items() if name not in settings}
    if service is None or not all(map(_is_local, hosts)):
        mode = settings.get("sslmode")
        if mode is None:
            added["sslmode"] = "require"
        elif mode not in _WITH_TLS:
            raise UsageError(
                f"sslmode={mode} would let others read along: TLS is required for a server that is not on this machine",
                hint="Use sslmode=verify-full with sslrootcert, or at least sslmode=require",
            )
    return f"{url.rstrip('?')}{'&' if options else '?'}{urlencode(added)}" if added else url


def _environment() -> dict[str, str]:
    names = {"PGHOST": "host", "PGHOSTADDR": "hostaddr", "PGSSLMODE": "sslmode", "PGCONNECT_TIMEOUT": "connect_timeout"}
    return {name: os.environ[variable] for variable, name in names.items() if os.environ.get(variable)}


def _service(name: str | None) -> Mapping[str, str] | None:
    """Return what a service of libpq sets; nothing without a name; None if its file is not found or not readable."""
    if not name:
        return {}
    parser = configparser.ConfigParser(interpolation=None, strict=False, delimiters=("=",), default_section="")
    system, own = Path(os.environ.get("PGSYSCONFDIR", "/etc")), Path.home() / ".pg_service.conf"
    with contextlib.suppress(configparser.Error, UnicodeError):
        parser.read([system / "pg_service.conf", os.environ.get("PGSERVICEFILE", own)], encoding="utf-8")
    return dict(parser[name]) if name in parser else None


def _without_port(host: str) -> str:
    return host.partition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]


def _is_local(host: str) -> bool:
    """Return whether it is the loopback interface or the folder of a socket."""
    if host.startswith(("/", "@", "%2F", "%2f")) or host in {"", "localhost"}:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Transaction:
    """One transaction: it is committed by `commit`, and by nothing else."""

    def __init__(self, target: PostgresTable) -> None:
        self._target: PostgresTable | str = target.url
        self._hint = _NOT_CONNECTED
        self._closing = threading.Lock()  # what is closed meanwhile must not be interrupted
        with self._errors("connect to"):
            self._connection: Any = driver().connect(connection_url(target.url))
        self._target, self._hint = target, _AGAIN

    def close(self) -> None:
        """Disconnect; what is not committed has not happened."""
        with self._closing, contextlib.suppress(driver().Error):
            self._connection, connection = None, self._connection
            connection.close()

    def interrupt(self) -> None:
        """End the statement that runs with an error, from another thread. Where none runs, nothing happens."""
        with self._closing, contextlib.suppress(driver().Error):
            if self._connection is not None:
                self._connection.adbc_cancel()

    def execute(self, statement: str) -> None:
        """Run one statement."""
        with self._errors("write to"), self._connection.cursor() as cursor:
            cursor.execute(statement)

    def row(self, statement: str, *values: str) -> tuple[Any, ...]:
        """Return the first row of a query's result."""
        with self._errors("read"), self._connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            found: tuple[Any, ...] = cursor.fetchone()
            return found

    def copy(self, table: Any, name: str) -> None:
        """Append an Arrow table to a temporary table."""
        with self._errors("copy to"), self._connection.cursor() as cursor:
            cursor.adbc_ingest(name, table, mode="append", temporary=True)

    def commit(self) -> None:
        """Commit all of it."""
        self._hint = _PERHAPS_COMMITTED
        with self._errors("commit to"):
            self._connection.commit()

    @contextlib.contextmanager
    def _errors(self, doing: str) -> Generator[None]:
        try:
            yield
        except driver().Error as error:
            raise translated(error, f"cannot {doing} {self._target}", self._hint) from error


def translated(error: Any, what: str, hint: str) -> TracketError:
    """Return an error of the driver as one of this package.

    Args:
        error: has ``sqlstate``, None where the server did not answer.
        what: what could not be done.
        hint: what to do where the server gives no reason that is known here.
    """
    found = _DRIVER_ERROR.search(str(error))
    said = str(error).rpartition("[libpq] ")[2].removeprefix("Failed to connect: ") or "the driver does not say why"
    text = found[1] if found else said.splitlines()[0]
    state = error.sqlstate
    known = state and (_HINTS.get(state) or _HINTS.get(state[:2]))
    if known:
        refused = StorageError(f"{what}: {text}", hint=f"{known}. {_UNCHANGED}")
        refused.errno = _ERRNOS.get(state)
        return refused
    return StorageError(f"{what}: {text}", hint=hint)


# -- the table -----------------------------------------------------------------------------------------------------


def _type(name: str) -> str:
    if name in JSON:
        return "jsonb"
    if name in MOMENTS:
        return "timestamptz"
    if name == DAY:
        return "date"
    return "double precision" if name in NUMBERS else "text"


def _quoted(*names: str) -> str:
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@attrs.frozen(kw_only=True)
class _Table:
    """The table and its columns, and the statements about it."""

    schema: str
    name: str
    columns: Sequence[str]

    @property
    def table(self) -> str:
        return _quoted(self.schema, self.name)

    @property
    def about(self) -> str:
        return _quoted(self.schema, _ABOUT)

    @property
    def create(self) -> Sequence[str]:
        columns = [f"{name} {_type(name)}{' NOT NULL' if name in REQUIRED else ''}" for name in self.columns]
        return (
            f"CREATE TABLE {self.table} ({', '.join(columns)}, {_DELETED} timestamptz)",
            f"COMMENT ON TABLE {self.table} IS {_literal(f'{_COMMENT}; see {_ABOUT}')}",
        )

    @property
    def index(self) -> Sequence[str]:
        key = f"ALTER TABLE {self.table} ADD PRIMARY KEY (id)"
        return (key, f"CREATE INDEX ON {self.table} ({DAY})") if DAY in self.columns else (key,)

    @property
    def create_about(self) -> Sequence[str]:
        columns = "table_name text PRIMARY KEY, about jsonb NOT NULL, written_at timestamptz NOT NULL"
        return (
            f"CREATE TABLE IF NOT EXISTS {self.about} ({columns})",
            f"COMMENT ON TABLE {self.about} IS {_literal(f'{_COMMENT}: what each table is an export of')}",
        )

    @property
    def create_stage(self) -> str:
        columns = ", ".join(f"{name} {'text' if name in JSON else _type(name)}" for name in self.columns)
        return f"CREATE TEMPORARY TABLE {_STAGE} ({columns}) ON COMMIT DROP"

    @property
    def merge(self) -> str:
        cells = ", ".join(f"{name}::jsonb AS {name}" if name in JSON else name for name in self.columns)
        old, new = [", ".join(f"{side}.{name}" for name in self.columns) for side in ("old", "new")]
        changes = ", ".join(f"{name} = new.{name}" for name in self.columns)
        return f"""
MERGE INTO {self.table} AS old USING (SELECT {cells} FROM pg_temp.{_STAGE}) AS new ON old.id = new.id
WHEN MATCHED AND (old.{_DELETED} IS NOT NULL OR ({old}) IS DISTINCT FROM ({new}))
    THEN UPDATE SET {changes}, {_DELETED} = NULL
WHEN NOT MATCHED THEN INSERT ({", ".join(self.columns)}) VALUES ({new})"""

    def bury(self, kept: Sequence[str], *, touched: bool, delete: bool) -> str:
        """Return the statement about rows that the stage does not have.

        Args:
            kept: ids of others, which are left as they are.
            touched: only rows whose ids are in the table of the touched ones.
            delete: delete them.
        """
        gone = f"NOT EXISTS (SELECT FROM pg_temp.{_STAGE} AS new WHERE new.id = old.id)"
        if touched:
            gone += f" AND old.id IN (SELECT id FROM pg_temp.{_TOUCHED})"
        if kept:
            gone += f" AND old.id NOT IN ({', '.join(map(_literal, kept))})"
        if delete:
            return f"DELETE FROM {self.table} AS old WHERE {gone}"
        return f"UPDATE {self.table} AS old SET {_DELETED} = now() WHERE {_DELETED} IS NULL AND {gone}"

    def tell(self, about: Mapping[str, Any]) -> str:
        """Return the statement that says in `tracket_about` what the table is."""
        values = f"{_literal(self.name)}, {_literal(json.dumps(about, sort_keys=True))}, now()"
        return f"""
INSERT INTO {self.about} (table_name, about, written_at) VALUES ({values})
ON CONFLICT (table_name) DO UPDATE SET about = excluded.about, written_at = excluded.written_at"""


_SESSION: Final = (
    "SET LOCAL standard_conforming_strings = on",  # a backslash in a literal is no escape, whatever the role's default
    "SET LOCAL search_path = pg_catalog, pg_temp",
    "SET LOCAL client_min_messages = error",
    "SET LOCAL lock_timeout = '60s'",
)
_FIND: Final = """
SELECT count(*), coalesce(bool_and(starts_with(coalesce(obj_description(c.oid, 'pg_class'), ''), $3)), true)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2"""


def write_table(
    store: Store,
    target: PostgresTable,
    columns: Sequence[str] | None = None,
    *,
    on_worklogs: Callable[[int], None],
    on_connected: Callable[[Callable[[], None]], None] | None = None,
) -> int:
    """Bring a table to what is in a store. Return how many worklogs that are.

    Args:
        store: it has all its worklogs.
        target: the table, created where there is none.
        columns: ``id`` and others; None: all, with ``extra``.
        on_worklogs: is called with a number of worklogs, from the thread that writes, each time some are copied, or
            are known to be in the table.
        on_connected: is called with a function that any thread may call, at any time: what the server does for this
            call then ends with a `StorageError`, and if it does nothing at that moment, it goes on.

    Raises:
        UsageError: the column ``id`` is missing; TLS is required.
        MissingExtraError: the driver is not installed.
        StoreError: the table is somebody else's, or of another request; the server is too old.
        TargetBusyError: another program is writing the table.
        StorageError: the server refuses, is not there, or has no room. The table is as it was.
    """
    with contextlib.closing(_Transaction(target)) as transaction:
        if on_connected is not None:
            on_connected(transaction.interrupt)
        table, before = _prepare(transaction, target, store.request, columns)
        about = _about(store, table.columns, target)
        touched = None if target.all_rows else _touched(store, before, about)
        total, staged = store.count(), _stage(transaction, table, _parts(store, table.columns, touched), on_worklogs)
        on_worklogs(total - staged)
        transaction.execute(table.merge)
        if before is not None:
            if touched is not None:
                transaction.execute(f"CREATE TEMPORARY TABLE {_TOUCHED} (id text) ON COMMIT DROP")
                transaction.copy(without_nul(touched)[0], _TOUCHED)
            kept = [row[0].replace("\0", "\ufffd") for row in store.database.rows(sql.GET_BAD_ROWS) if row[0]]
            transaction.execute(table.bury(kept, touched=touched is not None, delete=target.delete_rows))
        else:
            # Late: whoever creates the second waits for whoever is creating it.
            _run(transaction, (*table.index, *table.create_about))
        transaction.execute(table.tell({**about, "worklogs": total, "revision": store.new_revision()}))
        transaction.commit()
    return total


def check_table(target: PostgresTable, request: ExportRequest, columns: Sequence[str] | None = None) -> None:
    """Check that a table can be written, and leave no trace.

    Args:
        target: as in `write_table`.
        request: what the table is to be an export of.
        columns: as in `write_table`.

    Raises:
        UsageError, MissingExtraError, StoreError, TargetBusyError, StorageError: as `write_table`.
    """
    with contextlib.closing(_Transaction(target)) as transaction:
        transaction.execute(_prepare(transaction, target, request, columns)[0].create_stage)


def _prepare(
    transaction: _Transaction, target: PostgresTable, request: ExportRequest, columns: Sequence[str] | None
) -> tuple[_Table, Mapping[str, Any] | None]:
    """Return the table, ready to be written, and what `tracket_about` says of it; None: it is new."""
    wanted = tuple(columns or ALL_NAMES)
    if "id" not in wanted:
        raise UsageError("a table of PostgreSQL needs the column id, its primary key")
    table = _table(transaction, target, wanted)
    if _found(transaction, table):
        return table, _checked_about(transaction, table, request)
    _run(transaction, table.create)
    return table, None


def _run(transaction: _Transaction, statements: Sequence[str]) -> None:
    for statement in statements:
        transaction.execute(statement)


def _table(transaction: _Transaction, target: PostgresTable, columns: Sequence[str]) -> _Table:
    """Check the server, and return the table, locked against other programs of this kind."""
    # The driver sends UTF-8; PGCLIENTENCODING, a role or a URL may say otherwise.
    transaction.execute("SET LOCAL client_encoding = 'UTF8'")
    version, encoding, current = transaction.row(
        "SELECT current_setting('server_version'), current_setting('server_encoding'), current_schema()::text"
    )
    if int(re.split(r"\D", version)[0]) < _OLDEST:
        raise StoreError(
            f"{target.url} is PostgreSQL {version}, and MERGE needs {_OLDEST} or later", hint="Use a newer server"
        )
    if encoding != "UTF8":
        raise StoreError(f"{target.url} has the encoding {encoding}", hint="Use a database whose encoding is UTF8")
    schema, _, name = target.table.rpartition(".")
    schema = schema or current
    if schema is None:
        raise StoreError(f"{target.url} has no schema to create a table in", hint="Give --table SCHEMA.TABLE")
    # Names and operators are PostgreSQL's own, whatever others have created; notices would go to standard error.
    _run(transaction, _SESSION)
    if not transaction.row("SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))", f"tracket {schema}.{name}")[0]:
        raise TargetBusyError(
            f"another program is writing {target}",
            hint="Wait until it has ended. A program that was killed is noticed by the server after a while",
        )
    return _Table(schema=schema, name=name, columns=columns)


def _found(transaction: _Transaction, table: _Table) -> bool:
    """Return whether the table exists.

    Raises:
        StoreError: somebody else's is in its place, or nothing is known of it.
    """
    found: dict[str, bool] = {}
    for name in (table.name, _ABOUT):
        count, ours = transaction.row(_FIND, table.schema, name, _COMMENT)
        if not ours:
            raise StoreError(
                f"there is a table {table.schema}.{name} that this program did not create",
                hint=f"Give another --table. (A table of this program has a comment that begins with {_COMMENT!r})",
            )
        found[name] = bool(count)
    if found[table.name] and not found[_ABOUT]:
        raise _untold(table)
    return found[table.name]


def _untold(table: _Table) -> StoreError:
    text = f"there is no {_ABOUT} that says what the table {table.schema}.{table.name} is an export of"
    return StoreError(text, hint="Give another --table")


def _checked_about(transaction: _Transaction, table: _Table, request: ExportRequest) -> Mapping[str, Any]:
    """Return what `tracket_about` says of the table: it is of the request. Add the columns that it lacks."""
    [text] = transaction.row(f"SELECT max(about::text) FROM {table.about} WHERE table_name = $1", table.name)
    refused = f"the table {table.schema}.{table.name}"
    about: Mapping[str, Any] = json.loads(text or "{}")
    if not {"request", "columns", "revision"} <= about.keys():
        raise _untold(table)
    if differences := ExportRequest.from_json(about["request"]).differences(request):
        raise StoreError(f"{refused} is of another request: its {differences}", hint="Give another --table")
    if missing := [name for name in about["columns"] if name not in table.columns]:
        raise StoreError(
            f"{refused} has the column {missing[0]}, which would not be brought up to date",
            hint="Give the same --columns as before, or another --table",
        )
    for name in table.columns:
        if name not in about["columns"]:
            transaction.execute(f"ALTER TABLE {table.table} ADD COLUMN {name} {_type(name)}")
    return about


def _about(store: Store, columns: Sequence[str], target: PostgresTable) -> Mapping[str, Any]:
    return {
        "request": store.request.to_json(),
        "columns": list(columns),
        "schema_version": SCHEMA_VERSION,
        "tz": store.tz,
        "delete_rows": target.delete_rows,
        "as_of": store.meta("as_of"),
    }


def _touched(store: Store, before: Mapping[str, Any] | None, about: Mapping[str, Any]) -> Any | None:
    """Return the ids of the worklogs that alone can differ from their rows; None: all can."""
    if before is None or any(before.get(name) != value for name, value in about.items() if name != "as_of"):
        return None
    return store.touched_since(before["revision"])


def _parts(store: Store, columns: Sequence[str], touched: Any | None) -> Iterator[Any]:
    """Yield all worklogs, or those that are touched, as Arrow tables."""
    if touched is None:
        statement = sql.typed_slice(columns, store.tz)
        for part in slices(store.database):
            yield read_slice(store.database, statement, part)
        return
    statement = sql.typed_rows(columns, store.tz)
    for at in range(0, touched.num_rows, sql.WORKLOGS):
        with store.database.registered("given", touched.slice(at, sql.WORKLOGS)):
            yield store.database.arrow(statement)


def _stage(transaction: _Transaction, table: _Table, parts: Iterator[Any], on_worklogs: Callable[[int], None]) -> int:
    transaction.execute(table.create_stage)
    written = replaced = 0
    for part in parts:
        found, count = without_nul(part)
        transaction.copy(found, _STAGE)
        written, replaced = written + found.num_rows, replaced + count
        on_worklogs(found.num_rows)
    if replaced:
        _logger.warning(
            "PostgreSQL cannot hold the character U+0000: %s of it became U+FFFD in the table %s",
            f"{replaced:,}",
            table.name,
        )
    transaction.execute(f"ANALYZE pg_temp.{_STAGE}")
    return written


def without_nul(table: Any) -> tuple[Any, int]:
    """Return an Arrow table of worklogs with U+FFFD in place of each U+0000, and how many there were."""
    pa, compute = pyarrow(), load("pyarrow.compute", extra="export")
    replaced = 0
    for at, name in enumerate(table.column_names):
        column = table.column(at)
        if not pa.types.is_string(column.type):
            continue
        written = "\\u0000" if name in JSON else "\0"
        if not (compute.sum(compute.count_substring(column, written)).as_py() or 0):
            continue
        texts: list[str | None] = []
        for text in column.to_pylist():
            if name in JSON:
                changed, count = _ESCAPED_NUL.subn("\\1\ufffd", text)
            else:
                changed, count = text and text.replace("\0", "\ufffd"), (text or "").count("\0")
            texts.append(changed)
            replaced += count
        table = table.set_column(at, name, pa.array(texts, column.type))
    return table, replaced
