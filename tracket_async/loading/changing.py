"""Changes and deletions of many worklogs: each can be made again without harm, so nothing needs to be remembered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from tracket_async.bulk import OnError
from tracket_async.client import TracketClient
from tracket_async.errors import NotFoundError, RequestError, TracketError
from tracket_async.loading.checking import Reading
from tracket_async.loading.report import Report, Trouble, Troubles
from tracket_async.loading.rows import Change, Row
from tracket_async.loading.sending import PATIENCE, Sending
from tracket_async.net.repeatable import is_ambiguous

T = TypeVar("T")

Apply = Callable[[T], Awaitable[bool]]
"""Does what is to be done with an item, and says whether there was anything to do."""


class Changing(Generic[T]):
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
        rows: Reading[T],
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
        self._troubles = Troubles()
        self._sending: Sending[Row[T]] = Sending(
            self._write, concurrency=concurrency, on_error=on_error, patience=patience
        )

    async def run(self) -> None:
        """Do it; `report` has what came of it, also after an exception.

        Raises:
            StoreError: the file changed meanwhile.
            CancelledError: it was interrupted; the answers that were on their way have had some time to arrive.
        """
        await self._sending.run(self._rows.rows())

    def report(self) -> Report:
        """How the rows stand now."""
        return Report(
            rows=self._total,
            done=self._done,
            already=self._already,
            failed=self._failed,
            ambiguous=self._ambiguous,
            troubles=self._troubles.first,
            stopped=self._sending.stopped,
        )

    async def _write(self, row: Row[T]) -> None:
        try:
            if await self._apply(row.item):
                self._done += 1
            else:
                self._already += 1
        except TracketError as error:
            ambiguous = isinstance(error, RequestError) and is_ambiguous(error)
            self._ambiguous += ambiguous
            self._failed += not ambiguous
            self._troubles.add(Trouble(line=row.line, kind="ambiguous" if ambiguous else "failed", reason=str(error)))
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
