"""Values of other types than they should be, made usual in the fast decoder's Structs: many rows at once.

Used where the worklogs of a server are known to have such values. What is read here, the converters read alike, and
count alike; what is essential and cannot be read is left to them.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from types import NoneType
from typing import Any, Final

import msgspec

from tracket_async._api.oddities import Kind, Odd
from tracket_async._api.schema import (
    DAY,
    ESSENTIAL,
    EXPECTED,
    IDENTIFIER,
    MOMENT,
    NUMBER,
    STATUS,
    TEXT,
    FieldError,
    FieldType,
    Schema,
    flatten,
    nest,
    nest_unreadable,
    read_string,
)
from tracket_async._http.responses import json_type
from tracket_async.models import ReadOnlyDict


class WideField:
    """Read the values of one attribute, whatever their types, of many rows at once."""

    def __init__(self, schema: Schema, member: str, attributes: Sequence[str], row: type[msgspec.Struct]) -> None:
        [name] = attributes
        self._member = member
        self._type = schema.field_types[name]
        self._is_essential = name in ESSENTIAL
        self._is_expected = name in EXPECTED
        self._get: Callable[[Any], Any] = attrgetter(name)
        self._set: Callable[[Any, Any], None] = getattr(row, name).__set__
        self._only_empty = ReadOnlyDict({member: ""})

    def read(self, rows: Sequence[Any]) -> Iterator[Odd]:
        """Make usual values of them, in place. Yield what is odd.

        Raises:
            FieldError: an essential one cannot be read.
        """
        values: list[Any] = [*map(self._get, rows)]
        empty = values.count("") if self._type is MOMENT else 0
        if empty:
            self._keep_empty(rows, values)
            values = [value or None for value in values]
        types = {*map(type, values)}
        nulls = values.count(None) if NoneType in types else 0
        if nulls and self._is_essential:
            raise FieldError("there")
        types.discard(NoneType)
        usual = self._all_at_once(values, types, nulls)
        if usual is None:
            yield from self._one_by_one(rows, values)
        else:
            deque(map(self._set, rows, usual), maxlen=0)
            if types and types.isdisjoint(self._type.usual):
                example = next(value for value in values if value is not None)
                yield self._member, "unusual", json_type(example), len(values) - nulls
        if empty:
            yield self._member, "unreadable", json_type(""), empty
        if nulls and self._is_expected:
            yield self._member, "missing", json_type(None), nulls

    def _keep_empty(self, rows: Sequence[Any], values: Sequence[Any]) -> None:
        for row, value in zip(rows, values, strict=True):
            if value == "":
                row.kept = ReadOnlyDict({**row.kept, self._member: ""}) if row.kept else self._only_empty
                self._set(row, None)

    def _all_at_once(self, values: list[Any], types: set[type], nulls: int) -> list[Any] | None:
        """Return the usual values of those that are all of one type, or null; None when they have to be looked at."""
        field_type = self._type
        if field_type is MOMENT and types <= {str}:
            with contextlib.suppress(msgspec.ValidationError):
                return msgspec.convert(values, list[dt.datetime | None])
        elif field_type is NUMBER and types <= {int, float}:
            with contextlib.suppress(OverflowError):
                return [None if value is None else float(value) for value in values]
        elif field_type is NUMBER and types == {str}:
            texts = [value for value in values if value is not None] if nulls else values
            if _are_whole(texts) or _plain_numbers("\n".join(texts)):
                return _numbers(values)
        elif field_type.wire_type is str and types <= {str}:
            return values
        elif field_type in (IDENTIFIER, TEXT) and types == {int}:
            return [None if value is None else str(value) for value in values]
        return None

    def _one_by_one(self, rows: Sequence[Any], values: Sequence[Any]) -> Iterator[Odd]:
        counts = Counts()
        for row, value in zip(rows, values, strict=True):
            if value is None:
                continue
            try:
                usual = wire_value(self._type, value)
            except FieldError:
                if self._is_essential:
                    raise
                usual = None
                row.kept = ReadOnlyDict({**row.kept, self._member: value})
                counts.add(self._member, "unreadable", value)
            else:
                if type(value) not in self._type.usual:
                    counts.add(self._member, "unusual", value)
            self._set(row, usual)
        yield from counts.odd()


class WideObject:
    """Read the attributes inside of one member, whatever it is; one row after the other."""

    def __init__(self, schema: Schema, member: str, attributes: Sequence[str], row: type[msgspec.Struct]) -> None:
        self._schema = schema
        self._member = member
        self._attributes = attributes
        holder = schema.holder(attributes)
        self._get: Callable[[Any], Any] = attrgetter(holder)
        self._set: Callable[[Any, Any], None] = getattr(row, holder).__set__

    def read(self, rows: Sequence[Any]) -> Iterator[Odd]:
        """Make objects of the likeliest form of them, in place. Yield what is odd."""
        counts = Counts()
        for row in rows:
            if (content := self._get(row)) is not None:
                self._set(row, self._usual(row, content, counts))
        yield from counts.odd()

    def _usual(self, row: Any, content: Any, counts: Counts) -> Any:
        schema, member = self._schema, self._member
        flat, incomplete = flatten(schema, {member: content})
        values: dict[str, Any] = {}
        unreadable: dict[str, Any] = {}
        for name in self._attributes:
            where, field_type = schema.names[name], schema.field_types[name]
            if (found := flat.get(where)) is None:
                continue
            try:
                values[where] = wire_value(field_type, found)
            except FieldError:
                unreadable[where] = found
                counts.add(where, "unreadable", found)
            else:
                if type(found) not in field_type.usual:
                    counts.add(where, "unusual", found)
        kept = dict.fromkeys(incomplete, content) | nest_unreadable(schema, unreadable, {member: content})
        if kept:
            row.kept = ReadOnlyDict({**row.kept, **kept})
        for name in incomplete:
            counts.add(name, "unknown", content)
        return nest(values).get(member)


def wire_value(field_type: FieldType, value: Any) -> Any:
    """Return the value as a well-behaved server would have sent it, for the finishers; raise `FieldError`."""
    return read_string(value) if field_type in (STATUS, DAY) else field_type.read(value)


def _are_whole(texts: Sequence[str]) -> bool:
    joined, lengths = "".join(texts), {*map(len, texts)}
    return joined.isdecimal() and joined.isascii() and 0 not in lengths and max(lengths) <= _LONGEST_NUMBER


def _numbers(texts: Sequence[str | None]) -> list[float | None]:
    """Return the numbers of texts in plain form. msgspec is faster than `float`, and refuses leading zeros."""
    with contextlib.suppress(msgspec.ValidationError):
        return msgspec.convert(texts, list[float | None], strict=False)
    return [None if text is None else float(text) for text in texts]


_LONGEST_NUMBER: Final = 15
_plain_numbers: Final = re.compile(r"(?:\d{1,15}(?:\.\d{1,15})?(?:\n|\Z))+", re.ASCII).fullmatch
"""Matches numbers in plain form, one a line."""


class Counts:
    """Count what is odd in the rows of a page."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, Kind], list[Any]] = {}

    def add(self, field: str, kind: Kind, example: Any) -> None:
        self._counts.setdefault((field, kind), [example, 0])[1] += 1

    def odd(self) -> Iterator[Odd]:
        for (field, kind), (example, times) in self._counts.items():
            yield field, kind, json_type(example), times
