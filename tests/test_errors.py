"""The exception tree: what each error carries, says, and keeps when it is pickled."""

from __future__ import annotations

import asyncio
import importlib.metadata
import inspect
import json
import pickle
import re
import shlex
import sys

import pytest

from tracket_async import errors
from tracket_async.errors import RequestError, TracketError

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, TracketError)]
REQUEST_ERRORS = [c for c in CLASSES if issubclass(c, RequestError)]
DETAILS = {
    "method": "GET",
    "path": "/api/1.0/worklogs/7",
    "status": 503,
    "attempts": 4,
    "retry_after": 2.5,
    "request_id": "r-1",
    "excerpt": "no <b>",
    "maybe_sent": False,
    "maybe_done": True,
    "stopped_by": "budget",
}


def test_the_drawing_shows_the_tree_as_it_is():
    """Every class stands in the drawing once, below its parent, with the built-in type that it also is."""
    drawn, parents = {}, []
    for line in errors.__doc__.splitlines():
        found = re.match(r"^([ |`-]*)(\w*Error)\b(?: \((\w+)\))?", line)
        if found:
            depth = (len(found[1]) - 4) // 4
            parents[depth:] = [found[2]]
            drawn[found[2]] = (parents[depth - 1] if depth else None, found[3])
    real = {}
    for cls in CLASSES:
        ours = [base.__name__ for base in cls.__bases__ if base in CLASSES]
        others = [base.__name__ for base in cls.__bases__ if base not in CLASSES and base is not Exception]
        real[cls.__name__] = (ours[0] if ours else None, others[0] if others else None)
    assert drawn == real


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_is_described_and_blames_somebody(cls):
    assert cls.__doc__
    assert cls.fault in {"client", "server", "network"}


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_survives_pickling(cls):
    error = cls("what happened")
    error.cursor = "c"
    if isinstance(error, RequestError):
        error.add(**DETAILS)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert copy.__dict__ == error.__dict__
    assert str(copy) == str(error)
    assert copy.cursor == "c"


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_takes_its_details_in_its_constructor(cls):
    error = cls("It broke", hint="Mend it", cursor="c", fault="network")
    assert (error.hint, error.cursor, error.fault, str(error)) == ("Mend it", "c", "network", "It broke. Mend it")
    with pytest.raises(TypeError, match="has no detail 'hnit'"):
        cls("It broke", hnit="Mend it")


@pytest.mark.parametrize("cls", REQUEST_ERRORS)
def test_a_request_error_says_which_call_and_how_often(cls):
    text = str(cls("It broke", **DETAILS))
    for part in ("It broke", "GET /api/1.0/worklogs/7", "4 attempts", "budget", "2.5 s", "r-1", "'no <b>'", cls.hint):
        assert part in text


def test_a_bare_error_is_one_plain_sentence():
    assert str(RequestError("It broke")) == "It broke"
    assert str(errors.ConnectError("It broke")).endswith("Check TRACKET_BASE_URL and the network")
    assert str(TracketError()) == "TracketError"
    assert TracketError("a").message == "a"


def test_a_single_attempt_is_not_worth_a_word():
    assert "attempt" not in str(RequestError("It broke", attempts=1))


def test_an_unknown_detail_is_refused():
    with pytest.raises(TypeError, match="colour"):
        RequestError("It broke", colour="red")


def test_timeouts_and_usage_errors_are_the_builtin_kinds_too():
    assert issubclass(errors.AttemptTimeoutError, TimeoutError)
    assert issubclass(errors.DeadlineExceededError, TimeoutError)
    assert issubclass(errors.ConfigurationError, ValueError)
    assert issubclass(errors.ClientStateError, RuntimeError)
    assert issubclass(errors.StorageError, OSError)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, ["tracket-async[cli]"]),
        ({"url": "https://host/it.whl", "archive_info": {}}, ["tracket-async[cli]"]),
        ({"url": "file:///a%20b/clone", "dir_info": {}}, ["/a b/clone[cli]"]),
        ({"url": "file:///clone", "dir_info": {"editable": True}}, ["--editable", "/clone[cli]"]),
    ],
)
def test_an_extra_is_installed_from_the_source_of_this_package(monkeypatch, source, words):
    class Distribution:
        def read_text(self, name):
            return json.dumps(source) if source and name == "direct_url.json" else None

    monkeypatch.setattr(importlib.metadata, "distribution", lambda _name: Distribution())
    start, _, command = errors.install_hint("cli").partition("Run: ")
    assert start == ""
    assert shlex.split(command) == [sys.executable, "-m", "pip", "install", *words]


def test_an_extra_is_named_even_where_this_package_is_not_installed(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    assert errors.install_hint("cli").endswith("'tracket-async[cli]'")


@pytest.mark.parametrize(
    ("error", "sent"),
    [
        (errors.ConnectError("x"), False),
        (errors.ConnectError("x", maybe_done=True), True),
        (errors.RateLimitedError("x", status=429), False),
        (errors.ServerError("x", status=503), True),
        (errors.ClientStateError("x"), False),
        (errors.ClientStateError("x", maybe_sent=True), True),
        (asyncio.CancelledError(), True),
        (ValueError("x"), True),
    ],
)
def test_every_exception_of_a_call_says_whether_it_may_have_happened(error, sent):
    assert errors.maybe_sent(error) is sent
