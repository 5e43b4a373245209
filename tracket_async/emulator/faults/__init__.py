"""The door to the faults: every kind, the rules, and the script."""

from __future__ import annotations

from tracket_async.emulator.faults.answers import (
    DeepJson,
    Html,
    HugeBody,
    MalformedJson,
    Redirect,
    RefusedCursor,
    Status,
)
from tracket_async.emulator.faults.base import Disturbance, Effect, Exchange, Fault
from tracket_async.emulator.faults.bends import (
    ContentType,
    CyclingCursor,
    DuplicateRows,
    EmptyPage,
    MissingField,
    OddField,
    RepeatedCursor,
    UnknownStatus,
)
from tracket_async.emulator.faults.cuts import CommitThenCut, Drip, Hang, Reset, Stall, Truncate
from tracket_async.emulator.faults.effects import Call, ClockSkew, Delay, ExpireToken
from tracket_async.emulator.faults.file import KINDS, FaultFileError, read_rules
from tracket_async.emulator.faults.script import Rule, Script

__all__ = [
    "KINDS",
    "Call",
    "ClockSkew",
    "CommitThenCut",
    "ContentType",
    "CyclingCursor",
    "DeepJson",
    "Delay",
    "Disturbance",
    "Drip",
    "DuplicateRows",
    "Effect",
    "EmptyPage",
    "Exchange",
    "ExpireToken",
    "Fault",
    "FaultFileError",
    "Hang",
    "Html",
    "HugeBody",
    "MalformedJson",
    "MissingField",
    "OddField",
    "Redirect",
    "RefusedCursor",
    "RepeatedCursor",
    "Reset",
    "Rule",
    "Script",
    "Stall",
    "Status",
    "Truncate",
    "UnknownStatus",
    "read_rules",
]
