"""What a caller gives as credentials is checked at once, shows no secret, and serves many sessions."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from tracket_async._http.auth import BearerToken, ClientCredentials, Token
from tracket_async._http.limits import Clock
from tracket_async._http.messages import Secret
from tracket_async.errors import ClientStateError, ConfigurationError

CANARY = "canary-7f3a"


async def nobody(request):
    raise AssertionError(request)


CLOCK = Clock(time=lambda: 0.0)


@pytest.mark.parametrize(
    ("scheme", "header"), [("Bearer", f"Bearer {CANARY}"), ("Token", f"Token {CANARY}"), ("", CANARY)]
)
async def test_a_bearer_token_is_the_header_for_ever(scheme, header):
    authorizer = BearerToken(CANARY, scheme).authorizer(nobody, clock=CLOCK)
    assert authorizer.current(0).reveal() == header
    assert authorizer.current(1e9).reveal() == header
    assert not authorizer.refused(authorizer.current(0))
    assert authorizer.scrub(f"<{CANARY}>") == "<***>"
    with pytest.raises(ClientStateError):
        await authorizer.renew()
    await authorizer.close()


async def test_client_credentials_are_exchanged_for_a_token():
    requests = []

    async def exchange(request):
        requests.append(json.loads(request.body))
        return Token(Secret("t", before="Bearer "), 3600.0, None)

    credentials = ClientCredentials("id", CANARY, 5)
    first, second = (credentials.authorizer(exchange, clock=CLOCK) for _ in range(2))
    assert (await first.renew()).reveal() == "Bearer t"
    assert second.current(0) is None
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
