"""A preview of changes and deletions of the worklogs of a file: nothing is written.

Each worklog is read from the server, several at once and at the rate that the server accepts, and compared with what
the file says about it.
"""

from __future__ import annotations

import collections
import contextlib
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any

import attrs

from tracket_async.bulk import Outcomes
from tracket_async.client import TracketClient
from tracket_async.errors import NotFoundError
from tracket_async.models import UNSET, Worklog, WorklogChanges


@attrs.frozen
class Planned:
    """One row of a file of changes or deletions, as it is to be compared with the server.

    Attributes:
        line: its line in the file.
        id: of the worklog.
        changes: what is to be changed; None: it is to be deleted.
    """

    line: int
    id: str
    changes: WorklogChanges | None


@attrs.frozen
class Previewed:
    """A row, and its worklog as the server has it now.

    Attributes:
        row: the row.
        worklog: None: the server has no such worklog.
        fields: the fields that a change would change, and their old and new values, in the model's order.
    """

    row: Planned
    worklog: Worklog | None
    fields: Mapping[str, tuple[Any, Any]]


@attrs.define
class Totals:
    """The sum of a preview.

    Attributes:
        changed: worklogs that would be changed, or deleted.
        unchanged: worklogs that are as the file says already.
        missing: worklogs that the server does not have.
        fields: how often each field would change.
        minutes: the minutes of the changed worklogs, before and after.
    """

    changed: int = 0
    unchanged: int = 0
    missing: int = 0
    fields: collections.Counter[str] = attrs.field(factory=collections.Counter[str])
    minutes: tuple[float, float] = (0.0, 0.0)

    def add(self, found: Previewed) -> None:
        """Add a row."""
        worklog, changes = found.worklog, found.row.changes
        if worklog is None:
            self.missing += 1
        elif changes is not None and not found.fields:
            self.unchanged += 1
        else:
            self.changed += 1
            self.fields.update(found.fields.keys())
            after = 0.0 if changes is None else found.fields.get("minutes", (0.0, worklog.minutes))[1]
            self.minutes = self.minutes[0] + worklog.minutes, self.minutes[1] + after


async def preview(
    client: TracketClient, rows: Iterable[Planned], *, concurrency: int = 16
) -> AsyncGenerator[Previewed]:
    """Yield every row with its worklog, in the order of the rows.

    Args:
        client: open.
        rows: of the file.
        concurrency: worklogs that are read at once, at least 1.

    Raises:
        TracketError: a worklog could not be read, for another reason than that it is not there.
    """
    reading = client.with_options(wait_for_rate=True).worklogs

    async def read(row: Planned) -> Worklog:
        return await reading.get(row.id)

    async with contextlib.aclosing(Outcomes(rows, read, concurrency=concurrency, on_error="collect")) as outcomes:
        async for outcome in outcomes:
            if outcome.error is not None and not isinstance(outcome.error, NotFoundError):
                raise outcome.error
            worklog, changes = outcome.worklog, outcome.item.changes
            fields: Mapping[str, tuple[Any, Any]] = {}
            if worklog is not None and changes is not None:
                fields = differences(worklog, changes)
            yield Previewed(outcome.item, worklog, fields)


def differences(worklog: Worklog, changes: WorklogChanges) -> dict[str, tuple[Any, Any]]:
    """Return the fields that the changes would change, with their old and new values, in the model's order.

    A custom field is ``custom_fields.REFERENCE``.
    """
    found: dict[str, tuple[Any, Any]] = {}
    for name in (field.name for field in attrs.fields(WorklogChanges)):
        new = getattr(changes, name)
        if new is UNSET:
            continue
        old = getattr(worklog, name)
        if name == "custom_fields":
            for reference, option in new.items():
                if old.get(reference) != option:
                    found[f"{name}.{reference}"] = (old.get(reference), option)
            continue
        if old != new:
            found[name] = (old, new)
    return found
