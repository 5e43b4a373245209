"""The client against rows that are odd, and rows that cannot be read at all."""

from __future__ import annotations

import datetime as dt
import json
from functools import partial

import pytest

from tracket_async import (
    BearerToken,
    IncompleteExportError,
    MalformedResponseError,
    PermissionDeniedError,
    WorklogFilter,
)

MARCH = dt.date(2024, 3, 1)
BOTH = pytest.mark.parametrize("api", ["1.0", "2.0"])


async def ids(walk):
    return [worklog.id async for worklog in walk]


async def collect(got, walk):
    async for worklog in walk:
        got.append(worklog.id)


async def test_a_worklog_created_at_midnight_is_not_of_the_day_before(hostile, connect):
    midnight = dt.datetime(2024, 5, 21, tzinfo=dt.UTC)
    async with connect() as client:
        hostile.rows.clear()
        hostile.add(*hostile.make_rows(10, created=midnight - dt.timedelta(hours=3)))
        hostile.add(hostile.Row("midnight", date=midnight, created=midnight))
        upto = WorklogFilter(created_until=dt.date(2024, 5, 20))
        for walk in (client.worklogs.list(filter=upto), client.worklogs.export(filter=upto)):
            assert "midnight" not in await ids(walk)


@BOTH
async def test_a_worklog_that_may_not_be_seen_is_a_permission_error(hostile, connect, api):
    hostile.forbidden = {"wl-0001"}
    async with connect(api) as client:
        with pytest.raises(PermissionDeniedError):
            await client.worklogs.get("wl-0001")
        assert len(await ids(client.worklogs.list())) == 599


@BOTH
async def test_a_plain_users_token_sees_its_own_worklogs(hostile, connect, api):
    async with connect(api, auth=BearerToken(hostile.plain_token)) as client:
        hostile.plain_user = "7"
        hostile.add(*hostile.make_rows(2, user="7"))
        assert await ids(client.worklogs.list()) == ["wl-0000", "wl-0001"]


ODD = {
    "a lone surrogate": {"description": "cut \ud83d"},
    "a control character": {"description": "bell \x07"},
    "no user": {"user": None, "userId": None},
    "minutes as text": {"minutes": "60", "worklogMinutes": "60"},
    "NaN": {"billableMinutes": float("nan"), "worklogBillableMinutes": float("nan")},
    "an array of custom fields": {"customFields": []},
    "an empty timestamp": {"updatedDate": ""},
    "a leap second": {"updatedDate": "2016-12-31T23:59:60Z"},
    "a description that is a number": {"description": 5},
    "an id that is a number": {"item": 5, "itemId": 5},
    "an approval in another shape": {"approval": [{"status": {"name": "open"}}], "approvalStatus": {"name": "open"}},
    "an unknown status": {"approval": "parked", "approvalStatus": "parked"},
    "an unknown field": {"colour": {"name": "red"}},
}


@BOTH
@pytest.mark.parametrize("members", ODD.values(), ids=ODD)
async def test_an_odd_row_does_not_cost_the_others(hostile, connect, api, members):
    hostile.overlay = {"wl-0003": members}
    async with connect(api) as client:
        assert await ids(client.worklogs.list()) == sorted(hostile.rows)
        assert sorted(await ids(client.worklogs.export())) == sorted(hostile.rows)


@BOTH
async def test_fields_that_the_model_does_not_know_are_kept(hostile, connect, api):
    hostile.overlay = {"*": {"colour": {"name": "red"}}}
    async with connect(api) as client:
        assert {worklog.extra["colour"]["name"] async for worklog in client.worklogs.list()} == {"red"}


BAD = {
    "minutes": {"minutes": "many", "worklogMinutes": "many"},
    "date": {"date": "soon", "worklogDate": "soon"},
    "id": {"id": None, "worklogId": None},
}


@BOTH
async def test_a_row_without_what_is_essential_is_an_error_that_names_it(hostile, connect, api):
    hostile.overlay = {"wl-0003": BAD["minutes"]}
    async with connect(api) as client:
        # One request at a time, so that none is under way when the error ends the export.
        for walk in (client.worklogs.list(read_ahead=0), client.worklogs.export(concurrency=1)):
            with pytest.raises(MalformedResponseError, match="inutes of worklog 'wl-0003' should be a finite number"):
                await ids(walk)


@BOTH
@pytest.mark.parametrize("page_size", [100, 7])
async def test_bad_rows_are_handed_over_once_and_the_others_are_all_there(hostile, connect, api, page_size):
    hostile.overlay = {"wl-0003": BAD["minutes"], "wl-0100": BAD["date"], "wl-0599": BAD["id"]}
    hostile.page_size = page_size
    sent = {json.dumps(hostile._shown(row, int(api[0])), separators=(",", ":")) for row in hostile.rows.values()}
    good = sorted(hostile.rows.keys() - hostile.overlay.keys())
    async with connect(api) as client:
        for walk in (client.worklogs.list, client.worklogs.export, partial(client.worklogs.export, ordered=True)):
            bad = []
            got = await ids(walk(on_bad_row=lambda row, error, bad=bad: bad.append((row, error))))
            assert sorted(got) == good
            assert sorted(error.worklog_id or "" for _, error in bad) == ["", "wl-0003", "wl-0100"]
            assert len(bad) == 3
            assert {row.decode() for row, _ in bad} <= sent


async def test_a_bad_row_counts_as_seen_and_what_is_missing_is_still_told(hostile, connect):
    hostile.overlay = {"wl-0003": BAD["minutes"]}
    hostile.total = lambda true, _: true and true + 1
    async with connect() as client:
        for walk in (client.worklogs.list, client.worklogs.export):
            with pytest.raises(IncompleteExportError) as caught:
                await ids(walk(on_bad_row=lambda _row, _error: None))
            assert (caught.value.seen, caught.value.total) == (600, 601)


@BOTH
async def test_a_bad_row_whose_date_is_outside_of_the_bounds_is_none_of_theirs(hostile, connect, api):
    hostile.overlay = {"wl-0003": BAD["minutes"], "wl-0590": BAD["minutes"], "wl-0050": BAD["minutes"]}
    bounds = {"since": dt.date(2024, 3, 10), "until": dt.date(2024, 3, 11)}
    async with connect(api) as client:
        for walk in (client.worklogs.list, client.worklogs.export):
            bad = []
            got = await ids(walk(**bounds, on_bad_row=lambda row, error, bad=bad: bad.append(error.worklog_id)))
            assert bad == ["wl-0050"]
            assert sorted(got) == [f"wl-{number:04}" for number in range(45, 55) if number != 50]


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(("api", "ignored"), [("1.0", "ignore_start"), ("2.0", "ignore_dates")])
async def test_bad_rows_of_a_server_that_ignores_dates_come_once(hostile, connect, api, ignored, ordered):
    setattr(hostile, ignored, True)
    hostile.overlay = {f"wl-{number:04}": BAD["minutes"] for number in range(0, 600, 7)}
    async with connect(api) as client:
        bad = []
        walk = client.worklogs.export(
            since=dt.date(2024, 3, 20), ordered=ordered, on_bad_row=lambda _, error: bad.append(error.worklog_id)
        )
        got = await ids(walk)
    assert sorted([*got, *bad]) == [f"wl-{number:04}" for number in range(95, 600)]
    assert set(bad) == {ident for ident in hostile.overlay if ident >= "wl-0095"}


async def test_the_pages_of_a_list_have_their_bad_rows(hostile, connect):
    hostile.overlay = {"wl-0003": BAD["minutes"], "wl-0150": BAD["date"]}
    async with connect() as client:
        for read_ahead in (0, 1):
            bad = []
            walk = client.worklogs.list(read_ahead=read_ahead, on_bad_row=lambda row, _, bad=bad: bad.append(row))
            pages = []
            async for page in walk.pages():
                pages.append(page)
                assert len(bad) == len([row for one in pages for row in one.bad_rows])
            assert [len(page.bad_rows) for page in pages] == [1, 1, 0, 0, 0, 0]
            assert [len(page.items) for page in pages] == [99, 99, 100, 100, 100, 100]
            [of_the_first] = (await walk).bad_rows
            assert bad == [pages[0].bad_rows[0].row, pages[1].bad_rows[0].row, of_the_first.row]
            assert of_the_first.date == dt.datetime(2024, 3, 1, tzinfo=dt.UTC)


async def test_an_error_of_on_bad_row_ends_the_list(hostile, connect):
    hostile.overlay = {"wl-0150": BAD["minutes"]}

    def refuse(row, _):
        raise RuntimeError(row.decode())

    async with connect() as client:
        got = []
        with pytest.raises(RuntimeError, match="wl-0150"):
            await collect(got, client.worklogs.list(on_bad_row=refuse))
        assert len(got) == 100


@BOTH
async def test_pages_of_bad_rows_alone_are_passed_by(hostile, connect, api):
    hostile.overlay = {"*": BAD["id"]}
    async with connect(api) as client:
        for walk in (client.worklogs.list, client.worklogs.export):
            bad = []
            assert await ids(walk(on_bad_row=lambda row, _, bad=bad: bad.append(row))) == []
            assert len(bad) == 600


MEMBERS = {"user": None, "description": "cut \ud83d", "approval": [True], "unknown": [1], "updatedDate": ""}


async def test_a_server_with_odd_fields_is_listed_and_exported_and_each_oddity_is_told_once(hostile, connect, caplog):
    hostile.overlay = {"*": MEMBERS}
    async with connect() as client:
        listed = [worklog async for worklog in client.worklogs.list()]
        exported = [worklog async for worklog in client.worklogs.export()]
    assert len(listed) == len(exported) == 600
    for worklog in (*listed, *exported):
        assert (worklog.user_id, worklog.description, worklog.approval_status) == (None, "cut \ufffd", None)
        assert worklog.extra == {"approval": [True], "unknown": [1], "updatedDate": ""}
    assert sorted(record.args[0] for record in caplog.records) == [
        "$",
        "approval.status",
        "unknown",
        "updatedDate",
        "user",
    ]


async def test_fields_under_other_names_are_kept(hostile, connect):
    hostile.rename = {"team": "teamId", "billableMinutes": "billable", "description": "note", "createdDate": "made"}
    async with connect() as client:
        worklogs = [worklog async for worklog in client.worklogs.list()]
    assert {worklog.extra["note"] for worklog in worklogs} == {f"text {each}" for each in range(600)}
    assert all({"billable", "note", "made"} <= worklog.extra.keys() for worklog in worklogs)
