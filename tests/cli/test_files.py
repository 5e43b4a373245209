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
    assert again.code == 0
    assert f"{name}: 2 already gone in " in again.err
    report = json.loads(again.out)
    assert (report["file"], report["rows"], report["already"], report["complete"]) == (name, 2, 2, True)


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
    assert (result.code, result.err) == (1, "Nothing was sent.\n")
    assert tracket("update", "--from-file", file("in.ndjson", '{"id": "wl-001", "minutes": 1}')).code == 1
    assert questions == [
        "Delete the 2 worklogs of ids?",
        "Update the worklog of in.ndjson?",
    ]
    assert len(served.emulator.request_log) == 0
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
            'Invalid value "0" for --concurrency. It must be at least 1, not 0',
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
