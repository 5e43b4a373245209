"""The emulator as a program: its output, its errors, its end, and the files that it writes."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from tracket_async.emulator import __main__ as program
from tracket_async.emulator.__main__ import main, shell_lines, write_private_file

COMMAND = [sys.executable, "-m", "tracket_async.emulator"]


def get(settings, path):
    request = urllib.request.Request(
        settings["TRACKET_BASE_URL"] + path, headers={"Authorization": f"Bearer {settings['TRACKET_TOKEN']}"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


@pytest.fixture
def start():
    """Starts emulators in processes of their own; gives the process and what it printed on its way."""
    running = []

    def run(*arguments):
        process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        running.append(process)
        lines = []
        while not lines or "TRACKET_TOKEN" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], process.stderr.read()
        words = shlex.split("".join(lines), comments=False)
        settings = dict(word.split("=", 1) for word in words if word.startswith("TRACKET_"))
        return process, lines, settings

    yield run
    for process in running:
        process.terminate()
        process.communicate(timeout=30)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_its_settings_serves_and_stops_cleanly(start, tmp_path, number):
    env_file = tmp_path / "env"
    log = tmp_path / "request-log"
    process, lines, settings = start("--sample", "300", "--env-file", str(env_file), "--request-log", str(log))
    assert re.fullmatch(r"# Tracket emulator at http://127\.0\.0\.1:\d+ with 300 worklogs; Ctrl-C stops it\n", lines[0])
    assert lines[-1].startswith("# export TRACKET_TOKEN=token-")
    assert settings["TRACKET_API"] == "2.0"
    assert env_file.stat().st_mode & 0o777 == 0o600
    written = dict(line.split("=", 1) for line in env_file.read_text().splitlines())
    assert {**written, "TRACKET_TOKEN": settings["TRACKET_TOKEN"]} == settings
    assert "TRACKET_TOKEN" not in written
    assert get(settings, "/api/2.0/timeEntries?size=1")["total"] == 300
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")
    assert log.stat().st_mode & 0o777 == 0o600
    (entry,) = map(json.loads, log.read_text().splitlines())
    assert (entry["method"], entry["route"], entry["status"]) == ("GET", "/timeEntries", 200)


def test_the_request_log_is_private_and_its_secrets_are_masked(start, tmp_path):
    log = tmp_path / "request-log"
    process, _, settings = start("--request-log", str(log))
    body = {
        "grant-type": "client-credentials",
        "monday/account-id": settings["TRACKET_ACCOUNT_ID"],
        "client-id": settings["TRACKET_CLIENT_ID"],
        "client-secret": settings["TRACKET_CLIENT_SECRET"],
    }
    request = urllib.request.Request(
        f"{settings['TRACKET_BASE_URL']}/api/2.0/oauth2/token",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        token = json.load(answer)["access_token"]
    assert get({**settings, "TRACKET_TOKEN": token}, "/api/2.0/timeEntries?size=1")["total"] == 0
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    written = log.read_text()
    assert (log.stat().st_mode & 0o777, len(written.splitlines())) == (0o600, 2)
    assert settings["TRACKET_CLIENT_ID"] in written
    assert not any(secret in written for secret in (settings["TRACKET_CLIENT_SECRET"], token))


def test_for_1_0_it_prints_the_fixed_token(start, tmp_path):
    env_file = tmp_path / "env"
    _, _, settings = start("--api", "1.0", "--env-file", str(env_file))
    assert settings.keys() == {"TRACKET_BASE_URL", "TRACKET_API", "TRACKET_TOKEN"}
    assert settings["TRACKET_API"] == "1.0"
    assert dict(line.split("=", 1) for line in env_file.read_text().splitlines()) == settings


def test_every_option_reaches_the_server(start, tmp_path, worklog):
    seed = tmp_path / "seed.ndjson"
    seed.write_text("\n".join(json.dumps(worklog(number)) for number in (1, 2, 3)))
    faults = tmp_path / "faults.ndjson"
    faults.write_text('{"fault": "odd-field", "name": "userId", "value": "odd", "nth": 2}')
    _, _, settings = start(
        *("--api", "1.0", "--seed", str(seed), "--db", str(tmp_path / "db"), "--page-size", "2"),
        *("--v1-order", "descending", "--approval-shape", "string", "--latency", "1", "--token-lifetime", "60"),
        *("--body-limit", "1000", "--faults", str(faults), "--fault-seed", "4", "--host", "localhost"),
    )
    page = get(settings, "/api/1.0/worklogs")
    assert [each["worklogId"] for each in page["worklogs"]] == ["w0003", "w0002"]
    assert get(settings, "/api/1.0/worklogs/w0001")["userId"] == "odd"
    assert get(settings, "/api/2.0/timeEntries/w0001")["approval"] == "open"
    assert (tmp_path / "db").exists()


def test_latency_is_given_in_milliseconds_and_lifetimes_in_seconds():
    options = program._parser().parse_args(["--latency", "50", "--token-lifetime", "60"])
    settings = program._emulator(options).settings
    assert (settings.latency, settings.token_lifetime) == (0.05, 60)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--seed", "BAD"], "BAD, line 2: worklogMinutes must be a number of minutes"),
        (["--seed", "NOWHERE"], "cannot read NOWHERE: No such file"),
        (["--seed", "BAD", "--sample", "1"], "not both"),
        (["--sample", "10", "--skew-month", "1999-01"], "skew_month must lie between"),
        (["--skew-month", "2025-01"], "give --sample N"),
        (["--sample-seed", "1"], "give --sample N"),
        (["--page-size", "0"], "page_size must lie between 1"),
        (["--port", "99999"], "port must lie between 0, which takes a free one, and 65535, not be 99999"),
        (["--port", "-1"], "not be -1"),
        (["--db", "BAD"], "cannot use BAD"),
        (["--faults", "NOWHERE"], "No such file"),
        (["--faults", "BAD"], "BAD, line 1: fault must be one of"),
        (["--faults", "BINARY"], "BINARY, "),
        (["--env-file", "NOWHERE/env"], "No such file"),
        (["--port", "1"], "1"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_exit_2(tmp_path, monkeypatch, capsys, worklog, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "BAD").write_text(json.dumps(worklog(1)) + "\n" + json.dumps(worklog(2, worklogMinutes="x")))
    (tmp_path / "BINARY").write_bytes(b"\xff\xfe")
    if arguments == ["--port", "1"]:
        monkeypatch.setattr(program.Emulator, "_listen", _refused)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert main(arguments) == 2
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("tracket emulator: ")
    assert err.count("\n") == 1
    assert says in err


async def _refused(self, api, opened):
    raise OSError("[Errno 13] error while attempting to bind on address ('127.0.0.1', 1): permission denied")


def test_a_signal_that_the_caller_ignores_is_ignored(monkeypatch, capsys):
    def greeting(*arguments):
        signal.raise_signal(signal.SIGINT)
        ignored.append(signal.getsignal(signal.SIGINT))
        signal.raise_signal(signal.SIGTERM)
        return greet(*arguments)

    greet, ignored = program._greeting, []
    monkeypatch.setattr(program, "_greeting", greeting)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert main([]) == 0
    finally:
        signal.signal(signal.SIGINT, before)
    assert ignored == [signal.SIG_IGN]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--v1-order", "s3cret"], "argument --v1-order: must be one of these (choose from "),
        (["--port", "s3cret"], "argument --port: must be a whole number. See tracket emulator --help"),
        (["--latency", "s3cret"], "argument --latency: must be a number. See"),
        (["--token-lifetime=s3cret"], "argument --token-lifetime: must be a number. See"),
        (["--s3cret"], "an argument is not known. See"),
        (["--port"], "argument --port: expected one argument. See"),
    ],
)
def test_an_argument_that_is_none_is_usage_and_is_not_shown(capsys, arguments, says):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("tracket emulator: ")
    assert err.count("\n") == 1
    assert says in err
    assert "s3cret" not in err


def _stop_soon(monkeypatch, number):
    """The signal comes as soon as the server has said that it is there."""
    greet = program._greeting

    def greeting(*arguments):
        signal.raise_signal(number)
        return greet(*arguments)

    monkeypatch.setattr(program, "_greeting", greeting)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_this_process_it_puts_the_signal_handlers_back(monkeypatch, capsys, number):
    _stop_soon(monkeypatch, number)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert main([]) == 0
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    out, err = capsys.readouterr()
    assert out.startswith("# Tracket emulator at http://127.0.0.1:")
    assert err == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_at_the_end_changes_nothing(monkeypatch, capsys, tmp_path, number):
    def write(path, text):
        signal.raise_signal(number)
        write_private_file(path, text)

    _stop_soon(monkeypatch, number)
    monkeypatch.setattr(program, "write_private_file", write)
    assert main(["--request-log", str(tmp_path / "log")]) == 0
    assert capsys.readouterr().err == ""
    assert (tmp_path / "log").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_is_still_filling_stops_it_too(monkeypatch, capsys, number):
    def interrupted(sample):
        signal.raise_signal(number)
        yield  # the handler has raised

    monkeypatch.setattr("tracket_async.emulator.server.sample_worklogs", interrupted)
    assert main(["--sample", "5"]) == 0
    assert capsys.readouterr().out == ""
    assert threading.active_count() == 1


def test_another_host_than_loopback_is_warned_about(monkeypatch, capsys):
    _stop_soon(monkeypatch, signal.SIGTERM)
    listen = program.Emulator._listen

    async def on_loopback_all_the_same(self, api, opened):
        self._host = "127.0.0.1"
        await listen(self, api, opened)

    monkeypatch.setattr(program.Emulator, "_listen", on_loopback_all_the_same)
    assert main(["--host", "0.0.0.0"]) == 0
    assert "warning: 0.0.0.0 lets other machines in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *((host, True) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "192.168.1.2", "example.org")),
    ],
)
def test_loopback_is_known_when_it_is_seen(host, loopback):
    assert program._is_loopback(host) is loopback


def test_a_private_file_is_its_owners_alone(tmp_path):
    path = tmp_path / "env"
    before = os.umask(0)
    try:
        write_private_file(path, "A=1\nB=x=y\n")
    finally:
        os.umask(before)
    assert path.read_text() == "A=1\nB=x=y\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_was_there_is_replaced_and_so_is_its_mode(tmp_path):
    path = tmp_path / "env"
    path.write_text("old")
    path.chmod(0o644)
    write_private_file(path, "A=1\n")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("A=1\n", 0o600)


def test_only_an_env_file_of_an_emulator_is_replaced(monkeypatch, capsys, tmp_path):
    path = tmp_path / "tracket.env"
    for _ in range(2):
        _stop_soon(monkeypatch, signal.SIGTERM)
        assert main(["--env-file", str(path)]) == 0
        assert path.read_text().startswith("TRACKET_BASE_URL=http://127.0.0.1:")
    path.write_text("")
    assert main(["--env-file", str(path)]) == 0
    path.write_text("TRACKET_TOKEN=precious\n")
    capsys.readouterr()
    assert main(["--env-file", str(path)]) == 2
    out, err = capsys.readouterr()
    assert (out, path.read_text()) == ("", "TRACKET_TOKEN=precious\n")
    assert err.endswith(
        "tracket.env is there, and no emulator has written it, so it is not replaced. Give --env-file another name\n"
    )


def test_a_symbolic_link_is_not_followed(tmp_path):
    target = tmp_path / "target"
    target.write_text("precious")
    link = tmp_path / "env"
    link.symlink_to(target)
    with pytest.raises(OSError, match="symbolic link"):
        write_private_file(link, "A=1\n")
    assert target.read_text() == "precious"


def test_a_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "env"
    path.write_text("old")

    def fail(self, target):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_private_file(path, "A=1\n")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_shell_lines_survive_a_shell():
    odd = "a b'c\"d$e`f"
    script = shell_lines({"ODD": odd}) + 'printf %s "$ODD"'
    assert subprocess.run(["sh", "-c", script], check=True, capture_output=True, text=True).stdout == odd
