"""Exit codes, lines of error, and hints that work when pasted."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import subprocess
import sys

import pytest

from tracket_async import errors
from tracket_async.cli import exits
from tracket_async.cli.exits import ExitCode, Terminated, describe, exit_code
from tracket_async.cli.output import one_line

STOPS = ("attempts", "deadline", "budget", "retry_after")


def tree(kind: type) -> list[type]:
    return [kind, *(one for child in kind.__subclasses__() for one in tree(child))]


EVERY = sorted({kind for kind in tree(errors.TracketError) if kind.__module__ == errors.__name__}, key=str)

EXPECTED = {
    errors.UsageError: 2,
    errors.ConfigurationError: 2,
    errors.UnsupportedError: 2,
    errors.MissingExtraError: 2,
    errors.AuthenticationError: 7,
    errors.PermissionDeniedError: 7,
    errors.DeadlineExceededError: 5,
    errors.RateLimitedError: 5,
}


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_every_exception_of_the_package_has_its_exit_code(kind):
    assert exit_code(kind("it failed")) == EXPECTED.get(kind, 1)


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize(
    "kind", [kind for kind in EVERY if issubclass(kind, errors.RequestError)], ids=lambda kind: kind.__name__
)
def test_retries_that_were_used_up_end_with_5_unless_the_server_refuses_the_user(kind, stop):
    refused = issubclass(kind, errors.AuthenticationError | errors.PermissionDeniedError)
    assert exit_code(kind("it failed", stopped_by=stop)) == (7 if refused else 5)


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        (errors.ServerError("503", status=503), 5),
        (errors.ServerError("501", status=501), 1),
        (OSError("disk"), 1),
        (None, 1),
    ],
)
def test_an_export_that_gives_up_waiting_ends_with_5(cause, code):
    error = errors.ExportError("the export gives up")
    error.__cause__ = cause
    assert exit_code(error) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (Terminated(), 143),
        (OSError(errno.ENOSPC, "No space left on device"), 1),
        (RuntimeError("a mistake"), 1),
        (ValueError("a mistake"), 1),
    ],
)
def test_what_is_not_of_the_package_has_its_exit_code_too(error, code):
    assert exit_code(error) == code


def test_no_failure_ends_with_0():
    assert all(exit_code(kind("it failed")) != ExitCode.DONE for kind in EVERY)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (Terminated(), "terminated"),
        (errors.ConfigurationError("TRACKET_TOKEN is missing.\nSet it"), "TRACKET_TOKEN is missing. Set it"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError(errno.EACCES, "Permission denied", "/x/y"), "Permission denied: /x/y"),
        (OSError("odd"), "odd"),
        (OSError(), "OSError"),
        (
            RuntimeError("x\ny"),
            "unexpected RuntimeError: x y. This is a bug in tracket: please report it, with what --debug shows",
        ),
    ],
)
def test_an_error_is_described_in_one_line(error, line):
    assert describe(error) == line


def test_the_hint_of_an_error_is_in_its_line():
    assert describe(errors.AuthenticationError("401 from the server")).endswith(errors.AuthenticationError.hint)


def test_a_line_cannot_command_the_terminal():
    assert one_line("a\x1b[2Jb\x07\u202e\r\nc") == "a\\u001b[2Jb\\u0007\\u202e c"


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "s.duckdb"
    path.touch()
    return path


def ended(invocation, store, error, is_kept=lambda _store, _error: True):
    with pytest.raises(type(error)), exits.keeping(store, is_kept):
        raise error
    return exits.resume_hint(invocation)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), errors.ServerError("503"), errors.IncompleteExportError("x")])
def test_the_command_is_given_as_a_shell_reads_it(store, error):
    invocation = exits.begin(["export", "-o", "a b.csv"])
    assert ended(invocation, store, error) == (
        f"What was fetched is kept in {store}. To resume: tracket export -o 'a b.csv'"
    )


@pytest.mark.parametrize("name", ["a\x1b[1m\n'b\\", "r\udce9sum\udce9 1", "\x85", "it's", "é ü"])
def test_a_command_with_any_file_name_is_read_by_a_shell_as_it_was(name):
    shown = exits.command_line("export", name)
    assert all(character.isprintable() for character in shown)
    if (bash := shutil.which("bash", path=os.defpath)) is None:
        pytest.skip("there is no bash")
    command = f"tracket() {{ printf '%s' \"$2\"; }}; {shown}"
    assert os.fsdecode(subprocess.check_output([bash, "-c", command], env={})) == name


@pytest.mark.parametrize("kind", [errors.UsageError, errors.StoreError, errors.TargetBusyError])
def test_nothing_is_said_where_the_same_command_would_meet_the_same(store, kind):
    assert ended(exits.begin(["export"]), store, kind("x")) is None


def test_nothing_is_said_where_nothing_is_left(store):
    invocation = exits.begin(["export"])
    store.unlink()
    assert ended(invocation, store, KeyboardInterrupt()) is None
    store.touch()
    assert ended(invocation, store, KeyboardInterrupt()) is not None
    store.unlink()
    assert exits.resume_hint(invocation) is None


def test_nothing_is_said_of_a_store_without_worklogs(store):
    assert ended(exits.begin(["export"]), store, KeyboardInterrupt(), lambda path, _error: path != store) is None


def test_nothing_is_said_of_a_run_that_was_never_begun(store):
    token = exits._current.set(None)
    with pytest.raises(KeyboardInterrupt), exits.keeping(store, lambda _store, _error: True):
        raise KeyboardInterrupt
    exits._current.reset(token)


def program(folder, name="tracket"):
    folder.mkdir(exist_ok=True)
    (folder / name).touch(mode=0o755)
    return folder / name


def test_a_hint_names_the_program_as_it_was_typed_if_the_path_has_another_one(monkeypatch, tmp_path):
    installed, other = program(tmp_path / "it's here"), program(tmp_path / "other")
    monkeypatch.setattr(sys, "argv", [str(installed)])
    monkeypatch.setenv("PATH", str(installed.parent))
    assert exits.command_line("list", "a b") == "tracket list 'a b'"
    for path in (str(other.parent), ""):
        monkeypatch.setenv("PATH", path)
        assert shlex.split(exits.command_line("list")) == [str(installed), "list"]


def test_a_hint_names_this_python_where_there_is_no_program(monkeypatch):
    for argv in (["/somewhere/tracket_async/cli/__main__.py"], ["-c"], [], ["/gone/tracket"]):
        monkeypatch.setattr(sys, "argv", argv)
        assert shlex.split(exits.command_line("list")) == [sys.executable, "-m", "tracket_async.cli", "list"]
