"""Real worklogs, where they are at hand: what the server was seeded with is what every way of reading gives."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

SEED = Path(__file__).parents[3] / "shared" / "data" / "sip" / "worklogs.ndjson"

pytestmark = pytest.mark.skipif(not SEED.exists(), reason="the data of real worklogs is not at hand")


def moment(text):
    return None if text is None else dt.datetime.fromisoformat(text)


async def test_lists_and_exports_give_every_field_of_every_worklog(running, api):
    lines = SEED.read_text(encoding="utf-8").splitlines()
    seed = {entry["worklogId"]: entry for entry in map(json.loads, lines)}
    async with running(seed=SEED) as (_, client):
        listed = {w.id: w async for w in client.worklogs.list()}
        exported = [w async for w in client.worklogs.export()]
        ordered = [w async for w in client.worklogs.export(ordered=True)]
    assert len(exported) == len(ordered) == len(seed)
    assert {w.id: w for w in exported} == {w.id: w for w in ordered} == listed
    assert round(sum(w.minutes for w in exported), 1) == round(sum(e["worklogMinutes"] for e in seed.values()), 1)
    for identifier, entry in seed.items():
        worklog = listed[identifier]
        assert (worklog.user_id, worklog.item_id) == (entry["userId"], entry["itemId"])
        assert worklog.minutes == entry["worklogMinutes"]
        assert worklog.billable_minutes == entry.get("worklogBillableMinutes")
        assert (worklog.description, worklog.category_id) == (entry.get("description"), entry.get("worklogCategory"))
        assert worklog.approval_status == entry.get("approvalStatus")
        assert worklog.approver_user_id == entry.get("approverUserId")
        assert worklog.created_date == moment(entry.get("createdDate"))
        assert worklog.updated_date == moment(entry.get("updatedDate"))
        date = moment(entry["worklogDate"])
        assert worklog.date == date if api == "1.0" else worklog.day == date.date()
