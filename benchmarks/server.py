"""The server that is not what is measured: both versions of the list call, answered from memory.

``python -m benchmarks.server '{"api": "2.0", ...}'`` binds a free port of loopback, prints it, and serves until its
standard input ends. Every worklog is rendered before the first request, unless asked otherwise; a page is a slice of a
sorted list, joined. It reads HTTP/1.1 only as far as the clients under test write it (no chunked bodies, no
pipelining), takes any token, and answers uncompressed. ``GET /cpu`` tells the seconds of CPU that it has spent.
"""

from __future__ import annotations

import asyncio
import bisect
import datetime as dt
import email.utils
import functools
import heapq
import importlib
import json
import re
import selectors
import sys
import time
import urllib.parse
from collections.abc import Callable, Sequence

from benchmarks import data
from benchmarks.rows import Serve

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LIST = {"/api/1.0/worklogs": "1.0", "/api/2.0/timeEntries": "2.0"}
_KEYS = {"date": "dates", "createdDate": "created", "updatedDate": "updated"}
_TOKEN = b'{"access_token":"benchmark","token_type":"Bearer","expires_in":3600}'
_CATEGORIES = b'{"items":[{"id":"c-1","name":"Development"}]}'
_DAY_MS = 86_400_000

Answer = tuple[int, bytes]
Query = dict[str, str]


class Worklogs:
    """Answers requests. Pure: no socket, no clock.

    Args:
        worklogs: what to serve.
        api: the version that they are rendered for; the other version's calls are 404.
    """

    def __init__(self, worklogs: data.Worklogs, api: str) -> None:
        self._worklogs = worklogs
        self._api = api
        self._created = 0
        self.get = functools.lru_cache(maxsize=4096)(self._get)

    def _get(self, target: str) -> Answer:
        """Answer a GET."""
        path, _, query = target.partition("?")
        if _LIST.get(path) == self._api:
            given = dict(urllib.parse.parse_qsl(query))
            return 200, self._list_v1(given) if self._api == "1.0" else self._list_v2(given)
        if path.endswith("/category/options"):
            return 200, _CATEGORIES
        collection, _, name = path.rpartition("/")
        number = name.removeprefix("wl-")
        if _LIST.get(collection) == self._api and number.isdecimal() and int(number) < len(self._worklogs.ids):
            return 200, self._worklogs.bodies[int(number)]
        return 404, b'{"error":"not found"}'

    def post(self, target: str, body: bytes) -> Answer:
        """Answer a POST: a token, or what was sent with an id and the date of creation put in front."""
        if target == "/api/2.0/oauth2/token":
            return 200, _TOKEN
        if _LIST.get(target) != self._api:
            return 404, b'{"error":"not found"}'
        self._created += 1
        name = b"worklogId" if self._api == "1.0" else b"id"
        made = b'{"%s":"new-%d","createdDate":"2026-11-01T09:00:00.000Z",' % (name, self._created)
        return 200, made + body.lstrip()[1:]

    def _list_v1(self, query: Query) -> bytes:
        first = int(query.get("cursor") or 0)
        if "startDate" in query:
            first = max(first, bisect.bisect_left(self._worklogs.dates, _milliseconds(query["startDate"])))
        total = len(self._worklogs.ids)
        end = min(first + data.PAGE, total)
        cursor = str(end) if end < total else None
        return data.envelope(self._worklogs.bodies[first:end], api="1.0", cursor=cursor, total=total, size=data.PAGE)

    def _list_v2(self, query: Query) -> bytes:
        size = int(query.get("size", 25))
        filters = tuple(sorted(pair for pair in query.items() if pair[0].startswith("fields.")))
        sort_by, offset = query.get("sortBy", "date"), int(query.get("after", 0))
        descending = query.get("sortType", "desc") == "desc"
        if descending and sort_by != "date" and not filters:
            total = len(self._worklogs.ids)
            numbers: Sequence[int] = self._newest(sort_by, offset + size)[offset:]
        else:
            found = self._find(filters, sort_by)
            total = len(found)
            last = min(offset + size, total)
            numbers = found[total - last : total - offset][::-1] if descending else found[offset:last]
        end = offset + len(numbers)
        bodies = [self._worklogs.bodies[number] for number in numbers]
        return data.envelope(bodies, api="2.0", cursor=str(end) if end < total else None, total=total, size=size)

    def _newest(self, sort_by: str, count: int) -> list[int]:
        """Return the numbers of the worklogs that come first in descending order; those without the date come last."""
        keys, dates = getattr(self._worklogs, _KEYS[sort_by]), self._worklogs.dates
        found: list[tuple[int, int]] = []
        for number in reversed(range(len(dates))):
            if len(found) < count:
                heapq.heappush(found, (keys[number] or 0, number))
            elif found[0][0] <= dates[number] + data.MOST_LATER:
                heapq.heappushpop(found, (keys[number] or 0, number))
            else:  # neither this nor any before it can be later
                break
        return [number for _, number in sorted(found, reverse=True)]

    @functools.lru_cache(maxsize=4096)  # noqa: B019 -- one object, as long as the process
    def _find(self, filters: tuple[tuple[str, str], ...], sort_by: str) -> Sequence[int]:
        """Return the numbers of the worklogs within the bounds, ascending by ``sort_by``."""
        bounds: dict[str, tuple[int, int]] = {}
        for name, value in filters:
            _, field, side = name.split(".")
            lower, upper = bounds.get(field, (-sys.maxsize, sys.maxsize))
            moment = _milliseconds(value)
            if side == "lte" and len(value) == 10:
                moment += _DAY_MS - 1
            bounds[field] = (moment, upper) if side == "gte" else (lower, moment)
        low, high = bounds.pop("date", (-sys.maxsize, sys.maxsize))
        for lower, upper in bounds.values():
            low, high = max(low, lower - data.MOST_LATER), min(high, upper)
        dates = self._worklogs.dates
        found: Sequence[int] = range(bisect.bisect_left(dates, low), bisect.bisect_right(dates, high))
        for field, (lower, upper) in bounds.items():
            keys = getattr(self._worklogs, _KEYS[field])
            found = [number for number in found if (key := keys[number]) is not None and lower <= key <= upper]
        if sort_by != "date":
            keys = getattr(self._worklogs, _KEYS[sort_by])
            found = sorted(found, key=lambda number: keys[number] or 0)  # those without it come first
        return found


class Bucket:
    """A token bucket: the requests that a server with a limit allows. Without a rate it allows all."""

    def __init__(self, settings: Serve) -> None:
        self._rate, self._burst = settings.rate, settings.burst
        self._tokens, self._at = float(settings.burst), time.monotonic()
        after = "" if settings.retry_after is None else f"Retry-After: {settings.retry_after}\r\n"
        self.headers = after.encode()

    def allows(self) -> bool:
        """Return whether a request is allowed now, and count it."""
        if not self._rate:
            return True
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Protocol(asyncio.Protocol):
    """One connection: finds the end of a request, and writes its answer after the latency.

    Args:
        worklogs: has the answers.
        latency: seconds before each answer.
        bucket: says which requests are refused.
    """

    def __init__(self, worklogs: Worklogs, latency: float, bucket: Bucket) -> None:
        self._worklogs = worklogs
        self._latency = latency
        self._bucket = bucket
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._write: Callable[[bytes], None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the writing end."""
        self._write = transport.write  # type: ignore[attr-defined]  # asyncio types it as the base class

    def data_received(self, received: bytes) -> None:
        """Answer every request that is now complete."""
        self._received += received
        while (head := self._received.find(b"\r\n\r\n")) >= 0:
            method, target, _ = self._received[: self._received.index(b"\r\n")].split(b" ")
            end = head + 4
            if method != b"GET" and (length := _LENGTH.search(self._received, 0, head)):
                end += int(length[1])
                if len(self._received) < end:
                    return
            body, self._received = self._received[head + 4 : end], self._received[end:]
            self._answer(method, target.decode(), body)

    def _answer(self, method: bytes, target: str, body: bytes) -> None:
        if target == "/cpu":
            status, answer = 200, b"%f" % time.process_time()
        elif not self._bucket.allows():
            status, answer = 429, b'{"error":"too many requests"}'
        elif method == b"GET":
            status, answer = self._worklogs.get(target)
        else:
            status, answer = self._worklogs.post(target, body)
        head = b"HTTP/1.1 %d OK\r\nContent-Type: application/json\r\nDate: %s\r\nContent-Length: %d\r\n\r\n"
        if status == 429:
            head = head[:-2] + self._bucket.headers + b"\r\n"
        whole = head % (status, _date(int(time.time())), len(answer)) + answer
        if self._latency:
            self._loop.call_later(self._latency, self._write, whole)
        else:
            self._write(whole)


@functools.lru_cache(maxsize=2)
def _date(now: int) -> bytes:
    return email.utils.formatdate(now, usegmt=True).encode()


@functools.lru_cache(maxsize=4096)
def _milliseconds(value: str) -> int:
    """Return a date or date-time of a query in ms since 1970."""
    moment = dt.datetime.fromisoformat(value)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return round(moment.timestamp() * 1000)


async def serve(settings: Serve) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    make = data.make if settings.rendered else data.make_on_demand
    made = make(settings.worklogs, api=settings.api, skewed=settings.skewed, varied=settings.varied)
    worklogs = Worklogs(made, settings.api)
    bucket = Bucket(settings)
    server = await loop.create_server(lambda: Protocol(worklogs, settings.latency / 1000, bucket), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    server.close()


def loop_factory(settings: Serve) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return a factory of the event loop: the quickest there is, or, where answers wait, one that wakes on time.

    epoll and uvloop's timers know milliseconds, so 20 ms would be 20.5 on average; select knows microseconds.
    """
    if settings.latency:
        return lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())
    try:
        uvloop = importlib.import_module("uvloop")
    except ModuleNotFoundError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


if __name__ == "__main__":
    asked = Serve(**json.loads(sys.argv[1]))
    with asyncio.Runner(loop_factory=loop_factory(asked)) as runner:
        runner.run(serve(asked))
