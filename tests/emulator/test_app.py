"""Every path: tokens, methods, bodies, headers, latency, and the request log."""

from __future__ import annotations

import asyncio
import gzip
import json
from email.utils import parsedate_to_datetime

import pytest

from tracket_async.emulator.faults import Status

V1 = "/api/1.0/worklogs"
V2 = "/api/2.0/timeEntries"
TOKEN = "/api/2.0/oauth2/token"


@pytest.fixture
async def emulator(serve, worklog, clock):
    return await serve(seed=[worklog()], wall=clock, monotonic=clock, sleep=clock.sleep)


@pytest.fixture
async def http(emulator, connect):
    return await connect(emulator)


def credentials(emulator, **changes):
    return {
        "grant-type": "client-credentials",
        "monday/account-id": emulator.settings.account_id,
        "client-id": emulator.settings.client_id,
        "client-secret": emulator.settings.client_secret,
        **changes,
    }


# ---- tokens


async def test_credentials_buy_a_token_for_both_versions(emulator, http):
    reply = await http("POST", TOKEN, body=credentials(emulator), headers={"Authorization": ""})
    assert reply.status == 200
    assert reply.json["token_type"] == "Bearer"
    assert reply.json["expires_in"] == 3600
    assert reply.headers["Cache-Control"] == "no-store"
    for path in (V1, V2):
        assert (await http("GET", path, token=reply.json["access_token"])).status == 200
    assert emulator.token_requests == 1


@pytest.mark.parametrize("key", ["monday/account-id", "client-id", "client-secret"])
async def test_wrong_credentials_are_401_and_missing_ones_400(emulator, http, key):
    reply = await http("POST", TOKEN, body=credentials(emulator, **{key: "wrong"}))
    assert reply.status == 401
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")
    without = credentials(emulator)
    del without[key]
    reply = await http("POST", TOKEN, body=without)
    assert (reply.status, reply.json["field"]) == (400, key)
    assert emulator.token_requests == 2


async def test_another_grant_is_refused_by_name(emulator, http):
    reply = await http("POST", TOKEN, body=credentials(emulator, **{"grant-type": "password"}))
    assert (reply.status, reply.json["field"]) == (400, "grant-type")


async def test_a_token_lives_as_long_as_it_was_promised(serve, connect, clock):
    emulator = await serve(token_lifetime=60, monotonic=clock)
    http = await connect(emulator)
    token = (await http("POST", TOKEN, body=credentials(emulator))).json["access_token"]
    clock.seconds += 59.9
    assert (await http("GET", V1, token=token)).status == 200
    # a second call forgets what has expired, and nothing else
    await http("POST", TOKEN, body=credentials(emulator))
    assert (await http("GET", V1, token=token)).status == 200
    clock.seconds += 0.1
    assert (await http("GET", V1, token=token)).status == 401
    await http("POST", TOKEN, body=credentials(emulator))
    assert (await http("GET", V1, token=token)).status == 401


async def test_tokens_can_be_expired_at_once_but_not_the_fixed_ones(emulator, http):
    token = (await http("POST", TOKEN, body=credentials(emulator))).json["access_token"]
    emulator.expire_tokens()
    assert (await http("GET", V1, token=token)).status == 401
    assert (await http("GET", V1)).status == 200
    assert (await http("GET", V1, token=emulator.settings.read_only_token)).status == 200


@pytest.mark.parametrize(
    ("authorization", "says"),
    [
        ("", "Bearer <token>"),
        ("Bearer", "wrong or has expired"),
        ("Bearer wrong", "wrong or has expired"),
        ("Bearer ü", "wrong or has expired"),
        ("Basic abc", "Bearer <token>"),
    ],
)
async def test_a_wrong_token_is_401_and_says_what_is_wanted(emulator, raw, authorization, says):
    for path in (V1, f"{V1}/w0001", V2, "/api/2.0/templates/timeEntry/fields/category/options"):
        reply = await raw(emulator, path=path, headers=["Connection: close", f"Authorization: {authorization}"])
        assert reply.status == "HTTP/1.1 401 Unauthorized"
        assert reply.headers["www-authenticate"].startswith("Bearer")
        assert reply.headers["content-type"] == "application/json"
        assert says.encode() in reply.body


async def test_the_scheme_is_read_in_any_case(emulator, http):
    assert (await http("GET", V1, headers={"Authorization": f"bEARER {emulator.token}"})).status == 200


async def test_a_missing_header_says_so(emulator, http):
    async with http._session.get(emulator.url + V1) as response:
        assert (response.status, (await response.json())["error"]) == (401, "the Authorization header is missing")


async def test_the_token_that_only_reads_may_not_write(emulator, http, new_v1, new_v2):
    token = emulator.settings.read_only_token
    for method, path, body in (
        ("POST", V1, new_v1),
        ("PUT", f"{V1}/w0001", {}),
        ("DELETE", f"{V1}/w0001", None),
        ("POST", V2, new_v2),
        ("PUT", f"{V2}/w0001", {}),
        ("DELETE", f"{V2}/w0001", None),
    ):
        reply = await http(method, path, body=body, token=token)
        assert (reply.status, reply.json) == (403, {"error": "this token may only read"})
    assert emulator.count == 1
    assert emulator.request_log.count(committed=True) == 0


# ---- paths, methods and bodies


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/1.0", V1 + "/", V2 + "//x", "/api/1.0/timeEntries", "/api/1.0%2Fworklogs", "/openapi"]
)
async def test_a_path_that_is_none_is_404(emulator, raw, path):
    reply = await raw(emulator, path=path, headers=["Connection: close"])
    assert reply.status == "HTTP/1.1 404 Not Found"
    assert reply.body == b'{"error":"there is nothing at this path"}'
    assert emulator.request_log.entries[-1].path == path
    assert emulator.request_log.entries[-1].route == ""


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        (V1, "GET, POST"),
        (f"{V1}/w0001", "GET, PUT, DELETE"),
        (V2, "GET, POST"),
        (f"{V2}/w0001", "GET, PUT, DELETE"),
        (TOKEN, "POST"),
        ("/api/2.0/templates/timeEntry/fields/category/options", "GET"),
        ("/openapi.json", "GET"),
    ],
)
async def test_a_method_that_a_path_does_not_have_is_405_and_names_those_it_has(http, path, allow):
    for method in ("PATCH", "OPTIONS"):
        reply = await http(method, path)
        assert (reply.status, reply.headers["Allow"]) == (405, allow)
        assert reply.json == {"error": f"only {allow} can be used here"}
    assert (await http("HEAD", path)).status == 405


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff{}", "not JSON"),
        (b'{"worklogMinutes": NaN}', "NaN"),
        (b'{"worklogMinutes": -Infinity}', "Infinity"),
        (b"[" * 100_000, "not JSON"),
        (b'{"worklogMinutes": ' + b"1" * 5000 + b"}", "not JSON"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", V1), ("PUT", f"{V2}/w0001"), ("POST", TOKEN)])
async def test_a_body_that_is_no_json_object_is_400(http, method, path, body, says):
    reply = await http(method, path, raw=body)
    assert reply.status == 400
    assert says in reply.json["error"]


async def test_a_number_that_is_too_large_for_a_float_is_refused_by_name(http):
    reply = await http("PUT", f"{V1}/w0001", raw=b'{"worklogMinutes": 1e999}')
    assert reply.json == {"error": "worklogMinutes must be finite", "field": "worklogMinutes"}


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "text/json", "x/y+json"])
async def test_a_body_that_is_not_declared_to_be_json_is_415(http, new_v1, content_type):
    reply = await http("POST", V1, raw=b"{}", headers={"Content-Type": content_type})
    assert reply.status == 415


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "application/vnd.x+json", "APPLICATION/JSON"]
)
async def test_json_may_be_declared_in_several_ways(http, content_type):
    reply = await http("PUT", f"{V1}/w0001", raw=b"{}", headers={"Content-Type": content_type})
    assert reply.status == 200


@pytest.mark.parametrize(("size", "status"), [(99, 200), (100, 200), (101, 413)])
async def test_a_body_may_be_as_large_as_the_limit(serve, connect, worklog, size, status):
    http = await connect(await serve(seed=[worklog()], body_limit=100))
    body = b'{"description":"' + b"x" * (size - 18) + b'"}'
    assert len(body) == size
    reply = await http("PUT", f"{V1}/w0001", raw=body)
    assert reply.status == status
    if status == 413:
        assert reply.json == {"error": "the body is larger than 100 bytes"}


async def test_a_compressed_body_is_read_and_its_real_size_counts(serve, connect, worklog):
    emulator = await serve(seed=[worklog()], body_limit=10_000)
    http = await connect(emulator)
    headers = {"Content-Encoding": "gzip"}
    body = gzip.compress(b'{"description":"zipped"}')
    assert (await http("PUT", f"{V1}/w0001", raw=body, headers=headers)).status == 200
    assert emulator.request_log.entries[-1].body == b'{"description":"zipped"}'
    bomb = gzip.compress(b" " * 1_000_000)
    assert (await http("PUT", f"{V1}/w0001", raw=bomb, headers=headers)).status == 413
    reply = await http("PUT", f"{V1}/w0001", raw=b"no gzip at all", headers=headers)
    assert reply.status == 400
    assert "cannot be read" in reply.json["error"]


async def test_a_parameter_that_is_given_twice_is_refused_by_name(http):
    reply = await http("GET", f"{V2}?size=1&size=2")
    assert (reply.status, reply.json) == (400, {"error": "size must be given once", "field": "size"})


async def test_parameters_that_mean_nothing_are_ignored_whatever_bytes_they_hold(emulator, raw):
    for query in ("x=%FF", "%FF=%ED%A0%80", "=", "&&", "x=%00"):
        reply = await raw(emulator, path=f"{V2}?{query}", headers=["Connection: close"])
        assert reply.status == "HTTP/1.1 200 OK", query
    reply = await raw(emulator, path=f"{V2}?after=%FF%00", headers=["Connection: close"])
    assert reply.status == "HTTP/1.1 400 Bad Request"


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_error(emulator, caplog, until):
    host, port = emulator.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST {V1} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {emulator.token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{".encode()
    )
    await writer.drain()
    await until(lambda: emulator.request_log.in_progress)
    writer.transport.abort()
    await until(lambda: not emulator.request_log.in_progress)
    assert emulator.request_log.entries[-1].status is None
    assert emulator.count == 1
    assert not caplog.records


# ---- every response


@pytest.mark.parametrize(("path", "status"), [(V1, 200), ("/nowhere", 404), (f"{V2}?size=0", 400), (TOKEN, 405)])
async def test_every_response_has_the_servers_date_and_an_id_of_its_own(emulator, http, clock, path, status):
    replies = [await http("GET", path) for _ in range(2)]
    for number, reply in enumerate(replies, start=1):
        assert reply.status == status
        assert parsedate_to_datetime(reply.headers["Date"]).timestamp() == clock.seconds
        assert reply.headers["X-Request-Id"] == f"req-{number:08d}"


async def test_latency_comes_after_the_token_is_known_to_be_good(serve, connect, clock):
    http = await connect(await serve(latency=0.05, sleep=clock.sleep))
    assert (await http("GET", V1, token="wrong")).status == 401
    assert clock.slept == []
    await http("GET", V1)
    await http("GET", "/openapi.json")
    assert clock.slept == [0.05, 0.05]


async def test_latency_holds_up_nobody_else(serve, connect):
    waiting = asyncio.Barrier(9)

    async def sleep(seconds):
        await waiting.wait()

    http = await connect(await serve(latency=1, sleep=sleep))
    requests = [asyncio.create_task(http("GET", V1)) for _ in range(8)]
    await waiting.wait()  # all eight are in their sleep at the same time
    assert {(await request).status for request in requests} == {200}


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


@pytest.mark.parametrize(
    "body",
    [
        b'{"client-id": "i", "client-secret": "s3cr3t", "grant-type": "x"}',
        b'{"client-secret" :"quote \\" and s3cr3t"}',
        b'{"client_secret": "s3cr3t',
        b'{"client-secret": "s3cr3t\\',
    ],
)
async def test_no_client_secret_is_written_to_the_request_log(serve, connect, body):
    emulator = await serve()
    await (await connect(emulator))("POST", TOKEN, raw=body)
    (entry,) = emulator.request_log
    assert b"s3cr3t" in entry.body
    assert "s3cr3t" not in entry.as_json() + repr(entry)
    assert '"***"' in json.loads(entry.as_json())["body"]
