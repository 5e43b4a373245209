"""The plan of an export in parts: ranges that cover every date exactly once, and the folder that keeps it."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import pickle
from collections import Counter
from itertools import pairwise

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tracket_async import WorklogFilter
from tracket_async.errors import StorageError, StoreError, TargetBusyError, UsageError
from tracket_async.export.run import request_of
from tracket_async.integrations.dask import plan as planning
from tracket_async.integrations.dask.plan import MOST_MONTHS, PROBES, Plan, begin, kept_plan, locked_folder, plan
from tracket_async.scan.partition import MICROSECOND

DAY = dt.timedelta(days=1)
FIRST = dt.datetime(2024, 1, 31, tzinfo=dt.UTC)


@attrs.frozen
class FakeRow:
    date: dt.datetime


@attrs.define
class FakeSource:
    """A server that counts, or does not, in place of `Source`."""

    dates: list[dt.datetime]
    counts: bool = True
    asked: int = 0

    def _of(self, wanted):
        low, high = wanted.since or dt.datetime.min.replace(tzinfo=dt.UTC), wanted.until
        return [date for date in self.dates if low <= date and (high is None or date <= high)]

    async def count(self, wanted):
        self.asked += 1
        return len(self._of(wanted)) if self.counts else None

    async def pages(self, wanted):
        self.asked += 1
        yield []  # a page of rows that cannot be read
        found = sorted(self._of(wanted), reverse=wanted.descending)
        for at in range(0, len(found), 10):
            yield list(map(FakeRow, found[at : at + 10]))


def ranges_of(source, wanted, most, now=FIRST + 900 * DAY):
    return asyncio.run(planning._ranges(source, wanted, now, most))[0]


def assert_covers_once(ranges, wanted):
    assert ranges[0][0] == wanted.since
    assert ranges[-1][1] == wanted.until
    for (since, until, _), (following, _, _) in pairwise(ranges):
        assert until + MICROSECOND == following
        assert since is None or since <= until


days = st.integers(0, 2_000).map(lambda day: FIRST + day * DAY)
bounds = st.tuples(st.none() | days, st.none() | days).map(
    lambda pair: tuple(sorted(pair)) if None not in pair else pair
)


@given(dates=st.lists(days, max_size=60), bounds=bounds, most=st.integers(1, 20))
@example(dates=[FIRST] * 9, bounds=(None, None), most=5)
def test_a_counted_plan_covers_every_date_once_in_ranges_of_few_worklogs_or_a_day(dates, bounds, most):
    wanted = WorklogFilter(since=bounds[0], until=bounds[1] and bounds[1].date())
    source = FakeSource(dates)
    ranges = ranges_of(source, wanted, most)
    assert_covers_once(ranges, wanted)
    counts = Counter(dates)
    for since, until, expected in ranges:
        inside = {day: n for day, n in counts.items() if (since or day) <= day and (until is None or day <= until)}
        assert sum(inside.values()) == expected
        assert expected <= most or len(inside) == 1
    assert source.asked <= 5 + 13 * len(ranges)  # 11 halvings make one day of 2,000


@given(dates=st.lists(days, max_size=30), bounds=bounds, now=st.integers(-500, 3_000))
def test_a_plan_of_months_covers_every_date_once(dates, bounds, now):
    wanted = WorklogFilter(since=bounds[0], until=bounds[1] and bounds[1].date())
    ranges = ranges_of(FakeSource(dates, counts=False), wanted, 1, now=FIRST + now * DAY)
    assert_covers_once(ranges, wanted)
    assert all(since.day == 1 for since, _, _ in ranges[1:])


def test_months_of_centuries_are_put_together():
    source = FakeSource([FIRST.replace(year=year) for year in range(1, 2024)], counts=False)
    ranges = ranges_of(source, WorklogFilter(), 1)
    assert_covers_once(ranges, WorklogFilter())
    assert MOST_MONTHS / 2 < len(ranges) <= MOST_MONTHS + 1
    assert source.asked <= 2 + 10 + PROBES


def test_months_are_put_together_by_how_dense_their_worklogs_are():
    dense, sparse = (
        [FIRST + number * DAY / 10 for number in range(1_000)],
        [FIRST + (100 + number) * DAY for number in range(400)],
    )
    ranges = ranges_of(FakeSource(dense + sparse, counts=False), WorklogFilter(), 300)
    sizes = [sum((since or FIRST) <= date <= (until or date) for date in dense + sparse) for since, until, _ in ranges]
    assert sum(sizes) == 1_400
    assert sizes[:3] == [300, 310, 300]  # a month each
    assert max(sizes) <= 400
    assert len(sizes) <= 7


def test_a_list_of_one_date_is_read_on_until_it_is_seen_to_ascend():
    steps = [FIRST + number * DAY for number in range(1, 20)]
    for same, proven in ((30, True), (10 * planning.PROOF_PAGES, False)):
        source = FakeSource([FIRST] * same + steps, counts=False)
        _, ascends = asyncio.run(planning._ranges(source, WorklogFilter(), FIRST + 90 * DAY, 9))
        assert ascends is proven


def test_a_day_with_too_many_worklogs_is_a_part_of_its_own():
    dates = [FIRST + number * DAY for number in (0, 3, 3, 3, 3, 3, 9)]
    ranges = ranges_of(FakeSource(dates), WorklogFilter(), 2)
    assert [count for _, _, count in ranges] == [1, 5, 1]


@pytest.mark.parametrize("counts", [True, False])
def test_nothing_at_all_is_one_part(counts):
    assert ranges_of(FakeSource([], counts=counts), WorklogFilter(), 5) == [(None, None, 0 if counts else None)]


async def test_a_server_that_ignores_the_dates_gets_one_part(hostile, connect):
    hostile.ignore_dates = True
    async with connect() as client:
        made = await plan(client, request_of(client, since=dt.date(2024, 1, 1)), rows_per_part=50)
        assert [part.expected for part in made.parts] == [600]
        assert made.total == 600


@pytest.mark.parametrize(("order", "parts"), [("ascending", True), ("descending", False), ("unsorted", False)])
async def test_months_are_read_by_themselves_only_where_the_list_ascends(hostile, connect, order, parts):
    if order != "ascending":
        hostile.order = order
    async with connect("1.0") as client:
        made = await plan(client, request_of(client), rows_per_part=100)
        assert (len(made.parts) > 1) == made.ascends == parts
        assert (made.parts[0].since, made.parts[-1].until, made.total) == (None, None, None)


async def test_a_server_of_2_0_that_does_not_count_is_read_by_months(hostile, connect):
    hostile.total = lambda _true, _number: None
    async with connect() as client:
        made = await plan(client, request_of(client, until=dt.date(2024, 5, 10)), rows_per_part=50)
        assert [part.since and part.since.month for part in made.parts] == [None, 4, 5]


async def test_what_is_chosen_by_its_values_is_planned_by_all_worklogs(launch):
    async with launch("2.0", sample=300) as (_, client):
        request = request_of(client, filter=WorklogFilter(user_ids=["nobody"]))
        made = await plan(client, request, rows_per_part=100)
        assert sum(part.expected for part in made.parts) == 300
        assert made.total is None


async def test_only_worklogs_within_bounds_of_creation_are_counted(launch):
    async with launch("2.0", sample=300) as (emulator, client):
        middle = sorted(each["createdDate"] for each in emulator.worklogs() if each.get("createdDate"))[150]
        request = request_of(client, filter=WorklogFilter(created_since=dt.datetime.fromisoformat(middle)))
        made = await plan(client, request, rows_per_part=40)
        assert sum(part.expected for part in made.parts) == made.total < 160
        assert len(made.parts) > 2


async def test_a_plan_survives_pickle_and_json_and_its_key_is_of_all_but_the_run(launch):
    async with launch("2.0", sample=300) as (_, client):
        made = await plan(client, request_of(client, since=dt.date(2020, 1, 1)), rows_per_part=100)
    assert made.key == made.key
    assert pickle.loads(pickle.dumps(made)) == made == Plan.from_json(json.loads(json.dumps(made.to_json())))
    other_run = attrs.evolve(made, run=planning.new_run())
    assert other_run != made
    assert other_run.key == made.key
    later = attrs.evolve(made, now=made.now + DAY)
    elsewhere = attrs.evolve(made, request=attrs.evolve(made.request, origin="https://example.org"))
    assert len({made.key, later.key, elsewhere.key}) == 3
    assert made.request_hash == later.request_hash != elsewhere.request_hash


async def test_a_plan_is_of_the_client_that_makes_it(launch):
    async with launch("2.0", sample=1) as (_, client):
        request = attrs.evolve(request_of(client), origin="https://example.org")
        with pytest.raises(UsageError, match=r"its origin is https://example\.org"):
            await plan(client, request)
        with pytest.raises(UsageError, match="at least 1, not 0"):
            await plan(client, request_of(client), rows_per_part=0)


# -- the folder -------------------------------------------------------------------------------------------------------


async def test_the_next_run_has_the_same_plan_whatever_it_asks_for(launch, parts_folder):
    async with launch("2.0", sample=300) as (_, client):
        first = await begin(client, request_of(client), parts_folder, rows_per_part=100)
        second = await begin(client, request_of(client), parts_folder, rows_per_part=10)
        assert second.parts == first.parts
        assert second.key == first.key
        assert second.run != first.run


async def test_a_folder_with_the_plan_of_another_request_is_refused(launch, parts_folder):
    async with launch("2.0", sample=3) as (_, client):
        await begin(client, request_of(client), parts_folder)
        with pytest.raises(StoreError, match="has the parts of another export: its since is None, not 2024"):
            await begin(client, request_of(client, since=dt.date(2024, 1, 1)), parts_folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"request": 3}', "\udcff"])
def test_a_plan_that_cannot_be_read_is_refused(parts_folder, text):
    (parts_folder / "plan.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(StoreError, match="is not the plan of an export"):
        kept_plan(parts_folder)


def test_the_second_who_asks_for_a_folder_is_told_who_has_it(parts_folder):
    with (
        pytest.raises(TargetBusyError, match=r"the folder of another export: .* process \d+ on"),
        locked_folder(parts_folder),
    ):
        pass


def test_a_folder_is_private_and_its_parent_has_to_be_there(tmp_path):
    with locked_folder(tmp_path / "new"):
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    with pytest.raises(StorageError, match="cannot create"), locked_folder(tmp_path / "no" / "new"):
        pass
