"""Dates, bounds, env files, and the settings that apply."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracket_async.cli.env_file import LARGEST_FILE, parse
from tracket_async.cli.options import (
    Connection,
    Selection,
    merge,
    read_token,
    refusals,
    secret_flag,
)
from tracket_async.config import Limits
from tracket_async.errors import ConfigurationError, UsageError
from tracket_async.models import NewWorklog


def test_what_a_model_refuses_is_the_users_mistake():
    with pytest.raises(UsageError, match="minutes must be a finite number"), refusals():
        NewWorklog(item_id="1", user_id="2", date=dt.date(2024, 5, 20), minutes=float("nan"))
    with pytest.raises(UsageError, match="item_id must be a string"), refusals():
        NewWorklog(item_id=1, user_id="2", date=dt.date(2024, 5, 20), minutes=1)


def test_an_error_of_the_package_stays_what_it_is():
    with pytest.raises(ConfigurationError, match="as it was"), refusals():
        raise ConfigurationError("as it was")


def test_a_selection_becomes_a_filter_of_whole_days():
    day = dt.date(2024, 5, 20)
    made = Selection(since=day, until=day, updated_since=day).filter(sort_by="updated_date", descending=True)
    assert made.since == dt.datetime(2024, 5, 20, tzinfo=dt.UTC)
    assert made.until == dt.datetime(2024, 5, 20, 23, 59, 59, 999_999, tzinfo=dt.UTC)
    assert made.updated_since == made.since
    assert (made.created_since, made.created_until, made.updated_until) == (None, None, None)
    assert (made.sort_by, made.descending) == ("updated_date", True)


def test_bounds_that_are_the_wrong_way_round_are_the_users_mistake():
    with pytest.raises(UsageError, match=r"since .* is after until"):
        Selection(since=dt.date(2024, 5, 21), until=dt.date(2024, 5, 20)).filter()


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("KEY=value", "value"),
        ("  KEY = value  ", "value"),
        ("export KEY=value", "value"),
        ("export\tKEY=value", "value"),
        ("KEY=", ""),
        ("KEY=''", ""),
        ('KEY=""', ""),
        ("KEY='it is #1 $HOME \\n'", "it is #1 $HOME \\n"),
        ('KEY="two words"', "two words"),
        ('KEY="a\\"b\\\\c\\$d\\`e\\nf\\xg"', 'a"b\\c$d`e\nf\\xg'),
        ("KEY=two words", "two words"),
        ("KEY=value # a comment", "value"),
        ("KEY='value'# a comment", "value"),
        ('KEY="value" # a comment', "value"),
        ("KEY=a#b", "a#b"),
        ("KEY=a=b==", "a=b=="),
        ("KEY=ключ", "ключ"),
        ("\ufeffKEY=value", "value"),
        ("KEY=value\r", "value"),
        ("KEY=first\nKEY=last", "last"),
    ],
)
def test_a_setting_is_read(line, value):
    assert parse(line, name="it") == {"KEY": value}


def test_blank_lines_and_comments_are_skipped():
    assert parse("\n  # a comment\n\nA=1\n#B=2\n", name="it") == {"A": "1"}


@pytest.mark.parametrize(
    "line",
    [
        "s3cret",
        "=s3cret",
        "1KEY=s3cret",
        "KEY-WITH-DASH=s3cret",
        "KEY='s3cret",
        'KEY="s3cret',
        "KEY='s3cret'more",
        "KEY=s3'cret",
        "KEY=#s3cret",
    ],
)
def test_what_is_no_setting_is_named_by_its_number_and_never_shown(line):
    with pytest.raises(ConfigurationError, match=r"^my file, line 3 is not a setting") as caught:
        parse(f"# one\nA=2\n{line}\n", name="my file")
    assert "s3cret" not in str(caught.value)


@given(st.text())
def test_any_text_gives_settings_or_a_configuration_error(text):
    with contextlib.suppress(ConfigurationError):
        assert isinstance(parse(text, name="it"), dict)


@given(st.text(st.characters(exclude_characters="'", exclude_categories=["Cc", "Cs", "Zl", "Zp"])))
def test_any_value_without_line_breaks_can_be_written_in_single_quotes(value):
    assert parse(f"KEY='{value}'", name="it") == {"KEY": value}


CLIENT = {"TRACKET_CLIENT_ID": "id", "TRACKET_CLIENT_SECRET": "secret", "TRACKET_ACCOUNT_ID": "1"}


@pytest.fixture
def env_file(tmp_path):
    def write(text):
        path = tmp_path / "tracket.env"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_flag_wins_over_the_environment_and_the_environment_over_the_file(env_file):
    path = env_file("TRACKET_API=1.0\nTRACKET_BASE_URL=https://file\nTRACKET_TOKEN=file\n")
    environ = {"TRACKET_BASE_URL": "https://environment", "TRACKET_TOKEN": "environment"}
    assert Connection(env_file=path).settings({}) == {
        "TRACKET_API": "1.0",
        "TRACKET_BASE_URL": "https://file",
        "TRACKET_TOKEN": "file",
    }
    assert Connection(env_file=path).settings(environ) == {"TRACKET_API": "1.0", **environ}
    assert Connection(env_file=path, api="2.0", base_url="https://flag").settings(environ) == {
        "TRACKET_API": "2.0",
        "TRACKET_BASE_URL": "https://flag",
        "TRACKET_TOKEN": "environment",
    }


def test_a_token_file_wins_over_every_other_credential(env_file, tmp_path):
    token = tmp_path / "token"
    token.write_text("flag\n", encoding="utf-8")
    path = env_file("TRACKET_CLIENT_ID=id\n")
    found = Connection(env_file=path, token_file=str(token)).settings({"TRACKET_TOKEN": "environment", **CLIENT})
    assert found == {"TRACKET_TOKEN": "flag"}


def test_nothing_but_the_settings_of_tracket_counts(env_file):
    path = env_file("TRACKET_TOKEN=t\nPATH=/bin\nTRACKET_OTHER=1\n")
    assert Connection(env_file=path).settings({"HOME": "/"}) == {"TRACKET_TOKEN": "t"}


def test_credentials_are_never_mixed_from_two_places():
    token = {"TRACKET_TOKEN": "t"}
    assert merge(token, CLIENT) == token
    assert merge(CLIENT, token) == CLIENT
    assert merge({"TRACKET_CLIENT_ID": "other"}, CLIENT) == {"TRACKET_CLIENT_ID": "other"}


def test_credentials_of_one_place_stay_together_with_the_address_of_another():
    assert merge({"TRACKET_BASE_URL": "https://x"}, CLIENT) == {"TRACKET_BASE_URL": "https://x", **CLIENT}
    assert merge(CLIENT, {"TRACKET_BASE_URL": "https://x", **CLIENT, "TRACKET_TOKEN": "t"}) == {
        "TRACKET_BASE_URL": "https://x",
        **CLIENT,
    }


def test_an_empty_setting_is_none():
    assert merge({"TRACKET_TOKEN": "", "TRACKET_API": ""}, {"TRACKET_TOKEN": "t"}) == {"TRACKET_TOKEN": "t"}


@pytest.mark.parametrize("text", ["t0ken", "t0ken\n", "  t0ken \r\n", "\ufefft0ken"])
def test_a_token_is_read_from_a_file_or_from_standard_input(tmp_path, monkeypatch, text):
    path = tmp_path / "token"
    path.write_text(text, encoding="utf-8", newline="")
    assert read_token(str(path)) == "t0ken"
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert read_token("-") == "t0ken"


@pytest.mark.parametrize(("text", "found"), [("", "nothing"), (" \n", "nothing"), ("a b", "more than one word")])
def test_what_is_not_a_token_is_refused_without_showing_it(tmp_path, monkeypatch, text, found):
    path = tmp_path / "token"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=rf"^the --token-file holds {found}\. It must hold the access token"):
        read_token(str(path))
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    with pytest.raises(ConfigurationError, match=rf"^standard input holds {found}"):
        read_token("-")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"--env-file .*missing cannot be read: No such file"):
        Connection(env_file=tmp_path / "missing").settings({})
    with pytest.raises(ConfigurationError, match="the --token-file cannot be read: Is a directory"):
        Connection(token_file=str(tmp_path)).settings({})


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "it"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="is not UTF-8 text"):
        Connection(env_file=path).settings({})


def test_a_file_that_is_far_too_long_is_refused(env_file):
    longest = "#" * LARGEST_FILE
    assert Connection(env_file=env_file(longest)).settings({}) == {}
    with pytest.raises(ConfigurationError, match=f"is longer than {LARGEST_FILE} characters"):
        Connection(env_file=env_file(longest + "#")).settings({})


def test_a_bad_line_names_the_file(env_file):
    with pytest.raises(ConfigurationError, match=r"^--env-file .*tracket\.env, line 2 is not a setting"):
        Connection(env_file=env_file("A=1\ns3cret\n")).settings({})


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [
        (["list", "--token", "x"], "TRACKET_TOKEN"),
        (["list", "--token=x"], "TRACKET_TOKEN"),
        (["list", "--client-secret", "x"], "TRACKET_CLIENT_SECRET"),
        (["list", "--token-file", "x"], None),
        (["get", "--", "--token"], None),
        ([], None),
    ],
)
def test_a_secret_among_the_arguments_is_noticed(arguments, setting):
    assert secret_flag(arguments) == setting


def test_a_rate_is_a_setting_like_the_others(env_file):
    path = env_file("TRACKET_RATE=5\nTRACKET_CA_BUNDLE=/ca.pem\n")
    assert Connection(env_file=path).settings({}) == {"TRACKET_RATE": "5", "TRACKET_CA_BUNDLE": "/ca.pem"}
    assert Connection(env_file=path, rate=2.5).settings({"TRACKET_RATE": "7"})["TRACKET_RATE"] == "2.5"


def test_the_open_settings_of_1_0_are_options_too(env_file):
    path = env_file("TRACKET_V1_SCHEME=Token\nTRACKET_API=1.0\n")
    given = Connection(env_file=path, v1_cursor_parameter="page", v1_start_date="day")
    assert given.settings({"TRACKET_V1_START_DATE": "moment"}) == {
        "TRACKET_API": "1.0",
        "TRACKET_V1_SCHEME": "Token",
        "TRACKET_V1_CURSOR_PARAMETER": "page",
        "TRACKET_V1_START_DATE": "day",
    }
    with pytest.raises(ConfigurationError, match=r"--v1-start-date is a setting of API 1.0. Leave it out, or give"):
        Connection(v1_start_date="day").settings({})


def test_the_rate_holds_whatever_else_a_command_limits(monkeypatch):
    monkeypatch.setenv("TRACKET_TOKEN", "t")
    assert Connection(rate=2.5).client(limits=Limits(max_concurrency=2)).statistics().rate == 2.5
    assert Connection().client(limits=Limits(max_concurrency=2)).statistics().rate is None


@pytest.mark.parametrize("rate", ["0", "-1", "inf", "nan", "ten"])
def test_a_rate_that_is_none_is_a_mistake_of_usage(tracket, rate):
    result = tracket("list", f"--rate={rate}")
    assert (result.code, result.out) == (2, "")
    assert "--rate" in result.err


@pytest.mark.parametrize(
    ("settings", "environ", "says"),
    [
        ({}, {}, None),
        ({"debug": True}, {}, "without a proxy"),
        (
            {"debug": True},
            {"HTTPS_PROXY": "http://me:pw@127.0.0.1:9"},
            "through the proxy http://127.0.0.1:9 (HTTPS_PROXY)",
        ),
        ({"debug": True}, {"all_proxy": "127.0.0.1:9", "NO_PROXY": "dev"}, "without a proxy"),
        ({"debug": True, "no_proxy": True}, {"HTTPS_PROXY": "http://127.0.0.1:9"}, "without a proxy"),
    ],
)
def test_debug_says_which_proxy_is_used(monkeypatch, capsys, settings, environ, says):
    for name, value in (environ | {"TRACKET_TOKEN": "t"}).items():
        monkeypatch.setenv(name, value)
    Connection(base_url="https://tracket.dev", **settings).client()
    expected = "" if says is None else f"tracket: connecting to https://tracket.dev {says}\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    ("arguments", "blamed"), [((), "The proxy on the way to"), (("--no-proxy",), "No connection to")]
)
def test_the_command_uses_the_proxy_of_the_environment(tracket, impatient, monkeypatch, arguments, blamed):
    monkeypatch.setenv("TRACKET_TOKEN", "t")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nobody listens there
    result = tracket("delete", "wl-1", "--yes", "--base-url", "http://127.0.0.1:10", *arguments)
    assert f"{blamed} http://127.0.0.1:10" in result.err


def test_a_missing_ca_bundle_is_told_before_anything_is_sent(tracket, monkeypatch):
    monkeypatch.setenv("TRACKET_TOKEN", "t")
    monkeypatch.setenv("TRACKET_CA_BUNDLE", "/nothing.pem")
    result = tracket("get", "wl-1")
    assert result.code == 2
    assert "TRACKET_CA_BUNDLE=/nothing.pem cannot be used: No such file or directory" in result.err


def test_a_connection_shows_no_secret():
    assert "secret" not in repr(Connection(token_file="-"))
