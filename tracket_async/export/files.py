"""An export to files: into a store beside them, then out of it, then the store is removed.

Interrupted anywhere, the same call goes on where it was: a store that is left says that the files are not all there.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

import attrs

from tracket_async.client import TracketClient
from tracket_async.errors import IncompleteExportError, UsageError
from tracket_async.export.cells import columns_named
from tracket_async.export.desk import Desk, Settings, desk
from tracket_async.export.formats import Format, check_target, write_file
from tracket_async.export.opening import open_store
from tracket_async.export.progress import ExportResult
from tracket_async.export.request import ExportRequest
from tracket_async.export.run import export


def _named(columns: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if columns is None else columns_named(columns)


@attrs.frozen(kw_only=True)
class Layout:
    """What the files look like.

    Attributes:
        columns: attributes of `Worklog`, in the order in which they are wanted; None: all.
        raw: in CSV, write text that begins like a formula as it is.

    Raises:
        UsageError: a column that does not exist, or is named twice.
    """

    columns: tuple[str, ...] | None = attrs.field(default=None, converter=_named)
    raw: bool = False


async def export_to_files(
    client: TracketClient,
    targets: Mapping[str | Path, Format],
    request: ExportRequest,
    settings: Settings | None = None,
    *,
    layout: Layout | None = None,
    store: str | Path | None = None,
    keep_store: bool = False,
    incomplete: bool = False,
) -> ExportResult:
    """Exports to one or more files, each with its format.

    Args:
        client: open.
        targets: the files; each is replaced when all of it is on the disk.
        request: what to export: `request_of` this client.
        settings: how to run; None: the defaults.
        layout: what the files look like; None: all columns, CSV defused.
        store: where the store is meanwhile; None: beside the first file, with ``.resume`` behind its name.
        keep_store: leave it there, for `sync_store`.
        incomplete: write the files although the numbers of worklogs differ from the server's in the end.

    Raises:
        UsageError: no target, a format or column that does not exist.
        IncompleteExportError: see ``incomplete``; the store is kept, and the same call compares again.
        TargetBusyError, StoreError, StorageError, ExportError, RequestError: as `Store` and `export_to_store`.
    """
    files: dict[Path, Format] = {Path(target): name for target, name in targets.items()}
    if not files:
        raise UsageError("name at least one file to export to")
    for target, name in files.items():
        check_target(target, name)
    first = next(iter(files))
    path = first.with_name(first.name + ".resume") if store is None else Path(store)
    opened = await open_store(path, request=request)
    discard = False
    try:
        async with desk(client, opened, settings) as its:
            result = await export(its)
            if result.verdict == "incomplete" and not incomplete:
                raise _incomplete(result)
            for target, name in files.items():
                await _write(its, target, name, layout or Layout())
            discard = not keep_store
    finally:
        await asyncio.to_thread(opened.discard if discard else opened.close)
    return result


def _incomplete(result: ExportResult) -> IncompleteExportError:
    error = IncompleteExportError(
        f"the export has {result.worklogs:,} worklogs and the server counts {result.total:,}, after several rounds of "
        "fetching what differs"
    )
    error.hint = "Run the same again: it goes on comparing. If worklogs change all the time, ask for fewer dates"
    return error


async def _write(its: Desk, target: Path, name: Format, layout: Layout) -> None:
    """Writes a file in the store's thread; a cancellation stops it."""
    stopped, loop, written = threading.Event(), asyncio.get_running_loop(), 0
    total = await its.do(its.store.count)

    def on_worklogs(count: int) -> None:
        nonlocal written
        if stopped.is_set():
            raise _StoppedError
        written += count
        loop.call_soon_threadsafe(lambda: its.teller.tell("writing", written, total=total))

    task = asyncio.create_task(
        its.do(write_file, its.store, target, name, columns=layout.columns, raw=layout.raw, on_worklogs=on_worklogs)
    )
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        stopped.set()
        with contextlib.suppress(_StoppedError):
            await task
        raise
    task.result()


class _StoppedError(Exception):
    """Thrown into the thread that writes. Never leaves this file."""
