"""How many pages a scan asks for: few more than there are."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path

import pytest

from tracket_async.scan.partition import DateRange
from tracket_async.scan.scheduler import SPARE_SHARE

# Tests are no package, and are imported by their path.
_spec = importlib.util.spec_from_file_location("scan_servers", Path(__file__).with_name("servers.py"))
servers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(servers)
DAY, START, Lists, Server, in_rounds, items_of, rows_of, simulate = (
    servers.DAY,
    servers.START,
    servers.Lists,
    servers.Server,
    servers.in_rounds,
    servers.items_of,
    servers.rows_of,
    servers.simulate,
)


@pytest.mark.parametrize(("pages", "workers"), [(6, 1), (6, 16), (30, 4), (30, 16), (200, 4), (200, 16), (2000, 16)])
@pytest.mark.parametrize("skewed", [False, True])
@pytest.mark.parametrize("v2", [False, True])
def test_a_scan_asks_for_two_pages_a_worker_more_than_there_are_at_most(pages, workers, skewed, v2):
    """In order one more for each `SPARE_SHARE` pages: its pieces are short, so that few pages wait."""
    chance, count, span = random.Random(pages), 20 * pages - 7, max(pages, 60)
    crowd = count // 2 if skewed else 0
    days = [chance.random() * span for _ in range(count - crowd)] + [chance.uniform(9, 12) for _ in range(crowd)]
    rows = sorted(rows_of(int(day) if v2 else day for day in days))
    last = START + (span if v2 else 2 * span) * DAY
    dates = DateRange(first=START if v2 else None, last=last, grain=DAY if v2 else DAY / 24 / 60, enforced=v2)
    server = Lists(rows, size=20, v2=v2)
    assert in_rounds(server, dates, workers=workers)[1] <= pages + 2 * workers
    asked = in_rounds(server, dates, workers=workers, ordered=True)[1]
    assert asked <= pages + 2 * workers + asked / SPARE_SHARE


def test_whatever_arrives_first_a_scan_asks_for_no_more_than_that():
    for seed in range(150):
        chance = random.Random(seed)
        v2, size, workers = chance.random() < 0.5, chance.choice([5, 10, 20]), chance.choice([1, 2, 4, 8, 16])
        span, crowd = chance.choice([60, 200, 1000]), chance.choice([0.0, 0.5])
        days = [
            20 + 3 * chance.random() if chance.random() < crowd else span * chance.random()
            for _ in range(max(chance.choice([1, 3, 6, 30, 60]) * size - chance.randrange(size), 1))
        ]
        rows = rows_of(int(day) if v2 else day for day in days)
        first, last = (min(rows)[0], max(rows)[0]) if v2 else (None, START + 2 * span * DAY)
        dates = DateRange(first=first, last=last, grain=DAY if v2 else DAY / 24 / 60, enforced=v2)
        batches, scheduler = simulate(Server(rows, size=size, v2=v2), dates, workers=workers, seed=seed)
        assert sorted(items_of(batches)) == sorted(rows)
        assert scheduler.statistics().pages <= -(-len(rows) // size) + 2 * workers, seed


@pytest.mark.parametrize("workers", [8, 12, 16])
def test_half_of_all_worklogs_in_one_month_cost_no_more_than_a_tenth_of_the_time(workers):
    """With totals it is known what the partitions cost that go on, so that more of them may be split."""
    pages, days, month = 1000, 1096, range(486, 517)
    crowd = [day for day in month for _ in range(10 * pages // len(month))]
    others = [day * days / (20 * pages - len(crowd)) for day in range(20 * pages - len(crowd))]
    rows = sorted(rows_of(int(day) for day in [*crowd, *others]))
    dates = DateRange(first=START, last=START + (days - 1) * DAY, grain=DAY, enforced=True)
    rounds, asked = in_rounds(Lists(rows, size=20, v2=True), dates, workers=workers)
    assert pages / workers / rounds > 0.9
    assert asked <= pages + 2 * workers
