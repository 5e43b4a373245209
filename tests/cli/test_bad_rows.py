"""``--bad-rows``: rows that cannot be read go into a file of their own, with the reason."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from functools import partial

import pytest

from tracket_async.cli import destinations, watch
from tracket_async.cli import export as command
from tracket_async.cli.exits import Terminated
from tracket_async.errors import MalformedResponseError

ODD = {"minutes": "many", "worklogMinutes": "many"}
MAY = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)
BOTH = pytest.mark.parametrize("api", ["1.0", "2.0"])


@pytest.fixture
def server(hostile, monkeypatch, tmp_path):
    """``server(api)``: 300 worklogs, of which two cannot be read; the current folder is empty."""
    monkeypatch.chdir(tmp_path)

    def serve(api="2.0"):
        hostile.add(*hostile.make_rows(299))
        # Its change is new, so that a second run asks for it alone.
        hostile.add(hostile.Row("wl-0299", MAY, created=None, updated=dt.datetime.now(dt.UTC).replace(microsecond=0)))
        hostile.overlay = {"wl-0007": ODD, "wl-0100": ODD}
        for name, value in hostile.env(api).items():
            monkeypatch.setenv(name, value)
        return hostile

    return serve


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def assert_both_are_in(path, server, api):
    found = lines(path)
    member = "worklogMinutes" if api == "1.0" else "minutes"
    shown = [server._shown(server.rows[ident], int(api[0])) for ident in ("wl-0007", "wl-0100")]
    assert sorted((one["row"] for one in found), key=str) == sorted(shown, key=str)
    for one in found:
        assert one.keys() == {"reason", "row"}
        ident = one["row"]["worklogId" if api == "1.0" else "id"]
        assert f".{member} of worklog {ident!r} should be a finite number, and is a string" in one["reason"]


@BOTH
@pytest.mark.parametrize("target", ["-", "out.ndjson"])
def test_an_export_leaves_them_out_and_ends_with_1(tracket, server, tmp_path, api, target):
    served = server(api)
    result = tracket("export", "-o", target, "--bad-rows", "bad.ndjson")
    assert result.code == 1
    written = result.lines if target == "-" else (tmp_path / target).read_text().splitlines()
    assert [json.loads(line)["id"] for line in written] == sorted(served.rows.keys() - {"wl-0007", "wl-0100"})
    assert_both_are_in(tmp_path / "bad.ndjson", served, api)
    assert "The server sent 2 rows that cannot be read. bad.ndjson has the reason and what was sent" in result.err
    assert target == "-" or ", 2 rows that cannot be read among them.\n" in result.err
    assert {path.name for path in tmp_path.iterdir()} == {"bad.ndjson"} | ({target} - {"-"})


def test_an_export_without_a_store_leaves_them_out_as_well(tracket, server, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "store_unavailable_reason", lambda: command.MissingExtraError("there is none"))
    served = server()
    result = tracket("export", "-o", "out.csv", "--bad-rows", "bad.ndjson")
    assert result.code == 1
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 299
    assert_both_are_in(tmp_path / "bad.ndjson", served, "2.0")


@pytest.mark.parametrize(
    "arguments", [("export",), ("export", "-o", "out.csv"), ("list", "--limit", 0), ("sync", "store.duckdb")]
)
def test_without_the_option_the_error_names_the_row_and_the_option(tracket, server, arguments):
    server()
    result = tracket(*arguments)
    assert result.code == 1
    assert "of worklog 'wl-0" in result.err
    assert " --bad-rows bad-rows.ndjson\n" in result.err


@pytest.mark.parametrize(("path", "told"), [("$.items[3]", True), ("$.items", False), ("$", False)])
def test_an_answer_that_has_no_rows_is_not_mended_by_the_option(path, told):
    with pytest.raises(MalformedResponseError) as caught, destinations.bad_rows(None):
        raise MalformedResponseError("The server's answer is malformed", json_path=path)
    assert ("To leave such rows out, run: " in str(caught.value)) is told


def test_a_list_leaves_them_out(tracket, server, tmp_path):
    served = server()
    result = tracket("list", "--limit", 0, "--json", "--bad-rows", "bad.ndjson")
    assert result.code == 1
    assert len(result.lines) == 298
    assert_both_are_in(tmp_path / "bad.ndjson", served, "2.0")
    short = tracket("list", "--limit", 5, "--bad-rows", "bad.ndjson")
    assert (short.code, len(short.lines)) == (1, 6)


def test_a_sync_counts_them_in_its_report(tracket, server, tmp_path):
    served = server()
    result = tracket("sync", "store.duckdb", "--json", "--bad-rows", "bad.ndjson", "-o", "out.ndjson")
    assert result.code == 1
    report = json.loads(result.out)
    assert (report["worklogs"], report["bad_rows"], report["total"], report["verdict"]) == (298, 2, 300, "verified")
    assert len(lines(tmp_path / "out.ndjson")) == 298
    assert_both_are_in(tmp_path / "bad.ndjson", served, "2.0")
    again = tracket("sync", "store.duckdb", "--bad-rows", "bad.ndjson")
    assert again.code == 1
    assert "verified: as many as the server counts, 2 rows that cannot be read among them.\n" in again.out
    assert_both_are_in(tmp_path / "bad.ndjson", served, "2.0")
    without = tracket("sync", "store.duckdb")
    assert without.code == 1
    assert "2 rows of the server cannot be read, and are left out. To see them, run: " in without.err


def test_a_kept_store_is_exported_with_its_bad_rows_left_out_and_told(tracket, server):
    server()
    run = partial(tracket, "export", "-o", "out.csv", "--store", "store.duckdb")
    assert run("--bad-rows", "bad.ndjson").code == 1
    again = run()
    assert again.code == 1
    assert "2 rows of the server cannot be read, and are left out" in again.err


def test_no_bad_row_gives_an_empty_file_and_exit_code_0(tracket, server, tmp_path):
    served = server()
    served.overlay = {}
    (tmp_path / "bad.ndjson").write_text('{"reason":"of an earlier run"}\n')
    assert tracket("export", "-o", "out.csv", "--bad-rows", "bad.ndjson").code == 0
    assert (tmp_path / "bad.ndjson").read_text() == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("export", "-o", "bad.ndjson", "--bad-rows", "bad.ndjson"), "bad.ndjson cannot be the file of --bad-rows"),
        (("sync", "bad", "--bad-rows", "bad"), "bad cannot be the file of --bad-rows"),
    ],
)
def test_a_file_cannot_be_for_two_things(tracket, server, arguments, said):
    served = server()
    result = tracket(*arguments)
    assert result.code == 2
    assert said in result.err
    assert served.requests == []


@pytest.mark.parametrize("options", [("export", "-o", "out.csv"), ("export",), ("list",), ("report",)])
def test_only_a_file_of_bad_rows_is_replaced_by_one(tracket, server, tmp_path, options):
    served = server()
    (tmp_path / "new.ndjson").write_text('{"item_id":"1"}\n')
    result = tracket(*options, "--bad-rows", "new.ndjson")
    assert result.code == 2
    assert (
        "new.ndjson is there, and is no file of bad rows, so it is not replaced. Give --bad-rows another" in result.err
    )
    assert served.requests == []
    assert (tmp_path / "new.ndjson").read_text() == '{"item_id":"1"}\n'


@pytest.mark.parametrize("options", [("-o", "s.duckdb"), ("-o", "s.duckdb", "--format", "csv")])
def test_no_output_takes_the_place_of_a_store(tracket, server, tmp_path, options):
    served = server()
    tracket("sync", "s.duckdb", "--bad-rows", "bad.ndjson")
    before, seen = (tmp_path / "s.duckdb").read_bytes(), len(served.requests)
    result = tracket("export", *options)
    assert result.code == 2
    assert "s.duckdb is a store, and a file in its place would lose what only the store knows. Give" in result.err
    assert len(served.requests) == seen
    assert (tmp_path / "s.duckdb").read_bytes() == before


def test_a_report_leaves_them_out_and_ends_with_1(tracket, server, tmp_path):
    served = server()
    result = tracket("report", "--format", "json", "--bad-rows", "bad.ndjson")
    assert result.code == 1
    assert json.loads(result.out)["total"]["worklogs"] == 298
    assert_both_are_in(tmp_path / "bad.ndjson", served, "2.0")
    assert "The server sent 2 rows that cannot be read. bad.ndjson has the reason" in result.err
    page = tracket("report", "--html", "page.html", "--bad-rows", "bad.ndjson")
    assert (page.code, (tmp_path / "page.html").exists()) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("report", "out.csv", "--bad-rows", "bad"),
            "--bad-rows is for worklogs that are fetched, and these are in out",
        ),
        (("report", "--html", "a.html", "--bad-rows", "a.html"), "a.html cannot be the file of --bad-rows"),
        (("watch", "s.duckdb", "--once", "--bad-rows", "s.duckdb"), "s.duckdb cannot be the file of --bad-rows"),
    ],
)
def test_bad_rows_of_what_is_not_fetched_or_in_place_of_another_file_are_refused(tracket, server, arguments, said):
    served = server()
    result = tracket(*arguments)
    assert result.code == 2
    assert said in result.err
    assert served.requests == []


def test_a_watch_has_those_of_its_last_look_in_the_file(tracket, server, tmp_path):
    served = server()
    without = tracket("watch", "s.duckdb", "--once")
    assert without.code == 1
    assert " --bad-rows bad-rows.ndjson\n" in without.err
    for _ in range(2):
        result = tracket("watch", "s.duckdb", "--once", "--bad-rows", "bad.ndjson")
        assert result.code == 1
        assert "The server sent 2 rows that cannot be read. bad.ndjson has the reason" in result.err
        assert_both_are_in(tmp_path / "bad.ndjson", served, "2.0")
    assert "2 rows of the server cannot be read, and are left out" in tracket("watch", "s.duckdb", "--once").err


def test_a_watch_that_goes_on_says_it_once_and_that_it_is_over(tracket, server, tmp_path, monkeypatch):
    served, looks = server(), []

    async def wait(_seconds):
        looks.append(lines(tmp_path / "bad.ndjson"))
        if len(looks) == 2:
            served.overlay, now = {}, dt.datetime.now(dt.UTC).replace(microsecond=0)
            for ident in ("wl-0007", "wl-0100"):
                served.rows[ident] = dataclasses.replace(served.rows[ident], updated=now)
        if len(looks) == 4:
            raise Terminated

    monkeypatch.setattr(watch, "_sleep", wait)
    result = tracket("watch", "s.duckdb", "--bad-rows", "bad.ndjson")
    assert result.code == 143
    assert [len(each) for each in looks] == [2, 2, 0, 0]
    assert result.err.count("tracket: The server sent 2 rows that cannot be read. bad.ndjson has") == 1
    assert result.err.count("The store is up to date again.") == 1


def test_a_report_and_the_first_look_of_a_watch_wait_as_long_as_they_are_told(
    tracket, serve, seed, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    given, policy = [], command.OutagePolicy
    monkeypatch.setattr(command, "OutagePolicy", lambda **how: given.append(how["give_up_after"]) or policy(**how))
    serve(seed=[seed(1)])
    assert tracket("report", "--wait", "90s").code == 0
    assert tracket("watch", "s.duckdb", "--once", "--wait", "2h").code == 0
    assert given == [90, 7200]
