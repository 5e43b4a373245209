"""The records of an input file, numbered by the lines on which they begin, from 1.

Three formats are read: NDJSON, CSV, and one id a line. A line that cannot be used becomes a `BadLine` and reading goes
on, so that whoever has to mend the file learns everything at once.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Literal

import attrs
import msgspec

from tracket_async.importer.columns import (
    CSV_READERS,
    JSON_READERS,
    RAW_CSV_READERS,
    ValueReaders,
    column_attributes,
)

InputFormat = Literal["ndjson", "csv", "ids"]

FORMAT_OF_SUFFIX: Final[Mapping[str, InputFormat]] = {".ndjson": "ndjson", ".jsonl": "ndjson", ".csv": "csv"}

NOT_TEXT: Final = "it is not UTF-8 text; save the file as UTF-8"
_BOM: Final = b"\xef\xbb\xbf"


@attrs.frozen
class Record:
    """One record of the file.

    Attributes:
        line: the line on which it begins, from 1.
        values: attribute to value, of the id, the day and what can be set; None for a null of JSON. A date keeps the
            offset that is written in the file. An attribute that the file leaves out, or an empty cell of CSV, is
            missing.
        ignored: the attributes in it that only the server sets, the id not among them.
    """

    line: int
    values: dict[str, Any]
    ignored: frozenset[str] = frozenset()


@attrs.frozen
class BadLine:
    """A line that cannot be used, and the reason."""

    line: int
    reason: str


@attrs.frozen(kw_only=True)
class ReadOptions:
    """Options for reading a file.

    Attributes:
        format: ``"ndjson"``: an object a line; ``"csv"``: a header and then a record for each worklog (RFC 4180);
            ``"ids"``: an id a line. Empty lines do not count.
        raw: CSV only: an apostrophe before what looks like a formula belongs to the text.
        only_id: read nothing but the id.
    """

    format: InputFormat
    raw: bool = False
    only_id: bool = False


def read_records(lines: Iterable[bytes], options: ReadOptions) -> Iterator[Record | BadLine]:
    """Yield the records in their order.

    Args:
        lines: each with its line break, in UTF-8; a byte order mark may stand before the first.
        options: how to read them.
    """
    return _FORMATS[options.format](_without_mark(lines), options)


def _without_mark(lines: Iterable[bytes]) -> Iterator[bytes]:
    for number, line in enumerate(lines):
        yield line if number else line.removeprefix(_BOM)


def _ndjson(lines: Iterable[bytes], options: ReadOptions) -> Iterator[Record | BadLine]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found = _object(line)
            names = column_attributes(found, only_id=options.only_id)
            yield _record(number, zip(names, found.values(), strict=True), JSON_READERS)
        except RecursionError:
            yield BadLine(number, "it is nested too deeply")
        except UnicodeDecodeError:
            yield BadLine(number, NOT_TEXT)
        except msgspec.DecodeError as error:
            yield BadLine(number, f"it is not JSON: {error}")
        except ValueError as error:
            yield BadLine(number, str(error))


def _object(line: bytes) -> dict[str, Any]:
    content: dict[str, Any] | list[Any] | str | float | bool | None = msgspec.json.decode(line)
    if isinstance(content, dict):
        return content
    raise ValueError('it must be a JSON object, such as {"id": "wl-1", "minutes": 90}')


def _ids(lines: Iterable[bytes], _options: ReadOptions) -> Iterator[Record | BadLine]:
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode().strip()
        except UnicodeDecodeError:
            yield BadLine(number, NOT_TEXT)
            continue
        if text:
            yield Record(number, {"id": text})


class _Texts:
    """The lines as text: an iterator that goes on after it has raised, which a generator does not."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        try:
            return line.decode()
        except UnicodeDecodeError:
            raise ValueError(NOT_TEXT) from None


def _csv(lines: Iterable[bytes], options: ReadOptions) -> Iterator[Record | BadLine]:
    texts = _Texts(lines)
    rows = csv.reader(texts, strict=True)
    names: list[str | None] | None = None
    readers = RAW_CSV_READERS if options.raw else CSV_READERS
    while True:
        line = texts.number + 1
        try:
            cells = next(rows)
            if not cells:
                continue
            if names is None:
                names = column_attributes(cells, only_id=options.only_id)
                continue
            yield _record(line, _filled(names, cells), readers)
        except StopIteration:
            return
        except (csv.Error, ValueError) as error:
            if names is None:
                # Without a header, every line after it would only be one more complaint.
                yield BadLine(line, f"the header cannot be used: {error}")
                return
            yield BadLine(line, str(error))


def _filled(names: list[str | None], cells: list[str]) -> list[tuple[str | None, str]]:
    if len(cells) != len(names):
        raise ValueError(
            f"it has {len(cells)} cells and the header has {len(names)}; put a cell that contains a comma in quotes"
        )
    return [(name, cell) for name, cell in zip(names, cells, strict=True) if cell]


def _record(line: int, pairs: Iterable[tuple[str | None, Any]], readers: ValueReaders) -> Record:
    kept: dict[str, Any] = {}
    ignored: set[str] = set()
    for name, value in pairs:
        if name is None:
            continue
        if name in readers:
            kept[name] = None if value is None else readers[name](name, value)
        elif value is not None:
            ignored.add(name)
    return Record(line, kept, frozenset(ignored))


_FORMATS: Final[Mapping[InputFormat, Callable[[Iterable[bytes], ReadOptions], Iterator[Record | BadLine]]]] = {
    "ndjson": _ndjson,
    "csv": _csv,
    "ids": _ids,
}
