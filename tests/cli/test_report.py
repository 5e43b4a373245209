"""``tracket report``: its tables, CSV, JSON and pages, of files and of a server."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import stat

import pytest

from tracket_async.emulator.faults import Call, Status
from tracket_async.export.text import cells_of, ndjson_encoder
from tracket_async.models import Worklog


@pytest.fixture
def file(tmp_path):
    """A file with these worklogs: day, minutes, billable minutes, and further fields."""

    def make(*worklogs):
        path = tmp_path / "w.ndjson"
        made = [
            Worklog(
                **{"id": str(number), "user_id": "7", "date": dt.datetime.fromisoformat(f"{day}T00:00:00Z")}
                | {"minutes": float(minutes), "billable_minutes": billable, "approval_status": "open"}
                | fields
            )
            for number, (day, minutes, billable, fields) in enumerate(worklogs)
        ]
        path.write_bytes(ndjson_encoder()(cells_of(made)))
        return path

    return make


@pytest.fixture
def company(file):
    return file(
        ("2026-03-02", 90, 45.0, {}),
        ("2026-03-03", 30, None, {"user_id": "8", "category_id": "c1"}),
        ("2026-04-01", 60, 0.0, {"user_id": "8", "approval_status": "approved"}),
    )


def drawn(tracket, terminal, monkeypatch, *arguments, width=80, **settings):
    monkeypatch.setenv("COLUMNS", str(width))
    shown = terminal("stdout", **settings)
    assert tracket("report", *arguments).code == 0
    lines = shown.text.splitlines()
    assert all(len(line) <= width for line in lines)
    return [line.rstrip() for line in lines]


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")


# -- tables ------------------------------------------------------------------------------------------------------------


def test_a_table_has_hours_shares_billable_hours_and_bars(tracket, company, terminal, monkeypatch):
    assert drawn(tracket, terminal, monkeypatch, company) == [
        "month    hours   share  billable  not said",
        "2026-03    2.0   66.7%       0.8       0.5  " + "█" * 36,
        "2026-04    1.0   33.3%       0.0       0.0  " + "█" * 18,
        "all        3.0  100.0%       0.8       0.5",
    ]


def test_a_narrow_terminal_has_fewer_columns_and_says_what_is_missing(tracket, company, terminal, monkeypatch):
    assert drawn(tracket, terminal, monkeypatch, company, "--by=user", width=40) == [
        "user  hours  billable",
        "7       1.5       0.8  " + "█" * 17,
        "8       1.5       0.0  " + "█" * 17,
        "all     3.0       0.8",
        "0.5 hours do not say if billable.",
    ]


def test_no_billable_minutes_are_not_said_and_nothing_is_0(tracket, file, terminal, monkeypatch):
    path = file(("2026-03-02", 60, None, {}))
    assert drawn(tracket, terminal, monkeypatch, path, width=120)[1].split()[:5] == [
        "2026-03",
        "1.0",
        "100.0%",
        "not",
        "said",
    ]
    assert drawn(tracket, terminal, monkeypatch, path, "--since=2027-01-01") == [
        "month  hours  share  billable",
        "all      0.0              0.0",
    ]


def test_a_terminal_without_blocks_has_no_bars(tracket, company, terminal, monkeypatch):
    lines = drawn(tracket, terminal, monkeypatch, company, encoding="ascii")
    assert lines[1] == "2026-03    2.0   66.7%       0.8       0.5"


def test_text_of_a_server_commands_no_terminal_and_is_no_markup(tracket, file, terminal, monkeypatch):
    path = file(("2026-03-02", 60, 0.0, {"user_id": "[red]\x1b[2J\u202e"}))
    line = drawn(tracket, terminal, monkeypatch, path, "--by=user", width=120)[1]
    assert line.startswith("[red]\\u001b[2J\\u202e  ")
    assert (
        drawn(tracket, terminal, monkeypatch, path, "--by=month,user", width=120)[0]
        .split()[3]
        .startswith("[red]\\u001b")
    )


def test_two_dimensions_are_a_cross_table(tracket, company, terminal, monkeypatch):
    assert drawn(tracket, terminal, monkeypatch, company, "--by", "user", "--by", "month") == [
        "user / month  2026-03  2026-04  all",
        "7                 1.5           1.5",
        "8                 0.5      1.0  1.5",
        "all               2.0      1.0  3.0",
    ]


def test_columns_that_do_not_fit_are_summed_up_in_one(tracket, file, terminal, monkeypatch):
    path = file(*((f"2026-0{month}-02", 60 * month, 0.0, {"user_id": f"user-{month}"}) for month in range(1, 7)))
    assert drawn(tracket, terminal, monkeypatch, path, "--by=approval,month", width=40) == [
        "approval / m…  earlier  2026-06  all",
        "open                15        6   21",
        "all                 15        6   21",
    ]
    assert drawn(tracket, terminal, monkeypatch, path, "--by=approval,user", width=60) == [
        "approval / user  user-6  user-5  user-4  others   all",
        "open                6.0     5.0     4.0     6.0  21.0",
        "all                 6.0     5.0     4.0     6.0  21.0",
    ]


def test_without_a_terminal_there_are_tab_separated_values(tracket, company):
    result = tracket("report", company, "--by=category")
    assert result.lines == [
        "category\tworklogs\thours\tshare\tbillable_hours\tnot_said_hours",
        "(no category)\t2\t2.5\t0.833333\t0.75\t0",
        "c1\t1\t0.5\t0.166667\t\t0.5",
    ]
    assert result.err == ""


# -- CSV and JSON ------------------------------------------------------------------------------------------------------


def test_csv_has_ids_and_names_and_is_defused(tracket, file, tmp_path):
    names = tmp_path / "names.csv"
    names.write_text("id,name\n7,=Ada\n", encoding="utf-8")
    path = file(("2026-03-02", 60, None, {}), ("2026-04-02", 20, 10.0, {"user_id": "@x"}))
    result = tracket("report", path, "--by=user,month", "--format=csv", "--names", names)
    assert list(csv.reader(io.StringIO(result.out, newline=""))) == [
        ["user_id", "user", "month", "worklogs", "hours", "share", "billable_hours", "not_said_hours"],
        ["7", "'=Ada", "2026-03", "1", "1.0", "0.75", "", "1.0"],
        ["'@x", "", "2026-04", "1", "0.3333", "0.25", "0.1667", "0.0"],
    ]


def test_json_has_rows_and_a_total_and_null_for_what_is_not_said(tracket, company):
    found = json.loads(tracket("report", company, "--by=category", "--format=json").out)
    assert found == {
        "by": ["category"],
        "tz": None,
        "total": {"worklogs": 3, "hours": 3.0, "share": 1.0, "billable_hours": 0.75, "not_said_hours": 0.5},
        "rows": [
            {"category_id": None, "category": None, "worklogs": 2, "hours": 2.5, "share": 0.833333}
            | {"billable_hours": 0.75, "not_said_hours": 0.0},
            {"category_id": "c1", "category": None, "worklogs": 1, "hours": 0.5, "share": 0.166667}
            | {"billable_hours": None, "not_said_hours": 0.5},
        ],
    }
    empty = json.loads(tracket("report", company, "--format=json", "--until=2020-01-01").out)
    assert empty["total"]["share"] is None
    assert empty["rows"] == []


# -- names -------------------------------------------------------------------------------------------------------------


def test_names_are_read_from_csv_and_tab_separated_values(tracket, company, tmp_path):
    (tmp_path / "a.csv").write_bytes('\ufeffid,name,more\r\n7,"Marsh, Ada",x\r\n\r\n8,Old\r\n'.encode())
    (tmp_path / "b.tsv").write_text("8\tBen\n", encoding="utf-8")
    result = tracket("report", company, "--by=user", "--names", tmp_path / "a.csv", "--names", tmp_path / "b.tsv")
    assert [line.split("\t")[0] for line in result.lines[1:]] == ["Marsh, Ada", "Ben"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"7,Ada\n8\n", "names.csv, line 2: it must have an id and a name"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b'7,"' + b"x" * 200_000 + b'"\n', "names.csv, line 1: field larger than field limit"),
    ],
)
def test_names_that_cannot_be_used_are_refused(tracket, company, tmp_path, content, message):
    path = tmp_path / "names.csv"
    if content is not None:
        path.write_bytes(content)
    result = tracket("report", company, "--names", path)
    assert result.code == 2
    assert message in result.err


# -- pages -------------------------------------------------------------------------------------------------------------


def test_a_page_is_a_private_file_that_appears_whole(tracket, company, tmp_path):
    page = tmp_path / "hours.html"
    result = tracket("report", company, "--html", page, "--title", "Ours <b>", "--since", "2026-04-01")
    assert (result.code, result.out) == (0, "")
    assert result.err.startswith(f"Wrote {page} (")
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    text = page.read_text(encoding="utf-8")
    assert "<h1>Ours &lt;b&gt;</h1>" in text
    assert "1 worklogs, 2026-04-01 to 2026-04-01 · w.ndjson" in text
    assert {path.name for path in tmp_path.iterdir()} == {"hours.html", "w.ndjson"}
    assert tracket("report", company, "--html=-", "--title", "Ours <b>", "--since", "2026-04-01").out == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--html=a.html", "--by=user"], "A page has every table already"),
        (["--html=a.html", "--format=csv"], "A page has every table already"),
        (["--title=x"], "--title is the headline of a page. Give --html PAGE, or leave it out"),
        (["--html=w.ndjson"], "the name of a page ends with .html, so that no other file is replaced"),
        (["--html", "--by"], "--html needs a file, and --by is an option"),
        (["--html=no/a.html"], "The folder no does not exist. Create it, or give another --html"),
        (["--by=hour"], "there is no 'hour' to sum up by"),
        (["--tz=Mars"], "there is no time zone of this name"),
        (["--since=2026-03-02", "--until=2026-03-01"], "no worklog can match"),
    ],
)
def test_options_that_make_no_sense_are_refused(tracket, company, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = tracket("report", "w.ndjson", *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err


# -- a server ----------------------------------------------------------------------------------------------------------


def test_a_selection_on_a_server_is_summed_up_with_the_names_of_its_categories(tracket, serve, tmp_path, monkeypatch):
    served = serve(sample=300)
    found = json.loads(tracket("report", "--by=category", "--format=json").out)
    assert found["total"]["worklogs"] == 300
    assert {row["category"] for row in found["rows"]} >= {"Development", "Meeting"}
    since = json.loads(tracket("report", "--since=2025-01-01", "--format=json").out)
    assert 0 < since["total"]["worklogs"] < 300
    assert since["rows"][0]["month"] == "2025-01"
    page = tmp_path / "a.html"
    assert tracket("report", "--html", page).code == 0
    text = page.read_text(encoding="utf-8")
    assert served.emulator.url in text
    assert '"Development"' in text


def test_a_file_asks_a_server_for_names_only_where_one_is_given(tracket, serve, tmp_path):
    served = serve(sample=300)
    path = tmp_path / "w.csv"
    assert tracket("export", "-o", path).code == 0
    before = len(served.emulator.request_log)
    found = json.loads(tracket("report", path, "--by=category", "--format=json").out)
    assert len(served.emulator.request_log) == before
    assert {row["category"] for row in found["rows"]} == {None}
    found = json.loads(tracket("report", path, "--by=category", "--format=json", "--api=2.0").out)
    assert "Development" in {row["category"] for row in found["rows"]}


def test_categories_that_cannot_be_had_are_shown_by_their_ids(tracket, serve):
    served = serve(sample=50)
    served.emulator.faults.add(Status(403), route="/templates/timeEntry/fields/category/options")
    result = tracket("report", "--by=category", "--format=json")
    assert result.code == 0
    assert "Categories are shown by their ids: " in result.err
    assert {row["category"] for row in json.loads(result.out)["rows"]} == {None}


def test_moments_of_1_are_counted_in_a_time_zone_at_the_edges_too(tracket, serve, seed):
    late, next_day = "2024-05-09T23:30:00.000Z", "2024-05-10T23:30:00.000Z"
    serve("1.0", seed=[seed(number, worklogDate=date) for number, date in enumerate((late, next_day))])
    day = ("--since=2024-05-10", "--until=2024-05-10", "--by=day", "--format=json")
    found = json.loads(tracket("report", *day, "--tz=Europe/Amsterdam").out)
    assert (found["tz"], [row["worklogs"] for row in found["rows"]]) == ("Europe/Amsterdam", [1])
    assert found["total"]["hours"] == 0.5
    assert json.loads(tracket("report", *day).out)["total"]["hours"] == round(31 / 60, 4)


def test_a_server_that_counts_more_than_it_shows_gives_no_report(tracket, serve, seed):
    served = serve(seed=[seed(number) for number in range(30)])
    numbers = iter(range(100_000))
    late = Call(lambda _: served.emulator.create(seed(0, worklogId=f"new-{next(numbers)}")))
    served.emulator.faults.add(late, route="/timeEntries")
    result = tracket("report")
    assert (result.code, result.out) == (1, "")
    assert "worklogs were fetched and the server counts" in result.err
    assert "Run the same again: tracket report" in result.err


def test_without_the_extra_nothing_is_sent(tracket, serve, no_extra, company):
    served = serve(sample=5)
    with no_extra():
        for result in (tracket("report"), tracket("report", company)):
            assert result.code == 2
            assert "which is not installed" in result.err
    assert not served.emulator.request_log


def test_credentials_that_are_refused_end_with_7(tracket, serve, monkeypatch):
    serve(sample=5)
    monkeypatch.setenv("TRACKET_TOKEN", "wrong")
    assert tracket("report").code == 7
