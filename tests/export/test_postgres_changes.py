"""What is sent to a table of PostgreSQL that has an earlier state of a store, and that it is never too little."""

from __future__ import annotations

import datetime as dt
import random
import shutil

import pytest

from tracket_async.errors import MalformedResponseError, StorageError
from tracket_async.export import postgres as postgres_module
from tracket_async.export import tables
from tracket_async.export.formats import FileOptions
from tracket_async.export.postgres import PostgresTable
from tracket_async.export.store import Store
from tracket_async.export.writers import write_file
from tracket_async.frames import ALL_NAMES
from tracket_async.models import BadRow


def write(store, postgres, columns=None, on_worklogs=None, **options):
    target = PostgresTable(postgres.url, **options)
    return write_file(store, target, "postgres", FileOptions(columns=columns), on_worklogs=on_worklogs)


def ids_in(postgres, where="true"):
    return [id_ for (id_,) in postgres.rows(f"SELECT id FROM worklogs WHERE {where} ORDER BY id")]


def contents(postgres):
    names = ("day" if name == "day" else f"{name}::text" for name in (*ALL_NAMES, "deleted_at IS NULL AS here"))
    return postgres.rows(f"SELECT {', '.join(names).replace('here::text', 'here')} FROM worklogs ORDER BY id")


def changed(store, batch_of, *worklogs, leaving=()):
    store.upsert(batch_of(worklogs) if worklogs else None, leaving=leaving)


def test_only_worklogs_that_have_changed_since_are_sent(postgres, deduplicated, make_worklog, batch_of):
    store, told = deduplicated(range(20)), []
    write(store, postgres)
    store.upsert(batch_of([make_worklog(3, minutes=9.0), make_worklog(4), make_worklog(20)]), leaving=["wl-00005"])
    store.delete_with_tombstones(["wl-00006"], found=None)
    assert write(store, postgres, on_worklogs=told.append) == 19
    assert told == [2, 17]
    assert ids_in(postgres, "deleted_at IS NOT NULL") == ["wl-00005", "wl-00006"]
    assert ids_in(postgres, "minutes = 9 AND id <> 'wl-00009'") == ["wl-00003"]
    told.clear()
    write(store, postgres, on_worklogs=told.append)
    assert told == [19]


def test_many_changed_worklogs_are_sent_in_parts(postgres, deduplicated, make_worklog, batch_of, monkeypatch):
    monkeypatch.setattr(tables, "WORKLOGS", 7)
    store, told = deduplicated(range(20)), []
    write(store, postgres)
    store.upsert(batch_of([make_worklog(number, description="new") for number in range(16)]))
    write(store, postgres, on_worklogs=told.append)
    assert told == [7, 7, 2, 4]
    assert len(ids_in(postgres, "description = 'new'")) == 16


def test_what_others_have_changed_is_mended_when_all_rows_are_compared(postgres, deduplicated):
    store = deduplicated(range(5))
    write(store, postgres)
    before = contents(postgres)
    postgres.execute("DELETE FROM worklogs WHERE id = 'wl-00001'", "UPDATE worklogs SET minutes = 5")
    edited = contents(postgres)
    write(store, postgres)
    assert contents(postgres) == edited != before
    write(store, postgres, all_rows=True)
    assert contents(postgres) == before


def test_of_two_stores_in_one_table_all_worklogs_are_sent(postgres, deduplicated, make_worklog, batch_of, tmp_path):
    store = deduplicated(range(5))
    write(store, postgres)
    store.close()
    shutil.copy(store.path, tmp_path / "copy.duckdb")
    with Store(store.path) as first, Store(tmp_path / "copy.duckdb") as second:
        for turn, each in enumerate([first, second, second, first, second]):
            changed(each, batch_of, make_worklog(10 + turn), make_worklog(1, minutes=turn), leaving=["wl-00000"])
            told = []
            write(each, postgres, on_worklogs=told.append)
            assert (told[0] == 2) == (turn in {0, 2})
            ids = sorted(id_ for (id_,) in each.database.rows("SELECT id FROM worklogs"))
            assert ids_in(postgres, "deleted_at IS NULL") == ids
            assert postgres.rows("SELECT minutes FROM worklogs WHERE id = 'wl-00001'") == [(turn,)]


def test_a_store_restored_from_a_backup_is_sent_whole(postgres, deduplicated, make_worklog, batch_of, tmp_path):
    store, told = deduplicated(range(5)), []
    write(store, postgres)
    changed(store, batch_of, make_worklog(5))
    store.close()
    shutil.copy(store.path, tmp_path / "backup.duckdb")
    with Store(store.path) as later:
        changed(later, batch_of, make_worklog(1, minutes=7.0), make_worklog(6))
        write(later, postgres)
    with Store(tmp_path / "backup.duckdb") as restored:
        write(restored, postgres, on_worklogs=told.append)
    assert told[0] == 6
    assert ids_in(postgres, "deleted_at IS NULL") == [f"wl-{number:05}" for number in range(6)]
    assert postgres.rows("SELECT minutes FROM worklogs WHERE id = 'wl-00001'") == [(1.0,)]


def test_what_failed_to_be_committed_is_sent_again(postgres, deduplicated, make_worklog, batch_of, monkeypatch):
    store = deduplicated(range(5))
    write(store, postgres)
    changed(store, batch_of, make_worklog(1, minutes=7.0), leaving=["wl-00002"])

    def fail(*_):
        raise StorageError("no")

    with monkeypatch.context() as patch:
        patch.setattr(postgres_module._Transaction, "commit", fail)
        with pytest.raises(StorageError):
            write(store, postgres)
    assert ids_in(postgres, "minutes = 7 OR deleted_at IS NOT NULL") == []
    changed(store, batch_of, make_worklog(3, minutes=7.0))
    write(store, postgres)
    assert ids_in(postgres, "minutes = 7 OR deleted_at IS NOT NULL") == ["wl-00001", "wl-00002", "wl-00003"]


def test_with_other_settings_all_worklogs_are_sent(postgres, deduplicated, make_worklog):
    late = make_worklog(1, date=dt.datetime(2024, 1, 1, 23, 30, tzinfo=dt.UTC))
    store = deduplicated([late, make_worklog(2)])
    write(store, postgres, ["id", "day"])
    store.upsert(None, leaving=["wl-00002"])
    write(store, postgres, ["id", "day"])
    write(store, postgres, ["id", "day", "minutes"])
    assert postgres.rows("SELECT id, day::text, minutes FROM worklogs WHERE deleted_at IS NULL") == [
        ("wl-00001", "2024-01-01", 1.0)
    ]
    store.set_tz("Asia/Tokyo")
    write(store, postgres, ["id", "day", "minutes"])
    assert postgres.rows("SELECT day::text FROM worklogs WHERE deleted_at IS NULL") == [("2024-01-02",)]
    write(store, postgres, ["id", "day", "minutes"], delete_rows=True)
    assert ids_in(postgres) == ["wl-00001"]


def test_a_worklog_that_could_not_be_read_and_is_gone_later_is_marked(postgres, deduplicated):
    store = deduplicated(range(3))
    write(store, postgres)
    error = MalformedResponseError("no number", json_path="minutes", worklog_id="wl-00001")
    store.keep_bad_rows([BadRow(row=b"{}", error=error), BadRow(row=b"[]", error=MalformedResponseError("no id"))])
    write(store, postgres)
    assert ids_in(postgres, "deleted_at IS NOT NULL") == []
    store.forget_bad_rows(["wl-00001", "[]"])
    write(store, postgres)
    assert ids_in(postgres, "deleted_at IS NOT NULL") == ["wl-00001"]


def test_after_any_changes_a_table_is_as_if_all_rows_had_been_compared(postgres, deduplicated, make_worklog, batch_of):
    chance, store = random.Random(13), deduplicated(range(30))

    def some(most):
        return [f"wl-{number:05}" for number in chance.sample(range(40), chance.randrange(1, most))]

    def bad(id_):
        return BadRow(row=b"{}", error=MalformedResponseError("bad", json_path="minutes", worklog_id=id_))

    for _ in range(15):
        write(store, postgres)
        for _ in range(chance.randrange(1, 4)):
            for work in chance.sample(
                [
                    lambda: store.upsert(
                        batch_of([make_worklog(int(id_[3:]), minutes=float(chance.randrange(3))) for id_ in some(9)])
                    ),
                    lambda: store.upsert(None, leaving=some(4)),
                    lambda: store.delete_with_tombstones(some(4), found=None),
                    lambda: store.keep_bad_rows([bad(id_) for id_ in some(4)]),
                    lambda: store.forget_bad_rows([row.key for row in store.bad_rows()][:2]),
                ],
                k=2,
            ):
                work()
        write(store, postgres)
        found = contents(postgres)
        write(store, postgres, all_rows=True)
        assert contents(postgres) == found
