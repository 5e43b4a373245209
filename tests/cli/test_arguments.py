"""What dates, bounds and models accept from a shell."""

from __future__ import annotations

import datetime as dt

import pytest

from tracket_async.cli.options import Selection, refusals
from tracket_async.errors import ConfigurationError, UsageError
from tracket_async.models import NewWorklog


def test_what_a_model_refuses_is_the_users_mistake():
    with pytest.raises(UsageError, match="minutes must be a finite number"), refusals():
        NewWorklog(item_id="1", user_id="2", date=dt.date(2024, 5, 20), minutes=-1)
    with pytest.raises(UsageError, match="item_id must be a string"), refusals():
        NewWorklog(item_id=1, user_id="2", date=dt.date(2024, 5, 20), minutes=1)


def test_an_error_of_the_package_stays_what_it_is():
    with pytest.raises(ConfigurationError, match="as it was"), refusals():
        raise ConfigurationError("as it was")


def test_a_selection_becomes_a_filter_of_whole_days():
    day = dt.date(2024, 5, 20)
    made = Selection(since=day, until=day, updated_since=day).filter(sort_by="updated_date", descending=True)
    assert made.since == dt.datetime(2024, 5, 20, tzinfo=dt.UTC)
    assert made.until == dt.datetime(2024, 5, 20, 23, 59, 59, 999_999, tzinfo=dt.UTC)
    assert made.updated_since == made.since
    assert (made.created_since, made.created_until, made.updated_until) == (None, None, None)
    assert (made.sort_by, made.descending) == ("updated_date", True)


def test_bounds_that_are_the_wrong_way_round_are_the_users_mistake():
    with pytest.raises(UsageError, match=r"since .* is after until"):
        Selection(since=dt.date(2024, 5, 21), until=dt.date(2024, 5, 20)).filter()
