"""The MCP server, by the client of the SDK: the tools in memory, and the command in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from tracket_async import RetryPolicy, TracketClient
from tracket_async.cli import main
from tracket_async.emulator import faults

pytest.importorskip("mcp")
pytest.importorskip("duckdb")
module = pytest.importorskip("tracket_async.integrations.mcp")

from mcp import Client, StdioServerParameters, stdio_client  # noqa: E402 - it may be missing

TOOLS = ["check_server", "get_worklog", "list_categories", "list_worklogs", "sum_hours"]


class Assistant:
    """A client of a server in memory."""

    def __init__(self, client):
        self.server = module.build(client)

    async def __call__(self, name, **arguments):
        """The structured answer of a tool; its text must say the same."""
        async with Client(self.server) as client:
            answer = await client.call_tool(name, arguments)
        assert not answer.is_error, answer.content
        assert json.loads(answer.content[0].text) == answer.structured_content
        return answer.structured_content

    async def error(self, name, **arguments):
        """The text of a tool's error."""
        async with Client(self.server) as client:
            answer = await client.call_tool(name, arguments)
        assert answer.is_error
        return answer.content[0].text


@pytest.fixture
async def call(tracket_client):
    return Assistant(tracket_client)


def create(emulator, number=1, **changes):
    standard = {
        "itemId": "i-1",
        "userId": "u-1",
        "worklogDate": f"2026-03-{number:02}T00:00:00.000Z",
        "worklogMinutes": 60,
    }
    return emulator.create(standard | changes)["worklogId"]


# -- what an assistant is told -------------------------------------------------------------------------------------


async def test_every_tool_reads_only_says_that_texts_are_data_and_has_a_schema(call):
    async with Client(call.server) as client:
        tools, instructions = (await client.list_tools()).tools, client.instructions
    assert sorted(tool.name for tool in tools) == TOOLS
    for tool in tools:
        assert tool.annotations.read_only_hint
        assert not tool.annotations.destructive_hint
        assert tool.description.endswith(module.DATA_ONLY)
        assert tool.output_schema["type"] == "object"
    assert module.DATA_ONLY in instructions
    (by,) = [tool.input_schema["properties"]["by"] for tool in tools if tool.name == "sum_hours"]
    assert by["items"]["enum"] == ["day", "week", "month", "user", "category", "project", "item", "approval"]


# -- lists ---------------------------------------------------------------------------------------------------------


@pytest.mark.tracket(sample=300)
async def test_a_list_has_its_first_rows_and_says_how_many_there_are(call):
    found = await call("list_worklogs")
    assert len(found["worklogs"]) == 50
    assert found["total"] == 300
    assert found["note"].startswith("There are more than these 50 worklogs: limit is 50. Narrow it")
    assert found["worklogs"] == sorted(found["worklogs"], key=lambda row: row["day"])
    latest = await call("list_worklogs", newest_first=True, limit=1)
    assert latest["worklogs"][0]["day"] >= found["worklogs"][-1]["day"]
    most = await call("list_worklogs", limit=500)
    assert "an answer has at most 40,000 characters" in most["note"]
    assert 30_000 < len(json.dumps(most)) < 50_000
    few = await call("list_worklogs", since=latest["worklogs"][0]["day"])
    assert (len(few["worklogs"]), few["note"]) == (few["total"], None)


async def test_a_list_is_of_the_days_and_ids_that_were_asked_for(call, tracket_emulator):
    ids = [create(tracket_emulator, number, userId=f"u-{number % 2}") for number in range(1, 6)]
    found = await call("list_worklogs", since="2026-03-02", until="2026-03-04", user_ids=["u-1"])
    assert [row["id"] for row in found["worklogs"]] == [ids[2]]
    assert found["worklogs"][0] == {
        "id": ids[2], "day": "2026-03-03", "minutes": 60, "user_id": "u-1", "item_id": "i-1", "description": None,
        "category_id": None, "project_id": None, "billable_minutes": None, "approval_status": "open",
    }  # fmt: skip


async def test_long_texts_and_long_answers_are_cut_and_it_is_said(call, tracket_emulator, monkeypatch):
    ids = [create(tracket_emulator, number, description="x" * 30_000) for number in range(1, 4)]
    found = await call("list_worklogs")
    assert {len(row["description"]) for row in found["worklogs"]} == {300}
    assert found["note"] == "Long descriptions are cut and end with …; get_worklog shows more."
    monkeypatch.setattr(module, "MOST_CHARACTERS", 1_200)
    found = await call("list_worklogs")
    assert len(found["worklogs"]) == 2
    assert "more than these 2 worklogs: an answer has at most 1,200 characters" in found["note"]
    whole = await call("get_worklog", id=ids[0])
    assert len(whole["description"]) == 20_000
    assert whole["description"].endswith("x…")


async def test_half_a_character_does_not_break_the_protocol(hostile):
    hostile.add(*hostile.make_rows(2))
    hostile.overlay = {"*": {"description": "a\ud800b \u2028 \x00", "odd": {"b": "\ud800"}}}
    async with TracketClient.from_env(hostile.env()) as client:
        found = await Assistant(client)("get_worklog", id="wl-0001")
        assert found["description"].encode().replace(b"?", b"\xef\xbf\xbd") == "a\ufffdb \u2028 \x00".encode()
        assert "odd" in found["extra"]
        assert len((await Assistant(client)("list_worklogs"))["worklogs"]) == 2
    assert module._text("a\ud800b", 10) == "a?b"


async def test_a_worklog_has_all_its_fields(call, tracket_emulator):
    id_ = create(tracket_emulator, description="Ünï", worklogBillableMinutes=30)
    found = await call("get_worklog", id=id_)
    assert found["date"].startswith("2026-03-01T00:00:00")
    assert (found["day"], found["billable_minutes"], found["extra"]) == ("2026-03-01", 30, "{}")


# -- hours -------------------------------------------------------------------------------------------------------------


@pytest.mark.tracket(sample=300)
@pytest.mark.parametrize("by", [["month"], ["user", "category"], ["week", "approval"]])
async def test_hours_are_those_of_tracket_report(call, tracket_emulator, capsys, monkeypatch, by):
    for name, value in tracket_emulator.env().items():
        monkeypatch.setenv(name, value)
    found = await call("sum_hours", by=by, limit=500)
    assert await asyncio.to_thread(main, ["report", "--by", ",".join(by), "--format", "json", "--progress", "off"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert found["by"] == by
    assert {name: found["all"][name] for name in found["all"]} == {name: report["total"][name] for name in found["all"]}
    keys = {"user": "user_id", "category": "category_id", "approval": "approval_status"}
    expected = [
        {
            **{name: row[name] for name in found["all"]},
            "values": [row[keys.get(name, name)] for name in by],
            "category": (row.get("category") or row.get("category_id")) if "category" in by else None,
        }
        for row in report["rows"]
    ]
    assert found["rows"] == expected


async def test_hours_are_of_the_days_and_ids_that_were_asked_for(call, tracket_emulator):
    for number in range(1, 6):
        create(tracket_emulator, number, userId=f"u-{number % 2}", worklogMinutes=number)
    found = await call("sum_hours", by=["day"], since="2026-03-02", user_ids=["u-1"], limit=1)
    assert found["all"]["worklogs"] == 2
    assert [row["values"] for row in found["rows"]] == [["2026-03-03"]]
    assert "more than these 1 rows: limit is 1" in found["note"]


async def test_more_worklogs_than_can_be_added_up_are_refused_at_once(call, tracket_emulator, monkeypatch):
    monkeypatch.setattr(module, "MOST_SUMMED", 2)
    for number in (1, 2, 3):
        create(tracket_emulator, number)
    said = await call.error("sum_hours", by=["month"])
    assert "3 worklogs are between these days, and at most 2 are added up here. Narrow it with since" in said
    assert (await call("sum_hours", by=["month"], since="2026-03-02"))["all"]["worklogs"] == 2


@pytest.mark.tracket(api="1.0")
async def test_on_api_1_days_are_those_of_a_time_zone(call, tracket_emulator):
    create(tracket_emulator, worklogDate="2026-03-01T23:30:00.000Z")
    create(tracket_emulator, worklogDate="2026-02-28T22:30:00.000Z")
    found = await call("sum_hours", by=["day", "category"], tz="Europe/Amsterdam", since="2026-03-01")
    assert [row["values"] for row in found["rows"]] == [["2026-03-02", None]]
    found = await call("sum_hours", by=["day"])
    assert [row["values"] for row in found["rows"]] == [["2026-02-28"], ["2026-03-01"]]
    assert "API 1.0" in await call.error("list_categories")
    assert "API 1.0" in await call.error("list_worklogs", newest_first=True)


# -- the rest ------------------------------------------------------------------------------------------------------


async def test_categories_have_names(call, tracket_client):
    known = await tracket_client.categories.list()
    found = await call("list_categories")
    assert [(row["id"], row["name"]) for row in found["categories"]] == [(each.id, each.name) for each in known]


@pytest.mark.tracket(sample=50)
async def test_a_check_tells_nothing_private(call, tracket_emulator):
    found = await call("check_server")
    assert found["api"] == "2.0"
    verdicts = {row["what"]: row["verdict"] for row in found["findings"]}
    assert verdicts["cursor"] == "ok"
    assert tracket_emulator.url not in json.dumps(found)


async def test_an_error_is_a_sentence_for_the_assistant_without_secrets(call, tracket_emulator):
    assert "no-such" in await call.error("get_worklog", id="no-such")
    assert "since" in await call.error("list_worklogs", since="2026-03-02", until="2026-03-01")
    assert "limit" in await call.error("list_worklogs", limit=501)
    assert "since" in await call.error("list_worklogs", since="yesterday")
    tracket_emulator.faults.add(faults.Status(401), times=20)
    said = await call.error("list_categories")
    assert "The client credentials are refused" in said
    secrets = {tracket_emulator.token, tracket_emulator.env()["TRACKET_CLIENT_SECRET"]}
    assert not [secret for secret in secrets if secret in said]


@pytest.mark.tracket(sample=300)
async def test_an_outage_is_told_and_not_waited_for(tracket_emulator):
    at_once = RetryPolicy(wait_initial=0, wait_jitter=0)
    async with TracketClient.from_env(tracket_emulator.env(), retry=at_once) as client:
        tracket_emulator.faults.add(faults.Status(503), route="/timeEntries", nth=range(4, 200))
        said = await Assistant(client).error("sum_hours", by=["month"])
    assert "503" in said


# -- the command -------------------------------------------------------------------------------------------------------


def command(tracket_server, *arguments):
    env = {name: os.environ[name] for name in os.environ if not name.startswith("TRACKET_")} | tracket_server.env
    return StdioServerParameters(command=sys.executable, args=["-m", "tracket_async.cli", "mcp", *arguments], env=env)


@pytest.mark.tracket(sample=50)
async def test_a_process_serves_the_client_of_the_sdk(tracket_server):
    async with Client(stdio_client(command(tracket_server))) as client:
        assert sorted(tool.name for tool in (await client.list_tools()).tools) == TOOLS
        answer = await client.call_tool("list_worklogs", {"limit": 2})
        assert answer.structured_content["total"] == 50
        answer = await client.call_tool("sum_hours", {"by": ["month"]})
        assert answer.structured_content["all"]["worklogs"] == 50
        assert (await client.call_tool("get_worklog", {"id": "no-such"})).is_error


@pytest.mark.tracket(sample=50)
async def test_the_code_of_the_docs_prints_hours(tracket_server, tmp_path, capsys):
    page = Path(__file__).parents[2] / "docs" / "pages" / "how-to" / "mcp.md"
    (code,) = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names = {"__name__": "example"}
    exec(compile(code.replace("2026-01-01", "2000-01-01"), "mcp.md", "exec"), names)
    file = tmp_path / "tracket.env"
    file.write_text("".join(f"{name}={value}\n" for name, value in tracket_server.env.items()))
    file.chmod(0o600)
    await names["main"](str(file))
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(re.fullmatch(r"20\d\d-\d\d \d+(\.\d+)?", line) for line in lines)


HELLO = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}  # fmt: skip


@pytest.fixture
async def process(tracket_server):
    """A server that has answered a first message, and the answer."""
    parameters = command(tracket_server)
    started = await asyncio.create_subprocess_exec(
        *(parameters.command, *parameters.args),
        env=parameters.env,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    started.stdin.write(json.dumps(HELLO).encode() + b"\n")
    answer = json.loads(await started.stdout.readline())
    assert answer["result"]["serverInfo"]["name"] == "tracket"
    yield started
    if started.returncode is None:
        started.kill()
    await started.communicate()


async def test_a_process_ends_with_its_input_and_prints_nothing_but_the_protocol(process):
    out, err = await process.communicate(b"this is no message\n")
    assert process.returncode == 0
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in out.splitlines())
    assert b"Traceback" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")
async def test_a_process_ends_at_once_when_it_is_terminated(process):
    process.send_signal(signal.SIGTERM)
    err = await process.stderr.read()
    assert await process.wait() == 143
    assert err.decode().splitlines()[-1] == "tracket: terminated"


def test_the_token_cannot_come_from_the_input_of_the_protocol(capsys):
    assert main(["mcp", "--token-file", "-"]) == 2
    assert "Standard input is for the protocol" in capsys.readouterr().err


def test_at_a_terminal_it_says_what_it_waits_for(capsys, monkeypatch):
    served = []

    async def serve(client):
        served.append(client)

    monkeypatch.setattr(module, "serve", serve)
    monkeypatch.setenv("TRACKET_TOKEN", "token-of-a-test")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert main(["mcp"]) == 0
    assert isinstance(served[0], TracketClient)
    assert "waits for its client on standard input" in capsys.readouterr().err


def test_its_help_shows_how_to_set_it_up(capsys):
    assert main(["mcp", "--help"]) == 0
    assert '"args": ["mcp", "--env-file", "/home/me/tracket.env"]' in capsys.readouterr().out
