"""A pause of the whole session lasts as long as the longest that was asked for."""

from __future__ import annotations

import pytest

from tracket_async._http.limits import Pause
from tracket_async.errors import RateLimitedError, ServerError


def test_without_a_pause_nothing_remains():
    assert Pause().remaining(0) == 0


def test_it_lasts_as_long_as_it_was_asked_to():
    pause = Pause()
    assert pause.begin(10, status=429, now=100)
    assert pause.remaining(100) == 10
    assert pause.remaining(109.5) == 0.5
    assert pause.remaining(110) == 0
    assert pause.remaining(200) == 0


def test_a_longer_one_takes_its_place_and_a_shorter_one_does_not():
    pause = Pause()
    assert pause.begin(10, status=429, now=100)
    assert not pause.begin(5, status=503, now=101)
    assert not pause.begin(9, status=503, now=101)
    assert pause.remaining(101) == 9
    assert pause.begin(9.5, status=503, now=101)
    assert pause.remaining(101) == 9.5


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimitedError), (503, ServerError)])
def test_who_cannot_wait_is_told_what_the_server_would_say(status, kind):
    pause = Pause()
    pause.begin(10, status=status, now=100)
    error = pause.error(104)
    assert type(error) is kind
    assert (error.status, error.retry_after, error.stopped_by) == (status, 6, "retry_after")
    assert not error.maybe_sent
