"""Many writes: an outcome for each, in order, a bounded number at once, and when they stop."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
from contextlib import aclosing
from itertools import count
from operator import itemgetter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracket_async.bulk import Outcomes
from tracket_async.errors import (
    AmbiguousWriteError,
    AuthenticationError,
    BadRequestError,
    ClientStateError,
    ConnectError,
    ConnectionLostError,
    RateLimitedError,
    ServerError,
    StatusError,
    StorageError,
    StoreError,
    UsageError,
)
from tracket_async.models import Worklog

DATE = dt.datetime(2024, 5, 6, tzinfo=dt.UTC)
EXAMPLES = settings(max_examples=100, deadline=None, derandomize=True)


class Writer:
    """Writes after a while, and not what it is told to fail; counts what is in progress."""

    def __init__(self, fail=None, *, seconds=lambda _item: 1.0):
        self.fail = fail or {}
        self.seconds = seconds
        self.now = self.most = 0
        self.began, self.written = [], []

    async def __call__(self, item):
        self.began.append(item)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.seconds(item))
        finally:
            self.now -= 1
        if item in self.fail:
            raise self.fail[item]
        self.written.append(item)
        return Worklog(id=f"w{item}", user_id="u", date=DATE, minutes=item)


async def all_of(outcomes):
    return [outcome async for outcome in outcomes]


async def collect(got, outcomes):
    async for outcome in outcomes:
        got.append(outcome)


def statuses(outcomes):
    return [outcome.status for outcome in outcomes]


@pytest.mark.parametrize("concurrency", [1, 2, 5, 16])
def test_every_item_has_its_outcome_in_the_order_of_the_input(virtually, concurrency):
    writer = Writer(seconds=lambda item: (item * 7) % 5)
    got = virtually(all_of(Outcomes(range(40), writer, concurrency=concurrency)))
    assert [(o.index, o.status, o.item, o.worklog.id, o.error) for o in got] == [
        (n, "ok", n, f"w{n}", None) for n in range(40)
    ]
    assert writer.most == concurrency


def test_an_async_iterable_is_taken_as_well(virtually):
    async def items():
        for number in range(5):
            await asyncio.sleep(3)
            yield number

    assert [o.item for o in virtually(all_of(Outcomes(items(), Writer())))] == [0, 1, 2, 3, 4]


def test_nothing_in_gives_nothing_out(virtually):
    assert virtually(all_of(Outcomes([], Writer()))) == []


def test_an_endless_input_is_consumed_as_it_is_needed(virtually):
    taken = []

    def items():
        for number in count():
            taken.append(number)
            yield number

    async def main():
        async with aclosing(Outcomes(items(), Writer(), concurrency=3, look_ahead=5)) as outcomes:
            assert taken == []
            await anext(outcomes)
            await asyncio.sleep(100)
            assert len(taken) == 6
            await anext(outcomes)
            await asyncio.sleep(100)
            assert len(taken) == 7

    virtually(main())


def test_a_slow_item_does_not_hold_up_those_behind_it_until_the_look_ahead_is_used_up(virtually):
    async def main():
        writer = Writer(seconds=lambda item: 1000 if item == 0 else 1)
        async with aclosing(Outcomes(count(), writer, concurrency=4)) as outcomes:
            first = asyncio.ensure_future(anext(outcomes))
            await asyncio.sleep(500)
            assert writer.written == list(range(1, 16))
            assert (await first).index == 0

    virtually(main())


def test_bulk_writes_take_as_long_as_they_must(virtually):
    """160 items of a second, 16 at once: 10 seconds."""

    async def main():
        await all_of(Outcomes(range(160), Writer(), concurrency=16))
        return asyncio.get_running_loop().time()

    assert virtually(main()) == pytest.approx(10, rel=0.01)


ERRORS = {
    "failed": [
        BadRequestError("no", status=400),
        RateLimitedError("slow down", status=429),
        ConnectError("nobody there"),
        ConnectionLostError("before it was sent", maybe_sent=False),
        UsageError("an id of ../x"),
        TypeError("no NewWorklog"),
    ],
    "ambiguous": [
        AmbiguousWriteError("lost"),
        ConnectionLostError("lost"),
        ServerError("who knows", status=502),
        StatusError("too slow", status=408),
    ],
}


@pytest.mark.parametrize(("status", "error"), [(s, e) for s, errors in ERRORS.items() for e in errors])
def test_what_a_write_raises_is_its_outcome(virtually, status, error):
    got = virtually(all_of(Outcomes([1, 2, 3], Writer({2: error}), concurrency=1, on_error="collect")))
    assert statuses(got) == ["ok", status, "ok"]
    assert (got[1].error, got[1].worklog) == (error, None)


def test_after_the_first_failure_those_in_progress_are_finished_and_no_other_is_sent(virtually):
    writer = Writer({4: BadRequestError("no", status=400)}, seconds=lambda item: 1 if item == 4 else 2)
    got = virtually(all_of(Outcomes(range(10), writer, concurrency=3)))
    # 3, 4 and 5 are in progress when 4 fails.
    assert statuses(got) == ["ok"] * 4 + ["failed", "ok"] + ["not_sent"] * 4
    assert writer.began == [0, 1, 2, 3, 4, 5]
    assert [o.item for o in got] == list(range(10))
    assert [o.index for o in got] == list(range(10))


def test_collecting_tries_everything(virtually):
    errors = {n: BadRequestError("no", status=400) for n in (0, 3, 9)}
    got = virtually(all_of(Outcomes(range(10), Writer(errors), concurrency=3, on_error="collect")))
    assert [o.index for o in got if o.status == "failed"] == [0, 3, 9]
    assert statuses(got).count("ok") == 7


def test_stopping_finishes_what_is_in_progress_and_tells_what_was_not_sent(virtually):
    async def main():
        writer = Writer(seconds=lambda item: 1 + item % 2)
        outcomes = Outcomes(range(12), writer, concurrency=4, look_ahead=4)
        got = [await anext(outcomes)]
        outcomes.stop()
        got += await all_of(outcomes)
        assert [o.index for o in got] == list(range(12))
        assert statuses(got) == ["ok"] * len(writer.began) + ["not_sent"] * (12 - len(writer.began))
        assert 4 <= len(writer.began) < 12

    virtually(main())


def test_stopping_before_the_first_step_sends_nothing(virtually):
    async def main():
        writer = Writer()
        outcomes = Outcomes(range(3), writer)
        outcomes.stop()
        assert statuses(await all_of(outcomes)) == ["not_sent"] * 3
        assert writer.began == []

    virtually(main())


def test_an_item_that_arrives_while_the_run_is_stopped_is_told_as_not_sent(virtually):
    async def items():
        yield 1
        await asyncio.sleep(10)
        yield 2

    got = virtually(all_of(Outcomes(items(), Writer({1: UsageError("no")}), concurrency=2)))
    assert [(o.item, o.status) for o in got] == [(1, "failed"), (2, "not_sent")]


def test_leaving_early_cancels_what_is_in_progress_and_the_leftover_tells_about_it(virtually):
    async def main():
        writer = Writer({2: BadRequestError("no", status=400)}, seconds=lambda item: {0: 1, 1: 50, 2: 2}.get(item, 60))
        outcomes = Outcomes(range(10), writer, concurrency=3, on_error="collect")
        async with aclosing(outcomes):
            async for outcome in outcomes:
                assert outcome.index == 0
                await asyncio.sleep(10)
                break
        assert outcomes.leftover == tuple(outcomes.leftover)
        assert [(o.index, o.status) for o in outcomes.leftover] == [
            (1, "ambiguous"),
            (2, "failed"),
            (3, "ambiguous"),
            (4, "ambiguous"),
        ]
        assert writer.now == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await outcomes.aclose()
        assert await all_of(outcomes) == []

    virtually(main())


def test_cancelling_whoever_iterates_ends_nothing_until_it_is_closed(virtually):
    async def main():
        writer = Writer()
        outcomes = Outcomes(range(100), writer, concurrency=4)
        got = []
        task = asyncio.create_task(collect(got, outcomes))
        await asyncio.sleep(2.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        got.append(await anext(outcomes))
        assert [o.index for o in got] == list(range(9))
        await outcomes.aclose()
        assert writer.now == 0
        assert [(o.index, o.status) for o in outcomes.leftover] == [
            (9, "ok"),
            (10, "ok"),
            (11, "ok"),
            (12, "ambiguous"),
            (13, "ambiguous"),
            (14, "ambiguous"),
            (15, "ambiguous"),
        ]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtually(main())


def test_a_step_that_times_out_does_not_end_the_iteration(virtually):
    async def main():
        outcomes = Outcomes(range(3), Writer(seconds=lambda item: 10), concurrency=1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(outcomes), 1)
        assert [(o.index, o.status) async for o in outcomes] == [(0, "ok"), (1, "ok"), (2, "ok")]

    virtually(main())


def test_a_closing_that_is_cancelled_still_tells_what_was_in_progress(virtually):
    async def write(_item):
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(1000)  # it takes its time to end

    async def main():
        outcomes = Outcomes(range(10), write, concurrency=4)
        step = asyncio.ensure_future(anext(outcomes))
        await asyncio.sleep(1)
        closing = asyncio.create_task(outcomes.aclose())
        await asyncio.sleep(1)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert [(o.index, o.status) for o in outcomes.leftover] == [(n, "ambiguous") for n in range(4)]
        with pytest.raises(StopAsyncIteration):
            await step

    virtually(main())


def test_a_run_that_is_dropped_is_closed_by_the_loop(virtually):
    async def main():
        writer = Writer()
        outcomes = Outcomes(range(100), writer, concurrency=4)
        await anext(outcomes)
        await asyncio.sleep(0)
        assert writer.now == 4
        del outcomes
        gc.collect()
        await asyncio.sleep(1)
        assert writer.now == 0

    virtually(main())


def test_an_error_of_the_input_comes_after_the_outcomes_of_all_items_before_it(virtually):
    def items():
        yield from range(5)
        raise ZeroDivisionError("line 6")

    async def main():
        got = []
        with pytest.raises(ZeroDivisionError, match="line 6"):
            await collect(got, Outcomes(items(), Writer(), concurrency=2))
        assert statuses(got) == ["ok"] * 5

    virtually(main())


def test_a_write_that_is_cancelled_from_elsewhere_does_not_leave_the_run_waiting(virtually):
    async def write(_item):
        raise asyncio.CancelledError

    async def main():
        outcomes = Outcomes([1, 2, 3], write, concurrency=2)
        with pytest.raises(asyncio.CancelledError):
            await anext(outcomes)
        assert outcomes.leftover[0].status == "ambiguous"

    virtually(main())


def test_what_cannot_be_used_any_more_is_stopped_and_what_was_in_progress_is_ambiguous(virtually):
    async def main():
        life = ["open"]
        closed = RuntimeError("closed")
        writer = Writer(dict.fromkeys(range(4, 8), closed))
        got = []
        async for outcome in Outcomes(range(12), writer, concurrency=4, on_error="collect", usable=lambda: bool(life)):
            got.append(outcome)
            if outcome.index == 3:
                life.clear()
        assert statuses(got) == ["ok"] * 4 + ["ambiguous"] * 4 + ["not_sent"] * 4

    virtually(main())


def test_of_a_closed_client_what_only_waited_for_its_turn_is_not_sent(virtually):
    async def main():
        closed = {4: ClientStateError("closed"), 5: ClientStateError("closed", maybe_sent=True)}
        outcomes = Outcomes(range(8), Writer(closed), concurrency=2, on_error="collect", usable=lambda: True)
        return statuses([outcome async for outcome in outcomes])

    assert virtually(main()) == ["ok"] * 4 + ["not_sent", "ambiguous", "not_sent", "not_sent"]


def test_what_is_no_input_is_refused_at_once():
    with pytest.raises(TypeError):
        Outcomes(5, Writer())
    with pytest.raises(UsageError, match="concurrency must be at least 1, not 0"):
        Outcomes([], Writer(), concurrency=0)
    with pytest.raises(UsageError, match="on_error"):
        Outcomes([], Writer(), on_error="ignore")


@given(
    length=st.integers(0, 30),
    bad=st.sets(st.integers(0, 29)),
    concurrency=st.integers(1, 8),
    on_error=st.sampled_from(["stop", "collect"]),
    slow=st.integers(1, 7),
)
@EXAMPLES
def test_whatever_fails_nothing_is_lost_and_nothing_told_twice(length, bad, concurrency, on_error, slow):
    async def main():
        errors = {n: BadRequestError("no", status=400) for n in bad}
        writer = Writer(errors, seconds=lambda _item: 0)
        original = writer.__call__

        async def write(item):
            for _ in range(item % slow):
                await asyncio.sleep(0)
            return await original(item)

        got = await all_of(Outcomes(range(length), write, concurrency=concurrency, on_error=on_error))
        assert [o.item for o in got] == [o.index for o in got] == list(range(length))
        assert sorted(o.item for o in got if o.status == "ok") == sorted(writer.written)
        assert [o.item for o in got if o.status == "not_sent"] == sorted(set(range(length)) - set(writer.began))
        if on_error == "collect":
            assert "not_sent" not in statuses(got)

    asyncio.run(main())


@pytest.mark.parametrize(("maybe_sent", "status"), [(False, "not_sent"), (True, "ambiguous"), (None, "ambiguous")])
def test_what_was_cancelled_before_it_was_sent_is_not_sent(virtually, maybe_sent, status):
    """A call that waits out a 429, say, and says so in its cancellation."""

    async def write(_item):
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError as error:
            if maybe_sent is not None:
                error.maybe_sent = maybe_sent
            raise

    async def main():
        outcomes = Outcomes(range(9), write, concurrency=2)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(outcomes), 5)
        await outcomes.aclose()
        assert [(o.index, o.status) for o in outcomes.leftover] == [(0, status), (1, status)]

    virtually(main())


def test_items_of_one_key_are_written_in_their_order_and_others_meanwhile(virtually):
    """The first of a key takes longest: without turns, its value would be the last."""
    items = [(key, number) for number in range(4) for key in "abc"]
    writer = Writer({("b", 1): BadRequestError("no", status=400)}, seconds=lambda item: 10 - 3 * item[1])
    written = []

    async def write(item):
        try:
            await writer(item)
        finally:
            written.append(item)

    async def main():
        got = await all_of(Outcomes(items, write, concurrency=12, on_error="collect", key=itemgetter(0)))
        assert [o.item for o in got] == items
        for key in "abc":
            assert [number for name, number in written if name == key] == [0, 1, 2, 3]
        assert writer.most == 3
        assert asyncio.get_running_loop().time() == pytest.approx(10 + 7 + 4 + 1)

    virtually(main())


def test_an_item_that_waits_for_its_turn_is_not_sent_when_the_run_stops(virtually):
    writer = Writer({"a": UsageError("no")})
    got = virtually(all_of(Outcomes(["a", "a", "a"], writer, concurrency=3, key=lambda item: item)))
    assert statuses(got) == ["failed", "not_sent", "not_sent"]
    assert writer.began == ["a"]


def test_an_item_without_a_key_has_no_turn_to_wait_for(virtually):
    async def write(item):
        raise TypeError(item)

    got = virtually(all_of(Outcomes([None, [[]], 3], write, on_error="collect", key=lambda item: item[0])))
    assert statuses(got) == ["failed"] * 3


def test_a_run_that_goes_on_after_ambiguous_writes_stops_after_failed_ones(virtually):
    writer = Writer({2: AmbiguousWriteError("lost"), 4: BadRequestError("no", status=400)})
    got = virtually(all_of(Outcomes(range(6), writer, concurrency=1, go_on_after_ambiguous=True)))
    assert statuses(got) == ["ok", "ok", "ambiguous", "ok", "failed", "not_sent"]


# -- stop rules, and writes for what they do -----------------------------------------------------------------------

CALLERS = BadRequestError("no", status=400)
SERVICE = ServerError("down", status=500)


class Server:
    """Fails for the numbers that it is told about."""

    def __init__(self, failures=None):
        self.failures = failures or {}
        self.written = []

    async def write(self, number):
        self.written.append(number)
        if (error := self.failures.get(number)) is not None:
            raise error


def writing(rows, server, **settings):
    return Outcomes(rows, server.write, **{"concurrency": 1, "on_error": "collect", **settings})


async def test_every_row_is_written_once():
    server = Server()
    work = writing(range(100), server, concurrency=4)
    await work.drain()
    assert sorted(server.written) == list(range(100))
    assert work.stopped is None


async def test_collecting_tries_all_whatever_fails():
    server = Server(dict.fromkeys(range(0, 400, 2), CALLERS))
    work = writing(range(400), server)
    await work.drain()
    assert len(server.written) == 400
    assert work.stopped is None


async def test_stopping_begins_no_row_after_a_failure_and_reads_no_further():
    server = Server({3: CALLERS})
    rows = iter(range(1000))
    work = writing(rows, server, on_error="stop")
    await work.drain()
    assert server.written == [0, 1, 2, 3]
    assert next(rows) < 20
    assert work.stopped is None  # that was the caller's wish


@pytest.mark.parametrize("error", [AuthenticationError("who?", status=401), StorageError("full"), StoreError("no")])
async def test_what_no_other_row_could_survive_stops_the_run(error):
    server = Server({3: error})
    work = writing(range(1000), server)
    await work.drain()
    assert server.written == [0, 1, 2, 3]
    assert work.stopped is error


@pytest.mark.parametrize("error", [ServerError("down", status=500), ConnectError("away")])
async def test_patience_ends_after_so_many_failures_in_a_row(error):
    server = Server(dict.fromkeys(range(1000), error))
    work = writing(range(1000), server, patience=7)
    await work.drain()
    assert server.written == list(range(7))
    assert work.stopped is error
    assert "the last of 7 failures in a row" in str(error)


@pytest.mark.parametrize("between", [None, CALLERS])
async def test_an_answer_of_any_kind_restores_patience(between):
    failures = {n: SERVICE for n in range(1000) if n % 7 != 6} | dict.fromkeys(range(6, 1000, 7), between)
    server = Server(failures)
    work = writing(range(1000), server, patience=7)
    await work.drain()
    assert len(server.written) == 1000
    assert work.stopped is None


async def test_the_first_reason_to_stop_is_told():
    both, raised = asyncio.Barrier(2), []

    async def write(_number):
        await both.wait()
        raised.append(AuthenticationError("who?"))
        raise raised[-1]

    work = Outcomes(range(2), write, concurrency=2, on_error="collect")
    await work.drain()
    assert len(raised) == 2
    assert work.stopped is raised[0]


async def test_a_mistake_of_the_program_is_raised():
    work = writing(range(1000), Server({2: ZeroDivisionError("oops")}))
    with pytest.raises(ZeroDivisionError):
        await work.drain()


async def test_what_the_rows_raise_is_raised_after_those_before_are_written():
    def rows():
        yield from range(3)
        raise StoreError("changed")

    server = Server()
    with pytest.raises(StoreError, match="changed"):
        await writing(rows(), server).drain()
    assert server.written == [0, 1, 2]


async def test_an_interruption_waits_for_the_answers_that_are_on_their_way():
    began, answer, answered = asyncio.Event(), asyncio.Event(), []

    async def write(number):
        began.set()
        await answer.wait()
        answered.append(number)

    work = Outcomes(range(1000), write, concurrency=1, on_error="collect")
    task = asyncio.create_task(work.drain(grace=30))
    await began.wait()
    task.cancel()
    await asyncio.sleep(0)
    answer.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert answered == [0]


@pytest.mark.parametrize("again", [False, True])
async def test_an_interruption_does_not_wait_for_ever_nor_through_a_second_one(again):
    began, ended = asyncio.Event(), []

    async def write(number):
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    work = Outcomes(range(1000), write, concurrency=1, on_error="collect")
    task = asyncio.create_task(work.drain(grace=30 if again else 0))
    await began.wait()
    task.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    if again:
        assert not task.done()
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [0]
