"""The API's versions as data: `ApiVersion` makes every request and reads every response.

The calls are the same on both versions. Paths, names, the query of a list and what the server can do are the settings
of an `ApiVersion`; ``v1.py`` and ``v2.py`` fill them in.

A response is read by the fast decoder (``fast.py``, msgspec). What that declines is read again by the cattrs converters
(``converters.py``), which alone decide what is right, and say what is wrong and where. So the result does not depend on
which of the two has read it.
"""

from __future__ import annotations

import datetime as dt
import logging
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from urllib.parse import quote, unquote, urljoin, urlsplit

import attrs

from tracket_async._api.fast import FastReader, row_of
from tracket_async._api.oddities import Oddities
from tracket_async._api.schema import (
    DAY,
    IDENTIFIER,
    TEXT,
    DecodedPage,
    FieldError,
    FieldType,
    Schema,
    check_no_errors,
    checked,
    next_cursor,
    read_cursor,
    value,
    whole_number,
)
from tracket_async._http.messages import Json, Request, Response, encode_json
from tracket_async._http.responses import header, json_type, malformed
from tracket_async._timestamps import parse_http_date
from tracket_async.errors import (
    ConfigurationError,
    ConnectError,
    GoneError,
    MalformedResponseError,
    NotFoundError,
    RedirectError,
    RequestError,
    ResponseError,
    UnreadableResponseError,
    UnsupportedError,
    UsageError,
)
from tracket_async.models import (
    NO_VALUES,
    BadRow,
    Category,
    NewWorklog,
    Page,
    Worklog,
    WorklogChanges,
    WorklogFilter,
    in_utc,
    whole_days,
)

if TYPE_CHECKING:
    import cattrs

    from tracket_async._api.converters import ConverterReader
    from tracket_async._api.fast import Row

_logger = logging.getLogger("tracket_async")

CREATED: Final = 201
NO_CONTENT: Final = 204

Categories: TypeAlias = list[Category]
"""For annotations in classes whose own method is called ``list``."""
Query: TypeAlias = tuple[tuple[str, str], ...]
StartDate: TypeAlias = Literal["moment", "day"]
"""The forms in which API 1.0 can be sent its ``startDate``."""


@attrs.frozen(kw_only=True)
class RowPage:
    """A page of rows in place of worklogs, for callers that put the values somewhere else at once.

    Attributes:
        items: rows, validated as worklogs are, in the server's order; see `tracket_async._api.fast.Row`.
        next_cursor, total, server_date, bad_rows: as in `Page`.
    """

    items: list[Row]
    next_cursor: str | None = None
    total: int | None = None
    server_date: dt.datetime | None = None
    bad_rows: tuple[BadRow, ...] = ()


@attrs.frozen
class Acknowledged:
    """A write that succeeded, and whose response does not show the worklog.

    Attributes:
        id: the worklog's id; None when the response does not tell it.
    """

    id: str | None


@attrs.frozen(kw_only=True)
class ApiVersion:
    """One version of the API: every request and every response, as pure functions.

    The methods that make a `Request` raise `UsageError` for a wrong argument and `UnsupportedError` for what the
    version does not offer; nothing is sent then. The methods that read a `Response` expect a 2xx. They raise
    `UnreadableResponseError` when its body is not JSON, and `MalformedResponseError`, with the JSON path and the
    worklog's id, when it is JSON of another shape.

    Attributes:
        schema: how this version writes worklogs and pages.
        fast: reads the responses of a well-behaved server.
        oddities: counts what was odd in the responses.
        default_origin: where the vendor serves this version, without a path.
        path: the path of the collection of worklogs; a worklog's is one segment longer.
        filter_query: makes the part of a list's query that says which worklogs, and in which order.
        cursor_parameter: the query parameter that takes a cursor.
        size_parameter: the query parameter that takes the size of a page; None when it cannot be chosen.
        filter_parameters: the names that ``filter_query`` may use.
        page_size: worklogs on a page of a list that does not say; None when the size cannot be chosen.
        max_page_size: the most worklogs on a page; None when the size cannot be chosen.
        categories_path: the path of the categories; None when the version does not list them.
        keeps_bad_rows: whether a row of a list that cannot be read is kept, and not an error.
        offline_hint: what to do when nothing answers any more; None while the vendor serves this version.
        filters_ranges: whether the server filters by both ends of a range (of dates, by day; of created and updated
            dates) and sorts. Where it does not, it takes a first date at most, and the order is its own.
    """

    schema: Schema
    fast: FastReader = attrs.field(repr=False, eq=False)
    default_origin: str
    path: str
    filter_query: Callable[[WorklogFilter], Query] = attrs.field(repr=False)
    filter_parameters: frozenset[str] = attrs.field(repr=False)
    cursor_parameter: str
    size_parameter: str | None = None
    page_size: int | None = None
    max_page_size: int | None = None
    categories_path: str | None = None
    offline_hint: str | None = None
    filters_ranges: bool
    keeps_bad_rows: bool = False
    oddities: Oddities = attrs.field(factory=Oddities, repr=False, eq=False)

    @property
    def version(self) -> str:
        """Return ``"1.0"`` or ``"2.0"``."""
        return self.schema.version

    @property
    def has_total(self) -> bool:
        """Return whether each page says how many worklogs match in all."""
        return self.schema.total is not None

    @property
    def keeps_days(self) -> bool:
        """Return whether the server keeps only the day of a worklog's date, and not the time of day."""
        return self.schema.field_types["date"] is DAY

    @property
    def smallest_page(self) -> int | None:
        """Return the ``size`` of the smallest page that can be asked for: 1, or None when it cannot be chosen."""
        return None if self.max_page_size is None else 1

    def own_query(self, query: Mapping[str, str]) -> Query:
        """Check names and values that a caller adds to each query, and return them.

        Raises:
            ConfigurationError: a name is one that this version's requests use, or a name or value is no text.
        """
        ours = {self.cursor_parameter, self.size_parameter, *self.filter_parameters}
        for name, content in query.items():
            if not isinstance(name, str) or not name or not isinstance(content, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
                raise ConfigurationError(f"The query parameter {name!r} needs a name and a text as its value")
            if name in ours:
                raise ConfigurationError(
                    f"The query parameter {name} belongs to the client and cannot be replaced",
                    hint="Use the arguments of list() and export(): since, until, filter, size",
                )
        return tuple(query.items())

    def keeping_bad_rows(self) -> ApiVersion:
        """Return this version, by which rows that cannot be read are kept (`Page.bad_rows`), and are no error."""
        return attrs.evolve(self, keeps_bad_rows=True)

    def has(self, attribute: str) -> bool:
        """Return whether this version's worklogs have the attribute of `Worklog`."""
        return attribute in self.schema.names

    def resolve(self, filter: WorklogFilter) -> WorklogFilter:
        """Return the filter with the bounds of dates that this version keeps: days as written, or moments in UTC.

        A notice is logged where days are kept and a bound has a time of day, which is dropped.
        """
        if not self.keeps_days:
            return in_utc(filter)
        days, dropped = whole_days(filter)
        if dropped:
            _logger.warning(
                "API %s keeps days, not times: the bounds mean the days as written, from %s to %s",
                self.version,
                "the first" if days.since is None else days.since.date(),
                "the last" if days.until is None else days.until.date(),
            )
        return days

    def explain(self, error: RequestError, request: Request) -> None:
        """Add to the error of a call that this version may be offline, where that is what it looks like.

        So it looks when there is no server or no such path any more, or when another page stands in its place.
        """
        gone = isinstance(error, ConnectError | GoneError | RedirectError | UnreadableResponseError)
        missing = isinstance(error, NotFoundError) and (request.path == self.path or error.excerpt.startswith("<"))
        if self.offline_hint is not None and (gone or missing):
            error.add(hint=f"{error.hint}. {self.offline_hint}" if error.hint else self.offline_hint)

    # -- requests -------------------------------------------------------------------------------------------------

    def list(self, filter: WorklogFilter, *, cursor: str | None = None, size: int | None = None) -> Request:
        """Make the request for one page: the first without a ``cursor``. ``size`` None means `page_size`."""
        return self.pages(filter, size=size)(cursor)

    def pages(self, filter: WorklogFilter, *, size: int | None = None) -> Callable[[str | None], Request]:
        """Return a function that makes the request for the page of a cursor, as `list` does."""
        before, after = self._size(self.page_size if size is None else size), self.filter_query(filter)

        def page(cursor: str | None) -> Request:
            return Request("GET", self.path, self.path, (*before, *self._cursor(cursor), *after))

        return page

    def get(self, id: str) -> Request:
        """Make the request for one worklog."""
        return self._one("GET", id)

    def create(self, new: NewWorklog) -> Request:
        """Make the request that creates a worklog; raise `UsageError` where it is none."""
        _require(new, NewWorklog)
        return Request(
            method="POST", path=self.path, route=self.path, body=encode_json(self.converter.unstructure(new))
        )

    def update(self, id: str, changes: WorklogChanges) -> Request:
        """Make the request that changes what ``changes`` names; with nothing named, an empty object is sent."""
        _require(changes, WorklogChanges)
        return self._one("PUT", id, encode_json(self.converter.unstructure(changes)))

    def delete(self, id: str) -> Request:
        """Make the request that deletes a worklog."""
        return self._one("DELETE", id)

    def categories(self) -> Request:
        """Make the request for the categories."""
        path = self._path_of_categories()
        return Request(method="GET", path=path, route=path)

    # -- responses ------------------------------------------------------------------------------------------------

    def page(self, response: Response) -> Page:
        """Read the response to `list`: worklogs in the server's order."""
        found = self.fast.worklogs(response.body)
        if found is None:
            found = self._read_by_converters(response)
        elif found.odd:
            self.oddities.add_all(found.odd, self._rows_path)
        return Page(items=found.items, **self._about(found, response))

    def rows(self, response: Response) -> RowPage:
        """Read the response to `list` as rows, which costs half of `page`."""
        found = self.fast.rows(response.body)
        if found is None:
            page = self._read_by_converters(response)
            return RowPage(items=[row_of(worklog) for worklog in page.items], **self._about(page, response))
        if found.odd:
            self.oddities.add_all(found.odd, self._rows_path)
        return RowPage(items=found.items, **self._about(found, response))

    def _read_by_converters(self, response: Response) -> DecodedPage[Worklog]:
        page = self._converters.page(response, self.oddities, keep_bad_rows=self.keeps_bad_rows)
        self.fast.learn(page.items, page.unusual)
        return page

    def _about(self, page: DecodedPage[Any], response: Response) -> dict[str, Any]:
        """Return what a page says beside its worklogs."""
        if not page.items and not page.bad_rows:
            check_no_errors(page.errors, response)
        schema = self.schema
        return {
            "next_cursor": next_cursor(read_cursor(page.cursor, f"$.{schema.cursor}", response), page.links),
            "total": None if page.total is None else self._total(page.total),
            "server_date": server_date(response),
            "bad_rows": tuple(page.bad_rows),
        }

    def _total(self, found: Json) -> int | None:
        total = whole_number(found)
        if type(found) is not int:
            name = str(self.schema.total)
            self.oddities.add(name, "ignored" if total is None else "unusual", json_type(found), path=f"$.{name}")
        return total

    def has_offsets(self, response: Response) -> bool:
        """Return whether a page writes dates with an offset from UTC: its days are no instants of a filter then."""
        return self._date_with_offset.search(response.body) is not None

    def worklog(self, response: Response) -> Worklog:
        """Read a worklog: the response to `get`, and usually to `create` and `update`."""
        found = self.fast.worklog(response.body)
        if found is None:
            return self._converters.worklog(response, self.oddities)
        worklog, odd = found
        if odd:
            self.oddities.add_all(odd, "$")
        return worklog

    def worklog_or_bad_row(self, response: Response) -> Worklog | BadRow:
        """Do the same as `worklog`; return what cannot be read and has an id when bad rows are kept."""
        try:
            return self.worklog(response)
        except MalformedResponseError as error:
            if not self.keeps_bad_rows or error.worklog_id is None:
                raise
            return self._converters.bad_row(response.body, error)

    def created(self, response: Response, *, base_url: str) -> Worklog | Acknowledged:
        """Read the response to `create`.

        Success is the worklog; or an id in JSON, a Location of the same origin, or a 201 or 204, whatever else they
        lack. Anything else, such as a login page with 200, created nothing that is known of.

        Args:
            response: a 2xx.
            base_url: of the server that was asked.
        """
        try:
            return self.worklog(response)
        except ResponseError as error:
            failure = error
        location = header(response.headers, "Location")
        here = None if location is None else self._id_at(location, base_url)
        found = failure.worklog_id if isinstance(failure, MalformedResponseError) else None
        if found or here is not None or response.status in (CREATED, NO_CONTENT):
            return Acknowledged(found or here or None)
        raise failure

    def updated(self, response: Response) -> Worklog | Acknowledged:
        """Read the response to `update`: the worklog; or any JSON object, or nothing, which confirms it."""
        if response.status == NO_CONTENT or not response.body.strip():
            return Acknowledged(None)
        try:
            return self.worklog(response)
        except MalformedResponseError as error:
            if error.json_path == "$":  # it is no object
                raise
            return Acknowledged(error.worklog_id)

    def _id_at(self, location: str, base_url: str) -> str | None:
        """Return the id of the worklog at a Location, ``""`` when it names none; None when it is of another origin."""
        try:
            origin, target = urlsplit(base_url), urlsplit(urljoin(f"{base_url}{self.path}", location))
            if (origin.scheme, origin.netloc.lower()) != (target.scheme, target.netloc.lower()):
                return None
        except ValueError:
            return None
        _, found, last = target.path.rpartition(f"{self.path}/")
        return unquote(last) if found and "/" not in last else ""

    def deleted(self, response: Response) -> str | None:
        """Return the ``message`` in the response to `delete`; None when it has none.

        Nothing and any JSON confirm the deletion. Anything else (a login page, say) confirms nothing.
        """
        if not response.body.strip():
            return None
        content = value(checked(response), "$", response)
        message = content.get("message") if isinstance(content, dict) else None
        return message if isinstance(message, str) else None

    def category_list(self, response: Response) -> Categories:
        """Read the response to `categories`, in the server's order."""
        self._path_of_categories()
        return read_categories(response)

    @cached_property
    def _rows_path(self) -> str:
        return f"$.{self.schema.items}[]"

    @cached_property
    def _date_with_offset(self) -> re.Pattern[bytes]:
        name = re.escape(self.schema.names["date"]).encode()
        return re.compile(rb'"%b"\s*:\s*"\d{4}-\d\d-\d\dT[^"]*[+-](?!00:?00)\d\d:?\d\d"' % name)

    @cached_property
    def _converters(self) -> ConverterReader:
        # Imported when it is needed, since it may never be: cattrs is a third of what importing this package costs.
        from tracket_async._api.converters import converter_reader

        return converter_reader(self.schema)

    @cached_property
    def converter(self) -> cattrs.Converter:
        """Return the cattrs converter with this version's names; it is this object's own.

        It structures a dict as `Worklog` and unstructures `Worklog`, `NewWorklog` and `WorklogChanges` to dicts.
        """
        from tracket_async._api.converters import make_converter

        return make_converter(self.schema)

    def _one(self, method: str, id: str, body: bytes | None = None) -> Request:
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

    def _path_of_categories(self) -> str:
        if self.categories_path is None:
            raise self._unsupported("lists no categories")
        return self.categories_path

    def _unsupported(self, what: str) -> UnsupportedError:
        return UnsupportedError(f"API {self.version} {what}; leave it out, or use another version")


def server_date(response: Response) -> dt.datetime | None:
    """Return the response's Date header in UTC; None without a readable one."""
    text = header(response.headers, "Date")
    return None if text is None else parse_http_date(text)


# -- ids in paths -----------------------------------------------------------------------------------------------------

MAX_ID_LENGTH: Final = 200
"""Characters of an id."""

ALLOWED: Final = frozenset("-_.~:@!$&'()*+,;=|")
"""The characters of an id besides letters and digits. Not among them: ``/`` and ``\\``, which end a segment for some
server or proxy; ``%``, which one of them may decode once more; ``?`` and ``#``, which end the path; white space and
control characters."""

_is_plain: Final = re.compile("[A-Za-z0-9_-]{1,200}").fullmatch
"""Matches an id that needs no closer look, and no quoting."""


def _require(given: object, kind: type) -> None:
    """Check what is to be sent: of a dict, say, a server ignores each name that is not its own."""
    if not isinstance(given, kind):
        raise UsageError(
            f"A {kind.__name__} can be sent, and not {type(given).__name__}",
            hint="tracket_async.serialization.from_dict makes one of a dict",
        )


def path_segment(id: str) -> str:
    """Return an id, checked and percent-encoded as one segment of a path (RFC 3986, 3.3).

    Raises:
        UsageError: it is no string, empty, longer than `MAX_ID_LENGTH`, made of dots alone (``..`` stays ``..`` however
            it is quoted, and means the level above), stands for no value (``nan``), or holds a character that is not
            allowed.
    """
    if not isinstance(id, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        raise UsageError(f"An id must be a string, not {type(id).__name__}")
    if _is_plain(id) and id.lower() not in NO_VALUES:
        return id
    if not id:
        raise UsageError("An id must not be empty")
    if len(id) > MAX_ID_LENGTH:
        raise UsageError(f"An id must not be longer than {MAX_ID_LENGTH} characters; this one begins with {id[:20]!r}")
    if id.lower() in NO_VALUES:
        raise UsageError(f"{id!r} is no id: programs write it where there is no value")
    if not id.strip("."):
        raise UsageError(f"{id!r} is no id: in a path it would mean another place")
    for character in id:
        if not character.isalnum() and character not in ALLOWED:
            raise UsageError(f"{id!r} is no id: it holds {character!r}")
    return quote(id, safe="")


# -- categories -------------------------------------------------------------------------------------------------------

LIST_NAMES: Final = ("items", "options")
"""The names of the list; the second is inferred, and so is that it may stand there without an object around it."""
ID_NAMES: Final = ("id", "value", "optionId")
"""The names of an option's id (inferred)."""
NAME_NAMES: Final = ("name", "label", "title", "text")
"""The names of its name (inferred)."""


def read_categories(response: Response) -> list[Category]:
    """Read the categories of API 2.0, the options of a template's field, in the server's order."""
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


def _read(field_type: FieldType, content: Json, path: str, response: Response) -> str:
    try:
        text: str = field_type.read(content)
    except FieldError as problem:
        expected = str(problem)
    else:
        return text
    raise malformed(path, expected, json_type(content), status=response.status)
