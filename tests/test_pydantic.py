"""The models as pydantic sees them, and the code of docs/pages/how-to/web-apps.md."""

from __future__ import annotations

import datetime as dt
import json
import re
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import attrs
import msgspec
import pydantic
import pytest
from cattrs.preconf.json import make_converter

import tracket_async
from tracket_async import (
    ApprovalStatus,
    Category,
    NewWorklog,
    Page,
    Worklog,
    WorklogChanges,
    serialization,
)

MOMENT = dt.datetime(2026, 3, 2, 8, 30, tzinfo=dt.UTC)
WORKLOG = Worklog(id="wl-1", date=MOMENT, minutes=30.5, approval_status=ApprovalStatus.OPEN, extra={"phase": [2]})
BODY = {"item_id": "1", "user_id": "2", "date": "2026-03-02", "minutes": 30}

new_worklogs = pydantic.TypeAdapter(NewWorklog)
changes = pydantic.TypeAdapter(WorklogChanges)


@pytest.mark.parametrize(
    "model",
    [
        WORKLOG,
        attrs.evolve(WORKLOG, approval_status="frozen", user_id="2", created_date=MOMENT, custom_fields={"a": "b"}),
        Page(items=[WORKLOG], next_cursor="c", total=1, server_date=MOMENT),
        Category(id="c", name=None),
        NewWorklog(item_id="1", user_id="2", date=MOMENT, minutes=-1, custom_fields={"a": None}),
        WorklogChanges(description=None, minutes=5.0, date=MOMENT),
        WorklogChanges(),
    ],
)
def test_a_model_written_as_json_is_read_as_the_same(model):
    adapter = pydantic.TypeAdapter(type(model))
    assert adapter.validate_json(adapter.dump_json(model)) == model
    assert adapter.validate_python(adapter.dump_python(model)) == model
    assert adapter.validate_python(model) is model


def test_what_is_not_changed_is_not_written_and_null_is():
    assert json.loads(changes.dump_json(WorklogChanges(description=None))) == {"description": None}


def test_a_page_is_written_without_its_bad_rows():
    names = {"items", "next_cursor", "total", "server_date"}
    assert set(pydantic.TypeAdapter(Page).dump_python(Page(items=[]))) == names


def test_a_status_that_is_not_known_and_a_field_that_is_unknown_do_not_stop_the_reading():
    body = {"id": "1", "date": "2026-03-02T00:00:00Z", "minutes": 1, "approval_status": "new", "colour": "red"}
    assert pydantic.TypeAdapter(Worklog).validate_python(body).approval_status == "new"


@pytest.mark.parametrize(
    ("date", "read"),
    [
        ("2026-03-02", dt.datetime(2026, 3, 2, tzinfo=dt.UTC)),
        ("2026-03-02T08:30:00Z", MOMENT),
        ("2026-03-02T09:30:00+01:00", MOMENT),
        (dt.date(2026, 3, 2), dt.datetime(2026, 3, 2, tzinfo=dt.UTC)),
        (MOMENT, MOMENT),
    ],
)
def test_a_date_is_a_day_or_a_moment(date, read):
    assert new_worklogs.validate_python({**BODY, "date": date}).date == read
    assert changes.validate_python({"date": date}).date == read


@pytest.mark.parametrize(
    ("field", "wrong", "message"),
    [
        ("date", "2026-03-02T08:30:00", "naive datetime"),
        ("date", "yesterday", "must be a date such as"),
        ("date", "20260302T99", "must be a date such as"),
        ("date", 5, "must be an aware datetime or a date, not int"),
        ("date", None, "must be an aware datetime or a date, not NoneType"),
        ("minutes", "30", "must be a number of minutes, not str"),
        ("minutes", None, "must be a number of minutes, not NoneType"),
        ("minutes", float("inf"), "must be a finite number"),
        ("item_id", "", "must not be empty"),
        ("item_id", 7, "must be a string, not int"),
        ("custom_fields", {"category": "1"}, "use category_id"),
        ("colour", "red", "Extra inputs are not permitted"),
    ],
)
def test_what_is_wrong_is_told_of_its_field(field, wrong, message):
    for adapter, body in ((new_worklogs, BODY), (changes, {})):
        with pytest.raises(pydantic.ValidationError) as caught:
            adapter.validate_python({**body, field: wrong})
        [error] = caught.value.errors()
        assert error["loc"] == (field,)
        assert message in error["msg"]


def test_what_is_missing_is_told_field_by_field():
    with pytest.raises(pydantic.ValidationError) as caught:
        new_worklogs.validate_python({"item_id": "1"})
    assert [error["loc"] for error in caught.value.errors()] == [("user_id",), ("date",), ("minutes",)]


def test_a_schema_tells_what_may_be_null_and_what_must_be_there():
    schema = new_worklogs.json_schema()
    assert schema["title"] == "NewWorklog"
    assert schema["required"] == ["item_id", "user_id", "date", "minutes"]
    assert schema["additionalProperties"] is False
    assert [each["type"] for each in schema["properties"]["description"]["anyOf"]] == ["string", "null"]
    assert [each["format"] for each in schema["properties"]["date"]["anyOf"]] == ["date-time", "date"]
    schema = changes.json_schema()
    assert "required" not in schema
    assert schema["properties"]["minutes"]["type"] == "number"
    for mode in ("validation", "serialization"):
        schema = pydantic.TypeAdapter(Page).json_schema(mode=mode)
        assert schema["$defs"]["Worklog"]["required"] == ["id", "date", "minutes"]


# -- the code of docs/pages/how-to/web-apps.md ---------------------------------------------------------------------

DOCUMENT = (Path(__file__).parents[1] / "docs" / "pages" / "how-to" / "web-apps.md").read_text(encoding="utf-8")
WEB_APP, MSGSPEC, DICTS = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)


def run(code, **names):
    namespace = {**{name: getattr(tracket_async, name) for name in tracket_async.__all__}, **names}
    exec(code, namespace)
    return namespace


@pytest.fixture
async def web_app(tracket_emulator, monkeypatch):
    fastapi = pytest.importorskip("fastapi")
    httpx = pytest.importorskip("httpx")
    for name, value in tracket_emulator.env().items():
        monkeypatch.setenv(name, value)
    names = {"FastAPI": fastapi.FastAPI, "Body": fastapi.Body, "Annotated": Annotated}
    app = run(WEB_APP, asynccontextmanager=asynccontextmanager, **names)["app"]
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            yield client


async def test_fastapi_returns_and_takes_the_models(web_app, tracket_emulator):
    created = (await web_app.post("/worklogs", json=BODY)).json()
    assert (created["minutes"], created["date"]) == (30, "2026-03-02T00:00:00Z")
    changed = await web_app.patch(f"/worklogs/{created['id']}", json={"minutes": 45, "description": None})
    assert changed.json()["minutes"] == 45
    read = await web_app.get(f"/worklogs/{created['id']}")
    assert read.json() == changed.json()
    page = (await web_app.get("/worklogs")).json()
    assert (page["items"], page["total"]) == ([read.json()], 1)


async def test_fastapi_answers_a_wrong_body_with_422_and_the_field(web_app, tracket_emulator):
    for wrong in ({"minutes": "30"}, {"item_id": " "}, {"date": "2026-03-02T08:00:00"}, {"colour": 1}):
        answer = await web_app.post("/worklogs", json={**BODY, **wrong})
        assert answer.status_code == 422
        assert [error["loc"] for error in answer.json()["detail"]] == [["body", *wrong]]
    answer = await web_app.patch("/worklogs/wl-1", json={"minutes": None})
    assert answer.json()["detail"][0]["loc"] == ["body", "minutes"]
    assert len(tracket_emulator.request_log) == 0


async def test_the_openapi_document_has_the_models_by_their_names(web_app):
    document = (await web_app.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    assert {"Worklog", "Page", "NewWorklog", "WorklogChanges"} <= set(schemas)
    posted = document["paths"]["/worklogs"]["post"]
    assert posted["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/NewWorklog")
    assert posted["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/Worklog")


def test_msgspec_writes_models_and_reads_new_worklogs():
    namespace = run(MSGSPEC, msgspec=msgspec)
    [written] = json.loads(namespace["as_json"]([WORKLOG]))
    assert (written["id"], written["date"], written["extra"]) == ("wl-1", "2026-03-02T08:30:00Z", {"phase": [2]})
    body = json.dumps({**BODY, "date": "2026-03-02T08:30:00Z"}).encode()
    assert namespace["from_json"](body).date == MOMENT
    with pytest.raises(msgspec.ValidationError, match="item_id must not be empty"):
        namespace["from_json"](json.dumps({**BODY, "date": "2026-03-02T08:30:00Z", "item_id": ""}).encode())


def test_dicts_go_through_a_queue_and_are_written_as_the_api_does():
    names = {name: getattr(serialization, name) for name in ("to_dict", "from_dict", "to_wire", "from_wire")}
    namespace = run(DICTS, json=json, **names)
    assert namespace["through_a_queue"](WORKLOG) == WORKLOG
    assert namespace["as_the_api_writes_it"](WORKLOG) == attrs.evolve(WORKLOG, extra={})
    assert json.loads(make_converter().dumps(WORKLOG))["date"] == "2026-03-02T08:30:00+00:00"
