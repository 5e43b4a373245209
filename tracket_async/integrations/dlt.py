"""A source of worklogs and categories for dlt: ``pipeline.run(tracket_source())``. Needs the extra ``dlt``.

The worklogs are Arrow tables, with the columns and the types of exported files.

* The first run fetches everything, and replaces what the table has. The state of dlt keeps the mark of
  `Worklogs.changes`, which is of the server's clock. dlt keeps the state when all worklogs have been extracted, and
  loads what it has extracted before it extracts anew; so no failure gets the mark ahead of the table.
* A later run fetches what was created or updated since the mark. Then it compares the days of the table with the
  server's counts of worklogs, and asks by its id for what is no longer listed. What is gone is a row whose column
  ``deleted`` is true, on which dlt deletes the row of that id.
* A mark is of no use on API 1.0, which tells neither changes nor counts, and where a destination cannot merge (Parquet
  files). There each run is a first run.
"""

import asyncio
import datetime as dt
import logging
import os
import queue
from bisect import bisect_left
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from functools import partial
from operator import itemgetter
from typing import Any, Final, TypeVar

import attrs
import dlt
from dlt.common.destination.exceptions import SqlClientNotAvailable
from dlt.common.typing import TSecretStrValue
from dlt.destinations.exceptions import DatabaseUndefinedRelation

from tracket_async._api.fast import row_of
from tracket_async._tasks import gather
from tracket_async.client import API, BASE_URL, CREDENTIALS, TOKEN, TracketClient
from tracket_async.errors import MalformedResponseError, NotFoundError, PermissionDeniedError
from tracket_async.export.phases import FEW, GONE_FEW, GONE_SHARE
from tracket_async.frames import ALL_NAMES, BATCH_ROWS, DAY, arrow_batch, arrow_schema, pyarrow, with_day
from tracket_async.models import OnBadRow, Worklog, WorklogFilter

T = TypeVar("T")
Connect = Callable[[], TracketClient]

DELETED: Final = "deleted"
_AT_ONCE: Final = 100
"""So many worklogs are asked for by their ids at once."""
_day_of: Final = itemgetter(0)
_ONE_DAY: Final = dt.timedelta(days=1)
_logger: Final = logging.getLogger("tracket_async")


@dlt.source(name="tracket", section="tracket")
def tracket_source(
    *,
    since: dt.date | None = None,
    accept_deletions: bool = False,
    on_bad_row: OnBadRow | None = None,
    connect: Callable[[], TracketClient] | None = None,
    api: str | None = None,
    base_url: str | None = None,
    token: TSecretStrValue | None = None,
    client_id: str | None = None,
    client_secret: TSecretStrValue | None = None,
    account_id: str | None = None,
) -> Any:
    """Return a source with the resources ``worklogs`` and ``categories`` (API 2.0).

    Every argument can be in dlt's configuration, in ``[sources.tracket]`` of ``config.toml`` and ``secrets.toml``, or
    in variables such as ``SOURCES__TRACKET__TOKEN``. Without credentials there, `TracketClient.from_env` takes them
    from the environment. None of them gets into the state or the traces of dlt.

    Args:
        since: the first date; None: unbounded. With another date, the next run fetches everything again.
        accept_deletions: delete what the server no longer has, however much it is. Else nothing is deleted, and a
            warning is logged, when more than 5 % of the worklogs and more than 20 are gone at once: perhaps the
            credentials may see less than before.
        on_bad_row: called with each row whose id, date or minutes cannot be read, as the server sent it, and the error;
            once a run. Such a row is not loaded; a worklog that the table has stays as it was. None: such a row is an
            error.
        connect: returns a client that is not open, for settings of your own. None: one with the settings below.
        api: ``"2.0"`` or ``"1.0"``. None: TRACKET_API, else ``"2.0"``.
        base_url: origin of the server. None: TRACKET_BASE_URL, else the vendor's.
        token: an access token, in place of the next three.
        client_id: see `ClientCredentials`.
        client_secret: see `ClientCredentials`.
        account_id: see `ClientCredentials`.
    """
    settings = {API: api, BASE_URL: base_url, TOKEN: token}
    settings |= dict(zip(CREDENTIALS, (client_id, client_secret, account_id), strict=True))
    how = connect or partial(_connect, {name: value for name, value in settings.items() if value})
    # Not parallelized: the state is written by the thread that runs the pipeline.
    worklogs = dlt.resource(
        _worklogs, name="worklogs", write_disposition="merge", primary_key="id", section="tracket", selected=True
    )
    categories = dlt.resource(
        _categories, name="categories", write_disposition="replace", primary_key="id", section="tracket", selected=True
    )
    return worklogs(how, since, accept_deletions, on_bad_row), categories(how)


def _connect(settings: Mapping[str, str]) -> TracketClient:
    environ = dict(os.environ)
    credentials = {TOKEN, *CREDENTIALS}
    if not credentials.isdisjoint(settings):  # those of one place only
        environ = {name: value for name, value in environ.items() if name not in credentials}
    return TracketClient.from_env({**environ, **settings})


def _categories(connect: Connect) -> Generator[list[dict[str, Any]]]:
    client = connect()

    async def fetch() -> AsyncGenerator[list[dict[str, Any]]]:
        async with client:
            yield [attrs.asdict(category) for category in await client.categories.list()]

    if client.api_version.categories_path is not None:
        yield from _iterate(fetch)


def _worklogs(
    connect: Connect,
    since: dt.date | None,
    accept_deletions: bool,  # noqa: FBT001
    on_bad_row: OnBadRow | None,
) -> Generator[Any]:
    state, client = dlt.current.resource_state(), connect()
    source = [client.api, client.base_url, client.account, None if since is None else since.isoformat()]
    destination: Any = dlt.current.pipeline().destination  # None in a preview, without a pipeline
    strategies: Any = [] if destination is None else destination.capabilities().supported_merge_strategies or []
    follows = "delete-insert" in strategies and client.api_version.has_total
    days = _days() if follows and state.get("mark") is not None and state.get("source") == source else None
    tell = None if on_bad_row is None else _once(on_bad_row)
    fetch = _Fetch(client=client, since=since, accept_deletions=accept_deletions, on_bad_row=tell)
    if days is None:
        hints = dlt.mark.make_hints(write_disposition="replace")
        batches = _iterate(partial(fetch.everything, follows=follows))
    else:
        deleted: Any = {DELETED: {"data_type": "bool", "hard_delete": True}}
        hints = dlt.mark.make_hints(write_disposition="merge", columns=deleted)
        batches = _iterate(partial(fetch.changes, state["mark"], days))
    for batch in batches:
        # Hints outlive a run in the source object, so every run gives its own: there is always a batch.
        yield dlt.mark.with_hints(batch, hints)
    state.update(source=source, mark=fetch.mark)


def _once(on_bad_row: OnBadRow) -> OnBadRow:
    told = set[bytes]()

    def tell(row: bytes, error: MalformedResponseError) -> None:
        if row not in told:
            told.add(row)
            on_bad_row(row, error)

    return tell


def _days() -> dict[str, dt.date] | None:
    """Return the day of each worklog that the table has, by id; None: there is no table, or it cannot be read."""
    schema, pipeline = dlt.current.source_schema(), dlt.current.pipeline()
    name = dlt.current.source().resources[dlt.current.resource_name()].table_name
    try:
        with pipeline.sql_client(schema_name=schema.name) as client:
            table = client.make_qualified_table_name(schema.naming.normalize_table_identifier(str(name)))
            id_, day = (client.escape_column_name(schema.naming.normalize_identifier(each)) for each in ("id", DAY))
            with client.execute_query(f"SELECT {id_}, {day} FROM {table}") as rows:  # noqa: S608 - escaped by dlt
                return dict(rows.fetchall())
    except (DatabaseUndefinedRelation, SqlClientNotAvailable):
        return None


@attrs.define(kw_only=True)
class _Fetch:
    """The tables of Arrow that one run fetches.

    Attributes:
        client: not open.
        since: see `tracket_source`.
        accept_deletions: see `tracket_source`.
        on_bad_row: see `tracket_source`.
        mark: with which the next run goes on, when this one is at its end; None: with no mark.
    """

    client: TracketClient
    since: dt.date | None
    accept_deletions: bool
    on_bad_row: OnBadRow | None = None
    mark: str | None = None

    async def everything(self, *, follows: bool) -> AsyncGenerator[Any]:
        """Yield an empty table, then all worklogs, each id once.

        Args:
            follows: whether another run will go on from the mark.
        """
        yield arrow_schema(ALL_NAMES).empty_table()
        async with self.client as client:
            if follows:
                self.mark = [look.mark async for look in client.worklogs.changes(on_bad_row=self.on_bad_row)][-1]
            seen = set[str]()
            async with aclosing(client.worklogs.arrow(since=self.since, on_bad_row=self.on_bad_row)) as batches:
                async for batch in batches:
                    # A worklog whose date is changed meanwhile may come twice. The next run brings its change.
                    known = [id_ in seen for id_ in batch.column("id").to_pylist()]
                    seen.update(batch.column("id").to_pylist())
                    yield batch.filter(pyarrow().array([not one for one in known], pyarrow().bool_()))

    async def changes(self, mark: str, days: dict[str, dt.date]) -> AsyncGenerator[Any]:
        """Yield the rows of what is gone, in a table that may be empty, then what has changed since the mark.

        Args:
            mark: of the run before.
            days: the day of each worklog in the table, by id.
        """
        self.mark, latest = mark, dict[str, Worklog | None]()
        async with self.client as client:
            wanted = client.api_version.resolve(WorklogFilter(since=self.since))
            async with aclosing(client.worklogs.changes(mark, on_bad_row=self.on_bad_row)) as looks:
                async for look in looks:
                    worklogs = [change.worklog for change in look.changes]
                    latest.update((each.id, each if wanted.matches(each) else None) for each in worklogs)
                    self.mark = look.mark
            days = {id_: day for id_, day in days.items() if id_ not in latest}
            days.update((id_, worklog.day) for id_, worklog in latest.items() if worklog is not None)
            for id_, found in (await self._unlisted(client, days)).items():
                latest[id_] = found if found is not None and wanted.matches(found) else None
        yield _gone([id_ for id_, worklog in latest.items() if worklog is None])
        rows = [row_of(worklog) for worklog in latest.values() if worklog is not None]
        for at in range(0, len(rows), BATCH_ROWS):
            yield with_day(arrow_batch(rows[at : at + BATCH_ROWS]))

    async def _unlisted(self, client: TracketClient, days: Mapping[str, dt.date]) -> dict[str, Worklog | None]:
        """Return the worklogs that the server does not list any more, by id; None: it is gone."""
        listed = sorted((day, id_) for id_, day in days.items())
        ids, found = await _differing(client, listed, self.since, None, self.on_bad_row), dict[str, Worklog | None]()
        if len(ids) > max(GONE_FEW, GONE_SHARE * len(days)) and not self.accept_deletions:
            _kept("no longer lists", len(ids))
            return found
        refused = 0
        for at in range(0, len(ids), _AT_ONCE):
            part = ids[at : at + _AT_ONCE]
            for id_, worklog in zip(
                part, await gather(*(_get(client, id_, self.on_bad_row) for id_ in part)), strict=True
            ):
                if isinstance(worklog, PermissionDeniedError):
                    refused += 1
                elif not isinstance(worklog, MalformedResponseError):
                    found[id_] = worklog
        if refused:
            _kept("refuses to show", refused)
        return found


def _kept(problem: str, number: int) -> None:
    _logger.warning(
        "The server %s %s worklogs that the table has, and they are kept: perhaps these credentials may see less than"
        " those of before. If they are deleted indeed, run tracket_source(accept_deletions=True) once",
        problem,
        f"{number:,}",
    )


async def _get(
    client: TracketClient, id_: str, on_bad_row: OnBadRow | None
) -> Worklog | PermissionDeniedError | MalformedResponseError | None:
    try:
        return await client.worklogs.get(id_)
    except NotFoundError:
        return None
    except PermissionDeniedError as error:
        return error
    except MalformedResponseError as error:
        if on_bad_row is None:
            raise
        return error  # a list has shown it as well


async def _differing(
    client: TracketClient,
    here: Sequence[tuple[dt.date, str]],
    since: dt.date | None,
    until: dt.date | None,
    on_bad_row: OnBadRow | None,
) -> list[str]:
    """Return the ids of the worklogs that the server does not list between two dates, both included.

    Where the server's count is another than that of the table, each half of the worklogs is looked at.

    Args:
        client: open.
        here: the worklogs of the table between the dates, in the order of their days.
        since: the first date; None: unbounded.
        until: the last date; None: unbounded.
        on_bad_row: see `tracket_source`.
    """
    if not here:
        return []
    wanted = partial(client.worklogs.list, since=since, until=until, on_bad_row=on_bad_row)
    page = await wanted(size=client.api_version.smallest_page)
    if page.total == len(here):
        return []
    if len(here) <= FEW or here[0][0] == here[-1][0]:
        there = {worklog.id async for worklog in wanted()}
        return [id_ for _, id_ in here if id_ not in there]
    middle = here[len(here) // 2][0]
    at = bisect_left(here, middle, key=_day_of) or bisect_left(here, middle + _ONE_DAY, key=_day_of)
    day = here[at][0]
    earlier, later = await gather(
        _differing(client, here[:at], since, day - _ONE_DAY, on_bad_row),
        _differing(client, here[at:], day, until, on_bad_row),
    )
    return [*earlier, *later]


def _gone(ids: Sequence[str]) -> Any:
    """Return a table of rows that dlt deletes the rows of these ids for; other columns have a value that is no null."""
    pa, schema = pyarrow(), arrow_schema(ALL_NAMES)
    columns = [
        pa.nulls(len(ids), field.type)
        if field.nullable
        else pa.repeat(pa.scalar("{}" if field.type == pa.string() else 0, field.type), len(ids))
        for field in schema
    ]
    table = pa.Table.from_arrays(columns, schema=schema)
    table = table.set_column(0, schema.field(0), pa.array(ids, pa.string()))
    return table.append_column(DELETED, pa.repeat(pa.scalar(value=True), len(ids)))


# -- async generators in a program that is not async -----------------------------------------------------------------

_AHEAD: Final = 2
"""Batches that are fetched while dlt writes one."""
_END: Final = object()


def _iterate(make: Callable[[], AsyncGenerator[T]]) -> Generator[T]:
    """Yield what an async generator yields. It runs in one task, on an event loop in a thread of its own.

    dlt can iterate over async generators itself, but each step is another task there, and a generator that is left in
    the middle is not closed before its loop stops. A loop of this thread, in a notebook, say, may be running.
    """
    runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)  # with a factory, it is not the loop of this thread
    loop, room = runner.get_loop(), asyncio.Semaphore(_AHEAD)
    handed: queue.SimpleQueue[Any] = queue.SimpleQueue()

    async def pump() -> None:
        handed.put(asyncio.current_task())
        async with aclosing(make()) as items:
            async for item in items:
                await room.acquire()
                handed.put(item)

    def work() -> None:
        try:
            with runner:
                runner.run(pump())
        finally:
            handed.put(_END)

    def tell(callback: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop is closed, because there was nothing more
            loop.call_soon_threadsafe(callback)

    with ThreadPoolExecutor(1, thread_name_prefix="tracket") as thread:
        done = thread.submit(work)
        task = handed.get()
        try:
            while (item := handed.get()) is not _END:
                yield item
                tell(room.release)
        finally:
            tell(task.cancel)
        done.result()
