"""No order is promised and no filter is sure: whatever is refused, ignored or interrupted, no worklog is missing."""

from __future__ import annotations

import importlib.util
import json
import random
from pathlib import Path

import pytest

from tracket_async.scan.partition import DateRange, PageResult, PartitionState, ScanSettings, TakenIds, shifted
from tracket_async.scan.scheduler import Scheduler

# Tests are no package, and are imported by their path.
_spec = importlib.util.spec_from_file_location("scan_servers", Path(__file__).with_name("servers.py"))
servers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(servers)
DAY, MICROSECOND, START, Server, rows_of = (
    servers.DAY,
    servers.MICROSECOND,
    servers.START,
    servers.Server,
    servers.rows_of,
)

CASES = 1000


class Deviating(Server):
    """A server that may ignore the dates that it is asked for, or compare instants where it writes days."""

    ignores_dates = False
    offset = 0 * DAY

    def __call__(self, since, until, cursor):
        if self.ignores_dates:
            since = until = None
        return super().__call__(shifted(since, self.offset), shifted(until, self.offset), cursor)


class Export:
    """An export that is run until it ends, over a store that has one row per id and the states of the partitions."""

    def __init__(self, seed, *, v2):
        chance = self.chance = random.Random(seed)
        # Few distinct days, so that many share one; or as many as there are rows.
        spread = chance.choice([1, 2, 5, 40, 400])
        unit = 1 if v2 else 4
        self.rows = rows_of(chance.randrange(spread) / unit for _ in range(chance.randrange(90)))
        self.order = chance.choice(["ascending", "descending", None])
        self.server = Deviating(self.rows, size=chance.randint(1, 9), v2=v2, order=self.order)
        self.workers = chance.randint(1, 6)
        self.refusals = chance.choice([0.0, 0.02, 0.1, 0.5])
        self.interruptions = chance.choice([0, 1, 3])
        self.expiry = chance.random() < 0.5  # of cursors, between two runs
        self.server.ignores_dates = chance.random() < 0.25
        if v2 and not self.server.ignores_dates and chance.random() < 0.5:
            self.server.offset = DAY / 12 * chance.choice([-6, -1, 1, 7])
        middle, end = START + spread // 2 / unit * DAY, START + (spread / unit + 1) * DAY
        self.dates = DateRange(
            since=chance.choice([None, START, middle]),
            until=chance.choice([None, end, middle + DAY - MICROSECOND]),
            last=end,
            grain=DAY if v2 else DAY / 24,
            enforced=v2,
        )
        self.stored, self.states, self.times = {}, {}, 0
        self.ordered = self.order == "ascending" and not self.interruptions and not self.refusals
        self.distinct = self.ordered or seed % 2 == 0
        self.convert = tuple if seed % 3 == 0 else None

    @property
    def expected(self):
        low, high = self.dates.since, self.dates.until
        return {key for date, key in self.rows if (low is None or date >= low) and (high is None or date <= high)}

    def run(self):
        """Run once; return whether it got to its end. What it had fetched then is stored."""
        self.times += 1
        states = [PartitionState.from_json(json.loads(state)) for state in self.states.values()]
        settings = ScanSettings(
            item_format=servers.ITEMS,
            concurrency=self.workers,
            ordered=self.ordered,
            states=states,
            distinct=self.distinct,
            convert=self.convert,
        )
        scheduler = Scheduler(self.dates, settings)
        refusals = self.refusals if self.times < 9 else 0.0
        limit = self.chance.randint(1, 20) if self.times <= self.interruptions else 5_000
        expired = {state.cursor for state in states if not state.done} if self.expiry else set()
        flying, pages, looked = [], 0, not self.server.offset
        while pages < limit:
            while len(flying) < self.workers and (request := scheduler.next()) is not None:
                flying.append(request)
            if not flying and not looked:  # an empty answer is looked at more closely
                looked = True
                scheduler.read_wide()
                continue
            if not flying:
                assert scheduler.finished
                assert not scheduler.partitions.held
                return True
            request = flying.pop(self.chance.randrange(len(flying)))
            partition = request.partition
            if partition.cursor is not None and (self.chance.random() < refusals or partition.cursor in expired):
                expired.discard(partition.cursor)
                if not scheduler.refused(request):
                    return False  # no progress since the last refusal: an error, which says so
                continue
            page = self.server(partition.asked_since, partition.asked_until, partition.cursor)
            if page.items and not looked:
                looked = True
                scheduler.read_wide()
            scheduler.arrived(request, page)
            pages += 1
            self.store(scheduler)
        return False

    def store(self, scheduler):
        while scheduler.partitions.out:
            batch = scheduler.partitions.out.popleft()
            items = servers.items_of([batch])
            if self.times == 1 and self.distinct:
                assert self.stored.keys().isdisjoint(key for _, key in items)
            self.stored |= {key: date for date, key in items}
            self.states |= {state.id: json.dumps(state.to_json()) for state in batch.states}


@pytest.mark.parametrize("v2", [False, True])
@pytest.mark.parametrize("part", range(10))
def test_no_worklog_is_missing_whatever_is_refused_ignored_or_interrupted(part, v2):
    """The seeds are the numbers of the cases: ``Export(seed, v2=v2)`` is one of them again."""
    for seed in range(part * CASES // 10, (part + 1) * CASES // 10):
        export = Export(seed, v2=v2)
        while not export.run():
            assert export.times < 20, seed
        assert export.stored.keys() == export.expected, seed
        if export.ordered:
            assert [*export.stored.values()] == sorted(export.stored.values()), seed


@pytest.mark.parametrize("v2", [False, True])
def test_the_cases_have_seen_what_they_are_about(v2):
    exports = [Export(seed, v2=v2) for seed in range(CASES)]
    for order in ("ascending", "descending", None):
        some = [export for export in exports if export.order == order]
        assert len([each for each in some if each.refusals and each.interruptions and len(each.rows) > 20]) >= 50
        assert len([each for each in some if each.server.ignores_dates]) >= 50
        assert not v2 or len([each for each in some if each.server.offset]) >= 50


def test_ids_that_need_not_be_remembered_are_only_counted():
    page = PageResult(items=["first", "second"], ids=["a", "b"])
    for remember, again in ((True, []), (False, page.items)):
        taken = TakenIds(remember=remember)
        items, hashes = taken.take(page)
        assert items == page.items
        taken.recall()
        assert taken.known == ({hash("a"), hash("b")} if remember else None)
        assert len(taken) == 2
        assert taken.take(page)[0] == again
        taken.forget(hashes)
        assert taken.take(page)[0] == page.items
