"""The answers of one version as models: first by the fast path, and what that declines by the general one.

Only the general path judges. So what is read, and what is refused and why, does not depend on which of the two it was.
"""

from __future__ import annotations

import datetime as dt
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from tracket_async.api.cursor import next_cursor
from tracket_async.api.decode import checked
from tracket_async.api.fast import FastReader, Found
from tracket_async.api.layout import Layout
from tracket_async.api.request import Response
from tracket_async.api.rows import row_of
from tracket_async.api.status import header, parse_http_date
from tracket_async.api.wire import RowPage
from tracket_async.models import Page, Worklog

if TYPE_CHECKING:
    from tracket_async.api.general import GeneralReader


class Reader:
    """Reads the answers of one layout. Raises what `Wire` says."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._fast = FastReader(layout)

    @cached_property
    def _general(self) -> GeneralReader:
        # Imported when it is needed, since it may never be: cattrs is a third of what importing this package costs.
        from tracket_async.api.general import GeneralReader  # noqa: PLC0415

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
