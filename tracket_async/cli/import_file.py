"""``tracket import``: create the worklogs of a file, each exactly once, however often the command is run.

The file is validated before there is an event loop, so that an interruption ends it at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import attrs
from cyclopts import Parameter

from tracket_async.cli import output
from tracket_async.cli.exits import ExitCode
from tracket_async.cli.files import (
    OnError,
    Reading,
    command,
    counts,
    error_lines,
    exit_code,
    print_json,
    unit,
    validated,
)
from tracket_async.cli.options import CONCURRENCY, DEFAULT, Concurrency, Connection, Json
from tracket_async.cli.progress import REPORTING, Reporting, show_progress
from tracket_async.client import TracketClient
from tracket_async.config import Limits
from tracket_async.errors import ExportError, UsageError
from tracket_async.importer import journal as journals
from tracket_async.importer.journal import UNRESOLVED, Journal, JournalHeader, RowState, RowStates
from tracket_async.importer.rows import InputFile, Validation, content_of, make_new_worklog
from tracket_async.importer.run import ImportRun, ImportSettings, RunReport
from tracket_async.importer.source import STANDARD_INPUT, Fingerprint, InputSource
from tracket_async.models import NewWorklog

_NAMED: Final = 12
"""Hexadecimal digits of a content's SHA-256 that name its journal."""

READING: Final = Reading()
Flag = Annotated[bool, Parameter(negative=(), show_default=False)]


@attrs.frozen(kw_only=True)
class _Plan:
    """One import, checked."""

    client: TracketClient
    input_file: InputFile[NewWorklog]
    validation: Validation
    journal: Path
    header: JournalHeader
    settings: ImportSettings
    json: bool
    reporting: Reporting
    again: str

    def contents(self) -> Iterator[tuple[int, str]]:
        """Yield the line of each row, and the digest of what it sends."""
        return ((row.line, content_of(row.item, self.client.api_version)) for row in self.input_file.rows())


def import_worklogs(
    file: Annotated[str, Parameter(allow_leading_hyphen=True, metavar="FILE")],
    /,
    *,
    reading: Reading = READING,
    dry_run: Flag = False,
    on_error: OnError = "collect",
    resend_ambiguous: Flag = False,
    concurrency: Concurrency = CONCURRENCY,
    journal: Annotated[Path | None, Parameter(metavar="FILE", show_default=False)] = None,
    json: Json = False,
    reporting: Reporting = REPORTING,
    connection: Connection = DEFAULT,
) -> Coroutine[Any, Any, ExitCode] | ExitCode:
    """Create the worklogs of a file, each exactly once. Run the same command again to continue after an interruption.

    The whole file is validated before anything is sent. A journal beside it (FILE.tracket-journal) records what was
    sent and what became of it; keep it for as long as the file may be imported again. Rows that failed can be corrected
    in the file, and rows be added: the next run sends these alone. A worklog that may or may not have been created is
    looked up on the server, and not sent again unless you ask for it.

    The columns are those of tracket export, or the names of API 1.0. Columns that only the server sets, such as the id,
    are ignored.

    Args:
        file: The file; - is standard input, whose journal lies in the current folder and is named after its content.
        reading: how the file is read.
        dry_run: Only validate the file, and say what an import would do.
        on_error: see `OnError`.
        resend_ambiguous: Send again what may have been created and is not found on the server.
        concurrency: see `Concurrency`.
        journal: Keep the journal in this file. Default: beside the file.
        json: Print the report as one line of JSON.
        reporting: see `Reporting`.
        connection: which server.
    """
    if file == STANDARD_INPUT == connection.token_file:
        raise UsageError("Standard input cannot be both the token and the worklogs. Give one of them as a file")
    read = reading.options(file)
    client = connection.client(limits=Limits(max_concurrency=concurrency))
    source = InputSource(file)
    try:
        input_file = InputFile(
            source=source,
            options=read,
            make=make_new_worklog,
            api_version=client.api_version,
        )
        validation = validated(input_file, json=json)
        content = source.fingerprint()
        ways = {name: value for name, value in attrs.asdict(reading).items() if value not in (None, False)}
        place = journal or _journal(source, content)
        # Another content of standard input would have another journal, and be imported from its beginning.
        named = place if source.path is None else journal
        options = {**ways, "journal": named, "concurrency": concurrency, "on_error": on_error}
        plan = _Plan(
            client=client,
            input_file=input_file,
            validation=validation,
            journal=place,
            header=JournalHeader(
                size=content.size,
                sha256=content.sha256,
                format=read.format,
                raw=read.raw,
                reading=", ".join(f"{name} {ways[name]}" for name in sorted(ways.keys() - {"format", "raw"})),
                api=client.api,
                base_url=client.base_url,
                account=client.account,
            ),
            settings=ImportSettings(concurrency=concurrency, on_error=on_error, resend_ambiguous=resend_ambiguous),
            json=json,
            reporting=reporting,
            again=command("import", file, options=_not_default(options), connection=connection),
        )
        if dry_run:
            _say_dry_run(plan)
            source.close()
            return ExitCode.DONE
    except BaseException:
        source.close()
        raise
    return _import(plan)


async def _import(plan: _Plan) -> ExitCode:
    started = time.monotonic()
    work: ImportRun | None = None
    try:
        with plan.input_file.source:
            async with (
                Journal(plan.journal, plan.header, plan.contents) as journal,
                plan.client as client,
                show_progress(plan.reporting.mode, client.statistics) as display,
            ):
                _say_removed(plan, journal.states)
                display.begin("importing", plan.validation.rows - journal.states.counts[RowState.CREATED])
                work = ImportRun(
                    client,
                    plan.input_file,
                    journal,
                    total=plan.validation.rows,
                    settings=plan.settings,
                    on_row=lambda new: display.advance(new.date),
                )
                await work.run()
    except (asyncio.CancelledError, ExportError):
        if work is not None:
            _say(plan, work.report(), time.monotonic() - started)
        raise
    report = work.report()
    _say(plan, report, time.monotonic() - started)
    return exit_code(report)


def _say(plan: _Plan, report: RunReport, seconds: float) -> None:
    name = plan.input_file.source.name
    tell = plan.reporting.say if report.complete else output.note
    if report.already == report.rows:
        tell(
            f"All {report.rows:,} worklogs of {name} were created by an earlier run. Nothing was sent."
            f" Its journal is {plan.journal}"
        )
    else:
        tell(f"{name}: {counts(report, 'created', 'created before')} in {seconds:.1f} s.")
    for line in error_lines(report, f"; all are in {plan.journal}", unit(plan.input_file)):
        output.note(line)
    if report.failed and report.stopped is None:
        output.note(f"What failed can be corrected in {name}. The next run sends it again, and what was created never.")
    if not report.complete:
        output.note(f"To continue: {plan.again}")
    if report.ambiguous:
        output.note(
            "Ambiguous worklogs are looked up again, and not sent again. To send what is not found:"
            f" {plan.again} --resend-ambiguous"
        )
    if plan.json:
        print_json(report, file=name, journal=str(plan.journal))


def _say_dry_run(plan: _Plan) -> None:
    states = journals.read_journal(plan.journal, plan.header, plan.contents)
    _say_removed(plan, states)
    rows, created = plan.validation.rows, states.counts[RowState.CREATED]
    unresolved = sum(states.counts[state] for state in UNRESOLVED)
    plans = {"create": rows - created - unresolved, "already_there": created, "look_for": unresolved}
    parts = (
        f"create {plans['create']:,}",
        f"skip {created:,} that were created before" if created else "",
        f"look up {unresolved:,} that may have been created" if unresolved else "",
    )
    output.note(
        f"{plan.input_file.source.name}: all {rows:,} worklogs are valid."
        f" An import would {', '.join(part for part in parts if part)}. Nothing was sent."
    )
    if plan.json:
        output.json([{"file": plan.input_file.source.name, "rows": rows, "dry_run": True, **plans}])


def _say_removed(plan: _Plan, states: RowStates) -> None:
    if states.removed:
        output.note(
            f"{plan.input_file.source.name} no longer has rows that an earlier run sent: {states.removed}."
            " What was created stays on the server; tracket delete removes it."
        )


def _journal(source: InputSource, content: Fingerprint) -> Path:
    """Return the path of the journal; the same content on standard input has the same journal."""
    if source.path is not None:
        return journals.journal_path(source.path)
    return journals.journal_path(Path(f"standard-input-{content.sha256[:_NAMED]}"))


def _not_default(options: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {"concurrency": CONCURRENCY, "on_error": "collect"}
    return {name: value for name, value in options.items() if value != defaults.get(name)}
