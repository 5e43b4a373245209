"""How far an export is, on standard error: a bar on a terminal, JSON lines for programs, or nothing.

Standard output stays free for data. Without a terminal ``auto`` says nothing, so that no log fills with bars.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import sys
import time
from collections.abc import Callable, Generator
from typing import Final, Literal, Protocol

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from tracket_async.cli import output

Mode = Literal["auto", "json", "off"]
Clock = Callable[[], float]

EVERY: Final = 1.0
"""Seconds between two JSON lines, at least."""


class Meter(Protocol):
    """What is told how far it is."""

    def expect(self, total: int | None) -> None:
        """How many there will be; None: nobody knows."""
        ...

    def advance(self, count: int, reached: dt.date | None) -> None:
        """That many more, of which the last is of that day; None: they have none."""
        ...


class Silent:
    """Says nothing."""

    def expect(self, total: int | None) -> None:
        """Not listened to."""

    def advance(self, count: int, reached: dt.date | None) -> None:
        """Not listened to."""


class JsonLines:
    """One JSON object a line, at most one a second, and one at the end.

    ``event`` is ``"progress"`` or ``"end"``; ``done`` and ``total`` count worklogs (total null: unknown), ``reached``
    is the day of the last one, ``seconds`` the time since the start, ``rate`` worklogs a second.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._start = self._last = clock()
        self._total: int | None = None
        self._reached: dt.date | None = None
        self._done = 0

    def expect(self, total: int | None) -> None:
        """Remember the total, and say that it begins."""
        self._total = total
        self._say("progress")

    def advance(self, count: int, reached: dt.date | None) -> None:
        """Count, and say so unless it was said just now."""
        self._done += count
        self._reached = reached
        if self._clock() - self._last >= EVERY:
            self._say("progress")

    def end(self) -> None:
        """Say how far it came in the end."""
        self._say("end")

    def _say(self, event: str) -> None:
        self._last = self._clock()
        seconds = self._last - self._start
        said = {
            "event": event,
            "done": self._done,
            "total": self._total,
            "reached": self._reached,
            "seconds": round(seconds, 3),
            "rate": round(self._done / seconds, 1) if seconds > 0 else None,
        }
        output.note(msgspec.json.encode(said).decode())


class Rate(ProgressColumn):
    """Worklogs a second."""

    def render(self, task: Task) -> Text:
        """The rate, empty while nobody knows it."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "", style="progress.data.speed")


class Count(ProgressColumn):
    """Worklogs, and of how many."""

    def render(self, task: Task) -> Text:
        """The count; without a total, the count alone."""
        total = f" of {task.total:,.0f}" if task.total is not None else ""
        return Text(f"{task.completed:,.0f}{total} worklogs", style="progress.download")


class Bar:
    """A bar with count, total and rate; without a total, the day reached."""

    def __init__(self, progress: Progress, what: str) -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=None, reached="")

    def expect(self, total: int | None) -> None:
        """Give the bar its end."""
        self._progress.update(self._task, total=total)

    def advance(self, count: int, reached: dt.date | None) -> None:
        """Move the bar."""
        self._progress.update(self._task, advance=count, reached="" if reached is None else f"{reached:%Y-%m-%d}")


def columns() -> tuple[ProgressColumn, ...]:
    """What every bar shows; its tasks have a field ``reached``, a text."""
    return (
        TextColumn("{task.description}"),
        BarColumn(),
        Count(),
        Rate(),
        TextColumn("{task.fields[reached]}"),
        TimeElapsedColumn(),
    )


@contextlib.contextmanager
def meter(mode: Mode, what: str, *, clock: Clock = time.monotonic) -> Generator[Meter]:
    """A meter for the time of the ``with``.

    Args:
        mode: ``"auto"``: a bar if standard error is a terminal; ``"json"``: JSON lines; ``"off"``: nothing.
        what: what stands before the bar.
        clock: seconds, never going back.
    """
    if mode == "json":
        lines = JsonLines(clock)
        try:
            yield lines
        finally:
            lines.end()
    elif mode == "auto" and sys.stderr.isatty():
        with Progress(
            *columns(), console=Console(file=sys.stderr), redirect_stdout=False, redirect_stderr=False
        ) as progress:
            yield Bar(progress, what)
    else:
        yield Silent()
