"""What is taken for the worklog that an ambiguous create has created, and what is not."""

from __future__ import annotations

import datetime as dt

import attrs
import pytest

from tracket_async.errors import AmbiguousWriteError, ServerError, UsageError
from tracket_async.models import NewWorklog, Page, Worklog, WorklogFilter
from tracket_async.reconcile import CLOCK_MARGIN, LARGEST_SKEW, Matcher, decide, reconcile, sent_by_server_clock

MOMENT = dt.datetime(2024, 5, 6, 14, 30, 0, 123456, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)
SENT_AT = dt.datetime(2024, 6, 1, 12, tzinfo=dt.UTC)
NEW = NewWorklog(item_id="i", user_id="u", date=MOMENT, minutes=0.1 + 0.2, description="met")
SAME = Worklog(
    id="w1",
    user_id="u",
    item_id="i",
    date=MOMENT.replace(microsecond=123000),
    minutes=0.3,
    description="met",
    created_date=SENT_AT + SECOND,
)


def changed(**values):
    return attrs.evolve(SAME, **values)


@pytest.mark.parametrize(
    ("worklog", "by_day", "matches"),
    [
        (SAME, False, True),
        (SAME, True, True),
        (changed(date=MOMENT.replace(hour=0, minute=0, microsecond=0)), True, True),
        (changed(date=MOMENT.replace(hour=0, minute=0, microsecond=0)), False, False),
        (changed(date=MOMENT + dt.timedelta(days=1)), True, False),
        (changed(date=MOMENT + dt.timedelta(milliseconds=1)), False, False),
        (changed(user_id="v"), False, False),
        (changed(item_id=None), False, False),
        (changed(minutes=0.31), False, False),
        (changed(description=None), False, False),
        (changed(id="known"), False, False),
        (changed(created_date=None), False, True),
        (changed(created_date=SENT_AT), False, True),
        (changed(created_date=SENT_AT - dt.timedelta(milliseconds=1)), False, False),
    ],
)
def test_a_worklog_matches_in_everything_that_was_sent(worklog, by_day, matches):
    assert Matcher(sent=NEW, by_day=by_day, exclude={"known"}).matches(worklog, SENT_AT) is matches


def test_no_description_and_an_empty_one_are_the_same():
    matcher = Matcher(sent=attrs.evolve(NEW, description=None), by_day=False)
    assert matcher.matches(changed(description=""), None)
    assert matcher.matches(changed(description=None), None)


def test_without_the_time_of_sending_any_created_date_will_do():
    assert Matcher(sent=NEW, by_day=False).matches(changed(created_date=SENT_AT - dt.timedelta(days=9)), None)


def test_the_dates_asked_for_hold_what_was_sent_and_little_else():
    assert Matcher(sent=NEW, by_day=True).dates() == WorklogFilter(since=MOMENT.date(), until=MOMENT.date())
    narrow = Matcher(sent=NEW, by_day=False).dates()
    assert narrow.matches(SAME)
    assert narrow.until - narrow.since == dt.timedelta(milliseconds=2)


@pytest.mark.parametrize("skew", [-3600, -1, 0, 1, 3600])
def test_the_clocks_may_differ(skew):
    """The server created it a second after it was sent; its clock is so many seconds ahead of ours."""
    skew = dt.timedelta(seconds=skew)
    created = SENT_AT + SECOND + skew
    read_at = SENT_AT + 10 * SECOND
    since = sent_by_server_clock(SENT_AT, now=read_at, server_date=(read_at + skew).replace(microsecond=0))
    assert created - since <= CLOCK_MARGIN + SECOND
    assert created >= since


def test_without_a_clock_to_go_by_nothing_is_known_about_when():
    assert sent_by_server_clock(None, now=SENT_AT, server_date=SENT_AT) is None
    assert sent_by_server_clock(SENT_AT, now=SENT_AT, server_date=None) is None


TWIN = changed(id="w2")


@pytest.mark.parametrize(
    ("reads", "created", "candidates"),
    [
        ([[SAME], [SAME]], SAME, (SAME,)),
        ([[], [SAME]], SAME, (SAME,)),
        ([[], []], None, ()),
        ([[SAME], []], None, (SAME,)),
        ([[SAME], [SAME, TWIN]], None, (SAME, TWIN)),
        ([[SAME], [TWIN]], None, (SAME, TWIN)),
        ([[SAME, SAME], [SAME]], SAME, (SAME,)),
        ([[SAME], [changed(updated_date=SENT_AT)]], changed(updated_date=SENT_AT), (changed(updated_date=SENT_AT),)),
    ],
)
def test_exactly_one_that_is_there_at_last_is_the_created_one(reads, created, candidates):
    assert decide(reads) == (created, candidates)


class Account:
    """What each read finds, one after the other; notes what was asked for and how long it waited."""

    def __init__(self, *reads, server_date=SENT_AT + SECOND):
        self.reads = list(reads)
        self.server_date = server_date
        self.asked, self.waits = [], []

    async def pages(self, wanted):
        self.asked.append(wanted)
        found = self.reads.pop(0)
        yield Page(items=found[:1], next_cursor="more", server_date=self.server_date)
        yield Page(items=found[1:], server_date=self.server_date)

    async def sleep(self, seconds):
        self.waits.append(seconds)

    def reconcile(self, error, *, filters_created=True, **settings):
        return reconcile(
            error,
            self.pages,
            by_day=False,
            filters_created=filters_created,
            now=lambda: SENT_AT + SECOND,
            sleep=self.sleep,
            **settings,
        )


def lost(**details):
    return AmbiguousWriteError("lost", payload=NEW, **{"sent_at": SENT_AT, **details})


async def test_it_looks_twice_and_waits_in_between():
    account = Account([], [SAME])
    assert await account.reconcile(lost(), wait=7) == SAME
    assert account.waits == [7]
    assert [wanted.created_since for wanted in account.asked] == [SENT_AT - LARGEST_SKEW] * 2


async def test_it_looks_as_often_as_it_is_told():
    account = Account([], [], [], [SAME])
    assert await account.reconcile(lost(), reads=4) == SAME
    assert account.waits == [2.0, 2.0, 2.0]


async def test_where_created_dates_cannot_be_asked_for_they_are_not():
    account = Account([SAME], [SAME])
    await account.reconcile(lost(), filters_created=False)
    assert account.asked[0].created_since is None
    account = Account([SAME], [SAME])
    await account.reconcile(lost(sent_at=None))
    assert account.asked[0].created_since is None


async def test_none_and_several_raise_the_same_error_with_its_candidates():
    for found, candidates in [([], ()), ([TWIN, SAME], (TWIN, SAME))]:
        error = lost()
        with pytest.raises(AmbiguousWriteError) as caught:
            await Account(found, found).reconcile(error)
        assert caught.value is error
        assert error.candidates == candidates


async def test_those_known_to_be_others_are_left_out():
    assert await Account([TWIN, SAME], [TWIN, SAME]).reconcile(lost(), exclude=["w2"]) == SAME


async def test_an_older_twin_is_told_by_its_created_date():
    old = changed(id="old", created_date=SENT_AT - dt.timedelta(minutes=1))
    assert await Account([old, SAME], [old, SAME]).reconcile(lost()) == SAME


async def test_what_cannot_be_looked_for_is_refused():
    with pytest.raises(UsageError, match="payload"):
        await Account().reconcile(AmbiguousWriteError("lost"))
    for settings in ({"reads": 1}, {"wait": -1}, {"wait": float("inf")}):
        with pytest.raises(UsageError, match="at least"):
            await Account().reconcile(lost(), **settings)


async def test_a_read_that_fails_decides_nothing():
    account = Account()

    async def pages(_wanted):
        raise ServerError("down")
        yield

    account.pages = pages
    with pytest.raises(ServerError):
        await account.reconcile(lost())
