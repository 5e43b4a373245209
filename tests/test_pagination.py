"""Walking pages: what comes, how far ahead is read, what a walk survives and what it refuses."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
from contextlib import aclosing

import pytest

from tracket_async._api import v2
from tracket_async._http.messages import Response
from tracket_async.errors import (
    ClientStateError,
    CursorLoopError,
    GoneError,
    IncompleteExportError,
    MalformedResponseError,
    MismatchedResponseError,
    ServerError,
    TracketError,
)
from tracket_async.models import Page, Worklog, WorklogFilter
from tracket_async.pagination import (
    MAX_EMPTY_PAGES,
    PROOF_STEPS,
    CursorLoopGuard,
    OrderCheck,
    Paginator,
    Position,
    Recount,
    said_twice,
)

DAY = dt.datetime(2024, 5, 6, tzinfo=dt.UTC)


def worklog(number: int, *, day: int | None = None) -> Worklog:
    return Worklog(
        id=f"w{number}", user_id="u", date=DAY + dt.timedelta(days=number if day is None else day), minutes=30
    )


class Server:
    """Pages of two worklogs each; remembers which were asked for, and lets a test hold one back or fail it."""

    def __init__(self, pages: int, *, fail: dict[str | None, Exception] | None = None) -> None:
        self.pages = pages
        self.asked: list[str | None] = []
        self.cancelled: list[str | None] = []
        self.held: dict[str | None, asyncio.Event] = {}
        self.fail = fail or {}

    async def __call__(self, cursor: str | None) -> Page:
        self.asked.append(cursor)
        try:
            if cursor in self.held:
                await self.held[cursor].wait()
        except asyncio.CancelledError:
            self.cancelled.append(cursor)
            raise
        if cursor in self.fail:
            raise self.fail[cursor]
        number = 0 if cursor is None else int(cursor)
        last = number + 1 >= self.pages
        items = [worklog(2 * number), worklog(2 * number + 1)]
        return Page(items=items, next_cursor=None if last else str(number + 1), total=2 * self.pages)


async def settle() -> None:
    """Lets every task run until it waits for something."""
    for _ in range(20):
        await asyncio.sleep(0)


async def collect(got: list, items) -> None:
    async for item in items:
        got.append(item)  # noqa: PERF401 - what came before an error is to be kept


def others() -> set[asyncio.Task]:
    return asyncio.all_tasks() - {asyncio.current_task()}


async def test_awaiting_a_walk_gives_its_first_page_and_asks_for_no_other():
    server = Server(3)
    page = await Paginator(server)
    assert [w.id for w in page.items] == ["w0", "w1"]
    assert (page.next_cursor, page.total, server.asked) == ("1", 6, [None])


@pytest.mark.parametrize("read_ahead", [0, 1, 2, 10])
async def test_iterating_gives_every_worklog_in_the_servers_order(read_ahead):
    server = Server(4)
    assert [w.id async for w in Paginator(server, read_ahead=read_ahead)] == [f"w{n}" for n in range(8)]
    assert server.asked == [None, "1", "2", "3"]
    assert not others()


async def test_a_walk_can_be_iterated_again_and_by_two_tasks_at_once():
    walk = Paginator(Server(3))

    async def ids():
        return [w.id async for w in walk]

    first, second = await asyncio.gather(ids(), ids())
    assert first == second == await ids() == [f"w{n}" for n in range(6)]


async def test_pages_begin_at_a_cursor_and_carry_the_next():
    pages = [page async for page in Paginator(Server(4)).pages("2")]
    assert [page.items[0].id for page in pages] == ["w4", "w6"]
    assert [page.next_cursor for page in pages] == ["3", None]


async def test_items_begin_at_a_cursor():
    assert [w.id async for w in Paginator(Server(4)).items("3")] == ["w6", "w7"]


@pytest.mark.parametrize(("read_ahead", "asked"), [(0, 1), (1, 2), (2, 3), (3, 4)])
async def test_exactly_so_many_pages_are_read_ahead_of_the_one_in_use(read_ahead, asked):
    server = Server(10)
    async with aclosing(Paginator(server, read_ahead=read_ahead).pages()) as pages:
        await anext(pages)
        await settle()
        assert len(server.asked) == asked
        await anext(pages)
        await settle()
        assert len(server.asked) == asked + 1


async def test_the_next_page_is_asked_for_before_a_loop_body_that_never_awaits():
    """Whoever waits for a page and then keeps the event loop busy has the page after it on its way meanwhile."""
    server = Server(4)

    async def fetch(cursor):
        page = await server(cursor)
        await asyncio.sleep(0)
        return page

    async with aclosing(Paginator(fetch).pages()) as pages:
        asked = [(page.next_cursor, server.asked[-1]) async for page in pages]
    assert asked == [("1", "1"), ("2", "2"), ("3", "3"), (None, "3")]


async def test_a_negative_read_ahead_is_refused():
    with pytest.raises(ValueError, match="read_ahead"):
        Paginator(Server(1), read_ahead=-1)


async def test_closing_a_walk_cancels_and_awaits_the_page_read_ahead():
    server = Server(5)
    server.held["1"] = asyncio.Event()
    async with aclosing(aiter(Paginator(server))) as worklogs:
        assert (await anext(worklogs)).id == "w0"
        await settle()
        assert server.asked == [None, "1"]
    assert server.cancelled == ["1"]
    assert not others()


async def test_an_exception_in_the_loop_leaves_no_task_behind():
    server = Server(5)
    server.held["1"] = asyncio.Event()

    async def fail():
        async with aclosing(Paginator(server).pages()) as pages:
            async for _ in pages:
                await settle()
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert server.cancelled == ["1"]
    assert not others()


async def test_cancelling_whoever_iterates_leaves_no_task_behind():
    server = Server(5)
    server.held["2"] = asyncio.Event()

    async def count():
        return [w async for w in Paginator(server)]

    task = asyncio.create_task(count())
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert server.cancelled == ["2"]
    assert not others()


async def test_a_walk_that_is_dropped_is_closed_by_the_loop():
    server = Server(5)
    server.held["1"] = asyncio.Event()
    worklogs = aiter(Paginator(server))
    await anext(worklogs)
    await settle()
    del worklogs
    gc.collect()
    await settle()
    assert server.cancelled == ["1"]
    assert not others()


async def test_an_error_read_ahead_that_nobody_comes_to_see_is_no_complaint():
    """The loop would say "Task exception was never retrieved", and here warnings and logged errors are failures."""
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    server = Server(5, fail={"1": ServerError("down")})
    async with aclosing(aiter(Paginator(server))) as worklogs:
        await anext(worklogs)
        await settle()
    del worklogs
    gc.collect()
    assert not complaints


@pytest.mark.parametrize("read_ahead", [0, 1, 3])
async def test_an_error_comes_after_every_worklog_before_it_and_carries_the_cursor_to_resume_from(read_ahead):
    server = Server(5, fail={"3": ServerError("down")})
    walk = Paginator(server, read_ahead=read_ahead)
    got = []
    with pytest.raises(ServerError) as caught:
        await collect(got, walk)
    assert ([w.id for w in got], caught.value.cursor) == ([f"w{n}" for n in range(6)], "3")
    server.fail.clear()
    await collect(got, walk.items(caught.value.cursor))
    assert [w.id for w in got] == [f"w{n}" for n in range(10)]


async def test_an_error_on_the_first_page_resumes_where_the_walk_began():
    for start in (None, "2"):
        with pytest.raises(TracketError) as caught:
            await anext(Paginator(Server(5, fail={start: ServerError("down")})).pages(start))
        assert caught.value.cursor == start


@pytest.mark.parametrize("read_ahead", [0, 2])
async def test_after_a_failure_the_next_step_is_an_error_that_knows_the_cursor(read_ahead):
    """A generator that has raised is at its end: the next step would say that nothing is left."""
    server = Server(5, fail={"3": ServerError("down")})
    walk = Paginator(server, read_ahead=read_ahead)
    for worklogs in (walk.items(), walk.pages()):
        with pytest.raises(ServerError):
            await collect([], worklogs)
        for _ in range(2):
            with pytest.raises(ClientStateError, match="ended with ServerError") as caught:
                await anext(worklogs)
            assert (caught.value.cursor, type(caught.value.__cause__)) == ("3", ServerError)
        with pytest.raises(ClientStateError):
            await worklogs.asend(None)


@pytest.mark.parametrize("read_ahead", [0, 2])
async def test_after_a_step_that_timed_out_the_next_is_an_error_that_knows_the_cursor(read_ahead):
    server = Server(5)
    server.held["3"] = asyncio.Event()
    walk = Paginator(server, read_ahead=read_ahead)
    worklogs = walk.items()
    got = [await anext(worklogs) for _ in range(6)]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(worklogs), 0.01)
    with pytest.raises(ClientStateError, match="was cancelled") as caught:
        await anext(worklogs)
    server.held["3"].set()
    got += [w async for w in walk.items(caught.value.cursor)]
    assert [w.id for w in got] == [f"w{n}" for n in range(10)]


async def test_after_its_end_or_a_close_there_is_nothing_left():
    for close in (True, False):
        worklogs = Paginator(Server(2)).items()
        assert (await worklogs.asend(None)).id == "w0"
        if close:
            await worklogs.aclose()
        else:
            await collect([], worklogs)
        with pytest.raises(StopAsyncIteration):
            await anext(worklogs)


async def test_an_exception_can_be_thrown_into_an_iteration():
    worklogs = Paginator(Server(2)).items()
    await anext(worklogs)
    with pytest.raises(ZeroDivisionError):
        await worklogs.athrow(ZeroDivisionError())


async def test_a_fetch_that_is_cancelled_from_elsewhere_does_not_leave_the_walk_waiting():
    async def fetch(_cursor):
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await anext(Paginator(fetch).pages())
    assert not others()


def chain(*cursors: str | None, items: int = 1):
    """A server whose nth page has the nth cursor as its next."""
    asked = []

    async def fetch(cursor):
        asked.append(cursor)
        return Page(items=[worklog(len(asked))] * items, next_cursor=cursors[len(asked) - 1])

    return fetch


@pytest.mark.parametrize("cursors", [("a", "a"), ("a", "b", "a"), ("a", "b", "c", "b")])
async def test_cursors_that_go_round_in_a_circle_end_the_walk_after_the_page_that_closes_it(cursors):
    got = []
    with pytest.raises(CursorLoopError) as caught:
        await collect(got, Paginator(chain(*cursors), read_ahead=0))
    assert len(got) == len(cursors)
    assert caught.value.cursor is None


async def test_coming_back_to_the_cursor_that_the_walk_began_at_is_a_circle():
    with pytest.raises(CursorLoopError):
        _ = [page async for page in Paginator(chain("b", "start")).pages("start")]


async def test_empty_pages_do_not_end_a_walk():
    async def fetch(cursor):
        number = 0 if cursor is None else int(cursor)
        return Page(items=[worklog(9)] if number == 500 else [], next_cursor=None if number == 500 else str(number + 1))

    assert [w.id async for w in Paginator(fetch)] == ["w9"]


def test_the_thousandth_empty_page_in_a_row_is_an_error():
    guard = CursorLoopGuard(None)
    for number in range(MAX_EMPTY_PAGES - 1):
        guard.check_cursor(0, f"a{number}")
    guard.check_cursor(1, "full")
    for number in range(MAX_EMPTY_PAGES - 1):
        guard.check_cursor(0, f"b{number}")
    with pytest.raises(CursorLoopError, match="1,000 empty pages"):
        guard.check_cursor(0, "one more")


def test_an_empty_last_page_is_never_an_error():
    guard = CursorLoopGuard(None)
    for number in range(MAX_EMPTY_PAGES - 1):
        guard.check_cursor(0, str(number))
    guard.check_cursor(0, None)


def test_a_page_that_came_before_is_an_error_unless_it_is_the_last():
    guard = CursorLoopGuard(None)
    guard.check_page(["a", "b"], "1")
    guard.check_page([], "2")
    guard.check_page([], "3")
    guard.check_page(["b", "a"], "4")
    guard.check_page(["a", "b"], None)
    with pytest.raises(CursorLoopError, match="same page again"):
        guard.check_page(["a", "b"], "5")


@pytest.mark.parametrize("read_ahead", [0, 1])
async def test_the_first_page_again_for_each_cursor_ends_the_walk_and_is_not_used(read_ahead):
    """A server that knows the cursor's parameter by another name; the error says how to give it."""
    asked = []

    async def fetch(cursor):
        asked.append(cursor)
        return Page(items=[worklog(1), worklog(2)], next_cursor=f"fresh-{len(asked)}")

    got = []
    with pytest.raises(CursorLoopError, match="set cursor_parameter") as caught:
        await collect(got, Paginator(fetch, read_ahead=read_ahead))
    assert ([w.id for w in got], asked, caught.value.cursor) == (["w1", "w2"], [None, "fresh-1"], "fresh-1")


async def test_what_the_server_cannot_filter_is_left_out_of_items_and_pages_and_cursors_stay():
    walk = Paginator(Server(3), keep=lambda w: w.id in {"w1", "w4"})
    assert [w.id for w in (await walk).items] == ["w1"]
    pages = [page async for page in walk.pages()]
    assert [[w.id for w in page.items] for page in pages] == [["w1"], [], ["w4"]]
    assert [page.next_cursor for page in pages] == ["1", "2", None]
    assert [w.id async for w in walk] == ["w1", "w4"]


def listing(*days: int, size: int = 2):
    """A server that lists worklogs of these days, in this order."""
    asked = []

    async def fetch(cursor):
        asked.append(cursor)
        begin = 0 if cursor is None else int(cursor)
        end = begin + size
        items = [worklog(n, day=day) for n, day in enumerate(days)][begin:end]
        return Page(items=items, next_cursor=str(end) if end < len(days) else None)

    fetch.asked = asked
    return fetch


async def test_an_ascending_list_without_an_end_is_left_at_the_first_page_past_it():
    fetch = listing(*range(PROOF_STEPS + 10))
    until = DAY + dt.timedelta(days=PROOF_STEPS - 1)
    walk = Paginator(fetch, until=until, keep=lambda w: w.date <= until)
    assert len([w async for w in walk]) == PROOF_STEPS
    assert fetch.asked[-1] == str(PROOF_STEPS)


async def test_a_list_that_ascends_by_chance_at_first_is_read_to_its_end():
    days = (1, 9, *range(2, 9))
    until = DAY + dt.timedelta(days=5)
    walk = Paginator(listing(*days), until=until, keep=lambda w: w.date <= until)
    assert len([w async for w in walk]) == 5


@pytest.mark.parametrize("days", [(6, 5, 4, 3, 2, 1), (5, 1, 6, 2, 4, 3), (9, 9, 1, 2), (9, 9, 9, 9)])
async def test_a_list_not_seen_to_ascend_is_read_to_its_end(days):
    until = DAY + dt.timedelta(days=2)
    walk = Paginator(listing(*days), until=until, keep=lambda w: w.date <= until)
    assert len([w async for w in walk]) == sum(day <= 2 for day in days)


@pytest.mark.parametrize(
    ("pages", "steps", "broken"),
    [
        ([], 0, False),
        ([[1, 1], [1]], 0, False),
        ([[1], [2]], 1, False),
        ([[1, 1, 2]], 1, False),
        ([[1, 1, 2], [2, 3], [4, 5]], 4, False),
        ([[2, 1]], None, True),
        ([[1, 2], [], [1]], None, True),
        ([[2], [1], [3]], None, True),
    ],
)
def test_steps_up_are_counted_and_one_step_down_breaks_the_order(pages, steps, broken):
    order = OrderCheck()
    for page in pages:
        order.see([DAY + dt.timedelta(days=day) for day in page])
    assert order.broken is broken
    if not broken:
        assert order.steps == steps


def test_the_order_is_proved_by_so_many_steps_and_not_one_less():
    order = OrderCheck()
    for day in range(PROOF_STEPS + 1):
        assert not order.proven
        order.see([DAY + dt.timedelta(days=day)])
    assert order.proven
    order.see([DAY])
    assert not order.proven


class Counting:
    """Answers with totals: of everything, of what was created since, and of the time in which there is nothing."""

    def __init__(self, total, *, created=0, nowhere=0):
        self.total, self.created, self.nowhere = total, created, nowhere
        self.asked = []

    async def __call__(self, request, _parse):
        query = dict(request.query)
        self.asked.append(query)
        if any(value.startswith("9999") for value in query.values()):
            return Page(items=[], total=self.nowhere)
        return Page(items=[], total=self.total if len(self.asked) == 1 else self.created)


def recount(total, wanted=None, **settings):
    return Recount(Counting(total, **settings), v2.api_version(), wanted or WorklogFilter())


async def test_a_total_that_is_gone_decides_nothing():
    await recount(None).check(5, 10, DAY)


@pytest.mark.parametrize(
    ("seen", "total", "now", "created", "missing"),
    [
        (600, 600, 600, 0, False),
        (599, 600, 600, 0, True),
        (599, 600, 599, 0, False),  # one was deleted meanwhile
        (599, 600, 600, 1, False),  # one was created meanwhile, and another deleted
        (598, 600, 600, 1, True),
        (100, 600, 600, 600, True),  # the filter of created dates is ignored
        (100, 600, 600, None, True),
    ],
)
async def test_one_more_look_decides_whether_worklogs_are_missing(seen, total, now, created, missing):
    counting = recount(now, created=created)
    if not missing:
        await counting.check(seen, total, DAY)
        return
    with pytest.raises(IncompleteExportError) as caught:
        await counting.check(seen, total, DAY)
    assert caught.value.seen == seen


@pytest.mark.parametrize("bound", ["since", "until", "created_since", "created_until", "updated_until"])
@pytest.mark.parametrize("nowhere", [0, 600])
async def test_totals_that_ignore_a_filter_decide_nothing(bound, nowhere, caplog):
    counting = recount(600, WorklogFilter(**{bound: DAY}), nowhere=nowhere)
    if nowhere:
        await counting.check(100, 600, DAY)
        assert "do not follow the filter" in caplog.text
    else:
        with pytest.raises(IncompleteExportError):
            await counting.check(100, 600, DAY)


@pytest.mark.parametrize("wanted", [WorklogFilter(created_until=DAY - dt.timedelta(days=9)), WorklogFilter()])
async def test_what_was_created_meanwhile_is_not_asked_for_where_it_cannot_be(wanted):
    counting = recount(600, wanted)
    with pytest.raises(IncompleteExportError):
        await counting.check(100, 600, None if wanted == WorklogFilter() else DAY)
    assert not any("fields.createdDate.gte" in query for query in counting.send.asked if "9999" not in str(query))


async def test_what_was_created_meanwhile_is_asked_for_within_the_filter():
    counting = recount(600, WorklogFilter(created_since=DAY + dt.timedelta(hours=1)))
    with pytest.raises(IncompleteExportError):
        await counting.check(100, 600, DAY)
    assert counting.send.asked[-1]["fields.createdDate.gte"] == "2024-05-06T01:00:00.000Z"


# -- pages that may be the answer to another request -----------------------------------------------------------------


def response(*, reused=True):
    return Response(200, {}, b"", reused=reused)


EMPTY, FULL = Page(items=[]), Page(items=[worklog(0), worklog(1)])
"""Pages that end a list."""


@pytest.mark.parametrize(
    ("pages", "belongs", "may_be_empty", "asked"),
    [
        ([EMPTY, FULL], None, False, 2),
        ([EMPTY, EMPTY], None, False, 2),
        ([EMPTY], None, True, 1),
        ([FULL], None, False, 1),
        ([FULL], lambda worklog: worklog.id == FULL.items[-1].id, False, 1),
        ([FULL, EMPTY], lambda _worklog: False, True, 2),
        ([Page(items=[], next_cursor="more")], None, False, 1),
        ([MalformedResponseError("no page"), FULL], None, True, 2),
    ],
)
def test_an_unlikely_page_counts_when_it_comes_twice(pages, belongs, may_be_empty, asked):
    coming = iter(pages)

    def read(_response):
        page = next(coming)
        if isinstance(page, Exception):
            raise page
        return page

    checked = said_twice(read, belongs, may_be_empty=may_be_empty)
    for _ in range(asked - 1):
        with pytest.raises(MismatchedResponseError):
            checked(response())
    assert checked(response()) is pages[-1]


def test_the_first_answer_over_a_connection_is_nobody_elses():
    assert said_twice(lambda _response: EMPTY, None)(response(reused=False)) is EMPTY


def test_what_is_no_page_twice_is_an_error():
    def read(_response):
        raise MalformedResponseError("no page")

    checked = said_twice(read, None)
    with pytest.raises(MismatchedResponseError) as caught:
        checked(response())
    assert isinstance(caught.value.__cause__, MalformedResponseError)
    with pytest.raises(MalformedResponseError):
        checked(response())


def some(*numbers):
    return [worklog(number) for number in numbers]


def test_a_page_with_a_malformed_item_is_a_page():
    def read(_response):
        raise MalformedResponseError("no minutes", json_path="$.items[3].minutes")

    with pytest.raises(MalformedResponseError):
        said_twice(read, None)(response())


class Ending:
    """Three pages; the answers to the requests for the last are those given."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def __call__(self, cursor):
        self.asked.append(cursor)
        if cursor == "c":
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        return {
            None: Page(items=some(0, 1), next_cursor="b"),
            "b": Page(items=some(2, 3), next_cursor="c"),
            "d": Page(items=some(8)),
        }[cursor]


@pytest.mark.parametrize(
    ("answers", "asked", "found"),
    [
        ([Page(items=some(4, 5))] * 2, "bcc", "012345"),
        # The first answer was that to another request.
        ([Page(items=some(8)), Page(items=some(4, 5), next_cursor="d")], "bccd", "01238458"),
        # The second was.
        ([Page(items=some(4, 5)), Page(items=some(8))], "bcc", "0123458"),
        # A cursor that is good for one request.
        ([Page(items=some(4, 5)), GoneError("used", status=410)], "bcc", "012345"),
    ],
)
async def test_the_end_of_a_list_without_totals_is_asked_for_once_more(answers, asked, found):
    fetch = Ending(*answers)
    got = [item.id async for item in Paginator(fetch, confirm_end=True)]
    assert fetch.asked == [None, *asked]
    assert got == [f"w{number}" for number in found]


async def test_a_list_of_one_page_is_asked_for_once():
    asked = []

    async def fetch(cursor):
        asked.append(cursor)
        return FULL

    assert [w async for w in Paginator(fetch, confirm_end=True)] == FULL.items
    assert asked == [None]


def test_a_position_takes_note_of_a_failure_also_when_nobody_iterates_any_more():
    position, failure = Position("c"), ValueError()
    position.fail(failure)
    assert (position.cursor, position.failure) == ("c", failure)
