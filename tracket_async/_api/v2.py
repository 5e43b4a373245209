"""API 2.0, "timeEntries": the names of its fields in JSON, its paths and query, and its last step of decoding.

Names that are inferred, seen neither in the vendor's pages nor in a client that runs against it, are marked so here;
what has them is read tolerantly.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from typing import Any, Final

import msgspec

from tracket_async._api.endpoints import ApiVersion, Query
from tracket_async._api.fast import NO_FIELDS, Days, Declined, FastReader, Finisher, unfrozen
from tracket_async._api.schema import DAY, FIELD_TYPES, OTHER_SPELLINGS, STATUSES, Schema
from tracket_async._http.messages import Json
from tracket_async._timestamps import first_millisecond, in_utc, last_millisecond, write_day
from tracket_async.errors import UsageError
from tracket_async.models import ReadOnlyDict, Worklog, WorklogFilter

STATUS_NAMES: Final = ("status", "approvalStatus", "state", "value")
"""The names of the status in an ``approval`` that is an object (inferred); the first that is not null counts."""
APPROVER_NAMES: Final = ("approver", "approverUserId", "approverId", "approvedBy", "user", "userId")
"""The names that the approver may have in it: a user's id, or an object with one (inferred)."""
USER_ID_NAMES: Final = ("id", "userId")
"""The names that the id may have in an approver that is an object (inferred)."""


def split_approval(approval: Json) -> tuple[Json, Json, bool]:
    """Return the status and the approver's id in an ``approval``, as they stand there, and whether that is all of it.

    It is a status alone, or an object. A name whose value is null is as good as none.
    """
    if not isinstance(approval, dict):
        return approval, None, True
    status_name, approver_name = _first(approval, STATUS_NAMES), _first(approval, APPROVER_NAMES)
    approver, complete = approval.get(approver_name), _has_no_other(approval, (status_name, approver_name))
    if isinstance(approver, dict):
        id_name = _first(approver, USER_ID_NAMES)
        complete = complete and _has_no_other(approver, (id_name,))
        approver = approver.get(id_name)
    return approval.get(status_name), approver, complete


def _first(content: Mapping[str, Json], names: tuple[str, ...]) -> str:
    for name in names:
        if content.get(name) is not None:
            return name
    return names[0]


def _has_no_other(content: Mapping[str, Json], names: tuple[str, ...]) -> bool:
    # No generator: this may run for every entry of every page.
    for name in content:  # noqa: SIM110
        if name not in names and content[name] is not None:
            return False
    return True


SCHEMA: Final = Schema(
    version="2.0",
    names={
        "id": "id",  # inferred
        "item_id": "item",
        "user_id": "user",
        "date": "date",
        "minutes": "minutes",
        "billable_minutes": "billableMinutes",
        "team_id": "team",
        "description": "description",
        "category_id": "customFields.category",
        "project_id": "customFields.project",
        "custom_fields": "customFields",
        "board_id": "board",  # inferred
        "parent_item_id": "parentItem",  # inferred
        "approval_status": "approval.status",  # inferred
        "approver_user_id": "approval.approver",  # inferred
        "created_date": "createdDate",
        "updated_date": "updatedDate",
    },
    field_types={**FIELD_TYPES, "date": DAY},
    items="items",
    cursor="nextCursor",
    total="total",
    links=("_links", "links"),  # the second is inferred
    splits={"approval": split_approval},
)


class CustomFields(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The custom fields of an account that has none of its own."""

    category: str | None = None
    project: str | None = None


class Approval(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The likeliest ``approval``; where a name is missing, another one may be there."""

    status: str | None
    approver: str | None


_days: Final = Days()
LIKELIEST_NAMES: Final = (STATUS_NAMES[0], APPROVER_NAMES[0])
TEXT_OR_NULL: Final = (str, type(None))


def to_rows(rows: Sequence[Any]) -> None:
    """Make rows of what was decoded, in place."""
    text = date = None
    for row in rows:
        if (found := row.date) != text:
            text, date = found, _days[found]
        row.date = date
        if (moment := row.created_date) is not None and moment.tzinfo is not UTC:
            row.created_date = in_utc(moment)
        if (moment := row.updated_date) is not None and moment.tzinfo is not UTC:
            row.updated_date = in_utc(moment)
        content = row.custom_fields
        if type(content) is CustomFields:
            row.category_id, row.project_id, row.custom_fields = content.category, content.project, NO_FIELDS
        else:
            row.category_id, row.project_id, custom_fields = _split_custom_fields(content)
            row.custom_fields = NO_FIELDS if content is None else custom_fields
        content = row.approver_user_id
        if type(content) is Approval:
            status, row.approver_user_id = content.status, content.approver
        else:
            status, row.approver_user_id, complete = _split_approval(content)
            if not complete:
                row.kept = _kept(row.kept, content)
        row.approval_status = OTHER_SPELLINGS[status] if status in OTHER_SPELLINGS else status  # noqa: SIM401 - get() costs twice as much


def to_worklogs(rows: Sequence[Any]) -> list[Worklog]:
    """Make a worklog of each thing that was decoded, in their order."""
    worklogs: list[Worklog] = []
    add = worklogs.append
    text = date = None
    for row in rows:
        if (found := row.date) != text:
            text, date = found, _days[found]
        created_date, updated_date = row.created_date, row.updated_date
        if created_date is not None and created_date.tzinfo is not UTC:
            created_date = in_utc(created_date)
        if updated_date is not None and updated_date.tzinfo is not UTC:
            updated_date = in_utc(updated_date)
        worklog = unfrozen()
        worklog.id = row.id
        worklog.user_id = row.user_id
        worklog.date = date
        worklog.minutes = row.minutes
        worklog.item_id = row.item_id
        worklog.description = row.description
        worklog.billable_minutes = row.billable_minutes
        worklog.created_date = created_date
        worklog.updated_date = updated_date
        worklog.team_id = row.team_id
        worklog.board_id = row.board_id
        worklog.parent_item_id = row.parent_item_id
        content = row.custom_fields
        if type(content) is CustomFields:
            worklog.category_id, worklog.project_id, worklog.custom_fields = content.category, content.project, {}
        else:
            worklog.category_id, worklog.project_id, worklog.custom_fields = _split_custom_fields(content)
        content = row.approver_user_id
        if type(content) is Approval:
            status, worklog.approver_user_id = content.status, content.approver
        else:
            status, worklog.approver_user_id, complete = _split_approval(content)
            if not complete:
                row.kept = _kept(row.kept, content)
        worklog.extra = row.kept
        worklog.approval_status = STATUSES[status] if status in STATUSES else status  # noqa: SIM401 - as above
        worklog.__class__ = Worklog
        add(worklog)
    return worklogs


def _kept(kept: Mapping[str, Any], approval: Any) -> ReadOnlyDict:
    return ReadOnlyDict({**kept, "approval": approval} if kept else {"approval": approval})


def _split_custom_fields(content: dict[str, Any] | None) -> tuple[str | None, str | None, dict[str, Any]]:
    """Return the category, the project, and the other custom fields."""
    if content is None:
        return None, None, {}
    category, project = content.pop("category", None), content.pop("project", None)
    if (category is None or type(category) is str) and (project is None or type(project) is str):
        return category, project, content
    raise Declined


def _split_approval(content: Any) -> tuple[str | None, str | None, bool]:
    """Return the status, the approver's id, and whether that is all."""
    approval: dict[str, Any] = content  # if it is an object
    if type(approval) is dict:
        status, approver = approval.get("status"), approval.get("approver")
        if type(status) is type(approver) is str:  # the likeliest names, both: what `split_approval` returns, at once
            return status, approver, len(approval) == 2 or _has_no_other(approval, LIKELIEST_NAMES)  # noqa: PLR2004
    status, approver, complete = split_approval(content)
    if type(status) in TEXT_OR_NULL and type(approver) in TEXT_OR_NULL:
        return status, approver, complete  # type: ignore[return-value] # their types were just looked at
    raise Declined


FINISHER: Final = Finisher(
    forms=(
        {"customFields": CustomFields, "approval": Approval},
        {"approval": Approval},
        {"customFields": CustomFields},
        {},
    ),
    to_rows=to_rows,
    to_worklogs=to_worklogs,
)

BOUNDS: Final[tuple[tuple[str, str, Callable[[dt.datetime], str]], ...]] = (
    ("since", "fields.date.gte", write_day),
    ("until", "fields.date.lte", write_day),
    ("created_since", "fields.createdDate.gte", first_millisecond),
    ("created_until", "fields.createdDate.lte", last_millisecond),
    ("updated_since", "fields.updatedDate.gte", first_millisecond),
    ("updated_until", "fields.updatedDate.lte", last_millisecond),
)
"""A filter's bounds, their parameters, and how each is written.

Dates are days, of which both are included (inferred), as they are written. The other bounds are rounded outwards to
milliseconds.
"""

SORT_FIELDS: Final = {"date": "date", "created_date": "createdDate", "updated_date": "updatedDate"}


MAX_PAGE_SIZE: Final = 100


def api_version(*, page_size: int = MAX_PAGE_SIZE) -> ApiVersion:
    """Make the `ApiVersion` of API 2.0.

    Args:
        page_size: worklogs on a page of a list that does not say, 1 to 100.

    Raises:
        UsageError: ``page_size`` is out of range.
    """
    if not 1 <= page_size <= MAX_PAGE_SIZE:
        raise UsageError(f"page_size must lie between 1 and {MAX_PAGE_SIZE}, not be {page_size}")
    return ApiVersion(
        schema=SCHEMA,
        fast=FastReader(SCHEMA, FINISHER),
        default_origin="https://us.production.timesheet.avisi-apps.com",
        path="/api/2.0/timeEntries",
        filter_query=filter_query,
        filter_parameters=frozenset({"sortBy", "sortType", *(parameter for _, parameter, _ in BOUNDS)}),
        filters_ranges=True,
        cursor_parameter="after",
        size_parameter="size",
        page_size=page_size,
        max_page_size=MAX_PAGE_SIZE,
        categories_path="/api/2.0/templates/timeEntry/fields/category/options",
    )


def filter_query(wanted: WorklogFilter) -> Query:
    """Return the order, which is always said since the server's own is descending, and each bound that there is."""
    bounds = ((parameter, write, getattr(wanted, name)) for name, parameter, write in BOUNDS)
    return (
        ("sortBy", SORT_FIELDS[wanted.sort_by]),
        ("sortType", "desc" if wanted.descending else "asc"),
        *((parameter, write(bound)) for parameter, write, bound in bounds if bound is not None),
    )
