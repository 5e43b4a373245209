"""A file of worklogs, an emulator, and imports of the one into the other."""

from __future__ import annotations

import asyncio
import collections
import json
from contextlib import asynccontextmanager

import attrs
import pytest

from tracket_async import RetryPolicy, TracketClient
from tracket_async._http.limits import Clock
from tracket_async.emulator import Emulator
from tracket_async.importer.journal import Journal, JournalHeader, journal_path
from tracket_async.importer.records import ReadOptions
from tracket_async.importer.rows import InputFile, content_of, make_new_worklog
from tracket_async.importer.run import ImportRun, ImportSettings
from tracket_async.importer.source import InputSource

HASTE = RetryPolicy(attempts=6, wait_initial=0, wait_initial_rate_limited=0, wait_jitter=0)


async def at_once(_seconds):
    """No time passes, and everybody else has a turn."""
    await asyncio.sleep(0)


@pytest.fixture(params=["1.0", "2.0"])
def api(request):
    return request.param


@pytest.fixture
def route(api):
    """The route of the collection of worklogs."""
    return "/worklogs" if api == "1.0" else "/timeEntries"


@pytest.fixture
def rows():
    """Makes rows that differ from each other."""

    def make(number, **values):
        return [
            {"item_id": "i", "user_id": "u", "date": f"2024-05-{1 + n % 28:02}", "minutes": n + 0.5, **values}
            for n in range(number)
        ]

    return make


@attrs.frozen
class File:
    """What is imported, again and again."""

    path: object
    api: str

    @property
    def journal(self):
        return journal_path(self.path)

    @property
    def entries(self):
        return [json.loads(line) for line in self.journal.read_bytes().splitlines()[1:]]

    @asynccontextmanager
    async def opened(self, emulator, *, settings=None, client=None, **more):
        """An import that is ready to run."""
        chosen = {"retry": HASTE} | (client or {})
        async with TracketClient.from_env(emulator.env(self.api), **chosen) as opened:
            with InputSource(str(self.path)) as source:
                input_file = InputFile(
                    source=source,
                    options=ReadOptions(format="ndjson"),
                    make=make_new_worklog,
                    api_version=opened.api_version,
                )
                found, content = input_file.validate(), source.fingerprint()
                assert found.bad == []

                def contents():
                    return ((row.line, content_of(row.item, opened.api_version)) for row in input_file.rows())

                header = JournalHeader(
                    size=content.size,
                    sha256=content.sha256,
                    format="ndjson",
                    raw=False,
                    api=self.api,
                    base_url=opened.base_url,
                    account=opened.account,
                )
                async with Journal(self.journal, header, contents) as journal:
                    yield ImportRun(
                        opened,
                        input_file,
                        journal,
                        total=found.rows,
                        settings=ImportSettings(**{"concurrency": 4, **(settings or {})}),
                        **{"clock": Clock(sleep=at_once), **more},
                    )

    async def load(self, emulator, *, client=None, on_row=lambda _new: None, clock=None, **settings):
        """One run, and what came of it."""
        clock = clock or Clock(sleep=at_once)
        async with self.opened(emulator, settings=settings, client=client, on_row=on_row, clock=clock) as work:
            await work.run()
            return work.report()


@pytest.fixture
def file(tmp_path, api):
    """Makes a file of these rows."""

    def make(rows):
        path = tmp_path / "rows.ndjson"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return File(path, api)

    return make


@pytest.fixture
def contents():
    """What of the server's worklogs, or of rows, says which they are, and how often each is there."""

    def count(worklogs):
        return collections.Counter(
            (
                one.get("worklogDate", one.get("date"))[:10],
                float(one.get("worklogMinutes", one.get("minutes"))),
                one.get("description"),
            )
            for one in worklogs
        )

    return count


@pytest.fixture
async def emulator():
    async with Emulator() as emulator:
        yield emulator


@pytest.fixture
def posts(route):
    """How many creates a server has received."""
    return lambda emulator: emulator.request_log.count(method="POST", route=route)
