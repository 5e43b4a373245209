"""Values of a measurement: cases that run, rows that compare two of them, budgets for a ratio.

A *case* is one function, run in a process of its own. A *row* of the table takes one figure from each of two cases
and divides them; the result is compared with a *budget*. A *subject* is a handful of rows whose cases are run in
turn, round after round, so that whatever else the machine does meanwhile falls on all of them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs


@attrs.frozen
class Serve:
    """The server that a case needs.

    Attributes:
        api: ``"1.0"`` or ``"2.0"``, the version that it renders its pages for.
        worklogs: how many it has.
        skewed: whether half of them lie in one month; otherwise they are spread evenly over three years.
        latency: milliseconds before each answer; requests do not wait for each other.
        rate: requests that it allows a second; 0: as many as there are.
        burst: requests that it allows at once.
        retry_after: its Retry-After; None: it sends none.
        varied: whether the worklogs have the shapes that accounts have: nulls, missing and further fields, long texts.
        rendered: every worklog is rendered before the first request, which takes 1 GB a million. False: each when it is
            asked for, which takes the server three times as much CPU.
    """

    api: str = "2.0"
    worklogs: int = 100_000
    skewed: bool = False
    latency: float = 0
    rate: float = 0
    burst: int = 1
    retry_after: str | None = None
    varied: bool = False
    rendered: bool = True


@attrs.frozen(kw_only=True)
class Case:
    """One function to run in a process of its own.

    Attributes:
        work: ``"module.function"`` below ``benchmarks.work``.
        label: what a reader knows it by.
        serve: the server whose address the function gets as ``url``, None for none.
        expects: how many things (worklogs, calls) the function must say that it handled: a fast wrong answer is none.
        arguments: further keyword arguments, JSON values.
        needs: import names without which the case is skipped.
    """

    work: str
    label: str
    serve: Serve | None = None
    expects: int
    arguments: Mapping[str, Any] = attrs.field(factory=dict)
    needs: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Measurement:
    """The cost of one run of a case.

    Attributes:
        count: how many things it handled.
        cpu: seconds of CPU, user and system, of all its threads, in the part that is measured.
        wall: seconds on the clock of that part.
        peak: bytes of memory that the process held at its highest, imports and warm-up included.
        server_cpu: seconds of CPU that the server spent meanwhile (warm-up included).
        figures: what the function measured by itself, by name.
    """

    count: int
    cpu: float
    wall: float
    peak: int
    server_cpu: float = 0.0
    figures: Mapping[str, float] = attrs.field(factory=dict)


Figure = Callable[[Measurement], float]


def cpu_each(measurement: Measurement) -> float:
    """Return the CPU for each thing, in microseconds."""
    return measurement.cpu / measurement.count * 1e6


def server_cpu_each(measurement: Measurement) -> float:
    """Return the server's CPU for each thing, in microseconds."""
    return measurement.server_cpu / measurement.count * 1e6


def wall(measurement: Measurement) -> float:
    """Return the seconds on the clock."""
    return measurement.wall


def peak(measurement: Measurement) -> float:
    """Return the highest memory, in MB (10**6 bytes)."""
    return measurement.peak / 1e6


def own(name: str) -> Figure:
    """Read the figure of that name which the case measured by itself."""

    def figure(measurement: Measurement) -> float:
        return measurement.figures[name]

    return figure


@attrs.frozen
class Side:
    """One of the two numbers of a row: a figure of a case, or a number that stands from the start.

    Attributes:
        label: what the table calls it.
        case: the case's key in its subject, None for a fixed number.
        figure: takes the number from the case's measurement.
        fixed: the fixed number.
    """

    label: str
    case: str | None = None
    figure: Figure = cpu_each
    fixed: float = 0.0


@attrs.frozen
class Budget:
    """The bounds that the median ratio must keep, both inclusive; None is no bound."""

    at_most: float | None = None
    at_least: float | None = None

    def met(self, ratio: float) -> bool | None:
        """Return whether the ratio is within the bounds; None when there are none."""
        if self.at_most is None and self.at_least is None:
            return None
        return (self.at_most is None or ratio <= self.at_most) and (self.at_least is None or ratio >= self.at_least)

    def __str__(self) -> str:
        if self.at_most is None and self.at_least is None:
            return "-"
        if self.at_most is None:
            return f">= {self.at_least:g}"
        if self.at_least is None:
            return f"<= {self.at_most:g}"
        return f"{self.at_least:g} to {self.at_most:g}"


NONE = Budget()


@attrs.frozen(kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        name: what is compared.
        unit: the unit of both numbers.
        ours, other: the two numbers.
        inverse: False: the ratio is ours / other; True: other / ours ("so many times less").
        scale: multiplies the ratio (1/16 turns "times faster with 16 workers" into a share of the ideal).
        budget: judges the median ratio.
    """

    name: str
    unit: str
    ours: Side
    other: Side
    inverse: bool = False
    scale: float = 1.0
    budget: Budget = NONE

    def ratio(self, ours: float, other: float) -> float:
        """Return the ratio of the two numbers, as the budget means it."""
        return (other / ours if self.inverse else ours / other) * self.scale


@attrs.frozen(kw_only=True)
class Subject:
    """Rows that are measured together.

    Attributes:
        name: for ``--only``.
        cases: by key; run in turn in every round.
        rows: what is made of them.
        rounds: at most so many rounds, for what takes minutes; None: as many as were asked for.
    """

    name: str
    cases: Mapping[str, Case]
    rows: tuple[Row, ...]
    rounds: int | None = None
