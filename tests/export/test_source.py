"""Requests of an export, made until they are answered."""

from __future__ import annotations

import datetime as dt
import random
from contextlib import aclosing

import pytest

from tracket_async._api import v2
from tracket_async._api.endpoints import RowPage
from tracket_async._api.fast import row_of
from tracket_async._http.limits import Clock
from tracket_async.changes import ServerTime
from tracket_async.emulator import faults
from tracket_async.errors import (
    AuthenticationError,
    BadRequestError,
    CertificateError,
    ConnectError,
    ExportError,
    GoneError,
    PermissionDeniedError,
    RateLimitedError,
    ServerError,
    UnreadableResponseError,
)
from tracket_async.export.source import OutagePolicy, Source
from tracket_async.models import Worklog, WorklogFilter

EVERYTHING = WorklogFilter()
HERE = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)


class FakeTime:
    """A clock that moves only when somebody sleeps."""

    def __init__(self):
        self.now = 1000.0
        self.sleeps = []

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.sleeps.append(seconds)
        self.now += seconds


@pytest.fixture
def clock():
    return FakeTime()


@pytest.fixture
def source_of(clock):
    def make(client, *, now=HERE, **patience):
        chosen = Clock(
            time=clock,
            sleep=clock.sleep,
            random=random.Random(1).random,
            now=lambda: now,
        )
        return Source(client, patience=OutagePolicy(**patience), clock=chosen)

    return make


def failing(*errors):
    """A call that raises the errors one after the other, then returns."""
    left = list(errors)

    async def call():
        if left:
            raise left.pop(0)
        return "answer"

    return call


@pytest.fixture
def source(source_of):
    class Client:
        api_version = v2.api_version()

        def with_options(self, **_options):
            return self

    return source_of(Client())


async def test_before_the_first_answer_an_error_is_final(source, clock):
    with pytest.raises(ServerError):
        await source.call_until_answered(failing(ServerError("down")))
    assert clock.sleeps == []


@pytest.mark.parametrize(
    "error",
    [CertificateError("expired"), ConnectError("refused", status=407), ServerError("never", status=501)],
    ids=lambda error: type(error).__name__,
)
async def test_a_permanent_fault_is_not_waited_for(source, error):
    await source.call_until_answered(failing())
    with pytest.raises(type(error)):
        await source.call_until_answered(failing(error))


@pytest.mark.parametrize(
    ("excerpts", "waits"),
    [
        (['{"items": [', '{"items": ['], 1),
        (['{"items": [', '{"items": [{', '{"items": [{'], 2),
        (["<html>", '["', '["'], 2),
        (["<html>", "<html>", "", None, None, "["], None),
    ],
)
async def test_broken_json_that_comes_twice_alike_is_not_waited_for(source, clock, excerpts, waits):
    await source.call_until_answered(failing())
    errors = [UnreadableResponseError("broken", excerpt=excerpt) for excerpt in excerpts]
    if waits is None:
        assert await source.call_until_answered(failing(*errors)) == "answer"
    else:
        with pytest.raises(UnreadableResponseError):
            await source.call_until_answered(failing(*errors))
        assert len(clock.sleeps) == waits


async def test_after_it_the_call_is_made_until_it_is_answered_at_growing_intervals(source, clock):
    await source.call_until_answered(failing())
    errors = [ServerError("down"), UnreadableResponseError("page"), RateLimitedError("slow", retry_after=50.0)] * 3
    assert await source.call_until_answered(failing(*errors)) == "answer"
    waits = [1, 2, 50, 8, 16, 50, 30, 30, 50]
    assert all(wait / 2 <= slept <= wait for wait, slept in zip(waits, clock.sleeps, strict=True))
    assert [slept for wait, slept in zip(waits, clock.sleeps, strict=True) if wait == 50] == [50] * 3


async def test_it_says_that_it_waits_and_why_while_it_does(source, clock):
    await source.call_until_answered(failing())
    said = []

    async def sleep(seconds):
        said.append(source.waiting)

    told = []
    source._on_waiting = told.append
    source._clock = Clock(time=clock, sleep=sleep)
    await source.call_until_answered(failing(*[ServerError("down", status=503)] * 2))
    assert "down" in said[0]
    assert source.waiting is None
    assert told == [said[0], None]  # at once, and each reason once


async def test_it_gives_up_when_nothing_has_arrived_for_too_long(source, clock):
    await source.call_until_answered(failing())
    begun = clock.now
    down = ServerError("down")
    with pytest.raises(ExportError, match=r"gives up, no answer for \d+ s: down.*Run the same again") as caught:
        await source.call_until_answered(failing(*[down] * 100))
    assert caught.value.__cause__ is down
    assert caught.value.fault == "server"
    assert 900 <= clock.now - begun < 931


async def test_any_answer_renews_the_patience(source, clock):
    await source.call_until_answered(failing())
    for _ in range(3):
        clock.now += 899
        assert await source.call_until_answered(failing(ServerError("down"))) == "answer"


async def test_a_wait_that_is_longer_than_the_patience_is_not_begun(source, clock):
    await source.call_until_answered(failing())
    with pytest.raises(ExportError, match="the server asks to wait 3600 s"):
        await source.call_until_answered(failing(RateLimitedError("slow", retry_after=3600.0)))
    assert clock.sleeps == []


async def test_what_waiting_does_not_mend_is_raised_at_once(source, clock):
    await source.call_until_answered(failing())
    with pytest.raises(AuthenticationError):
        await source.call_until_answered(failing(AuthenticationError("no")))
    assert clock.sleeps == []


async def test_a_walk_outlives_an_outage(running, source_of, clock, route):
    async with running(sample=500, client={"page_size": None}) as (emulator, client):
        source = source_of(client)
        await source.count(EVERYTHING)
        emulator.faults.add(faults.Status(503), route=route, cursor=True, times=9)
        run = await source.scan(EVERYTHING, concurrency=1)
        async with aclosing(run.batches()) as batches:
            rows = [row async for batch in batches for row in batch.items]
        assert len({row.id for row in rows}) == len(rows) == 500
    assert len(clock.sleeps) == 3  # three calls of three attempts each


async def test_a_count_is_the_total_where_there_is_one(running, source_of, api):
    async with running(sample=120) as (_, client):
        assert await source_of(client).count(EVERYTHING) == (120 if api == "2.0" else None)


@pytest.mark.parametrize(
    ("bounds", "count"),
    [
        ({"created_until": dt.date(2024, 5, 20)}, 2),
        ({"created_until": dt.datetime(2024, 5, 21, tzinfo=dt.UTC)}, 4),
        ({"created_since": dt.datetime(2024, 5, 20, 23, 59, 59, 999_400, tzinfo=dt.UTC)}, 3),
        ({"created_until": dt.date(2024, 5, 20), "updated_until": dt.date(2024, 5, 20)}, 1),
    ],
)
async def test_a_count_does_not_contain_what_the_filter_leaves_out_of_a_millisecond(
    on_2, source_of, some_worklog, bounds, count
):
    midnight = "2024-05-21T00:00:00.000Z"
    seed = [
        some_worklog(1, createdDate="2024-05-20T12:00:00.000Z", updatedDate="2024-05-20T12:00:00.000Z"),
        some_worklog(2, createdDate="2024-05-20T23:59:59.999Z", updatedDate=midnight),
        some_worklog(3, createdDate=midnight, updatedDate=midnight),
        some_worklog(4, createdDate=midnight),
        some_worklog(5, createdDate="2024-05-22T00:00:00.000Z"),
    ]
    async with on_2(seed=seed) as (_, client):
        assert await source_of(client).count(WorklogFilter(**bounds)) == count


async def test_the_servers_time_is_that_of_its_date_header(running, source_of):
    async with running(sample=1, wall=lambda: 1_700_000_000.0) as (_, client):
        assert (await source_of(client).times(EVERYTHING)).now == dt.datetime.fromtimestamp(1_700_000_000, dt.UTC)


def page_without_date(**rows):
    async def page(wanted, cursor, size):
        return RowPage(items=rows.get(wanted.sort_by, []))

    return page


UNDATED = row_of(Worklog(id="1", date=HERE, minutes=1.0))


@pytest.mark.parametrize(
    ("counts", "rows", "mark"),
    [(False, [], HERE), (True, [UNDATED], HERE), (True, [], dt.datetime(1970, 1, 1, tzinfo=dt.UTC))],
)
async def test_without_a_date_header_this_machines_time_is_taken(source, monkeypatch, counts, rows, mark):
    monkeypatch.setattr(source, "_page", page_without_date(updated_date=rows, created_date=rows))
    source.counts = counts
    assert await source.times(EVERYTHING) == ServerTime(now=HERE, mark=mark)


@pytest.mark.parametrize(
    ("skew", "created", "updated", "mark", "said"),
    [
        (0, "2024-05-01T00:00:00.000Z", None, "2024-05-01T00:00:00+00:00", False),
        (0, "2024-05-01T00:00:00.000Z", "2024-05-03T00:00:00.000Z", "2024-05-03T00:00:00+00:00", False),
        (0, "2024-05-01T00:00:00.000Z", "2024-06-01T00:04:00.000Z", "2024-06-01T00:00:00+00:00", False),
        (0, "2024-05-01T00:00:00.000Z", "2024-06-01T00:06:00.000Z", "2024-06-01T00:00:00+00:00", True),
        (86400, "2024-05-31T23:00:00.000Z", None, "2024-05-31T23:00:00+00:00", True),
        (86400, "2024-06-02T00:00:00.000Z", None, "2024-06-02T00:00:00+00:00", False),
    ],
)
async def test_a_mark_is_never_ahead_of_the_dates_or_of_the_header(
    on_2, source_of, some_worklog, caplog, skew, created, updated, mark, said
):
    now = dt.datetime(2024, 6, 1, tzinfo=dt.UTC)
    seed = [some_worklog(1, createdDate="2024-01-01T00:00:00.000Z"), some_worklog(2, createdDate=created)]
    async with on_2(seed=[seed[0], seed[1] | {"updatedDate": updated}], wall=now.timestamp) as (emulator, client):
        emulator.faults.add(faults.ClockSkew(skew))
        source = source_of(client, now=now)
        times = [await source.times(EVERYTHING) for _ in range(2)]
    assert {each.mark for each in times} == {dt.datetime.fromisoformat(mark)}
    assert {each.now for each in times} == {now + dt.timedelta(seconds=skew)}
    assert caplog.text.count("clocks disagree") == said


async def test_pages_are_everything(running, source_of):
    async with running(sample=250) as (emulator, client):
        lists = [len(rows) async for rows in source_of(client).pages(EVERYTHING)]
        assert sum(lists) == emulator.count
        assert len(lists) == 3


@pytest.mark.parametrize(("status", "error"), [(400, BadRequestError), (410, GoneError)])
async def test_a_refused_cursor_begins_again_once(running, source_of, route, status, error):
    async with running(sample=250) as (emulator, client):
        emulator.faults.add(faults.RefusedCursor(status), route=route, cursor=True, nth=2)
        rows = [row async for rows in source_of(client).pages(EVERYTHING) for row in rows]
        assert len({row.id for row in rows}) == 250
        assert len(rows) == 450
        emulator.faults.add(faults.RefusedCursor(status), route=route, cursor=True)
        with pytest.raises(error):
            [rows async for rows in source_of(client).pages(EVERYTHING)]


async def test_a_first_page_that_is_refused_is_an_error(running, source_of, route):
    async with running(sample=10) as (emulator, client):
        emulator.faults.add(faults.Status(400), route=route)
        with pytest.raises(BadRequestError):
            [rows async for rows in source_of(client).pages(EVERYTHING)]


async def test_a_single_worklog_is_a_row_or_none_when_it_is_gone(running, source_of, api):
    async with running(seed=None, sample=3) as (emulator, client):
        source = source_of(client)
        ids = [worklog["worklogId"] for worklog in emulator.worklogs()]
        row = await source.row(ids[0])
        assert row.id == ids[0]
        emulator.delete(ids[0])
        assert await source.row(ids[0]) is None
        emulator.faults.add(faults.Status(403), method="GET")
        assert isinstance(await source.row(ids[1]), PermissionDeniedError)
