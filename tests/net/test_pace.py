"""So many attempts a second, evenly spaced; and what to do without the extra."""

from __future__ import annotations

import asyncio
import sys

import pytest

from tracket_async._http.limits import pace
from tracket_async.errors import MissingExtraError


@pytest.mark.parametrize(("rate", "moments"), [(10, [0.0, 0.1, 0.2, 0.3]), (0.5, [0.0, 2.0, 4.0, 6.0])])
def test_attempts_are_evenly_spaced(virtually, rate, moments):
    async def four():
        turn = pace(rate)
        clock = asyncio.get_running_loop().time
        times = []

        async def go():
            await turn()
            times.append(clock())

        await asyncio.gather(*[go() for _ in range(4)])
        return times

    assert virtually(four()) == pytest.approx(moments, abs=0.01)


def test_time_that_was_not_used_is_not_made_up_for(virtually):
    async def scenario():
        turn = pace(10)
        clock = asyncio.get_running_loop().time
        await turn()
        await asyncio.sleep(5)
        await turn()
        before = clock()
        await turn()
        return clock() - before

    assert virtually(scenario()) == pytest.approx(0.1, abs=0.01)


def test_without_the_extra_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "aiolimiter", None)
    with pytest.raises(MissingExtraError, match=r'pip install "tracket-async\[pace\]"') as caught:
        pace(1)
    assert caught.value.__context__ is None
