"""Exports, syncs, creates and imports against a server that deviates at random, compared with the truth; and a soak.

A failure names the seed of its deviations. Requests are concurrent, so a seed does not give the same run each time.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import functools
import json
import random
from collections import Counter

import pytest

from tracket_async import (
    NewWorklog,
    RetryPolicy,
    TracketClient,
)
from tracket_async._http.limits import Clock
from tracket_async.cli import main

QUICK = Clock(sleep=lambda seconds: asyncio.sleep(seconds / 200))
AT_ONCE = RetryPolicy(wait_initial=0, wait_initial_rate_limited=0, wait_jitter=0)
MARCH = dt.date(2024, 3, 1)
BOTH = pytest.mark.parametrize("api", ["1.0", "2.0"])


def new(number=1, **changes):
    return NewWorklog(
        **{"item_id": "1", "user_id": "2", "date": MARCH, "minutes": 30, "description": f"new {number}"} | changes
    )


def draw(chance, api, server):
    """Draw switches with which no worklog may be lost, doubled or changed; and the rows."""
    maybe = lambda share: chance.random() < share  # noqa: E731
    number = chance.choice([0, 1, 99, 100, 101, 300, 700])
    switches = {
        "rows": server.make_rows(number, a_day=chance.choice([1, 5, 20])),
        "page_size": chance.choice([9, 25, 100]),
        "refused_cursors": {chance.randint(1, 60)} if maybe(0.5) else set(),
        "refused_status": chance.choice([400, 410]),
        "fail": (lambda _: chance.choice([500, 502, 503, 504, 520, 429]) if maybe(0.05) else None),
        "cursor_as": chance.choice([str, int, float]),
        "overlay": {"*": {"colour": {"name": "red"}}} if maybe(0.3) else {},
        "encode": (lambda body: b"\xef\xbb\xbf" + body) if maybe(0.1) else bytes,
    }
    if maybe(0.3):
        switches["keep_alive"] = chance.choice([0.02, 1])
    if maybe(0.2):
        switches["headers"] = {"X-Padding": "x" * 20_000}
    if api == "1.0":
        switches["order"] = chance.choice(["ascending", "ascending", "descending", "unsorted"])
    else:
        switches |= {"total": chance.choice([lambda true, _: true, lambda true, _: str(true), lambda *_: None])}
        if maybe(0.3):
            switches |= {"offset": chance.choice(["Z", "-08:00", "+02:00", "+14:00"]), "by_instant": maybe(0.5)}
        if maybe(0.3):
            switches["links"] = chance.choice(["_links.object", "_links.string", "links.object", "links.string"])
        if maybe(0.3):
            switches["ignore_dates"] = True
    return switches


async def exported(server, api, chance):
    """Every worklog that the library's list and export give, as id and day."""
    retry = RetryPolicy(attempts=8, wait_initial=0, wait_initial_rate_limited=0, wait_jitter=0)
    async with TracketClient.from_env(server.env(api), retry=retry, clock=QUICK) as client:
        walk = client.worklogs.export(concurrency=chance.choice([1, 4, 16]), ordered=server.order == "ascending")
        return sorted([(worklog.id, worklog.day) async for worklog in walk])


def export_at_random(hostile_server, api, seed):
    chance = random.Random(seed)
    with hostile_server(**draw(chance, api, hostile_server)) as server:
        truth = sorted((row.id, row.date.date()) for row in server.rows.values())
        assert asyncio.run(exported(server, api, chance)) == truth, f"seed {seed}"


@BOTH
@pytest.mark.parametrize("seed", range(6))
def test_an_export_under_random_deviations_is_the_truth(hostile, api, seed):
    export_at_random(type(hostile), api, seed)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@BOTH
def test_many_exports_under_random_deviations_are_the_truth(hostile, api):
    for seed in range(100, 600):
        export_at_random(type(hostile), api, seed)


def create_at_random(hostile_server, api, seed):
    """Creates many while answers are lost, refused, brief and late; what the outcomes say is held against the rows."""
    chance = random.Random(seed)
    posts = lambda request: request.method == "POST"  # noqa: E731
    switches = {
        "fail": lambda request: chance.choice([429, 500, 503]) if posts(request) and chance.random() < 0.05 else None,
        "change_text": chance.choice([str, str.strip]),
        "created_as": chance.choice(["full", "id", "location", "empty"]),
        "lose_posts": chance.choice([0, 3]),
        "no_created": chance.random() < 0.3,
    }
    wanted = [new(number, description=f" {seed}/{number} ") for number in range(60)]

    async def create(server):
        async with TracketClient.from_env(server.env(api), retry=AT_ONCE, clock=QUICK) as client:
            return [each async for each in client.worklogs.create_many(wanted, on_error="collect", concurrency=8)]

    with hostile_server(**switches) as server:
        outcomes = asyncio.run(create(server))
        rows = Counter(row.description.strip() for row in server.rows.values())
    for outcome in outcomes:
        found = rows[outcome.item.description.strip()]
        assert found <= 1, f"seed {seed}: twice"
        assert outcome.status in ("ambiguous", "ok") if found else outcome.status != "ok", f"seed {seed}: {outcome}"


@BOTH
@pytest.mark.parametrize("seed", range(6))
def test_creates_under_random_deviations_are_what_their_outcomes_say(hostile, api, seed):
    create_at_random(type(hostile), api, seed)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@BOTH
def test_many_creates_under_random_deviations_are_what_their_outcomes_say(hostile, api):
    for seed in range(100, 300):
        create_at_random(type(hostile), api, seed)


@pytest.fixture
def command(monkeypatch, capsys):
    """Run ``tracket`` in this process against a server; gives the exit code, the output and the messages."""
    patient = RetryPolicy(attempts=8, wait_initial=0, wait_initial_rate_limited=0, wait_jitter=0)
    monkeypatch.setattr(
        TracketClient, "from_env", functools.partial(TracketClient.from_env, retry=patient, clock=QUICK)
    )
    import_file = pytest.importorskip("tracket_async.cli.import_file", exc_type=ImportError)  # it needs the extra cli
    monkeypatch.setattr(import_file, "ImportSettings", functools.partial(import_file.ImportSettings, wait=0.01))

    def run(server, api, *arguments):
        for name, value in server.env(api).items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


def export_by_command(command, hostile_server, api, seed, folder):
    """Export under random deviations, and once more, to a store and a file; what is in them is the truth."""
    chance = random.Random(seed)
    file, store = folder / f"{seed}.ndjson", folder / f"{seed}.duckdb"
    with hostile_server(**draw(chance, api, hostile_server)) as server:
        expected = truth(server)
        code, _, err = command(server, api, "export", "--output", file, "--store", store, "--progress", "off")
    assert code == 0, f"seed {seed}: {err}"
    assert told(file) == expected, f"seed {seed}"


@BOTH
@pytest.mark.parametrize("seed", range(3))
def test_an_exported_file_under_random_deviations_is_the_truth(command, hostile, api, seed, tmp_path):
    pytest.importorskip("duckdb")
    export_by_command(command, type(hostile), api, seed, tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@BOTH
def test_many_exported_files_under_random_deviations_are_the_truth(command, hostile, api, tmp_path):
    for seed in range(100, 300):
        export_by_command(command, type(hostile), api, seed, tmp_path)


def told(file):
    """Return what a file tells of each worklog."""
    rows = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return sorted((row["id"], row["day"], row["minutes"]) for row in rows)


def truth(server):
    return sorted((row.id, row.date.date().isoformat(), row.minutes) for row in server.rows.values())


def sync_by_command(command, hostile_server, seed, folder):
    """Sync a store of 2.0 after edits, moves, deletions and new worklogs, three times; the file is the truth."""
    chance = random.Random(seed)
    file, store = folder / f"{seed}.ndjson", folder / f"{seed}.duckdb"
    switches = draw(chance, "2.0", hostile_server) | {"clock_ahead": chance.choice([0, 86_400, -86_400])}
    del switches["total"]  # without the count nobody can know of a deletion
    with hostile_server(**switches) as server:
        for turn in range(4):
            code, _, err = command(server, "2.0", "sync", store, "--output", file, "--progress", "off")
            assert code == 0, f"seed {seed}, turn {turn}: {err}"
            assert told(file) == truth(server), f"seed {seed}, turn {turn}"
            change_rows(chance, server, turn)


def change_rows(chance, server, turn):
    """Change, move and delete up to eight worklogs each, and add some."""
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    rows = chance.sample(sorted(server.rows), min(24, len(server.rows)))
    for ident in rows[:8]:
        server.add(dataclasses.replace(server.rows[ident], minutes=chance.randrange(1000), updated=now))
    for ident in rows[8:16]:
        row = server.rows[ident]
        server.add(dataclasses.replace(row, date=row.date + chance.randint(-40, 40) * dt.timedelta(1), updated=now))
    for ident in rows[16 : chance.randint(16, 24)]:
        del server.rows[ident]
    fresh = server.make_rows(chance.randrange(5), created=now)
    server.add(*(dataclasses.replace(row, id=f"{row.id}-{turn}") for row in fresh))


@pytest.mark.parametrize("seed", range(3))
def test_a_sync_under_random_deviations_is_the_truth(command, hostile, seed, tmp_path):
    pytest.importorskip("duckdb")
    sync_by_command(command, type(hostile), seed, tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_many_syncs_under_random_deviations_are_the_truth(command, hostile, tmp_path):
    for seed in range(100, 200):
        sync_by_command(command, type(hostile), seed, tmp_path)


def import_by_command(command, hostile_server, api, seed, folder):
    """Import under random deviations until all is there; every row of the file is on the server once."""
    chance = random.Random(seed)
    lines = [{"item_id": "1", "user_id": "2", "date": "2024-03-01", "minutes": 30 + number} for number in range(40)]
    file = folder / f"{seed}.ndjson"
    file.write_text("".join(f"{json.dumps(line | {'description': f' {n} '})}\n" for n, line in enumerate(lines)))
    switches = {
        "fail": lambda _: chance.choice([429, 500, 503]) if chance.random() < 0.05 else None,
        "change_text": chance.choice([str, str.strip]),
        "created_as": chance.choice(["full", "id", "location", "empty"]),
        "lose_posts": chance.choice([0, 3]),
    }
    with hostile_server(**switches) as server:
        for turn in range(5):
            again = ["--resend-ambiguous"] if turn else []
            code, _, err = command(server, api, "import", file, "--progress", "off", *again)
            if code == 0:
                break
        assert code == 0, f"seed {seed}: {err}"
        rows = Counter(int(row.description) for row in server.rows.values())
    assert rows == Counter(range(40)), f"seed {seed}"


@BOTH
@pytest.mark.parametrize("seed", range(3))
def test_an_import_under_random_deviations_ends_with_every_row_once(command, hostile, api, seed, tmp_path):
    import_by_command(command, type(hostile), api, seed, tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@BOTH
def test_many_imports_under_random_deviations_end_with_every_row_once(command, hostile, api, tmp_path):
    for seed in range(100, 200):
        import_by_command(command, type(hostile), api, seed, tmp_path)
