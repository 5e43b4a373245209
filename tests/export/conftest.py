"""Worklogs, stores and servers for the tests of the export."""

from __future__ import annotations

import datetime as dt

import pytest

from tracket_async.export.request import ExportRequest
from tracket_async.export.store import Store
from tracket_async.export.table import arrow_batch, rows_of
from tracket_async.models import ApprovalStatus, Worklog, WorklogFilter

FIRST = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def make_worklog():
    """A worklog by its number; its date is that many hours after 2024 began."""

    def make(number, **changes):
        standard = {
            "id": f"wl-{number:05}",
            "user_id": "u-1",
            "date": FIRST + dt.timedelta(hours=number),
            "minutes": float(number % 480),
            "item_id": f"item-{number % 7}",
            "description": f"Work no. {number}",
            "category_id": None,
            "created_date": FIRST,
            "updated_date": None,
            "approval_status": ApprovalStatus.OPEN,
            "custom_fields": {"b": "2", "a": "1"} if number % 2 else {},
        }
        return Worklog(**standard | changes)

    return make


@pytest.fixture
def request_2024():
    return ExportRequest(
        api="2.0", origin="http://127.0.0.1:1", filter=WorklogFilter(since=dt.date(2024, 1, 1), until=None)
    )


@pytest.fixture
def store(tmp_path, request_2024):
    with Store(tmp_path / "store.duckdb", request=request_2024) as opened:
        yield opened


@pytest.fixture
def batch_of():
    """Worklogs as an Arrow batch."""
    return lambda worklogs: arrow_batch(rows_of(worklogs))


@pytest.fixture
def settled(store, make_worklog, batch_of):
    """A store with the worklogs of the given numbers, or the given worklogs."""

    def settle(worklogs):
        made = [make_worklog(one) if isinstance(one, int) else one for one in worklogs]
        if made:
            store.append([batch_of(made)], {})
        store.settle()
        return store

    return settle


@pytest.fixture
def ids_in():
    """The ids in a store, sorted."""
    return lambda store: [id_ for (id_,) in store.database.rows("SELECT id FROM worklogs ORDER BY id")]
