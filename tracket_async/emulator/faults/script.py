"""The script of faults: rules that say which request meets which fault, in a way that can be repeated.

A rule counts the requests that match it from the moment it is added. Of the rules that are due, every effect
happens and the first disturbance, in the order in which they were added. Each rule has a random generator of its
own, seeded by the script's seed and its place, so that adding a rule changes nothing for those before it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from random import Random

from attrs import define, frozen

from tracket_async.emulator.faults.base import Disturbance, Effect, Fault
from tracket_async.emulator.ledger import Received
from tracket_async.emulator.routes import ROUTES

Chooser = Callable[[Received], Fault | None]
ANY = "*"


@frozen(kw_only=True)
class Rule:
    """When a fault meets a request.

    Attributes:
        fault: The fault, or a function that is asked at each request that is due, and may say None.
        method: Only this method; ``*`` for any.
        route: Only this route, such as ``/timeEntries`` or ``/worklogs/{id}``; ``*`` for any, unknown ones too.
        cursor: True only for later pages of a walk, False only for requests without a cursor; None for both.
        nth: Only the nth matching request, counted from 1, or those of several numbers; None for all.
        every: Only each such matching request: 3 is the 3rd, the 6th and so on; None for all.
        ratio: Only this share of them, by chance; None for all.
        times: At most so often; None without limit.

    Raises:
        ValueError: A setting is out of range, or the route is none of the server's.
    """

    fault: Fault | Chooser
    method: str = ANY
    route: str = ANY
    cursor: bool | None = None
    nth: int | Collection[int] | None = None
    every: int | None = None
    ratio: float | None = None
    times: int | None = None

    def __attrs_post_init__(self) -> None:
        if self.method != self.method.upper():
            raise ValueError(f"method is written in capitals, not {self.method!r}")
        if self.route != ANY and self.route not in ROUTES:
            raise ValueError(f"route must be {ANY} or one of {', '.join(ROUTES)}, not {self.route!r}")
        if any(number < 1 for number in self.numbers):
            raise ValueError("nth counts from 1")
        for name in ("every", "times"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value!r}")
        if self.ratio is not None and not 0 <= self.ratio <= 1:
            raise ValueError(f"ratio must lie between 0 and 1, not be {self.ratio!r}")

    @property
    def numbers(self) -> Collection[int]:
        """The numbers in `nth`; none when it is None."""
        if self.nth is None:
            return ()
        return (self.nth,) if isinstance(self.nth, int) else self.nth

    def matches(self, received: Received) -> bool:
        """Whether it speaks of this request at all."""
        return (
            self.method in (ANY, received.method)
            and self.route in (ANY, received.route)
            and self.cursor in (None, received.cursor is not None)
        )


@define
class _Running:
    rule: Rule
    chance: Random
    matched: int = 0
    met: int = 0

    def due(self, received: Received) -> Fault | None:
        rule = self.rule
        if not rule.matches(received):
            return None
        self.matched += 1
        if (
            (rule.nth is not None and self.matched not in rule.numbers)
            or (rule.every is not None and self.matched % rule.every)
            or (rule.times is not None and self.met >= rule.times)
            or (rule.ratio is not None and self.chance.random() >= rule.ratio)
        ):
            return None
        fault = rule.fault if isinstance(rule.fault, Fault) else rule.fault(received)
        self.met += fault is not None
        return fault


class Script:
    """Rules, in the order in which they were added.

    Args:
        seed: Seed of every rule's random generator.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._running: list[_Running] = []
        self._added = 0

    def __len__(self) -> int:
        return len(self._running)

    def add(
        self,
        fault: Fault | Chooser,
        *,
        method: str = ANY,
        route: str = ANY,
        cursor: bool | None = None,
        nth: int | Collection[int] | None = None,
        every: int | None = None,
        ratio: float | None = None,
        times: int | None = None,
    ) -> None:
        """Add a rule; the arguments are those of `Rule`. Without any, every request meets the fault.

        Raises:
            ValueError: As `Rule` does.
        """
        rule = Rule(
            fault=fault,
            method=method,
            route=route,
            cursor=cursor,
            nth=nth,
            every=every,
            ratio=ratio,
            times=times,
        )
        self.add_rule(rule)

    def add_rule(self, rule: Rule) -> None:
        """Add a rule."""
        # a string, because Random hashes no tuple in the same way in every process
        self._running.append(_Running(rule, Random(f"{self._seed}/{self._added}")))  # noqa: S311 -- no secret
        self._added += 1

    def clear(self) -> None:
        """Take all rules away: the server is honest again."""
        self._running.clear()

    def choose(self, received: Received) -> tuple[list[Effect], Disturbance | None]:
        """What meets this request: the effects, and the disturbance or None. Every rule counts the request."""
        effects: list[Effect] = []
        disturbance: Disturbance | None = None
        for running in self._running:
            fault = running.due(received)
            if isinstance(fault, Effect):
                effects.append(fault)
            elif isinstance(fault, Disturbance) and disturbance is None:
                disturbance = fault
        return effects, disturbance
