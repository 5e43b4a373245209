"""Where a range of dates can be cut: arithmetic on moments, nothing else."""

from __future__ import annotations

import datetime as dt
from typing import Final

from tracket_async.windows.state import MICROSECOND, Span

EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
EARLIEST: Final = dt.datetime.min.replace(tzinfo=dt.UTC)
LATEST: Final = dt.datetime.max.replace(tzinfo=dt.UTC)


class Ruler:
    """The range of a run. A cut is the first moment of the later part, and a multiple of the grain."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def before(self, cut: dt.datetime) -> dt.datetime:
        """The upper bound of what lies in front of the cut."""
        return cut - MICROSECOND

    def within(self, moment: dt.datetime) -> bool:
        """Whether the moment is within the range of the run."""
        return (self._span.since or EARLIEST) <= moment <= (self._span.until or LATEST)

    def cuts(self, parts: int) -> list[dt.datetime]:
        """Cuts the range into as many as ``parts`` windows, or fewer; not at all where its ends are unknown."""
        low = self._span.since or self._span.first
        high = self._end(low)
        if low is None or high is None:
            return []
        found: list[dt.datetime] = []
        for part in range(1, parts):
            cut = self._cut(low, high, part / parts)
            if cut is not None and (not found or cut > found[-1]):
                found.append(cut)
        return found

    def cut(self, low: dt.datetime | None, until: dt.datetime | None, kept: float) -> dt.datetime | None:
        """A cut that keeps about ``kept`` (0 to 1) of the dates after ``low`` in front of it, and ``low`` itself.

        Returns:
            None where there is no room, or where it is not known how far the range goes.
        """
        low = low or self._span.first
        high = until or self._end(low)
        return None if low is None or high is None else self._cut(low, high, kept)

    def is_charted(self, since: dt.datetime | None, until: dt.datetime | None) -> bool:
        """Whether a window that nobody has asked yet lies where worklogs are expected, and so can be cut by guess.

        Behind the last date that is expected every guess would find room for another cut, for ever.
        """
        return until is not None or (self._span.last is not None and (since or EARLIEST) < self._span.last)

    def ahead(self, reached: dt.datetime, until: dt.datetime | None) -> float:
        """Seconds from ``reached`` to ``until``, or to where the range probably ends."""
        end = until or self._end(reached)
        return 0.0 if end is None else max((end - reached).total_seconds(), 0.0)

    def _end(self, low: dt.datetime | None) -> dt.datetime | None:
        """Where the range ends; where that is unknown, a place to look whether anything lies beyond."""
        if self._span.until is not None or self._span.last is None:
            return self._span.until
        if low is None or low < self._span.last:
            return self._span.last
        begin = self._span.since or self._span.first or self._span.last
        try:
            return low + max(low - begin, self._span.grain)
        except OverflowError:
            return LATEST

    def _cut(self, low: dt.datetime, high: dt.datetime, kept: float) -> dt.datetime | None:
        grain = self._span.grain
        try:
            cut = self._floor(low + (high - low) * kept)
            if cut <= low:
                cut = self._floor(low) + grain
        except OverflowError:
            return None
        return cut if low < cut <= high else None

    def _floor(self, moment: dt.datetime) -> dt.datetime:
        return moment - (moment - EPOCH) % self._span.grain
