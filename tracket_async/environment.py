"""The environment variables that make a client, and what they mean together. Pure: it is given the environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tracket_async.errors import ConfigurationError
from tracket_async.net.auth import Auth, BearerToken, ClientCredentials

API: Final = "TRACKET_API"
BASE_URL: Final = "TRACKET_BASE_URL"
TOKEN: Final = "TRACKET_TOKEN"  # noqa: S105 - the variable's name
CREDENTIALS: Final = ("TRACKET_CLIENT_ID", "TRACKET_CLIENT_SECRET", "TRACKET_ACCOUNT_ID")


def settings_of(environ: Mapping[str, str], *, auth: bool = True) -> dict[str, Any]:
    """The arguments of `TracketClient` that the environment gives. A variable that is empty is not set.

    TRACKET_TOKEN, where it is set, is used as it is, whatever is set beside it. Otherwise TRACKET_CLIENT_ID,
    TRACKET_CLIENT_SECRET and TRACKET_ACCOUNT_ID together are exchanged for tokens.

    Args:
        environ: the variables.
        auth: whether to look for credentials.

    Raises:
        ConfigurationError: there are no credentials, or only a part of them; no value is shown.
    """
    found: dict[str, Any] = {}
    if api := environ.get(API):
        found["api"] = api
    if base_url := environ.get(BASE_URL):
        found["base_url"] = base_url
    if auth:
        found["auth"] = _auth(environ)
    return found


def _auth(environ: Mapping[str, str]) -> Auth:
    if token := environ.get(TOKEN):
        return BearerToken(token)
    missing = [name for name in CREDENTIALS if not environ.get(name)]
    if len(missing) == len(CREDENTIALS):
        raise _missing(f"Neither {TOKEN} nor {', '.join(CREDENTIALS[:-1])} and {CREDENTIALS[-1]} are set")
    if missing:
        present = [name for name in CREDENTIALS if name not in missing]
        raise _missing(f"{' and '.join(present)} {_is(present)} set, but {' and '.join(missing)} {_is(missing)} not")
    client_id, client_secret, account_id = (environ[name] for name in CREDENTIALS)
    return ClientCredentials(client_id, client_secret, account_id)


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _missing(message: str) -> ConfigurationError:
    error = ConfigurationError(message)
    error.hint = "Make a client id and secret in Tracket under Preferences, API tokens, or set an access token"
    return error
