"""A worker asks the coordinator before each attempt and tells it what the server answers."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("distributed")

from tracket_async import SharedRate
from tracket_async.errors import ClientStateError, UsageError
from tracket_async.integrations.dask.worker import CoordinatedRate, require_versions, versions


class Asked:
    """Takes note of every question; ``error`` is raised by all but permits."""

    def __init__(self, error=None):
        self.questions = []
        self.error = error

    async def __call__(self, question, **given):
        self.questions.append((question, given))
        if self.error is not None and question != "permit":
            raise self.error
        return 17.5


async def turns():
    for _ in range(3):
        await asyncio.sleep(0)


async def test_successes_go_with_the_next_question_for_a_permit():
    asked = Asked()
    rate = CoordinatedRate(asked, "tcp://a")
    assert isinstance(rate, SharedRate)
    rate.on_success(1.5)
    rate.on_success(1.25)
    rate.on_reading(7, 100)
    rate.on_reading(7, 200)
    assert await rate.acquire() == 17.5
    await rate.acquire()
    (first, given), (second, empty) = asked.questions
    assert (first, second) == ("permit", "permit")
    assert given["told"] == [("success", 1.5, 0.0), ("success", 1.25, 0.0)]
    assert given["reading"] == [(7, 200)]
    assert empty == {"told": [], "reading": []}


@pytest.mark.parametrize(("what", "permit"), [("refusal", 1.5), ("pause", 0.0)])
async def test_what_slows_all_is_told_at_once(what, permit):
    asked = Asked()
    rate = CoordinatedRate(asked, "tcp://a")
    if what == "refusal":
        rate.on_refusal(1.5, 3.0)
    else:
        rate.on_pause(3.0)
    await turns()
    [(question, given)] = asked.questions
    assert (question, given["told"]) == ("tell", [(what, permit, 3.0)])


async def test_why_it_waits_is_told_with_its_name():
    asked = Asked()
    CoordinatedRate(asked, "tcp://a").on_waiting("no answer")
    await turns()
    assert asked.questions == [("tell", {"told": [], "reading": [], "waiting": ("tcp://a", "no answer")})]


@pytest.mark.parametrize("error", [OSError("gone"), ClientStateError("ended")])
async def test_a_coordinator_that_has_gone_is_told_to_who_asks_for_a_permit_alone(error, no_leaks):
    asked = Asked(error)
    rate = CoordinatedRate(asked, "tcp://a")
    rate.on_pause(1.0)
    await turns()
    await rate.acquire()
    assert [question for question, _ in asked.questions] == ["tell", "permit"]


def test_another_version_is_refused_with_both():
    here = versions()
    require_versions(here, here, where="A worker")
    with pytest.raises(UsageError, match=r"A worker has distributed 1.2, and this process has \d+\.") as caught:
        require_versions(here, here | {"distributed": "1.2"}, where="A worker")
    assert "Install the same version" in str(caught.value)
    with pytest.raises(UsageError, match="has tracket-async None"):
        require_versions(here, {}, where="A worker")
