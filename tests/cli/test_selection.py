"""The worklogs that a command is about: users, categories, approvals and so on, and dates as people type them."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from tracket_async.cli import dates

BOTH = pytest.mark.parametrize("api", ["1.0", "2.0"])


@pytest.fixture
def seeds(seed):
    """Thirty worklogs of three users, two categories and all states of approval."""
    states = ("open", "submitted", "approved", "rejected")
    return [
        seed(
            number,
            userId=str(7 + number % 3),
            worklogCategory=("support", "travel")[number % 2],
            approvalStatus=states[number % 4],
            itemId=str(number % 5),
        )
        for number in range(30)
    ]


def ids(text):
    return sorted(json.loads(line)["id"] for line in text.splitlines())


def wanted(seeds, **values):
    return sorted(each["worklogId"] for each in seeds if all(each[name] in chosen for name, chosen in values.items()))


FILTERS = [
    (("--user", "7"), {"userId": ["7"]}),
    (("--user", "7", "--user=8"), {"userId": ["7", "8"]}),
    (("--category", "travel", "--user", "9"), {"worklogCategory": ["travel"], "userId": ["9"]}),
    (
        ("--item", "3", "--approval", "open", "--approval", "rejected"),
        {"itemId": ["3"], "approvalStatus": ["open", "rejected"]},
    ),
    (("--user", "nobody"), {"userId": []}),
]


@BOTH
@pytest.mark.parametrize(("arguments", "values"), FILTERS)
def test_filters_choose_the_same_worklogs_in_list_and_export(tracket, serve, seeds, tmp_path, api, arguments, values):
    serve(api, seed=seeds)
    expected = wanted(seeds, **values)
    assert ids(tracket("list", "--json", "--limit", 0, *arguments).out) == expected
    assert ids(tracket("export", *arguments).out) == expected
    result = tracket("export", *arguments, "--output", tmp_path / "a.ndjson")
    assert result.code == 0
    assert ids((tmp_path / "a.ndjson").read_text(encoding="utf-8")) == expected
    # The server counts all thirty, so a total of it would be of something else.
    assert "not verifiable: the server gives no count of them" in result.err
    assert list(tmp_path.iterdir()) == [tmp_path / "a.ndjson"]


def test_projects_are_chosen_on_api_2_and_refused_on_api_1(tracket, serve, seed, tmp_path):
    rows = [seed(number, project=f"P{number % 2}") for number in range(6)]
    serve(seed=rows)
    assert ids(tracket("list", "--json", "--project", "P1").out) == ["wl-001", "wl-003", "wl-005"]
    serve("1.0", seed=rows)
    for arguments in (("list",), ("export",), ("export", "-o", tmp_path / "a.csv")):
        result = tracket(*arguments, "--project", "P1")
        assert result.code == 2
        assert "API 1.0 cannot list by project_ids" in result.err
    assert list(tmp_path.iterdir()) == []


def test_a_list_with_a_filter_reads_on_until_its_limit(tracket, serve, seed):
    serve(seed=[seed(number, userId="8" if number % 25 == 24 else "7") for number in range(250)])
    result = tracket("list", "--user", "8", "--limit", 4, "--columns", "user_id")
    assert result.lines == ["user_id", "8", "8", "8", "8"]
    assert "There are more than these 4" in result.err


def test_a_sheet_of_few_worklogs_is_written_whatever_the_server_counts(tracket, serve, seeds, tmp_path, monkeypatch):
    monkeypatch.setattr("tracket_async.export.sheets.MAX_ROWS", 12)
    serve(seed=seeds)
    assert tracket("export", "-o", tmp_path / "a.xlsx").code == 1
    assert tracket("export", "--user", "7", "-o", tmp_path / "b.xlsx").code == 0


@BOTH
def test_a_sync_of_a_filter_follows_what_enters_and_leaves_it(tracket, serve, seeds, tmp_path, api):
    served, store = serve(api, seed=seeds), tmp_path / "s.duckdb"
    assert tracket("export", "--user", "7", "--store", store, "-o", tmp_path / "a.csv").code == 0
    served.ask(served.emulator.update, "wl-000", {"userId": "8"})
    served.ask(served.emulator.update, "wl-001", {"userId": "7"})
    served.ask(served.emulator.delete, "wl-003")
    # The sample is older than the usual lookback.
    result = tracket("sync", store, "--lookback", 36500, "-o", tmp_path / "a.ndjson")
    assert result.code == 0, result.err
    expected = sorted({*wanted(seeds, userId=["7"]), "wl-001"} - {"wl-000", "wl-003"})
    assert ids((tmp_path / "a.ndjson").read_text(encoding="utf-8")) == expected
    assert "not verifiable: the server gives no count of them" in result.out
    why = {"1.0": "API 1.0 does not tell what has changed", "2.0": "no server counts what --user and the like select"}
    assert why[api] in result.out


def test_a_store_of_one_filter_is_refused_for_another(tracket, serve, seeds, tmp_path):
    serve(seed=seeds)
    store = tmp_path / "s.duckdb"
    assert tracket("export", "--user", "7", "--store", store, "-o", tmp_path / "a.csv").code == 0
    for arguments in ((), ("--user", "8"), ("--user", "7", "--user", "8")):
        result = tracket("export", *arguments, "--store", store, "-o", tmp_path / "b.csv")
        assert result.code == 1
        assert "user_ids is ['7'], not [" in result.err
    assert tracket("export", "--user", "7", "--store", store, "-o", tmp_path / "b.csv").code == 0


@pytest.mark.parametrize("from_file", [True, False])
def test_a_report_counts_what_the_filters_choose(tracket, serve, seeds, tmp_path, from_file):
    serve(seed=seeds)
    arguments = ()
    if from_file:
        assert tracket("export", "-o", tmp_path / "a.parquet").code == 0
        arguments = (tmp_path / "a.parquet",)
    result = tracket("report", *arguments, "--by", "user", "--format", "json", "--user", "7", "--user", "8")
    [found] = [json.loads(line) for line in result.lines]
    assert {row["user_id"]: row["worklogs"] for row in found["rows"]} == {"7": 10, "8": 10}


# -- delete ----------------------------------------------------------------------------------------------------------


def test_delete_of_a_selection_deletes_what_matches_and_nothing_else(tracket, serve, seeds):
    served = serve(seed=seeds)
    result = tracket("delete", "--user", "7", "--category", "travel", "--yes", "--json")
    assert result.code == 0
    assert json.loads(result.out)["done"] == 5
    assert "Worklogs: 5 deleted in " in result.err
    gone = wanted(seeds, userId=["7"], worklogCategory=["travel"])
    left = {each["worklogId"] for each in served.ask(served.emulator.worklogs)}
    assert left == {each["worklogId"] for each in seeds} - set(gone)
    again = tracket("delete", "--user", "7", "--category", "travel", "--yes")
    assert (again.code, again.err) == (0, "No worklog matches. Nothing was deleted.\n")


def test_a_dry_run_of_a_deletion_shows_every_worklog(tracket, serve, seeds):
    served = serve(seed=seeds)
    result = tracket("delete", "--month", "2024-05", "--item", "3", "--dry-run")
    assert (result.code, len(result.lines)) == (0, 6)
    assert result.err == "tracket delete would delete 6 worklogs (4.5 h). Nothing was sent.\n"
    assert ids(tracket("delete", "--item", "3", "--dry-run", "--json").out) == wanted(seeds, itemId=["3"])
    assert served.count == 30


@pytest.mark.parametrize(("answer", "left"), [("y", 10), ("n", 30)])
def test_delete_of_a_selection_asks_once_and_shows_the_first(
    tracket, serve, seeds, terminal, monkeypatch, answer, left
):
    served = serve(seed=seeds)

    async def confirm(question):
        asked.append(question)
        return answer == "y"

    asked = []
    monkeypatch.setattr("tracket_async.cli.output.can_ask", lambda: True)
    monkeypatch.setattr("tracket_async.cli.output.confirm", confirm)
    result = tracket("delete", "--user", "7", "--user", "8")
    assert asked == ["Delete 20 worklogs (14.7 h)?"]
    assert "  and 10 more; --dry-run shows them all\n" in result.err
    assert result.err.count(" min, Text ") == 10
    assert (result.code, served.count) == (0 if answer == "y" else 1, left)
    assert ("Nothing was deleted." in result.err) == (answer == "n")
    assert " more; " not in tracket("delete", "--item", "3").err


def test_a_deletion_that_fails_in_part_says_how_to_go_on(tracket, serve, seeds, impatient):
    from tracket_async.emulator.faults import Status

    served = serve(seed=seeds)
    served.ask(served.emulator.faults.add, Status(409), method="DELETE", times=1)
    result = tracket("delete", "--user", "7", "--yes")
    assert result.code == 1
    assert "9 deleted, 1 failed" in result.err
    assert "Run it again to delete what is left: tracket delete --user 7 --yes" in result.err
    assert served.count == 21


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("wl-1", "--user", "7", "--yes"), "A selection says which worklogs. Give no ids"),
        (
            ("--from-file", "x", "--user", "7", "--yes"),
            "A selection says which worklogs. Give no ids and no --from-file",
        ),
        (("--user", "7"), "There is no terminal to ask at. Give --yes to delete without asking, or --dry-run"),
        (("--user", "7", "--yes", "--decimal", ","), "--decimal needs a file of worklogs"),
        (("--tz", "UTC", "--yes"), "No worklog is given. Give the id of a worklog, --from-file, or a selection"),
    ],
)
def test_delete_refuses_what_contradicts_a_selection(tracket, serve, seeds, arguments, said):
    served = serve(seed=seeds)
    result = tracket("delete", *arguments)
    assert result.code == 2
    assert said in result.err
    assert served.count == 30


# -- dates -----------------------------------------------------------------------------------------------------------

DAY = dt.date(2026, 3, 31)  # a Tuesday


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("today", "2026-03-31", "2026-03-31"),
        ("Yesterday", "2026-03-30", "2026-03-30"),
        ("0d", "2026-03-31", "2026-03-31"),
        ("30d", "2026-03-01", "2026-03-01"),
        ("2026-10", "2026-10-01", "2026-10-31"),
        ("2024-02", "2024-02-01", "2024-02-29"),
        ("2026-W45", "2026-11-02", "2026-11-08"),
        ("2026-w01", "2025-12-29", "2026-01-04"),
        ("this-week", "2026-03-30", "2026-04-05"),
        ("last-week", "2026-03-23", "2026-03-29"),
        ("this-month", "2026-03-01", "2026-03-31"),
        ("last-month", "2026-02-01", "2026-02-28"),
        ("this-year", "2026-01-01", "2026-12-31"),
        ("last-year", "2025-01-01", "2025-12-31"),
        ("2026-05-20", "2026-05-20", "2026-05-20"),
    ],
)
def test_a_word_for_a_date_is_a_period(monkeypatch, text, first, last):
    monkeypatch.setattr(dates, "today", lambda _tz: DAY)
    assert dates.lower(text, None) == dt.date.fromisoformat(first)
    assert dates.upper(text, None) == dt.date.fromisoformat(last)


def test_a_date_time_stays_one():
    moment = dt.datetime(2026, 5, 20, 9, 30, tzinfo=dt.UTC)
    assert dates.lower("2026-05-20T09:30Z", None) == moment
    assert dates.lower(moment, None) == moment
    assert dates.upper(None, None) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2026-13", "there is no such day, week or month"),
        ("2026-W54", "there is no such day, week or month"),
        ("99999d", None),
        ("9999999d", "Give YYYY-MM-DD, a date-time such as"),
        ("next-month", "or one of today, yesterday, 30d"),
        ("2026-05-20T09:30", "has no offset"),
    ],
)
def test_a_word_that_is_no_date_says_what_is(text, said):
    if said is None:
        assert dates.read(text, DAY) == DAY - dt.timedelta(days=99999)
        return
    with pytest.raises(ValueError, match=said):
        dates.read(text, DAY)


def test_a_day_before_the_calendar_is_no_date():
    with pytest.raises(ValueError, match="there is no such day"):
        dates.read("99999d", dt.date(2, 1, 1))


def test_today_is_that_of_the_time_zone(monkeypatch):
    monkeypatch.setattr(dates, "_now", lambda: dt.datetime(2026, 3, 31, 22, 30, tzinfo=dt.UTC))
    assert dates.today("Europe/Amsterdam") == dt.date(2026, 4, 1)
    assert dates.today("America/New_York") == dt.date(2026, 3, 31)
    assert dates.today(None) == dt.datetime(2026, 3, 31, 22, 30, tzinfo=dt.UTC).astimezone().date()


@pytest.mark.parametrize(
    ("arguments", "days"),
    [
        (("--month", "2024-05", "--user", "8"), 10),
        (("--month", "this-month"), 28),
        (("--month", "last-month"), 0),
        (("--since", "30d", "--until", "yesterday"), 9),
        (("--since", "2024-05", "--until", "2024-W18"), 5),
        (("--since", "this-year", "--until", "today"), 10),
    ],
)
def test_commands_take_words_for_dates(tracket, serve, seeds, monkeypatch, arguments, days):
    monkeypatch.setattr(dates, "_now", lambda: dt.datetime(2024, 5, 10, 23, 30, tzinfo=dt.UTC))
    serve(seed=seeds)
    result = tracket("list", *arguments, "--tz", "UTC", "--columns", "date", "--limit", 0)
    assert result.code == 0, result.err
    if "--user" in arguments:
        assert len(result.lines) - 1 == days
    else:
        assert len(set(result.lines[1:])) == days
    # In Amsterdam it is the next day already.
    assert (
        tracket("list", "--until", "today", "--tz", "Europe/Amsterdam", "--columns", "date").lines[-1] == "2024-05-11"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--month", "2024-05", "--since", "today"), "--month is both --since and --until. Leave it out, or them"),
        (("--month", "2024-05", "--until", "today"), "--month is both --since and --until. Leave it out, or them"),
        (("--month", "2024-13"), "--month '2024-13' is no month. Give 2026-10, this-month"),
        (("--month", "this-week"), "--month 'this-week' is no month. Give 2026-10, this-month or last-month"),
        (("--since", "today", "--tz", "Mars/Olympus"), "there is no time zone of this name"),
        (("--since", "next-month"), "Invalid value for --since: it is no date. Give YYYY-MM-DD, a date-time such as"),
    ],
)
def test_dates_that_mean_nothing_are_refused_before_anything_is_sent(tracket, arguments, said):
    result = tracket("list", *arguments)
    assert result.code == 2
    assert said in result.err


def test_create_takes_today(tracket, serve, monkeypatch):
    serve(seed=[])
    monkeypatch.setattr(dates, "today", lambda _tz: DAY)
    new = ("create", "--item", "1", "--user", "2", "--minutes", "30", "--json", "--date")
    assert json.loads(tracket(*new, "yesterday").out)["date"].startswith("2026-03-30")
    assert json.loads(tracket(*new, "2026-05-20").out)["date"].startswith("2026-05-20")
    assert tracket(*new, "2026-10").code == 2
