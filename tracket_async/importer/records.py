"""Records of an input file, and the options for reading them."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, Protocol, TypeAlias

import attrs

from tracket_async.errors import UsageError
from tracket_async.importer.values import ORDERS, Decimal, names_year

InputFormat = Literal["ndjson", "csv", "parquet", "duckdb", "xlsx", "ids"]

TABLES: Final[frozenset[InputFormat]] = frozenset({"parquet", "duckdb", "xlsx"})
"""The formats that have rows and no lines."""

_DELIMITERS: Final = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";"}


def _one_character(delimiter: str | None) -> str | None:
    return delimiter and _DELIMITERS.get(delimiter, delimiter)


@attrs.frozen
class Record:
    """One record of the file.

    Attributes:
        line: the line on which it begins, or the number of its row, from 1.
        values: attribute to value, of the id, the day and what can be set; None for a null of JSON. A date keeps the
            offset that is written in the file, and is naive without one. An attribute that the file leaves out, or an
            empty cell of CSV, is missing.
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


Rows: TypeAlias = Iterator[tuple[int, Mapping[str, Any]] | BadLine]
"""The rows of a file, in their order: each with its line and its columns, by the name that the file gives them; or why
it cannot be read. A value is text, or has the type of JSON, Parquet, or another format that has types."""


class CheckHeader(Protocol):
    """Check the names of a file's columns."""

    def __call__(self, names: list[str], *, comma_separated: bool = False) -> None:
        """Check the names; raise `ValueError` with a reason. ``comma_separated``: commas stand between the columns."""
        ...


@attrs.frozen(kw_only=True)
class ReadOptions:
    """Options for reading a file.

    Attributes:
        format: ``"ndjson"``: an object a line; ``"csv"``: a header and then a record for each worklog (RFC 4180);
            ``"parquet"``, ``"duckdb"``: as an export writes them; ``"xlsx"``: a sheet with a header; ``"ids"``: an id a
            line. Empty lines and rows do not count.
        raw: CSV only: an apostrophe before what looks like a formula belongs to the text.
        only_id: read nothing but the id.
        encoding: the encoding of text, by its name in Python; None: UTF-8, unless the first bytes say another one. A
            byte order mark wins.
        delimiter: the character between the columns of CSV, or ``tab``; None: what the header shows.
        decimal: the decimal point; None: what all numbers of the file together show.
        date_format: ``"dmy"``, ``"mdy"``, ``"ymd"`` or a pattern of ``strptime`` for dates that are not ISO 8601;
            None: what all dates of the file together show.
        mapping: other names of columns, see `read_mapping`.
        sheet: the name of the sheet of an Excel workbook; None: the first.

    Raises:
        UsageError: an option has no meaning.
    """

    format: InputFormat
    raw: bool = False
    only_id: bool = False
    encoding: str | None = None
    delimiter: str | None = attrs.field(default=None, converter=_one_character)
    decimal: Decimal | None = None
    date_format: str | None = None
    mapping: Mapping[str, str | None] = attrs.field(factory=dict[str, str | None])
    sheet: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.encoding is not None:
            try:
                "".encode(self.encoding)
                codecs.getincrementaldecoder(self.encoding)
            except LookupError:
                raise UsageError(f"there is no encoding {self.encoding!r}. Give utf-8, utf-16 or cp1252, say") from None
        if self.sheet is not None and self.format != "xlsx":
            raise UsageError("--sheet is for Excel workbooks (.xlsx)")
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n'):
            raise UsageError(f"--delimiter must be one character, or tab, not {self.delimiter!r}")
        if self.date_format is not None and self.date_format not in ORDERS and not names_year(self.date_format):
            raise UsageError(
                f"--date-format must be {', '.join(ORDERS)}, or a pattern such as %d.%m.%Y (with its year),"
                f" not {self.date_format!r}"
            )
