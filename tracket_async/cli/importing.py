"""``tracket import``: the worklogs of a file, each created exactly once, however often the command has to be run.

What only reads the file is done before there is an event loop, so that an interruption ends it at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import attrs
from cyclopts import Parameter

from tracket_async.cli import output, reporting
from tracket_async.cli.arguments import Json
from tracket_async.cli.exits import ExitCode
from tracket_async.cli.progress import Mode, meter
from tracket_async.cli.settings import DEFAULT, Connection
from tracket_async.client import TracketClient
from tracket_async.errors import ExportError, UsageError
from tracket_async.loading import journal as journals
from tracket_async.loading.checking import Findings, Reading
from tracket_async.loading.history import IN_DOUBT, State
from tracket_async.loading.importing import Choices, Import
from tracket_async.loading.journal import Header, Journal
from tracket_async.loading.lines import SUFFIXES, Layout
from tracket_async.loading.report import Report
from tracket_async.loading.rows import new_worklog
from tracket_async.loading.source import STANDARD_INPUT, Fingerprint, Source
from tracket_async.models import NewWorklog
from tracket_async.net.settings import Limits

Format = Literal["ndjson", "csv"]
Flag = Annotated[bool, Parameter(negative=(), show_default=False)]

CONCURRENCY: Final = 16
_NAMED: Final = 12
"""Hexadecimal digits of a content's SHA-256 that name its journal."""


@attrs.frozen(kw_only=True)
class _Plan:
    """What is to be done with what, checked."""

    client: TracketClient
    reading: Reading[NewWorklog]
    findings: Findings
    journal: Path
    header: Header
    choices: Choices
    json: bool
    progress: Mode
    again: str


def import_worklogs(
    file: Annotated[str, Parameter(allow_leading_hyphen=True, metavar="FILE")],
    /,
    *,
    format: Annotated[Format | None, Parameter(show_default=False)] = None,  # noqa: A002 - the word that people use
    raw: Flag = False,
    dry_run: Flag = False,
    on_error: Literal["collect", "stop"] = "collect",
    resend_ambiguous: Flag = False,
    concurrency: Annotated[int, Parameter(metavar="N")] = CONCURRENCY,
    journal: Annotated[Path | None, Parameter(metavar="FILE", show_default=False)] = None,
    json: Json = False,
    progress: Mode = "auto",
    connection: Connection = DEFAULT,
) -> Coroutine[Any, Any, ExitCode] | ExitCode:
    """Create the worklogs of a file, each exactly once: the same command goes on where the last one ended.

    The whole file is checked before anything is sent. A journal beside it (FILE.tracket-journal) remembers what was
    sent and what became of it; keep it for as long as the file may be imported again. A worklog of which nobody knows
    whether it was created is looked for on the server, and never sent again unasked.

    The columns are those of tracket export, or the names of API 1.0. What only the server sets, the id among it, is
    ignored.

    Args:
        file: The file; - is standard input, whose journal lies in the current folder and is named after its content.
        format: How it is written; else the ending of its name decides (.ndjson, .jsonl, .csv).
        raw: CSV from an export with --raw: an apostrophe before what looks like a formula belongs to the text.
        dry_run: Only check the file, and say what would be done.
        on_error: After a worklog that fails: collect (try all the others) or stop.
        resend_ambiguous: Send those again that may have been created and cannot be found on the server.
        concurrency: How many requests at once, at most.
        journal: Where the journal is, instead of beside the file.
        json: Print what was done as one line of JSON.
        progress: What standard error shows: auto (a bar, only on a terminal), json (a line a second), or off.
        connection: which server.
    """
    if concurrency < 1:
        raise UsageError(f"--concurrency must be at least 1, not {concurrency}")
    if file == STANDARD_INPUT == connection.token_file:
        raise UsageError("Standard input cannot be the token and the worklogs. Give one of them as a file")
    chosen = format or SUFFIXES.get(Path(file).suffix.lower())
    if chosen is None:
        raise UsageError(f"The name {file} does not say how it is written. Give --format ndjson or --format csv")
    client = connection.client(limits=Limits(concurrency=concurrency))
    source = Source(file)
    try:
        reading = Reading(source=source, layout=Layout(format=chosen, raw=raw), make=new_worklog, wire=client.wire)
        findings = reporting.checked(reading, json=json)
        content = source.fingerprint()
        options = {"format": format, "raw": raw, "journal": journal, "concurrency": concurrency, "on_error": on_error}
        plan = _Plan(
            client=client,
            reading=reading,
            findings=findings,
            journal=journal or _journal(source, content),
            header=Header(
                size=content.size,
                sha256=content.sha256,
                format=chosen,
                raw=raw,
                api=client.api,
                base_url=client.base_url,
                account=client.account,
            ),
            choices=Choices(concurrency=concurrency, on_error=on_error, resend_ambiguous=resend_ambiguous),
            json=json,
            progress=progress,
            again=reporting.command("import", file, options=_unusual(options), connection=connection),
        )
        if dry_run:
            _would(plan)
            source.close()
            return ExitCode.DONE
    except BaseException:
        source.close()
        raise
    return _import(plan)


async def _import(plan: _Plan) -> ExitCode:
    started = time.monotonic()
    work: Import | None = None
    try:
        with plan.reading.source, meter(plan.progress, "Importing") as shown:
            async with Journal(plan.journal, plan.header) as journal, plan.client as client:
                shown.expect(plan.findings.rows - journal.history.counts[State.OK])
                work = Import(
                    client,
                    plan.reading,
                    journal,
                    total=plan.findings.rows,
                    choices=plan.choices,
                    on_row=lambda new: shown.advance(1, new.date.date()),
                )
                await work.run()
    except (asyncio.CancelledError, ExportError):
        if work is not None:
            _tell(plan, work.report(), time.monotonic() - started)
        raise
    report = work.report()
    _tell(plan, report, time.monotonic() - started)
    return reporting.exit_code(report)


def _tell(plan: _Plan, report: Report, seconds: float) -> None:
    name = plan.reading.source.name
    if report.already == report.rows:
        output.note(
            f"An earlier run has created all {report.rows:,} worklogs of {name}, so nothing was sent."
            f" Its journal is {plan.journal}"
        )
    else:
        said = reporting.counts(report, "created", "already there")
        output.note(f"{name}: {said} in {seconds:.1f} s.")
    for line in reporting.troubles(report, f"; all are in {plan.journal}"):
        output.note(line)
    if not report.complete:
        output.note(f"To go on: {plan.again}")
    if report.ambiguous:
        output.note(
            "What is ambiguous is looked for again, but not sent again before you say so."
            f" If you are sure that it is not there: {plan.again} --resend-ambiguous"
        )
    if plan.json:
        reporting.as_json(report, file=name, journal=str(plan.journal))


def _would(plan: _Plan) -> None:
    """What a run would do, for ``--dry-run``."""
    history = journals.past(plan.journal, plan.header)
    rows, created = plan.findings.rows, history.counts[State.OK]
    doubts = sum(history.counts[state] for state in IN_DOUBT)
    would = {"create": rows - created - doubts, "already_there": created, "look_for": doubts}
    output.note(
        f"{plan.reading.source.name}: {rows:,} worklogs, and nothing wrong with them. An import would create"
        f" {would['create']:,}"
        + (f", leave out {created:,} that are already there" if created else "")
        + (f", and look for {doubts:,} of which nobody knows" if doubts else "")
        + ". Nothing was sent."
    )
    if plan.json:
        output.json([{"file": plan.reading.source.name, "rows": rows, "dry_run": True, **would}])


def _journal(source: Source, content: Fingerprint) -> Path:
    """The same content has the same journal, also when it comes from standard input."""
    if source.path is not None:
        return journals.beside(source.path)
    return journals.beside(Path(f"standard-input-{content.sha256[:_NAMED]}"))


def _unusual(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that say something else than what holds without them."""
    usual = {"concurrency": CONCURRENCY, "on_error": "collect"}
    return {name: value for name, value in options.items() if value != usual.get(name)}
