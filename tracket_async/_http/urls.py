"""Check the base URL of a server, build the URLs of requests from it, and find the proxy on the way.

`BaseURL` decides which servers may be given credentials: https only, except on a loopback host.

`Proxy` is given, or named by the environment as other programs read it: https_proxy, http_proxy, all_proxy and
no_proxy, in upper case too. It is not left to aiohttp, whose ``trust_env`` also looks for credentials in
``~/.netrc``, and not to urllib, which knows no CIDR.
"""

from __future__ import annotations

import base64
import functools
import ipaddress
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote_plus, urlsplit

import attrs
from yarl import URL

from tracket_async._http.messages import NO_AUTHORIZATION, Secret
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

    @property
    def is_plain(self) -> bool:
        """Return whether it is http, without TLS: then it is on this machine."""
        return self._scheme == "http"

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


@attrs.frozen
class Proxy:
    """A proxy on the way to the server.

    Attributes:
        url: its address, without user and password.
        source: the variable that names it; empty: the caller gave it.
        authorization: for the header Proxy-Authorization.
    """

    url: URL
    source: str = ""
    authorization: Secret = NO_AUTHORIZATION

    def __str__(self) -> str:
        return f"{self.url} ({self.source})" if self.source else str(self.url)

    @classmethod
    def parse(cls, text: object, *, source: str = "") -> Proxy:
        """Check a proxy's URL. Without a scheme it is http.

        Raises:
            ConfigurationError: it is none, or of another kind than http and https. The URL is not shown.
        """
        if not isinstance(text, str):
            raise _no_proxy(f"proxy must be a string, not {type(text).__name__}")
        try:
            url = URL(text if "://" in text else f"http://{text}")
            port = url.port
        except ValueError:
            url, port = URL(), None
        if url.scheme not in {"http", "https"} or not url.host or port is None:
            raise _no_proxy(f"{source or 'proxy'} is not the URL of an http proxy")
        authorization = NO_AUTHORIZATION
        if url.user is not None:
            pair = f"{url.user}:{url.password or ''}".encode()
            authorization = Secret(base64.b64encode(pair).decode(), prefix="Basic ")
        return cls(url.with_user(None).origin(), source, authorization)

    def headers(self) -> dict[str, str]:
        """Return the headers for the proxy."""
        value = self.authorization.reveal()
        return {"Proxy-Authorization": value} if value else {}


def proxy_for(base_url: BaseURL, proxy: object, environ: Mapping[str, str] | None) -> Proxy | None:
    """Return the proxy for a server: the one that is given, else the one that the environment names, else None.

    http servers are on this machine (`BaseURL`). A proxy elsewhere could read what is sent to them, so one that is
    given is refused, and one of the environment is not used.

    Args:
        base_url: of the server.
        proxy: its URL; None: none is given.
        environ: the variables; None: they do not count.

    Raises:
        ConfigurationError: it is no URL of an http proxy, or elsewhere and the server is http.
    """
    url = URL(base_url.origin)
    if proxy is not None:
        given = Proxy.parse(proxy)
        if base_url.is_plain and not is_loopback(given.url.host or ""):
            raise _no_proxy(f"The proxy could read the token: {base_url} is this machine, without TLS")
        return given
    found = None if environ is None else _from_environment(url, environ)
    if found is None or (base_url.is_plain and not is_loopback(found.url.host or "")):
        return None
    return found


def _from_environment(url: URL, environ: Mapping[str, str]) -> Proxy | None:
    host, port = (url.host or "").rstrip("."), url.port or 0
    no_proxy = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if any(_matches(entry, host, port) for entry in re.split(r"[,\s]+", no_proxy.lower()) if entry):
        return None
    names = [f"{url.scheme}_proxy", f"{url.scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY"]
    if "REQUEST_METHOD" in environ and "HTTP_PROXY" in names:
        names.remove("HTTP_PROXY")  # of a CGI program, it is the header Proxy of whoever asks (httpoxy)
    name = next((name for name in names if environ.get(name)), None)
    return None if name is None else Proxy.parse(environ[name], source=name)


_ENTRY: Final = re.compile(r"\*?\.?\[?(?P<name>[^\[\]]+?)\]?(?::(?P<port>\d{1,5}))?")


def _matches(entry: str, host: str, port: int) -> bool:
    """Return whether an entry of NO_PROXY is about a server: ``*``, a domain, an address or a network, with a port."""
    if entry == "*":
        return True
    network = _network(entry)
    if network is None:
        found = _ENTRY.fullmatch(entry)
        if found is None or int(found["port"] or port) != port:
            return False
        name = found["name"].rstrip(".")
        if host == name or host.endswith(f".{name}"):
            return True
        network = _network(name)
    try:
        return network is not None and ipaddress.ip_address(host) in network
    except ValueError:
        return False


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _no_proxy(message: str) -> ConfigurationError:
    return ConfigurationError(
        message,
        hint="Give http://host:port, with user:password@ before the host if need be, or connect without a proxy"
        " (NO_PROXY, --no-proxy)",
    )
