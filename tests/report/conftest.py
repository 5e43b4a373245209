"""Worklogs, and stores and export files of them, for the tests of the report."""

from __future__ import annotations

import datetime as dt

import pytest

from tracket_async._api.fast import row_of
from tracket_async.export.formats import FileOptions, format_of
from tracket_async.export.store import ExportRequest, Store
from tracket_async.export.text import cells_of, ndjson_encoder
from tracket_async.export.writers import write_file
from tracket_async.frames import arrow_batch
from tracket_async.models import Worklog


@pytest.fixture
def work():
    """A worklog of a day, or of a moment; its id is its number."""
    numbers = iter(range(10_000))

    def make(date="2026-03-02", minutes=60, billable=None, **fields):
        at = dt.datetime.fromisoformat(date if "T" in date else f"{date}T00:00:00+00:00")
        standard = {"id": f"wl-{next(numbers):04}", "user_id": "u-1", "approval_status": "approved"}
        return Worklog(**standard | {"date": at, "minutes": float(minutes), "billable_minutes": billable} | fields)

    return make


@pytest.fixture
def store_of(tmp_path):
    """A store with these worklogs, complete unless its state says otherwise; its path."""

    def make(worklogs, *, api="2.0", tz=None, state="done", name="store.duckdb"):
        path = tmp_path / name
        path.unlink(missing_ok=True)
        with Store(path, request=ExportRequest(api=api, origin="http://127.0.0.1:1", account="7")) as store:
            if worklogs:
                store.append([arrow_batch([row_of(worklog) for worklog in worklogs])], {})
            if state != "fetching":
                store.deduplicate()
                store.set_meta(state=state)
            if tz is not None:
                store.set_tz(tz)
        return path

    return make


@pytest.fixture
def file_of(store_of, tmp_path):
    """An export file with these worklogs; its format is the ending of its name."""

    def make(worklogs, ending="parquet", *, name=None, options=None, columns=None, **settings):
        path = tmp_path / (name or f"worklogs.{ending}")
        source = store_of(worklogs, name=f"of-{path.name}.store", **settings)
        with Store(source) as store:
            write_file(store, path, format_of(path), FileOptions(columns=columns, **options or {}))
        return path

    return make


@pytest.fixture
def lines_of(tmp_path):
    """A file of NDJSON with these worklogs: quicker than a store."""

    def make(worklogs):
        path = tmp_path / "worklogs.ndjson"
        path.write_bytes(ndjson_encoder()(cells_of(worklogs)))
        return path

    return make
