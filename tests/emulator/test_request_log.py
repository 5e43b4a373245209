"""The request log: what was received, in order, and what became of it."""

from __future__ import annotations

import json

from tracket_async.emulator.faults import Status

V1 = "/api/1.0/worklogs"


async def test_each_request_is_written_down_in_order_with_its_outcome(serve, connect, worklog, new_v1):
    emulator = await serve(seed=[worklog()])
    http = await connect(emulator)
    emulator.faults.add(Status(503), method="DELETE")
    await http("GET", V1, startDate="2024-01-01", cursor="x")
    made = await http("POST", V1, body=new_v1)
    await http("DELETE", f"{V1}/w0001")
    await http("GET", "/else")
    entries = [
        (each.number, each.method, each.route, each.path, each.status, each.fault, each.committed)
        for each in emulator.request_log
    ]
    assert entries == [
        (1, "GET", "/worklogs", V1, 400, None, False),
        (2, "POST", "/worklogs", V1, 200, None, True),
        (3, "DELETE", "/worklogs/{id}", f"{V1}/w0001", 503, "status", False),
        (4, "GET", "", "/else", 404, None, False),
    ]
    first, second, *_ = emulator.request_log.entries
    assert (first.query, first.cursor) == ({"startDate": "2024-01-01", "cursor": "x"}, "x")
    assert json.loads(second.body) == new_v1
    assert json.loads(second.as_json()) == {
        "number": 2,
        "method": "POST",
        "route": "/worklogs",
        "path": V1,
        "query": {},
        "body": second.body.decode(),
        "status": 200,
        "fault": None,
        "committed": True,
    }
    assert made.json["worklogId"] in {each["worklogId"] for each in emulator.worklogs()}
    assert emulator.token not in repr(emulator.request_log.entries)


async def test_counts_can_be_asked_for_in_any_combination(serve, connect, new_v1):
    emulator = await serve()
    http = await connect(emulator)
    emulator.faults.add(Status(500, commit=True), method="POST", nth=2)
    for _ in range(3):
        await http("POST", V1, body=new_v1)
    await http("GET", V1)
    await http("GET", "/api/2.0/timeEntries")
    count = emulator.request_log.count
    assert count() == len(emulator.request_log) == 5
    assert count(method="POST") == 3
    assert count(method="GET", route="/worklogs") == 1
    assert count(status=500) == count(fault="status") == 1
    assert count(committed=True) == emulator.count == 3
    assert count(committed=False) == 2
    assert count(method="PUT") == 0
    assert count(method="POST", status=200, committed=True) == 2


async def test_old_entries_go_but_the_counts_stay(serve, connect):
    emulator = await serve(request_log_size=2)
    http = await connect(emulator)
    for _ in range(5):
        await http("GET", V1)
    assert [each.number for each in emulator.request_log.entries] == [4, 5]
    assert emulator.request_log.count(method="GET") == 5
    assert repr(emulator.request_log) == "<RequestLog of 5 requests, 0 in progress>"


async def test_a_cleared_request_log_numbers_on(serve, connect):
    emulator = await serve()
    http = await connect(emulator)
    await http("GET", V1)
    emulator.request_log.clear()
    assert (emulator.request_log.count(), emulator.request_log.entries) == (0, ())
    await http("GET", V1)
    assert [each.number for each in emulator.request_log] == [2]
    assert emulator.request_log.count() == 1


async def test_the_cursor_is_read_under_each_versions_name(serve, connect):
    emulator = await serve()
    http = await connect(emulator)
    await http("GET", V1, after="a", cursor="c")
    await http("GET", "/api/2.0/timeEntries", after="a", cursor="c")
    await http("GET", V1)
    assert [each.cursor for each in emulator.request_log] == ["c", "a", None]
