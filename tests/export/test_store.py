"""The store: worklogs and progress in one file, opened and used in a thread."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import stat
import threading

import attrs
import duckdb
import pytest

from tracket_async import frames
from tracket_async.errors import StorageError, StoreError, TargetBusyError, UsageError
from tracket_async.export import store as stores
from tracket_async.export import tables
from tracket_async.export.run import check_targets
from tracket_async.export.store import BOUNDS, NO_CHANGES, ChangeCounts, ExportRequest, Store, WorkThread, open_store
from tracket_async.export.writers import write_file
from tracket_async.models import Worklog, WorklogFilter

DAY = dt.date(2024, 1, 1)


@pytest.fixture
def worklogs_in():
    def read(store):
        rows = store.database.arrow("SELECT * EXCLUDE (day) FROM worklogs ORDER BY id").to_pylist()
        return [Worklog(**row) for row in rows]

    return read


def test_a_new_store_is_empty_walking_and_private(store, request_2024):
    assert (store.state, store.count(), store.partitions(), store.tombstones()) == ("fetching", 0, [], 0)
    assert store.request == request_2024
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


def test_batch_states_and_facts_are_there_when_it_is_opened_again(
    tmp_path, request_2024, make_worklog, batch_of, ids_in
):
    path = tmp_path / "s.duckdb"
    with Store(path, request=request_2024) as store:
        store.append([batch_of([make_worklog(1)]), batch_of([make_worklog(2)])], {0: {"a": 1}, 1: {"b": 1}}, total=5)
        store.append([], {1: {"b": 2}, 7: {"c": None}})
    with Store(path) as store:
        assert ids_in(store) == ["wl-00001", "wl-00002"]
        assert store.partitions() == [{"a": 1}, {"b": 2}, {"c": None}]
        assert store.meta("total") == 5
        assert store.meta("unknown") is None
        assert store.request == request_2024
    assert list(tmp_path.iterdir()) == [path]


def test_rows_ahead_of_the_states_are_removed_until_their_states_come(store, make_worklog, batch_of, ids_in):
    store.append([batch_of([make_worklog(1)])], {0: {"a": 1}}, ahead=[batch_of([make_worklog(2)])])
    assert ids_in(store) == ["wl-00001", "wl-00002"]
    store.delete_ahead()
    assert ids_in(store) == ["wl-00001"]
    store.append([], {}, ahead=[batch_of([make_worklog(2)])])
    store.append([batch_of([make_worklog(3)])], {0: {"a": 2}})
    store.delete_ahead()
    assert ids_in(store) == ["wl-00001", "wl-00002", "wl-00003"]


def test_a_million_worklogs_are_counted_and_deduplicated_within_the_memory(store, make_worklog, batch_of):
    store.append([batch_of([make_worklog(1)])], {})
    names = [name for name in frames.ATTRIBUTES if name != "id"]
    store.database.execute(
        f"INSERT INTO tracket.rows SELECT uuid(), {', '.join(names)}, 1 FROM tracket.rows, range(1_000_000)"
    )
    store.append([batch_of([make_worklog(1, minutes=9.0)])], {})
    assert store.count() == 1_000_001
    assert store.deduplicate() == 1
    assert store.count() == 1_000_001


def test_a_store_without_commits_has_nothing_ahead(store, ids_in):
    store.delete_ahead()
    assert ids_in(store) == []


def test_a_commit_that_fails_keeps_neither_worklogs_nor_states(store, make_worklog, batch_of, monkeypatch):
    store.append([batch_of([make_worklog(1)])], {0: {"a": 1}})
    monkeypatch.setattr(tables, "INSERT_PARTITIONS", "INSERT INTO nowhere VALUES (?, ?)")
    with pytest.raises(StoreError):
        store.append([batch_of([make_worklog(2)])], {0: {"a": 2}})
    assert store.count() == 1
    assert store.partitions() == [{"a": 1}]


def test_while_walking_a_worklog_that_came_twice_counts_and_shows_once(store, make_worklog, batch_of, worklogs_in):
    store.append([batch_of([make_worklog(1), make_worklog(2)])], {})
    later = make_worklog(1, minutes=7.0)
    store.append([batch_of([later])], {})
    assert store.count() == 2
    assert worklogs_in(store)[0].minutes == 7.0


EARLY, LATE = (dt.datetime(2024, 5, day, tzinfo=dt.UTC) for day in (1, 2))


@pytest.mark.parametrize(
    ("first", "second", "stays"),
    [(EARLY, LATE, 2.0), (LATE, EARLY, 1.0), (None, EARLY, 2.0), (EARLY, None, 1.0), (EARLY, EARLY, 2.0)],
)
def test_settling_keeps_the_row_that_was_updated_later_else_the_one_committed_later(
    store, make_worklog, batch_of, worklogs_in, first, second, stays
):
    store.append([batch_of([make_worklog(1, updated_date=first, minutes=1.0), make_worklog(2)])], {0: {}})
    store.append([batch_of([make_worklog(1, updated_date=second, minutes=2.0)])], {})
    assert worklogs_in(store)[0].minutes == stays
    assert store.deduplicate(single_partition=True) == 1
    assert [worklog.minutes for worklog in worklogs_in(store)] == [stays, 2.0]
    assert (store.state, store.count(), store.partitions(), store.meta("single_partition")) == ("checking", 2, [], True)


def test_what_is_stored_is_what_came(deduplicated, make_worklog, worklogs_in):
    full = make_worklog(
        1,
        date=dt.datetime(2024, 2, 29, 12, 30, 1, 123456, tzinfo=dt.UTC),
        description="日本 'quoted' \"too\"\n",
        billable_minutes=1e-7,
        updated_date=dt.datetime(1, 1, 1, tzinfo=dt.UTC),
        created_date=dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC),
        team_id="",
        extra={"note": "ö", "b": [1, None]},
    )
    [found] = worklogs_in(deduplicated([full]))
    assert json.loads(found.custom_fields) == full.custom_fields
    assert found.extra == '{"b":[1,null],"note":"ö"}'
    assert attrs.evolve(found, custom_fields=full.custom_fields, extra=full.extra) == full


def test_a_field_that_is_new_in_extra_is_a_change(deduplicated, make_worklog, batch_of, worklogs_in):
    store = deduplicated([1, 2])
    revision = store.upsert(batch_of([make_worklog(1, extra={"phase": 2}), make_worklog(2)]))
    assert revision == ChangeCounts(changed=1, unchanged=1)
    assert [found.extra for found in worklogs_in(store)] == ['{"phase":2}', "{}"]


def test_a_revision_adds_changes_and_removes(deduplicated, make_worklog, batch_of, ids_in, worklogs_in):
    store = deduplicated([1, 2, 3, 4])
    incoming = batch_of([make_worklog(1), make_worklog(2, minutes=9.0, updated_date=EARLY), make_worklog(9)])
    revision = store.upsert(incoming, leaving=["wl-00003", "wl-unknown"], synced="now")
    assert revision == ChangeCounts(added=1, changed=1, unchanged=1, removed=1)
    assert revision.different == 3
    assert ids_in(store) == ["wl-00001", "wl-00002", "wl-00004", "wl-00009"]
    assert worklogs_in(store)[1].minutes == 9.0
    assert store.meta("synced") == "now"
    assert store.upsert(incoming) == ChangeCounts(unchanged=3)


@pytest.mark.parametrize("name", ["description", "updated_date", "custom_fields", "billable_minutes", "date"])
def test_a_change_of_any_attribute_is_a_change_also_to_and_from_null(deduplicated, make_worklog, batch_of, name):
    other = {
        "description": None,
        "updated_date": EARLY,
        "custom_fields": {},
        "billable_minutes": 0.0,
        "date": EARLY,
    }[name]
    store = deduplicated([1])
    changed = make_worklog(1, **{name: other})
    assert store.upsert(batch_of([changed])) == ChangeCounts(changed=1)
    assert store.upsert(batch_of([changed])) == ChangeCounts(unchanged=1)
    assert store.upsert(batch_of([make_worklog(1)])) == ChangeCounts(changed=1)


def test_revisions_add_up():
    one = ChangeCounts(added=1, changed=2, unchanged=3, removed=4)
    assert one + one == ChangeCounts(added=2, changed=4, unchanged=6, removed=8)
    assert NO_CHANGES + one == one
    assert NO_CHANGES.different == 0


def test_a_revision_of_nothing_is_nothing(deduplicated):
    assert deduplicated([1]).upsert(None) == NO_CHANGES


def test_what_the_server_no_longer_has_is_removed_and_remembered(deduplicated, make_worklog, batch_of, ids_in):
    store = deduplicated([1, 2])
    assert store.delete_with_tombstones(["wl-00001", "wl-unknown"], found="2024-06-01T00:00:00+00:00") == 1
    assert ids_in(store) == ["wl-00002"]
    tombstone = "SELECT id, minutes, description, custom_fields, year(found) FROM tracket.tombstones"
    assert store.database.rows(tombstone) == [("wl-00001", 1.0, "Work no. 1", '{"a":"1","b":"2"}', 2024)]
    assert store.delete_with_tombstones(["wl-00001"], found=None) == 0
    assert store.tombstones() == 1
    store.upsert(batch_of([make_worklog(1)]))
    assert store.tombstones() == 0


def test_days_are_counted_in_utc_and_in_order(deduplicated):
    assert deduplicated([50, 0, 23, 24]).days() == [
        (dt.date(2024, 1, 1), 2),
        (dt.date(2024, 1, 2), 1),
        (dt.date(2024, 1, 3), 1),
    ]


def test_a_meeting_tells_who_was_not_there_between_two_dates(deduplicated, make_worklog, batch_of):
    store = deduplicated([0, 10, 20, 30])
    store.clear_marks()
    assert store.upsert_and_mark(batch_of([make_worklog(10), make_worklog(11)])) == ChangeCounts(added=1, unchanged=1)
    date = make_worklog(20).date
    assert store.unmarked(None, None) == ["wl-00000", "wl-00020", "wl-00030"]
    assert store.unmarked(date, date) == ["wl-00020"]
    assert store.unmarked(date + dt.timedelta(microseconds=1), None) == ["wl-00030"]
    assert store.unmarked(None, date - dt.timedelta(microseconds=1)) == ["wl-00000"]
    store.clear_marks()
    assert len(store.unmarked(None, None)) == 5


def test_users_of_whom_nothing_is_marked_and_their_other_worklogs(deduplicated, make_worklog, batch_of):
    users = ["a", "b", None, "a", "b", None, None, "b"]
    worklogs = [make_worklog(number, user_id=user) for number, user in enumerate(users)]
    store = deduplicated(worklogs)
    gone = ["wl-00000", "wl-00001", "wl-00002", "wl-00004"]
    store.clear_marks()
    assert store.unseen_users(gone) == [("a", 1), ("b", 2), (None, 1)]
    store.upsert_and_mark(batch_of(worklogs[3:4]))
    assert store.unseen_users(gone) == [("b", 2), (None, 1)]
    assert store.unseen_users([]) == []
    assert store.others_of("b", gone, most=9) == ["wl-00007"]
    assert store.others_of(None, gone, most=9) == ["wl-00006", "wl-00005"]
    assert store.others_of(None, gone, most=1) == ["wl-00006"]
    assert store.others_of("c", gone, most=9) == []


def test_the_view_counts_days_in_the_stores_time_zone(store, make_worklog, batch_of):
    store.append([batch_of([make_worklog(1, date=dt.datetime(2024, 3, 1, 23, 30, tzinfo=dt.UTC))])], {})
    assert store.tz == "UTC"
    store.set_tz("Europe/Amsterdam")
    for _ in range(2):
        assert store.database.rows("SELECT id, day FROM worklogs") == [("wl-00001", dt.date(2024, 3, 2))]
        store.deduplicate()
    with pytest.raises(UsageError, match="there is no time zone of this name"):
        store.set_tz("Mars")
    assert store.tz == "Europe/Amsterdam"


def test_a_store_that_is_discarded_is_gone(tmp_path, request_2024):
    store = Store(tmp_path / "s.duckdb", request=request_2024)
    store.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_be_discarded_is_free_again(tmp_path, request_2024, monkeypatch):
    def refuse(_path):
        raise StorageError("no")

    store = Store(tmp_path / "s.duckdb", request=request_2024)
    with monkeypatch.context() as patch:
        patch.setattr("tracket_async.export.store.remove", refuse)
        with pytest.raises(StorageError):
            store.discard()
    Store(tmp_path / "s.duckdb").close()


def test_a_second_writer_is_told_who_is_writing(store, request_2024):
    with pytest.raises(TargetBusyError, match=f"{store.path} is being written by process"):
        Store(store.path, request=request_2024)
    assert store.count() == 0


def test_the_same_request_opens_it_again_however_it_is_put(tmp_path):
    path = tmp_path / "s.duckdb"
    for since in (DAY, dt.datetime(2024, 1, 1, tzinfo=dt.UTC)):
        Store(path, request=ExportRequest(api="1.0", origin="x", filter=WorklogFilter(since=since))).close()


@pytest.mark.parametrize(
    "changes",
    [
        {"api": "1.0"},
        {"origin": "https://elsewhere"},
        {"account": "8"},
        {"filter": WorklogFilter()},
        *({"filter": WorklogFilter(since=DAY, **{name: DAY})} for name in BOUNDS[1:]),
    ],
)
def test_another_request_is_refused_and_told_the_difference_and_how_to_start_over(store, changes):
    store.set_meta(mark="2024-01-01T00:00:00+00:00")
    store.close()
    with pytest.raises(StoreError) as caught:
        Store(store.path, request=attrs.evolve(store.request, **changes))
    text = str(caught.value)
    assert "of another request" in text
    assert "move this one away to start over" in text
    if "filter" in changes:
        assert "2024-01-01T" in text
    else:
        assert str(next(iter(changes.values()))) in text


def test_a_store_for_which_nothing_was_ever_answered_takes_another_request(store):
    store.close()
    other = attrs.evolve(store.request, origin="https://elsewhere", account="8")
    for _ in range(2):
        with Store(store.path, request=other) as opened:
            assert opened.request == other
    with Store(store.path) as opened:
        assert opened.request == other


def test_a_refused_store_is_free_again(store):
    store.set_meta(mark="2024-01-01T00:00:00+00:00")
    store.close()
    for _ in range(2):
        with pytest.raises(StoreError):
            Store(store.path, request=attrs.evolve(store.request, api="1.0"))


def test_another_schema_version_is_refused(store):
    store.set_meta(schema_version=2)
    store.close()
    with pytest.raises(StoreError, match="schema version 2, and this program reads 1"):
        Store(store.path)


def test_a_database_of_another_program_is_refused(tmp_path, request_2024):
    path = tmp_path / "other.duckdb"
    with duckdb.connect(str(path)) as other:
        other.execute("CREATE TABLE worklogs (id VARCHAR)")
    with pytest.raises(StoreError, match="of another program"):
        Store(path, request=request_2024)


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("CREATE MACRO lpad(a, b, c) AS (SELECT content FROM read_text('{secret}'))", "macro lpad"),
        ("CREATE MACRO tracket.lpad(a, b, c) AS a", "macro lpad"),
        ("CREATE MACRO duckdb_functions() AS TABLE SELECT 1", "macro duckdb_functions"),
        ("CREATE VIEW more AS SELECT content FROM read_text('{secret}')", "column main.more.content"),
        ("CREATE TABLE more (n INTEGER)", "column main.more.n INTEGER"),
        ("CREATE SCHEMA more", "schema more"),
        ("CREATE TYPE mood AS ENUM ('glad')", "type mood"),
        ("CREATE SEQUENCE numbers", "sequence numbers"),
        ("CREATE INDEX places ON tracket.rows (id)", "index places"),
        ("ALTER TABLE tracket.meta ALTER value SET DEFAULT getvariable('x')", "column tracket.meta.value"),
        ("DROP VIEW worklogs", "column main.worklogs.approval_status"),
    ],
)
def test_a_store_with_anything_of_a_stranger_is_refused(store, tmp_path, statement, named):
    (tmp_path / "secret").write_text("s3cret")
    store.close()
    with duckdb.connect(str(store.path)) as stranger:
        stranger.execute(statement.format(secret=tmp_path / "secret"))
    before = store.path.read_bytes()
    with pytest.raises(StoreError, match=rf"of another program.*(has|lacks) the {named}.* move this one away"):
        Store(store.path)
    assert store.path.read_bytes() == before


def test_a_view_that_a_stranger_has_replaced_is_not_read(deduplicated, tmp_path):
    (tmp_path / "secret").write_text("s3cret")
    store = deduplicated([1])
    view = store.database.rows("SELECT column_name, column_type FROM (DESCRIBE worklogs)")
    store.close()
    cells = ", ".join(f"CAST({'content' if name == 'id' else 'NULL'} AS {kind}) AS {name}" for name, kind in view)
    with duckdb.connect(str(store.path)) as stranger:
        stranger.execute(f"CREATE OR REPLACE VIEW worklogs AS SELECT {cells} FROM read_text('{tmp_path / 'secret'}')")
    with Store(store.path) as opened:
        assert opened.database.rows("SELECT id FROM worklogs") == [("wl-00001",)]


@pytest.mark.parametrize("request_", [None, {}, [], {"since": "x"}, "x"])
def test_a_store_that_does_not_say_what_it_is_of_is_refused(store, request_):
    store.set_meta(request=request_)
    store.close()
    with pytest.raises(StoreError, match="does not say what it is an export of"):
        Store(store.path)


def test_a_file_that_is_no_database_is_left_alone_and_free(tmp_path, request_2024):
    (tmp_path / "s.duckdb").write_text("id,user_id")
    for _ in range(2):
        with pytest.raises(StoreError, match=r"no DuckDB file, so it is no store\. Name another file"):
            Store(tmp_path / "s.duckdb", request=request_2024)
    (tmp_path / "s.duckdb").write_bytes(b"12345678DUCK")
    with pytest.raises(StoreError, match="cannot open"):
        Store(tmp_path / "s.duckdb", request=request_2024)
    assert [path.name for path in tmp_path.iterdir()] == ["s.duckdb"]


def test_a_duckdb_file_of_an_export_is_told_apart_from_a_store(store, tmp_path, request_2024):
    store.deduplicate()
    write_file(store, tmp_path / "out.duckdb", "duckdb")
    with pytest.raises(
        StoreError, match=r"out\.duckdb is a DuckDB file that an export wrote, and no store\. Name anoth"
    ):
        Store(tmp_path / "out.duckdb", request=request_2024)
    assert check_targets({tmp_path / "out.duckdb": "csv"}) == {tmp_path / "out.duckdb": "csv"}  # it may be replaced


def test_no_file_takes_the_place_of_a_store(store, tmp_path):
    store.close()
    (tmp_path / "broken.duckdb").write_bytes(b"12345678DUCK")
    before = store.path.read_bytes()
    with pytest.raises(
        UsageError, match=r"is a store, and a file in its place would lose .*Give the file another name"
    ):
        check_targets({store.path: "csv"})
    with pytest.raises(StoreError, match=r"cannot read .*broken\.duckdb"):
        check_targets({tmp_path / "broken.duckdb": "csv"})
    assert store.path.read_bytes() == before


def test_a_store_that_does_not_exist_cannot_be_opened_without_a_request(tmp_path):
    with pytest.raises(StoreError, match=r"there is no store .* Export to it first"):
        Store(tmp_path / "s.duckdb")
    assert list(tmp_path.iterdir()) == []


def test_a_symbolic_link_is_not_followed(tmp_path, store):
    store.close()
    (tmp_path / "link.duckdb").symlink_to(store.path)
    with pytest.raises(StorageError, match="symbolic link"):
        Store(tmp_path / "link.duckdb")


def test_anybody_can_query_the_file_with_duckdb(deduplicated, tmp_path):
    store = deduplicated([1, 2, 3])
    store.close()
    with duckdb.connect(str(store.path), read_only=True) as other:
        assert other.execute("SELECT count(*), sum(minutes) FROM worklogs").fetchone() == (3, 6.0)
        columns = {name: kind for name, kind, *_ in other.execute("DESCRIBE worklogs").fetchall()}
    assert columns["date"] == "TIMESTAMP WITH TIME ZONE"
    assert columns["minutes"] == "DOUBLE"
    assert columns["custom_fields"] == "VARCHAR"


def test_a_request_survives_json():
    wanted = WorklogFilter(since=DAY, until=dt.datetime(2024, 3, 1, 5, tzinfo=dt.UTC), created_since=DAY)
    request = ExportRequest(api="2.0", origin="https://x", account="7", filter=wanted)
    assert ExportRequest.from_json(json.loads(json.dumps(request.to_json()))) == request
    assert request.differences(request) == ""


@pytest.fixture
def slow(monkeypatch):
    """Stores that take until ``go`` to open; ``begun`` says that one has begun."""
    begun, go = threading.Event(), threading.Event()

    def make(*args, **kwargs):
        begun.set()
        go.wait(30)
        return Store(*args, **kwargs)

    monkeypatch.setattr(stores, "Store", make)
    return begun, go


async def cancelled_while_it_opens(slow, path, request):
    begun, go = slow
    task = asyncio.create_task(open_store(path, request=request))
    await asyncio.to_thread(begun.wait, 30)
    task.cancel()
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_it_is_opened_or_the_reason_is_told(tmp_path, request_2024):
    with pytest.raises(StoreError, match="there is no store"):
        await open_store(tmp_path / "s", request=None)
    (await open_store(tmp_path / "s", request=request_2024)).close()
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


async def test_whoever_is_cancelled_meanwhile_leaves_nothing_open(slow, tmp_path, request_2024):
    await cancelled_while_it_opens(slow, tmp_path / "s", request_2024)
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    Store(tmp_path / "s", request=request_2024).close()


async def test_a_refusal_that_nobody_waits_for_any_more_is_not_told(slow, tmp_path):
    await cancelled_while_it_opens(slow, tmp_path / "s", None)
    assert list(tmp_path.iterdir()) == []


async def test_work_returns_and_raises_and_keeps_its_order():
    done = []
    async with WorkThread() as thread:
        names = {await thread(lambda: threading.current_thread().name) for _ in range(3)}
        await asyncio.gather(*(thread(done.append, number) for number in range(20)))
        with pytest.raises(ZeroDivisionError):
            await thread(divmod, 1, 0)
    assert done == list(range(20))
    assert len(names) == 1
    assert threading.current_thread().name not in names


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("cancellations", [1, 3])
async def test_a_cancellation_waits_until_the_work_is_done(cancellations, fails):
    begun, go_on, done = threading.Event(), threading.Event(), []

    def work():
        begun.set()
        go_on.wait(30)
        done.append(1)
        if fails:
            raise KeyError

    async with WorkThread() as thread:
        task = asyncio.create_task(thread(work))
        await asyncio.to_thread(begun.wait, 30)
        for _ in range(cancellations):
            task.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert done == [1]


async def test_work_that_has_not_begun_is_awaited_as_well():
    go_on, done = threading.Event(), []
    async with WorkThread() as thread:
        first = asyncio.create_task(thread(go_on.wait, 30))
        second = asyncio.create_task(thread(done.append, 2))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
        assert not second.done()
        go_on.set()
        await first
        with pytest.raises(asyncio.CancelledError):
            await second
    assert done == [2]


def changes_in(store):
    return [(kind, id_, minutes) for _, kind, id_, minutes in store.changes(99, ("id", "minutes"))]


def test_what_is_done_to_worklogs_is_recorded_in_order_once_that_is_asked_for(deduplicated, make_worklog, batch_of):
    store = deduplicated([1, 2, 3, 4])
    store.upsert(batch_of([make_worklog(1, minutes=5)]))
    store.record_changes()
    store.upsert(batch_of([make_worklog(1, minutes=6), make_worklog(2), make_worklog(9)]), leaving=["wl-00003"])
    store.clear_marks()
    store.upsert_and_mark(batch_of([make_worklog(1, minutes=7)]))
    store.delete_with_tombstones(["wl-00004", "wl-unknown"], found=None)
    expected = [
        ("updated", "wl-00001", 6.0),
        ("created", "wl-00009", 9.0),
        ("removed", "wl-00003", 3.0),
        ("updated", "wl-00001", 7.0),
        ("deleted", "wl-00004", 4.0),
    ]
    assert changes_in(store) == expected
    assert [number for number, *_ in store.changes(2)] == [1, 2]
    store.forget_changes(2)
    assert (changes_in(store), store.count_changes()) == (expected[2:], 3)
    store.forget_changes(5)
    store.upsert(batch_of([make_worklog(1, minutes=8)]))
    assert changes_in(store) == [("updated", "wl-00001", 8.0)]


def test_a_change_that_is_not_committed_is_not_recorded(deduplicated, make_worklog, batch_of, monkeypatch):
    store = deduplicated([1])
    store.record_changes()
    monkeypatch.setattr(store, "_set_meta", {}.__getitem__)
    with pytest.raises(TypeError):
        store.upsert(batch_of([make_worklog(1, minutes=6)]))
    assert store.changes(9) == []


def test_recorded_changes_outlive_the_process(deduplicated, make_worklog, batch_of, request_2024):
    store = deduplicated([1])
    store.record_changes()
    store.upsert(batch_of([make_worklog(1, minutes=6)]))
    store.close()
    with Store(store.path) as again:
        assert again.records_changes
        assert changes_in(again) == [("updated", "wl-00001", 6.0)]


def touched(store, revision):
    found = store.touched_since(revision)
    return None if found is None else sorted(found.column("id").to_pylist())


def test_what_was_touched_since_a_revision_is_known(deduplicated, make_worklog, batch_of):
    store = deduplicated(range(9))
    store.upsert(batch_of([make_worklog(0, minutes=5)]))
    first = store.new_revision()
    assert touched(store, first) == []
    store.upsert(
        batch_of([make_worklog(0, minutes=5), make_worklog(1, minutes=5), make_worklog(9)]), leaving=["wl-00002"]
    )
    store.clear_marks()
    store.upsert_and_mark(batch_of([make_worklog(1, minutes=7)]))
    second = store.new_revision()
    store.delete_with_tombstones(["wl-00003"], found=None)
    store.forget_bad_rows(["wl-00004"])
    store.upsert(None, leaving=["wl-00003"])
    assert touched(store, second) == ["wl-00003", "wl-00004"]
    assert touched(store, first) == ["wl-00001", "wl-00002", "wl-00003", "wl-00004", "wl-00009"]
    assert store.database.rows("SELECT count(*) FROM tracket.touched") == [(5,)]
    store.close()
    with Store(store.path) as again:
        assert touched(again, second) == ["wl-00003", "wl-00004"]


def test_a_revision_that_is_old_or_of_another_store_is_not_known(deduplicated, monkeypatch):
    monkeypatch.setattr(stores, "_REVISIONS", 2)
    store = deduplicated([1, 2])
    first, second = store.new_revision(), store.new_revision()
    store.upsert(None, leaving=["wl-00001"])
    third = store.new_revision()
    assert [touched(store, revision) for revision in (first, second, third, "other")] == [None, ["wl-00001"], [], None]
    store.new_revision()
    assert store.database.rows("SELECT * FROM tracket.touched") == []


def test_a_change_that_is_not_committed_is_not_touched(deduplicated, make_worklog, batch_of, monkeypatch):
    store = deduplicated([1])
    revision = store.new_revision()
    monkeypatch.setattr(store, "_set_meta", {}.__getitem__)
    with pytest.raises(TypeError):
        store.upsert(batch_of([make_worklog(1, minutes=6)]))
    assert touched(store, revision) == []
