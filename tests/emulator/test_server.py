"""The emulator from Python: its start, changes behind the client's back, its end, and its imports."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import tracket_async.emulator
from tracket_async.emulator import DuplicateIdError, Emulator, SeedError, StoreError
from tracket_async.emulator.faults import Script, Status

V1 = "/api/1.0/worklogs"


async def test_it_listens_on_loopback_and_on_a_free_port(serve, connect):
    one, other = await serve(), await serve()
    assert one.url.startswith("http://127.0.0.1:")
    assert one.url != other.url
    assert repr(one) == f"<Emulator {one.url}>"
    assert (await (await connect(one))("GET", V1)).json == {"worklogs": []}


async def test_an_ipv6_address_is_put_in_brackets(serve, connect):
    try:
        emulator = await serve(host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    assert emulator.url.startswith("http://[::1]:")
    assert (await (await connect(emulator))("GET", V1)).status == 200


async def test_nothing_is_left_when_it_has_stopped(no_leaks, connect, worklog):
    async with Emulator(seed=[worklog()]) as emulator:
        host, port = emulator.url.removeprefix("http://").split(":")
        # a kept-alive connection and one that has sent nothing are still open when it stops
        readers = [await asyncio.open_connection(host, int(port)) for _ in range(2)]
        readers[0][1].write(f"GET {V1} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {emulator.token}\r\n\r\n".encode())
        await readers[0][0].readuntil(b"}]}")
    with pytest.raises(OSError):  # noqa: PT011 -- refused, in the words of the system
        await asyncio.open_connection(host, int(port))
    for reader, writer in readers:
        assert await reader.read() == b""
        writer.close()
    assert emulator.request_log.count(status=200) == 1  # it can still be read
    with pytest.raises(RuntimeError, match="does not run"):
        emulator.worklogs()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        emulator._store.rendered("v1", "w0001")


@pytest.mark.parametrize("turns", range(6))
async def test_what_is_being_accepted_when_it_stops_is_closed(no_leaks, turns):
    async with Emulator() as emulator:
        host, port = emulator.url.removeprefix("http://").split(":")
        client = socket.create_connection((host, int(port)))
        for _ in range(turns):
            await asyncio.sleep(0)
    with client:
        client.setblocking(False)
        with contextlib.suppress(ConnectionResetError):  # it was never accepted
            assert client.recv(1) == b""  # it is closed already


async def test_it_can_be_started_once_at_a_time(serve):
    emulator = await serve()
    with pytest.raises(RuntimeError, match="running already"):
        await emulator.__aenter__()


async def test_what_needs_a_running_server_says_so():
    emulator = Emulator()
    assert repr(emulator) == "<Emulator not started>"
    for ask in (lambda: emulator.request_log, lambda: emulator.count, emulator.worklogs, emulator.expire_tokens):
        with pytest.raises(RuntimeError, match="async with"):
            ask()


async def test_a_start_that_fails_leaves_nothing(no_leaks, serve, tmp_path):
    taken = await serve()
    port = int(taken.url.rpartition(":")[2])
    with pytest.raises(OSError, match=str(port)):
        async with Emulator(port=port):
            pass
    with pytest.raises(SeedError):
        async with Emulator(seed=[{}]):
            pass
    with pytest.raises(StoreError):
        async with Emulator(db=tmp_path):
            pass


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"seed": [], "sample": 1}, "not both"),
        ({"page_size": 0}, "page_size must lie between 1"),
        ({"page_size": 100_001}, "page_size"),
        ({"latency": -0.001}, "latency"),
        ({"latency": float("nan")}, "latency"),
        ({"token_lifetime": -1}, "token_lifetime"),
        ({"body_limit": 0}, "body_limit"),
        ({"request_log_size": -1}, "request_log_size"),
        ({"v1_order": "random"}, "v1_order must be one of ascending, descending, unsorted"),
        ({"approval_shape": "array"}, "approval_shape must be one of object, string"),
        ({"token": ""}, "token must be printable"),
        ({"token": "a b"}, "token must be printable"),
        ({"client_secret": "ü"}, "client_secret must be printable"),
        ({"account_id": "1\n2"}, "account_id must be printable"),
        ({"sample": -1}, "count"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(settings, says):
    with pytest.raises(ValueError, match=says):
        Emulator(**settings)


def test_a_setting_that_is_none_is_refused():
    with pytest.raises(TypeError, match="latencies"):
        Emulator(latencies=1)


def test_secrets_are_not_shown():
    emulator = Emulator()
    for secret in (emulator.token, emulator.settings.read_only_token, emulator.settings.client_secret):
        assert secret not in repr(emulator.settings)
    assert emulator.token != Emulator().token


async def test_the_environment_holds_what_a_client_needs_for_each_version(serve):
    emulator = await serve(token="t", client_id="c", client_secret="s", account_id="a")
    assert emulator.env() == {
        "TRACKET_BASE_URL": emulator.url,
        "TRACKET_API": "2.0",
        "TRACKET_CLIENT_ID": "c",
        "TRACKET_CLIENT_SECRET": "s",
        "TRACKET_ACCOUNT_ID": "a",
    }
    assert emulator.env("1.0") == {"TRACKET_BASE_URL": emulator.url, "TRACKET_API": "1.0", "TRACKET_TOKEN": "t"}


async def test_worklogs_can_be_added_behind_the_clients_back(serve, clock, worklog):
    emulator = await serve(wall=clock)
    given = worklog()
    del given["worklogId"], given["createdDate"]
    made = emulator.create(given)
    assert made["createdDate"] == "2027-01-15T08:00:00.000Z"
    assert emulator.get(made["worklogId"]) == made == emulator.worklogs()[0]
    own = emulator.create(worklog(2, createdDate=None, approvalStatus="approved", team="t"))
    assert (own["worklogId"], "createdDate" in own, own["approvalStatus"]) == ("w0002", False, "approved")
    assert {each["id"]: each["team"] for each in emulator.time_entries()}["w0002"] == "t"
    assert emulator.count == 2
    assert len(emulator.request_log) == 0
    with pytest.raises(DuplicateIdError):
        emulator.create(worklog(2))
    with pytest.raises(ValueError, match="worklogMinutes must be finite"):
        emulator.create(worklog(3, worklogMinutes=float("inf")))


async def test_worklogs_can_be_changed_behind_the_clients_back(serve, clock, worklog):
    emulator = await serve(seed=[worklog()], wall=clock)
    changed = emulator.update("w0001", {"approvalStatus": "rejected", "approverUserId": "9", "worklogId": "other"})
    assert changed == {
        **emulator.get("w0001"),
        "worklogId": "w0001",
        "approvalStatus": "rejected",
        "updatedDate": "2027-01-15T08:00:00.000Z",
    }
    assert emulator.update("w0001", {"updatedDate": None, "createdDate": None})["updatedDate"] is None
    assert "createdDate" not in emulator.get("w0001")
    with pytest.raises(LookupError, match="nope"):
        emulator.update("nope", {})
    with pytest.raises(ValueError, match="userId"):
        emulator.update("w0001", {"userId": None})


async def test_worklogs_can_be_deleted_behind_the_clients_back(serve, worklog):
    emulator = await serve(seed=[worklog()])
    emulator.delete("w0001")
    assert (emulator.get("w0001"), emulator.count) == (None, 0)
    with pytest.raises(LookupError):
        emulator.delete("w0001")


async def test_a_database_is_served_again_and_its_ids_go_on(serve, connect, tmp_path, worklog, new_v1):
    path = tmp_path / "db.sqlite"
    ids = set()
    for turn in range(3):
        async with Emulator(db=path, seed=[worklog(worklogCategory="own")] if turn == 0 else None) as emulator:
            ids.add((await (await connect(emulator))("POST", V1, body=new_v1)).json["worklogId"])
            assert emulator.count == 2 + turn
            assert emulator._open_store.categories() == [("own", "own")]
    assert len(ids) == 3
    for content in ({"seed": [worklog(9)]}, {"sample": 1}):
        with pytest.raises(SeedError, match="holds 4 worklogs already"):
            await serve(db=str(path), **content)


async def test_a_script_of_faults_can_be_given_from_the_start(serve, connect):
    script = Script(seed=3)
    script.add(Status(500), nth=1)
    emulator = await serve(faults=script)
    http = await connect(emulator)
    assert [(await http("GET", V1)).status for _ in range(2)] == [500, 200]
    assert emulator.faults is script


async def test_the_same_seed_and_the_same_requests_give_the_same_request_log(serve, connect, new_v1):
    def outcome(emulator):
        return [(each.number, each.method, each.status, each.fault, each.committed) for each in emulator.request_log]

    logs = []
    for _ in range(2):
        emulator = await serve(faults=Script(seed=5))
        emulator.faults.add(Status(503), ratio=0.4)
        emulator.faults.add(Status(500, commit=True), ratio=0.4)
        http = await connect(emulator)
        for _ in range(40):
            await http("POST", V1, body=new_v1)
        logs.append(outcome(emulator))
    assert logs[0] == logs[1]
    assert {each[2] for each in logs[0]} == {200, 500, 503}


HERE = Path(tracket_async.emulator.__file__).parent
ALLOWED = {"aiohttp", "attrs", *sys.stdlib_module_names}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, path
            yield node.module


def test_it_imports_itself_the_standard_library_aiohttp_and_attrs():
    for path in HERE.rglob("*.py"):
        for name in imported(path):
            own = name == "tracket_async.emulator" or name.startswith("tracket_async.emulator.")
            assert own or name.partition(".")[0] in ALLOWED, f"{path.name} imports {name}"


def test_every_name_in_all_exists():
    assert sorted(tracket_async.emulator.__all__) == sorted(set(tracket_async.emulator.__all__))
    assert all(hasattr(tracket_async.emulator, name) for name in tracket_async.emulator.__all__)


def test_importing_it_does_not_load_what_only_the_client_needs():
    script = "import sys, tracket_async.emulator; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    ours = {name for name in loaded if name.startswith("tracket_async.") and ".emulator" not in name}
    if "tracket_async.models" not in ours:
        assert not {"cattrs", "msgspec", "tenacity"} & set(loaded)
