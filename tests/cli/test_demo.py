"""``tracket demo``, its emulator, and its summary."""

from __future__ import annotations

import asyncio
import builtins
import csv
import datetime as dt
import json
import os
import shlex
import signal
import stat
import sys

import duckdb
import pyarrow.parquet as pq
import pytest

from tracket_async.cli import demo
from tracket_async.cli.demo import Summary, bars
from tracket_async.errors import TracketError
from tracket_async.models import Worklog


def test_the_demo_exports_and_sums_up_what_it_exported(tracket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = tracket("demo", "--worklogs", 400)
    assert result.code == 0
    folder = tmp_path / "tracket-demo"
    ndjson = [json.loads(line) for line in (folder / "worklogs.ndjson").read_text(encoding="utf-8").splitlines()]
    with (folder / "worklogs.csv").open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    assert len(ndjson) == 400
    assert pq.read_table(folder / "worklogs.parquet").column("id").to_pylist() == [one["id"] for one in ndjson]
    assert [one["id"] for one in records] == [one["id"] for one in ndjson]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in folder.iterdir())

    hours = sum(one["minutes"] for one in ndjson) / 60
    people = len({one["user_id"] for one in ndjson})
    assert result.lines[0] == f"400 worklogs, {hours:,.0f} hours, {people} people"
    months = {one["date"][:7] for one in ndjson}
    assert {line.split()[0] for line in result.lines if line.startswith("  20")} == months
    assert "█" in result.out
    assert "\x1b" not in result.out + result.err
    assert max(len(line) for line in result.lines if "import duckdb" not in line) <= 120
    assert result.lines[-1] == "To see charts of it all, open tracket-demo/report.html in a browser."
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<h1>Hours of a made-up company</h1>" in page
    assert "400 worklogs, 20" in page
    assert '"Development"' in page
    assert len(result.err.splitlines()) == 3
    assert result.err.endswith("; verified: as many as the server counts.\n")


def test_the_categories_have_names(tracket, tmp_path):
    out = tracket("demo", "--worklogs", 200, "--folder", tmp_path).lines
    start = next(number for number, line in enumerate(out) if line.startswith("Hours") and "categor" in line)
    names = [line.split()[0] for line in out[start + 1 : start + 4]]
    assert all(name.isalpha() for name in names)


def test_a_folder_that_is_there_is_used_again(tracket, tmp_path):
    for number in (30, 20):
        assert tracket("demo", "--worklogs", number, "--folder", tmp_path).code == 0
    assert len((tmp_path / "worklogs.ndjson").read_bytes().splitlines()) == 20
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("report.html", "worklogs.csv", "worklogs.ndjson", "worklogs.parquet")
    ]


def test_what_it_proposes_to_try_next_works(tracket, tmp_path, monkeypatch, serve):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tracket-demo").mkdir()
    without = [line.strip() for line in demo._next(demo.FOLDER, 20) if line.startswith("  ")]
    assert not any("duckdb" in line for line in without)
    (tmp_path / "tracket-demo" / "worklogs.parquet").touch()
    _question, *lines = [line.strip() for line in demo._next(demo.FOLDER, 20) if line.startswith("  ")]
    assert lines[:-1] == without
    assert lines[0].startswith("tracket emulator --sample 20 --env-file ")
    served = serve(sample=20)
    for name in ("TRACKET_BASE_URL", "TRACKET_API", "TRACKET_TOKEN"):
        monkeypatch.delenv(name)
    (tmp_path / "tracket-demo" / "emulator.env").write_text(
        "".join(f"{name}={value}\n" for name, value in served.env.items()), encoding="utf-8"
    )
    assert len(lines) == 6
    for line in lines[1:]:
        program, *arguments = shlex.split(line)
        assert program == "tracket"
        result = tracket(*arguments)
        assert result.code == 0, (line, result.err)
    assert (tmp_path / "since.csv").exists()
    assert (tmp_path / "tracket-demo" / "company.duckdb").exists()


def test_its_question_to_the_parquet_file_is_answered(tracket, tmp_path, monkeypatch):
    """Also in a folder whose name a shell or DuckDB would read otherwise."""
    folder = tmp_path / 'it\'s "mine"'
    out = tracket("demo", "--worklogs", 50, "--folder", folder).lines
    (line,) = [line for line in out if "import duckdb" in line]
    program, option, code = shlex.split(line)
    assert (program, option) == (sys.executable, "-c")
    answered = []
    monkeypatch.setattr(builtins, "print", answered.append)
    exec(code, {})
    hours = dict(answered[0].fetchall())
    with (folder / "worklogs.ndjson").open(encoding="utf-8") as file:
        worklogs = [json.loads(line) for line in file]
    assert sum(hours.values()) == pytest.approx(sum(one["minutes"] for one in worklogs) / 60)
    assert set(hours) == {one["user_id"] for one in worklogs}
    assert isinstance(answered[0], duckdb.DuckDBPyRelation)


def test_without_the_extra_it_leaves_what_it_can_and_says_the_same(tracket, tmp_path, no_extra):
    both = [tracket("demo", "--worklogs", 60, "--folder", tmp_path / "with")]
    with no_extra():
        both.append(tracket("demo", "--worklogs", 60, "--folder", tmp_path / "without"))
    assert [one.code for one in both] == [0, 0]
    assert sorted(path.name for path in (tmp_path / "without").iterdir()) == ["worklogs.csv", "worklogs.ndjson"]
    assert "No Parquet file is written: " in both[1].err
    assert "[export]" in both[1].err
    summaries = [one.lines[: one.lines.index("Hours a month")] for one in both]
    assert summaries[0] == summaries[1]
    ids = [
        sorted(json.loads(line)["id"] for line in (tmp_path / name / "worklogs.ndjson").read_text("utf-8").splitlines())
        for name in ("with", "without")
    ]
    assert ids[0] == ids[1]


@pytest.mark.parametrize(("encoding", "mark"), [("utf-8", "█"), ("ascii", "#"), ("latin-1", "#")])
def test_bars_are_made_of_what_the_terminal_can_say(terminal, encoding, mark):
    terminal("stdout", encoding=encoding)
    assert demo._mark() == mark


def test_a_folder_that_the_disk_has_no_room_for_is_an_error(tracket, tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(demo.Path, "mkdir", refuse)
    result = tracket("demo", "--folder", tmp_path / "x")
    assert result.code == 1
    assert "cannot be created: No space left on device" in result.err


@pytest.fixture
def started(monkeypatch):
    """The processes that were started."""
    processes = []
    real = asyncio.create_subprocess_exec

    async def create(*args, **kwargs):
        processes.append(await real(*args, **kwargs))
        return processes[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", create)
    return processes


def is_gone(process):
    """Ended and waited for, so that not even a zombie is left."""
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
    return process.returncode is not None


async def test_it_gives_its_settings_and_ends_after_the_with(started):
    async with demo.running_emulator("--sample", "10") as settings:
        assert settings["TRACKET_BASE_URL"].startswith("http://127.0.0.1:")
        assert settings.keys() >= {"TRACKET_CLIENT_ID", "TRACKET_CLIENT_SECRET", "TRACKET_ACCOUNT_ID"}
        assert started[0].returncode is None
    assert is_gone(started[0])
    assert started[0].returncode == 0


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, asyncio.CancelledError])
async def test_it_ends_whatever_happens_in_the_with(started, error):
    async def interrupted():
        async with demo.running_emulator():
            raise error

    with pytest.raises(error):
        await interrupted()
    assert is_gone(started[0])


async def test_it_ends_when_we_are_cancelled_while_it_starts(started, monkeypatch):
    waiting = asyncio.Event()

    async def never(_process):
        waiting.set()
        await asyncio.Event().wait()

    async def use():
        async with demo.running_emulator():
            pass

    monkeypatch.setattr(demo, "_listens", never)
    task = asyncio.create_task(use())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert is_gone(started[0])


async def test_what_it_says_when_it_does_not_start_is_told(started):
    with pytest.raises(TracketError, match=r"The emulator does not start: tracket emulator: .*count"):
        async with demo.running_emulator("--sample", "-1"):
            pass
    assert is_gone(started[0])


@pytest.fixture
def scripted(monkeypatch, started):
    """Starts Python code in place of the emulator."""
    real = asyncio.create_subprocess_exec

    def script(code):
        async def create(program, *_args, **kwargs):
            return await real(program, "-c", code, **kwargs)

        monkeypatch.setattr(asyncio, "create_subprocess_exec", create)

    return script


async def test_a_process_that_says_nothing_is_given_up(scripted, monkeypatch):
    monkeypatch.setattr(demo, "PATIENCE", 0.0)
    scripted("import time; time.sleep(60)")
    with pytest.raises(TracketError, match="The emulator does not start: it printed nothing"):
        async with demo.running_emulator():
            pass


async def test_a_process_that_does_not_end_when_asked_is_killed(scripted, monkeypatch, started):
    monkeypatch.setattr(demo, "GRACE", 0.0)
    monkeypatch.setattr(demo, "_text", lambda _path: "")
    scripted("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); signal.pause()")
    async with demo.running_emulator():
        pass
    assert is_gone(started[0])
    assert started[0].returncode == -9


def test_the_end_of_the_input_is_the_end_of_the_process(monkeypatch):
    sent = []
    monkeypatch.setattr(os, "kill", lambda *said: sent.append(said))
    theirs, ours = os.pipe()
    os.write(ours, b"anything")
    os.close(ours)
    demo.terminate_at_end(theirs)
    os.close(theirs)
    assert sent == [(os.getpid(), signal.SIGTERM)]


def worklog(day, minutes, *, user="1", category=None):
    date = dt.datetime.combine(dt.date.fromisoformat(day), dt.time(), dt.UTC)
    return Worklog(id=day, user_id=user, date=date, minutes=minutes, category_id=category)


def test_worklogs_hours_people_months_and_categories_are_counted():
    summary = Summary()
    summary.counting([worklog("2024-01-31", 90), worklog("2024-02-01", 30, user="2", category="a")])()
    summary.counting([worklog("2024-01-01", 60, category="a")])()
    assert list(summary.lines({"a": "Support"}, width=60, mark="#")) == [
        "3 worklogs, 3 hours, 2 people",
        "",
        "Hours a month",
        f"  2024-01           2.5  {'#' * 35}",
        f"  2024-02           0.5  {'#' * 7}",
        "",
        "Hours a category",
        f"  (none)            1.5  {'#' * 35}",
        f"  Support           1.5  {'#' * 35}",
    ]


def test_a_summary_counts_a_page_when_it_is_told_to():
    summary, worklogs = Summary(), [worklog("2024-01-31", 90), worklog("2024-02-01", 30, user="2", category="a")]
    count = summary.counting(worklogs)
    assert vars(summary) == vars(Summary())
    worklogs.clear()
    count()
    assert (summary.worklogs, summary.minutes, summary.people) == (2, 120, {"1", "2"})


def test_without_a_worklog_there_is_nothing_to_draw():
    assert list(Summary().lines({}, width=60, mark="#")) == ["0 worklogs, 0 hours, 0 people"]


def test_only_the_largest_categories_are_named_and_a_category_without_a_name_by_its_id():
    summary = Summary()
    summary.counting([worklog("2024-01-01", number, category=f"c{number}") for number in range(1, 7)])()
    lines = list(summary.lines({"c6": "Six\x1b", "c5": None}, width=60, mark="#"))
    assert lines[5] == "Hours in the 5 largest categories"
    assert [line.split()[0] for line in lines[6:]] == ["Six\\u001b", "c5", "c4", "c3", "c2"]


def test_minutes_add_up_without_drifting():
    summary = Summary()
    for _ in range(100):
        summary.counting([worklog("2024-01-01", 0.1)] * 100)()
    assert abs(summary.minutes - 1000) < 1e-9


def test_the_longest_bar_fills_the_width_and_nothing_worked_has_no_bar():
    lines = list(bars([("a", 60), ("b", 30), ("c", 0)], width=60, mark="#"))
    assert [line.count("#") for line in lines] == [35, 18, 0]
    assert len(lines[0]) == 60
    assert not lines[2].endswith(" ")


def test_a_narrow_terminal_still_has_bars():
    assert next(iter(bars([("a", 60)], width=1, mark="#"))).count("#") == 10


def test_no_row_and_no_minutes_are_no_error():
    assert list(bars([], width=60, mark="#")) == []
    assert "#" not in next(iter(bars([("a", 0)], width=60, mark="#")))
