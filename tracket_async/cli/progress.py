"""The progress of a command on standard error: a bar at a terminal, JSON lines for programs, or nothing.

Standard output stays free for data. Without a terminal, ``auto`` shows nothing, so that no log fills with bars. While
nothing arrives the display still moves once a second, so that a pause or a wait can be seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import math
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from typing import Annotated, Any, Final, Literal, Protocol

import attrs
import msgspec
from cyclopts import Parameter
from rich import progress as bars
from rich.console import Console
from rich.table import Column
from rich.text import Text

from tracket_async._http.session import SessionStatistics
from tracket_async._timestamps import write_day
from tracket_async.cli import output
from tracket_async.export.progress import Progress

Mode = Literal["auto", "json", "off"]


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Reporting:
    """The lines of a command on standard error, beside errors and warnings, which are always there."""

    progress: Annotated[
        Mode,
        Parameter(help="Progress on standard error: auto (a bar at a terminal), json (one line a second) or off."),
    ] = "auto"
    quiet: Annotated[
        bool,
        Parameter(
            alias="-q",
            negative=(),
            show_default=False,
            help="Say nothing but errors and warnings: no progress, and not what was done.",
        ),
    ] = False

    @property
    def mode(self) -> Mode:
        """Return how progress is shown."""
        return "off" if self.quiet else self.progress

    def say(self, text: str) -> None:
        """Print a line about what was done on standard error, unless the command is to be quiet."""
        if not self.quiet:
            output.note(text)


REPORTING: Final = Reporting()

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]

EVERY: Final = 1.0
"""Seconds between two JSON lines, at least, and between two ticks of a display that hears nothing."""

NOTE_EVERY: Final = 60.0
"""Seconds between two notes that the server is waited for, at least."""

LABELS: Final = {
    "waiting": "Waiting",
    "fetching": "Fetching",
    "merging": "Merging",
    "checking": "Checking",
    "syncing": "Syncing",
    "comparing": "Comparing",
    "writing": "Writing",
    "importing": "Importing",
    "updating": "Updating",
    "deleting": "Deleting",
}
"""The label of each phase: those of `Progress`, of the commands that send worklogs, and of a wait before any other."""


class Renderer(Protocol):
    """Shows progress in one form."""

    def show(self, phase: str, progress: Progress) -> None:
        """Show the progress, which may be the same as before."""
        ...


class ProgressDisplay:
    """The progress of one command.

    Args:
        renderer: shows it; None: nobody does.
        statistics: returns the session's statistics.
        notes: whether to say in a line of its own that the server is waited for.
        clock: returns seconds that never go back.

    Attributes:
        shown: whether anybody sees it; if not, nothing need be requested for it.
        phases: the phases so far.
    """

    def __init__(
        self,
        renderer: Renderer | None,
        statistics: Callable[[], SessionStatistics],
        *,
        notes: bool = True,
        clock: Clock = time.monotonic,
    ) -> None:
        self.shown = renderer is not None
        self.phases: set[str] = set()
        self._renderer = renderer
        self._statistics = statistics
        self._phase = ""
        self._last: Progress | None = None
        self._notes = notes
        self._clock = clock
        self._next_note = -math.inf

    def report(self, progress: Progress) -> None:
        """Show the progress of an export or a sync."""
        self._show(progress.phase, progress)

    def begin(self, phase: str, total: int) -> None:
        """Begin a phase in which so many worklogs will be sent."""
        self._show(phase, Progress(phase="writing", done=0, total=total))

    def advance(self, reached: dt.datetime | None) -> None:
        """Count one more worklog as done.

        Args:
            reached: its date, None if it has none.
        """
        if self._last is not None:
            self._show(self._phase, attrs.evolve(self._last, done=self._last.done + 1, reached=reached))

    def tick(self) -> None:
        """Show the retries and pauses of this moment."""
        if self._last is not None:
            now = self._statistics()
            self._show(self._phase, attrs.evolve(self._last, retries=now.retries, paused_for=now.paused_for))

    def wait(self, why: str | None) -> None:
        """Show at once that the server is waited for, and why; with None, that the command goes on.

        There is one note in `NOTE_EVERY` seconds, however often the server fails.
        """
        if why is not None and self._notes and self._clock() >= self._next_note:
            self._next_note = self._clock() + NOTE_EVERY
            output.note(f"tracket: waiting for the server: {output.one_line(why)}")
        if self._last is None:  # nothing but the first answer has come
            self._phase, self._last = "waiting", Progress(phase="fetching", done=0)
        self._show(self._phase, attrs.evolve(self._last, waiting=why))

    def finish(self, done: int) -> None:
        """Show that this is all. The last reports may have come too quickly to be shown."""
        if self._last is not None:
            self._show(self._phase, attrs.evolve(self._last, done=done, active=0, waiting=None))

    def _show(self, phase: str, progress: Progress) -> None:
        self._phase, self._last = phase, progress
        self.phases.add(phase)
        if self._renderer is not None:
            self._renderer.show(phase, progress)


class JsonLines:
    """One JSON object a line: at most one a second, one for each new phase or wait, and one at the end.

    ``event`` is ``"progress"`` or ``"end"``. ``phase``, ``done``, ``resumed``, ``total`` (null: unknown), ``reached``,
    ``active``, ``retries``, ``paused_for``, ``waiting`` and ``single_partition`` are those of `Progress`. ``seconds``
    is the time since the start, ``rate`` the worklogs a second of this phase (null before there is any).
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._start = self._last = self._phase_start = clock()
        self._phase_done = 0
        self._shown: tuple[str, Progress] | None = None

    def show(self, phase: str, progress: Progress) -> None:
        """Write a line, unless one was written less than a second ago."""
        now = self._clock()
        new = self._shown is None or (self._shown[0], self._shown[1].waiting) != (phase, progress.waiting)
        if self._shown is None or self._shown[0] != phase:
            self._phase_start, self._phase_done = now, progress.resumed
        self._shown = phase, progress
        if new or now - self._last >= EVERY:
            self._write("progress", phase, progress)

    def end(self) -> None:
        """Write the last line; nothing if there was no first one."""
        if self._shown is not None:
            self._write("end", *self._shown)

    def _write(self, event: str, phase: str, progress: Progress) -> None:
        self._last = now = self._clock()
        passed = now - self._phase_start
        line: dict[str, Any] = {"event": event, **attrs.asdict(progress), "phase": phase}
        line |= {
            "reached": None if progress.reached is None else progress.reached.astimezone(dt.UTC).date(),
            "paused_for": round(progress.paused_for, 1),
            "seconds": round(now - self._start, 3),
            "rate": round((progress.done - self._phase_done) / passed, 1) if passed > 0 else None,
        }
        output.note(msgspec.json.encode(line).decode())


class Bar:
    """A bar and one line of `words`, which is cut where the terminal is too narrow. Each phase begins a new bar."""

    def __init__(self, shown: bars.Progress) -> None:
        self._bars = shown
        self._task: bars.TaskID | None = None
        self._phase = ""

    def show(self, phase: str, progress: Progress) -> None:
        """Move the bar."""
        if self._task is None:
            self._task = self._bars.add_task("", total=None, progress=progress)
        if phase != self._phase:
            self._phase = phase
            self._bars.reset(self._task, completed=progress.resumed, total=progress.total, description=LABELS[phase])
        self._bars.update(self._task, completed=progress.done, total=progress.total, progress=progress)


class Words(bars.ProgressColumn):
    """The column of words."""

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True, overflow="ellipsis"))

    def render(self, task: bars.Task) -> Text:
        """Return the text of the column."""
        return Text("  ".join(words(task)), no_wrap=True, overflow="ellipsis")


def words(task: bars.Task) -> Iterator[str]:
    """Yield phase, count, rate, details, date reached and time passed, as far as they are known."""
    progress: Progress = task.fields["progress"]
    yield task.description
    yield f"{task.completed:,.0f}{'' if task.total is None else f' of {task.total:,.0f}'} worklogs"
    if speed := task.finished_speed or task.speed:
        yield f"{speed:,.0f}/s"
    if more := details(progress):
        yield more
    if progress.reached is not None:
        yield write_day(progress.reached)
    passed = task.finished_time if task.finished_time is not None else task.elapsed
    yield str(dt.timedelta(seconds=int(passed or 0)))


def details(progress: Progress) -> str:
    """Return pages in flight, retries, a pause and a wait in words; empty if there are none."""
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
async def show_progress(
    mode: Mode,
    statistics: Callable[[], SessionStatistics],
    *,
    clock: Clock = time.monotonic,
    sleep: Sleep = asyncio.sleep,
) -> AsyncGenerator[ProgressDisplay]:
    """Create a display that is shown until the block is left.

    Args:
        mode: ``"auto"``: a bar if standard error is a terminal; ``"json"``: JSON lines; ``"off"``: nothing.
        statistics: returns the session's statistics.
        clock: returns seconds that never go back.
        sleep: waits for so many seconds.
    """
    with _renderer(mode, clock) as renderer:
        display = ProgressDisplay(renderer, statistics, notes=mode != "json", clock=clock)
        ticking = asyncio.create_task(_tick(display, sleep)) if display.shown else None
        try:
            yield display
        finally:
            if ticking is not None:
                ticking.cancel()
                await asyncio.gather(ticking, return_exceptions=True)


async def _tick(display: ProgressDisplay, sleep: Sleep) -> None:
    while True:
        await sleep(EVERY)
        display.tick()


@contextlib.contextmanager
def _renderer(mode: Mode, clock: Clock) -> Generator[Renderer | None]:
    if mode == "json":
        lines = JsonLines(clock)
        try:
            yield lines
        finally:
            lines.end()
    elif mode == "auto" and sys.stderr.isatty():
        console = Console(file=sys.stderr)
        with (
            bars.Progress(
                bars.BarColumn(20), Words(), console=console, redirect_stdout=False, redirect_stderr=False
            ) as shown,
            output.notes_by(lambda text: console.print(Text(text), soft_wrap=True)),
        ):
            yield Bar(shown)
    else:
        yield None
