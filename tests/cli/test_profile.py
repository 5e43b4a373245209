"""Profiles, and what is said about settings without an effect."""

from __future__ import annotations

import getpass
import io
import json
import os
import stat
import sys
from pathlib import Path

import pytest

from tracket_async.cli import options, output, profile
from tracket_async.cli.options import Connection
from tracket_async.client import TracketClient
from tracket_async.errors import ConfigurationError


@pytest.fixture
def folder():
    return Path(os.environ["XDG_CONFIG_HOME"], "tracket")


@pytest.fixture
def stdin(monkeypatch):
    def give(text):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))

    return give


@pytest.fixture
def write(folder):
    def made(name, text, mode=0o600):
        folder.mkdir(exist_ok=True)
        path = folder / f"{name}.env"
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return path

    return made


def test_a_profile_is_added_used_listed_and_removed(tracket, serve, stdin, folder, monkeypatch, seed):
    served = serve(seed=[seed(1)])
    for name in ("TRACKET_TOKEN", "TRACKET_BASE_URL", "TRACKET_API"):
        monkeypatch.delenv(name)
    stdin(f"{served.emulator.token}\n")
    result = tracket("profile", "add", "test", "--base-url", served.emulator.url, "--api", "2.0")
    path = folder / "test.env"
    assert (result.code, result.err) == (0, f"Saved in {path}. Use it with --profile test.\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert tracket("list", "--profile", "test").code == 0
    assert tracket("list").code == 2
    monkeypatch.setenv("TRACKET_PROFILE", "test")
    assert tracket("list").code == 0
    listed = tracket("profile", "list")
    assert listed.lines == ["name\tapi\tcredentials\tserver", f"test\t2.0\ttoken\t{served.emulator.url}"]
    assert served.emulator.token not in listed.out
    assert tracket("profile", "remove", "test", "--yes").err == f"Removed {path}.\n"
    assert not path.exists()
    assert "There is no profile test" in tracket("list").err


def test_the_profile_default_is_used_where_nothing_else_is_given(tracket, serve, stdin, monkeypatch):
    served = serve(seed=[])
    for name in ("TRACKET_TOKEN", "TRACKET_BASE_URL"):
        monkeypatch.delenv(name)
    stdin(served.emulator.token)
    added = tracket("profile", "add", "default", "--base-url", served.emulator.url)
    assert added.err.endswith("It is used where no other is named.\n")
    assert tracket("list").code == 0


def test_a_secret_is_typed_at_a_terminal_and_not_shown(tracket, monkeypatch, folder):
    asked = []
    monkeypatch.setattr(output, "can_ask", lambda: True)
    monkeypatch.setattr(getpass, "getpass", lambda prompt, stream: asked.append((prompt, stream)) or 'a"$`\\b')
    assert tracket("profile", "add", "a", "--client-id", "id", "--account-id", "1").code == 0
    assert asked == [("The client secret: ", sys.stderr)]
    assert profile.settings_of("a", os.environ) == {
        "TRACKET_CLIENT_ID": "id",
        "TRACKET_ACCOUNT_ID": "1",
        "TRACKET_CLIENT_SECRET": 'a"$`\\b',
    }
    [found] = [json.loads(line) for line in tracket("profile", "list", "--json").lines]
    assert found == {"name": "a", "api": "2.0", "credentials": "client", "server": None}

    def ended(_prompt, stream):
        raise EOFError

    monkeypatch.setattr(getpass, "getpass", ended)
    assert "The access token is nothing" in tracket("profile", "add", "b").err
    assert [path.name for path in folder.iterdir()] == ["a.env"]


@pytest.mark.parametrize(
    ("arguments", "typed", "said"),
    [
        (("add", "../x"), "t", "No profile can be named '../x'"),
        (("add", "a", "--client-id", "i"), "t", "Give both --client-id and --account-id"),
        (("add", "a"), "", "The access token is nothing. Type it, or write it to standard input. Nothing was saved"),
        (("add", "a"), "two words", "The access token is more than one word"),
        (("add", "a", "--base-url", "http://example.com"), "t", "is not https"),
        (("add", "there"), "t", "There is a profile there already. Give another name, or --replace"),
        (("remove", "a", "--yes"), "", "There is no profile a in "),
        (("remove", "there"), "", "There is no terminal to ask at. Give --yes"),
    ],
)
def test_a_profile_that_cannot_be_is_refused_and_nothing_changes(tracket, stdin, write, folder, arguments, typed, said):
    path = write("there", "TRACKET_TOKEN=kept\n")
    stdin(typed)
    result = tracket("profile", *arguments)
    assert result.code == 2
    assert said in result.err
    assert path.read_text(encoding="utf-8") == "TRACKET_TOKEN=kept\n"
    assert list(folder.iterdir()) == [path]


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1)])
def test_a_profile_is_removed_after_a_question(tracket, write, monkeypatch, answer, code):
    path = write("there", "TRACKET_TOKEN=kept\n")

    async def confirm(question):
        assert question == "Remove the profile there and its secret?"
        return answer == "y"

    monkeypatch.setattr(output, "can_ask", lambda: True)
    monkeypatch.setattr(output, "confirm", confirm)
    assert tracket("profile", "remove", "there").code == code
    assert path.exists() == (answer == "n")


def test_a_profile_is_replaced_where_that_is_asked_for(tracket, stdin, write):
    path = write("there", "TRACKET_TOKEN=old\n")
    stdin("new")
    assert tracket("profile", "add", "there", "--replace").code == 0
    assert path.read_text(encoding="utf-8") == 'TRACKET_TOKEN="new"\n'


@pytest.mark.skipif(os.name != "posix", reason="files have no modes elsewhere")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_profile_that_others_can_read_is_refused(tracket, write, mode):
    path = write("open", "TRACKET_TOKEN=s3cret\n", mode)
    result = tracket("list", "--profile", "open")
    assert result.code == 2
    assert f"{path} can be read or written by other users of this machine. Run: chmod 600 {path}" in result.err
    listed = tracket("profile", "list")
    assert "cannot be used: " in listed.out
    assert "s3cret" not in listed.out + result.err


def test_a_profile_without_credentials_is_listed_as_such_and_other_files_are_not(tracket, write):
    write("half", "TRACKET_API=1.0\n")
    write("no name", "TRACKET_API=1.0\n")
    assert tracket("profile", "list").lines[1:] == ["half\t1.0\tnone\t"]


def test_a_profile_stands_for_the_environment(write, tmp_path):
    write("p", "TRACKET_TOKEN=profile\nTRACKET_API=1.0\n")
    write("default", "TRACKET_TOKEN=default\n")
    root = os.environ["XDG_CONFIG_HOME"]
    environ = {"XDG_CONFIG_HOME": root, "TRACKET_BASE_URL": "https://environment", "TRACKET_RATE": "5"}
    named = {"TRACKET_TOKEN": "profile", "TRACKET_API": "1.0", "TRACKET_RATE": "5"}
    assert Connection(profile="p").settings({**environ, "TRACKET_TOKEN": "environment"}) == named
    assert Connection().settings({**environ, "TRACKET_PROFILE": "p"}) == named
    # The secret of the profile does not go to the server of the environment.
    assert Connection().settings(environ) == {"TRACKET_TOKEN": "default", "TRACKET_RATE": "5"}
    assert Connection(base_url="https://flag").settings(environ)["TRACKET_BASE_URL"] == "https://flag"
    with_token = {**environ, "TRACKET_TOKEN": "environment"}
    assert Connection().settings({**with_token, "TRACKET_PROFILE": "p"})["TRACKET_TOKEN"] == "environment"
    env_file = tmp_path / "e.env"
    env_file.write_text("TRACKET_API=1.0", encoding="utf-8")
    assert "TRACKET_TOKEN" not in Connection(env_file=env_file).settings(environ)
    with pytest.raises(ConfigurationError, match="--profile and --env-file contradict each other"):
        Connection(env_file=env_file, profile="p").settings(environ)


def test_profiles_are_in_the_config_folder_of_the_home():
    assert profile.folder({"HOME": "/h"}) == Path("/h/.config/tracket")
    assert profile.folder({"USERPROFILE": "/u"}) == Path("/u/.config/tracket")
    assert profile.folder({"XDG_CONFIG_HOME": "/x", "HOME": "/h"}) == Path("/x/tracket")
    assert profile.folder({}) is None
    assert profile.default_settings({}) == {}
    with pytest.raises(ConfigurationError, match="There is no place for profiles"):
        profile.path_of("a", {})


def test_a_list_without_a_home_is_empty(tracket, monkeypatch):
    for name in ("XDG_CONFIG_HOME", "HOME", "USERPROFILE"):
        monkeypatch.delenv(name, raising=False)
    assert tracket("profile", "list").lines == ["name\tapi\tcredentials\tserver"]


# -- settings without an effect ----------------------------------------------------------------------------------------


@pytest.fixture
def notes(monkeypatch):
    said = []
    monkeypatch.setattr(options.output, "note", said.append)
    return said


def test_a_misspelt_setting_is_told(notes):
    environ = {"TRACKET_TOKEN": "t", "TRACKET_CLIENTID": "x", "TRACKET_LOG": "debug", "TRACKET_TEAM_OF_SOMEBODY": "y"}
    assert Connection().settings(environ) == {"TRACKET_TOKEN": "t"}
    assert notes == ["tracket: TRACKET_CLIENTID is no setting, and is ignored. Did you mean TRACKET_CLIENT_ID?"]


def test_a_part_of_client_credentials_beside_a_token_is_told(notes):
    whole = {"TRACKET_CLIENT_ID": "i", "TRACKET_CLIENT_SECRET": "s", "TRACKET_ACCOUNT_ID": "a"}
    Connection().settings({"TRACKET_TOKEN": "t", **whole})
    Connection().settings(whole)
    assert notes == []
    Connection().settings({"TRACKET_TOKEN": "t", "TRACKET_CLIENT_ID": "i", "TRACKET_ACCOUNT_ID": "a"})
    part = "TRACKET_ACCOUNT_ID and TRACKET_CLIENT_ID, a part of client credentials"
    assert notes == [f"tracket: TRACKET_TOKEN is used, and {part}, is not."]


def test_credentials_of_a_file_that_are_ignored_beside_a_part_in_the_environment_are_told(notes, tmp_path):
    file, whole = (
        tmp_path / "a.env",
        {"TRACKET_CLIENT_ID": "i", "TRACKET_CLIENT_SECRET": "s", "TRACKET_ACCOUNT_ID": "a"},
    )
    file.write_text("TRACKET_CLIENT_ID=i\nTRACKET_ACCOUNT_ID=a\nTRACKET_TOKEN=\n")
    connection = Connection(env_file=file)
    for environ in ({}, whole, {"TRACKET_TOKEN": "t"}):
        connection.settings(environ)
    assert notes == []
    assert connection.settings({"TRACKET_CLIENT_SECRET": "s"}) == {"TRACKET_CLIENT_SECRET": "s"}
    [note] = notes
    assert note == (
        "tracket: credentials are taken from one place alone: TRACKET_CLIENT_SECRET of the environment, and not"
        " TRACKET_ACCOUNT_ID, TRACKET_CLIENT_ID of --env-file."
    )


@pytest.mark.parametrize("path", ["/api/2.0", "/api/2.0/", "/api/1.0/worklogs"])
def test_a_base_url_with_the_path_of_the_api_says_what_to_leave_out(tracket, monkeypatch, path):
    monkeypatch.setenv("TRACKET_TOKEN", "t")
    result = tracket("list", "--base-url", f"https://tracket.dev{path}")
    assert result.code == 2
    assert (
        f"The base URL ends with {path}, which is added to it. Leave that part out: https://tracket.dev\n" in result.err
    )


def test_a_base_url_with_another_path_or_a_password_is_left_to_its_own_check():
    assert TracketClient(base_url="https://h/api", auth=None).base_url == "https://h/api"
    with pytest.raises(ConfigurationError, match="contains a user name or password") as caught:
        TracketClient(base_url="https://u:s3cret@h/api/2.0", auth=None)
    assert "s3cret" not in str(caught.value)
