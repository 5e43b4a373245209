"""What a run has done, as numbers and as the rows that somebody has to look at. Values only."""

from __future__ import annotations

from typing import Literal

import attrs

from tracket_async.errors import TracketError
from tracket_async.loading.checking import MOST

Kind = Literal["failed", "ambiguous"]


@attrs.frozen(kw_only=True)
class Trouble:
    """A row that did not go well.

    Attributes:
        line: of the file.
        kind: ``"failed"``: it did not happen; ``"ambiguous"``: it may have happened.
        reason: what is known.
        candidates: ids of the worklogs that it could be.
    """

    line: int
    kind: Kind
    reason: str
    candidates: tuple[str, ...] = ()


class Troubles:
    """The first `MOST` troubles of a file, by their line, whatever the order in which they come."""

    def __init__(self) -> None:
        self.first: tuple[Trouble, ...] = ()

    def add(self, trouble: Trouble) -> None:
        """Take one more."""
        others = (each for each in self.first if each.line != trouble.line)
        self.first = tuple(sorted((*others, trouble), key=lambda each: each.line)[:MOST])


@attrs.frozen(kw_only=True)
class Report:
    """How the rows of a file stand after a run.

    Attributes:
        rows: how many there are.
        done: rows that this run has written, or has found to be written.
        found: how many of ``done`` were found by reading back.
        already: rows that needed nothing: written by an earlier run, or (of a deletion) not there any more.
        failed: rows that certainly did not happen.
        ambiguous: rows that may have happened.
        troubles: the first `MOST` of these two kinds, by their line.
        stopped: why rows were left out; None: none was, or it was the caller's wish.
    """

    rows: int
    done: int = 0
    found: int = 0
    already: int = 0
    failed: int = 0
    ambiguous: int = 0
    troubles: tuple[Trouble, ...] = ()
    stopped: TracketError | None = None

    @property
    def not_sent(self) -> int:
        """Rows that nobody has tried."""
        return self.rows - self.done - self.already - self.failed - self.ambiguous

    @property
    def complete(self) -> bool:
        """Whether every row is written."""
        return self.done + self.already == self.rows
