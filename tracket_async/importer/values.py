"""Values of an import file: ids, minutes, dates, texts and objects, from a cell of text or a value with a type. Pure.

They undo what ``export/text.py`` does, and read what spreadsheets, pandas and time trackers make of it. A notation says
what one cell cannot: whether ``1,234`` has a decimal comma, and whether ``05/07`` is in May. They are never given a
null or an empty cell, whose meaning is the caller's business.

An id is text. Programs that take it for a number spoil it: ``5000204173.0`` is repaired where no digit can be lost,
that is with up to 15 digits; what has been rounded, or stands for no value at all, is refused.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any, Final, Generic, Literal, TypeVar

import attrs
import msgspec

from tracket_async._timestamps import parse_date
from tracket_async.errors import UsageError
from tracket_async.export.text import unescape_formula
from tracket_async.frames import MOMENTS, NUMBERS
from tracket_async.importer.columns import HOURS, SETTABLE, UNNAMED
from tracket_async.models import NO_VALUES

_SHOWN: Final = 40
_MINUTES_AN_HOUR: Final = 60


def shortened(value: object) -> str:
    """Return the repr of a value for an error message, cut to 40 characters."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


# -- ids -----------------------------------------------------------------------------------------------------------

_PLAIN_ID: Final = re.compile(r"[A-Za-z]+[-_]?\d+", re.ASCII)
_FLOAT: Final = re.compile(r"(0|[1-9]\d{0,14})\.0+", re.ASCII)
_NUMBER_LIKE: Final = re.compile(r"[+-]?\d+(?:[.,'\u2019]\d+)+", re.ASCII)
_EXPONENT: Final = re.compile(r"[+-]?\d+(?:[.,]\d*)?e(?:[+-]\d{1,3}|\d{1,2})", re.ASCII | re.IGNORECASE)
"""Spreadsheets write 5.00E+09, pandas and JavaScript 5e+16. More digits than an exponent has may be a real id."""
_INVISIBLE: Final = "\u200b\u2060\ufeff"
_EXACT_DIGITS: Final = 15
"""A float holds every whole number of so many digits."""


def read_id(name: str, text: str) -> str:
    """Return an id, repaired if a program has made a float of it.

    Raises:
        ValueError: it was rounded, stands for no value, or has white space around it; the message begins with ``name``.
    """
    if text.isdecimal() or _PLAIN_ID.fullmatch(text):
        return text
    if found := _FLOAT.fullmatch(text):
        return found[1]
    shown = f"{name} {shortened(text)}"
    if text and (_blank(text[0]) or _blank(text[-1])):
        raise ValueError(f"{shown} has white space around it; remove it")
    if text.lower() in NO_VALUES or text.startswith("#"):
        raise ValueError(f"{shown} stands for no value, as spreadsheets and pandas write it; give the id, or nothing")
    if _EXPONENT.fullmatch(text) or _NUMBER_LIKE.fullmatch(text):
        raise ValueError(
            f"{shown} was made a number by a spreadsheet or pandas, and digits may be lost; keep ids as text"
            f" (more than {_EXACT_DIGITS} digits cannot be restored)"
        )
    return text


def _blank(character: str) -> bool:
    return character.isspace() or character in _INVISIBLE


@attrs.define
class RepairedIds:
    """The number of ids that were floats, and were read as the whole numbers that they stand for."""

    count: int = 0


# -- minutes -------------------------------------------------------------------------------------------------------

Decimal = Literal[".", ","]


def _grammar(point: str, thousands: str) -> re.Pattern[str]:
    grouped = rf"[1-9]\d{{0,2}}(?P<by>[{thousands}'\u2019\u00a0\u202f ])\d{{3}}(?:(?P=by)\d{{3}})*"
    return re.compile(rf"[+-]?(?:(?:\d+|{grouped})(?:{point}\d*)?|{point}\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


_GRAMMARS: Final[Mapping[Decimal, re.Pattern[str]]] = {".": _grammar(r"\.", ","), ",": _grammar(",", r"\.")}
_TO_POINT: Final[Mapping[Decimal, dict[int, int | None]]] = {
    ".": str.maketrans("", "", ",'\u2019\u00a0\u202f "),
    ",": str.maketrans(",", ".", ".'\u2019\u00a0\u202f "),
}
_CLOCK: Final = re.compile(r"([+-]?)(\d+):([0-5]\d)(?::([0-5]\d(?:[.,]\d+)?))?", re.ASCII)
_ISO_DURATION: Final = re.compile(
    r"([+-]?)PT(?=\d)(?:(\d+(?:[.,]\d+)?)H)?(?:(\d+(?:[.,]\d+)?)M)?(?:(\d+(?:[.,]\d+)?)S)?", re.ASCII | re.IGNORECASE
)
_UNITS: Final = re.compile(
    r"([+-]?)(?=\d)(?:([\d.,]+) *(?:h|hrs?|hours?)\b\.?)? *(?:([\d.,]+) *(?:m|mins?|minutes?)\b\.?)?"
    r" *(?:([\d.,]+) *(?:s|secs?|seconds?)\b\.?)?",
    re.ASCII | re.IGNORECASE,
)
_HOURS_MINUTES: Final = re.compile(r"([+-]?)(\d+) *h *([0-5]?\d)()", re.ASCII | re.IGNORECASE)


def read_number(text: str, decimal: Decimal) -> float | None:
    """Return the number that a text is, its thousands perhaps in groups; None if it is none."""
    return float(text.translate(_TO_POINT[decimal])) if _GRAMMARS[decimal].fullmatch(text) else None


def read_minutes(text: str, decimal: Decimal, unit: int = 1) -> float | None:
    """Return the minutes that a text says, None if it says none: ``90``, ``1:30``, ``1:30:00``, ``1.5h``, ``PT90M``.

    Args:
        text: without white space around it.
        decimal: the decimal point.
        unit: minutes that a bare number counts: 60 for a column of hours.
    """
    number = read_number(text, decimal)
    if number is not None:
        return number if unit == 1 else round(number * unit, 6)
    text = text.replace("\u00a0", " ").replace("\u202f", " ")
    iso = False
    if found := _CLOCK.fullmatch(text) or _ISO_DURATION.fullmatch(text):
        iso = True  # both have no thousands, and either decimal point
    else:
        found = _UNITS.fullmatch(text) or _HOURS_MINUTES.fullmatch(text)
    if found is None:
        return None
    sign, *parts = found.groups()
    minutes = 0.0
    for part, factor in zip(parts, (_MINUTES_AN_HOUR, 1, 1 / _MINUTES_AN_HOUR), strict=True):
        value = read_number(part.replace(",", "."), ".") if part and iso else read_number(part or "0", decimal)
        if value is None:
            return None
        minutes += value * factor
    return round(-minutes if sign == "-" else minutes, 6)


# -- dates ---------------------------------------------------------------------------------------------------------

DateOrder = Literal["dmy", "mdy", "ymd"]
ORDERS: Final[tuple[DateOrder, ...]] = ("dmy", "mdy", "ymd")
_ISO: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_LOCAL: Final = re.compile(r"(\d{1,4})([./-])(\d{1,2})\2(\d{1,4})\.?(?:,?[T ] *(.+))?", re.ASCII)
_TIME: Final = re.compile(
    r"(\d{1,2}):([0-5]\d)(?::([0-5]\d)(?:[.,]\d+)?)? *(?:([ap])\.?m\.?)? *(Z|[+-]\d\d:?\d\d)?", re.ASCII | re.IGNORECASE
)
_PIVOT: Final = 69
"""Two digits from here on are a year of the 20th century (POSIX, ``strptime``)."""
_NOON: Final = 12


def read_local_date(text: str, order: str) -> dt.date | None:
    """Return the date, or date-time, that a text is when its parts are in an order; None if it is none.

    Args:
        text: without white space around it.
        order: one of `ORDERS`, or a pattern of ``strptime`` with the year.
    """
    if "%" in order:
        return _by_pattern(text, order)
    found = _LOCAL.fullmatch(text)
    if found is None:
        return None
    first, separator, second, third, time = found.groups()
    parts = dict(zip(order, (first, second, third), strict=True))
    digits = len(parts["y"])
    # Nobody writes month.day.year.
    if (separator == "." and order == "mdy") or len(parts["d"]) > 2 or digits not in (2, 4):  # noqa: PLR2004 - digits
        return None
    year = int(parts["y"])
    if digits == 2:  # noqa: PLR2004 - digits
        year += 1900 if year >= _PIVOT else 2000
    try:
        day = dt.date(year, int(parts["m"]), int(parts["d"]))
        return day if time is None else _with_time(day, time)
    except ValueError:
        return None


def names_year(pattern: str) -> bool:
    """Return whether a pattern of ``strptime`` has the year; one without reads every date as of 1900."""
    return any(year in pattern for year in ("%Y", "%y", "%G"))


def _by_pattern(text: str, pattern: str) -> dt.date | None:
    try:
        moment = dt.datetime.strptime(text, pattern)  # noqa: DTZ007 - the file may say no offset
    except ValueError:
        return None
    return moment if "%H" in pattern or "%I" in pattern else moment.date()


def _with_time(day: dt.date, text: str) -> dt.datetime | None:
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    hour, minute, second, half, offset = found.groups()
    hours = int(hour)
    if half:
        hours = hours % _NOON + (_NOON if half in "pP" else 0)
    zone = dt.datetime.fromisoformat(f"2000-01-01T00:00{offset.upper()}").tzinfo if offset else None
    return dt.datetime(day.year, day.month, day.day, hours, int(minute), int(second or 0), tzinfo=zone)


# -- the notation of a whole file ----------------------------------------------------------------------------------


@attrs.frozen
class Notation:
    """The notation of the numbers and dates of a file.

    Attributes:
        decimal: the decimal point.
        date_order: one of `ORDERS` or a pattern of ``strptime``, for dates that are not ISO 8601; None: there are none.
    """

    decimal: Decimal = "."
    date_order: str | None = None


K = TypeVar("K", bound=str)


class _Readings(Generic[K]):
    """The ways in which all cells of one kind can be read, and what speaks against each."""

    def __init__(self, ways: tuple[K, ...]) -> None:
        self._ways = ways
        self._refuted: dict[K, tuple[int, str]] = {}
        self._differ: dict[tuple[K, K], tuple[int, str]] = {}

    def add(self, line: int, text: str, values: Mapping[K, object]) -> None:
        """Add a cell: the value that it has in each way, None where it has none."""
        if all(values[way] is None for way in self._ways):
            return  # it is wrong in any case, and will be a bad line
        for way in self._ways:
            if values[way] is None:
                self._refuted.setdefault(way, (line, text))
        for pair in combinations(self._ways, 2):
            if None not in {values[pair[0]], values[pair[1]]} and values[pair[0]] != values[pair[1]]:
                self._differ.setdefault(pair, (line, text))

    def decide(self, what: str, words: Mapping[K, str], option: str) -> K:
        """Return the one way in which all cells can be read.

        Raises:
            UsageError: there are several, or none.
        """
        left = [way for way in self._ways if way not in self._refuted]
        if not left:
            against = "; ".join(
                f"{shortened(text)} on line {line} cannot be {words[way]}"
                for way, (line, text) in self._refuted.items()
            )
            raise UsageError(f"The {what} are not all written in one way: {against}. Write them alike")
        for pair in combinations(left, 2):
            if pair in self._differ:
                line, text = self._differ[pair]
                one, other = pair
                raise UsageError(
                    f"The {what} can be read in two ways: {shortened(text)} on line {line} may be {words[one]} or"
                    f" {words[other]}. Give {option} {one!r} or {option} {other!r}"
                )
        return left[0]


_INTEGER: Final = re.compile(r"[+-]?\d+", re.ASCII)
_POINTED: Final = re.compile(r"[+-]?\d*\.\d*", re.ASCII)


class Survey:
    """The readings of all numbers and dates of a file, from which its notation follows.

    Args:
        decimal, date_order: what is known already; None: to be found out.
        as_documented: the file is in the form of an export, whose decimal point is a point.
    """

    def __init__(self, decimal: Decimal | None, date_order: str | None, *, as_documented: bool) -> None:
        self._decimal: Decimal | None = decimal
        self._date_order = date_order
        self._as_documented = as_documented
        self._numbers: _Readings[Decimal] = _Readings((".", ","))
        self._dates: _Readings[DateOrder] = _Readings(ORDERS)
        self._local_dates = False

    def add(self, line: int, attribute: str, value: object) -> None:
        """Add the value of an attribute."""
        if not isinstance(value, str):
            return
        text = value.strip()
        if attribute in MINUTES:
            if self._decimal is None and text and not _INTEGER.fullmatch(text):
                self._add_number(line, text, MINUTES[attribute])
        elif attribute in DATES and self._date_order is None and text and not _ISO.match(text):
            self._local_dates = True
            self._dates.add(line, text, {order: read_local_date(text, order) for order in ORDERS})

    def _add_number(self, line: int, text: str, unit: int) -> None:
        values: dict[Decimal, object] = {decimal: read_minutes(text, decimal, unit) for decimal in (".", ",")}
        if self._as_documented and _POINTED.fullmatch(text):
            values[","] = None
        self._numbers.add(line, text, values)

    def notation(self) -> Notation:
        """Return the notation in which everything can be read.

        Raises:
            UsageError: there are several or none; the message shows a cell and names the option that decides.
        """
        decimal = self._decimal
        if decimal is None:
            points: dict[Decimal, str] = {".": "a number with a decimal point", ",": "one with a decimal comma"}
            decimal = self._numbers.decide("numbers", points, "--decimal")
        order = self._date_order
        if order is None and self._local_dates:
            words: dict[DateOrder, str] = {"dmy": "day/month/year", "mdy": "month/day/year", "ymd": "year/month/day"}
            order = self._dates.decide("dates", words, "--date-format")
        return Notation(decimal=decimal, date_order=order)


MINUTES: Final[Mapping[str, int]] = {
    **{name: 1 for name in SETTABLE if name in NUMBERS},
    **dict.fromkeys(HOURS, _MINUTES_AN_HOUR),
}
"""The columns of minutes, and how many minutes their number counts."""
IDS: Final = frozenset({"id", *SETTABLE}) - MOMENTS - NUMBERS - {"description", "custom_fields"}
DATES: Final = frozenset({*(name for name in SETTABLE if name in MOMENTS), "day"})


# -- reading one value ---------------------------------------------------------------------------------------------

ValueReader = Callable[[str, Any], Any]
"""Read the value of a column, given the column's attribute; raise `ValueError` with a reason."""
ValueReaders = Mapping[str, ValueReader]


@attrs.frozen
class _Cell:
    """Reading of one value, in the notation of its file; the arguments are as in `value_readers`."""

    notation: Notation
    repaired: RepairedIds
    escaped: bool
    typed_cells: bool

    def minutes(self, name: str, value: object) -> float:
        unit = MINUTES[name]
        if isinstance(value, str):
            minutes = read_minutes(value.strip(), self.notation.decimal, unit)
            if minutes is not None:
                return minutes
            what = "minutes" if unit == 1 else "hours"
            raise ValueError(
                f"{name} must be a number of {what}, or a duration such as 1:30, 1.5h or PT90M, not {shortened(value)}"
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} must be a number of minutes, not {shortened(value)}")  # noqa: TRY004 - one kind for all
        return value if unit == 1 else round(value * unit, 6)

    def date(self, name: str, value: object) -> dt.date:
        if isinstance(value, dt.date):
            return value
        if not isinstance(value, str):
            raise ValueError(f"{name} must be a string, not {shortened(value)}")  # noqa: TRY004 - one kind for all
        text, order = value.strip(), self.notation.date_order
        local = None if order is None else read_local_date(text, order)
        if local is not None:
            return local
        try:
            return parse_date(text, offset_needed=False)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None

    def day(self, name: str, value: object) -> dt.date:
        found = self.date(name, value)
        if not isinstance(found, dt.datetime):
            return found
        if found.tzinfo is None and found.time() == dt.time.min:  # as pandas and spreadsheets write a day
            return found.date()
        raise ValueError(f"{name} must be YYYY-MM-DD, without a time of day, not {shortened(value)}")

    def id(self, name: str, value: object) -> str:
        if isinstance(value, str):
            text = unescape_formula(value) if self.escaped else value
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} must be a string, not {shortened(value)}")  # noqa: TRY004 - one kind for all
        else:
            text = str(value) if isinstance(value, int) else _float_text(value)
        read = read_id(name, text)
        self.repaired.count += read != text
        return read

    def text(self, name: str, value: object) -> str:
        if isinstance(value, str):
            return unescape_formula(value) if self.escaped else value
        if self.typed_cells and isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        raise ValueError(f"{name} must be a string, not {shortened(value)}")


def _float_text(value: float) -> str:
    return f"{value:.1f}" if value.is_integer() and abs(value) < 10**_EXACT_DIGITS else repr(value)


def value_readers(
    notation: Notation, repaired: RepairedIds, *, escaped: bool = False, typed_cells: bool = False
) -> ValueReaders:
    """Return the function that reads each column.

    Args:
        notation: of the file.
        repaired: counts the ids that were floats.
        escaped: an apostrophe may stand before text that looks like a formula, as an export to CSV writes it.
        typed_cells: text may have become a number when it was typed into its cell.
    """
    cell = _Cell(notation, repaired, escaped, typed_cells)
    return {
        **dict.fromkeys(IDS, cell.id),
        "description": cell.text,
        **dict.fromkeys(MINUTES, cell.minutes),
        **dict.fromkeys(DATES, cell.date),
        "day": cell.day,
        "custom_fields": _object,
        UNNAMED: _nothing,
    }


def _object(name: str, value: object) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            raise ValueError(f"{name} must be JSON, not {shortened(value)}") from None
    if isinstance(value, dict):
        return value  # pyright: ignore[reportUnknownVariableType] - the model looks at what is in it
    raise ValueError(f"{name} must be an object, not {shortened(value)}")


def _nothing(_name: str, value: object) -> None:
    raise ValueError(
        f"{shortened(value)} stands in a column without a name; give the column a name, or skip it with --map ="
        " (pandas writes such a column without index=False)"
    )
