"""``tracket import``, against an emulator over a real socket."""

from __future__ import annotations

import csv
import functools
import io
import json
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import xlsxwriter

from tracket_async.cli import import_file
from tracket_async.emulator import faults

TRACKET = (sys.executable, "-m", "tracket_async.cli")
BOTH = pytest.mark.parametrize("api", ["1.0", "2.0"])
ROUTES = {"1.0": "/worklogs", "2.0": "/timeEntries"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Everything happens in a folder of its own, and nobody waits between two looks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(import_file, "ImportSettings", functools.partial(import_file.ImportSettings, wait=0.0))
    return tmp_path


@pytest.fixture
def ndjson(folder, seed):
    """Writes the file with so many worklogs of the 1.0 shape."""

    def write(number, name="in.ndjson"):
        (folder / name).write_text("".join(json.dumps(seed(n)) + "\n" for n in range(number)), encoding="utf-8")
        return name

    return write


def posts(served, api="2.0"):
    return served.ask(served.emulator.request_log.count, method="POST", route=ROUTES[api])


def journal(name="in.ndjson"):
    return Path(f"{name}.tracket-journal")


@BOTH
def test_a_file_is_imported_once_however_often_it_is_asked_for(tracket, serve, ndjson, api):
    served = serve(api)
    name = ndjson(30)
    first = tracket("import", name)
    assert (first.code, first.out) == (0, "")
    assert re.fullmatch(
        r"Ignored columns, which only the server sets: approval_status, created_date\.\n"
        r"in\.ndjson: 30 created in \d+\.\d s\.\n",
        first.err,
    )
    assert stat.S_IMODE(journal().stat().st_mode) == 0o600
    second = tracket("import", name)
    assert second.code == 0
    assert second.err.splitlines()[-1] == (
        f"All 30 worklogs of in.ndjson were created by an earlier run. Nothing was sent."
        f" Its journal is {journal().resolve()}"
    )
    assert served.count == posts(served, api) == 30


@BOTH
@pytest.mark.parametrize("name", ["out.csv", "out.ndjson", "out.parquet", "out.duckdb"])
def test_an_export_is_imported_equal(tracket, serve, seed, api, name):
    serve(
        api,
        seed=[*map(seed, range(60)), seed(60, worklogMinutes=-90.5, worklogBillableMinutes=-0.1, description="'=1")],
    )
    assert tracket("export", "-o", name, "-o", "first.csv").code == 0
    other = serve(api)
    assert tracket("import", name).code == 0
    assert other.count == 61
    assert tracket("export", "-o", "again.csv").code == 0
    assert contents("again.csv") == contents("first.csv")


def contents(name):
    """The worklogs of an exported file, without what the server sets, in an order of their own."""
    found = list(csv.DictReader(io.StringIO(Path(name).read_text(encoding="utf-8"), newline="")))
    kept = ("item_id", "user_id", "date", "minutes", "description", "category_id", "billable_minutes", "team_id")
    return sorted([str(one[column]) for column in (*kept, "project_id", "custom_fields")] for one in found)


def test_formulas_survive_the_way_out_and_in(tracket, serve, seed):
    texts = [
        "=1+1",
        "+49",
        "-",
        "@x",
        "'quoted",
        "'s avonds",
        "'=1",
        "\n=1",
        "\uff1d1",
        'plain, "with" quotes\nand lines',
        "\ttab",
    ]
    serve(seed=[seed(n, description=text) for n, text in enumerate(texts)])
    assert tracket("export", "-o", "out.csv").code == 0
    assert tracket("export", "-o", "raw.csv", "--raw").code == 0
    for name, flags in (("out.csv", ()), ("raw.csv", ("--raw",))):
        served = serve()
        assert tracket("import", name, *flags).code == 0
        found = served.ask(served.emulator.worklogs)
        assert sorted(worklog["description"] for worklog in found) == sorted(texts)


def test_a_column_of_unknown_fields_is_passed_by_and_this_is_said(tracket, serve, folder):
    served = serve()
    (folder / "in.csv").write_text('item_id,user_id,date,minutes,extra\n1,2,2024-03-01,30,"{""note"":1}"\n')
    result = tracket("import", "in.csv")
    assert result.code == 0
    assert result.err.startswith("Ignored columns, which only the server sets: extra.\n")
    assert len(served.ask(served.emulator.worklogs)) == 1


@BOTH
def test_dropped_times_of_day_are_reported_in_one_line(tracket, serve, api, folder):
    serve(api)
    dates = ["2026-03-02T08:00+13:00", "2026-03-02", "2026-03-02T17:00Z"]
    for number, said in ((3, "2 dates have"), (2, "1 date has")):
        rows = "".join(f"i,u,{date},5\n" for date in dates[:number])
        (folder / "in.csv").write_text(f"item_id,user_id,date,minutes\n{rows}", encoding="utf-8")
        result = tracket("import", "in.csv", "--dry-run")
        assert result.code == 0
        line = f"{said} a time of day, which API 2.0 does not keep: the day counts."
        assert result.err.splitlines()[:-1] == ([line] if api == "2.0" else [])


def test_every_bad_line_is_named_and_nothing_is_sent(tracket, serve, seed, folder):
    served = serve()
    lines = [json.dumps(seed(1)), "{", json.dumps(seed(2, worklogMinutes=True)), *["[]"] * 30]
    (folder / "in.ndjson").write_text("\n".join(lines), encoding="utf-8")
    result = tracket("import", "in.ndjson")
    assert (result.code, result.out) == (2, "")
    told = result.err.splitlines()
    assert told[0].startswith("  line 2: it is not JSON: ")
    assert told[1] == "  line 3: minutes must be a number of minutes, not True"
    assert told[2] == '  line 4: it must be a JSON object, such as {"id": "wl-1", "minutes": 90}'
    assert len(told) == 22
    assert told[20] == "  and 12 more"
    assert told[21] == (
        "tracket: 32 lines of in.ndjson cannot be used. Nothing was sent. Correct the file and run the same again"
    )
    assert len(served.emulator.request_log) == 0
    assert not journal().exists()


def test_bad_lines_are_json_for_programs(tracket, serve, folder):
    serve()
    (folder / "in.csv").write_text("minutes\n5\n", encoding="utf-8")
    result = tracket("import", "in.csv", "--json")
    assert result.code == 2
    assert json.loads(result.out) == {
        "file": "in.csv",
        "rows": 0,
        "bad_lines": 1,
        "bad": [{"line": 2, "reason": "item_id, user_id, date must be given"}],
    }
    assert "tracket: 1 line of in.csv cannot be used." in result.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nothing.csv",), "nothing.csv cannot be read: No such file or directory"),
        (("in.txt",), "The format of in.txt is not known. Give --format ndjson or --format csv"),
        (("-",), "The format of - is not known."),
        (("empty.csv",), "There are no worklogs in empty.csv. Give a file with worklogs"),
        (("in.ndjson", "--concurrency", "0"), "Invalid value for --concurrency. It must be at least 1, not 0"),
        (("-", "--format=csv", "--token-file=-"), "Standard input cannot be both the token and the worklogs."),
        ((), "FILE is missing."),
    ],
)
def test_what_cannot_be_imported_is_one_line(tracket, serve, ndjson, folder, arguments, told):
    served = serve()
    ndjson(1)
    (folder / "in.txt").write_text("x", encoding="utf-8")
    (folder / "empty.csv").write_text("", encoding="utf-8")
    result = tracket("import", *arguments)
    assert result.code == 2
    assert told in result.err
    assert result.err.count("\n") == 1
    assert len(served.emulator.request_log) == 0


def test_a_dry_run_checks_and_says_what_would_be_done(tracket, serve, ndjson):
    served = serve()
    name = ndjson(10)
    result = tracket("import", name, "--dry-run")
    assert result.code == 0
    assert result.err.splitlines()[-1] == (
        "in.ndjson: all 10 worklogs are valid. An import would create 10. Nothing was sent."
    )
    assert not journal().exists()
    served.emulator.faults.add(faults.Status(400), method="POST", route="/timeEntries", nth={1, 2})
    served.emulator.faults.add(faults.Status(500), method="POST", route="/timeEntries", nth=3)
    tracket("import", name)
    before = (journal().read_bytes(), len(served.emulator.request_log))
    result = tracket("import", name, "--dry-run", "--json")
    assert result.err.splitlines()[-1] == (
        "in.ndjson: all 10 worklogs are valid. An import would create 2, skip 7 that were created before, look up 1"
        " that may have been created. Nothing was sent."
    )
    assert json.loads(result.out) == {
        "file": "in.ndjson",
        "rows": 10,
        "dry_run": True,
        "create": 2,
        "already_there": 7,
        "look_for": 1,
    }
    assert (journal().read_bytes(), len(served.emulator.request_log)) == before


def test_what_did_not_go_well_is_listed_with_the_command_to_go_on(tracket, serve, ndjson):
    served = serve()
    served.emulator.faults.add(faults.Status(400), method="POST", route="/timeEntries", nth=2)
    served.emulator.faults.add(faults.Status(502), method="POST", route="/timeEntries", nth=4)
    name = ndjson(6, "in put.ndjson")
    result = tracket("import", name, "--concurrency", 1, "--json")
    assert result.code == 1
    _, said, bad, lost, correct, go_on, resend = result.err.splitlines()
    assert correct.startswith("What failed can be corrected in in put.ndjson.")
    assert re.fullmatch(r"in put\.ndjson: 4 created, 1 failed, 1 ambiguous in \d+\.\d s\.", said)
    assert bad.startswith("  line 2: failed: ")
    assert lost.startswith("  line 4: ambiguous: It was sent and its answer was lost")
    again = "tracket import 'in put.ndjson' --concurrency 1"
    assert go_on == f"To continue: {again}"
    assert resend == (
        "Ambiguous worklogs are looked up again, and not sent again. To send what is not found:"
        f" {again} --resend-ambiguous"
    )
    report = json.loads(result.out)
    errors = report.pop("errors")
    assert report == {
        "file": "in put.ndjson",
        "journal": str(journal(name).resolve()),
        "rows": 6,
        "done": 4,
        "found": 0,
        "already": 0,
        "failed": 1,
        "ambiguous": 1,
        "not_sent": 0,
        "complete": False,
    }
    assert [(each["line"], each["kind"], each["candidates"]) for each in errors] == [
        (2, "failed", []),
        (4, "ambiguous", []),
    ]
    assert tracket("import", name, "--concurrency", 1, "--resend-ambiguous").code == 0
    assert served.count == 6


def test_what_was_found_by_reading_back_is_told(tracket, serve, ndjson):
    served = serve()
    served.emulator.faults.add(faults.CommitThenCut(), method="POST", route="/timeEntries", nth={1, 3})
    result = tracket("import", ndjson(5))
    assert result.code == 0
    assert "in.ndjson: 5 created (2 of them found on the server) in " in result.err


def test_only_the_first_of_many_failures_are_listed(tracket, serve, ndjson):
    served = serve()
    served.emulator.faults.add(faults.Status(400), method="POST", route="/timeEntries")
    result = tracket("import", ndjson(40))
    assert result.code == 1
    assert f"  and 20 more; all are in {journal().resolve()}\n" in result.err
    assert result.err.count(": failed: ") == 20


def test_it_stops_at_the_first_failure_if_that_is_wanted(tracket, serve, ndjson):
    served = serve()
    served.emulator.faults.add(faults.Status(400), method="POST", route="/timeEntries", nth=2)
    result = tracket("import", ndjson(40), "--on-error", "stop", "--concurrency", 1)
    assert result.code == 1
    assert "1 created, 1 failed, 38 not sent in " in result.err
    assert "To continue: tracket import in.ndjson --concurrency 1 --on-error stop\n" in result.err
    assert posts(served) == 2


def test_who_is_refused_is_told_and_sends_nothing(tracket, serve, ndjson, monkeypatch):
    served = serve()
    monkeypatch.setenv("TRACKET_TOKEN", "wrong")
    result = tracket("import", ndjson(3))
    assert result.code == 7
    assert result.err.count("\n") == 2
    assert posts(served) == 0


def test_who_is_refused_in_the_middle_gets_the_summary_first(tracket, serve, ndjson):
    served = serve()
    served.emulator.faults.add(faults.Status(401), method="POST", route="/timeEntries", nth=range(3, 100))
    result = tracket("import", ndjson(40), "--concurrency", 1)
    assert result.code == 7
    assert "2 created, 1 failed, 37 not sent in " in result.err
    assert "To continue: tracket import in.ndjson --concurrency 1\n" in result.err
    assert result.err.splitlines()[-1].startswith("tracket: ")


def test_another_content_is_refused_before_anything_is_sent(tracket, serve, ndjson, folder, seed):
    served = serve()
    tracket("import", ndjson(3))
    [id] = [one["worklogId"] for one in served.ask(served.emulator.worklogs) if one["description"] == "Text 1"]
    edited = [seed(0), seed(1, worklogMinutes=1), seed(2), seed(3)]
    (folder / "in.ndjson").write_text("".join(json.dumps(one) + "\n" for one in edited), encoding="utf-8")
    for more in ([], ["--dry-run"]):
        result = tracket("import", "in.ndjson", *more)
        assert result.code == 1
        assert result.err.splitlines()[-1] == (
            f"tracket: {journal().resolve()} is the journal of another import: the file was changed since, and rows"
            f" that were created are not in it as they were: line 2 (worklog {id}). Put these rows back, and correct"
            " others alone; tracket update changes a worklog that was created. Other rows are an import of their own:"
            " give it a journal of its own with --journal"
        )
    assert served.count == 3
    assert tracket("import", "in.ndjson", "--journal", "other").code == 0
    assert served.count == 7
    assert Path("other").exists()


def test_a_row_that_was_created_and_removed_from_the_file_is_told(tracket, serve, ndjson, folder):
    served = serve()
    name = ndjson(3)
    assert tracket("import", name).code == 0
    first, *rest = (folder / name).read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / name).write_text("".join(rest), encoding="utf-8")
    ident = json.loads(journal().read_text().partition('"line":1,"created_id":')[2].partition("}")[0])
    told = (
        f"{name} no longer has rows that an earlier run sent: line 1 (worklog {ident})."
        " What was created stays on the server; tracket delete removes it.\n"
    )
    dry = tracket("import", name, "--dry-run")
    assert dry.code == 0
    assert told in dry.err
    again = tracket("import", name)
    assert again.code == 0
    assert f"{told}All 2 worklogs of {name} were created by an earlier run." in again.err
    assert "no longer" not in tracket("import", name).err  # it was said
    (folder / name).write_text("".join((*rest, first)), encoding="utf-8")
    back = tracket("import", name)
    assert f"All 3 worklogs of {name} were created by an earlier run." in back.err
    assert posts(served) == 3


@BOTH
def test_a_row_that_failed_is_corrected_in_the_file_and_sent_alone(tracket, serve, folder, api):
    served = serve(api)
    path, head = folder / "in.csv", "item_id,user_id,date,minutes\n"
    path.write_text(f"{head}1,2,2024-05-01,30\n1,2,2024-05-02,40\n1,2,2024-05-03,50\n", encoding="utf-8")
    served.emulator.faults.add(faults.Status(422), method="POST", route=ROUTES[api], nth=2)
    failed = tracket("import", "in.csv", "--concurrency", 1)
    assert failed.code == 1
    assert (
        "What failed can be corrected in in.csv. The next run sends it again, and what was created never.\n"
        in failed.err
    )
    # As a spreadsheet saves it, with another row behind.
    path.write_bytes(
        b"item_id;user_id;date;minutes\r\n1;2;2024-05-01;30,0\r\n1;2;2024-05-02;45\r\n1;2;2024-05-03;50\r\n"
    )
    dry = tracket("import", "in.csv", "--concurrency", 1, "--dry-run")
    assert "An import would create 1, skip 2 that were created before. Nothing was sent." in dry.err
    assert posts(served, api) == 3
    done = tracket("import", "in.csv", "--concurrency", 1)
    assert done.code == 0
    assert "in.csv: 1 created, 2 created before in " in done.err
    assert sorted(one["worklogMinutes"] for one in served.ask(served.emulator.worklogs)) == [30, 45, 50]
    assert "All 3 worklogs of in.csv were created by an earlier run." in tracket("import", "in.csv").err
    assert posts(served, api) == 4


def test_the_command_to_go_on_names_the_journal_of_standard_input(tracket, serve, seed, monkeypatch, folder):
    served = serve()
    served.emulator.faults.add(faults.Status(422), method="POST", route="/timeEntries", nth=2)

    def given(*rows):
        content = io.BytesIO("".join(json.dumps(row) + "\n" for row in rows).encode())
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(content))

    given(*map(seed, range(3)))
    failed = tracket("import", "-", "--format", "ndjson", "--concurrency", 1)
    [again] = [line.removeprefix("To continue: tracket ") for line in failed.err.splitlines() if "To continue" in line]
    given(seed(0), seed(1, worklogMinutes=5), seed(2), seed(3))
    result = tracket(*shlex.split(again))
    assert (result.code, served.count) == (0, 4)
    assert "2 created, 2 created before" in result.err


def test_another_server_is_refused_too(tracket, serve, ndjson):
    serve()
    name = ndjson(3)
    tracket("import", name)
    other = serve()
    result = tracket("import", name)
    assert result.code == 1
    assert "it went to another server" in result.err
    assert other.count == 0


def test_the_command_to_go_on_has_what_was_chosen(tracket, serve, ndjson, folder):
    served = serve()
    served.emulator.faults.add(faults.Status(400), method="POST", route="/timeEntries", nth=1)
    (folder / "token").write_text(served.emulator.token, encoding="utf-8")
    result = tracket(
        "import", ndjson(3), "--journal", "j", "--token-file", "token", "--api", "2.0", "--format", "ndjson"
    )
    assert result.err.splitlines()[-1] == (
        "To continue: tracket import in.ndjson --format ndjson --journal j --api 2.0 --token-file token"
    )


class Input:
    def __init__(self, content):
        self.buffer = io.BytesIO(content)


def test_standard_input_has_a_journal_that_is_named_after_its_content(tracket, serve, ndjson, monkeypatch, folder):
    served = serve()
    content = Path(ndjson(5)).read_bytes()
    for number in range(2):
        monkeypatch.setattr(sys, "stdin", Input(content))
        result = tracket("import", "-", "--format", "ndjson")
        assert result.code == 0
        said = (
            "standard input: 5 created in "
            if number == 0
            else "All 5 worklogs of standard input were created by an earlier run"
        )
        assert said in result.err
    assert served.count == 5
    (made,) = folder.glob("*.tracket-journal")
    assert re.fullmatch(r"standard-input-[0-9a-f]{12}\.tracket-journal", made.name)


def test_a_second_import_of_the_same_file_is_told_who_is_at_it(tracket, serve, ndjson):
    serve(latency=0.3)
    name = ndjson(50)
    with started("import", name, "--concurrency=1", "--progress=json") as process:
        process.stderr.readline()
        process.stderr.readline()  # the first line of progress: it has the journal
        result = tracket("import", name)
    assert result.code == 1
    assert f"{journal().resolve()} is being written by process {process.pid} on " in result.err


def started(*arguments):
    return Process([*TRACKET, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)


class Process(subprocess.Popen):
    def __exit__(self, *error):
        self.kill()
        super().__exit__(*error)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_import_says_what_is_done_and_leaves_nothing_in_doubt(tracket, serve, ndjson, number, code):
    served = serve(latency=0.1)
    name = ndjson(40)
    with started("import", name, "--concurrency=2", "--progress=json") as process:
        while posts(served) < 4:
            pass
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code
    *_, said, go_on, line = err.decode().splitlines()
    assert re.fullmatch(r"in\.ndjson: \d+ created, \d+ not sent in \d+\.\d s\.", said)
    assert go_on == f"To continue: {shlex.join(TRACKET)} import in.ndjson --concurrency 2"
    assert line == ("tracket: interrupted" if code == 130 else "tracket: terminated")
    assert tracket("import", name).code == 0
    assert served.count == posts(served) == 40


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells which files a process has open")
def test_ctrl_c_ends_the_reading_of_standard_input_at_once(serve):
    serve()
    process = subprocess.Popen(
        [*TRACKET, "import", "-", "--format=csv"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        while not any(link.endswith(" (deleted)") for link in links(process.pid)):  # the copy is open: it reads
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    finally:
        process.kill()
        process.communicate()


def links(pid):
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(os.readlink(link))  # noqa: PTH115 - not a path
        except OSError:
            continue
    return found


def test_a_bar_shows_how_far_it_is_on_a_terminal(tracket, serve, ndjson, terminal):
    serve()
    name = ndjson(20)
    shown = terminal("stderr")
    assert tracket("import", name).code == 0
    assert "20 of 20 worklogs" in shown.text


def test_programs_get_lines_of_json(tracket, serve, ndjson):
    serve()
    result = tracket("import", ndjson(20), "--progress", "json")
    end = json.loads(next(line for line in result.err.splitlines() if '"end"' in line))
    assert (end["done"], end["total"]) == (20, 20)


@BOTH
@pytest.mark.parametrize("name", ["out.xlsx", "out.csv.gz", "out.ndjson.gz"])
def test_what_is_exported_for_excel_or_compressed_is_imported(tracket, serve, seed, folder, api, name):
    moments = ["2024-05-20T22:30:15.250Z", "2024-05-21T00:00:00.000Z"]
    rows = [seed(number, worklogDate=moment, itemId="007") for number, moment in enumerate(moments)]
    first = serve(api, seed=rows)
    assert tracket("export", "-o", name, "--tz", "Europe/Amsterdam").code == 0
    exported = first.ask(first.emulator.worklogs)
    second = serve(api)
    result = tracket("import", name)
    assert result.code == 0, result.err
    imported = second.ask(second.emulator.worklogs)
    kept = len("2024-05-20" if api == "2.0" else moments[0])
    assert [each["worklogDate"][:kept] for each in imported] == [each["worklogDate"][:kept] for each in exported]
    for one in ("itemId", "worklogMinutes", "description"):
        assert [each[one] for each in imported] == [each[one] for each in exported]
    assert journal(name).exists()


def test_a_sheet_is_named(tracket, serve, folder):
    served = serve()
    with xlsxwriter.Workbook("in.xlsx") as book:
        book.add_worksheet("notes").write_row(0, 0, ["not", "for", "import"])
        sheet = book.add_worksheet("hours")
        sheet.write_row(0, 0, ["user_id", "item_id", "date", "minutes"])
        sheet.write_row(1, 0, [7, 5000204173, "2024-05-20", 90])
    assert tracket("import", "in.xlsx").code == 2
    assert tracket("import", "in.xlsx", "--sheet", "hours").code == 0
    [made] = served.ask(served.emulator.worklogs)
    assert (made["userId"], made["itemId"], made["worklogMinutes"]) == ("7", "5000204173", 90)
    sheet = tracket("import", "in.xlsx", "--sheet", "none")
    assert (sheet.code, sheet.err.count("\n")) == (2, 1)
    assert "Its sheets are notes, hours" in sheet.err
