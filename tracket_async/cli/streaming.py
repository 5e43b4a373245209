"""Worklogs written where they go while they come: memory does not grow with them, and no run goes on with another.

For standard output, and for files where the extra ``export`` is not installed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Final

import attrs

from tracket_async.api.rows import Row
from tracket_async.cli import output, target
from tracket_async.cli.choosing import Streamed
from tracket_async.cli.outlet import Outlet
from tracket_async.cli.summary import Tally
from tracket_async.cli.watching import Watch
from tracket_async.client import TracketClient
from tracket_async.errors import UnsupportedError
from tracket_async.export import cells
from tracket_async.export.files import Layout
from tracket_async.export.progress import Teller
from tracket_async.export.source import as_rows
from tracket_async.export.table import date_of
from tracket_async.models import Worklog, WorklogFilter

BATCH: Final = 100
"""Worklogs at a time: a full page of API 2.0, so that nothing that has arrived waits."""


@attrs.frozen
class Rendering:
    """How worklogs become bytes: what comes first, and what the rows of each page become."""

    header: bytes
    render: Callable[[Sequence[Row]], bytes]


def rendering(format: Streamed, layout: Layout) -> Rendering:  # noqa: A002 - the word that people use
    """The rendering of that name."""
    columns = cells.NAMES if layout.columns is None else layout.columns
    if format == "ndjson":
        return Rendering(b"", cells.ndjson_of_rows(columns))
    encode = cells.csv_encoder(columns, raw=layout.raw)
    return Rendering(cells.csv_header(columns), lambda rows: encode(cells.cells_of_rows(rows, columns)))


Sink = tuple[target.Target, Rendering]


async def copy(
    client: TracketClient,
    filter: WorklogFilter,  # noqa: A002 - as the library names it
    sinks: Sequence[Sink],
    tally: Tally,
    watch: Watch,
    *,
    concurrency: int,
    ordered: bool = True,
) -> None:
    """Write every worklog of the filter into every sink.

    Args:
        client: an open client.
        filter: which worklogs.
        sinks: where to, and as what.
        tally: counts what was written.
        watch: is told how far it is.
        concurrency: requests at once, at most.
        ordered: whether in ascending order of date, or as they come.

    Raises:
        UnsupportedError: the API cannot filter so; or ``ordered``, and the server turns out to list in no such order.
    """
    client.worklogs.list(filter=filter)  # what this version of the API cannot filter is told here
    for place, how in sinks:
        await place.write(how.header)
    total = await _total(client, filter) if watch.wanted else None
    teller = Teller(watch.report, statistics=client.statistics, clock=time.monotonic)
    teller.tell("walking", 0, total=total)
    run = await client.worklogs.windows(
        filter, as_rows(client.wire), concurrency=concurrency, ordered=ordered, on_notice=output.note
    )
    try:
        async with Outlet([place for place, _ in sinks]) as outlet, contextlib.aclosing(run.batches()) as pages:
            async for page in pages:
                if not (rows := page.items):
                    continue
                await outlet.put([how.render(rows) for _, how in sinks])
                tally.add(rows)
                teller.tell("walking", tally.worklogs, total=total, reached=date_of(rows[-1]) if ordered else None)
    except UnsupportedError:
        raise UnsupportedError(
            "This server does not list in ascending order of date. Give --unordered to take worklogs as they come"
        ) from None
    watch.finish(tally.worklogs)


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
