"""A part of an export: the worklogs of one range of dates, in a Parquet file that is whole or not there.

The file has the columns of a store, ordered by date and id. Its name is made of the part's number and dates, the key of
the plan, and the SHA-256 of what is in it; its metadata has the key ``tracket``: JSON with the same, the run that wrote
it, and the rows that cannot be read. A part is taken when name, bytes and metadata agree, else it is made again.

It is written under a name that nobody else has, and renamed. So two tasks that make the same part at the same time do
not meet: there may be two files of it, each whole, and one is taken.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import aclosing, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

import attrs

from tracket_async._api.fast import Row
from tracket_async._files import atomic_write, fsync_folder, refuse_link, replace, storage_errors
from tracket_async.client import TracketClient
from tracket_async.errors import MalformedResponseError
from tracket_async.export import database as modules
from tracket_async.export.phases import Settings
from tracket_async.export.progress import ProgressReporter
from tracket_async.export.store import WorkThread
from tracket_async.frames import ATTRIBUTES, arrow_batch, arrow_schema, pyarrow, warm_up
from tracket_async.integrations.dask.plan import Plan, PlannedPart, check_client, shared_plan, source_of
from tracket_async.models import BadRow
from tracket_async.pagination import PROOF_STEPS

PART_CONCURRENCY: Final = 4
"""Pages of a part that are fetched at once, where nothing else is said: several parts are read at the same time."""
GROUP_ROWS: Final = 50_000
"""Worklogs of a row group: so many are in memory at once when a part is read."""
_ARROW_ROWS: Final = 500
"""So many rows become columns at once: more would hold up the event loop for longer, fewer cost more calls."""
_OURS: Final = re.compile(r"\.?part-(\d{5,})-[0-9a-z]+-[0-9a-z]+-[0-9a-f]{16}[-.].*", re.ASCII)


@attrs.frozen(kw_only=True)
class PartResult:
    """A part that is there, and whole.

    Attributes:
        number: of the part in the plan.
        name: of its file in the folder.
        size: in bytes.
        sha256: of its bytes, 64 hexadecimal digits.
        worklogs: the rows in it.
        bad_rows: the rows that cannot be read, which it keeps in its metadata.
        single_partition: the server's order of dates left no choice but to fetch one page after the other.
        run: the run that wrote it.
    """

    number: int
    name: str
    size: int
    sha256: str
    worklogs: int
    bad_rows: int
    single_partition: bool
    run: str

    def to_json(self) -> dict[str, Any]:
        """Return the result as a dict that ``json.dumps`` takes."""
        return attrs.asdict(self)


async def write_part(
    client: TracketClient,
    plan: Plan,
    number: int,
    folder: str | Path,
    *,
    settings: Settings | None = None,
    keep_bad_rows: bool = False,
) -> PartResult:
    """Read a part of the plan from the server and write it; nothing is asked for one that is there, and whole.

    Args:
        client: open, of the plan's server.
        plan: kept in the folder (`plan.begin`).
        number: of the part.
        folder: the folder of the export, the same for all processes.
        settings: how to run; None: the defaults, with a concurrency of `PART_CONCURRENCY`. ``on_bad_row`` is not
            called: the merge does so. ``on_progress`` is told how many worklogs of the part were read.
        keep_bad_rows: keep rows that cannot be read. Else such a row is an error, `MalformedResponseError`.

    Raises:
        UsageError: the client is of another server, account, or version of the API, than the plan.
        StorageError: the folder does not have the plan, so it is not the folder of this export; or the disk is full or
            cannot be written.
        ExportError, RequestError: as `export_to_store`.

    After each of them, and after a cancellation or the end of the process, the part is not there, or whole.
    """
    check_client(client, plan.request)
    folder, settings = Path(folder), settings or Settings(concurrency=PART_CONCURRENCY)
    async with WorkThread() as thread:
        await thread(shared_plan, folder, plan.key)
        found = await thread(find_part, plan, number, folder)
        if found is not None:
            return found
        await warm_up()
        part, batches, rows, bad_rows = plan.parts[number], list[Any](), list[Row](), list[BadRow]()
        wanted = attrs.evolve(plan.request.filter, since=part.since, until=part.until)
        source = source_of(client, settings, keep_bad_rows=keep_bad_rows)
        # A few worklogs are no proof of the order, so that a part without one would be read to the end of the list.
        states = [attrs.evolve(part.state(), steps=PROOF_STEPS)] if plan.ascends else []
        run = await source.scan(wanted, concurrency=settings.concurrency, states=states)
        reporter = ProgressReporter(settings.on_progress, statistics=client.statistics, clock=settings.clock.time)
        read = 0
        async with aclosing(run.batches()) as pages:
            async for page in pages:
                rows += page.items
                bad_rows += page.bad_rows
                read += len(page.items)
                reporter.report("fetching", read, total=part.expected)
                if len(rows) >= _ARROW_ROWS:
                    batches.append(arrow_batch(rows))
                    rows = []
        if rows:
            batches.append(arrow_batch(rows))
        about = _about(plan, part) | {
            "run": plan.run,
            "single_partition": run.statistics().single_partition,
            "bad_rows": [_bad_row_to_json(bad) for bad in bad_rows],
        }
        return await thread(_write, plan, part, folder, batches, about)


def _about(plan: Plan, part: PlannedPart) -> dict[str, Any]:
    """Return what the metadata of a part of this plan says in any case."""
    return {"plan": plan.key, "part": part.to_json(), "request": plan.request.to_json()}


@cache
def _schema() -> Any:
    return arrow_schema(ATTRIBUTES)


def _write(plan: Plan, part: PlannedPart, folder: Path, batches: Sequence[Any], about: dict[str, Any]) -> PartResult:
    schema = _schema().with_metadata({"tracket": json.dumps(about, sort_keys=True)})
    table = pyarrow().Table.from_batches(batches, schema=_schema())
    table = table.sort_by([("date", "ascending"), ("id", "ascending")]).cast(schema)
    new = folder / f"{_prefix(plan, part)}.{uuid.uuid4().hex}.new"
    with atomic_write(new) as file, modules.parquet().ParquetWriter(file, schema, compression="zstd") as writer:
        writer.write_table(table, row_group_size=GROUP_ROWS)
    with storage_errors(new, "read"), new.open("rb") as written:
        sha256 = hashlib.file_digest(written, "sha256").hexdigest()
        size = written.tell()
    path = folder / f"{_prefix(plan, part)}-{sha256}.parquet"
    refuse_link(path)
    with storage_errors(path, "write"):
        replace(new, path)
    fsync_folder(folder)
    return _result(part.number, path, sha256, size, table.num_rows, about)


def _prefix(plan: Plan, part: PlannedPart) -> str:
    since, until = (
        unbounded if moment is None else moment.strftime("%Y%m%d").zfill(8)
        for moment, unbounded in ((part.since, "begin"), (part.until, "end"))
    )
    return f"part-{part.number:05}-{since}-{until}-{plan.key}"


def _result(number: int, path: Path, sha256: str, size: int, worklogs: int, about: dict[str, Any]) -> PartResult:
    return PartResult(
        number=number,
        name=path.name,
        size=size,
        sha256=sha256,
        worklogs=worklogs,
        bad_rows=len(about["bad_rows"]),
        single_partition=about["single_partition"],
        run=about["run"],
    )


# -- looking for a part ----------------------------------------------------------------------------------------------


def find_part(plan: Plan, number: int, folder: Path, files: Iterable[Path] | None = None) -> PartResult | None:
    """Return the part if it is in the folder, and whole: the first by its name, where there are several.

    Args:
        plan: of the export.
        number: of the part.
        folder: of the export.
        files: where to look, as `files_of` has them; None: all files of the folder.

    Raises:
        StorageError: the operating system refuses.
    """
    prefix = f"{_prefix(plan, plan.parts[number])}-"
    for path in sorted(files_of(folder).get(number, ()) if files is None else files):
        if path.name.startswith(prefix) and (found := _whole(plan, number, path)) is not None:
            return found
    return None


def files_of(folder: Path) -> dict[int, list[Path]]:
    """Return the files that are named as parts are, or as parts that are not finished, by number; of any plan."""
    found = defaultdict[int, list[Path]](list)
    with storage_errors(folder, "read"):
        for path in folder.iterdir():
            with suppress(FileNotFoundError):  # another task has just renamed it
                if (name := _OURS.fullmatch(path.name)) and stat.S_ISREG(path.lstat().st_mode):
                    found[int(name[1])].append(path)
    return found


def _whole(plan: Plan, number: int, path: Path) -> PartResult | None:
    """Return the part that is in this file; None if it is another, or not what was written, or has gone."""
    with storage_errors(path, "read"), suppress(FileNotFoundError), path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if path.suffix != ".parquet" or not path.stem.endswith(f"-{sha256}"):
            return None
        size = file.tell()
        try:
            part = modules.parquet().ParquetFile(file)
            about = metadata_of(part)
            same = part.schema_arrow.equals(_schema())
            found = _result(number, path, sha256, size, part.metadata.num_rows, about)
        except (pyarrow().ArrowException, OSError, KeyError, TypeError, ValueError):
            return None
        expected = _about(plan, plan.parts[number])
        return found if same and {name: about.get(name) for name in expected} == expected else None
    return None


def metadata_of(part: Any) -> dict[str, Any]:
    """Return what an open Parquet file says about itself.

    Raises:
        KeyError, ValueError: it does not.
    """
    found: dict[str, Any] = json.loads(part.schema_arrow.metadata[b"tracket"])
    return found


def bad_rows_of(part: Any) -> list[BadRow]:
    """Return the rows that cannot be read, which an open Parquet file keeps."""
    return [
        BadRow(
            row=bad["row"].encode(),
            error=MalformedResponseError(bad["reason"], json_path=bad["path"], worklog_id=bad["id"]),
        )
        for bad in metadata_of(part)["bad_rows"]
    ]


def _bad_row_to_json(bad: BadRow) -> dict[str, Any]:
    return {"id": bad.id, "path": bad.error.json_path, "reason": bad.error.message, "row": bad.row.decode()}
