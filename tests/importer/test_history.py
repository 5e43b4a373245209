"""What a journal says about each row."""

from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from tracket_async.importer.journal import UNRESOLVED, FirstSend, JournalEntry, RowState, RowStates

NOON = dt.datetime(2024, 6, 1, 12, tzinfo=dt.UTC)


def after(*entries):
    history = RowStates()
    for entry in entries:
        history.take(entry)
    return history


def sent(line, minute=0, clock=None):
    return JournalEntry(line=line, sent=NOON.replace(minute=minute), clock=clock)


def ok(line):
    return JournalEntry(line=line, ok="id")


def failed(line):
    return JournalEntry(line=line, failed="no")


def ambiguous(line):
    return JournalEntry(line=line, ambiguous="who knows")


def test_a_row_that_was_sent_is_in_doubt_until_its_outcome_is_there():
    history = after(sent(7, clock=-0.5))
    assert history.of(7) is RowState.SENT
    assert history.unresolved == {7: FirstSend(NOON, -0.5)}
    history.take(ok(7))
    assert history.of(7) is RowState.OK
    assert history.unresolved == {}
    assert history.counts == {RowState.SENT: 0, RowState.OK: 1}


def test_a_row_that_failed_is_in_no_doubt():
    history = after(sent(1), failed(1))
    assert (history.of(1), history.unresolved) == (RowState.FAILED, {})


def test_an_ambiguous_row_stays_in_doubt_and_can_turn_out_well():
    history = after(sent(1), ambiguous(1))
    assert (history.of(1), set(history.unresolved)) == (RowState.AMBIGUOUS, {1})
    history.take(ok(1))
    assert (history.of(1), history.unresolved) == (RowState.OK, {})


def test_a_row_that_is_sent_again_is_in_doubt_since_it_was_sent_first():
    history = after(sent(1, 5), ambiguous(1), sent(1, 10))
    assert history.unresolved[1].at.minute == 5


def test_a_row_that_failed_and_is_sent_again_is_in_doubt_only_since_then():
    history = after(sent(1, 5), failed(1), sent(1, 10))
    assert history.unresolved[1].at.minute == 10


def test_a_line_that_was_never_heard_of_is_in_no_state():
    history = after(sent(3))
    assert [history.of(line) for line in (0, 1, 2, 4, 10**9)] == [RowState.NOTHING] * 5


@given(
    st.lists(st.tuples(st.integers(1, 300), st.sampled_from([sent, ok, failed, ambiguous])), max_size=200),
)
def test_the_counts_are_those_of_the_states(steps):
    history = after(*(make(line) for line, make in steps))
    states = [history.of(line) for line in range(301)]
    for state in (RowState.SENT, RowState.OK, RowState.FAILED, RowState.AMBIGUOUS):
        assert history.counts[state] == states.count(state)
    assert {line for line, state in enumerate(states) if state in UNRESOLVED} >= set(history.unresolved)
