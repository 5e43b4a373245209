"""The token call's request has the vendor's keys, and its answer is read tolerantly but never shown."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from tracket_async._http.auth import Token, read_token, token_error, token_request
from tracket_async._http.messages import Response, Secret
from tracket_async.errors import (
    AuthenticationError,
    MalformedResponseError,
    NotFoundError,
    RateLimitedError,
    ServerError,
    UnreadableResponseError,
)

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
CANARY = "canary-7f3a"


def answer(content, status=200, **headers):
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Response(status, headers, body)


def test_the_request_has_exactly_the_vendors_keys():
    request = token_request("id", Secret(CANARY), "5")
    assert (request.method, request.path, request.query) == ("POST", "/api/2.0/oauth2/token", ())
    assert json.loads(request.body) == {
        "grant-type": "client-credentials",
        "monday/account-id": "5",
        "client-id": "id",
        "client-secret": CANARY,
    }
    assert CANARY not in repr(request)


def test_the_token_becomes_a_header():
    token = read_token(answer({"access_token": "abc", "expires_in": 120, "token_type": "Bearer"}))
    assert token.authorization.reveal() == "Bearer abc"
    assert "abc" not in repr(token)


@pytest.mark.parametrize(
    ("told", "lifetime"),
    [(120, 120), (0.5, 0.5), ("120", 120), (" 60.5 ", 60.5), (10**400, None), (1e300, 3650 * 86_400)],
)
def test_a_lifetime_is_a_number_or_its_text(told, lifetime):
    token = read_token(answer({"access_token": "abc", "expires_in": told}))
    assert token.told == lifetime
    assert token.lifetime == (lifetime or 3600)


@pytest.mark.parametrize("told", [None, 0, -5, "", "soon", "nan", "inf", True, [3600], {"seconds": 5}])
def test_a_lifetime_that_makes_no_sense_is_an_hour(told):
    token = read_token(answer({"access_token": "abc", "expires_in": told}))
    assert (token.lifetime, token.told) == (3600, None)
    assert read_token(answer({"access_token": "abc"})).lifetime == 3600


@pytest.mark.parametrize(
    ("lifetime", "fresh_for"),
    [(3600, 3240), (1200, 1080), (600, 540), (599, 539), (300, 240), (120, 60), (119, 59.5), (2, 1)],
)
def test_a_token_is_renewed_a_minute_or_a_tenth_before_its_end(lifetime, fresh_for):
    assert Token(Secret("x"), lifetime, None).fresh_for == pytest.approx(fresh_for)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"access_token": "canary-7f3a"', b"\xff\xfe", b'{"a":' * 100_000])
def test_an_answer_that_is_not_json_is_unreadable(body):
    with pytest.raises(UnreadableResponseError) as caught:
        read_token(answer(body))
    assert CANARY not in str(caught.value) + repr(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        "canary-7f3a",
        None,
        {"access_token": None},
        {"access_token": ""},
        {"access_token": 5},
        {"access_token": {"value": CANARY}},
        {"access_token": f"{CANARY}\r\nX-Evil: 1"},
        {"token": CANARY},
    ],
)
def test_an_answer_without_a_usable_token_is_malformed_and_not_shown(content):
    with pytest.raises(MalformedResponseError) as caught:
        read_token(answer(content))
    assert caught.value.json_path == "$.access_token"
    assert CANARY not in str(caught.value) + repr(caught.value) + repr(caught.value.__dict__)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refusal_says_which_settings_to_check(status):
    error = token_error(answer({"error": "invalid_client"}, status, **{"X-Request-Id": "r-1"}), now=NOW)
    assert type(error) is AuthenticationError
    assert (error.status, error.request_id, error.method, error.path) == (
        status,
        "r-1",
        "POST",
        "/api/2.0/oauth2/token",
    )
    assert "refused (invalid_client)" in str(error)
    assert "TRACKET_CLIENT_SECRET" in str(error)


@pytest.mark.parametrize("content", [{"error": CANARY}, {"error": [CANARY]}, CANARY, {}, b"<html>canary-7f3a"])
def test_an_error_code_that_is_none_of_the_standards_is_not_shown(content):
    error = token_error(answer(content, 401), now=NOW)
    assert error.message == "The client credentials are refused"
    assert CANARY not in repr(error.__dict__) + str(error)


@pytest.mark.parametrize(("status", "kind"), [(404, NotFoundError), (429, RateLimitedError), (503, ServerError)])
def test_another_status_is_what_it_is_elsewhere_without_its_body(status, kind):
    error = token_error(answer(CANARY, status, **{"Retry-After": "7"}), now=NOW)
    assert type(error) is kind
    assert (error.retry_after, error.excerpt) == (7, "")


def test_success_is_no_error():
    assert token_error(answer({}), now=NOW) is None
