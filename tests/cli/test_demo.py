"""``tracket demo``: an export that anybody can watch."""

from __future__ import annotations

import builtins
import csv
import json
import shlex
import stat

import duckdb
import pyarrow.parquet as pq
import pytest

from tracket_async.cli import demo as module


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
    assert max(len(line) for line in result.lines if not line.startswith("  python")) <= 120
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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["worklogs.csv", "worklogs.ndjson", "worklogs.parquet"]


def test_what_it_proposes_to_try_next_works(tracket, tmp_path, monkeypatch, serve):
    monkeypatch.chdir(tmp_path)
    lines = [line.strip() for line in module._next(module.FOLDER, 20) if line.startswith("  ")]
    assert not any(line.startswith("python") for line in lines)  # there is no Parquet file
    assert lines[0].startswith("tracket emulator --sample 20 --env-file ")
    served = serve(sample=20)
    for name in ("TRACKET_BASE_URL", "TRACKET_API", "TRACKET_TOKEN"):
        monkeypatch.delenv(name)
    (tmp_path / "tracket-demo").mkdir()
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
    (line,) = [line for line in out if line.startswith("  python -c ")]
    program, option, code = shlex.split(line)
    assert (program, option) == ("python", "-c")
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
    assert "There will be no Parquet file" in both[1].err
    assert 'pip install "tracket-async[export]"' in both[1].err
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
    assert module._mark() == mark


def test_a_folder_that_the_disk_has_no_room_for_is_an_error(tracket, tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.Path, "mkdir", refuse)
    result = tracket("demo", "--folder", tmp_path / "x")
    assert result.code == 1
    assert "cannot be made: No space left on device" in result.err
