"""The values that a caller may give, and those that are refused before anything is sent."""

from __future__ import annotations

import copy
import datetime as dt
import pickle
from functools import partial

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracket_async.models import UNSET, ApprovalStatus, NewWorklog, Page, Unset, Worklog, WorklogChanges, WorklogFilter

NOON = dt.datetime(2024, 3, 1, 12, tzinfo=dt.UTC)
TOKYO = dt.timezone(dt.timedelta(hours=9))
REQUIRED = {"item_id": "1", "user_id": "2", "date": NOON, "minutes": 30}


def worklog(**given_fields):
    return Worklog(**{"id": "w", "user_id": "u", "date": NOON, "minutes": 1.0} | given_fields)


def test_a_new_worklog_keeps_what_it_is_given():
    new = NewWorklog(
        **REQUIRED,
        description="",
        category_id="c",
        billable_minutes=0,
        team_id="t",
        project_id="p",
        custom_fields={"x": "1"},
    )
    assert attrs.asdict(new) == REQUIRED | {
        "description": "",
        "category_id": "c",
        "billable_minutes": 0,
        "team_id": "t",
        "project_id": "p",
        "custom_fields": {"x": "1"},
    }


@pytest.mark.parametrize(
    ("given_date", "kept"),
    [
        (dt.date(2024, 3, 1), dt.datetime(2024, 3, 1, tzinfo=dt.UTC)),
        (NOON, NOON),
        (dt.datetime(2024, 3, 1, 8, tzinfo=TOKYO), dt.datetime(2024, 2, 29, 23, tzinfo=dt.UTC)),
    ],
)
def test_a_date_is_a_moment_and_a_datetime_keeps_its_day_as_written(given_date, kept):
    for made in (NewWorklog(**REQUIRED | {"date": given_date}), WorklogChanges(date=given_date)):
        assert made.date == kept
        written = given_date if isinstance(given_date, dt.datetime) else kept
        assert made.date.isoformat() == written.isoformat()


BAD_VALUES = [
    ("item_id", "", ValueError),
    ("item_id", " ", ValueError),
    ("item_id", 7, TypeError),
    ("user_id", "", ValueError),
    ("user_id", None, TypeError),
    ("date", dt.datetime(2024, 3, 1), ValueError),  # noqa: DTZ001 - it is the naive one that is refused
    ("date", "2024-03-01", TypeError),
    ("date", None, TypeError),
    ("minutes", float("nan"), ValueError),
    ("minutes", float("inf"), ValueError),
    ("minutes", 10**400, ValueError),
    ("minutes", -(10**400), ValueError),
    ("minutes", True, TypeError),
    ("minutes", "30", TypeError),
    ("description", 7, TypeError),
    ("category_id", "", ValueError),
    ("billable_minutes", float("-inf"), ValueError),
    ("team_id", "", ValueError),
    ("project_id", 7, TypeError),
    ("custom_fields", [], TypeError),
    ("custom_fields", {"": "1"}, TypeError),
    ("custom_fields", {"category": "1"}, ValueError),
    ("custom_fields", {"project": "1"}, ValueError),
]


EARLIEST_IN_AUCKLAND = dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=13)))


def test_a_moment_that_utc_has_no_year_for_is_refused_by_the_name_of_its_field():
    with pytest.raises(ValueError, match="date is outside of the years"):
        NewWorklog(**REQUIRED | {"date": EARLIEST_IN_AUCKLAND})
    with pytest.raises(ValueError, match="since is outside of the years"):
        WorklogFilter(since=EARLIEST_IN_AUCKLAND)


@pytest.mark.parametrize(("field", "value", "error"), BAD_VALUES)
def test_a_bad_value_is_refused_by_the_name_of_its_field(field, value, error):
    with pytest.raises(error, match=field):
        NewWorklog(**REQUIRED | {field: value})
    with pytest.raises(error, match=field):
        WorklogChanges(**{field: value})


@pytest.mark.parametrize("field", ["description", "category_id", "billable_minutes", "team_id", "project_id"])
def test_null_and_unset_are_two_things(field):
    assert getattr(WorklogChanges(), field) is UNSET
    assert getattr(WorklogChanges(**{field: None}), field) is None
    assert getattr(NewWorklog(**REQUIRED | {field: None}), field) is None


@pytest.mark.parametrize("field", ["item_id", "user_id", "date", "minutes", "custom_fields"])
def test_what_the_api_does_not_let_be_null_does_not_take_none(field):
    with pytest.raises(TypeError, match=field):
        WorklogChanges(**{field: None})


def test_unset_is_one_thing_however_it_is_copied():
    assert pickle.loads(pickle.dumps(UNSET)) is UNSET
    assert copy.deepcopy(UNSET) is UNSET
    assert not UNSET
    assert repr(UNSET) == "UNSET"
    assert list(Unset) == [UNSET]


def test_a_worklog_cannot_be_changed_and_can_be_a_key():
    one = worklog(custom_fields={"a": "b"})
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        one.minutes = 2
    assert {one: 1}[worklog(custom_fields={"a": "b"})] == 1
    assert one != worklog(custom_fields={"a": "c"})
    assert pickle.loads(pickle.dumps(one)) == one
    assert not hasattr(one, "__dict__")


def test_the_day_of_a_worklog_is_its_utc_day():
    assert worklog(date=dt.datetime(2024, 3, 1, 23, 59, tzinfo=dt.UTC)).day == dt.date(2024, 3, 1)


def test_two_worklogs_share_no_custom_fields():
    assert worklog().custom_fields is not worklog().custom_fields


def test_a_status_is_a_string_that_compares():
    assert ApprovalStatus.OPEN == "open"
    assert [str(status) for status in ApprovalStatus] == ["open", "submitted", "approved", "rejected"]


def test_a_page_without_more_is_the_last():
    assert Page(items=[]) == Page(items=[], next_cursor=None, total=None, server_date=None)


PAIRS = [("since", "until"), ("created_since", "created_until"), ("updated_since", "updated_until")]


@pytest.mark.parametrize(("lower", "upper"), PAIRS)
def test_a_date_as_a_bound_means_the_whole_day(lower, upper):
    bounds = WorklogFilter(**{lower: dt.date(2024, 3, 1), upper: dt.date(2024, 3, 1)})
    assert getattr(bounds, lower) == dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
    assert getattr(bounds, upper) == dt.datetime(2024, 3, 1, 23, 59, 59, 999_999, tzinfo=dt.UTC)


@pytest.mark.parametrize(("lower", "upper"), PAIRS)
def test_bounds_that_nothing_can_meet_are_refused(lower, upper):
    with pytest.raises(ValueError, match=f"{lower}.* is after {upper}"):
        WorklogFilter(**{lower: NOON, upper: NOON - dt.timedelta(microseconds=1)})
    WorklogFilter(**{lower: NOON, upper: NOON})


@pytest.mark.parametrize("name", [name for pair in PAIRS for name in pair])
def test_a_bound_that_is_no_moment_is_refused(name):
    with pytest.raises(TypeError, match=name):
        WorklogFilter(**{name: "2024-03-01"})
    with pytest.raises(ValueError, match=name):
        WorklogFilter(**{name: dt.datetime(2024, 3, 1)})  # noqa: DTZ001 - naive on purpose


def test_an_unknown_order_is_refused():
    with pytest.raises(ValueError, match="sort_by"):
        WorklogFilter(sort_by="minutes")


MICROSECOND = dt.timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("field", "lower", "upper"),
    [("date", *PAIRS[0]), ("created_date", *PAIRS[1]), ("updated_date", *PAIRS[2])],
)
@pytest.mark.parametrize(("offset", "inside"), [(-1, False), (0, True), (1, True), (2, True), (3, False)])
def test_both_bounds_are_inclusive_to_the_microsecond(field, lower, upper, offset, inside):
    bounds = WorklogFilter(**{lower: NOON, upper: NOON + 2 * MICROSECOND})
    assert bounds.matches(worklog(**{field: NOON + offset * MICROSECOND})) is inside


@pytest.mark.parametrize("bound", [{"created_since": NOON}, {"created_until": NOON}])
def test_an_unknown_date_is_in_no_bounded_range(bound):
    assert not WorklogFilter(**bound).matches(worklog(created_date=None))
    assert WorklogFilter().matches(worklog(created_date=None))


@given(st.datetimes(timezones=st.timezones() | st.just(dt.UTC)))
def test_any_aware_moment_keeps_being_that_moment(moment):
    try:
        utc = moment.astimezone(dt.UTC)
    except OverflowError:
        return  # beyond the calendar, in UTC
    assert NewWorklog(**REQUIRED | {"date": moment}).date == utc == WorklogFilter(since=moment).since


def test_a_filter_takes_any_collection_of_values_and_matches_any_of_them():
    wanted = WorklogFilter(user_ids=["7", "8"], approval_statuses=("open",))
    assert wanted.values == {"user_id": {"7", "8"}, "approval_status": {"open"}}
    assert wanted.bounds_only() == WorklogFilter()
    assert WorklogFilter().bounds_only() is not None
    known = {"id": "1", "item_id": None, "date": NOON, "minutes": 1.0}
    for user, status, matches in (("7", "open", True), ("9", "open", False), ("8", "approved", False)):
        assert wanted.matches(Worklog(user_id=user, approval_status=status, **known)) is matches
    assert not WorklogFilter(item_ids={"1"}).matches(Worklog(user_id="7", **known))


@pytest.mark.parametrize(("values", "error"), [("7", TypeError), (7, TypeError), ([7], TypeError), ([" "], ValueError)])
def test_a_filter_refuses_values_that_are_no_strings_and_names_the_field(values, error):
    with pytest.raises(error, match="user_ids must"):
        WorklogFilter(user_ids=values)


@pytest.mark.parametrize("make", [WorklogChanges, partial(NewWorklog, user_id="u", date=NOON, minutes=1)])
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("nan", "stands for no value"),
        ("None", "stands for no value"),
        ("#REF!", "stands for no value"),
        (" 5", "white space around it"),
        ("5\u00a0", "white space around it"),
        ("5000204173.0", r"write \.0 behind numbers"),
    ],
)
def test_what_programs_write_in_the_place_of_an_id_is_refused(make, given, words):
    with pytest.raises(ValueError, match=f"item_id .*{words}"):
        make(item_id=given)
    assert make(item_id="5000204173").item_id == "5000204173"
