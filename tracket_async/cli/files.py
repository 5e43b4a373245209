"""A question to the person at the terminal: standard error asks, standard input answers, the event loop goes on.

What a command says about the rows of a file: which are bad, what became of them all, how to go on.

``tracket update`` and ``tracket delete`` with ``--from-file``: many worklogs, asked about once, with their number.

Each change can be made again without harm, so whoever runs the same command again needs no journal. What only reads
the file is done before there is an event loop, so that an interruption ends it at once.

``tracket import``: the worklogs of a file, each created exactly once, however often the command has to be run.

What only reads the file is done before there is an event loop, so that an interruption ends it at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

import attrs
from cyclopts import Group, Parameter

from tracket_async.cli import output
from tracket_async.cli.exits import ExitCode, one_line
from tracket_async.cli.options import DEFAULT, Connection, Json
from tracket_async.cli.progress import Mode, meter
from tracket_async.client import TracketClient
from tracket_async.config import Limits, check_concurrency
from tracket_async.errors import ExportError, UsageError
from tracket_async.importer import journal as journals
from tracket_async.importer.journal import UNRESOLVED, Journal, JournalHeader, RowState
from tracket_async.importer.reader import (
    FORMAT_OF_SUFFIX,
    STANDARD_INPUT,
    Change,
    Fingerprint,
    InputFile,
    InputFormat,
    InputSource,
    MakeItem,
    ReadOptions,
    Validation,
    make_change,
    make_new_worklog,
    make_worklog_id,
)
from tracket_async.importer.run import Apply, ChangeRun, ImportRun, ImportSettings, RunReport, deletions, updates
from tracket_async.models import NewWorklog

YES: Final = frozenset({"y", "yes"})


def possible() -> bool:
    """Whether somebody can be asked: both ends are terminals."""
    return sys.stdin.isatty() and sys.stderr.isatty()


async def confirm(question: str) -> bool:
    """Whether the answer is yes. Anything else, an empty line and the end of the input are a no."""
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    await _line_is_ready()
    return sys.stdin.readline().strip().lower() in YES


async def _line_is_ready() -> None:
    # A blocking read would hold back Ctrl-C until the next Enter: the loop's signal handler runs, and the read goes on.
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    descriptor = sys.stdin.fileno()
    try:
        loop.add_reader(descriptor, ready.set)
    except NotImplementedError:  # Windows: there, Ctrl-C does have to wait
        return
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


T = TypeVar("T")


def checked(input_file: InputFile[T], *, json: bool) -> Validation:
    """What the first pass over a file has found, if all of it can be used; else every bad line is named.

    Raises:
        UsageError: there are bad lines, or none at all.
        StoreError: the file changed meanwhile.
    """
    validation, name = input_file.validate(), input_file.source.name
    if validation.bad_lines:
        for bad in validation.bad:
            output.note(f"  line {bad.line}: {one_line(bad.reason)}")
        if validation.bad_lines > len(validation.bad):
            output.note(f"  and {validation.bad_lines - len(validation.bad):,} more")
        if json:
            bad_lines = [attrs.asdict(bad) for bad in validation.bad]
            output.json([{"file": name, "rows": validation.rows, "bad_lines": validation.bad_lines, "bad": bad_lines}])
        lines = "1 line" if validation.bad_lines == 1 else f"{validation.bad_lines:,} lines"
        raise UsageError(f"{lines} of {name} cannot be used. Nothing was sent. Correct them and run the same again")
    if not validation.rows:
        raise UsageError(f"There is not one worklog in {name}. Give a file with worklogs")
    if validation.ignored:
        output.note(f"Ignored, since only the server sets it: {', '.join(sorted(validation.ignored))}.")
    if validation.dropped_times:
        dates = "1 date has" if validation.dropped_times == 1 else f"{validation.dropped_times:,} dates have"
        output.note(f"{dates} a time of day, which API {input_file.api_version.version} does not keep: the day counts.")
    return validation


def counts(report: RunReport, done: str, already: str) -> str:
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


def error_lines(report: RunReport, everything: str) -> Iterator[str]:
    """A line for each row that somebody has to look at.

    Args:
        report: with the rows.
        everything: where the rows are that it does not name; a clause.
    """
    for error in report.errors:
        candidates = f": {', '.join(map(output.text, error.candidates))}" if error.candidates else ""
        yield f"  line {error.line}: {error.kind}: {one_line(error.reason)}{candidates}"
    left = report.failed + report.ambiguous - len(report.errors)
    if left > 0:
        yield f"  and {left:,} more{everything}"


def as_json(report: RunReport, **more: Any) -> None:
    """The report as one line of JSON on standard output."""
    numbers = {name: getattr(report, name) for name in ("rows", "done", "found", "already", "failed", "ambiguous")}
    listed = [attrs.asdict(error) for error in report.errors]
    output.json([{**more, **numbers, "not_sent": report.not_sent, "complete": report.complete, "errors": listed}])


def exit_code(report: RunReport) -> ExitCode:
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


CONCURRENCY: Final = 16


@Parameter(name="*", group=Group("Many worklogs", sort_key=1))
@attrs.frozen(kw_only=True)
class Many:
    """Worklogs that a file names."""

    from_file: Annotated[
        str | None, Parameter(metavar="FILE", allow_leading_hyphen=True, help="File of worklogs; - is standard input.")
    ] = None
    format: Annotated[
        InputFormat | None,
        Parameter(help="How the file is written; else the ending of its name decides.", show_default=False),
    ] = None
    raw: Annotated[
        bool,
        Parameter(negative=(), show_default=False, help="CSV that was exported with --raw: texts are as they are."),
    ] = False
    concurrency: Annotated[int, Parameter(metavar="N", help="How many requests at once, at most.")] = CONCURRENCY
    on_error: Annotated[Literal["collect", "stop"], Parameter(help="After a failure: try all the others, or stop.")] = (
        "collect"
    )


NONE: Final = Many()


@attrs.frozen(kw_only=True)
class _Work(Generic[T]):
    """What is done with the rows of a file, and how it is called."""

    command: str
    asked: str
    doing: str
    done: str
    already: str
    make: MakeItem[T]
    id_of: Callable[[T], str]
    apply: Callable[[TracketClient], Apply[T]]


UPDATE: Final = _Work[Change](
    command="update",
    asked="Change",
    doing="Changing",
    done="changed",
    already="unchanged",
    make=make_change,
    id_of=lambda each: each[0],
    apply=updates,
)
DELETE: Final = _Work[str](
    command="delete",
    asked="Delete",
    doing="Deleting",
    done="deleted",
    already="not there any more",
    make=make_worklog_id,
    id_of=lambda each: each,
    apply=deletions,
)


def refuse_without_file(many: Many) -> None:
    """What only says how a file is read has no meaning without one.

    Raises:
        UsageError: naming it.
    """
    for name, value in attrs.asdict(many).items():
        if value != getattr(NONE, name):
            raise UsageError(
                f"--{name.replace('_', '-')} is for the worklogs of a file. Give --from-file, or leave it out"
            )


def run(work: _Work[T], many: Many, *, yes: bool, json: bool, connection: Connection) -> Coroutine[Any, Any, ExitCode]:
    """Check the file, and give what does the work.

    Args:
        work: `UPDATE` or `DELETE`.
        many: the file.
        yes: do not ask.
        json: print what was done as one line of JSON.
        connection: which server.

    Raises:
        UsageError: a line or an option cannot be used; nothing was sent.
    """
    name = many.from_file or ""
    check_concurrency(many.concurrency, "--concurrency")
    if name == STANDARD_INPUT == connection.token_file:
        raise UsageError("Standard input cannot be the token and the worklogs. Give one of them as a file")
    chosen = many.format or FORMAT_OF_SUFFIX.get(Path(name).suffix.lower()) or ("ids" if work is DELETE else None)
    if chosen is None or (chosen == "ids" and work is not DELETE):
        raise UsageError(f"Changes cannot be read from {name}. Give --format ndjson or --format csv")
    if not yes and not possible():
        raise UsageError(f"Nobody can be asked here. Give --yes to {work.command} without asking")
    client = connection.client(limits=Limits(max_concurrency=many.concurrency))
    source = InputSource(name)
    try:
        input_file = InputFile(
            source=source,
            options=ReadOptions(format=chosen, raw=many.raw, only_id=work is DELETE),
            make=work.make,
            api_version=client.api_version,
            id_of=work.id_of,
        )
        rows = checked(input_file, json=json).rows
    except BaseException:
        source.close()
        raise
    return _run_changes(work, many, client, input_file, rows, yes=yes, json=json, connection=connection)


async def _run_changes(
    work: _Work[T],
    many: Many,
    client: TracketClient,
    input_file: InputFile[T],
    rows: int,
    *,
    yes: bool,
    json: bool,
    connection: Connection,
) -> ExitCode:
    name = input_file.source.name
    with input_file.source:
        if not yes and not await confirm(f"{work.asked} {_worklogs(rows)} that {name} names?"):
            output.note("Nothing was sent.")
            return ExitCode.INCOMPLETE
        started = time.monotonic()
        with contextlib.ExitStack() as meters:
            shown = meters.enter_context(meter("auto", work.doing))
            shown.expect(rows)
            changing = ChangeRun(
                work.apply(client),
                input_file,
                total=rows,
                concurrency=many.concurrency,
                on_error=many.on_error,
                on_row=lambda: shown.advance(1, None),
            )
            try:
                async with client:
                    await changing.run()
            finally:
                meters.close()
                report = changing.report()
                _tell_changes(work, many, report, name, time.monotonic() - started, json=json, connection=connection)
    return exit_code(report)


def _tell_changes(
    work: _Work[T], many: Many, report: RunReport, name: str, seconds: float, *, json: bool, connection: Connection
) -> None:
    output.note(f"{name}: {counts(report, work.done, work.already)} in {seconds:.1f} s.")
    for line in error_lines(report, ""):
        output.note(line)
    if not report.complete:
        output.note(f"To go on: {_again(work, many, connection)}. What is done already does no harm.")
    if json:
        as_json(report, file=name)


def _again(work: _Work[T], many: Many, connection: Connection) -> str:
    said = {name: value for name, value in attrs.asdict(many).items() if value != getattr(NONE, name)}
    return command(work.command, options={**said, "yes": True}, connection=connection)


def _worklogs(number: int) -> str:
    return "the worklog" if number == 1 else f"the {number:,} worklogs"


ImportFormat = Literal["ndjson", "csv"]
Flag = Annotated[bool, Parameter(negative=(), show_default=False)]

_NAMED: Final = 12
"""Hexadecimal digits of a content's SHA-256 that name its journal."""


@attrs.frozen(kw_only=True)
class _Plan:
    """What is to be done with what, checked."""

    client: TracketClient
    input_file: InputFile[NewWorklog]
    validation: Validation
    journal: Path
    header: JournalHeader
    settings: ImportSettings
    json: bool
    progress: Mode
    again: str


def import_worklogs(
    file: Annotated[str, Parameter(allow_leading_hyphen=True, metavar="FILE")],
    /,
    *,
    format: Annotated[ImportFormat | None, Parameter(show_default=False)] = None,  # noqa: A002 - the word that people use
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
    check_concurrency(concurrency, "--concurrency")
    if file == STANDARD_INPUT == connection.token_file:
        raise UsageError("Standard input cannot be the token and the worklogs. Give one of them as a file")
    chosen = format or FORMAT_OF_SUFFIX.get(Path(file).suffix.lower())
    if chosen is None:
        raise UsageError(f"The name {file} does not say how it is written. Give --format ndjson or --format csv")
    client = connection.client(limits=Limits(max_concurrency=concurrency))
    source = InputSource(file)
    try:
        input_file = InputFile(
            source=source,
            options=ReadOptions(format=chosen, raw=raw),
            make=make_new_worklog,
            api_version=client.api_version,
        )
        validation = checked(input_file, json=json)
        content = source.fingerprint()
        options = {"format": format, "raw": raw, "journal": journal, "concurrency": concurrency, "on_error": on_error}
        plan = _Plan(
            client=client,
            input_file=input_file,
            validation=validation,
            journal=journal or _journal(source, content),
            header=JournalHeader(
                size=content.size,
                sha256=content.sha256,
                format=chosen,
                raw=raw,
                api=client.api,
                base_url=client.base_url,
                account=client.account,
            ),
            settings=ImportSettings(concurrency=concurrency, on_error=on_error, resend_ambiguous=resend_ambiguous),
            json=json,
            progress=progress,
            again=command("import", file, options=_unusual(options), connection=connection),
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
    work: ImportRun | None = None
    try:
        with plan.input_file.source, meter(plan.progress, "Importing") as shown:
            async with Journal(plan.journal, plan.header) as journal, plan.client as client:
                shown.expect(plan.validation.rows - journal.states.counts[RowState.CREATED])
                work = ImportRun(
                    client,
                    plan.input_file,
                    journal,
                    total=plan.validation.rows,
                    settings=plan.settings,
                    on_row=lambda new: shown.advance(1, new.date.date()),
                )
                await work.run()
    except (asyncio.CancelledError, ExportError):
        if work is not None:
            _tell(plan, work.report(), time.monotonic() - started)
        raise
    report = work.report()
    _tell(plan, report, time.monotonic() - started)
    return exit_code(report)


def _tell(plan: _Plan, report: RunReport, seconds: float) -> None:
    name = plan.input_file.source.name
    if report.already == report.rows:
        output.note(
            f"An earlier run has created all {report.rows:,} worklogs of {name}, so nothing was sent."
            f" Its journal is {plan.journal}"
        )
    else:
        said = counts(report, "created", "already there")
        output.note(f"{name}: {said} in {seconds:.1f} s.")
    for line in error_lines(report, f"; all are in {plan.journal}"):
        output.note(line)
    if not report.complete:
        output.note(f"To go on: {plan.again}")
    if report.ambiguous:
        output.note(
            "What is ambiguous is looked for again, but not sent again before you say so."
            f" If you are sure that it is not there: {plan.again} --resend-ambiguous"
        )
    if plan.json:
        as_json(report, file=name, journal=str(plan.journal))


def _would(plan: _Plan) -> None:
    """What a run would do, for ``--dry-run``."""
    states = journals.read_journal(plan.journal, plan.header)
    rows, created = plan.validation.rows, states.counts[RowState.CREATED]
    unresolved = sum(states.counts[state] for state in UNRESOLVED)
    would = {"create": rows - created - unresolved, "already_there": created, "look_for": unresolved}
    output.note(
        f"{plan.input_file.source.name}: {rows:,} worklogs, and nothing wrong with them. An import would create"
        f" {would['create']:,}"
        + (f", leave out {created:,} that are already there" if created else "")
        + (f", and look for {unresolved:,} of which nobody knows" if unresolved else "")
        + ". Nothing was sent."
    )
    if plan.json:
        output.json([{"file": plan.input_file.source.name, "rows": rows, "dry_run": True, **would}])


def _journal(source: InputSource, content: Fingerprint) -> Path:
    """The same content has the same journal, also when it comes from standard input."""
    if source.path is not None:
        return journals.journal_path(source.path)
    return journals.journal_path(Path(f"standard-input-{content.sha256[:_NAMED]}"))


def _unusual(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that say something else than what holds without them."""
    usual = {"concurrency": CONCURRENCY, "on_error": "collect"}
    return {name: value for name, value in options.items() if value != usual.get(name)}
