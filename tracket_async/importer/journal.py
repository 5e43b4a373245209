"""The journal of an import: one JSON object a line, in the order of the events.

The first line says what the journal is of (`JournalHeader`); every other one is a `JournalEntry`, or a `FileRevision`.
One rule makes an import crash safe: the entry that says that a row is about to be sent is on the disk before the row
leaves this process. So whatever ends the process, a row without an entry was not sent, and a row whose outcome is
missing is known to be unresolved: it may have been created.

    not sent -> sent -> created | failed | ambiguous | not sent
    failed, ambiguous -> sent                         ambiguous -> created

`RowStates` has the state of every row, read from the entries: one byte a line, and a `FirstSend` for each unresolved
row. Only one process has a journal open. A line that a killed process left unfinished is cut off.

The file may be changed between two runs, to correct what failed. A row is known again by what it sends, wherever it
stands; of equal rows, as many are known as there were. Where other rows are in the file too, each row that was created,
or may have been, has to be there as it was: else one of the others could be that row, edited, and be created twice.
"""

from __future__ import annotations

import collections
import datetime as dt
import enum
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

import attrs
import msgspec

from tracket_async._files import DurableAppender, FileLock, beside, fsync_folder, refuse_link, storage_errors
from tracket_async._platform import FLAGS, PLATFORM
from tracket_async.errors import StoreError


class RowState(enum.IntEnum):
    """The state of a row of the file."""

    NOT_SENT = 0
    SENT = 1
    CREATED = 2
    FAILED = 3
    AMBIGUOUS = 4


UNRESOLVED: Final = frozenset({RowState.SENT, RowState.AMBIGUOUS})
"""The states of a row that may have been created."""


class JournalEntry(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A line of the journal about a row: one of ``sent_at`` and the four outcomes is there.

    Attributes:
        line: the line of the row in the file that is imported.
        sent_at: when the row was about to be sent, by this machine's clock.
        clock_offset: with ``sent_at``: seconds that the server's clock is ahead of this machine's; left out when
            unknown.
        content: with ``sent_at``: a digest of what is sent.
        created_id: the id of the worklog that was created.
        failed: why the row was certainly not created.
        not_sent: why the row was not sent after all.
        ambiguous: why nobody knows whether the row was created.
        candidates: with ``ambiguous``: ids of worklogs that could be the created one.
    """

    line: int
    sent_at: dt.datetime | None = None
    clock_offset: float | None = None
    content: str | None = None
    created_id: str | None = None
    failed: str | None = None
    not_sent: str | None = None
    ambiguous: str | None = None
    candidates: tuple[str, ...] = ()


@attrs.frozen
class FirstSend:
    """The first sending of an unresolved row; as in `JournalEntry`."""

    at: dt.datetime
    clock_offset: float | None


Move = tuple[int, int, int]
"""Rows that follow each other: the line of the first one before, its line now, and their number. A row that the file no
longer has is known by a number below 0, and stays known: it may come back, and must not be sent again then."""
Contents = Callable[[], Iterable[tuple[int, str]]]
"""Returns the line of each row of the file, and the digest of what it sends, in their order."""


class RowStates:
    """The states of all rows, by their line: ``states[line]``.

    Attributes:
        unresolved: the rows that may have been created, by their line.
        counts: the number of rows in each state, `RowState.NOT_SENT` not counted.
        removed: the rows that were created, or may have been, and are no longer in the file since it was last read, as
            text; empty: there are none.
    """

    def __init__(self) -> None:
        self.removed = ""
        self._states = bytearray()
        self._gone: dict[int, tuple[RowState, FirstSend | None]] = {}
        self.unresolved: dict[int, FirstSend] = {}
        self.counts: collections.Counter[RowState] = collections.Counter()

    def __getitem__(self, line: int) -> RowState:
        if line < 0:
            return self._gone[line][0]
        return RowState(self._states[line]) if line < len(self._states) else RowState.NOT_SENT

    def apply(self, entry: JournalEntry) -> None:
        """Update the state of the entry's row."""
        line = entry.line
        if entry.sent_at is not None:
            self._set(line, RowState.SENT)
            self.unresolved.setdefault(line, FirstSend(entry.sent_at, entry.clock_offset))
            return
        state = _outcome(entry)
        self._set(line, state)
        if state is not RowState.AMBIGUOUS:
            self.unresolved.pop(line, None)

    def move(self, moved: Iterable[Move]) -> None:
        """Take the states of the rows of a file that was changed; those that are not named have none."""
        before, unresolved, gone = self._states, self.unresolved, self._gone
        self._states, self.unresolved, self._gone = bytearray(), {}, {}
        self.counts.clear()
        for old, new, count in moved:
            for at in range(count):
                row = old + at
                state, first = gone[row] if row < 0 else (RowState(before[row]), unresolved.get(row))
                if new < 0:
                    self._gone[new + at] = state, first
                    continue
                self._set(new + at, state)
                if first is not None:
                    self.unresolved[new + at] = first

    def _set(self, line: int, state: RowState) -> None:
        if line >= len(self._states):
            self._states.extend(bytes(max(line + 1 - len(self._states), len(self._states))))
        before = RowState(self._states[line])
        if before is not RowState.NOT_SENT:
            self.counts[before] -= 1
        if state is not RowState.NOT_SENT:
            self.counts[state] += 1
        self._states[line] = state


def _outcome(entry: JournalEntry) -> RowState:
    if entry.created_id is not None:
        return RowState.CREATED
    if entry.failed is not None:
        return RowState.FAILED
    return RowState.NOT_SENT if entry.not_sent is not None else RowState.AMBIGUOUS


SUFFIX: Final = ".tracket-journal"
SCHEMA: Final = 1

_PRIVATE: Final = 0o600


class JournalHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a journal: the import that it is of. Another import cannot go on with it.

    Attributes:
        size, sha256: of the file, as in `Fingerprint`.
        format, raw: how the file is read, as in `ReadOptions`.
        reading: the other options for reading it, as text; empty: none.
        api, base_url: where the rows go.
        account: whose they are; None: not known, and taken to be any.
        schema: the version of the journal's own format.
    """

    size: int
    sha256: str
    format: str
    raw: bool
    api: str
    base_url: str
    account: str | None = None
    reading: str = ""
    schema: int = SCHEMA
    journal: str = "tracket import"


class FileRevision(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the journal: the file was changed, or is read in another way. From here on, lines are those of it now.

    Attributes:
        moved: where the rows that are known stand now; see `Move`.
        size, sha256, format, raw, reading: as in `JournalHeader`.
    """

    moved: list[Move]
    size: int
    sha256: str
    format: str
    raw: bool
    reading: str


_OF_FILE: Final = (
    (("size", "sha256"), "the file was changed since"),
    (("format", "raw", "reading"), "the file was read in another way (--format, --raw, --map, ...)"),
)
_DIFFERENCES: Final = (
    (("api",), "it went to another version of the API"),
    (("base_url",), "it went to another server"),
    (("account",), "it went to another account"),
    (("schema", "journal"), "it was written by another version of this program"),
)

_encode: Final = msgspec.json.Encoder().encode
_decode_header: Final = msgspec.json.Decoder(JournalHeader).decode
_decode_entry: Final = msgspec.json.Decoder(JournalEntry).decode
_decode_revision: Final = msgspec.json.Decoder(FileRevision).decode
_REVISION: Final = b'{"moved":'


def journal_path(path: Path) -> Path:
    """Return the path of a file's journal, which is in the same folder."""
    return beside(path, SUFFIX)


def read_journal(path: Path, header: JournalHeader, contents: Contents | None = None) -> RowStates:
    """Return the states of the rows in a journal, neither locking nor changing it; no states when there is no journal.

    Args:
        path: the journal.
        header: as in `Journal`.
        contents: as in `Journal`.

    Raises:
        StoreError: it is the journal of another import, or damaged.
        StorageError: it cannot be read.
    """
    refuse_link(path)
    with storage_errors(path, "read"):
        try:
            descriptor = os.open(path, FLAGS & ~(os.O_RDWR | os.O_CREAT))
        except FileNotFoundError:
            return RowStates()
        try:
            return _read(path, descriptor, header, contents).states
        finally:
            os.close(descriptor)


class Journal:
    """A journal that is open for writing, from its construction to `close`.

    Args:
        path: the journal; made if it is not there, with mode 0600.
        header: the import that it is, or has to be, of.
        contents: the rows of the file, by which they are known if it was changed. None: then it is another import.

    Attributes:
        states: the states of the rows, kept up to date.

    Raises:
        TargetBusyError: another process has it open; the message says which.
        StoreError: it is the journal of another import, or damaged.
        StorageError: it cannot be written, or is a symbolic link.
    """

    states: RowStates

    def __init__(self, path: Path, header: JournalHeader, contents: Contents | None = None) -> None:
        self.path = path
        self._lock = FileLock(path)
        with ExitStack() as failing:
            failing.callback(self._lock.close)
            refuse_link(path)
            with storage_errors(path, "write"):
                self._descriptor = os.open(path, FLAGS, _PRIVATE)
                failing.callback(os.close, self._descriptor)
                found = _read(path, self._descriptor, header, contents)
                self.states, size = found.states, found.size
                os.ftruncate(self._descriptor, size)
                PLATFORM.make_private(self._descriptor, _PRIVATE)
                self._file = DurableAppender(path, self._descriptor, size)
                if not size:
                    self._file.append(_encode(header) + b"\n")
                    fsync_folder(path.parent)
                elif found.revision is not None:
                    self._file.append(_encode(found.revision) + b"\n")
            failing.pop_all()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Flush the journal to the disk, close it, and release its lock.

        Raises:
            StorageError: it could not be flushed.
        """
        try:
            await self._file.close()
        finally:
            self._lock.close()

    async def record_sent(
        self, line: int, at: dt.datetime, clock_offset: float | None, content: str | None = None
    ) -> None:
        """Record that a row is about to be sent, and return when that is on the disk. See `JournalEntry`.

        Raises:
            StorageError: it cannot be recorded: the row must not be sent.
        """
        self._append(JournalEntry(line=line, sent_at=at, clock_offset=clock_offset, content=content))
        await self._file.flush()

    def record_created(self, line: int, worklog_id: str) -> None:
        """Record the id of the worklog that was created for a row."""
        self._append(JournalEntry(line=line, created_id=worklog_id))

    def record_failed(self, line: int, reason: str) -> None:
        """Record that a row was certainly not created."""
        self._append(JournalEntry(line=line, failed=reason))

    def record_not_sent(self, line: int, reason: str) -> None:
        """Record that a row was not sent after all."""
        self._append(JournalEntry(line=line, not_sent=reason))

    def record_ambiguous(self, line: int, reason: str, candidates: Iterable[str] = ()) -> None:
        """Record that nobody knows whether a row was created."""
        self._append(JournalEntry(line=line, ambiguous=reason, candidates=tuple(candidates)))

    def created_among(self, ids: Iterable[str]) -> set[str]:
        """Read the journal from its beginning, and return those of the ids that were created for one of its rows."""
        wanted = set(ids)
        if not wanted:
            return set()
        with storage_errors(self.path, "read"):
            entries = (_decode_entry(line) for _, line, _ in _lines(self._descriptor) if _is_entry(line))
            return {
                entry.created_id for entry in entries if entry.created_id is not None and entry.created_id in wanted
            }

    def _append(self, entry: JournalEntry) -> None:
        self._file.append(_encode(entry) + b"\n")
        self.states.apply(entry)


@attrs.frozen
class _Found:
    """The content of a journal.

    Attributes:
        states: of the rows, by their lines now.
        size: the bytes to keep: not an unfinished line, and nothing if no row was sent.
        revision: to be appended, because the file was changed.
    """

    states: RowStates
    size: int
    revision: FileRevision | None = None


def _read(path: Path, descriptor: int, header: JournalHeader, contents: Contents | None) -> _Found:
    """Return what a journal holds; raise as `Journal`."""
    states, size, found = _read_states(path, descriptor, header)
    if not size or (changed := _difference(found, header, _OF_FILE)) is None:
        return _Found(states, size)
    if contents is None:
        raise _another(path, changed)
    moved, missing = _match(path, _sent_rows(descriptor), states, contents, changed)
    states.move(moved)
    states.removed = _named(missing)
    return _Found(states, size, FileRevision(moved=moved, **_file_of(header)))


def _read_states(path: Path, descriptor: int, header: JournalHeader) -> tuple[RowStates, int, JournalHeader]:
    """Return the states, how many bytes to keep, and the header as it is after the last revision of the file."""
    states = RowStates()
    found, whole, entries = header, 0, 0
    for number, line, end in _lines(descriptor):
        if not line.endswith(b"\n"):
            if number == 1 and not _encode(header).startswith(line):
                raise _unusable(path, number)  # another file, and not what a killed import had begun to write
            break
        try:
            if number == 1:
                found = _decode_header(line)
            else:
                if not entries:
                    _check_same_import(path, found, header)
                if line.startswith(_REVISION):
                    revision = _decode_revision(line)
                    states.move(revision.moved)
                    found = msgspec.structs.replace(found, **_file_of(revision))
                else:
                    states.apply(_decode_entry(line))
                entries += 1
        except (msgspec.DecodeError, UnicodeDecodeError, LookupError):
            raise _unusable(path, number) from None
        whole = end
    return states, whole if entries or found == header else 0, found


def _file_of(header: JournalHeader | FileRevision) -> dict[str, Any]:
    return {name: getattr(header, name) for names, _ in _OF_FILE for name in names}


# -- a file that was changed -------------------------------------------------------------------------------------------


@attrs.define
class _SentRow:
    """A row that was sent: the digest of what it sends, and the id of the worklog that was created."""

    content: str | None
    created_id: str | None = None


def _sent_rows(descriptor: int) -> dict[int, _SentRow]:
    """Return the rows that were sent, by their line, from a journal without damage."""
    rows: dict[int, _SentRow] = {}
    for number, line, _ in _lines(descriptor):
        if number == 1 or not line.endswith(b"\n"):
            continue
        if line.startswith(_REVISION):
            moved = _decode_revision(line).moved
            rows = {new + at: rows[old + at] for old, new, count in moved for at in range(count) if old + at in rows}
            continue
        entry = _decode_entry(line)
        if entry.sent_at is not None:
            rows[entry.line] = _SentRow(entry.content)
        elif entry.created_id is not None and entry.line in rows:
            rows[entry.line].created_id = entry.created_id
    return rows


_Missing = Sequence[tuple[int, str | None]]
"""The line of each row that is missing, and the id of the worklog that was created, None where it may have been."""


def _match(
    path: Path, sent: Mapping[int, _SentRow], states: RowStates, contents: Contents, changed: str
) -> tuple[list[Move], _Missing]:
    """Return where the rows that were sent stand now, and which of them are missing although they may be created.

    Raises:
        StoreError: some that were created, or may have been, are not there, and other rows are.
    """
    known: dict[str | None, collections.deque[int]] = collections.defaultdict(collections.deque)
    for line in sorted(sent, key=lambda line: (states[line] is RowState.FAILED, line < 0, line)):
        if states[line] is not RowState.NOT_SENT:
            known[sent[line].content].append(line)
    places: dict[int, int] = {}
    others = 0
    for line, content in contents():
        if queue := known.get(content):
            places[queue.popleft()] = line
        else:
            others += 1
    left = sorted(line for queue in known.values() for line in queue if states[line] is not RowState.FAILED)
    missing = [(line, sent[line].created_id) for line in left if line > 0]
    if missing and others:
        raise _another(path, changed, missing)
    gone = [line for line in left if line < 0]
    lowest = min(gone, default=0) - len(missing)
    places |= {line: line for line in gone} | {line: lowest + at for at, (line, _) in enumerate(missing)}
    return _moves(places), missing


def _moves(places: Mapping[int, int]) -> list[Move]:
    moves: list[Move] = []
    for old, new in sorted(places.items()):
        if moves and (moves[-1][0] + moves[-1][2], moves[-1][1] + moves[-1][2]) == (old, new):
            first, now, count = moves.pop()
            moves.append((first, now, count + 1))
        else:
            moves.append((old, new, 1))
    return moves


_NAMED: Final = 5
"""So many rows that are missing are named."""


def _another(path: Path, difference: str, missing: _Missing = ()) -> StoreError:
    if not missing:
        return StoreError(
            f"{path} is the journal of another import: {difference}",
            hint="Go on as it was begun, or give this import a journal of its own with --journal",
        )
    return StoreError(
        f"{path} is the journal of another import: {difference}, and rows that were created are not in it as they were:"
        f" {_named(missing)}",
        hint="Put these rows back, and correct others alone; tracket update changes a worklog that was created. Other"
        " rows are an import of their own: give it a journal of its own with --journal",
    )


def _named(missing: _Missing) -> str:
    """Return the first rows by their lines before, and how many more there are; empty: there are none."""
    named = ", ".join(
        f"line {line} ({'it may have been created' if id is None else f'worklog {id}'})"
        for line, id in missing[:_NAMED]
    )
    return f"{named}, and {len(missing) - _NAMED:,} more" if len(missing) > _NAMED else named


def _lines(descriptor: int) -> Iterator[tuple[int, bytes, int]]:
    """Yield each line with its number and the offset of its end."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(0)
        end = 0
        for number, line in enumerate(file, start=1):
            end += len(line)
            yield number, line, end


def _is_entry(line: bytes) -> bool:
    """Return whether it is no header, and no line that is being written in this moment."""
    return line.startswith(b'{"line":') and line.endswith(b"\n")


def _check_same_import(path: Path, found: JournalHeader, wanted: JournalHeader) -> None:
    if None in {found.account, wanted.account}:
        wanted = msgspec.structs.replace(wanted, account=found.account)
    if (difference := _difference(found, wanted, _DIFFERENCES)) is not None:
        raise _another(path, difference)


def _difference(
    found: JournalHeader, wanted: JournalHeader, differences: Iterable[tuple[tuple[str, ...], str]]
) -> str | None:
    for names, difference in differences:
        if any(getattr(found, name) != getattr(wanted, name) for name in names):
            return difference
    return None


def _unusable(path: Path, number: int) -> StoreError:
    if number == 1:
        return StoreError(f"{path} is not a journal of tracket import", hint="Give another place with --journal")
    return StoreError(
        f"{path} is damaged at line {number}, so nobody knows which rows were sent",
        hint="Compare the file with what the server has before you import what is missing from a file of its own",
    )
