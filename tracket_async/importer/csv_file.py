"""Rows of CSV, as RFC 4180 describes it and as spreadsheets, pandas and time trackers write it.

The separator is the one of ``,`` ``;`` and tab at which the header falls apart into columns that are known, or the one
that a first line ``sep=;`` names. Empty rows and empty columns at the end count for nothing.

The parser is that of Python's standard library: it is maintained with Python, reads line by line, and says where a line
is wrong, which the faster ones of DuckDB and pyarrow do not without dropping or guessing something.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from tracket_async.errors import UsageError
from tracket_async.importer.records import BadLine, CheckHeader, Rows
from tracket_async.importer.source import MAX_LINE_BYTES

NOT_TEXT: Final = "it is not UTF-8 text; save the file as UTF-8, or give --encoding (cp1252 is Excel's on Windows)"

CANDIDATES: Final = (",", ";", "\t")
_WORDS: Final = {"\t": "tab"}
_SEP: Final = re.compile(rb'"?sep=([^\r\n])"?[\r\n]*')

_UNCLOSED: Final = "unexpected end of data"
"""What the parser says of it."""

Lines = Callable[[], Iterator[bytes]]
"""Return the lines of the file in UTF-8, from the first on."""


class _Texts:
    """The lines as text: an iterator that goes on after it has raised, which a generator does not."""

    def __init__(self, lines: Iterator[bytes], skipped: int) -> None:
        self._lines = islice(lines, skipped, None)
        self.number = skipped

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        try:
            return line.decode()
        except UnicodeDecodeError:
            raise ValueError(NOT_TEXT) from None


def csv_rows(lines: Lines, delimiter: str | None, check_header: CheckHeader) -> Rows:
    """Yield the rows, every cell as its text, "" where it is empty. A bad header is the only bad line.

    Args:
        lines: of the file.
        delimiter: None: to be found out.
        check_header: called with the names of the columns.
    """
    sep = _SEP.fullmatch(next(lines(), b""))
    skipped = 0 if sep is None else 1
    chosen = delimiter or (_delimiter(lines, skipped, check_header) if sep is None else sep[1].decode())
    if isinstance(chosen, BadLine):
        yield chosen
        return
    texts = _Texts(lines(), skipped)
    rows = csv.reader(texts, strict=True, delimiter=chosen)
    names: list[str] | None = None
    while True:
        line = texts.number + 1
        try:
            cells = _next(rows)
            if not any(map(str.strip, cells)):
                continue
            if names is None:
                header = _stripped(cells)
                check_header(header, comma_separated=chosen == ",")
                names = header
                continue
            yield line, _named(names, cells, chosen)
        except StopIteration:
            return
        except UsageError:  # the file cannot be read at all
            raise
        except (csv.Error, ValueError) as error:
            reason = str(error)
            if reason == _UNCLOSED:
                reason = "a quote that opens here is never closed"
            if names is None:
                # Without a header, every line after it would only be one more complaint.
                yield BadLine(line, f"the header cannot be used: {reason}")
                return
            yield BadLine(line, reason)


def _stripped(cells: list[str]) -> list[str]:
    """Return the names of a header, without the empty ones at its end."""
    names = [cell.strip() for cell in cells]
    while not names[-1]:
        names.pop()
    return names


def _next(rows: Iterator[list[str]]) -> list[str]:
    # The limit belongs to the whole process: it is raised for this one row.
    limit = csv.field_size_limit(MAX_LINE_BYTES)
    try:
        return next(rows)
    finally:
        csv.field_size_limit(limit)


def _named(names: list[str], cells: list[str], delimiter: str) -> dict[str, str]:
    if len(cells) < len(names) or any(map(str.strip, cells[len(names) :])):
        raise ValueError(
            f"it has {len(cells)} cells and the header has {len(names)}; put a cell that contains"
            f" {_WORDS.get(delimiter, delimiter)!r} in quotes"
        )
    row = dict(zip(names, cells, strict=False))
    if "" in row:
        nameless = (cell for name, cell in zip(names, cells, strict=False) if not name and cell.strip())
        row[""] = next(nameless, "")
    return row


def _delimiter(lines: Lines, skipped: int, check_header: CheckHeader) -> str | BadLine:
    """Return the separator at which the header falls apart; a comma where it has one column."""
    headers = {candidate: _header(lines, skipped, candidate) for candidate in CANDIDATES}
    split = [candidate for candidate, (_, names) in headers.items() if len(names) > 1]
    if len(split) > 1:
        known = [candidate for candidate in split if _is_known(headers[candidate][1], check_header)]
        if len(known) != 1:
            several = " or ".join(repr(_WORDS.get(candidate, candidate)) for candidate in known or split)
            line = headers[split[0]][0]
            return BadLine(
                line, f"the header cannot be used: its columns may be separated by {several}; give --delimiter"
            )
        split = known
    return split[0] if split else ","


def _header(lines: Lines, skipped: int, delimiter: str) -> tuple[int, list[str]]:
    texts = _Texts(lines(), skipped)
    try:
        for cells in csv.reader(texts, strict=True, delimiter=delimiter):
            if any(map(str.strip, cells)):
                return texts.number, _stripped(cells)
    except UsageError:
        raise
    except (csv.Error, ValueError):
        pass  # it will be reported when the file is read
    return texts.number, []


def _is_known(names: list[str], check_header: CheckHeader) -> bool:
    try:
        check_header(names)
    except ValueError:
        return False
    return True
