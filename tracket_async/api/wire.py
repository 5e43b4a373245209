"""The port that each version of the API fills: requests out, models in."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import attrs

from tracket_async.api.request import Request, Response
from tracket_async.models import Category, NewWorklog, Page, Worklog, WorklogChanges, WorklogFilter

if TYPE_CHECKING:
    import cattrs

    from tracket_async.api.rows import Row

Categories: TypeAlias = list[Category]
"""For annotations in classes whose own method is called ``list``."""
StartDate: TypeAlias = Literal["moment", "day"]
"""The forms in which API 1.0 can be sent its ``startDate``."""


@attrs.frozen(kw_only=True)
class RowPage:
    """A page without a `Worklog` for each worklog; for who puts them somewhere else at once.

    Attributes:
        items: rows, validated as worklogs are, in the server's order; see `tracket_async.api.rows.Row`.
        next_cursor, total, server_date: as in `Page`.
    """

    items: list[Row]
    next_cursor: str | None = None
    total: int | None = None
    server_date: dt.datetime | None = None


class Wire(Protocol):
    """One version of the API.

    Every method is a pure function. Those that make a `Request` raise `UsageError` (nothing is sent then), and
    `UnsupportedError` for what the version does not offer. Those that read a `Response` expect a 2xx; they raise
    `UnreadableResponseError` when its body is not JSON and `MalformedResponseError`, with JSON path and worklog id,
    when it is JSON of another shape.
    """

    @property
    def version(self) -> str:
        """``"1.0"`` or ``"2.0"``."""
        ...

    @property
    def default_origin(self) -> str:
        """Where the vendor serves this version, without a path."""
        ...

    @property
    def max_page_size(self) -> int | None:
        """The most worklogs that a page can be asked to have; None when its size cannot be chosen."""
        ...

    @property
    def converter(self) -> cattrs.Converter:
        """The general path, with this version's names.

        It structures a dict as `Worklog` and unstructures `Worklog`, `NewWorklog` and `WorklogChanges` to dicts.
        """
        ...

    def list(self, filter: WorklogFilter, *, cursor: str | None = None, size: int | None = None) -> Request:  # noqa: A002 - as in the client
        """Asks for one page: the first without a ``cursor``. ``size`` None leaves it to the server."""
        ...

    def get(self, id: str) -> Request:  # noqa: A002 - it is what the API calls it
        """Asks for one worklog."""
        ...

    def create(self, new: NewWorklog) -> Request:
        """Creates a worklog."""
        ...

    def update(self, id: str, changes: WorklogChanges) -> Request:  # noqa: A002 - it is what the API calls it
        """Changes what ``changes`` names; with nothing named, an empty object is sent."""
        ...

    def delete(self, id: str) -> Request:  # noqa: A002 - it is what the API calls it
        """Deletes a worklog."""
        ...

    def categories(self) -> Request:
        """Asks for the categories."""
        ...

    def page(self, response: Response) -> Page:
        """The answer to `list`, worklogs in the server's order."""
        ...

    def rows(self, response: Response) -> RowPage:
        """As `page`, for less."""
        ...

    def worklog(self, response: Response) -> Worklog:
        """The answer to `get`, `create` and `update`."""
        ...

    def category_list(self, response: Response) -> Categories:
        """The answer to `categories`, in the server's order."""
        ...

    def deleted(self, response: Response) -> None:
        """The answer to `delete`: nothing, or any JSON. Something else (a login page, say) is no confirmation."""
        ...
