"""Which rows in doubt were created after all."""

from __future__ import annotations

import datetime as dt

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracket_async.models import NewWorklog, Worklog
from tracket_async.reconcile import CLOCK_MARGIN, AmbiguousRow, Snapshot, resolve

NOON = dt.datetime(2024, 6, 1, 12, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)
NEW = NewWorklog(item_id="i", user_id="u", date=dt.date(2024, 5, 20), minutes=90.0, description="met")


def doubt(line, new=NEW, at=NOON, clock=0.0, **changes):
    return AmbiguousRow(line, attrs.evolve(new, **changes), at, clock)


def worklog(id, created=NOON, **changes):  # noqa: A002
    values = {"item_id": "i", "user_id": "u", "minutes": 90.0, "description": "met", **changes}
    return Worklog(id=id, date=NEW.date, created_date=created, **values)


def look(doubts, *worklogs, clock=0.0, by_day=True):
    made = Snapshot(by_day)
    made.see(doubts, worklogs, clock)
    return made


def verdicts(doubts, *looks, claimed=()):
    """For each line, the id of what it is, or the ids of its candidates."""
    found = resolve(doubts, looks, claimed=claimed)
    assert [one.line for one in found] == [one.line for one in doubts]
    return {one.line: one.created.id if one.created else sorted(each.id for each in one.candidates) for one in found}


def test_the_only_worklog_is_the_row_s():
    doubts = [doubt(5)]
    assert verdicts(doubts, *[look(doubts, worklog("a"), worklog("b", minutes=5.0))] * 2) == {5: "a"}


def test_of_nothing_nobody_knows():
    doubts = [doubt(5)]
    assert verdicts(doubts, *[look(doubts)] * 2) == {5: []}


def test_one_that_arrives_between_the_looks_counts():
    doubts = [doubt(5)]
    assert verdicts(doubts, look(doubts), look(doubts, worklog("a"))) == {5: "a"}


def test_one_that_is_gone_at_the_last_look_is_a_candidate():
    doubts = [doubt(5)]
    assert verdicts(doubts, look(doubts, worklog("a")), look(doubts)) == {5: ["a"]}
    both = look(doubts, worklog("a"), worklog("b"))
    assert verdicts(doubts, both, look(doubts, worklog("b"))) == {5: ["a", "b"]}


def test_more_worklogs_than_rows_are_candidates_of_all():
    doubts = [doubt(5), doubt(6)]
    three = [worklog(each) for each in "abc"]
    assert verdicts(doubts, *[look(doubts, *three)] * 2) == {5: ["a", "b", "c"], 6: ["a", "b", "c"]}


def test_rows_that_are_alike_share_what_was_found():
    doubts = [doubt(5), doubt(6), doubt(7)]
    assert verdicts(doubts, *[look(doubts, *map(worklog, "abc"))] * 2) == {5: "a", 6: "b", 7: "c"}
    assert verdicts(doubts, *[look(doubts, *map(worklog, "ab"))] * 2) == {5: "a", 6: "b", 7: []}


def test_the_worklog_of_another_row_of_the_journal_is_none_of_theirs():
    doubts = [doubt(5)]
    two = look(doubts, worklog("a"), worklog("b"))
    assert verdicts(doubts, two, two, claimed={"a"}) == {5: "b"}
    assert verdicts(doubts, two, two, claimed={"a", "b"}) == {5: []}


def test_a_worklog_that_was_there_before_is_none_of_theirs():
    doubts = [doubt(5)]
    edge = NOON - CLOCK_MARGIN
    assert verdicts(doubts, *[look(doubts, worklog("a", edge - SECOND / 1000))] * 2) == {5: []}
    assert verdicts(doubts, *[look(doubts, worklog("a", edge))] * 2) == {5: "a"}


def test_of_two_rows_that_were_sent_at_different_times_each_has_its_own_past():
    doubts = [doubt(5), doubt(6, at=NOON + 60 * SECOND)]
    early, late = worklog("early", NOON), worklog("late", NOON + 60 * SECOND)
    assert verdicts(doubts, *[look(doubts, early, late)] * 2) == {5: "early", 6: "late"}


def test_one_of_an_unknown_age_is_never_the_answer_and_is_named():
    doubts = [doubt(5)]
    old = look(doubts, worklog("old", None))
    (verdict,) = resolve(doubts, [old, old])
    assert (verdict.created, verdict.candidates, [each.id for each in verdict.older]) == (None, (), ["old"])
    both = look(doubts, worklog("old", None), worklog("new"))
    assert verdicts(doubts, both, both) == {5: "new"}
    many = look(doubts, worklog("old", None), worklog("new"), worklog("newer"))
    (verdict,) = resolve(doubts, [many, many])
    assert ([each.id for each in verdict.candidates], [each.id for each in verdict.older]) == (
        ["new", "newer"],
        ["old"],
    )
    (verdict,) = resolve(doubts, [old, old], claimed={"old"})
    assert verdict.older == ()


def test_without_any_clock_everything_is_of_an_unknown_age():
    doubts = [doubt(5, clock=None)]
    (verdict,) = resolve(doubts, [look(doubts, worklog("a"), clock=None)] * 2)
    assert (verdict.created, [each.id for each in verdict.older]) == (None, ["a"])


@pytest.mark.parametrize(
    ("then", "now", "since"),
    [(0.0, 0.0, 0), (5.0, 0.0, 0), (0.0, 5.0, 0), (-9.5, 1.0, -9.5), (None, 3.0, 3), (3.0, None, 3)],
)
def test_of_what_is_known_about_the_clocks_the_earlier_moment_counts(then, now, since):
    assert doubt(1, clock=then).since(now) == NOON + since * SECOND - CLOCK_MARGIN


def test_rows_that_differ_in_what_is_not_compared_get_those_that_agree_with_them():
    doubts = [doubt(5, category_id="x"), doubt(6, category_id="y"), doubt(7, category_id="z")]
    found = look(doubts, worklog("b", category_id="z"), worklog("a", category_id="x"))
    assert verdicts(doubts, found, found) == {5: "a", 6: [], 7: "b"}


def test_what_agrees_with_no_row_is_given_only_if_it_does_not_matter_to_which():
    found = worklog("a", category_id=None)
    alike = [doubt(5, category_id="x"), doubt(6, category_id="x")]
    assert verdicts(alike, *[look(alike, found)] * 2) == {5: "a", 6: []}
    different = [doubt(5, category_id="x"), doubt(6, category_id="y")]
    assert verdicts(different, *[look(different, found)] * 2) == {5: ["a"], 6: ["a"]}


def test_custom_fields_agree_whatever_their_order():
    doubts = [doubt(5, custom_fields={"a": ["1"], "b": "2"}), doubt(6)]
    found = look(doubts, worklog("x"), worklog("y", custom_fields={"b": "2", "a": ["1"]}))
    assert verdicts(doubts, found, found) == {5: "y", 6: "x"}


@pytest.mark.parametrize("by_day", [True, False])
def test_where_only_days_are_kept_rows_of_one_day_are_alike(by_day):
    morning, evening = NEW.date.replace(hour=9), NEW.date.replace(hour=18)
    doubts = [doubt(5, date=morning), doubt(6, date=evening)]
    one = attrs.evolve(worklog("a"), date=NEW.date if by_day else morning)
    assert verdicts(doubts, *[look(doubts, one, by_day=by_day)] * 2) == {5: "a", 6: []}
    two = attrs.evolve(worklog("b"), date=NEW.date if by_day else evening)
    both = look(doubts, one, two, by_day=by_day)
    assert verdicts(doubts, both, both) == {5: "a", 6: "b"}


def test_a_worklog_is_given_once_even_if_two_that_differ_a_little_match_it():
    doubts = [doubt(5, minutes=90.0000004), doubt(6, minutes=90.0000006)]
    assert doubts[0].key(by_day=True) != doubts[1].key(by_day=True)
    found = look(doubts, worklog("a"))
    assert verdicts(doubts, found, found) == {5: "a", 6: []}


@given(
    rows=st.lists(st.tuples(st.sampled_from("xyz"), st.booleans()), max_size=12),
    others=st.integers(0, 3),
    claimed=st.sets(st.integers(0, 11)),
)
def test_no_worklog_is_given_twice_and_without_others_every_created_row_is_found(rows, others, claimed):
    """Each row has a category, and was created or not; some others of the same content may have been, too."""
    doubts = [doubt(line, category_id=category) for line, (category, _) in enumerate(rows)]
    worklogs = [worklog(f"w{line}", category_id=category) for line, (category, is_there) in enumerate(rows) if is_there]
    foreign = [worklog(f"o{number}", category_id="x") for number in range(others)]
    ids = {f"w{line}" for line in claimed}
    found = resolve(doubts, [look(doubts, *worklogs, *foreign)] * 2, claimed=ids) if doubts else []
    given_away = [one.created.id for one in found if one.created is not None]
    assert len(given_away) == len(set(given_away))
    assert ids.isdisjoint(given_away)
    if not others:
        assert set(given_away) == {each.id for each in worklogs} - ids
