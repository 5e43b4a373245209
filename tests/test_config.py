"""What the settings accept, and that they name what they refuse."""

from __future__ import annotations

import functools
import math
import time

import attrs
import pytest

from tracket_async.config import CallOptions, Limits, RetryPolicy, Timeouts
from tracket_async.errors import ConfigurationError


async def async_rate(_share=0):
    """Wait for a rate that several processes share."""


class AsyncRate:
    """The same as an object."""

    async def __call__(self):
        """Wait."""

    async def take(self):
        """Wait."""


SECONDS = [
    (Timeouts, "connect"),
    (Timeouts, "read"),
    (Timeouts, "attempt"),
    (Timeouts, "total"),
    (Limits, "requests_per_second"),
    (Limits, "keepalive_expiry"),
    (Limits, "dns_cache_ttl"),
    (CallOptions, "timeout"),
]
SECONDS_OR_ZERO = [
    (RetryPolicy, name)
    for name in ("wait_initial", "wait_initial_rate_limited", "wait_max", "max_retry_after", "wait_jitter")
]
COUNTS = [
    (RetryPolicy, "attempts"),
    (RetryPolicy, "budget"),
    (Limits, "max_concurrency"),
    (Limits, "max_response_bytes"),
    (CallOptions, "attempts"),
]
OPTIONAL = [
    *[(Timeouts, field.name) for field in attrs.fields(Timeouts)],
    (Limits, "requests_per_second"),
    (RetryPolicy, "budget"),
    (CallOptions, "timeout"),
    (CallOptions, "attempts"),
]


@pytest.mark.parametrize("awaited", [async_rate, AsyncRate(), AsyncRate().take, functools.partial(async_rate, 1)])
def test_the_rate_may_be_an_async_callable(awaited):
    assert Limits(requests_per_second=awaited).requests_per_second is awaited


@pytest.mark.parametrize("called", [lambda: None, time.sleep, dict])
def test_a_rate_that_cannot_be_awaited_is_refused_at_construction(called):
    with pytest.raises(ConfigurationError, match=r"^Limits\.requests_per_second must be a number or an async callable"):
        Limits(requests_per_second=called)


def refused(cls, name, value):
    with pytest.raises(ConfigurationError, match=rf"^{cls.__name__}\.{name} must be"):
        cls(**{name: value})
    return True


def test_the_defaults_are_those_of_the_documentation():
    assert Timeouts() == Timeouts(connect=5, read=10, attempt=30, total=90)
    assert RetryPolicy() == RetryPolicy(
        attempts=4,
        wait_initial=0.5,
        wait_initial_rate_limited=1,
        wait_max=20,
        max_retry_after=300,
        wait_jitter=1,
        budget=500,
    )
    assert Limits().max_response_bytes == 32 * 1024 * 1024
    assert Limits().adaptive
    assert Limits().requests_per_second is None
    assert CallOptions() == CallOptions(timeout=None, attempts=None)


@pytest.mark.parametrize(("cls", "name"), SECONDS + SECONDS_OR_ZERO)
def test_a_duration_is_a_finite_number_that_is_not_negative(cls, name):
    assert getattr(cls(**{name: 0.001}), name) == 0.001
    assert all(refused(cls, name, value) for value in (-0.001, math.inf, math.nan, "5", True, False))


@pytest.mark.parametrize(("cls", "name"), SECONDS)
def test_a_duration_in_which_something_must_happen_is_not_zero(cls, name):
    assert refused(cls, name, 0)


@pytest.mark.parametrize(("cls", "name"), SECONDS_OR_ZERO)
def test_a_wait_may_be_zero(cls, name):
    assert getattr(cls(**{name: 0}), name) == 0


@pytest.mark.parametrize(("cls", "name"), COUNTS)
def test_a_count_is_a_whole_number_from_one_up(cls, name):
    assert getattr(cls(**{name: 1}), name) == 1
    assert all(refused(cls, name, value) for value in (0, -1, 1.0, "1", True))


@pytest.mark.parametrize(("cls", "name"), OPTIONAL)
def test_none_means_without_a_limit_or_the_sessions_own(cls, name):
    assert getattr(cls(**{name: None}), name) is None


@pytest.mark.parametrize(("cls", "name"), [pair for pair in SECONDS + SECONDS_OR_ZERO + COUNTS if pair not in OPTIONAL])
def test_none_is_refused_where_there_must_be_a_limit(cls, name):
    assert refused(cls, name, None)


def test_adaptive_is_true_or_false():
    assert Limits(adaptive=False).adaptive is False
    assert refused(Limits, "adaptive", 0)


@pytest.mark.parametrize("settings", [Timeouts(), RetryPolicy(), Limits(), CallOptions()])
def test_settings_do_not_change(settings):
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(settings, attrs.fields(type(settings))[0].name, 1)


def test_a_rate_may_be_a_callable_that_gives_permits():
    async def permit():
        """Permit at once."""

    assert Limits(requests_per_second=permit).requests_per_second is permit
