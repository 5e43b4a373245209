"""``tracket update`` and ``tracket delete`` with ``--from-file``, and the report on the rows of a file.

The file is validated before there is an event loop, so that an interruption ends it at once. It asks once, with the
number of worklogs. A change that is made twice does no harm, so running the same command again needs no journal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from itertools import islice
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

import attrs
from cyclopts import Group, Parameter

from tracket_async.cli import output
from tracket_async.cli.exits import ExitCode, command_line
from tracket_async.cli.options import CONCURRENCY, Concurrency, Connection
from tracket_async.cli.progress import Reporting, show_progress
from tracket_async.client import TracketClient
from tracket_async.config import Limits
from tracket_async.errors import UsageError
from tracket_async.importer.columns import read_mapping
from tracket_async.importer.preview import Planned, Previewed, Totals, preview
from tracket_async.importer.reader import format_of
from tracket_async.importer.records import TABLES, InputFormat, ReadOptions
from tracket_async.importer.rows import Change, InputFile, MakeItem, Validation, make_change, make_worklog_id
from tracket_async.importer.run import Apply, ChangeRun, RunReport, deletions, updates
from tracket_async.importer.source import STANDARD_INPUT, InputSource
from tracket_async.models import Worklog, WorklogChanges

T = TypeVar("T")

# -- the report on the rows of a file ------------------------------------------------------------------------------


def validated(input_file: InputFile[T], *, json: bool) -> Validation:
    """Return the validation of a file of which every line can be used; list the lines that cannot.

    Raises:
        UsageError: there are bad lines, or no lines.
        StoreError: the file changed meanwhile.
    """
    validation, name = input_file.validate(), input_file.source.name
    if validation.bad_lines:
        for bad in validation.bad:
            output.note(f"  {unit(input_file)} {bad.line}: {output.one_line(bad.reason)}")
        if validation.bad_lines > len(validation.bad):
            output.note(f"  and {validation.bad_lines - len(validation.bad):,} more")
        if json:
            bad_lines = [attrs.asdict(bad) for bad in validation.bad]
            output.json([{"file": name, "rows": validation.rows, "bad_lines": validation.bad_lines, "bad": bad_lines}])
        lines = f"{validation.bad_lines:,} {unit(input_file)}{'' if validation.bad_lines == 1 else 's'}"
        raise UsageError(f"{lines} of {name} cannot be used. Nothing was sent. Correct the file and run the same again")
    if not validation.rows:
        raise UsageError(f"There are no worklogs in {name}. Give a file with worklogs")
    if validation.ignored:
        output.note(f"Ignored columns, which only the server sets: {', '.join(sorted(validation.ignored))}.")
    if validation.repaired_ids:
        ids = "1 id was" if validation.repaired_ids == 1 else f"{validation.repaired_ids:,} ids were"
        output.note(f"{ids} written as a number with .0, as pandas and spreadsheets do; the .0 is left out.")
    if validation.dropped_times:
        dates = "1 date has" if validation.dropped_times == 1 else f"{validation.dropped_times:,} dates have"
        output.note(f"{dates} a time of day, which API {input_file.api_version.version} does not keep: the day counts.")
    return validation


def unit(input_file: InputFile[T]) -> str:
    """Return what the numbers of a file's records count: "line" or "row"."""
    return "row" if input_file.options.format in TABLES else "line"


def counts(report: RunReport, done: str, already: str) -> str:
    """Return the numbers of a report that are not 0, in words.

    Args:
        report: has the numbers.
        done: says what was done, as in "created".
        already: says why others needed nothing, as in "already there".
    """
    found = f" ({report.found:,} of them found on the server)" if report.found else ""
    parts = (
        (report.done, f"{done}{found}"),
        (report.already, already),
        (report.failed, "failed"),
        (report.ambiguous, "ambiguous"),
        (report.not_sent, "not sent"),
    )
    return ", ".join(f"{number:,} {what}" for number, what in parts if number)


def error_lines(report: RunReport, rest: str, unit: str) -> Iterator[str]:
    """Return a line for each row that needs attention.

    Args:
        report: has the rows.
        unit: what the rows' numbers count.
        rest: says where the rows are that the report does not list; a clause.
    """
    for error in report.errors:
        candidates = f": {', '.join(map(output.text, error.candidates))}" if error.candidates else ""
        yield f"  {unit} {error.line}: {error.kind}: {output.one_line(error.reason)}{candidates}"
    left = report.failed + report.ambiguous - len(report.errors)
    if left > 0:
        yield f"  and {left:,} more{rest}"


def print_json(report: RunReport, **more: Any) -> None:
    """Print the report as one line of JSON on standard output."""
    numbers = {name: getattr(report, name) for name in ("rows", "done", "found", "already", "failed", "ambiguous")}
    listed = [attrs.asdict(error) for error in report.errors]
    output.json([{**more, **numbers, "not_sent": report.not_sent, "complete": report.complete, "errors": listed}])


def exit_code(report: RunReport) -> ExitCode:
    """Return 0 only if every row is done.

    Raises:
        TracketError: the error that stopped the run, which has a line and an exit code of its own.
    """
    if report.stopped is not None:
        raise report.stopped
    return ExitCode.DONE if report.complete else ExitCode.INCOMPLETE


def command(name: str, *arguments: str, options: Mapping[str, Any], connection: Connection) -> str:
    """Return the command line with these options, quoted for a shell.

    Args:
        name: of the command.
        arguments: what follows it.
        options: name to value; None and False are left out, True is the name alone, several values repeat it.
        connection: which server.
    """
    words = [name, *arguments]
    for option, value in {**options, **attrs.asdict(connection)}.items():
        if value is None or value is False:
            continue
        name = f"--{option.replace('_', '-')}"
        words += [name] if value is True else [word for each in _each(value) for word in (name, str(each))]
    return command_line(*words)


def _each(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]  # pyright: ignore[reportUnknownVariableType] - of any option


# -- how a file is read --------------------------------------------------------------------------------------------


@Parameter(name="*", group=Group("File", sort_key=1))
@attrs.frozen(kw_only=True)
class Reading:
    """The options for reading a file. None: what the file itself leaves no doubt about."""

    format: Annotated[
        InputFormat | None,
        Parameter(help="Read this format. Default: the ending of the file's name.", show_default=False),
    ] = None
    raw: Annotated[
        bool,
        Parameter(negative=(), show_default=False, help="Read CSV of an export with --raw: texts are as they are."),
    ] = False
    encoding: Annotated[
        str | None, Parameter(metavar="NAME", help="Read text in this encoding, such as cp1252.", show_default=False)
    ] = None
    delimiter: Annotated[
        str | None,
        Parameter(metavar="CHAR", help="Read CSV with this character between cells, or tab.", show_default=False),
    ] = None
    decimal: Annotated[
        Literal[".", ","] | None,
        Parameter(help="Read numbers in text with this decimal point.", show_default=False),
    ] = None
    date_format: Annotated[
        str | None,
        Parameter(
            metavar="FORMAT",
            help="Read local dates as dmy, mdy or ymd, or by a pattern such as %d.%m.%Y.",
            show_default=False,
        ),
    ] = None
    sheet: Annotated[
        str | None,
        Parameter(metavar="NAME", help="Read this sheet of an Excel workbook. Default: the first.", show_default=False),
    ] = None
    map: Annotated[
        list[str] | None,
        Parameter(
            metavar="OLD=NEW",
            negative=(),
            help="Read column OLD as NEW; OLD= skips it, '*=' skips all that are not known. May be repeated.",
            show_default=False,
        ),
    ] = None

    def options(self, name: str, *, only_id: bool = False, default: InputFormat | None = None) -> ReadOptions:
        """Return the options for a file.

        Args:
            name: of the file.
            only_id: read nothing but the id.
            default: the format where neither option nor name says one.

        Raises:
            UsageError: the format is not known, or an option has no meaning.
        """
        format = self.format or format_of(name) or default
        if format is None or (format == "ids" and not only_id):
            raise UsageError(f"The format of {name} is not known. Give --format ndjson or --format csv")
        return ReadOptions(
            format=format,
            raw=self.raw,
            only_id=only_id,
            encoding=self.encoding,
            delimiter=self.delimiter,
            decimal=self.decimal,
            date_format=self.date_format,
            mapping=read_mapping(self.map or ()),
            sheet=self.sheet,
        )


# -- update and delete ---------------------------------------------------------------------------------------------

OnError = Annotated[
    Literal["collect", "stop"], Parameter(help="After a failure, continue with the others (collect) or stop.")
]


@Parameter(name="*", group=Group("Many worklogs", sort_key=1))
@attrs.frozen(kw_only=True)
class FromFile(Reading):
    """The options for the worklogs of a file."""

    from_file: Annotated[
        str | None,
        Parameter(
            metavar="FILE", allow_leading_hyphen=True, help="Read the worklogs from a file; - is standard input."
        ),
    ] = None
    dry_run: Annotated[
        bool, Parameter(negative=(), show_default=False, help="Only show what would change, old -> new.")
    ] = False
    concurrency: Concurrency = CONCURRENCY
    on_error: OnError = "collect"


NO_FILE: Final = FromFile()


@attrs.frozen(kw_only=True)
class _Edit(Generic[T]):
    """One kind of edit: the words for it, and the functions that read and apply it."""

    command: str
    verb: str
    phase: str
    done: str
    already: str
    make: MakeItem[T]
    id_of: Callable[[T], str]
    changes_of: Callable[[T], WorklogChanges | None]
    apply: Callable[[TracketClient], Apply[T]]


UPDATE: Final = _Edit[Change](
    command="update",
    verb="Update",
    phase="updating",
    done="updated",
    already="unchanged",
    make=make_change,
    id_of=lambda each: each[0],
    changes_of=lambda each: each[1],
    apply=updates,
)
DELETE: Final = _Edit[str](
    command="delete",
    verb="Delete",
    phase="deleting",
    done="deleted",
    already="already gone",
    make=make_worklog_id,
    id_of=lambda each: each,
    changes_of=lambda _each: None,
    apply=deletions,
)


def refuse_without_file(given: FromFile) -> None:
    """Refuse options that have no meaning without a file.

    Raises:
        UsageError: naming the option.
    """
    for name, value in attrs.asdict(given).items():
        if value != getattr(NO_FILE, name):
            raise UsageError(f"--{name.replace('_', '-')} needs a file of worklogs. Give --from-file, or leave it out")


def run(
    edit: _Edit[T], given: FromFile, *, yes: bool, json: bool, reporting: Reporting, connection: Connection
) -> Coroutine[Any, Any, ExitCode]:
    """Validate the file, and return the coroutine that edits its worklogs.

    Args:
        edit: `UPDATE` or `DELETE`.
        given: the file.
        yes: do not ask.
        json: print the report, or of a dry run every row and the totals, as lines of JSON.
        reporting: what is said about it.
        connection: which server.

    Raises:
        UsageError: a line or an option cannot be used; nothing was sent.
    """
    name = given.from_file or ""
    if name == STANDARD_INPUT == connection.token_file:
        raise UsageError("Standard input cannot be both the token and the worklogs. Give one of them as a file")
    options = given.options(name, only_id=edit is DELETE, default="ids" if edit is DELETE else None)
    if not (yes or given.dry_run or output.can_ask()):
        raise UsageError(f"There is no terminal to ask at. Give --yes to {edit.command} without asking")
    client = connection.client(limits=Limits(max_concurrency=given.concurrency))
    source = InputSource(name)
    try:
        input_file = InputFile(
            source=source,
            options=options,
            make=edit.make,
            api_version=client.api_version,
            id_of=edit.id_of,
        )
        rows = validated(input_file, json=json).rows
    except BaseException:
        source.close()
        raise
    return _run(edit, given, client, input_file, rows, yes=yes, json=json, reporting=reporting, connection=connection)


async def _run(
    edit: _Edit[T],
    given: FromFile,
    client: TracketClient,
    input_file: InputFile[T],
    rows: int,
    *,
    yes: bool,
    json: bool,
    reporting: Reporting,
    connection: Connection,
) -> ExitCode:
    name = input_file.source.name
    with input_file.source:
        async with client:
            if given.dry_run:
                return await _dry_run(edit, given, client, input_file, json=json)
            if not yes:
                await _show_first(edit, client, input_file, rows)
                if not await output.confirm(f"{edit.verb} {_worklogs(rows)} of {name}?"):
                    output.note("Nothing was sent.")
                    return ExitCode.INCOMPLETE
            started = time.monotonic()
            work = ChangeRun(
                edit.apply(client),
                input_file.rows(),
                total=rows,
                concurrency=given.concurrency,
                on_error=given.on_error,
                on_row=lambda: display.advance(None),
            )
            try:
                async with show_progress(reporting.mode, client.statistics) as display:
                    display.begin(edit.phase, rows)
                    await work.run()
            finally:
                report, seconds = work.report(), time.monotonic() - started
                if report.complete:
                    reporting.say(_done(edit, report, input_file, seconds))
                else:
                    _say_incomplete(edit, given, report, input_file, seconds, connection)
                if json:
                    print_json(report, file=name)
    if edit is DELETE and report.already == rows:
        output.note(f"None of {_worklogs(rows)} is there. {_CHECK}")
        return ExitCode.INCOMPLETE
    return exit_code(report)


_CHECK: Final = "Check the ids, the server and the version of the API, unless an earlier run deleted them"
_FIRST: Final = 10
"""So many rows are shown before the question."""


def _planned(edit: _Edit[T], input_file: InputFile[T]) -> Iterator[Planned]:
    return (Planned(row.line, edit.id_of(row.item), edit.changes_of(row.item)) for row in input_file.rows())


async def _show_first(edit: _Edit[T], client: TracketClient, input_file: InputFile[T], rows: int) -> None:
    async for found in preview(client, islice(_planned(edit, input_file), _FIRST)):
        output.note(f"  {unit(input_file)} {_described(found)}")
    if rows > _FIRST:
        output.note(f"  and {rows - _FIRST:,} more; --dry-run shows them all")


async def _dry_run(
    edit: _Edit[T], given: FromFile, client: TracketClient, input_file: InputFile[T], *, json: bool
) -> ExitCode:
    totals = Totals()
    async for found in preview(client, _planned(edit, input_file), concurrency=given.concurrency):
        totals.add(found)
        if json:
            fields = {name: {"old": old, "new": new} for name, (old, new) in found.fields.items()}
            output.json([{"line": found.row.line, "id": found.row.id, "found": bool(found.worklog), "changes": fields}])
        elif found.worklog is None or found.row.changes is None or found.fields:
            output.line(f"{unit(input_file)} {_described(found)}")
    name, (before, after) = input_file.source.name, totals.minutes
    missing = f"; {totals.missing:,} not on the server" if totals.missing else ""
    if edit is DELETE:
        what = f"delete {totals.changed:,} with {output.text(before)} minutes{missing}"
    else:
        counted = ", ".join(f"{name} of {number:,}" for name, number in totals.fields.most_common())
        minutes = f", minutes {output.text(before)} -> {output.text(after)}" if "minutes" in totals.fields else ""
        unchanged = f"; {totals.unchanged:,} unchanged" if totals.unchanged else ""
        what = f"change {totals.changed:,}{f' ({counted}{minutes})' if counted else ''}{unchanged}{missing}"
    output.note(f"{name}: tracket {edit.command} would {what}. Nothing was sent.")
    if json:
        numbers = {"changed": totals.changed, "unchanged": totals.unchanged, "missing": totals.missing}
        both = {"fields": dict(totals.fields), "minutes_before": before, "minutes_after": after}
        output.json([{"file": name, "dry_run": True, **numbers, **both}])
    done = totals.changed if edit is DELETE else not totals.missing
    return ExitCode.DONE if done else ExitCode.INCOMPLETE


def _described(found: Previewed) -> str:
    """Return a row of a preview as a line, after the word for a row."""
    start = f"{found.row.line}: {found.row.id}"
    if found.worklog is None:
        return f"{start}: there is no such worklog"
    if found.row.changes is None:
        return f"{found.row.line}: {facts(found.worklog)}"
    fields = (f"{name} {_value(old)} -> {_value(new)}" for name, (old, new) in found.fields.items())
    return f"{start}: {', '.join(fields) or 'as it is already'}"


def _value(value: Any) -> str:
    return "nothing" if value is None else repr(value) if isinstance(value, str) else output.text(value)


def facts(worklog: Worklog) -> str:
    """Return a line that shows which worklog it is."""
    shown = (worklog.id, worklog.date, worklog.user_id, f"{output.text(worklog.minutes)} min", worklog.description)
    return ", ".join(output.text(fact) for fact in shown if fact is not None)


def _done(edit: _Edit[T], report: RunReport, input_file: InputFile[T], seconds: float) -> str:
    return f"{input_file.source.name}: {counts(report, edit.done, edit.already)} in {seconds:.1f} s."


def _say_incomplete(
    edit: _Edit[T],
    given: FromFile,
    report: RunReport,
    input_file: InputFile[T],
    seconds: float,
    connection: Connection,
) -> None:
    output.note(_done(edit, report, input_file, seconds))
    for line in error_lines(report, "", unit(input_file)):
        output.note(line)
    options = {name: value for name, value in attrs.asdict(given).items() if value != getattr(NO_FILE, name)}
    again = command(edit.command, options={**options, "yes": True}, connection=connection)
    output.note(f"Run it again to continue; what is done already does no harm: {again}")


def _worklogs(number: int) -> str:
    return "the worklog" if number == 1 else f"the {number:,} worklogs"
