"""A second server of the vendor's two pages, which deviates from them on purpose: a judge beside the emulator.

It is written from the pages alone, in plain asyncio sockets, and imports neither the client, nor the emulator, nor
aiohttp. Without a switch it is a plausible server of both versions: ``/api/1.0/worklogs``, ``/api/2.0/timeEntries``
and ``/api/2.0/oauth2/token`` over the same rows. It keeps its rows in memory as `Row`, which are the truth to compare
with: ``server.rows``, by id. What it received is in ``server.requests``.

Use it as ``async with Hostile() as server`` on the loop of the test, as ``with Hostile() as server`` in a thread of its
own (for commands, which have a loop of their own), or by the fixture ``hostile``, which is the latter. Every switch is
an attribute; it can be given to the constructor and changed at any time.

| switch                    | deviation |
|---|---|
| *connections*             | |
| unasked = payload         | each answer is followed at once by a second one, with this JSON, that nobody asked for |
| stray(payload)            | such an answer comes now, on every open connection |
| barge_in = function       | ``barge_in(request)`` gives the payload of one right before the true answer, or None |
| mute()                    | connections that are open now never answer again, and what comes over them is lost |
| keep_alive = seconds      | ``Keep-Alive: timeout=...``, and idle connections are closed after it |
| body_on_204 = True        | DELETE and a 204 of PUT have a body behind their headers |
| delete_status = 204       | DELETE answers 204 (200 with a message by default, as on the vendor's page) |
| lose_posts = n            | the next n creates happen, and the connection is closed without an answer |
| refuse_posts = n          | the next n creates get a plain 503 and do not happen |
| *answers*                 | |
| statuses = [520, ...]     | these are the answers to the next requests, whatever they are |
| fail = function           | ``fail(request)`` gives the status that answers it instead, or None |
| headers = {name: value}   | further headers on every answer (a Content-Encoding that is none, a header of 20 KB) |
| clock_ahead = seconds     | the Date header, not the rows' createdDate, is ahead |
| no_date = True            | there is no Date header |
| wrong_id = id             | a GET of any worklog answers with this one |
| encode = function         | changes the bytes of every JSON body: a BOM, Latin-1, garbage |
| error_in_200 = True       | a list answers 200 with ``{"errors": [...], "items": []}`` |
| limit = rate, burst       | more than `rate` requests a second get a 429, with Retry-After `retry_after` if not None |
| token_error = True        | the token call answers 200 with ``{"error": "invalid_client"}`` |
| *pages*                   | |
| links = "_links.object"   | 2.0: nextCursor is null beside _links.next or links.next, an object or a string |
| cursor_name = "page"      | 1.0: the cursor's parameter; under another name page 1 comes again, with a fresh cursor |
| cursor_as = int           | cursors are numbers; ``float``: numbers with a fraction of 0; ``str`` by default |
| order = "descending"      | 1.0: newest first; "unsorted": in no order |
| page_size = n             | 1.0: worklogs on a page; 2.0: the most that `size` may ask for |
| refused_cursors = {3}     | the third request with a cursor (and so on) gets `refused_status`, 410, once |
| ignore_dates = True       | 2.0: the fields.date filters do nothing |
| ignore_start = True       | 1.0: startDate does nothing |
| by_instant = True         | 2.0: fields.date filters compare instants, whose day ends at 23:59:59.999Z |
| offset = "+02:00"         | 2.0: dates are written as midnight with this offset (and compared so, with by_instant) |
| total = function          | 2.0: ``total(true, number of the list request)`` is sent instead; None: none is |
| total_of_all = True       | 2.0: the total ignores the filters |
| after_page = function     | called with the server after each page: rows that move, appear, go |
| *rows*                    | |
| forbidden = {id, ...}     | GET of these ids answers 403; lists leave them out |
| plain_user = user id      | the token ``plain`` sees this user's rows alone; GET of others answers 403 |
| unseen_status = 404       | GET of rows that a token does not see answers this, not 403 |
| overlay = {id: {...}}     | members laid over a row's JSON ("*": every row): NaN, lone surrogates, unknown fields |
| rename = {name: other}    | 2.0: fields under other names |
| no_created = True         | createdDate is null |
| *writes*                  | |
| created_as = "id"         | POST answers 201 with the id alone; "empty", "location": an empty body without and with |
|                           | Location; "html": 200 with a page of HTML, nothing is created; "full" is the default |
| updated_as = "204"        | PUT answers 204 |
| change_text = str.strip   | texts are changed when they are stored: trimmed, normalised |
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import json
import threading
import weakref
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

V1, V2, TOKEN = "/api/1.0/worklogs", "/api/2.0/timeEntries", "/api/2.0/oauth2/token"
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
NAMES = {
    1: {"itemId": "item", "userId": "user", "description": "description", "worklogCategory": "category"}
    | {"worklogMinutes": "minutes", "worklogBillableMinutes": "billable"},
    2: {
        "item": "item",
        "user": "user",
        "description": "description",
        "minutes": "minutes",
        "billableMinutes": "billable",
    },
}
_TURNS = 5  # of the event loop: more than what was begun needs
MILLISECOND = dt.timedelta(milliseconds=1)


@dataclass(frozen=True)
class Row:
    """A worklog: the truth."""

    id: str
    date: dt.datetime
    minutes: float = 60
    item: str | None = "5273029382"
    user: str = "35851565"
    description: str | None = None
    category: str | None = None
    billable: float | None = None
    created: dt.datetime | None = dt.datetime(2024, 1, 1, 8, tzinfo=dt.UTC)
    updated: dt.datetime | None = None
    custom: dict = field(default_factory=dict)


def make_rows(number, *, first="2024-03-01", a_day=5, **changes):
    """Rows ``wl-0000``, ``wl-0001`` ..., so many on each day from `first` on, at 00:00 UTC."""
    start = dt.datetime.fromisoformat(first).replace(tzinfo=dt.UTC)
    return [
        Row(
            id=f"wl-{each:04}",
            **{
                "date": start + each // a_day * DAY,
                "minutes": 15.0 * (1 + each % 8),
                "description": f"text {each}",
                **changes,
            },
        )
        for each in range(number)
    ]


@dataclass
class Request:
    """What came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def cursor(self):
        return self.query.get("cursor", self.query.get("after"))

    def json(self):
        return json.loads(self.body)


@dataclass
class Answer:
    """What goes out."""

    status: int = 200
    body: bytes = b""
    type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False  # nothing goes out, and the connection is closed


class _Protocol(asyncio.StreamReaderProtocol):
    """A connection whose transport is known from its beginning: the task that serves it may never begin."""

    def __init__(self, transports, connected):
        super().__init__(asyncio.StreamReader(limit=1 << 20), connected)
        self._all = transports

    def connection_made(self, transport):
        self._all.add(transport)
        super().connection_made(transport)


class Hostile:
    """The server; see the table above for its switches."""

    Row, make_rows = Row, staticmethod(make_rows)
    token, plain_token = "admin", "plain"
    client_id, client_secret, account_id = "client", "secret", "1234567"

    unasked, keep_alive, body_on_204, delete_status = None, None, False, 200
    lose_posts, refuse_posts = 0, 0
    clock_ahead, no_date, wrong_id, error_in_200, token_error = 0.0, False, None, False, False
    limit, retry_after = None, None
    links, cursor_name, cursor_as, order, page_size = None, "cursor", str, "ascending", 100
    refused_status, ignore_dates, ignore_start, by_instant, offset = 410, False, False, False, None
    total_of_all = False
    plain_user, unseen_status, no_created = None, 403, False
    created_as, updated_as = "full", "full"

    def __init__(self, rows=(), **switches):
        self.rows = {row.id: row for row in rows}
        self.requests = []
        self.statuses, self.headers, self.refused_cursors = [], {}, set()
        self.forbidden, self.overlay, self.rename = set(), {}, {}
        self.encode = self.change_text = lambda same: same
        self.total, self.after_page = lambda true, _number: true, lambda _server: None
        self.fail = self.barge_in = lambda _request: None
        for name, value in switches.items():
            assert hasattr(self, name), f"there is no switch {name}"
            setattr(self, name, value)
        self._numbers, self._lists, self._cursors, self._places = itertools.count(1), 0, 0, {}
        self._connections, self._muted, self._tasks = set(), set(), set()
        self._transports = weakref.WeakSet()
        self._admissions, self._filled_at = 0.0, None

    # -- running ------------------------------------------------------------

    async def __aenter__(self):
        self._loop = asyncio.get_running_loop()
        self._server = await self._loop.create_server(
            lambda: _Protocol(self._transports, self._connected), "127.0.0.1", 0
        )
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        # asyncio leaves open what it has accepted when the server closes: Server._attach asserts, and nobody hears it.
        self._loop.remove_reader(self._server.sockets[0].fileno())
        for _ in range(_TURNS):  # what was accepted gets its transport, and that its protocol
            await asyncio.sleep(0)
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for transport in list(self._transports):
            transport.abort()  # what nobody has read would keep it open
        for _ in range(_TURNS):  # it closes its socket
            await asyncio.sleep(0)

    def __enter__(self):
        listening = threading.Event()

        async def serve():
            self._stop = asyncio.Event()
            async with self:
                listening.set()
                await self._stop.wait()

        self._thread = threading.Thread(target=lambda: asyncio.run(serve()))
        self._thread.start()
        listening.wait()
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def env(self, api="2.0", *, token=None):
        """The TRACKET_* settings with which a client finds it."""
        return {"TRACKET_BASE_URL": self.url, "TRACKET_API": api, "TRACKET_TOKEN": token or self.token}

    def add(self, *rows):
        self.rows.update({row.id: row for row in rows})

    def mute(self):
        """Connections that are open now never answer again; those that are opened later do."""
        self._muted |= self._connections

    def stray(self, payload):
        """Send an answer that nobody asked for on every open connection; it is on its way when this returns."""

        async def write():
            for writer in self._connections:
                writer.write(self._bytes(self._json(payload)))

        asyncio.run_coroutine_threadsafe(write(), self._loop).result()

    def count(self, method="GET", path=None):
        """How many such requests came in."""
        return sum(each.method == method and path in (None, each.path) for each in self.requests)

    # -- one connection ------------------------------------------------------------

    async def _connected(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        self._connections.add(writer)
        try:
            while (request := await self._read(reader)) is not None:
                self.requests.append(request)
                if writer in self._muted:
                    await reader.read()  # until the client goes
                    break
                answer = self._answer(request)
                if answer.cut:
                    break
                second = b"" if self.unasked is None else self._bytes(self._json(self.unasked))
                first = b"" if (payload := self.barge_in(request)) is None else self._bytes(self._json(payload))
                writer.write(first + self._bytes(answer) + second)
                await writer.drain()
                if request.headers.get("connection") == "close":
                    break
        except asyncio.CancelledError:
            writer.transport.abort()  # the server stops: what has not been sent yet would keep the socket open
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the client has gone, or a kept connection has been idle for too long
        finally:
            self._connections.discard(writer)
            self._tasks.discard(task)
            writer.close()

    async def _read(self, reader):
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), self.keep_alive)
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        return Request(method, unquote(parts.path), query, headers, body)

    def _bytes(self, answer):
        headers = {"Content-Type": answer.type, **answer.headers, **self.headers}
        if not self.no_date:
            headers["Date"] = formatdate(dt.datetime.now(dt.UTC).timestamp() + self.clock_ahead, usegmt=True)
        if self.keep_alive is not None:
            headers["Keep-Alive"] = f"timeout={self.keep_alive:g}"
        body = answer.body
        if answer.status == 204:
            body = b'{"message": "done"}' if self.body_on_204 else b""
        if answer.status != 204 or self.body_on_204:
            headers["Content-Length"] = str(len(body))
        phrase = HTTPStatus(answer.status).phrase if answer.status in set(HTTPStatus) else "Unknown"
        lines = [f"HTTP/1.1 {answer.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        return "\r\n".join(lines).encode("latin-1") + body

    def _json(self, payload, status=200, **headers):
        return Answer(status, self.encode(json.dumps(payload).encode()), headers=headers)

    def _error(self, status, message="no", **headers):
        return self._json({"message": message}, status, **headers)

    # -- one request ------------------------------------------------------------

    def _answer(self, request):
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.limit is not None and not self._admitted(*self.limit):
            return self._error(429, **({} if self.retry_after is None else {"Retry-After": str(self.retry_after)}))
        if request.path == TOKEN and not self.statuses:
            return self._token(request)
        failure = self.statuses.pop(0) if self.statuses else self.fail(request)
        if failure is not None or bearer not in (self.token, self.plain_token):
            return self._error(failure or 401)
        for version, path in ((1, V1), (2, V2)):
            if request.path == path:
                respond = self._create if request.method == "POST" else self._list
                return respond(request, version, self._visible(bearer))
            if request.path.startswith(f"{path}/"):
                return self._one(request, version, request.path.removeprefix(f"{path}/"), self._visible(bearer))
        return self._error(404)

    def _admitted(self, rate, burst):
        now = asyncio.get_running_loop().time()
        filled = burst if self._filled_at is None else self._admissions + (now - self._filled_at) * rate
        self._admissions, self._filled_at = min(burst, filled), now
        admitted = self._admissions >= 1
        self._admissions -= admitted
        return admitted

    def _token(self, request):
        given = request.json()
        expected = {
            "grant-type": "client-credentials",
            "monday/account-id": self.account_id,
            "client-id": self.client_id,
            "client-secret": self.client_secret,
        }
        if self.token_error or given != expected:
            return self._json({"error": "invalid_client"}, 200 if self.token_error else 401)
        return self._json({"access_token": self.token, "token_type": "Bearer", "expires_in": 3600})

    def _visible(self, bearer):
        mine = self.plain_user if bearer == self.plain_token else None
        return {
            ident: row
            for ident, row in self.rows.items()
            if ident not in self.forbidden and (mine is None or row.user == mine)
        }

    def _one(self, request, version, ident, visible):
        row = self.rows.get(ident if self.wrong_id is None or request.method != "GET" else self.wrong_id)
        if row is None or row.id not in visible:
            return self._error(404 if row is None else self.unseen_status)
        if request.method == "DELETE":
            del self.rows[ident]
            return self._json({"message": "deleted"}, self.delete_status)
        shown = self._shown(row, version)
        if request.method == "PUT":
            self.rows[ident] = row = replace(self._stored(row, request.json(), version), updated=self._now())
            shown = self._shown(row, version)
            shown.pop("approvalStatus", None)  # as on the page of 1.0
            if self.updated_as == "204":
                return Answer(204)
        return self._json(shown)

    def _create(self, request, version, _visible):
        if self.refuse_posts:
            self.refuse_posts -= 1
            return self._error(503)
        if self.created_as == "html":
            return Answer(200, b"<html><body>Sign in to this network</body></html>", "text/html")
        new = Row(id=f"new-{next(self._numbers)}", date=EPOCH, created=self._now())
        self.add(row := self._stored(new, request.json(), version))
        if self.lose_posts:
            self.lose_posts -= 1
            return Answer(cut=True)
        if self.created_as == "id":
            return self._json({"worklogId" if version == 1 else "id": row.id}, 201)
        if self.created_as in ("empty", "location"):
            location = {"Location": f"{request.path}/{row.id}"} if self.created_as == "location" else {}
            return Answer(201, headers=location)
        return self._json(self._shown(row, version))

    @staticmethod
    def _now():
        now = dt.datetime.now(dt.UTC)
        return now.replace(microsecond=now.microsecond // 1000 * 1000)

    # -- lists ------------------------------------------------------------

    def _list(self, request, version, visible):
        self._lists += 1
        if self.error_in_200:
            rows = "worklogs" if version == 1 else "items"
            return self._json({"errors": [{"message": "the database is away"}], rows: []})
        cursor = request.query.get(self.cursor_name if version == 1 else "after")
        if cursor is not None:
            self._cursors += 1
            if self._cursors in self.refused_cursors:
                return self._error(self.refused_status, "the cursor has expired")
        answer = self._list_v1(request, visible, cursor) if version == 1 else self._list_v2(request, visible, cursor)
        self.after_page(self)
        return answer

    def _list_v1(self, request, visible, cursor):
        start = None if self.ignore_start else request.query.get("startDate")
        matching = [row for row in visible.values() if start is None or row.date >= _moment(start)]
        page, following = self._page(matching, self.order, cursor, self.page_size)
        payload = {"worklogs": [self._shown(row, 1) for row in page]}
        if following is not None:
            payload["next-cursor"] = following
        return self._json(payload)

    def _list_v2(self, request, visible, cursor):
        query = request.query
        matching = [row for row in visible.values() if self._matches(row, query)]
        order = ("descending" if query.get("sortType", "desc") == "desc" else "ascending", query.get("sortBy", "date"))
        size = min(int(query.get("size", 25)), self.page_size)
        page, following = self._page(matching, order[0], cursor, size, by=order[1])
        payload = {"size": size, "items": [self._shown(row, 2) for row in page], "nextCursor": None, "_links": {}}
        total = self.total(len(visible) if self.total_of_all else len(matching), self._lists)
        if total is not None:
            payload["total"] = total
        if following is not None:
            href = f"{request.path}?{urlencode({**query, 'after': following})}"
            under, _, form = (self.links or "_links.object").partition(".")
            payload.setdefault(under, {})["next"] = href if form == "string" else {"href": href}
            if self.links is None:
                payload["nextCursor"] = following
        return self._json(payload)

    def _page(self, matching, order, cursor, size, by="date"):
        """Return the page behind a cursor, and the cursor of the next one.

        A cursor stands for the last row before it, so that a walk stays exact while other rows come and go. It is a
        fresh one each time: a walk that never gets on is not to be told by equal cursors.
        """

        def key(row):
            if order == "unsorted":
                return row.id[::-1], row.id
            return {"date": row.date, "createdDate": row.created}.get(by, row.updated) or EPOCH, row.id

        rows = sorted(matching, key=key, reverse=order == "descending")
        if cursor is not None:
            place = self._places[int(float(cursor.removeprefix("c")))]
            rows = [row for row in rows if (key(row) < place if order == "descending" else key(row) > place)]
        if len(rows) <= size:
            return rows, None
        number = next(self._numbers)
        self._places[number] = key(rows[size - 1])
        return rows[:size], f"c{number}" if self.cursor_as is str else self.cursor_as(number)

    def _matches(self, row, query):
        """Apply the 2.0 filters."""
        for name, value in query.items():
            about, _, end = name.removeprefix("fields.").rpartition(".")
            if end not in ("gte", "lte") or (about == "date" and self.ignore_dates):
                continue
            bound = _moment(value) + (DAY - MILLISECOND if end == "lte" and len(value) == 10 else 0 * DAY)
            found = {"createdDate": row.created, "updatedDate": row.updated}.get(about)
            if about == "date":
                offset = self.offset if self.by_instant and self.offset else "+00:00"
                found = dt.datetime.fromisoformat(f"{row.date.date()}T00:00:00{offset}")
            if found is None or (found < bound if end == "gte" else found > bound):
                return False
        return True

    # -- rows ------------------------------------------------------------

    def _shown(self, row, version):
        created = None if self.no_created else _text(row.created)
        if version == 1:
            shown = {
                "worklogId": row.id,
                "itemId": row.item,
                "userId": row.user,
                "description": row.description,
                "worklogCategory": row.category,
                "worklogDate": _text(row.date),
                "worklogMinutes": row.minutes,
                "worklogBillableMinutes": row.billable,
                "createdDate": created,
                "updatedDate": _text(row.updated),
                "approvalStatus": "open",
                "approverUserId": None,
            }
        else:
            day = row.date.date().isoformat()
            shown = {
                "id": row.id,
                "item": row.item,
                "user": row.user,
                "date": day if self.offset is None else f"{day}T00:00:00.000{self.offset}",
                "minutes": row.minutes,
                "billableMinutes": row.billable,
                "team": None,
                "description": row.description,
                "customFields": {**({"category": row.category} if row.category else {}), **row.custom},
                "createdDate": created,
                "updatedDate": _text(row.updated),
                "approval": {"status": "open", "approver": None},
            }
            shown = {self.rename.get(name, name): value for name, value in shown.items()}
        return {**shown, **self.overlay.get("*", {}), **self.overlay.get(row.id, {})}

    def _stored(self, row, given, version):
        changes = {ours: given[theirs] for theirs, ours in NAMES[version].items() if theirs in given}
        if isinstance(changes.get("description"), str):
            changes["description"] = self.change_text(changes["description"])
        date = given.get("worklogDate" if version == 1 else "date")
        if date is not None:
            changes["date"] = _moment(date)
        if version == 2 and "customFields" in given:
            custom = {**row.custom, **given["customFields"]}
            changes["category"] = custom.pop("category", row.category)
            changes["custom"] = {name: value for name, value in custom.items() if value is not None}
        return replace(row, **changes)


def _moment(text):
    moment = dt.datetime.fromisoformat(text)
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


def _text(moment):
    if moment is None:
        return None
    return moment.astimezone(dt.UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
