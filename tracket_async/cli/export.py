"""``tracket export``: every worklog of a selection, streamed into a file or to standard output.

A worklog is written when it arrives, so memory does not grow with the export.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import attrs
from cyclopts import Parameter

from tracket_async.cli import output, target
from tracket_async.cli.arguments import EVERYTHING, Selection, named_columns
from tracket_async.cli.progress import Meter, Mode, meter
from tracket_async.cli.settings import DEFAULT, Connection
from tracket_async.cli.summary import Tally
from tracket_async.client import TracketClient
from tracket_async.errors import UnsupportedError, UsageError
from tracket_async.export import cells
from tracket_async.models import Worklog, WorklogFilter
from tracket_async.net.settings import Limits

Format = Literal["ndjson", "csv"]

SUFFIXES: Final[dict[str, Format]] = {".ndjson": "ndjson", ".jsonl": "ndjson", ".csv": "csv"}
CONCURRENCY: Final = 16
BATCH: Final = 100
"""Worklogs rendered and written at a time: a full page of API 2.0, so that nothing that has arrived waits."""


@attrs.frozen
class Rendering:
    """How worklogs become bytes: what comes first, and what each batch becomes."""

    header: bytes
    render: Callable[[Iterable[Worklog]], bytes]


def rendering(
    format: Format,  # noqa: A002 - the word that people use
    columns: Sequence[str] = cells.NAMES,
    *,
    raw: bool = False,
) -> Rendering:
    """The rendering of that name. ``raw``: leave CSV cells that a spreadsheet would execute as they are."""
    if format == "csv":
        header, encode = cells.csv_header(columns), cells.csv_encoder(columns, raw=raw)
    else:
        header, encode = b"", cells.ndjson_encoder(columns)
    return Rendering(header, lambda worklogs: encode(cells.cells_of(worklogs, columns)))


async def export(
    *,
    selection: Selection = EVERYTHING,
    format: Annotated[Format | None, Parameter(show_default=False)] = None,  # noqa: A002 - the word that people use
    output: Annotated[str, Parameter(alias="-o", metavar="FILE")] = target.STANDARD_OUTPUT,
    columns: Annotated[str | None, Parameter(metavar="NAME,NAME", show_default=False)] = None,
    raw: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    unordered: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    concurrency: Annotated[int, Parameter(metavar="N")] = CONCURRENCY,
    progress: Mode = "auto",
    connection: Connection = DEFAULT,
) -> None:
    """Write every worklog of a selection to a file or to standard output.

    The columns are those of the library's Worklog, moments are ISO 8601 in UTC, and worklogs come in ascending order of
    date. A file appears only when it is complete, readable by its owner alone.

    Args:
        selection: which worklogs.
        format: How to write: one JSON object a line, or CSV with a header. Without it, the ending of the output's name
            decides (.ndjson, .jsonl, .csv), and else it is ndjson.
        output: The file to write; - is standard output.
        columns: Which attributes, in which order; all by default.
        raw: Leave CSV cells as they are. Without it, an apostrophe defuses text that a spreadsheet would execute.
        unordered: Write worklogs as they come, in no order: for a server of API 1.0 that lists in no order either.
        concurrency: How many requests at once, at most.
        progress: What standard error shows: auto (a bar, only on a terminal), json (a line a second), or off.
        connection: which server.
    """
    if concurrency < 1:
        raise UsageError(f"--concurrency must be at least 1, not {concurrency}")
    chosen = format or SUFFIXES.get(Path(output).suffix.lower(), "ndjson")
    named = cells.NAMES if columns is None else named_columns(columns)
    started = time.monotonic()
    filter = selection.filter()  # noqa: A001 - as the library names it
    tally = Tally()
    async with contextlib.AsyncExitStack() as stack:
        place = stack.enter_context(target.opened(output))
        client = await stack.enter_async_context(connection.client(limits=Limits(concurrency=concurrency)))
        shown = stack.enter_context(meter(progress, "Exporting"))
        sinks = [(place, rendering(chosen, named, raw=raw))]
        client.worklogs.list(filter=filter)  # what this version of the API cannot filter is told here
        try:
            await copy(client, filter, sinks, tally, concurrency=concurrency, ordered=not unordered, meter=shown)
        except UnsupportedError:
            raise UnsupportedError(
                "This server does not list in ascending order of date. Give --unordered to take worklogs as they come"
            ) from None
    if progress != "off":
        tell(tally, output, time.monotonic() - started)


async def copy(
    client: TracketClient,
    filter: WorklogFilter,  # noqa: A002 - as the library names it
    sinks: Sequence[tuple[target.Target, Rendering]],
    tally: Tally,
    *,
    concurrency: int,
    meter: Meter,
    ordered: bool = True,
) -> None:
    """Write every worklog of the filter into every sink.

    Args:
        client: an open client.
        filter: which worklogs.
        sinks: where to, and as what.
        tally: counts what was written.
        concurrency: requests at once, at most.
        meter: is told how far it is.
        ordered: whether in ascending order of date, or as they come.

    Raises:
        UnsupportedError: the API cannot filter so; or ``ordered``, and the server turns out to list in no such order.
    """
    for place, how in sinks:
        await place.write(how.header)
    if meter.wants_total:
        meter.expect(await _total(client, filter))
    walk = client.worklogs.export(filter=filter, concurrency=concurrency, ordered=ordered, on_notice=output.note)
    async with contextlib.aclosing(walk) as worklogs, contextlib.aclosing(batches(worklogs)) as pieces:
        async for piece in pieces:
            for place, how in sinks:
                await place.write(how.render(piece))
            meter.advance(len(piece), piece[-1].day)
            tally.add(piece)


async def _total(client: TracketClient, filter: WorklogFilter) -> int | None:  # noqa: A002 - as the library names it
    """How many worklogs the server has of the filter; None on API 1.0, which does not say."""
    if client.api == "1.0":
        return None
    return (await client.worklogs.list(filter=filter, size=1)).total


async def batches(worklogs: AsyncIterator[Worklog], size: int = BATCH) -> AsyncGenerator[list[Worklog]]:
    """The worklogs in lists of ``size``; the last may be shorter, and none is empty."""
    batch: list[Worklog] = []
    async for worklog in worklogs:
        batch.append(worklog)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def tell(tally: Tally, place: str, seconds: float) -> None:
    """One line on standard error about a finished export."""
    where = "" if place == target.STANDARD_OUTPUT else f" to {place}"
    rate = f", {tally.worklogs / seconds:,.0f}/s" if seconds > 0 else ""
    output.note(f"Exported {tally.worklogs:,} worklogs ({tally.hours:,.1f} h){where} in {seconds:.1f} s{rate}.")
