"""``tracket watch``: every change is printed, whoever is killed when."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tracket_async._files import FileLock
from tracket_async.cli import output, watch
from tracket_async.cli.exits import Terminated
from tracket_async.emulator.faults import Call, Status
from tracket_async.export.store import Store

SCRIPT = Path(__file__).with_name("mortal_watch.py")
TRACKET = (sys.executable, "-m", "tracket_async.cli")
LIMIT = 60
NEW = "createdDate", "worklogId"


@pytest.fixture
def store(tmp_path):
    return tmp_path / "s.duckdb"


@pytest.fixture
def served(serve, seed):
    """A server of API 2.0 with ten worklogs."""
    return serve(seed=[seed(number) for number in range(10)])


@pytest.fixture
def watched(tracket, served, store):
    """That server, of which a first look has made the store."""
    assert tracket("watch", store, "--once").code == 0
    return served


def stir(served, seed):
    """One of each: what comes out as lines is returned."""
    new = served.ask(served.emulator.create, {name: cell for name, cell in seed(99).items() if name not in NEW})
    served.ask(served.emulator.update, "wl-001", {"worklogMinutes": 1})
    served.ask(served.emulator.delete, "wl-002")
    return {("created", new["worklogId"]), ("updated", "wl-001"), ("deleted", "wl-002")}


def told(text):
    return [(line["change"], line["worklog"]["id"]) for line in map(json.loads, text.splitlines())]


def test_the_first_look_prints_nothing_and_the_next_ones_each_change_once(tracket, served, store, seed):
    first = tracket("watch", store, "--once", "--json")
    assert (first.code, first.out) == (0, ""), first.err
    changes = stir(served, seed)
    result = tracket("watch", store, "--once", "--json")
    assert result.code == 0
    assert sorted(told(result.out)) == sorted(changes)
    by_change = {line["change"]: line["worklog"] for line in map(json.loads, result.lines)}
    assert (by_change["updated"]["minutes"], by_change["deleted"]["description"]) == (1.0, "Text 2")
    assert by_change["updated"]["day"] == "2024-05-02"
    assert tracket("watch", store, "--once", "--json").out == ""


def test_without_json_a_line_is_tab_separated_and_harmless(tracket, watched, store):
    watched.ask(watched.emulator.update, "wl-001", {"description": "a\tb\x1b"})
    result = tracket("watch", store, "--once")
    assert result.lines == ["updated\twl-001\t2024-05-02\t7\t31\ta\\tb\\u001b"]


def test_a_worklog_that_leaves_the_selection_is_removed(tracket, served, store):
    assert tracket("watch", store, "--once", "--until=2024-05-05").code == 0
    served.ask(served.emulator.update, "wl-001", {"worklogDate": "2024-06-01T00:00:00.000Z"})
    served.ask(served.emulator.update, "wl-009", {"worklogDate": "2024-05-01T00:00:00.000Z"})
    result = tracket("watch", store, "--once", "--json", "--until=2024-05-05")
    assert sorted(told(result.out)) == [("created", "wl-009"), ("removed", "wl-001")]


def test_on_1_the_last_days_are_compared(tracket, serve, store, seed):
    served = serve("1.0", seed=[seed(number) for number in range(10)])
    assert tracket("watch", store, "--once", "--lookback=36500").code == 0
    changes = stir(served, seed)
    result = tracket("watch", store, "--once", "--json", "--lookback=36500")
    assert sorted(told(result.out)) == sorted(changes)


def test_what_a_sync_has_met_meanwhile_is_printed_by_the_next_watch(tracket, watched, store, seed):
    changes = stir(watched, seed)
    assert tracket("sync", store).lines[1] == "3 changes to be printed by tracket watch."
    assert sorted(told(tracket("watch", store, "--once", "--json").out)) == sorted(changes)


def test_what_was_met_before_a_failure_is_printed(tracket, watched, store, seed):
    changes = stir(watched, seed)
    watched.emulator.faults.add(Status(403), route="/timeEntries", nth=5)  # the count, behind both lists
    result = tracket("watch", store, "--once", "--json")
    assert result.code == 7
    assert set(told(result.out)) == {change for change in changes if change[0] != "deleted"}
    assert told(tracket("watch", store, "--once", "--json").out) == [("deleted", "wl-002")]


def test_a_look_that_is_not_complete_is_no_success(tracket, watched, store, seed):
    numbers = iter(range(100_000))
    late = Call(lambda _: watched.emulator.create(seed(0, worklogId=f"new-{next(numbers)}")))
    watched.emulator.faults.add(late, route="/timeEntries")
    result = tracket("watch", store, "--once", "--json")
    assert result.code == 1
    assert "and the server counts" in result.err


def test_a_second_watch_of_the_same_store_is_refused(tracket, watched, store):
    with contextlib.closing(FileLock(store.with_name("s.duckdb.watch"))):
        result = tracket("watch", store, "--once")
    assert result.code == 1
    assert f"{store} is watched already: " in result.err


@pytest.mark.parametrize(("text", "found"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200)])
def test_a_duration_has_a_unit_or_is_in_seconds(text, found):
    assert watch.seconds(text) == found


@pytest.mark.parametrize("text", ["", "0", "0s", "-1s", "1d", "s", "1m30s"])
def test_what_is_no_duration_is_refused(tracket, served, store, text):
    result = tracket("watch", store, f"--every={text}")
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert not store.exists()


# -- the end of a run at any point ---------------------------------------------------------------------------------


@pytest.fixture
def mortal():
    """Run ``tracket`` in a process that is killed at a point; returns the exit code."""
    process = subprocess.Popen([sys.executable, SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"

    def run(*arguments, into, point=None, nth=1, after=False):
        order = {
            "arguments": list(map(str, arguments)),
            "output": str(into),
            "point": point,
            "nth": nth,
            "after": after,
        }
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    yield run
    process.stdin.close()
    process.wait(LIMIT)
    process.stdout.close()


def test_a_watch_killed_at_named_points_prints_every_change_in_the_end(watched, store, seed, tmp_path, mortal):
    command, deletable = ("watch", store, "--once", "--json"), [f"wl-00{number}" for number in range(4, 10)]
    for point, after in (
        ("upsert", True),  # committed, and not printed
        ("delete", True),
        ("mark", False),
        ("write", False),
        ("write", True),  # printed, and not forgotten: it is printed again
        ("forget", True),
    ):
        into, id_ = tmp_path / f"{point}-{after}", "wl-003"
        new = watched.ask(watched.emulator.create, {name: cell for name, cell in seed(99).items() if name not in NEW})
        watched.ask(watched.emulator.update, id_, {"description": point + str(after)})
        watched.ask(watched.emulator.delete, gone := deletable.pop())
        nth = 2 if point == "mark" else 1
        assert mortal(*command, into=into, point=point, nth=nth, after=after) == -signal.SIGKILL, point
        assert mortal(*command, into=into) == 0
        lines = told(into.read_text(encoding="utf-8"))
        expected = {("created", new["worklogId"]), ("updated", id_), ("deleted", gone)}
        assert set(lines) == expected, point
        assert (len(lines) > len(expected)) is ((point, after) == ("write", True))


# -- looking again and again ---------------------------------------------------------------------------------------


@pytest.fixture
def between_looks(monkeypatch):
    """Do one thing after the other in place of waiting, then end as SIGTERM does. Returns the waits."""

    def script(*actions):
        waits, left = [], list(actions)

        async def sleep(seconds):
            waits.append(seconds)
            if not left:
                raise Terminated
            await asyncio.to_thread(left.pop(0))

        monkeypatch.setattr(watch, "_sleep", sleep)
        return waits

    return script


def test_it_looks_again_after_each_wait(tracket, watched, store, seed, between_looks):
    def edit(minutes):
        return lambda: watched.ask(watched.emulator.update, "wl-001", {"worklogMinutes": minutes})

    waits = between_looks(edit(1), lambda: None, edit(2))
    result = tracket("watch", store, "--every=5m", "--json")
    assert result.code == 143
    assert told(result.out) == [("updated", "wl-001")] * 2
    assert waits == [300] * 4
    assert "To resume: tracket watch" in result.err


@pytest.mark.parametrize("nth", [None, 3])
@pytest.mark.usefixtures("impatient")
def test_an_outage_is_waited_out_and_told_once(tracket, watched, store, between_looks, nth):
    def break_down():
        how = {} if nth is None else {"nth": range(3, 40)}  # at once, or in the middle of a look
        watched.ask(watched.emulator.faults.add, Status(503), route="/timeEntries", **how)

    def mend():
        watched.ask(watched.emulator.faults.clear)
        watched.ask(watched.emulator.update, "wl-001", {"worklogMinutes": 9})

    between_looks(break_down, lambda: None, lambda: None, mend)
    result = tracket("watch", store, "--json", "--rate=1000")
    assert result.code == 143
    assert told(result.out) == [("updated", "wl-001")]
    assert result.err.count("Trying again every 60 s") == 1
    assert result.err.count("The store is up to date again.") == 1
    assert result.err.index("503") < result.err.index("up to date again")
    assert "gives up" not in result.err


def test_a_store_that_another_program_has_open_is_waited_for(tracket, watched, store, between_looks):
    held = []
    between_looks(lambda: held.append(FileLock(store)), lambda: held.pop().close())
    result = tracket("watch", store)
    assert result.code == 143
    assert result.err.count("is being written by process") == 1
    assert "up to date again" in result.err


def test_a_refusal_ends_it(tracket, watched, store, between_looks):
    between_looks(lambda: watched.ask(watched.emulator.faults.add, Status(403)))
    result = tracket("watch", store)
    assert result.code == 7


def test_before_the_first_answer_an_outage_is_an_error(tracket, watched, store, impatient):
    watched.emulator.faults.add(Status(503))
    assert tracket("watch", store).code == 5


def test_many_deletions_are_told_once_and_kept(tracket, serve, store, seed, between_looks):
    served = serve(seed=[seed(number) for number in range(30)])
    assert tracket("watch", store, "--once").code == 0

    def delete():
        for number in range(21):
            served.ask(served.emulator.delete, f"wl-{number:03}")

    between_looks(delete, lambda: None)
    result = tracket("watch", store, "--json")
    assert (result.code, result.out) == (143, "")
    assert result.err.count("Not verified: the server no longer shows 21 of 30 worklogs") == 1
    accepted = tracket("watch", store, "--json", "--once", "--accept-deletions")
    assert len(told(accepted.out)) == 21


def test_a_wait_ends_after_its_time_or_when_nobody_reads(monkeypatch):
    asyncio.run(watch._sleep(0.001))

    def gone():
        raise BrokenPipeError

    monkeypatch.setattr(output, "unread", gone)
    with pytest.raises(BrokenPipeError):
        asyncio.run(watch._sleep(99))


# -- readers, and signals ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def started(*arguments, **settings):
    """A process, killed if it has not ended by the end of the ``with``."""
    process = subprocess.Popen(
        [*TRACKET, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, **settings
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.stdout.close()
        process.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_wait_and_the_next_run_goes_on(tracket, watched, store, seed, number, code):
    changes = stir(watched, seed)
    with started("watch", store, "--every=1h", "--json") as process:
        lines = [process.stdout.readline() for _ in changes]
        begun = time.monotonic()
        process.send_signal(number)
        assert process.wait(LIMIT) == code, process.stderr.read()
        assert time.monotonic() - begun < 10  # well below 2 s, on a machine with nothing else to do
    assert set(told(b"".join(lines))) == changes
    watched.ask(watched.emulator.update, "wl-005", {"worklogMinutes": 1})
    assert ("updated", "wl-005") in told(tracket("watch", store, "--once", "--json").out)


def test_the_store_is_closed_when_what_is_being_done_to_it_is_done(tracket, watched, store, seed, monkeypatch):
    forget, close, order = Store.forget_changes, Store.close, []

    def slow(self, number):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)  # in the thread of the store, and the command has been cancelled
        forget(self, number)
        order.append("forget")

    def closing(self):
        order.append("close")
        close(self)

    monkeypatch.setattr(Store, "forget_changes", slow)
    monkeypatch.setattr(Store, "close", closing)
    stir(watched, seed)
    assert tracket("watch", store, "--json").code == 143
    assert order[:2] == ["forget", "close"]


@pytest.mark.parametrize("read", [0, 10])
def test_a_reader_that_goes_away_loses_nothing(tracket, watched, store, seed, read):
    changes = stir(watched, seed)
    with started("watch", store, "--every=1h", "--json") as process:
        os.read(process.stdout.fileno(), read)
        process.stdout.close()
        assert process.wait(LIMIT) == 141
        assert process.stderr.read() == b""
    assert set(told(tracket("watch", store, "--once", "--json").out)) == changes


def test_a_reader_that_stalls_does_not_keep_it_from_ending_and_loses_nothing(tracket, watched, store):
    for number in range(10):
        watched.ask(watched.emulator.update, f"wl-{number:03}", {"description": "x" * 2000})
    with started("watch", store, "--every=1h", "--json", pipesize=4096) as process:
        while output.unread(process.stdout.fileno()) == 0:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == 143
        assert b"To resume: " in process.stderr.read()
    assert len(told(tracket("watch", store, "--once", "--json").out)) == 10
