"""A request and a response as values: what ``api`` and ``net`` say to each other. No aiohttp type."""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen
class Request:
    """One call, described and not yet sent.

    Attributes:
        method: the HTTP method, upper case.
        path: what follows the base URL, beginning with ``/api/``; ids in it are already checked and quoted.
        route: the path with its ids replaced, as in ``/api/1.0/worklogs/{id}``; for events and metrics.
        query: the query's names and values, not yet quoted, in order.
        body: the JSON body as bytes, None for none.
    """

    method: str
    path: str
    route: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = attrs.field(default=None, repr=False)

    @property
    def idempotent(self) -> bool:
        """Whether sending it twice has the effect of sending it once (RFC 9110, 9.2.2): all but POST here."""
        return self.method != "POST"


@attrs.frozen
class Response:
    """One complete answer.

    Attributes:
        status: the HTTP status.
        headers: names are compared without case; of a repeated header the first counts.
        body: all of it, decompressed.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
