"""The cattrs converters between JSON and models, one for each schema. They judge; the fast decoder only hurries.

Reading, a worklog is flattened to one level of the server's names and structured by a function that cattrs generates
from `Worklog` and the schema's names. It is tolerant: a number is taken for an id, say, and an unknown status is kept.
An optional value that cannot be read is None, and what was sent is in ``extra``, as are the members that the schema
does not know. Only an id, a date or minutes that cannot be read is a `MalformedResponseError`, which names the JSON
path and, where it can be told, the worklog. A body that is no JSON is repaired where it is plain what it means.

Writing goes the other way round, and is strict.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, Final, TypeVar

import attrs
import cattrs
import msgspec
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from tracket_async._api.oddities import Kind, Oddities
from tracket_async._api.schema import (
    ATTRIBUTES,
    DAY,
    ERROR_NAMES,
    ESSENTIAL,
    EXPECTED,
    FAILURES,
    MOMENT,
    DecodedPage,
    FieldError,
    FieldType,
    Members,
    Schema,
    all_members,
    checked,
    elements,
    flatten,
    nest,
    nest_unreadable,
    value,
)
from tracket_async._http.messages import Json, Response
from tracket_async._http.responses import json_type, malformed
from tracket_async.errors import MalformedResponseError, UnreadableResponseError, UnsupportedError
from tracket_async.models import NO_EXTRA, UNSET, BadRow, NewWorklog, ReadOnlyDict, Worklog, WorklogChanges

T = TypeVar("T")


def make_converter(schema: Schema) -> cattrs.Converter:
    """Return a converter that structures `Worklog` and unstructures `Worklog`, `NewWorklog` and `WorklogChanges`.

    Structuring raises `MalformedResponseError`. Unstructuring gives dicts that JSON can write; it raises
    `UnsupportedError` when a `NewWorklog` or `WorklogChanges` says something that this version of the API cannot. (Of a
    `Worklog` it leaves out what this version does not have.)
    """
    converter = cattrs.Converter()
    reader = functools.cache(lambda: WorklogReader(schema))  # half of the work, and not needed for writing
    converter.register_structure_hook(Worklog, lambda value, _type: reader().read(value, "$"))
    converter.register_unstructure_hook(Worklog, _worklog_writer(schema, converter))
    converter.register_unstructure_hook(NewWorklog, _writer(schema, converter, NewWorklog))
    converter.register_unstructure_hook(WorklogChanges, _writer(schema, converter, WorklogChanges))
    return converter


def told_id(schema: Schema, content: Mapping[str, Any]) -> str | None:
    """Return the id of a worklog that may be malformed; None when it cannot be told."""
    value = content.get(schema.names["id"])
    try:
        return schema.field_types["id"].read(value)  # type: ignore[no-any-return]
    except ValueError:
        return None


class WorklogReader:
    """Read worklogs of one schema from JSON values."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        overrides: dict[str, Any] = {
            name: override(rename=schema.names[name], struct_hook=_hook(schema.field_types[name], attribute))
            if name in schema.names
            else override(omit=True)
            for name, attribute in ATTRIBUTES.items()
        }
        self._structure = make_dict_structure_fn(
            Worklog, cattrs.Converter(), _cattrs_detailed_validation=True, extra=override(omit=True), **overrides
        )

    def read(
        self,
        content: Json,
        path: str,
        oddities: Oddities | None = None,
        undecoded: Mapping[str, Json] = NO_EXTRA,
        unusual: Counter[str] | None = None,
    ) -> Worklog:
        """Return the worklog that a JSON value is.

        Args:
            content: the value.
            path: where it stands.
            oddities: counts them; None: nobody does.
            undecoded: optional members that are no value here, as what stands for them in ``extra``.
            unusual: counts the attributes that the fast decoder would not have read; None: nobody does.

        Raises:
            MalformedResponseError: it is no object, or its id, date or minutes cannot be read.
        """
        schema = self.schema
        if not isinstance(content, dict):
            raise malformed(path, "an object", json_type(content))
        flat, incomplete = flatten(schema, content)
        unknown = {name: found for name, found in content.items() if name not in schema.groups or name in incomplete}
        unreadable: dict[str, Json] = {}
        odd = Counter[str]() if unusual is None else unusual
        while isinstance(worklog := self._structured(flat), dict):
            for name, problem in worklog.items():
                if name in ESSENTIAL:
                    raise self._malformed(content, flat, path, name, problem)
                unreadable[schema.names[name]] = flat.pop(schema.names[name])
                odd[name] += 1
        if oddities is not None:
            place = _ANY_PLACE.sub("[]", path)
            _count(unknown, "unknown", oddities, place)
            without = {**undecoded, **unreadable}
            _count(without, "unreadable", oddities, place)
            self._count_unusual(flat, without, oddities, place, odd)
        if extra := {**unknown, **undecoded, **nest_unreadable(schema, unreadable, content)}:
            object.__setattr__(worklog, "extra", ReadOnlyDict(extra))
        return worklog

    def _count_unusual(
        self,
        flat: Mapping[str, Json],
        without: Mapping[str, Json],
        oddities: Oddities,
        place: str,
        unusual: Counter[str],
    ) -> None:
        """Count what is read although it should be of another type, and what is missing."""
        schema = self.schema
        for name, where in schema.names.items():
            found, field_type = flat.get(where), schema.field_types[name]
            kind: Kind | None = None
            if found is None:
                kind = "missing" if name in EXPECTED and where not in without else None
            elif type(found) not in field_type.usual:
                kind = "unusual"
            if kind is not None:
                _count({where: found}, kind, oddities, place)
            if kind is not None or (field_type is MOMENT and found is not None and not _is_rfc_3339(found)):
                unusual[name] += 1

    def _structured(self, flat: Mapping[str, Json]) -> Worklog | dict[str, Exception]:
        """Return the worklog, or what is wrong with each attribute."""
        try:
            worklog: Worklog = self._structure(flat, Worklog)
        except cattrs.ClassValidationError as group:
            return {note.name: problem for problem, note in group.group_exceptions()[0]}
        return worklog

    def _malformed(
        self, content: Mapping[str, Json], flat: Mapping[str, Json], path: str, name: str, problem: Exception
    ) -> MalformedResponseError:
        where = self.schema.names[name]
        expected = str(problem) if isinstance(problem, FieldError) else "there"
        found = json_type(flat[where]) if where in flat else "missing"
        if isinstance(flat.get(where), str) and self.schema.field_types[name] in (MOMENT, DAY):
            found = "another string"
        return malformed(f"{path}.{where}", expected, found, worklog_id=told_id(self.schema, content))


def _is_rfc_3339(text: Json) -> bool:
    """Return whether the fast decoder reads the text as a moment."""
    try:
        msgspec.convert(text, dt.datetime)
    except msgspec.ValidationError:
        return False
    return True


_ANY_PLACE: Final = re.compile(r"\[\d+\]")


def _count(odd: Mapping[str, Json], kind: Kind, oddities: Oddities, path: str) -> None:
    for name, found in odd.items():
        oddities.add(name, kind, json_type(found), path=f"{path}.{name}")


def _hook(field_type: FieldType, attribute: attrs.Attribute[Any]) -> Callable[[Any, Any], Any]:
    if attribute.default is attrs.NOTHING:

        def read_required(value: Any, _type: Any) -> Any:
            return field_type.read(value)

        return read_required

    default: Any = attribute.default
    make: Callable[[], Any] = default.factory if isinstance(default, attrs.Factory) else lambda: default  # type: ignore[arg-type]

    def read_optional(value: Any, _type: Any) -> Any:
        return make() if value is None else field_type.read(value)

    return read_optional


def _write_or_none(field_type: FieldType) -> Callable[[Any], Any]:
    def write(value: Any) -> Any:
        return None if value is None else field_type.write(value)

    return write


def _worklog_writer(schema: Schema, converter: cattrs.Converter) -> Callable[[Worklog], dict[str, Any]]:
    overrides: dict[str, Any] = {
        name: override(
            rename=schema.names[name],
            unstruct_hook=_write_or_none(schema.field_types[name]),
            omit_if_default=schema.names[name] in schema.omitted,
        )
        if name in schema.names
        else override(omit=True)
        for name in ATTRIBUTES
    }
    unstructure = make_dict_unstructure_fn(Worklog, converter, extra=override(omit=True), **overrides)

    def write(worklog: Worklog) -> dict[str, Any]:
        return nest(unstructure(worklog))

    return write


def _writer(schema: Schema, converter: cattrs.Converter, model: type[T]) -> Callable[[T], dict[str, Any]]:
    """Return a function that writes what is said and leaves out what is not: a default says nothing."""
    names = tuple(attrs.fields_dict(model))  # type: ignore[arg-type]
    overrides: dict[str, Any] = {
        name: override(rename=schema.names[name], unstruct_hook=_write_or_none(schema.field_types[name]))
        if name in schema.names
        else override(omit=True)
        for name in names
    }
    unstructure = make_dict_unstructure_fn(model, converter, _cattrs_omit_if_default=True, **overrides)
    lacking = tuple(name for name in names if name not in schema.names)

    def write(said: T) -> dict[str, Any]:
        for name in lacking:
            value = getattr(said, name)
            if value is not UNSET and (value or model is WorklogChanges):
                raise UnsupportedError(f"API {schema.version} has no {name}; leave it out, or use API 2.0")
        return nest(unstructure(said))

    return write


@cache
def converter_reader(schema: Schema) -> ConverterReader:
    """Return the reader of a schema, which is made once."""
    return ConverterReader(schema)


class ConverterReader:
    """Read the bodies of one schema."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._read = WorklogReader(schema).read
        self._of_page = Members(schema.items, schema.cursor, schema.total, *schema.links, *ERROR_NAMES)
        self._essential = frozenset(schema.names[name] for name in ESSENTIAL)

    def page(self, response: Response, oddities: Oddities, *, keep_bad_rows: bool = False) -> DecodedPage[Worklog]:
        """Read the response to a list; a worklog that cannot be read is an error, or kept."""
        return self._repairing(partial(self._page, keep_bad_rows=keep_bad_rows), response, oddities)

    def worklog(self, response: Response, oddities: Oddities) -> Worklog:
        """Read the response to a get, a create or an update."""

        def read(response: Response, oddities: Oddities) -> Worklog:
            return self._worklog(checked(response), "$", response, oddities)

        return self._repairing(read, response, oddities)

    @staticmethod
    def _repairing(read: Callable[..., T], response: Response, oddities: Oddities) -> T:
        """Read the body as it is, or what can be made of one that is no JSON."""
        try:
            return read(response, oddities)
        except UnreadableResponseError as error:
            failure = error
        body = repaired(response.body)
        if body is None:
            raise failure
        oddities.add("$", "repaired", "a whole answer", path="$")
        return read(attrs.evolve(response, body=body), oddities)

    def _page(self, response: Response, oddities: Oddities, *, keep_bad_rows: bool) -> DecodedPage[Worklog]:
        schema = self.schema
        members = self._of_page.of(checked(response))
        if members is None:
            content = value(response.body, "$", response)
            raise malformed("$", "an object", json_type(content), status=response.status)
        path = f"$.{schema.items}"
        if schema.items not in members:
            raise malformed(path, "an array", "missing", status=response.status)
        items = elements(members[schema.items], path, response)
        about = {
            name: value(members[name], f"$.{name}", response)
            for name in (schema.cursor, schema.total)
            if name in members
        }
        worklogs: list[Worklog] = []
        unusual = Counter[str]()
        bad_rows: list[BadRow] = []
        for index, item in enumerate(items):
            try:
                worklogs.append(self._worklog(item, f"{path}[{index}]", response, oddities, unusual))
            except MalformedResponseError as error:
                if not keep_bad_rows:
                    raise
                bad_rows.append(self.bad_row(item, error))
        return DecodedPage(
            items=worklogs,
            bad_rows=bad_rows,
            unusual=unusual,
            cursor=about.get(schema.cursor, msgspec.UNSET),
            links=[members.get(name, msgspec.UNSET) for name in schema.links],
            total=about.get(schema.total or ""),
            errors=[members.get(name, msgspec.UNSET) for name in ERROR_NAMES],
        )

    def bad_row(self, content: bytes | msgspec.Raw, error: MalformedResponseError) -> BadRow:
        """Return a worklog that cannot be read, with the error that says so."""
        schema, date = self.schema, None
        members = all_members(content)
        if members is None:  # it is no object, or one that was repaired
            content = repaired(bytes(content)) or content
            members = all_members(content) or {}
        try:
            date = schema.field_types["date"].read(msgspec.json.decode(members[schema.names["date"]]))
        except (KeyError, *FAILURES):
            pass
        return BadRow(row=msgspec.json.format(bytes(content), indent=-1), error=error, date=date)

    def _worklog(
        self,
        content: bytes | msgspec.Raw,
        path: str,
        response: Response,
        oddities: Oddities,
        unusual: Counter[str] | None = None,
    ) -> Worklog:
        members = all_members(content)
        if members is None:
            raise malformed(path, "an object", json_type(value(content, path, response)), status=response.status)
        values: dict[str, Json] = {}
        undecoded: dict[str, Json] = {}
        for name, raw in members.items():
            try:
                values[name] = value(raw, f"{path}.{name}", response)
            except MalformedResponseError:  # a number that is too large
                if name in self._essential:
                    raise
                text = bytes(raw).decode(errors="surrogateescape")
                undecoded[name] = _ESCAPED_BYTE.sub(_latin_1, text)  # msgspec has checked what it decodes, no more
        try:
            return self._read(values, path, oddities, undecoded, unusual)
        except MalformedResponseError as error:
            error.add(status=response.status)
            raise


def repaired(body: bytes) -> bytes | None:
    """Return JSON that says what a body plainly means that is none; None if it means nothing plainly.

    It may have a byte order mark, be UTF-16, or have bytes that are no UTF-8 (read as Latin-1), NaN and Infinity (null
    then), control characters in texts, and lone surrogates, in whose place is U+FFFD.
    """
    encoding = json.detect_encoding(body)
    try:
        if encoding.startswith("utf-8"):
            text = _ESCAPED_BYTE.sub(_latin_1, body.decode(encoding, "surrogateescape"))
        else:
            text = body.decode(encoding)
        content = json.loads(text, strict=False, parse_float=_finite, parse_int=_whole, parse_constant=lambda _: None)
        return _LONE_SURROGATE.sub("\ufffd", json.dumps(content, ensure_ascii=False)).encode()
    except (ValueError, RecursionError):
        return None


_ESCAPED_BYTE: Final = re.compile("[\udc80-\udcff]")
_LONGEST_NUMBER: Final = 300
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def _latin_1(byte: re.Match[str]) -> str:
    return chr(ord(byte[0]) - 0xDC00)


def _whole(text: str) -> int | None:
    return int(text) if len(text) <= _LONGEST_NUMBER else None


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None
