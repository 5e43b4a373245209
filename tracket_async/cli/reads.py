"""``tracket list``, ``get`` and ``categories``: the commands that only look."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from tracket_async.cli import output
from tracket_async.cli.arguments import EVERYTHING, Id, Json, Selection, named_columns
from tracket_async.cli.settings import DEFAULT, Connection
from tracket_async.cli.streaming import batches
from tracket_async.client import TracketClient
from tracket_async.errors import UsageError
from tracket_async.export import cells
from tracket_async.models import Worklog, WorklogFilter

SHOWN: Final = "id,date,user_id,item_id,minutes,description"
"""The columns of ``tracket list``; the last gives way where a terminal is too narrow."""

PIECE: Final = 1000
"""Rows of one table at most; more become the next table."""

PAGE: Final = 100
"""Up to this limit nothing is read ahead: one page is likely to hold it."""


async def list_worklogs(
    *,
    selection: Selection = EVERYTHING,
    limit: Annotated[int, Parameter(metavar="N")] = 50,
    sort_by: Literal["date", "created_date", "updated_date"] = "date",
    descending: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    columns: Annotated[str, Parameter(metavar="NAME,NAME")] = SHOWN,
    json: Json = False,
    connection: Connection = DEFAULT,
) -> None:
    """List worklogs: a table on a terminal, tab-separated values anywhere else.

    Args:
        selection: which worklogs.
        limit: How many, at most; 0 is all.
        sort_by: What to order by (API 2.0; 1.0 has only its own order).
        descending: Newest first (API 2.0).
        columns: Which attributes of the library's Worklog the table has, in which order.
        json: Print one JSON object a line, with every attribute.
        connection: which server.
    """
    if limit < 0:
        raise UsageError(f"--limit must be 0 (all) or more, not {limit}")
    named = named_columns(columns)
    filter = selection.filter(sort_by=sort_by, descending=descending)  # noqa: A001 - as the library names it
    async with connection.client() as client:
        limited = _Limited(client, filter, limit)
        async with contextlib.aclosing(limited.worklogs()) as walk:
            if json:
                async for batch in batches(walk):
                    output.json(batch)
            else:
                await _tables(walk, named)
    if limited.more:
        output.note(f"There are more than these {limit:,}; --limit 0 lists all.")


async def _tables(walk: AsyncIterator[Worklog], columns: Sequence[str]) -> None:
    """In pieces, so that a table without end needs no memory without end; without a row there is still a header."""
    head = True
    async for batch in batches(walk, size=PIECE):
        rows = ([getattr(worklog, name) for name in columns] for worklog in batch)
        output.table(columns, rows, right=cells.NUMBERS, head=head)
        head = False
    if head:
        output.table(columns, ())


async def get(id: Id, /, *, json: Json = False, connection: Connection = DEFAULT) -> None:  # noqa: A002 - as the API
    """Show one worklog.

    Args:
        id: The worklog's id.
        json: Print it as one line of JSON.
        connection: which server.
    """
    async with connection.client() as client:
        output.worklog(await client.worklogs.get(id), as_json=json)


async def categories(*, json: Json = False, connection: Connection = DEFAULT) -> None:
    """List the categories that a worklog can have (API 2.0).

    Args:
        json: Print one JSON object a line.
        connection: which server.
    """
    async with connection.client() as client:
        found = await client.categories.list()
    if json:
        output.json(found)
    else:
        output.table(("id", "name"), [(category.id, category.name) for category in found])


class _Limited:
    """The first worklogs of a walk, and whether there are more of them."""

    def __init__(self, client: TracketClient, filter: WorklogFilter, limit: int) -> None:  # noqa: A002
        self._walk = client.worklogs.list(filter=filter, read_ahead=0 if 0 < limit <= PAGE else 1)
        self._limit = limit
        self.more = False

    async def worklogs(self) -> AsyncGenerator[Worklog]:
        number = 0
        async with contextlib.aclosing(aiter(self._walk)) as worklogs:
            async for worklog in worklogs:
                if self._limit and number == self._limit:
                    self.more = True
                    return
                number += 1
                yield worklog
