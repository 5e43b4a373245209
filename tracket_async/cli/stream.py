"""Bytes on their way to some targets: written in large pieces, and never kept back for long.

To write to standard output takes another thread, and that costs as much as to render a page. So what is put here
waits until there is `PIECE` of it, or `DELAY` has passed.

What a set of worklogs says about the people who wrote them: counted as they pass, told as lines of text.

Worklogs written where they go while they come: memory does not grow with them, and no run goes on with another.

For standard output, and for files where the extra ``export`` is not installed.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Final, Self

import attrs

from tracket_async._api.fast import Row
from tracket_async.cli import destinations, output
from tracket_async.cli.destinations import Streamed, Target
from tracket_async.cli.progress import Watch
from tracket_async.client import TracketClient
from tracket_async.errors import StorageError, UnsupportedError
from tracket_async.export import text as cells
from tracket_async.export.progress import ProgressReporter
from tracket_async.export.run import FileOptions
from tracket_async.export.source import row_format
from tracket_async.export.tables import date_of
from tracket_async.models import Worklog, WorklogFilter
from tracket_async.scan.parallel import scan
from tracket_async.scan.partition import ScanSettings

PIECE: Final = 1 << 20
"""So many bytes, for all targets together, are written at once."""
DELAY: Final = 0.05
"""So many seconds later, what has been put here is being written."""


class BufferedWriter:
    """An async context manager. What was put is written when its block is left, on an error too.

    Only a cancellation gives up what is not yet written, and waits for nothing: whoever reads may have stopped reading.

    Args:
        targets: where to.
        sleep: waits for so many seconds.
    """

    def __init__(self, targets: Sequence[Target], *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._targets = targets
        self._sleep = sleep
        self._waiting: list[list[bytes]] = [[] for _ in targets]
        self._size = 0
        self._failure: BaseException | None = None
        self._some = asyncio.Event()
        self._writing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._clerk = asyncio.create_task(self._write_in_time())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, Exception):
            # Not in the middle of a write, which would go on in its thread, beside the next one.
            await self._writing.acquire()
            self._writing.release()
        self._clerk.cancel()
        await asyncio.wait([self._clerk])
        if kind is None:
            await self.flush()
        elif issubclass(kind, Exception) and self._failure is None:
            with contextlib.suppress(OSError, StorageError):  # what came first is what is told
                await self.flush()

    async def put(self, pieces: Sequence[bytes]) -> None:
        """Takes bytes for each target; returns when more may come.

        Raises:
            StorageError, BrokenPipeError: as the targets do, for these bytes or for some before.
        """
        for waiting, piece in zip(self._waiting, pieces, strict=True):
            waiting.append(piece)
            self._size += len(piece)
        if self._size >= PIECE or self._failure is not None:
            await self.flush()
        else:
            self._some.set()

    async def flush(self) -> None:
        """Writes all that was put; raises as `put`. After a failure, nothing is written any more."""
        async with self._writing:
            if self._failure is not None:
                raise self._failure
            pieces, self._waiting, self._size = self._waiting, [[] for _ in self._targets], 0
            self._some.clear()
            try:
                for target, parts in zip(self._targets, pieces, strict=True):
                    if parts:
                        await target.write(b"".join(parts))
            except BaseException as error:
                self._failure = error
                raise

    async def _write_in_time(self) -> None:
        while self._failure is None:
            await self._some.wait()
            await self._sleep(DELAY)
            with contextlib.suppress(OSError, StorageError):  # it is told to whoever puts something, or ends
                await self.flush()


MOST: Final = 5
"""How many categories are named."""

LABEL: Final = 9
NUMBER: Final = 12
NARROWEST: Final = 10


class Tally:
    """How many worklogs were added, and their minutes."""

    def __init__(self) -> None:
        self.worklogs: int = 0
        self.minutes: float = 0.0

    def add(self, worklogs: Sequence[Row]) -> None:
        """Count the worklogs."""
        self.worklogs += len(worklogs)
        self.minutes += math.fsum([worklog.minutes for worklog in worklogs])

    @property
    def hours(self) -> float:
        """All minutes, in hours."""
        return self.minutes / 60


class Summary(Tally):
    """The same, by person, month and category. Memory grows with these, not with worklogs."""

    def __init__(self) -> None:
        super().__init__()
        self.people: set[str] = set()
        self.months: collections.Counter[str] = collections.Counter()
        self.categories: collections.Counter[str | None] = collections.Counter()

    def add(self, worklogs: Sequence[Row]) -> None:
        """Count the worklogs."""
        super().add(worklogs)
        together: dict[tuple[int, int, str | None], list[float]] = collections.defaultdict(list)
        for worklog in worklogs:
            self.people.add(worklog.user_id)
            together[worklog.date.year, worklog.date.month, worklog.category_id].append(worklog.minutes)
        for (year, month, category), minutes in together.items():
            self._spread(f"{year:04}-{month:02}", category, math.fsum(minutes))

    def add_group(self, month: str, category: str | None, people: Iterable[str], worklogs: int, minutes: float) -> None:
        """Count worklogs of one month (``YYYY-MM``) and category that somebody else has added up."""
        self.worklogs += worklogs
        self.minutes += minutes
        self.people.update(people)
        self._spread(month, category, minutes)

    def _spread(self, month: str, category: str | None, minutes: float) -> None:
        self.months[month] += minutes  # type: ignore[assignment]
        self.categories[category] += minutes  # type: ignore[assignment]

    def lines(self, names: Mapping[str, str | None], *, width: int, mark: str) -> Iterator[str]:
        """The summary for people.

        Args:
            names: the categories' names by id; an id without a name stands for itself.
            width: columns of the longest line.
            mark: what bars are made of, one character.
        """
        yield f"{self.worklogs:,} worklogs, {self.hours:,.0f} hours, {len(self.people):,} people"
        if not self.worklogs:
            return
        yield ""
        yield "Hours a month"
        yield from bars(sorted(self.months.items()), width=width, mark=mark)
        yield ""
        most = self.categories.most_common(MOST)
        yield "Hours a category" if len(most) == len(self.categories) else f"Hours in the {MOST} largest categories"
        called = [(_called(category, names), minutes) for category, minutes in most]
        yield from bars(called, width=width, mark=mark)


def bars(rows: Iterable[tuple[str, float]], *, width: int, mark: str) -> Iterator[str]:
    """A line for each row of label and minutes: the label, the hours, and a bar; the longest bar fills the width."""
    rows = list(rows)
    label = max((LABEL, *(len(name) for name, _ in rows)))
    most = max((minutes for _, minutes in rows), default=0) or 1
    room = max(width - label - NUMBER - 4, NARROWEST)
    for name, minutes in rows:
        bar = mark * round(room * minutes / most)
        yield f"  {name:<{label}}{minutes / 60:>{NUMBER},.1f}  {bar}".rstrip()


def _called(category: str | None, names: Mapping[str, str | None]) -> str:
    return "(none)" if category is None else output.text(names.get(category) or category)


BATCH: Final = 100
"""Worklogs at a time: a full page of API 2.0, so that nothing that has arrived waits."""


@attrs.frozen
class Rendering:
    """How worklogs become bytes: what comes first, and what the rows of each page become."""

    header: bytes
    render: Callable[[Sequence[Row]], bytes]


def rendering(format: Streamed, file_options: FileOptions) -> Rendering:  # noqa: A002 - the word that people use
    """The rendering of that name."""
    columns = cells.NAMES if file_options.columns is None else file_options.columns
    if format == "ndjson":
        return Rendering(b"", cells.ndjson_of_rows(columns))
    encode = cells.csv_encoder(columns, raw=file_options.raw)
    return Rendering(cells.csv_header(columns), lambda rows: encode(cells.cells_of_rows(rows, columns)))


Sink = tuple[destinations.Target, Rendering]


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
    reporter = ProgressReporter(watch.report, statistics=client.statistics, clock=time.monotonic)
    reporter.report("fetching", 0, total=total)
    settings = ScanSettings(item_format=row_format(client.api_version), concurrency=concurrency, ordered=ordered)
    run = await scan(client.send, client.api_version, filter, settings)
    try:
        async with BufferedWriter([place for place, _ in sinks]) as writer, contextlib.aclosing(run.batches()) as pages:
            async for page in pages:
                if not (rows := page.items):
                    continue
                await writer.put([how.render(rows) for _, how in sinks])
                tally.add(rows)
                reporter.report("fetching", tally.worklogs, total=total, reached=date_of(rows[-1]) if ordered else None)
    except UnsupportedError:
        raise UnsupportedError(
            "This server does not list in ascending order of date. Give --unordered to take worklogs as they come"
        ) from None
    watch.finish(tally.worklogs)


async def _total(client: TracketClient, filter: WorklogFilter) -> int | None:  # noqa: A002 - as the library names it
    """How many worklogs the server has of the filter; None on API 1.0, which does not say."""
    if not client.api_version.has_total:
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
