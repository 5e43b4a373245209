"""The client against a server that deviates from the vendor's pages: one test for each deviation."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import itertools
import socket

import pytest

from tracket_async import (
    AmbiguousWriteError,
    AuthenticationError,
    ClientCredentials,
    CursorLoopError,
    IncompleteExportError,
    NewWorklog,
    RequestError,
    RetryPolicy,
    Timeouts,
    TracketClient,
    UnreadableResponseError,
    WorklogChanges,
)
from tracket_async._http.limits import Clock

AT_ONCE = RetryPolicy(wait_initial=0, wait_initial_rate_limited=0, wait_jitter=0)
MARCH = dt.date(2024, 3, 1)
BOTH = pytest.mark.parametrize("api", ["1.0", "2.0"])


async def ids(walk):
    return [worklog.id async for worklog in walk]


async def collect(got, walk):
    async for worklog in walk:
        got.append(worklog.id)


def new(number=1, **changes):
    return NewWorklog(
        **{"item_id": "1", "user_id": "2", "date": MARCH, "minutes": 30, "description": f"new {number}"} | changes
    )


@pytest.mark.parametrize("turns", range(6))
async def test_it_leaves_open_no_connection_that_it_is_about_to_accept(no_leaks, hostile, turns):
    async with type(hostile)() as other:
        client = socket.create_connection(("127.0.0.1", int(other.url.rpartition(":")[2])))
        for _ in range(turns):
            await asyncio.sleep(0)
    with client:
        client.setblocking(False)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""  # it is closed already


# -- without a deviation ---------------------------------------------------------------------------------------------


@BOTH
async def test_without_a_switch_it_is_a_plausible_server(hostile, connect, api):
    async with connect(api) as client:
        listed = await ids(client.worklogs.list())
        assert listed == sorted(hostile.rows)
        assert sorted(await ids(client.worklogs.export())) == listed
        some = await ids(client.worklogs.list(since=dt.date(2024, 3, 10), until=dt.date(2024, 3, 11)))
        assert some == [f"wl-{number:04}" for number in range(45, 55)]
        created = await client.worklogs.create(new())
        assert hostile.rows[created.id].description == "new 1"
        await client.worklogs.update(created.id, WorklogChanges(minutes=90, description=None))
        assert (hostile.rows[created.id].minutes, hostile.rows[created.id].description) == (90, None)
        assert (await client.worklogs.get(created.id)).minutes == 90
        await client.worklogs.delete(created.id)
        assert created.id not in hostile.rows


async def test_without_a_switch_it_exchanges_credentials_for_a_token(hostile):
    environ = {
        "TRACKET_BASE_URL": hostile.url,
        "TRACKET_CLIENT_ID": hostile.client_id,
        "TRACKET_CLIENT_SECRET": hostile.client_secret,
        "TRACKET_ACCOUNT_ID": hostile.account_id,
    }
    async with TracketClient.from_env(environ) as client:
        assert await ids(client.worklogs.list()) == []
    # That there is nothing counts once it was said twice, or over a new connection.
    assert [each.method for each in hostile.requests] == ["POST", "GET", "GET"]


# -- connections -----------------------------------------------------------------------------------------------------


@BOTH
async def test_connections_that_the_server_closes_in_between_cost_nothing(hostile, connect, api):
    hostile.keep_alive = 1
    async with connect(api) as client:
        assert await ids(client.worklogs.list()) == sorted(hostile.rows)


async def turns(number=50):
    """Let the loop see what has arrived on its sockets."""
    for _ in range(number):
        await asyncio.sleep(0)


@BOTH
async def test_a_stray_answer_is_not_taken_for_that_of_the_next_call(hostile, connect, api):
    async with connect(api) as client:
        await client.worklogs.get("wl-0001")
        other = hostile._shown(hostile.rows["wl-0003"], 1 if api == "1.0" else 2)
        hostile.stray(other)
        await turns()
        assert (await client.worklogs.get("wl-0002")).id == "wl-0002"
        hostile.stray(other)
        await turns()
        assert (await client.worklogs.create(new())).description == "new 1"


@BOTH
async def test_an_unasked_answer_behind_each_page_does_not_end_a_walk(hostile, connect, api):
    hostile.unasked = {"items": [], "worklogs": [], "total": 600}
    async with connect(api) as client:
        assert await ids(client.worklogs.list()) == sorted(hostile.rows)
        assert sorted(await ids(client.worklogs.export())) == sorted(hostile.rows)


@BOTH
async def test_a_get_does_not_accept_another_worklog(hostile, connect, api):
    hostile.wrong_id = "wl-0001"
    async with connect(api) as client:
        assert (await client.worklogs.get("wl-0001")).id == "wl-0001"
        with pytest.raises(RequestError, match="another worklog than 'wl-0002'"):
            await client.worklogs.get("wl-0002")


@BOTH
async def test_mute_kept_connections_cost_one_attempt(hostile, connect, api):
    async with connect(api, timeouts=Timeouts(read=0.2)) as client:
        await asyncio.gather(*(client.worklogs.get("wl-0001") for _ in range(8)))
        hostile.mute()
        assert (await client.worklogs.get("wl-0002")).id == "wl-0002"
        assert [each.path.rpartition("/")[2] for each in hostile.requests].count("wl-0002") == 2


@BOTH
@pytest.mark.parametrize("body", [False, True])
async def test_a_deletion_answered_204_is_done_with_one_request(hostile, connect, api, body):
    hostile.delete_status, hostile.body_on_204 = 204, body
    async with connect(api) as client:
        await client.worklogs.delete("wl-0001")
        await client.worklogs.get("wl-0002")
    assert hostile.count("DELETE") == 1
    assert "wl-0001" not in hostile.rows


# -- answers ---------------------------------------------------------------------------------------------------------


@BOTH
async def test_a_407_is_final(hostile, connect, api):
    hostile.statuses = [407]
    async with connect(api) as client:
        with pytest.raises(RequestError, match="407"):
            await client.worklogs.get("wl-0001")
    assert len(hostile.requests) == 1


@BOTH
async def test_a_limiter_that_only_says_429_ends_no_export(hostile, connect, api):
    hostile.limit, hostile.page_size = (100, 1), 20
    async with connect(api, retry=RetryPolicy(), clock=Clock()) as client:
        assert sorted(await ids(client.worklogs.export())) == sorted(hostile.rows)


@BOTH
@pytest.mark.parametrize("status", [500, 520, 529, 599])
async def test_any_5xx_is_retried(hostile, connect, api, status):
    hostile.statuses = [status]
    async with connect(api) as client:
        assert (await client.worklogs.get("wl-0001")).id == "wl-0001"


async def test_a_token_call_that_fails_with_status_200_is_an_authentication_error(hostile):
    hostile.token_error = True
    async with TracketClient(auth=ClientCredentials("a", "b", "c"), base_url=hostile.url, retry=AT_ONCE) as client:
        with pytest.raises(AuthenticationError, match="invalid_client"):
            await client.worklogs.get("wl-0001")


@BOTH
@pytest.mark.parametrize("value", ["utf-8", "none", "identity"])
async def test_a_content_encoding_that_is_none_is_passed_through(hostile, connect, api, value):
    hostile.headers = {"Content-Encoding": value}
    async with connect(api) as client:
        assert (await client.worklogs.get("wl-0001")).id == "wl-0001"


@BOTH
async def test_a_header_of_20_000_bytes_is_read(hostile, connect, api):
    hostile.headers = {"Content-Security-Policy": "x" * 20_000}
    async with connect(api) as client:
        assert (await client.worklogs.get("wl-0001")).id == "wl-0001"


@BOTH
async def test_a_byte_order_mark_before_the_json_is_passed_over(hostile, connect, api):
    hostile.encode = lambda body: b"\xef\xbb\xbf" + body
    async with connect(api) as client:
        assert await ids(client.worklogs.list()) == sorted(hostile.rows)


@BOTH
async def test_broken_json_that_comes_twice_alike_is_final(hostile, connect, api):
    async with connect(api) as client:
        hostile.encode = lambda body: body[:-1]
        for call in (client.worklogs.get("wl-0001"), client.worklogs.list(), ids(client.worklogs.export())):
            hostile.requests.clear()
            with pytest.raises(UnreadableResponseError) as caught:
                await call
            assert caught.value.came_twice
            paths = [(each.path, *sorted(each.query.items())) for each in hostile.requests]
            assert max(map(paths.count, paths)) == 2
        hostile.requests.clear()
        with pytest.raises(AmbiguousWriteError):
            await client.worklogs.create(new())
        assert hostile.count("POST") == 1


async def test_what_is_broken_differently_or_no_json_is_tried_again(hostile, connect):
    cuts = itertools.count(1)
    async with connect() as client:
        for encode in (lambda body: body[: -next(cuts)], lambda _: b"<html>maintenance</html>"):
            hostile.encode = encode
            hostile.requests.clear()
            with pytest.raises(UnreadableResponseError) as caught:
                await client.worklogs.get("wl-0001")
            assert not caught.value.came_twice
            assert hostile.count() == 4


@BOTH
async def test_an_error_inside_a_200_is_no_empty_account(hostile, connect, api):
    hostile.error_in_200 = True
    async with connect(api) as client:
        with pytest.raises(RequestError, match="the database is away"):
            await ids(client.worklogs.list())


# -- pages -----------------------------------------------------------------------------------------------------------


async def test_no_total_is_no_fault(hostile, connect):
    hostile.total = lambda _true, _: None
    async with connect() as client:
        assert await ids(client.worklogs.list()) == sorted(hostile.rows)
        assert sorted(await ids(client.worklogs.export())) == sorted(hostile.rows)


async def test_a_total_that_ignores_the_filters_is_said_once_and_decides_nothing(hostile, connect, caplog):
    hostile.total_of_all = True
    async with connect() as client:
        for walk in (client.worklogs.list, client.worklogs.export):
            some = await ids(walk(since=dt.date(2024, 3, 10), until=dt.date(2024, 3, 11)))
            assert sorted(some) == [f"wl-{number:04}" for number in range(45, 55)]
    assert [message[:36] for message in caplog.messages] == ["The server's totals do not follow th"]


async def test_fewer_worklogs_than_the_server_counts_are_an_error_with_both_numbers(hostile, connect):
    hostile.total = lambda true, _: true and true + 500
    async with connect() as client:
        for walk in (client.worklogs.list(), client.worklogs.export(), client.worklogs.export(since=MARCH)):
            got = []
            with pytest.raises(IncompleteExportError) as caught:
                await collect(got, walk)
            assert sorted(got) == sorted(hostile.rows)
            assert (caught.value.seen, caught.value.total) == (600, 1100)
            assert "counts 1,100 worklogs and has sent only 600" in str(caught.value)
        first = await client.worklogs.list()
        pages = [page async for page in client.worklogs.list().pages(first.next_cursor)]
        assert len(pages) == 5


async def test_a_total_that_moves_is_asked_for_once_more(hostile, connect):
    hostile.total = lambda true, number: true + 300 if number <= 3 else true
    async with connect() as client:
        assert len(await ids(client.worklogs.list())) == 600


async def test_worklogs_created_behind_the_walk_are_not_missing(hostile, connect):
    numbers = itertools.count()

    def appear(server):
        number = next(numbers)
        row = dataclasses.replace(hostile.make_rows(1)[0], id=f"new-{number}", created=dt.datetime.now(dt.UTC))
        server.add(row)
        server.rows.pop(f"wl-{599 - number:04}")  # as many are deleted ahead of it: the total stays

    async with connect() as client:
        for walk in (client.worklogs.list(), client.worklogs.export(concurrency=1)):
            hostile.after_page = appear
            got = await ids(walk)
            hostile.after_page = None
            assert sum(ident in hostile.rows for ident in got) < len(hostile.rows)
            assert {ident for ident in hostile.rows if ident.startswith("wl-")} <= set(got)


async def test_a_total_that_is_too_small_is_said_once_and_decides_nothing(hostile, connect, caplog):
    hostile.total = lambda _true, _: 25
    async with connect() as client:
        assert await ids(client.worklogs.list()) == sorted(hostile.rows)
        hostile.add(hostile.Row("late", dt.datetime(2024, 3, 1, tzinfo=dt.UTC)))  # other figures, the same to say
        assert await ids(client.worklogs.list()) == sorted(hostile.rows, key=lambda ident: (ident != "late", ident))
        assert sorted(await ids(client.worklogs.export())) == sorted(hostile.rows)
    assert caplog.messages == ["The server counts 25 worklogs and has sent 600: its totals are not relied upon"]


async def test_a_cursor_parameter_of_another_name_is_noticed_and_named(hostile, connect):
    hostile.cursor_name = "page"
    async with connect("1.0") as client:
        for walk in (client.worklogs.list(), client.worklogs.export(), client.worklogs.export(since=MARCH)):
            hostile.requests.clear()
            with pytest.raises(CursorLoopError, match="set cursor_parameter"):
                await ids(walk)
            assert len(hostile.requests) <= 35
    async with connect("1.0", cursor_parameter="page") as client:
        assert await ids(client.worklogs.list()) == sorted(hostile.rows)
        assert sorted(await ids(client.worklogs.export())) == sorted(hostile.rows)


@pytest.mark.parametrize("order", ["ascending", "descending", "unsorted"])
@pytest.mark.parametrize("a_day", [1, 5, 600])
async def test_refused_cursors_lose_nothing_in_any_order(hostile, connect, order, a_day):
    hostile.rows.clear()
    hostile.add(*hostile.make_rows(600, a_day=a_day))
    hostile.order, hostile.page_size = order, 40
    async with connect("1.0") as client:
        for refused in range(1, 9):
            hostile.refused_cursors = {refused + len([each for each in hostile.requests if each.cursor])}
            assert sorted(await ids(client.worklogs.export(concurrency=3))) == sorted(hostile.rows)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(("api", "ignored"), [("1.0", "ignore_start"), ("2.0", "ignore_dates")])
async def test_a_refused_cursor_of_a_server_that_ignores_dates_doubles_nothing(hostile, connect, api, ignored, ordered):
    setattr(hostile, ignored, True)
    hostile.page_size = 40
    async with connect(api) as client:
        for concurrency, refused in itertools.product((1, 3), (3, 6, 9)):
            hostile.refused_cursors = {refused + len([each for each in hostile.requests if each.cursor])}
            got = await ids(client.worklogs.export(concurrency=concurrency, ordered=ordered))
            assert sorted(got) == sorted(hostile.rows)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(("api", "ignored"), [("1.0", "ignore_start"), ("2.0", "ignore_dates")])
async def test_filters_that_are_ignored_are_said_once_and_cost_one_reading(
    hostile, connect, api, ignored, ordered, caplog
):
    setattr(hostile, ignored, True)
    until = dt.date(2024, 6, 8)
    async with connect(api) as client:
        for since, wanted in ((dt.date(2024, 3, 20), 405), (dt.date(2024, 6, 1), 40)):
            hostile.requests.clear()
            got = await ids(client.worklogs.export(since=since, until=until, ordered=ordered))
            assert sorted(got) == [f"wl-{number:04}" for number in range(500 - wanted, 500)]
            assert not ordered or got == sorted(got)
            assert len(hostile.requests) <= 6 + 2 * 16
        assert len([each for each in caplog.messages if "ignores the dates" in each]) == 1


@pytest.mark.parametrize("worklogs", [0, 1, 30, 200, 600])
@pytest.mark.parametrize("since", [None, dt.date(2020, 1, 1), MARCH])
@pytest.mark.parametrize("ordered", [False, True])
@BOTH
async def test_an_export_asks_for_few_more_pages_than_there_are(hostile, connect, api, worklogs, since, ordered):
    hostile.rows.clear()
    hostile.add(*hostile.make_rows(worklogs, a_day=max(worklogs // 60, 1)))
    async with connect(api) as client:
        for concurrency in (1, 2, 4, 16):
            hostile.requests.clear()
            got = await ids(client.worklogs.export(since=since, concurrency=concurrency, ordered=ordered))
            assert sorted(got) == sorted(hostile.rows)
            # Two more on 2.0: where the first and the last worklog are, and the total at the end.
            assert len(hostile.requests) <= -(-worklogs // 100) + 2 * concurrency + (3 if api == "2.0" else 0)


@pytest.mark.parametrize("offset", ["+02:00", "+14:00", "-05:00", "-12:00"])
@pytest.mark.parametrize("by_instant", [False, True])
async def test_days_that_are_no_instants_lose_nothing(hostile, connect, offset, by_instant):
    """A day is the day as written, whatever the server's filter compares."""
    hostile.offset, hostile.by_instant = offset, by_instant
    async with connect() as client:
        assert sorted(await ids(client.worklogs.export())) == sorted(hostile.rows)
        for bounds in ({"since": dt.date(2024, 3, 20)}, {"until": dt.date(2024, 6, 8)}):
            got = [worklog.day for worklog in [w async for w in client.worklogs.list(**bounds)]]
            assert len(got) == (505 if "since" in bounds else 500)
        listed = client.worklogs.list(since=dt.date(2024, 3, 20), until=dt.date(2024, 6, 8))
        assert await ids(listed) == await ids(listed) == [f"wl-{number:04}" for number in range(95, 500)]
        assert (await listed).items[0].id == "wl-0095"
        alone = client.worklogs.export(since=dt.date(2024, 6, 28), until=dt.date(2024, 7, 20))
        assert sorted(await ids(alone)) == [f"wl-{number:04}" for number in range(595, 600)]
        assert await ids(client.worklogs.export(since=dt.date(2025, 6, 28))) == []
        for ordered in (False, True):
            walk = client.worklogs.export(since=dt.date(2024, 3, 20), until=dt.date(2024, 6, 8), ordered=ordered)
            got = [(worklog.day, worklog.id) async for worklog in walk]
            assert sorted(ident for _, ident in got) == [f"wl-{number:04}" for number in range(95, 500)]
            assert not ordered or [day for day, _ in got] == sorted(day for day, _ in got)


@BOTH
async def test_rows_that_appear_during_a_walk_cost_none_of_the_others(hostile, connect, api):
    extra = iter(hostile.make_rows(50, description="late"))

    def appear(server):
        row = next(extra, None)
        if row is not None:
            server.add(dataclasses.replace(row, id=f"late-{row.id}"))

    hostile.after_page, hostile.page_size = appear, 50
    before = set(hostile.rows)
    async with connect(api) as client:
        before = {ident for ident in hostile.rows if ident.startswith("wl-")}
        for walk in (client.worklogs.list(), client.worklogs.export()):
            seen = await ids(walk)
            assert len(seen) == len(set(seen))
            assert before <= set(seen)


@pytest.mark.parametrize("links", ["_links.object", "_links.string", "links.object", "links.string"])
async def test_a_null_cursor_beside_a_next_link_does_not_end_the_walk(hostile, connect, links):
    hostile.links = links
    async with connect() as client:
        assert await ids(client.worklogs.list()) == sorted(hostile.rows)
        assert sorted(await ids(client.worklogs.export())) == sorted(hostile.rows)


@BOTH
@pytest.mark.parametrize("kind", [int, float])
async def test_a_cursor_may_be_a_number(hostile, connect, api, kind):
    hostile.cursor_as = kind
    async with connect(api) as client:
        assert await ids(client.worklogs.list()) == sorted(hostile.rows)


@pytest.mark.parametrize("kind", [str, float])
async def test_a_total_may_be_a_string_or_a_float(hostile, connect, kind):
    hostile.total = lambda true, _: kind(true)
    async with connect() as client:
        assert await ids(client.worklogs.list()) == sorted(hostile.rows)


# -- writes ----------------------------------------------------------------------------------------------------------


@BOTH
async def test_a_200_of_html_has_created_nothing_that_is_known_of(hostile, connect, api):
    hostile.created_as = "html"
    async with connect(api) as client:
        with pytest.raises(AmbiguousWriteError):
            await client.worklogs.create(new())
    assert hostile.count("POST") == 1


@BOTH
async def test_a_lost_create_is_found_by_reading_back(hostile, connect, api):
    hostile.lose_posts = 1
    async with connect(api) as client:
        with pytest.raises(AmbiguousWriteError) as caught:
            await client.worklogs.create(new())
        assert (await client.worklogs.reconcile(caught.value, wait=0)).id in hostile.rows
    assert hostile.count("POST") == 1


@BOTH
async def test_text_that_the_server_trims_is_found_all_the_same(hostile, connect, api):
    hostile.lose_posts, hostile.change_text = 1, str.strip
    async with connect(api) as client:
        with pytest.raises(AmbiguousWriteError) as caught:
            await client.worklogs.create(new(description="stand-up "))
        assert (await client.worklogs.reconcile(caught.value, wait=0)).description == "stand-up"


@BOTH
async def test_an_older_worklog_of_unknown_age_is_a_candidate_and_no_answer(hostile, connect, api):
    hostile.no_created = True
    async with connect(api) as client:
        hostile.add(hostile.Row("old", dt.datetime(2024, 3, 1, tzinfo=dt.UTC), 30, "1", "2", "new 1"))
        hostile.refuse_posts = 1
        with pytest.raises(AmbiguousWriteError) as lost:
            await client.worklogs.create(new())
        with pytest.raises(AmbiguousWriteError) as unsure:
            await client.worklogs.reconcile(lost.value, wait=0)
        assert [each.id for each in unsure.value.candidates] == ["old"]


@BOTH
async def test_without_a_date_header_no_age_is_known(hostile, connect, api):
    """What was created may then be older than the create whose answer was lost: it is a candidate."""
    hostile.no_date, hostile.lose_posts = True, 1
    async with connect(api) as client:
        with pytest.raises(AmbiguousWriteError) as lost:
            await client.worklogs.create(new())
        with pytest.raises(AmbiguousWriteError) as unsure:
            await client.worklogs.reconcile(lost.value, wait=0)
        assert [hostile.rows[each.id].description for each in unsure.value.candidates] == ["new 1"]
        hostile.no_date = False
        assert (await client.worklogs.reconcile(lost.value, wait=0)).description == "new 1"
    assert hostile.count("POST") == 1


@BOTH
@pytest.mark.parametrize("answer", ["id", "location", "empty"])
async def test_a_201_without_the_worklog_is_a_success(hostile, connect, api, answer):
    hostile.created_as = answer
    async with connect(api) as client:
        created = await client.worklogs.create(new())
        assert hostile.rows[created.id].description == "new 1"
    assert hostile.count("POST") == 1


@BOTH
async def test_one_503_does_not_end_a_bulk_create(hostile, connect, api):
    hostile.refuse_posts = 1
    async with connect(api) as client:
        outcomes = [each async for each in client.worklogs.create_many(map(new, range(50)), reconcile=True)]
    assert [each.status for each in outcomes].count("ok") == 49
    assert hostile.count("POST") == 50


@BOTH
@pytest.mark.parametrize("body", [False, True])
async def test_a_put_answered_204_is_read_back(hostile, connect, api, body):
    hostile.updated_as, hostile.body_on_204 = "204", body
    async with connect(api) as client:
        changed = await client.worklogs.update("wl-0001", WorklogChanges(minutes=7))
        assert (changed.id, changed.minutes) == ("wl-0001", 7)
    assert hostile.count("PUT") == 1
