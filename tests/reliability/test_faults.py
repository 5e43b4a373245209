"""Each fault that the emulator can produce, and what becomes of a get, a walk, an export and a create that meet it."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from contextlib import asynccontextmanager
from email.utils import format_datetime

import attrs
import pytest

from tracket_async import (
    BadRequestError,
    ConflictError,
    CursorLoopError,
    GoneError,
    Limits,
    MalformedResponseError,
    NewWorklog,
    NotFoundError,
    PayloadTooLargeError,
    PermissionDeniedError,
    RateLimitedError,
    RedirectError,
    RequestError,
    ResponseTooLargeError,
    Timeouts,
    UnreadableResponseError,
)
from tracket_async.bulk import Ambiguous, Failed, NotSent, Ok
from tracket_async.emulator import faults
from tracket_async.emulator.faults import DEVIATIONS, KINDS
from tracket_async.export.run import export_to_store, request_of
from tracket_async.export.store import Store

OK, AMBIGUOUS = "ok", "ambiguous"
WORKLOGS = 250
NEW = NewWorklog(item_id="i", user_id="u", date=dt.date(2024, 5, 6), minutes=12.5, description="the new one")
EVERYDAY = Timeouts(total=None)
HASTY = Timeouts(read=0.1, attempt=0.2, total=None)
NEXT_YEAR = format_datetime(dt.datetime(2031, 1, 1, tzinfo=dt.UTC), usegmt=True)


@attrs.frozen
class Case:
    """A fault, and what comes of it: OK (the right result), the error that is raised, or for a create AMBIGUOUS.

    ``always``: every request meets it; else the first, of a walk the first with a cursor. None: it cannot meet one.
    """

    fault: object
    get: object = OK
    walk: object = OK
    export: object = OK
    create: object = OK
    always: bool = False
    timeouts: Timeouts = EVERYDAY


def passing(fault, **more):
    """It is repeated until it works; a create is not, because it may have happened."""
    return Case(fault, create=AMBIGUOUS, **more)


def final(fault, error, *, create=None, **more):
    """Nothing that repeating could mend."""
    return Case(fault, get=error, walk=error, export=error, create=error if create is None else create, **more)


def of_a_cursor(fault, **more):
    """Only later pages of a list can meet it."""
    return Case(fault, get=None, create=None, **more)


def limited(retry_after):
    """The server did nothing, and says so: also a create is sent again."""
    return Case(faults.Status(429, retry_after=retry_after))


def by_version(make, names):
    return {version: make(name) for version, name in names.items()}


MINUTES = {"1.0": "worklogMinutes", "2.0": "minutes"}
UPDATED = {"1.0": "updatedDate", "2.0": "updatedDate"}

CASES = {
    "reset before the headers": passing(faults.Reset()),
    "reset before the headers, after it was done": passing(faults.Reset(commit=True)),
    "reset after the headers": passing(faults.Reset(after="headers")),
    "truncated, Content-Length": passing(faults.Truncate(framing="length")),
    "truncated, chunked": passing(faults.Truncate(framing="chunked")),
    "truncated, gzip": passing(faults.Truncate(framing="gzip")),
    "truncated, close-delimited": passing(faults.Truncate(framing="close")),
    "slow drip": passing(faults.Drip(interval=0.05), timeouts=HASTY),
    "hang": passing(faults.Hang(), timeouts=HASTY),
    "hang after the headers": passing(faults.Hang(after="headers"), timeouts=HASTY),
    "stalled upload": passing(faults.Stall(), timeouts=HASTY),
    "late, and in time": Case(faults.Delay(0.01)),
    "wrong content type": Case(faults.ContentType(), always=True),
    "an HTML page with 200": passing(faults.Html(status=200)),
    "an HTML page with 200, for ever": final(
        faults.Html(status=200), UnreadableResponseError, create=AMBIGUOUS, always=True
    ),
    "an HTML page with 502": passing(faults.Html(status=502)),
    "malformed JSON": passing(faults.MalformedJson()),
    "deeply nested JSON": passing(faults.DeepJson()),
    "huge JSON": final(faults.HugeBody(size=3 << 20), ResponseTooLargeError, create=AMBIGUOUS),
    "a bomb of gzip": final(faults.HugeBody(size=3 << 20, gzip=True), ResponseTooLargeError, create=AMBIGUOUS),
    "429 without Retry-After": limited(None),
    "429 with seconds": limited("7"),
    "429 with a date": limited(format_datetime(dt.datetime(2023, 11, 14, 22, 14, tzinfo=dt.UTC), usegmt=True)),
    "429 with a huge number": final(faults.Status(429, retry_after="999999999"), RateLimitedError),
    "429 with a date far away": final(faults.Status(429, retry_after=NEXT_YEAR), RateLimitedError),
    "429 with a negative number": limited("-5"),
    "429 with nonsense": limited("soon"),
    "429 with infinity": limited("inf"),
    "408": passing(faults.Status(408)),
    "500": passing(faults.Status(500)),
    "502": passing(faults.Status(502)),
    "503": passing(faults.Status(503)),
    "503, after it was done": passing(faults.Status(503, commit=True)),
    "504": passing(faults.Status(504)),
    "a token that expires": Case(faults.ExpireToken()),
    # In an export it may be the cursor that is refused: the window begins again.
    "400": attrs.evolve(final(faults.Status(400), BadRequestError), export=OK),
    "403": final(faults.Status(403), PermissionDeniedError),
    "404": final(faults.Status(404), NotFoundError),
    "409": final(faults.Status(409), ConflictError),
    "413": final(faults.Status(413), PayloadTooLargeError),
    "a cursor that is refused, 400": of_a_cursor(faults.RefusedCursor(), walk=BadRequestError),
    "a cursor that is refused, 410": of_a_cursor(faults.RefusedCursor(status=410), walk=GoneError),
    "a cursor that repeats": of_a_cursor(
        faults.RepeatedCursor(), walk=CursorLoopError, export=CursorLoopError, always=True
    ),
    "cursors that cycle": of_a_cursor(
        faults.CyclingCursor(), walk=CursorLoopError, export=CursorLoopError, always=True
    ),
    "an empty page with a next cursor": of_a_cursor(faults.EmptyPage()),
    "duplicate rows": of_a_cursor(faults.DuplicateRows(count=5)),
    "null in a field that may be null": Case(by_version(faults.OddField, UPDATED), always=True),
    "a missing field that may be missing": Case(by_version(faults.MissingField, UPDATED), always=True),
    "null in a field that must be there": final(
        by_version(faults.OddField, MINUTES), MalformedResponseError, create=OK
    ),
    "a missing field that must be there": final(
        by_version(faults.MissingField, MINUTES), MalformedResponseError, create=OK
    ),
    "an unknown status": Case(faults.UnknownStatus(), always=True),
    "clock skew": Case(faults.ClockSkew(seconds=-86_400.0), always=True),
    "a redirect": final(faults.Redirect("https://elsewhere.example/"), RedirectError, create=AMBIGUOUS),
    "a write that was done and then cut": passing(faults.CommitThenCut()),
}


def those_of(operation):
    return pytest.mark.parametrize(
        "name", [name for name, case in CASES.items() if getattr(case, operation) is not None]
    )


@pytest.fixture
def case(name, api):
    """A row of the table."""
    case = CASES[name]
    return attrs.evolve(case, fault=case.fault[api]) if isinstance(case.fault, dict) else case


@pytest.fixture
def afflicted(running, case):
    """``async with afflicted(method) as (emulator, client)``: requests of the method meet the case's fault."""

    @asynccontextmanager
    async def run(method="GET", **rule):
        settings = {"limits": Limits(max_response_bytes=1 << 20), "timeouts": case.timeouts}
        async with running(sample=WORKLOGS, settings=settings) as (emulator, client):
            if client.api == "2.0":
                await client.categories.list()  # it has its token now
            emulator.faults.add(case.fault, method=method, **({} if case.always else rule | {"nth": 1}))
            yield emulator, client

    return run


async def result_of(awaitable):
    """What it returns, or the error that it raises."""
    try:
        return await awaitable
    except RequestError as error:
        return error


async def collected(worklogs):
    return [worklog async for worklog in worklogs]


def judge(result, expected):
    """Whether it is what the table says; True when it is a result, to be looked at further."""
    if expected == OK:
        assert not isinstance(result, Exception), repr(result)
        return True
    assert type(result) is expected
    assert result.method or expected is CursorLoopError  # which is about a walk and not about one call
    return False


def test_every_fault_of_the_emulator_is_in_the_table():
    kinds = set()
    for case in CASES.values():
        fault = next(iter(case.fault.values())) if isinstance(case.fault, dict) else case.fault
        kinds.add(fault.kind)
    assert kinds == set(KINDS) - set(DEVIATIONS)


@those_of("get")
async def test_a_get_that_meets_it(afflicted, case):
    async with afflicted() as (emulator, client):
        wanted = emulator.worklogs()[7]
        result = await result_of(client.worklogs.get(wanted["worklogId"]))
        if judge(result, case.get):
            assert (result.id, result.minutes) == (wanted["worklogId"], wanted["worklogMinutes"])
        assert client.statistics().concurrency.in_use == 0


@those_of("walk")
async def test_a_walk_that_meets_it(afflicted, case):
    async with afflicted(cursor=True) as (emulator, client):
        expected = [w["worklogId"] for w in emulator.worklogs()]
        got = []

        async def walk(cursor=None):
            async for worklog in client.worklogs.list().items(cursor):
                got.append(worklog.id)
            return got

        result = await result_of(walk())
        if not judge(result, case.walk):
            emulator.faults.clear()
            if isinstance(result, CursorLoopError) or result.cursor is None:
                # It has told nothing of where to go on: from the beginning.
                got.clear()
            await walk(result.cursor)
        if isinstance(case.fault, faults.DuplicateRows):
            # A list is shown as the server has it; to leave rows out is for the export.
            assert len(got) == len(expected) + case.fault.count
            got = list(dict.fromkeys(got))
        assert got == expected
        assert client.statistics().concurrency.in_use == 0


@those_of("export")
async def test_an_export_that_meets_it(afflicted, case):
    async with afflicted(cursor=True) as (emulator, client):
        # The emulator's cycle of cursors is that of one partition.
        concurrency = 1 if isinstance(case.fault, faults.CyclingCursor) else 3
        result = await result_of(collected(client.worklogs.export(concurrency=concurrency)))
        if judge(result, case.export):
            assert sorted(w.id for w in result) == sorted(w["worklogId"] for w in emulator.worklogs())
        assert client.statistics().concurrency.in_use == 0


@those_of("create")
async def test_a_create_that_meets_it(afflicted, case):
    async with afflicted("POST") as (emulator, client):
        outcomes = [outcome async for outcome in client.worklogs.create_many([NEW])]
        (outcome,) = outcomes
        assert isinstance(outcome, (Ok, Failed, Ambiguous, NotSent))
        emulator.faults.clear()
        stored = [w for w in emulator.worklogs() if w["description"] == NEW.description]
        posts = emulator.request_log.count(method="POST", committed=True) + emulator.request_log.count(
            method="POST", committed=False
        )
        if case.create == OK:
            assert outcome.status == "ok", repr(outcome.error)
            assert [w["worklogId"] for w in stored] == [outcome.worklog.id]
        elif case.create == AMBIGUOUS:
            assert outcome.status == "ambiguous"
            assert len(stored) <= 1
            assert outcome.error.payload == NEW
            assert posts <= 1 + emulator.token_requests  # never sent a second time
            if stored:
                assert (await client.worklogs.reconcile(outcome.error)).id == stored[0]["worklogId"]
        else:
            assert outcome.status == "failed"
            assert type(outcome.error) is case.create
            assert stored == []


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_burst_of_failures_is_waited_out(running, route, status):
    async with running(sample=WORKLOGS) as (emulator, client):
        emulator.faults.add(faults.Status(status), route=route, nth=range(2, 9))
        assert len(await collected(client.worklogs.list())) == WORKLOGS
        assert client.statistics().retries == 7


async def test_rows_that_move_between_pages_come_once(running, route, tmp_path):
    """Worklogs get a later date while they are walked: all others come once, and in a store they do as well."""
    async with running(sample=WORKLOGS) as (emulator, client):
        last = emulator.worklogs()[-1]["worklogDate"]
        everything = {w["worklogId"] for w in emulator.worklogs()}
        moved = set()

        def move(_received):
            first = emulator.worklogs()[0]["worklogId"]
            moved.add(first)
            emulator.update(first, {"worklogDate": last})

        emulator.faults.add(faults.Call(move), route=route, cursor=True)
        for walk in (client.worklogs.list(), client.worklogs.export()):
            met = Counter([w.id for w in await collected(walk)])
            assert set(met) <= everything
            assert {met[one] for one in everything - moved} == {1}
        with Store(tmp_path / "store", request=request_of(client)) as store:
            await export_to_store(client, store)
            stored = [id_ for (id_,) in store.database.rows("SELECT id FROM worklogs")]
        assert len(stored) == len(set(stored))
        assert everything - moved <= set(stored)
        if client.api == "2.0":  # which tells what was changed meanwhile
            assert set(stored) == everything


async def test_a_blocked_loop_loses_nothing(running, route):
    """The program computes for longer than every time-out while answers wait to be read."""
    hasty = Timeouts(read=0.05, attempt=0.05, total=None)
    async with running(sample=WORKLOGS, settings={"timeouts": hasty}) as (emulator, client):
        expected = [w["worklogId"] for w in emulator.worklogs()]
        got = []
        async for worklog in client.worklogs.list():
            if len(got) in {0, 150, 301}:
                time.sleep(0.1)  # noqa: ASYNC251 - to block the loop is the point
            got.append(worklog.id)
        assert got == expected
        emulator.faults.add(faults.Call(lambda _received: time.sleep(0.1)), method="POST", route=route)
        (outcome,) = [outcome async for outcome in client.worklogs.create_many([NEW])]
        emulator.faults.clear()
        stored = [w for w in emulator.worklogs() if w["description"] == NEW.description]
        assert outcome.status in {"ok", "ambiguous"}
        assert len(stored) <= 1
        if outcome.status == "ok":
            assert stored[0]["worklogId"] == outcome.worklog.id


async def test_whatever_a_page_of_html_says_the_error_is_short(running, route):
    async with running(sample=10) as (emulator, client):
        body = "<h1>no</h1>" + "x" * 10_000 + " token=" + emulator.token
        emulator.faults.add(faults.Status(502, body=body, content_type="text/html"), route=route)
        with pytest.raises(RequestError) as caught:
            await client.worklogs.list()
        assert 0 < len(caught.value.excerpt) <= 300
        assert emulator.token not in str(caught.value) + repr(caught.value.__dict__)
