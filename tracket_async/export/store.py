"""The store: worklogs and the progress of the scan that brings them, committed together in one DuckDB file.

For whoever opens the file with DuckDB: the view ``worklogs`` has one row for each worklog, the latest that is known,
with its day and the attributes of `Worklog` (``custom_fields`` and ``extra`` as JSON text). The schema ``tracket`` is
private:

    meta(name, value)          what the store is and how far it is; values are JSON. ``schema_version``, ``request``,
                               ``state``, and what `run` keeps
    partitions(id, state)      how far each partition of the scan is, JSON
    rows(..., batch)           the worklogs, in the order in which they were committed; batch numbers the commits from
                               1, and is 0 for what was added or changed after fetching
    tombstones(..., found)     worklogs that the server no longer has, and when that was found
    changes(number, kind, ...) what was done to rows and is not handed on yet, in order, where that is recorded
    touched(revision, id)      ids of worklogs that were added, changed or removed after a revision and before the next
    bad_rows(key, id, ...)     rows that cannot be read, as the server sent them, and why. No id in it is one in rows

In the state ``fetching`` batches are appended, which costs a third of updating by key. A worklog that came twice is
stored twice then, and the view shows the later row. `deduplicate` removes the others at the end; from then on each
worklog has one row, and `upsert` keeps it so.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, ParamSpec, Self, TypeVar

import attrs

from tracket_async._files import FileLock, beside, refuse_link, storage_errors
from tracket_async.errors import MalformedResponseError, StoreError, TracketError
from tracket_async.export import database as modules
from tracket_async.export import tables as sql
from tracket_async.export.database import Database, Statement, remove
from tracket_async.export.text import NAMES, UTC, time_zone
from tracket_async.frames import load_converters, pyarrow
from tracket_async.models import VALUES, BadRow, WorklogFilter

BOUNDS: Final = ("since", "until", "created_since", "created_until", "updated_since", "updated_until")


@attrs.frozen(kw_only=True)
class ExportRequest:
    """A request: what is exported from where. A store of the same request is resumed, one of another is refused.

    How it is exported (concurrency, page size, the secret, format) is no part of it.

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

    def to_json(self) -> dict[str, Any]:
        """Return every part by name: the filter's as `filter_to_json` does."""
        return {"api": self.api, "origin": self.origin, "account": self.account} | self.filter_to_json()

    def filter_to_json(self) -> dict[str, Any]:
        """Return the parts of the filter by name.

        Bounds are ISO 8601 text, None where unbounded. Choices of values are sorted lists, empty for every value.
        """
        found: dict[str, dt.datetime | None] = {name: getattr(self.filter, name) for name in BOUNDS}
        bounds = {name: None if bound is None else bound.isoformat() for name, bound in found.items()}
        return bounds | {name: sorted(getattr(self.filter, name)) for name in VALUES}

    @classmethod
    def from_json(cls, parts: dict[str, Any]) -> Self:
        """Return the request that `to_json` wrote."""
        known = {name: parts[name] for name in BOUNDS if parts[name] is not None}
        bounds: dict[str, Any] = {name: dt.datetime.fromisoformat(bound) for name, bound in known.items()}
        filter = WorklogFilter(**bounds, **{name: parts[name] for name in VALUES})
        return cls(api=parts["api"], origin=parts["origin"], account=parts["account"], filter=filter)

    def differences(self, other: ExportRequest) -> str:
        """Return where the other differs, as ``since is 2024-01-01..., not None``; empty when it is the same."""
        mine, theirs = self.to_json(), other.to_json()
        if None in {self.account, other.account}:
            mine["account"] = theirs["account"]
        return ", ".join(f"{name} is {mine[name]}, not {theirs[name]}" for name in mine if mine[name] != theirs[name])


SCHEMA_VERSION: Final = 1
_REVISIONS: Final = 20
"""Of so many revisions it is known what was touched since."""
StoreState = Literal["fetching", "checking", "done"]
Day = tuple[dt.date, int]
"""A UTC day and a number of worklogs."""

_EARLIEST: Final = dt.datetime.min.replace(tzinfo=dt.UTC)
_LATEST: Final = dt.datetime.max.replace(tzinfo=dt.UTC)


@attrs.frozen(kw_only=True)
class ChangeCounts:
    """The numbers of worklogs of a store that were added, changed, unchanged and removed."""

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
        """Return how many worklogs are not as before."""
        return self.added + self.changed + self.removed


NO_CHANGES: Final = ChangeCounts()


class Store:
    """A store that is open for writing; a context manager. Every method blocks: call them in a thread, one at a time.

    Raises (all methods): `StorageError` when the disk is full or cannot be written; `StoreError` when the file is
    damaged. What was committed before is kept.
    """

    def __init__(self, path: str | Path, *, request: ExportRequest | None = None) -> None:
        """Open the store, or create one.

        Args:
            path: the DuckDB file.
            request: what the store has to be an export of, and what a new one will be, or one for which nothing has
                ever been answered. None: an existing store, whatever it is an export of.

        Raises:
            TargetBusyError: another process is writing it; the message says which.
            StoreError: there is no such store, or it is of another request, schema version or program; the hint says
                how to start over.
            StorageError: it cannot be created or written there, or is a symbolic link.
            MissingExtraError: DuckDB or pyarrow is not installed.
        """
        self.path = Path(path)
        modules.duckdb()
        modules.compute()
        load_converters()  # here, in a thread, and not at the first page
        refuse_link(self.path)
        with storage_errors(self.path, "look at"):
            if request is None and not self.path.exists():
                raise StoreError(f"there is no store {self.path}", hint="Export to it first")
        self._lock = FileLock(self.path)
        try:
            schema = (*((statement, ()) for statement in sql.CREATE), *_first_meta(request))
            self.database = Database(self.path, schema=schema)
        except BaseException:
            self._lock.close()
            raise
        try:
            self.request = self._checked_request(request)
        except BaseException:
            self.close()
            raise

    def _checked_request(self, asked: ExportRequest | None) -> ExportRequest:
        version = self.meta("schema_version")
        if version != SCHEMA_VERSION:
            raise _refused(f"{self.path} has schema version {version}, and this program reads {SCHEMA_VERSION}")
        try:
            request = ExportRequest.from_json(self.meta("request"))
        except (KeyError, TypeError, ValueError):
            raise _refused(f"{self.path} does not say what it is an export of") from None
        # A stranger's view could read any file.
        self._create_view(self.tz)
        if asked is None or not (differences := request.differences(asked)):
            return request
        if self.meta("mark") is not None:
            raise _refused(f"{self.path} is of another request: its {differences}")
        # The server has never answered: what was asked with the wrong address, say, does not stand in the way.
        self.set_meta(request=asked.to_json())
        return asked

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and release its lock."""
        try:
            self.database.close()
        finally:
            self._lock.close()

    def discard(self) -> None:
        """Close the store and remove its file."""
        try:
            self.database.close()
            remove(self.path)
        finally:
            self._lock.close()

    def meta(self, name: str) -> Any:
        """Return what is kept under this name (any JSON value), None if nothing is."""
        found = self.database.rows(sql.GET_META, [name])
        return json.loads(found[0][0]) if found else None

    def set_meta(self, **meta: Any) -> None:
        """Keep values by name, in one transaction."""
        with self.database.transaction():
            self._set_meta(meta)

    def _set_meta(self, meta: Mapping[str, Any]) -> None:
        for name, value in meta.items():
            self.database.execute(sql.DELETE_META, [name])
            self.database.execute(sql.INSERT_META, [name, json.dumps(value)])

    @property
    def state(self) -> StoreState:
        """Return ``"fetching"``, ``"checking"`` (deduplicated, not yet compared with the server) or ``"done"``."""
        state: StoreState = self.meta("state")
        return state

    @property
    def tz(self) -> str:
        """Return the IANA name of the time zone in which a worklog's day is counted; UTC at first."""
        return str(self.meta("tz") or UTC)

    def set_tz(self, tz: str) -> None:
        """Count days in this time zone from here on, in the view and in files.

        Raises:
            UsageError: there is none of that name.
        """
        time_zone(tz)
        with self.database.transaction():
            self._create_view(tz)
            self._set_meta({"tz": tz})

    def _create_view(self, tz: str) -> None:
        self.database.execute(sql.view(tz, deduplicated=self.state != "fetching"))

    def count(self) -> int:
        """Return the number of worklogs, each counted once."""
        return self._number(sql.COUNT_DISTINCT if self.state == "fetching" else sql.COUNT)

    def tombstones(self) -> int:
        """Return how many worklogs were here once and are gone from the server."""
        return self._number(sql.COUNT_TOMBSTONES)

    def _number(self, statement: str, values: Sequence[Any] = ()) -> int:
        return int(self.database.rows(statement, values)[0][0])

    def partitions(self) -> list[dict[str, Any]]:
        """Return the states that were kept with the last batches, by id."""
        return [json.loads(state) for (state,) in self.database.rows(sql.GET_PARTITIONS)]

    def append(
        self,
        batches: Sequence[Any],
        states: Mapping[int, Mapping[str, Any]],
        bad_rows: Sequence[BadRow] = (),
        *,
        ahead: Sequence[Any] = (),
        **meta: Any,
    ) -> None:
        """Keep batches, states of partitions by id, bad rows and meta, in one transaction. Only while fetching.

        Args:
            batches: Arrow batches.
            states: the new ones.
            bad_rows: rows that cannot be read.
            ahead: Arrow batches that the states do not tell of, but those of the next call will: they count as brought
                by that one. If it never comes, `delete_ahead` removes them.
            meta: kept as well.
        """
        with self.database.transaction(size=sum(batch.nbytes for batch in (*batches, *ahead))):
            self._keep_bad_rows(bad_rows)
            if batches or ahead:
                number = (self.meta("batch") or 0) + 1
                for part, brought_by in ((batches, number), (ahead, number + 1)):
                    if part:
                        with self._given(part):
                            self.database.execute(sql.APPEND, [brought_by])
                self._set_meta({"batch": number})
            if states:
                texts = [json.dumps(state) for state in states.values()]
                self.database.execute(sql.DELETE_PARTITIONS, [list(states)])
                self.database.execute(sql.INSERT_PARTITIONS, [list(states), texts])
            self._set_meta(meta)

    def delete_ahead(self) -> None:
        """Remove rows that are ahead of the states: before fetching goes on, which brings them again."""
        with self.database.transaction():
            self.database.execute(sql.DELETE_AHEAD, [self.meta("batch") or 0])

    def _given(self, batches: Sequence[Any]) -> AbstractContextManager[None]:
        return self.database.registered("given", pyarrow().Table.from_batches(list(batches)))

    def deduplicate(self, **meta: Any) -> int:
        """End the fetching: keep the latest row of each worklog alone. Return how many rows were removed.

        The latest is the one with the later ``updated_date``, else the one that was committed later.
        """
        with self.database.transaction():
            gone = self._number(sql.DEDUPLICATE)
            self.database.execute(sql.DELETE_GOOD_BAD_ROWS)
            self.database.execute(sql.view(self.tz, deduplicated=True))
            self.database.execute(sql.DELETE_ALL_PARTITIONS)
            self._set_meta({"state": "checking"} | meta)
        self.database.checkpoint()
        return gone

    def upsert(self, batch: Any | None, *, leaving: Sequence[str] = (), **meta: Any) -> ChangeCounts:
        """Add new worklogs and replace changed ones, in one transaction. Only after `deduplicate`.

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
                self._record("removed", leaving)
                self._touch(leaving)
                revision += ChangeCounts(removed=self._number(sql.DELETE, [list(leaving)]))
            self._set_meta(meta)
        return revision

    def _merge(self) -> ChangeCounts:
        self.database.execute(sql.CREATE_INCOMING)
        [(rows, differing, changed)] = self.database.rows(sql.COUNT_INCOMING)
        if revisions := self._revisions:
            self.database.execute(sql.TOUCH_INCOMING, [revisions[-1]] * 2)
        for statement in (
            *((sql.RECORD_INCOMING,) if self.records_changes else ()),
            sql.DELETE_TOMBSTONES,
            sql.DELETE_INCOMING_BAD_ROWS,
            sql.DELETE_OUTDATED,
            sql.INSERT_INCOMING,
            sql.DROP_INCOMING,
        ):
            self.database.execute(statement)
        return ChangeCounts(added=differing - changed, changed=changed, unchanged=rows - differing)

    def delete_with_tombstones(self, ids: Sequence[str], *, found: str | None) -> int:
        """Remove worklogs that the server no longer has, and keep each as a tombstone. Return how many were here.

        Args:
            ids: their ids; those that are not here are passed over.
            found: when that was noticed, by the server's clock, as ISO 8601 text.
        """
        with self.database.transaction():
            self._record("deleted", ids)
            self._touch(ids)
            self.database.execute(sql.INSERT_TOMBSTONES, [found, list(ids)])
            self.database.execute(sql.DELETE_BAD_ROWS, [list(ids)])
            return self._number(sql.DELETE, [list(ids)])

    @property
    def records_changes(self) -> bool:
        """Return whether each change of a worklog is recorded, for `changes`."""
        return bool(self.meta("records_changes"))

    def record_changes(self) -> None:
        """Record every change from here on, together with it, in the same transaction."""
        self.set_meta(records_changes=True)

    def _record(self, kind: str, ids: Sequence[str]) -> None:
        if self.records_changes:
            self.database.execute(sql.RECORD_ROWS, [kind, list(ids)])

    def changes(self, most: int, columns: Sequence[str] = NAMES) -> list[tuple[Any, ...]]:
        """Return the first changes that are recorded, at most so many, in order.

        Each is a number, a kind, and the worklog's cells as in a text format. The kind is ``"created"``, ``"updated"``,
        ``"removed"`` (it left the request) or ``"deleted"``, and the worklog of these two is as it was last.
        """
        return self.database.rows(sql.get_changes(columns, self.tz), [most])

    def count_changes(self) -> int:
        """Return how many changes are recorded."""
        return self._number(sql.COUNT_CHANGES)

    def forget_changes(self, number: int) -> None:
        """Remove the changes up to this number: they have been handed on."""
        with self.database.transaction():
            self.database.execute(sql.DELETE_CHANGES, [number])

    @property
    def _revisions(self) -> list[str]:
        revisions: list[str] = self.meta("revisions") or []
        return revisions

    def new_revision(self) -> str:
        """Return a new name, which nothing else has, for the worklogs as they are now; `touched_since` takes it."""
        kept = [*self._revisions, secrets.token_hex(16)][-_REVISIONS:]
        with self.database.transaction():
            self._set_meta({"revisions": kept})
            self.database.execute(sql.FORGET_TOUCHED, [kept])
        return kept[-1]

    def touched_since(self, revision: str) -> Any | None:
        """Return the ids of all worklogs that were added, changed or removed since a revision.

        An Arrow table with the column ``id``. None: the revision is not one of the last `_REVISIONS` of this store: it
        is another store's, or one that is younger than the backup which this store was restored from, or too old.
        """
        revisions = self._revisions
        if revision not in revisions:
            return None
        return self.database.arrow(sql.GET_TOUCHED, [revisions[revisions.index(revision) :]])

    def _touch(self, ids: Sequence[str]) -> None:
        if revisions := self._revisions:
            self.database.execute(sql.TOUCH, [revisions[-1], list(ids), revisions[-1]])

    def keep_bad_rows(self, rows: Sequence[BadRow]) -> None:
        """Keep rows that cannot be read, each once. A worklog that is among them is no longer one of the others."""
        with self.database.transaction():
            self._keep_bad_rows(rows)

    def _keep_bad_rows(self, rows: Sequence[BadRow]) -> None:
        if rows:
            kept = {bad.key: bad for bad in rows}
            cells = [
                [*kept],
                [bad.id for bad in kept.values()],
                [bad.error.json_path for bad in kept.values()],
                [bad.error.message for bad in kept.values()],
                [bad.row.decode() for bad in kept.values()],
            ]
            self.database.execute(sql.DELETE_BAD_ROWS, [[*kept]])
            self.database.execute(sql.INSERT_BAD_ROWS, cells)
            self.database.execute(sql.DELETE, [[bad.id for bad in kept.values() if bad.id is not None]])

    def bad_rows(self) -> list[BadRow]:
        """Return the rows that cannot be read, in the order of their keys; without their dates."""
        return [
            BadRow(row=row.encode(), error=MalformedResponseError(reason, json_path=path, worklog_id=id_))
            for id_, path, reason, row in self.database.rows(sql.GET_BAD_ROWS)
        ]

    def count_bad_rows(self) -> int:
        """Return how many rows cannot be read."""
        return self._number(sql.COUNT_BAD_ROWS)

    def other_bad_rows(self, keys: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return the bad rows that are not among these keys: the ids of those that have one, the keys of the others."""
        found = self.database.rows(sql.GET_OTHER_BAD_ROWS, [list(keys)])
        return [id_ for _, id_ in found if id_ is not None], [key for key, id_ in found if id_ is None]

    def forget_bad_rows(self, keys: Sequence[str]) -> None:
        """Remove bad rows by their keys."""
        with self.database.transaction():
            self._touch(keys)  # those that are ids
            self.database.execute(sql.DELETE_BAD_ROWS, [list(keys)])

    def days(self) -> list[Day]:
        """Return each UTC day that has worklogs, in ascending order, and how many. Only after `deduplicate`."""
        return [(day, count) for day, count in self.database.rows(sql.BY_DAY)]

    def clear_marks(self) -> None:
        """Mark nothing: `upsert_and_mark` marks ids from here on."""
        self.database.execute(sql.CREATE_MARKED)

    def upsert_and_mark(self, batch: Any) -> ChangeCounts:
        """Do the same as `upsert`, and mark the ids."""
        with self.database.transaction(), self._given([batch]):
            self.database.execute(sql.INSERT_MARKED)
            return self._merge()

    def unmarked(self, since: dt.datetime | None, until: dt.datetime | None) -> list[str]:
        """Return the ids of worklogs of these dates (inclusive; None: unbounded) that are not marked."""
        bounds = [(bound or other).isoformat() for bound, other in ((since, _EARLIEST), (until, _LATEST))]
        return [id_ for (id_,) in self.database.rows(sql.GET_UNMARKED, bounds)]

    def unseen_users(self, ids: Sequence[str]) -> list[tuple[str | None, int]]:
        """Return the users of these worklogs who have none that is marked, and how many of these each has."""
        return [(user, count) for user, count in self.database.rows(sql.COUNT_UNSEEN_USERS, [list(ids)])]

    def others_of(self, user: str | None, ids: Sequence[str], *, most: int) -> list[str]:
        """Return the ids of other worklogs of a user than these, the latest first."""
        return [id_ for (id_,) in self.database.rows(sql.GET_OTHERS_OF, [user, list(ids), most])]


def _first_meta(request: ExportRequest | None) -> tuple[Statement, ...]:
    if request is None:
        return ()
    meta = {"schema_version": SCHEMA_VERSION, "request": request.to_json(), "state": "fetching"}
    return tuple((sql.INSERT_META, (name, json.dumps(value))) for name, value in meta.items())


def _refused(message: str) -> StoreError:
    return StoreError(message, hint="Name another file, or move this one away to start over")


def store_beside(target: Path) -> Path:
    """Return the path of the store of an export to files, which is beside the first."""
    return beside(target, ".resume")


async def open_store(path: str | Path, *, request: ExportRequest | None) -> Store:
    """Open the store in a thread; the caller has to close it. A cancellation leaves none open and locked.

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
    """A thread for blocking work, one piece after the other; an async context manager that ends it.

    The event loop stays free, and no piece of work is left half done.
    """

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
        """Do the work in the thread and return its result.

        A cancellation does not interrupt the work: it is raised after the work has ended.
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
