"""A file that is changed between two runs of its import: which rows are known again, and what is refused."""

from __future__ import annotations

import asyncio
import collections
import datetime as dt
import json
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracket_async.client import API_VERSIONS
from tracket_async.emulator import faults
from tracket_async.errors import StoreError
from tracket_async.importer.journal import UNRESOLVED, FirstSend, Journal, JournalHeader, RowState, read_journal
from tracket_async.importer.rows import content_of
from tracket_async.models import NewWorklog

NOON = dt.datetime(2024, 6, 1, 12, tzinfo=dt.UTC)
HEADER = JournalHeader(size=1, sha256="a", format="csv", raw=False, api="2.0", base_url="https://tracket.example")
NEXT = msgspec.structs.replace(HEADER, size=2, sha256="b")
KNOWN = (RowState.CREATED, *UNRESOLVED)


async def begun(path, rows, header=HEADER, contents=None):
    """Record rows of a line, a content and a state."""
    async with Journal(path, header, contents) as journal:
        for line, content, state in rows:
            if state is not RowState.NOT_SENT:
                await journal.record_sent(line, NOON, None, content)
            if state is RowState.CREATED:
                journal.record_created(line, f"wl-{line}")
            elif state is RowState.FAILED:
                journal.record_failed(line, "no")
            elif state is RowState.AMBIGUOUS:
                journal.record_ambiguous(line, "who knows")


def now(path, contents, header=NEXT):
    """The states of the rows of a file of these contents, by the line."""
    lines = [*enumerate(contents, start=1)]
    states = read_journal(path, header, lambda: lines)
    return [states[line] for line, _ in lines]


C, F, S, A, N = RowState.CREATED, RowState.FAILED, RowState.SENT, RowState.AMBIGUOUS, RowState.NOT_SENT
ROWS = [(1, "a", C), (2, "b", F), (3, "c", A), (4, "d", S), (5, "a", C)]


@pytest.mark.parametrize(
    ("contents", "states"),
    [
        ("abcda", [C, F, A, S, C]),
        ("aBcda", [C, N, A, S, C]),  # what failed is corrected
        ("acda", [C, A, S, C]),  # or removed
        ("xaybcda", [N, C, N, F, A, S, C]),
        ("dcaab", [S, A, C, C, F]),  # sorted
        ("aacdxa", [C, C, A, S, N, N]),  # the third that is equal is another one
        ("abcdab", [C, F, A, S, C, N]),
        ("ab", [C, F]),  # nothing but what is known: the others were removed
        ("b", [F]),
    ],
)
async def test_a_row_is_known_by_its_content_wherever_it_stands(tmp_path, contents, states):
    path = tmp_path / "journal"
    await begun(path, ROWS)
    assert now(path, contents) == states
    lines = [*enumerate(contents, start=1)]
    async with Journal(path, NEXT, lambda: lines) as journal:
        assert [journal.states[line] for line, _ in lines] == states
        unresolved = [line for (line, _), state in zip(lines, states, strict=True) if state in UNRESOLVED]
        assert sorted(journal.states.unresolved) == unresolved
        assert journal.states.counts.total() == len(states) - states.count(N)
        assert journal.created_among(["wl-1", "wl-5"]) == {"wl-1", "wl-5"}
    # From now on it is the journal of this file, which need not be compared.
    assert [read_journal(path, NEXT)[line] for line, _ in lines] == states


@pytest.mark.parametrize(
    ("back", "states"),
    [("abcda", [C, N, A, S, C]), ("aabcd", [C, C, N, A, S]), ("xdcaa", [N, S, A, C, C]), ("axa", [C, N, C])],
)
async def test_a_row_that_was_removed_and_comes_back_is_still_known(tmp_path, back, states):
    path = tmp_path / "journal"
    await begun(path, ROWS)
    for size, contents in enumerate(["ab", "a", "d", "aa", "a"], start=3):
        lines = [*enumerate(contents, start=1)]
        header = msgspec.structs.replace(HEADER, size=size)
        async with Journal(path, header, lambda lines=lines: lines) as journal:
            assert sorted(journal.states.unresolved) == [line for line, content in lines if content == "d"]
            assert journal.states.counts[C] == contents.count("a")
            assert journal.states.removed == {
                3: "line 3 (it may have been created), line 4 (it may have been created), line 5 (worklog wl-5)",
                5: "line 1 (worklog wl-1)",
                6: "line 1 (it may have been created)",
                7: "line 2 (worklog wl-5)",
            }.get(size, "")
    assert now(path, back) == states
    lines = [*enumerate(back, start=1)]
    await begun(path, [], NEXT, lambda: lines)
    read = read_journal(path, NEXT)
    assert [read[line] for line, _ in lines] == states
    assert sorted(read.unresolved) == [line for line, content in lines if content in "cd"]
    assert set(read.unresolved.values()) <= {FirstSend(NOON, None)}


@pytest.mark.parametrize(
    ("contents", "missing"),
    [
        ("Abcda", r"line 5 \(worklog wl-5\)"),
        ("abCda", r"line 3 \(it may have been created\)"),
        ("abcDa", r"line 4 \(it may have been created\)"),
        ("xyz", r"line 1 .*, line 3 .*, line 4 .*, line 5 \(worklog wl-5\)\. Put"),
    ],
)
async def test_a_row_that_may_have_been_created_has_to_stay_beside_others(tmp_path, contents, missing):
    path = tmp_path / "journal"
    await begun(path, ROWS)
    before = path.read_bytes()
    lines = [*enumerate(contents, start=1)]
    for make in (Journal, read_journal):
        with pytest.raises(StoreError, match=f"the file was changed since, and rows that were created .*: {missing}"):
            make(path, NEXT, lambda: lines)
    assert path.read_bytes() == before


async def test_of_many_that_are_missing_the_first_are_named(tmp_path):
    await begun(tmp_path / "journal", [(line, str(line), C) for line in range(1, 9)])
    with pytest.raises(StoreError, match=r"line 5 \(worklog wl-5\), and 3 more\. Put these rows back"):
        now(tmp_path / "journal", "x")


async def test_a_row_of_unknown_content_is_missing(tmp_path):
    await begun(tmp_path / "journal", [(1, None, C)])
    with pytest.raises(StoreError, match="line 1"):
        now(tmp_path / "journal", ["a"])


async def test_a_file_can_be_changed_again_and_again(tmp_path):
    path = tmp_path / "journal"
    await begun(path, [(1, "a", C), (2, "b", F), (3, "c", C)])
    lines = [(1, "x"), (2, "a"), (3, "B"), (4, "c")]
    await begun(path, [(1, "x", F), (3, "B", C)], NEXT, lambda: lines)
    third = msgspec.structs.replace(HEADER, size=3)
    assert now(path, "cXaB", third) == [C, N, C, C]
    assert now(path, "axc", third) == [C, F, C]
    await begun(path, [(2, "X", A)], third, lambda: [*enumerate("cXaB", start=1)])
    assert now(path, "XBac", msgspec.structs.replace(HEADER, size=4)) == [A, C, C, C]
    revisions = [json.loads(line) for line in path.read_bytes().splitlines() if line.startswith(b'{"moved"')]
    assert [each["moved"] for each in revisions] == [[[1, 2, 1], [3, 4, 1]], [[2, 3, 2], [4, 1, 1]]]


async def test_a_file_of_which_nothing_was_created_may_be_any_other(tmp_path):
    await begun(tmp_path / "journal", [(1, "a", F), (2, "b", N)])
    assert now(tmp_path / "journal", "xyz") == [N, N, N]


async def test_a_row_that_was_not_sent_after_all_need_not_stay(tmp_path):
    path = tmp_path / "journal"
    async with Journal(path, HEADER) as journal:
        for line, content in ((1, "a"), (2, "b")):
            await journal.record_sent(line, NOON, None, content)
        journal.record_created(1, "wl-1")
        journal.record_not_sent(2, "the server is gone")
    assert now(path, "xa") == [N, C]
    assert now(path, "ba") == [N, C]


async def test_a_revision_that_names_rows_beyond_the_end_is_damage(tmp_path):
    path = tmp_path / "journal"
    await begun(path, [(1, "a", C)])
    with path.open("ab") as file:
        file.write(b'{"moved":[[7,1,1]],"size":2,"sha256":"b","format":"csv","raw":false,"reading":""}\n')
    with pytest.raises(StoreError, match="is damaged at line 4"):
        read_journal(path, NEXT)


@given(
    rows=st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([C, F, A, S, N])), min_size=1, max_size=12),
    changes=st.lists(st.lists(st.sampled_from("abcde"), min_size=1, max_size=14), min_size=1, max_size=4),
)
def test_what_may_have_been_created_is_never_sent_as_another_row(rows, changes):
    """A model of contents and their numbers, against any corrections, removals, additions and orders."""
    sent = [(line, content, state) for line, (content, state) in enumerate(rows, start=1)]
    before = collections.Counter(content for content, _ in rows)
    maybe = collections.Counter(content for _, content, state in sent if state in KNOWN)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "journal")
        asyncio.run(begun(path, sent))
        for size, changed in enumerate(changes, start=2):
            here, header = collections.Counter(changed), msgspec.structs.replace(HEADER, size=size)
            try:
                states = now(path, changed, header)
            except StoreError:
                assert maybe & before - here  # one is missing that was there
                continue
            known = [content for content, state in zip(changed, states, strict=True) if state in KNOWN]
            assert collections.Counter(known) == maybe & here
            assert not (maybe & before) - here or N not in states
            asyncio.run(begun(path, [], header, lambda changed=changed: [*enumerate(changed, start=1)]))
            before = here


def test_the_content_of_a_row_is_what_is_sent():
    whole, real, other = (
        content_of(
            NewWorklog(item_id="1", user_id="2", date=dt.date(2024, 5, 1), minutes=minutes), API_VERSIONS["2.0"]()
        )
        for minutes in (30, 30.0, 31)
    )
    assert whole == real != other


async def test_an_ambiguous_row_stays_ambiguous_in_a_file_that_was_corrected(emulator, file, rows, route, posts):
    made, given = file(rows(6)), rows(6)
    emulator.faults.add(faults.Reset(), method="POST", route=route, nth=2)
    emulator.faults.add(faults.Status(422), method="POST", route=route, nth=4)
    first = await made.load(emulator, concurrency=1)
    assert (first.done, first.failed, first.ambiguous) == (4, 1, 1)
    given[3]["minutes"] = 99
    made = file([*reversed(given)])
    second = await made.load(emulator, concurrency=1)
    assert (second.done, second.already, second.ambiguous, second.errors[0].line) == (1, 4, 1, 5)
    assert posts(emulator) == 7
    third = await made.load(emulator, resend_ambiguous=True)
    assert (third.done, third.already) == (1, 5)
    assert emulator.count == 6
