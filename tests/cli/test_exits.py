"""How a command ends: the table from exception to exit code, and the one line."""

from __future__ import annotations

import errno

import pytest

from tracket_async import errors
from tracket_async.cli.exits import ExitCode, Terminated, describe, exit_code, one_line

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
            "unexpected RuntimeError: x y. This is a mistake in tracket: please report it, with what --debug prints",
        ),
    ],
)
def test_an_error_is_described_in_one_line(error, line):
    assert describe(error) == line


def test_the_hint_of_an_error_is_in_its_line():
    assert describe(errors.AuthenticationError("401 from the server")).endswith(errors.AuthenticationError.hint)


def test_a_line_cannot_command_the_terminal():
    assert one_line("a\x1b[2Jb\x07\u202e\r\nc") == "a\\x1b[2Jb\\x07\\u202e c"
