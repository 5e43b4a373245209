"""What is said about how far it is."""

from __future__ import annotations

from types import SimpleNamespace

from tracket_async.export.progress import EVERY, ProgressReporter


def reporter(heard, times):
    session = SimpleNamespace(retries=3, paused_for=1.5)
    return ProgressReporter(heard.append, statistics=lambda: session, clock=lambda: times[0])


def test_it_is_said_at_most_ten_times_a_second_unless_it_must_be():
    heard, times = [], [100.0]
    one = reporter(heard, times)
    one.report("fetching", 1)
    times[0] += EVERY * 0.99
    one.report("fetching", 2)
    assert [event.done for event in heard] == [1]
    one.report("fetching", 3, always=True)
    times[0] += EVERY * 0.99
    one.report("fetching", 4)
    assert not one.is_due
    times[0] += EVERY * 0.02
    assert one.is_due
    one.report("fetching", 5, total=9)
    assert [event.done for event in heard] == [1, 3, 5]
    assert heard[-1].total == 9
    assert heard[-1].retries == 3
    assert heard[-1].paused_for == 1.5
    assert 0.19 < heard[-1].seconds < 0.21


def test_nobody_needs_to_listen():
    nobody = ProgressReporter(None, statistics=lambda: None, clock=lambda: 0.0)
    assert not nobody.is_due
    nobody.report("fetching", 1, always=True)
