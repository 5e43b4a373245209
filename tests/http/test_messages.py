"""Requests, responses and secrets show nothing of what they carry; a header takes no text that could end it."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import pprint
import traceback

import attrs
import pytest

from tracket_async._http.messages import Request, Response, Secret, encode_json, header_text
from tracket_async.errors import ConfigurationError, UsageError

CANARY = "canary-7f3a"


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"a": 'x"\\/\n\t\b\f\r\x7f\u2028é漢🙂', "b": 90, "c": -1, "d": True, "e": None},
        {"more than 64 bits": 10**300, "less": -(2**70)},
        {"a": 7.5, "b": 1e300, "inside": {"b": [1, "é"]}},
    ],
)
def test_json_is_written_as_the_json_module_writes_it(content):
    expected = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    assert encode_json(content) == expected.encode()


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), "cut \ud83d", b"x", {1}, {"a": float("nan")}, CANARY.encode]
)
def test_what_json_cannot_represent_is_refused(value):
    with pytest.raises(UsageError, match="cannot be written as JSON"):
        encode_json({"a": value})


def test_a_secret_gives_its_text_to_who_asks_by_name():
    assert Secret(CANARY).reveal() == CANARY
    assert Secret(CANARY, prefix="Bearer ").reveal() == f"Bearer {CANARY}"


def test_no_other_way_shows_it(caplog):
    secret = Secret(CANARY, prefix="Bearer ")
    logging.getLogger("t").warning("%s %r", secret, {"k": secret})
    holder = attrs.make_class("Holder", ["secret"])(secret)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>30}", pprint.pformat([secret]), repr(holder)]
    with pytest.raises(ValueError, match=r"\*\*\*") as caught:
        raise ValueError(secret)
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    shown.append("".join(told.format()))
    assert CANARY not in "".join([*shown, caplog.text])


def test_it_cannot_be_pickled_and_a_copy_is_itself():
    secret = Secret(CANARY)
    with pytest.raises(TypeError, match="cannot be pickled") as caught:
        pickle.dumps(secret)
    assert CANARY not in str(caught.value)
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret


def test_equal_texts_are_equal_secrets_and_no_text_is_one():
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a", prefix="x") != Secret("a")
    assert Secret("a") != "a"


def test_a_text_is_scrubbed_of_it():
    assert Secret(CANARY, prefix="Bearer ").scrub(f"got 'Bearer {CANARY}', {CANARY}") == "got 'Bearer ***', ***"


@pytest.mark.parametrize(("text", "scrubbed"), [("", "abcd"), ("abc", "abcd"), ("abcd", "***")])
def test_what_is_too_short_to_be_a_secret_is_not_scrubbed(text, scrubbed):
    assert Secret(text).scrub("abcd") == scrubbed


@pytest.mark.parametrize("value", ["x", "Bearer abc", "~!@#$%^&*()"])
def test_a_header_takes_visible_ascii_with_spaces_inside(value):
    assert header_text("It", value) == value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "a string, not NoneType"),
        (b"x", "a string, not bytes"),
        ("", "is empty"),
        ("  \n", "is empty"),
        (f"{CANARY}\n", "white space"),
        (f" {CANARY}", "white space"),
        (f"{CANARY}\r\nX-Other: 1", "a line end"),
        (f"{CANARY}\nx", "a line end"),
        (f"{CANARY}\0x", "a control character"),
        (f"{CANARY}\tx", "a control character"),
        (f"{CANARY}é", "outside ASCII"),
        (f"{CANARY}\u2028x", "outside ASCII"),
    ],
)
def test_anything_else_is_refused_without_being_shown(value, reason):
    with pytest.raises(ConfigurationError, match=r"^The token") as caught:
        header_text("The token", value)
    assert reason in str(caught.value)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("method", "idempotent"), [("GET", True), ("PUT", True), ("DELETE", True), ("HEAD", True), ("POST", False)]
)
def test_only_a_post_must_not_be_sent_twice(method, idempotent):
    assert Request(method=method, path="/api/2.0/x", route="/api/2.0/x").idempotent is idempotent


def test_a_repr_shows_no_body_and_no_headers():
    request = Request(method="POST", path="/api/2.0/x", route="/api/2.0/x", body=b"canary")
    response = Response(status=200, headers={"Set-Cookie": "canary"}, body=b"canary")
    assert "canary" not in repr(request) + repr(response)
