"""Statuses, headers and bodies of responses: what they become never raises and never shows a secret."""

from __future__ import annotations

import datetime as dt
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracket_async import errors
from tracket_async._http.responses import (
    LONGEST,
    LONGEST_MESSAGE,
    error_for,
    excerpt,
    header,
    parse_http_date,
    parse_retry_after,
    reset_in,
)

NOON = "Sun, 06 Nov 1994 12:00:00 GMT"
AT_NOON = dt.datetime(1994, 11, 6, 12, tzinfo=dt.UTC)

EXAMPLES = settings(max_examples=100, deadline=None, derandomize=True)


def answer(status, headers=None, body=b""):
    return error_for(status, headers or {}, body, method="GET", path="/api/1.0/worklogs")


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 299])
def test_a_success_is_no_error(status):
    assert answer(status) is None


@pytest.mark.parametrize(
    ("status", "kind", "fault"),
    [
        (100, errors.StatusError, "server"),
        (199, errors.StatusError, "server"),
        (300, errors.RedirectError, "server"),
        (301, errors.RedirectError, "server"),
        (399, errors.RedirectError, "server"),
        (400, errors.BadRequestError, "client"),
        (401, errors.AuthenticationError, "client"),
        (402, errors.StatusError, "server"),
        (403, errors.PermissionDeniedError, "client"),
        (404, errors.NotFoundError, "client"),
        (405, errors.StatusError, "server"),
        (408, errors.StatusError, "server"),
        (409, errors.ConflictError, "client"),
        (410, errors.GoneError, "client"),
        (413, errors.PayloadTooLargeError, "client"),
        (418, errors.StatusError, "server"),
        (422, errors.BadRequestError, "client"),
        (429, errors.RateLimitedError, "server"),
        (499, errors.StatusError, "server"),
        (500, errors.ServerError, "server"),
        (502, errors.ServerError, "server"),
        (503, errors.ServerError, "server"),
        (504, errors.ServerError, "server"),
        (599, errors.ServerError, "server"),
        (600, errors.StatusError, "server"),
    ],
)
def test_the_table_decides_about_the_class_of_the_error(status, kind, fault):
    error = answer(status)
    assert type(error) is kind
    assert error.fault == fault
    assert error.status == status
    assert (error.method, error.path) == ("GET", "/api/1.0/worklogs")
    assert str(status) in str(error)


def test_an_error_carries_what_headers_and_body_say():
    error = answer(503, {"retry-after": "120", "x-request-id": "r-1"}, b'{"message": "busy"}')
    assert error.retry_after == 120
    assert error.request_id == "r-1"
    assert error.excerpt == '{"message": "busy"}'


def test_the_first_header_in_the_table_that_says_something_is_the_request_id():
    error = answer(500, {"Request-Id": "second", "X-Request-Id": "  ", "X-Correlation-Id": "first\x1b[31m" + "x" * 200})
    assert error.request_id == ("first[31m" + "x" * 200)[:127]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"error": "no", "field": "worklogMinutes"}', "worklogMinutes"),
        (b'{"errors": [{"property": "minutes", "message": "no"}]}', "minutes"),
        (b'{"detail": [{"loc": ["body", "minutes"]}]}', "minutes"),
        (b'{"errors": [{"source": {"pointer": "/data/minutes"}}]}', "minutes"),
        (b'{"error": {"details": {"field": "user"}}}', "user"),
        (b'[{"field": "user"}]', "user"),
        (b'{"field": 5, "path": [], "errors": [1, null, "x"]}', None),
        (b'{"field": " / "}', None),
        (b'{"timestamp": "2026", "error": "Bad Request", "path": "/v2/things"}', None),
        (b'{"message": "no", "path": "/prefix/api/1.0/worklogs"}', None),
        (b'{"path": "/api/1.0/worklogs", "errors": [{"field": "minutes"}]}', "minutes"),
        (b'{"violations": [{"path": "minutes", "message": "no"}]}', "minutes"),
        (b'{"message": "worklogMinutes is wrong"}', None),
        (b"<html>", None),
        (b"", None),
        (b"[" * 100_000, None),
        (b'{"error": {"error": {"error": {"error": {"field": "too deep"}}}}}', None),
    ],
)
@pytest.mark.parametrize("status", [400, 422])
def test_a_refused_field_is_named_where_the_body_names_one(status, body, field):
    error = answer(status, body=body)
    assert error.field == field
    assert (f"names the field {field!r}" in error.message) is (field is not None)


TRACE = "org.springframework.Minutes\\n\\tat com.example.Rows.check(Rows.java:17)" * 400
PADDING = "x " * 120
LATER = "must be at least 0, and at most 1440 on one day"


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (
            (
                '{"timestamp": "2026", "status": 400, "error": "Bad Request", "trace": "TRACE", "message": "LATER",'
                ' "path": "/api/1.0/worklogs"}'
            ),
            LATER,
        ),
        (
            (
                '{"timestamp": "2026", "trace": "TRACE", "message": "Not valid", "errors": [{"defaultMessage": "LATER",'
                ' "field": "minutes"}]}'
            ),
            f"Not valid; minutes: {LATER}",
        ),
        ('{"type": "PADDING", "title": "Bad minutes", "detail": "LATER"}', f"Bad minutes: {LATER}"),
        (
            (
                '{"meta": "PADDING", "errors": [{"title": "A", "detail": "LATER", "source": {"pointer": "/data/min"}},'
                ' {"detail": "a minutes field is missing", "source": {"pointer": "/data/minutes"}}, "b", null, " "]}'
            ),
            f"min: A: {LATER}; a minutes field is missing; b",
        ),
        ('{"detail": [{"input": "PADDING", "loc": ["body", "minutes"], "msg": "LATER"}]}', f"minutes: {LATER}"),
        (
            '{"traceId": "PADDING", "title": "A", "errors": {"minutes": ["LATER", "b"]}}',
            f"A; minutes: {LATER}; minutes: b",
        ),
        ('{"x": "PADDING", "errors": {"detail": ["b"], "count": 1}}', "b"),
        ('{"x": "PADDING", "error": {"message": "b", "error": "c"}}', "b"),
        ('{"x": "PADDING", "error": "b"}', "b"),
        ('{"x": "PADDING", "message": "Bearer canary is no token"}', "Bearer *** is no token"),
        ('{"message": "short"}', '{"message": "short"}'),
        ("Traceback (most recent call last):\n  PADDING\nValueError: LATER\n", f"ValueError: {LATER}"),
    ],
)
@pytest.mark.parametrize("status", [400, 500])
def test_the_message_of_an_error_is_shown_however_much_surrounds_it(status, body, shown):
    body = body.replace("TRACE", TRACE).replace("PADDING", PADDING).replace("LATER", LATER)
    assert answer(status, body=body.encode()).excerpt == shown


@pytest.mark.parametrize(
    "body", ['{"x": "PADDING"}', '{"x": "PADDING", "message": ["cut"', '{"x": "PADDING", "title": 5}']
)
def test_where_no_message_is_found_the_beginning_is_shown(body):
    body = body.replace("PADDING", PADDING).encode()
    assert answer(500, body=body).excerpt == excerpt(body)


def test_a_long_message_is_cut_later_than_a_body():
    shown = answer(500, body=b'{"message": "%s"}' % (b"ab " * 400)).excerpt
    assert shown == ("ab " * 400)[:LONGEST_MESSAGE] + "..."


def test_only_a_bad_request_looks_for_a_field():
    error = answer(404, body=b'{"field": "id"}')
    assert "names the field" not in str(error)


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("https://elsewhere.example:8443/path?token=canary", "to https://elsewhere.example:8443"),
        ("http://user:canary@elsewhere.example/", "to http://elsewhere.example"),
        ("//elsewhere.example/x", "to https://elsewhere.example"),
        ("/login?token=canary", "to another path"),
        ("http://[broken", "redirects (302"),
        ("https://elsewhere.example:canary/", "redirects (302"),
        (None, "redirects (302"),
    ],
)
def test_a_redirect_tells_the_origin_that_it_leads_to_and_no_more(location, said):
    error = answer(302, {} if location is None else {"Location": location})
    assert said in str(error)
    assert "canary" not in str(error)


def test_headers_are_found_whatever_their_case():
    assert header({"retry-after": "1"}, "Retry-After") == "1"
    assert header({"Retry-After": "1"}, "Retry-After") == "1"
    assert header({"Other": "1"}, "Retry-After") is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("1", 1),
        (" 120 ", 120),
        ("007", 7),
        ("999999999", 999_999_999),
        ("9999999999", None),
        ("-5", None),
        ("+5", None),
        ("1.5", 1.5),
        ("1, 1", 1),
        ("0.25,0.25 , 0.25", 0.25),
        ("1, 2", None),
        (",", None),
        ("1.", None),
        ("1e3", None),
        ("inf", None),
        ("nan", None),
        ("rubbish", None),
        ("", None),
        ("\u0663", None),
        (None, None),
        ("Sun, 06 Nov 1994 12:00:30 GMT", 30),
        ("Sunday, 06-Nov-94 12:00:30 GMT", 30),
        ("Sun Nov  6 12:00:30 1994", 30),
        ("Sun, 06 Nov 1994 11:00:00 GMT", 0),
        ("Sun, 06 Nov 99999 12:00:30 GMT", None),
        ("Sun, 36 Nov 1994 12:00:30 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_relative_to_the_answers_own(value, seconds):
    assert parse_retry_after(value, NOON) == seconds


def test_a_date_without_the_servers_date_is_relative_to_the_time_here():
    later = "Sun, 06 Nov 1994 12:01:00 GMT"
    assert parse_retry_after(later) is None
    assert parse_retry_after(later, now=AT_NOON) == 60
    assert parse_retry_after(later, "rubbish", now=AT_NOON) == 60
    assert parse_retry_after(later, "Sun, 06 Nov 1994 12:00:59 GMT", now=AT_NOON) == 1
    error = error_for(429, {"Retry-After": later}, b"", method="GET", path="/", now=AT_NOON)
    assert error.retry_after == 60


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500"}, 1.5),
        ({"Retry-After-Ms": "20", "Retry-After": "1"}, 0.02),
        ({"retry-after-ms": "soon", "Retry-After": "1"}, 1),
        ({"retry-after-ms": "9" * 40}, None),
        ({"RateLimit-Reset": "7"}, 7),
        ({"X-RateLimit-Reset": "7.5"}, 7.5),
        ({"RateLimit-Reset": "7", "Retry-After": "3"}, 3),
        ({"RateLimit-Remaining": "0", "RateLimit-Reset": "7"}, 7),
        ({"RateLimit-Remaining": "4", "RateLimit-Reset": "7"}, None),
        ({"X-RateLimit-Remaining": "0, 0", "X-RateLimit-Reset": "7, 7"}, 7),
        ({"RateLimit-Reset": "0", "X-RateLimit-Reset": "5"}, 5),
        ({"X-RateLimit-Reset": "1700000030", "Date": "Tue, 14 Nov 2023 22:13:20 GMT"}, 30),
        ({"X-RateLimit-Reset": "1700000000", "Date": "Tue, 14 Nov 2023 22:13:20 GMT"}, None),
        ({"X-RateLimit-Reset": "999999999999"}, None),
        *(({"RateLimit-Reset": rubbish}, None) for rubbish in ("inf", "nan", "-5", "9" * 400, "", "soon", "\u0663")),
    ],
)
def test_a_429_may_say_how_long_to_wait_in_other_headers(headers, seconds):
    assert answer(429, headers).retry_after == seconds
    only_after = {name: text for name, text in headers.items() if "after" in name.lower()}
    assert answer(503, headers).retry_after == answer(429, only_after).retry_after


def test_a_reset_without_the_servers_date_is_relative_to_the_time_here():
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1700000030"}
    now = dt.datetime.fromtimestamp(1_700_000_000, dt.UTC)
    assert reset_in(headers, now=now) == 30
    assert reset_in(headers, now=None) is None
    assert reset_in({"X-RateLimit-Reset": "5"}, now=now) is None


@pytest.mark.parametrize(
    ("value", "remains", "refused"),
    [
        ("limit=10, remaining=0, reset=5", 5, 5),
        ("limit=10, remaining=3, reset=5", None, None),
        ("limit=10,remaining=0,reset=5", 5, 5),
        ("limit=10, reset=5", None, 5),
        ('"default";r=0;t=5', 5, 5),
        ('"default";r=3;t=5', None, None),
        ('"burst";r=0;t=5, "daily";r=99;t=3600', 5, 5),
        ('"burst";r=0;t=5, "daily";r=0;t=3600', 3600, 3600),
        ('"burst"; r=0; t=5; pk=:YWJj:', 5, 5),
        ('"default";t=5', None, 5),
        ('"default";r=0', None, None),
        ("", None, None),
        ("remaining=0, reset=-5", None, None),
        ("nonsense", None, None),
    ],
)
def test_a_rate_limit_in_one_header_is_read_in_both_forms(value, remains, refused):
    assert reset_in({"RateLimit": value}, now=None) == remains
    assert answer(429, {"RateLimit": value}).retry_after == refused


@EXAMPLES
@given(st.text(max_size=20) | st.floats().map(str), st.text(max_size=20) | st.floats().map(str))
def test_a_reset_never_raises_and_never_asks_for_a_strange_wait(remaining, reset):
    headers = {"RateLimit-Remaining": remaining, "RateLimit-Reset": reset, "Retry-After-Ms": reset}
    for seconds in (reset_in(headers, now=AT_NOON), answer(429, headers).retry_after):
        assert seconds is None or (math.isfinite(seconds) and seconds >= 0)


@EXAMPLES
@given(st.text() | st.from_regex(r"\s*[A-Z][a-z]+,? [-+0-9A-Za-z: ]*", fullmatch=True), st.none() | st.text())
def test_retry_after_never_raises_and_never_asks_for_a_strange_wait(value, date):
    seconds = parse_retry_after(value, date, now=AT_NOON)
    assert seconds is None or (math.isfinite(seconds) and seconds >= 0)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", dt.datetime(1994, 11, 6, 8, 49, 37, tzinfo=dt.UTC)),
        ("Sunday, 06-Nov-94 08:49:37 GMT", dt.datetime(1994, 11, 6, 8, 49, 37, tzinfo=dt.UTC)),
        ("Sun Nov  6 08:49:37 1994", dt.datetime(1994, 11, 6, 8, 49, 37, tzinfo=dt.UTC)),
        ("Sun, 06 Nov 1994 08:49:37 +0200", dt.datetime(1994, 11, 6, 6, 49, 37, tzinfo=dt.UTC)),
        ("Fri, 31 Dec 9999 23:59:59 -2359", None),
        ("1994-11-06T08:49:37Z", None),
        ("yesterday", None),
        ("Sun, " + "9" * 100, None),
    ],
)
def test_the_three_forms_of_an_http_date_are_read(text, moment):
    assert parse_http_date(text) == moment


@EXAMPLES
@given(st.integers(100, 999), st.dictionaries(st.text(max_size=20), st.text(max_size=50), max_size=3), st.binary())
def test_whatever_the_answer_there_is_an_error_with_its_status(status, headers, body):
    error = answer(status, headers, body)
    assert (error is None) is (200 <= status < 300)
    assert error is None or (error.status == status and str(error))


CANARY = "canary"


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
