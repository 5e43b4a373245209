"""``tracket create``, ``update`` and ``delete``: the commands that change worklogs which their arguments name."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import Annotated, Any, Final, Literal

from cyclopts import Parameter

from tracket_async.cli import ask, changing, output
from tracket_async.cli.arguments import Id, Json, Moment, refusals
from tracket_async.cli.exits import ExitCode
from tracket_async.cli.settings import DEFAULT, Connection
from tracket_async.errors import UsageError
from tracket_async.models import NewWorklog, Worklog, WorklogChanges

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
    many: changing.Many = changing.NONE,
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
        return changing.run(changing.UPDATE, many, yes=yes, json=json, connection=connection)
    changing.refuse_without_file(many)
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
    many: changing.Many = changing.NONE,
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
        return changing.run(changing.DELETE, many, yes=yes, json=json, connection=connection)
    changing.refuse_without_file(many)
    if not ids:
        raise UsageError("There is nothing to delete. Give the id of a worklog, or --from-file")
    if not yes and not ask.possible():
        raise UsageError("Nobody can be asked here. Give --yes to delete without asking")
    return _delete(ids, yes=yes, connection=connection)


async def _delete(ids: Iterable[str], *, yes: bool, connection: Connection) -> ExitCode:
    code = ExitCode.DONE
    async with connection.client() as client:
        for id in ids:  # noqa: A001 - as the API names it
            if yes or await ask.agreed(_question(await client.worklogs.get(id))):
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
