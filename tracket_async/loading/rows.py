"""From a record to what is to be done: a worklog to create, changes to make, an id to delete. Pure.

What a model or the version of the API would refuse is refused here, before anything is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import attrs

from tracket_async.api.wire import Wire
from tracket_async.errors import UsageError
from tracket_async.loading.lines import Record
from tracket_async.loading.values import shown
from tracket_async.models import NewWorklog, WorklogChanges

T = TypeVar("T")

REQUIRED: Final = tuple(each.name for each in attrs.fields(NewWorklog) if each.default is attrs.NOTHING)
ONLY_2_0: Final = ("team_id", "project_id")
"""What API 1.0 lacks, so that there it is null already."""


@attrs.frozen
class Row(Generic[T]):
    """What is to be done for one record of a file.

    Attributes:
        line: where the record begins.
        item: what to do it with.
    """

    line: int
    item: T


Change = tuple[str, WorklogChanges]
"""An id, and what to change in its worklog."""
Make = Callable[[Record, Wire], T]
"""Makes the item of a record; raises `ValueError` or `TypeError` with a reason."""


def new_worklog(record: Record, wire: Wire) -> NewWorklog:
    """The worklog to create. The id that the record may have is not looked at; null is as if nothing were said."""
    given = {name: value for name, value in record.values.items() if name != "id" and value is not None}
    missing = [name for name in REQUIRED if name not in given]
    if missing:
        raise UsageError(f"{' and '.join(missing)} must be given")
    new = NewWorklog(**given)
    wire.create(new)
    return new


def change(record: Record, wire: Wire) -> Change:
    """The id and the changes. Null means null, and what is not given stays as it is."""
    named = worklog_id(record, wire)
    given: dict[str, Any] = {
        name: value for name, value in record.values.items() if name != "id" and not _says_nothing(name, value)
    }
    if wire.version == "1.0":
        given = {name: value for name, value in given.items() if value is not None or name not in ONLY_2_0}
    if not given:
        raise UsageError("there is nothing to change")
    changes = WorklogChanges(**given)
    wire.update(named, changes)
    return named, changes


def worklog_id(record: Record, wire: Wire) -> str:
    """The id, and that it can be one."""
    named = record.values.get("id")
    if not named:
        raise UsageError("id must be given")
    try:
        wire.delete(named)
    except UsageError:
        raise UsageError(f"{shown(named)} cannot be the id of a worklog") from None
    return str(named)


def _says_nothing(name: str, value: Any) -> bool:
    # Every record of an export has it; changes to none of the fields in it are none.
    return name == "custom_fields" and not value
