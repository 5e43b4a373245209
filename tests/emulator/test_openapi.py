"""The OpenAPI document: valid, complete, and true to what is served, for whatever Schemathesis sends.

A small slice of Schemathesis runs here; ``TRACKET_CONTRACT_EXAMPLES`` asks for more of it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import sys
from pathlib import Path

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


def test_of_1_0_the_fields_are_required_that_the_vendors_page_stars(described):
    schemas = described["components"]["schemas"]
    starred = ["itemId", "userId", "worklogDate", "worklogMinutes", "worklogId"]
    assert [schemas[name]["required"] for name in ("Worklog", "UpdatedWorklog")] == [starred] * 2
    assert (schemas["Worklogs"]["required"], schemas["Message"]["required"]) == (["worklogs"], ["message"])


EXAMPLES = os.environ.get("TRACKET_CONTRACT_EXAMPLES", "")
HOOKS = """
import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    # A cursor is opaque: no client makes one up, and one that is made up is rightly refused.
    if case.query and case.meta is not None and case.meta.generation.mode.is_positive:
        case.query = {name: value for name, value in case.query.items() if name not in ("after", "cursor")}
"""


@pytest.mark.skipif(importlib.util.find_spec("schemathesis") is None, reason="Schemathesis is not installed")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "settings",
    [{}, {"approval_shape": "string", "v1_order": "unsorted", "v1_fields": "starred"}],
    ids=["usual", "other"],
)
async def test_every_answer_is_as_documented(serve, tmp_path, settings):
    if settings and not EXAMPLES:
        pytest.skip("the slice runs against the usual settings")
    emulator = await serve(sample=200, **settings)
    hooks = tmp_path / "contract_hooks.py"
    hooks.write_text(HOOKS)
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{emulator.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {emulator.token}", "--seed", "1", "--continue-on-failure"),
        *("--max-examples", EXAMPLES or "5", "--phases", "coverage,fuzzing,stateful" if EXAMPLES else "coverage"),
    ]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": hooks.stem, "PYTHONPATH": str(tmp_path)}
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=environment, cwd=tmp_path
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert emulator.request_log.count(status=500) == 0
    assert len(emulator.request_log) > 100
