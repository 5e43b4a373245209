"""Reading the records of an input file, numbered by the lines on which they begin, from 1.

Every format becomes rows of named values (`Rows`); what the columns mean and how their values are read is the same for
all. A line that cannot be used becomes a `BadLine` and reading goes on, so that whoever has to mend the file learns
everything at once. Cells of text are read in the one notation that the whole file allows: it is looked for in a pass
over the file before the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec

from tracket_async.export import formats
from tracket_async.importer.columns import ATTRIBUTES, HOURS, check_mapped, column_attributes
from tracket_async.importer.csv_file import NOT_TEXT, csv_rows
from tracket_async.importer.records import BadLine, CheckHeader, InputFormat, ReadOptions, Record, Rows
from tracket_async.importer.sheet_file import sheet_rows
from tracket_async.importer.source import UTF_8, InputSource
from tracket_async.importer.table_file import duckdb_rows, parquet_rows
from tracket_async.importer.values import IDS, Notation, RepairedIds, Survey, ValueReader, ValueReaders, value_readers

_MOST_HEADERS: Final = 1000
"""Sets of names of JSON objects that are remembered."""


def format_of(name: str) -> InputFormat | None:
    """Return the format that the ending of a file's name says; None: it says none."""
    path = Path(name)
    return "csv" if ".tsv" in map(str.lower, path.suffixes[-2:]) else formats.format_of(path)


@attrs.frozen(kw_only=True)
class _Format:
    """One format.

    Attributes:
        rows: returns the rows of a source.
        empty_is_missing: an empty cell says nothing; otherwise it is an empty text.
        surveyed: numbers and dates may be text in any notation.
        escaped: an apostrophe may stand before what looks like a formula.
        typed_cells: text may have become a number when it was typed into its cell.
    """

    rows: Callable[[InputSource, ReadOptions, CheckHeader], Rows]
    empty_is_missing: bool = False
    surveyed: bool = False
    escaped: bool = False
    typed_cells: bool = False


_Plan = tuple[tuple[str | None, str, ValueReader | None], ...]
"""Of each column of a row: its attribute (None: to skip), the one that its value is put in, and who reads it (None:
only the server sets it)."""


class RecordReader:
    """The records of a file, which can be read more than once.

    Args:
        source: its bytes.
        options: how to read them.

    Attributes:
        repaired: the ids, of the rows read since `records` was called, that were floats.
    """

    def __init__(self, source: InputSource, options: ReadOptions) -> None:
        self.repaired = RepairedIds()
        self._source = source
        self._options = options
        self._format = _FORMATS[options.format]
        self._as_documented = False
        self._readers: ValueReaders | None = None

    def records(self) -> Iterator[Record | BadLine]:
        """Yield the records in their order.

        Raises:
            StoreError: the file was changed since it was opened.
            UsageError: it cannot be read at all, or can be read in two ways.
        """
        if self._readers is None:
            escaped = self._format.escaped and not self._options.raw
            self._readers = value_readers(
                self._notation(), self.repaired, escaped=escaped, typed_cells=self._format.typed_cells
            )
        self.repaired.count = 0
        plans: dict[tuple[str, ...], _Plan] = {}
        for row in self._rows():
            if isinstance(row, BadLine):
                yield row
                continue
            line, values = row
            names = tuple(values)
            try:
                if names not in plans:
                    if len(plans) >= _MOST_HEADERS:
                        plans.clear()
                    plans[names] = self._plan(names, self._readers)
                yield self._record(line, plans[names], values.values())
            except ValueError as error:
                yield BadLine(line, str(error))

    def _rows(self) -> Rows:
        return self._format.rows(self._source, self._options, self._check_header)

    def _check_header(self, names: list[str], *, comma_separated: bool = False) -> None:
        self._attributes(names)
        check_mapped(names, self._options.mapping)
        self._as_documented = comma_separated and all(name in ATTRIBUTES for name in names)

    def _attributes(self, names: Iterable[str]) -> list[str | None]:
        return column_attributes([*names], mapping=self._options.mapping, only_id=self._options.only_id)

    def _plan(self, names: Iterable[str], readers: ValueReaders) -> _Plan:
        return tuple(
            (name, HOURS.get(name or "", name or ""), readers.get(name or "")) for name in self._attributes(names)
        )

    def _record(self, line: int, plan: _Plan, values: Iterable[Any]) -> Record:
        kept: dict[str, Any] = {}
        ignored: set[str] = set()
        empty_is_missing = self._format.empty_is_missing
        for (name, target, read), value in zip(plan, values, strict=True):
            if name is None or (empty_is_missing and value == ""):
                continue
            if read is not None:
                kept[target] = None if value is None else read(name, value)
            elif value is not None:
                ignored.add(name)
        return Record(line, kept, frozenset(ignored))

    def _notation(self) -> Notation:
        options = self._options
        if not self._format.surveyed or options.only_id:
            return Notation(decimal=options.decimal or ".", date_order=options.date_format)
        survey: Survey | None = None
        attributes: dict[tuple[str, ...], list[str | None]] = {}
        for row in self._rows():
            if isinstance(row, BadLine):
                continue
            line, values = row
            if survey is None:
                survey = Survey(options.decimal, options.date_format, as_documented=self._as_documented)
            names = tuple(values)
            if names not in attributes:
                attributes[names] = self._attributes(names)
            for name, value in zip(attributes[names], values.values(), strict=True):
                if name is not None:
                    survey.add(line, name, value)
        return Notation() if survey is None else survey.notation()


def _ndjson(source: InputSource, options: ReadOptions, _check_header: CheckHeader) -> Rows:
    ids: dict[str, bool] = {}
    for number, line in enumerate(_lines(source, options), start=1):
        if not line.strip():
            continue
        try:
            found = _object(line)
            for name in [name for name, value in found.items() if type(value) is float]:
                if name not in ids:
                    ids[name] = _is_id(name, options)
                if ids[name]:  # as it is written, because an exponent tells that digits are lost
                    found[name] = _decode_exactly(line)[name]
            yield number, found
        except RecursionError:
            yield BadLine(number, "it is nested too deeply")
        except UnicodeDecodeError:
            yield BadLine(number, NOT_TEXT)
        except msgspec.DecodeError as error:
            yield BadLine(number, f"it is not JSON: {error}")
        except ValueError as error:
            yield BadLine(number, str(error))


_decode_exactly: Final = msgspec.json.Decoder(dict[str, Any], float_hook=str).decode


def _object(line: bytes) -> dict[str, Any]:
    content: dict[str, Any] | list[Any] | str | float | bool | None = msgspec.json.decode(line)
    if isinstance(content, dict):
        return content
    raise ValueError('it must be a JSON object, such as {"id": "wl-1", "minutes": 90}')


def _is_id(name: str, options: ReadOptions) -> bool:
    try:
        return column_attributes([name], mapping=options.mapping)[0] in IDS
    except ValueError:
        return False


def _ids(source: InputSource, options: ReadOptions, _check_header: CheckHeader) -> Rows:
    for number, line in enumerate(_lines(source, options), start=1):
        try:
            text = line.decode().strip(" \t\r\n")
        except UnicodeDecodeError:
            yield BadLine(number, NOT_TEXT)
            continue
        if text:
            yield number, {"id": text}


def _csv(source: InputSource, options: ReadOptions, check_header: CheckHeader) -> Rows:
    return csv_rows(lambda: _lines(source, options), options.delimiter, check_header)


def _xlsx(source: InputSource, options: ReadOptions, check_header: CheckHeader) -> Rows:
    return sheet_rows(source, options.sheet, check_header)


def _lines(source: InputSource, options: ReadOptions) -> Iterator[bytes]:
    source.refuse_binary()
    return source.lines(source.detect_encoding() or options.encoding or UTF_8)


_FORMATS: Final[Mapping[InputFormat, _Format]] = {
    "ndjson": _Format(rows=_ndjson),
    "csv": _Format(rows=_csv, empty_is_missing=True, surveyed=True, escaped=True),
    "parquet": _Format(rows=lambda source, _, check_header: parquet_rows(source, check_header), surveyed=True),
    "duckdb": _Format(rows=lambda source, _, check_header: duckdb_rows(source, check_header), surveyed=True),
    "xlsx": _Format(rows=_xlsx, empty_is_missing=True, surveyed=True, typed_cells=True),
    "ids": _Format(rows=_ids),
}
