"""The scheduler: each worklog exactly once, whatever the dates, the pages and the order in which they arrive."""

from __future__ import annotations

import importlib.util
import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracket_async.errors import CursorLoopError, IncompleteExportError, UnsupportedError
from tracket_async.models import Page
from tracket_async.pagination import PROOF_STEPS
from tracket_async.scan.partition import DateRange, DensityEstimate, PartitionState, ScanSettings
from tracket_async.scan.scheduler import (
    CARVE_PAGES,
    FILTER_IGNORED,
    HELD_PAGES,
    OUT_OF_ORDER,
    Scheduler,
)

# Tests are no package, and are imported by their path.
_spec = importlib.util.spec_from_file_location("scan_servers", Path(__file__).with_name("servers.py"))
servers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(servers)
DAY, ITEMS, MICROSECOND, START, Lists, Server, in_rounds, items_of, rows_of, simulate = (
    servers.DAY,
    servers.ITEMS,
    servers.MICROSECOND,
    servers.START,
    servers.Lists,
    servers.Server,
    servers.in_rounds,
    servers.items_of,
    servers.rows_of,
    servers.simulate,
)

# Few distinct days, so that many worklogs share one; quarters of days are moments that API 1.0 can tell apart.
DAYS = st.lists(st.one_of(st.integers(0, 12), st.integers(0, 48).map(lambda n: n / 4)), max_size=60)
PAGE_SIZES = st.integers(1, 7)
WORKERS = st.integers(1, 6)
SEEDS = st.integers(0, 2**16)
EXAMPLES = settings(max_examples=100, deadline=None, derandomize=True)
SOAK = settings(max_examples=5_000, deadline=None)


def range_of(rows, *, bounded, v2, known=True):
    grain = DAY if v2 else DAY / 24
    if bounded:
        return DateRange(since=START, until=START + 13 * DAY - MICROSECOND, grain=grain)
    if not rows or not known:
        return DateRange(last=None if v2 else START + 7 * DAY, grain=grain)
    return DateRange(first=min(rows)[0] if v2 else None, last=max(rows)[0] if v2 else START + 7 * DAY, grain=grain)


@given(
    days=DAYS,
    size=PAGE_SIZES,
    workers=WORKERS,
    seed=SEEDS,
    v2=st.booleans(),
    bounded=st.booleans(),
    known=st.booleans(),
)
@EXAMPLES
def test_each_worklog_comes_exactly_once(days, size, workers, seed, v2, bounded, known):
    rows = rows_of(int(day) if v2 else day for day in days)
    batches, scheduler = simulate(
        Server(rows, size=size, v2=v2), range_of(rows, bounded=bounded, v2=v2, known=known), workers=workers, seed=seed
    )
    assert sorted(items_of(batches)) == sorted(rows)
    assert scheduler.statistics().worklogs == len(rows)
    assert not scheduler.statistics().single_partition


@given(days=DAYS, size=PAGE_SIZES, workers=WORKERS, seed=SEEDS, v2=st.booleans(), bounded=st.booleans())
@EXAMPLES
def test_in_order_each_comes_exactly_once_and_the_dates_ascend(days, size, workers, seed, v2, bounded):
    rows = rows_of(int(day) if v2 else day for day in days)
    batches, scheduler = simulate(
        Server(rows, size=size, v2=v2), range_of(rows, bounded=bounded, v2=v2), workers=workers, seed=seed, ordered=True
    )
    got = items_of(batches)
    assert sorted(got) == sorted(rows)
    assert [date for date, _ in got] == sorted(date for date, _ in rows)
    assert all(batch.states == () for batch in batches)
    assert scheduler.partitions.held == 0


@pytest.mark.soak
@given(
    days=DAYS,
    size=PAGE_SIZES,
    workers=WORKERS,
    seed=SEEDS,
    v2=st.booleans(),
    bounded=st.booleans(),
    ordered=st.booleans(),
)
@SOAK
def test_at_length_each_worklog_comes_exactly_once(days, size, workers, seed, v2, bounded, ordered):
    rows = rows_of(int(day) if v2 else day for day in days)
    server, dates = Server(rows, size=size, v2=v2), range_of(rows, bounded=bounded, v2=v2)
    batches, _ = simulate(server, dates, workers=workers, seed=seed, ordered=ordered)
    got = items_of(batches)
    assert sorted(got) == sorted(rows)
    if ordered:
        assert [date for date, _ in got] == sorted(date for date, _ in got)


@given(days=DAYS, size=PAGE_SIZES, seed=SEEDS, v2=st.booleans(), low=st.integers(0, 48), wide=st.integers(0, 48))
@EXAMPLES
def test_both_bounds_are_kept_to_the_microsecond(days, size, seed, v2, low, wide):
    rows = rows_of(int(day) if v2 else day for day in days)
    since, until = START + low * DAY / 4, START + (low + wide) * DAY / 4
    dates = DateRange(since=since, until=until, grain=DAY if v2 else DAY / 24)
    batches, _ = simulate(Server(rows, size=size, v2=v2), dates, seed=seed)
    assert sorted(items_of(batches)) == sorted(row for row in rows if since <= row[0] <= until)


@given(days=DAYS, size=PAGE_SIZES, workers=WORKERS, seed=SEEDS, v2=st.booleans(), kill=st.integers(0, 30), again=SEEDS)
@EXAMPLES
def test_what_was_kept_of_a_run_that_was_killed_is_enough_to_go_on(days, size, workers, seed, v2, kill, again):
    """The states are kept with each batch, as JSON; pages that were on their way are lost."""
    rows = rows_of(int(day) if v2 else day for day in days)
    server, dates = Server(rows, size=size, v2=v2), range_of(rows, bounded=False, v2=v2)
    batches, _ = simulate(server, dates, workers=workers, seed=seed, until=kill)
    kept = {}
    for batch in batches:
        kept |= {state.id: json.dumps(state.to_json()) for state in batch.states}
    states = [PartitionState.from_json(json.loads(text)) for text in kept.values()]
    more, scheduler = simulate(server, dates, workers=workers, seed=again, states=states)
    assert sorted(items_of(batches) + items_of(more)) == sorted(rows)
    assert scheduler.finished


@given(
    days=DAYS.filter(lambda days: len(set(days)) > 1),
    size=PAGE_SIZES,
    workers=WORKERS,
    seed=SEEDS,
    bounded=st.booleans(),
)
@EXAMPLES
def test_a_server_that_lists_backwards_is_noticed_and_nothing_is_lost_or_comes_twice(
    days, size, workers, seed, bounded
):
    rows = rows_of(days)
    server = Server(rows, size=size, v2=False, order="descending")
    batches, scheduler = simulate(server, range_of(rows, bounded=bounded, v2=False), workers=workers, seed=seed)
    assert sorted(items_of(batches)) == sorted(rows)
    assert scheduler.statistics().single_partition
    assert scheduler.statistics().partitions_open == 0


@pytest.mark.parametrize("seed", range(20))
def test_a_server_that_lists_in_no_order_is_noticed_and_nothing_is_lost_or_comes_twice(seed, caplog):
    rows = rows_of((number * 37) % 101 / 4 for number in range(200))
    dates = DateRange(since=START, until=START + 20 * DAY, grain=DAY / 24)
    batches, _ = simulate(Server(rows, size=10, v2=False, order=None), dates, seed=seed)
    assert sorted(items_of(batches)) == sorted(row for row in rows if row[0] <= START + 20 * DAY)
    assert caplog.messages == [OUT_OF_ORDER]


def test_a_single_partition_is_resumed_as_a_single_partition():
    rows = rows_of(range(40))
    server = Server(rows, size=3, v2=False, order="descending")
    dates = range_of(rows, bounded=False, v2=False)
    batches, _ = simulate(server, dates, until=6)
    kept = {state.id: state for batch in batches for state in batch.states}
    assert [state.whole for state in kept.values() if not state.done] == [True]
    more, scheduler = simulate(server, dates, states=kept.values())
    assert set(items_of(batches) + items_of(more)) == set(rows)
    assert scheduler.statistics().single_partition


def test_an_order_that_the_server_does_not_have_cannot_be_promised():
    rows = rows_of(range(40))
    with pytest.raises(UnsupportedError, match="ordered=True"):
        simulate(
            Server(rows, size=3, v2=False, order="descending"),
            range_of(rows, bounded=False, v2=False),
            ordered=True,
        )


@given(days=DAYS, size=PAGE_SIZES, workers=WORKERS, seed=SEEDS, v2=st.booleans(), every=st.integers(2, 5))
@EXAMPLES
def test_a_refused_cursor_begins_its_partition_again_without_a_worklog_twice(days, size, workers, seed, v2, every):
    rows = rows_of(int(day) if v2 else day for day in days)
    count = 0

    def refuse(scheduler, flying):
        nonlocal count
        for place, (request, _) in enumerate(flying):
            if request.partition.cursor is not None:
                count += 1
                if count % every == 0 and scheduler.refused(request):
                    del flying[place]
                    return
                request.partition.busy = True

    batches, scheduler = simulate(
        Server(rows, size=size, v2=v2),
        range_of(rows, bounded=True, v2=v2),
        workers=workers,
        seed=seed,
        meanwhile=refuse,
    )
    assert sorted(items_of(batches)) == sorted(rows)
    assert scheduler.statistics().refused_cursors <= count // every


def first_request(rows, **settings):
    _, scheduler = simulate(Server(rows, size=2), DateRange(grain=DAY), workers=1, **settings)
    return scheduler, scheduler.next()


def test_a_refusal_of_a_request_without_a_cursor_is_an_error():
    scheduler, request = first_request(rows_of([1, 2, 3]), until=0)
    assert not scheduler.refused(request)


@pytest.mark.parametrize("steps", [PROOF_STEPS - 1, PROOF_STEPS])
def test_a_refused_cursor_begins_at_the_date_reached_only_once_the_order_is_proved(steps):
    """Otherwise at the beginning: a list that descends, and whose dates are all equal so far, looks the same."""
    rows = rows_of(range(40))
    scheduler, request = first_request([], until=0)
    scheduler.arrived(request, Page(items=rows[: steps + 1], next_cursor="1"))
    request = scheduler.next()
    assert scheduler.refused(request)
    request = scheduler.next()
    assert request.partition.cursor is None
    assert request.partition.asked_since == (rows[steps][0] if steps == PROOF_STEPS else None)
    scheduler.arrived(request, Page(items=rows[steps if steps == PROOF_STEPS else 0 :]))
    assert items_of(scheduler.partitions.out) == rows


def test_a_partition_that_is_refused_again_without_having_got_further_is_an_error():
    rows = rows_of([1, 2, 3, 4, 5, 6])
    scheduler, request = first_request(rows, until=1)
    assert scheduler.refused(request)
    scheduler.arrived(scheduler.next(), Page(items=rows[:2], next_cursor="again", total=6))
    assert not scheduler.refused(scheduler.next())


def test_a_row_that_comes_again_on_the_next_page_is_left_out_and_counted():
    first, second, third = rows_of([1, 1, 2])
    scheduler, request = first_request([], until=0)
    scheduler.arrived(request, Page(items=[first, second, second], next_cursor="2", total=3))
    scheduler.arrived(scheduler.next(), Page(items=[second, third], next_cursor=None, total=3))
    assert items_of(scheduler.partitions.out) == [first, second, third]
    assert scheduler.statistics().duplicates == 2


def test_rows_that_a_page_repeats_at_its_end_do_not_put_it_out_of_order():
    first, second, third = rows_of([1, 2, 3])
    scheduler, request = first_request([], until=0)
    scheduler.arrived(request, Page(items=[first, second, third, first, second], total=3))
    assert items_of(scheduler.partitions.out) == [first, second, third]
    assert (scheduler.statistics().duplicates, scheduler.statistics().single_partition) == (2, False)


def test_what_lies_before_a_partition_is_not_its_own():
    """API 1.0 can be asked for a day only, and then begins before the moment that is meant."""
    rows = rows_of([0.25, 0.5, 0.75])
    batches, _ = simulate(lambda *_: Page(items=rows), DateRange(since=START + DAY / 2))
    assert items_of(batches) == rows[1:]


def test_a_page_that_arrives_for_a_partition_that_was_dropped_is_of_no_use():
    rows = rows_of(range(20))
    scheduler = simulate(lambda *_: None, DateRange(since=START, until=START + 20 * DAY), workers=2, until=0)[1]
    one, two, three = scheduler.next(), scheduler.next(), scheduler.next()
    assert three is None
    scheduler.arrived(one, Page(items=[rows[5], rows[3]]))
    pages = scheduler.statistics().pages
    scheduler.arrived(two, Page(items=rows[10:15]))
    assert scheduler.statistics().pages == pages + 1
    assert items_of(scheduler.partitions.out) == []
    whole = scheduler.next()
    assert whole.partition.whole
    # A refusal for a partition that was dropped says nothing either.
    assert scheduler.refused(two)
    assert scheduler.next() is None


class Ignoring(Server):
    """A server that lists everything, whatever dates it is asked for."""

    def __call__(self, since, until, cursor):
        return super().__call__(None, None, cursor)


@pytest.mark.parametrize("v2", [True, False])
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("convert", [None, tuple])
@pytest.mark.parametrize("seed", range(20))
def test_filters_that_are_ignored_lose_nothing_and_are_said_once(seed, convert, ordered, v2, caplog):
    chance = random.Random(seed)
    rows = rows_of(sorted(chance.randrange(0, chance.choice([10, 90])) for _ in range(chance.randrange(20, 120))))
    server = Ignoring(rows, size=chance.randint(2, 9), v2=v2)
    since, until = START + chance.randrange(-9, 60) * DAY, START + 95 * DAY
    dates = DateRange(since=since, until=until, enforced=v2)
    workers = chance.randint(1, 6)
    batches, scheduler = simulate(server, dates, workers=workers, seed=seed, ordered=ordered, convert=convert)
    got, expected = items_of(batches), [row for row in rows if since <= row[0] <= until]
    assert (got if ordered else sorted(got)) == (expected if ordered else sorted(expected))
    assert scheduler.statistics().worklogs == len(expected)
    assert caplog.messages in ([], [FILTER_IGNORED])
    assert scheduler.statistics().single_partition == bool(caplog.messages)
    assert scheduler.partitions.distinct <= len(rows)


class IgnoringLater(Server):
    """A server that keeps to the dates for so many pages, and then ignores them."""

    left = 10

    def __call__(self, since, until, cursor):
        self.left -= 1
        return (
            super().__call__(since, until, cursor) if self.left >= 0 or cursor else super().__call__(None, None, None)
        )


@pytest.mark.parametrize("convert", [None, tuple])
@pytest.mark.parametrize("seed", range(10))
def test_what_waits_while_filters_become_ignored_is_read_again(seed, convert, caplog):
    rows = rows_of(number // 3 for number in range(900))
    server = IgnoringLater(rows, size=5, v2=True)
    dates = DateRange(since=START, until=START + 300 * DAY, enforced=True)
    batches, scheduler = simulate(server, dates, workers=4, seed=seed, ordered=True, convert=convert)
    assert items_of(batches) == rows
    assert scheduler.statistics().worklogs == scheduler.partitions.distinct == len(rows)
    assert caplog.messages == [FILTER_IGNORED]


def test_filters_that_are_ignored_by_a_server_without_order_are_a_matter_of_order(caplog):
    rows = rows_of([*range(30), *range(20)])
    dates = DateRange(since=START + 5 * DAY, until=START + 40 * DAY)
    batches, _ = simulate(Ignoring(rows, size=4, v2=False, order=None), dates, workers=3, seed=1)
    assert sorted(items_of(batches)) == sorted(row for row in rows if row[0] >= START + 5 * DAY)
    assert caplog.messages == [FILTER_IGNORED, OUT_OF_ORDER]


class ByInstant(Server):
    """A server of 2.0 that filters by instants: every day begins two hours before it does as it is written."""

    def __call__(self, since, until, cursor):
        shift = DAY / 12
        return super().__call__(
            None if since is None else since + shift, None if until is None else until + shift, cursor
        )


@pytest.mark.parametrize("seed", range(20))
def test_days_that_are_no_instants_lose_nothing_also_when_it_is_resumed(seed):
    rows = rows_of(sorted(number % 60 for number in range(300)))
    server = ByInstant(rows, size=7)
    dates = DateRange(since=START + 10 * DAY, until=START + 50 * DAY - MICROSECOND, enforced=True)
    settled = []

    def notice(scheduler, _flying):
        if not settled:
            settled.append(scheduler.read_wide())

    batches, _ = simulate(server, dates, seed=seed, until=9, meanwhile=notice)
    states = {state.id: state for batch in batches for state in batch.states}
    more, scheduler = simulate(server, dates, seed=seed, states=states.values())
    scheduler.read_wide()  # which changes nothing
    assert scheduler.finished
    assert {*items_of(batches), *items_of(more)} == {row for row in rows if dates.since <= row[0] <= dates.until}


def test_a_single_partition_begins_again_too_and_leaves_out_what_it_has_handed_over():
    rows = rows_of([5, 3, 4])
    scheduler, request = first_request(rows, until=0)
    scheduler.arrived(request, Page(items=[rows[0], rows[1]], next_cursor="1"))
    scheduler.arrived(scheduler.next(), Page(items=rows[:2], next_cursor="1"))
    request = scheduler.next()
    assert scheduler.refused(request)
    assert (request.partition.asked_since, request.partition.cursor) == (None, None)
    scheduler.arrived(scheduler.next(), Page(items=rows, total=3))
    assert items_of(scheduler.partitions.out) == rows
    assert scheduler.statistics().duplicates == 2


def test_a_single_partition_knows_what_is_left_where_the_server_says_how_many_there_are():
    rows = rows_of([5, 3, 4])
    scheduler, request = first_request(rows, until=0)
    scheduler.arrived(request, Page(items=[rows[0], rows[1]], next_cursor="1", total=3))
    scheduler.arrived(scheduler.next(), Page(items=rows[:2], next_cursor="1", total=3))
    assert scheduler.statistics().remaining == 1
    assert scheduler.statistics().reached is None


def test_cursors_that_go_in_a_circle_are_an_error_also_in_a_single_partition():
    rows = rows_of([5, 3, 4])
    scheduler, request = first_request(rows, until=0)
    scheduler.arrived(request, Page(items=rows[:2], next_cursor="1"))
    scheduler.arrived(scheduler.next(), Page(items=rows[:1], next_cursor="1"))
    with pytest.raises(CursorLoopError):
        scheduler.arrived(scheduler.next(), Page(items=rows[1:], next_cursor="1"))
    scheduler, request = first_request(rows, until=0)
    scheduler.arrived(request, Page(items=rows[1:], next_cursor="1"))
    with pytest.raises(CursorLoopError):
        scheduler.arrived(scheduler.next(), Page(items=rows[:1], next_cursor="1"))


def test_nothing_is_done_before_the_list_was_seen_to_ascend():
    """All dates are equal, behind the ends of the first partitions: a list that descends would look the same."""
    rows = rows_of([9] * 12)
    pages = []

    def serve(since, until, cursor):
        pages.append((since, cursor))
        return Server(rows, size=4, v2=False)(since, until, cursor)

    dates = DateRange(since=START, until=START + 12 * DAY, grain=DAY / 24)
    batches, scheduler = simulate(serve, dates, workers=4)
    assert sorted(items_of(batches)) == sorted(rows)
    # Of the three partitions in front, one has read the list to its end, and that was enough for all.
    assert sum(cursor is not None for since, cursor in pages if since < START + 9 * DAY) == 2
    assert not scheduler.statistics().single_partition


def test_in_order_a_doubtful_front_goes_on_by_itself():
    rows = rows_of([9] * 12)
    states = ()
    dates = DateRange(since=START, until=START + 12 * DAY, first=START, last=START + 12 * DAY, grain=DAY / 24)
    batches, _ = simulate(Server(rows, size=2, v2=False), dates, workers=4, ordered=True, states=states)
    assert items_of(batches) == rows


@pytest.mark.parametrize(
    ("v2", "skewed", "ordered", "share"),
    [
        (True, False, False, 0.85),
        (True, True, False, 0.85),
        (False, False, False, 0.85),
        (False, True, False, 0.7),
        (True, False, True, 0.7),
        (False, False, True, 0.6),
    ],
)
def test_many_workers_need_hardly_more_rounds_than_the_pages_demand(v2, skewed, ordered, share):
    """400 pages, every page taking as long: 16 workers against 16 times one partition. (More pages, a better share.)"""
    count = 20_000
    spread = [number % 365 for number in range(count if not skewed else count // 2)]
    crowd = [100 + number % 30 for number in range(count - len(spread))]
    days = sorted(spread + crowd)
    rows = rows_of(days if v2 else [day + number % 40 / 100 for number, day in enumerate(days)])
    rows.sort()
    dates = DateRange(since=START, until=START + 365 * DAY, grain=DAY if v2 else DAY / 24 / 60)
    server = Lists(rows, size=50, v2=v2)
    rounds, pages = in_rounds(server, dates, workers=16, ordered=ordered)
    assert count / 50 / 16 / rounds >= share
    assert pages <= count / 50 * (1.35 if ordered else 1.15)


def test_nights_and_a_crowded_month_do_not_deceive_workers_that_are_given_no_totals():
    """Nothing says how much there is, nor where it begins: in 800 pages, most of them of one month, 16 workers are idle
    or fetch in vain for less than a twelfth of the time."""
    per_day = [9] * 500 + [1000] * 30 + [9] * 580
    days = [day + 1 / 3 + number / here / 2.4 for day, here in enumerate(per_day) for number in range(here)]
    server = Lists(rows_of(days), size=50, v2=False)
    rounds, pages = in_rounds(server, DateRange(last=START + 1130 * DAY, grain=DAY / 24 / 60), workers=16)
    assert len(days) / 50 / 16 / rounds >= 0.92
    assert pages <= len(days) / 50 * 1.06


def test_a_density_is_averaged_over_dates_and_not_over_pages():
    day = 86_400.0
    assert DensityEstimate().after(48, day, 7 * day).per_second == 48 / day
    assert DensityEstimate().after(48, 0.0, day).per_second == 48 / day
    night_and_day = DensityEstimate(48 / day)
    for _ in range(10):
        night_and_day = night_and_day.after(10, day / 24, day)
    alone = DensityEstimate(48 / day).after(100, 10 * day / 24, day)
    assert night_and_day.per_second == pytest.approx(alone.per_second)
    assert 48 / day < alone.per_second < 240 / day


@pytest.mark.parametrize(("v2", "left", "halved"), [(True, 10, True), (True, 9, False), (False, 6, True)])
def test_the_last_partition_is_halved_for_whoever_has_nothing_else_to_do(v2, left, halved):
    """From a page on, and where its length is only an estimate, from half a page on."""
    rows = rows_of([0] * 30 + [*range(10 + left)])
    dates = DateRange(since=START, until=START + (10 + left) * DAY - MICROSECOND)
    scheduler = simulate(Server(rows, size=10, v2=v2), dates, workers=1, until=4)[1]
    scheduler._workers = 2
    assert scheduler.next() is not None
    assert (scheduler.next() is not None) is halved


@pytest.mark.parametrize("workers", [2, 16])
def test_in_order_the_pages_that_wait_are_bounded_also_when_the_front_is_slow(workers):
    rows = rows_of(sorted(number % 200 for number in range(20_000)))
    server = Lists(rows, size=10, v2=True)
    dates = DateRange(since=START, until=START + 200 * DAY)
    batches, scheduler = simulate(server, dates, workers=workers, ordered=True, until=1)
    front = scheduler.next()
    most = 0
    while (request := scheduler.next()) is not None:
        partition = request.partition
        scheduler.arrived(request, server(partition.asked_since, partition.asked_until, partition.cursor))
        most = max(most, scheduler.partitions.held)
    assert most == HELD_PAGES * workers - 1  # and the page of the front, which is on its way
    assert not scheduler.partitions.out
    scheduler.returned(front)
    while (request := scheduler.next()) is not None:
        partition = request.partition
        scheduler.arrived(request, server(partition.asked_since, partition.asked_until, partition.cursor))
    assert items_of(batches) + items_of(scheduler.partitions.out) == rows


@pytest.mark.parametrize("ordered", [True, False])
def test_what_is_made_of_the_items_is_handed_over_in_their_place(ordered):
    made = []

    def convert(items):
        made.append(items)
        return tuple(items)

    rows = rows_of([*range(30), 40])
    dates = DateRange(since=START, until=START + 50 * DAY, enforced=True)
    batches, scheduler = simulate(Server(rows, size=4, v2=True), dates, ordered=ordered, convert=convert)
    assert sorted(items_of(batches)) == rows
    assert all(made)
    assert sorted(batch.converted for batch in batches if batch.converted) == sorted(map(tuple, made))
    assert not any(batch.items for batch in batches)
    assert scheduler.statistics().worklogs == len(rows)
    batches, _ = simulate(Server([], size=4, v2=True), dates, ordered=ordered, convert=convert)
    assert {batch.converted for batch in batches} == {None}


def test_in_order_pieces_are_cut_from_the_front():
    rows = rows_of(sorted(number % 200 for number in range(20_000)))
    server = Lists(rows, size=10, v2=True)
    scheduler = simulate(server, DateRange(since=START, until=START + 200 * DAY), workers=4, ordered=True, until=1)[1]
    requests = [scheduler.next() for _ in range(4)]
    assert [request.partition.id for request in requests] == sorted(request.partition.id for request in requests)
    pieces = [request.partition.until - request.partition.asked_since for request in requests[1:]]
    assert all(piece <= 3 * CARVE_PAGES * 10 / 100 * DAY for piece in pieces)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("workers", [1, 2, 8])
def test_worklogs_behind_the_last_date_that_is_expected_do_not_make_it_look_further_for_ever(ordered, workers):
    """API 1.0 does not say where its list ends; somebody has booked holidays until the end of next year."""
    rows = rows_of([day / 2 for day in range(40)] + [400, 401.25, 700])
    dates = DateRange(last=START + 10 * DAY, grain=DAY / 24)
    batches, scheduler = simulate(Server(rows, size=2, v2=False), dates, workers=workers, ordered=ordered)
    assert sorted(items_of(batches)) == sorted(rows)
    assert scheduler.statistics().pages <= 120


def test_an_idle_worker_takes_the_later_half_of_the_busiest_partition():
    rows = rows_of(range(100))
    server = Server(rows, size=10)
    scheduler = simulate(server, DateRange(since=START, until=START + 100 * DAY - MICROSECOND), workers=1, until=1)[1]
    scheduler._workers = 2
    busy = scheduler.next()
    stolen = scheduler.next()
    assert stolen.partition.asked_since == START + 54 * DAY
    assert busy.partition.until == START + 54 * DAY - MICROSECOND
    assert stolen.partition.until == START + 100 * DAY - MICROSECOND


def test_estimates_are_settled_by_the_total_of_the_part_that_was_given_away():
    days = [0] * 5 + [day for day in range(1, 100) for _ in range(1 if day < 60 else 3)]
    rows = rows_of(days)
    server = Server(rows, size=10)
    scheduler = simulate(server, DateRange(since=START, until=START + 100 * DAY - MICROSECOND), workers=1, until=1)[1]
    scheduler._workers = 2
    scheduler.next()
    stolen = scheduler.next()
    partition = stolen.partition
    scheduler.arrived(stolen, server(partition.asked_since, partition.asked_until, partition.cursor))
    assert scheduler.statistics().remaining == len(rows) - 20


def test_statistics_tell_how_the_run_stands():
    rows = rows_of(range(10))
    dates = DateRange(since=START, until=START + 10 * DAY - MICROSECOND)
    scheduler = simulate(Server(rows, size=2), dates, workers=2, until=0)[1]
    assert scheduler.statistics().remaining is None
    assert scheduler.statistics().reached == START
    scheduler.next()
    assert scheduler.statistics().active == 1
    server = Server(rows, size=2)
    scheduler = simulate(server, dates, workers=2, until=0)[1]
    for request in [scheduler.next(), scheduler.next()]:
        scheduler.arrived(request, server(request.partition.asked_since, request.partition.asked_until, None))
    statistics = scheduler.statistics()
    assert (statistics.pages, statistics.worklogs, statistics.remaining) == (2, 4, 6)
    assert statistics.partitions_open == 2
    _, scheduler = simulate(Server(rows, size=2), dates, workers=2)
    assert scheduler.statistics().reached is None
    assert (scheduler.statistics().partitions_open, scheduler.statistics().remaining) == (0, 0)
    assert scheduler.statistics().partitions_done >= 2


# -- the end of a list without totals ---------------------------------------------------------------------------------


class Mistaken(Server):
    """API 1.0; the answer to the nth request (from 0) is the end of another list, with so many of its last rows."""

    def __init__(self, rows, *, size, nth, last=0):
        super().__init__(rows, size=size, v2=False)
        self.nth, self.last, self.asked = nth, last, 0

    def __call__(self, since, until, cursor):
        self.asked += 1
        if self.asked == self.nth + 1:
            return Page(items=sorted(self.rows)[len(self.rows) - self.last :])
        return super().__call__(since, until, cursor)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("nth", range(12))
@pytest.mark.parametrize("number", [5, 60])
def test_an_empty_page_in_place_of_another_loses_nothing_in_silence(nth, workers, ordered, number):
    rows = rows_of(day / 2 for day in range(number))
    server = Mistaken(rows, size=4, nth=nth)
    dates = range_of(rows, bounded=False, v2=False, known=False)
    try:
        batches, _ = simulate(server, dates, workers=workers, ordered=ordered, seed=nth)
    except IncompleteExportError:
        assert ordered
    else:
        assert sorted(items_of(batches)) == rows


def test_later_worklogs_that_were_handed_over_already_make_it_an_error():
    rows = rows_of(range(60))
    dates = DateRange(since=START, until=START + 60 * DAY, grain=DAY / 24)
    with pytest.raises(IncompleteExportError, match="ended a list before its worklogs of 2024-01-05, and later ones"):
        simulate(Mistaken(rows, size=4, nth=1), dates, workers=2, ordered=True)


@pytest.mark.parametrize("nth", range(14))
def test_the_end_of_the_list_in_place_of_a_page_loses_nothing_and_doubles_nothing(nth):
    rows = rows_of(range(60))
    batches, _ = simulate(Mistaken(rows, size=5, nth=nth, last=7), DateRange(grain=DAY), workers=1)
    assert sorted(items_of(batches)) == rows


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("workers", [1, 3, 6])
@pytest.mark.parametrize("number", [0, 1, 7, 60])
def test_the_end_costs_one_more_request(workers, ordered, number):
    rows = rows_of(day / 4 for day in range(number))
    server = Mistaken(rows, size=4, nth=-1)
    dates = range_of(rows, bounded=False, v2=False, known=False)
    simulate(server, dates, workers=workers, ordered=ordered)
    scheduler = Scheduler(dates, ScanSettings(item_format=ITEMS, concurrency=workers, ordered=ordered))
    before, server.asked = server.asked, 0
    while (request := scheduler.next()) is not None:
        partition = request.partition
        scheduler.arrived(request, server(partition.asked_since, partition.asked_until, partition.cursor))
    scheduler.confirm_ends()
    assert len(scheduler.partitions.open) == 1
    request = scheduler.next()
    partition = request.partition
    scheduler.arrived(request, server(partition.asked_since, partition.asked_until, partition.cursor))
    scheduler.confirm_ends()
    assert scheduler.finished
    assert before <= -(-number // 4) + 2 * workers + 1
