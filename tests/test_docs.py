"""The site of the documentation: what is made from the code is up to date, and what is written names all of it."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path

import pytest

from tracket_async import testing

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "pages" / "reference"
UPDATE = "out of date: run nox -s docs -- write, and commit what it has changed"
MODULES = (
    "tracket_async",
    "tracket_async.emulator",
    "tracket_async.emulator.faults",
    "tracket_async.integrations.dask",
    "tracket_async.scan",
)


def program(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate, links = program("generate"), program("links")


def test_the_page_of_the_commands_says_what_their_help_says():
    pytest.importorskip("cyclopts")
    assert generate.COMMANDS.read_text(encoding="utf-8") == generate.commands(), UPDATE


def test_every_page_is_in_the_navigation_once():
    listed = [path for _, path in generate.navigation()]
    assert sorted(listed) == sorted(
        path.relative_to(generate.PAGES).as_posix() for path in generate.PAGES.rglob("*.md")
    )


def test_llms_txt_lists_every_page_by_its_title():
    pattern = re.compile(r"^- (\[.*?\]\(.*?\))", re.MULTILINE)
    assert pattern.findall(generate.LLMS.read_text(encoding="utf-8")) == pattern.findall(generate.llms()), UPDATE


def test_the_code_of_every_page_is_run_by_a_test():
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for path in sorted(generate.PAGES.rglob("*.md")):
        if re.search(r"^```(python|sh|bash|sql|pgsql)\b", path.read_text(encoding="utf-8"), re.MULTILINE):
            assert re.search(rf'"(?:[\w-]+/)*{re.escape(path.stem)}(?:\.md)?"', tests), f"no test runs {path.name}"


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_in_the_reference(module):
    pages = [path.read_text(encoding="utf-8") for path in (REFERENCE / "python").glob("*.md")]
    described = {name for page in pages for name in re.findall(r"^::: (\S+)$", page, re.MULTILINE)}
    names = set(importlib.import_module(module).__all__) - {"__version__", "faults"}
    missing = [f"::: {module}.{name}" for name in sorted(names) if f"{module}.{name}" not in described]
    assert "\n\n".join(missing) == "", "add these lines to a page of docs/pages/reference/python"


def test_every_name_in_the_reference_exists():
    for path in (REFERENCE / "python").glob("*.md"):
        for name in re.findall(r"^::: (\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE):
            module, _, attribute = name.rpartition(".")
            source = Path(importlib.util.find_spec(module).origin).read_text(encoding="utf-8")  # without its extra, too
            names = {node.name for node in ast.walk(ast.parse(source)) if hasattr(node, "name")}
            assert attribute in names or re.search(rf'^{attribute}\b|"{attribute}"', source, re.MULTILINE), name


def test_every_integration_is_in_the_reference():
    package = importlib.import_module("tracket_async.integrations")
    page = (REFERENCE / "python" / "integrations.md").read_text(encoding="utf-8")
    names = [each.name for each in pkgutil.iter_modules(package.__path__)]
    assert [name for name in names if f"tracket_async.integrations.{name}" not in page] == []


def test_every_fixture_is_in_the_reference():
    fixtures = {name for name in vars(testing) if name.startswith("tracket_")}
    page = (REFERENCE / "python" / "emulator.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(tracket_\w+)` \|", page, re.MULTILINE)) == fixtures


# -- the check of links --------------------------------------------------------------------------------------------

GOOD = (
    '<h1 id="top-of-all">x</h1><a href="b/page.html#there">b</a><a href="#top-of-all">a</a><img src="data:image/png,">'
)


@pytest.mark.parametrize(
    ("html", "wrong"),
    [
        ('<a href="nowhere.html">x</a>', "nowhere.html leads to no file"),
        ('<a href="b/page.html#gone">x</a>', "b/page.html#gone leads to no anchor"),
        ('<a href="#gone">x</a>', "#gone leads to no anchor"),
        ('<a href="b/">x</a>', "b/ leads to no file"),
        ('<a href="/b/page.html">x</a>', "/b/page.html leads to no file"),
        ('<script src="https://cdn.example/x.js"></script>', "loads https://cdn.example/x.js"),
        ('<link rel="stylesheet" href="//fonts.example/x.css">', "loads //fonts.example/x.css"),
        ('<p style="background: url(https://cdn.example/x.png)">', "loads https://cdn.example/x.png"),
    ],
)
def test_a_link_that_leads_nowhere_is_found(tmp_path, html, wrong):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "page.html").write_text('<p id="there"><a href="https://example.com">out</a>', encoding="utf-8")
    (tmp_path / "a.html").write_text(GOOD, encoding="utf-8")
    assert list(links.broken(tmp_path)) == []
    (tmp_path / "a.html").write_text(GOOD + html, encoding="utf-8")
    assert list(links.broken(tmp_path)) == [f"a.html: {wrong}"]


@pytest.mark.parametrize("name", ["a.css", "picture.svg"])
def test_a_style_that_loads_a_font_from_elsewhere_is_found(tmp_path, name):
    (tmp_path / "a.html").write_text(GOOD.replace("b/page.html#there", ""), encoding="utf-8")
    (tmp_path / name).write_text("@font-face { src: url(https://fonts.example/x) }", encoding="utf-8")
    assert list(links.broken(tmp_path)) == [f"{name}: loads https://fonts.example/x"]
