"""What an export or a sync has come to, in words."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tracket_async.export.progress import ExportResult, SyncResult
from tracket_async.export.store import Revision


def verdict(result: ExportResult | SyncResult) -> str:
    """Whether it is everything, and how that is known."""
    if result.verdict == "verified":
        return "verified: as many as the server counts"
    if result.verdict == "incomplete":
        return f"incomplete: the server counts {result.total:,}"
    return "not verifiable: API 1.0 gives no counts"


def revised(changes: Revision) -> str:
    """What a revision has changed."""
    return f"{changes.added:,} added, {changes.changed:,} changed, {changes.removed:,} removed"


def exported(
    worklogs: int, hours: float, seconds: float, *, files: Iterable[Path] = (), result: ExportResult | None = None
) -> str:
    """A finished export, one line.

    Args:
        worklogs: how many there are.
        hours: their hours.
        seconds: how long it took.
        files: where they are; none: on standard output.
        result: what the store says; None: it was streamed.
    """
    names = ", ".join(map(str, files))
    resumed = 0 if result is None else result.resumed
    parts = [
        f"Exported {worklogs:,} worklogs ({hours:,.1f} h)",
        f" to {names}" if names else "",
        f" in {seconds:.1f} s",
        f", {(worklogs - resumed) / seconds:,.0f}/s" if seconds > 0 else "",
        f"; {resumed:,} of them were there from before" if resumed else "",
    ]
    if result is not None:
        parts.append(f"; {revised(result.changes)} while it ran" if result.changes.different else "")
        parts.append(f"; {verdict(result)}")
    return "".join(parts) + "."
