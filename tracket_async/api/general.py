"""The general path from bytes to models: it decides what is right, and says what is wrong and where.

It reads the members that it needs and skips the others: what those hold does not matter, as long as the whole is JSON.
The fast path (``fast.py``) skips with the same decoder, so that both take the same bodies.
"""

from __future__ import annotations

from typing import TypeVar

import attrs
import msgspec

from tracket_async.api.codec import worklog_reader
from tracket_async.api.cursor import next_cursor
from tracket_async.api.decode import Members, checked, elements, value
from tracket_async.api.faults import json_type, malformed
from tracket_async.api.layout import Layout
from tracket_async.api.request import Response
from tracket_async.errors import MalformedResponseError
from tracket_async.models import Worklog

T = TypeVar("T")


@attrs.frozen
class Contents:
    """What a page says about worklogs, without what its headers say."""

    worklogs: list[Worklog]
    next_cursor: str | None
    total: int | None


class GeneralReader:
    """Reads the bodies of one layout."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._read = worklog_reader(layout)
        self._of_page = Members(layout.items, layout.cursor, layout.total, layout.links)
        self._of_worklog = Members(*layout.groups)

    def page(self, response: Response) -> Contents:
        """The answer to a list."""
        layout = self.layout
        members = self._members(self._of_page, checked(response), "$", response)
        path = f"$.{layout.items}"
        if layout.items not in members:
            raise malformed(path, "an array", "missing", status=response.status)
        items = elements(members[layout.items], path, response)
        return Contents(
            worklogs=[self._worklog(item, f"{path}[{index}]", response) for index, item in enumerate(items)],
            next_cursor=next_cursor(
                self._optional(members, layout.cursor, str, "a string or null", response),
                members.get(layout.links or "", msgspec.UNSET),
            ),
            total=or_none(self._optional(members, layout.total, int, "a whole number or null", response)),
        )

    def worklog(self, response: Response) -> Worklog:
        """The answer to a get, a create or an update."""
        return self._worklog(checked(response), "$", response)

    def _worklog(self, content: bytes | msgspec.Raw, path: str, response: Response) -> Worklog:
        members = self._members(self._of_worklog, content, path, response)
        values = {name: value(raw, f"{path}.{name}", response) for name, raw in members.items()}
        try:
            return self._read(values, path)
        except MalformedResponseError as error:
            error.add(status=response.status)
            raise

    @staticmethod
    def _members(
        wanted: Members, content: bytes | msgspec.Raw, path: str, response: Response
    ) -> dict[str, msgspec.Raw]:
        members = wanted.of(content)
        if members is None:
            raise malformed(path, "an object", json_type(value(content, path, response)), status=response.status)
        return members

    @staticmethod
    def _optional(
        members: dict[str, msgspec.Raw], name: str | None, kind: type[T], expected: str, response: Response
    ) -> T | msgspec.UnsetType | None:
        if name not in members:
            return msgspec.UNSET
        found = value(members[name], f"$.{name}", response)
        if found is not None and type(found) is not kind:
            raise malformed(f"$.{name}", expected, json_type(found), status=response.status)
        return found


def or_none(found: T | msgspec.UnsetType) -> T | None:
    """What was found, None if nothing was."""
    return None if isinstance(found, msgspec.UnsetType) else found
