"""Many faults at once, counted: nothing lost and nothing twice, with the emulator's request log as the judge."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import random
from collections import Counter

import pytest

from tracket_async import AmbiguousWriteError, CursorLoopError, Limits, NewWorklog, RequestError, WorklogChanges
from tracket_async.bulk import PATIENCE
from tracket_async.emulator import faults
from tracket_async.emulator.faults import DEVIATIONS, KINDS, Script
from tracket_async.export.phases import Settings
from tracket_async.export.run import export_to_store, request_of
from tracket_async.export.store import Store

MONDAY = dt.date(2024, 5, 6)
WORKLOGS = 600
PASSING = [
    faults.Reset(),
    faults.Reset(commit=True),
    faults.Reset(after="headers"),
    faults.Truncate(),
    faults.Truncate(framing="chunked"),
    faults.Truncate(framing="gzip"),
    faults.Truncate(framing="close"),
    faults.CommitThenCut(),
    faults.Status(429),
    faults.Status(500),
    faults.Status(502),
    faults.Status(503, commit=True),
    faults.Status(504),
    faults.Status(408),
    faults.Html(status=200),
    faults.Html(status=502),
    faults.MalformedJson(),
    faults.DeepJson(depth=50_000, commit=True),  # CPython 3.14 reads it, and would believe a lie about a delete
    faults.ContentType(),
    faults.UnknownStatus(),
    faults.ClockSkew(3600.0),
    faults.ExpireToken(),
    faults.Delay(0.001),
]
SLOW = [faults.Hang(), faults.Hang(after="headers"), faults.Stall(seconds=1), faults.Drip(interval=0.05)]
OF_A_LIST = [faults.EmptyPage(), faults.DuplicateRows(), faults.RefusedCursor(), faults.RefusedCursor(status=410)]
FINAL = [
    faults.Redirect("https://elsewhere.example"),
    faults.HugeBody(size=2 << 20),
    faults.HugeBody(size=2 << 20, gzip=True),
    faults.Status(403),
    faults.MissingField("userId"),
    faults.OddField("userId", 5),
    faults.RepeatedCursor(),
]


def break_everything(emulator, route):
    """About every third request meets a fault; the rare ones are those that take long or end a call."""
    script = emulator.faults
    for fault in PASSING:
        script.add(fault, ratio=0.016)
    for fault in OF_A_LIST:
        script.add(fault, route=route, method="GET", cursor=True, ratio=0.01)
    for fault in FINAL:
        script.add(fault, route=route, ratio=0.003)
    for fault in SLOW:
        script.add(fault, ratio=0.001)


def met(emulator):
    """How often each kind of fault was met."""
    return Counter({kind: emulator.request_log.count(fault=kind) for kind in KINDS})


async def read_by_walk(client):
    """Every id, going on behind whatever ends the walk."""
    got, cursor, walk = [], None, client.worklogs.list()
    while True:
        try:
            async for worklog in walk.items(cursor):
                got.append(worklog.id)  # noqa: PERF401 - what came before an error counts
        except CursorLoopError:
            got, cursor = [], None
        except RequestError as error:
            cursor = error.cursor
            got = got if cursor else []
        else:
            # A list shows a row as often as the page has it.
            return list(dict.fromkeys(got))


async def again_until_done(make):
    """Reads and idempotent writes can be made again after anything."""
    while True:
        try:
            return await make()
        except RequestError:
            continue


async def read_by_export(client):
    return [worklog.id async for worklog in client.worklogs.export(concurrency=8)]


async def storm(emulator, client, target, folder):
    """Walks, exports, stores, gets, creates, updates and deletes, until so many faults were met. Returns the counts."""
    done, numbers = Counter(), iter(range(1_000_000))
    while met(emulator).total() < target:
        expected = [w["worklogId"] for w in emulator.worklogs()]
        assert await read_by_walk(client) == expected
        assert sorted(await again_until_done(lambda: read_by_export(client))) == sorted(expected)
        path = folder / f"store-{done['rounds']}"
        with Store(path, request=request_of(client)) as store:
            chosen = Settings(clock=client._context.clock)
            result = await again_until_done(lambda store=store, its=chosen: export_to_store(client, store, its))
            assert result.worklogs == len(expected)
            store.discard()
        some = random.Random(done["rounds"]).sample(expected, 30)
        for one in some:
            worklog = await again_until_done(lambda one=one: client.worklogs.get(one))
            assert worklog.minutes == emulator.get(one)["worklogMinutes"]
        news = {
            f"new {n}": NewWorklog(item_id="i", user_id="u", date=MONDAY, minutes=n % 90, description=f"new {n}")
            for n in (next(numbers) for _ in range(60))
        }
        outcomes = [o async for o in client.worklogs.create_many(news.values(), concurrency=8, on_error="collect")]
        by_status = {
            status: {o.item.description for o in outcomes if o.status == status}
            for status in ("ok", "ambiguous", "failed", "not_sent")
        }
        texts = Counter(w["description"] for w in emulator.worklogs() if w["description"] in news)
        assert set(texts.values()) <= {1}
        assert by_status["ok"] <= set(texts) <= by_status["ok"] | by_status["ambiguous"]
        assert sum(map(len, by_status.values())) == len(news)
        ids = [o.worklog.id for o in outcomes if o.status == "ok"]
        for one in ids:
            changes = WorklogChanges(minutes=777.0)
            await again_until_done(lambda one=one, changes=changes: client.worklogs.update(one, changes))
            assert emulator.get(one)["worklogMinutes"] == 777
        gone = [o async for o in client.worklogs.delete_many(ids, on_error="collect")]
        assert all(emulator.get(o.item) is None for o in gone if o.status == "ok")
        done.update({"rounds": 1} | {status: len(texts) for status, texts in by_status.items()})
    return done


async def survive(running, folder, target, route):
    settings = {"limits": Limits(max_response_bytes=1 << 20)} | ({"page_size": 20} if route == "/timeEntries" else {})
    async with running(sample=WORKLOGS, page_size=20, settings=settings) as (emulator, client):
        break_everything(emulator, route)
        done = await storm(emulator, client, target, folder)
        counts = met(emulator)
        print(  # noqa: T201
            f"\nAPI {client.api}: {counts.total():,} faults of {sum(map(bool, counts.values()))} kinds in "
            f"{len(emulator.request_log):,} requests; {done['ok']:,} creates acknowledged, "
            f"{done['ambiguous']:,} ambiguous, {done['failed']:,} refused; 0 lost, 0 twice"
        )
        return counts


async def test_faults_of_every_class_lose_nothing(running, tmp_path, route):
    assert (await survive(running, tmp_path, 300, route)).total() >= 300


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_ten_thousand_faults_of_every_class_lose_nothing(running, tmp_path, route):
    counts = await survive(running, tmp_path, 10_000, route)
    # A cycle of cursors is that of one partition, and tested in one; deviations are no faults.
    assert {kind for kind, number in counts.items() if not number} == {"cycling-cursor", *DEVIATIONS}


DOUBTFUL = [
    faults.Reset(),
    faults.Reset(commit=True),
    faults.Reset(after="headers"),
    faults.CommitThenCut(),
    faults.Truncate(),
    faults.Html(status=502),
    faults.Status(503, commit=True),
]


async def classify(running, route, number):
    """So many creates, no answer of which can be trusted; each is looked for; the request log is the judge."""
    async with running() as (emulator, client):
        for fault in DOUBTFUL[:-1]:
            emulator.faults.add(fault, method="POST", route=route, ratio=0.2)
        emulator.faults.add(DOUBTFUL[-1], method="POST", route=route)
        news = (
            NewWorklog(
                item_id="i", user_id="u", date=MONDAY + dt.timedelta(days=n % 200), minutes=1.0, description=f"new {n}"
            )
            for n in range(number)
        )
        outcomes = []
        while some := list(itertools.islice(news, PATIENCE)):  # a run ends after so many failures in a row
            outcomes += [o async for o in client.worklogs.create_many(some, concurrency=8, on_error="collect")]
        emulator.faults.clear()
        assert Counter(o.status for o in outcomes) == {"ambiguous": number}
        received = [entry for entry in emulator.request_log if entry.route == route and entry.method == "POST"]
        assert len(received) == number  # none was sent twice
        happened = {json.loads(entry.body)["description"] for entry in received if entry.committed}
        found = set()
        for outcome in outcomes:
            try:
                worklog = await client.worklogs.reconcile(outcome.error)
            except AmbiguousWriteError as error:
                assert error is outcome.error  # noqa: PT017 - the other way is as good an end
                assert error.candidates == ()  # noqa: PT017
            else:
                assert worklog.description == outcome.item.description
                found.add(worklog.description)
        assert found == happened
        assert 0 < len(happened) < number
        print(  # noqa: T201
            f"\nAPI {client.api}: {number:,} ambiguous creates, {len(found):,} found, "
            f"{number - len(found):,} not there, 0 wrong"
        )


async def test_ambiguous_creates_are_classified_right(running, route):
    await classify(running, route, 60)


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_a_thousand_ambiguous_creates_are_classified_right(running, route):
    await classify(running, route, 1_000)


async def request_log_of(running, route, seed):
    async with running(sample=200, page_size=20, faults=Script(seed), token="t", client_id="c") as (emulator, client):
        for fault in (*PASSING, *OF_A_LIST):
            emulator.faults.add(fault, ratio=0.02)
        assert len(await read_by_walk(client)) == 200
        await again_until_done(lambda: exported(client))
        for n in range(40):
            new = NewWorklog(item_id="i", user_id="u", date=MONDAY, minutes=n)
            outcomes = [o async for o in client.worklogs.create_many([new], concurrency=1)]
            if outcomes[0].status == "ok":
                await again_until_done(lambda one=outcomes[0].worklog.id: client.worklogs.delete(one))
        entries = [json.loads(entry.as_json()) for entry in emulator.request_log]
    # What is secret is made up afresh for each server.
    return [entry | {"body": ""} if entry["route"] == "/oauth2/token" else entry for entry in entries]


async def exported(client):
    return [worklog.id async for worklog in client.worklogs.export(concurrency=1)]


async def test_the_same_seed_gives_the_same_request_log(running, route):
    first, second, other = [await request_log_of(running, route, seed) for seed in (3, 3, 4)]
    assert first == second
    assert first != other
    assert sum(entry["fault"] is not None for entry in first) >= 20
