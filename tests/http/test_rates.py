"""How `RateLimiter` finds a server's rate: whole runs on virtual time, outages, late answers."""

from __future__ import annotations

import heapq
import random

import pytest

from tests.http.conftest import Bucket
from tracket_async._http.limits import Clock, RateLimiter


class Run:
    """Workers that send as soon as the limiter lets them, on virtual time.

    Args:
        rate, burst: of the server's token bucket.
        pause: seconds of its Retry-After.
        latency: seconds before each answer.
        jitter: seconds by which requests and answers are late, on average.
        outage: from and until when the server refuses everything.
    """

    def __init__(self, *, rate, burst=1, pause=0.0, latency=0.05, jitter=0.0, workers=16, outage=(0.0, 0.0)):
        self.limiter = RateLimiter(clock=Clock())
        self.bucket, self.pause, self.latency, self.jitter = Bucket(rate, burst), pause, latency, jitter
        self.outage, self.chance = outage, random.Random(1)
        self.idle = [0.0] * workers  # from when on each may send
        self.answers = []  # (when, began, whether it was accepted)
        self.accepted, self.refused, self.now = [], 0, 0.0

    def _late(self):
        return self.chance.expovariate(1 / self.jitter) if self.jitter else 0.0

    def step(self):
        limiter = self.limiter
        start = float("inf")
        if self.idle:
            free = max(self.idle[0], self.now)
            start = limiter.start_at(free) if limiter.is_limiting else free
        if self.answers and self.answers[0][0] <= start:
            self.now, began, accepted = heapq.heappop(self.answers)
            again = self.now
            if accepted:
                limiter.on_success(began=began, now=self.now)
                self.accepted.append(self.now)
            else:
                self.refused += 1
                if not limiter.on_refusal(began=began, now=self.now, pause=self.pause):
                    again += self.pause
            heapq.heappush(self.idle, again)
            return
        heapq.heappop(self.idle)
        self.now = start
        limiter.note_start(start)
        arrived = start + self._late()
        down = self.outage[0] <= arrived < self.outage[1]
        accepted = not down and self.bucket.accepts(max(arrived, self.bucket.at))
        heapq.heappush(self.answers, (arrived + self.latency + self._late(), start, accepted))

    def until_accepted(self, count):
        while len(self.accepted) < count:
            self.step()
        return self.accepted[-1]


@pytest.mark.parametrize("latency", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("pause", [0.0, 1.0])
@pytest.mark.parametrize("burst", [1, 10])
@pytest.mark.parametrize("rate", [10, 50])
def test_a_run_of_twenty_seconds_keeps_the_budgets(rate, burst, pause, latency):
    run, count = Run(rate=rate, burst=burst, pause=pause, latency=latency, jitter=0.0001), 20 * rate
    seconds = run.until_accepted(count)
    assert seconds <= 1.2 * max((count - burst) / rate, count * latency / 16)
    assert run.refused <= (0.05 if count >= 500 else 0.13) * count  # nothing is known at first, and all 16 are sent


@pytest.mark.parametrize("burst", [1, 10])
def test_where_each_refusal_stops_everything_there_are_few(burst):
    run = Run(rate=50, burst=burst, pause=1.0, latency=0.001, jitter=0.0001, workers=1)
    assert run.until_accepted(1000) <= 1.2 * (1000 - burst) / 50
    assert run.refused <= 3


@pytest.mark.parametrize("pause", [0.0, 1.0])
@pytest.mark.parametrize("seconds", [10, 120, 600])
def test_after_an_outage_the_rate_is_back_within_half_a_minute(seconds, pause):
    end = 30 + seconds
    run = Run(rate=50, burst=10, pause=pause, outage=(30, end))
    run.until_accepted(2500)
    assert run.now < end + 60
    assert run.refused < 100


def test_an_outage_of_a_server_that_refused_nothing_before_is_forgotten_too():
    run = Run(rate=1000, burst=1000, outage=(5, 65))
    run.until_accepted(1000 + 3000)
    assert run.now < 100


@pytest.mark.parametrize("pause", [0.0, 1.0])
@pytest.mark.parametrize("seconds", [3, 60, 600])
def test_after_an_outage_at_the_beginning_the_rate_is_found_within_half_a_minute(seconds, pause):
    run = Run(rate=50, burst=10, pause=pause, outage=(0.0, seconds))
    run.until_accepted(1000)
    assert run.now < seconds + 60
    assert run.refused < 100


def test_time_in_which_nobody_asks_does_not_slow_the_search():
    run = Run(rate=100, burst=10)
    run.until_accepted(14)  # some after the first refusal
    workers, run.idle = len(run.idle) + len(run.answers), []
    while run.answers:
        run.step()
        run.idle = []
    began = run.now + 5
    run.idle = [began] * workers
    run.until_accepted(14 + 300)
    assert run.now - began < 4


def test_a_server_that_is_slow_from_the_beginning_is_probed_again_once():
    run = Run(rate=0.1, burst=1)
    run.until_accepted(60)
    assert run.refused < 70


def test_a_server_that_has_become_slow_is_probed_again_once():
    run = Run(rate=50, burst=1)
    run.until_accepted(500)
    run.bucket.rate = 0.05
    run.until_accepted(502)
    refused = run.refused
    run.until_accepted(520)
    assert run.refused - refused < 60


def test_a_rate_that_holds_nothing_back_does_not_grow():
    limiter = RateLimiter(clock=Clock())
    limiter.on_refusal(began=0.0, now=0.0)
    for n in range(1, 40):
        limiter.note_start(n / 20)
        limiter.on_success(began=n / 20, now=n / 20 + 0.001)
    limiter.note_start(2.0)
    limiter.on_refusal(began=2.0, now=2.001)
    learned = limiter.rate()
    for n in range(1000):
        limiter.note_start(10.0 + n)
        limiter.on_success(began=10.0 + n, now=10.001 + n)
    assert limiter.rate() == pytest.approx(learned, rel=0.1)


def answered(limiter, *, began, now):
    limiter.note_start(began)
    limiter.on_success(began=began, now=now)
    return limiter.start_at(now) - now


def test_a_late_answer_puts_off_the_next_attempt_where_the_bucket_holds_one():
    limiter = RateLimiter(clock=Clock())
    limiter.on_success(began=0.0, now=0.01)
    limiter.on_refusal(began=0.01, now=0.02)
    gap = answered(limiter, began=0.2, now=0.21) + 0.01
    late = answered(limiter, began=1.2, now=1.25)
    # The request may have arrived 0.04 s late, and then the next one must not come before the token.
    assert late == pytest.approx(gap - 0.01, rel=0.6)
    assert late > gap / 2


def test_a_late_answer_puts_off_nothing_where_the_bucket_holds_more():
    limiter = RateLimiter(clock=Clock())
    for n in range(10):
        limiter.on_success(began=n / 1000, now=n / 1000 + 0.01)
    limiter.on_refusal(began=0.01, now=0.02)
    answered(limiter, began=0.2, now=0.21)
    rate = limiter.rate()
    assert answered(limiter, began=1.2, now=1.25) <= 1 / rate - 0.05 + 1e-9


def test_what_a_bucket_holds_is_seen_where_it_fills_between_two_bursts():
    run = Run(rate=50, burst=10, latency=0.2)
    run.until_accepted(400)
    assert 45 < run.limiter.rate() < 56
