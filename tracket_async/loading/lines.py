"""From the lines of a file to numbered records: NDJSON, CSV, or one id a line. Pure: it is given the lines.

A line that cannot be read becomes a `BadLine` and the next one is read nevertheless, so that whoever has to mend the
file learns everything at once. A record has the number of the line on which it begins, counted from 1.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Literal

import attrs
import msgspec

from tracket_async.loading.names import attributes_of
from tracket_async.loading.values import FROM_CELLS, FROM_JSON, FROM_RAW_CELLS, Readers

Format = Literal["ndjson", "csv", "ids"]

SUFFIXES: Final[Mapping[str, Format]] = {".ndjson": "ndjson", ".jsonl": "ndjson", ".csv": "csv"}

NOT_TEXT: Final = "it is not UTF-8 text"
_BOM: Final = b"\xef\xbb\xbf"


@attrs.frozen
class Record:
    """One worklog of the file.

    Attributes:
        line: where it begins.
        values: attribute to value: the id and what can be set, None for a null of JSON. What the file does not say, an
            empty cell of CSV among it, is not in it.
        ignored: the attributes that it says and that only the server sets; without the id.
    """

    line: int
    values: dict[str, Any]
    ignored: frozenset[str] = frozenset()


@attrs.frozen
class BadLine:
    """A line that cannot be used, and why."""

    line: int
    reason: str


@attrs.frozen(kw_only=True)
class Layout:
    """How a file is read.

    Attributes:
        format: ``"ndjson"``: an object a line; ``"csv"``: a header and then a record for each worklog (RFC 4180);
            ``"ids"``: an id a line. Empty lines do not count.
        raw: CSV only: an apostrophe before what looks like a formula belongs to the text.
        only_id: nothing but the id is looked at.
    """

    format: Format
    raw: bool = False
    only_id: bool = False


def read(lines: Iterable[bytes], layout: Layout) -> Iterator[Record | BadLine]:
    """The records, in their order.

    Args:
        lines: each with its line break, in UTF-8; a byte order mark may stand before the first.
        layout: how.
    """
    return _FORMATS[layout.format](_without_mark(lines), layout)


def _without_mark(lines: Iterable[bytes]) -> Iterator[bytes]:
    for number, line in enumerate(lines):
        yield line if number else line.removeprefix(_BOM)


def _ndjson(lines: Iterable[bytes], layout: Layout) -> Iterator[Record | BadLine]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found = _object(line)
            names = attributes_of(found, only_id=layout.only_id)
            yield _record(number, zip(names, found.values(), strict=True), FROM_JSON)
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
    raise ValueError("it must be a JSON object")


def _ids(lines: Iterable[bytes], _layout: Layout) -> Iterator[Record | BadLine]:
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode().strip()
        except UnicodeDecodeError:
            yield BadLine(number, NOT_TEXT)
            continue
        if text:
            yield Record(number, {"id": text})


class _Texts:
    """The lines as text. An iterator that goes on after it has raised, which a generator does not."""

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


def _csv(lines: Iterable[bytes], layout: Layout) -> Iterator[Record | BadLine]:
    texts = _Texts(lines)
    rows = csv.reader(texts, strict=True)
    names: list[str | None] | None = None
    readers = FROM_RAW_CELLS if layout.raw else FROM_CELLS
    while True:
        line = texts.number + 1
        try:
            cells = next(rows)
            if not cells:
                continue
            if names is None:
                names = attributes_of(cells, only_id=layout.only_id)
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
        raise ValueError(f"it has {len(cells)} cells, and the header has {len(names)}")
    return [(name, cell) for name, cell in zip(names, cells, strict=True) if cell]


def _record(line: int, pairs: Iterable[tuple[str | None, Any]], readers: Readers) -> Record:
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


_FORMATS: Final[Mapping[Format, Callable[[Iterable[bytes], Layout], Iterator[Record | BadLine]]]] = {
    "ndjson": _ndjson,
    "csv": _csv,
    "ids": _ids,
}
