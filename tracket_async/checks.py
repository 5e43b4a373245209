"""Checks of a server: compare it with what this package takes it to be, without changing anything.

At most six requests are made: pages of the list, the categories, and one for a token. What they cannot show is "not
seen". What has no place in a bug report is marked: ids, dates, counts, addresses and texts of the account. The rest is
names of fields and headers.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, Literal

import attrs
import msgspec

from tracket_async._http.messages import Response
from tracket_async.client import TracketClient
from tracket_async.errors import RequestError
from tracket_async.models import ApprovalStatus, Page, Worklog, WorklogFilter

Verdict = Literal["ok", "differs", "not seen"]

PAGE: Final = 20
"""Worklogs that a page is asked for: few, so that there is a second one."""
SKEW: Final = 60
"""Seconds that two clocks may be apart."""


@attrs.frozen
class Finding:
    """A point that was compared, and the outcome.

    Attributes:
        what: a few words.
        verdict: "ok": as this package takes it to be; "differs"; "not seen".
        detail: what was seen.
        private: whether the detail says something of the account, and has no place in a bug report.
    """

    what: str
    verdict: Verdict
    detail: str = ""
    private: bool = False


@attrs.frozen(kw_only=True)
class _Seen:
    """One page of the list, as it was read and as it was sent."""

    page: Page
    response: Response
    raw: dict[str, Any]

    @property
    def items(self) -> Sequence[Worklog]:
        return self.page.items


class Checks:
    """The checks of one server.

    Args:
        client: open.
    """

    def __init__(self, client: TracketClient) -> None:
        self._client = client
        self._version = client.api_version

    async def run(self) -> list[Finding]:
        """Return the findings, in the order in which they are shown."""
        asked = dt.datetime.now(dt.UTC)
        first = await self._list()
        findings = [*self._connection(), self._clock(first, asked), *self._content(first)]
        cursor = first.page.next_cursor
        second = None if cursor is None else await self._list(cursor=cursor)
        findings += [*self._pages(first, second), self._order(first, second)]
        findings += await self._bounds(first)
        if self._version.has_total:
            findings += [await self._range(first), await self._categories(first)]
        return [*findings, _rate_headers(first)]

    async def _list(self, filter: WorklogFilter | None = None, *, cursor: str | None = None) -> _Seen:
        size = None if self._version.smallest_page is None else PAGE
        request = self._version.list(filter or WorklogFilter(), cursor=cursor, size=size)

        def parse(response: Response) -> _Seen:
            try:
                raw: dict[str, Any] = msgspec.json.decode(response.body, type=dict[str, Any])
            except (msgspec.DecodeError, UnicodeDecodeError):  # it is repaired where it can be read at all
                raw = {}
            return _Seen(page=self._version.page(response), response=response, raw=raw)

        return await self._client.send(request, parse)

    def _connection(self) -> Iterator[Finding]:
        client = self._client
        yield Finding("address", "ok", client.base_url, private=True)
        secure = client.base_url.startswith("https:")
        yield Finding("TLS", "ok" if secure else "not seen", "" if secure else "plain http on this machine")
        yield Finding("credentials", "ok", "accepted")
        yield Finding("version", "ok", f"API {client.api}")
        known = client.account
        yield Finding("account", "not seen" if known is None else "ok", known or "the token does not say", private=True)

    def _clock(self, first: _Seen, asked: dt.datetime) -> Finding:
        at = first.page.server_date
        if at is None:
            return Finding("Date header", "differs", "there is none, so changes are found by the worklogs' own dates")
        apart = round(abs((at - asked).total_seconds()))
        if apart > SKEW:
            return Finding("clock", "differs", f"{apart:,} s apart from the clock of this machine")
        return Finding("clock", "ok", f"within {SKEW} s of the clock of this machine")

    def _content(self, first: _Seen) -> Iterator[Finding]:
        """Yield what the fields of the worklogs show."""
        items, schema = first.items, self._version.schema
        yield Finding("JSON", "ok" if first.raw else "differs", "" if first.raw else "it has to be repaired")
        rows: list[dict[str, Any]] = first.raw.get(schema.items) or []
        if not items:
            yield Finding("fields", "not seen", "there are no worklogs")
            return
        unknown = sorted({name for worklog in items for name in worklog.extra})
        yield _by("unknown fields", unknown, f"not read: {', '.join(unknown)}")
        sent = {name for row in rows for name in row}
        missing = sorted({name.partition(".")[0] for name in schema.names.values()} - sent) if rows else []
        yield Finding("known fields", "not seen" if missing else "ok", ", ".join(missing))
        offset = self._version.has_offsets(first.response)
        yield _by("dates", offset, "with an offset from UTC")
        states = {worklog.approval_status for worklog in items} - {None}
        odd = sorted(str(state) for state in states if not isinstance(state, ApprovalStatus))
        if not states:
            yield Finding("approval", "not seen", "no worklog has one that can be read")
        else:
            yield attrs.evolve(_by("approval", odd, f"unknown: {', '.join(odd)}"), private=True)

    def _pages(self, first: _Seen, second: _Seen | None) -> Iterator[Finding]:
        if second is None:
            yield Finding("page size", "not seen", "there is one page")
            yield Finding("cursor", "not seen", "there is one page")
            return
        if self._version.smallest_page is None:
            yield Finding("page size", "ok", f"{len(first.items)} worklogs; it cannot be chosen")
        else:
            yield _by("page size", len(first.items) != PAGE, f"{len(first.items)} worklogs, and {PAGE} were asked for")
        again = {worklog.id for worklog in first.items} & {worklog.id for worklog in second.items}
        sent = first.raw.get(self._version.schema.cursor)
        if again:
            name = self._version.cursor_parameter
            yield Finding("cursor", "differs", f"the page behind it is the first again; the parameter was {name}")
        elif first.raw and not isinstance(sent, str):
            where = "is in the links of the page" if sent is None else "is a number"
            yield Finding("cursor", "differs", f"it {where}")
        else:
            yield Finding("cursor", "ok")

    def _order(self, first: _Seen, second: _Seen | None) -> Finding:
        dates = [worklog.date for seen in (first, second) if seen is not None for worklog in seen.items]
        if len(set(dates)) < 2:  # noqa: PLR2004 - one date is in any order
            return Finding("order", "not seen", "the dates are all the same")
        return _by("order", any(later < earlier for earlier, later in pairwise(dates)), "not by ascending date")

    async def _bounds(self, first: _Seen) -> list[Finding]:
        """Return whether the bounds of dates select, and whether both are inclusive; the total is that of a filter."""
        if not first.items:
            return [Finding("bounds of dates", "not seen", "there are no worklogs")]
        day = max(worklog.date for worklog in first.items)
        until = None if self._version.schema.total is None else day.date()
        since = day if until is None else day.date()
        found = await self._list(WorklogFilter(since=since, until=until))
        outside = [each for each in found.items if each.date < day or (until is not None and each.date > day)]
        known = {worklog.id for worklog in first.items if worklog.date == day}
        left_out = found.page.next_cursor is None and not known <= {worklog.id for worklog in found.items}
        detail = "worklogs of other dates are listed" if outside else "worklogs of the bounds themselves are left out"
        findings = [_by("bounds of dates", bool(outside) or left_out, detail)]
        if self._version.has_total:
            total = found.page.total
            wrong = total is None or (found.page.next_cursor is None and total != len(found.items))
            findings.append(_by("total", wrong, "there is none" if total is None else "it is not that of the filter"))
        return findings

    async def _range(self, first: _Seen) -> Finding:
        newest = await self._list(WorklogFilter(descending=True))
        total = first.page.total
        if total is None or not first.items or not newest.items:
            return Finding("worklogs", "not seen", "no number, or no worklogs")
        days = f"{first.items[0].day} to {newest.items[0].day}"
        return Finding("worklogs", "ok", f"{total:,}, from {days}", private=True)

    async def _categories(self, first: _Seen) -> Finding:
        used = {worklog.category_id for worklog in first.items} - {None}
        try:
            known = {category.id for category in await self._client.categories.list()}
        except RequestError as error:
            return Finding("categories", "differs", f"they cannot be listed: {type(error).__name__}")
        if not used:
            return Finding("categories", "not seen", "no worklog of the first page has one")
        return _by("categories", used - known, "worklogs have categories that are not listed")


def _by(what: str, differs: object, detail: str) -> Finding:
    return Finding(what, "differs", detail) if differs else Finding(what, "ok")


def _rate_headers(first: _Seen) -> Finding:
    names = sorted(name for name in first.response.headers if "ratelimit" in name.lower())
    return Finding("rate-limit headers", "ok" if names else "not seen", ", ".join(names))
