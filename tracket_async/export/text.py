r"""The text of worklogs: lines of NDJSON and records of CSV. Pure; a stream and a store give the same text.

For both formats:

* The columns are the attributes of `Worklog`, in their order, or those that the caller names, in the caller's order.
* A moment is ``YYYY-MM-DDTHH:MM:SS.mmmZ``, with six digits after the point where it is no whole millisecond.
* Numbers are floats (``90.0``), in the shortest form that reads back equal.

NDJSON (UTF-8, one object a line, ``\n``): every column is there, nulls too; ``custom_fields`` is an object with its
keys sorted.

CSV (RFC 4180: ``,``, ``"`` and CRLF; UTF-8 without a byte order mark): a header line; null is the empty cell;
``custom_fields`` is JSON, empty when there are none. Text that a spreadsheet would take for a formula, or that begins
with an apostrophe, gets an apostrophe in front (see `escape_formula`); numbers and moments never do.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, Final

import attrs
import msgspec

from tracket_async._api.fast import Row, columns_of
from tracket_async._timestamps import write_moment
from tracket_async.errors import UsageError
from tracket_async.models import Worklog

NAMES: Final = tuple(attribute.name for attribute in attrs.fields(Worklog))
"""Every column, in the order of the attributes of `Worklog`."""
MOMENTS: Final = frozenset({"date", "created_date", "updated_date"})
NUMBERS: Final = frozenset({"minutes", "billable_minutes"})
JSON: Final = "custom_fields"

_ESCAPED: Final = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20'")
"""The first characters of text that a spreadsheet may run, the full-width forms among them; and the apostrophe, so that
whoever reads the text back knows whose it is."""
_encode: Final = msgspec.json.Encoder(order="sorted").encode
_read_texts: Final = msgspec.json.Decoder(list[str | None]).decode
_NO_FIELDS: Final = msgspec.Raw(b"{}")
_whole_second: Final = re.compile(rb'(:[0-9]{2})Z"')

Columns = Sequence[Sequence[Any]]
"""The cells of many worklogs, column by column: moments as text, ``custom_fields`` as JSON text, None for null."""
Encoder = Callable[[Columns], bytes]


def escape_formula(cell: str) -> str:
    """Return the cell with an apostrophe in front when a spreadsheet would run it (OWASP, "CSV Injection").

    A cell that begins with an apostrophe gets one more, so that `unescape_formula` returns every cell as it was.
    """
    return "'" + cell if cell[:1] in _ESCAPED else cell


def unescape_formula(cell: str) -> str:
    """Return the cell without the apostrophe that `escape_formula` has put in front."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] in _ESCAPED else cell


def json_text(value: Any) -> str:
    """Return a JSON value as text, without spaces and with sorted keys: equal values have equal text."""
    return _encode(value).decode()


def columns_named(columns: Iterable[str] | None) -> tuple[str, ...]:
    """Return the columns that are meant; None means all.

    Raises:
        UsageError: naming a column that does not exist, or that is named twice, or when none is named.
    """
    names = NAMES if columns is None else tuple(columns)
    for name in names:
        if name not in NAMES:
            raise UsageError(f"there is no column {name!r}; the columns are {', '.join(NAMES)}")
        if names.count(name) > 1:
            raise UsageError(f"the column {name!r} is named twice")
    if not names:
        raise UsageError(f"no column is named; the columns are {', '.join(NAMES)}")
    return names


def cells_of(worklogs: Iterable[Worklog], columns: Sequence[str] = NAMES) -> Columns:
    """Return the cells of the worklogs: a list for each of ``columns``."""
    kept = list(worklogs)
    return [_TEXT.get(name, list)(map(attrgetter(name), kept)) for name in columns]


def cells_of_rows(rows: Sequence[Row], columns: Sequence[str] = NAMES) -> Columns:
    """Return the same as `cells_of`, of worklogs that are rows."""
    parts = zip(columns, columns_of(rows, columns), strict=True)
    # The numbers of a row are floats already, and a list is a list.
    return [_TEXT[name](part) if name in _WRITTEN else part for name, part in parts]


def _moments(part: Iterable[dt.datetime | None]) -> list[str | None]:
    """Return each as `write_moment` has it, made of what msgspec writes in a tenth of the time."""
    moments = list(part)
    if len(moments) > 1 and moments[0] is moments[1] is not None:
        # Days, of which a page has a few. (Moments of which each is an object of its own take long to be hashed.)
        texts = dict(zip(days := dict.fromkeys(moments), _texts(list(days)), strict=True))
        return [texts[moment] for moment in moments]
    return _texts(moments)


def _texts(moments: Sequence[dt.datetime | None]) -> list[str | None]:
    text = _encode(moments)
    in_utc = text.count(b'Z"')
    if in_utc + text.count(b"null") < len(moments):
        return [None if moment is None else write_moment(moment) for moment in moments]
    whole = text.count(b".") < in_utc
    text = text.replace(b'000Z"', b'Z"')
    return _read_texts(_whole_second.sub(rb'\1.000Z"', text) if whole else text)


def _numbers(part: Iterable[float | None]) -> list[float | None]:
    return [None if value is None else float(value) for value in part]


def _json_texts(part: Iterable[Any]) -> list[str]:
    return [json_text(value) if value else "{}" for value in part]


_TEXT: dict[str, Callable[[Iterable[Any]], list[Any]]] = {
    **dict.fromkeys(MOMENTS, _moments),
    **dict.fromkeys(NUMBERS, _numbers),
    JSON: _json_texts,
}
_WRITTEN: Final = MOMENTS | {JSON}


def ndjson_encoder(columns: Sequence[str] = NAMES) -> Encoder:
    """Return a function that writes cells as lines of NDJSON. ``columns`` names what it is given, in that order."""
    line, encode = _line(columns), msgspec.json.Encoder().encode_lines

    def lines(cells: Columns) -> bytes:
        # `Raw` is JSON that is written as it is.
        parts = [_raw(part) if name == JSON else part for name, part in zip(columns, cells, strict=True)]
        return encode(list(map(line, *parts)))

    return lines


def ndjson_of_rows(columns: Sequence[str] = NAMES) -> Callable[[Sequence[Row]], bytes]:
    """Return a function that writes rows as `ndjson_encoder` writes their cells, without making all of these."""
    encode = msgspec.json.Encoder().encode_lines
    written = [name for name in columns if name in _WRITTEN]
    targets = "".join(f"{name}, " for name in written)
    values = ", ".join(name if name in _WRITTEN else f"row.{name}" for name in columns)
    source = f"def lines(rows, {targets}): return [line({values}) for row, {targets} in zip(rows, {targets})]"
    scope: dict[str, Any] = {"line": _line(columns)}
    exec(compile(source, "<tracket_async: lines of rows>", "exec"), scope)  # noqa: S102 - made of this package's own names
    lines = scope["lines"]

    def write(rows: Sequence[Row]) -> bytes:
        parts = zip(written, columns_of(rows, written), strict=True)
        cells = [_raw(_json_texts(part)) if name == JSON else _TEXT[name](part) for name, part in parts]
        return encode(lines(rows, *cells))

    return write


def _line(columns: Sequence[str]) -> Callable[..., msgspec.Struct]:
    return msgspec.defstruct("Line", [(name, Any) for name in columns], gc=False)


def _raw(part: Sequence[str]) -> Sequence[msgspec.Raw]:
    return [_NO_FIELDS if text == "{}" else msgspec.Raw(text.encode()) for text in part]


def csv_encoder(columns: Sequence[str] = NAMES, *, raw: bool = False) -> Encoder:
    """Return a function that writes cells as CSV. ``columns`` names what it is given; ``raw``: escape no formulas."""
    prepare = [_csv_cells(name, raw=raw) for name in columns]

    def lines(cells: Columns) -> bytes:
        out = io.StringIO(newline="")
        # CRLF: with it, every version of Python quotes a lone CR or LF in a cell.
        writer = csv.writer(out, lineterminator="\r\n")
        writer.writerows(zip(*(ready(part) for ready, part in zip(prepare, cells, strict=True)), strict=True))
        return out.getvalue().encode()

    return lines


def _csv_cells(name: str, *, raw: bool) -> Callable[[Sequence[Any]], Sequence[Any]]:
    if name == JSON:
        return _no_empty_objects
    return _as_it_is if raw or name in MOMENTS | NUMBERS else _all_escaped


def _no_empty_objects(part: Sequence[Any]) -> Sequence[Any]:
    return [None if cell == "{}" else cell for cell in part]


def _as_it_is(value: Any) -> Any:
    return value


def _all_escaped(part: Sequence[Any]) -> Sequence[Any]:
    return [cell if not cell or cell[0] not in _ESCAPED else escape_formula(cell) for cell in part]


def csv_header(columns: Sequence[str] = NAMES) -> bytes:
    """Return the header line."""
    return (",".join(columns) + "\r\n").encode()
