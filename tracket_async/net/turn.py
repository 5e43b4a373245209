"""When an attempt may go out: it has a place in the gate, the server has asked for no pause, and its pace allows it.

In that order. Who waits for a pause gives its place back, so that a pause does not look like work; who waits for the
pace keeps it, so that attempts leave the queue as evenly as they are sent.
"""

from __future__ import annotations

import random

from tracket_async.net.call import Call
from tracket_async.net.deadline import within
from tracket_async.net.gate import Gate
from tracket_async.net.pace import Pace
from tracket_async.net.pause import Pause
from tracket_async.net.world import Clock, Sleep


class Turns:
    """Gives out the turns of one session.

    Args:
        gate, pause: of the session.
        pace: what each attempt awaits, None for nothing.
        jitter: seconds; who has waited for a pause goes on up to so much later, at random, so that not all come at
            once.
        rng, clock, sleep: chance, time and waiting.
    """

    def __init__(
        self,
        gate: Gate,
        pause: Pause,
        pace: Pace | None,
        *,
        jitter: float,
        rng: random.Random,
        clock: Clock,
        sleep: Sleep,
    ) -> None:
        self._gate = gate
        self._pause = pause
        self._pace = pace
        self._jitter = jitter
        self._rng = rng
        self._clock = clock
        self._sleep = sleep

    def at_once(self, now: float) -> bool:
        """Take a turn if there is nothing to wait for; `give_back` ends it. Returns whether there was one."""
        return self._pace is None and not self._pause.remaining(now) and self._gate.try_acquire()

    async def take(self, call: Call) -> None:
        """Wait for a turn; `give_back` ends it.

        Raises:
            DeadlineExceededError: the call's time ran out in the queue.
            RateLimitedError, ServerError: the server has asked for a pause that is longer than the call may take.
            ClientStateError: the session was closed.
        """
        await within(call, self._wait(call), clock=self._clock, doing="waiting for its turn")

    def give_back(self) -> None:
        """End a turn."""
        self._gate.release()

    async def _wait(self, call: Call) -> None:
        while True:
            await self._wait_for_pause(call)
            await self._gate.acquire()
            # A pause may have begun while the call queued.
            if not self._pause.remaining(self._clock()):
                break
            self._gate.release()
        if self._pace is not None:
            try:
                await self._pace()
            except BaseException:
                self._gate.release()
                raise

    async def _wait_for_pause(self, call: Call) -> None:
        while pause := self._pause.remaining(now := self._clock()):
            if call.deadline is not None and now + pause > call.deadline:
                raise self._pause.error(now)
            await self._sleep(pause + self._rng.uniform(0, self._jitter))
