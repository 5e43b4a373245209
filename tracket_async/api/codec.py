"""The general path between dicts and models: one cattrs converter for each layout. Tolerant in, strict out.

Reading, a worklog is flattened to one level of wire names and structured by a function that cattrs generates from
`Worklog` and the layout's names. Writing goes the other way round. A wrong value is a `MalformedResponseError` that
names the JSON path and, where it can be told, the worklog.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from tracket_async.api.body import Json
from tracket_async.api.faults import json_type, malformed
from tracket_async.api.layout import ATTRIBUTES, DAY, MOMENT, Kind, Layout, Misread, flatten, nest
from tracket_async.errors import UnsupportedError
from tracket_async.fields import UNSET
from tracket_async.models import NewWorklog, Worklog, WorklogChanges

T = TypeVar("T")


def make_converter(layout: Layout) -> cattrs.Converter:
    """A converter that structures `Worklog` and unstructures `Worklog`, `NewWorklog` and `WorklogChanges`.

    Structuring raises `MalformedResponseError`. Unstructuring gives dicts that JSON can write; it raises
    `UnsupportedError` when a `NewWorklog` or `WorklogChanges` says something that this version of the API cannot. (Of a
    `Worklog` it leaves out what this version does not have.)
    """
    converter = cattrs.Converter()
    read = worklog_reader(layout)
    converter.register_structure_hook(Worklog, lambda value, _type: read(value, "$"))
    converter.register_unstructure_hook(Worklog, _worklog_writer(layout, converter))
    converter.register_unstructure_hook(NewWorklog, _writer(layout, converter, NewWorklog))
    converter.register_unstructure_hook(WorklogChanges, _writer(layout, converter, WorklogChanges))
    return converter


def told_id(layout: Layout, content: Mapping[str, Any]) -> str | None:
    """The id of a worklog that may be malformed; None when it cannot be told."""
    value = content.get(layout.names["id"])
    try:
        return layout.kinds["id"].read(value)  # type: ignore[no-any-return]
    except ValueError:
        return None


def worklog_reader(layout: Layout) -> Callable[[Json, str], Worklog]:
    """A function from a JSON value, and the JSON path where it stands, to the worklog that it is."""
    overrides: dict[str, Any] = {
        name: override(rename=layout.names[name], struct_hook=_hook(layout.kinds[name], attribute))
        if name in layout.names
        else override(omit=True)
        for name, attribute in ATTRIBUTES.items()
    }
    structure = make_dict_structure_fn(Worklog, cattrs.Converter(), _cattrs_detailed_validation=True, **overrides)

    def read(content: Json, path: str) -> Worklog:
        if not isinstance(content, dict):
            raise malformed(path, "an object", json_type(content))
        flat = flatten(layout, content)
        try:
            return structure(flat, Worklog)
        except cattrs.ClassValidationError as group:
            name, problem = _first(group)
        where = layout.names[name]
        member, _, inner = where.partition(".")
        expected = str(problem) if isinstance(problem, Misread) else "there"
        found = json_type(flat[where]) if where in flat else "missing"
        if isinstance(flat.get(where), str) and layout.kinds[name] in (MOMENT, DAY):
            found = "another string"
        if inner and not isinstance(content.get(member), dict):
            where = member
        raise malformed(f"{path}.{where}", expected, found, worklog_id=told_id(layout, content))

    return read


def _hook(kind: Kind, attribute: attrs.Attribute[Any]) -> Callable[[Any, Any], Any]:
    if attribute.default is attrs.NOTHING:

        def read_required(value: Any, _type: Any) -> Any:
            return kind.read(value)

        return read_required

    default: Any = attribute.default
    make: Callable[[], Any] = default.factory if isinstance(default, attrs.Factory) else lambda: default  # type: ignore[arg-type]

    def read_optional(value: Any, _type: Any) -> Any:
        return make() if value is None else kind.read(value)

    return read_optional


def _first(group: cattrs.ClassValidationError) -> tuple[str, Exception]:
    """The first attribute that cattrs complains about, and why."""
    with_notes, _ = group.group_exceptions()
    problem, note = with_notes[0]
    return note.name, problem


def _write_or_none(kind: Kind) -> Callable[[Any], Any]:
    def write(value: Any) -> Any:
        return None if value is None else kind.write(value)

    return write


def _worklog_writer(layout: Layout, converter: cattrs.Converter) -> Callable[[Worklog], dict[str, Any]]:
    overrides: dict[str, Any] = {
        name: override(
            rename=layout.names[name],
            unstruct_hook=_write_or_none(layout.kinds[name]),
            omit_if_default=layout.names[name] in layout.omitted,
        )
        if name in layout.names
        else override(omit=True)
        for name in ATTRIBUTES
    }
    unstructure = make_dict_unstructure_fn(Worklog, converter, **overrides)

    def write(worklog: Worklog) -> dict[str, Any]:
        return nest(unstructure(worklog))

    return write


def _writer(layout: Layout, converter: cattrs.Converter, model: type[T]) -> Callable[[T], dict[str, Any]]:
    """Writes what is said and leaves out what is not: a value that is its attribute's default says nothing."""
    names = tuple(attrs.fields_dict(model))  # type: ignore[arg-type]
    overrides: dict[str, Any] = {
        name: override(rename=layout.names[name], unstruct_hook=_write_or_none(layout.kinds[name]))
        if name in layout.names
        else override(omit=True)
        for name in names
    }
    unstructure = make_dict_unstructure_fn(model, converter, _cattrs_omit_if_default=True, **overrides)
    lacking = tuple(name for name in names if name not in layout.names)

    def write(said: T) -> dict[str, Any]:
        for name in lacking:
            value = getattr(said, name)
            if value is not UNSET and (value or model is WorklogChanges):
                raise UnsupportedError(f"API {layout.version} has no {name}; leave it out, or use API 2.0")
        return nest(unstructure(said))

    return write
