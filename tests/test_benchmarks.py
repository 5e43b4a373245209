"""The benchmarks run, say what they could not measure, and judge ratios by their budgets. No speed is asserted."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*arguments):
    # From the checkout, as a developer does; coverage must not take that for the package under test.
    environ = {
        key: value for key, value in os.environ.items() if not key.startswith(("COVERAGE", "COV_", "PYTHONSAFE"))
    }
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )


@pytest.mark.timeout(240)
def test_a_quick_run_of_everything_prints_a_line_for_each_figure_and_keeps_them_all(tmp_path, benchmarks):
    kept = tmp_path / "kept.json"
    done = run("--quick", "--json", str(kept))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    subjects = [make(benchmarks("sizes").QUICK) for make in benchmarks("subjects").SUBJECTS.values()]
    figures = [row.name for subject in subjects for row in subject.rows]
    lines = json.loads(kept.read_text())["lines"]
    assert [line["figure"] for line in lines] == figures
    for line in lines:
        assert line["figure"] in done.stdout
        assert (line["reason"] is None and line["ratio"]["median"] >= 0) or "not installed" in line["reason"]


def test_only_the_named_subjects_are_run_and_as_many_rounds_as_asked_for(tmp_path, benchmarks, monkeypatch, capsys):
    program, rows, kept = benchmarks("__main__"), benchmarks("rows"), tmp_path / "kept.json"
    # imports that take no time, in place of those that are measured
    cases = {
        name: rows.Case(
            work="imports.fresh", label=name, expects=1, arguments={"statement": f"import {name}", "times": 1}
        )
        for name in ("abc", "ast")
    }
    sides = [rows.Side(name, name, rows.own("ms")) for name in cases]
    row = rows.Row(name="abc", unit="ms", ours=sides[0], other=sides[1], budget=rows.Budget(at_most=1000))
    monkeypatch.setitem(
        program.SUBJECTS, "imports", lambda _sizes: rows.Subject(name="imports", cases=cases, rows=(row,))
    )
    assert program.main(["--only", "imports", "--rounds", "2", "--json", str(kept)]) == 0
    lines = json.loads(kept.read_text())["lines"]
    assert {line["subject"] for line in lines} == {"imports"}
    assert {len(line["ratio"]["rounds"]) for line in lines} == {2}
    assert f"of {len(lines)} budgets met" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--only", "nonsense"], ["--only", "imports,nonsense"]])
def test_what_cannot_be_meant_is_refused(arguments):
    assert run(*arguments).returncode == 2


def test_several_subjects_can_be_named_at_once_or_one_by_one(benchmarks):
    parser = benchmarks("__main__")._parser()
    assert parser.parse_args(["--only", "decode,walk", "--only", "get"]).only == ["decode", "walk", "get"]


@pytest.mark.parametrize(
    ("bounds", "ratio", "met"),
    [
        ({"at_most": 1.25}, 1.25, True),
        ({"at_most": 1.25}, 1.26, False),
        ({"at_least": 0.9}, 0.9, True),
        ({"at_least": 0.9}, 0.89, False),
        ({"at_least": 0.9, "at_most": 1.1}, 1.0, True),
        ({"at_least": 0.9, "at_most": 1.1}, 0.89, False),
        ({"at_least": 0.9, "at_most": 1.1}, 1.11, False),
        ({}, 7.0, None),
    ],
)
def test_a_budget_is_kept_up_to_its_bounds(benchmarks, bounds, ratio, met):
    assert benchmarks("rows").Budget(**bounds).met(ratio) is met


def example(benchmarks, budget, **settings):
    rows, report, harness = benchmarks("rows"), benchmarks("report"), benchmarks("harness")
    row = rows.Row(
        name="walk", unit="us", ours=rows.Side("we", "a"), other=rows.Side("they", "b"), budget=budget, **settings
    )
    subject = rows.Subject(name="example", cases={}, rows=(row,))
    taken = {
        key: [rows.Measurement(count=1, cpu=cpu / 1e6, wall=0, peak=0) for cpu in cpus]
        for key, cpus in {"a": [10, 30, 20], "b": [20, 20, 10]}.items()
    }
    return report, lambda **results: report.lines(subject, harness.Results(**({"measurements": taken} | results)))


def test_a_ratio_is_the_median_of_the_ratios_of_each_round(benchmarks):
    report, lines = example(benchmarks, benchmarks("rows").Budget(at_most=1.5))
    [line] = lines()
    assert line.ratios == pytest.approx((0.5, 1.5, 2.0))
    assert line.ratio == pytest.approx(1.5)
    assert "0.500" in report.table([line])
    assert report.verdict([line]) == "1 of 1 budgets met, 0 missed, 0 not measured."


def test_a_missed_budget_is_said(benchmarks):
    report, lines = example(benchmarks, benchmarks("rows").Budget(at_least=0.7), inverse=True, scale=1.0)
    [line] = lines()
    assert line.ratio == pytest.approx(2 / 3)
    assert report.table([line]).endswith("NO")
    assert report.verdict([line]) == "0 of 1 budgets met, 1 missed, 0 not measured."


@pytest.mark.parametrize(
    ("results", "reason", "word"),
    [
        ({"skipped": {"b": "not installed: pandas"}}, "skipped: not installed: pandas", "skipped"),
        ({"failed": {"a": "handled 9 of 10"}}, "FAILED: a: handled 9 of 10", "FAILED"),
    ],
)
def test_a_row_without_numbers_says_why(benchmarks, results, reason, word):
    report, lines = example(benchmarks, benchmarks("rows").Budget(at_most=1))
    [line] = lines(**results)
    assert line.reason == reason
    assert line.met is None
    assert f"{word}\n" in report.table([line])
    assert reason in report.table([line])
    assert report.verdict([line]) == "0 of 1 budgets met, 0 missed, 1 not measured."


def test_cases_take_turns_at_being_first_and_one_that_does_not_handle_everything_is_not_run_again(benchmarks):
    rows, harness, serving = benchmarks("rows"), benchmarks("harness"), benchmarks("serving")
    arguments = {"statement": "import abc", "times": 1}
    cases = {
        "all": rows.Case(work="imports.fresh", label="", expects=1, arguments=arguments),
        "few": rows.Case(work="imports.fresh", label="", expects=2, arguments=arguments),
        "more": rows.Case(work="imports.fresh", label="", expects=1, arguments=arguments),
        "peer": rows.Case(work="imports.fresh", label="", expects=1, needs=("no_such_package",)),
    }
    said = []
    subject = rows.Subject(name="example", cases=cases, rows=())
    with serving.Servers() as servers:
        results = harness.measure(subject, 2, servers, said.append)
    assert results.failed == {"few": "handled 1 of 2"}
    assert results.skipped == {"peer": "not installed: no_such_package"}
    assert len(results.measurements["all"]) == 2
    assert [text.rpartition(" ")[2] for text in said] == ["all", "few", "more", "more", "all"]


@pytest.mark.parametrize("skewed", [False, True])
@pytest.mark.parametrize("api", ["1.0", "2.0"])
def test_the_servers_worklogs_are_the_same_each_time_and_in_order(benchmarks, api, skewed):
    made = [benchmarks("data").make(5_000, api=api, skewed=skewed) for _ in range(2)]
    assert made[0] == made[1]
    assert len(set(made[0].ids)) == 5_000
    assert made[0].dates == sorted(made[0].dates)
    first, end = (int(dt.datetime(2025, month, 1, tzinfo=dt.UTC).timestamp() * 1000) for month in (3, 4))
    share = sum(first <= date < end for date in made[0].dates) / 5_000
    assert share == pytest.approx(0.5 if skewed else 31 / 1096, abs=0.001)


@pytest.mark.parametrize("api", ["1.0", "2.0"])
def test_varied_worklogs_are_those_of_the_plain_pages_with_other_members(benchmarks, api):
    plain, varied = (benchmarks("data").make(2_000, api=api, varied=varied) for varied in (False, True))
    assert (varied.ids, varied.dates) == (plain.ids, plain.dates)
    worklogs = [json.loads(body) for body in varied.bodies]
    texts = [worklog.get("description") or "" for worklog in worklogs]
    assert 0.08 < sum(len(text) > 300 for text in texts) / 2_000 <= 0.1  # others are null or missing
    assert any("description" not in worklog for worklog in worklogs)
    assert any(worklog.get("description", "") is None for worklog in worklogs)
    assert api == "1.0" or any(len(worklog["customFields"]) > 2 for worklog in worklogs)


def answers(server, path, cursor, key, query):
    """Every worklog of a walk, in the order of the server."""
    given, found = dict(query), []
    while True:
        status, body = server.get(f"{path}?{urllib.parse.urlencode(given)}")
        assert status == 200
        page = json.loads(body)
        found += page.get("items", page.get("worklogs"))
        if not page.get(key):
            return found, page.get("total")
        given[cursor] = page[key]


@pytest.mark.parametrize("sort", ["date", "createdDate", "updatedDate"])
@pytest.mark.parametrize("kind", ["asc", "desc"])
@pytest.mark.parametrize(
    "bounds",
    [
        {},
        {"fields.date.gte": "2024-05-01", "fields.date.lte": "2024-05-31"},
        {"fields.updatedDate.gte": "2026-11-01T00:00:00.000Z"},
        {"fields.createdDate.gte": "2025-01-01T00:00:00Z", "fields.date.lte": "2025-02-01"},
    ],
)
def test_the_server_answers_a_filter_as_reading_everything_would(benchmarks, sort, kind, bounds):
    server = benchmarks("server").Worklogs(benchmarks("data").make(2_000, api="2.0"), "2.0")
    path, walk = "/api/2.0/timeEntries", {"size": "100", "sortType": "asc"}
    everything, _ = answers(server, path, "after", "nextCursor", walk)
    found, total = answers(
        server, path, "after", "nextCursor", {"size": "37", "sortBy": sort, "sortType": kind} | bounds
    )

    def within(entry):
        for name, bound in bounds.items():
            _, field, side = name.split(".")
            value = (entry.get(field) or "")[: len(bound)]
            if not value or (value < bound if side == "gte" else value > bound):
                return False
        return True

    expected = [entry["id"] for entry in everything if within(entry)]
    assert len(everything) == 2_000
    assert total == len(found)
    assert sorted(entry["id"] for entry in found) == expected
    keys = [entry.get(sort) or "" for entry in found]
    assert keys == sorted(keys, reverse=kind == "desc")


def test_the_server_begins_a_walk_of_1_0_at_its_start_date(benchmarks):
    worklogs = benchmarks("data").make(1_000, api="1.0")
    server = benchmarks("server").Worklogs(worklogs, "1.0")
    start = {"startDate": "2025-11-01T00:00:00.000Z"}
    found, _ = answers(server, "/api/1.0/worklogs", "cursor", "next-cursor", start)
    assert [entry["worklogId"] for entry in found] == [
        name for name, date in zip(worklogs.ids, worklogs.dates, strict=True) if date >= 1_761_955_200_000
    ]
    assert json.loads(server.get("/api/1.0/worklogs/wl-00000007")[1])["worklogId"] == "wl-00000007"
    assert server.get("/api/1.0/worklogs/wl-00001000")[0] == 404
    assert server.get("/api/2.0/timeEntries")[0] == 404


def test_the_server_refuses_what_exceeds_its_rate(benchmarks, monkeypatch):
    server, rows = benchmarks("server"), benchmarks("rows")
    now = 100.0
    monkeypatch.setattr(server.time, "monotonic", lambda: now)
    bucket = server.Bucket(rows.Serve(rate=10, burst=2, retry_after="1"))
    assert [bucket.allows() for _ in range(4)] == [True, True, False, False]
    now += 0.1001
    assert [bucket.allows() for _ in range(2)] == [True, False]
    assert bucket.headers == b"Retry-After: 1\r\n"
    unlimited = server.Bucket(rows.Serve())
    assert all(unlimited.allows() for _ in range(100))
    assert unlimited.headers == b""
