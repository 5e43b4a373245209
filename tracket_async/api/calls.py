"""The `Wire` of any version: the calls are the same on both, their path, names and query are its settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import attrs

from tracket_async.api.body import write
from tracket_async.api.categories import read_categories
from tracket_async.api.ids import path_segment
from tracket_async.api.layout import Layout
from tracket_async.api.reader import Reader, reader_of
from tracket_async.api.request import Request, Response
from tracket_async.api.wire import Categories, RowPage
from tracket_async.errors import UnsupportedError, UsageError
from tracket_async.models import NewWorklog, Page, Worklog, WorklogChanges, WorklogFilter

if TYPE_CHECKING:
    import cattrs

Query: TypeAlias = tuple[tuple[str, str], ...]


def _reader(self: RestWire) -> Reader:
    return reader_of(self.layout)


@attrs.frozen(kw_only=True)
class RestWire:
    """A `Wire` from settings.

    Attributes:
        layout: how this version writes worklogs and pages.
        default_origin, max_page_size: as in `Wire`.
        path: of the collection of worklogs; a worklog's is one segment longer.
        filter_query: what of the query says which worklogs, and in which order.
        cursor_parameter: the parameter that takes a cursor.
        size_parameter: the parameter that takes the size of a page, None without one.
        categories_path: of the categories, None without any.
    """

    layout: Layout
    default_origin: str
    max_page_size: int | None
    path: str
    filter_query: Callable[[WorklogFilter], Query] = attrs.field(repr=False)
    cursor_parameter: str
    size_parameter: str | None = None
    categories_path: str | None = None
    _reader: Reader = attrs.field(default=attrs.Factory(_reader, takes_self=True), init=False, repr=False, eq=False)

    @property
    def converter(self) -> cattrs.Converter:
        """Structures and unstructures with this version's names; a converter of this wire's own."""
        return self._converter

    @cached_property
    def _converter(self) -> cattrs.Converter:
        # Imported when it is needed: cattrs is a third of what importing this package costs.
        from tracket_async.api.codec import make_converter  # noqa: PLC0415

        return make_converter(self.layout)

    @property
    def version(self) -> str:
        """``"1.0"`` or ``"2.0"``."""
        return self.layout.version

    def list(self, filter: WorklogFilter, *, cursor: str | None = None, size: int | None = None) -> Request:  # noqa: A002 - as in Wire
        """GET the collection."""
        query = [*self._size(size), *self._cursor(cursor), *self.filter_query(filter)]
        return Request(method="GET", path=self.path, route=self.path, query=tuple(query))

    def get(self, id: str) -> Request:  # noqa: A002 - as in Wire
        """GET one of the collection."""
        return self._one("GET", id)

    def create(self, new: NewWorklog) -> Request:
        """POST to the collection."""
        return Request(method="POST", path=self.path, route=self.path, body=write(self.converter.unstructure(new)))

    def update(self, id: str, changes: WorklogChanges) -> Request:  # noqa: A002 - as in Wire
        """PUT what changes of one of the collection; what is not named stays as it is."""
        return self._one("PUT", id, write(self.converter.unstructure(changes)))

    def delete(self, id: str) -> Request:  # noqa: A002 - as in Wire
        """DELETE one of the collection."""
        return self._one("DELETE", id)

    def categories(self) -> Request:
        """GET the categories."""
        if self.categories_path is None:
            raise self._unsupported("lists no categories")
        return Request(method="GET", path=self.categories_path, route=self.categories_path)

    def page(self, response: Response) -> Page:
        """The answer to `list`."""
        return self._reader.page(response)

    def rows(self, response: Response) -> RowPage:
        """The answer to `list`, as tuples."""
        return self._reader.rows(response)

    def worklog(self, response: Response) -> Worklog:
        """The answer to `get`, `create` and `update`."""
        return self._reader.worklog(response)

    def category_list(self, response: Response) -> Categories:
        """The answer to `categories`."""
        if self.categories_path is None:
            raise self._unsupported("lists no categories")
        return read_categories(response)

    def deleted(self, response: Response) -> None:
        """The answer to `delete`."""
        self._reader.deleted(response)

    def _one(self, method: str, id: str, body: bytes | None = None) -> Request:  # noqa: A002 - as in Wire
        return Request(method=method, path=f"{self.path}/{path_segment(id)}", route=f"{self.path}/{{id}}", body=body)

    def _cursor(self, cursor: str | None) -> Query:
        if cursor is None:
            return ()
        if not isinstance(cursor, str) or not cursor:  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
            raise UsageError(
                f"A cursor must be a string with something in it, not {cursor!r}; None asks for the first page"
            )
        return ((self.cursor_parameter, cursor),)

    def _size(self, size: int | None) -> Query:
        if size is None:
            return ()
        if self.size_parameter is None or self.max_page_size is None:
            raise self._unsupported("does not let the size of a page be chosen")
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= self.max_page_size:  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
            raise UsageError(f"The size of a page must be a whole number from 1 to {self.max_page_size}, not {size!r}")
        return ((self.size_parameter, str(size)),)

    def _unsupported(self, what: str) -> UnsupportedError:
        return UnsupportedError(f"API {self.version} {what}; leave it out, or use another version")
