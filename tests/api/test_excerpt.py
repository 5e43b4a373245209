"""What of a body is shown in an error."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracket_async._http.responses import LONGEST, excerpt

CANARY = "canary"

EXAMPLES = settings(max_examples=100, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"", ""),
        (b"<html>\n  <body>Bad   gateway\t</body>", "<html> <body>Bad gateway </body>"),
        (b"\x1b[31mred\x00", "\\x1b[31mred\\x00"),
        ("größer \N{RIGHT-TO-LEFT OVERRIDE}".encode(), "größer \\u202e"),
        (b"caf\xe9", "caf\N{REPLACEMENT CHARACTER}"),
        (b"x" * LONGEST, "x" * LONGEST),
        (b"x" * (LONGEST + 1), "x" * LONGEST + "..."),
        (b"\x00" * LONGEST, ("\\x00" * LONGEST)[:LONGEST] + "..."),
    ],
)
def test_an_excerpt_is_one_short_printable_line(body, shown):
    assert excerpt(body) == shown


@pytest.mark.parametrize(
    "body",
    [
        '{"access_token": "canary"}',
        '{"access_token":"canary\\"canary", "x": 1}',
        '{"client-secret" : "canary',
        '{"clientSecret":"canary\\',
        '{"password": "canary canary"}',
        "Authorization: Bearer canary.canary",
        "authorization=bearer canary",
        "Basic canary==",
        "/login?id=1&token=canary&x=2",
        "X-Api-Key: canary",
        "Set-Cookie: canary",
        "no name: canaryabcdefghijklmnopqrstu1",
        "canary-0000-4000-8000-0123456789ab",
        "eyJcanary.eyJzdWIiOiIxMjM0NTY3ODkwIn0.canary",
    ],
)
def test_what_could_be_a_secret_is_masked(body):
    shown = excerpt(body.encode())
    assert "***" in shown
    assert CANARY not in shown


def test_ordinary_words_are_not_masked():
    text = '{"error": "worklogBillableMinutes must be a number", "field": "worklogBillableMinutes"}'
    assert excerpt(text.encode()) == text


def test_a_secret_that_is_cut_by_the_window_is_not_shown():
    for room in range(60):
        body = b" " * (2048 - room) + b"canary0123456789canary0123456789canary0123456789canary0123456789"
        assert CANARY not in excerpt(body)


def test_a_long_text_without_spaces_still_has_an_excerpt():
    body = ('{"error":"x","rows":[' + ",".join(['{"a":1}'] * 500) + "]}").encode()
    assert excerpt(body).startswith('{"error":"x","rows":[{"a":1}')


@EXAMPLES
@given(st.binary(max_size=5000))
def test_an_excerpt_of_anything_is_printable_and_short(body):
    shown = excerpt(body)
    assert shown.isprintable()
    assert len(shown) <= LONGEST + 3
