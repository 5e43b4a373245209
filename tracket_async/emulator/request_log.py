"""The log of the requests that the server received, in order of arrival, and of their outcomes.

Only the most recent entries are kept; the counts are of all requests. No secret is written: Authorization headers are
not logged, and the client secret of a token call is masked.
"""

from __future__ import annotations

import json
import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from typing import Final

from attrs import define, field, frozen

_CLIENT_SECRET: Final = re.compile(r'("client[-_]secret"\s*:\s*)"(?:[^"\\]|\\.)*+"?', re.IGNORECASE | re.DOTALL)
"""The member of a token call, also where its JSON is malformed."""


@define(kw_only=True)
class ReceivedRequest:
    """One request and its outcome.

    Attributes:
        number: 1 for the first that the server received.
        method: GET, POST, PUT, DELETE or whatever was sent.
        route: The resource, without host and version: ``/worklogs``, ``/worklogs/{id}``, ``/timeEntries``,
            ``/timeEntries/{id}``, ``/oauth2/token``, ``/templates/timeEntry/fields/category/options``,
            ``/openapi.json``; empty for a path that is none of them.
        path: The path as it was sent, percent-encoded.
        query: The query parameters; the first value of one that is given twice.
        body: The body, decompressed; empty until it has been read. In a token call it holds the client secret, so it
            is not in the repr.
        status: Status of the response; None while there is none, and when the client got none.
        fault: Kind of the fault that it got, several joined by ``+``; None without.
        committed: Whether a write has taken effect.
    """

    number: int
    method: str
    route: str
    path: str
    query: Mapping[str, str] = field(factory=dict[str, str])
    body: bytes = field(default=b"", repr=False)
    status: int | None = None
    fault: str | None = None
    committed: bool = False

    @property
    def cursor(self) -> str | None:
        """Return the cursor of the request, under the name that its version has for it; None for a first page."""
        return self.query.get("cursor" if self.route == "/worklogs" else "after")

    def as_json(self) -> str:
        """Return the entry as one line of JSON.

        A client secret in the body is masked. Bytes of the body that are not UTF-8 are replaced.
        """
        return json.dumps(
            {
                "number": self.number,
                "method": self.method,
                "route": self.route,
                "path": self.path,
                "query": dict(self.query),
                "body": _CLIENT_SECRET.sub(r'\1"***"', self.body.decode(errors="replace")),
                "status": self.status,
                "fault": self.fault,
                "committed": self.committed,
            },
        )


@frozen
class _Outcome:
    method: str
    route: str
    status: int | None
    fault: str | None
    committed: bool


class RequestLog:
    """The requests that the server received.

    Args:
        size: Most entries to keep; the oldest go first.
    """

    def __init__(self, size: int) -> None:
        self._entries: deque[ReceivedRequest] = deque(maxlen=size)
        self._open: dict[int, ReceivedRequest] = {}
        self._outcomes: Counter[_Outcome] = Counter()
        self._number = 0

    def __len__(self) -> int:
        """Return the number of requests, those whose entries are no longer kept included."""
        return self._number

    def __iter__(self) -> Iterator[ReceivedRequest]:
        """Return the entries that are kept, in order of arrival."""
        return iter(tuple(self._entries))

    def __repr__(self) -> str:
        return f"<RequestLog of {self._number} requests, {len(self._open)} in progress>"

    @property
    def entries(self) -> tuple[ReceivedRequest, ...]:
        """Return the entries that are kept, in order of arrival."""
        return tuple(self._entries)

    @property
    def in_progress(self) -> int:
        """Return the number of requests that have not ended."""
        return len(self._open)

    def begin(self, method: str, route: str, path: str, query: Mapping[str, str]) -> ReceivedRequest:
        """Log a request that has just come in, and return its entry."""
        self._number += 1
        entry = ReceivedRequest(number=self._number, method=method, route=route, path=path, query=query)
        self._entries.append(entry)
        self._open[entry.number] = entry
        return entry

    def end(self, entry: ReceivedRequest) -> None:
        """Count the outcome of a request that has ended: its entry changes no more."""
        del self._open[entry.number]
        self._outcomes[_Outcome(entry.method, entry.route, entry.status, entry.fault, entry.committed)] += 1

    def count(
        self,
        *,
        method: str | None = None,
        route: str | None = None,
        status: int | None = None,
        fault: str | None = None,
        committed: bool | None = None,
    ) -> int:
        """Return the number of requests that have ended and match all arguments.

        Args:
            method: Only this method; None means any, here and below.
            route: Only this route, as in `ReceivedRequest.route`.
            status: Only those answered with this status.
            fault: Only those that got this kind of fault.
            committed: Only writes that took effect (True), or only requests that changed nothing (False).
        """
        wanted = _Outcome(method or "", route or "", status, fault, bool(committed))
        return sum(
            number
            for outcome, number in self._outcomes.items()
            if (method is None or outcome.method == wanted.method)
            and (route is None or outcome.route == wanted.route)
            and (status is None or outcome.status == status)
            and (fault is None or outcome.fault == fault)
            and (committed is None or outcome.committed == committed)
        )

    def clear(self) -> None:
        """Forget all requests that have ended; numbering continues."""
        self._outcomes.clear()
        self._entries = deque(self._open.values(), maxlen=self._entries.maxlen)
