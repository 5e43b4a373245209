"""The script of faults: rules that say which request gets which fault, in a way that can be repeated.

A rule counts the requests that match it from the moment it is added. Of the rules that apply, all request faults
happen and the first response fault, in the order in which they were added. Each rule has a random generator of its
own, seeded by the script's seed and its place, so that adding a rule changes nothing for those before it.

As text, a script is a JSON array of rules, or one rule a line (NDJSON). A rule is an object: ``fault`` is the kind;
``method``, ``route``, ``cursor``, ``nth``, ``every``, ``ratio`` and ``times`` say when (see `Rule`); every other key is
a setting of that kind of fault:

    {"fault": "status", "status": 503, "retry_after": "2", "method": "GET", "route": "/timeEntries", "nth": [3, 4]}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from random import Random
from typing import Any, Final, cast

from attrs import define, fields, frozen

from tracket_async.emulator.faults import connection, deviations, responses
from tracket_async.emulator.faults.base import Fault, RequestFault, ResponseFault
from tracket_async.emulator.request_log import ReceivedRequest
from tracket_async.emulator.routes import ROUTES

FaultFunction = Callable[[ReceivedRequest], Fault | None]
ANY = "*"


@frozen(kw_only=True)
class Rule:
    """A fault, and the requests to which it applies.

    Attributes:
        fault: The fault, or a function that is called for each matching request, and may return None.
        method: Only this method; ``*`` for any.
        route: Only this route, such as ``/timeEntries`` or ``/worklogs/{id}``; ``*`` for any, unknown ones too.
        cursor: True only for later pages of a walk, False only for requests without a cursor; None for both.
        nth: Only the nth matching request, counted from 1, or those of several numbers; None for all.
        every: Only each such matching request: 3 is the 3rd, the 6th and so on; None for all.
        ratio: Only this share of them, at random; None for all.
        times: At most so often; None without limit.

    Raises:
        ValueError: A setting is out of range, or the route is none of the server's.
    """

    fault: Fault | FaultFunction
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
        """Return the numbers in `nth`; none when it is None."""
        if self.nth is None:
            return ()
        return (self.nth,) if isinstance(self.nth, int) else self.nth

    def matches(self, received: ReceivedRequest) -> bool:
        """Return whether method, route and cursor are those of this request."""
        return (
            self.method in (ANY, received.method)
            and self.route in (ANY, received.route)
            and self.cursor in (None, received.cursor is not None)
        )


@define
class _ActiveRule:
    rule: Rule
    random: Random
    matched: int = 0
    applied: int = 0

    def fault_for(self, received: ReceivedRequest) -> Fault | None:
        rule = self.rule
        if not rule.matches(received):
            return None
        self.matched += 1
        if (
            (rule.nth is not None and self.matched not in rule.numbers)
            or (rule.every is not None and self.matched % rule.every)
            or (rule.times is not None and self.applied >= rule.times)
            or (rule.ratio is not None and self.random.random() >= rule.ratio)
        ):
            return None
        fault = rule.fault if isinstance(rule.fault, Fault) else rule.fault(received)
        self.applied += fault is not None
        return fault


class Script:
    """Rules, in the order in which they were added.

    Args:
        seed: Seed of every rule's random generator.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._active: list[_ActiveRule] = []
        self._added = 0

    def __len__(self) -> int:
        return len(self._active)

    def add(
        self,
        fault: Fault | FaultFunction,
        *,
        method: str = ANY,
        route: str = ANY,
        cursor: bool | None = None,
        nth: int | Collection[int] | None = None,
        every: int | None = None,
        ratio: float | None = None,
        times: int | None = None,
    ) -> None:
        """Add a rule; the arguments are those of `Rule`. Without any, every request gets the fault.

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
        self._active.append(_ActiveRule(rule, Random(f"{self._seed}/{self._added}")))  # noqa: S311 -- no secret
        self._added += 1

    def clear(self) -> None:
        """Remove all rules."""
        self._active.clear()

    def choose(self, received: ReceivedRequest) -> tuple[list[RequestFault], ResponseFault | None]:
        """Return the request faults and the response fault (or None) of this request, which every rule counts."""
        request_faults: list[RequestFault] = []
        response_fault: ResponseFault | None = None
        for active in self._active:
            fault = active.fault_for(received)
            if isinstance(fault, RequestFault):
                request_faults.append(fault)
            elif isinstance(fault, ResponseFault) and response_fault is None:
                response_fault = fault
        return request_faults, response_fault


DEVIATIONS: Final[dict[str, type[Fault]]] = {
    each.kind: each
    for each in (
        deviations.SecondResponse,
        deviations.MuteConnections,
        deviations.NoContent,
        deviations.BriefCreated,
        deviations.AddedHeaders,
        deviations.TrimmedText,
        deviations.NormalizedText,
        deviations.OtherWorklog,
        deviations.RestrictedToken,
        deviations.IgnoredFilters,
        deviations.IgnoredCursor,
        deviations.LinkedCursor,
        deviations.WrongTotal,
        deviations.DateOffset,
        connection.NoDate,
    )
}
"""The kinds of a server that works, but not as on the vendor's pages."""

KINDS: Final[dict[str, type[Fault]]] = {
    each.kind: each
    for each in (
        responses.Status,
        responses.RefusedCursor,
        responses.Html,
        responses.Redirect,
        responses.MalformedJson,
        responses.DeepJson,
        responses.HugeBody,
        responses.ContentType,
        responses.RepeatedCursor,
        responses.CyclingCursor,
        responses.EmptyPage,
        responses.DuplicateRows,
        responses.MissingField,
        responses.OddField,
        responses.UnknownStatus,
        connection.Truncate,
        connection.Reset,
        connection.CommitThenCut,
        connection.Drip,
        connection.Hang,
        connection.Stall,
        connection.Delay,
        connection.ClockSkew,
        connection.ExpireToken,
    )
} | DEVIATIONS
"""Every kind that a file can name; `Call` takes a function, and so can only be used from Python."""

_RULE_KEYS: Final = frozenset({"method", "route", "cursor", "nth", "every", "ratio", "times"})


class FaultFileError(ValueError):
    """A fault script cannot be read; the message says where and why."""


def read_rules(text: str) -> list[Rule]:
    """Parse the text of a fault script.

    Raises:
        FaultFileError: It is malformed; the message names the line, or the number of the rule in an array.
    """
    if text.lstrip().startswith("["):
        rules: list[Any] = _parsed(text, "the script")
        return [_rule(rule, f"rule {number}") for number, rule in enumerate(rules, start=1)]
    numbered = enumerate(text.splitlines(), start=1)
    return [_rule(_parsed(line, f"line {number}"), f"line {number}") for number, line in numbered if line.strip()]


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FaultFileError(f"{where}: not JSON: {error}") from None


def _rule(given: Any, where: str) -> Rule:
    if not isinstance(given, dict):
        raise FaultFileError(f"{where}: a rule must be a JSON object")
    rule = dict(cast("dict[str, Any]", given))
    kind = KINDS.get(str(rule.pop("fault", None)))
    if kind is None:
        raise FaultFileError(f"{where}: fault must be one of {', '.join(KINDS)}")
    when = {key: rule.pop(key) for key in _RULE_KEYS & rule.keys()}
    known = {each.name for each in fields(cast("Any", kind)) if each.init}
    unknown = sorted(rule.keys() - known)
    if unknown:
        settings = ", ".join(sorted(known)) or "no settings"
        raise FaultFileError(f"{where}: {kind.kind} has {settings}, not {', '.join(unknown)}")
    try:
        return Rule(fault=kind(**rule), **when)
    except (TypeError, ValueError, AttributeError) as error:
        # attrs' validators put more into their exceptions than a person wants to read
        raise FaultFileError(f"{where}: {error.args[0] if error.args else error}") from None
