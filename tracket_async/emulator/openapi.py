"""The OpenAPI 3.1 document of both versions, true to what is served, error answers included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tracket_async.emulator.answers import JSON, Answer, json_answer
from tracket_async.emulator.listing import V2_DEFAULT_SIZE, V2_DIRECTIONS, V2_FILTERS, V2_LARGEST_SIZE, V2_SORTS
from tracket_async.emulator.openapi_schemas import Schema, ref, schemas
from tracket_async.emulator.routes import RESOURCES, Action
from tracket_async.emulator.settings import Settings

_ERRORS: Final = {
    400: "What was sent is malformed; `field` names the field or parameter at fault.",
    401: "No token, a wrong one or an expired one; for the token call: credentials that do not belong together.",
    403: "This token may only read.",
    404: "There is nothing of that id.",
    413: "The body is too large.",
    415: "The body is not declared to be JSON.",
}

_SUMMARIES: Final = {
    "1.0 list": "A page of worklogs, from a date on",
    "1.0 get": "One worklog",
    "1.0 create": "Create a worklog",
    "1.0 update": "Change a worklog: an absent field stays, null clears it",
    "1.0 delete": "Delete a worklog",
    "2.0 list": "A page of time entries",
    "2.0 get": "One time entry",
    "2.0 create": "Create a time entry",
    "2.0 update": "Change a time entry: an absent field stays, null clears it; customFields are merged by key",
    "2.0 delete": "Delete a time entry",
    "2.0 categories": "The categories",
    "2.0 token": "Exchange credentials for a bearer token of both versions",
    "openapi": "This document",
}

_ANSWERS: Final = {
    "1.0 list": "Worklogs",
    "1.0 get": "Worklog",
    "1.0 create": "Worklog",
    "1.0 update": "UpdatedWorklog",
    "1.0 delete": "Message",
    "2.0 list": "TimeEntries",
    "2.0 get": "TimeEntry",
    "2.0 create": "TimeEntry",
    "2.0 update": "TimeEntry",
    "2.0 delete": "Message",
    "2.0 categories": "Categories",
    "2.0 token": "Token",
}

_BODIES: Final = {
    "1.0 create": "NewWorklog",
    "1.0 update": "WorklogChanges",
    "2.0 create": "NewTimeEntry",
    "2.0 update": "TimeEntryChanges",
    "2.0 token": "TokenRequest",
}

_DAY_OR_INSTANT: Final[Schema] = {"type": "string", "anyOf": [{"format": "date"}, {"format": "date-time"}]}
_DAY: Final[Schema] = {"type": "string", "format": "date"}
_CURSOR: Final = "Opaque, from the page before; 400 if it is none, or was given for another order."


def document(settings: Settings) -> Answer:
    """The document, as it is served."""
    paths = {
        resource.path: {
            **({"parameters": [_path_parameter()]} if resource.path.endswith("{id}") else {}),
            **{method.lower(): _operation(action) for method, action in resource.actions.items()},
        }
        for resource in RESOURCES
    }
    return json_answer(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Tracket, emulated",
                "version": "1.0 and 2.0",
                "description": "Worklogs (1.0) and time entries (2.0) over one store. Not the vendor's document.",
                "license": {"name": "MIT", "identifier": "MIT"},
            },
            "servers": [{"url": "/"}],
            "paths": paths,
            "components": {
                "schemas": schemas(settings),
                "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
                "responses": {str(status): _error(status, text) for status, text in _ERRORS.items()},
            },
        }
    )


def _operation(action: Action) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": action.name.replace(" ", "-"),
        "summary": _SUMMARIES[action.name],
        "security": [] if action.open else [{"bearer": []}],
        "responses": _responses(action),
    }
    parameters = _PARAMETERS.get(action.name)
    if parameters:
        operation["parameters"] = [_query_parameter(name, *facts) for name, facts in parameters.items()]
    if action.has_body:
        content = {JSON: {"schema": ref(_BODIES[action.name])}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _responses(action: Action) -> dict[str, Any]:
    schema = ref(_ANSWERS[action.name]) if action.name in _ANSWERS else {"type": "object"}
    done = {"description": "Done.", "headers": _headers(), "content": {JSON: {"schema": schema}}}
    takes_id = action.name.endswith((" get", " update", " delete"))
    errors = {
        400: True,
        401: not action.open or action.name in _BODIES,
        403: action.writes,
        404: takes_id,
        413: True,
        415: action.has_body,
    }
    references = {
        str(status): {"$ref": f"#/components/responses/{status}"} for status, applies in errors.items() if applies
    }
    return {"200": done, **references}


def _error(status: int, description: str) -> dict[str, Any]:
    headers = _headers()
    if status == 401:  # noqa: PLR2004 -- a status
        headers["WWW-Authenticate"] = {"required": True, "schema": {"type": "string"}}
    return {"description": description, "headers": headers, "content": {JSON: {"schema": ref("Error")}}}


def _headers() -> dict[str, Any]:
    return {
        "Date": {"required": True, "description": "The server's time.", "schema": {"type": "string"}},
        "X-Request-Id": {"required": True, "schema": {"type": "string", "minLength": 1}},
    }


def _path_parameter() -> dict[str, Any]:
    return {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _query_parameter(name: str, schema: Schema, description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


def _v2_parameters() -> dict[str, tuple[Schema, str]]:
    size = {"type": "integer", "minimum": 1, "maximum": V2_LARGEST_SIZE, "default": V2_DEFAULT_SIZE}
    parameters: dict[str, tuple[Schema, str]] = {
        "size": (size, "Time entries on a page."),
        "after": ({"type": "string", "format": "cursor"}, _CURSOR),
        "sortBy": ({"type": "string", "enum": list(V2_SORTS), "default": "date"}, "What to sort by."),
        "sortType": ({"type": "string", "enum": list(V2_DIRECTIONS), "default": "desc"}, "Which way."),
    }
    for name in V2_FILTERS:
        schema = _DAY if name == "date" else _DAY_OR_INSTANT
        parameters[f"fields.{name}.gte"] = (schema, f"Only with a {name} at this or later.")
        parameters[f"fields.{name}.lte"] = (schema, f"Only with a {name} at this or earlier.")
    return parameters


_PARAMETERS: Final[Mapping[str, Mapping[str, tuple[Schema, str]]]] = {
    "1.0 list": {
        "startDate": (_DAY_OR_INSTANT, "Only worklogs at this time or later."),
        "cursor": ({"type": "string", "format": "cursor"}, _CURSOR),
    },
    "2.0 list": _v2_parameters(),
}
