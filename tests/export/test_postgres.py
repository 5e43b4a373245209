"""Worklogs in a table of PostgreSQL: what is in it, what stays, and who is refused."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import errno
import json
import logging
import sys
import time

import attrs
import pytest

from tracket_async.cli import main
from tracket_async.errors import (
    MissingExtraError,
    StorageError,
    StoreError,
    TargetBusyError,
    UsageError,
)
from tracket_async.export import postgres as module
from tracket_async.export import tables
from tracket_async.export.formats import FileOptions
from tracket_async.export.postgres import (
    PostgresTable,
    check_table,
    connection_url,
    translated,
    without_nul,
    write_table,
)
from tracket_async.export.run import export_to_files, export_to_store, request_of, write_files
from tracket_async.export.writers import write_file
from tracket_async.frames import ALL_NAMES
from tracket_async.models import WorklogFilter


def write(store, postgres, columns=None, on_worklogs=None, **options):
    target = PostgresTable(postgres.url, **options)
    return write_file(store, target, "postgres", FileOptions(columns=columns), on_worklogs=on_worklogs)


def ids_in(postgres, where="true"):
    return [id_ for (id_,) in postgres.rows(f"SELECT id FROM worklogs WHERE {where} ORDER BY id")]


# -- what is in a table --------------------------------------------------------------------------------------------


def test_a_table_has_every_field_of_every_worklog(postgres, deduplicated, make_worklog, monkeypatch):
    monkeypatch.setattr(tables, "WORKLOGS", 7)
    odd = [
        make_worklog(
            100,
            custom_fields={"a": [1, {"b": None}], "Ä": "\\u0000"},
            extra={"new": 1.5},
            description="ünï 'q' \"x\" \\ \n🎉",
        ),
        make_worklog(101, date=dt.datetime(1, 1, 1, tzinfo=dt.UTC), minutes=0.1, billable_minutes=1e300),
        make_worklog(102, date=dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC), description=""),
    ]
    told = []
    store = deduplicated([*range(30), *odd])
    assert write(store, postgres, on_worklogs=told.append) == 33 == sum(told)
    assert len(told) > 3
    expected = store.database.arrow("SELECT * EXCLUDE day, CAST(day AS VARCHAR) AS day FROM worklogs").to_pylist()
    moments = [
        f"(extract(epoch FROM {name}) * 1000000)::int8 AS {name}" for name in ("date", "created_date", "updated_date")
    ]
    rest = [name for name in ALL_NAMES if name not in {"date", "created_date", "updated_date", "day"}]
    names = (*rest, "date", "created_date", "updated_date", "day")
    found = {
        row[0]: dict(zip(names, row, strict=True))
        for row in postgres.rows(
            f"SELECT {', '.join(f'{n}::text' if n in ('custom_fields', 'extra') else n for n in rest)},"
            f" {', '.join(moments)}, day::text FROM worklogs WHERE deleted_at IS NULL"
        )
    }
    assert len(found) == len(expected) == 33
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    for row in expected:
        other = found[row["id"]]
        for name in ("date", "created_date", "updated_date"):
            moment = row[name]
            row[name] = None if moment is None else (moment - epoch) // dt.timedelta(microseconds=1)
        for name in ("custom_fields", "extra"):
            row[name], other[name] = json.loads(row[name]), json.loads(other[name])
        assert other == row


def test_the_columns_have_types_a_key_and_an_index(postgres, deduplicated):
    write(deduplicated([1]), postgres)
    types = dict(
        postgres.rows(
            "SELECT column_name::text, data_type::text FROM information_schema.columns"
            f" WHERE table_schema = '{postgres.name}' AND table_name = 'worklogs'"
        )
    )
    assert set(types) == {*ALL_NAMES, "deleted_at"}
    assert {name: types[name] for name in ("id", "day", "date", "minutes", "custom_fields", "extra", "deleted_at")} == {
        "id": "text", "day": "date", "date": "timestamp with time zone", "minutes": "double precision",
        "custom_fields": "jsonb", "extra": "jsonb", "deleted_at": "timestamp with time zone",
    }  # fmt: skip
    indexes = [
        text for (text,) in postgres.rows(f"SELECT indexdef FROM pg_indexes WHERE schemaname = '{postgres.name}'")
    ]
    assert any("(day)" in text for text in indexes)
    assert any("UNIQUE" in text and "worklogs" in text and "(id)" in text for text in indexes)


def test_only_rows_that_differ_are_written(postgres, deduplicated, make_worklog, batch_of):
    store = deduplicated(range(20))
    write(store, postgres)
    before = dict(postgres.rows("SELECT id, xmin::text FROM worklogs"))
    store.upsert(
        batch_of([make_worklog(3, description=None), make_worklog(4, custom_fields={"a": 2}), make_worklog(20)])
    )
    assert write(store, postgres) == 21
    after = dict(postgres.rows("SELECT id, xmin::text FROM worklogs"))
    assert {id_ for id_ in after if after[id_] != before.get(id_)} == {"wl-00003", "wl-00004", "wl-00020"}
    assert ids_in(postgres, "description IS NULL OR custom_fields = '{\"a\": 2}'") == ["wl-00003", "wl-00004"]


def test_a_worklog_that_is_gone_gets_deleted_at_until_it_is_back(postgres, deduplicated, make_worklog, batch_of):
    store = deduplicated(range(5))
    write(store, postgres)
    store.upsert(None, leaving=["wl-00002"])
    write(store, postgres)
    first = postgres.rows("SELECT id, deleted_at::text FROM worklogs WHERE deleted_at IS NOT NULL")
    write(store, postgres)
    assert postgres.rows("SELECT id, deleted_at::text FROM worklogs WHERE deleted_at IS NOT NULL") == first
    assert [id_ for id_, _ in first] == ["wl-00002"]
    store.upsert(batch_of([make_worklog(2)]))
    write(store, postgres)
    assert ids_in(postgres, "deleted_at IS NULL") == ids_in(postgres)
    assert len(ids_in(postgres)) == 5


def test_a_worklog_that_is_gone_is_deleted_when_rows_are_to_be(postgres, deduplicated):
    store = deduplicated(range(5))
    write(store, postgres)
    store.upsert(None, leaving=["wl-00002"])
    write(store, postgres, delete_rows=True)
    assert ids_in(postgres) == ["wl-00000", "wl-00001", "wl-00003", "wl-00004"]


def test_a_worklog_that_cannot_be_read_is_not_taken_for_deleted(postgres, deduplicated):
    store = deduplicated(range(3))
    write(store, postgres)
    store.database.execute("INSERT INTO tracket.bad_rows VALUES ('k', 'wl-00001', 'minutes', 'no number', '{}')")
    store.database.execute("INSERT INTO tracket.bad_rows VALUES ('l', NULL, 'id', 'no id', '{}')")
    store.upsert(None, leaving=["wl-00001", "wl-00002"])
    write(store, postgres)
    assert ids_in(postgres, "deleted_at IS NULL") == ["wl-00000", "wl-00001"]


def test_text_is_whole_whatever_the_encoding_of_the_session(postgres, deduplicated, make_worklog):
    url = postgres.with_options("-cclient_encoding=LATIN1")
    store = deduplicated([make_worklog(1, description="é 日本 \U0001f680")])
    write_table(store, PostgresTable(url), on_worklogs=lambda _: None)
    assert postgres.rows("SELECT description FROM worklogs") == [("é 日本 \U0001f680",)]


def test_a_backslash_is_no_escape_whatever_the_default_of_the_role(postgres, deduplicated):
    store, id_ = deduplicated(range(3)), "\\'); DROP TABLE worklogs; --"
    write(store, postgres)
    bad_row = "INSERT INTO tracket.bad_rows VALUES (?, ?, 'minutes', 'no number', '{}')"
    store.database.execute(bad_row, ["k", id_])
    store.upsert(None, leaving=["wl-00001"])
    url = postgres.with_options("-cstandard_conforming_strings=off")
    write_table(store, PostgresTable(url), on_worklogs=lambda _: None)
    assert ids_in(postgres, "deleted_at IS NULL") == ["wl-00000", "wl-00002"]


def test_a_nul_becomes_a_replacement_character_and_is_counted(postgres, deduplicated, make_worklog, caplog):
    odd = {"k\0": "\0\0", "kept": "\\u0000", "both": "\\\0"}
    store = deduplicated([make_worklog(1, description="a\0b\0", custom_fields=odd), make_worklog(2, description=None)])
    with caplog.at_level(logging.WARNING, logger="tracket_async"):
        write(store, postgres)
    [(description, fields)] = postgres.rows(
        "SELECT description, custom_fields::text FROM worklogs WHERE id = 'wl-00001'"
    )
    assert description == "a\ufffdb\ufffd"
    assert json.loads(fields) == {"k\ufffd": "\ufffd\ufffd", "kept": "\\u0000", "both": "\\\ufffd"}
    assert "6 of it became U+FFFD" in caplog.text


def test_text_that_only_looks_like_a_nul_stays():
    import pyarrow as pa

    table = pa.table({"custom_fields": ['{"a":"\\\\u0000"}'], "minutes": [1.0]})
    found, count = without_nul(table)
    assert (found.to_pylist(), count) == (table.to_pylist(), 0)


def test_views_grants_and_further_columns_stay(postgres, deduplicated, make_worklog, batch_of):
    store = deduplicated(range(3))
    write(store, postgres)
    postgres.execute(
        "CREATE VIEW hours AS SELECT sum(minutes) / 60 AS hours FROM worklogs WHERE deleted_at IS NULL",
        "GRANT SELECT ON worklogs TO PUBLIC",
        "ALTER TABLE worklogs ADD COLUMN note text",
        "UPDATE worklogs SET note = 'mine'",
    )
    store.upsert(batch_of([make_worklog(1, minutes=120.0)]))
    write(store, postgres)
    assert postgres.rows("SELECT hours FROM hours") == [((0 + 120 + 2) / 60,)]
    assert postgres.rows("SELECT count(*) FROM worklogs WHERE note = 'mine'") == [(3,)]
    grants = postgres.rows(
        "SELECT count(*) FROM information_schema.role_table_grants WHERE grantee = 'PUBLIC'"
        f" AND table_schema = '{postgres.name}' AND table_name = 'worklogs'"
    )
    assert grants == [(1,)]


def test_an_empty_store_makes_an_empty_table(postgres, deduplicated):
    assert write(deduplicated([]), postgres) == 0
    assert ids_in(postgres) == []


# -- which table ---------------------------------------------------------------------------------------------------


def test_a_table_may_have_a_name_a_schema_and_few_columns(postgres, deduplicated):
    write(deduplicated([1]), postgres, ["minutes", "id"], table=f"{postgres.name}.Stunden")
    assert postgres.rows('SELECT minutes, id, deleted_at FROM "Stunden"') == [(1.0, "wl-00001", None)]
    [(name, about)] = postgres.rows("SELECT table_name, about::text FROM tracket_about")
    assert name == "Stunden"
    about = json.loads(about)
    assert (about["columns"], about["worklogs"], about["request"]["account"]) == (["minutes", "id"], 1, "7")


def test_columns_are_added_and_never_left_behind(postgres, deduplicated):
    store = deduplicated([1])
    write(store, postgres, ["id", "minutes"])
    write(store, postgres, ["id", "minutes", "user_id", "extra"])
    assert postgres.rows("SELECT id, minutes, user_id, extra::text FROM worklogs") == [("wl-00001", 1.0, "u-1", "{}")]
    with pytest.raises(StoreError, match="has the column user_id"):
        write(store, postgres, ["id", "minutes"])
    with pytest.raises(UsageError, match="column id"):
        write(store, postgres, ["minutes"])


@pytest.mark.parametrize("name", ["worklogs", "tracket_about"])
@pytest.mark.parametrize("kind", ["TABLE", "VIEW"])
def test_the_table_of_somebody_else_is_refused(postgres, deduplicated, name, kind):
    postgres.execute(f"CREATE {kind} {name} {'(id text)' if kind == 'TABLE' else 'AS SELECT 1 AS id'}")
    with pytest.raises(StoreError, match=f"{name} that this program did not create"):
        write(deduplicated([1]), postgres)
    others = postgres.rows(f"SELECT relname::text FROM pg_class WHERE relnamespace = '{postgres.name}'::regnamespace")
    assert others == [(name,)]


def test_a_table_of_another_request_or_of_none_is_refused(postgres, deduplicated, tmp_path, request_2024):
    write(deduplicated([1]), postgres)
    other = attrs.evolve(request_2024, filter=WorklogFilter(since=dt.date(2025, 1, 1)))
    with pytest.raises(StoreError, match="another request: its since is 2024-01-01"):
        check_table(PostgresTable(postgres.url), other)
    check_table(PostgresTable(postgres.url), request_2024)
    for statement in ("UPDATE tracket_about SET about = '{}'", "DELETE FROM tracket_about", "DROP TABLE tracket_about"):
        postgres.execute(statement)
        with pytest.raises(StoreError, match="no tracket_about that says"):
            check_table(PostgresTable(postgres.url), request_2024)


def test_a_check_leaves_no_trace(postgres, request_2024):
    check_table(PostgresTable(postgres.url), request_2024)
    assert postgres.rows(f"SELECT FROM pg_tables WHERE schemaname = '{postgres.name}'") == []


# -- failures ------------------------------------------------------------------------------------------------------


def test_of_two_writers_at_once_the_second_is_refused(postgres, deduplicated, request_2024):
    refused = []

    def second(_):
        with pytest.raises(TargetBusyError, match="another program is writing the table") as caught:
            check_table(PostgresTable(postgres.url), request_2024)
        refused.append(caught.value)
        check_table(PostgresTable(postgres.url, "another"), request_2024)

    write(deduplicated([1]), postgres, on_worklogs=second)
    assert refused
    assert ids_in(postgres) == ["wl-00001"]


def test_a_connection_that_is_lost_leaves_the_table_as_it_was(postgres, deduplicated, make_worklog, batch_of):
    store = deduplicated(range(3))
    write(store, postgres)
    store.upsert(batch_of([make_worklog(9)]))

    with pytest.raises(StorageError, match=r"The table is as it was before\. Run the same again"):
        write(store, postgres, on_worklogs=lambda _: cut(postgres))
    assert len(ids_in(postgres)) == 3
    write(store, postgres)
    assert len(ids_in(postgres)) == 4


def test_a_writer_that_is_stopped_leaves_the_table_as_it_was(postgres, deduplicated):
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(deduplicated([1]), postgres, on_worklogs=stop)
    assert postgres.rows(f"SELECT FROM pg_tables WHERE schemaname = '{postgres.name}'") == []


def locks_of(postgres):
    """The advisory locks on the table, each held by a writer."""
    key = f"hashtextextended('tracket {postgres.name}.worklogs', 0) & x'FFFFFFFF'::int8"
    return postgres.rows(f"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = {key}")


def wait_until_it_waits(postgres):
    oid = f"'{postgres.name}.worklogs'::regclass"
    while not postgres.rows(f"SELECT FROM pg_locks WHERE NOT granted AND relation = {oid}"):
        time.sleep(0.02)


async def test_a_cancellation_ends_what_the_server_does(on_2, stored, postgres):
    async with on_2(sample=20) as (_, client):
        with stored(client) as store:
            await export_to_store(client, store)
            await write_files(client, store, {postgres.url: "postgres"})
            store.upsert(None, leaving=ids_in(postgres)[:3])
            with holding(postgres) as others:
                task = asyncio.create_task(write_files(client, store, {postgres.url: "postgres"}))
                await asyncio.to_thread(wait_until_it_waits, postgres)
                task.cancel()
                async with asyncio.timeout(20):  # without being interrupted, it would wait for 60 seconds
                    await asyncio.wait([task])
                assert task.cancelled()
                others.rollback()
            assert locks_of(postgres) == []
            assert ids_in(postgres, "deleted_at IS NOT NULL") == []
            await write_files(client, store, {postgres.url: "postgres"})
            assert len(ids_in(postgres, "deleted_at IS NOT NULL")) == 3


@contextlib.contextmanager
def holding(postgres):
    """Another session that lets nobody write the table; yields its connection."""
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(postgres.url) as connection:
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE worklogs IN SHARE MODE")
        yield connection


def test_what_has_ended_is_not_interrupted(postgres, deduplicated):
    interrupts = []
    target = PostgresTable(postgres.url)
    write_table(deduplicated([1]), target, on_worklogs=lambda _: None, on_connected=interrupts.append)
    [interrupt] = interrupts
    interrupt()
    assert ids_in(postgres) == ["wl-00001"]


def test_a_server_without_room_is_told_and_the_table_is_as_it_was(postgres, deduplicated, make_worklog, batch_of):
    store = deduplicated(range(10))
    write(store, postgres)
    store.upsert(batch_of([make_worklog(number, description="x" * 500) for number in range(3000)]))
    postgres.url = postgres.with_options("-cwork_mem=64kB", "-ctemp_file_limit=1", "-cenable_nestloop=off")
    with pytest.raises(StorageError, match=r"temp_file_limit.*Raise that limit") as caught:
        write(store, postgres)
    assert caught.value.errno == errno.ENOSPC
    assert len(ids_in(postgres)) == 10


def test_a_session_that_may_only_read_is_told(postgres, request_2024):
    postgres.url = postgres.with_options("-cdefault_transaction_read_only=on")
    with pytest.raises(StorageError, match=r"read-only transaction.*may write") as caught:
        check_table(PostgresTable(postgres.url), request_2024)
    assert caught.value.errno == errno.EROFS


def test_a_role_that_may_only_read_is_told(postgres, deduplicated, request_2024):
    write(deduplicated([1]), postgres)
    postgres.execute(
        f"CREATE ROLE {postgres.name}_reader",
        f"GRANT USAGE ON SCHEMA {postgres.name} TO {postgres.name}_reader",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {postgres.name} TO {postgres.name}_reader",
    )
    try:
        reader = attrs.evolve(PostgresTable(postgres.url), url=postgres.with_options(f"-crole={postgres.name}_reader"))
        with pytest.raises(StorageError, match="permission denied") as caught:
            write_file(deduplicated([]), reader, "postgres")
        assert caught.value.errno == errno.EACCES
        assert "SELECT, INSERT, UPDATE and DELETE on it" in str(caught.value)
    finally:
        postgres.execute(f"DROP OWNED BY {postgres.name}_reader", f"DROP ROLE {postgres.name}_reader")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (("14.9 (Debian)", "UTF8", "public"), "PostgreSQL 14.9"),
        (("17beta1", "SQL_ASCII", "public"), "encoding SQL_ASCII"),
    ],
)
def test_a_server_that_cannot_hold_worklogs_is_refused(postgres, request_2024, monkeypatch, answer, words):
    monkeypatch.setattr(module._Transaction, "row", lambda *_: answer)
    with pytest.raises(StoreError, match=words):
        check_table(PostgresTable(postgres.url), request_2024)


def test_a_database_without_a_schema_is_refused(postgres, request_2024):
    url = postgres.url.replace(postgres.name, "nowhere")
    with pytest.raises(StoreError, match="no schema to create a table in"):
        check_table(PostgresTable(url), request_2024)


def test_a_server_that_is_not_there_is_told(request_2024):
    with pytest.raises(StorageError, match=r"cannot connect to postgresql://127\.0\.0\.1:1/db: .*failed"):
        check_table(PostgresTable("postgresql://127.0.0.1:1/db"), request_2024)


@attrs.frozen
class DriverError:
    text: str
    sqlstate: str | None = None

    def __str__(self):
        return self.text


def test_an_error_says_what_happened_and_what_to_do():
    full = translated(DriverError("IO: [libpq] ERROR:  disk is full\nCONTEXT: x", "53100"), "cannot write", "Again")
    assert str(full) == (
        "cannot write: disk is full. Free some space on the server's disk, then run the same again. "
        "The table is as it was before"
    )
    assert full.errno == errno.ENOSPC
    lost = translated(DriverError("server closed the connection\nunexpectedly"), "cannot commit", "Again")
    assert str(lost) == "cannot commit: server closed the connection. Again"
    assert "no host" in str(translated(DriverError("IO: [libpq] no host\nand more"), "cannot connect", "Look"))
    unknown = translated(DriverError(""), "cannot connect", "Look")
    assert str(unknown).startswith("cannot connect: the driver does not say why")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("ADD CHECK (id < 'wl-00002')", "violates check constraint"),
        ("DROP deleted_at", "does not exist"),
        ("ALTER description TYPE varchar(12)", "value too long"),
    ],
)
def test_what_others_have_changed_in_the_table_is_blamed(
    postgres, deduplicated, make_worklog, batch_of, statement, said
):
    store = deduplicated([1])
    write(store, postgres)
    postgres.execute(f"ALTER TABLE worklogs {statement}")
    store.upsert(batch_of([make_worklog(2, description="a longer text")]))
    with pytest.raises(
        StorageError, match=f"{said}.* others have changed in the table .* does not allow it: change that"
    ):
        write(store, postgres)


def test_ids_that_are_the_same_in_postgresql_are_told(postgres, deduplicated, make_worklog):
    store = deduplicated([make_worklog(1, id="a\0"), make_worklog(2, id="a\ufffd")])
    with pytest.raises(StorageError, match=r"unique index.* differ in U\+0000 alone"):
        write(store, postgres)
    assert postgres.rows(f"SELECT FROM pg_tables WHERE schemaname = '{postgres.name}'") == []


def test_an_error_of_the_commit_does_not_promise_too_much(postgres, deduplicated, monkeypatch):
    commit = module._Transaction.commit

    def lose(transaction):
        cut(postgres)
        commit(transaction)

    monkeypatch.setattr(module._Transaction, "commit", lose)
    with pytest.raises(StorageError, match=r"cannot commit to the table worklogs of .* or all of it is new\."):
        write(deduplicated([1]), postgres)


def cut(postgres):
    """End the session of whoever is writing the table."""
    for (pid,) in locks_of(postgres):
        postgres.rows(f"SELECT pg_terminate_backend({pid})")


def test_a_role_may_be_granted_to_sync_a_table_of_another(postgres, deduplicated, make_worklog, batch_of):
    store, role = deduplicated([1, 2]), f"{postgres.name}_writer"
    write(store, postgres)
    store.upsert(batch_of([make_worklog(3)]), leaving=["wl-00001"])
    postgres.execute(
        f"CREATE ROLE {role}",
        f"GRANT USAGE ON SCHEMA {postgres.name} TO {role}",
        f"GRANT SELECT, INSERT, UPDATE ON worklogs, tracket_about TO {role}",
    )
    try:
        write_file(store, PostgresTable(postgres.with_options(f"-crole={role}")), "postgres")
    finally:
        postgres.execute(f"DROP OWNED BY {role}", f"DROP ROLE {role}")
    assert ids_in(postgres, "deleted_at IS NULL") == ["wl-00002", "wl-00003"]


async def test_a_sync_looks_at_the_table_before_it_asks_the_server(served, capsys):
    async def work(emulator):
        url = "postgresql://127.0.0.1:1/db"
        assert await asyncio.to_thread(main, ["sync", "s.duckdb", "--output", url, "--progress", "off"]) == 1
        said = capsys.readouterr().err
        assert f"cannot connect to {url}: connection to server" in said
        assert "Check that the server runs, and the user, host, port and database of the URL" in said
        assert len(emulator.request_log) == 0
        return True

    assert await served(work)


# -- names, URLs and TLS -------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_environment(monkeypatch, tmp_path):
    for name in ("PGHOST", "PGHOSTADDR", "PGSSLMODE", "PGSERVICE", "PGCONNECT_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    monkeypatch.setenv("PGSYSCONFDIR", str(tmp_path))


@pytest.mark.parametrize(
    "url",
    ["postgresql://u:pw@h/db", "postgres://h/db?password=pw", "postgresql://h/db?sslpassword=pw&sslmode=require"],
)
def test_a_password_in_a_url_is_refused_and_not_repeated(url):
    with pytest.raises(UsageError, match="PGPASSWORD, PGPASSFILE or PGSERVICE") as caught:
        PostgresTable(url)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://h/db", "postgresql://[::1/db", "postgresql://h/db?sslmode"])
def test_what_is_no_url_of_postgresql_is_refused(url):
    with pytest.raises(UsageError, match="URL of PostgreSQL"):
        PostgresTable(url)


@pytest.mark.parametrize(
    "name", ["", "1a", "a.b.c", "a b", 'a"b', "../x", "a" * 64, "ä" * 32, "tracket_about", "s.tracket_about"]
)
def test_a_name_that_no_table_can_have_is_refused(name):
    with pytest.raises(UsageError, match="cannot be the name of a table"):
        PostgresTable("postgresql://h/db", name)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///db", "postgresql://localhost/db", "postgresql://u@127.0.0.9:5432/db", "postgresql://[::1]:1/db",
        "postgresql:///db?host=/tmp", "postgresql://%2Ftmp/db", "postgresql://localhost,127.0.0.1:5/db",
        "postgresql://localhost?",
    ],
)  # fmt: skip
def test_a_server_on_this_machine_needs_no_tls(url):
    assert "sslmode" not in connection_url(url)
    assert "sslmode=disable" in connection_url(f"{url.rstrip('?')}{'&' if 'host=' in url else '?'}sslmode=disable")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db.example/db", "postgresql://localhost,db.example/db", "postgresql://10.0.0.1/db",
        "postgresql:///db?hostaddr=10.0.0.1", "postgresql://localhost/db?host=db.example", "postgresql:///db?service=none",
    ],
)  # fmt: skip
def test_a_server_elsewhere_needs_tls(url):
    assert "&sslmode=require" in connection_url(url)
    more = "&" if "?" in url else "?"
    assert "require" not in connection_url(f"{url}{more}sslmode=verify-full")
    for mode in ("disable", "allow", "prefer"):
        with pytest.raises(UsageError, match=f"sslmode={mode} would"):
            connection_url(f"{url}{more}sslmode={mode}")


def test_the_environment_and_services_count_as_in_libpq(monkeypatch, tmp_path):
    monkeypatch.setenv("PGSSLMODE", "prefer")
    monkeypatch.setenv("PGHOST", "db.example")
    with pytest.raises(UsageError, match="sslmode=prefer"):
        connection_url("postgresql:///db")
    assert "sslmode" not in connection_url("postgresql://localhost/db")
    (tmp_path / "services").write_text(
        "[here]\nhost=localhost\n\n[there]\nhost=db.example\nsslmode=verify-ca\nport=5\n"
    )
    monkeypatch.setenv("PGSERVICE", "here")
    assert "sslmode" not in connection_url("postgresql:///db")
    monkeypatch.setenv("PGSERVICE", "there")
    assert "sslmode" not in connection_url("postgresql:///db")
    (tmp_path / "services").write_text("this is no file of services")
    with pytest.raises(UsageError, match="sslmode=prefer"):
        connection_url("postgresql://localhost/db")


def test_what_the_url_says_of_the_connection_is_kept(monkeypatch):
    url = "postgresql:///db?connect_timeout=3&keepalives_idle=1&keepalives_interval=1"
    assert connection_url(url) == url
    assert (
        connection_url("postgresql:///db")
        == "postgresql:///db?connect_timeout=15&keepalives_idle=30&keepalives_interval=10"
    )


def test_without_the_driver_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "adbc_driver_postgresql.dbapi", None)
    with pytest.raises(MissingExtraError, match="postgres"):
        module.driver()


# -- exports, and the command --------------------------------------------------------------------------------------


async def test_an_export_to_files_writes_a_table_too(on_2, postgres, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with on_2(sample=50) as (_, client):
        targets = {postgres.url: "postgres", tmp_path / "out.csv": "csv"}
        result = await export_to_files(client, targets, request_of(client))
        assert result.worklogs == 50 == len(ids_in(postgres))
        assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
        await export_to_files(client, {PostgresTable(postgres.url, "again"): "postgres"}, request_of(client))
        assert postgres.rows("SELECT count(*) FROM again") == [(50,)]
        with pytest.raises(UsageError, match="whose format is postgres"):
            await export_to_files(client, {postgres.url: "csv"}, request_of(client))
        with pytest.raises(StoreError, match="another request"):
            await export_to_files(client, {postgres.url: "postgres"}, request_of(client, since=dt.date(2024, 1, 1)))
    assert not (tmp_path / "worklogs.resume").exists()


@pytest.fixture
def served(monkeypatch, on_2, tmp_path):
    """``async with``: an emulator that the command finds; yields it."""
    monkeypatch.chdir(tmp_path)

    async def run(work):
        async with on_2(sample=60) as (emulator, _):
            for name, value in emulator.env().items():
                monkeypatch.setenv(name, value)
            monkeypatch.setenv("TRACKET_API", "2.0")
            return await work(emulator)

    return run


async def test_the_commands_write_a_table(served, postgres, capsys, tmp_path):
    async def work(emulator):
        command = ("--output", postgres.url, "--table", "hours", "--progress", "off")
        assert await asyncio.to_thread(main, ["export", "--store", "s.duckdb", *command]) == 0
        emulator.update(emulator.worklogs()[0]["worklogId"], {"worklogMinutes": 1})
        emulator.delete(emulator.worklogs()[1]["worklogId"])
        assert await asyncio.to_thread(main, ["sync", "s.duckdb", *command]) == 0
        assert f"Written: the table hours of {postgres.url}" in capsys.readouterr().out
        assert postgres.rows("SELECT count(*), count(deleted_at) FROM hours") == [(60, 1)]
        assert await asyncio.to_thread(main, ["sync", "s.duckdb", "--delete-rows", *command]) == 0
        assert postgres.rows("SELECT count(*), count(deleted_at) FROM hours") == [(59, 0)]
        postgres.execute("DELETE FROM hours")
        assert await asyncio.to_thread(main, ["sync", "s.duckdb", "--delete-rows", "--all-rows", *command]) == 0
        assert postgres.rows("SELECT count(*), count(deleted_at) FROM hours") == [(59, 0)]
        return True

    assert await served(work)


@pytest.mark.parametrize("words", [["--table", "hours"], ["--delete-rows"], ["--all-rows"]])
@pytest.mark.parametrize("command", [["export"], ["export", "--output", "x.csv"], ["sync", "s.duckdb"]])
def test_options_of_a_table_need_a_database(words, command, capsys):
    assert main([*command, *words]) == 2
    assert f"{words[0]} is for a table of PostgreSQL" in capsys.readouterr().err


def test_the_command_refuses_a_password_before_anything_is_sent(capsys):
    assert main(["export", "--output", "postgresql://u:secret@localhost/db"]) == 2
    said = capsys.readouterr().err
    assert "PGPASSWORD" in said
    assert "secret" not in said
    assert main(["export", "--output", "postgresql://localhost/db", "--output", "postgresql://localhost/db"]) == 2
    assert "is given twice" in capsys.readouterr().err
