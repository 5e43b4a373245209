"""Runs the cases of a subject in turn, round after round, each in a process of its own.

The first case of a round is the second of the round before it and so on, so that none of them always runs on a warm or
a tired machine. A case that fails, or that handles another number of things than it should, is not run again;
its rows say so.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from benchmarks.rows import Case, Measurement, Subject
from benchmarks.serving import Servers

TIMEOUT = 1800.0  # seconds for one process


class CaseFailedError(Exception):
    """A case did not run to its end, or not as it should; the message says how it ended."""


@attrs.define
class Results:
    """The results of a subject's rounds.

    Attributes:
        measurements: for each case, one of each round.
        skipped: for each case that was not run, what it lacks.
        failed: for each case that failed, how.
    """

    measurements: dict[str, list[Measurement]] = attrs.field(factory=dict)
    skipped: dict[str, str] = attrs.field(factory=dict)
    failed: dict[str, str] = attrs.field(factory=dict)

    def reason(self, cases: Iterable[str]) -> str | None:
        """Return why a row of these cases has no numbers; None if it has them."""
        for case in cases:
            if case in self.skipped:
                return f"skipped: {self.skipped[case]}"
            if case in self.failed:
                return f"FAILED: {case}: {self.failed[case]}"
        return None


def lacks(case: Case) -> str | None:
    """Return what has to be installed for a case, None if nothing."""
    missing = [name for name in case.needs if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def measure(subject: Subject, rounds: int, servers: Servers, progress: Callable[[str], None]) -> Results:
    """Run every case of the subject once a round."""
    results = Results()
    results.skipped = {key: reason for key, case in subject.cases.items() if (reason := lacks(case))}
    keys = [key for key in subject.cases if key not in results.skipped]
    for nth in range(rounds):
        start = nth % len(keys) if keys else 0
        for key in keys[start:] + keys[:start]:
            if key in results.failed:
                continue
            progress(f"{subject.name}: round {nth + 1} of {rounds}: {key}")
            try:
                [measurement] = run([subject.cases[key]], servers)
            except CaseFailedError as error:
                results.failed[key] = str(error)
            else:
                results.measurements.setdefault(key, []).append(measurement)
    return results


def measure_roughly(subjects: Sequence[Subject], servers: Servers) -> dict[str, Results]:
    """Run every case of all subjects once, with one process for all cases of one module: quick, and no measurement."""
    everything = {subject.name: Results() for subject in subjects}
    modules: dict[str, list[tuple[Results, str, Case]]] = {}
    for subject in subjects:
        results = everything[subject.name]
        for key, case in subject.cases.items():
            if reason := lacks(case):
                results.skipped[key] = reason
            else:
                modules.setdefault(case.work.partition(".")[0], []).append((results, key, case))
    for jobs in modules.values():
        try:
            for (results, key, _), measurement in zip(jobs, run([case for _, _, case in jobs], servers), strict=True):
                results.measurements[key] = [measurement]
        except CaseFailedError:
            for results, key, case in jobs:  # one by one, to see which
                try:
                    results.measurements[key] = run([case], servers)
                except CaseFailedError as error:
                    results.failed[key] = str(error)
    return everything


def run(cases: Sequence[Case], servers: Servers) -> list[Measurement]:
    """Run these cases in one process.

    Raises:
        CaseFailedError: the process failed, or one of them did not handle what it should.
    """
    used = {case.serve for case in cases if case.serve}
    before = {serve: servers.cpu(serve) for serve in used}
    done = _spawn([{"work": case.work, "arguments": _arguments(case, servers)} for case in cases])
    spent = {serve: servers.cpu(serve) - before[serve] for serve in used}
    measurements: list[Measurement] = []
    for case, values in zip(cases, done, strict=True):
        if values["count"] != case.expects:
            raise CaseFailedError(f"handled {values['count']} of {case.expects}")
        measurements.append(Measurement(**values, server_cpu=spent[case.serve] if case.serve else 0.0))
    return measurements


def _arguments(case: Case, servers: Servers) -> Mapping[str, Any]:
    where = {"url": servers.url(case.serve), "api": case.serve.api} if case.serve else {}
    return {**where, **case.arguments}


def _spawn(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "benchmarks.child", json.dumps(jobs)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired:
        raise CaseFailedError(f"took more than {TIMEOUT:g} s") from None
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2] or "no word on standard error"
        raise CaseFailedError(f"exit code {done.returncode}: {last}")
    return [json.loads(line) for line in done.stdout.splitlines()]
