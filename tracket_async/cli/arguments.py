"""What the commands' arguments accept: text from a shell in, values of the models out, or a refusal with its reason."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from collections.abc import Generator, Sequence
from typing import Annotated, Any, Final, Literal

import attrs
from cyclopts import Group, Parameter, Token

from tracket_async.errors import TracketError, UsageError
from tracket_async.export import cells
from tracket_async.models import WorklogFilter

_SHAPE: Final = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d.*)?", re.ASCII | re.IGNORECASE)


def moment(text: str) -> dt.date:
    """``YYYY-MM-DD`` as a date, or an ISO 8601 date-time with an offset as an aware datetime.

    Raises:
        ValueError: it is neither; it is no date of the calendar; or it lacks its offset, so that nobody knows which
            moment it is.
    """
    refusal = ValueError(f"{text!r} is no date. Give YYYY-MM-DD, or a date-time such as 2024-05-20T09:30Z")
    if not _SHAPE.fullmatch(text):  # Python reads more forms of ISO 8601 than people do: 20240520, 2024-W21-1
        raise refusal
    try:
        day_only = len(text) == len("YYYY-MM-DD")
        value = dt.date.fromisoformat(text) if day_only else dt.datetime.fromisoformat(text.upper())
    except ValueError:
        raise refusal from None
    if isinstance(value, dt.datetime) and value.utcoffset() is None:
        raise ValueError(f"{text!r} has no offset, so nobody knows which moment it is. Append Z for UTC, or +02:00")
    return value


def _convert(_type: Any, tokens: Sequence[Token]) -> dt.date:
    return moment(tokens[0].value)


Moment = Annotated[dt.date, Parameter(converter=_convert, metavar="DATE")]
"""A date, or (a datetime is a date to Python) an aware datetime."""

Id = Annotated[str, Parameter(metavar="ID")]
Json = Annotated[bool, Parameter(negative=(), show_default=False)]


def named_columns(text: str) -> tuple[str, ...]:
    """Attributes of `Worklog`, with commas between them.

    Raises:
        UsageError: there is no such attribute, or one is named twice.
    """
    return cells.columns_named([name.strip() for name in text.split(",")])


@contextlib.contextmanager
def refusals() -> Generator[None]:
    """What a model refuses becomes the user's mistake: ``ValueError`` and ``TypeError`` become `UsageError`."""
    try:
        yield
    except TracketError:
        raise
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from None


@Parameter(name="*", group=Group("Selection", sort_key=1))
@attrs.frozen(kw_only=True)
class Selection:
    """Which worklogs. Every bound is inclusive; a day means the whole day, in UTC."""

    since: Annotated[Moment | None, Parameter(help="From this day, or date-time with an offset, on.")] = None
    until: Annotated[Moment | None, Parameter(help="Up to this day, or date-time with an offset.")] = None
    created_since: Annotated[Moment | None, Parameter(help="Created from then on (API 2.0).")] = None
    created_until: Annotated[Moment | None, Parameter(help="Created up to then (API 2.0).")] = None
    updated_since: Annotated[Moment | None, Parameter(help="Last updated from then on (API 2.0).")] = None
    updated_until: Annotated[Moment | None, Parameter(help="Last updated up to then (API 2.0).")] = None

    def filter(
        self,
        *,
        sort_by: Literal["date", "created_date", "updated_date"] = "date",
        descending: bool = False,
    ) -> WorklogFilter:
        """The filter of these bounds.

        Raises:
            UsageError: a lower bound is after its upper bound.
        """
        with refusals():
            return WorklogFilter(**attrs.asdict(self), sort_by=sort_by, descending=descending)


EVERYTHING: Final = Selection()
