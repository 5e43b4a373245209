"""Any sequence of writes, reads, faults, cancellations and interrupted exports, against a server that is watched.

After every step, for all worklogs: ``acknowledged <= server <= acknowledged + ambiguous``, none twice, each with fields
that it was given; and the progress that a store has kept is never ahead of the worklogs that it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import importlib.util
import random
import tempfile
from collections import Counter
from pathlib import Path

import attrs
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from tracket_async import (
    AmbiguousWriteError,
    NewWorklog,
    NotFoundError,
    RequestError,
    RetryPolicy,
    Timeouts,
    TracketClient,
    TracketError,
    WorklogChanges,
)
from tracket_async._http.limits import Clock
from tracket_async.emulator import Emulator, faults
from tracket_async.export import phases as walking
from tracket_async.export.phases import Settings
from tracket_async.export.run import export_to_store, request_of
from tracket_async.export.source import OutagePolicy
from tracket_async.export.store import Store
from tracket_async.scan.partition import PartitionState

# Tests are no package, and are imported by their path.
_spec = importlib.util.spec_from_file_location("reliability_conftest", Path(__file__).with_name("conftest.py"))
_conftest = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_conftest)

FIRST = dt.date(2024, 1, 1)
PAGE = 3
FAULTS = [
    faults.Reset(),
    faults.Reset(commit=True),
    faults.Reset(after="headers"),
    faults.Truncate(),
    faults.Truncate(framing="chunked"),
    faults.Truncate(framing="gzip"),
    faults.Truncate(framing="close"),
    faults.CommitThenCut(),
    *(faults.Status(status) for status in (403, 408, 409, 413, 429, 500, 502, 504)),
    faults.Status(429, retry_after="2"),
    faults.Status(503, retry_after="1"),
    faults.Status(503, commit=True),
    faults.Html(status=200),
    faults.Html(status=502, commit=True),
    faults.MalformedJson(commit=True),
    faults.ContentType(),
    faults.DeepJson(depth=50_000, commit=True),
    faults.DuplicateRows(),
    faults.EmptyPage(),
    faults.RepeatedCursor(),
    faults.UnknownStatus(),
    faults.ExpireToken(),
    faults.Redirect("https://elsewhere.example"),
]
OF_A_CREATE = [
    fault for fault in FAULTS if type(fault) not in {faults.DuplicateRows, faults.EmptyPage, faults.RepeatedCursor}
]
OF_A_CURSOR = [faults.RefusedCursor(), faults.RefusedCursor(status=410)]


@attrs.define
class Known:
    """What the test knows of one worklog, by its description, which is unique.

    ``minutes``: what it may have; more than one after an update that may or may not have happened. ``there``: True,
    False, or None: it may be.
    """

    sent: NewWorklog
    there: bool | None = None
    id: str | None = None
    minutes: set[float] = attrs.field(factory=set)
    error: AmbiguousWriteError | None = None


class Machine(RuleBasedStateMachine):
    """The rules; `api` is the version."""

    api = "2.0"
    worklogs = Bundle("worklogs")

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = contextlib.ExitStack()
        self.path = Path(self.folder.enter_context(tempfile.TemporaryDirectory())) / "store.duckdb"
        self.known: dict[str, Known] = {}
        self.clock = _conftest.FakeTime()
        self.at_start: set[tuple[str, str]] | None = None
        self.run(self.open())

    def run(self, coroutine):
        async def settled():
            try:
                return await coroutine
            finally:
                await self.settle()

        return self.runner.run(settled())

    async def settle(self):
        """The server is done with every request that has reached it."""
        for _ in range(10):
            await asyncio.sleep(0)
        while self.emulator.request_log.in_progress:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)

    async def open(self):
        clock = self.clock
        self.emulator = Emulator(page_size=PAGE, wall=clock, monotonic=clock)
        await self.emulator.__aenter__()
        self.client = TracketClient.from_env(
            self.emulator.env(self.api),
            page_size=PAGE if self.api == "2.0" else None,
            retry=RetryPolicy(attempts=3, wait_initial=0, wait_initial_rate_limited=0, wait_jitter=0),
            timeouts=Timeouts(total=None),
            clock=Clock(time=clock, now=clock.moment, sleep=clock.sleep, random=random.Random(7).random),
        )
        await self.client.__aenter__()

    def teardown(self):
        async def close():
            try:
                self.emulator.faults.clear()
                assert self.client.statistics().concurrency.in_use == 0
                await self.whole_walk()
                await self.client.aclose()
            finally:
                await self.emulator.__aexit__(None, None, None)
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}

        try:
            self.runner.run(close())
        finally:
            self.runner.close()
            self.folder.close()

    def fresh(self, day):
        number = len(self.known)
        new = NewWorklog(
            item_id=f"i{number % 3}",
            user_id="u",
            date=FIRST + dt.timedelta(days=day),
            minutes=float(number),
            description=f"worklog {number}",
        )
        self.known[new.description] = Known(new, minutes={new.minutes}, there=False)
        return new

    def learn(self, new, result):
        """What a create says about its worklog."""
        known = self.known[new.description]
        if isinstance(result, BaseException):
            known.there = None if isinstance(result, AmbiguousWriteError | asyncio.CancelledError) else False
            known.error = result if isinstance(result, AmbiguousWriteError) else None
        else:
            known.there, known.id = True, result.id
            assert (result.description, result.minutes) == (new.description, new.minutes)
        return known

    def find(self, new):
        return next((w for w in self.emulator.worklogs() if w["description"] == new.description), None)

    @initialize(
        target=worklogs,
        days=st.lists(st.integers(0, 9), min_size=5, max_size=30),
        weather=st.lists(st.tuples(st.sampled_from(FAULTS), st.integers(2, 9)), max_size=3),
        creates=st.lists(st.tuples(st.sampled_from(OF_A_CREATE), st.integers(1, 4)), min_size=1, max_size=2),
    )
    def begin(self, days, weather, creates):
        """There are worklogs already, and faults that come again and again."""
        news = [self.fresh(day) for day in days]
        for new in news:
            made = self.emulator.create(
                {
                    "itemId": new.item_id,
                    "userId": new.user_id,
                    "worklogDate": f"{new.date:%Y-%m-%d}T00:00:00.000Z",
                    "worklogMinutes": new.minutes,
                    "description": new.description,
                }
            )
            known = self.known[new.description]
            known.there, known.id = True, made["worklogId"]
        for fault, every in weather:
            self.emulator.faults.add(fault, every=every)
        for fault, every in creates:
            self.emulator.faults.add(fault, method="POST", every=every)
        return multiple(*(self.known[new.description] for new in news))

    @rule(target=worklogs, day=st.integers(0, 9))
    def create(self, day):
        new = self.fresh(day)
        return self.learn(new, self.run(attempted(self.client.worklogs.create(new))))

    @rule(target=worklogs, day=st.integers(0, 9), turns=st.integers(0, 60))
    def cancel_a_create(self, day, turns):
        new = self.fresh(day)
        return self.learn(new, self.run(cancelled(self.client.worklogs.create(new), turns)))

    @rule(
        target=worklogs,
        days=st.lists(st.integers(0, 9), min_size=1, max_size=6),
        on_error=st.sampled_from(["stop", "collect"]),
        leave_after=st.integers(1, 9),
    )
    def create_many(self, days, on_error, leave_after):
        news = [self.fresh(day) for day in days]

        async def told():
            outcomes = self.client.worklogs.create_many(news, concurrency=2, on_error=on_error)
            got = []
            async with contextlib.aclosing(outcomes):
                async for outcome in outcomes:
                    got.append(outcome)
                    if len(got) == leave_after:
                        break
            return [*got, *outcomes.leftover]

        for outcome in self.run(told()):
            known = self.known[outcome.item.description]
            if outcome.status == "ok":
                self.learn(outcome.item, outcome.worklog)
            known.there = {"ok": True, "ambiguous": None}.get(outcome.status, False)
            known.error = outcome.error if outcome.status == "ambiguous" else None
        return multiple(*(self.known[new.description] for new in news))

    @rule(known=worklogs, minutes=st.integers(1000, 1099), turns=st.none() | st.integers(0, 60))
    def update(self, known, minutes, turns):
        if known.id is None:
            return
        call = self.client.worklogs.update(known.id, WorklogChanges(minutes=float(minutes)))
        result = self.run(attempted(call) if turns is None else cancelled(call, turns))
        if not isinstance(result, BaseException):
            known.minutes = {result.minutes}
            assert result.minutes == minutes
        elif isinstance(result, NotFoundError):
            assert known.there is not True
        elif may_have_happened(result):
            known.minutes.add(float(minutes))

    @rule(known=consumes(worklogs), turns=st.none() | st.integers(0, 60))
    def delete(self, known, turns):
        if known.id is None:
            return
        call = self.client.worklogs.delete(known.id)
        result = self.run(attempted(call) if turns is None else cancelled(call, turns))
        if result is None or isinstance(result, str):  # its message
            known.there = False
        elif isinstance(result, NotFoundError):
            assert known.there is not True
        elif may_have_happened(result):
            known.there = None

    @rule(known=worklogs)
    def get(self, known):
        if known.id is None:
            return
        result = self.run(attempted(self.client.worklogs.get(known.id)))
        if isinstance(result, NotFoundError):
            assert known.there is not True
        elif not isinstance(result, RequestError):
            assert known.there is not False
            assert result.minutes in known.minutes

    @rule(known=worklogs)
    def reconcile(self, known):
        if known.error is None or known.there is not None:
            return
        found = self.run(attempted(self.client.worklogs.reconcile(known.error)))
        there = self.find(known.sent)
        if isinstance(found, AmbiguousWriteError):
            assert there is None
            assert found.candidates == ()
        elif not isinstance(found, RequestError):
            assert found.id == there["worklogId"]
            self.learn(known.sent, found)

    @rule(
        fault=st.sampled_from(FAULTS),
        method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
        nth=st.integers(1, 3),
        often=st.sampled_from([1, 1, 2, 5]),
    )
    def break_something(self, fault, method, nth, often):
        self.emulator.faults.add(fault, method=method, nth=range(nth, nth + often))

    @rule(fault=st.sampled_from(OF_A_CURSOR), nth=st.integers(1, 3))
    def break_a_cursor(self, fault, nth):
        self.emulator.faults.add(fault, cursor=True, nth=nth)

    @rule()
    def mend(self):
        self.emulator.faults.clear()

    @rule()
    def expire(self):
        self.emulator.expire_tokens()

    @rule(seconds=st.sampled_from([1, 60, 3_500, 100_000]))
    def advance(self, seconds):
        self.clock.now += seconds

    @rule(read_ahead=st.integers(0, 2))
    def page(self, read_ahead):
        self.run(self.walk(read_ahead))

    async def walk(self, read_ahead):
        got = []
        walk = self.client.worklogs.list(read_ahead=read_ahead)
        try:
            async for worklog in walk:
                got.append(worklog.id)  # noqa: PERF401 - what came before the error is needed
        except RequestError as error:
            self.emulator.faults.clear()
            if error.cursor is None:
                got.clear()
            got += [worklog.id async for worklog in walk.items(error.cursor)]
        # A list shows a row as often as the page has it.
        assert list(dict.fromkeys(got)) == [w["worklogId"] for w in self.emulator.worklogs()]

    async def whole_walk(self):
        got = [worklog.id async for worklog in self.client.worklogs.export()]
        assert sorted(got) == sorted(w["worklogId"] for w in self.emulator.worklogs())

    @rule(turns=st.integers(0, 150))
    def cancel_a_walk(self, turns):
        async def walk():
            return [worklog.id async for worklog in self.client.worklogs.export(concurrency=3)]

        self.run(cancelled(walk(), turns))

    @rule(pages=st.integers(2, 14))
    def export_and_crash(self, pages):
        """Begin an export, or go on with it, and be cancelled; what was committed is on the disk."""
        self.export(pages)

    @rule()
    def export_to_the_end(self):
        self.emulator.faults.clear()
        self.export(None)
        assert not self.path.exists()

    def is_exported(self, result):
        """It is at its end (and so would stay as it is)."""
        with Store(self.path) as store:
            stored = ids_of(store)
        assert len(stored) == len(set(stored))
        assert {one for one, _ in self.still_there()} <= set(stored)
        assert result.verdict == ("verified" if self.api == "2.0" else "not verifiable")
        if self.api == "2.0":
            assert set(stored) == {w["worklogId"] for w in self.emulator.worklogs()}
        self.path.unlink()
        self.at_start = None

    def export(self, pages):
        """To its end, or until it asks for the page of that number."""
        if self.at_start is None:
            self.at_start = {(w["worklogId"], w["worklogDate"]) for w in self.emulator.worklogs()}

        async def export(store):
            chosen = Settings(concurrency=2, patience=OutagePolicy(give_up_after=5), clock=self.client._context.clock)
            task = asyncio.ensure_future(export_to_store(self.client, store, chosen))
            if pages is not None:
                self.emulator.faults.add(faults.Call(lambda _received: task.cancel()), method="GET", nth=pages)
            await asyncio.wait([task])
            return outcome_of(task)

        with Store(self.path, request=request_of(self.client)) as store:
            result = self.run(export(store))
        assert not isinstance(result, Exception) or isinstance(result, TracketError), repr(result)
        if not isinstance(result, BaseException):
            self.is_exported(result)
        else:
            assert pages is not None, repr(result)

    def still_there(self):
        """Worklogs that are where they were when the export began."""
        return (self.at_start or set()) & {(w["worklogId"], w["worklogDate"]) for w in self.emulator.worklogs()}

    @invariant()
    def nothing_is_lost_and_nothing_is_twice(self):
        stored = self.emulator.worklogs()
        by_text = {w["description"]: w for w in stored}
        assert len(by_text) == len(stored)
        acknowledged = {text for text, known in self.known.items() if known.there}
        ambiguous = {text for text, known in self.known.items() if known.there is None}
        assert acknowledged <= set(by_text) <= acknowledged | ambiguous
        for text, worklog in by_text.items():
            known = self.known[text]
            assert known.id in {None, worklog["worklogId"]}
            assert worklog["worklogMinutes"] in known.minutes
            assert worklog["worklogDate"] == f"{known.sent.date:%Y-%m-%d}T00:00:00.000Z"
            assert (worklog["itemId"], worklog["userId"]) == (known.sent.item_id, known.sent.user_id)

    @invariant()
    def progress_is_never_ahead_of_what_is_stored(self):
        if not self.path.exists():
            return
        with Store(self.path) as store:
            stored = set(ids_of(store))
            states = [PartitionState.from_json(state) for state in store.partitions()]
            walked = store.state != "fetching"
        for one, date in self.still_there():
            moment = dt.datetime.fromisoformat(date)
            if walked or any(covered(state, moment) for state in states):
                assert one in stored


def covered(state, moment):
    """Whether the state says that nothing of that moment is still to come."""
    within = (state.since is None or state.since <= moment) and (state.until is None or moment <= state.until)
    return within and (state.done or (state.reached is not None and moment < state.reached))


def ids_of(store):
    return [id_ for (id_,) in store.database.rows("SELECT id FROM worklogs")]


async def attempted(call):
    try:
        return await call
    except RequestError as error:
        return error


async def cancelled(call, turns):
    """What the call returns or raises if it is cancelled after so many turns of the loop."""
    task = asyncio.ensure_future(call)
    for _ in range(turns):
        if task.done():
            break
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    return outcome_of(task)


def outcome_of(task):
    return asyncio.CancelledError() if task.cancelled() else task.exception() or task.result()


def may_have_happened(error):
    """Of any write: whether it may have taken effect."""
    return isinstance(error, asyncio.CancelledError) or error.is_ambiguous


class OldMachine(Machine):
    """The same on API 1.0."""

    api = "1.0"


@pytest.fixture(autouse=True)
def commits(monkeypatch):
    """Each page is committed by itself, so that an export is interrupted between commits."""
    monkeypatch.setattr(walking, "COMMIT_ROWS", 1)


def machine(made, **chosen):
    case = made.TestCase
    case.settings = settings(
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        **chosen,
    )
    return case


@pytest.mark.parametrize("made", [OldMachine, Machine], ids=["1.0", "2.0"])
def test_whatever_happens_nothing_is_lost_and_nothing_twice(made):
    machine(made, derandomize=True, phases=[Phase.generate], max_examples=8, stateful_step_count=30)(
        "runTest"
    ).runTest()


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("made", [OldMachine, Machine], ids=["1.0", "2.0"])
def test_for_a_long_time_nothing_is_lost_and_nothing_twice(made):
    met = Counter()

    class Counted(made):
        def teardown(self):
            met.update(entry.fault for entry in self.emulator.request_log if entry.fault)
            met["requests"] += len(self.emulator.request_log)
            super().teardown()

    machine(Counted, max_examples=100, stateful_step_count=60)("runTest").runTest()
    print(f"\n{made.api}: {met.pop('requests'):,} requests, {met.total():,} faults of {len(met)} kinds")  # noqa: T201
