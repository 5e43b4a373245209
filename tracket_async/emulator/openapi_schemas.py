"""The JSON schemas of everything that goes in and comes out, for the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

from tracket_async.emulator.listing import V2_LARGEST_SIZE
from tracket_async.emulator.oauth import GRANT
from tracket_async.emulator.settings import Settings
from tracket_async.emulator.worklog import APPROVAL_STATUSES

Schema = dict[str, Any]

_NAME: Final[Schema] = {"type": "string", "minLength": 1}
_TEXT: Final[Schema] = {"type": ["string", "null"]}
_MINUTES: Final[Schema] = {"type": "number", "minimum": 0}
_MINUTES_OR_NULL: Final[Schema] = {"type": ["number", "null"], "minimum": 0}
_DAY: Final[Schema] = {"type": "string", "format": "date"}
_INSTANT: Final[Schema] = {"type": "string", "format": "date-time"}
_INSTANT_OR_NULL: Final[Schema] = {"type": ["string", "null"], "format": "date-time"}
_STATUS: Final[Schema] = {"type": "string", "enum": list(APPROVAL_STATUSES)}


def ref(name: str) -> Schema:
    """A reference to one of the schemas here."""
    return {"$ref": f"#/components/schemas/{name}"}


def closed(properties: Schema, *optional: str) -> Schema:
    """An object with these keys, all of them there but the optional ones, and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _given(properties: Schema, *required: str) -> Schema:
    """An object that a client sends: what it holds beyond these keys is ignored."""
    schema: Schema = {"type": "object", "properties": properties}
    return {**schema, "required": list(required)} if required else schema


_V1_GIVEN: Final[Schema] = {
    "itemId": _NAME,
    "userId": _NAME,
    "description": _TEXT,
    "worklogCategory": _TEXT,
    "worklogDate": _INSTANT,
    "worklogMinutes": _MINUTES,
    "worklogBillableMinutes": _MINUTES_OR_NULL,
}
_V1_SHOWN: Final[Schema] = {
    **_V1_GIVEN,
    "itemId": {"type": ["string", "null"]},
    "worklogId": _NAME,
    "createdDate": _INSTANT,
    "updatedDate": _INSTANT_OR_NULL,
    "approverUserId": _TEXT,
}
_V2_GIVEN: Final[Schema] = {
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


def schemas(settings: Settings) -> dict[str, Schema]:
    """All schemas, by name.

    Args:
        settings: The shape of 2.0's approval follows them.
    """
    approval = closed({"status": _STATUS, "approver": _TEXT}) if settings.approval_shape == "object" else _STATUS
    entry: Schema = {
        "id": _NAME,
        **_V2_GIVEN,
        "item": {"type": ["string", "null"]},
        "customFields": {"type": "object", "additionalProperties": {"type": "string"}},
        "board": _TEXT,
        "parentItem": _TEXT,
        "approval": approval,
        "createdDate": _INSTANT,
        "updatedDate": _INSTANT_OR_NULL,
    }
    link = closed({"href": {"type": "string"}})
    return {
        "Worklog": closed({**_V1_SHOWN, "approvalStatus": _STATUS}, "createdDate"),
        "UpdatedWorklog": closed(_V1_SHOWN, "createdDate"),
        "NewWorklog": _given(_V1_GIVEN, "itemId", "userId", "worklogDate", "worklogMinutes"),
        "WorklogChanges": _given(_V1_GIVEN),
        "Worklogs": closed(
            {
                "worklogs": {"type": "array", "items": ref("Worklog"), "maxItems": settings.page_size},
                "next-cursor": {"type": "string"},
            },
            "next-cursor",
        ),
        "TimeEntry": closed(entry, "createdDate"),
        "NewTimeEntry": _given(_V2_GIVEN, "item", "user", "date", "minutes"),
        "TimeEntryChanges": _given(_V2_GIVEN),
        "TimeEntries": closed(
            {
                "size": {"type": "integer", "minimum": 1, "maximum": V2_LARGEST_SIZE},
                "total": {"type": "integer", "minimum": 0},
                "items": {"type": "array", "items": ref("TimeEntry"), "maxItems": V2_LARGEST_SIZE},
                "nextCursor": {"type": "string"},
                "_links": closed({"self": link, "next": link}, "next"),
            },
            "nextCursor",
        ),
        "Categories": closed(
            {"items": {"type": "array", "items": closed({"id": {"type": "string"}, "name": {"type": "string"}})}}
        ),
        "TokenRequest": _given(
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
        "Token": closed(
            {
                "access_token": _NAME,
                "token_type": {"const": "Bearer"},
                "expires_in": {"type": "integer", "minimum": 0},
            }
        ),
        "Message": closed({"message": {"type": "string"}}),
        "Error": closed({"error": {"type": "string"}, "field": {"type": "string"}}, "field"),
    }
