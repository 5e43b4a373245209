"""The OpenAPI document: valid, complete, and true to what is served."""

from __future__ import annotations

import json
import re

import pytest

from tracket_async.emulator import Settings
from tracket_async.emulator.openapi import document
from tracket_async.emulator.routes import RESOURCES


@pytest.fixture(scope="module")
def described():
    return json.loads(document(Settings()).body)


async def test_it_is_served_without_a_token(serve, raw):
    emulator = await serve(page_size=7)
    stranger = type("", (), {"url": emulator.url, "token": "none"})
    reply = await raw(stranger, path="/openapi.json", headers=["Connection: close"])
    assert reply.status == "HTTP/1.1 200 OK"
    assert json.loads(reply.body)["components"]["schemas"]["Worklogs"]["properties"]["worklogs"]["maxItems"] == 7


def test_it_is_a_valid_document(described):
    validator = pytest.importorskip("openapi_spec_validator")
    validator.validate(described)
    assert described["openapi"] == "3.1.0"


def test_it_has_every_path_and_method_and_no_other(described):
    listed = {
        (path, method.upper()) for path, each in described["paths"].items() for method in each if method != "parameters"
    }
    assert listed == {(each.path, method) for each in RESOURCES for method in each.actions}


def test_every_schema_is_used_and_every_reference_leads_somewhere(described):
    used = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(described)))
    assert used == set(described["components"]["schemas"])


def test_the_approval_follows_the_setting():
    approval = json.loads(document(Settings(approval_shape="string")).body)["components"]["schemas"]["TimeEntry"]
    assert approval["properties"]["approval"]["enum"] == ["open", "submitted", "approved", "rejected"]
