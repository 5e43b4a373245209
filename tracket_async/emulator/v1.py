"""The JSON of API 1.0: read the bodies of requests, render worklogs.

Written from the vendor's page alone. It shares nothing with the client's converters: a field that both misread
would cancel itself out, and every test would pass.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from tracket_async.emulator import json_fields as fields
from tracket_async.emulator.json_fields import Field, instant_or_null, number, number_or_null, string, string_or_null
from tracket_async.emulator.records import NEVER, Worklog, format_instant

_SHARED: Final = (
    Field("userId", "user", fields.name, required=True),
    Field("description", "description", fields.or_null(fields.text)),
    Field("worklogCategory", "category", fields.or_null(fields.text)),
    Field("worklogDate", "date", fields.instant, required=True),
    Field("worklogMinutes", "minutes", fields.minutes, required=True),
    Field("worklogBillableMinutes", "billable", fields.or_null(fields.minutes)),
)

_NEW: Final = (Field("itemId", "item", fields.name, required=True), *_SHARED)


def _custom(value: Any) -> str:
    given = fields.mapping(value)
    for key, option in given.items():
        if fields.name(key) in ("category", "project"):
            raise ValueError(f"must not hold {key}, which has a field of its own")
        fields.text(option)
    return json.dumps(given, ensure_ascii=False, separators=(",", ":"))


_STORED: Final = (
    Field("worklogId", "id", fields.name, required=True),
    # a read worklog always has the key; its value may be null
    Field("itemId", "item", fields.or_null(fields.name), required=True),
    *_SHARED,
    Field("createdDate", "created", fields.instant_or_never),
    Field("updatedDate", "updated", fields.instant_or_never),
    Field("approvalStatus", "approval", fields.approval),
    Field("approverUserId", "approver", fields.or_null(fields.text)),
    Field("team", "team", fields.or_null(fields.text)),
    Field("board", "board", fields.or_null(fields.text)),
    Field("parentItem", "parent", fields.or_null(fields.text)),
    Field("project", "project", fields.or_null(fields.text)),
    Field("customFields", "custom", _custom),
)


def read_new(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Read the columns of a worklog to create (body of POST /worklogs).

    Raises:
        ApiError: 400, naming the field.
    """
    return {"description": None, "category": None, "billable": None} | fields.read_object(payload, _NEW)


def read_changes(payload: Mapping[str, Any], current: Worklog) -> dict[str, Any]:  # noqa: ARG001 -- as in v2
    """Read the columns to change (body of PUT /worklogs/{id}): absent leaves a field, null clears it.

    Raises:
        ApiError: 400, naming the field.
    """
    return fields.read_object(payload, _NEW, partial=True)


def read_stored(payload: Mapping[str, Any], *, partial: bool = False) -> dict[str, Any]:
    """Read the columns of a worklog as the server shows it: seeds, and changes behind the client's back.

    It is the 1.0 shape, plus `team`, `board`, `parentItem`, `project` and `customFields` for what only 2.0 shows.

    Raises:
        ApiError: 400, naming the field.
    """
    columns = fields.read_object(payload, _STORED, partial=partial)
    return columns if partial else {"description": None, "category": None, "billable": None} | columns


def render(worklog: Worklog) -> bytes:
    """Render the worklog as lists, reads and creations show it."""
    approver = f'"approvalStatus":"{worklog.approval}","approverUserId":{string_or_null(worklog.approver)}}}'
    return f"{_render_head(worklog)},{approver}".encode()


def render_updated(worklog: Worklog) -> bytes:
    """Render the worklog as PUT shows it: the vendor's page lists no approvalStatus there."""
    return f'{_render_head(worklog)},"approverUserId":{string_or_null(worklog.approver)}}}'.encode()


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
