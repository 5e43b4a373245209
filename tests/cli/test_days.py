"""The day of a worklog through the commands: the same for every reader, wherever the command and the reader run."""

from __future__ import annotations

import collections
import itertools
import json
import time

import duckdb
import pytest

from tracket_async.cli.demo import summary_of
from tracket_async.export.store import Store

# Two hours around midnight in UTC, at the turn of a month; API 2.0 has only days.
MOMENTS = ["2024-02-29T07:30:00.000Z", "2024-02-29T23:30:00.000Z", "2024-03-01T00:30:00.000Z"]
DAYS = {
    ("1.0", "UTC"): ["2024-02-29", "2024-02-29", "2024-03-01"],
    ("1.0", "Europe/Amsterdam"): ["2024-02-29", "2024-03-01", "2024-03-01"],
    ("1.0", "America/Los_Angeles"): ["2024-02-28", "2024-02-29", "2024-02-29"],
    ("2.0", "UTC"): ["2024-02-29", "2024-02-29", "2024-03-01"],
    ("2.0", "Europe/Amsterdam"): ["2024-02-29", "2024-02-29", "2024-03-01"],
    ("2.0", "America/Los_Angeles"): ["2024-02-29", "2024-02-29", "2024-03-01"],
}
READERS = {
    "out.parquet": "read_parquet('{}')",
    "out.csv": "read_csv('{}')",
    "out.ndjson": "read_json('{}')",
    "out.duckdb": "made.worklogs",
    "store.duckdb": "kept.worklogs",
}
# The time zone of --tz, and the one in which the command runs.
PLACES = [
    *(("1.0", tz, "America/Los_Angeles") for tz in ("UTC", "Europe/Amsterdam", "America/Los_Angeles")),
    ("1.0", "America/Los_Angeles", "Pacific/Kiritimati"),
    ("2.0", "America/Los_Angeles", "America/Los_Angeles"),
    ("2.0", "Europe/Amsterdam", "Pacific/Kiritimati"),
]


@pytest.fixture
def here(monkeypatch):
    """Puts this process into a time zone."""

    def move(zone):
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(("api", "tz", "place"), PLACES)
def test_a_day_is_that_of_the_time_zone_for_every_reader(tracket, serve, seed, tmp_path, here, api, tz, place):
    here(place)
    serve(api, seed=[seed(number, worklogDate=moment) for number, moment in enumerate(MOMENTS)])
    store = tmp_path / "store.duckdb"
    files = [argument for name in READERS if name != store.name for argument in ("-o", tmp_path / name)]
    result = tracket("export", *files, "--store", store, "--tz", tz)
    assert result.code == 0, result.err
    expected = DAYS[api, tz]
    months = collections.Counter(day[:7] for day in expected)
    with duckdb.connect() as database:
        database.execute(f"ATTACH '{tmp_path / 'out.duckdb'}' AS made (READ_ONLY)")
        database.execute(f"ATTACH '{store}' AS kept (READ_ONLY)")
        for session, (name, reader) in itertools.product(("UTC", "America/Los_Angeles"), READERS.items()):
            database.execute(f"SET TimeZone = '{session}'")
            table = reader.format(tmp_path / name)
            found = database.sql(f"SELECT CAST(day AS VARCHAR) FROM {table} ORDER BY id").fetchall()
            assert [day for (day,) in found] == expected, (session, name)
            found = database.sql(f"SELECT strftime(day, '%Y-%m'), count(*) FROM {table} GROUP BY 1").fetchall()
            assert dict(found) == months, (session, name)
    with Store(store) as opened:
        assert set(summary_of(opened).months) == months.keys()
    streamed = tracket("export", "--columns=day", "--tz", tz).lines
    assert sorted(json.loads(line)["day"] for line in streamed) == sorted(expected)
