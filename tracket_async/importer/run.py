"""What a run has done, as numbers and as the rows that somebody has to look at. Values only.

Changes and deletions of many worklogs: each can be made again without harm, so nothing needs to be remembered.

An import: every row of a file is created exactly once, or is reported as one of which nobody can tell.

    reconcile what an earlier run left in doubt -> send what is left, each after its entry in the journal
                                                -> reconcile what this run left in doubt

A row in doubt is never sent again unless the caller says so, and then only where nothing was found that it could be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Final, Generic, Literal, TypeVar

import attrs

from tracket_async._http.limits import Clock
from tracket_async.bulk import PATIENCE, OnError, Sending
from tracket_async.client import TracketClient
from tracket_async.errors import AmbiguousWriteError, NotFoundError, RequestError, TracketError
from tracket_async.importer.journal import UNRESOLVED, Journal, RowState
from tracket_async.importer.reader import MOST, Change, InputFile, InputRow
from tracket_async.models import NewWorklog, Worklog
from tracket_async.reconcile import WAIT, AmbiguousRow, ServerLookup, Verdict, clock_of, resolve

ErrorKind = Literal["failed", "ambiguous"]


@attrs.frozen(kw_only=True)
class RowError:
    """A row that did not go well.

    Attributes:
        line: of the file.
        kind: ``"failed"``: it did not happen; ``"ambiguous"``: it may have happened.
        reason: what is known.
        candidates: ids of the worklogs that it could be.
    """

    line: int
    kind: ErrorKind
    reason: str
    candidates: tuple[str, ...] = ()


class FirstErrors:
    """The first `MOST` errors of a file, by their line, whatever the order in which they come."""

    def __init__(self) -> None:
        self.first: tuple[RowError, ...] = ()

    def add(self, error: RowError) -> None:
        """Take one more."""
        others = (each for each in self.first if each.line != error.line)
        self.first = tuple(sorted((*others, error), key=lambda each: each.line)[:MOST])


@attrs.frozen(kw_only=True)
class RunReport:
    """How the rows of a file stand after a run.

    Attributes:
        rows: how many there are.
        done: rows that this run has written, or has found to be written.
        found: how many of ``done`` were found by reading back.
        already: rows that needed nothing: written by an earlier run, or (of a deletion) not there any more.
        failed: rows that certainly did not happen.
        ambiguous: rows that may have happened.
        errors: the first `MOST` of these two kinds, by their line.
        stopped: why rows were left out; None: none was, or it was the caller's wish.
    """

    rows: int
    done: int = 0
    found: int = 0
    already: int = 0
    failed: int = 0
    ambiguous: int = 0
    errors: tuple[RowError, ...] = ()
    stopped: TracketError | None = None

    @property
    def not_sent(self) -> int:
        """Rows that nobody has tried."""
        return self.rows - self.done - self.already - self.failed - self.ambiguous

    @property
    def complete(self) -> bool:
        """Whether every row is written."""
        return self.done + self.already == self.rows


T = TypeVar("T")

Apply = Callable[[T], Awaitable[bool]]
"""Does what is to be done with an item, and says whether there was anything to do."""


class ChangeRun(Generic[T]):
    """One run over the rows of a file.

    Args:
        apply: does it; `updates` or `deletions`.
        rows: the file, checked.
        total: how many rows the file has.
        concurrency: rows at once, at least 1.
        on_error: ``"collect"``: try every row; ``"stop"``: begin no other after the first that fails.
        patience: the run ends after so many failures in a row that are not the data's fault.
        on_row: told of each row that is done with, whether it went well or not.

    Raises:
        UsageError: the concurrency is below 1.
    """

    def __init__(
        self,
        apply: Apply[T],
        rows: InputFile[T],
        *,
        total: int,
        concurrency: int = 16,
        on_error: OnError = "collect",
        patience: int = PATIENCE,
        on_row: Callable[[], None] = lambda: None,
    ) -> None:
        self._apply = apply
        self._rows = rows
        self._total = total
        self._on_row = on_row
        self._done = self._already = self._failed = self._ambiguous = 0
        self._errors = FirstErrors()
        self._sending: Sending[InputRow[T]] = Sending(
            self._write, concurrency=concurrency, on_error=on_error, patience=patience
        )

    async def run(self) -> None:
        """Do it; `report` has what came of it, also after an exception.

        Raises:
            StoreError: the file changed meanwhile.
            CancelledError: it was interrupted; the answers that were on their way have had some time to arrive.
        """
        await self._sending.run(self._rows.rows())

    def report(self) -> RunReport:
        """How the rows stand now."""
        return RunReport(
            rows=self._total,
            done=self._done,
            already=self._already,
            failed=self._failed,
            ambiguous=self._ambiguous,
            errors=self._errors.first,
            stopped=self._sending.stopped,
        )

    async def _write(self, row: InputRow[T]) -> None:
        try:
            if await self._apply(row.item):
                self._done += 1
            else:
                self._already += 1
        except TracketError as error:
            ambiguous = isinstance(error, RequestError) and error.is_ambiguous
            self._ambiguous += ambiguous
            self._failed += not ambiguous
            self._errors.add(RowError(line=row.line, kind="ambiguous" if ambiguous else "failed", reason=str(error)))
            raise
        finally:
            self._on_row()


def updates(client: TracketClient) -> Apply[Change]:
    """Makes the changes."""

    async def apply(change: Change) -> bool:
        await client.worklogs.update(*change)
        return True

    return apply


def deletions(client: TracketClient) -> Apply[str]:
    """Deletes the worklogs; one that is not there needs no deletion."""

    async def apply(named: str) -> bool:
        try:
            await client.worklogs.delete(named)
        except NotFoundError:
            return False
        return True

    return apply


UNANSWERED: Final = "It was sent, and its answer did not arrive before the end"
OnRow = Callable[[NewWorklog], None]


@attrs.frozen(kw_only=True)
class ImportSettings:
    """How an import is done.

    Attributes:
        concurrency: rows that are sent at once, at least 1.
        on_error: ``"collect"``: try every row; ``"stop"``: begin no other after the first that fails.
        resend_ambiguous: send again the rows in doubt of which nothing is found on the server. One that arrives late
            after all is then there twice.
        wait: seconds between two looks for the rows in doubt.
        patience: the run ends after so many failures in a row that are not the data's fault.
    """

    concurrency: int = 16
    on_error: OnError = "collect"
    resend_ambiguous: bool = False
    wait: float = WAIT
    patience: int = PATIENCE


@attrs.frozen
class _Known:
    """What is known about a row in doubt."""

    reason: str
    candidates: tuple[str, ...] = ()


class ImportRun:
    """One run of an import.

    Args:
        client: open.
        rows: the file, checked.
        journal: of the file, open.
        total: how many rows the file has.
        settings: how.
        on_row: told of each row that is done with, whether it went well or not.
        clock: this machine's time, and waiting.

    Raises:
        UsageError: a choice is out of range.
    """

    def __init__(
        self,
        client: TracketClient,
        rows: InputFile[NewWorklog],
        journal: Journal,
        *,
        total: int,
        settings: ImportSettings = ImportSettings(),
        on_row: OnRow = lambda _new: None,
        clock: Clock = Clock(),  # noqa: B008 - frozen
    ) -> None:
        self._client = client
        self._rows = rows
        self._journal = journal
        self._history = journal.history
        self._total = total
        self._already = journal.history.counts[RowState.OK]
        self._settings = settings
        self._on_row = on_row
        self._clock = clock
        self._ahead: float | None = None
        self._found = 0
        self._again: set[int] = set()
        self._known: dict[int, _Known] = {}
        self._failures = FirstErrors()
        self._lookup = ServerLookup(client=client, concurrency=settings.concurrency, wait=settings.wait, clock=clock)
        self._sending: Sending[InputRow[NewWorklog]] = Sending(
            self._create, concurrency=settings.concurrency, on_error=settings.on_error, patience=settings.patience
        )

    async def run(self) -> None:
        """Do it; `report` has what came of it, also after an exception. The next run on the same journal goes on.

        Raises:
            RequestError: the server cannot even be asked for a page of worklogs: nothing was sent.
            StoreError: the file changed meanwhile.
            CancelledError: it was interrupted; the answers that were on their way have had some time to arrive.
        """
        if self._already == self._total:
            return
        # Whoever may not even read is told so before the first row fails; and the answer says what time it is there.
        page = await self._client.worklogs.list(size=self._client.api_version.smallest_page)
        self._ahead = clock_of(page, self._clock.now())
        await self._reconcile(resend=self._settings.resend_ambiguous)
        await self._sending.run(self._rows.rows(self._is_to_be_sent))
        if self._sending.stopped is None:
            await self._reconcile(resend=False)

    def report(self) -> RunReport:
        """How the rows stand now."""
        counts = self._history.counts
        errors = FirstErrors()
        for line in sorted(self._history.unresolved)[:MOST]:
            known = self._known.get(line, _Known(UNANSWERED))
            errors.add(RowError(line=line, kind="ambiguous", reason=known.reason, candidates=known.candidates))
        for failure in self._failures.first:
            errors.add(failure)
        return RunReport(
            rows=self._total,
            done=counts[RowState.OK] - self._already,
            found=self._found,
            already=self._already,
            failed=counts[RowState.FAILED],
            ambiguous=sum(counts[state] for state in UNRESOLVED),
            errors=errors.first,
            stopped=self._sending.stopped,
        )

    def _is_to_be_sent(self, line: int) -> bool:
        return self._history.of(line) in (RowState.NOTHING, RowState.FAILED) or line in self._again

    async def _create(self, row: InputRow[NewWorklog]) -> Worklog:
        await self._journal.record_sent(row.line, self._clock.now(), self._ahead)
        try:
            worklog = await self._client.worklogs.create(row.item)
        except AmbiguousWriteError as error:
            self._known[row.line] = _Known(error.message)
            self._journal.ambiguous(row.line, error.message)
            raise
        except TracketError as error:
            self._failures.add(RowError(line=row.line, kind="failed", reason=str(error)))
            self._journal.failed(row.line, str(error))
            self._on_row(row.item)
            raise
        self._journal.ok(row.line, worklog.id)
        self._on_row(row.item)
        return worklog

    async def _reconcile(self, *, resend: bool) -> None:
        """Look for the rows in doubt.

        Args:
            resend: whether those of which nothing is found are to be sent again.
        """
        unresolved = self._unresolved_rows()
        if not unresolved:
            return
        try:
            looks = await self._lookup.looks([*unresolved.values()])
        except RequestError as error:
            self._known.update({line: _Known(f"Looking for it failed: {error}") for line in unresolved})
            return
        ids = {worklog.id for look in looks for worklogs in look.sure.values() for worklog in worklogs}
        ids |= {worklog.id for look in looks for worklogs in look.unsure.values() for worklog in worklogs}
        claimed = await asyncio.to_thread(self._journal.claimed, ids)
        for verdict in resolve(unresolved.values(), looks, claimed=claimed):
            if verdict.created is not None:
                self._found += 1
                self._journal.ok(verdict.line, verdict.created.id)
            elif resend and not verdict.candidates:
                self._again.add(verdict.line)
                continue
            else:
                known = _known(verdict)
                self._known[verdict.line] = known
                self._journal.ambiguous(verdict.line, known.reason, known.candidates)
            self._on_row(unresolved[verdict.line].new)

    def _unresolved_rows(self) -> dict[int, AmbiguousRow]:
        sent = self._history.unresolved
        rows = islice(self._rows.rows(sent.__contains__), len(sent))
        return {row.line: AmbiguousRow(row.line, row.item, sent[row.line].at, sent[row.line].clock) for row in rows}


def _known(verdict: Verdict) -> _Known:
    """What the looks have left in doubt, for people."""
    if verdict.candidates:
        return _Known(
            "It may be one of several worklogs of the same content that were created since it was sent",
            tuple(worklog.id for worklog in verdict.candidates),
        )
    if verdict.older:
        return _Known(
            "Nothing was created since it was sent, as far as can be told; these are alike and of an unknown age",
            tuple(worklog.id for worklog in verdict.older),
        )
    return _Known("It was sent and its answer was lost; it is not there, but may still arrive")
