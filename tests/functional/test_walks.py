"""Walks and exports over a real socket: exact while the server changes, many at once, in any order of its lists."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import random
from contextlib import aclosing
from itertools import count

import attrs
import pytest

from tracket_async import (
    BadRequestError,
    ClientStateError,
    CursorLoopError,
    Limits,
    ServerError,
    TracketClient,
    UnsupportedError,
    WorklogFilter,
)
from tracket_async.emulator import Emulator, faults
from tracket_async.scan.parallel import scan, worklog_format
from tracket_async.scan.partition import PartitionState, ScanSettings

ORDERS = ["descending", "unsorted"]


def worklog(day, **values):
    return {
        "itemId": "i",
        "userId": "u",
        "worklogDate": f"2024-{1 + day // 28:02}-{1 + day % 28:02}T10:00:00.000Z",
        "worklogMinutes": 30,
    } | values


def on(day):
    return worklog(0, worklogId=day, worklogDate=f"{day}T00:00:00.000Z")


async def ids(worklogs):
    return [w.id async for w in worklogs]


def seeded(emulator):
    return sorted(w["worklogId"] for w in emulator.worklogs())


async def test_a_walk_gives_every_worklog_once_in_the_servers_order(running, api):
    async with running(sample=1234) as (emulator, client):
        got = await ids(client.worklogs.list())
        assert got == [w["worklogId"] for w in emulator.worklogs()]


@pytest.mark.parametrize("read_ahead", [0, 1, 3])
async def test_a_walk_is_exact_while_worklogs_are_added_and_deleted(running, api, route, read_ahead):
    """Whatever exists from the beginning to the end of the walk comes exactly once."""
    async with running(sample=1000) as (emulator, client):
        chance = random.Random(5)
        original = seeded(emulator)
        gone, numbers = set(), count()

        def stir(_received):
            for _ in range(3):
                emulator.create(worklog(chance.randrange(300), worklogId=f"new-{next(numbers)}"))
            victim = chance.choice([one for one in original if one not in gone])
            gone.add(victim)
            emulator.delete(victim)

        emulator.faults.add(faults.Call(stir), route=route)
        got = await ids(client.worklogs.list(read_ahead=read_ahead))
        assert len(got) == len(set(got))
        assert set(original) - gone <= set(got)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("concurrency", [1, 3, 16])
async def test_an_export_gives_every_worklog_once(running, api, ordered, concurrency):
    async with running(sample=3000) as (emulator, client):
        got = [w async for w in client.worklogs.export(concurrency=concurrency, ordered=ordered)]
        assert sorted(w.id for w in got) == seeded(emulator)
        if ordered:
            assert [w.date for w in got] == sorted(w.date for w in got)


async def test_an_export_is_exact_while_worklogs_are_added_and_deleted(running, api, route):
    async with running(sample=2000) as (emulator, client):
        chance = random.Random(7)
        original = seeded(emulator)
        gone, numbers = set(), count()

        def stir(_received):
            emulator.create(worklog(chance.randrange(300), worklogId=f"new-{next(numbers)}"))
            victim = chance.choice([one for one in original if one not in gone])
            gone.add(victim)
            emulator.delete(victim)

        emulator.faults.add(faults.Call(stir), route=route)
        got = await ids(client.worklogs.export())
        assert len(got) == len(set(got))
        assert set(original) - gone <= set(got)


async def test_an_export_takes_a_day_that_holds_thousands_and_dates_that_all_agree(running, api):
    seed = [worklog(17, worklogId=f"w{n}") for n in range(2500)]
    async with running(seed=seed) as (emulator, client):
        assert sorted(await ids(client.worklogs.export())) == seeded(emulator)
        assert len(await ids(client.worklogs.export(ordered=True))) == 2500


async def test_an_export_of_nothing_ends(running, api):
    async with running() as (_, client):
        assert await ids(client.worklogs.export()) == []
        assert await ids(client.worklogs.export(since=dt.date(2020, 1, 1), until=dt.date(2021, 1, 1))) == []


@pytest.mark.parametrize("api", ["2.0"])
async def test_an_export_keeps_to_bounds_of_other_dates_exactly(running, api):
    async with running(sample=800) as (_, client):
        everything = [w async for w in client.worklogs.list()]
        middle = sorted(w.created_date for w in everything if w.created_date)[400]
        wanted = WorklogFilter(created_until=middle - dt.timedelta(microseconds=1))
        expected = sorted(w.id for w in everything if wanted.matches(w))
        assert sorted(await ids(client.worklogs.export(filter=wanted))) == expected


@pytest.mark.parametrize("order", ORDERS)
async def test_an_order_that_does_not_ascend_falls_back_to_one_partition_and_says_so(order, caplog):
    async with (
        Emulator(sample=2000, v1_order=order) as emulator,
        TracketClient.from_env(emulator.env("1.0")) as client,
    ):
        with caplog.at_level(logging.WARNING, logger="tracket_async"):
            got = await ids(client.worklogs.export())
        assert sorted(got) == seeded(emulator)
        assert len(caplog.messages) == 1
        assert "one after the other" in caplog.text
        with pytest.raises(UnsupportedError, match="ordered"):
            await ids(client.worklogs.export(ordered=True))


@pytest.mark.parametrize("order", ORDERS)
async def test_a_list_with_bounds_is_complete_in_any_order(order):
    async with (
        Emulator(sample=1000, v1_order=order) as emulator,
        TracketClient.from_env(emulator.env("1.0")) as client,
    ):
        everything = [w async for w in client.worklogs.list()]
        days = sorted(w.day for w in everything)
        wanted = WorklogFilter(since=days[300], until=days[600])
        expected = sorted(w.id for w in everything if wanted.matches(w))
        assert sorted(await ids(client.worklogs.list(filter=wanted))) == expected
        assert sorted(await ids(client.worklogs.export(filter=wanted))) == expected


@pytest.mark.parametrize("fault", [faults.DuplicateRows(count=5), faults.RefusedCursor(status=410), faults.EmptyPage()])
async def test_an_export_survives_what_a_list_can_do_to_it(running, api, route, fault):
    async with running(sample=2500) as (emulator, client):
        emulator.faults.add(fault, route=route, cursor=True, every=3)
        got = await ids(client.worklogs.export(concurrency=4))
        assert sorted(got) == seeded(emulator)


async def test_a_cursor_that_is_always_refused_is_an_error_in_the_end(running, api, route):
    async with running(seed=[worklog(17, worklogId=f"w{n}") for n in range(500)]) as (emulator, client):
        emulator.faults.add(faults.RefusedCursor(), route=route, cursor=True)
        with pytest.raises(BadRequestError):
            await ids(client.worklogs.export())


@pytest.mark.parametrize("fault", [faults.RepeatedCursor(), faults.CyclingCursor()])
async def test_cursors_that_go_in_a_circle_end_in_an_error(running, api, route, fault):
    async with running(sample=1000) as (emulator, client):
        emulator.faults.add(fault, route=route)
        with pytest.raises(CursorLoopError):
            await ids(client.worklogs.list())
        with pytest.raises(CursorLoopError):
            await ids(client.worklogs.export(concurrency=1))


async def test_failures_of_the_network_are_not_seen(running, api, route):
    async with running(sample=2500) as (emulator, client):
        for number, fault in enumerate((faults.Reset(), faults.Status(503), faults.Truncate(), faults.Html())):
            emulator.faults.add(fault, route=route, every=7 + number)
        assert sorted(await ids(client.worklogs.list())) == seeded(emulator)
        assert sorted(await ids(client.worklogs.export())) == seeded(emulator)
        assert client.statistics().retries > 0


async def test_what_cannot_be_repaired_carries_the_cursor_to_resume_from(running, api, route):
    async with running(sample=1000) as (emulator, client):
        emulator.faults.add(faults.Status(500), route=route, cursor=True, nth=range(3, 99))
        got = []
        with pytest.raises(ServerError) as caught:
            await collect(got, client.worklogs.list())
        emulator.faults.clear()
        await collect(got, client.worklogs.list().items(caught.value.cursor))
        assert got == [w["worklogId"] for w in emulator.worklogs()]


async def test_an_export_that_has_failed_does_not_pass_for_finished(running, api, route):
    async with running(sample=1000) as (emulator, client):
        emulator.faults.add(faults.Status(500), route=route, cursor=True)
        worklogs = client.worklogs.export(concurrency=1)
        with pytest.raises(ServerError):
            await collect([], worklogs)
        with pytest.raises(ClientStateError, match="ended with ServerError"):
            await anext(worklogs)


async def collect(got, worklogs):
    async for worklog in worklogs:
        got.append(worklog.id)


async def test_a_scan_is_resumed_from_its_states(running, api):
    async with running(sample=3000) as (emulator, client):
        settings = ScanSettings(item_format=worklog_format(client.api_version), concurrency=4)
        kept, got = {}, []
        run = await scan(client.send, client.api_version, WorklogFilter(), settings)
        async with aclosing(run.batches()) as batches:
            async for batch in batches:
                got += [w.id for w in batch.items]
                kept |= {state.id: state.to_json() for state in batch.states}
                assert batch.server_date is not None
                if len(got) > 1200:
                    break
        fetched = []

        def send(request, parse):
            if ("size", "1") not in request.query:  # which looks for the first and the last date
                fetched.append(request)
            return client.send(request, parse)

        settings = attrs.evolve(settings, states=[PartitionState.from_json(state) for state in kept.values()])
        run = await scan(send, client.api_version, WorklogFilter(), settings)
        got += [w.id async for batch in run.batches() for w in batch.items]
        assert sorted(got) == seeded(emulator)
        assert len(fetched) == run.statistics().pages


@pytest.mark.parametrize("api", ["2.0"])
async def test_a_token_that_expires_in_the_middle_of_200_walks_is_refreshed_once(running, api, route):
    settings = {"limits": Limits(max_concurrency=50)}
    async with running(sample=400, settings=settings) as (emulator, client):
        await client.worklogs.list()
        assert emulator.token_requests == 1
        emulator.faults.add(faults.ExpireToken(), route=route, nth=500)
        walks = await asyncio.gather(*(ids(client.worklogs.list()) for _ in range(200)))
        assert {len(walk) for walk in walks} == {400}
        assert emulator.token_requests == 2


async def test_leaving_an_export_in_the_middle_leaves_nothing_behind(running, api, no_leaks):
    async with running(sample=3000) as (_, client):
        async with aclosing(client.worklogs.export()) as worklogs:
            await anext(worklogs)
        assert client.statistics().concurrency.in_use == 0


@pytest.mark.parametrize("api", ["2.0"])
@pytest.mark.parametrize("offset", ["+02:00", "-08:00"])
async def test_a_date_with_an_offset_is_the_day_as_written(running, api, offset):
    async with running(sample=300) as (emulator, client):
        emulator.faults.add(faults.DateOffset(offset), times=None)
        days = {w["worklogId"]: w["worklogDate"][:10] for w in emulator.worklogs()}
        first, last = sorted(days.values())[140], sorted(days.values())[160]
        bounds = {"since": dt.date.fromisoformat(first), "until": dt.date.fromisoformat(last)}
        some = {id_: day for id_, day in days.items() if first <= day <= last}
        for read in (client.worklogs.list, client.worklogs.export):
            assert {w.id: w.day.isoformat() async for w in read()} == days
            assert {w.id: w.day.isoformat() async for w in read(**bounds)} == some


@pytest.mark.parametrize("api", ["2.0"])
@pytest.mark.parametrize("under", ["_links", "links"])
@pytest.mark.parametrize("string", [True, False])
async def test_a_next_page_that_only_its_link_tells_of_is_read(running, api, under, string):
    async with running(sample=600) as (emulator, client):
        emulator.faults.add(faults.LinkedCursor(under, string=string), times=None)
        assert len(await ids(client.worklogs.list())) == 600
        assert sorted(await ids(client.worklogs.export())) == seeded(emulator)


@pytest.mark.parametrize("api", ["2.0"])
async def test_a_day_whose_instants_are_outside_of_the_bounds_is_listed_all_the_same(running, api, route):
    async with running(seed=[on(f"2024-05-{n}") for n in (10, 12, 20)]) as (emulator, client):
        emulator.faults.add(faults.DateOffset("+02:00", by_instant=True), times=None)
        twelfth = dt.date(2024, 5, 12)
        # The server gives nothing for this day: a look at the days around it shows why.
        assert [w.day async for w in client.worklogs.list(since=twelfth, until=twelfth)] == [twelfth]
        emulator.request_log.clear()
        assert [w.day async for w in client.worklogs.list(since=twelfth)] == [twelfth, dt.date(2024, 5, 20)]
        assert emulator.request_log.count(route=route) == 1


@pytest.mark.parametrize("api", ["2.0"])
async def test_days_without_an_offset_are_asked_for_as_they_are(running, api, route):
    async with running(seed=[on("2024-05-10")]) as (emulator, client):
        tenth, eleventh = dt.date(2024, 5, 10), dt.date(2024, 5, 11)
        for day, expected, requests in ((tenth + dt.timedelta(days=9), 0, 3), (tenth, 1, 1), (eleventh, 0, 2)):
            emulator.request_log.clear()
            assert len([w async for w in client.worklogs.list(since=day, until=day)]) == expected
            assert emulator.request_log.count(route=route) == requests
        assert emulator.request_log.entries[-1].query["fields.date.gte"] == "2024-05-11"


async def test_a_list_keeps_its_bounds_where_the_server_ignores_them(running, api):
    async with running(sample=600) as (emulator, client):
        days = {w["worklogId"]: w["worklogDate"][:10] for w in emulator.worklogs()}
        first, last = sorted(days.values())[200], sorted(days.values())[400]
        ignored = faults.IgnoredFilters("fields.date." if api == "2.0" else "startDate")
        emulator.faults.add(ignored, method="GET", times=None)
        got = client.worklogs.list(since=dt.date.fromisoformat(first), until=dt.date.fromisoformat(last))
        assert sorted(await ids(got)) == sorted(id_ for id_, day in days.items() if first <= day <= last)


@pytest.mark.parametrize("how", ["a timeout", "a cancellation"])
@pytest.mark.parametrize("reader", ["list", "export", "export, in order"])
async def test_after_a_step_that_was_interrupted_the_next_one_is_an_error(running, no_leaks, reader, how):
    """It does not pass for the end. The error of a list knows the cursor to go on from."""
    async with running(sample=450) as (emulator, client):
        walk = {
            "list": lambda: client.worklogs.list().items(),
            "export": lambda: client.worklogs.export(concurrency=3),
            "export, in order": lambda: client.worklogs.export(concurrency=3, ordered=True),
        }[reader]()
        got = [(await anext(walk)).id]
        emulator.faults.add(faults.Hang(), times=None)

        async def go_on():
            while True:
                got.append((await anext(walk)).id)

        step = asyncio.create_task(asyncio.wait_for(go_on(), 0.1 if how == "a timeout" else None))
        await asyncio.wait([step], timeout=0.1 if how == "a cancellation" else None)
        step.cancel()
        with pytest.raises((TimeoutError, asyncio.CancelledError)):
            await step
        for _ in range(2):
            with pytest.raises(ClientStateError, match="was cancelled before its end") as caught:
                await anext(walk)
        emulator.faults.clear()
        assert (caught.value.cursor is not None) == (reader == "list")
        if reader == "list":
            got += [w.id async for w in client.worklogs.list().items(caught.value.cursor)]
            assert got == [w["worklogId"] for w in emulator.worklogs()]
