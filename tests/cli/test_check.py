"""``tracket check``, on the emulator and on a server that deviates."""

from __future__ import annotations

import json

import pytest

CATEGORY = "support"


@pytest.fixture
def checked(tracket):
    """The findings by their names, the exit code, and the number of requests."""

    def run(served_requests=None):
        before = len(served_requests()) if served_requests else 0
        result = tracket("check", "--json")
        [line] = result.lines
        findings = {each["what"]: (each["verdict"], each["detail"]) for each in json.loads(line)["findings"]}
        if served_requests:
            assert len(served_requests()) - before < 10
        return result.code, findings

    return run


@pytest.fixture
def asked(hostile, monkeypatch, checked):
    """The hostile server with rows; a function that checks it on a version."""

    def run(api="2.0", rows=60, **switches):
        for name, value in hostile.env(api).items():
            monkeypatch.setenv(name, value)
        if rows:
            hostile.add(*hostile.make_rows(rows))
        for name, value in switches.items():
            setattr(hostile, name, value)
        return checked(lambda: hostile.requests)

    return run


def differing(findings):
    return {what: detail for what, (verdict, detail) in findings.items() if verdict == "differs"}


@pytest.mark.parametrize("api", ["1.0", "2.0"])
def test_a_server_of_the_vendors_pages_differs_in_nothing(serve, checked, api):
    served = serve(api, sample=120)
    code, findings = checked(lambda: served.emulator.request_log)
    assert (code, differing(findings)) == (0, {})
    assert findings["known fields"] == (("ok", "") if api == "1.0" else ("not seen", "createdDate"))
    seen = {what for what, (verdict, _) in findings.items() if verdict == "ok"}
    assert seen >= {"credentials", "version", "clock", "JSON", "unknown fields", "approval", "cursor"}
    assert seen >= (
        {"page size", "order", "bounds of dates", "total", "worklogs", "categories"} if api == "2.0" else set()
    )


DEVIATIONS = [
    ("2.0", {"page_size": 7}, {"page size": "7 worklogs, and 20 were asked for"}),
    ("2.0", {"links": "_links.object"}, {"cursor": "it is in the links of the page"}),
    ("2.0", {"cursor_as": int}, {"cursor": "it is a number"}),
    ("2.0", {"ignore_dates": True}, {"bounds of dates": "worklogs of other dates are listed"}),
    ("2.0", {"total": lambda _true, _number: None}, {"total": "there is none"}),
    ("2.0", {"total_of_all": True}, {"total": "it is not that of the filter"}),
    ("2.0", {"offset": "+02:00"}, {"dates": "with an offset from UTC"}),
    (
        "2.0",
        {"offset": "+02:00", "by_instant": True},
        {"bounds of dates": "worklogs of other dates are listed"},
    ),
    ("2.0", {"rename": {"team": "squad"}}, {"unknown fields": "not read: squad"}),
    ("2.0", {"overlay": {"*": {"approval": "maybe"}}}, {"approval": ""}),
    ("2.0", {"encode": lambda body: b"\xef\xbb\xbf" + body}, {"JSON": "it has to be repaired"}),
    ("2.0", {"no_date": True}, {"Date header": "there is none, so changes are found by the worklogs' own dates"}),
    ("2.0", {"clock_ahead": 7200}, {"clock": "s apart from the clock of this machine"}),
    ("1.0", {"order": "descending", "page_size": 20}, {"order": "not by ascending date"}),
    ("1.0", {"order": "unsorted", "page_size": 20}, {"order": "not by ascending date"}),
    ("1.0", {"ignore_start": True}, {"bounds of dates": "worklogs of other dates are listed"}),
    (
        "1.0",
        {"cursor_name": "page", "page_size": 20},
        {"cursor": "the page behind it is the first again; the parameter was cursor"},
    ),
]


@pytest.mark.parametrize(("api", "switches", "expected"), DEVIATIONS)
def test_each_deviation_is_found(asked, api, switches, expected):
    code, findings = asked(api, **switches)
    found = differing(findings)
    assert code == 1
    assert {what: detail in found.get(what, "nothing") for what, detail in expected.items()} == dict.fromkeys(
        expected, True
    ), found


def test_bounds_that_leave_their_own_day_out_are_found(asked):
    _, findings = asked(rows=12, offset="+02:00", by_instant=True)
    assert findings["bounds of dates"] == ("differs", "worklogs of the bounds themselves are left out")


def test_what_cannot_be_seen_differs_in_nothing(asked, hostile):
    _, findings = asked(rows=0)
    assert differing(findings) == {"categories": "they cannot be listed: NotFoundError"}
    assert {
        findings[what][0] for what in ("fields", "page size", "cursor", "order", "bounds of dates", "worklogs")
    } == {"not seen"}
    hostile.add(*hostile.make_rows(3))
    hostile.overlay = {"*": {"approval": None, "parentItem": None}}
    hostile.headers = {"X-RateLimit-Remaining": "10"}
    _, findings = asked(rows=0)
    assert findings["order"] == ("not seen", "the dates are all the same")
    assert findings["approval"] == ("not seen", "no worklog has one that can be read")
    assert findings["known fields"] == ("not seen", "board")
    assert findings["rate-limit headers"] == ("ok", "X-RateLimit-Remaining")


def test_categories_are_compared_with_those_of_worklogs(serve, checked, seed):
    serve(seed=[seed(1, worklogCategory=None)])
    assert checked()[1]["categories"] == ("not seen", "no worklog of the first page has one")
    served = serve(sample=60)
    assert checked()[1]["categories"] == ("ok", "")
    served.ask(
        served.emulator.create,
        {"itemId": "1", "userId": "2", "worklogDate": "2020-01-01T00:00:00.000Z"}
        | {"worklogMinutes": 5, "worklogCategory": "gone"},
    )
    assert checked()[1]["categories"] == ("differs", "worklogs have categories that are not listed")


def test_the_table_shows_more_than_the_json_which_is_for_others(tracket, asked, hostile, monkeypatch):
    asked()
    result = tracket("check")
    rows = dict(line.split("\t", 1) for line in result.lines)
    assert rows["address"] == f"ok\t{hostile.url}"
    assert rows["worklogs"] == "ok\t60, from 2024-03-01 to 2024-03-12"
    line = tracket("check", "--json").out
    for private in (hostile.url, "2024", "wl-", "35851565", "text "):
        assert private not in line


def test_the_account_is_shown_and_not_told_to_others(tracket, serve, monkeypatch):
    settings = serve(sample=5).env
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TRACKET_TOKEN")
    account = settings["TRACKET_ACCOUNT_ID"]
    rows = dict(line.split("\t", 1) for line in tracket("check").lines)
    assert rows["account"] == f"ok\t{account}"
    assert account not in tracket("check", "--json").out


def test_nothing_is_changed(asked, hostile):
    before = dict(hostile.rows)
    asked(rows=0)
    assert {request.method for request in hostile.requests if "token" not in request.path} == {"GET"}
    assert hostile.rows == before


def test_credentials_that_are_refused_end_with_7(tracket, serve, monkeypatch):
    serve(sample=5)
    monkeypatch.setenv("TRACKET_TOKEN", "wrong")
    result = tracket("check")
    assert (result.code, result.out) == (7, "")
