"""``tracket list``, ``get`` and ``categories``: the commands that only look.

``tracket create``, ``update`` and ``delete``: the commands that change worklogs which their arguments name.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Sequence
from typing import Annotated, Any, Final, Literal

from cyclopts import Parameter

from tracket_async.cli import files, output
from tracket_async.cli.exits import ExitCode
from tracket_async.cli.options import (
    DEFAULT,
    EVERYTHING,
    Connection,
    Id,
    Json,
    Moment,
    Selection,
    named_columns,
    refusals,
)
from tracket_async.cli.stream import batches
from tracket_async.client import TracketClient
from tracket_async.errors import UsageError
from tracket_async.export import text as cells
from tracket_async.models import NewWorklog, Worklog, WorklogChanges, WorklogFilter

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


Clearable = Literal["description", "category", "billable-minutes", "team", "project"]
CLEARED: Final[dict[Clearable, str]] = {
    "description": "description",
    "category": "category_id",
    "billable-minutes": "billable_minutes",
    "team": "team_id",
    "project": "project_id",
}

Text = Annotated[str | None, Parameter(metavar="TEXT", show_default=False)]
OptionalId = Annotated[str | None, Parameter(metavar="ID", show_default=False)]
Minutes = Annotated[float, Parameter(metavar="MINUTES")]
OptionalMinutes = Annotated[float | None, Parameter(metavar="MINUTES", show_default=False)]
CustomFields = Annotated[
    list[str] | None, Parameter(name="--field", negative=(), metavar="REFERENCE=OPTION", show_default=False)
]


async def create(
    *,
    item: Id,
    user: Id,
    date: Moment,
    minutes: Minutes,
    description: Text = None,
    category: OptionalId = None,
    billable_minutes: OptionalMinutes = None,
    team: OptionalId = None,
    project: OptionalId = None,
    field: CustomFields = None,
    json: Json = False,
    connection: Connection = DEFAULT,
) -> None:
    """Create a worklog, and show it.

    Args:
        item: The monday.com item worked on.
        user: The monday.com user who worked.
        date: When: YYYY-MM-DD, or a date-time with an offset (of which API 2.0 keeps the UTC day).
        minutes: Minutes worked.
        description: What was done.
        category: The category; see tracket categories.
        billable_minutes: Minutes to be billed.
        team: The monday.com team (API 2.0).
        project: The Tracket project (API 2.0).
        field: A custom field and its option (API 2.0); may be repeated.
        json: Print the worklog as one line of JSON.
        connection: which server.
    """
    with refusals():
        new = NewWorklog(
            item_id=item,
            user_id=user,
            date=date,
            minutes=minutes,
            description=description,
            category_id=category,
            billable_minutes=billable_minutes,
            team_id=team,
            project_id=project,
            custom_fields=_custom_fields(field or ()),
        )
    async with connection.client() as client:
        output.worklog(await client.worklogs.create(new), as_json=json)


def update(
    id: Id | None = None,  # noqa: A002 - as the API names it
    /,
    *,
    item: OptionalId = None,
    user: OptionalId = None,
    date: Annotated[Moment | None, Parameter(show_default=False)] = None,
    minutes: OptionalMinutes = None,
    description: Text = None,
    category: OptionalId = None,
    billable_minutes: OptionalMinutes = None,
    team: OptionalId = None,
    project: OptionalId = None,
    field: CustomFields = None,
    clear: Annotated[list[Clearable] | None, Parameter(negative=(), show_default=False)] = None,
    many: files.Many = files.NONE,
    yes: Annotated[bool, Parameter(alias="-y", negative=(), show_default=False)] = False,
    json: Json = False,
    connection: Connection = DEFAULT,
) -> Coroutine[Any, Any, ExitCode]:
    """Change a worklog, and show it. What is not given stays as it is.

    With --from-file, change every worklog that a file names: NDJSON (null sets to nothing, what is not there stays as
    it is) or CSV (an empty cell stays as it is), with an id and the columns of tracket export. Asks once.

    Args:
        id: The worklog's id.
        item: The monday.com item worked on.
        user: The monday.com user who worked.
        date: When: YYYY-MM-DD, or a date-time with an offset (of which API 2.0 keeps the UTC day).
        minutes: Minutes worked.
        description: What was done.
        category: The category; see tracket categories.
        billable_minutes: Minutes to be billed.
        team: The monday.com team (API 2.0).
        project: The Tracket project (API 2.0).
        field: A custom field and its option, nothing after the = to clear it (API 2.0); may be repeated.
        clear: Set this to nothing; may be repeated.
        many: the worklogs of a file.
        yes: With --from-file, do not ask. Needed where nobody can be asked, because there is no terminal.
        json: Print the worklog, or with --from-file what was done, as one line of JSON.
        connection: which server.
    """
    given: dict[str, Any] = {
        "item_id": item,
        "user_id": user,
        "date": date,
        "minutes": minutes,
        "description": description,
        "category_id": category,
        "billable_minutes": billable_minutes,
        "team_id": team,
        "project_id": project,
    }
    given = {name: value for name, value in given.items() if value is not None}
    for name in clear or ():
        if CLEARED[name] in given:
            raise UsageError(f"--{name} and --clear {name} contradict each other. Give one of them")
        given[CLEARED[name]] = None
    if field:
        given["custom_fields"] = _custom_fields(field, clearing=True)
    if many.from_file is not None:
        if id is not None or given:
            raise UsageError("--from-file names the worklogs and their changes. Give nothing beside it")
        return files.run(files.UPDATE, many, yes=yes, json=json, connection=connection)
    files.refuse_without_file(many)
    if id is None:
        raise UsageError("There is no worklog to change. Give its id, or --from-file")
    if not given:
        raise UsageError("There is nothing to change. Give an option such as --minutes 90; see tracket update --help")
    with refusals():
        changes = WorklogChanges(**given)
    return _update(id, changes, json=json, connection=connection)


async def _update(id: str, changes: WorklogChanges, *, json: bool, connection: Connection) -> ExitCode:  # noqa: A002
    async with connection.client() as client:
        output.worklog(await client.worklogs.update(id, changes), as_json=json)
    return ExitCode.DONE


def delete(
    *ids: Id,
    many: files.Many = files.NONE,
    yes: Annotated[bool, Parameter(alias="-y", negative=(), show_default=False)] = False,
    json: Json = False,
    connection: Connection = DEFAULT,
) -> Coroutine[Any, Any, ExitCode]:
    """Delete worklogs. Asks before each one, unless told not to.

    With --from-file, delete every worklog that a file names: an id a line, or NDJSON or CSV with a column id. Asks
    once.

    Args:
        ids: The worklogs' ids.
        many: the worklogs of a file.
        yes: Do not ask. Needed where nobody can be asked, because there is no terminal.
        json: With --from-file, print what was done as one line of JSON.
        connection: which server.
    """
    if many.from_file is not None:
        if ids:
            raise UsageError("--from-file names the worklogs. Give no ids beside it")
        return files.run(files.DELETE, many, yes=yes, json=json, connection=connection)
    files.refuse_without_file(many)
    if not ids:
        raise UsageError("There is nothing to delete. Give the id of a worklog, or --from-file")
    if not yes and not files.possible():
        raise UsageError("Nobody can be asked here. Give --yes to delete without asking")
    return _delete(ids, yes=yes, connection=connection)


async def _delete(ids: Iterable[str], *, yes: bool, connection: Connection) -> ExitCode:
    code = ExitCode.DONE
    async with connection.client() as client:
        for id in ids:  # noqa: A001 - as the API names it
            if yes or await files.confirm(_question(await client.worklogs.get(id))):
                await client.worklogs.delete(id)
                output.note(f"Deleted worklog {output.text(id)}.")
            else:
                code = ExitCode.INCOMPLETE
                output.note(f"Kept worklog {output.text(id)}.")
    return code


def _question(worklog: Worklog) -> str:
    facts = (worklog.id, worklog.date, worklog.user_id, f"{output.text(worklog.minutes)} min", worklog.description)
    return f"Delete worklog {', '.join(output.text(fact) for fact in facts if fact is not None)}?"


def _custom_fields(given: Iterable[str], *, clearing: bool = False) -> dict[str, str | None]:
    """``REFERENCE=OPTION`` as a dict; with ``clearing``, nothing after the ``=`` is None."""
    fields: dict[str, str | None] = {}
    for text in given:
        reference, equals, option = text.partition("=")
        if not (reference and equals and (option or clearing)):
            raise UsageError(f"--field {text!r} is not of the form REFERENCE=OPTION")
        fields[reference] = option or None
    return fields
