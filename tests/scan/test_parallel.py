"""The workers: concurrency, back-pressure, failures, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import datetime as dt
import importlib.util
from contextlib import aclosing
from pathlib import Path

import pytest

from tracket_async.client import TracketClient
from tracket_async.errors import BadRequestError, ClientStateError, GoneError, ServerError, UsageError
from tracket_async.models import WorklogFilter
from tracket_async.scan.parallel import ParallelScan, scan, worklog_format
from tracket_async.scan.partition import DateRange, PartitionState, ScanSettings

_spec = importlib.util.spec_from_file_location("scan_servers", Path(__file__).with_name("servers.py"))
servers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(servers)
DAY, MICROSECOND, START, Server, rows_of = (
    servers.DAY,
    servers.MICROSECOND,
    servers.START,
    servers.Server,
    servers.rows_of,
)
ROWS = rows_of(number % 50 for number in range(400))
RANGE = DateRange(since=START, until=START + 50 * DAY - MICROSECOND, enforced=True)


class Slow:
    """A server whose every page takes a while; counts what is on its way."""

    def __init__(self, rows=ROWS, *, size=10, seconds=0.05, fail=None, **settings):
        self.server = Server(rows, size=size, **settings)
        self.seconds = seconds
        self.fail = fail or {}
        self.now = self.most = self.count = self.cancelled = 0

    async def __call__(self, since, until, cursor):
        self.count += 1
        number = self.count
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.now -= 1
        if number in self.fail:
            raise self.fail[number]
        return self.server(since, until, cursor)


def run_of(fetch, dates=RANGE, **settings):
    keep = settings.pop("keep", None)
    return ParallelScan(fetch, dates, ScanSettings(item_format=servers.ITEMS, **settings), keep=keep)


async def collect(got, run):
    async for batch in run.batches():
        got += batch.items


async def everything(run):
    return [item async for batch in run.batches() for item in batch.items]


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("concurrency", [1, 2, 8])
def test_so_many_pages_are_on_their_way_at_once_and_never_more(virtually, concurrency, ordered):
    server = Slow()
    got = virtually(everything(run_of(server, concurrency=concurrency, ordered=ordered)))
    assert sorted(got) == sorted(ROWS)
    assert server.most == concurrency


def test_a_page_less_does_not_leave_a_worker_idle(virtually):
    """40 pages in partitions of their own, 8 workers: little more than 5 rounds."""

    async def timed():
        loop = asyncio.get_running_loop()
        await everything(run_of(Slow(seconds=1.0), concurrency=8))
        return loop.time()

    assert virtually(timed()) < 8


def test_what_is_not_taken_is_not_fetched(virtually):
    async def main():
        server = Slow(size=1)
        run = run_of(server, concurrency=4)
        async with aclosing(run.batches()) as batches:
            await anext(batches)
            await asyncio.sleep(100)
            waiting = server.count
            assert waiting <= 1 + 2 * 4
            await anext(batches)
            await asyncio.sleep(100)
            assert server.count <= waiting + 1

    virtually(main())


def test_closing_cancels_and_awaits_what_is_on_its_way(virtually):
    async def main():
        server = Slow()
        run = run_of(server, concurrency=4)
        async with aclosing(run.batches()) as batches:
            await anext(batches)
            await asyncio.sleep(0)
            flying = server.now
            assert flying > 0
        assert (server.now, server.cancelled) == (0, flying)
        assert run.statistics().active == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtually(main())


def test_cancelling_whoever_iterates_leaves_nothing_behind(virtually):
    async def main():
        server = Slow()
        task = asyncio.create_task(everything(run_of(server, concurrency=4)))
        await asyncio.sleep(0.12)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert server.now == 0

    virtually(main())


def test_after_closing_it_goes_on_where_it_was(virtually):
    async def main():
        run = run_of(Slow(), concurrency=4)
        got = []
        for _ in range(5):
            async with aclosing(run.batches()) as batches:
                async for batch in batches:
                    got += batch.items
                    if len(got) % 3 == 0:
                        break
        got += await everything(run)
        assert sorted(got) == sorted(ROWS)
        assert await everything(run) == []
        assert run.statistics().partitions_open == 0

    virtually(main())


def test_an_error_comes_after_what_had_arrived_and_the_run_can_go_on(virtually):
    async def main():
        run = run_of(Slow(fail={9: ServerError("down"), 10: ServerError("down, too")}), concurrency=4)
        got = []
        with pytest.raises(ServerError):
            await collect(got, run)
        assert len(got) >= 4 * 10
        got += await everything(run)
        assert sorted(got) == sorted(ROWS)

    virtually(main())


def test_an_error_carries_the_cursor_of_its_page(virtually):
    async def main():
        run = run_of(Slow(fail={2: ServerError("down")}), concurrency=1)
        with pytest.raises(ServerError) as caught:
            await everything(run)
        assert caught.value.cursor == "10"

    virtually(main())


@pytest.mark.parametrize("error", [GoneError, BadRequestError])
def test_a_refused_cursor_is_no_error(virtually, error):
    async def main():
        refusals = {number: error("cursor") for number in (6, 7, 12, 25)}
        run = run_of(Slow(fail=refusals), concurrency=4)
        assert sorted(await everything(run)) == sorted(ROWS)
        assert run.statistics().refused_cursors == 4

    virtually(main())


def test_a_refused_first_page_is_an_error(virtually):
    async def main():
        with pytest.raises(BadRequestError) as caught:
            await everything(run_of(Slow(fail={1: BadRequestError("fields.date")}), concurrency=1))
        assert caught.value.cursor is None

    virtually(main())


def test_an_error_that_is_not_ours_comes_through(virtually):
    async def main():
        with pytest.raises(ZeroDivisionError):
            await everything(run_of(Slow(fail={3: ZeroDivisionError()}), concurrency=2))

    virtually(main())


def test_a_fetch_that_is_cancelled_from_elsewhere_does_not_leave_the_run_waiting(virtually):
    async def main():
        with pytest.raises(asyncio.CancelledError):
            await everything(run_of(Slow(fail={3: asyncio.CancelledError()}), concurrency=2))

    virtually(main())


def test_two_tasks_cannot_iterate_one_run(virtually):
    async def main():
        run = run_of(Slow(), concurrency=2)
        async with aclosing(run.batches()) as batches:
            await anext(batches)
            with pytest.raises(ClientStateError, match="already"):
                await anext(run.batches())

    virtually(main())


def test_what_the_server_cannot_filter_is_left_out(virtually):
    run = run_of(Slow(), keep=lambda row: row[1].endswith("7"))
    assert sorted(virtually(everything(run))) == sorted(row for row in ROWS if row[1].endswith("7"))
    assert run.statistics().worklogs == 40


@pytest.mark.parametrize("compare_total", [False, True])
async def test_days_that_are_no_instants_are_read_whether_or_not_totals_are_compared(hostile, compare_total):
    hostile.add(*hostile.make_rows(30))
    hostile.offset, hostile.by_instant = "+02:00", True
    wanted = WorklogFilter(since=dt.date(2024, 3, 2), until=dt.date(2024, 3, 5))
    async with TracketClient.from_env(hostile.env()) as client:
        settings = ScanSettings(item_format=worklog_format(client.api_version), concurrency=1)
        run = await scan(client.send, client.api_version, wanted, settings, compare_total=compare_total)
        got = await everything(run)
    assert sorted(worklog.id for worklog in got) == [f"wl-{number:04}" for number in range(5, 25)]


def test_settings_out_of_range_are_refused():
    state = PartitionState(id=0, since=None, until=None, asked_since=None, asked_until=None)
    with pytest.raises(UsageError, match="concurrency must be at least 1, not 0"):
        run_of(Slow(), concurrency=0)
    with pytest.raises(UsageError, match="ordered"):
        run_of(Slow(), ordered=True, states=[state])
