"""Make each call of the vendor's page of API 1.0, and answer it with the response that the page shows."""

from __future__ import annotations

import datetime as dt
import json

import attrs
import pytest

from tracket_async import ApprovalStatus, BearerToken, NewWorklog, TracketClient, Worklog, WorklogChanges

URL = "https://tracket.dev/api/1.0/worklogs"
MOMENT = dt.datetime(2024, 10, 22, 18, 45, 31, 370_000, tzinfo=dt.UTC)
SHOWN = {
    "itemId": "text",
    "userId": "text",
    "description": "text",
    "worklogCategory": "text",
    "worklogDate": "2024-10-22T18:45:31.370Z",
    "worklogMinutes": 0,
    "worklogBillableMinutes": 0,
    "worklogId": "text",
    "createdDate": "2024-10-22T18:45:31.370Z",
    "updatedDate": "2024-10-22T18:45:31.370Z",
    "approvalStatus": "open",
    "approverUserId": "text",
}
READ = Worklog(
    id="text",
    user_id="text",
    item_id="text",
    date=MOMENT,
    minutes=0,
    description="text",
    category_id="text",
    billable_minutes=0,
    created_date=MOMENT,
    updated_date=MOMENT,
    approval_status=ApprovalStatus.OPEN,
    approver_user_id="text",
)


@pytest.fixture
async def client(tracket_responses):
    async with TracketClient(auth=BearerToken("t0ken"), api="1.0") as client:
        yield client


def sent(responses):
    """Return each request as its method, URL, Content-Type and decoded body; all carry the token."""
    found = []
    for (method, url), calls in responses.requests.items():
        for call in calls:
            headers, body = call.kwargs["headers"], call.kwargs["data"]
            assert headers["Authorization"] == "Bearer t0ken"
            content = None if body is None else json.loads(body.getvalue())
            found.append((method, str(url), headers.get("Content-Type"), content))
    return found


async def test_a_list_follows_the_next_cursor(client, tracket_responses):
    since = "startDate=2024-10-01T00:00:00.000Z"
    tracket_responses.get(f"{URL}?{since}", payload={"next-cursor": "text", "worklogs": [SHOWN]})
    last = {"worklogs": [{**SHOWN, "worklogId": "second"}]}
    tracket_responses.get(f"{URL}?cursor=text&{since}", payload=last, repeat=True)
    worklogs = [worklog async for worklog in client.worklogs.list(since=dt.date(2024, 10, 1))]
    assert worklogs == [READ, attrs.evolve(READ, id="second")]


async def test_a_get_reads_the_worklog(client, tracket_responses):
    tracket_responses.get(f"{URL}/text", payload=SHOWN)
    assert await client.worklogs.get("text") == READ
    assert sent(tracket_responses) == [("GET", f"{URL}/text", None, None)]


async def test_a_create_sends_the_four_fields_that_the_page_asks_for(client, tracket_responses):
    tracket_responses.post(URL, payload=SHOWN)
    new = NewWorklog(item_id="text", user_id="text", date=MOMENT, minutes=0)
    assert await client.worklogs.create(new) == READ
    asked = {name: SHOWN[name] for name in ("itemId", "userId", "worklogDate", "worklogMinutes")}
    assert sent(tracket_responses) == [("POST", URL, "application/json", asked)]


async def test_a_create_sends_every_field_that_is_given(client, tracket_responses):
    tracket_responses.post(URL, payload=SHOWN)
    given = {
        name: getattr(READ, name) for name in attrs.fields_dict(NewWorklog) if name not in {"team_id", "project_id"}
    }
    await client.worklogs.create(NewWorklog(**given))
    ours = {"worklogId", "createdDate", "updatedDate", "approvalStatus", "approverUserId"}
    asked = {name: value for name, value in SHOWN.items() if name not in ours}
    assert sent(tracket_responses) == [("POST", URL, "application/json", asked)]


async def test_an_update_sends_what_changes_and_reads_a_worklog_without_its_approval(client, tracket_responses):
    shown = {name: value for name, value in SHOWN.items() if name != "approvalStatus"}
    tracket_responses.put(f"{URL}/text", payload=shown)
    updated = await client.worklogs.update("text", WorklogChanges(minutes=90, description=None))
    assert updated == attrs.evolve(READ, approval_status=None)
    asked = {"worklogMinutes": 90, "description": None}
    assert sent(tracket_responses) == [("PUT", f"{URL}/text", "application/json", asked)]


async def test_an_update_of_nothing_sends_the_empty_object_of_the_page(client, tracket_responses):
    tracket_responses.put(f"{URL}/text", payload=SHOWN)
    await client.worklogs.update("text", WorklogChanges())
    assert sent(tracket_responses) == [("PUT", f"{URL}/text", "application/json", {})]


async def test_a_delete_returns_the_message(client, tracket_responses):
    tracket_responses.delete(f"{URL}/text", payload={"message": "text"})
    assert await client.worklogs.delete("text") == "text"
    assert sent(tracket_responses) == [("DELETE", f"{URL}/text", None, None)]
