"""Go from page to page by hand: `Page.next` and `Page.has_next`."""

from __future__ import annotations

import copy
import datetime as dt
import pickle

import attrs
import pytest

from tracket_async import CursorLoopError, Page, Paginator, ServerError, UsageError, Worklog
from tracket_async.emulator.faults import Status

DAY = dt.datetime(2024, 5, 6, tzinfo=dt.UTC)


async def test_from_page_to_page_every_worklog_comes_once(running):
    async with running(sample=250, page_size=100) as (_, client):
        page = await client.worklogs.list()
        found = list(page.items)
        while page.has_next:
            page = await page.next()
            found += page.items
        assert [w.id for w in found] == [w.id async for w in client.worklogs.list()]
        with pytest.raises(UsageError, match=r"last page.*has_next"):
            await page.next()


async def test_a_page_of_an_iteration_knows_its_next_one_with_and_without_reading_ahead(running):
    async with running(sample=250, page_size=100) as (_, client):
        for read_ahead in (0, 1):
            paginator = client.worklogs.list(read_ahead=read_ahead)
            pages = [page async for page in paginator.pages()]
            again = await pages[0].next()
            assert attrs.evolve(again, server_date=None) == attrs.evolve(pages[1], server_date=None)


async def test_the_next_page_is_filtered_as_the_first(running):
    async with running(sample=350, page_size=100) as (_, client):
        last = [w async for w in client.worklogs.list()][220].date
        page = await client.worklogs.list(until=last)
        days = {w.date for w in page.items}
        while page.has_next:
            page = await page.next()
            days |= {w.date for w in page.items}
        assert max(days) <= last


async def test_a_page_that_cannot_be_fetched_says_its_cursor_and_can_be_tried_again(running):
    async with running(sample=250, page_size=100) as (emulator, client):
        page = await client.worklogs.list()
        emulator.faults.add(Status(501), method="GET", nth=1)
        with pytest.raises(ServerError) as caught:
            await page.next()
        assert caught.value.cursor == page.next_cursor
        assert len((await page.next()).items) == 100


async def test_rows_that_cannot_be_read_are_handed_over_for_each_page(hostile, connect):
    hostile.overlay = {"wl-0150": {"minutes": "many"}}
    bad = []
    async with connect() as client:
        page = await client.worklogs.list(on_bad_row=lambda _, error: bad.append(error.worklog_id))
        assert bad == []
        await page.next()
    assert bad == ["wl-0150"]


async def test_a_cursor_that_leads_to_itself_is_an_error():
    async def fetch(cursor):
        return Page(items=[Worklog(id="1", date=DAY, minutes=1)], next_cursor="same")

    page = await Paginator(fetch)
    with pytest.raises(CursorLoopError):
        await page.next()


async def test_a_copy_of_a_page_is_equal_and_knows_no_client(running):
    async with running(sample=250, page_size=100) as (_, client):
        page = await client.worklogs.list()
        for other in (pickle.loads(pickle.dumps(page)), copy.deepcopy(page), attrs.evolve(page)):
            assert other == page
            assert other.has_next
            with pytest.raises(UsageError, match="or is a copy"):
                await other.next()
        assert set(attrs.asdict(page, recurse=False)) == {name.name for name in attrs.fields(Page)}
