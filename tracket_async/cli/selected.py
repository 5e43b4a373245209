"""``tracket delete`` with a selection in place of ids: every worklog that matches is deleted.

What matches is read first and shown; it asks once, with the number and the hours. What is written meanwhile is not
deleted. Run again, it deletes what is left.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Coroutine, Iterator
from typing import Any, Final

import attrs

from tracket_async.cli import exits, files, output
from tracket_async.cli.exits import ExitCode
from tracket_async.cli.options import CONCURRENCY, Connection, Selection
from tracket_async.cli.progress import Reporting, show_progress
from tracket_async.client import TracketClient
from tracket_async.config import Limits
from tracket_async.errors import UsageError
from tracket_async.importer.rows import InputRow
from tracket_async.importer.run import ChangeRun, deletions
from tracket_async.models import Worklog, WorklogFilter

FIRST: Final = 10
"""So many worklogs are shown before the question."""


@attrs.define
class _Found:
    """The worklogs to delete: their ids in order, their minutes, and the first of them."""

    ids: list[str] = attrs.field(factory=list[str])
    minutes: float = 0.0
    first: list[Worklog] = attrs.field(factory=list[Worklog])

    def add(self, worklog: Worklog) -> None:
        self.ids.append(worklog.id)
        self.minutes += worklog.minutes
        if len(self.first) < FIRST:
            self.first.append(worklog)

    def __str__(self) -> str:
        return f"{output.counted(len(self.ids), 'worklog')} ({self.minutes / 60:,.1f} h)"


def delete(
    selection: Selection,
    given: files.FromFile,
    *,
    yes: bool,
    json: bool,
    reporting: Reporting,
    connection: Connection,
) -> Coroutine[Any, Any, ExitCode]:
    """Check the options, and return the coroutine that deletes the worklogs of the selection.

    Args:
        selection: which worklogs; not everything.
        given: whether to show only, and how to send.
        yes: do not ask.
        json: print the report, or of a dry run every worklog, as lines of JSON.
        reporting: what is said about it.
        connection: which server.

    Raises:
        UsageError: an option cannot be used; nothing was sent.
    """
    files.refuse_without_file(attrs.evolve(given, dry_run=False, concurrency=CONCURRENCY, on_error="collect"))
    if not (yes or given.dry_run or output.can_ask()):
        raise UsageError("There is no terminal to ask at. Give --yes to delete without asking, or --dry-run")
    return _delete(selection.filter(), given, yes=yes, json=json, reporting=reporting, connection=connection)


async def _delete(
    filter: WorklogFilter,
    given: files.FromFile,
    *,
    yes: bool,
    json: bool,
    reporting: Reporting,
    connection: Connection,
) -> ExitCode:
    async with connection.client(limits=Limits(max_concurrency=given.concurrency)) as client:
        found = _Found()
        async with contextlib.aclosing(aiter(client.worklogs.list(filter=filter))) as walk:
            async for worklog in walk:
                found.add(worklog)
                if given.dry_run:
                    _show(worklog, json=json)
        if given.dry_run:
            output.note(f"tracket delete would delete {found}. Nothing was sent.")
            return ExitCode.DONE
        if not found.ids:
            reporting.say("No worklog matches. Nothing was deleted.")
            return ExitCode.DONE
        if not yes and not await _agreed(found):
            output.note("Nothing was deleted.")
            return ExitCode.INCOMPLETE
        return await _send(client, found, given, json=json, reporting=reporting)


def _show(worklog: Worklog, *, json: bool) -> None:
    if json:
        output.json([worklog])
    else:
        output.line(files.facts(worklog))


async def _agreed(found: _Found) -> bool:
    for worklog in found.first:
        output.note(f"  {files.facts(worklog)}")
    if len(found.ids) > FIRST:
        output.note(f"  and {len(found.ids) - FIRST:,} more; --dry-run shows them all")
    return await output.confirm(f"Delete {found}?")


async def _send(
    client: TracketClient, found: _Found, given: files.FromFile, *, json: bool, reporting: Reporting
) -> ExitCode:
    started = time.monotonic()
    rows: Iterator[InputRow[str]] = (InputRow(number, id) for number, id in enumerate(found.ids, start=1))
    work = ChangeRun(
        deletions(client),
        rows,
        total=len(found.ids),
        concurrency=given.concurrency,
        on_error=given.on_error,
        on_row=lambda: display.advance(None),
    )
    try:
        async with show_progress(reporting.mode, client.statistics) as display:
            display.begin("deleting", len(found.ids))
            await work.run()
    finally:
        report = work.report()
        seconds = time.monotonic() - started
        tell = reporting.say if report.complete else output.note
        tell(f"Worklogs: {files.counts(report, 'deleted', 'already gone')} in {seconds:.1f} s.")
        for line in files.error_lines(report, "", "worklog"):
            output.note(line)
        if not report.complete:
            output.note(f"Run it again to delete what is left: {exits.same_command()}")
        if json:
            files.print_json(report)
    return files.exit_code(report)
