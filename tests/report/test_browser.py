"""The page in a real browser: Chromium with its driver, through Selenium; `nox -s browser` runs it.

With ``TRACKET_PICTURE=FILE`` the picture of the README is written to that file.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import duckdb
import pytest

from tracket_async.cli import main
from tracket_async.report.page import Names, page
from tracket_async.report.source import open_worklogs

webdriver = pytest.importorskip("selenium.webdriver", reason="Selenium is not installed")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="there is no chromium, or no chromedriver"),
    pytest.mark.filterwarnings("default"),  # Selenium's own
]

HEADLESS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
HOSTILE = (
    "</script ><img src=x onerror=hacked=1>",
    "<b>\u202egnp</b>",
    "\U0001f600" * 6000,
    "<svg onload=hacked=1>",
    "<!-- <script >",
)
PEOPLE = (
    *("Ada Marsh", "Ben Okafor", "Chloé Laurent", "Dmitri Volkov", "Elif Demir", "Farah Haddad", "Grace Lin"),
    *("Hugo Sørensen", "Ines Prado", "Jonas Weber", "Kaori Tanaka", "Liam Byrne", "Mei Chen", "Noor Rahman"),
    *("Olga Petrova", "Pablo Ruiz", "Quinn Taylor"),
)
PROJECTS = ("Website relaunch", "Internal tools", "Mobile app", "Office move", "Data platform")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    profile = tmp_path_factory.mktemp("profile")
    for argument in (*HEADLESS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    yield driver
    driver.quit()


class Shown:
    """A page in the browser."""

    def __init__(self, browser, path):
        self.browser = browser
        self.resize(1200, 900)
        browser.get(path.as_uri())

    def resize(self, width, height):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def one(self, selector):
        return self.browser.find_element("css selector", selector)

    def all(self, selector):
        return self.browser.find_elements("css selector", selector)

    def choose(self, name, text):
        webdriver.support.select.Select(self.one(f"#filter-{name}")).select_by_visible_text(text)

    @property
    def figures(self):
        return {
            each.find_element("tag name", "dt").text: each.find_element("tag name", "dd").text
            for each in self.all("#figures div")
        }

    def rows(self, card):
        return [row.text for row in self.all(f"#{card} table.bars tbody tr")]

    def errors(self):
        return [entry["message"] for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.fixture
def show(browser, lines_of, tmp_path):
    """A page of these worklogs, in the browser. No page may leave an error."""
    import selenium.webdriver.support.select  # noqa: F401 - not imported by selenium.webdriver itself

    pages = []

    def make(worklogs, **names):
        path = tmp_path / "page.html"
        with open_worklogs(lines_of(worklogs)) as opened:
            path.write_bytes(page(opened, title="Hours", names=Names(any=names)))
        pages.append(Shown(browser, path))
        return pages[-1]

    yield make
    for each in pages:
        assert each.errors() == []


@pytest.fixture
def company(work):
    return [
        work("2026-01-05", 600, 300.0, user_id="7", category_id="c1", project_id="p"),
        work("2026-01-06", 300, None, user_id="8", category_id="c1", approval_status="open"),
        work("2026-03-01", 120, 0.0, user_id="7", category_id="c2", approval_status="rejected"),
    ]


def test_the_figures_are_those_of_all_worklogs(show, company):
    assert show(company).figures == {
        "hours": "17",
        "billable": "42 %",
        "billable hours": "5",
        "hours, not said if billable": "5",
        "approved": "59 %",
        "hours not approved": "7",
        "people": "2",
        "worklogs": "3",
    }


def test_filters_select_and_a_list_shows_what_else_could_be_chosen(show, company):
    shown = show(company, **{"7": "Ada", "8": "Ben"})
    shown.choose("person", "Ada")
    assert (shown.figures["hours"], shown.figures["people"]) == ("12", "1")
    assert shown.one("#chosen").text == "2 worklogs, 12 hours (person: Ada)"
    assert [row.split()[0] for row in shown.rows("people")] == ["Ada", "Ben"]
    assert shown.rows("categories") == ["c1\n10 83 % 50 %", "c2\n2 17 % 0 %"]
    shown.choose("category", "c2")
    assert shown.figures["hours"] == "2"
    assert shown.rows("people") == ["Ada\n2 100 % 0 %"]
    shown.one("#reset").click()
    assert shown.figures["hours"] == "17"
    assert shown.one("#chosen").text == ""
    shown.choose("from", "2026-03")
    assert shown.figures["worklogs"] == "1"
    shown.choose("to", "2026-01")
    assert (shown.figures["worklogs"], shown.one("#chosen").text) == ("2", "2 worklogs, 15 hours (2026-01 to 2026-01)")
    shown.choose("project", "p")
    assert shown.figures["worklogs"] == "1"


def test_a_name_in_a_list_is_a_button_that_keeps_the_focus(show, company):
    shown = show(company)
    shown.one("#people-1").send_keys("\ue007")
    assert shown.figures["hours"] == "5"
    focused = shown.browser.switch_to.active_element
    assert (focused.get_attribute("id"), focused.get_attribute("aria-pressed")) == ("people-1", "true")
    focused.send_keys(" ")
    assert shown.figures["hours"] == "17"


def test_what_is_not_said_is_not_0_and_leaves_a_gap_in_the_line(show, work):
    months = [work("2026-01-05", 60, 30.0), work("2026-02-05", 60, None), work("2026-03-05", 60, 0.0)]
    shown = show([*months, work("2026-04-05", 60, 60.0)])
    path = shown.one("#months svg[role] .billable-line").get_attribute("d")
    assert re.sub(r"[\d. ]+", "", path) == "MML"
    assert len(shown.all("#months .dot")) == 1
    shown.one("#months summary").click()
    billable = [row.text.split(" ", 3)[3] for row in shown.all("#months tbody tr")]
    assert billable == ["0.5 0", "not said 1", "0 0", "1 0"]
    only = show([work(minutes=60)])
    assert only.figures["billable"] == only.figures["billable hours"] == "not said"
    assert only.rows("people")[0].endswith("100 % not said 1")


def test_each_chart_has_a_table_with_the_same_numbers(show, company):
    shown = show(company)
    for summary in shown.all("summary"):
        summary.click()
    assert [row.text for row in shown.all("#months tr")] == [
        "Month Hours approved open rejected Billable Not said",
        "2026-01 15 10 5 0 5 5",
        "2026-02 0 0 0 0 0 0",
        "2026-03 2 0 0 2 0 0",
        "All 17 10 5 2 5 5",
    ]
    assert [row.text for row in shown.all("#weekdays tbody tr")] == [
        "2026-01 10 5 0 0 0 0 0",
        "2026-02 0 0 0 0 0 0 0",
        "2026-03 0 0 0 0 0 0 2",
    ]
    assert [row.text for row in shown.all("#presence tr")] == [
        "Month 7 8",
        "2026-01 10 5",
        "2026-02 0 0",
        "2026-03 2 0",
    ]
    assert all(table.find_elements("tag name", "caption") for table in shown.all(".scroll table"))
    assert all(head.get_attribute("scope") in {"row", "col"} for head in shown.all("th"))


def test_arrow_keys_read_a_chart_and_its_ticks_are_round(show, company):
    shown = show(company)
    chart, read = shown.one("#months svg[role]"), shown.one("#months .read")
    ticks = [text.text for text in shown.all("#months svg[role] text") if not text.text.startswith("20")]
    assert ticks == ["0", "5", "10", "15"]
    chart.send_keys("\ue014")
    assert read.text == "2026-01: 15 h; approved 10 h, open 5 h; billable: 5 h"
    chart.send_keys("\ue010")
    assert read.text == "2026-03: 2 h; rejected 2 h; billable: 0 h"
    chart.send_keys("\ue012")
    assert read.text.startswith("2026-02: 0 h; ")
    chart = shown.one("#weekdays svg[role]")
    chart.send_keys("\ue014\ue015")
    assert shown.one("#weekdays .read").text == "Tuesday, 2026-01: 5 h"
    webdriver.ActionChains(shown.browser).move_to_element(chart).perform()
    assert shown.one("#weekdays .read").text.endswith(", 2026-02: 0 h")


def test_hostile_text_is_only_text_and_nothing_is_requested(show, work):
    worklogs = [
        work(user_id=text, category_id=text, project_id=text, approval_status=text, description=text)
        for text in HOSTILE
    ]
    shown = show(worklogs, **{HOSTILE[0]: HOSTILE[3]})
    assert shown.run("return [window.hacked, document.images.length, document.scripts.length]") == [None, 0, 2]
    assert shown.run("return performance.getEntriesByType('resource').length") == 0
    assert "<svg onload=hacked=1>" in "\n".join(shown.rows("people"))
    assert "<b>\ufffdgnp</b>" in "\n".join(shown.rows("categories"))
    shown.choose("person", "<b>\ufffdgnp</b>")
    assert shown.figures["worklogs"] == "1"


def test_no_other_script_style_or_request_is_allowed(show, work):
    shown = show([work()])
    shown.run(
        "const script = document.createElement('script'); script.textContent = 'window.hacked = 1';"
        "document.body.append(script); document.body.setAttribute('onclick', 'window.hacked = 2'); "
        "document.body.click(); "
        "const image = document.createElement('img'); image.src = 'data:image/gif;base64,R0lGODlhAQABAAAAACw='; "
        "document.body.append(image); document.body.setAttribute('style', 'color: red');"
    )
    assert shown.run("return window.hacked") is None
    refused = shown.errors()
    assert len(refused) >= 3
    assert all("Content Security Policy" in message for message in refused)


def test_long_lists_are_cut_until_they_are_asked_for(show, work):
    shown = show([work(minutes=100 - number, user_id=f"u{number:02}") for number in range(20)])
    assert len(shown.rows("people")) == 16
    assert shown.rows("people")[-1].startswith("5 others")
    shown.one("#people-all").click()
    assert len(shown.rows("people")) == 20
    assert shown.browser.switch_to.active_element.get_attribute("aria-expanded") == "true"
    assert sum(row.startswith("u") for row in shown.rows("people")) == 20


def test_what_is_summed_up_as_others_is_known_apart_until_something_is_filtered(show, work, monkeypatch):
    monkeypatch.setattr("tracket_async.report.page.LEVELS", ((2, 240),))
    worklogs = [work(minutes=60 * number, user_id=f"u{number}", category_id="c") for number in range(1, 6)]
    shown = show([*worklogs, work(minutes=30, user_id="u5", category_id="d")])
    assert [row.split()[0] for row in shown.rows("people")] == ["u5", "u4", "u3", "u2", "u1"]
    assert len(shown.all("#people th button")) == 2
    assert shown.figures["people"] == "5"
    shown.choose("category", "c")
    assert shown.rows("people") == ["u5\n5 33 % not said 5", "u4\n4 27 % not said 4", "others 6 40 % not said 6"]
    assert shown.figures["people"] == "over 2"
    shown.choose("category", "d")
    assert shown.figures["people"] == "1"


@pytest.mark.parametrize("width", [320, 400, 800, 1600])
def test_no_width_makes_the_page_scroll_sideways(show, company, width):
    shown = show(company, **{"7": "A person with a very long name, indeed " * 2})
    shown.resize(width, 900)
    shown.run("return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert shown.run("return document.documentElement.scrollWidth") <= width
    assert shown.run("return document.querySelector('#months svg[role]').clientWidth") <= width


def test_dark_is_dark_and_print_is_light_on_a4(show, company):
    shown = show(company)
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    colour = "return getComputedStyle(document.body).backgroundColor"
    light = shown.run(colour)
    shown.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    assert (light, shown.run(colour)) == ("rgb(255, 255, 255)", "rgb(20, 23, 28)")
    printed = shown.browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True, "preferCSSPageSize": True})
    pdf = base64.b64decode(printed["data"])
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 3
    assert re.search(rb"/MediaBox \[0 0 59\d(\.\d+)? 84\d", pdf)
    shown.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", **dark})
    assert shown.run(colour) == light
    assert not shown.one("#filters").is_displayed()
    shown.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def test_a_page_without_worklogs_says_so(show):
    assert show([]).one("main").text == "There are no worklogs in this selection."


def test_the_demo_ends_with_a_page_that_a_browser_shows(browser, tmp_path):
    assert main(["demo", "--folder", str(tmp_path)]) == 0
    page_of_demo = tmp_path / "report.html"
    dom = subprocess.run(
        [CHROMIUM, *HEADLESS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page_of_demo.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert "<dt>worklogs</dt><dd>20,000</dd>" in dom
    picture = Path(os.environ.get("TRACKET_PICTURE") or tmp_path / "report.png")
    _take_picture(browser, tmp_path, picture)
    content = picture.read_bytes()
    assert struct.unpack(">II", content[16:24]) == (1200, 1080)
    assert 50_000 < len(content) < 200_000


def _take_picture(browser, folder, picture):
    parquet, names = folder / "worklogs.parquet", folder / "names.csv"
    lines = []
    for column, texts in (("user_id", PEOPLE), ("project_id", PROJECTS)):
        order = (
            f"SELECT {column} FROM '{parquet}' WHERE {column} IS NOT NULL GROUP BY ALL ORDER BY sum(minutes) DESC, 1"
        )
        lines += [f"{key},{text}" for (key,), text in zip(duckdb.sql(order).fetchall(), texts, strict=False)]
    found = re.search(r'"category":(\[.*?\])', (folder / "report.html").read_text(encoding="utf-8"))
    order = f"SELECT category_id FROM '{parquet}' GROUP BY ALL ORDER BY sum(minutes) DESC, 1"
    categories = [key for (key,) in duckdb.sql(order).fetchall()]
    lines += [f"{key},{text}" for key, text in zip(categories, eval(found[1]), strict=True) if key]
    names.write_text("\n".join(lines), encoding="utf-8")
    named = folder / "named.html"
    title = ("--title", "Hours of a made-up company")
    assert main(["report", str(parquet), "--html", str(named), "--names", str(names), *title]) == 0
    shown = Shown(browser, named)
    shown.resize(1200, 1080)
    picture.write_bytes(base64.b64decode(browser.get_screenshot_as_base64()))
    assert shown.errors() == []
