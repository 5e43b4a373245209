"""Output at a terminal and elsewhere, and the words for results."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import io
import json
import logging
import os
import re
import sys
import unicodedata
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
        (DAY.replace(year=1), "0001-05-20"),
        (DAY.replace(hour=9, microsecond=1000), "2024-05-20T09:00:00.001Z"),
        (ApprovalStatus.OPEN, "open"),
        ({}, ""),
        ({"b": 1, "a": "x"}, '{"a":"x","b":1}'),
        ("two\twords\r\nand \\ more", "two\\twords\\r\\nand \\ more"),
        ("\x1b[31mred\x07\u202e", "\\u001b[31mred\\u0007\\u202e"),
        ("日本語 “quoted” ½", "日本語 “quoted” ½"),
    ],
)
def test_a_value_is_one_line_of_text_that_commands_no_terminal(value, text):
    assert output.text(value) == text


def test_only_controls_bidi_controls_and_line_separators_are_escaped():
    characters = [chr(number) for number in range(sys.maxunicode + 1) if not 0xD800 <= number <= 0xDFFF]
    bidi = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    commands = {
        one
        for one in characters
        if unicodedata.category(one) in {"Cc", "Zl", "Zp"}
        or unicodedata.bidirectional(one) in bidi
        or unicodedata.name(one, "") in {"LEFT-TO-RIGHT MARK", "RIGHT-TO-LEFT MARK", "ARABIC LETTER MARK"}
    }
    assert len(commands) == 65 + 2 + 12
    plain = "".join(one for one in characters if one not in commands)
    assert output.escape(plain) == plain
    for one in commands:
        escaped = output.escape(one)
        assert escaped.isascii()
        assert escaped.isprintable()
        assert json.loads(f'"{escaped}"') == one
        assert output.escape(escaped) == escaped


def test_nothing_else_writes_to_the_terminal():
    writes = re.compile(r"sys\.std(out|err)\.(write|buffer)|^ *print\(", re.MULTILINE)
    for path in Path(output.__file__).parent.glob("*.py"):
        if path.name not in {"output.py", "entry.py"}:  # entry escapes what it writes, as test_entry shows
            assert not writes.search(path.read_text(encoding="utf-8")), path


def test_several_lines_keep_their_line_breaks_and_nothing_else():
    assert output.escape("a\r\nb\n\rc\r\r\n\td\x85", lines=True) == "a\r\nb\n\\rc\\r\r\n\\td\\u0085"


EVIL = "a\u009b2J\u202eb\u2028c\x7fd\x1be\tf\u3000g\xa0h"
HARMLESS = "a\\u009b2J\\u202eb\\u2028c\\u007fd\\u001be\\tf\u3000g\xa0h"


def test_json_at_a_terminal_is_harmless_and_means_the_same(terminal, capsysbinary):
    worklog = Worklog(id="a", user_id="1", date=DAY, minutes=90, description=EVIL, custom_fields={EVIL: EVIL})
    output.json([worklog])
    output.json([Category(id="1", name=EVIL)])
    data = capsysbinary.readouterr().out
    assert "\u202e".encode() in data  # a program gets what the server sent
    stdout = terminal("stdout")
    output.json([worklog])
    output.json([Category(id="1", name=EVIL)])
    assert output.escape(stdout.text, lines=True) == stdout.text
    assert [json.loads(line) for line in stdout.text.split("\n")[:-1]] == [
        json.loads(line) for line in data.decode().split("\n")[:-1]
    ]


def test_csv_at_a_terminal_is_harmless_and_as_it_is_elsewhere(terminal, capsysbinary):
    data = f'id,"{EVIL}"\r\n'.encode()
    output.write(data)
    assert capsysbinary.readouterr().out == data
    stdout = terminal("stdout")
    output.write(data)
    assert stdout.buffer.getvalue() == f'id,"{HARMLESS}"\r\n'.encode()


@pytest.mark.parametrize("tty", [False, True])
async def test_no_line_note_or_question_commands_the_terminal(terminal, capsys, monkeypatch, tty):
    streams = [terminal("stdout"), terminal("stderr")] if tty else []
    monkeypatch.setattr(output, "_line_is_ready", lambda: asyncio.sleep(0))
    monkeypatch.setattr(sys, "stdin", io.StringIO("y"))
    output.line(EVIL)
    output.note(f"{EVIL}\n")
    output.fields([("name", EVIL)])
    output.table(("name",), [(EVIL,)])
    await output.confirm(EVIL)
    out, err = [stream.text for stream in streams] if tty else capsys.readouterr()
    assert out.startswith(f"{HARMLESS}\nname")
    assert err == f"{HARMLESS}\\n\n{HARMLESS} [y/N] "
    assert not {"\u009b", "\u202e", "\u2028", "\x7f"} & set(out)
    assert "\x1be" not in out


def test_in_a_cell_a_typed_backslash_and_a_line_break_differ(capsys):
    output.table(("a", "b", "c"), [(r"\n", "\n", {"k": "\n"})], head=False)
    output.fields([("a", r"\n"), ("b", "\n")])
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert rows == [[r"\\n", r"\n", r'{"k":"\\n"}'], ["a", r"\\n"], ["b", r"\n"]]


def test_without_a_terminal_a_table_is_tab_separated_values(capsys):
    output.table(("id", "minutes"), [("a", 90.0), ("b\tc", None)], right=frozenset({"minutes"}))
    output.table(("id", "minutes"), [("d", 1)], head=False)
    assert capsys.readouterr().out == "id\tminutes\na\t90\nb\\tc\t\nd\t1\n"


def drawn(stream):
    """The lines of a drawn table, without the style of its header."""
    return [line.removeprefix("\x1b[1m").removesuffix("\x1b[0m") for line in stream.text.splitlines()]


def test_at_a_terminal_a_table_is_drawn_in_its_width(terminal):
    stdout = terminal("stdout")
    rows = [("a", 5.0, "x" * 200), ("日本", 10.0, "日本" * 50), ("c", None, "short")]
    output.table(("id", "minutes", "description"), rows, right=frozenset({"minutes"}))
    assert drawn(stdout) == [
        "id    minutes  description",
        "a           5  " + "x" * 84 + "…",
        "日本       10  " + "日本" * 21 + "…",
        "c              short",
    ]


@pytest.mark.parametrize(("columns", "below"), [("58", False), ("57", True), ("38", True), ("36", True)])
def test_without_room_for_the_last_column_it_stands_below_its_row(terminal, monkeypatch, columns, below):
    stdout = terminal("stdout")
    monkeypatch.setenv("COLUMNS", columns)
    output.table(("id", "description"), [("i" * 36, "x" * 200), ("j" * 36, None)])
    assert drawn(stdout)[1:] == [
        *(["i" * 36, "  " + "x" * (int(columns) - 3) + "…"] if below else ["i" * 36 + "  " + "x" * 19 + "…"]),
        "j" * 36,
    ]
    assert drawn(stdout)[0].split() == (["id"] if below else ["id", "description"])


def test_without_room_for_the_other_columns_each_row_becomes_lines(terminal, monkeypatch):
    stdout = terminal("stdout")
    monkeypatch.setenv("COLUMNS", "44")
    output.table(("id", "minutes", "description"), [("i" * 36, 5.0, "x" * 60), ("j" * 36, None, "y")])
    assert drawn(stdout) == [
        "id           " + "i" * 36,
        "minutes      5",
        "description  " + "x" * 60,
        "",
        "id           " + "j" * 36,
        "description  y",
        "",
    ]


def test_a_table_without_rows_is_its_header(terminal):
    stdout = terminal("stdout")
    output.table(("id", "name"), [])
    assert drawn(stdout) == ["id  name"]


def test_nothing_in_a_worklog_is_markup(terminal):
    stdout = terminal("stdout")
    output.table(("description",), [("[bold]x[/bold] :smile: \x1b[2J",)])
    assert "[bold]x[/bold] :smile: \\u001b[2J" in stdout.text


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


class InPieces(io.RawIOBase):
    """A stream that takes three bytes at a time, and after eight of them none."""

    def __init__(self):
        super().__init__()
        self.taken = b""

    def writable(self):
        return True

    def write(self, data):
        if len(self.taken) >= 8:
            return None
        self.taken += bytes(data[:3])
        return len(data[:3])


def test_what_standard_output_takes_in_pieces_is_written_in_whole(monkeypatch):
    raw = InPieces()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(raw)))
    output.write(b"12345678")
    assert raw.taken == b"12345678"
    with pytest.raises(BlockingIOError, match="Standard output takes no more"):
        output.write(b"9")


def test_it_is_seen_whether_output_is_read():
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    assert output.is_read(theirs)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(theirs, b"x" * 65536)
    assert not output.is_read(theirs)
    os.close(ours)
    os.close(theirs)
    assert output.is_read(theirs)


def test_text_and_bytes_keep_their_order(capsysbinary):
    output.line("one")
    output.write(b"two\n")
    output.line()
    assert capsysbinary.readouterr().out == b"one\ntwo\n\n"


def test_a_warning_of_the_library_is_printed_once(capsys):
    logger = logging.getLogger("tracket_async")
    with output.library_warnings():
        logger.warning("%s\x1b", "one")
        logger.info("not this")
        logger.warning("%s\x1b", "one")
        logger.warning("two")
    logger.addHandler(handler := logging.NullHandler())
    logger.warning("three")
    logger.removeHandler(handler)
    assert capsys.readouterr() == ("", "one\\u001b\ntwo\n")


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
        ("not verifiable", "not verifiable: the server gives no count of them"),
        ("incomplete", "incomplete: the server counts 1,300"),
        ("not verified", "not verified"),
    ],
)
def test_each_verdict_has_its_words(name, words):
    assert verdict(ExportResult(worklogs=1, verdict=name, total=1300, doubt="why")) == words


@pytest.mark.parametrize(("columns", "cards"), [("60", False), ("59", True), ("40", True)])
def test_a_row_is_a_card_in_a_narrow_terminal(terminal, monkeypatch, columns, cards):
    stdout = terminal("stdout")
    monkeypatch.setenv("COLUMNS", columns)
    output.table(("id", "date", "minutes", "description"), [("a", "2024-05-20", 5.0, "x")])
    shown = ["id           a", "date         2024-05-20", "minutes      5", "description  x", ""]
    assert (drawn(stdout) == shown) is cards


@pytest.mark.parametrize("columns", ["59", "40"])
def test_a_table_of_few_columns_stays_one_in_a_narrow_terminal(terminal, monkeypatch, columns):
    stdout = terminal("stdout")
    monkeypatch.setenv("COLUMNS", columns)
    output.table(("id", "name"), [("a", "Travel")])
    assert drawn(stdout) == ["id  name", "a   Travel"]


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


async def until(condition):
    for _ in range(100_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError


async def test_lines_are_handed_over_as_the_reader_takes_them(pipe):
    ours, theirs = pipe
    lines, taken = [b"x" * 200_000 + b"\n", b"y\n"], b""
    handing = asyncio.create_task(output.hand_over(lines, theirs))
    await until(lambda: not output.is_read(theirs))  # it is full
    while not handing.done():
        if output.unread(theirs):
            taken += os.read(ours, 1 << 20)
        await asyncio.sleep(0)
    assert taken == b"".join(lines)


async def test_lines_are_handed_over_only_when_they_are_taken(pipe):
    ours, theirs = pipe
    handing = asyncio.create_task(output.hand_over([b"x\n"], theirs))
    await until(lambda: output.unread(theirs) == 2)
    assert not handing.done()
    os.read(ours, 1)
    await asyncio.sleep(0)
    assert not handing.done()
    os.read(ours, 1)
    await handing


async def test_a_reader_that_went_away_with_lines_unread_is_an_error(pipe):
    ours, theirs = pipe
    handing = asyncio.create_task(output.hand_over([b"x\n"], theirs))
    await until(lambda: output.unread(theirs))
    os.close(ours)
    with pytest.raises(BrokenPipeError):
        await handing


def test_of_what_is_no_pipe_nothing_is_unread(tmp_path, monkeypatch):
    with (tmp_path / "file").open("wb", buffering=0) as file:
        file.write(b"x")
        assert output.unread(file.fileno()) == 0
        descriptor = file.fileno()
    assert output.unread(descriptor) == 0
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows
    assert output.unread() == 0
