"""An export to files through the store, and what is read from the store before it goes."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Generic, TypeVar

import attrs

from tracket_async.cli import afterword, output, target
from tracket_async.cli.choosing import Format
from tracket_async.cli.watching import Watch
from tracket_async.client import TracketClient
from tracket_async.errors import MissingExtraError, UsageError
from tracket_async.export import extras
from tracket_async.export.desk import Settings
from tracket_async.export.files import Layout, export_to_files
from tracket_async.export.progress import ExportResult
from tracket_async.export.request import ExportRequest
from tracket_async.export.store import Store

T = TypeVar("T")


@attrs.frozen
class Outcome(Generic[T]):
    """What the export has come to, and what was read from its store."""

    result: ExportResult
    read: T


def hindrance() -> MissingExtraError | None:
    """Why there can be no store here; None: there can. It imports what a store needs."""
    if importlib.util.find_spec("fcntl") is None:
        return MissingExtraError("a store needs the file locks of a POSIX system, which this one is not")
    try:
        extras.duckdb()
        extras.pyarrow()
    except MissingExtraError as error:
        return error
    return None


def settings(watch: Watch, *, concurrency: int) -> Settings:
    """How an export or a sync of the command line runs."""
    return Settings(concurrency=concurrency, on_progress=watch.report, on_notice=output.note)


def place_of(files: Mapping[Path, Format], store: Path | None) -> Path:
    """Where the store is: where it was asked for, else beside the first file.

    Raises:
        UsageError: it cannot be there, or one of the files is to be there.
    """
    first = next(iter(files))
    place = first.with_name(f"{first.name}.resume") if store is None else store
    check_place(place, files)
    return place


def check_place(place: Path, files: Container[Path]) -> None:
    """See to it that a store can be there.

    Raises:
        UsageError: it cannot, or one of the files is to be there.
    """
    target.check(place)
    if place in files:
        raise UsageError(f"{place} cannot be the store and an --output")


async def export_files(
    client: TracketClient,
    files: Mapping[Path, Format],
    request: ExportRequest,
    watch: Watch,
    *,
    store: Path | None,
    layout: Layout,
    concurrency: int,
    read: Callable[[Store], T],
) -> Outcome[T]:
    """Exports to the files.

    Args:
        client: open.
        files: where to, and as what; at least one.
        request: what.
        watch: is told how far it is.
        store: where the store is to stay; None: beside the first file until all files are there.
        layout: what the files look like.
        concurrency: requests at once, at most.
        read: is given the store when all files are there.

    Raises:
        UsageError, ExportError, RequestError: as `export_to_files`.
    """
    place, how = place_of(files, store), settings(watch, concurrency=concurrency)
    with afterword.keeping(place):
        targets = dict[str | Path, Format](files.items())
        result = await export_to_files(client, targets, request, how, layout=layout, store=place, keep_store=True)
        if watch.stages.isdisjoint({"walking", "checking"}):
            output.note(f"{place} was complete already, so the files show what was exported then.")
        watch.finish(result.worklogs)
        found = await asyncio.to_thread(_read, place, request, read, discard=store is None)
    return Outcome(result, found)


def _read(place: Path, request: ExportRequest, read: Callable[[Store], T], *, discard: bool) -> T:
    store = Store(place, request=request)
    try:
        found = read(store)
    except BaseException:
        store.close()
        raise
    if discard:
        store.discard()
    else:
        store.close()
    return found


def hours(store: Store) -> float:
    """The hours of all worklogs in the store."""
    [(minutes,)] = store.database.rows("SELECT coalesce(sum(minutes), 0) FROM worklogs")
    return float(minutes) / 60
