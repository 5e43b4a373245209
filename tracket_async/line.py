"""What every operation needs: a version of the API, a session, and the choices that were made."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import attrs

from tracket_async.api.request import Request, Response
from tracket_async.api.wire import Wire
from tracket_async.net.session import TracketSession
from tracket_async.net.settings import CallOptions
from tracket_async.net.world import World

T = TypeVar("T")


@attrs.define(eq=False)
class Life:
    """Whether a client is open; shared with all its views."""

    is_open: bool = False


@attrs.frozen(kw_only=True, eq=False)
class Line:
    """One version of the API over one session, with one set of options: what every operation needs.

    Attributes:
        session: sends.
        wire: makes requests and reads answers.
        options: what calls do differently from the session.
        page_size: worklogs that a page of a list has; None leaves it to the server.
        life: whether the client is open.
        world: time, for what is not the session's business.
        account: the id of the account that the credentials name, None where they name none.
    """

    session: TracketSession
    wire: Wire
    options: CallOptions
    page_size: int | None
    life: Life
    world: World
    account: str | None = None

    def send(self, request: Request, parse: Callable[[Response], T]) -> Coroutine[Any, Any, T]:
        """As `TracketSession.send`."""
        return self.session.send(request, parse, options=self.options)

    @property
    def filters_dates(self) -> bool:
        """Whether the server keeps to both ends of a range of dates, by days, and sorts: API 1.0 does neither."""
        return self.wire.version != "1.0"
