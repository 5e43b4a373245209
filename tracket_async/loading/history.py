"""What a journal says about each row: the state of every line that has one, from entries in their order. Pure.

    nothing -> sent -> ok | failed | ambiguous        failed, ambiguous -> sent        sent, ambiguous -> ok

A row that was sent and has no outcome, or one that is ambiguous, is in doubt: it may have been created. Memory is one
byte a line, and an entry for each row in doubt.
"""

from __future__ import annotations

import collections
import datetime as dt
import enum
from typing import Final

import attrs
import msgspec


class State(enum.IntEnum):
    """How far a row has come."""

    NOTHING = 0
    SENT = 1
    OK = 2
    FAILED = 3
    AMBIGUOUS = 4


IN_DOUBT: Final = frozenset({State.SENT, State.AMBIGUOUS})


class Entry(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A line of the journal about a row: one of ``sent``, ``ok``, ``failed``, ``ambiguous`` is there.

    Attributes:
        line: of the file that is imported.
        sent: when it was about to be sent, by this machine's clock.
        clock: with ``sent``: seconds that the server's clock is ahead of this machine's; left out when unknown.
        ok: the id of the created worklog.
        failed: why it was certainly not created.
        ambiguous: why nobody knows whether it was created.
        candidates: with ``ambiguous``: ids of worklogs that could be the one.
    """

    line: int
    sent: dt.datetime | None = None
    clock: float | None = None
    ok: str | None = None
    failed: str | None = None
    ambiguous: str | None = None
    candidates: tuple[str, ...] = ()


@attrs.frozen
class Sending:
    """When a row was sent for the first time of those that are still in doubt; as in `Entry`."""

    at: dt.datetime
    clock: float | None


class History:
    """The states of all rows.

    Attributes:
        doubts: the rows that are in doubt, by their line.
        counts: how many rows are in each state, `State.NOTHING` not counted.
    """

    def __init__(self) -> None:
        self._states = bytearray()
        self.doubts: dict[int, Sending] = {}
        self.counts: collections.Counter[State] = collections.Counter()

    def of(self, line: int) -> State:
        """The state of the row on that line."""
        return State(self._states[line]) if line < len(self._states) else State.NOTHING

    def take(self, entry: Entry) -> None:
        """Go on by one entry."""
        line = entry.line
        if entry.sent is not None:
            self._become(line, State.SENT)
            self.doubts.setdefault(line, Sending(entry.sent, entry.clock))
            return
        state = _outcome(entry)
        self._become(line, state)
        if state is not State.AMBIGUOUS:
            self.doubts.pop(line, None)

    def _become(self, line: int, state: State) -> None:
        if line >= len(self._states):
            self._states.extend(bytes(max(line + 1 - len(self._states), len(self._states))))
        before = State(self._states[line])
        if before is not State.NOTHING:
            self.counts[before] -= 1
        self.counts[state] += 1
        self._states[line] = state


def _outcome(entry: Entry) -> State:
    if entry.ok is not None:
        return State.OK
    return State.FAILED if entry.failed is not None else State.AMBIGUOUS
