"""A worklog as the store holds it: one row that carries what both versions of the API show.

A named tuple and no attrs class, because it is SQLite's own parameter row: the field names are the column names,
in the table's order, and a million of them are made when a large sample is loaded.
"""

from __future__ import annotations

from typing import Final, NamedTuple

NEVER: Final = -(1 << 62)
"""Stands where a worklog has no `created` or `updated` instant.

A number and not NULL, because these columns are keys of the walks: a worklog without the date sorts as older
than every other, and row-value comparisons stay exact.
"""

APPROVAL_STATUSES: Final = ("open", "submitted", "approved", "rejected")


class Worklog(NamedTuple):
    """One row; instants are milliseconds since the epoch in UTC, durations are minutes.

    Attributes:
        id: Unique, never empty.
        item: monday.com item; None is possible in old data.
        user: monday.com user.
        description: Free text or None.
        category: Id of a category or None.
        date: When the work was done.
        minutes: Minutes worked.
        billable: Billable minutes or None.
        created: When the server created it, `NEVER` for worklogs from before that was recorded.
        updated: When the server last updated it, `NEVER` if it did not.
        approval: One of `APPROVAL_STATUSES`.
        approver: User who decided, or None.
        team: 2.0 only.
        board: 2.0 only.
        parent: 2.0 only: the item's parent item.
        project: 2.0 only.
        custom: 2.0 only: the other custom fields, as the text of a JSON object of strings.
    """

    id: str
    item: str | None
    user: str
    description: str | None
    category: str | None
    date: int
    minutes: float
    billable: float | None
    created: int = NEVER
    updated: int = NEVER
    approval: str = "open"
    approver: str | None = None
    team: str | None = None
    board: str | None = None
    parent: str | None = None
    project: str | None = None
    custom: str = "{}"
