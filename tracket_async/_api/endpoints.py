"""The categories of API 2.0, as its list of options has them.

Which ids may stand in a path. An id is data: whatever it holds, it must stay one segment of its path.

The port that each version of the API fills: requests out, models in.

The answers of one version as models: first by the fast path, and what that declines by the general one.

Only the general path judges. So what is read, and what is refused and why, does not depend on which of the two it was.

The `Wire` of any version: the calls are the same on both, their path, names and query are its settings.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias
from urllib.parse import quote

import attrs

from tracket_async._api.fast import FastReader, Found, row_of
from tracket_async._api.schema import IDENTIFIER, TEXT, Kind, Layout, Misread, checked, next_cursor, value
from tracket_async._http.messages import Json, Request, Response, write
from tracket_async._http.responses import header, json_type, malformed, parse_http_date
from tracket_async.errors import UnsupportedError, UsageError
from tracket_async.models import Category, NewWorklog, Page, Worklog, WorklogChanges, WorklogFilter

if TYPE_CHECKING:
    import cattrs

    from tracket_async._api.converters import GeneralReader
    from tracket_async._api.fast import Row

LIST_NAMES: Final = ("items", "options")
"""Where the list is; the second is inferred, and so is that it may stand there without an object around it."""
ID_NAMES: Final = ("id", "value", "optionId")
"""Where an option has its id (inferred)."""
NAME_NAMES: Final = ("name", "label", "title", "text")
"""Where it has its name (inferred)."""


def read_categories(response: Response) -> list[Category]:
    """The answer to the call for categories, in the server's order."""
    content = value(checked(response), "$", response)
    path = "$"
    if isinstance(content, dict):
        name = next((each for each in LIST_NAMES if each in content), LIST_NAMES[0])
        path, content = f"$.{name}", content.get(name)
    if not isinstance(content, list):
        raise malformed(path, "an array", json_type(content), status=response.status)
    return [_category(option, f"{path}[{index}]", response) for index, option in enumerate(content)]


def _category(option: Json, path: str, response: Response) -> Category:
    if not isinstance(option, dict):
        raise malformed(path, "an object", json_type(option), status=response.status)
    id_name, identifier = _member(option, ID_NAMES)
    name_name, name = _member(option, NAME_NAMES)
    return Category(
        id=_read(IDENTIFIER, identifier, f"{path}.{id_name}", response),
        name=None if name is None else _read(TEXT, name, f"{path}.{name_name}", response),
    )


def _member(option: dict[str, Json], names: tuple[str, ...]) -> tuple[str, Json]:
    return next(((name, option[name]) for name in names if name in option), (names[0], None))


def _read(kind: Kind, content: Json, path: str, response: Response) -> str:
    try:
        text: str = kind.read(content)
    except Misread as problem:
        expected = str(problem)
    else:
        return text
    raise malformed(path, expected, json_type(content), status=response.status)


LONGEST: Final = 200
"""Characters of an id."""

ALLOWED: Final = frozenset("-_.~:@!$&'()*+,;=|")
"""What an id may hold besides letters and digits. Not among them: ``/`` and ``\\``, which end a segment for some
server or proxy; ``%``, which one of them may decode once more; ``?`` and ``#``, which end the path; white space and
control characters."""

_usual: Final = re.compile("[A-Za-z0-9_-]{1,200}").fullmatch
"""What needs no closer look, and no quoting."""


def path_segment(id: str) -> str:  # noqa: A002 - it is what the API calls it
    """An id, checked and percent-encoded as one segment of a path (RFC 3986, 3.3).

    Raises:
        UsageError: it is no string, empty, longer than `LONGEST`, made of dots alone (``..`` stays ``..`` however it
            is quoted, and means the level above), or holds a character that is not allowed.
    """
    if isinstance(id, str) and _usual(id):  # pyright: ignore[reportUnnecessaryIsInstance] - as below
        return id
    if not isinstance(id, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        raise UsageError(f"An id must be a string, not {type(id).__name__}")
    if not id:
        raise UsageError("An id must not be empty")
    if len(id) > LONGEST:
        raise UsageError(f"An id must not be longer than {LONGEST} characters; this one begins with {id[:20]!r}")
    if not id.strip("."):
        raise UsageError(f"{id!r} is no id: in a path it would mean another place")
    for character in id:
        if not character.isalnum() and character not in ALLOWED:
            raise UsageError(f"{id!r} is no id: it holds {character!r}")
    return quote(id, safe="")


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


class Reader:
    """Reads the answers of one layout. Raises what `Wire` says."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._fast = FastReader(layout)

    @cached_property
    def _general(self) -> GeneralReader:
        # Imported when it is needed, since it may never be: cattrs is a third of what importing this package costs.
        from tracket_async._api.converters import GeneralReader  # noqa: PLC0415

        return GeneralReader(self._layout)

    def page(self, response: Response) -> Page:
        """The answer to a list."""
        found = self._fast.models(response.body)
        if found is None:
            contents = self._general.page(response)
            return Page(items=contents.worklogs, **_about(response, contents.next_cursor, contents.total))
        return Page(items=found.items, **_about(response, _next(found), found.total))

    def rows(self, response: Response) -> RowPage:
        """The answer to a list, without models."""
        found = self._fast.rows(response.body)
        if found is None:
            contents = self._general.page(response)
            rows = [row_of(worklog) for worklog in contents.worklogs]
            return RowPage(items=rows, **_about(response, contents.next_cursor, contents.total))
        return RowPage(items=found.items, **_about(response, _next(found), found.total))

    def worklog(self, response: Response) -> Worklog:
        """The answer to a get, a create or an update."""
        return self._fast.worklog(response.body) or self._general.worklog(response)

    @staticmethod
    def deleted(response: Response) -> None:
        """The answer to a delete: any JSON or nothing."""
        if response.body.strip():
            checked(response)


@cache
def reader_of(layout: Layout) -> Reader:
    """The reader of a layout, which is made once."""
    return Reader(layout)


def _next(found: Found[Any]) -> str | None:
    return next_cursor(found.cursor, found.links)


def _about(response: Response, cursor: str | None, total: int | None) -> dict[str, Any]:
    """What a page says beside its worklogs."""
    return {"next_cursor": cursor, "total": total, "server_date": server_date(response)}


def server_date(response: Response) -> dt.datetime | None:
    """The answer's Date header as a moment."""
    text = header(response.headers, "Date")
    return None if text is None else parse_http_date(text)


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
        from tracket_async._api.converters import make_converter  # noqa: PLC0415

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
