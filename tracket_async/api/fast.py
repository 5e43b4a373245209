"""The fast path from bytes to rows and to models: for what a well-behaved server sends, and only for that.

It takes a body or it declines, and never says why: whoever asks then goes the general path (``general.py``), which
reads what is merely unusual and names what is wrong. What it takes, the general path would read alike; a property test
holds the two equal on any input.

How: a Struct of the wire's shape (``structs.py``) decodes and validates in C, and a generated function (``rows.py``,
``thaw.py``) does what is left to be done.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Generic, TypeVar

import attrs
import msgspec

from tracket_async.api.decode import FAILURES
from tracket_async.api.layout import Layout
from tracket_async.api.rows import Row, Spreading, spreading
from tracket_async.api.structs import page_struct, row_struct
from tracket_async.api.thaw import Thawing, thawing
from tracket_async.models import Worklog

T = TypeVar("T")


@attrs.frozen(eq=False)
class Found(Generic[T]):
    """A page's contents.

    Attributes:
        items: the worklogs, as rows or as models, in the server's order.
        cursor: what stands where the cursor should; None of null, UNSET of nothing.
        links: the bytes of the page's links, UNSET when it has none.
        total: how many worklogs match, None when the page does not say.
    """

    items: list[T]
    cursor: Any
    links: Any
    total: int | None


class FastReader:
    """Reads the bodies of one layout; every method gives None of a body that it declines.

    What has another form than the likeliest is declined at its first worklog, so that asking twice costs little; and
    what an account has once, it has again: a form that another one had to stand in for is not tried any more.
    """

    def __init__(self, layout: Layout) -> None:
        objects = [member for member, attributes in layout.groups.items() if len(attributes) > 1]
        whole = [member for member in objects if member not in layout.splits]
        # From the likeliest form of the objects in a worklog to any form of them.
        certain = dict.fromkeys((frozenset(objects), frozenset(objects) - {*whole}, frozenset[str]()))
        self._forms = [Form(layout, each) for each in certain]

    def rows(self, body: bytes) -> Found[Row] | None:
        """A page as rows."""
        return self._first(Form.rows, body)

    def models(self, body: bytes) -> Found[Worklog] | None:
        """A page as models."""
        return self._first(Form.models, body)

    def worklog(self, body: bytes) -> Worklog | None:
        """One worklog."""
        for form in self._forms:
            if (worklog := form.worklog(body)) is not None:
                return worklog
        return None

    def _first(self, read: Callable[[Form, bytes], Found[T] | None], body: bytes) -> Found[T] | None:
        for number, form in enumerate(self._forms):
            if (found := read(form, body)) is not None:
                if number:
                    del self._forms[:number]
                return found
        return None


class Form:
    """One form of the bodies of a layout; every method gives None of a body that has another.

    Args:
        layout: the layout.
        certain: the objects in a worklog that have no other members than those that the layout's names say.
    """

    def __init__(self, layout: Layout, certain: frozenset[str]) -> None:
        self._layout = layout
        self._certain = certain

    # Made when they are first needed: most processes need a few of them.

    @cached_property
    def _row(self) -> type[msgspec.Struct]:
        return row_struct(self._layout, self._certain)

    @cached_property
    def _decode_page(self) -> Callable[[bytes], Any]:
        return msgspec.json.Decoder(page_struct(self._layout, self._row)).decode

    @cached_property
    def _decode_worklog(self) -> Callable[[bytes], Any]:
        return msgspec.json.Decoder(self._row).decode

    @cached_property
    def _to_rows(self) -> Spreading:
        return spreading(self._layout, self._certain)

    @cached_property
    def _to_models(self) -> Thawing:
        return thawing(self._layout, self._certain)

    def rows(self, body: bytes) -> Found[Row] | None:
        """A page as rows."""
        try:
            page = self._decode_page(body)
            self._to_rows(page.items)
        except FAILURES:
            return None
        return Found(page.items, page.cursor, page.links, page.total)

    def models(self, body: bytes) -> Found[Worklog] | None:
        """A page as models."""
        try:
            page = self._decode_page(body)
            models = self._to_models(page.items)
        except FAILURES:
            return None
        return Found(models, page.cursor, page.links, page.total)

    def worklog(self, body: bytes) -> Worklog | None:
        """One worklog."""
        try:
            return self._to_models((self._decode_worklog(body),))[0]
        except FAILURES:
            return None
