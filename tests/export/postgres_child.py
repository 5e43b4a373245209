"""A process that writes a store into a table and stops at a point, where test_postgres_kill.py kills it.

Arguments: the store, the URL, and the point: ``load`` (some worklogs are copied), ``commit`` (everything is done but
the commit) or ``none``. At its point it prints a line and waits for ever.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tracket_async.export import postgres, tables
from tracket_async.export.postgres import PostgresTable
from tracket_async.export.store import Store


def stop(*_):
    print("here", flush=True)  # noqa: T201
    sys.stdin.read()


def main(path, url, point):
    tables.WORKLOGS = 10
    if point == "commit":
        postgres._Transaction.commit = stop
    with Store(Path(path)) as store:
        print("begun", flush=True)  # noqa: T201
        postgres.write_table(store, PostgresTable(url), on_worklogs=stop if point == "load" else lambda _: None)


if __name__ == "__main__":
    main(*sys.argv[1:])
