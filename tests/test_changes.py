"""Changes since a mark: nothing is missed, wherever a consumer stops and whatever happens during a walk."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import re
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracket_async import changes
from tracket_async._api import v2
from tracket_async._api.endpoints import RowPage
from tracket_async._api.fast import row_of
from tracket_async._http.auth import BearerToken
from tracket_async._http.limits import Clock
from tracket_async.changes import OVERLAP, Change, follow
from tracket_async.client import TracketClient
from tracket_async.config import RetryPolicy
from tracket_async.emulator import Emulator, faults
from tracket_async.errors import ClientStateError, GoneError, ServerError, UnsupportedError, UsageError
from tracket_async.models import Page, Worklog

START = dt.datetime(2026, 3, 2, 8, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)
DAY = dt.timedelta(days=1)


class Server:
    """Worklogs and a clock. A list is a keyset walk: a row that is edited moves to its end.

    Attributes:
        skew: of the Date header, to the clock of the worklogs' dates.
        size: worklogs on a page.
        between: called before each page but the first of a list, with its number.
        shuffled: lists are in no order.
        walked: the lists that were asked for.
    """

    def __init__(self, *, skew=dt.timedelta(0), size=3):
        self.now, self.skew, self.size, self.shuffled = START, skew, size, False
        self.rows, self.walked, self.made = {}, [], 0
        self.between = lambda _number: None

    def create(self, id_, *, ago=dt.timedelta(0), **more):
        self.now += SECOND
        self.rows[id_] = Worklog(id=id_, date=START, minutes=1.0, created_date=self.now - ago, **more)

    def update(self, id_):
        self.now += SECOND
        row = self.rows[id_]
        self.rows[id_] = attrs.evolve(row, minutes=row.minutes + 1, updated_date=self.now)

    def matching(self, wanted):
        rows = [row for row in self.rows.values() if wanted.matches(row)]
        dated = [row for row in rows if getattr(row, wanted.sort_by) is not None]
        key = (lambda row: row.id[::-1]) if self.shuffled else (lambda row: (getattr(row, wanted.sort_by), row.id))
        return sorted(dated, key=key, reverse=wanted.descending), key

    async def pages(self, wanted):
        self.walked.append(wanted)
        last, number = None, 0
        while True:
            if number:
                self.between(number)
            rows, key = self.matching(wanted)
            rest = [row for row in rows if last is None or key(row) > last]
            page, number = rest[: self.size], number + 1
            more = len(rest) > self.size
            if page:
                last = key(page[-1])
            yield Page(items=page, next_cursor=str(number) if more else None)
            if not more:
                return

    async def send(self, request, _parse):
        wanted = {key: value for key, value in request.query if key.startswith("sort")}
        by = "updated_date" if wanted["sortBy"] == "updatedDate" else "created_date"
        newest = max(self.rows.values(), key=lambda row: getattr(row, by) or START - 9 * DAY, default=None)
        items = [row_of(newest)] if newest else []
        return RowPage(items=items, server_date=(self.now + self.skew).replace(microsecond=0))

    def changes(self, mark=None, *, every=None, clock=None):
        return follow(self.pages, self.send, v2.api_version(), clock or Clock(), mark=mark, every=every)

    def apply(self, kind, number):
        """Do one thing; a creation takes ``number`` seconds to be seen."""
        ids = sorted(self.rows)
        if kind == "create":
            self.made += 1
            self.create(f"w{self.made:03}", ago=number * SECOND)
        elif kind == "wait":
            self.now += number * SECOND
        elif ids and kind == "update":
            self.update(ids[number % len(ids)])
        elif ids:
            del self.rows[ids[number % len(ids)]]

    async def look(self, mark=None):
        """Return what one look gives: pairs of kind and id, and the last mark (that of before where none came)."""
        found = []
        async for batch in self.changes(mark):
            ids = [change.worklog.id for change in batch.changes]
            assert len(set(ids)) == len(ids)
            found += [(change.kind, change.worklog.id) for change in batch.changes]
            mark = batch.mark
        return found, mark


@pytest.fixture
def server():
    return Server()


async def test_from_now_on_means_that_nothing_of_before_comes(server):
    server.create("old")
    found, mark = await server.look()
    assert found == []
    server.create("new")
    server.update("old")
    assert (await server.look(mark))[0] == [("updated", "old"), ("created", "new")]


async def test_a_mark_is_text_that_survives_json_and_another_process(server):
    server.create("a")
    _, mark = await server.look()
    server.update("a")
    assert isinstance(mark, str)
    assert json.loads(mark).keys() == {"updated", "created", "seen"}
    assert (await server.look(json.loads(json.dumps({"mark": mark}))["mark"]))[0] == [("updated", "a")]


async def test_nothing_comes_again_when_nothing_has_changed(server):
    _, mark = await server.look()
    for number in range(8):
        server.create(f"w{number}")
    for id_ in ("w1", "w2"):
        server.update(id_)
    found, mark = await server.look(mark)
    assert sorted(found) == [("created", f"w{number}") for number in range(8)]
    for _ in range(2):
        assert await server.look(mark) == ([], mark)
        server.now += DAY


async def test_an_edit_in_the_second_of_the_mark_comes(server):
    server.create("a")
    _, mark = await server.look()
    server.update("a")
    server.now -= SECOND
    found, mark = await server.look(mark)
    assert found == [("updated", "a")]
    server.update("a")  # the same moment again
    server.rows["a"] = attrs.evolve(server.rows["a"], minutes=99.0)
    assert (await server.look(mark))[0] == [("updated", "a")]


@pytest.mark.parametrize("skew", [-DAY, DAY])
async def test_edits_come_though_the_date_header_is_a_day_off(skew):
    server = Server(skew=skew)
    server.create("a")
    _, mark = await server.look()
    for _ in range(3):
        server.update("a")
        found, mark = await server.look(mark)
        assert found == [("updated", "a")]
        server.now += dt.timedelta(hours=1)


async def test_a_write_that_was_long_in_coming_is_met_within_the_overlap(server):
    server.create("a")
    server.now += DAY
    server.create("b")
    _, mark = await server.look()
    server.create("late", ago=OVERLAP)
    server.create("too late", ago=OVERLAP + 9 * SECOND)
    assert (await server.look(mark))[0] == [("created", "late")]


async def test_edits_during_a_walk_are_met_in_it_or_by_the_next(server):
    _, mark = await server.look()
    for number in range(20):
        server.create(f"w{number:02}")
        server.update(f"w{number:02}")
    server.between = lambda number: (
        server.update("w00") if number in {1, 2, 5} else server.create(f"x{len(server.rows)}")
    )
    seen = {}
    async for batch in server.changes(mark):
        seen |= {change.worklog.id: change.worklog for change in batch.changes}
        mark = batch.mark
    server.between = lambda _number: None
    async for batch in server.changes(mark):
        seen |= {change.worklog.id: change.worklog for change in batch.changes}
    assert seen == server.rows


async def test_two_edits_of_one_worklog_between_two_looks_are_one_change(server):
    server.create("a")
    _, mark = await server.look()
    server.update("a")
    server.update("a")
    assert (await server.look(mark))[0] == [("updated", "a")]


async def test_a_new_worklog_that_was_edited_is_created_first_and_updated_later(server):
    _, mark = await server.look()
    server.create("a")
    server.update("a")
    found, mark = await server.look(mark)
    assert found == [("created", "a")]
    server.update("a")
    assert (await server.look(mark))[0] == [("updated", "a")]


async def test_a_new_worklog_that_is_edited_between_the_two_lists_comes_as_created(server):
    server.size = 50
    server.create("b")
    _, mark = await server.look()
    server.create("a")
    server.now += DAY
    server.update("b")
    walked = server.pages

    async def pages(wanted):
        if wanted.sort_by == "created_date":
            server.update("a")
        async for page in walked(wanted):
            yield page

    server.pages = pages
    found, mark = await server.look(mark)
    assert found == [("updated", "b"), ("created", "a")]


async def test_a_long_walk_that_is_stopped_goes_on_where_it_was(server):
    server.size = 20
    for number in range(100):
        server.create(f"w{number:03}")
        server.update(f"w{number:03}")
        server.now += 2 * OVERLAP
    stream = server.changes(START)
    async with aclosing(stream):
        batches = [await anext(stream) for _ in range(3)]
    mark = json.loads(batches[-1].mark)
    assert dt.datetime.fromisoformat(mark["updated"]) == server.rows["w059"].updated_date
    assert dt.datetime.fromisoformat(mark["created"]) == START
    rest, mark = await server.look(batches[-1].mark)
    assert {id_ for _, id_ in rest} == {f"w{number:03}" for number in range(59, 100)}
    assert await server.look(mark) == ([], mark)


async def test_a_list_in_no_order_advances_no_mark_before_its_end(server):
    server.size, server.shuffled = 20, True
    for number in range(60):
        server.create(f"w{number:03}")
        server.now += 2 * OVERLAP
    async with aclosing(server.changes(START)) as stream:
        batches = [batch async for batch in stream]
    assert [json.loads(batch.mark)["created"] for batch in batches[:-1]] == [
        START.isoformat().replace("+00:00", "Z")
    ] * 2
    assert {change.worklog.id for batch in batches for change in batch.changes} == server.rows.keys()


async def test_a_date_in_the_future_pulls_no_mark_ahead(server):
    _, mark = await server.look()
    server.create("bad", ago=-90 * DAY)
    for number in range(3):
        server.create(f"w{number}")
        found, mark = await server.look(mark)
        assert ("created", f"w{number}") in found
        assert json.loads(mark)["created"] < "2026-03-03"


async def test_a_moment_that_is_later_than_every_change_gives_only_what_comes_behind_it(server):
    server.create("old")
    server.now += 30 * DAY
    found, mark = await server.look(server.now)
    assert found == []
    assert await server.look(mark) == ([], mark)
    server.update("old")
    assert (await server.look(mark))[0] == [("updated", "old")]


async def test_a_moment_before_everything_gives_everything(server):
    server.create("a")
    server.create("b")
    server.update("b")
    assert sorted((await server.look(dt.date(1, 1, 1)))[0]) == [("created", "a"), ("created", "b")]


async def test_a_mark_remembers_a_number_of_worklogs_at_most(server, monkeypatch):
    monkeypatch.setattr(changes, "REMEMBERED", 2)
    _, mark = await server.look()
    for number in range(5):
        server.create(f"w{number}")
    _, mark = await server.look(mark)
    assert json.loads(mark)["seen"].keys() == {"w3", "w4"}
    assert (await server.look(mark))[0] == [("created", f"w{number}") for number in range(3)]


def test_with_every_it_follows_on_and_nothing_comes_twice(virtually):
    async def main():
        server, slept = Server(), []
        server.create("a")

        async def sleep(seconds):
            slept.append(round(asyncio.get_running_loop().time()))
            await asyncio.sleep(seconds)
            if len(slept) in {2, 3}:
                server.update("a")

        found = []
        async with aclosing(server.changes(every=60.0, clock=Clock(sleep=sleep))) as stream:
            async for batch in stream:
                found.append([change.kind for change in batch.changes])
                if len(found) == 3:
                    break
        return found, slept

    assert virtually(main()) == ([[], ["updated"], ["updated"]], [0, 60, 120])


OPERATIONS = st.one_of(
    st.tuples(st.just("create"), st.integers(0, 240)),
    st.tuples(st.just("update"), st.integers(0, 99)),
    st.tuples(st.just("delete"), st.integers(0, 99)),
    st.tuples(st.just("wait"), st.integers(1, 900)),
    st.tuples(st.just("read"), st.integers(0, 6)),
)


class Reader:
    """Keeps a copy and a mark, and is killed after some batches: before it has handled one, or saved its mark."""

    def __init__(self, server, *, lost):
        self.server, self.lost, self.copy, self.announced, self.mark = server, lost, {}, set(), None

    async def read(self, batches):
        async with aclosing(self.server.changes(self.mark)) as stream:
            async for batch in stream:
                batches -= 1
                if batches >= 0 or not self.lost:
                    self.handle(batch)
                if batches < 0:
                    return
                self.mark = batch.mark

    def handle(self, batch):
        for change in batch.changes:
            self.copy[change.worklog.id] = change.worklog
            if change.kind == "created":
                self.announced.add(change.worklog.id)


@settings(max_examples=60)
@given(
    st.lists(OPERATIONS, max_size=60),
    st.lists(OPERATIONS.filter(lambda one: one[0] != "read"), max_size=30),
    st.sampled_from([-DAY, dt.timedelta(0), DAY]),
    st.booleans(),
)
def test_wherever_a_consumer_stops_it_reaches_the_truth(operations, during, skew, lost):
    """Random creates, updates and deletions, also between pages; readers that stop anywhere, before they have saved."""
    server = Server(skew=skew)
    reader = Reader(server, lost=lost)

    async def main():
        await reader.read(9)
        server.between = lambda _number: during and server.apply(*during.pop())
        for kind, number in operations:
            if kind == "read":
                await reader.read(number)
            else:
                server.apply(kind, number)
        server.between = lambda _number: None
        await reader.read(999)

    asyncio.run(main())
    assert {id_: reader.copy.get(id_) for id_ in server.rows} == server.rows
    assert reader.announced >= server.rows.keys()


# -- on the emulator -----------------------------------------------------------------------------------------------


@pytest.fixture
def launch():
    """``async with launch(...) as (emulator, client)``: API 2.0, unless it says otherwise."""

    @asynccontextmanager
    async def run(*, api="2.0", **settings):
        at_once = RetryPolicy(attempts=2, wait_initial=0, wait_initial_rate_limited=0, wait_jitter=0)
        async with Emulator(**settings) as emulator:
            auth = BearerToken(emulator.token)
            async with TracketClient(auth=auth, api=api, base_url=emulator.url, retry=at_once) as client:
                yield emulator, client

    return run


NEW = {"itemId": "i", "userId": "u", "worklogDate": "2024-01-02T00:00:00.000Z", "worklogMinutes": 5}


async def ids_since(client, mark, **more):
    found = []
    async for batch in client.worklogs.changes(mark, **more):
        found += [(change.kind, change.worklog.id) for change in batch.changes]
        mark = batch.mark
    return found, mark


async def test_the_code_of_the_docs_keeps_a_copy(launch, tmp_path):
    document = (Path(__file__).parents[1] / "docs" / "pages" / "how-to" / "changes.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", document, re.MULTILINE | re.DOTALL)
    names = {"dt": dt, "Path": Path, "TracketClient": TracketClient, "Worklog": Worklog}
    exec(compile(code, "changes.md", "exec"), names)
    async with launch(seed=[], wall=(START + DAY).timestamp) as (emulator, client):
        copy = {}
        for minutes in (1, 2):
            id_ = emulator.create(NEW)["worklogId"]
            emulator.update(id_, {"worklogMinutes": minutes})
            await names["update"](client, copy, tmp_path / "mark")
            assert copy == {worklog.id: worklog async for worklog in client.worklogs.list()}


async def test_what_was_created_and_updated_on_the_server_comes(launch):
    async with launch(sample=250) as (emulator, client):
        old = emulator.worklogs()[0]["worklogId"]
        found, mark = await ids_since(client, None)
        assert found == []
        new = emulator.create(NEW)["worklogId"]
        emulator.update(old, {"worklogMinutes": 1})
        found, mark = await ids_since(client, mark)
        assert sorted(found) == sorted([("created", new), ("updated", old)])
        emulator.delete(new)
        assert (await ids_since(client, mark))[0] == []
        [(batch)] = [batch async for batch in client.worklogs.changes(dt.datetime.now(dt.UTC) - DAY)]
        assert batch.changes == (Change(kind="updated", worklog=await client.worklogs.get(old)),)


@pytest.mark.parametrize("days", [-1, 1])
async def test_a_skewed_header_of_a_real_server_loses_nothing(launch, days):
    async with launch(sample=20) as (emulator, client):
        emulator.faults.add(faults.ClockSkew(days * 86_400))
        old = emulator.worklogs()[0]["worklogId"]
        _, mark = await ids_since(client, None)
        for minutes in (1, 2):
            emulator.update(old, {"worklogMinutes": minutes})
            found, mark = await ids_since(client, mark)
            assert found == [("updated", old)]


async def test_a_refused_cursor_begins_the_list_again_once(launch):
    async with launch(sample=500) as (emulator, client):
        everything = dt.date(2000, 1, 1)
        emulator.faults.add(faults.RefusedCursor(410), route="/timeEntries", cursor=True, nth=2)
        found, _ = await ids_since(client, everything)
        dated = [each for each in emulator.worklogs() if each.get("createdDate") or each.get("updatedDate")]
        assert {id_ for _, id_ in found} == {each["worklogId"] for each in dated}
        emulator.faults.add(faults.RefusedCursor(410), route="/timeEntries", cursor=True)
        assert {id_ for id_, _ in (await ids_since(client, everything))[0]} == {id_ for id_, _ in found}


async def test_a_cursor_that_is_refused_twice_at_the_same_place_is_an_error(server):
    server.create("a")

    async def pages(wanted):
        server.walked.append(wanted)
        yield Page(items=[], next_cursor="1")
        raise GoneError("expired", cursor="1")

    server.pages = pages
    with pytest.raises(GoneError):
        await server.look(START)
    assert len(server.walked) == 2


async def test_a_first_page_that_is_gone_is_an_error(launch):
    async with launch(sample=1) as (emulator, client):
        emulator.faults.add(faults.Status(410), route="/timeEntries", nth=3)
        with pytest.raises(GoneError):
            await ids_since(client, START)


async def test_after_a_failure_it_says_that_it_is_not_at_its_end(launch):
    async with launch(sample=1) as (emulator, client):
        emulator.faults.add(faults.Status(500), route="/timeEntries", times=2)
        stream = client.worklogs.changes()
        with pytest.raises(ServerError):
            await anext(stream)
        with pytest.raises(ClientStateError):
            await anext(stream)
        assert len([batch async for batch in client.worklogs.changes()]) == 1


@pytest.mark.parametrize("days", [0, 1])
async def test_a_server_without_any_worklog_has_a_mark(launch, days):
    async with launch(seed=[]) as (emulator, client):
        emulator.faults.add(faults.ClockSkew(days * 86_400))
        _, mark = await ids_since(client, None)
        new = emulator.create(NEW)["worklogId"]
        assert (await ids_since(client, mark))[0] == [("created", new)]


async def test_rows_that_cannot_be_read_are_handed_over(connect, hostile):
    hostile.add(hostile.Row("bad", START, minutes="many"))
    bad_rows = []
    async with connect() as client:
        found, _ = await ids_since(client, dt.date(2000, 1, 1), on_bad_row=lambda row, error: bad_rows.append(row))
    assert len({id_ for _, id_ in found}) == 600
    assert bad_rows


async def test_on_1_changes_are_refused_with_what_to_do(launch):
    async with launch(api="1.0", sample=1) as (_, client):
        with pytest.raises(UnsupportedError, match=r"API 1.0 does not tell .* tracket watch"):
            client.worklogs.changes()


@pytest.mark.parametrize(
    "mark", ["", "2026-03-02", "{}", '{"updated":"2026-03-02T00:00:00","created":"2026-03-02T00:00:00"}']
)
async def test_text_that_is_no_mark_is_refused(launch, mark):
    async with launch(sample=1) as (_, client):
        with pytest.raises(UsageError, match="is no mark"):
            client.worklogs.changes(mark)


@pytest.mark.parametrize(
    ("mark", "error"),
    [(dt.datetime(2026, 3, 2), ValueError), (5, TypeError)],  # noqa: DTZ001 - naive on purpose
)
async def test_what_is_no_moment_is_refused(launch, mark, error):
    async with launch(sample=1) as (_, client):
        with pytest.raises(error, match="mark"):
            client.worklogs.changes(mark)


@pytest.mark.parametrize("every", [0, -1, float("nan")])
async def test_a_wait_that_is_none_is_refused(launch, every):
    async with launch(sample=1) as (_, client):
        with pytest.raises(UsageError, match="every must be above 0 seconds"):
            client.worklogs.changes(every=every)
