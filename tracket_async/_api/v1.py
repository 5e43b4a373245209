"""API 1.0, "worklogs": the names of its fields in JSON, its paths and query, and its last step of decoding.

What the vendor's page "Time entries" of 1.0 leaves open is decided here and nowhere else: the name of the cursor's
parameter and the form of ``startDate`` are settings of `api_version`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from typing import Any, Final

import attrs

from tracket_async._api.endpoints import ApiVersion, Query, StartDate
from tracket_async._api.fast import FastReader, Finisher, unfrozen
from tracket_async._api.schema import OTHER_SPELLINGS, STATUSES, Schema
from tracket_async._timestamps import first_millisecond, in_utc, write_day
from tracket_async.errors import UnsupportedError, UsageError
from tracket_async.models import Worklog, WorklogFilter

SCHEMA: Final = Schema(
    version="1.0",
    names={
        "item_id": "itemId",
        "user_id": "userId",
        "description": "description",
        "category_id": "worklogCategory",
        "date": "worklogDate",
        "minutes": "worklogMinutes",
        "billable_minutes": "worklogBillableMinutes",
        "id": "worklogId",
        "created_date": "createdDate",
        "updated_date": "updatedDate",
        "approval_status": "approvalStatus",
        "approver_user_id": "approverUserId",
    },
    items="worklogs",
    cursor="next-cursor",
    omitted=frozenset({"createdDate", "approvalStatus"}),
)


def to_rows(rows: Sequence[Any]) -> None:
    """Make rows of what was decoded, in place."""
    for row in rows:
        if row.date.tzinfo is not UTC:
            row.date = in_utc(row.date)
        if (moment := row.created_date) is not None and moment.tzinfo is not UTC:
            row.created_date = in_utc(moment)
        if (moment := row.updated_date) is not None and moment.tzinfo is not UTC:
            row.updated_date = in_utc(moment)
        if (status := row.approval_status) in OTHER_SPELLINGS:
            row.approval_status = OTHER_SPELLINGS[status]


def to_worklogs(rows: Sequence[Any]) -> list[Worklog]:
    """Make a worklog of each thing that was decoded, in their order."""
    worklogs: list[Worklog] = []
    add = worklogs.append
    for row in rows:
        date, created_date, updated_date = row.date, row.created_date, row.updated_date
        if date.tzinfo is not UTC:
            date = in_utc(date)
        if created_date is not None and created_date.tzinfo is not UTC:
            created_date = in_utc(created_date)
        if updated_date is not None and updated_date.tzinfo is not UTC:
            updated_date = in_utc(updated_date)
        approval_status = row.approval_status
        if approval_status in STATUSES:
            approval_status = STATUSES[approval_status]
        worklog = unfrozen()
        worklog.id = row.id
        worklog.user_id = row.user_id
        worklog.date = date
        worklog.minutes = row.minutes
        worklog.item_id = row.item_id
        worklog.description = row.description
        worklog.category_id = row.category_id
        worklog.billable_minutes = row.billable_minutes
        worklog.created_date = created_date
        worklog.updated_date = updated_date
        worklog.approval_status = approval_status
        worklog.approver_user_id = row.approver_user_id
        worklog.team_id = worklog.project_id = worklog.board_id = worklog.parent_item_id = None
        worklog.custom_fields = {}
        worklog.extra = row.kept
        worklog.__class__ = Worklog
        add(worklog)
    return worklogs


FINISHER: Final = Finisher(to_rows=to_rows, to_worklogs=to_worklogs)


def _utc_day(moment: dt.datetime) -> str:
    return write_day(moment.astimezone(UTC))


START_DATES: Final[Mapping[StartDate, Callable[[dt.datetime], str]]] = {"moment": first_millisecond, "day": _utc_day}
"""The forms of ``startDate``. Neither begins after the moment that is meant; what comes before it is the client's to
leave out."""

NOT_OFFERED: Final = (
    *("created_since", "created_until", "updated_since", "updated_until"),
    *("sort_by", "descending", "project_ids"),
)
"""The parts of a filter that 1.0 has no parameter or field for. Not ``until``: a client can stop there."""

_ALL: Final = WorklogFilter()

OFFLINE: Final = (
    "Tracket took API 1.0 offline on 2024-10-01: use API 2.0, with a client id and secret (Tracket, Preferences, API"
    ' tokens), and without api="1.0", --api 1.0 or TRACKET_API=1.0.'
    " docs/pages/how-to/migrating-to-2.0.md says what changes"
)


def api_version(*, cursor_parameter: str = "cursor", start_date: StartDate = "moment") -> ApiVersion:
    """Make the `ApiVersion` of API 1.0.

    Args:
        cursor_parameter: the query parameter that takes a page's ``next-cursor`` (the vendor's page hides its name).
        start_date: what ``startDate`` is sent as: ``"moment"``, a date-time in UTC, or ``"day"``, its UTC day.

    Raises:
        UsageError: ``start_date`` is neither, or ``cursor_parameter`` is empty or another parameter's name.
    """
    if start_date not in START_DATES:
        raise UsageError(f"start_date must be one of {', '.join(START_DATES)}, not {start_date!r}")
    if not cursor_parameter or cursor_parameter == "startDate":
        raise UsageError(
            f"cursor_parameter must be the name of another parameter than startDate, not {cursor_parameter!r}"
        )
    return ApiVersion(
        schema=SCHEMA,
        fast=FastReader(SCHEMA, FINISHER),
        default_origin="https://tracket.dev",
        path="/api/1.0/worklogs",
        filters_ranges=False,
        filter_query=FilterQuery(START_DATES[start_date]),
        filter_parameters=frozenset({"startDate"}),
        cursor_parameter=cursor_parameter,
        offline_hint=OFFLINE,
    )


@attrs.frozen
class FilterQuery:
    """Write the part of a query that says which worklogs: ``startDate``, which is all that 1.0 can be asked for.

    Raises `UnsupportedError` when the filter asks for one of `NOT_OFFERED`.
    """

    write_start: Callable[[dt.datetime], str]

    def __call__(self, wanted: WorklogFilter) -> Query:
        """Return the query's names and values."""
        for name in NOT_OFFERED:
            if getattr(wanted, name) != getattr(_ALL, name):
                raise UnsupportedError(f"API 1.0 cannot list by {name}; leave it out, or use API 2.0")
        return () if wanted.since is None else (("startDate", self.write_start(wanted.since)),)
