"""Fault scripts as text: a JSON array of rules, or one rule a line (NDJSON).

A rule is an object: ``fault`` is the kind, ``method``, ``route``, ``cursor``, ``nth``, ``every``, ``ratio`` and
``times`` say when (see `Rule`), and every other key is a setting of that kind of fault::

    {"fault": "status", "status": 503, "retry_after": "2", "method": "GET", "route": "/timeEntries", "nth": [3, 4]}
"""

from __future__ import annotations

import json
from typing import Any, Final, cast

from attrs import fields

from tracket_async.emulator.faults import answers, bends, cuts, effects
from tracket_async.emulator.faults.base import Fault
from tracket_async.emulator.faults.script import Rule

KINDS: Final[dict[str, type[Fault]]] = {
    each.kind: each
    for each in (
        answers.Status,
        answers.RefusedCursor,
        answers.Html,
        answers.Redirect,
        answers.MalformedJson,
        answers.DeepJson,
        answers.HugeBody,
        bends.ContentType,
        bends.RepeatedCursor,
        bends.CyclingCursor,
        bends.EmptyPage,
        bends.DuplicateRows,
        bends.MissingField,
        bends.OddField,
        bends.UnknownStatus,
        cuts.Truncate,
        cuts.Reset,
        cuts.CommitThenCut,
        cuts.Drip,
        cuts.Hang,
        cuts.Stall,
        effects.Delay,
        effects.ClockSkew,
        effects.ExpireToken,
    )
}
"""Every kind that a file can name; `Call` takes a function, and so can only be used from Python."""

_RULE_KEYS: Final = frozenset({"method", "route", "cursor", "nth", "every", "ratio", "times"})


class FaultFileError(ValueError):
    """A fault script cannot be read; the message says where and why."""


def read_rules(text: str) -> list[Rule]:
    """The rules in the text of a fault script.

    Raises:
        FaultFileError: It is malformed; the message names the line, or the rule's number in an array.
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
