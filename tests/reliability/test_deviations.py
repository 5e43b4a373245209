"""Each deviation of the emulator from the vendor's pages, and what the client makes of it."""

from __future__ import annotations

import asyncio
import datetime as dt
import unicodedata

import pytest

from tracket_async import (
    AmbiguousWriteError,
    CursorLoopError,
    IncompleteExportError,
    MismatchedResponseError,
    NewWorklog,
    PermissionDeniedError,
)
from tracket_async.emulator import faults
from tracket_async.emulator.faults import DEVIATIONS

WORKLOGS = 250
SINCE = dt.date(2020, 1, 1)
TEXT = " cafe\N{COMBINING ACUTE ACCENT} \n"
NEW = NewWorklog(item_id="i", user_id="u", date=dt.date(2024, 5, 6), minutes=12.5, description=TEXT)

HARMLESS = {
    "second-response": faults.SecondResponse(),
    "added-headers": faults.AddedHeaders(
        {"Content-Encoding": "utf-8", "Keep-Alive": "timeout=soon", "X-Policy": "x" * 20_000, "Set-Cookie": "a=b"}
    ),
    "linked-cursor": faults.LinkedCursor(),
    "ignored-filters": faults.IgnoredFilters(),
    "date-offset": faults.DateOffset(by_instant=True),
    "no-date": faults.NoDate(),
    "trimmed-text": faults.TrimmedText(),
    "normalized-text": faults.NormalizedText(),
}
"""Nothing that is read is wrong."""
OTHERS = {
    "mute-connections": "test_connections_that_go_mute_cost_one_attempt",
    "ignored-cursor": "test_a_cursor_that_does_nothing_ends_a_walk_with_an_error",
    "wrong-total": "test_a_total_that_is_too_high_is_an_incomplete_export",
    "other-worklog": "test_a_worklog_of_another_id_is_asked_for_again_and_refused",
    "restricted-token": "test_a_token_of_one_user_sees_that_users_worklogs",
    "no-content": "test_a_create_that_is_confirmed_without_the_worklog_is_read_back",
    "brief-created": "test_a_create_that_is_confirmed_without_the_worklog_is_read_back",
}


async def ids(walk):
    return [worklog.id async for worklog in walk]


async def collect(got, walk):
    async for worklog in walk:
        got.append(worklog.id)


def test_every_deviation_is_met():
    assert HARMLESS.keys() | OTHERS.keys() == DEVIATIONS.keys()
    for kind, name in OTHERS.items():
        assert name in globals(), kind


@pytest.mark.parametrize("kind", HARMLESS)
async def test_what_is_read_from_a_server_with_a_harmless_deviation_is_right(running, kind):
    async with running(sample=WORKLOGS) as (emulator, client):
        emulator.faults.add(HARMLESS[kind], method="GET")
        truth = [worklog["worklogId"] for worklog in emulator.worklogs()]
        assert (await client.worklogs.get(truth[7])).id == truth[7]
        assert await ids(client.worklogs.list(since=SINCE)) == truth
        assert sorted(await ids(client.worklogs.export(since=SINCE, concurrency=3))) == sorted(truth)
        assert (await client.worklogs.get(truth[8])).id == truth[8]


async def test_connections_that_go_mute_cost_one_attempt(running):
    async with running(sample=WORKLOGS) as (emulator, client):
        some = [worklog["worklogId"] for worklog in emulator.worklogs()[:6]]
        await asyncio.gather(*map(client.worklogs.get, some))  # as many connections are kept
        emulator.faults.add(faults.MuteConnections(), nth=1)
        assert (await client.worklogs.get(some[0])).id == some[0]
        assert client.statistics().retries == 1
        assert [entry.status for entry in emulator.request_log.entries[-2:]] == [None, 200]


async def test_a_cursor_that_does_nothing_ends_a_walk_with_an_error(running):
    async with running(sample=WORKLOGS) as (emulator, client):
        emulator.faults.add(faults.IgnoredCursor())
        for walk in (client.worklogs.list(), client.worklogs.export(concurrency=3)):
            with pytest.raises(CursorLoopError):
                await ids(walk)
        assert emulator.request_log.count(method="GET") < 30


@pytest.mark.parametrize("api", ["2.0"])  # 1.0 does not count
async def test_a_total_that_is_too_high_is_an_incomplete_export(running, api):
    later = dt.datetime(2030, 1, 1, tzinfo=dt.UTC).timestamp()  # when all of them were created before
    async with running(sample=WORKLOGS, wall=lambda: later) as (emulator, client):
        wrong = faults.WrongTotal(7)
        emulator.faults.add(lambda request: None if "fields.createdDate.gte" in request.query else wrong)
        for walk in (client.worklogs.list(), client.worklogs.export(concurrency=3)):
            got = []
            with pytest.raises(IncompleteExportError) as caught:
                await collect(got, walk)
            assert len(set(got)) == WORKLOGS
            assert (caught.value.seen, caught.value.total) == (WORKLOGS, WORKLOGS + 7)


@pytest.mark.parametrize("add", [7, -7])
async def test_totals_that_contradict_themselves_decide_nothing(running, add):
    """With 7 too many, as many seem to have been created meanwhile; with 7 too few, more were sent than there are."""
    async with running(sample=WORKLOGS) as (emulator, client):
        emulator.faults.add(faults.WrongTotal(add))
        assert len(await ids(client.worklogs.list())) == WORKLOGS
        assert len(await ids(client.worklogs.list(since=SINCE))) == WORKLOGS
        assert len(await ids(client.worklogs.export(concurrency=3))) == WORKLOGS


async def test_a_worklog_of_another_id_is_asked_for_again_and_refused(running):
    async with running(sample=WORKLOGS) as (emulator, client):
        other, wanted = [worklog["worklogId"] for worklog in emulator.worklogs()[:2]]
        emulator.faults.add(faults.OtherWorklog(other), method="GET", nth=1)
        assert (await client.worklogs.get(wanted)).id == wanted
        emulator.faults.clear()
        emulator.faults.add(faults.OtherWorklog(other), method="GET")
        with pytest.raises(MismatchedResponseError):
            await client.worklogs.get(wanted)


async def test_a_token_of_one_user_sees_that_users_worklogs(running):
    async with running(sample=WORKLOGS) as (emulator, client):
        user = emulator.worklogs()[0]["userId"]
        theirs = {worklog["worklogId"] for worklog in emulator.worklogs() if worklog["userId"] == user}
        others = [worklog["worklogId"] for worklog in emulator.worklogs() if worklog["userId"] != user]
        assert theirs
        assert others
        emulator.faults.add(faults.RestrictedToken(user), method="GET")
        assert set(await ids(client.worklogs.list())) == theirs
        assert set(await ids(client.worklogs.export(concurrency=3))) == theirs
        assert (await client.worklogs.get(min(theirs))).user_id == user
        with pytest.raises(PermissionDeniedError):
            await client.worklogs.get(others[0])


@pytest.mark.parametrize(
    ("fault", "stored"),
    [
        (faults.TrimmedText(), TEXT.strip()),
        (faults.NormalizedText(), unicodedata.normalize("NFC", TEXT)),
    ],
)
async def test_a_create_whose_text_the_server_changes_is_that_create(running, route, fault, stored):
    async with running() as (emulator, client):
        emulator.faults.add(fault, method="POST", route=route)
        created = await client.worklogs.create(NEW)
        assert [worklog["description"] for worklog in emulator.worklogs()] == [stored] == [created.description]


@pytest.mark.parametrize("stored", [TEXT.strip(), unicodedata.normalize("NFC", TEXT)])
async def test_a_lost_create_whose_text_the_server_changed_is_found(running, route, stored):
    async with running() as (emulator, client):
        emulator.faults.add(faults.CommitThenCut(), method="POST", route=route)
        with pytest.raises(AmbiguousWriteError) as caught:
            await client.worklogs.create(NEW)
        (worklog,) = emulator.worklogs()
        emulator.update(worklog["worklogId"], {"description": stored})
        assert (await client.worklogs.reconcile(caught.value)).id == worklog["worklogId"]


@pytest.mark.parametrize("fault", [faults.BriefCreated("id"), faults.BriefCreated("empty"), faults.NoContent()])
async def test_a_create_that_is_confirmed_without_the_worklog_is_read_back(running, route, fault):
    async with running() as (emulator, client):
        emulator.faults.add(fault, method="POST", route=route)
        created = await client.worklogs.create(NEW)
        assert [worklog["worklogId"] for worklog in emulator.worklogs()] == [created.id]


@pytest.mark.parametrize(
    ("api", "fault"),
    [
        ("1.0", faults.NoDate()),
        ("2.0", faults.NoDate()),
        ("1.0", faults.OddField("createdDate", row=None)),  # 2.0 is asked for those created since
    ],
)
async def test_a_lost_create_of_unknown_age_stays_ambiguous(running, api, route, fault):
    """Without a Date header, or with ``createdDate: null``, an alike worklog may be older than the create."""
    async with running() as (emulator, client):
        emulator.faults.add(faults.CommitThenCut(), method="POST", route=route)
        emulator.faults.add(fault)
        with pytest.raises(AmbiguousWriteError) as caught:
            await client.worklogs.create(NEW)
        with pytest.raises(AmbiguousWriteError) as again:
            await client.worklogs.reconcile(caught.value)
        assert [each.id for each in again.value.candidates] == [each["worklogId"] for each in emulator.worklogs()]
