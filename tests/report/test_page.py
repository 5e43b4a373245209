"""The page as text: what it holds, and what it cannot hold. ``test_browser`` looks at it in a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from tracket_async.report import page as module
from tracket_async.report.page import Names, page, printable
from tracket_async.report.source import open_worklogs

HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    "</script ><img src=x onerror=alert(1)>",
    "<!--<script >",
    "]]>&lt;&amp;",
    "\u202egnp.exe",
    "a\x00b\x1b[31m\u2028c",
    "${title}$policy{{x}}",
    "\U0001f600" * 6000,
)


class Page(HTMLParser):
    """The elements of a page, and the text of those that hold any."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.attributes, self.texts, self._last = [], [], {}, None
        self.feed(content.decode())
        self.data = json.loads(self.texts["script", "data"])

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append(dict(attrs))
        self._last = tag, dict(attrs).get("id")

    def handle_data(self, data):
        self.texts.setdefault(self._last, data)


@pytest.fixture
def page_of(store_of, lines_of):
    def make(worklogs, *, title="Hours", about=(), names=None, **settings):
        with open_worklogs(store_of(worklogs, **settings) if settings else lines_of(worklogs)) as opened:
            return page(opened, title=title, about=about, names=names or Names())

    return make


def test_the_page_says_what_it_is_of(work, page_of):
    content = page_of([work("2026-03-02"), work("2026-04-30")], title="Ours", about=["company.duckdb"])
    found = Page(content)
    assert found.texts["title", None] == found.texts["h1", None] == "Ours"
    assert found.texts["p", None] == "2 worklogs, 2026-03-02 to 2026-04-30 · company.duckdb"
    in_amsterdam = Page(page_of([work("2026-03-31T23:00:00+00:00")], api="1.0", tz="Europe/Amsterdam"))
    assert in_amsterdam.texts["p", None] == "1 worklogs, 2026-04-01 to 2026-04-01 · days in Europe/Amsterdam"


def test_the_data_are_the_cube_with_names(work, page_of):
    worklogs = [
        work("2026-03-02", 10.255, 5.0, user_id="7", category_id="c1"),
        work("2026-03-02", 30, None, user_id="8", approval_status="new", project_id="p"),
    ]
    names = Names(any={"7": "Ada", "8": ""}, categories={"c1": "Design", "7": "not a person"})
    data = Page(page_of(worklogs, names=names)).data
    assert data["facets"] == {
        "month": ["2026-03"],
        "approval": ["approved", "new"],
        "person": ["8", "Ada"],
        "project": ["p", "(no project)"],
        "category": ["(no category)", "Design"],
    }
    assert data["colours"] == ["approved", "other0"]
    cells = {name: data[name] for name in ("worklogs", "minutes", "billable", "unsaid")}
    assert cells == {"worklogs": [1, 1], "minutes": [10.26, 30], "billable": [5, 0], "unsaid": [0, 30]}
    keys = [sum(data["keys"][: place + 1]) for place in range(2)]
    assert keys == [7, 8]  # approval 0, person 1, project 1, category 1; approval 1 and nothing else


def test_nothing_can_be_loaded_and_only_this_script_and_style_run(work, page_of):
    content = page_of([work()])
    found = Page(content)
    assert found.tags.count("script") == 2
    assert not {"img", "link", "iframe", "object", "base", "a"} & {*found.tags}
    assert not {"src", "href", "style", "onload", "action"} & {name for each in found.attributes for name in each}
    [policy] = [each["content"] for each in found.attributes if each.get("http-equiv") == "Content-Security-Policy"]
    hashes = []
    for tag in ("style", "script"):
        [text] = re.findall(rf"<{tag}>(.*?)</{tag}>", content.decode(), re.DOTALL)
        hashes.append(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'")
    assert policy == (
        f"default-src 'none'; style-src {hashes[0]}; script-src {hashes[1]}; base-uri 'none'; form-action 'none'"
    )
    assert b"http" not in content.replace(b"http-equiv", b"").replace(b"http://www.w3.org/", b"")


def test_script_and_style_are_small_and_make_no_markup_of_text():
    script, style = module._asset("page.js"), module._asset("page.css")
    assert len(script) + len(style) < 26_000
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval", "Function(", "DOMParser"):
        assert way not in script
    for request in ("fetch", "XMLHttp", "WebSocket", "import", "localStorage", "url(h", "@font-face"):
        assert request not in script + style


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(work, page_of, text):
    worklogs = [
        work(user_id=text, category_id=text, project_id=text, approval_status=text, item_id=text, description=text)
    ]
    content = page_of(worklogs, title=text, about=[text], names=Names(any={"x": text}))
    plain = Page(page_of([work(project_id="p")]))
    found = Page(content)
    assert found.tags == plain.tags
    assert found.texts["h1", None] == printable(text)
    assert b"<" not in re.search(rb'id="data">(.*?)\n', content)[1].removesuffix(b"</script>")
    for facet in ("approval", "person", "project", "category"):
        assert found.data["facets"][facet] == [printable(text)]
    assert len(content) < len(page_of([work()])) + 3000
    assert re.search(rb"[\x00-\x08\x0b-\x1f]|\xe2\x80[\xa8-\xae]", content) is None


def test_a_printable_name_is_one_short_line():
    assert printable(" Ada\n \u3000Marsh\t") == "Ada Marsh"
    assert printable("a\ud800b\u202ec\x9bd") == "a\ufffdb\ufffdc\ufffdd"
    assert printable("x" * 60) == "x" * 60
    assert printable("x" * 61) == "x" * 59 + "…"
    assert printable("שָׁלוֹם 👩‍👩‍👧") == "שָׁלוֹם 👩‍👩‍👧"


def test_the_same_worklogs_give_the_same_bytes(work, page_of):
    worklogs = [work(minutes=number / 3, user_id=str(number % 5)) for number in range(50)]
    assert page_of(worklogs) == page_of(worklogs[::-1])


def test_a_page_without_worklogs_has_no_cells(page_of):
    found = Page(page_of([]))
    assert found.texts["p", None] == "0 worklogs"
    assert found.data["keys"] == found.data["minutes"] == []


def test_a_page_that_would_be_too_large_is_coarser(work, page_of, monkeypatch):
    worklogs = [work(f"2026-0{1 + number % 9}-02", 1 + number, user_id=f"u{number}") for number in range(40)]
    whole = Page(page_of(worklogs)).data
    monkeypatch.setattr(module, "MOST_CELLS", 39)
    coarser = Page(page_of(worklogs)).data
    assert len(coarser["facets"]["person"]) == 31
    assert coarser["facets"]["person"][-1] == "10 others"
    assert coarser["apart"]["person"] == [[f"u{number}", 1, 1 + number, 0, 1 + number] for number in range(9, -1, -1)]
    assert whole["apart"] == {"person": [], "project": [], "category": []}
    monkeypatch.setattr(module, "LEVELS", ((30, 240), (4, 3)))
    monkeypatch.setattr(module, "LARGEST", 50)
    coarsest = Page(page_of(worklogs)).data
    assert coarsest["facets"]["person"][-1] == "36 others"
    assert coarsest["facets"]["month"] == ["earlier", "2026-07", "2026-08", "2026-09"]
    assert sum(whole["minutes"]) == sum(coarser["minutes"]) == sum(coarsest["minutes"]) == 820
