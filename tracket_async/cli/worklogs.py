"""``tracket list``, ``get``, ``categories``, ``create``, ``update`` and ``delete``.

They read and change worklogs that their arguments name; ``files`` has the worklogs of a file.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Sequence
from typing import Annotated, Any, Final, Literal

from cyclopts import Parameter, Token

from tracket_async.cli import destinations, files, output, selected
from tracket_async.cli.destinations import BadRows, BadRowsFile
from tracket_async.cli.exits import ExitCode
from tracket_async.cli.options import (
    DEFAULT,
    EVERYTHING,
    Connection,
    Date,
    Id,
    Json,
    Selection,
    between,
    convert_id,
    named_columns,
    refusals,
)
from tracket_async.cli.progress import REPORTING, Reporting
from tracket_async.client import TracketClient
from tracket_async.errors import UsageError
from tracket_async.frames import NUMBERS
from tracket_async.importer.values import read_minutes
from tracket_async.models import NewWorklog, Worklog, WorklogChanges, WorklogFilter

SHOWN: Final = ("id", "date", "user_id", "item_id", "minutes", "description")
"""The default columns of ``tracket list``; the last is cut where a terminal is too narrow."""

PIECE: Final = 1000
"""Rows of one table at most; more make the next table."""

PAGE: Final = 100
"""Up to this limit no page is read ahead: one page is likely to be enough."""

BATCH: Final = 100
"""Worklogs printed at a time: a full page of API 2.0, so that nothing that has arrived waits."""


async def list_worklogs(
    *,
    selection: Selection = EVERYTHING,
    limit: Annotated[int, Parameter(metavar="N", validator=between(0))] = 50,
    sort_by: Literal["date", "created_date", "updated_date"] = "date",
    descending: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    columns: Annotated[str | None, Parameter(metavar="NAME,NAME", show_default=False)] = None,
    bad_rows: BadRowsFile = None,
    json: Json = False,
    connection: Connection = DEFAULT,
) -> None:
    """List worklogs: a table at a terminal, tab-separated values elsewhere.

    Args:
        selection: which worklogs.
        limit: List at most this many; 0 is all.
        sort_by: Order by this column (API 2.0; 1.0 has only its own order).
        descending: List the newest first (API 2.0).
        columns: Show these columns, in this order. Default: id, date, user_id, item_id, minutes and description; all of
            them with --json.
        bad_rows: see `BadRowsFile`.
        json: Print one JSON object a line.
        connection: which server.
    """
    named = None if columns is None else named_columns(columns)
    filter = selection.filter(sort_by=sort_by, descending=descending)
    with destinations.bad_rows(bad_rows) as unreadable:
        async with connection.client() as client:
            limited = _Limited(client, filter, limit, unreadable)
            async with contextlib.aclosing(limited.worklogs()) as walk:
                if json:
                    async for batch in _batches(walk):
                        output.json(batch, columns=named)
                else:
                    await _tables(walk, named or SHOWN)
        if limited.more:
            shown = "this one" if limit == 1 else f"these {limit:,}"
            output.note(f"There are more than {shown}. --limit 0 lists all.")
    destinations.require_readable(unreadable)


async def _tables(walk: AsyncIterator[Worklog], columns: Sequence[str]) -> None:
    """Print tables of some rows each, so that memory does not grow with the rows."""
    head = True
    async for batch in _batches(walk, size=PIECE):
        rows = ([getattr(worklog, name) for name in columns] for worklog in batch)
        output.table(columns, rows, right=NUMBERS, head=head)
        head = False
    if head:
        output.table(columns, ())


async def get(id: Id, /, *, json: Json = False, connection: Connection = DEFAULT) -> None:
    """Show one worklog.

    Args:
        id: The worklog's id.
        json: Print the worklog as one line of JSON.
        connection: which server.
    """
    async with connection.client() as client:
        output.worklog(await client.worklogs.get(id), as_json=json)


async def categories(*, json: Json = False, connection: Connection = DEFAULT) -> None:
    """List the categories of worklogs (API 2.0).

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


async def _batches(worklogs: AsyncIterator[Worklog], size: int = BATCH) -> AsyncGenerator[list[Worklog]]:
    """Yield the worklogs in lists of ``size``; the last may be shorter, and none is empty."""
    batch: list[Worklog] = []
    async for worklog in worklogs:
        batch.append(worklog)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


class _Limited:
    """The first worklogs of a list, and whether there are more."""

    def __init__(self, client: TracketClient, filter: WorklogFilter, limit: int, bad_rows: BadRows | None) -> None:
        read_ahead = 0 if 0 < limit <= PAGE and not filter.values else 1
        on_bad_row = None if bad_rows is None else bad_rows.write
        self._walk = client.worklogs.list(filter=filter, read_ahead=read_ahead, on_bad_row=on_bad_row)
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
OptionalId = Annotated[str | None, Parameter(converter=convert_id, metavar="ID", show_default=False)]


def _not_negative(_type: Any, value: float | None) -> None:
    if value is not None and value < 0:
        raise ValueError("It must be at least 0; tracket import and update --from-file take negative minutes")


def _convert_minutes(_type: Any, tokens: Sequence[Token]) -> float:
    minutes = read_minutes(tokens[0].value.strip(), ".")
    if minutes is None:
        raise ValueError("it must be minutes such as 90, 1:30 or 1.5h")
    return minutes


Minutes = Annotated[float, Parameter(metavar="MINUTES", converter=_convert_minutes, validator=_not_negative)]
OptionalMinutes = Annotated[
    float | None,
    Parameter(metavar="MINUTES", converter=_convert_minutes, validator=_not_negative, show_default=False),
]
CustomFields = Annotated[
    list[str] | None, Parameter(name="--field", negative=(), metavar="REFERENCE=OPTION", show_default=False)
]


async def create(
    *,
    item: Id,
    user: Id,
    date: Date,
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
    """Create a worklog and show it.

    Args:
        item: The monday.com item.
        user: The monday.com user.
        date: The day as YYYY-MM-DD, or a date-time with an offset (API 2.0 keeps its day).
        minutes: The minutes worked: 90, 1:30 or 1.5h.
        description: The description.
        category: The id of the category; see tracket categories.
        billable_minutes: The minutes to bill: 90, 1:30 or 1.5h.
        team: The monday.com team (API 2.0).
        project: The Tracket project (API 2.0).
        field: A custom field and its option (API 2.0); may be repeated.
        json: Print the worklog as one line of JSON.
        connection: which server.
    """
    client = connection.client()
    with refusals():
        new = NewWorklog(
            item_id=item,
            user_id=user,
            date=_sent(date, client),
            minutes=minutes,
            description=description,
            category_id=category,
            billable_minutes=billable_minutes,
            team_id=team,
            project_id=project,
            custom_fields=_custom_fields(field or ()),
        )
    async with client:
        output.worklog(await client.worklogs.create(new), as_json=json)


def _sent(date: dt.date, client: TracketClient) -> dt.date:
    """Return the date that the server is sent: its day as it is written, where the server keeps days."""
    return date.date() if isinstance(date, dt.datetime) and client.api_version.keeps_days else date


def update(
    id: Id | None = None,
    /,
    *,
    item: OptionalId = None,
    user: OptionalId = None,
    date: Annotated[Date | None, Parameter(show_default=False)] = None,
    minutes: OptionalMinutes = None,
    description: Text = None,
    category: OptionalId = None,
    billable_minutes: OptionalMinutes = None,
    team: OptionalId = None,
    project: OptionalId = None,
    field: CustomFields = None,
    clear: Annotated[list[Clearable] | None, Parameter(negative=(), show_default=False)] = None,
    many: files.FromFile = files.NO_FILE,
    yes: Annotated[bool, Parameter(alias="-y", negative=(), show_default=False)] = False,
    json: Json = False,
    reporting: Reporting = REPORTING,
    connection: Connection = DEFAULT,
) -> Coroutine[Any, Any, ExitCode]:
    """Update a worklog and show it. What is not given stays as it is.

    With --from-file, update every worklog of a file that has a column id and columns of tracket export. In NDJSON, null
    clears a field and a missing field stays as it is. In CSV, an empty cell leaves the field as it is. It asks once.

    Args:
        id: The worklog's id.
        item: The monday.com item.
        user: The monday.com user.
        date: The day as YYYY-MM-DD, or a date-time with an offset (API 2.0 keeps its day).
        minutes: The minutes worked: 90, 1:30 or 1.5h.
        description: The description.
        category: The id of the category; see tracket categories.
        billable_minutes: The minutes to bill: 90, 1:30 or 1.5h.
        team: The monday.com team (API 2.0).
        project: The Tracket project (API 2.0).
        field: A custom field and its option (API 2.0); nothing after the = clears it; may be repeated.
        clear: Clear this field; may be repeated.
        many: the worklogs of a file.
        yes: With --from-file, do not ask. Needed where there is no terminal.
        json: Print the worklog, or with --from-file the report, as one line of JSON; of a dry run, every row.
        reporting: see `Reporting`.
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
            raise UsageError("--from-file names the worklogs and their changes. Give no id and no change beside it")
        return files.run(files.UPDATE, many, yes=yes, json=json, reporting=reporting, connection=connection)
    files.refuse_without_file(many)
    if id is None:
        raise UsageError("No worklog is given. Give the id of a worklog, or --from-file")
    if not given:
        raise UsageError("No change is given. Give an option such as --minutes 90; see tracket update --help")
    return _update(id, given, json=json, connection=connection)


async def _update(id: str, given: dict[str, Any], *, json: bool, connection: Connection) -> ExitCode:
    client = connection.client()
    if "date" in given:
        given["date"] = _sent(given["date"], client)
    with refusals():
        changes = WorklogChanges(**given)
    async with client:
        output.worklog(await client.worklogs.update(id, changes), as_json=json)
    return ExitCode.DONE


def delete(
    *ids: Id,
    selection: Selection = EVERYTHING,
    many: files.FromFile = files.NO_FILE,
    yes: Annotated[bool, Parameter(alias="-y", negative=(), show_default=False)] = False,
    json: Json = False,
    reporting: Reporting = REPORTING,
    connection: Connection = DEFAULT,
) -> Coroutine[Any, Any, ExitCode]:
    """Delete worklogs. It asks before each one, unless --yes is given.

    With --from-file, delete every worklog of a file: one id a line, or NDJSON or CSV with a column id. With --user,
    --since and the like, delete every worklog that matches. Both ask once.

    Args:
        ids: The ids of the worklogs.
        selection: which worklogs, in place of ids.
        many: the worklogs of a file.
        yes: Do not ask. Needed where there is no terminal.
        json: With --from-file or a selection, print the report as one line of JSON.
        reporting: see `Reporting`.
        connection: which server.
    """
    if not selection.is_everything:
        if ids or many.from_file is not None:
            raise UsageError("A selection says which worklogs. Give no ids and no --from-file beside it")
        return selected.delete(selection, many, yes=yes, json=json, reporting=reporting, connection=connection)
    if many.from_file is not None:
        if ids:
            raise UsageError("--from-file names the worklogs. Give no ids beside it")
        return files.run(files.DELETE, many, yes=yes, json=json, reporting=reporting, connection=connection)
    files.refuse_without_file(many)
    if not ids:
        raise UsageError("No worklog is given. Give the id of a worklog, --from-file, or a selection such as --user")
    if not yes and not output.can_ask():
        raise UsageError("There is no terminal to ask at. Give --yes to delete without asking")
    return _delete(ids, yes=yes, reporting=reporting, connection=connection)


async def _delete(ids: Iterable[str], *, yes: bool, reporting: Reporting, connection: Connection) -> ExitCode:
    code = ExitCode.DONE
    async with connection.client() as client:
        for id in ids:
            if yes or await output.confirm(_question(await client.worklogs.get(id))):
                message = await client.worklogs.delete(id)
                reporting.say(f"Deleted worklog {output.text(id)}{f': {message}' if message else '.'}")
            else:
                code = ExitCode.INCOMPLETE
                output.note(f"Kept worklog {output.text(id)}.")
    return code


def _question(worklog: Worklog) -> str:
    return f"Delete worklog {files.facts(worklog)}?"


def _custom_fields(given: Iterable[str], *, clearing: bool = False) -> dict[str, str | None]:
    """Return ``REFERENCE=OPTION`` texts as a dict; with ``clearing``, nothing after the ``=`` is None."""
    fields: dict[str, str | None] = {}
    for text in given:
        reference, equals, option = text.partition("=")
        if not (reference and equals and (option or clearing)):
            raise UsageError(f"--field {text!r} is not REFERENCE=OPTION")
        fields[reference] = option or None
    return fields
