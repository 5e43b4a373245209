"""The JSON of API 1.0: read the bodies of requests, render worklogs.

Written from the vendor's page alone. It shares nothing with the client's converters: a field that both misread
would cancel itself out, and every test would pass.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from tracket_async.emulator import json_fields
from tracket_async.emulator.json_fields import Field, instant_or_null, number, number_or_null, string, string_or_null
from tracket_async.emulator.records import NEVER, Worklog, format_instant

_SHARED: Final = (
    Field("userId", "user", json_fields.name, required=True),
    Field("description", "description", json_fields.or_null(json_fields.text)),
    Field("worklogCategory", "category", json_fields.or_null(json_fields.text)),
    Field("worklogDate", "date", json_fields.instant, required=True),
    Field("worklogMinutes", "minutes", json_fields.minutes, required=True),
    Field("worklogBillableMinutes", "billable", json_fields.or_null(json_fields.minutes)),
)

_NEW: Final = (Field("itemId", "item", json_fields.name, required=True), *_SHARED)


def _custom(value: Any) -> str:
    given = json_fields.mapping(value)
    for key, option in given.items():
        if json_fields.name(key) in ("category", "project"):
            raise ValueError(f"must not hold {key}, which has a field of its own")
        json_fields.text(option)
    return json.dumps(given, ensure_ascii=False, separators=(",", ":"))


_STORED: Final = (
    Field("worklogId", "id", json_fields.name, required=True),
    # a read worklog always has the key; its value may be null
    Field("itemId", "item", json_fields.or_null(json_fields.name), required=True),
    *_SHARED,
    Field("createdDate", "created", json_fields.instant_or_never),
    Field("updatedDate", "updated", json_fields.instant_or_never),
    Field("approvalStatus", "approval", json_fields.approval),
    Field("approverUserId", "approver", json_fields.or_null(json_fields.text)),
    Field("team", "team", json_fields.or_null(json_fields.text)),
    Field("board", "board", json_fields.or_null(json_fields.text)),
    Field("parentItem", "parent", json_fields.or_null(json_fields.text)),
    Field("project", "project", json_fields.or_null(json_fields.text)),
    Field("customFields", "custom", _custom),
)


def read_new(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Read the columns of a worklog to create (body of POST /worklogs).

    Raises:
        ApiError: 400, naming the field.
    """
    return {"description": None, "category": None, "billable": None} | json_fields.read_object(payload, _NEW)


def read_changes(payload: Mapping[str, Any], current: Worklog) -> dict[str, Any]:  # noqa: ARG001 -- as in v2
    """Read the columns to change (body of PUT /worklogs/{id}): absent leaves a field, null clears it.

    Raises:
        ApiError: 400, naming the field.
    """
    return json_fields.read_object(payload, _NEW, partial=True)


def read_stored(payload: Mapping[str, Any], *, partial: bool = False) -> dict[str, Any]:
    """Read the columns of a worklog as the server shows it: seeds, and changes behind the client's back.

    It is the 1.0 shape, plus `team`, `board`, `parentItem`, `project` and `customFields` for what only 2.0 shows.

    Raises:
        ApiError: 400, naming the field.
    """
    columns = json_fields.read_object(payload, _STORED, partial=partial)
    return columns if partial else {"description": None, "category": None, "billable": None} | columns


def render(worklog: Worklog) -> bytes:
    """Render the worklog as lists, reads and creations show it."""
    approver = f'"approvalStatus":"{worklog.approval}","approverUserId":{string_or_null(worklog.approver)}}}'
    return f"{_render_head(worklog)},{approver}".encode()


def render_updated(worklog: Worklog) -> bytes:
    """Render the worklog as PUT shows it: the vendor's page lists no approvalStatus there."""
    return f'{_render_head(worklog)},"approverUserId":{string_or_null(worklog.approver)}}}'.encode()


STARRED: Final = ("itemId", "userId", "worklogDate", "worklogMinutes", "worklogId")
"""The fields of a worklog that the vendor's page marks as always there."""


def starred(body: bytes) -> bytes:
    """Return the JSON of a worklog, or of a page of them, without the fields that may be missing."""
    payload = json.loads(body)
    worklogs = payload.get("worklogs", [payload])
    for worklog in worklogs:
        for name in worklog.keys() - {*STARRED, "message"}:
            del worklog[name]
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()


def _render_head(worklog: Worklog) -> str:
    created = "" if worklog.created == NEVER else f'"createdDate":"{format_instant(worklog.created)}",'
    return (
        f'{{"itemId":{string_or_null(worklog.item)},"userId":{string(worklog.user)},'
        f'"description":{string_or_null(worklog.description)},'
        f'"worklogCategory":{string_or_null(worklog.category)},'
        f'"worklogDate":"{format_instant(worklog.date)}","worklogMinutes":{number(worklog.minutes)},'
        f'"worklogBillableMinutes":{number_or_null(worklog.billable)},"worklogId":{string(worklog.id)},'
        f'{created}"updatedDate":{instant_or_null(worklog.updated)}'
    )
