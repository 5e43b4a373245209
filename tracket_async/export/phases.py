"""The phases of an export: fetch everything, then check what changed meanwhile, comparing where the numbers differ.

1. `fetch`: a parallel scan brings every page. Rows become Arrow columns as they come; every `COMMIT_ROWS` of them, or
   every `COMMIT_SECONDS`, they are committed together with the states of the partitions, while the next pages
   are being fetched. After an error or a cancellation the rest is committed first: a killed process has to fetch again
   what came in its last seconds, and nothing else.
2. `check` (API 2.0): each round fetches what was created or updated since the round before began, by the server's
   clock, then compares the number of worklogs with the server's. Where they differ, worklogs were deleted meanwhile or
   moved between pages: the days whose numbers differ are found by halving, and compared.
3. `compare`: what the server lists of some dates is brought into the store. What the store has there and the server did
   not list is asked for by its id: it is gone, or has moved to another date. Perhaps this client only sees less than
   that of before. So a 403 is no proof that a worklog is gone; and when many are gone at once, or the server shows no
   other worklog of the same user either, that has to be accepted.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, ParamSpec, TypeVar

import attrs

from tracket_async._api.fast import Row
from tracket_async._http.limits import Clock
from tracket_async._tasks import gather
from tracket_async.changes import OVERLAP, changed_since
from tracket_async.client import TracketClient
from tracket_async.config import valid_concurrency
from tracket_async.errors import PermissionDeniedError, StorageError, StoreError
from tracket_async.export.progress import OnProgress, Phase, ProgressReporter, Verdict
from tracket_async.export.source import OnWaiting, OutagePolicy, Source
from tracket_async.export.store import NO_CHANGES, ChangeCounts, Day, Store, WorkThread
from tracket_async.export.tables import id_of, unique
from tracket_async.frames import arrow_batch
from tracket_async.models import BadRow, OnBadRow, WorklogFilter, first_moment, last_moment
from tracket_async.scan.parallel import matches
from tracket_async.scan.partition import Batch, PartitionState

P = ParamSpec("P")
T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Settings:
    """The settings of an export or a sync.

    Attributes:
        concurrency: pages fetched at once; the session's ``Limits.max_concurrency`` bounds it, too.
        patience: how long to wait for a server that does not answer.
        on_progress: is told how far it is; None: nobody.
        on_waiting: is told at once why the run waits for the server, and with None that it goes on; None: nobody.
        accept_deletions: remove what the server no longer has, however much it is, and whoever's. Else worklogs stay
            when more than `GONE_SHARE` of them and more than `GONE_FEW` are gone at once, and when the server shows
            none of their user any more.
        on_bad_row: called at the end of a run, before files are written, with each row that cannot be read and the
            error, in the order of their ids. The store keeps such rows, so a run that is resumed calls it with all of
            them. None: such a row is an error, `MalformedResponseError`.
        clock: time, waiting and chance, for tests.
    """

    concurrency: int = attrs.field(default=16, validator=valid_concurrency)
    patience: OutagePolicy = attrs.field(factory=OutagePolicy)
    on_progress: OnProgress | None = None
    on_waiting: OnWaiting | None = None
    accept_deletions: bool = False
    on_bad_row: OnBadRow | None = None
    clock: Clock = attrs.field(factory=Clock)


@attrs.frozen(kw_only=True)
class ExportJob:
    """The state that all phases share: server, store and its thread, reporter.

    Attributes:
        clock: returns monotonic seconds.
        fresh: this run has fetched all that the store has, so this client may see the worklogs of all its users.
    """

    source: Source
    store: Store
    thread: WorkThread
    reporter: ProgressReporter
    settings: Settings
    clock: Callable[[], float]
    fresh: bool = False

    async def do(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method of the store in its thread, and return its result."""
        return await self.thread(work, *args, **kwargs)


@contextlib.asynccontextmanager
async def open_job(client: TracketClient, store: Store, settings: Settings | None) -> AsyncGenerator[ExportJob]:
    """Open the job of one run.

    Raises:
        StoreError: the store is of another server, account, or version of the API, than the client.
    """
    wanted = store.request
    here = attrs.evolve(wanted, api=client.api, origin=client.base_url, account=client.account)
    if differences := wanted.differences(here):
        raise StoreError(
            f"{store.path} is not of this client: its {differences}",
            hint="Use a client of the server and the account that it was exported from, or name another file",
        )
    settings = Settings() if settings is None else settings
    clock = settings.clock.time
    async with WorkThread() as thread:
        yield ExportJob(
            source=Source(
                client,
                patience=settings.patience,
                clock=settings.clock,
                keep_bad_rows=settings.on_bad_row is not None,
                on_waiting=settings.on_waiting,
            ),
            store=store,
            thread=thread,
            reporter=ProgressReporter(settings.on_progress, statistics=client.statistics, clock=clock),
            settings=settings,
            clock=clock,
        )


COMMIT_ROWS: Final = 122_880
"""A row group of DuckDB. A commit of exactly one is written once, compressed; any other goes through the log first."""
COMMIT_SECONDS: Final = 5.0
_ARROW_ROWS: Final = 500
"""So many rows become columns at once: more would hold up the event loop for longer, fewer cost more calls."""


class CommitBuffer:
    """Rows and states that have come and are not committed yet.

    The rows of a partition are neighbours in a commit, so that reading some dates leaves out the others. Of the page
    that would make a commit too large, the first rows fill it up, ahead of the page's state (see `Store.append`).
    """

    def __init__(self, job: ExportJob) -> None:
        self._job = job
        self._rows: dict[int, list[Row]] = {}
        self._batches: list[tuple[int, Any]] = []
        self._count = 0
        self._states: dict[int, PartitionState] = {}
        self._bad_rows: list[BadRow] = []
        self._ahead: list[Row] = []
        self._rest: Batch[Row] | None = None
        self._since = job.clock()
        self._commit: asyncio.Task[None] | None = None

    def take(self, batch: Batch[Row]) -> None:
        """Add what a page brought. A commit that is due then has to begin before the next page is taken."""
        room = COMMIT_ROWS - self._count
        if self._states and 0 < room < len(batch.items):
            self._ahead, self._rest = batch.items[:room], attrs.evolve(batch, items=batch.items[room:])
            self._count += room
        else:
            self._add(batch)

    def _add(self, batch: Batch[Row]) -> None:
        rows = self._rows.setdefault(batch.partition, [])
        rows += batch.items
        self._count += len(batch.items)
        self._states.update((state.id, state) for state in batch.states)
        self._bad_rows += batch.bad_rows
        if len(rows) >= _ARROW_ROWS:
            self._batches.append((batch.partition, arrow_batch(rows)))
            del self._rows[batch.partition]

    @property
    def is_due(self) -> bool:
        """Return whether it is time to commit."""
        return self._count >= COMMIT_ROWS or self._job.clock() - self._since >= COMMIT_SECONDS

    async def begin_commit(self) -> None:
        """Commit what has come, in the background, once the commit before has ended.

        Raises:
            StorageError, StoreError: that one failed.
        """
        await self._ended()
        if self._states:
            append = self._job.do(
                _append, self._job.store, self._batches, self._rows, self._states, self._bad_rows, self._ahead
            )
            self._batches, self._rows, self._count, self._states, self._bad_rows, self._ahead = [], {}, 0, {}, [], []
            self._commit = asyncio.create_task(append)
        rest, self._rest = self._rest, None
        if rest is not None:
            self._add(rest)
        self._since = self._job.clock()

    async def finish(self) -> None:
        """Commit what is left; raises as `begin_commit`."""
        while self._states:
            await self.begin_commit()
        await self._ended()

    async def _ended(self) -> None:
        if self._commit is not None:
            # Not awaited itself: a cancellation would reach it, and what it was to commit would be lost.
            await asyncio.wait([self._commit])
            # A commit that failed stays here and fails every other: later states must not get ahead of its rows.
            self._commit.result()
            self._commit = None


def _append(
    store: Store,
    batches: list[tuple[int, Any]],
    rows: Mapping[int, Sequence[Row]],
    states: Mapping[int, PartitionState],
    bad_rows: Sequence[BadRow],
    ahead: Sequence[Row],
) -> None:
    """Commit, in the store's thread, which also converts what is not converted yet: it is too much for the loop."""
    batches += [(partition, arrow_batch(part)) for partition, part in rows.items() if part]
    batches.sort(key=lambda each: each[0])  # stable: each partition's rows stay in their order
    store.append(
        [batch for _, batch in batches],
        {number: state.to_json() for number, state in states.items()},
        bad_rows,
        ahead=[arrow_batch(ahead)] if ahead else (),
    )


async def fetch(job: ExportJob, resumed: int, total: int | None) -> bool:
    """Fetch what the store does not have yet. Return whether a single partition had to do.

    Args:
        job: its store is in the state ``fetching``.
        resumed: how many worklogs the store has.
        total: how many there will be; None: unknown.

    Raises:
        StorageError, StoreError: as the store does. What was committed is kept.
        ExportError, RequestError: as the source does; `RequestError.cursor` is of no use here: the store knows more.
    """
    states = [PartitionState.from_json(state) for state in await job.do(job.store.partitions)]
    if not job.source.counts:
        # API 1.0 does not tell what has changed since then.
        await job.do(job.store.set_meta, fetched_before=dates_fetched(states))
    settings, buffer = job.settings, CommitBuffer(job)
    # The store deduplicates: the scan need not remember ids.
    run = await job.source.scan(
        job.store.request.filter, concurrency=settings.concurrency, states=states, distinct=False
    )
    try:
        async with aclosing(run.batches()) as batches:
            async for batch in batches:
                buffer.take(batch)
                if buffer.is_due:
                    await buffer.begin_commit()
                if job.reporter.is_due:
                    scan = run.statistics()
                    job.reporter.report(
                        "fetching",
                        resumed + scan.worklogs,
                        resumed=resumed,
                        total=total,
                        reached=scan.reached,
                        active=scan.active,
                        single_partition=scan.single_partition,
                        waiting=job.source.waiting,
                        always=True,
                    )
    except BaseException:
        with contextlib.suppress(StorageError, StoreError):
            await buffer.finish()
        raise
    await buffer.finish()
    return run.statistics().single_partition


def dates_fetched(states: Iterable[PartitionState]) -> list[list[str | None]]:
    """Return the dates that partitions have read, as ISO 8601 text: pairs of bounds (None: unbounded), in order.

    Neighbours are put together up to `LOT` worklogs, with the dates between them: comparing many small ranges takes
    many requests.
    """
    found: list[tuple[dt.datetime | None, dt.datetime | None, int]] = []
    for state in sorted(states, key=lambda state: state.since or _EARLIEST):
        if state.whole:
            return [[None, None]]
        until = state.until if state.done else state.reached
        if not state.done and until is None:
            continue
        if found and found[-1][2] + state.seen <= LOT:
            since, _, seen = found.pop()
            found.append((since, until, seen + state.seen))
        else:
            found.append((state.since, until, state.seen))
    return [[None if bound is None else bound.isoformat() for bound in bounds] for *bounds, _ in found]


_EARLIEST: Final = dt.datetime.min.replace(tzinfo=dt.UTC)
GONE_FEW: Final = 20
GONE_SHARE: Final = 0.05
FEW: Final = 1_000
"""A range of at most so many worklogs is compared rather than halved once more: ten pages."""
LOT: Final = 10_000
"""How many worklogs are brought into the store at once."""
_ONE_DAY: Final = dt.timedelta(days=1)
_OTHERS: Final = 3
"""So many other worklogs of a user are asked for, to see whether the server shows any."""
_LESS_THAN_BEFORE: Final = "and they are kept: perhaps this client may see less than that of before"


@attrs.frozen(kw_only=True)
class Comparison:
    """The result of comparing some dates.

    Attributes:
        changes: what it changed in the store.
        gone: ids of worklogs that the server no longer has; they are still in the store.
        doubt: why worklogs that the server does not show may not be gone, a sentence; None: no doubt.
    """

    changes: ChangeCounts = NO_CHANGES
    gone: tuple[str, ...] = ()
    doubt: str | None = None

    def __add__(self, other: Comparison) -> Comparison:
        return Comparison(
            changes=self.changes + other.changes, gone=self.gone + other.gone, doubt=self.doubt or other.doubt
        )


def doubt_of(job: ExportJob, gone: int, among: int) -> str | None:
    """Return why so many worklogs that are gone, among so many, may not be deleted; None: they are believed to be."""
    if job.settings.accept_deletions or gone <= max(GONE_FEW, GONE_SHARE * among):
        return None
    return f"the server no longer shows {gone:,} of {among:,} worklogs, {_LESS_THAN_BEFORE}"


async def doubt_of_users(job: ExportJob, gone: Sequence[str]) -> str | None:
    """Return why worklogs that are gone may not be deleted: no other one of their users is shown. None: some are.

    A client that may see less than the one before no longer sees the worklogs of some users, and may get a 404 for each
    of them. Of whoever has deleted worklogs, the server usually shows others. That somebody's last ones were deleted
    looks the same, so that has to be accepted. (A client that sees only some of a user's worklogs cannot be told.)

    Args:
        job: what the server has listed is marked in its store.
        gone: ids of worklogs that are gone; they are still in the store.
    """
    if job.settings.accept_deletions or job.fresh or not gone:
        return None
    users = hidden = 0
    for user, count in await job.do(job.store.unseen_users, gone):
        for id_ in await job.do(job.store.others_of, user, gone, most=_OTHERS):
            row = await job.source.row(id_)
            if not isinstance(row, BadRow | PermissionDeniedError | None) and row.user_id == user:
                break
        else:
            users, hidden = users + 1, hidden + count
    if not users:
        return None
    whose = "one user" if users == 1 else f"{users:,} users"
    return f"the server no longer shows any worklog of {whose} ({hidden:,} of them are gone), {_LESS_THAN_BEFORE}"


def narrowed(wanted: WorklogFilter, since: dt.date | None, until: dt.date | None) -> WorklogFilter | None:
    """Return the filter with both its bounds of date and these (inclusive); None when nothing can match."""
    lows = [bound for bound in (wanted.since, first_moment(since)) if bound is not None]
    highs = [bound for bound in (wanted.until, last_moment(until)) if bound is not None]
    first, last = max(lows, default=None), min(highs, default=None)
    if first is not None and last is not None and first > last:
        return None
    return attrs.evolve(wanted, since=first, until=last)


async def compare(job: ExportJob, wanted: WorklogFilter, *, among: int | None = None) -> Comparison:
    """Make the store equal to the server for what matches ``wanted``: the store's request, narrowed in its dates.

    Worklogs that are gone are returned, and not yet removed.

    Args:
        job: its store is deduplicated.
        wanted: the dates to compare.
        among: how many worklogs those that are gone are a part of; None: those of these dates.
    """
    changes, marked, rows, bad_rows = NO_CHANGES, 0, list[Row](), list[BadRow]()
    source, store, settings = job.source, job.store, job.settings
    await job.do(store.clear_marks)
    run = await source.scan(wanted, concurrency=settings.concurrency)
    async with aclosing(run.batches()) as batches:
        async for batch in batches:
            rows += batch.items
            bad_rows += batch.bad_rows
            if len(rows) >= LOT:
                changes, marked, rows = changes + await _upsert_and_mark(job, rows), marked + len(rows), []
                job.reporter.report("comparing", marked, reached=run.statistics().reached, waiting=source.waiting)
    if rows:
        changes += await _upsert_and_mark(job, rows)
    marked += len(rows)
    await job.do(store.keep_bad_rows, bad_rows)
    unmarked, gone, doubt = await job.do(store.unmarked, wanted.since, wanted.until), list[str](), None
    others, without_id = await job.do(store.other_bad_rows, [bad.key for bad in bad_rows])
    unmarked += others
    if wanted == store.request.filter:  # everything has come, and they were not among it
        await job.do(store.forget_bad_rows, without_id)
    for at in range(0, len(unmarked), settings.concurrency):
        ids = unmarked[at : at + settings.concurrency]
        found = await gather(*(source.row(id_) for id_ in ids))
        gone += [id_ for id_, row in zip(ids, found, strict=True) if row is None]
        await job.do(store.keep_bad_rows, [row for row in found if isinstance(row, BadRow)])
        changes += await upsert(
            job, [row for row in found if not isinstance(row, BadRow | PermissionDeniedError | None)]
        )
        refusal = next((row for row in found if isinstance(row, PermissionDeniedError)), None)
        if refusal is not None:
            doubt = f"the server refuses to show worklogs that the store has, and they are kept: {refusal.message}"
        else:
            doubt = doubt_of(job, len(gone), marked + len(unmarked) if among is None else among)
        if doubt is not None:
            break
    return Comparison(changes=changes, gone=tuple(gone), doubt=doubt or await doubt_of_users(job, gone))


async def _upsert_and_mark(job: ExportJob, rows: Sequence[Row]) -> ChangeCounts:
    return await job.do(job.store.upsert_and_mark, arrow_batch(unique(rows)))


async def upsert(job: ExportJob, rows: Sequence[Row]) -> ChangeCounts:
    """Bring rows, each id once, into the store; remove those that do not match its request (any more)."""
    wanted = job.store.request.filter
    staying = [row for row in rows if matches(wanted, row)]
    kept = {id_of(row) for row in staying}
    leaving = [id_of(row) for row in rows if id_of(row) not in kept]
    return await job.do(job.store.upsert, arrow_batch(staying) if staying else None, leaving=leaving)


async def differing(job: ExportJob, wanted: WorklogFilter, days: Sequence[Day]) -> list[WorklogFilter]:
    """Return the filter, narrowed to where the store has another number of worklogs than the server, in order.

    Neighbours are one: comparing many small ranges takes many requests, and many turns of the store.

    Args:
        job: its server counts.
        wanted: where to look: the store's request, narrowed or not.
        days: the store's days there, and how many worklogs each has.
    """
    here, there = sum(count for _, count in days), await job.source.count(wanted)
    if here == there:
        return []
    cut = _middle(days)
    if cut is None or max(here, there or 0) <= FEW:
        return [wanted]
    earlier = attrs.evolve(wanted, until=cut)
    later = attrs.evolve(wanted, since=cut + _ONE_DAY)
    before, after = await gather(
        differing(job, earlier, [day for day in days if day[0] <= cut]),
        differing(job, later, [day for day in days if day[0] > cut]),
    )
    if before and after and (before[-1].until, after[0].since) == (earlier.until, later.since):
        before.append(attrs.evolve(before.pop(), until=after.pop(0).until))
    return before + after


def _middle(days: Sequence[Day]) -> dt.date | None:
    """Return the last day of the first half of the worklogs, not the last of all; None with fewer than two days."""
    half, passed, cut = sum(count for _, count in days) / 2, 0, None
    for day, count in days[:-1]:
        if cut is None or passed < half:
            cut = day
        passed += count
    return cut


ROUNDS: Final = 5


@attrs.frozen(kw_only=True)
class Check:
    """The result of the rounds.

    Attributes:
        verdict: see `Verdict`.
        total: what the server counted last; None: it does not say.
        changes: what the rounds changed in the store.
        gone: how many worklogs were removed because the server no longer has them.
        doubt: why the verdict is ``"not verified"``, a sentence; else None.
        mark: the moment from which the next check has to look for changes.
        now: the server's time when the last round began.
    """

    verdict: Verdict
    total: int | None = None
    changes: ChangeCounts = NO_CHANGES
    gone: int = 0
    doubt: str | None = None
    mark: dt.datetime
    now: dt.datetime


def verdict_of(total: int | None, here: int, doubt: str | None) -> Verdict:
    """Return how sure it is that the store has what the server has: the server's count, the store's, and a doubt."""
    if doubt is not None:
        return "not verified"
    if total is None:
        return "not verifiable"
    return "verified" if total == here else "incomplete"


async def compare_dates(job: ExportJob, found: Check, since: dt.date | None, until: dt.date | None) -> Check:
    """Compare these dates, as far as the request has them. Return the check with what that did; stop at a doubt."""
    part = narrowed(job.store.request.filter, since, until)
    if part is None or found.doubt is not None:
        return found
    comparison = await compare(job, part)
    found = attrs.evolve(found, changes=found.changes + comparison.changes)
    if comparison.doubt is not None:
        return attrs.evolve(found, verdict="not verified", doubt=comparison.doubt)
    gone = await job.do(job.store.delete_with_tombstones, comparison.gone, found=found.now.isoformat())
    return attrs.evolve(found, gone=found.gone + gone)


async def check(
    job: ExportJob, mark: dt.datetime, *, overlap: dt.timedelta = OVERLAP, phase: Phase = "checking"
) -> Check:
    """Repeat rounds until the numbers agree, at most `ROUNDS` of them. What is gone becomes a tombstone.

    Args:
        job: its server counts, and its store is deduplicated.
        mark: of the last check, or of the beginning of the export: the first round looks for changes since.
        overlap: how far before its mark a round begins.
        phase: what fetching changes is reported as.
    """
    source, store = job.source, job.store
    wanted, changes, gone, turn = store.request.filter, NO_CHANGES, 0, 1
    while True:
        times = await source.times(wanted)
        changes += await changes_since(job, mark, overlap=overlap, phase=phase)
        mark = times.mark
        total, here = await source.count(wanted), await job.do(store.count) + await job.do(store.count_bad_rows)
        job.reporter.report("checking", here, total=total, always=True)
        verdict = verdict_of(total, here, None)
        doubt = None if total is None else doubt_of(job, here - total, here)
        if verdict == "incomplete" and doubt is None and turn < ROUNDS:
            found = await _compare_differing(job, wanted, here)
            changes, doubt = changes + found.changes, found.doubt or doubt_of(job, gone + len(found.gone), here)
            if doubt is None:
                gone += await job.do(store.delete_with_tombstones, found.gone, found=times.now.isoformat())
                turn += 1
                continue
        return Check(
            verdict=verdict_of(total, here, doubt),
            total=total,
            changes=changes,
            gone=gone,
            doubt=doubt,
            mark=times.mark,
            now=times.now,
        )


async def _compare_differing(job: ExportJob, wanted: WorklogFilter, among: int) -> Comparison:
    found = Comparison()
    if await job.do(job.store.count_bad_rows):  # nobody knows on which days they are
        return await compare(job, wanted, among=among)
    for part in await differing(job, wanted, await job.do(job.store.days)):
        found += await compare(job, part, among=among)
        if found.doubt is not None:
            break
    return found


async def changes_since(
    job: ExportJob, mark: dt.datetime, *, overlap: dt.timedelta = OVERLAP, phase: Phase = "checking"
) -> ChangeCounts:
    """Fetch what was created or updated since a mark, and bring it into the store."""
    changes, fetched = NO_CHANGES, 0
    for wanted in changed_since(mark, overlap=overlap):
        bad_rows: list[BadRow] = []
        async with aclosing(in_lots(job.source.pages(wanted, bad_rows))) as lots:
            async for rows in lots:
                changes, fetched = changes + await upsert(job, rows), fetched + len(rows)
                job.reporter.report(phase, fetched, waiting=job.source.waiting)
        await job.do(job.store.keep_bad_rows, bad_rows)
    return changes


async def tell_bad_rows(job: ExportJob) -> int:
    """Call `Settings.on_bad_row` with each row that cannot be read; return how many the store has."""
    bad_rows = await job.do(job.store.bad_rows)
    if job.settings.on_bad_row is not None:
        for bad in bad_rows:
            job.settings.on_bad_row(bad.row, bad.error)
    return len(bad_rows)


async def in_lots(pages: AsyncGenerator[list[Row]], size: int = LOT) -> AsyncGenerator[list[Row]]:
    """Yield the rows of pages in lists of at least ``size``, but for the last, each id once a list: its last row."""
    lot: dict[str, Row] = {}
    async with aclosing(pages):
        async for rows in pages:
            lot.update((id_of(row), row) for row in rows)
            if len(lot) >= size:
                yield list(lot.values())
                lot = {}
    if lot:
        yield list(lot.values())
