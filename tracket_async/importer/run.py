"""One run over the rows of a file: an import, or changes and deletions of many worklogs.

An import creates every row exactly once, or reports it as one of which nobody can tell:

    look for what an earlier run left unresolved -> send the other rows, each after its entry in the journal
                                                 -> look once more for what is unresolved

A row whose answer was lost is looked for at once, and the run goes on whether it is found or not. It is never sent
again unless the caller says so, and then only where nothing was found that it could be. Changes and deletions can be
made again without harm, so they need no journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from itertools import islice
from typing import Final, Generic, Literal, TypeVar

import attrs

from tracket_async._http.limits import Clock
from tracket_async.bulk import GRACE, PATIENCE, OnError, Outcomes
from tracket_async.client import TracketClient
from tracket_async.errors import (
    AmbiguousWriteError,
    NotFoundError,
    RequestError,
    StorageError,
    TracketError,
    maybe_sent,
)
from tracket_async.importer.journal import UNRESOLVED, Journal, RowState
from tracket_async.importer.rows import MAX_LISTED, Change, InputFile, InputRow, content_of
from tracket_async.models import NewWorklog, Worklog
from tracket_async.reconcile import (
    LOOKUP_FAILURES,
    WAIT,
    AmbiguousRow,
    Reconciler,
    ServerLookup,
    Verdict,
    server_clock_offset,
)

ErrorKind = Literal["failed", "ambiguous"]


@attrs.frozen(kw_only=True)
class RowError:
    """A row that was not written, or may not have been.

    Attributes:
        line: its line in the file.
        kind: ``"failed"``: it did not happen; ``"ambiguous"``: it may have happened.
        reason: what is known about it.
        candidates: ids of the worklogs that it could be.
    """

    line: int
    kind: ErrorKind
    reason: str
    candidates: tuple[str, ...] = ()


class FirstErrors:
    """The first `MAX_LISTED` errors of a file by their line, in whatever order they are added."""

    def __init__(self) -> None:
        self.first: tuple[RowError, ...] = ()

    def add(self, error: RowError) -> None:
        """Add an error. It replaces an earlier one of the same line."""
        others = (each for each in self.first if each.line != error.line)
        self.first = tuple(sorted((*others, error), key=lambda each: each.line)[:MAX_LISTED])


@attrs.frozen(kw_only=True)
class RunReport:
    """The result of a run, in numbers of rows.

    Attributes:
        rows: all rows of the file.
        done: written by this run, or found to be written.
        found: those of ``done`` that were found by reading back.
        already: in need of nothing: written by an earlier run, or (of a deletion) not there any more.
        failed: certainly not written.
        ambiguous: perhaps written.
        errors: the first `MAX_LISTED` failed and ambiguous rows, by their line.
        stopped: why rows were left out; None: none was, or the caller wanted it so.
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
        """Return the number of rows that nobody has tried to write."""
        return self.rows - self.done - self.already - self.failed - self.ambiguous

    @property
    def complete(self) -> bool:
        """Return whether every row is written."""
        return self.done + self.already == self.rows


T = TypeVar("T")

Apply = Callable[[T], Awaitable[bool]]
"""Write an item; return whether there was anything to do."""


class ChangeRun(Generic[T]):
    """One run of changes or deletions over the rows of a file.

    Args:
        apply: writes an item: `updates` or `deletions`.
        rows: the rows: of a file, validated.
        total: their number.
        concurrency: rows at once, at least 1.
        on_error: ``"collect"``: try every row; ``"stop"``: begin no other after the first that fails.
        patience: the run ends after so many failures in a row that are not the data's fault.
        on_row: called once for each row with its outcome, good or bad.

    Raises:
        UsageError: the concurrency is below 1.
    """

    def __init__(
        self,
        apply: Apply[T],
        rows: Iterable[InputRow[T]],
        *,
        total: int,
        concurrency: int = 16,
        on_error: OnError = "collect",
        patience: int = PATIENCE,
        on_row: Callable[[], None] = lambda: None,
    ) -> None:
        self._apply = apply
        self._total = total
        self._on_row = on_row
        self._done = self._already = self._failed = self._ambiguous = 0
        self._errors = FirstErrors()
        self._outcomes: Outcomes[InputRow[T], None] = Outcomes(
            rows, self._write, concurrency=concurrency, on_error=on_error, patience=patience
        )

    async def run(self) -> None:
        """Write the rows; `report` has the result, also after an exception.

        Raises:
            StoreError: the file changed meanwhile.
            CancelledError: it was interrupted; the answers that were on their way have had some time to arrive.
        """
        await self._outcomes.drain()

    def report(self) -> RunReport:
        """Return how the rows stand now."""
        return RunReport(
            rows=self._total,
            done=self._done,
            already=self._already,
            failed=self._failed,
            ambiguous=self._ambiguous,
            errors=self._errors.first,
            stopped=self._outcomes.stopped,
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
    """Return a function that makes a change."""

    async def apply(change: Change) -> bool:
        await client.worklogs.update(*change)
        return True

    return apply


def deletions(client: TracketClient) -> Apply[str]:
    """Return a function that deletes a worklog; one that is not there needs no deletion."""

    async def apply(worklog_id: str) -> bool:
        try:
            await client.worklogs.delete(worklog_id)
        except NotFoundError:
            return False
        return True

    return apply


UNANSWERED: Final = "It was sent, and its answer did not arrive before the end"
NOT_FOUND: Final = "It was sent and its answer was lost; it is not there, but may still arrive"
INTERRUPTED: Final = "It was interrupted before it was sent"
OnRow = Callable[[NewWorklog], None]


@attrs.frozen(kw_only=True)
class ImportSettings:
    """Settings of an import.

    Attributes:
        concurrency: rows that are sent at once, at least 1.
        on_error: ``"collect"``: try every row; ``"stop"``: begin no other after the first that fails. An ambiguous row
            has not failed.
        resend_ambiguous: send unresolved rows again if nothing is found on the server that they could be. One whose
            first request still arrives late is then there twice.
        wait: seconds between two looks for the unresolved rows.
        patience: the run ends after so many failures in a row that are not the data's fault.
        grace: seconds for the rows that are being sent when the import is interrupted.
    """

    concurrency: int = 16
    on_error: OnError = "collect"
    resend_ambiguous: bool = False
    wait: float = WAIT
    patience: int = PATIENCE
    grace: float = GRACE


@attrs.frozen
class _Ambiguity:
    """The reason why a row is unresolved, and the ids of the worklogs that it could be."""

    reason: str
    candidates: tuple[str, ...] = ()


class ImportRun:
    """One run of an import.

    Args:
        client: open.
        rows: the file, validated.
        journal: the journal of the file, open.
        total: the number of rows in the file.
        settings: the import's settings.
        on_row: called once for each row with its outcome, good or bad.
        clock: this machine's time, and waiting.

    Raises:
        UsageError: a setting is out of range.
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
        clock: Clock = Clock(),
    ) -> None:
        self._client = client
        self._rows = rows
        self._journal = journal
        self._states = journal.states
        self._total = total
        self._already = journal.states.counts[RowState.CREATED]
        self._settings = settings
        self._on_row = on_row
        self._clock = clock
        self._clock_offset: float | None = None
        self._found = 0
        self._resent: set[int] = set()
        self._ambiguities: dict[int, _Ambiguity] = {}
        self._failures = FirstErrors()
        lookup = ServerLookup(
            pages=lambda wanted: client.worklogs.list(filter=wanted).pages(),
            api_version=client.api_version,
            concurrency=settings.concurrency,
            wait=settings.wait,
            clock=clock,
        )
        self._reconciler = Reconciler(lookup, lambda ids: asyncio.to_thread(journal.created_among, ids))
        self._outcomes = Outcomes(
            rows.rows(self._is_to_be_sent),
            self._create,
            concurrency=settings.concurrency,
            on_error=settings.on_error,
            go_on_after_ambiguous=True,
            patience=settings.patience,
        )

    async def run(self) -> None:
        """Import the rows; `report` has the result, also after an exception. The next run on this journal goes on.

        Raises:
            RequestError: the server did not even answer with a page of worklogs: nothing was sent.
            StoreError: the file changed meanwhile.
            CancelledError: it was interrupted; the answers that were on their way have had some time to arrive.
        """
        if self._already == self._total:
            return
        # A client that may not even read fails here, before its first row does. The answer also has the server's time.
        page = await self._client.worklogs.list(size=self._client.api_version.smallest_page)
        self._clock_offset = server_clock_offset(page, self._clock.now())
        self._reconciler.unresolved |= self._unresolved_rows()
        await self._resolve(resend=self._settings.resend_ambiguous)
        await self._outcomes.drain(grace=self._settings.grace)
        if self._outcomes.stopped is None:
            await self._resolve(final=True)

    def report(self) -> RunReport:
        """Return how the rows stand now."""
        counts = self._states.counts
        errors = FirstErrors()
        for line in sorted(self._states.unresolved)[:MAX_LISTED]:
            ambiguity = self._ambiguities.get(line, _Ambiguity(UNANSWERED))
            errors.add(RowError(line=line, kind="ambiguous", reason=ambiguity.reason, candidates=ambiguity.candidates))
        for failure in self._failures.first:
            errors.add(failure)
        return RunReport(
            rows=self._total,
            done=counts[RowState.CREATED] - self._already,
            found=self._found,
            already=self._already,
            failed=counts[RowState.FAILED],
            ambiguous=sum(counts[state] for state in UNRESOLVED),
            errors=errors.first,
            stopped=self._outcomes.stopped,
        )

    def _is_to_be_sent(self, line: int) -> bool:
        return self._states[line] in (RowState.NOT_SENT, RowState.FAILED) or line in self._resent

    async def _create(self, row: InputRow[NewWorklog]) -> Worklog:
        async with self._reconciler.sending(row.item):
            recorded = False
            try:
                content = content_of(row.item, self._client.api_version)
                await self._journal.record_sent(row.line, self._clock.now(), self._clock_offset, content)
                recorded = True
                worklog = await self._client.worklogs.create(row.item)
            except asyncio.CancelledError as cancelled:
                if not (recorded and maybe_sent(cancelled)):
                    self._record_not_sent(row.line)
                raise
            except StorageError:
                raise
            except AmbiguousWriteError as error:
                self._ambiguities[row.line] = _Ambiguity(error.message)
                self._journal.record_ambiguous(row.line, error.message)
                ambiguous = error
            except TracketError as error:
                self._failures.add(RowError(line=row.line, kind="failed", reason=str(error)))
                self._journal.record_failed(row.line, str(error))
                self._resolved(row.line, row.item)
                raise
            else:
                self._journal.record_created(row.line, worklog.id)
                self._resolved(row.line, row.item)
                return worklog
        return await self._reconcile(row, ambiguous)

    def _record_not_sent(self, line: int) -> None:
        with suppress(StorageError):  # an interruption stays one; without the entry, the row counts as unresolved
            if line in self._resent:
                self._journal.record_ambiguous(line, NOT_FOUND)
            else:
                self._journal.record_not_sent(line, INTERRUPTED)

    async def _reconcile(self, row: InputRow[NewWorklog], ambiguous: AmbiguousWriteError) -> Worklog:
        """Look for a row that has just become ambiguous.

        Raises:
            AmbiguousWriteError: ``ambiguous``: it was not found, or there are several that it could be.
        """
        sent = self._states.unresolved[row.line]
        try:
            verdict = await self._reconciler.reconcile(AmbiguousRow(row.line, row.item, sent.at, sent.clock_offset))
        except LOOKUP_FAILURES as error:
            self._ambiguities[row.line] = _Ambiguity(f"Looking for it failed: {error}")
            raise ambiguous from error
        self._record(verdict, row.item)
        if verdict.created is None:
            raise ambiguous
        return verdict.created

    async def _resolve(self, *, resend: bool = False, final: bool = False) -> None:
        """Look on the server for all unresolved rows, while none is being sent.

        Args:
            resend: send those again of which nothing is found.
            final: those of which nothing is found have had their outcome.
        """
        rows = dict(self._reconciler.unresolved)
        if not rows:
            return
        try:
            verdicts = await self._reconciler.verdicts([*rows.values()])
        except LOOKUP_FAILURES as error:
            self._ambiguities.update({line: _Ambiguity(f"Looking for it failed: {error}") for line in rows})
            return
        for verdict in verdicts:
            if resend and verdict.is_absent:
                self._resent.add(verdict.line)
                continue
            self._record(verdict, rows[verdict.line].new)
            if final and verdict.created is None:
                self._on_row(rows[verdict.line].new)

    def _record(self, verdict: Verdict, new: NewWorklog) -> None:
        if verdict.created is not None:
            self._found += 1
            self._journal.record_created(verdict.line, verdict.created.id)
            self._resolved(verdict.line, new)
            return
        ambiguity = self._ambiguities[verdict.line] = _ambiguity(verdict)
        self._journal.record_ambiguous(verdict.line, ambiguity.reason, ambiguity.candidates)

    def _resolved(self, line: int, new: NewWorklog) -> None:
        self._reconciler.unresolved.pop(line, None)
        self._on_row(new)

    def _unresolved_rows(self) -> dict[int, AmbiguousRow]:
        sends = self._states.unresolved
        rows = islice(self._rows.rows(sends.__contains__), len(sends))
        return {
            row.line: AmbiguousRow(row.line, row.item, sends[row.line].at, sends[row.line].clock_offset) for row in rows
        }


def _ambiguity(verdict: Verdict) -> _Ambiguity:
    if verdict.candidates:
        return _Ambiguity(
            "It may be one of several worklogs of the same content that were created since it was sent",
            tuple(worklog.id for worklog in verdict.candidates),
        )
    if verdict.of_unknown_age:
        return _Ambiguity(
            "Nothing was created since it was sent, as far as can be told; these are alike and of an unknown age",
            tuple(worklog.id for worklog in verdict.of_unknown_age),
        )
    return _Ambiguity(NOT_FOUND)
