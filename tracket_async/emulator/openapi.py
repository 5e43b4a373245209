"""The OpenAPI 3.1 document of both versions, with the schemas of all requests, responses and errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tracket_async.emulator.handlers import V2_DEFAULT_SIZE, V2_DIRECTIONS, V2_FILTERS, V2_LARGEST_SIZE, V2_SORTS
from tracket_async.emulator.oauth import GRANT
from tracket_async.emulator.records import APPROVAL_STATUSES
from tracket_async.emulator.routes import JSON, RESOURCES, Action, ApiResponse, json_response
from tracket_async.emulator.settings import Settings
from tracket_async.emulator.v1 import STARRED

Schema = dict[str, Any]

_NAME: Final[Schema] = {"type": "string", "minLength": 1}
_TEXT: Final[Schema] = {"type": ["string", "null"]}
_MINUTES: Final[Schema] = {"type": "number"}
_MINUTES_OR_NULL: Final[Schema] = {"type": ["number", "null"]}
_DAY: Final[Schema] = {"type": "string", "format": "date"}
_INSTANT: Final[Schema] = {"type": "string", "format": "date-time"}
_INSTANT_OR_NULL: Final[Schema] = {"type": ["string", "null"], "format": "date-time"}
_STATUS: Final[Schema] = {"type": "string", "enum": list(APPROVAL_STATUSES)}


def _ref(name: str) -> Schema:
    """Return a reference to one of the schemas here."""
    return {"$ref": f"#/components/schemas/{name}"}


def _output_object(properties: Schema, *optional: str, required: Sequence[str] | None = None) -> Schema:
    """Return the schema of an object with these keys, all required but the optional ones, and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional] if required is None else list(required),
        "additionalProperties": False,
    }


def _input_object(properties: Schema, *required: str) -> Schema:
    """Return the schema of an object that a client sends: further keys are ignored."""
    schema: Schema = {"type": "object", "properties": properties}
    return {**schema, "required": list(required)} if required else schema


_V1_INPUT: Final[Schema] = {
    "itemId": _NAME,
    "userId": _NAME,
    "description": _TEXT,
    "worklogCategory": _TEXT,
    "worklogDate": _INSTANT,
    "worklogMinutes": _MINUTES,
    "worklogBillableMinutes": _MINUTES_OR_NULL,
}
_V1_OUTPUT: Final[Schema] = {
    **_V1_INPUT,
    "itemId": {"type": ["string", "null"]},
    "worklogId": _NAME,
    "createdDate": _INSTANT,
    "updatedDate": _INSTANT_OR_NULL,
    "approverUserId": _TEXT,
}
_V2_INPUT: Final[Schema] = {
    "item": _NAME,
    "user": _NAME,
    "date": _DAY,
    "minutes": _MINUTES,
    "billableMinutes": _MINUTES_OR_NULL,
    "team": _TEXT,
    "description": _TEXT,
    "customFields": {
        "type": "object",
        "description": "category and project are ids; other keys are custom fields with option ids.",
        "propertyNames": _NAME,
        "additionalProperties": _TEXT,
    },
}


def _schemas(settings: Settings) -> dict[str, Schema]:
    """Return all schemas, by name.

    Args:
        settings: The shape of 2.0's approval follows them.
    """
    approval = (
        _output_object({"status": _STATUS, "approver": _TEXT}) if settings.approval_shape == "object" else _STATUS
    )
    entry: Schema = {
        "id": _NAME,
        **_V2_INPUT,
        "item": {"type": ["string", "null"]},
        "customFields": {"type": "object", "additionalProperties": {"type": "string"}},
        "board": _TEXT,
        "parentItem": _TEXT,
        "approval": approval,
        "createdDate": _INSTANT,
        "updatedDate": _INSTANT_OR_NULL,
    }
    link = _output_object({"href": {"type": "string"}})
    category = _output_object({"id": {"type": "string"}, "name": {"type": "string"}})
    return {
        "Worklog": _output_object({**_V1_OUTPUT, "approvalStatus": _STATUS}, required=STARRED),
        "UpdatedWorklog": _output_object(_V1_OUTPUT, required=STARRED),
        "NewWorklog": _input_object(_V1_INPUT, "itemId", "userId", "worklogDate", "worklogMinutes"),
        "WorklogChanges": _input_object(_V1_INPUT),
        "Worklogs": _output_object(
            {
                "worklogs": {"type": "array", "items": _ref("Worklog"), "maxItems": settings.page_size},
                "next-cursor": {"type": "string"},
            },
            "next-cursor",
        ),
        "TimeEntry": _output_object(entry, "createdDate"),
        "NewTimeEntry": _input_object(_V2_INPUT, "item", "user", "date", "minutes"),
        "TimeEntryChanges": _input_object(_V2_INPUT),
        "TimeEntries": _output_object(
            {
                "size": {"type": "integer", "minimum": 1, "maximum": V2_LARGEST_SIZE},
                "total": {"type": "integer", "minimum": 0},
                "items": {"type": "array", "items": _ref("TimeEntry"), "maxItems": V2_LARGEST_SIZE},
                "nextCursor": {"type": "string"},
                "_links": _output_object({"self": link, "next": link}, "next"),
            },
            "nextCursor",
        ),
        "Categories": _output_object({"items": {"type": "array", "items": category}}),
        "TokenRequest": _input_object(
            {
                "grant-type": {"const": GRANT},
                "monday/account-id": _NAME,
                "client-id": _NAME,
                "client-secret": _NAME,
            },
            "grant-type",
            "monday/account-id",
            "client-id",
            "client-secret",
        ),
        "Token": _output_object(
            {
                "access_token": _NAME,
                "token_type": {"const": "Bearer"},
                "expires_in": {"type": "integer", "minimum": 0},
            }
        ),
        "Message": _output_object({"message": {"type": "string"}}),
        "Error": _output_object({"error": {"type": "string"}, "field": {"type": "string"}}, "field"),
    }


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

_RESPONSES: Final = {
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
_DAY_SCHEMA: Final[Schema] = {"type": "string", "format": "date"}
_CURSOR: Final = "Opaque, from the page before; 400 if it is none, or was given for another order."


def document(settings: Settings) -> ApiResponse:
    """Return the document as it is served."""
    paths = {
        resource.path: {
            **({"parameters": [_path_parameter()]} if resource.path.endswith("{id}") else {}),
            **{method.lower(): _operation(action) for method, action in resource.actions.items()},
        }
        for resource in RESOURCES
    }
    return json_response(
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
                "schemas": _schemas(settings),
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
        content = {JSON: {"schema": _ref(_BODIES[action.name])}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _responses(action: Action) -> dict[str, Any]:
    schema = _ref(_RESPONSES[action.name]) if action.name in _RESPONSES else {"type": "object"}
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
    return {"description": description, "headers": headers, "content": {JSON: {"schema": _ref("Error")}}}


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
        schema = _DAY_SCHEMA if name == "date" else _DAY_OR_INSTANT
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
