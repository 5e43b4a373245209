"""Models as dicts that JSON can hold, and back: in the names of the attributes, and in the names of the API.

`to_dict` and `from_dict` use the names of the attributes; `to_wire` and `from_wire` those of a version of the API, by
its cattrs converter. Dates become text, and nothing else is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal, TypeVar

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.preconf.json import make_converter as make_json_converter

from tracket_async._api import v1, v2
from tracket_async._api.converters import make_converter
from tracket_async._api.schema import FIELD_TYPES
from tracket_async._timestamps import parse_date
from tracket_async.errors import UsageError
from tracket_async.models import NewWorklog, ReadOnlyDict, Worklog, WorklogChanges

Model = TypeVar("Model", Worklog, NewWorklog, WorklogChanges)


def to_wire(model: Worklog | NewWorklog | WorklogChanges, *, api: Literal["1.0", "2.0"] = "2.0") -> dict[str, Any]:
    """Return the dict that this version of the API sends (of a `Worklog`) or is sent (of the others).

    A `Worklog` is written without what this version does not have, and without ``extra``. `NewWorklog` and
    `WorklogChanges` are written with what they say, as a request is.

    Raises:
        UnsupportedError: the model says something that this version cannot.
        UsageError: there is no such version.
    """
    written: dict[str, Any] = _converter_of(api).unstructure(model)
    return written


def from_wire(content: Mapping[str, Any], *, api: Literal["1.0", "2.0"] = "2.0") -> Worklog:
    """Return the worklog that a dict from this version of the API is, read as tolerantly as the client reads.

    Raises:
        MalformedResponseError: its id, date or minutes cannot be read; names the place.
        UsageError: there is no such version.
    """
    return _converter_of(api).structure(dict(content), Worklog)


def to_dict(model: Worklog | NewWorklog | WorklogChanges) -> dict[str, Any]:
    """Return the fields of a model by the names of its attributes, dates as RFC 3339 text with their offset.

    Of `NewWorklog` and `WorklogChanges`, a field that says nothing is left out.
    """
    written: dict[str, Any] = _by_attributes().unstructure(model)
    return written


def from_dict(content: Mapping[str, Any], model: type[Model]) -> Model:
    """Return the model with these fields, by the names of its attributes: `to_dict` undone.

    A date is a ``datetime.date``, an aware datetime, or text: ``2026-03-02`` or RFC 3339.

    Raises:
        TypeError, ValueError: a field is missing, unknown or wrong; names it.
    """
    try:
        return _by_attributes().structure(content, model)
    except cattrs.ForbiddenExtraKeysError as error:
        problem = f"{model.__name__} has no {' and no '.join(sorted(error.extra_fields))}"
    except KeyError as error:
        problem = f"{error.args[0]} is missing"
    raise ValueError(problem)


@cache
def _converter_of(api: str) -> cattrs.Converter:
    schemas = {"1.0": v1.SCHEMA, "2.0": v2.SCHEMA}
    if api not in schemas:
        raise UsageError(f"The version of the API must be {' or '.join(schemas)}, not {api!r}")
    return make_converter(schemas[api])


@cache
def _by_attributes() -> cattrs.Converter:
    converter = make_json_converter(detailed_validation=False)
    for model, reader_of, omit in (
        (Worklog, _reader, False),
        (NewWorklog, _reader_of_text, True),
        (WorklogChanges, _reader_of_text, True),
    ):
        hooks: dict[str, Any] = {each.name: override(struct_hook=reader_of(each)) for each in attrs.fields(model)}
        read = make_dict_structure_fn(model, converter, _cattrs_forbid_extra_keys=True, **hooks)
        write = make_dict_unstructure_fn(model, converter, _cattrs_omit_if_default=omit)
        converter.register_structure_hook(model, read)
        converter.register_unstructure_hook(model, write)
    return converter


def _reader(attribute: attrs.Attribute[Any]) -> Callable[[Any, Any], Any]:
    """Return the reader of a field of `Worklog`, which has no validators of its own."""
    if attribute.name == "extra":
        return lambda content, _type: ReadOnlyDict(content)
    optional, field_type = attribute.default is None, FIELD_TYPES[attribute.name]

    def read(content: Any, _type: Any) -> Any:
        if content is None and optional:
            return None
        try:
            return field_type.read(content)
        except ValueError as error:
            problem = f"{attribute.name} must be {error}"
        raise ValueError(problem)

    return read


def _reader_of_text(attribute: Any) -> Callable[[Any, Any], Any]:
    """Return the reader of a field whose model checks it: text is made a date where one belongs."""
    is_date = attribute.converter is not None
    return lambda content, _type: parse_date(content) if is_date and isinstance(content, str) else content
