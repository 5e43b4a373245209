"""The worklogs of both versions as attrs classes with the names of the wire: what a default cattrs converter reads.

cattrs' own orjson preset is used as its documentation shows it; date-times are ISO 8601 there, as they are here.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import attrs
from cattrs.gen import make_dict_structure_fn, override
from cattrs.preconf.orjson import make_converter


@attrs.frozen
class WorklogV1:
    """A worklog of 1.0."""

    worklogId: str  # noqa: N815 -- the wire's name
    userId: str  # noqa: N815
    worklogDate: dt.datetime  # noqa: N815
    worklogMinutes: float  # noqa: N815
    itemId: str | None = None  # noqa: N815
    description: str | None = None
    worklogCategory: str | None = None  # noqa: N815
    worklogBillableMinutes: float | None = None  # noqa: N815
    createdDate: dt.datetime | None = None  # noqa: N815
    updatedDate: dt.datetime | None = None  # noqa: N815
    approvalStatus: str | None = None  # noqa: N815
    approverUserId: str | None = None  # noqa: N815


@attrs.frozen
class Approval:
    """The approval of a time entry of 2.0."""

    status: str
    approver: str | None = None


@attrs.frozen
class WorklogV2:
    """A time entry of 2.0."""

    id: str
    user: str
    date: dt.date
    minutes: float
    item: str | None = None
    description: str | None = None
    billableMinutes: float | None = None  # noqa: N815
    createdDate: dt.datetime | None = None  # noqa: N815
    updatedDate: dt.datetime | None = None  # noqa: N815
    approval: Approval | None = None
    team: str | None = None
    board: str | None = None
    parentItem: str | None = None  # noqa: N815
    customFields: dict[str, Any] = attrs.field(factory=dict)  # noqa: N815


@attrs.frozen
class PageV1:
    """A page of 1.0."""

    worklogs: list[WorklogV1]
    next_cursor: str | None = None


@attrs.frozen
class PageV2:
    """A page of 2.0."""

    items: list[WorklogV2]
    total: int
    nextCursor: str | None = None  # noqa: N815


PAGES: dict[str, type[PageV1 | PageV2]] = {"1.0": PageV1, "2.0": PageV2}

converter = make_converter()
converter.register_structure_hook(
    PageV1, make_dict_structure_fn(PageV1, converter, next_cursor=override(rename="next-cursor"))
)
