"""The JSON of API 2.0: read the bodies of requests, render time entries.

Written from the public material about 2.0, and independent of the client's converters as `v1` is. Where that material
is silent (the shape of the approval, the effect of a partial update of the custom fields), the choice is made here
alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from tracket_async.emulator import json_fields
from tracket_async.emulator.json_fields import (
    Field,
    checked,
    instant_or_null,
    number,
    number_or_null,
    string,
    string_or_null,
)
from tracket_async.emulator.records import NEVER, Worklog, format_day, format_instant, start_of_day

ApprovalShape = Literal["object", "string"]

_OWN_CUSTOM_FIELDS: Final = {"category": "category", "project": "project"}
"""The keys of customFields that have a column of their own; the rest is kept as it came."""

_NEW: Final = (
    Field("item", "item", json_fields.name, required=True),
    Field("user", "user", json_fields.name, required=True),
    Field("date", "date", json_fields.day, required=True),
    Field("minutes", "minutes", json_fields.minutes, required=True),
    Field("billableMinutes", "billable", json_fields.or_null(json_fields.minutes)),
    Field("team", "team", json_fields.or_null(json_fields.text)),
    Field("description", "description", json_fields.or_null(json_fields.text)),
)


def read_new(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Read the columns of a time entry to create (body of POST /timeEntries).

    Raises:
        ApiError: 400, naming the field.
    """
    columns = {"description": None, "category": None, "billable": None} | json_fields.read_object(payload, _NEW)
    return columns | _read_custom(payload, "{}")


def read_changes(payload: Mapping[str, Any], current: Worklog) -> dict[str, Any]:
    """Read the columns to change (body of PUT /timeEntries/{id}): absent leaves a field, null clears it.

    customFields are merged key by key, which loses nothing where a client sends only what it changes; null
    for a key removes it. A date that is the entry's day already leaves the time of day that 1.0 shows.

    Raises:
        ApiError: 400, naming the field.
    """
    columns = json_fields.read_object(payload, _NEW, partial=True)
    if columns.get("date") == start_of_day(current.date):
        del columns["date"]
    return columns | _read_custom(payload, current.custom)


def renderer(shape: ApprovalShape) -> Callable[[Worklog], bytes]:
    """Return the function that renders a time entry, with the approval as an object or as a bare string."""
    return _render_with_object if shape == "object" else _render_with_string


def _render_with_object(entry: Worklog) -> bytes:
    return _render(entry, f'{{"status":"{entry.approval}","approver":{string_or_null(entry.approver)}}}')


def _render_with_string(entry: Worklog) -> bytes:
    return _render(entry, f'"{entry.approval}"')


def _render(entry: Worklog, approval: str) -> bytes:
    created = "" if entry.created == NEVER else f'"createdDate":"{format_instant(entry.created)}",'
    custom = ",".join(
        part
        for part in (
            f'"category":{string(entry.category)}' if entry.category is not None else "",
            f'"project":{string(entry.project)}' if entry.project is not None else "",
            entry.custom[1:-1],
        )
        if part
    )
    return (
        f'{{"id":{string(entry.id)},"item":{string_or_null(entry.item)},"user":{string(entry.user)},'
        f'"date":"{format_day(entry.date)}","minutes":{number(entry.minutes)},'
        f'"billableMinutes":{number_or_null(entry.billable)},"team":{string_or_null(entry.team)},'
        f'"description":{string_or_null(entry.description)},"customFields":{{{custom}}},'
        f'"board":{string_or_null(entry.board)},"parentItem":{string_or_null(entry.parent)},'
        f'"approval":{approval},{created}"updatedDate":{instant_or_null(entry.updated)}}}'
    ).encode()


def _read_custom(payload: Mapping[str, Any], current: str) -> dict[str, Any]:
    if "customFields" not in payload:
        return {}
    given = checked(json_fields.mapping, payload["customFields"], "customFields")
    columns: dict[str, Any] = {}
    others: dict[str, str] = json.loads(current)
    for key, value in given.items():
        where = f"customFields.{key.encode(errors='replace').decode()}"
        option = checked(json_fields.or_null(json_fields.text), value, where)
        if key in _OWN_CUSTOM_FIELDS:
            columns[_OWN_CUSTOM_FIELDS[key]] = option
        elif option is None:
            others.pop(key, None)
        else:
            others[checked(json_fields.name, key, where)] = option
    columns["custom"] = json.dumps(others, ensure_ascii=False, separators=(",", ":"))
    return columns
