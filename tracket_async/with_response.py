"""The server's response beside the model: what `Worklogs.with_response` returns.

It is for support tickets, caches and dashboards. An operation without it takes no note of anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, Protocol, TypeVar

import attrs

from tracket_async._http.messages import CallRecord
from tracket_async._http.responses import request_id
from tracket_async.models import NewWorklog, Worklog, WorklogChanges

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class WithResponse(Generic[T]):
    """The result of an operation, and the response that it was read from.

    Where a create or an update had to be read back, the status and the headers are those of the write; the attempts and
    the seconds count all of it.

    Attributes:
        model: what the operation returns by itself.
        status: the HTTP status, a 2xx.
        headers: names are compared without case.
        request_id: the id that the server gave the request; None where it gave none.
        attempts: how many requests it took: 1 without a retry.
        seconds: from the call to its end: queueing, retries and their waits included.
    """

    model: T
    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    request_id: str | None
    attempts: int
    seconds: float


class Operations(Protocol):
    """The operations that can be recorded: those of `Worklogs`."""

    async def get(self, id: str, /) -> Worklog:
        """See `Worklogs.get`."""
        ...

    async def create(self, new: NewWorklog, /) -> Worklog:
        """See `Worklogs.create`."""
        ...

    async def update(self, id: str, changes: WorklogChanges, /) -> Worklog:
        """See `Worklogs.update`."""
        ...

    async def delete(self, id: str, /) -> str | None:
        """See `Worklogs.delete`."""
        ...


class WorklogsWithResponse:
    """The operations of `Worklogs` on one worklog, with the response beside the model. They raise as those do."""

    def __init__(self, recorded_by: Callable[[CallRecord], Operations]) -> None:
        self._recorded_by = recorded_by

    async def get(self, id: str) -> WithResponse[Worklog]:
        """Return the worklog with this id; see `Worklogs.get`."""
        return await self._record(lambda worklogs: worklogs.get(id))

    async def create(self, new: NewWorklog) -> WithResponse[Worklog]:
        """Create a worklog; see `Worklogs.create`."""
        return await self._record(lambda worklogs: worklogs.create(new))

    async def update(self, id: str, changes: WorklogChanges) -> WithResponse[Worklog]:
        """Change a worklog; see `Worklogs.update`."""
        return await self._record(lambda worklogs: worklogs.update(id, changes))

    async def delete(self, id: str) -> WithResponse[str | None]:
        """Delete a worklog; the model is the server's message. See `Worklogs.delete`."""
        return await self._record(lambda worklogs: worklogs.delete(id))

    async def _record(self, operation: Callable[[Operations], Awaitable[T]]) -> WithResponse[T]:
        record = CallRecord()
        model = await operation(self._recorded_by(record))
        response = record.response
        assert response is not None  # noqa: S101 - an operation that returns has had one
        return WithResponse(
            model=model,
            status=response.status,
            headers=response.headers,
            request_id=request_id(response.headers),
            attempts=record.attempts,
            seconds=record.seconds,
        )
