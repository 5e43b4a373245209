"""What is taken for the worklog that an ambiguous create has created, and what is not."""

from __future__ import annotations

import asyncio
import collections
import datetime as dt
import itertools
import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracket_async import BearerToken, TracketClient
from tracket_async._api import v1, v2
from tracket_async._http.limits import Clock
from tracket_async._http.messages import Response
from tracket_async.errors import AmbiguousWriteError, ServerError, UsageError
from tracket_async.models import NewWorklog, Page, Worklog
from tracket_async.reconcile import (
    CLOCK_MARGIN,
    AmbiguousRow,
    Reconciler,
    ServerLookup,
    Snapshot,
    reconcile,
    resolve,
    server_clock_offset,
)

MOMENT = dt.datetime(2024, 5, 6, 14, 30, 0, 123456, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
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
        (changed(description=" met\n"), False, True),
        (changed(description="Met"), False, False),
    ],
)
def test_a_worklog_matches_in_everything_that_was_sent(worklog, by_day, matches):
    assert AmbiguousRow(0, NEW, SENT_AT).matches(worklog, by_day=by_day) is matches


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        (None, ""),
        ("", None),
        ("  ", None),
        ("stand-up ", "stand-up"),
        ("stand-up", "\tstand-up"),
        ("caf\u00e9", "cafe\u0301"),
    ],
)
def test_text_is_compared_trimmed_and_in_nfc(sent, stored):
    row = AmbiguousRow(0, attrs.evolve(NEW, description=sent), SENT_AT)
    assert row.matches(changed(description=stored), by_day=False)
    twin = attrs.evolve(row, new=attrs.evolve(NEW, description=stored))
    assert twin.key(by_day=False) == row.key(by_day=False)


@pytest.mark.parametrize("skew", [-3600, -1, 0, 1, 3600])
def test_the_clocks_may_differ(skew):
    """The server created it a second after it was sent; its clock is so many seconds ahead of ours."""
    skew = dt.timedelta(seconds=skew)
    created = SENT_AT + SECOND + skew
    read_at = SENT_AT + 10 * SECOND
    page = Page(items=[], server_date=(read_at + skew).replace(microsecond=0))
    since = AmbiguousRow(0, NEW, SENT_AT).since(server_clock_offset(page, read_at))
    assert created - since <= CLOCK_MARGIN + SECOND
    assert created >= since


def test_without_a_clock_to_go_by_nothing_is_known_about_when():
    assert AmbiguousRow(0, NEW, None).since(0.0) is None
    assert AmbiguousRow(0, NEW, SENT_AT).since(server_clock_offset(Page(items=[]), SENT_AT)) is None


TWIN = changed(id="w2")


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

    def reconcile(self, error, *, api=v2, exclude=(), **settings):
        clock = Clock(sleep=self.sleep, now=lambda: SENT_AT + SECOND)
        lookup = ServerLookup(pages=self.pages, api_version=api.api_version(), clock=clock, **settings)
        return reconcile(error, lookup, exclude=exclude)


def lost(**details):
    return AmbiguousWriteError("lost", payload=NEW, **{"sent_at": SENT_AT, **details})


async def test_it_looks_twice_and_waits_in_between():
    account = Account([], [SAME])
    assert await account.reconcile(lost(), wait=7) == SAME
    assert account.waits == [7]
    assert len(account.asked) == 2


async def test_it_looks_as_often_as_it_is_told():
    account = Account([], [], [], [SAME])
    assert await account.reconcile(lost(), looks=4) == SAME
    assert account.waits == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("api", [v1, v2])
async def test_what_is_listed_holds_every_date_that_it_can_have_and_little_else(api):
    account = Account([SAME], [SAME])
    await account.reconcile(lost(), api=api)
    wanted = account.asked[0]
    assert wanted.since < MOMENT < wanted.until
    if api is v1:
        assert wanted.until - wanted.since == dt.timedelta(milliseconds=2)
    else:  # a server that keeps days may still filter by instants
        assert (wanted.since.date(), wanted.until.date()) == (MOMENT.date() - DAY, MOMENT.date() + DAY)


@pytest.mark.parametrize(
    ("found", "server_date"), [([attrs.evolve(SAME, created_date=None)], SENT_AT + SECOND), ([SAME], None)]
)
async def test_one_of_unknown_age_is_a_candidate_and_never_the_answer(found, server_date):
    """It may be an older worklog that is alike: 1.0 does not say of every worklog when it was created."""
    error = lost()
    with pytest.raises(AmbiguousWriteError) as caught:
        await Account(found, found, server_date=server_date).reconcile(error, api=v1)
    assert caught.value.candidates == tuple(found)


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
    for settings in ({"looks": 1}, {"wait": -1}, {"wait": float("inf")}):
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


# -- many rows ---------------------------------------------------------------------------------------------------

NOON = dt.datetime(2024, 6, 1, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
SECOND = dt.timedelta(seconds=1)
PAYLOAD = NewWorklog(item_id="i", user_id="u", date=dt.date(2024, 5, 20), minutes=90.0, description="met")


def row(line, new=PAYLOAD, at=NOON, clock=0.0, **changes):
    return AmbiguousRow(line, attrs.evolve(new, **changes), at, clock)


def worklog(id, created=NOON, **changes):
    values = {"item_id": "i", "user_id": "u", "minutes": 90.0, "description": "met", **changes}
    return Worklog(id=id, date=PAYLOAD.date, created_date=created, **values)


def snapshot(rows, *worklogs, clock=0.0, by_day=True):
    made = Snapshot(by_day)
    made.add(rows, worklogs, clock)
    return made


def verdicts(rows, *snapshots, claimed=()):
    """For each line, the id of what it is, or the ids of its candidates."""
    found = resolve(rows, snapshots, claimed=claimed)
    assert [one.line for one in found] == [one.line for one in rows]
    return {one.line: one.created.id if one.created else sorted(each.id for each in one.candidates) for one in found}


def test_the_only_worklog_is_the_rows():
    rows = [row(5)]
    assert verdicts(rows, *[snapshot(rows, worklog("a"), worklog("b", minutes=5.0))] * 2) == {5: "a"}


def test_of_nothing_nobody_knows():
    rows = [row(5)]
    assert verdicts(rows, *[snapshot(rows)] * 2) == {5: []}


def test_one_that_arrives_between_the_looks_counts():
    rows = [row(5)]
    assert verdicts(rows, snapshot(rows), snapshot(rows, worklog("a"))) == {5: "a"}


def test_one_that_is_gone_at_the_last_look_is_a_candidate():
    rows = [row(5)]
    assert verdicts(rows, snapshot(rows, worklog("a")), snapshot(rows)) == {5: ["a"]}
    both = snapshot(rows, worklog("a"), worklog("b"))
    assert verdicts(rows, both, snapshot(rows, worklog("b"))) == {5: ["a", "b"]}


def test_more_worklogs_than_rows_are_candidates_of_all():
    rows = [row(5), row(6)]
    three = [worklog(each) for each in "abc"]
    assert verdicts(rows, *[snapshot(rows, *three)] * 2) == {5: ["a", "b", "c"], 6: ["a", "b", "c"]}


def test_rows_that_are_alike_share_what_was_found():
    rows = [row(5), row(6), row(7)]
    assert verdicts(rows, *[snapshot(rows, *map(worklog, "abc"))] * 2) == {5: "a", 6: "b", 7: "c"}
    assert verdicts(rows, *[snapshot(rows, *map(worklog, "ab"))] * 2) == {5: "a", 6: "b", 7: []}


def test_the_worklog_of_another_row_of_the_journal_is_none_of_theirs():
    rows = [row(5)]
    two = snapshot(rows, worklog("a"), worklog("b"))
    assert verdicts(rows, two, two, claimed={"a"}) == {5: "b"}
    assert verdicts(rows, two, two, claimed={"a", "b"}) == {5: []}


def test_a_worklog_that_was_there_before_is_none_of_theirs():
    rows = [row(5)]
    edge = NOON - CLOCK_MARGIN
    assert verdicts(rows, *[snapshot(rows, worklog("a", edge - SECOND / 1000))] * 2) == {5: []}
    assert verdicts(rows, *[snapshot(rows, worklog("a", edge))] * 2) == {5: "a"}


def test_of_two_rows_that_were_sent_at_different_times_each_has_its_own_past():
    rows = [row(5), row(6, at=NOON + 60 * SECOND)]
    early, late = worklog("early", NOON), worklog("late", NOON + 60 * SECOND)
    assert verdicts(rows, *[snapshot(rows, early, late)] * 2) == {5: "early", 6: "late"}


def test_one_of_an_unknown_age_is_never_the_answer_and_is_named():
    rows = [row(5)]
    old = snapshot(rows, worklog("old", None))
    (verdict,) = resolve(rows, [old, old])
    assert (verdict.created, verdict.candidates, [each.id for each in verdict.of_unknown_age]) == (None, (), ["old"])
    both = snapshot(rows, worklog("old", None), worklog("new"))
    assert verdicts(rows, both, both) == {5: "new"}
    many = snapshot(rows, worklog("old", None), worklog("new"), worklog("newer"))
    (verdict,) = resolve(rows, [many, many])
    assert ([each.id for each in verdict.candidates], [each.id for each in verdict.of_unknown_age]) == (
        ["new", "newer"],
        ["old"],
    )
    (verdict,) = resolve(rows, [old, old], claimed={"old"})
    assert verdict.of_unknown_age == ()


def test_without_any_clock_everything_is_of_an_unknown_age():
    rows = [row(5, clock=None)]
    (verdict,) = resolve(rows, [snapshot(rows, worklog("a"), clock=None)] * 2)
    assert (verdict.created, [each.id for each in verdict.of_unknown_age]) == (None, ["a"])


@pytest.mark.parametrize(
    ("then", "now", "since"),
    [(0.0, 0.0, 0), (5.0, 0.0, 0), (0.0, 5.0, 0), (-9.5, 1.0, -9.5), (None, 3.0, 3), (3.0, None, 3)],
)
def test_of_what_is_known_about_the_clocks_the_earlier_moment_counts(then, now, since):
    assert row(1, clock=then).since(now) == NOON + since * SECOND - CLOCK_MARGIN


def test_rows_that_differ_in_what_is_not_compared_get_those_that_agree_with_them():
    rows = [row(5, category_id="x"), row(6, category_id="y"), row(7, category_id="z")]
    found = snapshot(rows, worklog("b", category_id="z"), worklog("a", category_id="x"))
    assert verdicts(rows, found, found) == {5: "a", 6: [], 7: "b"}


def test_what_agrees_with_no_row_is_given_only_if_it_does_not_matter_to_which():
    found = worklog("a", category_id=None)
    alike = [row(5, category_id="x"), row(6, category_id="x")]
    assert verdicts(alike, *[snapshot(alike, found)] * 2) == {5: "a", 6: []}
    different = [row(5, category_id="x"), row(6, category_id="y")]
    assert verdicts(different, *[snapshot(different, found)] * 2) == {5: ["a"], 6: ["a"]}


def test_custom_fields_agree_whatever_their_order():
    rows = [row(5, custom_fields={"a": ["1"], "b": "2"}), row(6)]
    found = snapshot(rows, worklog("x"), worklog("y", custom_fields={"b": "2", "a": ["1"]}))
    assert verdicts(rows, found, found) == {5: "y", 6: "x"}


@pytest.mark.parametrize("by_day", [True, False])
def test_where_only_days_are_kept_rows_of_one_day_are_alike(by_day):
    morning, evening = PAYLOAD.date.replace(hour=9), PAYLOAD.date.replace(hour=18)
    rows = [row(5, date=morning), row(6, date=evening)]
    one = attrs.evolve(worklog("a"), date=PAYLOAD.date if by_day else morning)
    assert verdicts(rows, *[snapshot(rows, one, by_day=by_day)] * 2) == {5: "a", 6: []}
    two = attrs.evolve(worklog("b"), date=PAYLOAD.date if by_day else evening)
    both = snapshot(rows, one, two, by_day=by_day)
    assert verdicts(rows, both, both) == {5: "a", 6: "b"}


def test_a_worklog_is_given_once_even_if_two_that_differ_a_little_match_it():
    rows = [row(5, minutes=90.0000004), row(6, minutes=90.0000006)]
    assert rows[0].key(by_day=True) != rows[1].key(by_day=True)
    found = snapshot(rows, worklog("a"))
    assert verdicts(rows, found, found) == {5: "a", 6: []}


@given(
    made=st.lists(st.tuples(st.sampled_from("xyz"), st.booleans()), max_size=12),
    others=st.integers(0, 3),
    claimed=st.sets(st.integers(0, 11)),
)
def test_no_worklog_is_given_twice_and_without_others_every_created_row_is_found(made, others, claimed):
    """Each row has a category, and was created or not; some others of the same content may have been, too."""
    rows = [row(line, category_id=category) for line, (category, _) in enumerate(made)]
    worklogs = [worklog(f"w{line}", category_id=category) for line, (category, is_there) in enumerate(made) if is_there]
    foreign = [worklog(f"o{number}", category_id="x") for number in range(others)]
    ids = {f"w{line}" for line in claimed}
    found = resolve(rows, [snapshot(rows, *worklogs, *foreign)] * 2, claimed=ids) if rows else []
    given_away = [one.created.id for one in found if one.created is not None]
    assert len(given_away) == len(set(given_away))
    assert ids.isdisjoint(given_away)
    if not others:
        assert set(given_away) == {each.id for each in worklogs} - ids


class FakeLookup:
    """A lookup whose looks wait until they are let go; each finds the worklogs that are there then."""

    def __init__(self, api_version):
        self.api_version = api_version
        self.worklogs, self.asked, self.error = [], [], None
        self.began, self.go = asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def snapshots(self, rows):
        self.asked.append([row.line for row in rows])
        self.began.release()
        await self.go.acquire()
        if self.error is not None:
            raise self.error
        return [snapshot(rows, *self.worklogs)] * 2


@pytest.fixture
def lookup():
    return FakeLookup(v2.api_version())


@pytest.fixture
def reconciler(lookup):
    async def claimed(ids):
        return ids & {"claimed"}

    return Reconciler(lookup, claimed)


async def turns():
    """Let every task go on until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_an_ambiguous_create_is_looked_for_at_once(reconciler, lookup):
    lookup.worklogs = [worklog("claimed"), worklog("w")]
    lookup.go.release()
    verdict = await reconciler.reconcile(row(5))
    assert (verdict.created.id, lookup.asked) == ("w", [[5]])


async def test_a_look_waits_for_similar_creates_in_progress_and_they_for_it(reconciler, lookup):
    order = []

    async def send(name, new):
        async with reconciler.sending(new):
            order.append(name)
            await answers[name].wait()

    other = attrs.evolve(PAYLOAD, user_id="other")
    answers = {name: asyncio.Event() for name in ("before", "after", "other")}
    tasks = [asyncio.create_task(send("before", attrs.evolve(PAYLOAD, minutes=1.0)))]
    await turns()
    tasks.append(asyncio.create_task(reconciler.reconcile(row(5))))
    await turns()
    tasks += [asyncio.create_task(send("after", PAYLOAD)), asyncio.create_task(send("other", other))]
    await turns()
    assert (order, lookup.asked) == (["before", "other"], [])
    answers["before"].set()
    await lookup.began.acquire()
    await turns()
    assert order == ["before", "other"]
    lookup.go.release()
    await turns()
    assert order == ["before", "other", "after"]
    for answer in answers.values():
        answer.set()
    await asyncio.gather(*tasks)


async def test_creates_that_become_ambiguous_during_a_look_share_the_next(reconciler, lookup):
    tasks = [asyncio.create_task(reconciler.reconcile(row(line, item_id=str(line)))) for line in range(4)]
    await lookup.began.acquire()
    lookup.go.release(), lookup.go.release()
    assert [verdict.is_absent for verdict in await asyncio.gather(*tasks)] == [True] * 4
    assert lookup.asked == [[0], [1, 2, 3]]


async def test_similar_unresolved_creates_take_part_in_a_look(reconciler, lookup):
    """One worklog for two alike creates: the other one may still arrive."""
    reconciler.unresolved |= {1: row(1), 2: row(2, user_id="other")}
    lookup.worklogs = [worklog("w")]
    lookup.go.release()
    verdict = await reconciler.reconcile(row(5))
    assert (verdict.is_absent, lookup.asked) == (True, [[1, 5]])


async def test_a_look_that_fails_is_told_to_all_who_share_it(reconciler, lookup):
    tasks = [asyncio.create_task(reconciler.reconcile(row(line, item_id=str(line)))) for line in range(3)]
    await lookup.began.acquire()
    lookup.error = ServerError("down")
    lookup.go.release(), lookup.go.release()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results == [lookup.error] * 3
    lookup.error = None
    lookup.go.release()
    assert (await reconciler.reconcile(row(0))).is_absent


async def test_one_who_gives_up_a_look_leaves_it_to_the_next(reconciler, lookup):
    first = asyncio.create_task(reconciler.reconcile(row(1)))
    second = asyncio.create_task(reconciler.reconcile(row(2)))
    await lookup.began.acquire()
    first.cancel()
    lookup.worklogs = [worklog("w"), worklog("v")]
    await lookup.began.acquire()
    lookup.go.release()
    assert (await second).created.id == "v"
    assert first.cancelled()
    async with asyncio.timeout(1), reconciler.sending(PAYLOAD):
        pass


async def test_a_cancellation_says_whether_the_create_was_sent(reconciler, lookup):
    looking = asyncio.create_task(reconciler.reconcile(row(1)))
    await lookup.began.acquire()

    async def send():
        async with reconciler.sending(PAYLOAD):
            pytest.fail("it must wait")

    waiting = asyncio.create_task(send())
    await turns()
    for task, maybe_sent in ((waiting, False), (looking, True)):
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value.maybe_sent is maybe_sent


@pytest.mark.parametrize(
    ("api", "first", "second"),
    [
        (v1, "2026-03-02T08:00+13:00", "2026-03-01T19:00+00:00"),  # the same moment
        (v2, "2026-03-02T08:00+13:00", "2026-03-02T00:00+00:00"),  # the same day as written
    ],
)
async def test_similar_creates_are_of_the_day_that_the_server_keeps(api, first, second):
    lookup = FakeLookup(api.api_version())
    reconciler = Reconciler(lookup, lambda _ids: asyncio.sleep(0, set()))
    looking = asyncio.create_task(reconciler.reconcile(row(1, date=dt.datetime.fromisoformat(first))))
    await lookup.began.acquire()
    sending = reconciler.sending(attrs.evolve(PAYLOAD, date=dt.datetime.fromisoformat(second)))
    waiting = asyncio.create_task(sending.__aenter__())
    await turns()
    assert not waiting.done()
    lookup.go.release()
    await asyncio.gather(looking, waiting)
    await sending.__aexit__(None, None, None)


@pytest.mark.parametrize("api", ["1.0", "2.0"])
async def test_one_plain_503_does_not_end_5000_creates(api, monkeypatch):
    posts = itertools.count(1)

    async def send(_transport, request, _authorization, **_settings):
        if request.method == "GET":
            return Response(200, {}, b'{"worklogs": [], "items": [], "total": 0}')
        number = next(posts)
        if number == 2_500:
            return Response(503, {}, b"{}")
        shown = {"worklogId": f"w{number}", "id": f"w{number}", "createdDate": "2024-05-06T00:00:00.000Z"}
        return Response(200, {}, json.dumps(json.loads(request.body) | shown).encode())

    async def no_time(_seconds):
        await asyncio.sleep(0)

    monkeypatch.setattr("tracket_async._http.transport.Transport.send", send)
    async with TracketClient(auth=BearerToken("t"), api=api, clock=Clock(sleep=no_time)) as client:
        many = client.worklogs.create_many((attrs.evolve(NEW, minutes=n) for n in range(5_000)), reconcile=True)
        outcomes = [outcome async for outcome in many]
    assert [outcome.index for outcome in outcomes] == list(range(5_000))
    assert collections.Counter(outcome.status for outcome in outcomes) == {"ok": 4_999, "ambiguous": 1}
    assert next(posts) == 5_001
    assert many.stopped is None
