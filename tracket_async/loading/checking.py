"""The first pass over a file: every line is looked at, nothing is sent, and memory does not grow with the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

import attrs

from tracket_async.api.wire import Wire
from tracket_async.errors import UsageError
from tracket_async.loading.lines import BadLine, Layout, Record, read
from tracket_async.loading.rows import Make, Row
from tracket_async.loading.source import Source
from tracket_async.loading.values import shown

T = TypeVar("T")

MOST: Final = 20
"""So many lines are named in one report; the others are only counted."""


@attrs.define(kw_only=True)
class Findings:
    """What the first pass found.

    Attributes:
        rows: how many records can be used.
        bad: the first `MOST` lines that cannot, in their order.
        bad_lines: how many there are of them in all.
        ignored: the attributes that the file has and that only the server sets, the id not among them.
    """

    rows: int = 0
    bad: list[BadLine] = attrs.field(factory=list[BadLine])
    bad_lines: int = 0
    ignored: frozenset[str] = frozenset()

    def refuse(self, bad: BadLine) -> None:
        """Take note of a line that cannot be used."""
        self.bad_lines += 1
        if len(self.bad) < MOST:
            self.bad.append(bad)


@attrs.frozen(kw_only=True)
class Reading(Generic[T]):
    """How a file becomes rows.

    Attributes:
        source: the file.
        layout: how it is written.
        make: makes the item of a record.
        wire: the version of the API that it is for.
        id_of: the id of an item, where every item must have one of its own: the first pass then keeps all of them in
            memory. None: the same may come again.
    """

    source: Source
    layout: Layout
    make: Make[T]
    wire: Wire
    id_of: Callable[[T], str] | None = None

    def check(self) -> Findings:
        """Look at every line.

        Raises:
            StoreError: the file changed meanwhile.
            UsageError: it cannot be read at all.
        """
        found = Findings()
        lines: dict[str, int] = {}
        for record in read(self.source.lines(), self.layout):
            row = self._row(record)
            if isinstance(row, Row) and self.id_of is not None:
                row = _alone(row, self.id_of(row.item), lines)
            if isinstance(row, BadLine):
                found.refuse(row)
                continue
            found.rows += 1
            if isinstance(record, Record) and not record.ignored <= found.ignored:
                found.ignored |= record.ignored
        return found

    def rows(self, wanted: Callable[[int], bool] = lambda _line: True) -> Iterator[Row[T]]:
        """The rows, in the file's order; for a file in which `check` found nothing wrong.

        Args:
            wanted: whether to give the row on that line; asked when its turn has come.

        Raises:
            StoreError: the file changed since it was opened.
        """
        for record in read(self.source.lines(), self.layout):
            row = self._row(record) if wanted(record.line) else None
            if isinstance(row, Row):
                yield row

    def _row(self, record: Record | BadLine) -> Row[T] | BadLine:
        if isinstance(record, BadLine):
            return record
        try:
            return Row(record.line, self.make(record, self.wire))
        except UsageError as error:
            return BadLine(record.line, error.message)
        except (ValueError, TypeError) as error:
            return BadLine(record.line, str(error))


def _alone(row: Row[T], named: str, lines: dict[str, int]) -> Row[T] | BadLine:
    first = lines.setdefault(named, row.line)
    return row if first == row.line else BadLine(row.line, f"the id {shown(named)} is on line {first} already")
