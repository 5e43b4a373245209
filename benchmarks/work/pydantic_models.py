"""The worklogs of both versions as pydantic models, with the types and the names that a careful user would choose."""

from __future__ import annotations

import datetime as dt
from typing import Any

from pydantic import BaseModel, Field


class WorklogV1(BaseModel):
    """A worklog of 1.0."""

    id: str = Field(alias="worklogId")
    user_id: str = Field(alias="userId")
    date: dt.datetime = Field(alias="worklogDate")
    minutes: float = Field(alias="worklogMinutes")
    item_id: str | None = Field(None, alias="itemId")
    description: str | None = None
    category_id: str | None = Field(None, alias="worklogCategory")
    billable_minutes: float | None = Field(None, alias="worklogBillableMinutes")
    created_date: dt.datetime | None = Field(None, alias="createdDate")
    updated_date: dt.datetime | None = Field(None, alias="updatedDate")
    approval_status: str | None = Field(None, alias="approvalStatus")
    approver_user_id: str | None = Field(None, alias="approverUserId")


class Approval(BaseModel):
    """The approval of a time entry of 2.0."""

    status: str
    approver: str | None = None


class WorklogV2(BaseModel):
    """A time entry of 2.0."""

    id: str
    user_id: str = Field(alias="user")
    date: dt.date
    minutes: float
    item_id: str | None = Field(None, alias="item")
    description: str | None = None
    billable_minutes: float | None = Field(None, alias="billableMinutes")
    created_date: dt.datetime | None = Field(None, alias="createdDate")
    updated_date: dt.datetime | None = Field(None, alias="updatedDate")
    approval: Approval | None = None
    team_id: str | None = Field(None, alias="team")
    board_id: str | None = Field(None, alias="board")
    parent_item_id: str | None = Field(None, alias="parentItem")
    custom_fields: dict[str, Any] = Field(alias="customFields")


class PageV1(BaseModel):
    """A page of 1.0."""

    worklogs: list[WorklogV1]
    next_cursor: str | None = Field(None, alias="next-cursor")


class PageV2(BaseModel):
    """A page of 2.0."""

    items: list[WorklogV2]
    next_cursor: str | None = Field(None, alias="nextCursor")
    total: int


Entry = WorklogV1 | WorklogV2
PAGES: dict[str, type[PageV1 | PageV2]] = {"1.0": PageV1, "2.0": PageV2}
