"""Worklogs by dlt in DuckDB, PostgreSQL and Parquet files: the table is what the server has, whatever happened."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

import attrs
import pytest

from tracket_async import NewWorklog, TracketClient, UsageError, WorklogChanges
from tracket_async.emulator import faults
from tracket_async.frames import ALL_NAMES

dlt = pytest.importorskip("dlt")
exceptions = pytest.importorskip("dlt.pipeline.exceptions")
module = pytest.importorskip("tracket_async.integrations.dlt")
duckdb = pytest.importorskip("duckdb")
parquet = pytest.importorskip("pyarrow.parquet")

pytestmark = pytest.mark.filterwarnings("ignore:The 'warn' method is deprecated:DeprecationWarning")  # of dlt

SCRIPT = Path(__file__).with_name("mortal_dlt.py")
KILLED = -9
CREDENTIALS = ("TRACKET_TOKEN", "TRACKET_CLIENT_ID", "TRACKET_CLIENT_SECRET", "TRACKET_ACCOUNT_ID")


@pytest.fixture(autouse=True)
def environment(tracket_server, tmp_path, monkeypatch):
    """The emulator's settings, no telemetry, and no configuration but that of the test."""
    monkeypatch.chdir(tmp_path)
    settings = {"RUNTIME__DLTHUB_TELEMETRY": "false", "DLT_DATA_DIR": str(tmp_path / "dlt"), "TZ": "UTC"}
    for name, value in {**tracket_server.env, **settings}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def _no_pipeline_is_active():
    yield
    dlt.common.configuration.container.Container()[dlt.common.pipeline.PipelineContext].deactivate()


@pytest.fixture
def pipeline(tmp_path):
    return pipeline_of(dlt.destinations.duckdb(str(tmp_path / "worklogs.duckdb")))


def pipeline_of(destination):
    return dlt.pipeline("worklogs", pipelines_dir="pipelines", destination=destination, dataset_name="tracket")


def use(work):
    """What a coroutine function makes of a client."""

    async def run():
        async with TracketClient.from_env() as client:
            return await work(client)

    return asyncio.run(run())


def on_the_server(**bounds):
    """The rows that the server has, by their ids."""
    table = use(lambda client: client.worklogs.table(**bounds))
    return by_id(zip(*(table._table.column(name).to_pylist() for name in ALL_NAMES), strict=True))


def by_id(rows):
    return {row[0]: tuple(row) for row in rows}


def in_the_table(pipeline):
    columns = ", ".join(f'"{name}"' for name in ALL_NAMES)
    with pipeline.sql_client() as client:
        rows = client.execute_sql(f"SELECT {columns} FROM {client.make_qualified_table_name('worklogs')}")
    assert len(rows) == len({row[0] for row in rows})
    return by_id(rows)


def change_some(tracket_server):
    """Delete 5 worklogs, update 3 (the date of one of them), create 2; returns the ids that are gone."""
    ids = [worklog["worklogId"] for worklog in tracket_server.call(lambda emulator: emulator.worklogs())]

    async def change(client):
        for id_ in ids[20:25]:
            await client.worklogs.delete(id_)
        await client.worklogs.update(ids[0], WorklogChanges(minutes=1234, description=None))
        await client.worklogs.update(ids[1], WorklogChanges(description='O\'Neill \\ "ünï" \n🎉'))
        await client.worklogs.update(ids[2], WorklogChanges(date=dt.date(2019, 5, 6)))
        for number in (1, 2):
            await client.worklogs.create(
                NewWorklog(item_id="1", user_id="2", date=dt.date(2030, 1, number), minutes=number)
            )

    use(change)
    return ids[20:25]


def credentials_of(postgres):
    """The URL of the server with a host, which dlt insists on, also where it is a socket."""
    parts = urlsplit(postgres.url)
    host = parts.hostname or quote(dict(parse_qsl(parts.query)).get("host", ""), safe="")
    return f"postgresql://{parts.username}:{parts.password or 'none'}@{host}:{parts.port or 5432}{parts.path}"


# -- the three destinations --------------------------------------------------------------------------------------------


@pytest.mark.tracket(sample=300)
def test_a_table_of_duckdb_is_what_the_server_has(tracket_server, pipeline, caplog):
    info = pipeline.run(module.tracket_source())
    assert not info.has_failed_jobs
    assert in_the_table(pipeline) == on_the_server()
    gone = change_some(tracket_server)
    source = module.tracket_source()
    pipeline.run(source)
    now = in_the_table(pipeline)
    assert now == on_the_server()
    assert len(now) == 297
    assert not now.keys() & set(gone)
    before = tracket_server.call(lambda emulator: len(emulator.request_log))
    pipeline.run(source)
    assert tracket_server.call(lambda emulator: len(emulator.request_log)) - before < 10
    assert in_the_table(pipeline) == now
    with pipeline.sql_client() as client:
        categories = client.execute_sql("SELECT id, name FROM categories ORDER BY id")
    assert categories == sorted((each.id, each.name) for each in use(lambda client: client.categories.list()))
    assert [record for record in caplog.records if record.name.startswith("tracket")] == []


@pytest.mark.tracket(sample=20)
def test_the_code_of_the_docs_loads_worklogs(tracket_server):
    page = Path(__file__).parents[2] / "docs" / "pages" / "how-to" / "dlt.md"
    (code,) = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names = {}
    exec(compile(code, "dlt.md", "exec"), names)
    assert in_the_table(names["pipeline"]) == on_the_server()
    names["pipeline"].run(module.tracket_source(), refresh="drop_resources")
    assert in_the_table(names["pipeline"]) == on_the_server()


@pytest.mark.tracket(sample=50)
def test_a_table_of_postgresql_is_what_the_server_has(tracket_server, postgres):
    pytest.importorskip("psycopg2")
    pipeline = dlt.pipeline(
        "worklogs",
        pipelines_dir="pipelines",
        destination=dlt.destinations.postgres(credentials_of(postgres)),
        dataset_name=postgres.name,
    )
    for _ in range(2):
        pipeline.run(module.tracket_source())
        assert in_the_table(pipeline) == on_the_server()
        change_some(tracket_server)
    pipeline.run(module.tracket_source())
    assert in_the_table(pipeline) == on_the_server()
    assert len(in_the_table(pipeline)) == 44


@pytest.mark.tracket(sample=50)
def test_parquet_files_are_what_the_server_has(tracket_server, tmp_path):
    pipeline = pipeline_of(dlt.destinations.filesystem((tmp_path / "files").as_uri()))

    def in_the_files():
        files = sorted((tmp_path / "files" / "tracket" / "worklogs").glob("*.parquet"))
        tables = [parquet.read_table(file, partitioning=None).select(ALL_NAMES) for file in files]
        return by_id([*row.values()] for table in tables for row in table.to_pylist())

    pipeline.run(module.tracket_source(), loader_file_format="parquet")
    assert in_the_files() == on_the_server()
    change_some(tracket_server)
    pipeline.run(module.tracket_source(), loader_file_format="parquet")
    assert in_the_files() == on_the_server()
    assert pipeline.state["sources"]["tracket"]["resources"]["worklogs"]["mark"] is None


@pytest.mark.tracket(api="1.0", sample=50)
def test_on_api_1_each_run_fetches_everything(tracket_server, pipeline):
    pipeline.run(module.tracket_source())
    change_some(tracket_server)
    pipeline.run(module.tracket_source())
    assert in_the_table(pipeline) == on_the_server()
    assert "categories" not in pipeline.default_schema.data_table_names(include_incomplete=False)


# -- the selection -----------------------------------------------------------------------------------------------------


@pytest.mark.tracket(sample=200)
def test_a_worklog_that_leaves_the_selection_leaves_the_table(tracket_server, pipeline):
    middle = sorted(row[1] for row in on_the_server().values())[100]
    pipeline.run(module.tracket_source(since=middle))
    first = in_the_table(pipeline)
    assert first == on_the_server(since=middle)
    old = min(first)
    use(lambda client: client.worklogs.update(old, WorklogChanges(date=middle - dt.timedelta(days=1))))
    pipeline.run(module.tracket_source(since=middle))
    assert in_the_table(pipeline) == on_the_server(since=middle)
    assert first.keys() - in_the_table(pipeline).keys() == {old}
    pipeline.run(module.tracket_source())
    assert in_the_table(pipeline) == on_the_server()


@pytest.mark.tracket(sample=20)
def test_a_table_that_is_not_there_any_more_is_made_again(tracket_server, pipeline, monkeypatch):
    pipeline.run(module.tracket_source())
    with pipeline.sql_client() as client:
        client.drop_dataset()
    monkeypatch.setenv("RESTORE_FROM_DESTINATION", "false")  # or dlt would forget its state
    pipeline.run(module.tracket_source())
    assert in_the_table(pipeline) == on_the_server()


@pytest.mark.tracket(sample=20)
def test_a_preview_needs_no_pipeline(tracket_server):
    batches = list(module.tracket_source().worklogs)
    assert sum(batch.num_rows for batch in batches) == 20


# -- what may not be gone ----------------------------------------------------------------------------------------------


def fetched(mark, days, **settings):
    """The ids that a run finds gone, and those that it finds changed."""

    async def fetch():
        fetch = module._Fetch(client=TracketClient.from_env(), **{"since": None, "accept_deletions": False} | settings)
        gone, *changed = [table async for table in fetch.changes(mark, days)]
        return sorted(gone.column("id").to_pylist()), [
            id_ for table in changed for id_ in table.column("id").to_pylist()
        ]

    return asyncio.run(fetch())


@pytest.fixture
def days(tracket_server):
    return {id_: row[1] for id_, row in sorted(on_the_server().items())}


@pytest.fixture
def mark(tracket_server):
    async def last(client):
        return [batch.mark async for batch in client.worklogs.changes()][-1]

    return use(last)


@pytest.mark.tracket(sample=60)
def test_many_that_are_gone_at_once_stay_until_it_is_accepted(tracket_server, mark, days, caplog):
    ids = [*days][:21]
    tracket_server.call(lambda emulator: emulator.delete(ids[0]))
    assert fetched(mark, days) == ([ids[0]], [])
    for id_ in ids[1:]:
        tracket_server.call(lambda emulator, id_=id_: emulator.delete(id_))
    assert fetched(mark, days) == ([], [])
    assert "no longer lists 21 worklogs that the table has, and they are kept" in caplog.text
    assert fetched(mark, days, accept_deletions=True) == (ids, [])


@pytest.mark.tracket(sample=30)
def test_a_worklog_that_the_server_refuses_to_show_stays(tracket_server, mark, days, caplog):
    tracket_server.call(lambda emulator: emulator.delete(min(days)))
    rule = {"method": "GET", "route": "/timeEntries/{id}"}
    tracket_server.call(lambda emulator: emulator.faults.add(faults.Status(403), **rule))
    assert fetched(mark, days) == ([], [])
    assert "refuses to show 1 worklogs" in caplog.text


@pytest.mark.tracket(sample=30)
def test_a_worklog_that_is_only_not_listed_stays(tracket_server, mark, days, monkeypatch):
    async def differing(*_):
        return [[*days][3]]

    monkeypatch.setattr(module, "_differing", differing)
    assert fetched(mark, days) == ([], [[*days][3]])


@pytest.mark.tracket(sample=400)
def test_deletions_are_found_by_halving(tracket_server, mark, days, monkeypatch):
    monkeypatch.setattr(module, "FEW", 10)
    by_day = sorted(days, key=lambda id_: (days[id_], id_))
    gone = sorted([by_day[0], by_day[200], by_day[-1]])
    for id_ in gone:
        tracket_server.call(lambda emulator, id_=id_: emulator.delete(id_))
    assert fetched(mark, days) == (gone, [])
    assert fetched(mark, dict.fromkeys(days, days[gone[0]])) == (gone, [])  # no day can be halved
    assert fetched(mark, {}) == ([], [])


async def test_a_worklog_that_comes_twice_is_one_row(make_batch):
    @attrs.define
    class Client:
        worklogs = property(lambda self: self)

        async def __aenter__(self):
            return self

        async def __aexit__(self, *_):
            pass

        async def arrow(self, since, on_bad_row):
            for ids in (["a", "b"], ["b", "c"], ["a", "c"]):
                yield make_batch(ids)

    fetch = module._Fetch(client=Client(), since=None, accept_deletions=False)
    batches = [batch.column("id").to_pylist() async for batch in fetch.everything(follows=False)]
    assert batches == [[], ["a", "b"], ["c"], []]


@pytest.fixture
def make_batch():
    from tracket_async._api.fast import row_of
    from tracket_async.frames import arrow_batch, with_day
    from tracket_async.models import Worklog

    def make(ids):
        date = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
        return with_day(arrow_batch([row_of(Worklog(id=id_, user_id="u", date=date, minutes=1.0)) for id_ in ids]))

    return make


# -- failures ----------------------------------------------------------------------------------------------------------


@pytest.mark.tracket(sample=500)
def test_a_run_that_fails_leaves_the_mark_and_the_table(tracket_server, pipeline):
    pipeline.run(module.tracket_source())
    table, state = in_the_table(pipeline), pipeline.state["sources"]
    change_some(tracket_server)
    tracket_server.call(lambda emulator: emulator.faults.add(faults.Status(400), method="GET", nth=4))
    with pytest.raises(exceptions.PipelineStepFailed) as failed:
        pipeline.run(module.tracket_source())
    assert "400" in str(failed.value)
    assert in_the_table(pipeline) == table
    assert pipeline.state["sources"] == state
    pipeline.run(module.tracket_source())
    assert in_the_table(pipeline) == on_the_server()


@pytest.mark.tracket(sample=500)
def test_a_run_that_is_killed_anywhere_is_made_good_by_the_next(tracket_server, tmp_path):
    def die(point):
        done = subprocess.run([sys.executable, SCRIPT, point], capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == KILLED, done.stderr

    def run(times):
        pipeline = pipeline_of(dlt.destinations.duckdb(str(tmp_path / "worklogs.duckdb")))  # as of the processes before
        for _ in range(times):
            pipeline.run(module.tracket_source())
        assert in_the_table(pipeline) == on_the_server()

    run(1)
    change_some(tracket_server)
    die("extract")
    die("load")  # everything is in the table, and dlt has not taken note of it
    change_some(tracket_server)
    run(2)  # the first loads what the process has extracted, and no more


# -- credentials -------------------------------------------------------------------------------------------------------


@pytest.mark.tracket(sample=20)
def test_credentials_of_dlt_count_alone_and_stay_out_of_its_files(tracket_server, pipeline, monkeypatch, tmp_path):
    for name in CREDENTIALS:
        monkeypatch.setenv(name, "of-somebody-else")
    monkeypatch.delenv("TRACKET_API")
    monkeypatch.delenv("TRACKET_BASE_URL")
    settings = {"token": tracket_server.token, "base_url": tracket_server.base_url, "api": "2.0", "since": "2010-01-01"}
    for name, value in settings.items():
        monkeypatch.setenv(f"SOURCES__TRACKET__{name.upper()}", value)
    pipeline.run(module.tracket_source())
    assert len(in_the_table(pipeline)) == 20
    for file in [*Path("pipelines").rglob("*"), tmp_path / "worklogs.duckdb"]:
        assert not file.is_file() or tracket_server.token.encode() not in file.read_bytes(), file
    assert tracket_server.token not in repr(pipeline.last_trace)


def test_a_client_of_ones_own_is_used(tracket_server, pipeline, monkeypatch):
    for name in CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    env = tracket_server.env
    made = []

    def connect():
        made.append(TracketClient.from_env(env))
        return made[-1]

    pipeline.run(module.tracket_source(connect=connect))
    assert in_the_table(pipeline) == {}
    assert len(made) == 2


# -- the event loop ----------------------------------------------------------------------------------------------------


async def numbers(closed):
    try:
        for number in range(10):
            await asyncio.sleep(0)
            yield number
    finally:
        await asyncio.sleep(0)
        closed.append(asyncio.current_task())


async def test_an_async_generator_runs_beside_a_loop_in_one_task():
    closed = []
    threads = threading.active_count()
    assert list(module._iterate(lambda: numbers(closed))) == [*range(10)]
    assert len(closed) == 1
    assert threading.active_count() == threads


def test_an_async_generator_that_is_left_is_closed():
    closed = []
    iterator = module._iterate(lambda: numbers(closed))
    assert next(iterator) == 0
    iterator.close()
    assert len(closed) == 1


def test_an_error_of_an_async_generator_is_raised():
    async def failing():
        yield 1
        raise UsageError("no")

    iterator = module._iterate(failing)
    assert next(iterator) == 1
    with pytest.raises(UsageError, match="no"):
        next(iterator)


# -- rows that cannot be read ------------------------------------------------------------------------------------------


def test_a_row_that_cannot_be_read_is_handed_over_and_the_others_are_loaded(hostile, pipeline, monkeypatch):
    hostile.add(*hostile.make_rows(300))
    hostile.overlay = {"wl-0007": {"minutes": "many"}}
    for name, value in hostile.env("2.0").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Exception, match="wl-0007"):
        pipeline.run(module.tracket_source().with_resources("worklogs"))
    told = []

    def tell(row, error):
        told.append((json.loads(row)["id"], error.worklog_id))

    pipeline.run(module.tracket_source(on_bad_row=tell).with_resources("worklogs"))
    assert told == [("wl-0007", "wl-0007")]
    assert in_the_table(pipeline).keys() == hostile.rows.keys() - {"wl-0007"}

    # One more becomes so, and others are gone: the counts differ, and those that are not listed are asked for.
    del hostile.rows["wl-0020"], hostile.rows["wl-0022"]
    hostile.overlay["wl-0021"] = {"minutes": None}
    told.clear()
    pipeline.run(module.tracket_source(on_bad_row=tell).with_resources("worklogs"))
    assert sorted(told) == [("wl-0007", "wl-0007"), ("wl-0021", "wl-0021")]
    assert in_the_table(pipeline).keys() == hostile.rows.keys() - {"wl-0007"}

    with pytest.raises(Exception, match="wl-0021"):
        asyncio.run(get_one("wl-0021"))


async def get_one(id_):
    async with TracketClient.from_env() as client:
        await module._get(client, id_, None)
