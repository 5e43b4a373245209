"""What each call of the API does to the store: synchronous, with an answer or a refusal as its result.

`Operations` is made once for each version; what differs between the two is in the `Dialect` it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from attrs import frozen

from tracket_async.emulator import v1, v2
from tracket_async.emulator.answers import Answer, Refusal, json_answer
from tracket_async.emulator.fields import checked, parse_object, text
from tracket_async.emulator.store import Store, Wire
from tracket_async.emulator.worklog import Worklog


@frozen(kw_only=True)
class Asked:
    """A request, as far as an operation needs it.

    Attributes:
        path: The path as it was sent, for links.
        ident: The id in the path; empty where there is none.
        query: Query parameters, decoded.
        body: The whole body.
    """

    path: str
    ident: str = ""
    query: Mapping[str, str]
    body: bytes = b""


@frozen(kw_only=True)
class Dialect:
    """One version's wire shapes.

    Attributes:
        wire: The column with the rendering.
        noun: What a worklog is called.
        read_new: Columns of a worklog to create, from a body.
        read_changes: Columns to change, from a body and the current worklog.
        render_updated: What an update answers; None means the same as a read.
    """

    wire: Wire
    noun: str
    read_new: Callable[[Mapping[str, Any]], dict[str, Any]]
    read_changes: Callable[[Mapping[str, Any], Worklog], dict[str, Any]]
    render_updated: Callable[[Worklog], bytes] | None = None


V1: Final = Dialect(
    wire="v1",
    noun="worklog",
    read_new=v1.read_new,
    read_changes=v1.read_changes,
    render_updated=v1.render_updated,
)
V2: Final = Dialect(wire="v2", noun="time entry", read_new=v2.read_new, read_changes=v2.read_changes)


class Operations:
    """Get, create, update and delete in one version.

    Args:
        store: Where the worklogs are.
        dialect: The version.
        ids: Gives the next unused id.
        now: Milliseconds since the epoch, of the server's clock.
    """

    def __init__(self, store: Store, dialect: Dialect, ids: Iterator[str], now: Callable[[], int]) -> None:
        self._store = store
        self._dialect = dialect
        self._ids = ids
        self._now = now

    def get(self, asked: Asked) -> Answer:
        """One worklog."""
        return Answer(body=self._rendered(self._ident(asked)))

    def create(self, asked: Asked) -> Answer:
        """A new worklog, open, created now.

        The vendor's pages do not tell whether the status is 200 or 201; 200 is what a client must expect least.
        """
        columns = self._dialect.read_new(parse_object(asked.body))
        worklog = Worklog(id=next(self._ids), created=self._now(), **columns)
        self._store.insert(worklog)
        return Answer(body=self._rendered(worklog.id), committed=True)

    def update(self, asked: Asked) -> Answer:
        """Changes to one worklog, updated now; an empty set of changes counts as an update, too."""
        payload = parse_object(asked.body)
        current = self._store.get(self._ident(asked))
        if current is None:
            raise self._missing()
        changes = self._dialect.read_changes(payload, current)
        worklog = current._replace(updated=self._now(), **changes)
        self._store.replace(worklog)
        render = self._dialect.render_updated
        body = self._rendered(worklog.id) if render is None else render(worklog)
        return Answer(body=body, committed=True)

    def delete(self, asked: Asked) -> Answer:
        """One worklog less. 2.0 answers as 1.0 does, for the vendor shows no other."""
        if not self._store.delete(self._ident(asked)):
            raise self._missing()
        message = json_answer({"message": f"The {self._dialect.noun} was deleted."})
        return Answer(body=message.body, committed=True)

    def _ident(self, asked: Asked) -> str:
        try:
            return str(checked(text, asked.ident, "id"))
        except Refusal:
            raise self._missing() from None

    def _rendered(self, ident: str) -> bytes:
        body = self._store.rendered(self._dialect.wire, ident)
        if body is None:
            raise self._missing()
        return body

    def _missing(self) -> Refusal:
        return Refusal(404, f"there is no {self._dialect.noun} with this id")
