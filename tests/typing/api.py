"""How the public API is typed, by use: checked by mypy and pyright, both strict, and never run."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import TypeAlias, assert_type

from tracket_async import (
    UNSET,
    Ambiguous,
    AmbiguousWriteError,
    ApprovalStatus,
    BadRequestError,
    BearerToken,
    Categories,
    Category,
    Change,
    ChangeBatch,
    ClientCredentials,
    Failed,
    Limits,
    MalformedResponseError,
    NewWorklog,
    NotSent,
    Ok,
    Outcome,
    Outcomes,
    Page,
    Paginator,
    Request,
    RequestError,
    RetryPolicy,
    Timeouts,
    TracketClient,
    TracketError,
    TracketSession,
    WithResponse,
    Worklog,
    WorklogChanges,
    WorklogFilter,
    Worklogs,
    WorklogTable,
    __version__,
)
from tracket_async._http.session import SessionStatistics
from tracket_async.events import Event, RequestEnded
from tracket_async.scan.parallel import ParallelScan, scan, worklog_format
from tracket_async.scan.partition import Batch, PartitionState, ScanSettings, ScanStatistics
from tracket_async.serialization import from_dict, from_wire, to_dict, to_wire

VERSION: str = __version__

MONDAY = dt.date(2024, 5, 6)
NOW = dt.datetime.now(dt.UTC)
IdAndChanges: TypeAlias = tuple[str, WorklogChanges]


def observe(event: Event) -> None:
    """An observer is any callable."""
    if isinstance(event, RequestEnded):
        assert_type(event.duration, float)


def construct() -> None:
    """Every setting."""
    client = TracketClient(
        auth=BearerToken("token", scheme="Bearer"),
        api="1.0",
        base_url="https://tracket.dev",
        timeouts=Timeouts(connect=1, total=None),
        retry=RetryPolicy(attempts=2, budget=None),
        limits=Limits(max_concurrency=4, requests_per_second=2.5),
        observers=[observe],
        cursor_parameter="cursor",
        start_date="day",
        user_agent="me/1",
        ssl=ssl.create_default_context(),
        proxy="http://127.0.0.1:3128",
        trust_env=True,
    )
    assert_type(client, TracketClient)
    assert_type(TracketClient(auth=None, page_size=50), TracketClient)
    assert_type(TracketClient(auth=ClientCredentials("id", "secret", 1234567)), TracketClient)
    assert_type(TracketClient.from_env(), TracketClient)
    assert_type(TracketClient.from_env({"TRACKET_TOKEN": "t"}, page_size=5), TracketClient)
    assert_type(client.with_options(timeout=1.5, attempts=1), TracketClient)
    assert_type(client.statistics(), SessionStatistics)
    assert_type(client.api, str)
    assert_type(client.base_url, str)
    assert_type(client.worklogs, Worklogs)
    assert_type(client.categories, Categories)
    TracketClient.from_env(page_size="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    TracketClient.from_env(pagesize=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert_type(client.with_options(headers={"X-Team": "blue"}, query={"tenant": "7"}), TracketClient)
    TracketClient(auth=None, api="3.0")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    TracketClient()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def operations() -> None:
    """Every operation."""
    async with TracketClient.from_env() as client:
        assert_type(client, TracketClient)
        walk = client.worklogs.list(since=MONDAY, until=NOW, size=10, read_ahead=2)
        assert_type(walk, Paginator)
        page = await walk
        assert_type(page, Page)
        assert_type(page.items, list[Worklog])
        assert_type(page.next_cursor, str | None)
        assert_type(page.has_next, bool)
        assert_type(await page.next(), Page)
        async for worklog in walk:
            assert_type(worklog, Worklog)
        assert_type(walk.pages("cursor"), AsyncGenerator[Page])
        async with aclosing(walk.items()) as worklogs:
            assert_type(await anext(worklogs), Worklog)
        assert_type(await client.worklogs.get("w"), Worklog)
        new = NewWorklog(item_id="i", user_id="u", date=MONDAY, minutes=1)
        assert_type(await client.worklogs.create(new), Worklog)
        assert_type(await client.worklogs.update("w", WorklogChanges(minutes=2, description=None)), Worklog)
        await client.worklogs.delete("w")
        assert_type(await client.categories.list(), list[Category])
        assert_type(client.worklogs.export(since=MONDAY, concurrency=4, ordered=True), AsyncGenerator[Worklog])
        async for batch in client.worklogs.changes(NOW, every=60):
            assert_type(batch.mark, str)
            assert_type(batch.changes, tuple[Change, ...])
        assert_type(client.worklogs.changes("mark"), AsyncGenerator[ChangeBatch])
        assert_type(await client.send(Request("GET", "/api/2.0/x", "/api/2.0/x"), lambda r: r.status), int)


async def responses(client: TracketClient) -> None:
    """A response stands beside a model of the same type."""
    beside = client.worklogs.with_response
    assert_type(await beside.get("w"), WithResponse[Worklog])
    assert_type((await beside.update("w", WorklogChanges(minutes=2))).model, Worklog)
    assert_type((await beside.delete("w")).model, str | None)
    assert_type((await beside.get("w")).request_id, str | None)


def dicts(worklog: Worklog) -> None:
    """A dict becomes the model that is asked for."""
    assert_type(from_dict(to_dict(worklog), NewWorklog), NewWorklog)
    assert_type(from_wire(to_wire(worklog, api="1.0"), api="1.0"), Worklog)


async def session() -> None:
    """The session manager sends any request, and returns what the parser returns."""
    async with TracketSession(
        "https://tracket.dev", auth=BearerToken("t"), limits=Limits(max_concurrency=2)
    ) as session:
        assert_type(session, TracketSession)
        request = Request("GET", "/api/2.0/timeEntries", "/api/2.0/timeEntries")
        assert_type(await session.send(request, lambda response: response.body), bytes)
        assert_type(session.statistics(), SessionStatistics)


async def many(client: TracketClient) -> None:
    """Bulk writes take iterables and async iterables, and keep the type of their items."""

    def news() -> Iterator[NewWorklog]:
        yield NewWorklog(item_id="i", user_id="u", date=MONDAY, minutes=1)

    async def ids() -> AsyncIterator[str]:
        yield "w"

    assert_type(client.worklogs.create_many(news(), concurrency=2, on_error="collect"), Outcomes[NewWorklog, Worklog])
    assert_type(client.worklogs.delete_many(ids()), Outcomes[str, None])
    updates = client.worklogs.update_many([("w", WorklogChanges(minutes=1))])
    async for outcome in updates:
        assert_type(outcome, Outcome[IdAndChanges, Worklog])
        assert_type(outcome.worklog, Worklog | None)
        assert_type(outcome.error, Exception | None)
        if outcome.status == "ok":
            assert_type(outcome, Ok[IdAndChanges, Worklog])
            assert_type(outcome.worklog.minutes, float)
        elif outcome.status == "failed":
            assert_type(outcome, Failed[IdAndChanges])
            assert_type(outcome.error, Exception)
        elif outcome.status == "ambiguous":
            assert_type(outcome, Ambiguous[IdAndChanges])
        else:
            assert_type(outcome, NotSent[IdAndChanges])
    updates.stop()
    assert_type(updates.leftover, tuple[Outcome[IdAndChanges, Worklog], ...])
    client.worklogs.create_many(["w"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


async def scans(client: TracketClient) -> None:
    """A scan keeps the type of its items."""
    settings = ScanSettings(item_format=worklog_format(client.api_version))
    run = await scan(client.send, client.api_version, WorklogFilter(since=MONDAY), settings)
    assert_type(run, ParallelScan[Worklog])
    async for batch in run.batches():
        assert_type(batch, Batch[Worklog])
        assert_type(batch.states, tuple[PartitionState, ...])
    assert_type(run.statistics(), ScanStatistics)


async def frames(client: TracketClient) -> None:
    """A table has a type of its own; what pyarrow, pandas and polars make has none."""
    assert_type(await client.open(), TracketClient)
    table = await client.worklogs.table(since=MONDAY)
    assert_type(table, WorklogTable)
    assert_type(len(table), int)
    async for batch in client.worklogs.arrow(since=MONDAY, concurrency=4):
        batch.num_rows  # noqa: B018


async def failures(client: TracketClient) -> None:
    """An error's data is typed."""
    try:
        await client.worklogs.get("w")
    except BadRequestError as error:
        assert_type(error.field, str | None)
    except MalformedResponseError as error:
        assert_type(error.json_path, str)
    except AmbiguousWriteError as error:
        assert_type(error.sent_at, dt.datetime | None)
        assert_type(await client.worklogs.reconcile(error), Worklog)
    except RequestError as error:
        assert_type(error.retry_after, float | None)
    except TracketError as error:
        assert_type(error.cursor, str | None)


def values(worklog: Worklog) -> None:
    """Values are immutable, and say what may be missing."""
    assert_type(worklog.date, dt.datetime)
    assert_type(worklog.day, dt.date)
    assert_type(worklog.item_id, str | None)
    assert_type(worklog.approval_status, ApprovalStatus | str | None)
    worklog.minutes = 5  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    WorklogChanges(description=UNSET, billable_minutes=None)
    WorklogChanges(minutes=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    WorklogFilter(sort_by="minutes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
