"""Check the base URL of a server, and build the URLs of requests from it.

`BaseURL` decides which servers may be given credentials: https only, except on a loopback host.
"""

from __future__ import annotations

import functools
import ipaddress
from urllib.parse import quote_plus, urlsplit

import attrs
from yarl import URL

from tracket_async.errors import ConfigurationError


def _scheme(self: BaseURL) -> str:
    return self.origin.partition("://")[0]


def _authority(self: BaseURL) -> str:
    return self.origin.partition("://")[2]


@attrs.frozen
class BaseURL:
    """A checked base URL.

    Attributes:
        origin: scheme, host and port, without a final slash.
        prefix: the path before every request's path, beginning with a slash, or empty.
    """

    origin: str
    prefix: str
    _scheme: str = attrs.field(default=attrs.Factory(_scheme, takes_self=True), init=False, repr=False)
    _authority: str = attrs.field(default=attrs.Factory(_authority, takes_self=True), init=False, repr=False)

    def __str__(self) -> str:
        return self.origin + self.prefix

    @classmethod
    def parse(cls, base_url: object) -> BaseURL:
        """Check a base URL.

        Raises:
            ConfigurationError: it is no URL, not secure, or carries what does not belong there. Userinfo is not shown.
        """
        if not isinstance(base_url, str):
            raise _refusal(f"The base URL must be a string, not {type(base_url).__name__}")
        if not base_url or not (base_url.isascii() and base_url.isprintable()) or set(' \\"<>^`{|}') & set(base_url):
            raise _refusal("The base URL is empty or contains a character that no URL contains")
        try:
            parts = urlsplit(base_url)
            port = parts.port
            host = parts.hostname or ""
        except ValueError:
            raise _refusal("The base URL cannot be read: its host or port is malformed") from None
        if "@" in parts.netloc:
            raise _refusal("The base URL contains a user name or password")
        if "?" in base_url or "#" in base_url:
            raise _refusal("The base URL contains a query or a fragment")
        if parts.scheme not in {"http", "https"} or not host:
            raise _refusal(f"The base URL {base_url!r} does not begin with https:// and a host")
        if parts.scheme == "http" and not is_loopback(host):
            raise _refusal(f"The base URL {base_url!r} is not https, so that everybody on the way could read the token")
        return cls(_origin(parts.scheme, host, port), _prefix(parts.path))

    def url(self, path: str, query: tuple[tuple[str, str], ...] = ()) -> URL:
        """Build the URL of a request from a path that is already quoted and a query that is not."""
        # Put together, as its parts are known: to parse its text takes more than twice as long.
        return URL.build(
            scheme=self._scheme,
            authority=self._authority,
            path=self.prefix + path,
            query_string="&".join(map(_quoted, query)),
            encoded=True,
        )


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine itself (RFC 6761, 6.3; RFC 1122, 3.2.1.3; RFC 4291, 2.5.3)."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@functools.lru_cache(maxsize=64)  # of a walk's pages, only the cursors differ
def _quoted(pair: tuple[str, str]) -> str:
    return "=".join(map(quote_plus, pair))


def _origin(scheme: str, host: str, port: int | None) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}" + (f":{port}" if port is not None else "")


def _prefix(path: str) -> str:
    if any(part in {".", ".."} for part in path.split("/")):
        raise _refusal("The base URL contains a path that climbs")
    return path.rstrip("/")


def _refusal(message: str) -> ConfigurationError:
    return ConfigurationError(message, hint="Give an origin with an optional path, such as https://tracket.dev")
