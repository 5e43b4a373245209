"""``tracket create``, ``update`` and ``delete``: the commands that change something, one worklog at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

from cyclopts import Parameter

from tracket_async.cli import ask, output
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


async def update(
    id: Id,  # noqa: A002 - as the API names it
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
    json: Json = False,
    connection: Connection = DEFAULT,
) -> None:
    """Change a worklog, and show it. What is not given stays as it is.

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
        json: Print the worklog as one line of JSON.
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
    if not given:
        raise UsageError("There is nothing to change. Give an option such as --minutes 90; see tracket update --help")
    with refusals():
        changes = WorklogChanges(**given)
    async with connection.client() as client:
        output.worklog(await client.worklogs.update(id, changes), as_json=json)


async def delete(
    *ids: Id,
    yes: Annotated[bool, Parameter(alias="-y", negative=(), show_default=False)] = False,
    connection: Connection = DEFAULT,
) -> ExitCode:
    """Delete worklogs. Asks before each one, unless told not to.

    Args:
        ids: The worklogs' ids.
        yes: Do not ask. Needed where nobody can be asked, because there is no terminal.
        connection: which server.
    """
    if not ids:
        raise UsageError("There is nothing to delete. Give the id of a worklog")
    if not yes and not ask.possible():
        raise UsageError("Nobody can be asked here. Give --yes to delete without asking")
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
