"""``tracket report``: hours by day, week, month, person and so on, as a table, CSV, JSON, or a page for a browser.

The worklogs are those of a store, of an export file, or of a selection on the server, which is fetched into a temporary
store first. A file is reported on without a single request, unless an option of the connection is given: then the
account's categories give names.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import attrs
from cyclopts import Parameter

from tracket_async._files import atomic_write
from tracket_async.cli import destinations, exits, output
from tracket_async.cli.destinations import STANDARD_OUTPUT, BadRowsFile
from tracket_async.cli.export import settings, store_unavailable_reason
from tracket_async.cli.options import (
    CONCURRENCY,
    DEFAULT,
    EVERYTHING,
    WAIT,
    Concurrency,
    Connection,
    Selection,
    Wait,
)
from tracket_async.cli.progress import REPORTING, ProgressDisplay, Reporting, show_progress
from tracket_async.client import TracketClient
from tracket_async.config import Limits
from tracket_async.errors import IncompleteExportError, RequestError, UsageError
from tracket_async.export.phases import Settings
from tracket_async.export.run import export_to_store, request_of
from tracket_async.export.store import open_store
from tracket_async.export.text import escape_formula, time_zone, unescape_formula
from tracket_async.models import a_day_wider
from tracket_async.report import source
from tracket_async.report.page import Names, page
from tracket_async.report.source import Worklogs, open_worklogs
from tracket_async.report.sums import NOTHING, TIMES, Dimension, Key, Sums, Table, dimensions, table

BY: Final = "month"
TITLE: Final = "Hours"
PAGES: Final = frozenset({".html", ".htm"})
Form = Literal["table", "csv", "json"]


async def report(
    file: Annotated[Path | None, Parameter(metavar="FILE", show_default=False)] = None,
    /,
    *,
    by: Annotated[list[str] | None, Parameter(metavar="NAME[,NAME]", negative=(), show_default=False)] = None,
    format: Form = "table",
    html: Annotated[str | None, Parameter(metavar="PAGE", show_default=False, allow_leading_hyphen=True)] = None,
    title: Annotated[str | None, Parameter(metavar="TEXT", show_default=False)] = None,
    names: Annotated[list[Path] | None, Parameter(metavar="FILE", negative=(), show_default=False)] = None,
    bad_rows: BadRowsFile = None,
    selection: Selection = EVERYTHING,
    wait: Wait = WAIT,
    concurrency: Concurrency = CONCURRENCY,
    reporting: Reporting = REPORTING,
    connection: Connection = DEFAULT,
) -> None:
    """Sum up hours and billable hours: a table, CSV, JSON, or a page for a browser.

    Worklogs that do not say how many of their minutes are billable are shown as "not said", never as 0.

    Args:
        file: A store, or a file that tracket export wrote. Default: fetch the worklogs of the selection.
        by: Sum up by day, week, month, user, category, project, item or approval. Two of them make a cross table.
            Default: month.
        format: Print a table (tab-separated values without a terminal), CSV, or JSON.
        html: Write a page for a browser in place of a table: one file, which needs no network. - is standard output.
        title: The headline of the page.
        names: Read names from a file of CSV or tab-separated values with the columns id and name; may be repeated.
        bad_rows: see `BadRowsFile`.
        selection: which worklogs.
        wait: see `Wait`.
        concurrency: see `Concurrency`.
        reporting: see `Reporting`.
        connection: which server. With a FILE: where to ask for the names of categories.
    """
    wanted = dimensions([name.strip() for names in by or [BY] for name in names.split(",")])
    if html is not None and (by is not None or format != "table"):
        raise UsageError("A page has every table already: leave --by and --format out, or --html")
    if html is None and title is not None:
        raise UsageError("--title is the headline of a page. Give --html PAGE, or leave it out")
    if html is not None and html != STANDARD_OUTPUT:
        _check_page(html)
    if bad_rows is not None and file is not None:
        raise UsageError(f"--bad-rows is for worklogs that are fetched, and these are in {file}. Leave one of them out")
    known = Names(any=_read_names(names or []))
    selection.filter()  # raises for bounds that contradict each other
    tz = selection.tz
    if tz is not None:
        time_zone(tz)
    chosen = source.Selection(bounds=selection.bounds(), values=selection.values())
    async with contextlib.AsyncExitStack() as stack:
        unreadable = stack.enter_context(destinations.bad_rows(bad_rows, () if html is None else (Path(html),)))
        if file is None:
            how = partial(settings, concurrency=concurrency, accept_deletions=False, bad_rows=unreadable, wait=wait)
            client = connection.client(limits=Limits(max_concurrency=concurrency))
            fetched = _fetched(client, selection, tz, how, reporting)
            path, name, categories = await stack.enter_async_context(fetched)
        else:
            path, name = file, file.name
            categories = await _categories_of(connection)
        known = attrs.evolve(known, categories=categories)
        worklogs = stack.enter_context(open_worklogs(path, tz=tz, selection=chosen))
        if html is not None:
            _write_page(page(worklogs, title=title or TITLE, about=[name], names=known), html, reporting)
        else:
            _print(worklogs, table(worklogs, wanted), known, format)
    destinations.require_readable(unreadable)


# -- the worklogs and the names ----------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _fetched(
    client: TracketClient,
    selection: Selection,
    tz: str | None,
    how: Callable[[ProgressDisplay], Settings],
    reporting: Reporting,
) -> AsyncGenerator[tuple[Path, str, Mapping[str, str]]]:
    """Fetch the worklogs into a temporary store; yield its path, where it is from, and the names of categories."""
    if (unavailable := store_unavailable_reason()) is not None:
        raise unavailable
    with tempfile.TemporaryDirectory(prefix="tracket-") as folder:
        path = Path(folder, "store.duckdb")
        async with client, show_progress(reporting.mode, client.statistics) as display:
            filter = selection.filter()
            if tz is not None and not client.api_version.keeps_days:
                filter = a_day_wider(filter)  # its days are those of the time zone, which the report counts itself
            store = await open_store(path, request=request_of(client, filter=filter))
            try:
                result = await export_to_store(client, store, how(display))
            finally:
                await asyncio.to_thread(store.close)
            display.finish(result.worklogs)
            categories = await _categories(client)
        if result.verdict == "incomplete":
            raise IncompleteExportError(
                f"{result.worklogs:,} worklogs were fetched and the server counts {result.total:,}",
                hint=f"Worklogs are being written at this moment. Run the same again: {exits.same_command()}",
            )
        yield path, client.base_url, categories


async def _categories_of(connection: Connection) -> Mapping[str, str]:
    if connection == DEFAULT:
        return {}
    async with connection.client() as client:
        return await _categories(client)


async def _categories(client: TracketClient) -> Mapping[str, str]:
    """Return the names of the account's categories; a report without them is better than none."""
    if client.api_version.categories_path is None:
        return {}
    try:
        return {category.id: category.name for category in await client.categories.list() if category.name}
    except RequestError as error:
        output.note(f"Categories are shown by their ids: {error}")
        return {}


def _read_names(files: Sequence[Path]) -> dict[str, str]:
    """Return the names by id of some files; of an id that is given twice, the last one.

    Raises:
        UsageError: a file cannot be read, or a line of it has no name.
    """
    found: dict[str, str] = {}
    for path in files:
        try:
            text = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise UsageError(f"--names {path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UsageError(f"--names {path} is not UTF-8 text. Save the file as UTF-8") from None
        delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        try:
            for row in rows:
                if len(row) > 1:
                    found[unescape_formula(row[0])] = unescape_formula(row[1])
                elif row:
                    raise UsageError(f"--names {path}, line {rows.line_num}: it must have an id and a name")
        except csv.Error as error:
            raise UsageError(f"--names {path}, line {rows.line_num}: {error}") from None
    return found


# -- the page ----------------------------------------------------------------------------------------------------------


def _check_page(name: str) -> None:
    if name.startswith("-"):
        raise UsageError(f"--html needs a file, and {name} is an option. A file of that name is ./{name}")
    if Path(name).suffix.lower() not in PAGES:
        raise UsageError(f"--html {name}: the name of a page ends with .html, so that no other file is replaced")
    destinations.check(Path(name), "--html")


def _write_page(content: bytes, name: str, reporting: Reporting) -> None:
    if name == STANDARD_OUTPUT:
        output.write(content)
        return
    with atomic_write(Path(name)) as file:
        file.write(content)
    reporting.say(f"Wrote {name} ({len(content) / 1024:,.0f} KiB). Open it in a browser.")


# -- the tables --------------------------------------------------------------------------------------------------------

COLUMNS: Final[Mapping[Dimension, str]] = {
    "day": "day",
    "week": "week",
    "month": "month",
    "user": "user_id",
    "category": "category_id",
    "project": "project_id",
    "item": "item_id",
    "approval": "approval_status",
}
"""The name of each dimension's column in CSV and JSON; that of an id has its name beside, as ``user``, say."""
SUMS: Final = ("worklogs", "hours", "share", "billable_hours", "not_said_hours")


def _print(worklogs: Worklogs, found: Table, names: Names, format: Form) -> None:
    if format == "json":
        rows = [_record(found, keys, sums, names) for keys, sums in found.records()]
        total = _sums(found.total, found.total)
        output.json([{"by": found.by, "tz": worklogs.tz, "total": total, "rows": rows}])
    elif format == "csv":
        output.write(_csv(found, names))
    elif not sys.stdout.isatty():
        _print_values(found, names)
    elif found.columns:
        _draw_cross(found, names)
    else:
        _draw(found, names)


def _has_names(by: Dimension) -> bool:
    return COLUMNS[by].endswith("_id")


def _record(found: Table, keys: tuple[Key, ...], sums: Sums, names: Names) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for by, key in zip(found.by, keys, strict=True):
        record[COLUMNS[by]] = key
        if _has_names(by):
            name = None if key is None else names.of(key, category=by == "category")
            record[by] = None if name == key else name
    return record | _sums(sums, found.total)


def _sums(sums: Sums, total: Sums) -> dict[str, float | None]:
    values = (
        sums.worklogs,
        round(sums.minutes / 60, 4),
        round(sums.minutes / total.minutes, 6) if total.minutes else None,
        None if sums.billable is None else round(sums.billable / 60, 4),
        round(sums.unsaid / 60, 4),
    )
    return dict(zip(SUMS, values, strict=True))


def _csv(found: Table, names: Names) -> bytes:
    header = [part for by in found.by for part in ([COLUMNS[by], by] if _has_names(by) else [COLUMNS[by]])]
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([*header, *SUMS])
    for keys, sums in found.records():
        record = _record(found, keys, sums, names)
        writer.writerow([escape_formula(cell) if isinstance(cell, str) else cell for cell in record.values()])
    return out.getvalue().encode()


def _print_values(found: Table, names: Names) -> None:
    """Print tab-separated values: those of CSV, with names in place of ids."""
    rows = [
        [*(_label(by, key, names) for by, key in zip(found.by, keys, strict=True)), *_sums(sums, found.total).values()]
        for keys, sums in found.records()
    ]
    output.table([*found.by, *SUMS], rows)


def _label(by: Dimension, key: Key, names: Names) -> str:
    if key is None:
        return f"(no {by})"
    return output.text(names.of(key, category=by == "category") if _has_names(by) else key)


NARROW: Final = 60
"""Columns of a terminal below which a table leaves out what can be computed."""
LONGEST_LABEL: Final = 28
LONGEST_HEADER: Final = 14
BAR: Final = 8
"""Columns of a bar at least."""
GAP: Final = 2


def _hours(minutes: float, digits: int = 1) -> str:
    return f"{minutes / 60:,.{digits}f}"


def _billable(sums: Sums) -> str:
    return "not said" if sums.billable is None and sums.worklogs else _hours(sums.billable or 0)


def _draw(found: Table, names: Names) -> None:
    """Draw the table of one dimension, with bars where standard output can encode them."""
    # Not at the top of the file: without a terminal they are not needed.
    from rich.bar import Bar
    from rich.console import Console

    console, total, [by] = Console(file=sys.stdout, highlight=False), found.total, found.by
    narrow, bars = console.width < NARROW, _can_draw()
    most = max((sums.minutes for sums in found.rows.values()), default=0) or 1

    def cells(sums: Sums) -> Iterator[Any]:
        yield _hours(sums.minutes)
        if not narrow:
            yield f"{sums.minutes / total.minutes:.1%}" if total.minutes else ""
        yield _billable(sums)
        if total.unsaid and not narrow:
            yield _hours(sums.unsaid)

    heads = ["hours", *(["share"] if not narrow else []), "billable", *(["not said"] if total.unsaid > 0 else [])]
    drawn = _frame(by, heads[: 2 if narrow else None], console.width, expand=bars)
    if bars:
        drawn.add_column("", ratio=1, min_width=BAR)
    for key, sums in found.rows.items():
        bar = [Bar(most, 0, sums.minutes, color="blue")] if bars else []
        drawn.add_row(_text(_label(by, key, names)), *cells(sums), *bar)
    drawn.add_row("all", *cells(total), style="bold")
    console.print(drawn)
    if total.unsaid and narrow:
        output.line(f"{_hours(total.unsaid)} hours do not say if billable.")


def _can_draw() -> bool:
    """Return whether standard output can encode the blocks that bars are made of."""
    try:
        "█▏".encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return False
    return True


def _frame(label: str, heads: Sequence[str], width: int, *, expand: bool = False) -> Any:
    """Return an empty table: a column of labels, and one of numbers for each head."""
    from rich.table import Column
    from rich.table import Table as Drawn

    return Drawn(
        Column(label, max_width=min(LONGEST_LABEL, width // 3), no_wrap=True, overflow="ellipsis"),
        *(Column(_text(head), justify="right", max_width=LONGEST_HEADER, no_wrap=True) for head in heads),
        box=None,
        expand=expand,
        padding=(0, GAP, 0, 0),
        pad_edge=False,
    )


def _text(text: str) -> Any:
    """Return text of a server for rich, which would take square brackets in a str for markup."""
    from rich.text import Text

    return Text(text)


def _draw_cross(found: Table, names: Names) -> None:
    """Draw the hours by two dimensions; columns that do not fit are one: the earliest, or the smallest."""
    from rich.console import Console

    console, (down, across) = Console(file=sys.stdout, highlight=False), found.by
    digits = 0 if console.width < NARROW else 1
    labels = [_label(down, key, names) for key in found.rows]
    label = min(max(map(len, [f"{down} / {across}", *labels])), LONGEST_LABEL, console.width // 3)
    keys, times = list(found.columns), across in TIMES
    other = "earlier" if times else "others"
    number = max(len(_hours(found.total.minutes, digits)), len(other)) + GAP
    heads = {key: _label(across, key, names) for key in keys}
    widths = {key: max(min(len(heads[key]), LONGEST_HEADER) + GAP, number) for key in keys}
    shown, rest = _fitting(keys[::-1] if times else keys, widths, console.width - label - GAP - number, number)
    if times:
        shown.reverse()
    others = [other] if rest else []

    def cells(at: Mapping[Key, Sums], all_of_them: Sums) -> Iterator[str]:
        parts = [at.get(key, NOTHING) for key in shown]
        if rest:
            folded = sum((at.get(key, NOTHING) for key in rest), NOTHING)
            parts = [folded, *parts] if times else [*parts, folded]
        for part in parts:
            yield _hours(part.minutes, digits) if part.worklogs else ""
        yield _hours(all_of_them.minutes, digits)

    every = [*(others if times else []), *(heads[key] for key in shown), *([] if times else others), "all"]
    drawn = _frame(f"{down} / {across}", every, console.width)
    for key, text in zip(found.rows, labels, strict=True):
        at = {column: found.cells[key, column] for column in keys if (key, column) in found.cells}
        drawn.add_row(_text(text), *cells(at, found.rows[key]))
    drawn.add_row("all", *cells(found.columns, found.total), style="bold")
    console.print(drawn)


def _fitting(keys: list[Key], widths: Mapping[Key, int], room: int, others: int) -> tuple[list[Key], list[Key]]:
    """Return the keys whose columns fit, one at least, and those that are summed up in a column of this width."""
    if sum(widths.values()) <= room:
        return keys, []
    number, left = 1, room - others - widths[keys[0]]
    while (left := left - widths[keys[number]]) >= 0:
        number += 1
    return keys[:number], keys[number:]
