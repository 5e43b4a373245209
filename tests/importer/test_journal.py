"""The journal of an import, and the states of the rows that it tells."""

from __future__ import annotations

import datetime as dt
import json
import os
import stat

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracket_async.errors import StorageError, StoreError, TargetBusyError
from tracket_async.importer.journal import (
    UNRESOLVED,
    FirstSend,
    Journal,
    JournalEntry,
    JournalHeader,
    RowState,
    RowStates,
    journal_path,
    read_journal,
)

NOON = dt.datetime(2024, 6, 1, 12, tzinfo=dt.UTC)


def after(*entries):
    states = RowStates()
    for entry in entries:
        states.apply(entry)
    return states


def sent(line, minute=0, clock=None):
    return JournalEntry(line=line, sent_at=NOON.replace(minute=minute), clock_offset=clock)


def ok(line):
    return JournalEntry(line=line, created_id="id")


def failed(line):
    return JournalEntry(line=line, failed="no")


def not_sent(line):
    return JournalEntry(line=line, not_sent="interrupted")


def ambiguous(line):
    return JournalEntry(line=line, ambiguous="who knows")


def test_a_sent_row_is_unresolved_until_its_outcome_is_recorded():
    states = after(sent(7, clock=-0.5))
    assert states[7] is RowState.SENT
    assert states.unresolved == {7: FirstSend(NOON, -0.5)}
    states.apply(ok(7))
    assert states[7] is RowState.CREATED
    assert states.unresolved == {}
    assert states.counts == {RowState.SENT: 0, RowState.CREATED: 1}


def test_a_failed_row_is_not_unresolved():
    states = after(sent(1), failed(1))
    assert (states[1], states.unresolved) == (RowState.FAILED, {})


def test_a_row_that_was_not_sent_after_all_has_no_state():
    states = after(sent(1), not_sent(1))
    assert (states[1], states.unresolved, states.counts.total()) == (RowState.NOT_SENT, {}, 0)


def test_an_ambiguous_row_is_unresolved_and_can_become_created():
    states = after(sent(1), ambiguous(1))
    assert (states[1], set(states.unresolved)) == (RowState.AMBIGUOUS, {1})
    states.apply(ok(1))
    assert (states[1], states.unresolved) == (RowState.CREATED, {})


def test_a_resent_row_keeps_the_time_of_its_first_send():
    states = after(sent(1, 5), ambiguous(1), sent(1, 10))
    assert states.unresolved[1].at.minute == 5


def test_a_row_that_is_sent_after_a_failure_has_a_new_first_send():
    states = after(sent(1, 5), failed(1), sent(1, 10))
    assert states.unresolved[1].at.minute == 10


def test_a_line_without_an_entry_is_not_sent():
    states = after(sent(3))
    assert [states[line] for line in (0, 1, 2, 4, 10**9)] == [RowState.NOT_SENT] * 5


@given(
    st.lists(st.tuples(st.integers(1, 300), st.sampled_from([sent, ok, failed, not_sent, ambiguous])), max_size=200),
)
def test_the_counts_are_those_of_the_states(steps):
    states = after(*(make(line) for line, make in steps))
    found = [states[line] for line in range(301)]
    for state in (RowState.SENT, RowState.CREATED, RowState.FAILED, RowState.AMBIGUOUS):
        assert states.counts[state] == found.count(state)
    assert {line for line, state in enumerate(found) if state in UNRESOLVED} >= set(states.unresolved)


HEADER = JournalHeader(
    size=3, sha256="abc", format="csv", raw=False, api="2.0", base_url="https://tracket.example/prefix", account="7"
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.csv.tracket-journal"


def lines(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


async def filled(path):
    async with Journal(path, HEADER) as journal:
        for line in (1, 2, 3, 4):
            await journal.record_sent(line, NOON, -0.25)
        journal.record_created(1, "w1")
        journal.record_failed(2, "no")
        journal.record_ambiguous(3, "who knows", ["w8", "w9"])
    return path.read_bytes()


def test_the_journal_is_in_the_folder_of_its_file(tmp_path):
    assert journal_path(tmp_path / "file.csv") == tmp_path / "file.csv.tracket-journal"


async def test_the_journal_is_lines_of_readable_json(path):
    await filled(path)
    header, *entries = lines(path)
    assert header == {
        "journal": "tracket import",
        "schema": 1,
        "size": 3,
        "sha256": "abc",
        "format": "csv",
        "raw": False,
        "api": "2.0",
        "base_url": "https://tracket.example/prefix",
        "account": "7",
        "reading": "",
    }
    assert entries == [
        {"line": 1, "sent_at": "2024-06-01T12:00:00Z", "clock_offset": -0.25},
        {"line": 2, "sent_at": "2024-06-01T12:00:00Z", "clock_offset": -0.25},
        {"line": 3, "sent_at": "2024-06-01T12:00:00Z", "clock_offset": -0.25},
        {"line": 4, "sent_at": "2024-06-01T12:00:00Z", "clock_offset": -0.25},
        {"line": 1, "created_id": "w1"},
        {"line": 2, "failed": "no"},
        {"line": 3, "ambiguous": "who knows", "candidates": ["w8", "w9"]},
    ]


async def test_a_journal_that_is_opened_again_goes_on(path):
    before = await filled(path)
    async with Journal(path, HEADER) as journal:
        assert [journal.states[line] for line in range(1, 6)] == [
            RowState.CREATED,
            RowState.FAILED,
            RowState.AMBIGUOUS,
            RowState.SENT,
            RowState.NOT_SENT,
        ]
        assert journal.states.unresolved == {3: FirstSend(NOON, -0.25), 4: FirstSend(NOON, -0.25)}
        journal.record_created(4, "w4")
        assert journal.states[4] is RowState.CREATED
    assert path.read_bytes() == before + b'{"line":4,"created_id":"w4"}\n'


async def test_record_sent_returns_when_its_entry_is_on_the_disk(path, monkeypatch):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(path.read_bytes()), fsync(descriptor)))
    async with Journal(path, HEADER) as journal:
        await journal.record_sent(1, NOON, None)
        assert synced[-1].endswith(b'{"line":1,"sent_at":"2024-06-01T12:00:00Z"}\n')
        journal.record_created(1, "w1")
        assert not synced[-1].endswith(b'"w1"}\n')
    assert synced[-1].endswith(b'"w1"}\n')


async def test_a_journal_is_always_private(path):
    await filled(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o666)
    async with Journal(path, HEADER):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


async def test_a_second_process_learns_who_has_the_journal(path):
    async with Journal(path, HEADER):
        with pytest.raises(TargetBusyError, match=rf"is being written by process {os.getpid()} on "):
            Journal(path, HEADER)
    async with Journal(path, HEADER):
        pass


async def test_a_link_is_not_followed(path, tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"mine")
    path.symlink_to(tmp_path / "elsewhere")
    for make in (Journal, read_journal):
        with pytest.raises(StorageError, match="is a symbolic link, which is not followed"):
            make(path, HEADER)
    assert (tmp_path / "elsewhere").read_bytes() == b"mine"


async def test_a_link_that_appears_at_the_last_moment_is_not_followed(path, tmp_path, monkeypatch):
    path.symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr("tracket_async.importer.journal.refuse_link", lambda _path: None)
    for make in (Journal, read_journal):
        with pytest.raises(StorageError, match="symbolic link"):
            make(path, HEADER)
    assert not (tmp_path / "elsewhere").exists()


async def test_an_unfinished_line_is_cut_off_wherever_it_ends(path):
    whole = await filled(path)
    header = whole.index(b"\n") + 1
    last = whole[:-1].rindex(b"\n") + 1
    for end in [*range(0, header, 9), header - 1, *range(last, len(whole))]:
        path.write_bytes(whole[:end])
        kept = 0 if end < header else last
        assert read_journal(path, HEADER).counts[RowState.CREATED] == (1 if kept else 0)
        assert path.read_bytes() == whole[:end]  # a look changes nothing
        async with Journal(path, HEADER) as journal:
            journal.record_created(9, "w9")
        assert path.read_bytes() == (whole[:kept] or whole[:header]) + b'{"line":9,"created_id":"w9"}\n'


@pytest.mark.parametrize("content", [b"my notes", b"my notes\n", b'{"size": 3}\n', b"\0" * 5, b"{}"])
async def test_a_file_that_is_no_journal_is_left_alone(path, content):
    path.write_bytes(content)
    for make in (Journal, read_journal):
        with pytest.raises(StoreError, match=r"is not a journal of tracket import. Give another place with --journal"):
            make(path, HEADER)
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]  # nor is the lock left


@pytest.mark.parametrize(
    "damage", [b"\0\0\0\n", b"{}\n", b'{"line":1,"who":"x"}\n', b"\xff\n", b'{"line":"1","created_id":"x"}\n']
)
async def test_damage_in_the_middle_is_reported_with_its_line(path, damage):
    whole = await filled(path)
    path.write_bytes(whole + damage + b'{"line":4,"created_id":"w4"}\n')
    for make in (Journal, read_journal):
        with pytest.raises(StoreError, match=r"is damaged at line 9, so nobody knows which rows were sent"):
            make(path, HEADER)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"size": 4}, "the file was changed since"),
        ({"sha256": "abd"}, "the file was changed since"),
        ({"format": "ndjson"}, "the file was read in another way"),
        ({"raw": True}, "the file was read in another way"),
        ({"api": "1.0"}, "it went to another version of the API"),
        ({"base_url": "https://other.example"}, "it went to another server"),
        ({"account": "8"}, "it went to another account"),
        ({"schema": 2}, "it was written by another version of this program"),
    ],
)
async def test_another_import_cannot_use_the_journal(path, changes, what):
    before = await filled(path)
    other = msgspec.structs.replace(HEADER, **changes)
    for make in (Journal, read_journal):
        with pytest.raises(StoreError, match=rf"is the journal of another import: {what}.*--journal"):
            make(path, other)
    assert path.read_bytes() == before


@pytest.mark.parametrize("rest", [b"", b'{"line":1,"se'])
async def test_another_import_may_replace_a_journal_that_sent_nothing(path, rest):
    async with Journal(path, HEADER):
        pass
    path.write_bytes(path.read_bytes() + rest)
    other = msgspec.structs.replace(HEADER, account="8", sha256="abd")
    assert read_journal(path, other).counts == {}
    for _ in range(2):
        async with Journal(path, other):
            pass
        assert [line["account"] for line in lines(path)] == ["8"]


async def test_an_unknown_account_counts_as_the_same(path):
    await filled(path)
    async with Journal(path, msgspec.structs.replace(HEADER, account=None)) as journal:
        assert journal.states.counts


async def test_created_among_returns_the_ids_of_this_journal(path):
    await filled(path)
    async with Journal(path, HEADER) as journal:
        journal.record_created(4, "w4")
        assert journal.created_among([]) == set()
        assert journal.created_among(iter(["w1", "w4", "w8", "x"])) == {"w1", "w4"}
        with path.open("ab") as file:
            file.write(b'{"line":5,"created_id":"w')  # as a thread may see a line that is being written
        assert journal.created_among(["w4", "w"]) == {"w4"}


def test_without_a_journal_no_row_has_a_state(path):
    assert read_journal(path, HEADER).counts == {}
    assert not path.exists()


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(StorageError, match="Create the folder first"):
        Journal(tmp_path / "none" / "journal", HEADER)
    assert read_journal(tmp_path / "none" / "journal", HEADER).counts == {}


async def test_a_full_disk_at_close_releases_the_lock(path, monkeypatch):
    journal = Journal(path, HEADER)

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        await journal.close()
    monkeypatch.undo()
    async with Journal(path, HEADER):
        pass
