"""The answers of one version as models: body and headers put together, over the path from bytes that is fastest."""

from __future__ import annotations

import datetime as dt

import attrs

from tracket_async.api.general import GeneralReader, checked
from tracket_async.api.layout import Layout
from tracket_async.api.request import Response
from tracket_async.api.status import header, parse_http_date
from tracket_async.api.wire import RowPage
from tracket_async.models import Page, Worklog


class Reader:
    """Reads the answers of one layout. Raises what `Wire` says."""

    def __init__(self, layout: Layout) -> None:
        self._general = GeneralReader(layout)

    def page(self, response: Response) -> Page:
        """The answer to a list."""
        contents = self._general.page(response)
        return Page(
            items=contents.worklogs,
            next_cursor=contents.next_cursor,
            total=contents.total,
            server_date=server_date(response),
        )

    def rows(self, response: Response) -> RowPage:
        """The answer to a list, without models."""
        contents = self._general.page(response)
        return RowPage(
            rows=[attrs.astuple(worklog, recurse=False) for worklog in contents.worklogs],
            next_cursor=contents.next_cursor,
            total=contents.total,
            server_date=server_date(response),
        )

    def worklog(self, response: Response) -> Worklog:
        """The answer to a get, a create or an update."""
        return self._general.worklog(response)

    @staticmethod
    def deleted(response: Response) -> None:
        """The answer to a delete: any JSON or nothing."""
        if response.body:
            checked(response)


def server_date(response: Response) -> dt.datetime | None:
    """The answer's Date header as a moment."""
    text = header(response.headers, "Date")
    return None if text is None else parse_http_date(text)
