"""The models of both versions: `Worklog`, `NewWorklog`, `WorklogChanges`, `WorklogFilter`, `Page`, `Category`.

`Worklog` is what the server says, read tolerantly. `NewWorklog`, `WorklogChanges` and `WorklogFilter` are what a caller
says: they refuse at once what the server could not mean, and name the field. All are immutable and fit both versions of
the API: nothing here knows the names that a version uses.

A converter turns what is plainly meant (a date for its first moment) into the one form that is kept, and passes
everything else on to the validator, which knows the field's name.
"""

from __future__ import annotations

import datetime as dt
import enum
import re
import reprlib
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar, cast

import attrs

from tracket_async.errors import MalformedResponseError, UsageError

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

T = TypeVar("T")
Attribute: TypeAlias = "attrs.Attribute[Any]"  # it cannot be subscripted at run time
Check = Callable[[Any, Attribute, Any], None]


class Unset(enum.Enum):
    """The type of `UNSET`."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> Literal[False]:
        return False


UNSET: Final = Unset.UNSET
"""In `WorklogChanges`: leave this field as it is. (None would set it to null.)"""


def is_text(_instance: object, attribute: Attribute, value: object) -> None:
    """Check for a string, which may be empty."""
    if not isinstance(value, str):
        raise TypeError(f"{attribute.name} must be a string, not {type(value).__name__}")


NO_VALUES: Final = frozenset({"nan", "-nan", "nat", "none", "null", "<na>", "n/a", "inf", "-inf", "infinity"})
"""What programs write where there is no id, in lower case."""
_FLOAT_ID: Final = re.compile(r"\d+\.0+", re.ASCII)


def is_id(_instance: object, attribute: Attribute, value: object) -> None:
    """Check for a string with something in it, which no program has written in the place of an id."""
    is_text(_instance, attribute, value)
    text = str(value)
    if not text.strip():
        raise ValueError(f"{attribute.name} must not be empty")
    if text != text.strip():
        raise ValueError(f"{attribute.name} has white space around it: {text!r:.40}")
    if text.lower() in NO_VALUES or text.startswith("#"):
        raise ValueError(f"{attribute.name} is {text!r:.40}, which stands for no value: give the id, or None")
    if _FLOAT_ID.fullmatch(text):
        raise ValueError(f"{attribute.name} is {text!r:.40}: pandas and spreadsheets write .0 behind numbers")


def is_minutes(_instance: object, attribute: Attribute, value: object) -> None:
    """Check for a finite number. It may be negative, as a correction is: a server that has one can be given it back."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{attribute.name} must be a number of minutes, not {type(value).__name__}")
    if not abs(value) <= sys.float_info.max:  # no nan, and no int that a float cannot hold
        shown = reprlib.repr(value)  # which cuts an int of a thousand digits short
        raise ValueError(f"{attribute.name} must be a finite number of minutes, not {shown}")


def is_moment(_instance: object, attribute: Attribute, value: object) -> None:
    """Check for an aware datetime (converters have made one of a date)."""
    if not isinstance(value, dt.datetime):
        raise TypeError(f"{attribute.name} must be an aware datetime or a date, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise ValueError(
            f"{attribute.name} is a naive datetime, so nobody knows which moment it is: "
            "give it a tzinfo (datetime.UTC, say), or give a date"
        )
    if not _EARLIEST <= value <= _LATEST:
        raise ValueError(f"{attribute.name} is outside of the years 1 to 9999 in UTC: {value.isoformat()}")


def is_custom_fields(_instance: object, attribute: Attribute, value: Any) -> None:
    """Check for a dict of field references; the two that have a field of their own are refused."""
    names: list[Any] = [None]
    if isinstance(value, dict):
        names = [*value]  # pyright: ignore[reportUnknownVariableType]  # isinstance knows no key type
    if not all(isinstance(name, str) and name for name in names):
        raise TypeError(f"{attribute.name} must be a dict of field references to option ids")
    for name in ("category", "project"):
        if name in names:
            raise ValueError(f"{attribute.name} holds {name!r}: use {name}_id")


def unless(*skipped: object, check: Check) -> Check:
    """Return the check without the values that mean that nothing is said."""

    def validate(instance: object, attribute: Attribute, value: object) -> None:
        if not any(value is one for one in skipped):
            check(instance, attribute, value)

    return validate


def _fixed(moment: dt.datetime) -> dt.datetime:
    """Return the moment with its offset alone, without the rules of a time zone; a naive one as it is."""
    offset = moment.utcoffset()
    return moment if offset is None else moment.replace(tzinfo=dt.timezone(offset), fold=0)


def first_moment(value: dt.date | None) -> Any:
    """Return the first moment of a date in UTC, and an aware datetime with its offset; anything else as it is."""
    if isinstance(value, dt.datetime):
        return _fixed(value)
    return dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC) if isinstance(value, dt.date) else value


def last_moment(value: dt.date | None) -> Any:
    """Return the last microsecond of a date in UTC, and an aware datetime with its offset; anything else as it is."""
    if isinstance(value, dt.datetime) or not isinstance(value, dt.date):
        return first_moment(value)
    return dt.datetime.combine(value, dt.time.max, tzinfo=dt.UTC)


_EARLIEST = dt.datetime.min.replace(tzinfo=dt.UTC)
_LATEST = dt.datetime.max.replace(tzinfo=dt.UTC)
_LAST_MINUTE = dt.time(23, 59)


class ReadOnlyDict(dict[str, Any]):
    """A dict that cannot be changed in place; its repr is sorted by name."""

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> Any:
        raise TypeError("This mapping is read only: make a dict of it to change it")

    if not TYPE_CHECKING:
        __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return ReadOnlyDict, (dict(self),)

    def __repr__(self) -> str:
        return repr(dict(sorted(self.items())))


NO_EXTRA: Final = ReadOnlyDict()
"""The `Worklog.extra` of a worklog without any."""


class ApprovalStatus(enum.StrEnum):
    """The state of a worklog's approval. A status that is not among these is kept as a plain string."""

    OPEN = "open"
    SUBMITTED = "submitted"
    APPROVED = "approved"
    REJECTED = "rejected"


@attrs.frozen(kw_only=True)
class Worklog:
    """A piece of logged time, as the server has it.

    Attributes:
        id: the server's id of this worklog.
        user_id: the monday.com user who worked, None if the server does not say.
        date: the time of the work, an aware UTC datetime. API 2.0 knows only the day: it is that day at 00:00 UTC.
        minutes: minutes worked.
        item_id: the monday.com item, None if there is none (any more).
        description: free text.
        category_id: the id of the category, see ``client.categories``.
        billable_minutes: minutes to be billed, None if not said.
        created_date: aware UTC. None on worklogs from before the API recorded it.
        updated_date: aware UTC. None if never updated.
        approval_status: an `ApprovalStatus`, another string if the server has a status that this version does not
            know, None if it said nothing (API 1.0 does not when it answers an update).
        approver_user_id: the monday.com user who decides or decided.
        team_id: the monday.com team (API 2.0 only, as all below).
        project_id: the Tracket project.
        board_id: the monday.com board of the item.
        parent_item_id: the monday.com item above a subitem.
        custom_fields: the account's own fields: reference to option id; empty on API 1.0.
        extra: what the server sent besides, by its name in JSON: members that this version does not know, and values of
            optional fields that could not be read (the field is None then). Read only, usually empty, never written.
    """

    id: str
    user_id: str | None = None
    date: dt.datetime
    minutes: float
    item_id: str | None = None
    description: str | None = None
    category_id: str | None = None
    billable_minutes: float | None = None
    created_date: dt.datetime | None = None
    updated_date: dt.datetime | None = None
    approval_status: ApprovalStatus | str | None = None
    approver_user_id: str | None = None
    team_id: str | None = None
    project_id: str | None = None
    board_id: str | None = None
    parent_item_id: str | None = None
    custom_fields: dict[str, Any] = attrs.field(factory=dict[str, Any], hash=False)
    extra: Mapping[str, Any] = attrs.field(default=NO_EXTRA, hash=False)

    @property
    def day(self) -> dt.date:
        """Return the UTC day of `date`: on API 2.0, the calendar day that the worklog is booked on."""
        return self.date.date()

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        from tracket_async._pydantic import model_schema

        return model_schema(cls, handler)


@attrs.frozen(kw_only=True)
class Category:
    """A category that a worklog can have. ``name`` is None where the server gives none."""

    id: str
    name: str | None = None

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        from tracket_async._pydantic import model_schema

        return model_schema(cls, handler)


@attrs.frozen(kw_only=True)
class BadRow:
    """A row of a list that cannot be read as a worklog: its id, date or minutes are missing or make no sense.

    Attributes:
        row: its JSON as the server sent it, on one line.
        error: what is wrong with it; names the place and, where it can be told, the worklog.
        date: its date, aware UTC; None when that cannot be read.
    """

    row: bytes
    error: MalformedResponseError
    date: dt.datetime | None = None

    @property
    def id(self) -> str | None:
        """Return the id of the worklog, None when it cannot be told."""
        return self.error.worklog_id or None

    @property
    def key(self) -> str:
        """Return what tells the row from others: the id, or all of it."""
        return self.id or self.row.decode()


OnBadRow = Callable[[bytes, MalformedResponseError], None]
"""Called with the ``row`` and the ``error`` of a `BadRow`."""


class _Linked:
    """A place beside a model's fields, which no copy, pickle, comparison or dict has."""

    __slots__ = ("_fetch",)
    _fetch: Callable[[str], Awaitable[Page]]


@attrs.frozen(kw_only=True)
class Page(_Linked):
    """One page of a list.

    Attributes:
        items: the worklogs in the server's order.
        next_cursor: asks for the page after this one; None on the last page.
        total: how many worklogs match in all, not only on this page (API 2.0; None on 1.0).
        server_date: the answer's Date header, whole seconds, aware UTC; None without one.
        bad_rows: the rows that cannot be read, of a list with ``on_bad_row``. Without it, such a row is an error.
    """

    items: list[Worklog]
    next_cursor: str | None = None
    total: int | None = None
    server_date: dt.datetime | None = None
    bad_rows: tuple[BadRow, ...] = ()

    @property
    def has_next(self) -> bool:
        """Return whether there is a page after this one."""
        return self.next_cursor is not None

    async def next(self) -> Page:
        """Fetch and return the page after this one, with the client, the filter and the size of this one.

        Totals are not compared; see ``client.worklogs.list().pages()`` for an iteration that does.

        Raises:
            UsageError: this is the last page, or it was copied or pickled and knows no client any more.
            TracketError: the page could not be fetched; its ``cursor`` is this page's ``next_cursor``.
        """
        if self.next_cursor is None:
            raise UsageError("This is the last page", hint="Ask `has_next` first")
        fetch: Callable[[str], Awaitable[Page]] | None = getattr(self, "_fetch", None)
        if fetch is None:
            raise UsageError(
                "This page was not fetched by a client, or is a copy, so it cannot fetch the next one",
                hint="Use client.worklogs.list(...).pages(cursor=page.next_cursor)",
            )
        return await fetch(self.next_cursor)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        from tracket_async._pydantic import model_schema

        return model_schema(cls, handler, hidden=frozenset({"bad_rows"}))


def link(page: Page, fetch: Callable[[str], Awaitable[Page]]) -> Page:
    """Return the page, which fetches the next one with the function from now on."""
    object.__setattr__(page, "_fetch", fetch)
    return page


@attrs.frozen(kw_only=True)
class NewWorklog:
    """A worklog to be created.

    Attributes:
        item_id: the monday.com item worked on.
        user_id: the monday.com user who worked.
        date: the time of the work. An aware datetime, or a ``datetime.date``, meaning that day at 00:00 UTC. API 2.0
            records only the day, as it is written: ``2026-03-02T08:00+13:00`` is 2 March.
        minutes: minutes worked, finite; negative in a correction.
        description, category_id, billable_minutes: None means none.
        team_id, project_id, custom_fields: API 2.0 only; on 1.0 they raise `UnsupportedError` when used.

    Raises:
        TypeError, ValueError: naming the field.
    """

    item_id: str = attrs.field(validator=is_id)
    user_id: str = attrs.field(validator=is_id)
    date: dt.datetime = attrs.field(converter=first_moment, validator=is_moment)
    minutes: float = attrs.field(validator=is_minutes)
    description: str | None = attrs.field(default=None, validator=unless(None, check=is_text))
    category_id: str | None = attrs.field(default=None, validator=unless(None, check=is_id))
    billable_minutes: float | None = attrs.field(default=None, validator=unless(None, check=is_minutes))
    team_id: str | None = attrs.field(default=None, validator=unless(None, check=is_id))
    project_id: str | None = attrs.field(default=None, validator=unless(None, check=is_id))
    custom_fields: dict[str, Any] = attrs.field(factory=dict[str, Any], hash=False, validator=is_custom_fields)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        from tracket_async._pydantic import model_schema

        return model_schema(cls, handler, strict=True)


@attrs.frozen(kw_only=True)
class WorklogChanges:
    """The changes to make to a worklog. `UNSET` (the default) leaves a field as it is; None sets it to null.

    Only the fields that the API lets be null take None: description, category_id, billable_minutes, and on API 2.0
    team_id and project_id. ``custom_fields`` names the fields to change; a value of None clears that field.

    Raises:
        TypeError, ValueError: naming the field.
    """

    item_id: str | Unset = attrs.field(default=UNSET, validator=unless(UNSET, check=is_id))
    user_id: str | Unset = attrs.field(default=UNSET, validator=unless(UNSET, check=is_id))
    date: dt.datetime | Unset = attrs.field(
        default=UNSET, converter=first_moment, validator=unless(UNSET, check=is_moment)
    )
    minutes: float | Unset = attrs.field(default=UNSET, validator=unless(UNSET, check=is_minutes))
    description: str | Unset | None = attrs.field(default=UNSET, validator=unless(UNSET, None, check=is_text))
    category_id: str | Unset | None = attrs.field(default=UNSET, validator=unless(UNSET, None, check=is_id))
    billable_minutes: float | Unset | None = attrs.field(default=UNSET, validator=unless(UNSET, None, check=is_minutes))
    team_id: str | Unset | None = attrs.field(default=UNSET, validator=unless(UNSET, None, check=is_id))
    project_id: str | Unset | None = attrs.field(default=UNSET, validator=unless(UNSET, None, check=is_id))
    custom_fields: dict[str, Any] | Unset = attrs.field(
        default=UNSET, hash=False, validator=unless(UNSET, check=is_custom_fields)
    )

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        from tracket_async._pydantic import model_schema

        return model_schema(cls, handler, unset=UNSET, strict=True)


_ANY: Final[frozenset[str]] = frozenset()
VALUES: Final[Mapping[str, str]] = {
    "user_ids": "user_id",
    "category_ids": "category_id",
    "project_ids": "project_id",
    "item_ids": "item_id",
    "approval_statuses": "approval_status",
}
"""The choices of `WorklogFilter`, and the attributes of `Worklog` whose values they choose."""


def _chosen(value: Any) -> Any:
    if isinstance(value, Collection) and not isinstance(value, str | bytes):
        return frozenset(cast("Collection[object]", value))
    return value


def is_choice(_instance: object, attribute: Attribute, value: object) -> None:
    """Check for a set of strings with something in them."""
    if not isinstance(value, frozenset):
        raise TypeError(f"{attribute.name} must be a collection of strings, not {type(value).__name__}")
    for one in cast("frozenset[object]", value):
        is_id(_instance, attribute, one)


@attrs.frozen(kw_only=True)
class WorklogFilter:
    """The worklogs to list, and their order. Every bound is inclusive; None means unbounded.

    A bound is an aware datetime, or a ``datetime.date``: as a lower bound its first moment in UTC, as an upper bound
    its last. A worklog matches when ``since <= worklog.date <= until``, exactly. What a version of the API cannot
    filter, the client does.

    API 2.0 keeps days. There a bound of dates means the day as it is written, whatever time and offset follow it:
    ``2026-03-02T08:00-08:00`` means 2 March, the whole of it. A notice is logged when a time of day is dropped so.

    Attributes:
        since, until: bounds of `Worklog.date`.
        created_since, created_until: bounds of `Worklog.created_date` (API 2.0 only).
        updated_since, updated_until: bounds of `Worklog.updated_date` (API 2.0 only).
        sort_by: ``"date"`` (default), ``"created_date"`` or ``"updated_date"`` (API 2.0 only).
        descending: newest first. Default False: ascending, so that worklogs added during a walk are still met.
            API 1.0 has no choice: its order is the server's.
        user_ids, category_ids, project_ids, item_ids, approval_statuses: the values that `Worklog.user_id` and so on
            may have; any collection of strings, kept as a frozenset. Empty (the default) is every value, and a
            worklog without a value is in no other. No version of the API filters by them: the client does, so
            everything within the bounds is fetched, and `Page.total` counts all of that. Projects: API 2.0 only.

    Raises:
        TypeError, ValueError: naming the field; a lower bound after its upper bound is one.
    """

    since: dt.datetime | None = attrs.field(
        default=None, converter=first_moment, validator=unless(None, check=is_moment)
    )
    until: dt.datetime | None = attrs.field(
        default=None, converter=last_moment, validator=unless(None, check=is_moment)
    )
    created_since: dt.datetime | None = attrs.field(
        default=None, converter=first_moment, validator=unless(None, check=is_moment)
    )
    created_until: dt.datetime | None = attrs.field(
        default=None, converter=last_moment, validator=unless(None, check=is_moment)
    )
    updated_since: dt.datetime | None = attrs.field(
        default=None, converter=first_moment, validator=unless(None, check=is_moment)
    )
    updated_until: dt.datetime | None = attrs.field(
        default=None, converter=last_moment, validator=unless(None, check=is_moment)
    )
    sort_by: Literal["date", "created_date", "updated_date"] = attrs.field(
        default="date", validator=attrs.validators.in_(("date", "created_date", "updated_date"))
    )
    descending: bool = False
    user_ids: frozenset[str] = attrs.field(default=_ANY, converter=_chosen, validator=is_choice)
    category_ids: frozenset[str] = attrs.field(default=_ANY, converter=_chosen, validator=is_choice)
    project_ids: frozenset[str] = attrs.field(default=_ANY, converter=_chosen, validator=is_choice)
    item_ids: frozenset[str] = attrs.field(default=_ANY, converter=_chosen, validator=is_choice)
    approval_statuses: frozenset[str] = attrs.field(default=_ANY, converter=_chosen, validator=is_choice)

    def __attrs_post_init__(self) -> None:
        for lower, upper in _PAIRS:
            first, last = getattr(self, lower), getattr(self, upper)
            if first is not None and last is not None and first > last:
                raise ValueError(
                    f"{lower} ({first.isoformat()}) is after {upper} ({last.isoformat()}): no worklog can match"
                )

    @property
    def bounds_dates(self) -> bool:
        """Return whether the dates of worklogs are bounded."""
        return self.since is not None or self.until is not None

    @property
    def bounds_changes(self) -> bool:
        """Return whether created or updated dates are bounded: in microseconds, of which servers keep milliseconds."""
        bounds = (self.created_since, self.created_until, self.updated_since, self.updated_until)
        return any(bound is not None for bound in bounds)

    @property
    def values(self) -> dict[str, frozenset[str]]:
        """Return the values that are chosen, by the attribute of `Worklog`; empty: every value of every attribute."""
        return {name: chosen for field, name in VALUES.items() if (chosen := getattr(self, field))}

    def bounds_only(self) -> WorklogFilter:
        """Return the filter without its values: what a server is asked for."""
        if not self.values:
            return self
        every: dict[str, Any] = dict.fromkeys(VALUES, _ANY)
        return attrs.evolve(self, **every)

    def matches(self, worklog: Worklog) -> bool:
        """Return whether the worklog is within every bound and has a value of each choice.

        An unknown date is in no bounded range.
        """
        return self._within_bounds(worklog) and all(
            getattr(worklog, name) in chosen for name, chosen in self.values.items()
        )

    def _within_bounds(self, worklog: Worklog) -> bool:
        return (
            _within(worklog.date, self.since, self.until)
            and _within(worklog.created_date, self.created_since, self.created_until)
            and _within(worklog.updated_date, self.updated_since, self.updated_until)
        )

    def may_match(self, bad: BadRow) -> bool:
        """Return whether the row may be within the bounds: it is not when its date can be read and is outside."""
        return bad.date is None or _within(bad.date, self.since, self.until)


def combine_filter(filter: WorklogFilter | None, since: dt.date | None, until: dt.date | None) -> WorklogFilter:
    """Return the filter with its dates, whichever way they were given.

    Raises:
        UsageError: a bound is given in both ways.
        TypeError, ValueError: a bound is no date, naive, or after its upper bound.
    """
    filter = WorklogFilter() if filter is None else filter
    for name, value in (("since", since), ("until", until)):
        if value is not None and getattr(filter, name) is not None:
            raise UsageError(f"{name} is given twice: by itself and in the filter")
    return attrs.evolve(
        filter,
        since=filter.since if since is None else since,
        until=filter.until if until is None else until,
    )


def whole_days(filter: WorklogFilter) -> tuple[WorklogFilter, bool]:
    """Return the filter with the days of its dates, as written, for their bounds; and whether times were dropped.

    Raises:
        ValueError: as they are written, the first day is after the last.
    """
    since, until = filter.since, filter.until
    dropped = (since is not None and since.time() != dt.time.min) or (until is not None and until.time() < _LAST_MINUTE)
    days = attrs.evolve(filter, since=since and since.date(), until=until and until.date())
    return days, dropped


def a_day_wider(filter: WorklogFilter) -> WorklogFilter:
    """Return the filter with a day more at both ends of its dates."""
    since, until, day = filter.since, filter.until, dt.timedelta(days=1)
    return attrs.evolve(
        filter,
        since=None if since is None or since - _EARLIEST < day else since - day,
        until=None if until is None or _LATEST - until < day else until + day,
    )


def in_utc(filter: WorklogFilter) -> WorklogFilter:
    """Return the filter with its dates in UTC."""
    since, until = filter.since, filter.until
    return attrs.evolve(filter, since=since and since.astimezone(dt.UTC), until=until and until.astimezone(dt.UTC))


def client_side_check(filter: WorklogFilter) -> Callable[[Worklog], bool] | None:
    """Return the check that a list makes itself, whatever the server filters; None where every worklog matches."""
    return filter.matches if filter.bounds_changes or filter.bounds_dates or filter.values else None


def check_scan_order(filter: WorklogFilter) -> None:
    """Check that the filter can be scanned in partitions of dates.

    Raises:
        UsageError: it asks for an order.
    """
    if filter.sort_by != "date" or filter.descending:
        raise UsageError("An export walks by ascending date: leave sort_by and descending out of the filter")


_PAIRS = (
    ("since", "until"),
    ("created_since", "created_until"),
    ("updated_since", "updated_until"),
)


def _within(value: dt.datetime | None, first: dt.datetime | None, last: dt.datetime | None) -> bool:
    if first is None and last is None:
        return True
    if value is None:
        return False
    return (first or _EARLIEST) <= value <= (last or _LATEST)
