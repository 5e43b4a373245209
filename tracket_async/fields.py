"""What a single field of a model accepts: the validators and converters, each naming the field that it refuses.

A converter turns what is plainly meant into the one form that is kept, and passes everything else on to the
validator, which knows the field's name.
"""

from __future__ import annotations

import datetime as dt
import enum
import reprlib
import sys
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias, TypeVar

import attrs

T = TypeVar("T")
Attribute: TypeAlias = "attrs.Attribute[Any]"  # it cannot be subscripted at run time
Check = Callable[[Any, Attribute, Any], None]


class Unset(enum.Enum):
    """The type of `UNSET`."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> Literal[False]:
        return False


UNSET: Final = Unset.UNSET
"""In `WorklogChanges`: leave this field as it is. (None would set it to null.)"""


def is_text(_instance: object, attribute: Attribute, value: object) -> None:
    """A string, which may be empty."""
    if not isinstance(value, str):
        raise TypeError(f"{attribute.name} must be a string, not {type(value).__name__}")


def is_id(_instance: object, attribute: Attribute, value: object) -> None:
    """A string with something in it."""
    is_text(_instance, attribute, value)
    if not str(value).strip():
        raise ValueError(f"{attribute.name} must not be empty")


def is_minutes(_instance: object, attribute: Attribute, value: object) -> None:
    """A finite number, at least 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{attribute.name} must be a number of minutes, not {type(value).__name__}")
    if not 0 <= value <= sys.float_info.max:  # no nan, and no int that a float cannot hold
        shown = reprlib.repr(value)  # which cuts an int of a thousand digits short
        raise ValueError(f"{attribute.name} must be a finite number of minutes, at least 0, not {shown}")


def is_moment(_instance: object, attribute: Attribute, value: object) -> None:
    """An aware datetime (converters have made one of a date)."""
    if not isinstance(value, dt.datetime):
        raise TypeError(f"{attribute.name} must be an aware datetime or a date, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise ValueError(
            f"{attribute.name} is a naive datetime, so nobody knows which moment it is: "
            "give it a tzinfo (datetime.UTC, say), or give a date"
        )


def is_custom_fields(_instance: object, attribute: Attribute, value: Any) -> None:
    """A dict of field references; the two that have a field of their own are refused."""
    names: list[Any] = [None]
    if isinstance(value, dict):
        names = [*value]  # pyright: ignore[reportUnknownVariableType]  # isinstance knows no key type
    if not all(isinstance(name, str) and name for name in names):
        raise TypeError(f"{attribute.name} must be a dict of field references to option ids")
    for name in ("category", "project"):
        if name in names:
            raise ValueError(f"{attribute.name} holds {name!r}: use {name}_id")


def unless(*skipped: object, check: Check) -> Check:
    """The check, not asked about the values that mean that nothing is said."""

    def validate(instance: object, attribute: Attribute, value: object) -> None:
        if not any(value is one for one in skipped):
            check(instance, attribute, value)

    return validate


def _in_utc(value: T) -> T:
    if isinstance(value, dt.datetime) and value.utcoffset() is not None:
        return value.astimezone(dt.UTC)
    return value


def _is_day(value: object) -> bool:
    return isinstance(value, dt.date) and not isinstance(value, dt.datetime)


def first_moment(value: dt.date | None) -> Any:
    """A date becomes its first moment in UTC, an aware datetime that moment in UTC."""
    if value is not None and _is_day(value):
        return dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)
    return _in_utc(value)


def last_moment(value: dt.date | None) -> Any:
    """A date becomes its last microsecond in UTC, an aware datetime that moment in UTC."""
    if value is not None and _is_day(value):
        return dt.datetime(value.year, value.month, value.day, 23, 59, 59, 999_999, tzinfo=dt.UTC)
    return _in_utc(value)


def to_moment(value: dt.date | Unset) -> Any:
    """As `first_moment`; `UNSET` stays."""
    return value if isinstance(value, Unset) else first_moment(value)
