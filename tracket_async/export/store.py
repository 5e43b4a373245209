"""What an export asks for, as a value: the same request goes on where it was, another one is refused.

The store: worklogs and the progress of the walk that brings them, committed together, in one DuckDB file.

For whoever opens the file with DuckDB: the view ``worklogs`` has one row for each worklog, the latest that is known,
with the columns of `table` (the attributes of `Worklog`; ``custom_fields`` as JSON text). The schema ``tracket`` is
ours:

    meta(name, value)          what the store is and where it stands; values are JSON. ``schema_version``, ``request``,
                               ``state`` and the marks that `run` and `sync` keep
    partitions(id, state)         where each partition of the scan stands, JSON
    rows(..., batch)       the worklogs, in the order in which they were committed
    tombstones(id, date, minutes, found)    worklogs that were here and that the server no longer has

In the state ``fetching`` batches are appended, which costs a third of updating by key. A worklog that came twice is
stored twice then, and the view shows the later row. `deduplicate` removes the others at the end; from then on each
worklog has one row, and `upsert` keeps it so.

A store opened in a thread: whoever is cancelled meanwhile leaves none behind that is open, and locked.

Blocking work, one piece at a time, in a thread of its own: the event loop stays free, no piece is left half done.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, ParamSpec, Self, TypeVar

import attrs

from tracket_async._files import FileLock, refuse_link, storage_errors
from tracket_async.errors import StoreError, TracketError
from tracket_async.export import database as extras
from tracket_async.export import tables as sql
from tracket_async.export.database import Database, Statement, remove
from tracket_async.models import WorklogFilter

BOUNDS: Final = ("since", "until", "created_since", "created_until", "updated_since", "updated_until")


@attrs.frozen(kw_only=True)
class ExportRequest:
    """What is exported from where. How (concurrency, page size, the secret, format) is no part of it.

    Attributes:
        api: the version of the API, ``"1.0"`` or ``"2.0"``.
        origin: the base URL, without anything secret.
        filter: which worklogs; its order does not count.
        account: whose; None: not known, and taken to be any.
    """

    api: str
    origin: str
    filter: WorklogFilter = attrs.field(factory=WorklogFilter)
    account: str | None = None

    def to_json(self) -> dict[str, str | None]:
        """Every part by name; bounds as ISO 8601 text, None where unbounded."""
        return {"api": self.api, "origin": self.origin, "account": self.account} | self.bounds()

    def bounds(self) -> dict[str, str | None]:
        """The filter's bounds by name, as ISO 8601 text, None where unbounded."""
        found: dict[str, dt.datetime | None] = {name: getattr(self.filter, name) for name in BOUNDS}
        return {name: None if bound is None else bound.isoformat() for name, bound in found.items()}

    @classmethod
    def from_json(cls, parts: dict[str, Any]) -> Self:
        """The request that `to_json` wrote."""
        known = {name: parts[name] for name in BOUNDS if parts[name] is not None}
        bounds: dict[str, Any] = {name: dt.datetime.fromisoformat(bound) for name, bound in known.items()}
        return cls(api=parts["api"], origin=parts["origin"], account=parts["account"], filter=WorklogFilter(**bounds))

    def differences(self, other: ExportRequest) -> str:
        """Where the other differs, as ``since is 2024-01-01..., not None``; empty when it is the same."""
        mine, theirs = self.to_json(), other.to_json()
        if None in {self.account, other.account}:
            mine["account"] = theirs["account"]
        return ", ".join(f"{name} is {mine[name]}, not {theirs[name]}" for name in mine if mine[name] != theirs[name])


SCHEMA_VERSION: Final = 1
StoreState = Literal["fetching", "checking", "done"]
Day = tuple[dt.date, int]
"""A UTC day and a number of worklogs."""

_EARLIEST: Final = dt.datetime.min.replace(tzinfo=dt.UTC)
_LATEST: Final = dt.datetime.max.replace(tzinfo=dt.UTC)


@attrs.frozen(kw_only=True)
class ChangeCounts:
    """How many worklogs of a store a batch has added, changed, found as they were, and removed."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0

    def __add__(self, other: ChangeCounts) -> ChangeCounts:
        return ChangeCounts(
            added=self.added + other.added,
            changed=self.changed + other.changed,
            unchanged=self.unchanged + other.unchanged,
            removed=self.removed + other.removed,
        )

    @property
    def different(self) -> int:
        """How many worklogs are otherwise than before."""
        return self.added + self.changed + self.removed


NO_CHANGES: Final = ChangeCounts()


class Store:
    """A store that is open for writing; a context manager. Every method blocks: call them in a thread, one at a time.

    Raises (all methods): `StorageError` when the disk is full or cannot be written; `StoreError` when the file is
    damaged. What was committed before is kept.
    """

    def __init__(self, path: str | Path, *, request: ExportRequest | None = None) -> None:
        """Opens the store, or makes one.

        Args:
            path: the DuckDB file.
            request: what the store has to be an export of, and what a new one will be, or one for which nothing has
                ever been answered. None: an existing store, whatever it is an export of.

        Raises:
            TargetBusyError: somebody else is writing it; the message says who.
            StoreError: there is no such store, or it is of another request, schema version or program; the hint says
                how to start over.
            StorageError: it cannot be made or written there, or is a symbolic link.
            MissingExtraError: DuckDB or pyarrow is not installed.
        """
        self.path = Path(path)
        extras.duckdb()
        extras.pyarrow()
        refuse_link(self.path)
        with storage_errors(self.path, "look at"):
            if request is None and not self.path.exists():
                raise StoreError(f"there is no store {self.path}", hint="Export to it first")
        self._lock = FileLock(self.path)
        try:
            making = (*((statement, ()) for statement in sql.CREATE), *_first_meta(request))
            self.database = Database(self.path, making=making)
        except BaseException:
            self._lock.close()
            raise
        try:
            self.request = self._checked_request(request)
        except BaseException:
            self.close()
            raise

    def _checked_request(self, asked: ExportRequest | None) -> ExportRequest:
        if {name for (name,) in self.database.rows(sql.GET_TABLES)} != set(sql.TABLES):
            raise _refused(f"{self.path} is a DuckDB file of another program")
        version = self.meta("schema_version")
        if version != SCHEMA_VERSION:
            raise _refused(f"{self.path} has schema version {version}, and this program reads {SCHEMA_VERSION}")
        request = ExportRequest.from_json(self.meta("request"))
        if asked is None or not (differences := request.differences(asked)):
            return request
        if self.meta("started") is not None:
            raise _refused(f"{self.path} is of another request: its {differences}")
        # The server has never answered: what was asked with the wrong address, say, does not stand in the way.
        self.set_meta(request=asked.to_json())
        return asked

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file and gives up the right to write it."""
        try:
            self.database.close()
        finally:
            self._lock.close()

    def discard(self) -> None:
        """Closes the store and removes its file."""
        try:
            self.database.close()
            remove(self.path)
        finally:
            self._lock.close()

    def meta(self, name: str) -> Any:
        """A meta about the store (any JSON value), None if it is not known."""
        found = self.database.rows(sql.GET_META, [name])
        return json.loads(found[0][0]) if found else None

    def set_meta(self, **meta: Any) -> None:
        """Keeps meta, in a transaction."""
        with self.database.transaction():
            self._set_meta(meta)

    def _set_meta(self, meta: Mapping[str, Any]) -> None:
        for name, value in meta.items():
            self.database.execute(sql.DELETE_META, [name])
            self.database.execute(sql.INSERT_META, [name, json.dumps(value)])

    @property
    def state(self) -> StoreState:
        """``"fetching"``, ``"checking"`` (deduplicated, not yet compared with the server) or ``"done"``."""
        state: StoreState = self.meta("state")
        return state

    def count(self) -> int:
        """How many worklogs there are, each counted once."""
        return self._number(sql.COUNT_DISTINCT if self.state == "fetching" else sql.COUNT)

    def tombstones(self) -> int:
        """How many worklogs were here once and are gone from the server."""
        return self._number(sql.COUNT_TOMBSTONES)

    def _number(self, statement: str, values: Sequence[Any] = ()) -> int:
        return int(self.database.rows(statement, values)[0][0])

    def partitions(self) -> list[dict[str, Any]]:
        """The states that were kept with the last batches, by id."""
        return [json.loads(state) for (state,) in self.database.rows(sql.PARTITIONS)]

    def append(self, batches: Sequence[Any], states: Mapping[int, Mapping[str, Any]], **meta: Any) -> None:
        """Keeps Arrow batches, the new states of windows by id, and meta, in one transaction. Only while walking."""
        with self.database.transaction():
            if batches:
                number = (self.meta("batch") or 0) + 1
                with self._given(batches):
                    self.database.execute(sql.APPEND, [number])
                self._set_meta({"batch": number})
            if states:
                texts = [json.dumps(state) for state in states.values()]
                self.database.execute(sql.DROP_PARTITIONS, [list(states)])
                self.database.execute(sql.KEEP_PARTITIONS, [list(states), texts])
            self._set_meta(meta)

    def _given(self, batches: Sequence[Any]) -> AbstractContextManager[None]:
        return self.database.given("given", extras.pyarrow().Table.from_batches(list(batches)))

    def deduplicate(self, **meta: Any) -> int:
        """Ends the walk: of each worklog only the latest row stays. Returns how many rows went.

        The latest is the one with the later ``updated_date``, else the one that was committed later.
        """
        with self.database.transaction():
            gone = self._number(sql.DEDUPLICATE)
            self.database.execute(sql.DEDUPLICATED_VIEW)
            self.database.execute(sql.NO_PARTITIONS)
            self._set_meta({"state": "checking"} | meta)
        self.database.checkpoint()
        return gone

    def upsert(self, batch: Any | None, *, leaving: Sequence[str] = (), **meta: Any) -> ChangeCounts:
        """Brings worklogs up to date, in one transaction. Only after `deduplicate`.

        Args:
            batch: an Arrow batch of the worklogs as the server has them now, each id once; None: none.
            leaving: ids that are to be removed, because the server no longer counts them to this request.
            meta: kept as well.
        """
        with self.database.transaction():
            revision = ChangeCounts()
            if batch is not None:
                with self._given([batch]):
                    revision = self._merge()
            if leaving:
                revision += ChangeCounts(removed=self._number(sql.DELETE, [list(leaving)]))
            self._set_meta(meta)
        return revision

    def _merge(self) -> ChangeCounts:
        self.database.execute(sql.CREATE_INCOMING)
        [(rows, differing, changed)] = self.database.rows(sql.COUNT_INCOMING)
        for statement in (sql.DELETE_TOMBSTONES, sql.DELETE_OUTDATED, sql.INSERT_INCOMING, sql.DROP_INCOMING):
            self.database.execute(statement)
        return ChangeCounts(added=differing - changed, changed=changed, unchanged=rows - differing)

    def delete_with_tombstones(self, ids: Sequence[str], *, found: str | None) -> int:
        """Removes worklogs that the server no longer has, and keeps a tombstone of each. Returns how many were here.

        Args:
            ids: their ids; those that are not here are passed over.
            found: when that was noticed, by the server's clock, as ISO 8601 text.
        """
        with self.database.transaction():
            self.database.execute(sql.INSERT_TOMBSTONES, [found, list(ids)])
            return self._number(sql.DELETE, [list(ids)])

    def days(self) -> list[Day]:
        """Each UTC day that has worklogs, in ascending order, and how many it has. Only after `deduplicate`."""
        return [(day, count) for day, count in self.database.rows(sql.BY_DAY)]

    def clear_marks(self) -> None:
        """Begins to take note of the ids that `upsert_and_mark` is given; forgets those of before."""
        self.database.execute(sql.CREATE_MARKED)

    def upsert_and_mark(self, batch: Any) -> ChangeCounts:
        """As `upsert`, and takes note of the ids."""
        with self.database.transaction(), self._given([batch]):
            self.database.execute(sql.INSERT_MARKED)
            return self._merge()

    def unmarked(self, since: dt.datetime | None, until: dt.datetime | None) -> list[str]:
        """Return the ids of worklogs of these dates (inclusive; None: unbounded) that are not marked."""
        bounds = [(bound or other).isoformat() for bound, other in ((since, _EARLIEST), (until, _LATEST))]
        return [id_ for (id_,) in self.database.rows(sql.GET_UNMARKED, bounds)]


def _first_meta(request: ExportRequest | None) -> tuple[Statement, ...]:
    if request is None:
        return ()
    meta = {"schema_version": SCHEMA_VERSION, "request": request.to_json(), "state": "fetching"}
    return tuple((sql.INSERT_META, (name, json.dumps(value))) for name, value in meta.items())


def _refused(message: str) -> StoreError:
    return StoreError(message, hint="Name another file, or move this one away to start over")


async def open_store(path: str | Path, *, request: ExportRequest | None) -> Store:
    """The store, as `Store` opens it; whoever gets it has to close it.

    Raises:
        TargetBusyError, StoreError, StorageError, MissingExtraError: as `Store`.
    """
    opening = asyncio.ensure_future(asyncio.to_thread(Store, path, request=request))
    try:
        # Not awaited itself: a cancellation would lose the store that the thread goes on to open.
        await asyncio.wait([opening])
    except asyncio.CancelledError:
        with contextlib.suppress(TracketError):
            store = await opening
            await asyncio.to_thread(store.close)
        raise
    return opening.result()


P = ParamSpec("P")
T = TypeVar("T")


class WorkThread:
    """A thread that does what it is given, in order; an async context manager that ends it."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tracket-store")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Everything that was given to it has been awaited, so there is nothing to wait for.
        self._pool.shutdown()

    async def __call__(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of the work.

        A cancellation does not interrupt it, and does not leave it behind: it is awaited first.
        """
        future = asyncio.get_running_loop().run_in_executor(self._pool, lambda: work(*args, **kwargs))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            while not future.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([future])
            # Its error, if any, is of no interest to whoever has been cancelled.
            future.exception()
            raise
