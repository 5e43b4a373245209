"""A process that writes a table of PostgreSQL and is killed: the table is as it was, and the next one brings it on."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tracket_async.export.postgres import PostgresTable, write_table
from tracket_async.export.store import Store

SCRIPT = Path(__file__).with_name("postgres_child.py")


def wait_until(true):
    while not true():
        time.sleep(0.02)


@pytest.fixture
def child(store):
    """Starts a process that writes the store, which is closed, and stops at a point; returns when it says so."""
    running = []

    def start(url, point):
        words = [sys.executable, SCRIPT, store.path, url, point]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout.readline() == "begun\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("point", "exists"), [("load", False), ("load", True), ("merge", True), ("commit", True)])
def test_a_table_whose_writer_is_killed_is_as_it_was(
    postgres, deduplicated, make_worklog, batch_of, child, point, exists
):
    store, target = deduplicated(range(30)), PostgresTable(postgres.url)
    if exists:
        write_table(store, target, on_worklogs=lambda _: None)
    store.upsert(batch_of([make_worklog(number, description="new") for number in range(10, 40)]))
    store.close()
    before = contents(postgres)
    if point == "merge":
        with held(postgres):
            process = child(postgres.url, "none")
            wait_until(lambda: postgres.rows(f"SELECT FROM pg_locks WHERE NOT granted AND relation = {oid(postgres)}"))
            process.kill()
            process.wait()
    else:
        process = child(postgres.url, point)
        assert process.stdout.readline() == "here\n"
        process.kill()
        process.wait()
    wait_until(lambda: not postgres.rows(f"SELECT FROM pg_locks WHERE objid = {lock_of(postgres)}"))
    assert contents(postgres) == before
    with Store(store.path) as again:
        write_table(again, target, on_worklogs=lambda _: None)
    after = contents(postgres)
    assert [row[0] for row in after] == [f"wl-{number:05}" for number in range(40)]
    assert [row[1] for row in after] == [f"Work no. {number}" if number < 10 else "new" for number in range(40)]


def contents(postgres):
    if not postgres.rows(f"SELECT FROM pg_tables WHERE schemaname = '{postgres.name}'"):
        return []
    return postgres.rows("SELECT id, description, deleted_at::text FROM worklogs ORDER BY id")


def oid(postgres):
    return postgres.rows(f"SELECT '{postgres.name}.worklogs'::regclass::oid::int8")[0][0]


def lock_of(postgres):
    """The lower half of the key of the advisory lock, as pg_locks has it."""
    key = f"hashtextextended('tracket {postgres.name}.worklogs', 0)"
    return postgres.rows(f"SELECT {key} & x'FFFFFFFF'::int8")[0][0]


def held(postgres):
    """Another transaction that lets nobody write the table."""
    from adbc_driver_postgresql import dbapi

    connection = dbapi.connect(postgres.url)
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE worklogs IN SHARE MODE")
    return connection
