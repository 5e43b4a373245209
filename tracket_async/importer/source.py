"""The bytes of an input file, which can be read more than once and must not change in between.

Whoever reads again gets the same bytes or an error. Standard input and pipes, which can be read only once, are copied
to a temporary file first, and so is what a file contains whose name ends in ``.gz``. The copy has no name, belongs to
this user alone, and is gone with the process.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import hashlib
import io
import os
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self, TypeAlias, cast

import attrs

from tracket_async._files import storage_errors
from tracket_async.errors import StoreError, UsageError
from tracket_async.export.formats import is_gzip

File: TypeAlias = io.BufferedReader | io.BufferedRandom

STANDARD_INPUT: Final = "-"
UTF_8: Final = "utf-8"
MAX_LINE_BYTES: Final = 64 << 20
"""A worklog has a few hundred bytes, a long description some more. A longer line is not taken into memory."""
_CHUNK: Final = 1 << 16
_HEAD: Final = 12
_NOT_TEXT: Final = (
    (0, b"PK\x03\x04", "an Excel workbook: give --format xlsx"),
    (0, b"\xd0\xcf\x11\xe0", "a workbook of an old Excel: save it there as .xlsx or CSV"),
    (0, b"PAR1", "a Parquet file: give --format parquet"),
    (8, b"DUCK", "a DuckDB file: give --format duckdb"),
    (0, b"\x1f\x8b", "compressed with gzip: give it a name that ends in .gz, or decompress it"),
)
"""The place and the bytes by which files are known that are no text, whatever their names say."""
_MARKS: Final = (
    (codecs.BOM_UTF8, UTF_8),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@attrs.frozen(kw_only=True)
class Fingerprint:
    """The length of a content in bytes, and its SHA-256 in hexadecimal digits."""

    size: int
    sha256: str


class InputSource:
    """The bytes of a file, or of standard input for ``-``; open from its construction to `close`.

    Args:
        name: the path, or ``-``.

    Attributes:
        name: for messages.
        path: where the file really is, with links followed; None of a copy.

    Raises:
        UsageError: it cannot be read.
        StorageError: it cannot be copied, because the disk is full, say.
    """

    def __init__(self, name: str) -> None:
        self.name = "standard input" if name == STANDARD_INPUT else name
        self._file, self.path = _opened(name)
        self._seen = self._state()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it. A copy is gone then."""
        self._file.close()

    def detect_encoding(self) -> str | None:
        """Return the encoding that the first bytes show, None if they show none.

        That is one with a byte order mark, or UTF-16 whose first character is of ASCII.
        """
        head = self.rewound().read(_HEAD)
        for mark, encoding in _MARKS:
            if head.startswith(mark):
                return encoding
        if len(head) > 1 and (head[0] == 0) != (head[1] == 0):
            return "utf-16-le" if head[1] == 0 else "utf-16-be"
        return None

    def refuse_binary(self) -> None:
        """Check that the first bytes are not those of a file that is no text.

        Raises:
            UsageError: they are; the message says of which, and what to do.
        """
        head = self.rewound().read(_HEAD)
        for place, magic, what in _NOT_TEXT:
            if head[place:].startswith(magic):
                raise UsageError(f"{self.name} is no text but {what}")

    def lines(self, encoding: str = UTF_8) -> Iterator[bytes]:
        """Yield the lines in UTF-8 from the first on, each with its line break. One iteration at a time.

        A byte order mark is left out. Where the encoding is UTF-8, the bytes are as they are in the file, right or
        wrong.

        Raises:
            StoreError: the file was changed since it was opened.
            UsageError: a line is longer than `MAX_LINE_BYTES`, or the file cannot be read, or is not in the encoding.
        """
        self._file.seek(0)
        encoding = codecs.lookup(encoding).name
        if encoding == UTF_8:
            lines = self._byte_lines()
        elif "\r\n".encode(encoding) == b"\r\n":
            lines = self._transcoded(encoding)
        else:
            lines = self._wide_lines(encoding)
        for line in lines:
            yield line.removeprefix(codecs.BOM_UTF8)
            break
        yield from lines
        self.check()

    def _transcoded(self, encoding: str) -> Iterator[bytes]:
        for number, line in enumerate(self._byte_lines(), start=1):
            try:
                yield line.decode(encoding).encode()
            except UnicodeDecodeError:
                raise self._not_in(encoding, number) from None

    def _byte_lines(self) -> Iterator[bytes]:
        number = 0
        while line := self._read(self._file.readline, MAX_LINE_BYTES + 1):
            number += 1
            self._check_length(len(line), number)
            yield line

    def _wide_lines(self, encoding: str) -> Iterator[bytes]:
        """Yield the lines of a text whose line breaks are not the bytes of ASCII."""
        decoder, rest, number = codecs.getincrementaldecoder(encoding)(), "", 0
        while True:
            chunk = self._read(self._file.read, _CHUNK)
            try:
                rest += decoder.decode(chunk, not chunk)
            except UnicodeDecodeError:
                raise self._not_in(encoding, number + 1) from None
            *lines, rest = rest.split("\n")
            for line in lines:
                number += 1
                yield f"{line}\n".encode()
            if not chunk:
                break
            self._check_length(len(rest), number + 1)
        if rest:
            yield rest.encode()

    def fingerprint(self) -> Fingerprint:
        """Read all bytes and return their fingerprint.

        Raises:
            StoreError: the file was changed since it was opened.
        """
        digest = hashlib.file_digest(self.rewound(), "sha256")
        self.check()
        return Fingerprint(size=self._seen[0], sha256=digest.hexdigest())

    def _read(self, read: Callable[[int], bytes], size: int) -> bytes:
        try:
            found = read(size)
        except OSError as error:
            raise UsageError(f"{self.name} cannot be read: {error.strerror}") from None
        self.check()
        return found

    def _check_length(self, length: int, number: int) -> None:
        if length > MAX_LINE_BYTES:
            raise UsageError(
                f"Line {number} of {self.name} is longer than {MAX_LINE_BYTES:,} bytes, so it is no file of worklogs."
                " Give another file or --format"
            )

    def _not_in(self, encoding: str, number: int) -> UsageError:
        return UsageError(f"Line {number} of {self.name} is not {encoding} text. Give another --encoding")

    def rewound(self) -> File:
        """Return the file itself, at its beginning, for formats that are not read from front to back. Leave it open."""
        self._file.seek(0)
        return self._file

    def check(self) -> None:
        """Check that the file was not changed since it was opened.

        Raises:
            StoreError: it was.
        """
        # Cheap beside what is done with a line; whoever edits the file in an editor is seen before the next one.
        if self._state() != self._seen:
            raise StoreError(
                f"{self.name} was changed while it was being read", hint="Run the same again once nobody writes to it"
            )

    def _state(self) -> tuple[int, int]:
        found = os.fstat(self._file.fileno())
        return found.st_size, found.st_mtime_ns


def _opened(name: str) -> tuple[File, Path | None]:
    if name == STANDARD_INPUT:
        return _copied(sys.stdin.buffer, "standard input"), None
    path = Path(name)
    try:
        file = path.open("rb")
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}") from None
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return (_decompressed(file, name) if is_gzip(path) else file), path.resolve()
    with file:
        return _copied(file, name), None


def _decompressed(file: File, name: str) -> File:
    with file, gzip.GzipFile(fileobj=file) as content:
        return _copied(cast("IO[bytes]", content), name)


@contextlib.contextmanager
def _gzip_errors(name: str) -> Generator[None]:
    try:
        yield
    except EOFError:
        raise UsageError(f"{name} ends too early: a part of the gzip file is missing. Copy it here again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UsageError(f"{name} is not the gzip file that .gz promises: {error}") from None


def _copied(stream: IO[bytes], name: str) -> File:
    with storage_errors(Path(tempfile.gettempdir()), f"copy {name} to"):
        copy = tempfile.TemporaryFile(prefix="tracket-")  # noqa: SIM115 - closed by `Source.close`
        try:
            with _gzip_errors(name):
                shutil.copyfileobj(stream, copy)
            copy.flush()
        except BaseException:
            copy.close()
            raise
    return copy
