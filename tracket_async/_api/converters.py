"""The cattrs converters between JSON and models, one for each schema. They judge; the fast decoder only hurries.

Reading, a worklog is flattened to one level of the server's names and structured by a function that cattrs generates
from `Worklog` and the schema's names. It is tolerant: a number is taken for an id, say, and an unknown status is kept.
A wrong value is a `MalformedResponseError` that names the JSON path and, where it can be told, the worklog. Only the
members that are needed are read: what the others hold does not matter, as long as the whole body is JSON.

Writing goes the other way round, and is strict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

import attrs
import cattrs
import msgspec
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from tracket_async._api.schema import (
    ATTRIBUTES,
    DAY,
    MOMENT,
    DecodedPage,
    FieldError,
    FieldType,
    Members,
    Schema,
    checked,
    elements,
    flatten,
    nest,
    value,
)
from tracket_async._http.messages import Json, Response
from tracket_async._http.responses import json_type, malformed
from tracket_async.errors import MalformedResponseError, UnsupportedError
from tracket_async.models import UNSET, NewWorklog, Worklog, WorklogChanges

T = TypeVar("T")


def make_converter(schema: Schema) -> cattrs.Converter:
    """Return a converter that structures `Worklog` and unstructures `Worklog`, `NewWorklog` and `WorklogChanges`.

    Structuring raises `MalformedResponseError`. Unstructuring gives dicts that JSON can write; it raises
    `UnsupportedError` when a `NewWorklog` or `WorklogChanges` says something that this version of the API cannot. (Of a
    `Worklog` it leaves out what this version does not have.)
    """
    converter = cattrs.Converter()
    read = worklog_reader(schema)
    converter.register_structure_hook(Worklog, lambda value, _type: read(value, "$"))
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


def worklog_reader(schema: Schema) -> Callable[[Json, str], Worklog]:
    """Return a function from a JSON value, and the JSON path where it stands, to the worklog that it is."""
    overrides: dict[str, Any] = {
        name: override(rename=schema.names[name], struct_hook=_hook(schema.field_types[name], attribute))
        if name in schema.names
        else override(omit=True)
        for name, attribute in ATTRIBUTES.items()
    }
    structure = make_dict_structure_fn(Worklog, cattrs.Converter(), _cattrs_detailed_validation=True, **overrides)

    def read(content: Json, path: str) -> Worklog:
        if not isinstance(content, dict):
            raise malformed(path, "an object", json_type(content))
        flat = flatten(schema, content)
        try:
            return structure(flat, Worklog)
        except cattrs.ClassValidationError as group:
            name, problem = _first(group)
        where = schema.names[name]
        member, _, inner = where.partition(".")
        expected = str(problem) if isinstance(problem, FieldError) else "there"
        found = json_type(flat[where]) if where in flat else "missing"
        if isinstance(flat.get(where), str) and schema.field_types[name] in (MOMENT, DAY):
            found = "another string"
        if inner and not isinstance(content.get(member), dict):
            where = member
        raise malformed(f"{path}.{where}", expected, found, worklog_id=told_id(schema, content))

    return read


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


def _first(group: cattrs.ClassValidationError) -> tuple[str, Exception]:
    """Return the first attribute that cattrs complains about, and why."""
    with_notes, _ = group.group_exceptions()
    problem, note = with_notes[0]
    return note.name, problem


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
    unstructure = make_dict_unstructure_fn(Worklog, converter, **overrides)

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
        self._read = worklog_reader(schema)
        self._of_page = Members(schema.items, schema.cursor, schema.total, *schema.links)
        self._of_worklog = Members(*schema.groups)

    def page(self, response: Response) -> DecodedPage[Worklog]:
        """Read the response to a list."""
        schema = self.schema
        members = self._members(self._of_page, checked(response), "$", response)
        path = f"$.{schema.items}"
        if schema.items not in members:
            raise malformed(path, "an array", "missing", status=response.status)
        items = elements(members[schema.items], path, response)
        return DecodedPage(
            items=[self._worklog(item, f"{path}[{index}]", response) for index, item in enumerate(items)],
            cursor=self._optional(members, schema.cursor, str, "a string or null", response),
            links=[members.get(name, msgspec.UNSET) for name in schema.links],
            total=or_none(self._optional(members, schema.total, int, "a whole number or null", response)),
        )

    def worklog(self, response: Response) -> Worklog:
        """Read the response to a get, a create or an update."""
        return self._worklog(checked(response), "$", response)

    def _worklog(self, content: bytes | msgspec.Raw, path: str, response: Response) -> Worklog:
        members = self._members(self._of_worklog, content, path, response)
        values = {name: value(raw, f"{path}.{name}", response) for name, raw in members.items()}
        try:
            return self._read(values, path)
        except MalformedResponseError as error:
            error.add(status=response.status)
            raise

    @staticmethod
    def _members(
        wanted: Members, content: bytes | msgspec.Raw, path: str, response: Response
    ) -> dict[str, msgspec.Raw]:
        members = wanted.of(content)
        if members is None:
            raise malformed(path, "an object", json_type(value(content, path, response)), status=response.status)
        return members

    @staticmethod
    def _optional(
        members: dict[str, msgspec.Raw], name: str | None, kind: type[T], expected: str, response: Response
    ) -> T | msgspec.UnsetType | None:
        if name not in members:
            return msgspec.UNSET
        found = value(members[name], f"$.{name}", response)
        if found is not None and type(found) is not kind:
            raise malformed(f"$.{name}", expected, json_type(found), status=response.status)
        return found


def or_none(found: T | msgspec.UnsetType) -> T | None:
    """Return what was found, None if nothing was."""
    return None if isinstance(found, msgspec.UnsetType) else found
