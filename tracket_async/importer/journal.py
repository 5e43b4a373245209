"""The journal of an import: one JSON object a line, in the order of the events.

The first line says what the journal is of (`JournalHeader`); every other one is a `JournalEntry`. One rule makes an
import crash safe: the entry that says that a row is about to be sent is on the disk before the row leaves this process.
So whatever ends the process, a row without an entry was not sent, and a row whose outcome is missing is known to be
unresolved: it may have been created.

    nothing -> sent -> ok | failed | ambiguous        failed, ambiguous -> sent        sent, ambiguous -> ok

`RowStates` has the state of every row, read from the entries: one byte a line, and a `FirstSend` for each unresolved
row. Only one process has a journal open. A line that a killed process left unfinished is cut off.
"""

from __future__ import annotations

import collections
import datetime as dt
import enum
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

import attrs
import msgspec

from tracket_async._files import DurableAppender, FileLock, refuse_link, storage_errors, sync_folder
from tracket_async.errors import StoreError


class RowState(enum.IntEnum):
    """How far a row has come."""

    NOTHING = 0
    SENT = 1
    OK = 2
    FAILED = 3
    AMBIGUOUS = 4


UNRESOLVED: Final = frozenset({RowState.SENT, RowState.AMBIGUOUS})


class JournalEntry(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A line of the journal about a row: one of ``sent``, ``ok``, ``failed``, ``ambiguous`` is there.

    Attributes:
        line: of the file that is imported.
        sent: when it was about to be sent, by this machine's clock.
        clock: with ``sent``: seconds that the server's clock is ahead of this machine's; left out when unknown.
        ok: the id of the created worklog.
        failed: why it was certainly not created.
        ambiguous: why nobody knows whether it was created.
        candidates: with ``ambiguous``: ids of worklogs that could be the one.
    """

    line: int
    sent: dt.datetime | None = None
    clock: float | None = None
    ok: str | None = None
    failed: str | None = None
    ambiguous: str | None = None
    candidates: tuple[str, ...] = ()


@attrs.frozen
class FirstSend:
    """When a row was sent for the first time of those that are still in doubt; as in `JournalEntry`."""

    at: dt.datetime
    clock: float | None


class RowStates:
    """The states of all rows.

    Attributes:
        doubts: the rows that are in doubt, by their line.
        counts: how many rows are in each state, `RowState.NOTHING` not counted.
    """

    def __init__(self) -> None:
        self._states = bytearray()
        self.unresolved: dict[int, FirstSend] = {}
        self.counts: collections.Counter[RowState] = collections.Counter()

    def of(self, line: int) -> RowState:
        """The state of the row on that line."""
        return RowState(self._states[line]) if line < len(self._states) else RowState.NOTHING

    def take(self, entry: JournalEntry) -> None:
        """Go on by one entry."""
        line = entry.line
        if entry.sent is not None:
            self._become(line, RowState.SENT)
            self.unresolved.setdefault(line, FirstSend(entry.sent, entry.clock))
            return
        state = _outcome(entry)
        self._become(line, state)
        if state is not RowState.AMBIGUOUS:
            self.unresolved.pop(line, None)

    def _become(self, line: int, state: RowState) -> None:
        if line >= len(self._states):
            self._states.extend(bytes(max(line + 1 - len(self._states), len(self._states))))
        before = RowState(self._states[line])
        if before is not RowState.NOTHING:
            self.counts[before] -= 1
        self.counts[state] += 1
        self._states[line] = state


def _outcome(entry: JournalEntry) -> RowState:
    if entry.ok is not None:
        return RowState.OK
    return RowState.FAILED if entry.failed is not None else RowState.AMBIGUOUS


SUFFIX: Final = ".tracket-journal"
SCHEMA: Final = 1

_PRIVATE: Final = 0o600
_FLAGS: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class JournalHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal is of; another import than that cannot go on with it.

    Attributes:
        size, sha256: of the file, as in `Fingerprint`.
        format, raw: how it is read.
        api, base_url: where its rows go.
        account: whose they are; None: not known, and taken to be any.
        schema: of the journal itself.
    """

    size: int
    sha256: str
    format: str
    raw: bool
    api: str
    base_url: str
    account: str | None = None
    schema: int = SCHEMA
    journal: str = "tracket import"


_FACTS: Final = (
    (("size", "sha256"), "the file was changed since"),
    (("format", "raw"), "the file was read in another way (--format, --raw)"),
    (("api",), "it went to another version of the API"),
    (("base_url",), "it went to another server"),
    (("account",), "it went to another account"),
    (("schema", "journal"), "it was written by another version of this program"),
)

_encode: Final = msgspec.json.Encoder().encode
_read_header: Final = msgspec.json.Decoder(JournalHeader).decode
_read_entry: Final = msgspec.json.Decoder(JournalEntry).decode


def journal_path(path: Path) -> Path:
    """Where the journal of a file is."""
    return path.with_name(path.name + SUFFIX)


def read_journal(path: Path, header: JournalHeader) -> RowStates:
    """What the journal at the path says; nothing when there is none. It is neither locked nor changed.

    Raises:
        StoreError: it is of something else, or damaged.
        StorageError: it cannot be read.
    """
    refuse_link(path)
    with storage_errors(path, "read"):
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        except FileNotFoundError:
            return RowStates()
        try:
            return _history(path, descriptor, header)[0]
        finally:
            os.close(descriptor)


class Journal:
    """A journal that is open for writing, from its construction to `close`.

    Args:
        path: the journal; made if it is not there, with mode 0600.
        header: what it is, or has to be, of.

    Attributes:
        history: the states of the rows, kept up to date.

    Raises:
        TargetBusyError: another process has it open; the message says which.
        StoreError: it is of something else, or damaged.
        StorageError: it cannot be written, or is a symbolic link.
    """

    history: RowStates

    def __init__(self, path: Path, header: JournalHeader) -> None:
        self.path = path
        self._lock = FileLock(path)
        with ExitStack() as failing:
            failing.callback(self._lock.close)
            refuse_link(path)
            with storage_errors(path, "write"):
                self._descriptor = os.open(path, _FLAGS, _PRIVATE)
                failing.callback(os.close, self._descriptor)
                self.history, size = _history(path, self._descriptor, header)
                os.ftruncate(self._descriptor, size)
                os.fchmod(self._descriptor, _PRIVATE)
                self._file = DurableAppender(path, self._descriptor, size)
                if not size:
                    self._file.append(_encode(header) + b"\n")
                    sync_folder(path.parent)
            failing.pop_all()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Bring it to the disk, close it, and let others have it.

        Raises:
            StorageError: it could not be brought to the disk.
        """
        try:
            await self._file.close()
        finally:
            self._lock.close()

    async def record_sent(self, line: int, at: dt.datetime, clock: float | None) -> None:
        """Take down that a row is about to be sent; returns when that is on the disk. See `JournalEntry`.

        Raises:
            StorageError: it cannot be: the row must not be sent.
        """
        self._append(JournalEntry(line=line, sent=at, clock=clock))
        await self._file.flush()

    def ok(self, line: int, created: str) -> None:
        """Take down the id of the worklog that was created for a row."""
        self._append(JournalEntry(line=line, ok=created))

    def failed(self, line: int, reason: str) -> None:
        """Take down that a row was certainly not created."""
        self._append(JournalEntry(line=line, failed=reason))

    def ambiguous(self, line: int, reason: str, candidates: Iterable[str] = ()) -> None:
        """Take down that nobody knows whether a row was created."""
        self._append(JournalEntry(line=line, ambiguous=reason, candidates=tuple(candidates)))

    def claimed(self, ids: Iterable[str]) -> set[str]:
        """Those of the ids that were created for a row of this journal. Reads it from the beginning."""
        wanted = set(ids)
        if not wanted:
            return set()
        with storage_errors(self.path, "read"):
            entries = (_entry(line) for _, line, _ in _lines(self._descriptor) if line.startswith(b'{"line":'))
            return {entry.ok for entry in entries if entry.ok is not None and entry.ok in wanted}

    def _append(self, entry: JournalEntry) -> None:
        self._file.append(_encode(entry) + b"\n")
        self.history.take(entry)


def _history(path: Path, descriptor: int, header: JournalHeader) -> tuple[RowStates, int]:
    """The states, and how much of the file stays: nothing of an unfinished line, or of an import that sent nothing."""
    history = RowStates()
    found, whole, entries = header, 0, 0
    for number, line, end in _lines(descriptor):
        if not line.endswith(b"\n"):
            if number == 1 and not _encode(header).startswith(line):
                raise _unusable(path, number)  # anybody's file, and not what a killed import had begun to write
            break
        try:
            if number == 1:
                found = _read_header(line)
            else:
                if not entries:
                    _compare(path, found, header)
                history.take(_entry(line))
                entries += 1
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise _unusable(path, number) from None
        whole = end
    return history, whole if entries or found == header else 0


def _lines(descriptor: int) -> Iterator[tuple[int, bytes, int]]:
    """Number, line and where it ends, of each line."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(0)
        end = 0
        for number, line in enumerate(file, start=1):
            end += len(line)
            yield number, line, end


def _entry(line: bytes) -> JournalEntry:
    return _read_entry(line)


def _compare(path: Path, found: JournalHeader, wanted: JournalHeader) -> None:
    if None in {found.account, wanted.account}:
        wanted = msgspec.structs.replace(wanted, account=found.account)
    for names, what in _FACTS:
        if any(getattr(found, name) != getattr(wanted, name) for name in names):
            raise StoreError(
                f"{path} is the journal of another import: {what}",
                hint="Go on as it was begun, or give this import a journal of its own with --journal",
            )


def _unusable(path: Path, number: int) -> StoreError:
    if number == 1:
        return StoreError(f"{path} is not a journal of tracket import", hint="Give another place with --journal")
    return StoreError(
        f"{path} is damaged at line {number}, so nobody knows which rows were sent",
        hint="Compare the file with what the server has before you import what is missing from a file of its own",
    )
