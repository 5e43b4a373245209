"""What a journal says about each row."""

from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from tracket_async.importer.journal import UNRESOLVED, FirstSend, JournalEntry, RowState, RowStates

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


def ambiguous(line):
    return JournalEntry(line=line, ambiguous="who knows")


def test_a_row_that_was_sent_is_in_doubt_until_its_outcome_is_there():
    states = after(sent(7, clock=-0.5))
    assert states[7] is RowState.SENT
    assert states.unresolved == {7: FirstSend(NOON, -0.5)}
    states.apply(ok(7))
    assert states[7] is RowState.CREATED
    assert states.unresolved == {}
    assert states.counts == {RowState.SENT: 0, RowState.CREATED: 1}


def test_a_row_that_failed_is_in_no_doubt():
    states = after(sent(1), failed(1))
    assert (states[1], states.unresolved) == (RowState.FAILED, {})


def test_an_ambiguous_row_stays_in_doubt_and_can_turn_out_well():
    states = after(sent(1), ambiguous(1))
    assert (states[1], set(states.unresolved)) == (RowState.AMBIGUOUS, {1})
    states.apply(ok(1))
    assert (states[1], states.unresolved) == (RowState.CREATED, {})


def test_a_row_that_is_sent_again_is_in_doubt_since_it_was_sent_first():
    states = after(sent(1, 5), ambiguous(1), sent(1, 10))
    assert states.unresolved[1].at.minute == 5


def test_a_row_that_failed_and_is_sent_again_is_in_doubt_only_since_then():
    states = after(sent(1, 5), failed(1), sent(1, 10))
    assert states.unresolved[1].at.minute == 10


def test_a_line_that_was_never_heard_of_is_in_no_state():
    states = after(sent(3))
    assert [states[line] for line in (0, 1, 2, 4, 10**9)] == [RowState.NOT_SENT] * 5


@given(
    st.lists(st.tuples(st.integers(1, 300), st.sampled_from([sent, ok, failed, ambiguous])), max_size=200),
)
def test_the_counts_are_those_of_the_states(steps):
    states = after(*(make(line) for line, make in steps))
    found = [states[line] for line in range(301)]
    for state in (RowState.SENT, RowState.CREATED, RowState.FAILED, RowState.AMBIGUOUS):
        assert states.counts[state] == found.count(state)
    assert {line for line, state in enumerate(found) if state in UNRESOLVED} >= set(states.unresolved)
