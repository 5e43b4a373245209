"""The merge: all parts of a plan into one store, and what an export makes of a store.

1. Every part is looked for. One that is not there, or not whole, is made now.
2. ``manifest.json`` names the file of each part, with its size, SHA-256 and number of worklogs. It comes last, so that
   whoever reads the folder knows that the parts are complete, and which of two files of one part counts.
3. The parts become the partitions of a store: those whose worklogs are in it are done, the others have not begun. So
   after an interruption the merge goes on with the rest; and so would an export on one machine.
4. From here on it is the export of one machine: comparisons with the server, verdict, files.
5. The folder is cleared, unless worklogs are in doubt.

A part is read one row group after the other: memory does not grow with the number of worklogs.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from tracket_async._files import atomic_write, storage_errors
from tracket_async.client import TracketClient
from tracket_async.errors import StorageError, StoreError
from tracket_async.export import database as modules
from tracket_async.export.formats import FileOptions, TargetFormat
from tracket_async.export.phases import ExportJob, Settings, dates_fetched
from tracket_async.export.postgres import PostgresTable
from tracket_async.export.progress import ExportResult
from tracket_async.export.run import export_to_files
from tracket_async.frames import pyarrow
from tracket_async.integrations.dask.part import (
    PART_CONCURRENCY,
    PartResult,
    bad_rows_of,
    files_of,
    find_part,
    write_part,
)
from tracket_async.integrations.dask.plan import Plan, forget_plan
from tracket_async.models import BadRow
from tracket_async.scan.partition import PartitionState

MANIFEST: Final = "manifest.json"
COMMIT_ROWS: Final = 50_000
"""Row groups of parts are committed together from so many worklogs on."""


async def merge(
    client: TracketClient,
    plan: Plan,
    folder: str | Path,
    targets: Mapping[str | Path | PostgresTable, TargetFormat],
    settings: Settings | None = None,
    *,
    file_options: FileOptions | None = None,
    store: str | Path | None = None,
    keep_store: bool = False,
    keep_parts: bool = False,
    incomplete: bool = False,
) -> ExportResult:
    """Make the files of an export of its parts: the same bytes as those of an export on one machine.

    Args:
        client: open, of the plan's server.
        plan: of a folder that this process has locked (`plan.locked_folder`, `plan.begin`).
        folder: of the export. Parts that are missing are made.
        targets: as in `export_to_files`.
        settings: as in `export_to_files`.
        file_options: as in `export_to_files`.
        store: as in `export_to_files`.
        keep_store: as in `export_to_files`.
        keep_parts: leave the parts and their manifest in the folder. The next export to it makes a new plan.
        incomplete: as in `export_to_files`.

    Raises:
        StoreError: there is a store that was begun without these parts.
        UsageError, IncompleteExportError, TargetBusyError, StorageError, ExportError, RequestError: as
            `export_to_files`, and `write_part`.

    After each of them, and after a cancellation or the end of the process, the next run of the same plan goes on.
    """
    folder = Path(folder)
    result = await export_to_files(
        client,
        targets,
        plan.request,
        settings,
        file_options=file_options,
        store=store,
        keep_store=keep_store,
        incomplete=incomplete,
        fetch=functools.partial(_fetch, client=client, plan=plan, folder=folder),
    )
    if result.verdict != "not verified":  # else the store is kept, and the next run asks for the plan again
        await asyncio.to_thread(forget_plan, folder)
        if not keep_parts:
            await asyncio.to_thread(_clear, folder)
    return result


async def _fetch(job: ExportJob, *, client: TracketClient, plan: Plan, folder: Path) -> int | None:
    """Bring all parts into the store, as `fetch_rest` brings what the server has."""
    store = job.store
    if await job.do(lambda: store.state) != "fetching":
        return None
    states = {state["id"]: PartitionState.from_json(state) for state in await job.do(store.partitions)}
    if await job.do(store.meta, "mark") is not None and await job.do(store.meta, "parts") != plan.key:
        raise StoreError(
            f"{store.path} was begun without these parts",
            hint="Run that export to its end, name another file, or move the store away to start over",
        )
    parts = await _whole_parts(job, client, plan, folder)
    await job.do(_write_manifest, folder, plan, parts)
    before = [part.number for part in parts if part.run != plan.run]
    resumed = sum(parts[number].worklogs for number in before)
    dates = dates_fetched(plan.parts[number].state(seen=parts[number].worklogs, done=True) for number in before)
    if not states:
        begun = {part.number: part.state().to_json() for part in plan.parts}
        about: dict[str, Any] = {
            "mark": plan.mark.isoformat(),
            "as_of": plan.now.isoformat(),
            "total_at_start": plan.total,
        }
        await job.do(store.append, [], begun, parts=plan.key, fetched_before=dates, **about)
    else:  # on API 1.0, a store that was interrupted is compared with the server as a whole
        await job.do(store.set_meta, fetched_before=[[None, None]])
    left = [part for part in parts if not _is_in(states, plan, part.number)]
    done, total = sum(part.worklogs for part in parts if part not in left), sum(part.worklogs for part in parts)
    with contextlib.closing(_commits(plan, folder, left)) as commits:
        while (commit := await job.do(next, commits, None)) is not None:
            job.reporter.report("merging", done, total=total)
            await job.do(store.append, commit.batches, commit.states, commit.bad_rows)
            done += commit.rows
    await job.do(store.deduplicate, single_partition=any(part.single_partition for part in parts))
    return resumed


def _is_in(states: Mapping[int, PartitionState], plan: Plan, number: int) -> bool:
    """Return whether the store has all of the part. An export on one machine may have cut it into several."""
    state, part = states.get(number), plan.parts[number]
    return state is not None and state.done and (state.since, state.until) == (part.since, part.until)


async def _whole_parts(job: ExportJob, client: TracketClient, plan: Plan, folder: Path) -> list[PartResult]:
    """Return all parts in order; those that are not there, or not whole, are made."""
    files, found = await job.do(files_of, folder), list[PartResult]()
    for part in plan.parts:
        whole = await job.do(find_part, plan, part.number, folder, files.get(part.number, ()))
        if whole is None:
            concurrency = min(job.settings.concurrency, PART_CONCURRENCY)
            settings = attrs.evolve(job.settings, concurrency=concurrency, on_progress=None)
            keep = job.settings.on_bad_row is not None
            whole = await write_part(client, plan, part.number, folder, settings=settings, keep_bad_rows=keep)
        found.append(whole)
        job.reporter.report("merging", 0, total=plan.total)
    return found


def _write_manifest(folder: Path, plan: Plan, parts: Sequence[PartResult]) -> None:
    """Write which files the parts are; remove others of parts: of tasks that ran twice or were killed, of other plans.

    Raises:
        StorageError: the operating system refuses.
    """
    manifest = {
        "plan": plan.key,
        "request": plan.request.to_json(),
        "worklogs": sum(part.worklogs for part in parts),
        "parts": [plan.parts[part.number].to_json() | part.to_json() for part in parts],
    }
    with atomic_write(folder / MANIFEST) as file:
        file.write(json.dumps(manifest, indent=1).encode())
    _remove_parts(folder, keeping={part.name for part in parts})


def _clear(folder: Path) -> None:
    with storage_errors(folder, "clear"):
        (folder / MANIFEST).unlink(missing_ok=True)
    _remove_parts(folder)


def _remove_parts(folder: Path, *, keeping: Collection[str] = ()) -> None:
    with storage_errors(folder, "clear"):
        for files in files_of(folder).values():
            for path in files:
                if path.name not in keeping:
                    path.unlink(missing_ok=True)


@attrs.define
class _Commit:
    """Row groups and states that are committed together."""

    batches: list[Any] = attrs.field(factory=list[Any])
    states: dict[int, dict[str, Any]] = attrs.field(factory=dict[int, dict[str, Any]])
    bad_rows: list[BadRow] = attrs.field(factory=list[BadRow])
    rows: int = 0


def _commits(plan: Plan, folder: Path, parts: Iterable[PartResult]) -> Generator[_Commit]:
    """Yield what is in the parts, about `COMMIT_ROWS` worklogs at once; the state of a part with its last ones.

    Raises:
        StorageError: a part cannot be read, or it was changed since it was looked at.
    """
    commit = _Commit()
    for part in parts:
        path = folder / part.name
        with storage_errors(path, "read"), path.open("rb") as file, _unchanged(path):
            opened = modules.parquet().ParquetFile(file)
            for group in range(opened.num_row_groups):
                if commit.rows >= COMMIT_ROWS:
                    yield commit
                    commit = _Commit()
                table = opened.read_row_group(group).replace_schema_metadata(None)
                commit.batches += table.to_batches()
                commit.rows += table.num_rows
            commit.states[part.number] = plan.parts[part.number].state(seen=part.worklogs, done=True).to_json()
            commit.bad_rows += bad_rows_of(opened)
    if commit.states:
        yield commit


@contextlib.contextmanager
def _unchanged(path: Path) -> Generator[None]:
    try:
        yield
    except (pyarrow().ArrowException, KeyError, ValueError) as error:
        hint = "Run the same again: the part is made again"
        raise StorageError(f"{path} was changed while it was being read: {error}", hint=hint) from error
