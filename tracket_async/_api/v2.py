"""API 2.0, "timeEntries": its names and its query, after what is public about it.

Names that are inferred, seen neither in the vendor's pages nor in a client that runs against it, are marked so here;
what has them is read tolerantly.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Final

from tracket_async._api.endpoints import ApiVersion, Query
from tracket_async._api.schema import DAY, FIELD_TYPES, Schema
from tracket_async._http.messages import Json
from tracket_async._timestamps import first_day, first_millisecond, last_millisecond, write_day
from tracket_async.errors import UsageError
from tracket_async.models import WorklogFilter

STATUS_NAMES: Final = ("status", "approvalStatus", "state", "value")
"""Where an ``approval`` that is an object may have its status (inferred); the first that is there counts."""
APPROVER_NAMES: Final = ("approver", "approverUserId", "approverId", "approvedBy", "user", "userId")
"""Where it may have its approver: a user's id, or an object with one (inferred)."""
USER_ID_NAMES: Final = ("id", "userId")
"""Where an approver that is an object may have its id (inferred)."""


def split_approval(approval: Json) -> tuple[Json, Json]:
    """The status and the approver's id in an ``approval``, as they stand there: a status alone, or an object."""
    if not isinstance(approval, dict):
        return approval, None
    try:
        # The likeliest names, without a search: this runs for every entry of every page.
        status, approver = approval["status"], approval["approver"]
    except KeyError:
        status, approver = _first(approval, STATUS_NAMES), _first(approval, APPROVER_NAMES)
    if isinstance(approver, dict):
        approver = _first(approver, USER_ID_NAMES)
    return status, approver


def _first(content: Mapping[str, Json], names: tuple[str, ...]) -> Json:
    for name in names:
        if name in content:
            return content[name]
    return None


SCHEMA: Final = Schema(
    version="2.0",
    names={
        "id": "id",  # inferred
        "user_id": "user",
        "date": "date",
        "minutes": "minutes",
        "item_id": "item",
        "description": "description",
        "category_id": "customFields.category",
        "billable_minutes": "billableMinutes",
        "created_date": "createdDate",
        "updated_date": "updatedDate",
        "approval_status": "approval.status",  # inferred
        "approver_user_id": "approval.approver",  # inferred
        "team_id": "team",
        "project_id": "customFields.project",
        "board_id": "board",  # inferred
        "parent_item_id": "parentItem",  # inferred
        "custom_fields": "customFields",
    },
    field_types={**FIELD_TYPES, "date": DAY},
    items="items",
    cursor="nextCursor",
    total="total",
    links="_links",
    splits={"approval": split_approval},
)

BOUNDS: Final[tuple[tuple[str, str, Callable[[dt.datetime], str]], ...]] = (
    ("since", "fields.date.gte", first_day),
    ("until", "fields.date.lte", write_day),
    ("created_since", "fields.createdDate.gte", first_millisecond),
    ("created_until", "fields.createdDate.lte", last_millisecond),
    ("updated_since", "fields.updatedDate.gte", first_millisecond),
    ("updated_until", "fields.updatedDate.lte", last_millisecond),
)
"""A filter's bounds, their parameters, and how each is written.

Dates are days, of which both are included (inferred), and a worklog stands at its day's 00:00 UTC: the first day is the
first whose midnight is not before ``since``, the last day is that of ``until``. When no midnight is between the two,
the first day comes out after the last: the question has an empty answer and is asked as it is. The other bounds are
rounded outwards to milliseconds.
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
        default_origin="https://us.production.timesheet.avisi-apps.com",
        path="/api/2.0/timeEntries",
        filter_query=filter_query,
        filters_ranges=True,
        cursor_parameter="after",
        size_parameter="size",
        page_size=page_size,
        max_page_size=MAX_PAGE_SIZE,
        categories_path="/api/2.0/templates/timeEntry/fields/category/options",
    )


def filter_query(wanted: WorklogFilter) -> Query:
    """The order, which is always said since the server's own is descending, and each bound that there is."""
    bounds = ((parameter, write, getattr(wanted, name)) for name, parameter, write in BOUNDS)
    return (
        ("sortBy", SORT_FIELDS[wanted.sort_by]),
        ("sortType", "desc" if wanted.descending else "asc"),
        *((parameter, write(bound)) for parameter, write, bound in bounds if bound is not None),
    )
