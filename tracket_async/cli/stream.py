"""Worklogs written while they arrive: to standard output, or to files where the extra ``export`` is not installed.

Memory does not grow with the worklogs, and an interrupted run cannot be resumed. To write to standard output takes a
thread, which costs as much as to render a page, so bytes are buffered until there is `PIECE` of them or `DELAY` has
passed.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Final, Self

import attrs

from tracket_async._api.endpoints import ApiVersion
from tracket_async._api.fast import Row
from tracket_async.cli.destinations import Destination
from tracket_async.cli.progress import ProgressDisplay
from tracket_async.client import TracketClient
from tracket_async.errors import StorageError, UnsupportedError
from tracket_async.export import text as cells
from tracket_async.export.formats import FileOptions, TextFormat
from tracket_async.export.progress import ProgressReporter
from tracket_async.export.tables import date_of
from tracket_async.models import OnBadRow, WorklogFilter
from tracket_async.scan.parallel import row_format, scan
from tracket_async.scan.partition import ScanSettings

PIECE: Final = 1 << 20
"""Bytes, of all destinations together, that are written at once."""
DELAY: Final = 0.05
"""Seconds that bytes stay in the buffer at most."""


class BufferedWriter:
    """A buffer before some destinations, as an async context manager.

    Everything is written when the block is left, on an error too. Only a cancellation gives up what is not yet written,
    and waits for nothing: the reader may have stopped reading.

    Args:
        destinations: the destinations.
        sleep: waits for so many seconds.
    """

    def __init__(
        self, destinations: Sequence[Destination], *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._destinations = destinations
        self._sleep = sleep
        self._buffers: list[list[bytes]] = [[] for _ in destinations]
        self._size = 0
        self._failure: BaseException | None = None
        self._filled = asyncio.Event()
        self._writing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._flusher = asyncio.create_task(self._flush_in_time())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, Exception):
            # Not in the middle of a write, which would go on in its thread, beside the next one.
            await self._writing.acquire()
            self._writing.release()
        self._flusher.cancel()
        await asyncio.wait([self._flusher])
        if kind is None:
            await self.flush()
        elif issubclass(kind, Exception) and self._failure is None:
            with contextlib.suppress(OSError, StorageError):  # the first error is the one to report
                await self.flush()

    async def put(self, pieces: Sequence[bytes]) -> None:
        """Take bytes for each destination, and return when more may come.

        Raises:
            StorageError, BrokenPipeError: as the destinations do, for these bytes or for earlier ones.
        """
        for buffer, piece in zip(self._buffers, pieces, strict=True):
            buffer.append(piece)
            self._size += len(piece)
        if self._size >= PIECE or self._failure is not None:
            await self.flush()
        else:
            self._filled.set()

    async def flush(self) -> None:
        """Write the buffers; raise as `put`. After a failure, nothing is written any more."""
        async with self._writing:
            if self._failure is not None:
                raise self._failure
            buffers, self._buffers, self._size = self._buffers, [[] for _ in self._destinations], 0
            self._filled.clear()
            try:
                for destination, pieces in zip(self._destinations, buffers, strict=True):
                    if pieces:
                        await destination.write(b"".join(pieces))
            except BaseException as error:
                self._failure = error
                raise

    async def _flush_in_time(self) -> None:
        while self._failure is None:
            await self._filled.wait()
            await self._sleep(DELAY)
            with contextlib.suppress(OSError, StorageError):  # `put` or the end of the block raises it
                await self.flush()


class Tally:
    """The number of worklogs that were counted, and their minutes."""

    def __init__(self) -> None:
        self.worklogs: int = 0
        self.minutes: float = 0.0

    def counting(self, worklogs: Sequence[Row]) -> Callable[[], None]:
        """Return a function that counts the worklogs, and keeps none of them."""
        number, minutes = len(worklogs), math.fsum([worklog.minutes for worklog in worklogs])

        def count() -> None:
            self.worklogs += number
            self.minutes += minutes

        return count

    @property
    def hours(self) -> float:
        """Return all minutes in hours."""
        return self.minutes / 60


@attrs.frozen
class Rendering:
    """One format: the bytes that come first, and the function that turns the rows of a page into bytes."""

    header: bytes
    render: Callable[[Sequence[Row]], bytes]


def rendering(
    format: TextFormat,
    file_options: FileOptions,
    api_version: ApiVersion,
) -> Rendering:
    """Return the rendering of that name, for worklogs of this version of the API."""
    columns = cells.NAMES if file_options.columns is None else file_options.columns
    zone = file_options.zone_of(api_version)
    if format == "ndjson":
        header, encode = b"", cells.ndjson_encoder(columns)
    else:
        delimiter = file_options.delimiter
        header = cells.csv_header(columns, delimiter=delimiter, bom=file_options.bom)
        encode = cells.csv_encoder(columns, delimiter=delimiter, raw=file_options.raw)
    return Rendering(header, lambda rows: encode(cells.cells_of_rows(rows, columns, zone=zone)))


Sink = tuple[Destination, Rendering]


@attrs.frozen
class RenderedPage:
    """A page as it waits to be written.

    Attributes:
        pieces: its bytes for each sink.
        count: counts its worklogs.
        last: the date of the last of them.
    """

    pieces: Sequence[bytes]
    count: Callable[[], None]
    last: dt.datetime


async def copy(
    client: TracketClient,
    filter: WorklogFilter,
    sinks: Sequence[Sink],
    tally: Tally,
    display: ProgressDisplay,
    *,
    concurrency: int,
    ordered: bool = True,
    on_bad_row: OnBadRow | None = None,
) -> None:
    """Write every worklog of the filter into every sink.

    Args:
        client: an open client.
        filter: selects the worklogs.
        sinks: the destinations and their formats.
        tally: counts what was written.
        display: shows the progress.
        concurrency: requests at a time, at most.
        ordered: whether in ascending order of date, or as they arrive.
        on_bad_row: called with each row that cannot be read; None: such a row is an error.

    Raises:
        IncompleteExportError: the server counts more worklogs than it has sent.
        UnsupportedError: the API has no such filter; or ``ordered``, and the server does not list in that order.
    """
    client.worklogs.list(filter=filter)  # raises for a filter that this version of the API does not have
    for destination, how in sinks:
        await destination.write(how.header)
    api_version = client.api_version if on_bad_row is None else client.api_version.keeping_bad_rows()
    total = await _total(client, api_version, filter) if display.shown else None
    reporter = ProgressReporter(display.report, statistics=client.statistics, clock=time.monotonic)
    reporter.report("fetching", 0, total=total)

    def convert(rows: Sequence[Row]) -> RenderedPage:
        return RenderedPage([how.render(rows) for _, how in sinks], tally.counting(rows), date_of(rows[-1]))

    settings = ScanSettings(
        item_format=row_format(api_version), concurrency=concurrency, ordered=ordered, convert=convert
    )
    run = await scan(client.send, api_version, filter, settings, compare_total=True)
    try:
        async with (
            BufferedWriter([destination for destination, _ in sinks]) as writer,
            contextlib.aclosing(run.batches()) as pages,
        ):
            async for page in pages:
                if on_bad_row is not None:
                    for bad in page.bad_rows:
                        on_bad_row(bad.row, bad.error)
                rendered: RenderedPage | None = page.converted
                if rendered is None:
                    continue
                await writer.put(rendered.pieces)
                rendered.count()
                reporter.report("fetching", tally.worklogs, total=total, reached=rendered.last if ordered else None)
    except UnsupportedError:
        raise UnsupportedError(
            "This server does not list worklogs in ascending order of date. Give --unordered to take them as they come"
        ) from None
    display.finish(tally.worklogs)


async def _total(client: TracketClient, api_version: ApiVersion, filter: WorklogFilter) -> int | None:
    """Return how many worklogs of the filter the server counts, None on API 1.0, which does not say."""
    if not api_version.has_total:
        return None
    return (await client.send(api_version.list(api_version.resolve(filter), size=1), api_version.rows)).total
