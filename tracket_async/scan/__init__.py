"""Parallel scan of a list that only has cursors: many partitions of the dates, read at the same time.

A cursor can only be followed page after page. AWS calls the way around that a parallel scan:

* The range of dates is cut into partitions, which are disjoint and together cover everything. Each partition has a
  cursor of its own and is read in ascending order of date; `ParallelScan` reads many at once (`parallel`).
* An idle worker takes the later half of the partition with the most left, whose ``until`` shrinks: it ends at its first
  worklog past that. `Scheduler` decides which page is next, and is pure (`scheduler`).
* Each page becomes one `Batch`: its worklogs, and every `PartitionState` that is new since the batch before. Keep both
  in one transaction, batch after batch, and a scan that begins with these states resumes where that one was
  (`partition`).
* The order of the server is checked and never relied upon. Without ascending order, one partition reads everything, and
  what was handed over before is left out by its id.
"""

from __future__ import annotations

from tracket_async.scan.parallel import ParallelScan, row_format, scan, worklog_format
from tracket_async.scan.partition import (
    DAY,
    Batch,
    DateRange,
    Fetch,
    ItemFormat,
    PageLike,
    PartitionState,
    ScanSettings,
    ScanStatistics,
)

__all__ = [
    "DAY",
    "Batch",
    "DateRange",
    "Fetch",
    "ItemFormat",
    "PageLike",
    "ParallelScan",
    "PartitionState",
    "ScanSettings",
    "ScanStatistics",
    "row_format",
    "scan",
    "worklog_format",
]
