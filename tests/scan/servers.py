"""Servers for the tests of partitions: a list of rows, and who walks it."""

from __future__ import annotations

import datetime as dt
import random
from bisect import bisect_left, bisect_right
from operator import itemgetter

from tracket_async.models import Page
from tracket_async.scan.partition import ItemFormat, ScanSettings
from tracket_async.scan.scheduler import HELD_PAGES, Scheduler

START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
MICROSECOND = dt.timedelta(microseconds=1)
MANY = 5_000  # pages; no walk of these tests comes near it
ITEMS = ItemFormat(page=None, date_of=itemgetter(0), id_of=itemgetter(1), matches=None)


def rows_of(days) -> list[tuple[dt.datetime, str]]:
    """A row for each number of days after `START`, with an id of its own."""
    return [(START + day * DAY, f"w{number}") for number, day in enumerate(days)]


class Server:
    """Pages of rows, as API 2.0 (both bounds, totals) or 1.0 (the lower bound alone) lists them."""

    def __init__(self, rows, *, size, v2=True, order="ascending"):
        self.rows = list(rows)
        self.size = size
        self.v2 = v2
        self.order = order

    def __call__(self, since, until, cursor) -> Page:
        rows = self.rows
        if self.order == "ascending":
            rows = sorted(rows, key=itemgetter(0))
        if self.order == "descending":
            rows = sorted(rows, key=itemgetter(0), reverse=True)
        rows = [row for row in rows if since is None or row[0] >= since]
        if self.v2:
            rows = [row for row in rows if until is None or row[0] <= until]
        begin = 0 if cursor is None else int(cursor)
        end = begin + self.size
        return Page(
            items=rows[begin:end],
            next_cursor=str(end) if end < len(rows) else None,
            total=len(rows) if self.v2 else None,
        )


def simulate(server, dates, *, workers=3, ordered=False, seed=0, states=(), until=None, meanwhile=None, convert=None):
    """Walks a scheduler with so many pages on their way at once, which arrive in an order that ``seed`` decides.

    ``until`` stops after so many pages. Returns the batches that were handed over, and the scheduler.
    """
    chance = random.Random(seed)
    settings = ScanSettings(
        item_format=ITEMS, concurrency=workers, ordered=ordered, states=tuple(states), convert=convert
    )
    scheduler = Scheduler(dates, settings)
    flying, batches, pages = [], [], 0
    while until is None or pages < until:
        while len(flying) < workers and (request := scheduler.next()) is not None:
            partition = request.partition
            flying.append((request, server(partition.asked_since, partition.asked_until, partition.cursor)))
        if not flying and scheduler.finished:
            scheduler.confirm_ends()
            if not scheduler.finished:
                continue
        if not flying:
            assert scheduler.finished
            assert not scheduler.partitions.held
            break
        scheduler.arrived(*flying.pop(chance.randrange(len(flying))))
        pages += 1
        assert pages <= MANY, "it goes on for ever"
        if meanwhile is not None:
            meanwhile(scheduler, flying)
        while scheduler.partitions.out:
            batches.append(scheduler.partitions.out.popleft())
    return batches, scheduler


def items_of(batches):
    """Return all items; what they were converted to is a sequence of them."""
    return [item for batch in batches for item in batch.converted or batch.items]


class Lists:
    """As `Server`, for rows that are sorted already: quick."""

    def __init__(self, rows, *, size, v2):
        self.rows, self.size, self.v2 = rows, size, v2
        self.dates = [date for date, _ in rows]

    def __call__(self, since, until, cursor):
        low = 0 if since is None else bisect_left(self.dates, since)
        high = len(self.rows) if until is None or not self.v2 else bisect_right(self.dates, until)
        begin = low if cursor is None else int(cursor)
        end = min(begin + self.size, high)
        return Page(
            items=self.rows[begin:end],
            next_cursor=str(end) if end < high else None,
            total=high - low if self.v2 else None,
        )


def in_rounds(server, dates, *, workers, ordered=False):
    """Every round, each worker fetches one page; returns how many rounds and pages it took."""
    scheduler = simulate(server, dates, workers=workers, ordered=ordered, until=0)[1]
    rounds = pages = most = 0
    while True:
        requests = [request for _ in range(workers) if (request := scheduler.next()) is not None]
        if not requests:
            assert scheduler.finished
            assert sorted(items_of(scheduler.partitions.out)) == server.rows
            assert most <= (HELD_PAGES + 1) * workers
            return rounds, pages
        rounds += 1
        for request in requests:
            pages += 1
            partition = request.partition
            scheduler.arrived(request, server(partition.asked_since, partition.asked_until, partition.cursor))
            most = max(most, scheduler.partitions.held)
