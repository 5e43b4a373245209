"""Progress of an export or a sync, and its result."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from math import inf
from typing import Any, Final, Literal

import attrs

from tracket_async._http.session import SessionStatistics
from tracket_async.export.store import NO_CHANGES, ChangeCounts

Phase = Literal["fetching", "merging", "checking", "syncing", "comparing", "writing"]
Verdict = Literal["verified", "not verifiable", "incomplete", "not verified"]
"""How sure a run is that its store has what the server has.

* ``"verified"``: as many worklogs as the server counted in this run, after the last change was fetched.
* ``"not verifiable"``: the server gives no count of them, as on API 1.0, or where values are chosen (users, say).
* ``"incomplete"``: the counts still differed after several rounds of fetching what differs; running the same again goes
  on with that.
* ``"not verified"``: the server no longer shows worklogs that were kept all the same, or it does not answer; ``doubt``
  says why.

Rows that cannot be read count as worklogs in this.
"""


@attrs.frozen(kw_only=True)
class Progress:
    """The progress of an export or a sync.

    Attributes:
        phase: ``"fetching"``: all pages are being fetched; ``"merging"``: what several processes have fetched is
            brought together; ``"checking"``: what changed meanwhile is fetched, and
            counts are compared with the server's; ``"syncing"``: what changed since the last sync is fetched;
            ``"comparing"``: some dates are being compared; ``"writing"``: files are being made of the store.
        done: worklogs fetched in this phase (when fetching, with those of the earlier runs that it resumes), or
            written. In the last call of ``"checking"``, those in the store.
        resumed: how many of them an earlier run had fetched.
        total: how many there will be, None when the server does not say.
        reached: every worklog before this date has been fetched; None while there is no such date.
        active: pages that are being fetched at this moment.
        single_partition: the server's order of dates leaves no choice but to fetch one page after the other.
        seconds: since this run began.
        retries: how many calls had to be repeated in this session.
        paused_for: seconds until the end of a pause that the server asked for; 0 without one.
        waiting: why the run waits for the server, a sentence; None while it does not.
    """

    phase: Phase
    done: int
    resumed: int = 0
    total: int | None = None
    reached: dt.datetime | None = None
    active: int = 0
    single_partition: bool = False
    seconds: float = 0.0
    retries: int = 0
    paused_for: float = 0.0
    waiting: str | None = None


OnProgress = Callable[[Progress], None]
"""Called on the event loop, at most ten times a second; must be quick."""


@attrs.frozen(kw_only=True)
class ExportResult:
    """The result of an export.

    Attributes:
        worklogs: how many are in the store.
        verdict: see `Verdict`.
        doubt: why the verdict is ``"not verified"``, a sentence; else None.
        as_of: the server's time of what is in the store, where this run has not compared it: the store was complete,
            and is of API 1.0, or the server does not answer. Else None.
        total_at_start, total: what the server counted at the beginning of the first run and at the end of this one;
            None on API 1.0.
        resumed: how many worklogs earlier runs had fetched.
        changes: what was added, changed and removed by the checks, because it has changed since it was fetched.
        single_partition: the server's order of dates left no choice but to fetch one page after the other.
        bad_rows: how many rows of the server cannot be read; they are in no file.
    """

    worklogs: int
    verdict: Verdict
    doubt: str | None = None
    as_of: dt.datetime | None = None
    total_at_start: int | None = None
    total: int | None = None
    resumed: int = 0
    changes: ChangeCounts = NO_CHANGES
    single_partition: bool = False
    bad_rows: int = 0


@attrs.frozen(kw_only=True)
class SyncResult:
    """The result of a sync.

    Attributes:
        worklogs: how many are in the store now.
        changes: what was added and changed, and what was removed because it no longer matches the store's request.
        gone: worklogs that the server no longer has; they have become tombstones.
        total: how many worklogs the server counts; None on API 1.0.
        verdict, doubt: as in `ExportResult`.
        since: API 1.0: the date from which all worklogs were compared; older ones were not looked at. None on 2.0.
        bad_rows: as in `ExportResult`.
    """

    worklogs: int
    changes: ChangeCounts = NO_CHANGES
    gone: int = 0
    total: int | None = None
    verdict: Verdict = "not verifiable"
    doubt: str | None = None
    since: dt.datetime | None = None
    bad_rows: int = 0


EVERY: Final = 0.1
"""Seconds between two calls of `OnProgress`, at least."""


class ProgressReporter:
    """Report the progress of one run, at most ten times a second.

    Args:
        on_progress: is called; None: nothing is reported.
        statistics: of the session.
        clock: seconds, never going back.
    """

    def __init__(
        self, on_progress: OnProgress | None, *, statistics: Callable[[], SessionStatistics], clock: Callable[[], float]
    ) -> None:
        self._on_progress = on_progress
        self._statistics = statistics
        self._clock = clock
        self._start = clock()
        self._last = -inf

    @property
    def is_due(self) -> bool:
        """Return whether `report` would report now: for callers to whom the figures cost something."""
        return self._on_progress is not None and self._clock() - self._last >= EVERY

    def report(self, phase: Phase, done: int, *, always: bool = False, **more: Any) -> None:
        """Report attributes of `Progress`; ``always``: even if something was reported just now."""
        if self._on_progress is None or not (always or self.is_due):
            return
        self._last = now = self._clock()
        session = self._statistics()
        self._on_progress(
            Progress(
                phase=phase,
                done=done,
                seconds=now - self._start,
                retries=session.retries,
                paused_for=session.paused_for,
                **more,
            )
        )
