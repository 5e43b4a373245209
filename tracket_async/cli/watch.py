"""``tracket watch``: keep a store up to date, and print each change of a worklog for the next program.

The store records each change in the transaction that makes it. Changes are printed from there, and removed when the
reader of the output has taken them. So what a run that is ended anywhere has not handed over, the next one prints.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import attrs
from cyclopts import Parameter, Token

from tracket_async._files import FileLock, beside
from tracket_async.cli import destinations, exits, output
from tracket_async.cli.destinations import AcceptDeletions, BadRows, BadRowsFile
from tracket_async.cli.export import check_place, is_unfinished, settings
from tracket_async.cli.options import (
    CONCURRENCY,
    DEFAULT,
    EVERYTHING,
    WAIT,
    Concurrency,
    Connection,
    Json,
    Selection,
    Wait,
    between,
)
from tracket_async.cli.progress import REPORTING, Reporting, show_progress
from tracket_async.cli.sync import LONGEST, LOOKBACK, require_complete
from tracket_async.client import TracketClient
from tracket_async.config import Limits
from tracket_async.errors import ExportError, IncompleteExportError, RequestError, TargetBusyError
from tracket_async.export.phases import Settings
from tracket_async.export.progress import SyncResult
from tracket_async.export.run import request_of
from tracket_async.export.source import OutagePolicy
from tracket_async.export.store import Store, WorkThread, open_store
from tracket_async.export.sync import sync_store
from tracket_async.export.text import NAMES, ndjson_encoder
from tracket_async.models import WorklogFilter

_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([smh]?)", re.ASCII)
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600}
_SHOWN: Final = ("id", "day", "user_id", "minutes", "description")
"""The columns of a line that is not JSON."""
_KINDS: Final = ("the store", "the server")
AT_ONCE: Final = 1_000
"""So many changes are read from the store at once."""
MINUTE: Final = 60.0


def seconds(text: str) -> float:
    """Return the seconds of a duration: ``90``, ``90s``, ``15m`` or ``1h``.

    Raises:
        ValueError: it is none, or 0.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None or not (duration := float(found[1]) * _SECONDS[found[2]]):
        raise ValueError(f"{text!r:.40} is no duration. Give 90s, 15m or 1h")
    return duration


def _convert(_type: Any, tokens: Sequence[Token]) -> float:
    return seconds(tokens[0].value)


async def watch(
    store: Annotated[Path, Parameter(metavar="STORE")],
    /,
    *,
    every: Annotated[float, Parameter(converter=_convert, metavar="DURATION", show_default=lambda _: "60s")] = MINUTE,
    once: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    lookback: Annotated[int, Parameter(metavar="DAYS", validator=between(0, LONGEST))] = LOOKBACK,
    accept_deletions: AcceptDeletions = False,
    bad_rows: BadRowsFile = None,
    wait: Wait = WAIT,
    selection: Selection = EVERYTHING,
    concurrency: Concurrency = CONCURRENCY,
    reporting: Reporting = REPORTING,
    json: Json = False,
    connection: Connection = DEFAULT,
) -> None:
    """Keep a store up to date, and print what was created, updated and deleted, one change a line.

    The store is that of tracket sync. If there is none yet, it is created with the worklogs of the selection, of which
    nothing is printed. Every change from then on is printed at least once, also when this command was ended meanwhile,
    or its reader went away. A worklog that no longer has a date of the selection is removed.

    Args:
        store: The file of the store.
        every: Look so often: 90s, 15m or 1h.
        once: Look once and end, for cron.
        lookback: Compare the worklogs of so many days back (API 1.0).
        accept_deletions: see `AcceptDeletions`.
        bad_rows: After each look, the file has the rows of that look. See `BadRowsFile`.
        wait: At the first look; after it, the next look is waited for. See `Wait`.
        selection: which worklogs; of a store that exists, only those that it was created with.
        concurrency: see `Concurrency`.
        reporting: Progress of the first look. See `Reporting`.
        json: Print a JSON object a line: the change (created, updated, deleted or removed) and the worklog, as it is
            or, of the last two, as it was.
        connection: which server.
    """
    check_place(store, ())
    wanted = None if selection == EVERYTHING and store.exists() else selection.filter()
    with contextlib.closing(_lock(store)):
        async with (
            connection.client(limits=Limits(max_concurrency=concurrency)) as client,
            show_progress(reporting.mode, client.statistics) as display,
        ):
            watcher = _Watcher(
                client=client,
                path=store,
                filter=wanted,
                lookback=dt.timedelta(days=lookback),
                how=partial(settings, display, concurrency=concurrency, accept_deletions=accept_deletions, wait=wait),
                bad_rows=bad_rows,
                as_json=json,
            )
            with exits.keeping(store, is_unfinished):
                result = await watcher.look()
                display.finish(result.worklogs)
                if not once:
                    await watcher.follow(result, every)
    require_complete(store, result)
    watcher.require_readable(result)


def _lock(store: Path) -> FileLock:
    """Return the right to print the changes of a store: of two runs, each would print some of them."""
    try:
        return FileLock(beside(store, ".watch"))
    except TargetBusyError as error:
        raise TargetBusyError(f"{store} is watched already: {error.message}", hint="Wait until that ends") from None


@attrs.define(kw_only=True)
class _Watcher:
    """Looks at a server, and prints the changes.

    Attributes:
        how: makes the settings of a look.
        bad_rows: the path of the file of ``--bad-rows``, None: there is none.
    """

    client: TracketClient
    path: Path
    filter: WorklogFilter | None
    lookback: dt.timedelta
    how: Callable[..., Settings]
    bad_rows: Path | None
    as_json: bool
    _unreadable: BadRows | None = attrs.field(init=False, default=None)

    async def follow(self, result: SyncResult, every: float) -> NoReturn:
        """Look again and again. What may be over after a while is waited out, and told once."""
        told: str | None = None
        trouble, text = self._trouble(result)
        while True:
            if trouble != told:
                output.note(f"tracket: {text if trouble else 'The store is up to date again.'}")
                told = trouble
            await _sleep(every)
            try:
                # Not waited out in there, where nobody would be told of it.
                result = await self.look(patience=OutagePolicy(give_up_after=0))
            except (ExportError, RequestError) as error:
                if not _is_passing(error):
                    raise
                cause = error.__cause__ if type(error) is ExportError else error
                trouble, text = _KINDS[isinstance(cause, RequestError)], f"{cause}. Trying again every {every:g} s"
            else:
                trouble, text = self._trouble(result)

    def _trouble(self, result: SyncResult) -> tuple[str | None, str]:
        """Return what is wrong with a look that came to its end, None if nothing is, and a line that says it."""
        if result.doubt is not None:
            return result.doubt, f"Not verified: {result.doubt}"
        try:
            self.require_readable(result)
        except IncompleteExportError as error:
            return error.message, str(error)
        return None, ""

    def require_readable(self, result: SyncResult) -> None:
        """Check that the last look met no row that cannot be read; raises as `destinations.require_readable`."""
        destinations.require_readable(self._unreadable, in_store=result.bad_rows)

    async def look(self, *, patience: OutagePolicy | None = None) -> SyncResult:
        """Bring the store up to date, and print the changes: what an earlier run has not printed comes first."""
        with destinations.bad_rows(self.bad_rows, {self.path}) as self._unreadable:
            how = self.how(bad_rows=self._unreadable)
            return await self._look(how if patience is None else attrs.evolve(how, patience=patience, on_progress=None))

    async def _look(self, how: Settings) -> SyncResult:
        asked = None if self.filter is None else request_of(self.client, filter=self.filter)
        store = await open_store(self.path, request=asked)
        # A cancellation is raised when the thread has done its work: the store is not closed under its hands.
        async with WorkThread() as thread:
            try:
                await thread(store.record_changes)
                await self._print(store, thread)
                try:
                    result = await sync_store(self.client, store, how, lookback=self.lookback)
                except (ExportError, RequestError):
                    await self._print(store, thread)
                    raise
                await self._print(store, thread)
            finally:
                await thread(store.close)
        return result

    async def _print(self, store: Store, thread: WorkThread) -> None:
        columns = NAMES if self.as_json else _SHOWN
        while changes := await thread(store.changes, AT_ONCE, columns):
            await output.hand_over(_as_json(changes) if self.as_json else _as_text(changes))
            await thread(store.forget_changes, changes[-1][0])


def _as_json(changes: Sequence[Sequence[Any]]) -> list[bytes]:
    _, kinds, *cells = zip(*changes, strict=True)
    worklogs = ndjson_encoder()(cells).split(b"\n")[:-1]
    return [
        b'{"change":"%b","worklog":%b}\n' % (kind.encode(), worklog)
        for kind, worklog in zip(kinds, worklogs, strict=True)
    ]


def _as_text(changes: Sequence[Sequence[Any]]) -> list[bytes]:
    return ["\t".join(map(output.text, cells)).encode() + b"\n" for _, *cells in changes]


def _is_passing(error: ExportError | RequestError) -> bool:
    """Return whether it may be over after a while: the server does not answer, or another program has the store."""
    return error.is_passing if isinstance(error, RequestError) else type(error) in {ExportError, TargetBusyError}


async def _sleep(seconds: float) -> None:
    """Wait, and look once a second whether anybody still reads the output.

    Raises:
        BrokenPipeError: nobody does.
    """
    end = asyncio.get_running_loop().time() + seconds
    while (left := end - asyncio.get_running_loop().time()) > 0:
        output.unread()
        await asyncio.sleep(min(left, 1.0))
