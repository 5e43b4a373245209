"""``tracket update`` and ``tracket delete`` with ``--from-file``: many worklogs, asked about once, with their number.

Each change can be made again without harm, so whoever runs the same command again needs no journal. What only reads
the file is done before there is an event loop, so that an interruption ends it at once.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

import attrs
from cyclopts import Group, Parameter

from tracket_async.cli import ask, output, reporting
from tracket_async.cli.exits import ExitCode
from tracket_async.cli.progress import meter
from tracket_async.cli.settings import Connection
from tracket_async.client import TracketClient
from tracket_async.errors import UsageError
from tracket_async.loading.changing import Apply, Changing, deletions, updates
from tracket_async.loading.checking import Reading
from tracket_async.loading.lines import SUFFIXES, Format, Layout
from tracket_async.loading.report import Report
from tracket_async.loading.rows import Change, Make, change, worklog_id
from tracket_async.loading.source import STANDARD_INPUT, Source
from tracket_async.net.settings import Limits

T = TypeVar("T")

CONCURRENCY: Final = 16


@Parameter(name="*", group=Group("Many worklogs", sort_key=1))
@attrs.frozen(kw_only=True)
class Many:
    """Worklogs that a file names."""

    from_file: Annotated[
        str | None, Parameter(metavar="FILE", allow_leading_hyphen=True, help="File of worklogs; - is standard input.")
    ] = None
    format: Annotated[
        Format | None,
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
    make: Make[T]
    id_of: Callable[[T], str]
    apply: Callable[[TracketClient], Apply[T]]


UPDATE: Final = _Work[Change](
    command="update",
    asked="Change",
    doing="Changing",
    done="changed",
    already="unchanged",
    make=change,
    id_of=lambda each: each[0],
    apply=updates,
)
DELETE: Final = _Work[str](
    command="delete",
    asked="Delete",
    doing="Deleting",
    done="deleted",
    already="not there any more",
    make=worklog_id,
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
    if many.concurrency < 1:
        raise UsageError(f"--concurrency must be at least 1, not {many.concurrency}")
    if name == STANDARD_INPUT == connection.token_file:
        raise UsageError("Standard input cannot be the token and the worklogs. Give one of them as a file")
    chosen = many.format or SUFFIXES.get(Path(name).suffix.lower()) or ("ids" if work is DELETE else None)
    if chosen is None or (chosen == "ids" and work is not DELETE):
        raise UsageError(f"Changes cannot be read from {name}. Give --format ndjson or --format csv")
    if not yes and not ask.possible():
        raise UsageError(f"Nobody can be asked here. Give --yes to {work.command} without asking")
    client = connection.client(limits=Limits(concurrency=many.concurrency))
    source = Source(name)
    try:
        reading = Reading(
            source=source,
            layout=Layout(format=chosen, raw=many.raw, only_id=work is DELETE),
            make=work.make,
            wire=client.wire,
            id_of=work.id_of,
        )
        rows = reporting.checked(reading, json=json).rows
    except BaseException:
        source.close()
        raise
    return _run(work, many, client, reading, rows, yes=yes, json=json, connection=connection)


async def _run(
    work: _Work[T],
    many: Many,
    client: TracketClient,
    reading: Reading[T],
    rows: int,
    *,
    yes: bool,
    json: bool,
    connection: Connection,
) -> ExitCode:
    name = reading.source.name
    with reading.source:
        if not yes and not await ask.agreed(f"{work.asked} {_worklogs(rows)} that {name} names?"):
            output.note("Nothing was sent.")
            return ExitCode.INCOMPLETE
        started = time.monotonic()
        with contextlib.ExitStack() as meters:
            shown = meters.enter_context(meter("auto", work.doing))
            shown.expect(rows)
            changing = Changing(
                work.apply(client),
                reading,
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
                _tell(work, many, report, name, time.monotonic() - started, json=json, connection=connection)
    return reporting.exit_code(report)


def _tell(
    work: _Work[T], many: Many, report: Report, name: str, seconds: float, *, json: bool, connection: Connection
) -> None:
    output.note(f"{name}: {reporting.counts(report, work.done, work.already)} in {seconds:.1f} s.")
    for line in reporting.troubles(report, ""):
        output.note(line)
    if not report.complete:
        output.note(f"To go on: {_again(work, many, connection)}. What is done already does no harm.")
    if json:
        reporting.as_json(report, file=name)


def _again(work: _Work[T], many: Many, connection: Connection) -> str:
    said = {name: value for name, value in attrs.asdict(many).items() if value != getattr(NONE, name)}
    return reporting.command(work.command, options={**said, "yes": True}, connection=connection)


def _worklogs(number: int) -> str:
    return "the worklog" if number == 1 else f"the {number:,} worklogs"
