"""``tracket sync``, against an emulator over a real socket."""

from __future__ import annotations

import datetime as dt
import json
import os
import shlex
import signal
import time

import pytest

from tracket_async.cli import sync
from tracket_async.emulator.faults import Call, ClockSkew, Status
from tracket_async.export.store import Store
from tracket_async.export.sync import DateBounds

MARCH = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)


@pytest.fixture(params=["1.0", "2.0"])
def served(request, serve, seed):
    return serve(request.param, seed=[seed(number) for number in range(30)])


def said(result):
    (line,) = result.lines
    return json.loads(line)


ALL_DAYS = ("--lookback", 36_500)


def test_a_store_is_made_and_kept_up_to_date_and_the_second_sync_changes_nothing(tracket, served, seed, tmp_path):
    store = tmp_path / "s.duckdb"
    first = tracket("sync", store, *ALL_DAYS)
    assert first.code == 0, first.err
    assert first.lines[0] == f"Exported 30 worklogs into {store}."
    assert first.lines[-1].startswith(f"{store} has 30 worklogs; ")
    again = tracket("sync", store, *ALL_DAYS)
    assert again.code == 0
    assert again.lines[0] == "Nothing has changed."

    served.ask(served.emulator.create, {name: part for name, part in seed(99).items() if name != "createdDate"})
    served.ask(served.emulator.update, "wl-003", {"worklogMinutes": 1})
    changed = tracket("sync", store, *ALL_DAYS)
    assert changed.lines[0] == "1 added, 1 changed, 0 removed, 0 gone from the server."
    assert tracket("sync", store, *ALL_DAYS).lines[0] == "Nothing has changed."
    assert [path.name for path in tmp_path.iterdir()] == ["s.duckdb"]


def test_the_store_is_closed_when_what_is_being_done_to_it_is_done(tracket, served, tmp_path, monkeypatch):
    count, close, order = Store.count_changes, Store.close, []

    def slow(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)  # in the thread of the store, and the command has been cancelled
        found = count(self)
        order.append("count")
        return found

    def closing(self):
        order.append("close")
        close(self)

    monkeypatch.setattr(Store, "count_changes", slow)
    monkeypatch.setattr(Store, "close", closing)
    assert tracket("sync", tmp_path / "s.duckdb").code == 143
    assert order[:2] == ["count", "close"]


def test_what_was_deleted_is_found_by_a_reconciliation_and_counted(tracket, served, tmp_path):
    store = tmp_path / "s.duckdb"
    assert tracket("sync", store).code == 0
    served.ask(served.emulator.delete, "wl-004")
    found = tracket("sync", store, "--lookback=0", "--reconcile=2024-05-01..2024-05-28", "--json")
    assert found.code == 0
    report = said(found)
    assert (report["worklogs"], report["gone"], report["tombstones"], report["exported"]) == (29, 1, 1, 0)
    result = tracket("sync", store, "--lookback=0")
    assert result.lines[0] == "Nothing has changed."
    assert " has 29 worklogs, and tombstones of 1; " in result.lines[-1]


def test_a_deletion_is_noticed_by_the_numbers_and_the_files_are_written(tracket, serve, seed, tmp_path):
    served, store, out = serve(seed=[seed(number) for number in range(30)]), tmp_path / "s.duckdb", tmp_path / "o.csv"
    assert tracket("sync", store).code == 0
    served.ask(served.emulator.delete, "wl-004")
    result = tracket("sync", store, "-o", out)
    assert result.code == 0
    assert result.lines[0] == "0 added, 0 changed, 0 removed, 1 gone from the server."
    assert "verified: as many as the server counts" in result.lines[1]
    assert len(out.read_text(encoding="utf-8").splitlines()) == 30


@pytest.mark.parametrize("command", ["sync", "export"])
def test_many_deletions_are_kept_until_they_are_accepted(tracket, serve, seed, tmp_path, command):
    served, store, out = serve(seed=[seed(number) for number in range(30)]), tmp_path / "a b.duckdb", tmp_path / "o.csv"
    words = ("sync", store) if command == "sync" else ("export", "--store", store)
    words = tuple(map(str, (*words, "-o", out)))
    assert tracket(*words).code == 0
    for number in range(21):
        served.ask(served.emulator.delete, f"wl-{number:03}")
    kept = tracket(*words)
    assert kept.code == 1
    assert len(out.read_text(encoding="utf-8").splitlines()) == 31
    [line] = [line for line in kept.err.splitlines() if "If the worklogs were deleted, run: " in line]
    assert "Not verified: the server no longer shows 21 of 30 worklogs, and they are kept" in line
    _, *arguments = shlex.split(line.partition("run: ")[2])[-len(words) - 2 :]
    assert arguments == [*words, "--accept-deletions"]
    assert tracket(*arguments).code == 0
    assert len(out.read_text(encoding="utf-8").splitlines()) == 10


def test_clocks_that_disagree_are_said_once_in_a_run(tracket, serve, seed, tmp_path):
    served = serve(seed=[seed(number) for number in range(30)])
    served.emulator.faults.add(ClockSkew(30 * 86_400))
    for id_ in ("wl-004", "wl-005"):
        result = tracket("sync", tmp_path / "s.duckdb")
        assert result.code == 0
        assert result.err.count("clocks disagree") == 1
        served.ask(served.emulator.delete, id_)  # so that the next run has two rounds


def test_worklogs_that_are_written_all_the_time_are_no_success(tracket, serve, seed, tmp_path):
    served, store, out = serve(seed=[seed(number) for number in range(30)]), tmp_path / "s.duckdb", tmp_path / "o.csv"
    assert tracket("sync", store).code == 0
    numbers = iter(range(100_000))
    late = Call(lambda _: served.emulator.create(seed(0, worklogId=f"new-{next(numbers)}")))
    served.emulator.faults.add(late, route="/timeEntries")
    result = tracket("sync", store, "-o", out)
    assert result.code == 1
    assert "incomplete: the server counts" in result.lines[-1]
    assert "Worklogs are being written or deleted at this moment. Run the same again" in result.err
    assert not out.exists()


def test_a_refusal_is_no_proof_of_a_deletion(tracket, hostile, monkeypatch, tmp_path):
    hostile.add(*hostile.make_rows(10))
    store, out = tmp_path / "s.duckdb", tmp_path / "o.csv"
    for token in (hostile.token, hostile.plain_token):
        for name, value in hostile.env(token=token).items():
            monkeypatch.setenv(name, value)
        result = tracket("sync", store, "-o", out, "--json", "--accept-deletions")
        assert result.code == (0 if token == hostile.token else 1)
        hostile.plain_user = "of nobody"
    assert "Use credentials that may see every worklog." in result.err
    report = said(result)
    assert (report["worklogs"], report["gone"], report["verdict"]) == (10, 0, "not verified")
    assert "refuses to show" in report["doubt"]
    assert len(out.read_text(encoding="utf-8").splitlines()) == 11


@pytest.mark.parametrize(("command", "api"), [("sync", "1.0"), ("sync", "2.0"), ("export", "2.0")])
def test_a_token_that_sees_one_user_has_not_deleted_the_others(tracket, hostile, monkeypatch, tmp_path, command, api):
    """Few rows are hidden, and a GET of them answers 404: the API itself says that they do not exist."""
    hostile.plain_user, hostile.unseen_status = "7", 404
    hostile.add(*hostile.make_rows(100, user="7"), *(hostile.Row(f"other-{n}", MARCH, user=str(n)) for n in range(4)))
    store, out = tmp_path / "s.duckdb", tmp_path / "o.csv"
    words = ("sync", store, "-o", out, *ALL_DAYS) if command == "sync" else ("export", "--store", store, "-o", out)
    for token in (hostile.token, hostile.plain_token):
        for name, value in hostile.env(api, token=token).items():
            monkeypatch.setenv(name, value)
        result = tracket(*words)
        assert result.code == (0 if token == hostile.token else 1)
    assert "no longer shows any worklog of 4 users (4 of them are gone), and they are kept" in result.err
    assert len(out.read_text(encoding="utf-8").splitlines()) == 105
    assert tracket(*words, "--accept-deletions").code == 0
    assert len(out.read_text(encoding="utf-8").splitlines()) == 101


def test_a_sync_of_1_says_what_it_looked_at(tracket, serve, seed, tmp_path):
    serve("1.0", seed=[seed(number) for number in range(30)])
    store = tmp_path / "s.duckdb"
    assert tracket("sync", store).code == 0
    result = tracket("sync", store, "--lookback=3")
    since = said(tracket("sync", store, "--lookback=3", "--json"))["since"][:10]
    assert result.lines[1] == f"Only worklogs from {since} on were compared: API 1.0 does not tell what has changed."
    some = tracket("sync", store, "--lookback=3", "--reconcile=2024-05-01..2024-05-02")
    assert f"from {since} on and of the dates of --reconcile were compared" in some.lines[1]
    assert len(tracket("sync", store, "--lookback=3", "--reconcile=all").lines) == 2


def test_a_sync_writes_files_of_the_store(tracket, served, tmp_path):
    store, files = tmp_path / "s.duckdb", [tmp_path / "o.ndjson", tmp_path / "o.parquet"]
    result = tracket("sync", store, "--since=2024-05-02", "-o", files[0], "-o", files[1], "--columns=id")
    assert result.code == 0, result.err
    assert result.lines[-1] == f"Written: {files[0]}, {files[1]}"
    assert len(files[0].read_text(encoding="utf-8").splitlines()) == 28
    # Afterwards the store itself says what it is a selection of.
    assert tracket("sync", store).lines[0] == "Nothing has changed."
    refused = tracket("sync", store, "--since=2024-05-03")
    assert refused.code == 1
    assert "is of another request: its since is 2024-05-02" in refused.err
    assert "To resume" not in refused.err


def test_a_store_keeps_the_time_zone_of_its_days(tracket, serve, seed, tmp_path):
    serve("1.0", seed=[seed(1, worklogDate="2024-05-01T22:30:00.000Z")])
    store, out = tmp_path / "s.duckdb", tmp_path / "o.csv"
    for tz, day in (((), "2024-05-01"), (("--tz", "Europe/Amsterdam"), "2024-05-02"), ((), "2024-05-02")):
        assert tracket("sync", store, "-o", out, "--columns=day", *tz).code == 0
        assert out.read_text(encoding="utf-8").split() == ["day", day]


@pytest.mark.parametrize("api", ["1.0", "2.0"])
def test_a_store_that_an_export_keeps_can_be_synced(tracket, serve, seed, tmp_path, api):
    serve(api, seed=[seed(number) for number in range(30)])
    store = tmp_path / "s.duckdb"
    export = ("export", "--store", store, "-o", tmp_path / "o.csv")
    assert tracket(*export).code == 0
    assert tracket("sync", store, *ALL_DAYS).lines[0] == "Nothing has changed."
    again = tracket(*export)
    assert again.code == 0
    said_so = f"{store} was complete already, so the files show the worklogs as of " in again.err
    assert said_so is (api == "1.0")


def test_a_sync_that_fails_says_how_to_go_on_and_goes_on(tracket, serve, tmp_path):
    served, store = serve(sample=700), tmp_path / "s.duckdb"
    served.emulator.faults.add(Status(403), cursor=True, nth=4)
    command = ("sync", str(store), "--concurrency=1")
    failed = tracket(*command)
    assert failed.code == 7
    assert shlex.split(failed.err.splitlines()[1].partition("To resume: ")[2]) == ["tracket", *command]
    report = said(tracket(*command, "--json"))
    assert (report["worklogs"], report["exported"], report["verdict"]) == (700, 300, "verified")


def test_no_secret_is_in_the_store_or_in_what_is_said(tracket, serve, tmp_path, monkeypatch):
    served, store = serve(sample=700), tmp_path / "s.duckdb"
    monkeypatch.delenv("TRACKET_TOKEN")
    token = tmp_path / "token"
    token.write_text(served.emulator.token, encoding="utf-8")
    served.emulator.faults.add(Status(403), cursor=True, nth=4)
    command = ("sync", store, "--token-file", token, "-o", tmp_path / "o.csv", "--concurrency=1", "--debug")
    for code in (7, 0):
        result = tracket(*command)
        assert result.code == code, result.err
        assert served.emulator.token not in result.out + result.err
        for path in set(tmp_path.iterdir()) - {token}:
            assert served.emulator.token.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("text", "since", "until"),
    [
        ("all", None, None),
        ("2024-05-01..", "2024-05-01", None),
        ("..2024-05-02", None, "2024-05-02"),
        ("2024-05-01..2024-05-02", "2024-05-01", "2024-05-02"),
    ],
)
def test_a_range_of_dates_has_one_end_or_two(text, since, until):
    found = sync.date_bounds(text)
    assert [bound and bound.isoformat() for bound in (found.since, found.until)] == [since, until]
    assert isinstance(found, DateBounds)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--reconcile", ".."), "'..' is not a range of dates. Give SINCE..UNTIL, SINCE.., ..UNTIL or all"),
        (("--reconcile", "2024-05-01"), "'2024-05-01' is not a range of dates"),
        (("--reconcile", "2024-05-02..2024-05-01"), "is after until"),
        (("--lookback", "-1"), "Invalid value for --lookback. It must be from 0 to 36500"),
        (("--lookback", "36501"), "Invalid value for --lookback. It must be from 0 to 36500"),
        (("--output", "-"), "The --output of a sync must be a file"),
        (("--output", "s.duckdb"), "s.duckdb cannot be the store and an --output"),
        (("--concurrency", "0"), "Invalid value for --concurrency. It must be at least 1, not 0"),
    ],
)
def test_a_mistake_is_one_line_and_makes_nothing(tracket, serve, tmp_path, monkeypatch, arguments, line):
    served = serve(seed=[])
    monkeypatch.chdir(tmp_path)
    result = tracket("sync", "s.duckdb", *arguments)
    assert (result.code, result.out) == (2, "")
    assert line in result.err
    assert result.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    assert len(served.emulator.request_log) == 0


def test_without_the_extra_one_line_says_how_to_install_it(tracket, serve, tmp_path, no_extra):
    serve(seed=[])
    with no_extra():
        result = tracket("sync", tmp_path / "s.duckdb")
    assert result.code == 2
    assert "[export]" in result.err.partition("Run: ")[2]


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.ndjson.gz"])
def test_a_name_of_another_format_is_no_store(tracket, tmp_path, name):
    result = tracket("sync", tmp_path / name)
    assert result.code == 2
    assert f"{name} is the name of a {name.split('.')[1]} file, and a store is a DuckDB file." in result.err
    assert f"tracket sync company.duckdb --output {tmp_path / name}" in result.err
    assert list(tmp_path.iterdir()) == []
