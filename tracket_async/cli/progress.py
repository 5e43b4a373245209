"""How far an export is, on standard error: a bar on a terminal, JSON lines for programs, or nothing.

Standard output stays free for data. Without a terminal ``auto`` says nothing, so that no log fills with bars.

How far an export or a sync is, on standard error: a bar on a terminal, JSON lines for programs, or nothing.

Also while nothing arrives it goes on once a second, so that a pause or a wait can be seen as what it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, Final, Literal, Protocol

import attrs
import msgspec
from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.text import Text

from tracket_async._http.session import SessionStatistics
from tracket_async.cli import output
from tracket_async.export.progress import Phase, Progress

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


class MeterLines:
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


class MeterBar:
    """A bar with count, total and rate; without a total, the day reached."""

    def __init__(self, progress: Bars, what: str) -> None:
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
        lines = MeterLines(clock)
        try:
            yield lines
        finally:
            lines.end()
    elif mode == "auto" and sys.stderr.isatty():
        with Bars(
            *columns(), console=Console(file=sys.stderr), redirect_stdout=False, redirect_stderr=False
        ) as progress:
            yield MeterBar(progress, what)
    else:
        yield Silent()


Sleep = Callable[[float], Awaitable[None]]

NAMES: Final[dict[Phase, str]] = {
    "fetching": "Fetching",
    "checking": "Checking",
    "syncing": "Syncing",
    "comparing": "Comparing",
    "writing": "Writing",
}


class Display(Protocol):
    """Shows a progress; is told each, and again what has not changed."""

    def show(self, progress: Progress) -> None:
        """Show it, if it is time."""
        ...


class Watch:
    """What is told how far it is, and remembers it.

    Attributes:
        wanted: whether anybody looks; if not, nothing need be asked for to be shown.
        phases: what has been going on so far.
    """

    def __init__(self, display: Display | None, statistics: Callable[[], SessionStatistics]) -> None:
        self.wanted = display is not None
        self.phases: set[Phase] = set()
        self.last: Progress | None = None
        self._display = display
        self._statistics = statistics

    def report(self, progress: Progress) -> None:
        """That far."""
        self.last = progress
        self.phases.add(progress.phase)
        if self._display is not None:
            self._display.show(progress)

    def tick(self) -> None:
        """As far as before, but retries and pauses may have changed."""
        if self.last is not None:
            now = self._statistics()
            self.report(attrs.evolve(self.last, retries=now.retries, paused_for=now.paused_for))

    def finish(self, done: int) -> None:
        """All of it: so many worklogs; the last reports may have been too quick to be told."""
        if self.last is not None:
            self.report(attrs.evolve(self.last, done=done, active=0, waiting=None))


class JsonLines:
    """One JSON object a line, at most one a second and one for each new phase, and one at the end.

    ``event`` is ``"progress"`` or ``"end"``; ``phase``, ``done``, ``resumed``, ``total`` (null: unknown), ``reached``,
    ``active``, ``retries``, ``paused_for``, ``waiting`` and ``single_partition`` are those of `Progress`; ``seconds``
    is the time since the start, ``rate`` the worklogs a second of this phase (null before there is any).
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._start = self._last = self._stage_start = clock()
        self._stage_done = 0
        self._shown: Progress | None = None

    def show(self, progress: Progress) -> None:
        """Say it, unless something was said just now."""
        now = self._clock()
        new = self._shown is None or self._shown.phase != progress.phase
        if new:
            self._stage_start, self._stage_done = now, progress.resumed
        self._shown = progress
        if new or now - self._last >= EVERY:
            self._say("progress", progress)

    def end(self) -> None:
        """Say how far it came in the end; nothing if it never began."""
        if self._shown is not None:
            self._say("end", self._shown)

    def _say(self, event: str, progress: Progress) -> None:
        self._last = now = self._clock()
        passed = now - self._stage_start
        said: dict[str, Any] = {"event": event, **attrs.asdict(progress)}
        said |= {
            "reached": None if progress.reached is None else progress.reached.astimezone(dt.UTC).date(),
            "paused_for": round(progress.paused_for, 1),
            "seconds": round(now - self._start, 3),
            "rate": round((progress.done - self._stage_done) / passed, 1) if passed > 0 else None,
        }
        output.note(msgspec.json.encode(said).decode())


class Bar:
    """A bar with phase, count, total and rate; the date reached; and what there is to know besides (`details`)."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._task: TaskID | None = None
        self._phase: Phase | None = None

    def show(self, progress: Progress) -> None:
        """Move the bar; a new phase begins a new bar in its place."""
        fields: dict[str, Any] = {
            "reached": "" if progress.reached is None else f"{progress.reached:%Y-%m-%d}",
            "details": details(progress),
        }
        if self._task is None:
            self._task = self._bars.add_task(NAMES[progress.phase], total=None, **fields)
        if progress.phase != self._phase:
            self._phase = progress.phase
            self._bars.reset(
                self._task, completed=progress.resumed, total=progress.total, description=NAMES[progress.phase]
            )
        self._bars.update(self._task, completed=progress.done, total=progress.total, **fields)


def details(progress: Progress) -> str:
    """In words: pages being fetched, retries, a pause, a wait. Empty when all is quiet."""
    parts: list[str] = []
    if progress.active:
        parts.append(f"{progress.active} active")
    if progress.retries:
        parts.append("1 retry" if progress.retries == 1 else f"{progress.retries:,} retries")
    if progress.paused_for > 0:
        parts.append(f"paused for {progress.paused_for:.0f} s")
    if progress.waiting is not None:
        parts.append(f"waiting: {output.text(progress.waiting)}")
    return ", ".join(parts)


@contextlib.asynccontextmanager
async def watching(
    mode: Mode,
    statistics: Callable[[], SessionStatistics],
    *,
    clock: Clock = time.monotonic,
    sleep: Sleep = asyncio.sleep,
) -> AsyncGenerator[Watch]:
    """A watch for the time of the ``async with``.

    Args:
        mode: ``"auto"``: a bar if standard error is a terminal; ``"json"``: JSON lines; ``"off"``: nothing.
        statistics: of the session.
        clock: seconds, never going back.
        sleep: waits for so many seconds.
    """
    with _display(mode, clock) as display:
        watch = Watch(display, statistics)
        ticking = asyncio.create_task(_tick(watch, sleep)) if watch.wanted else None
        try:
            yield watch
        finally:
            if ticking is not None:
                ticking.cancel()
                await asyncio.gather(ticking, return_exceptions=True)


async def _tick(watch: Watch, sleep: Sleep) -> None:
    while True:
        await sleep(EVERY)
        watch.tick()


@contextlib.contextmanager
def _display(mode: Mode, clock: Clock) -> Generator[Display | None]:
    if mode == "json":
        lines = JsonLines(clock)
        try:
            yield lines
        finally:
            lines.end()
    elif mode == "auto" and sys.stderr.isatty():
        more = TextColumn("{task.fields[details]}", markup=False)
        console = Console(file=sys.stderr)
        with Bars(*columns(), more, console=console, redirect_stdout=False, redirect_stderr=False) as bars:
            yield Bar(bars)
    else:
        yield None
