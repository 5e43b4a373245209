"""Output at a terminal and elsewhere, and the words for results."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from tracket_async.cli import output
from tracket_async.cli.output import exported, verdict
from tracket_async.export.progress import ExportResult
from tracket_async.export.store import ChangeCounts
from tracket_async.models import ApprovalStatus, Category, Worklog

DAY = dt.datetime(2024, 5, 20, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (90.0, "90"),
        (90.25, "90.25"),
        (5700118.8, "5700118.8"),
        (DAY, "2024-05-20"),
        (DAY.replace(hour=9, microsecond=1000), "2024-05-20T09:00:00.001Z"),
        (ApprovalStatus.OPEN, "open"),
        ({}, ""),
        ({"b": 1, "a": "x"}, '{"a":"x","b":1}'),
        ("two\twords\r\nand \\ more", "two\\twords\\r\\nand \\ more"),
        ("\x1b[31mred\x07\u202e", "\\x1b[31mred\\x07\\u202e"),
        ("日本語 “quoted” ½", "日本語 “quoted” ½"),
    ],
)
def test_a_value_is_one_line_of_text_that_commands_no_terminal(value, text):
    assert output.text(value) == text


def test_without_a_terminal_a_table_is_tab_separated_values(capsys):
    output.table(("id", "minutes"), [("a", 90.0), ("b\tc", None)], right=frozenset({"minutes"}))
    output.table(("id", "minutes"), [("d", 1)], head=False)
    assert capsys.readouterr().out == "id\tminutes\na\t90\nb\\tc\t\nd\t1\n"


def test_on_a_terminal_a_table_is_drawn_in_its_width(terminal):
    stdout = terminal("stdout")
    output.table(("id", "minutes", "description"), [("a", 5.0, "x" * 200)], right=frozenset({"minutes"}))
    row = stdout.text.splitlines()[-1].rstrip()
    assert row == "a         5  " + "x" * 86 + "…"
    assert len(row) == 100


def test_the_last_column_gives_way_and_ids_stay_whole(terminal, monkeypatch):
    stdout = terminal("stdout")
    monkeypatch.setenv("COLUMNS", "40")
    output.table(("id", "description"), [("i" * 36, "x" * 200)])
    assert stdout.text.splitlines()[-1].startswith("i" * 36)


def test_nothing_in_a_worklog_is_markup(terminal):
    stdout = terminal("stdout")
    output.table(("description",), [("[bold]x[/bold] :smile: \x1b[2J",)])
    assert "[bold]x[/bold] :smile: \\x1b[2J" in stdout.text


def test_without_a_terminal_every_field_is_told(capsys):
    output.fields([("id", "a"), ("item_id", None)])
    assert capsys.readouterr().out == "id\ta\nitem_id\t\n"


def test_on_a_terminal_names_are_aligned_and_what_is_none_is_left_out(terminal):
    stdout = terminal("stdout")
    output.fields([("id", "a"), ("item_id", None), ("minutes", 0.0)])
    assert stdout.text == "id       a\nminutes  0\n"


def test_worklogs_are_printed_as_json_with_every_attribute(capsysbinary):
    output.json([Worklog(id="a", user_id="1", date=DAY, minutes=90, description="日本")])
    (line,) = capsysbinary.readouterr().out.splitlines()
    assert "日本".encode() in line
    found = json.loads(line)
    assert (found["date"], found["minutes"], found["item_id"]) == ("2024-05-20T00:00:00.000Z", 90.0, None)


def test_other_values_are_printed_as_json_with_every_attribute(capsysbinary):
    output.json([Category(id="1", name="Support"), Category(id="2")])
    lines = capsysbinary.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [{"id": "1", "name": "Support"}, {"id": "2", "name": None}]


def test_nothing_is_printed_for_nothing(capsysbinary):
    output.json([])
    assert capsysbinary.readouterr().out == b""


def test_text_and_bytes_keep_their_order(capsysbinary):
    output.line("one")
    output.write(b"two\n")
    output.line()
    assert capsysbinary.readouterr().out == b"one\ntwo\n\n"


def test_a_note_is_on_standard_error(capsys):
    output.note("noted")
    assert capsys.readouterr() == ("", "noted\n")


def test_a_streamed_export_says_what_it_knows():
    assert exported(1200, 10.04, 2.0) == "Exported 1,200 worklogs (10.0 h) in 2.0 s, 600/s."
    assert exported(0, 0, 0.0, files=[Path("a")]) == "Exported 0 worklogs (0.0 h) to a in 0.0 s."


def test_what_came_in_this_run_makes_the_rate_and_what_changed_meanwhile_is_told():
    result = ExportResult(
        worklogs=1200, verdict="verified", resumed=200, changes=ChangeCounts(added=3, changed=2, removed=1), total=1200
    )
    assert exported(1200, 10, 2.0, files=[Path("a"), Path("b")], result=result) == (
        "Exported 1,200 worklogs (10.0 h) to a, b in 2.0 s, 500/s; 200 of them by an earlier run; "
        "3 added, 2 changed, 1 removed while it ran; verified: as many as the server counts."
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("verified", "verified: as many as the server counts"),
        ("not verifiable", "not verifiable: API 1.0 gives no counts"),
        ("incomplete", "incomplete: the server counts 1,300"),
    ],
)
def test_each_verdict_has_its_words(name, words):
    assert verdict(ExportResult(worklogs=1, verdict=name, total=1300)) == words
