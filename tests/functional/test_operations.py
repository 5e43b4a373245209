"""Every call, on both versions, against a server over a real socket."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket

import pytest

from tracket_async import (
    ApprovalStatus,
    BadRequestError,
    Category,
    ConnectError,
    MalformedResponseError,
    NewWorklog,
    NotFoundError,
    PermissionDeniedError,
    RetryPolicy,
    TracketClient,
    UnsupportedError,
    UsageError,
    WorklogChanges,
    WorklogFilter,
)
from tracket_async._http.auth import BearerToken
from tracket_async.emulator import Emulator, faults

MOMENT = dt.datetime(2024, 5, 6, 14, 30, 15, 123000, tzinfo=dt.UTC)
DAY = dt.datetime(2024, 5, 6, tzinfo=dt.UTC)
ONLY_V2 = {"team_id": "t-9", "project_id": "p-9", "custom_fields": {"billing": "option-3"}}


def new(api, **values):
    fields = {
        "item_id": "item-1",
        "user_id": "user-1",
        "date": MOMENT,
        "minutes": 90.5,
        "description": "Überstunden 😀",
        "category_id": "c-1",
        "billable_minutes": 30.25,
    }
    return NewWorklog(**(fields | (ONLY_V2 if api == "2.0" else {}) | values))


async def test_every_field_that_is_written_comes_back(running, api):
    async with running() as (emulator, client):
        sent = new(api)
        created = await client.worklogs.create(sent)
        assert created.date == (MOMENT if api == "1.0" else DAY)
        for name in ("item_id", "user_id", "minutes", "description", "category_id", "billable_minutes"):
            assert getattr(created, name) == getattr(sent, name)
        if api == "2.0":
            for name, value in ONLY_V2.items():
                assert getattr(created, name) == value
        assert created.approval_status is ApprovalStatus.OPEN
        assert created.created_date.utcoffset() == dt.timedelta(0)
        assert (created.updated_date, created.approver_user_id) == (None, None)
        assert await client.worklogs.get(created.id) == created
        assert [w async for w in client.worklogs.list()] == [created]
        assert emulator.get(created.id)["worklogMinutes"] == 90.5


async def test_what_is_left_out_is_null(running, api):
    async with running() as (_, client):
        created = await client.worklogs.create(NewWorklog(item_id="i", user_id="u", date=MOMENT.date(), minutes=0))
        assert created.date == DAY
        assert (created.description, created.category_id, created.billable_minutes) == (None, None, None)


async def test_an_update_changes_what_it_names_clears_what_is_none_and_leaves_the_rest(running, api):
    async with running() as (_, client):
        created = await client.worklogs.create(new(api))
        changes = WorklogChanges(minutes=15, description=None, category_id=None, billable_minutes=None)
        updated = await client.worklogs.update(created.id, changes)
        again = await client.worklogs.get(created.id)
        for worklog in (updated, again):
            assert (worklog.minutes, worklog.description) == (15, None)
            assert (worklog.category_id, worklog.billable_minutes) == (None, None)
            assert (worklog.item_id, worklog.user_id, worklog.date) == (created.item_id, created.user_id, created.date)
            assert worklog.updated_date is not None
        # Where 1.0 answers an update, it says nothing about the approval.
        assert updated.approval_status is (None if api == "1.0" else ApprovalStatus.OPEN)
        assert again.approval_status is ApprovalStatus.OPEN
        if api == "2.0":
            assert (again.team_id, again.project_id) == ("t-9", "p-9")


async def test_an_update_can_name_every_field(running, api):
    async with running() as (_, client):
        created = await client.worklogs.create(new(api))
        moved = MOMENT + dt.timedelta(days=40)
        values = {"item_id": "i2", "user_id": "u2", "date": moved, "minutes": 1, "description": "", "category_id": "c2"}
        await client.worklogs.update(created.id, WorklogChanges(**values, billable_minutes=0))
        again = await client.worklogs.get(created.id)
        values["date"] = moved if api == "1.0" else DAY + dt.timedelta(days=40)
        assert {name: getattr(again, name) for name in values} == values
        assert again.billable_minutes == 0


async def test_an_update_that_names_nothing_changes_nothing(running, api):
    async with running() as (_, client):
        created = await client.worklogs.create(new(api))
        assert (await client.worklogs.update(created.id, WorklogChanges())).minutes == created.minutes


async def test_a_deleted_worklog_is_gone(running, api):
    async with running() as (emulator, client):
        created = await client.worklogs.create(new(api))
        noun = "worklog" if api == "1.0" else "time entry"
        assert await client.worklogs.delete(created.id) == f"The {noun} was deleted."
        assert emulator.count == 0
        for operation in (
            client.worklogs.get(created.id),
            client.worklogs.update(created.id, WorklogChanges(minutes=1)),
            client.worklogs.delete(created.id),
        ):
            with pytest.raises(NotFoundError) as caught:
                await operation
            assert caught.value.path.endswith(created.id)


async def test_many_deletes_give_what_the_server_says_too(running, api):
    async with running(sample=3) as (emulator, client):
        ids = [worklog.id async for worklog in client.worklogs.list()]
        outcomes = [outcome async for outcome in client.worklogs.delete_many(ids)]
        assert {(outcome.status, outcome.worklog) for outcome in outcomes} == {("ok", None)}
        assert all(outcome.message.endswith("was deleted.") for outcome in outcomes)
        assert emulator.count == 0


async def test_a_server_of_1_0_that_is_gone_is_told_by_every_call():
    settings = {"auth": BearerToken("t"), "base_url": "http://127.0.0.1:9", "retry": RetryPolicy(attempts=1)}
    for api, offline in (("1.0", True), ("2.0", False)):
        async with TracketClient(api=api, **settings) as client:
            for call in (client.worklogs.list(), client.worklogs.get("w"), client.worklogs.delete("w")):
                with pytest.raises(ConnectError) as caught:
                    await call
                assert ("took API 1.0 offline on 2024-10-01" in str(caught.value)) is offline


async def test_fields_that_1_0_may_leave_out_can_be_missing():
    async with Emulator(sample=150, v1_fields="starred") as emulator:
        shown = {worklog["worklogId"]: worklog for worklog in emulator.worklogs()}
        async with TracketClient.from_env(emulator.env("1.0")) as client:
            listed = [worklog async for worklog in client.worklogs.list()]
            exported = [worklog async for worklog in client.worklogs.export()]
            assert len(listed) == len(exported) == 150
            for worklog in listed:
                assert (worklog.description, worklog.approval_status, worklog.updated_date) == (None, None, None)
                assert worklog.minutes == shown[worklog.id]["worklogMinutes"]
                assert worklog.extra == {}
            changed = await client.worklogs.update(listed[0].id, WorklogChanges(minutes=7))
            assert (changed.minutes, changed.user_id) == (7, listed[0].user_id)
            assert await client.worklogs.delete(listed[0].id) == "The worklog was deleted."
        assert "description" in next(iter(shown.values()))


async def test_a_delete_whose_answer_is_lost_is_repeated_and_succeeds(running, api, route):
    async with running() as (emulator, client):
        created = await client.worklogs.create(new(api))
        emulator.faults.add(faults.CommitThenCut(), method="DELETE", nth=1)
        await client.worklogs.delete(created.id)
        assert emulator.request_log.count(method="DELETE") == 2
        assert emulator.count == 0


async def test_ids_that_would_leave_the_path_are_refused_and_nothing_is_sent(running, api):
    async with running() as (emulator, client):
        for identifier in ("../x", "..", "", "a/b", "a?b", "a#b"):
            with pytest.raises(UsageError):
                await client.worklogs.get(identifier)
        assert len(emulator.request_log) == 0


async def test_a_dict_of_which_a_server_could_ignore_a_part_is_refused_and_not_sent(running, api):
    async with running() as (emulator, client):
        worklog = await client.worklogs.create(
            NewWorklog(item_id="i", user_id="u", date=dt.date(2024, 5, 6), minutes=1)
        )
        sent = emulator.request_log.count()
        with pytest.raises(UsageError, match=r"A WorklogChanges can be sent, and not dict\. .*from_dict makes one of"):
            await client.worklogs.update(worklog.id, {"minutes": 90, "billable_minutes": 60})
        for given in ({"minutes": 90}, worklog):
            with pytest.raises(UsageError, match=rf"A NewWorklog can be sent, and not {type(given).__name__}\."):
                await client.worklogs.create(given)
        [outcome] = [one async for one in client.worklogs.update_many([(worklog.id, {"minutes": 90})])]
        assert (outcome.status, type(outcome.error)) == ("failed", UsageError)
        assert emulator.request_log.count() == sent


async def test_categories_are_listed_on_2_0():
    async with Emulator(sample=200) as emulator, TracketClient.from_env(emulator.env()) as client:
        categories = await client.categories.list()
        assert categories
        assert all(isinstance(category, Category) and category.name for category in categories)
        used = {w.category_id async for w in client.worklogs.list() if w.category_id}
        assert used <= {category.id for category in categories}


@pytest.mark.parametrize("api", ["2.0"])
async def test_every_bound_and_order_of_2_0_is_asked_of_the_server(running, api):
    async with running(sample=600) as (_, client):
        everything = [w async for w in client.worklogs.list()]
        middle = everything[300]
        created = sorted(w.created_date for w in everything if w.created_date)[300]
        for wanted in (
            WorklogFilter(since=middle.day),
            WorklogFilter(until=middle.day),
            WorklogFilter(since=middle.day, until=middle.day),
            WorklogFilter(created_since=created),
            WorklogFilter(created_until=created),
            WorklogFilter(created_since=created, created_until=created),
            WorklogFilter(updated_since=created),
        ):
            got = [w.id async for w in client.worklogs.list(filter=wanted)]
            expected = [w.id for w in everything if wanted.matches(w)]
            assert sorted(got) == sorted(expected)
            assert (await client.worklogs.list(filter=wanted)).total >= len(expected)
        for sort_by in ("date", "created_date"):
            for descending in (False, True):
                wanted = WorklogFilter(sort_by=sort_by, descending=descending)
                keys = [getattr(w, sort_by) async for w in client.worklogs.list(filter=wanted)]
                known = [key for key in keys if key is not None]
                assert known == sorted(known, reverse=descending)
                assert len(keys) == len(everything)


@pytest.mark.parametrize("api", ["2.0"])
@pytest.mark.parametrize(("size", "pages"), [(None, 3), (100, 3), (99, 3), (7, 36), (1, 250)])
async def test_a_page_has_the_size_that_was_asked_for(running, api, size, pages):
    async with running(sample=250) as (_, client):
        got = [page async for page in client.worklogs.list(size=size).pages()]
        assert len(got) == pages
        assert {page.total for page in got} == {250}
        assert len({w.id for page in got for w in page.items}) == 250


async def test_bounds_of_dates_are_exact_to_the_microsecond_or_the_day(running, api):
    async with running(sample=800) as (_, client):
        everything = [w async for w in client.worklogs.list()]
        low, high = everything[200].date, everything[500].date
        tick = dt.timedelta(microseconds=1)
        for since, until in [
            (low, high),
            (low + tick, high - tick),
            (low, None),
            (None, high),
            (low.date(), high.date()),
            (high, high),
            (dt.date(1990, 1, 1), dt.date(1990, 1, 2)),
            (dt.date(2190, 1, 1), None),
        ]:
            wanted = client.api_version.resolve(WorklogFilter(since=since, until=until))
            expected = sorted(w.id for w in everything if wanted.matches(w))
            assert sorted([w.id async for w in client.worklogs.list(since=since, until=until)]) == expected
            assert sorted([w.id async for w in client.worklogs.export(since=since, until=until)]) == expected


async def test_a_list_of_1_0_that_ends_early_is_not_walked_to_its_end():
    async with Emulator(sample=2000, page_size=50) as emulator, TracketClient.from_env(emulator.env("1.0")) as client:
        first = (await client.worklogs.list()).items[0].day
        emulator.request_log.clear()
        until = first + dt.timedelta(days=3)
        got = [w async for w in client.worklogs.list(until=until)]
        assert got
        assert all(w.day <= until for w in got)
        assert emulator.request_log.count(route="/worklogs") < 8


async def test_a_token_that_may_only_read_is_told_so(running, api):
    async with running() as (emulator, client):
        created = await client.worklogs.create(new(api))
        reader = type(client)(auth=BearerToken(emulator.settings.read_only_token), api=api, base_url=emulator.url)
        async with reader:
            assert await reader.worklogs.get(created.id) == created
            for operation in (
                reader.worklogs.create(new(api)),
                reader.worklogs.update(created.id, WorklogChanges(minutes=1)),
                reader.worklogs.delete(created.id),
            ):
                with pytest.raises(PermissionDeniedError):
                    await operation


async def test_a_field_that_the_server_refuses_is_named(running, api, route):
    async with running() as (emulator, client):
        emulator.faults.add(faults.Status(400), method="POST", route=route)
        with pytest.raises(BadRequestError):
            await client.worklogs.create(new(api))
        assert emulator.request_log.count(method="POST", route=route) == 1


async def test_a_malformed_worklog_in_the_middle_of_a_page_is_named(running, api, route):
    async with running(sample=300) as (emulator, client):
        minutes = "worklogMinutes" if api == "1.0" else "minutes"
        emulator.faults.add(faults.OddField(minutes, "many", row=40), route=route, cursor=True, nth=1)
        got = []
        with pytest.raises(MalformedResponseError) as caught:
            await _collect(got, client.worklogs.list())
        assert (len(got), caught.value.cursor is not None) == (100, True)
        assert minutes in caught.value.json_path
        assert caught.value.worklog_id
        await _collect(got, client.worklogs.list().items(caught.value.cursor))
        assert len({w.id for w in got}) == len(got) == 300


async def _collect(got, worklogs):
    async for worklog in worklogs:
        got.append(worklog)


async def test_what_only_2_0_offers_is_not_sent_to_1_0():
    async with Emulator() as emulator, TracketClient.from_env(emulator.env("1.0")) as client:
        with pytest.raises(UnsupportedError):
            await client.worklogs.create(new("2.0"))
        with pytest.raises(UnsupportedError):
            await client.worklogs.update("w", WorklogChanges(team_id="t"))
        assert len(emulator.request_log) == 0


async def test_a_name_that_moves_is_resolved_again_within_a_calls_retries(running, api, monkeypatch):
    """At first the name leads to where nobody listens any more."""
    gone = socket.socket()
    gone.bind(("127.0.0.1", 0))
    asked = []

    async def getaddrinfo(host, port, **_hints):
        asked.append(host)
        address = gone.getsockname() if len(asked) == 1 else ("127.0.0.1", port)
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)]

    with gone:
        async with running(sample=3) as (emulator, _):
            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
            environment = emulator.env("1.0") | {  # a fixed token, so that there is no token call
                "TRACKET_API": api,
                "TRACKET_BASE_URL": emulator.url.replace("127.0.0.1", "localhost"),
            }
            retry = RetryPolicy(attempts=2, wait_initial=0, wait_jitter=0)
            async with TracketClient.from_env(environment, retry=retry) as client:
                first = emulator.worklogs()[0]["worklogId"]
                assert (await client.worklogs.get(first)).id == first
                assert client.statistics().retries == 1
    assert asked == ["localhost"] * 2
