"""The models in pydantic, and so in FastAPI: schemas that are made when pydantic asks for them.

pydantic is no dependency: a model's ``__get_pydantic_core_schema__`` imports this module, and pydantic has imported
itself by then. Our own validators judge each field of what a caller says, so that an error names the field; pydantic
adds the JSON Schema, which OpenAPI shows.
"""

from __future__ import annotations

import datetime as dt
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

_DATE: Final = "must be a date such as 2026-03-02, or a date-time with an offset such as 2026-03-02T08:00:00+01:00"


def model_schema(
    model: type[Any],
    handler: GetCoreSchemaHandler,
    *,
    unset: object = None,
    hidden: frozenset[str] = frozenset(),
    strict: bool = False,
) -> CoreSchema:
    """Return the schema of a model: it takes the model itself or a dict of its fields, and is written as such a dict.

    Args:
        model: an attrs class.
        handler: pydantic's.
        unset: the value of a field that is not given, and not written; None: every field is written.
        hidden: fields that are neither read nor written.
        strict: whether a name that is no field is an error, and each field is judged by its validator, which it has.
    """
    from pydantic_core import core_schema

    hints = typing.get_type_hints(model)
    fields: dict[str, Any] = {}
    for attribute in attrs.fields(model):
        if attribute.name in hidden:
            continue
        schema = handler.generate_schema(_hint(hints[attribute.name], attribute, unset))
        if strict:
            schema = core_schema.no_info_before_validator_function(_judge(attribute), schema)
        required = attribute.default is attrs.NOTHING
        fields[attribute.name] = core_schema.typed_dict_field(schema, required=required)
    inner = core_schema.typed_dict_schema(fields, extra_behavior="forbid" if strict else "ignore")
    closed: dict[str, Any] = {"additionalProperties": False} if strict else {}
    inner["metadata"] = {"pydantic_js_updates": {"title": model.__name__, **closed}}

    def read(content: Any, validate: Callable[[Any], Mapping[str, Any]]) -> Any:
        return content if isinstance(content, model) else model(**validate(content))

    def write(value: Any) -> dict[str, Any]:
        found = {name: getattr(value, name) for name in fields}
        return {name: each for name, each in found.items() if unset is None or each is not unset}

    return core_schema.no_info_wrap_validator_function(
        read,
        inner,
        ref=f"{model.__module__}.{model.__qualname__}:{id(model)}",
        serialization=core_schema.plain_serializer_function_ser_schema(write, return_schema=inner),
    )


def _hint(hint: Any, attribute: Any, unset: object) -> Any:
    """Return the type of a field in JSON: a date may be a day, and nothing is unset."""
    if attribute.converter is not None:
        return dt.datetime | dt.date
    if unset is None:
        return hint
    return typing.Union[tuple(each for each in typing.get_args(hint) if each is not type(unset))]  # noqa: UP007


def _judge(attribute: Any) -> Callable[[Any], Any]:
    """Return a function that returns a field's value, read from JSON and checked by the model's own validator."""
    convert, check = attribute.converter, attribute.validator

    def judge(content: Any) -> Any:
        if convert is not None:  # a date
            content = convert(_read_date(attribute.name, content) if isinstance(content, str) else content)
        try:
            check(None, attribute, content)
        except TypeError as error:
            raise ValueError(str(error)) from None  # which pydantic makes an error of this field
        return content

    return judge


def _read_date(name: str, text: str) -> dt.date:
    try:
        return dt.datetime.fromisoformat(text) if "T" in text else dt.date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name} {_DATE}") from None
