"""``tracket update`` and ``tracket delete`` with ``--from-file``, against an emulator over a real socket."""

from __future__ import annotations

import io
import json
import re
import sys

import pytest

from tracket_async.cli import output
from tracket_async.emulator import faults


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def served(serve, seed):
    return serve(seed=[seed(n) for n in range(10)])


@pytest.fixture
def file(folder):
    def write(name, *lines):
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return name

    return write


@pytest.fixture
def asked(monkeypatch):
    """Somebody is at the terminal, who gives these answers; gives the questions."""
    questions = []

    def prepare(answer):
        async def confirm(question):
            questions.append(question)
            return answer

        monkeypatch.setattr(output, "can_ask", lambda: True)
        monkeypatch.setattr(output, "confirm", confirm)
        return questions

    return prepare


def worklogs(served):
    return {one["worklogId"]: one for one in served.ask(served.emulator.worklogs)}


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("ids", ["wl-001", "", "wl-002"]),
        ("ids.txt", ["wl-001", "wl-002"]),
        ("in.csv", ["name,id", "x,wl-001", "y,wl-002"]),
        ("in.jsonl", ['{"id": "wl-001", "x": 1}', '{"worklogId": "wl-002"}']),
    ],
)
def test_every_worklog_that_a_file_names_is_deleted(tracket, served, file, name, lines):
    result = tracket("delete", "--from-file", file(name, *lines), "--yes")
    assert (result.code, result.out) == (0, "")
    assert re.fullmatch(rf"{re.escape(name)}: 2 deleted in \d+\.\d s\.\n", result.err)
    assert set(worklogs(served)) == {f"wl-{n:03}" for n in range(10) if n not in (1, 2)}
    again = tracket("delete", "--from-file", name, "-y", "--json")
    assert again.code == 1
    assert f"{name}: 2 already gone in " in again.err
    report = json.loads(again.out)
    assert (report["file"], report["rows"], report["already"], report["complete"]) == (name, 2, 2, True)


ODD_TEXTS = [
    "'s avonds",
    "''",
    "'=1",
    "=1+1",
    "\n=1",
    "\r\n@x",
    "\uff1d1",
    "\uff0b1",
    'a,b\r\n"c"',
    "-x",
    "\t+1",
    "日本",
]


@pytest.mark.parametrize("api", ["1.0", "2.0"])
@pytest.mark.parametrize("name", ["out.csv", "out.ndjson"])
def test_an_export_that_is_written_back_changes_nothing(tracket, serve, seed, name, api):
    served = serve(api, seed=[seed(n, description=text) for n, text in enumerate(ODD_TEXTS)])
    before = worklogs(served)
    assert tracket("export", "-o", name).code == 0
    for id_ in before:
        served.ask(served.emulator.update, id_, {"description": "lost", "worklogMinutes": 1})
    result = tracket("update", "--from-file", name, "--yes")
    assert result.code == 0, result.err
    changed = {id_: one["updatedDate"] for id_, one in worklogs(served).items()}
    assert worklogs(served) == {id_: one | {"updatedDate": changed[id_]} for id_, one in before.items()}


@pytest.mark.parametrize("format", ["csv", "ndjson"])
def test_every_worklog_that_a_file_names_is_changed(tracket, served, file, format):
    lines = {
        "csv": ["id,minutes,description", "wl-001,99,", "wl-002,,new"],
        "ndjson": ['{"id": "wl-001", "minutes": 99}', '{"id": "wl-002", "description": "new"}'],
    }[format]
    result = tracket("update", "--from-file", file(f"in.{format}", *lines), "--yes")
    assert (result.code, result.out) == (0, "")
    assert f"in.{format}: 2 updated in " in result.err
    found = worklogs(served)
    assert (found["wl-001"]["worklogMinutes"], found["wl-001"]["description"]) == (99, "Text 1")
    assert (found["wl-002"]["worklogMinutes"], found["wl-002"]["description"]) == (32, "new")


def test_null_sets_to_nothing(tracket, served, file):
    assert tracket("update", "--from-file", file("in.ndjson", '{"id": "wl-001", "description": null}'), "-y").code == 0
    assert worklogs(served)["wl-001"]["description"] is None


def test_an_export_that_somebody_has_edited_can_be_given(tracket, served, folder):
    assert tracket("export", "-o", "out.csv").code == 0
    (folder / "out.csv").write_text((folder / "out.csv").read_text().replace("Text 3", "Edited"), encoding="utf-8")
    result = tracket("update", "--from-file", "out.csv", "--yes")
    assert result.code == 0
    assert result.err.startswith("Ignored columns, which only the server sets: approval_status, created_date")
    assert worklogs(served)["wl-003"]["description"] == "Edited"
    assert worklogs(served)["wl-004"]["description"] == "Text 4"


def test_it_asks_once_with_the_number(tracket, served, file, asked):
    questions = asked(False)
    result = tracket("delete", "--from-file", file("ids", "wl-001", "wl-002"))
    assert result.code == 1
    assert result.err.splitlines() == [
        "  line 1: wl-001, 2024-05-02, 7, 31 min, Text 1",
        "  line 2: wl-002, 2024-05-03, 7, 32 min, Text 2",
        "Nothing was sent.",
    ]
    assert tracket("update", "--from-file", file("in.ndjson", '{"id": "wl-001", "minutes": 1}')).code == 1
    assert questions == [
        "Delete the 2 worklogs of ids?",
        "Update the worklog of in.ndjson?",
    ]
    assert {received.method for received in served.emulator.request_log} == {"GET"}
    asked(True)
    assert tracket("delete", "--from-file", "ids").code == 0
    assert served.count == 8


def test_standard_input_names_worklogs_too(tracket, served, monkeypatch):
    class Input:
        buffer = io.BytesIO(b"wl-001\nwl-002\n")

    monkeypatch.setattr(sys, "stdin", Input)
    assert tracket("delete", "--from-file", "-", "--yes").code == 0
    assert served.count == 8


def test_what_fails_is_listed_with_the_command_to_go_on(tracket, served, file):
    served.emulator.faults.add(faults.Status(403), method="DELETE", route="/timeEntries/{id}", nth=2)
    name = file("my ids", *(f"wl-{n:03}" for n in range(4)))
    result = tracket("delete", "--from-file", name, "--yes", "--concurrency", 1, "--api", "2.0", "--json")
    assert result.code == 1
    said, bad, go_on = result.err.splitlines()
    assert re.fullmatch(r"my ids: 3 deleted, 1 failed in \d+\.\d s\.", said)
    assert bad.startswith("  line 2: failed: ")
    assert go_on == (
        "Run it again to continue; what is done already does no harm:"
        " tracket delete --from-file 'my ids' --concurrency 1 --yes --api 2.0"
    )
    assert json.loads(result.out)["errors"][0]["line"] == 2


def test_who_is_refused_gets_the_summary_first(tracket, served, file):
    served.emulator.faults.add(faults.Status(401), method="DELETE", route="/timeEntries/{id}", nth=range(2, 100))
    result = tracket("delete", "--from-file", file("ids", "wl-001", "wl-002", "wl-003"), "-y", "--concurrency", 1)
    assert result.code == 7
    assert "1 deleted, 1 failed, 1 not sent in " in result.err
    assert result.err.splitlines()[-1].startswith("tracket: ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("delete", "--from-file", "none"), "none cannot be read: No such file"),
        (("delete", "--from-file", "empty"), "There are no worklogs in empty. Give a file with worklogs"),
        (("delete", "--from-file", "ids", "wl-001"), "--from-file names the worklogs. Give no ids beside it"),
        (
            ("delete", "--from-file", "ids", "--concurrency", "0"),
            "Invalid value for --concurrency. It must be at least 1, not 0",
        ),
        (("delete", "--from-file", "-", "--token-file=-"), "Standard input cannot be both the token and the worklogs."),
        (("delete", "--format", "csv", "wl-001"), "--format needs a file of worklogs. Give --from-file"),
        (("update", "--from-file", "in.ndjson", "wl-001"), "--from-file names the worklogs and their changes."),
        (("update", "--from-file", "in.ndjson", "--minutes", "1"), "--from-file names the worklogs and their changes."),
        (("update", "--from-file", "ids"), "The format of ids is not known. Give --format ndjson or --format csv"),
        (("update", "--from-file", "ids", "--format", "ids"), "The format of ids is not known."),
        (("update", "--on-error", "stop", "wl-001"), "--on-error needs a file of worklogs."),
        (("update", "--minutes", "1"), "No worklog is given. Give the id of a worklog, or --from-file"),
    ],
)
def test_what_makes_no_sense_is_refused(tracket, served, file, arguments, told):
    file("ids", "wl-001")
    file("empty")
    file("in.ndjson", '{"id": "wl-001", "minutes": 1}')
    result = tracket(*arguments, "--yes")
    assert result.code == 2
    assert told in result.err
    assert result.err.count("\n") == 1
    assert len(served.emulator.request_log) == 0


def test_where_nobody_can_be_asked_nothing_is_changed(tracket, served, file):
    result = tracket("delete", "--from-file", file("ids", "wl-001"))
    assert (result.code, result.err) == (
        2,
        "tracket: There is no terminal to ask at. Give --yes to delete without asking\n",
    )
    assert served.count == 10


def test_every_bad_line_is_named_and_nothing_is_sent(tracket, served, file):
    name = file("in.csv", "id,minutes", "wl-001,5", "wl-001,6", "../x,7", "wl-002,")
    result = tracket("update", "--from-file", name, "--yes")
    assert result.code == 2
    assert result.err.splitlines() == [
        "  line 3: the id 'wl-001' is on line 2 already; remove one of the two",
        "  line 4: '../x' cannot be the id of a worklog",
        "  line 5: there is nothing to change; give a value beside the id",
        "tracket: 3 lines of in.csv cannot be used. Nothing was sent. Correct the file and run the same again",
    ]
    assert len(served.emulator.request_log) == 0


def test_a_bar_shows_how_far_it_is_on_a_terminal(tracket, served, file, terminal):
    name = file("ids", *(f"wl-{n:03}" for n in range(10)))
    shown = terminal("stderr")
    assert tracket("delete", "--from-file", name, "--yes").code == 0
    assert "10 of 10 worklogs" in shown.text


def test_the_first_rows_are_shown_before_the_question(tracket, served, file, asked):
    asked(False)
    lines = [
        "id,minutes,description",
        "wl-001,99,new",
        "nobody,5,",
        *(f"wl-{n:03},{30 + n}," for n in range(2, 9)),
        "a,1,",
    ]
    result = tracket("update", "--from-file", file("in.csv", *lines, "b,1,"))
    assert result.code == 1
    shown = result.err.splitlines()
    assert shown[:3] == [
        "  line 2: wl-001: minutes 31 -> 99, description 'Text 1' -> 'new'",
        "  line 3: nobody: there is no such worklog",
        "  line 4: wl-002: as it is already",
    ]
    assert shown[10:] == ["  and 1 more; --dry-run shows them all", "Nothing was sent."]


def test_a_dry_run_of_changes_shows_old_and_new_values_and_totals(tracket, served, file):
    lines = [
        '{"id": "wl-001", "minutes": 99, "description": null, "date": "2024-05-20"}',
        '{"id": "wl-002", "minutes": 32}',
        '{"id": "wl-003", "minutes": 40, "custom_fields": {"place": "home", "none": null}}',
    ]
    result = tracket("update", "--from-file", file("in.ndjson", *lines), "--dry-run")
    assert (result.code, result.out.splitlines()) == (
        0,
        [
            "line 1: wl-001: date 2024-05-02 -> 2024-05-20, minutes 31 -> 99, description 'Text 1' -> nothing",
            "line 3: wl-003: minutes 33 -> 40, custom_fields.place nothing -> 'home'",
        ],
    )
    assert result.err == (
        "in.ndjson: tracket update would change 2 (minutes of 2, date of 1, description of 1, custom_fields.place of 1,"
        " minutes 64 -> 139); 1 unchanged. Nothing was sent.\n"
    )
    assert {received.method for received in served.emulator.request_log} == {"GET"}
    missing = tracket(
        "update", "--from-file", file("in.csv", "id,minutes", "nobody,1", "wl-001,31"), "--dry-run", "--json"
    )
    assert missing.code == 1
    assert [json.loads(line) for line in missing.lines] == [
        {"line": 2, "id": "nobody", "found": False, "changes": {}},
        {"line": 3, "id": "wl-001", "found": True, "changes": {}},
        {
            "file": "in.csv",
            "dry_run": True,
            "changed": 0,
            "unchanged": 1,
            "missing": 1,
            "fields": {},
            "minutes_before": 0.0,
            "minutes_after": 0.0,
        },
    ]
    assert missing.err == "in.csv: tracket update would change 0; 1 unchanged; 1 not on the server. Nothing was sent.\n"


def test_a_dry_run_of_deletions_shows_the_worklogs(tracket, served, file):
    result = tracket("delete", "--from-file", file("ids", "wl-001", "nobody"), "--dry-run")
    assert (result.code, result.out.splitlines()) == (
        0,
        ["line 1: wl-001, 2024-05-02, 7, 31 min, Text 1", "line 2: nobody: there is no such worklog"],
    )
    assert result.err == "ids: tracket delete would delete 1 with 31 minutes; 1 not on the server. Nothing was sent.\n"
    assert served.count == 10
    assert tracket("delete", "--from-file", file("none", "nobody"), "--dry-run").code == 1


def test_a_worklog_that_cannot_be_read_ends_a_dry_run(tracket, served, file):
    served.emulator.faults.add(faults.Status(403), method="GET", route="/timeEntries/{id}", nth=2)
    result = tracket("delete", "--from-file", file("ids", "wl-001", "wl-002"), "--dry-run", "--concurrency", 1)
    assert (result.code, served.count) == (7, 10)


def test_a_deletion_of_nothing_that_is_there_ends_with_1(tracket, served, file):
    """A spreadsheet has written other ids than the server has."""
    result = tracket("delete", "--from-file", file("ids", "5000204170", "5000204171"), "--yes")
    assert result.code == 1
    assert result.err.splitlines()[-1] == (
        "None of the 2 worklogs is there. Check the ids, the server and the version of the API, unless an earlier run"
        " deleted them"
    )
    assert tracket("delete", "--from-file", file("ids", "5000204170", "wl-001"), "--yes").code == 0


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("in.csv", ["id,item_id,user_id", "5000204173.0,7.0,8", "wl-1,9,10.0"]),
        (
            "in.ndjson",
            ['{"id": 5000204173.0, "item_id": "7.0", "user_id": 8}', '{"id":"wl-1","item_id":9,"user_id":10.0}'],
        ),
    ],
)
def test_ids_that_were_made_floats_are_repaired_and_counted(tracket, serve, seed, file, name, lines):
    served = serve(seed=[seed(1, worklogId="5000204173"), seed(2, worklogId="wl-1")])
    result = tracket("update", "--from-file", file(name, *lines), "--yes")
    assert result.code == 0
    assert result.err.splitlines()[0] == (
        "3 ids were written as a number with .0, as pandas and spreadsheets do; the .0 is left out."
    )
    found = worklogs(served)
    assert [(one["itemId"], one["userId"]) for one in found.values()] == [("7", "8"), ("9", "10")]


@pytest.mark.parametrize("value", ["nan", "#REF!", "#N/A", "5.0002E+09", "12345678901234567.0", " 7", "7\u00a0"])
@pytest.mark.parametrize("column", ["id", "user_id", "category_id"])
def test_spoilt_ids_are_refused_by_line_and_nothing_is_sent(tracket, served, file, value, column):
    row = {"id": "wl-001", "minutes": "5", column: value}
    for name, lines in (
        ("in.csv", [",".join(row), ",".join(row.values())]),
        ("in.ndjson", ["", json.dumps(row | {"minutes": 5})]),
    ):
        result = tracket("update", "--from-file", file(name, *lines), "--yes")
        assert result.code == 2
        assert result.err.startswith(f"  line 2: {column} {value!r} ")
    assert len(served.emulator.request_log) == 0


def test_options_for_reading_need_a_file_and_are_repeated_in_hints(tracket, served, file):
    assert "--map needs a file of worklogs" in tracket("update", "wl-001", "--minutes", 5, "--map", "a=b").err
    served.emulator.faults.add(faults.Status(403), method="PUT", route="/timeEntries/{id}")
    name = file("in.csv", "ref;time;x", "wl-001;1,5;y")
    options = ("--map", "ref=id", "--map", "time=hours", "--map", "*=", "--decimal", ",")
    result = tracket("update", "--from-file", name, "--yes", *options)
    assert result.err.splitlines()[-1].endswith(
        "tracket update --decimal , --map ref=id --map time=hours --map '*=' --from-file in.csv --yes"
    )
    served.emulator.faults.clear()
    assert tracket("update", "--from-file", name, "--yes", *options).code == 0
    assert worklogs(served)["wl-001"]["worklogMinutes"] == 90
