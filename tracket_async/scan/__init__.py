"""Many chains of cursors at once, over disjoint windows of time: the concurrency of an API that has none."""

from __future__ import annotations

from tracket_async.scan.parallel import WindowRun
from tracket_async.scan.partition import DAY, Batch, ChainStatistics, Fetch, PageLike, Span, WindowState

__all__ = ["DAY", "Batch", "ChainStatistics", "Fetch", "PageLike", "Span", "WindowRun", "WindowState"]
