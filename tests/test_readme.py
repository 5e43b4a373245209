"""Check the README and the docs: their code runs, CI runs their commands, their links and commands exist."""

from __future__ import annotations

import ast
import asyncio
import builtins
import datetime as dt
import json
import os
import re
import sys
from pathlib import Path

import attrs
import pytest

from tracket_async import NewWorklog, TracketClient, __version__

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
PAGES = ROOT / "docs" / "pages"
COMMANDS = (PAGES / "reference" / "command-line.md").read_text(encoding="utf-8")
CONTRIBUTING = ROOT / ".github" / "CONTRIBUTING.md"
DOCUMENTS = [ROOT / "README.md", *sorted(PAGES.rglob("*.md")), *sorted((ROOT / ".github").glob("*.md"))]
OTHERS = [ROOT / "CHANGELOG.md", ROOT / "benchmarks" / "README.md", ROOT / "tests" / "README.md"]


def code_with(word: str) -> str:
    (code,) = [code for language, code in BLOCKS if language == "python" and word in code]
    return code


def namespace_of(word: str) -> dict:
    namespace: dict = {}
    exec(compile(code_with(word), "README.md", "exec"), namespace)
    return namespace


@pytest.mark.parametrize("api", ["1.0", "2.0"])
async def test_the_first_code_prints_the_worklogs_of_a_month(tracket_emulator, api):
    for day in (1, 31):
        tracket_emulator.create(
            {"itemId": "1", "userId": "2", "worklogDate": f"2026-03-{day:02}T00:00:00.000Z", "worklogMinutes": day}
        )
    code = code_with("BearerToken").replace('api="2.0"', f'api="{api}", base_url="{tracket_emulator.url}"')
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code),
        env={**os.environ, "TRACKET_TOKEN": tracket_emulator.token},
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    assert [line.split()[-2] for line in printed.decode().splitlines()] == ["1.0", "31.0"]


async def test_the_code_for_the_three_uses_runs(tracket_emulator, monkeypatch):
    for name, value in tracket_emulator.env().items():
        monkeypatch.setenv(name, value)
    kept = tracket_emulator.create(
        {"itemId": "1", "userId": "2", "worklogDate": "2026-03-02T00:00:00.000Z", "worklogMinutes": 15}
    )
    new = [NewWorklog(item_id="1", user_id="2", date=dt.date(2026, 3, 2), minutes=n) for n in (10, 20)]
    main = namespace_of("create_many")["main"]
    assert await main(kept["worklogId"], new) == 90
    assert sorted(each["worklogMinutes"] for each in tracket_emulator.worklogs()) == [10, 20, 90]


@pytest.mark.tracket(sample=500)
async def test_the_test_that_the_readme_shows_passes(tracket_client, tracket_emulator):
    await namespace_of("faults.Reset")["test_a_failing_server_is_survived"](tracket_client, tracket_emulator)


def test_ci_runs_the_second_command_of_the_readme():
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    commands = [code.strip() for language, code in BLOCKS if language == "sh"]
    assert commands[1] in ci
    contributing = CONTRIBUTING.read_text(encoding="utf-8")
    assert all(command in contributing for command in commands[:2])


def test_ci_tests_every_python_that_the_package_names():
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    (listed,) = re.findall(r"python: \[(.*)\]", workflow)
    named = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(named) <= set(re.findall(r"[\d.]+", listed))


def test_every_file_that_contributing_names_exists():
    folder = ROOT
    for path in re.findall(r"`([\w./-]+\.(?:py|md|txt|yml|toml))`", CONTRIBUTING.read_text(encoding="utf-8")):
        found = ROOT / path if "/" in path or (ROOT / path).exists() else folder / path  # a name alone: as the last one
        assert found.is_file(), path
        folder = found.parent


def test_the_changelog_begins_with_the_version_that_comes_next():
    heading = re.search(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert re.fullmatch(rf"\[{re.escape(__version__)}\] - (unreleased|\d{{4}}-\d\d-\d\d)", heading[1])


def anchors(document):
    """The anchors of the headings of a document, as GitHub and the site make them."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = [re.sub(r"\]\([^)]*\)", "", title) for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)]
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_link_to_a_file_leads_to_one_and_to_a_heading_of_it():
    for document in (*DOCUMENTS, *OTHERS):
        for link, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", document.read_text(encoding="utf-8")):
            if "://" in link:
                continue
            target = document.parent / link if link else document
            assert target.exists(), f"{document.name}: {link}"
            # The names of the code become headings when the site is built, which checks them.
            assert not anchor or "." in anchor or anchor in anchors(target), f"{document.name}: {link}#{anchor}"


def test_every_command_that_is_shown_exists():
    app = pytest.importorskip("tracket_async.cli.app")
    known = {name for name in app.app if not name.startswith("-")} | {"COMMAND"}
    for document in DOCUMENTS:
        shown = re.findall(r"^(?:\S+/)?tracket (\w+)", document.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(shown) <= known, document.name


async def test_the_sql_of_the_docs_sums_up_an_export(tracket_client, tracket_emulator, tmp_path, monkeypatch):
    duckdb = pytest.importorskip("duckdb")
    run = pytest.importorskip("tracket_async.export.run")
    for day, minutes in (("2026-02-28", 30), ("2026-03-01", 60), ("2026-03-31", 90)):
        tracket_emulator.create(
            {"itemId": "1", "userId": "2", "worklogDate": f"{day}T00:00:00.000Z", "worklogMinutes": minutes}
        )
    monkeypatch.chdir(tmp_path)
    targets = {tmp_path / "worklogs.parquet": "parquet"}
    await run.export_to_files(tracket_client, targets, run.request_of(tracket_client))
    (sql,) = re.findall(r"^```sql\n(.*?)^```", COMMANDS, re.MULTILINE | re.DOTALL)
    assert duckdb.sql(sql).fetchall() == [("2026-02", "2", 0.5), ("2026-03", "2", 2.5)]


async def test_the_code_of_the_docs_on_odd_rows_runs(hostile):
    api = (PAGES / "reference" / "api.md").read_text(encoding="utf-8")
    namespace: dict = {}
    for code in re.findall(r"^```python\n(.*?)^```", api, re.MULTILINE | re.DOTALL):
        exec(compile(code, "api.md", "exec"), namespace)
    hostile.add(*hostile.make_rows(30, minutes=10))
    hostile.overlay = {"*": {"colour": "red"}, "wl-0001": {"phase": 2}}
    async with TracketClient.from_env(hostile.env()) as client:
        assert await namespace["unknown_fields"](client) == {"colour": 30, "phase": 1}
        hostile.overlay = {"wl-0001": {"minutes": None}}
        bad: list[bytes] = []
        assert await namespace["readable_minutes"](client, bad) == 290
        assert [json.loads(row)["id"] for row in bad] == ["wl-0001"]


@pytest.mark.tracket(sample=300)
async def test_the_code_for_migrating_finds_ids_categories_and_sums(tracket_emulator):
    document = (PAGES / "how-to" / "migrating-to-2.0.md").read_text(encoding="utf-8")
    namespace: dict = {}
    for code in re.findall(r"^```python\n(.*?)^```", document, re.MULTILINE | re.DOTALL):
        exec(compile(code, "migrating-to-2.0.md", "exec"), namespace)
    months, found = {}, {}
    for api in ("1.0", "2.0"):
        async with TracketClient.from_env(tracket_emulator.env(api)) as client:
            found[api] = [worklog async for worklog in client.worklogs.list()]
            months[api] = await namespace["minutes_of"](client, dt.date(2024, 2, 9))
    assert months["1.0"] == months["2.0"] > 0
    old, new = found["1.0"], found["2.0"]
    assert namespace["compare"](old, new) == (300, {})
    others = [attrs.evolve(worklog, id=f"n-{worklog.id}") for worklog in new]
    same, moved = namespace["compare"](old, [*new[:100], *others[100:]])
    assert same == 100
    assert len(moved) > 150
    assert all(to == f"n-{of}" for of, to in moved.items())
    async with TracketClient.from_env(tracket_emulator.env("2.0")) as client:
        by_name = await namespace["categories"](client)
    assert {worklog.category_id for worklog in old} - {None} <= set(by_name.values())


def test_every_file_and_class_that_the_docs_name_exists():
    package = ROOT / "tracket_async"
    sources = {file: ast.parse(file.read_text(encoding="utf-8")) for file in package.rglob("*.py")}
    classes = set(dir(builtins)) | {
        node.name for tree in sources.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    }
    for document in PAGES.rglob("*.md"):
        whole = document.read_text(encoding="utf-8")
        text = re.sub(r"^```.*?^```", "", whole, flags=re.MULTILINE | re.DOTALL)
        for path in re.findall(r"`(\w[\w/]*(?:\.py|/))`", text):
            assert (package / path).exists() or f'title="{path}"' in whole, f"{document.name}: {path}"
        for name in re.findall(r"`([A-Z][a-z]+[A-Z]\w+)(?:[.(][^`]*)?`", text):
            assert name in classes, f"{document.name}: {name}"
