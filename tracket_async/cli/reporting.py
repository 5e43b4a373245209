"""What a command says about the rows of a file: which are bad, what became of them all, how to go on."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import attrs

from tracket_async.cli import output
from tracket_async.cli.exits import ExitCode, one_line
from tracket_async.cli.settings import Connection
from tracket_async.errors import UsageError
from tracket_async.loading.checking import Findings, Reading
from tracket_async.loading.report import Report

T = TypeVar("T")


def checked(reading: Reading[T], *, json: bool) -> Findings:
    """What the first pass over a file has found, if all of it can be used; else every bad line is named.

    Raises:
        UsageError: there are bad lines, or none at all.
        StoreError: the file changed meanwhile.
    """
    findings, name = reading.check(), reading.source.name
    if findings.bad_lines:
        for bad in findings.bad:
            output.note(f"  line {bad.line}: {one_line(bad.reason)}")
        if findings.bad_lines > len(findings.bad):
            output.note(f"  and {findings.bad_lines - len(findings.bad):,} more")
        if json:
            bad_lines = [attrs.asdict(bad) for bad in findings.bad]
            output.json([{"file": name, "rows": findings.rows, "bad_lines": findings.bad_lines, "bad": bad_lines}])
        lines = "1 line" if findings.bad_lines == 1 else f"{findings.bad_lines:,} lines"
        raise UsageError(f"{lines} of {name} cannot be used. Nothing was sent. Correct them and run the same again")
    if not findings.rows:
        raise UsageError(f"There is not one worklog in {name}. Give a file with worklogs")
    if findings.ignored:
        output.note(f"Ignored, since only the server sets it: {', '.join(sorted(findings.ignored))}.")
    return findings


def counts(report: Report, done: str, already: str) -> str:
    """The numbers that are not 0, in words.

    Args:
        report: with the numbers.
        done: what was done, as in "created".
        already: what the others need nothing for, as in "already there".
    """
    found = f" ({report.found:,} of them found by reading back)" if report.found else ""
    parts = (
        (report.done, f"{done}{found}"),
        (report.already, already),
        (report.failed, "failed"),
        (report.ambiguous, "ambiguous"),
        (report.not_sent, "not sent"),
    )
    return ", ".join(f"{number:,} {what}" for number, what in parts if number)


def troubles(report: Report, everything: str) -> Iterator[str]:
    """A line for each row that somebody has to look at.

    Args:
        report: with the rows.
        everything: where the rows are that it does not name; a clause.
    """
    for trouble in report.troubles:
        candidates = f": {', '.join(map(output.text, trouble.candidates))}" if trouble.candidates else ""
        yield f"  line {trouble.line}: {trouble.kind}: {one_line(trouble.reason)}{candidates}"
    left = report.failed + report.ambiguous - len(report.troubles)
    if left > 0:
        yield f"  and {left:,} more{everything}"


def as_json(report: Report, **more: Any) -> None:
    """The report as one line of JSON on standard output."""
    numbers = {name: getattr(report, name) for name in ("rows", "done", "found", "already", "failed", "ambiguous")}
    listed = [attrs.asdict(trouble) for trouble in report.troubles]
    output.json([{**more, **numbers, "not_sent": report.not_sent, "complete": report.complete, "troubles": listed}])


def exit_code(report: Report) -> ExitCode:
    """0 only if every row is written.

    Raises:
        TracketError: what stopped the run: it has a line and an exit code of its own.
    """
    if report.stopped is not None:
        raise report.stopped
    return ExitCode.DONE if report.complete else ExitCode.INCOMPLETE


def command(name: str, *arguments: str, options: Mapping[str, Any], connection: Connection) -> str:
    """The command line that says the same again, quoted for a shell.

    Args:
        name: of the command.
        arguments: what follows it.
        options: name to value; None and False are left out, True is the name alone.
        connection: which server.
    """
    words = ["tracket", name, *arguments]
    for option, value in {**options, **attrs.asdict(connection)}.items():
        if value is None or value is False:
            continue
        words.append(f"--{option.replace('_', '-')}")
        if value is not True:
            words.append(str(value))
    return shlex.join(words)
