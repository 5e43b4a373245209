"""``list``, ``get``, ``create``, ``update``, ``delete`` and ``categories``, against an emulator over a real socket."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import sys

import pytest

from tracket_async.cli import output, worklogs
from tracket_async.emulator.faults import Html, MissingField, Status
from tracket_async.models import Worklog

BOTH = pytest.mark.parametrize("api", ["1.0", "2.0"])


@BOTH
def test_list_prints_tab_separated_values_ascending_by_date(tracket, serve, api, seed):
    serve(api, seed=[seed(2), seed(1, description="a\tb\n\x1b[2Jc"), seed(3, itemId=None)])
    result = tracket("list")
    assert (result.code, result.err) == (0, "")
    assert result.lines == [
        "id\tdate\tuser_id\titem_id\tminutes\tdescription",
        "wl-001\t2024-05-02\t7\t1001\t31\ta\\tb\\n\\u001b[2Jc",
        "wl-002\t2024-05-03\t7\t1002\t32\tText 2",
        "wl-003\t2024-05-04\t7\t\t33\tText 3",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "--columns=description,custom_fields"),
        ("list", "--json"),
        ("get", "wl-001"),
        ("get", "wl-001", "--json"),
        ("export",),
        ("export", "--format=csv"),
        ("delete", "wl-001", "--yes"),
    ],
)
def test_no_text_of_the_server_commands_a_terminal(tracket, serve, seed, terminal, arguments):
    evil = "\u009b2J\u202e\u2028\x7f\x1b]0;x\x07"
    serve(seed=[seed(1, description=evil, customFields={evil: evil})])
    streams = [terminal("stdout"), terminal("stderr")]
    assert tracket(*arguments).code == 0
    for stream in streams:
        assert not {"\u009b", "\u202e", "\u2028", "\x7f", "\x07"} & set(stream.text)
        assert "\x1b]0" not in stream.text


def test_list_of_nothing_is_a_header(tracket, serve):
    serve(seed=[])
    assert tracket("list", "--columns", "id,minutes").lines == ["id\tminutes"]
    assert tracket("list", "--json").out == ""


@BOTH
def test_list_takes_bounds_of_days_both_inclusive(tracket, serve, api, seed):
    serve(api, seed=[seed(number) for number in range(10)])
    result = tracket("list", "--columns", "date", "--since", "2024-05-03", "--until", "2024-05-05")
    assert result.lines[1:] == ["2024-05-03", "2024-05-04", "2024-05-05"]


@pytest.mark.parametrize(
    ("limit", "number", "noted"), [(5, 4, ""), (5, 5, ""), (5, 6, "these 5"), (1, 1, ""), (1, 2, "this one")]
)
def test_list_says_when_its_limit_left_something_out(tracket, serve, limit, number, noted, seed):
    serve(seed=[seed(one) for one in range(number)])
    result = tracket("list", "--limit", limit)
    assert len(result.lines) == 1 + min(number, limit)
    assert result.err == (f"There are more than {noted}. --limit 0 lists all.\n" if noted else "")


def test_list_has_a_limit_of_50_unless_told_otherwise(tracket, serve, seed):
    serve(seed=[seed(one) for one in range(260)])
    assert len(tracket("list").lines) == 51
    assert len(tracket("list", "--limit", 101).lines) == 102
    everything = tracket("list", "--limit", 0)
    assert (len(everything.lines), everything.err) == (261, "")


def test_list_goes_on_under_one_header_when_there_are_many(tracket, serve, monkeypatch, seed):
    monkeypatch.setattr("tracket_async.cli.worklogs.PIECE", 3)
    serve(seed=[seed(one) for one in range(8)])
    lines = tracket("list", "--columns", "id").lines
    assert lines[0] == "id"
    assert sorted(lines[1:]) == [f"wl-{one:03}" for one in range(8)]


def test_list_orders_and_filters_on_2_0(tracket, serve, seed):
    serve(seed=[seed(one, createdDate=f"2024-06-{10 - one:02}T08:00:00.000Z") for one in range(5)])
    result = tracket("list", "--columns=id", "--sort-by", "created_date", "--descending", "--created-since=2024-06-08")
    assert result.lines == ["id", "wl-000", "wl-001", "wl-002"]


def test_what_1_0_cannot_do_is_a_usage_error(tracket, serve):
    serve("1.0", seed=[])
    for arguments in (("list", "--descending"), ("list", "--updated-since", "2024-05-01"), ("categories",)):
        result = tracket(*arguments)
        assert result.code == 2
        assert "1.0" in result.err
        assert result.err.count("\n") == 1


@BOTH
def test_list_as_json_has_every_attribute_in_the_same_words_on_both_versions(tracket, serve, api, seed):
    serve(api, seed=[seed(1, description="日本 “q”")])
    result = tracket("list", "--json")
    expected = {
        "id": "wl-001",
        "day": "2024-05-02",
        "user_id": "7",
        "date": "2024-05-02T00:00:00.000Z",
        "minutes": 31.0,
        "item_id": "1001",
        "description": "日本 “q”",
        "category_id": "support",
        "billable_minutes": None,
        "created_date": "2024-05-01T08:00:00.000Z",
        "updated_date": None,
        "approval_status": "open",
        "approver_user_id": None,
        "team_id": None,
        "project_id": None,
        "board_id": None,
        "parent_item_id": None,
        "custom_fields": {},
    }
    found = json.loads(result.out)
    assert found == expected
    assert list(found) == list(expected)
    assert tracket("get", "wl-001", "--json").out == result.out


def test_on_a_terminal_list_is_a_table(serve, terminal, tracket, seed):
    serve(seed=[seed(1, description="[red]x[/red]")])
    stdout = terminal("stdout")
    tracket("list")
    header, row = stdout.text.splitlines()[-2:]
    assert "description" in header
    assert row.split() == ["wl-001", "2024-05-02", "7", "1001", "31", "[red]x[/red]"]


@BOTH
def test_get_shows_every_attribute(tracket, serve, api, seed):
    serve(api, seed=[seed(1)])
    result = tracket("get", "wl-001")
    assert result.lines[:4] == ["id\twl-001", "day\t2024-05-02", "user_id\t7", "date\t2024-05-02"]
    assert len(result.lines) == 18


@pytest.mark.parametrize("identifier", ["../x", "..", "a/b", "%2e%2e"])
def test_an_id_that_would_change_the_path_is_refused_and_nothing_is_sent(tracket, serve, identifier):
    served = serve(seed=[])
    result = tracket("get", identifier)
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert len(served.emulator.request_log) == 0


@BOTH
def test_create_update_and_delete(tracket, serve, api):
    served = serve(api, seed=[])
    arguments = ["--item=1", "--user=2", "--date=2024-05-20", "--minutes=90", "--description=-5 °C", "--category=c"]
    made = json.loads(tracket("create", *arguments, "--billable-minutes=30.5", "--json").out)
    assert (made["item_id"], made["user_id"], made["date"]) == ("1", "2", "2024-05-20T00:00:00.000Z")
    assert (made["minutes"], made["billable_minutes"]) == (90.0, 30.5)
    assert (made["description"], made["category_id"]) == ("-5 °C", "c")

    identifier = made["id"]
    changed = json.loads(
        tracket("update", identifier, "--minutes=45", "--clear", "description", "--clear=category", "--json").out
    )
    assert changed["minutes"] == 45.0
    assert (changed["description"], changed["category_id"], changed["item_id"]) == (None, None, "1")
    assert changed["billable_minutes"] == 30.5

    result = tracket("delete", identifier, "--yes")
    noun = "worklog" if api == "1.0" else "time entry"
    assert (result.code, result.out, result.err) == (0, "", f"Deleted worklog {identifier}: The {noun} was deleted.\n")
    assert served.ask(served.emulator.worklogs) == []


def test_the_fields_of_2_0_alone(tracket, serve):
    serve(seed=[])
    arguments = ["--item=1", "--user=2", "--date=2024-05-20T23:30-02:00", "--minutes=90", "--team=t", "--project=p"]
    result = tracket("create", *arguments, "--field", "region=eu", "--field=kind=a=b", "--json")
    assert result.code == 0, result.err
    made = json.loads(result.out)
    assert made["date"] == "2024-05-20T00:00:00.000Z"  # the day as it is written
    assert (made["team_id"], made["project_id"]) == ("t", "p")
    assert made["custom_fields"] == {"region": "eu", "kind": "a=b"}
    changed = json.loads(
        tracket("update", made["id"], "--field", "region=", "--clear=team", "--date", "2024-05-22", "--json").out
    )
    assert (changed["team_id"], changed["project_id"], changed["date"]) == (None, "p", "2024-05-22T00:00:00.000Z")
    assert not changed["custom_fields"].get("region")
    assert changed["custom_fields"]["kind"] == "a=b"


def test_the_day_as_it_is_written_counts_also_at_the_ends_of_the_calendar(tracket, serve):
    serve(seed=[])
    arguments = ["--item=1", "--user=2", "--minutes=90", "--json"]
    made = json.loads(tracket("create", *arguments, "--date=9999-12-31T23:59-08:00").out)
    assert made["date"] == "9999-12-31T00:00:00.000Z"
    changed = json.loads(tracket("update", made["id"], "--date=0001-01-01T00:00+13:00", "--json").out)
    assert changed["date"] == "0001-01-01T00:00:00.000Z"


def test_a_moment_that_is_none_in_utc_is_refused_on_1_0(tracket, serve):
    served = serve("1.0", seed=[])
    arguments = ["--item=1", "--user=2", "--minutes=90", "--date=9999-12-31T23:59-08:00"]
    for command in (["create", *arguments], ["update", "wl-1", arguments[-1]]):
        result = tracket(*command)
        assert result.code == 2
        assert "date is outside of the years 1 to 9999 in UTC" in result.err
    assert len(served.emulator.request_log) == 0


def test_create_refuses_a_field_without_an_option_and_sends_nothing(tracket, serve):
    served = serve(seed=[])
    result = tracket("create", "--item=1", "--user=2", "--date=2024-05-20", "--minutes=1", "--field", "region=")
    assert result.code == 2
    assert "--field 'region=' is not REFERENCE=OPTION" in result.err
    assert len(served.emulator.request_log) == 0


def test_delete_takes_several_and_stops_at_the_first_that_fails(tracket, serve, seed):
    served = serve(seed=[seed(1), seed(2)])
    result = tracket("delete", "wl-001", "wl-009", "wl-002", "-y")
    assert result.code == 1
    assert result.err.splitlines()[0] == "Deleted worklog wl-001: The time entry was deleted."
    assert len(result.err.splitlines()) == 2
    assert served.count == 1


class Answers(io.StringIO):
    """Standard input at a terminal, with what somebody typed."""

    def __init__(self, text, descriptor):
        super().__init__(text)
        self._descriptor = descriptor

    def isatty(self):
        return True

    def fileno(self):
        return self._descriptor


@pytest.fixture
def typed(monkeypatch, terminal):
    """Makes standard input and standard error a terminal at which somebody has typed; gives standard error."""
    reader, writer = os.pipe()
    os.write(writer, b"\n")  # so that the reader is ready

    def answers(text):
        monkeypatch.setattr(sys, "stdin", Answers(text, reader))
        return terminal("stderr")

    yield answers
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("answer", ["y\n", "YES\n", " yes \n"])
def test_delete_asks_at_a_terminal_and_shows_what_it_is_about(tracket, serve, typed, answer, seed):
    served = serve(seed=[seed(1)])
    stderr = typed(answer)
    assert tracket("delete", "wl-001").code == 0
    question = "Delete worklog wl-001, 2024-05-02, 7, 31 min, Text 1? [y/N] "
    assert stderr.text == f"{question}Deleted worklog wl-001: The time entry was deleted.\n"
    assert served.count == 0


@pytest.mark.parametrize("answer", ["n\n", "\n", "", "yess\n"])
def test_anything_but_yes_keeps_the_worklog(tracket, serve, typed, answer, seed):
    served = serve(seed=[seed(1, description=None)])
    stderr = typed(answer)
    assert tracket("delete", "wl-001").code == 1
    assert stderr.text.endswith("31 min? [y/N] Kept worklog wl-001.\n")
    assert served.count == 1


async def test_where_the_loop_cannot_watch_the_terminal_it_still_asks(typed, monkeypatch):
    def refuse(*_args):
        raise NotImplementedError

    typed("y\n")
    monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", refuse)
    assert await output.confirm("Really?")


def test_categories_have_an_id_and_a_name(tracket, serve):
    serve(sample=10)
    lines = tracket("categories").lines
    assert lines[0] == "id\tname"
    assert len(lines) > 3
    found = [json.loads(line) for line in tracket("categories", "--json").lines]
    assert [f"{one['id']}\t{one['name']}" for one in found] == lines[1:]


@BOTH
def test_a_wrong_token_ends_with_7_and_says_what_to_check(tracket, serve, api, monkeypatch):
    serve(api, seed=[])
    monkeypatch.setenv("TRACKET_TOKEN", "wr0ng-token")
    result = tracket("list", "--debug")
    assert result.code == 7
    assert "Check TRACKET_TOKEN" in result.err.splitlines()[-1]
    assert "wr0ng" not in result.err


def test_a_token_that_may_not_write_ends_with_7(tracket, serve, monkeypatch, seed):
    served = serve(seed=[seed(1)])
    monkeypatch.setenv("TRACKET_TOKEN", served.emulator.settings.read_only_token)
    assert tracket("delete", "wl-001", "--yes").code == 7
    assert tracket("get", "wl-001").code == 0


def test_client_credentials_of_an_env_file_are_enough(tracket, serve, monkeypatch, tmp_path, seed):
    served = serve(seed=[seed(1)])
    for name in ("TRACKET_BASE_URL", "TRACKET_API", "TRACKET_TOKEN"):
        monkeypatch.delenv(name)
    path = tmp_path / "tracket.env"
    path.write_text("".join(f"export {name}='{value}'\n" for name, value in served.env.items()), encoding="utf-8")
    assert tracket("get", "wl-001", "--env-file", path).code == 0
    assert served.emulator.token_requests == 1


def test_a_token_file_is_enough(tracket, serve, monkeypatch, tmp_path, seed):
    served = serve(seed=[seed(1)])
    monkeypatch.delenv("TRACKET_TOKEN")
    path = tmp_path / "token"
    path.write_text(served.emulator.token, encoding="utf-8")
    assert tracket("get", "wl-001", "--token-file", path).code == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO(served.emulator.token + "\n"))
    assert tracket("get", "wl-001", "--token-file", "-").code == 0


def test_a_server_that_asks_for_a_longer_wait_than_allowed_ends_with_5(tracket, serve):
    served = serve(seed=[])
    served.emulator.faults.add(Status(429, retry_after="86400"))
    result = tracket("list")
    assert result.code == 5
    assert "86400" in result.err
    assert result.err.count("\n") == 1


@pytest.mark.usefixtures("impatient")
def test_an_unreachable_server_is_one_line(tracket, serve, monkeypatch):
    serve(seed=[])
    monkeypatch.setenv("TRACKET_BASE_URL", "http://127.0.0.1:1")
    result = tracket("create", "--item=1", "--user=2", "--date=2024-05-20", "--minutes=1", "--api=2.0")
    assert result.code == 5
    assert "Check TRACKET_BASE_URL" in result.err
    assert result.err.count("\n") == 1


def test_a_malformed_worklog_is_named(tracket, serve, seed):
    served = serve(seed=[seed(1), seed(2), seed(3)])
    served.emulator.faults.add(MissingField("minutes", 1))
    result = tracket("list")
    assert result.code == 1
    assert "wl-002" in result.err
    assert result.err.count("\n") == 1


async def test_batches_are_full_but_the_last_and_none_is_empty():
    async def some(number):
        for index in range(number):
            yield Worklog(id=str(index), user_id="1", date=None, minutes=0)

    for number, sizes in ((0, []), (1, [1]), (3, [3]), (4, [3, 1]), (6, [3, 3])):
        assert [len(batch) async for batch in worklogs._batches(some(number), size=3)] == sizes


CANARY = "canary-5ecret"


@pytest.mark.parametrize("fault", [None, Status(500), Status(401), Html()])
@pytest.mark.parametrize("arguments", [("list",), ("export",), ("get", "wl-001"), ("update", "wl-001", "--minutes=1")])
@pytest.mark.parametrize("credentials", ["token", "client"])
@pytest.mark.usefixtures("impatient")
def test_a_secret_is_never_printed(tracket, serve, fault, arguments, credentials, monkeypatch, seed):
    served = serve(seed=[seed(1)], token=CANARY, client_secret=CANARY)
    if fault is not None:
        served.emulator.faults.add(fault)
    if credentials == "client":
        monkeypatch.delenv("TRACKET_TOKEN")
        for setting, value in served.env.items():
            monkeypatch.setenv(setting, value)
    result = tracket(*arguments, "--debug")
    assert (result.code == 0) == (fault is None)
    assert CANARY not in result.out + result.err


def test_an_id_that_was_made_a_float_is_repaired_and_told(tracket, serve, seed):
    served = serve(seed=[seed(1, worklogId="5000204173"), seed(2, worklogId="5000204174")])
    result = tracket("update", "5000204173.0", "--item", "7.0")
    assert result.code == 0
    assert result.err.splitlines() == [
        "The id 5000204173.0 is read as 5000204173: pandas and spreadsheets write .0 behind numbers.",
        "The id 7.0 is read as 7: pandas and spreadsheets write .0 behind numbers.",
    ]
    assert served.ask(served.emulator.get, "5000204173")["itemId"] == "7"
    assert tracket("delete", "5000204173.0", "5000204174", "--yes").code == 0
    assert served.count == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "5E+09"),
        ("delete", "--yes", "wl-001", "nan"),
        ("update", "wl-001", "--user", "7 "),
        ("update", "wl-001", "--category", "#N/A"),
        ("create", "--item", "1", "--user", "5.0002e+09", "--date", "2024-05-20", "--minutes", "5"),
    ],
)
def test_a_spoilt_id_is_refused_and_nothing_is_sent(tracket, serve, seed, arguments):
    served = serve(seed=[seed(1)])
    result = tracket(*arguments)
    assert result.code == 2
    assert re.search("white space around it|stands for no value|digits may be lost", result.err)
    assert len(served.emulator.request_log) == 0


def test_negative_minutes_are_not_typed_by_hand(tracket, serve, seed):
    served = serve(seed=[seed(1)])
    result = tracket("update", "wl-001", "--minutes=-30")
    assert result.code == 2
    assert "It must be at least 0; tracket import and update --from-file take negative minutes" in result.err
    assert len(served.emulator.request_log) == 0


def test_json_has_the_columns_that_are_named(tracket, serve, seed):
    serve(seed=[seed(1)])
    assert tracket("list", "--json", "--columns", "minutes,id").out == '{"minutes":31.0,"id":"wl-001"}\n'
    assert "item_id" in tracket("list", "--json").out


@pytest.mark.parametrize(("typed", "minutes"), [("90", 90), ("1:30", 90), ("1.5h", 90), ("45.5", 45.5)])
def test_minutes_are_typed_in_any_usual_form(tracket, serve, seed, typed, minutes):
    serve(seed=[seed(1)])
    assert json.loads(tracket("update", "wl-001", "--minutes", typed, "--json").out)["minutes"] == minutes
    new = ("create", "--item", "1", "--user", "2", "--date", "2024-05-20", "--json", "--minutes", typed)
    assert json.loads(tracket(*new, "--billable-minutes", typed).out)["billable_minutes"] == minutes
