r"""The text of worklogs: lines of NDJSON and records of CSV. Pure; a stream and a store give the same text.

For both formats:

* The columns are the attributes of `Worklog`, in their order, with ``day`` behind ``id`` and without ``extra``; or
  those that the caller names, ``extra`` too, in the caller's order.
* ``day`` is the calendar day of ``date``, ``YYYY-MM-DD``. API 2.0 keeps only days. On API 1.0 the day of a moment
  depends on the time zone: UTC, or the one that the caller gives.
* A moment is ``YYYY-MM-DDTHH:MM:SS.mmmZ``, with six digits after the point where it is no whole millisecond.
* Numbers are floats (``90.0``), in the shortest form that reads back equal.

NDJSON (UTF-8, one object a line, ``\n``): every column is there, nulls too; ``custom_fields`` and ``extra`` are objects
with their keys sorted.

CSV (RFC 4180: ``,``, ``"`` and CRLF; UTF-8 without a byte order mark): a header line; null is the empty cell;
``custom_fields`` and ``extra`` are JSON, empty when there are none. Text that a spreadsheet would take for a formula,
or that begins with an apostrophe, gets an apostrophe in front (see `escape_formula`); numbers and moments never do. On
request it has a byte order mark, ``;`` or a tab in place of ``,``, or no apostrophes.
"""

from __future__ import annotations

import codecs
import csv
import datetime as dt
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from operator import attrgetter
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from tracket_async._api.fast import Row, columns_of
from tracket_async._timestamps import write_moment
from tracket_async.errors import UsageError, pip_install
from tracket_async.frames import ALL_NAMES, DAY, EXTRA, JSON, MOMENTS, NUMBERS, json_texts
from tracket_async.models import Worklog

NAMES: Final = tuple(name for name in ALL_NAMES if name != EXTRA)
"""Every column that is written when none is named, in order."""

_ESCAPED: Final = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20'")
"""The first characters of text that a spreadsheet may run, the full-width forms among them; and the apostrophe, so that
whoever reads the text back knows whose it is."""
_encode: Final = msgspec.json.Encoder().encode
_read_texts: Final = msgspec.json.Decoder(list[str | None]).decode
_NO_FIELDS: Final = msgspec.Raw(b"{}")

Columns = Sequence[Sequence[Any]]
"""The cells of many worklogs, column by column: moments as text, those of `JSON` as JSON text, None for null."""
Encoder = Callable[[Columns], bytes]
UTC: Final = "UTC"


def time_zone(name: str) -> dt.tzinfo:
    """Return the time zone of an IANA name (``Europe/Amsterdam``), or ``UTC``.

    Raises:
        UsageError: this machine knows none of that name.
    """
    try:
        return dt.UTC if name == UTC else ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        hint = f"Give a name like Europe/Amsterdam. On a system without time zones, run: {pip_install('tzdata')}"
        # The name is not shown: it may be a secret in the wrong place.
        raise UsageError("there is no time zone of this name", hint=hint) from None


def escape_formula(cell: str) -> str:
    """Return the cell with an apostrophe in front when a spreadsheet would run it (OWASP, "CSV Injection").

    A cell that begins with an apostrophe gets one more, so that `unescape_formula` returns every cell as it was.
    """
    return "'" + cell if cell[:1] in _ESCAPED else cell


def unescape_formula(cell: str) -> str:
    """Return the cell without the apostrophe that `escape_formula` has put in front."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] in _ESCAPED else cell


def columns_named(columns: Iterable[str] | None) -> tuple[str, ...]:
    """Return the columns that are meant; None means all but ``extra``.

    Raises:
        UsageError: naming a column that does not exist, or that is named twice, or when none is named.
    """
    names = NAMES if columns is None else tuple(columns)
    for name in names:
        if name not in ALL_NAMES:  # and is not shown: it may be a secret in the wrong place
            close = get_close_matches(name, ALL_NAMES, n=1)
            meant = f" Did you mean {close[0]}?" if close else ""
            place = f"the name at place {names.index(name) + 1}"
            raise UsageError(f"{place} is no column.{meant} The columns are {', '.join(ALL_NAMES)}")
        if names.count(name) > 1:
            raise UsageError(f"the column {name!r} is named twice")
    if not names:
        raise UsageError(f"no column is named; the columns are {', '.join(ALL_NAMES)}")
    return names


def cells_of(worklogs: Iterable[Worklog], columns: Sequence[str] = NAMES, *, zone: dt.tzinfo = dt.UTC) -> Columns:
    """Return the cells of the worklogs: a list for each of ``columns``; ``zone``: whose day a moment is."""
    kept = list(worklogs)
    texts = _texts_of(zone)
    return [texts.get(name, list)(map(attrgetter(_SOURCE.get(name, name)), kept)) for name in columns]


def cells_of_rows(rows: Sequence[Row], columns: Sequence[str] = NAMES, *, zone: dt.tzinfo = dt.UTC) -> Columns:
    """Return the same as `cells_of`, of worklogs that are rows."""
    texts = _texts_of(zone)
    cells = dict(zip(columns, _columns_of(rows, columns), strict=True))
    days_of_dates = zone is dt.UTC and DATE in cells
    for name, part in cells.items():
        # The numbers of a row are floats already, and a list is a list.
        if name in _WRITTEN and not (name == DAY and days_of_dates):
            cells[name] = texts[name](part)
    if days_of_dates and DAY in cells:
        cells[DAY] = [text[:_DAY_LENGTH] for text in cells[DATE]]
    return list(cells.values())


def _columns_of(rows: Sequence[Row], columns: Iterable[str]) -> list[Sequence[Any]]:
    return columns_of(rows, [_SOURCE.get(name, name) for name in columns])


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
    texts = _read_texts(text.replace(b'000Z"', b'Z"'))
    if not whole:
        return texts
    return [text[:-1] + ".000Z" if text and len(text) == _WHOLE_SECOND else text for text in texts]


def _days_in(zone: dt.tzinfo) -> Callable[[Iterable[dt.datetime]], list[str]]:
    if zone is dt.UTC:
        return lambda part: [text[:_DAY_LENGTH] for text in _moments(part) if text is not None]
    return lambda part: [_day_in(zone, moment).isoformat() for moment in part]


def _day_in(zone: dt.tzinfo, moment: dt.datetime) -> dt.date:
    try:
        return moment.astimezone(zone).date()
    except OverflowError:  # a day before the year 1, or after 9999
        return moment.date()


def _numbers(part: Iterable[float | None]) -> list[float | None]:
    return [None if value is None else float(value) for value in part]


_DAY_LENGTH: Final = len("YYYY-MM-DD")
_WHOLE_SECOND: Final = len("YYYY-MM-DDTHH:MM:SSZ")
DATE: Final = "date"
_SOURCE: Final = {DAY: DATE}
"""The attribute that a column is made of, where it is another one."""
_WRITTEN: Final = MOMENTS | JSON | {DAY}


@cache
def _texts_of(zone: dt.tzinfo) -> Mapping[str, Callable[[Iterable[Any]], list[Any]]]:
    return {
        DAY: _days_in(zone),
        **dict.fromkeys(MOMENTS, _moments),
        **dict.fromkeys(NUMBERS, _numbers),
        **dict.fromkeys(JSON, json_texts),
    }


def ndjson_encoder(columns: Sequence[str] = NAMES) -> Encoder:
    """Return a function that writes cells as lines of NDJSON. ``columns`` names what it is given, in that order."""
    line, encode = _line(columns), msgspec.json.Encoder().encode_lines

    def lines(cells: Columns) -> bytes:
        # `Raw` is JSON that is written as it is.
        parts = [_raw(part) if name in JSON else part for name, part in zip(columns, cells, strict=True)]
        return encode(list(map(line, *parts)))

    return lines


def _line(columns: Sequence[str]) -> Callable[..., msgspec.Struct]:
    return msgspec.defstruct("Line", [(name, Any) for name in columns], gc=False)


def _raw(part: Sequence[str]) -> Sequence[msgspec.Raw]:
    return [_NO_FIELDS if text == "{}" else msgspec.Raw(text.encode()) for text in part]


def csv_encoder(columns: Sequence[str] = NAMES, *, delimiter: str = ",", raw: bool = False) -> Encoder:
    """Return a function that writes cells as CSV. ``columns`` names what it is given; ``raw``: escape no formulas."""
    prepare = [_csv_cells(name, raw=raw) for name in columns]

    def lines(cells: Columns) -> bytes:
        out = io.StringIO(newline="")
        # CRLF: with it, every version of Python quotes a lone CR or LF in a cell.
        writer = csv.writer(out, delimiter=delimiter, lineterminator="\r\n")
        writer.writerows(zip(*(ready(part) for ready, part in zip(prepare, cells, strict=True)), strict=True))
        return out.getvalue().encode()

    return lines


def _csv_cells(name: str, *, raw: bool) -> Callable[[Sequence[Any]], Sequence[Any]]:
    if name in JSON:
        return _no_empty_objects
    return _as_it_is if raw or name in MOMENTS | NUMBERS | {DAY} else _all_escaped


def _no_empty_objects(part: Sequence[Any]) -> Sequence[Any]:
    return [None if cell == "{}" else cell for cell in part]


def _as_it_is(value: Any) -> Any:
    return value


def _all_escaped(part: Sequence[Any]) -> Sequence[Any]:
    return [cell if not cell or cell[0] not in _ESCAPED else escape_formula(cell) for cell in part]


def csv_header(columns: Sequence[str] = NAMES, *, delimiter: str = ",", bom: bool = False) -> bytes:
    """Return the header line; ``bom``: with a byte order mark before it."""
    return (codecs.BOM_UTF8 if bom else b"") + (delimiter.join(columns) + "\r\n").encode()
