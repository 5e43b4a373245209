"""Credentials are checked at once and show no secret; a token is fetched once for all who need it."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import datetime as dt
import gc
import json
import pickle

import pytest

from tracket_async._http.auth import (
    AccessToken,
    Authorizer,
    BearerToken,
    ClientCredentials,
    Token,
    TokenCache,
    TokenSource,
    read_token,
    token_error,
    token_request,
)
from tracket_async._http.limits import Clock
from tracket_async._http.messages import Response, Secret
from tracket_async.errors import (
    AuthenticationError,
    ClientStateError,
    ConfigurationError,
    MalformedResponseError,
    NotFoundError,
    RateLimitedError,
    ServerError,
    UnreadableResponseError,
)

CANARY = "canary-7f3a"


async def nobody(request):
    raise AssertionError(request)


CLOCK = Clock(time=lambda: 0.0)


@pytest.mark.parametrize(
    ("scheme", "header"), [("Bearer", f"Bearer {CANARY}"), ("Token", f"Token {CANARY}"), ("", CANARY)]
)
async def test_a_bearer_token_is_the_header_for_ever(scheme, header):
    authorizer = BearerToken(CANARY, scheme).authorizer(nobody, clock=CLOCK)
    assert authorizer.get(0).reveal() == header
    assert authorizer.get(1e9).reveal() == header
    assert await authorizer.refresh() is authorizer.get(0)
    assert not authorizer.invalidate(authorizer.get(0))
    assert authorizer.scrub(f"<{CANARY}>") == "<***>"
    await authorizer.close()


async def test_client_credentials_are_exchanged_for_a_token():
    requests = []

    async def exchange(request):
        requests.append(json.loads(request.body))
        return Token(Secret("t", prefix="Bearer "), None)

    credentials = ClientCredentials("id", CANARY, 5)
    first, second = (credentials.authorizer(exchange, clock=CLOCK) for _ in range(2))
    assert (await first.refresh()).reveal() == "Bearer t"
    assert second.get(0) is None
    assert requests == [
        {
            "grant-type": "client-credentials",
            "monday/account-id": "5",
            "client-id": "id",
            "client-secret": CANARY,
        }
    ]


@pytest.mark.parametrize("auth", [BearerToken(CANARY), ClientCredentials("id", CANARY, "5")])
def test_no_way_of_looking_shows_the_secret(auth):
    assert CANARY not in repr(auth) + str(auth)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(auth)
    assert copy.copy(auth) == auth
    assert copy.deepcopy(auth) == auth


def test_a_secret_may_be_given_as_one():
    assert BearerToken(Secret(CANARY)) == BearerToken(CANARY)


@pytest.mark.parametrize(
    "bad", ["", " ", f"{CANARY}\n", f"{CANARY}\r\nX: y", f"{CANARY}\0", f"{CANARY}é", None, 5.0, b"x"]
)
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (BearerToken, "The token"),
        (lambda text: ClientCredentials(text, "s", "5"), "The client id"),
        (lambda text: ClientCredentials("i", text, "5"), "The client secret"),
        (lambda text: ClientCredentials("i", "s", text), "The account id"),
    ],
)
def test_what_no_header_may_contain_is_refused_by_name_and_not_shown(make, name, bad):
    with pytest.raises(ConfigurationError, match=f"^{name} ") as caught:
        make(bad)
    assert CANARY not in str(caught.value)


def test_an_account_id_is_not_a_truth_value():
    with pytest.raises(ConfigurationError):
        ClientCredentials("i", "s", True)


@pytest.mark.parametrize("scheme", ["Bearer ", "Bea rer", "Bearer\r\nX:", "é", None, 5])
def test_a_scheme_is_one_word(scheme):
    with pytest.raises(ConfigurationError, match="scheme"):
        BearerToken(CANARY, scheme)


NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


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
    ("sent", "seconds"),
    [(120, 120), (0.5, 0.5), ("120", 120), (" 60.5 ", 60.5), (10**400, None), (1e300, 3650 * 86_400)],
)
def test_a_lifetime_is_a_number_or_its_text(sent, seconds):
    token = read_token(answer({"access_token": "abc", "expires_in": sent}))
    assert token.expires_in == seconds


@pytest.mark.parametrize("sent", [None, 0, -5, "", "soon", "nan", "inf", True, [3600], {"seconds": 5}])
def test_a_lifetime_that_makes_no_sense_is_an_hour(sent):
    token = read_token(answer({"access_token": "abc", "expires_in": sent}))
    assert (token.fresh_for, token.expires_in) == (3240, None)
    assert read_token(answer({"access_token": "abc"})).fresh_for == 3240


@pytest.mark.parametrize(
    ("lifetime", "fresh_for"),
    [(3600, 3240), (1200, 1080), (600, 540), (599, 539), (300, 240), (120, 60), (119, 59.5), (2, 1)],
)
def test_a_token_is_refreshed_a_minute_or_a_tenth_before_its_end(lifetime, fresh_for):
    assert Token(Secret("x"), lifetime).fresh_for == pytest.approx(fresh_for)


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
    assert ("not at this address; check TRACKET_BASE_URL" in str(error)) is (status == 404)


@pytest.mark.parametrize("content", [{}, [], b"<html>", {"error": None}, {"error": "x", "access_token": "t"}])
def test_success_is_no_error(content):
    assert token_error(answer(content), now=NOW) is None


@pytest.mark.parametrize(("code", "said"), [("invalid_client", "refused (invalid_client)"), (CANARY, "are refused")])
def test_a_refusal_with_status_200_is_an_authentication_error(code, said):
    error = token_error(answer({"error": code}, **{"X-Request-Id": "r-1"}), now=NOW)
    assert type(error) is AuthenticationError
    assert (error.status, error.request_id) == (200, "r-1")
    assert said in str(error)
    assert CANARY not in str(error)
    assert not error.is_retryable(idempotent=True)


class Tokens:
    """Gives out tokens ``t1``, ``t2`` and so on, of an hour, when it is told to."""

    def __init__(self):
        self.now = 0.0
        self.calls = 0
        self.open = asyncio.Event()
        self.error = None
        self.cache = TokenCache(self.fetch, secret=Secret("client-secret"), clock=Clock(time=lambda: self.now))

    async def fetch(self):
        self.calls += 1
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return Token(Secret(f"token-{self.calls}", prefix="Bearer "), None)

    def current(self):
        header = self.cache.get(self.now)
        return None if header is None else header.reveal()


@pytest.fixture
async def tokens(no_leaks):
    tokens = Tokens()
    yield tokens
    await tokens.cache.close()


async def start(tokens, count):
    tasks = [asyncio.create_task(tokens.cache.refresh()) for _ in range(count)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_before_the_first_fetch_there_is_none(tokens):
    assert tokens.current() is None


async def test_many_who_need_one_at_once_cause_one_call(tokens):
    tasks = await start(tokens, 1_000)
    tokens.open.set()
    headers = await asyncio.gather(*tasks)
    assert tokens.calls == 1
    assert {header.reveal() for header in headers} == {"Bearer token-1"}
    assert tokens.current() == "Bearer token-1"


async def test_it_is_fresh_until_a_tenth_before_its_end(tokens):
    tokens.open.set()
    tokens.now = 1_000.0
    await tokens.cache.refresh()
    tokens.now = 1_000 + 3_240 - 0.001
    assert tokens.current() == "Bearer token-1"
    tokens.now = 1_000 + 3_240
    assert tokens.current() is None
    await tokens.cache.refresh()
    assert tokens.current() == "Bearer token-2"


async def test_its_life_begins_when_it_is_asked_for(tokens):
    (task,) = await start(tokens, 1)
    tokens.now = 50.0
    tokens.open.set()
    await task
    tokens.now = 3_240.0
    assert tokens.current() is None


async def test_whoever_is_first_may_be_cancelled(tokens):
    first, second = await start(tokens, 2)
    first.cancel()
    await asyncio.sleep(0)
    tokens.open.set()
    assert (await second).reveal() == "Bearer token-1"
    assert first.cancelled()
    assert tokens.calls == 1


async def test_everybody_may_be_cancelled_and_the_token_comes_nevertheless(tokens):
    tasks = await start(tokens, 3)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    tokens.open.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert tokens.current() == "Bearer token-1"


async def test_a_failure_that_nobody_waits_for_is_no_complaint(tokens, caplog):
    tasks = await start(tokens, 1)
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    tokens.error = ServerError("no")
    tokens.open.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert tokens.current() is None
    del tasks
    gc.collect()  # asyncio complains when the task goes
    assert caplog.text == ""


async def test_a_failure_is_everybodys_and_each_has_its_own_exception(tokens):
    tasks = await start(tokens, 3)
    tokens.error = ServerError("no", status=503, attempts=4)
    tokens.open.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert len({id(error) for error in [*errors, tokens.error]}) == 4
    assert [(str(error), error.status, error.attempts) for error in errors] == [(str(tokens.error), 503, 4)] * 3
    assert all(error.__context__ is None for error in errors)


async def test_after_a_failure_the_next_one_tries_again(tokens):
    tokens.open.set()
    tokens.error = ServerError("no")
    with pytest.raises(ServerError):
        await tokens.cache.refresh()
    tokens.error = None
    assert (await tokens.cache.refresh()).reveal() == "Bearer token-2"


async def test_a_refusal_makes_the_current_token_stale(tokens):
    tokens.open.set()
    header = await tokens.cache.refresh()
    assert tokens.cache.invalidate(header)
    assert tokens.current() is None


async def test_a_refusal_of_an_older_token_leaves_the_current_one(tokens):
    tokens.open.set()
    old = await tokens.cache.refresh()
    tokens.cache.invalidate(old)
    await tokens.cache.refresh()
    assert tokens.cache.invalidate(old)
    assert tokens.current() == "Bearer token-2"


async def test_both_secrets_are_scrubbed(tokens):
    assert tokens.cache.scrub("client-secret token-1") == "*** token-1"
    tokens.open.set()
    await tokens.cache.refresh()
    assert tokens.cache.scrub("client-secret token-1") == "*** ***"


async def test_closing_ends_a_fetch_and_those_who_wait_are_told_and_not_cancelled(tokens):
    tasks = await start(tokens, 3)
    await tokens.cache.close()
    for task in tasks:
        with pytest.raises(ClientStateError, match="closed while"):
            await task
    assert tokens.current() is None


@pytest.mark.parametrize("turns", range(6))
async def test_a_cancellation_wins_over_a_close_at_the_same_time(tokens, turns):
    (task,) = await start(tokens, 1)
    closing = asyncio.create_task(tokens.cache.close())
    for _ in range(turns):
        await asyncio.sleep(0)
    cancelled = task.cancel()
    await closing
    with pytest.raises(asyncio.CancelledError if cancelled else ClientStateError):
        await task


async def test_a_cancellation_of_long_ago_is_none_of_now(tokens):
    async def stubborn():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await tokens.cache.refresh()

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    task.cancel()
    while tokens.cache._fetching is None:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)
    await tokens.cache.close()
    with pytest.raises(ClientStateError):
        await task


async def test_who_is_cancelled_while_it_closes_is_cancelled(tokens):
    (task,) = await start(tokens, 1)
    task.cancel()
    await tokens.cache.close()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_closed_keeper_fetches_nothing(tokens):
    await tokens.cache.close()
    await tokens.cache.close()
    with pytest.raises(ClientStateError):
        await tokens.cache.refresh()
    assert tokens.calls == 0


# -- tokens that somebody else keeps ------------------------------------------------------------------------------


def test_an_access_token_is_its_header_and_shows_nothing():
    given = AccessToken(f"Token {CANARY}", 12.5, 3)
    assert given.authorization.reveal() == f"Token {CANARY}"
    assert given.authorization.scrub(f"<{CANARY}>") == "<***>"
    assert CANARY not in repr(given)
    assert AccessToken(given.authorization) == AccessToken(f"Token {CANARY}")
    assert AccessToken(CANARY).authorization.reveal() == CANARY
    with pytest.raises(ConfigurationError, match="The Authorization header is empty"):
        AccessToken("")


@pytest.mark.parametrize("fetch", [None, lambda _refused: None])
def test_a_token_source_is_an_async_callable(fetch):
    with pytest.raises(ConfigurationError, match="async callable"):
        TokenSource(fetch)


async def test_a_bearer_token_is_shared_as_it_is():
    authorizer = BearerToken(CANARY).authorizer(nobody, clock=CLOCK)
    given = await authorizer.share(None, 0.0)
    assert (given.authorization.reveal(), given.expires_in, given.serial) == (f"Bearer {CANARY}", None, 0)
    assert await authorizer.share(0, 0.0) == given


async def test_without_credentials_there_is_no_token_to_share():
    with pytest.raises(ConfigurationError, match="no credentials"):
        await Authorizer().share(None, 0.0)


async def test_a_token_is_shared_with_what_is_left_of_it_and_a_serial(tokens):
    tokens.open.set()
    first = await tokens.cache.share(None, tokens.now)
    assert (first.serial, first.expires_in) == (1, 3600.0)
    tokens.now += 600
    again = await tokens.cache.share(None, tokens.now)
    assert (again.serial, again.expires_in, again.authorization) == (1, 3000.0, first.authorization)
    assert tokens.calls == 1


async def test_only_the_refusal_of_the_current_token_fetches_another(tokens):
    tokens.open.set()
    first = await tokens.cache.share(None, 0.0)
    late = [tokens.cache.share(first.serial, 0.0) for _ in range(4)]
    assert {given.serial for given in await asyncio.gather(*late)} == {2}
    assert (await tokens.cache.share(first.serial, 0.0)).serial == 2  # this refusal comes after the refresh
    assert tokens.calls == 2


async def test_sessions_with_a_token_source_have_one_token_call_for_an_expiry(tokens):
    tokens.open.set()

    async def fetch(refused):
        return await tokens.cache.share(refused, tokens.now)

    others = [TokenSource(fetch).authorizer(nobody, clock=Clock(time=lambda: tokens.now)) for _ in range(4)]
    first = [await other.refresh() for other in others]
    assert {header.reveal() for header in first} == {"Bearer token-1"}
    assert all(other.invalidate(header) for other, header in zip(others, first, strict=True))
    second = [await other.refresh() for other in others]
    assert {header.reveal() for header in second} == {"Bearer token-2"}
    assert others[0].invalidate(first[0])  # an attempt of before the refresh: the token of now stays
    assert others[0].get(tokens.now) is second[0]
    assert tokens.calls == 2


async def test_a_token_source_is_asked_again_before_its_token_ends(tokens):
    tokens.open.set()

    async def fetch(refused):
        assert refused is None
        return await tokens.cache.share(None, tokens.now)

    other = TokenSource(fetch).authorizer(nobody, clock=Clock(time=lambda: tokens.now))
    first = await other.refresh()
    tokens.now = 3000.0
    assert other.get(tokens.now) is first
    tokens.now = 3541.0
    assert other.get(tokens.now) is None
    assert (await other.refresh()).reveal() == "Bearer token-2"
