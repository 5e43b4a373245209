"""The proxy on the way to the server: which one, that every byte goes through it, and that nobody sees its password."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from pathlib import Path

import pytest

from tracket_async import ConfigurationError, ConnectError, TracketClient
from tracket_async._http.auth import BearerToken
from tracket_async._http.session import TracketSession
from tracket_async._http.urls import BaseURL, proxy_for

SAMPLES = Path(__file__).parents[1] / "samples" / "http"
TRACKET = BaseURL.parse("https://tracket.dev")
LOOPBACK = BaseURL.parse("http://127.0.0.1:8000")
PASSWORD = "canary-2b9d"

pytestmark = pytest.mark.usefixtures("no_leaks")


class ForwardProxy:
    """A proxy that leads every request, of whatever host, to one port of this machine; with CONNECT and without."""

    def __init__(self, target):
        self.target, self.heads, self.tasks = target, [], set()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        asyncio.get_running_loop().remove_reader(self.server.sockets[0].fileno())
        for _ in range(5):  # what was accepted begins to be served
            await asyncio.sleep(0)
        self.server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def serve(self, reader, writer):
        self.tasks.add(asyncio.current_task())
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head.decode("latin-1"))
            there, onward = await asyncio.open_connection("127.0.0.1", self.target)
            with contextlib.closing(onward):
                if head.startswith(b"CONNECT "):
                    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                else:
                    onward.write(head)
                await asyncio.gather(self.pump(reader, onward), self.pump(there, writer))

    @staticmethod
    async def pump(reader, writer):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
        writer.close()


def body(response):
    return response.body


def headers_of(head):
    return dict(line.split(": ", 1) for line in head.lower().split("\r\n")[1:] if line)


async def test_tls_goes_through_connect_and_the_proxy_sees_no_token(server, get, http):
    await server.stop()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(SAMPLES / "certificate.pem", SAMPLES / "key.pem")
    await server.start(ssl=context)
    server.answers = [http(200, b'"there"')]
    trusting = ssl.create_default_context(cafile=SAMPLES / "certificate.pem")
    async with ForwardProxy(int(server.url.rpartition(":")[2])) as proxy:
        url = f"http://me:{PASSWORD}%40@127.0.0.1:{proxy.port}"
        # Nobody resolves localhost but the proxy, which knows another port under its name.
        async with TracketSession("https://localhost:1", auth=BearerToken("t-1"), proxy=url, ssl=trusting) as session:
            assert await session.send(get, body) == b'"there"'
            assert await session.send(get, body) == b'"there"'
    (head,) = proxy.heads  # one tunnel, used twice
    assert head.startswith("CONNECT localhost:1 HTTP/1.1\r\n")
    assert "t-1" not in head
    assert headers_of(head)["proxy-authorization"].startswith("basic ")
    assert [exchange.headers["authorization"] for exchange in server.received] == ["Bearer t-1"] * 2
    assert "proxy-authorization" not in server.received[0].headers


async def test_plain_http_asks_the_proxy_for_the_whole_url(server, get, http):
    server.answers = [http(200, b'"there"')]
    async with ForwardProxy(int(server.url.rpartition(":")[2])) as proxy:
        url = f"http://me:{PASSWORD}@127.0.0.1:{proxy.port}"
        async with TracketSession("http://localhost:1", auth=None, proxy=url) as session:
            assert await session.send(get, body) == b'"there"'
    (head,) = proxy.heads
    assert head.startswith("GET http://localhost:1/api/2.0/things HTTP/1.1\r\n")
    assert headers_of(head)["proxy-authorization"].startswith("basic ")


async def test_a_proxy_that_refuses_gives_no_connection(server, get, http):
    server.answers = [(http(407, b""), "close")]
    async with TracketSession("https://tracket.invalid", auth=None, proxy=server.url) as session:
        with pytest.raises(ConnectError, match=r"proxy .* refuses \(status 407\)") as caught:
            await session.send(get, body)
    assert not caught.value.maybe_sent
    assert (caught.value.status, caught.value.is_passing) == (407, False)
    assert "HTTPS_PROXY" in str(caught.value)


@pytest.mark.parametrize("trust_env", [True, False])
async def test_the_environment_counts_only_when_asked_for(server, get, http, monkeypatch, trust_env):
    server.answers = [http()]
    monkeypatch.setenv("http_proxy", server.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with TracketSession("http://127.0.0.1:1", auth=None, trust_env=trust_env) as session:
        assert session.proxy == (f"{server.url} (http_proxy)" if trust_env else None)
        if trust_env:
            await session.send(get, body)
    assert [exchange.line for exchange in server.received] == [
        "GET http://127.0.0.1:1/api/2.0/things HTTP/1.1"
    ] * trust_env


async def test_the_password_of_a_proxy_is_shown_nowhere(get, caplog):
    caplog.set_level(logging.DEBUG)
    # Port 9 of this machine: nobody listens.
    client = TracketClient(auth=None, proxy=f"http://me:{PASSWORD}@127.0.0.1:9")
    session = client._context.session
    shown = [repr(client), client.proxy, repr(vars(session)), repr(session._proxy), str(session._proxy)]
    async with client:
        with pytest.raises(ConnectError, match=r"proxy on the way to .* cannot be reached") as caught:
            await client.with_options(attempts=1).send(get, body)
    shown += [str(caught.value), repr(caught.value), repr(vars(caught.value)), caplog.text]
    assert client.proxy == "http://127.0.0.1:9"
    assert not [text for text in shown if PASSWORD in text]


async def test_netrc_is_not_asked(server, get, http, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server.answers = [http()]
    async with TracketSession(server.url, auth=None, trust_env=True) as session:
        await session.send(get, body)
    assert "authorization" not in server.received[0].headers


# -- which one -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": ""}, None),
        ({"HTTPS_PROXY": "http://upper:1"}, "http://upper:1 (HTTPS_PROXY)"),
        ({"HTTPS_PROXY": "http://upper:1", "https_proxy": "http://lower:1"}, "http://lower:1 (https_proxy)"),
        ({"ALL_PROXY": "http://all:1"}, "http://all:1 (ALL_PROXY)"),
        ({"ALL_PROXY": "http://all:1", "HTTPS_PROXY": "https://own:1"}, "https://own:1 (HTTPS_PROXY)"),
        ({"HTTPS_PROXY": "proxy.example:3128"}, "http://proxy.example:3128 (HTTPS_PROXY)"),
        ({"HTTPS_PROXY": "http://proxy/path?query"}, "http://proxy (HTTPS_PROXY)"),
        ({"HTTP_PROXY": "http://plain:1"}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "other.dev", "no_proxy": "tracket.dev"}, None),
    ],
)
def test_the_variables_are_those_that_other_programs_read(environ, proxy):
    found = proxy_for(TRACKET, None, environ)
    assert (found and str(found)) == proxy


@pytest.mark.parametrize(
    ("server", "no_proxy", "direct"),
    [
        ("https://tracket.dev", "tracket.dev", True),
        ("https://tracket.dev", "a.example , TRACKET.dev.", True),
        ("https://tracket.dev", "other.dev", False),
        ("https://tracket.dev", "acket.dev", False),
        ("https://tracket.dev", "dev", True),
        ("https://api.tracket.dev", ".tracket.dev", True),
        ("https://api.tracket.dev", "*.tracket.dev", True),
        ("https://tracket.dev", "tracket.dev:443", True),
        ("https://tracket.dev", "tracket.dev:8443", False),
        ("https://tracket.dev:8443", "tracket.dev:8443", True),
        ("https://tracket.dev", "tracket.dev:port", False),
        ("https://10.1.2.3", "10.0.0.0/8", True),
        ("https://10.1.2.3", "10.1.2.3", True),
        ("https://10.1.2.3", "10.1.2.3:443", True),
        ("https://10.1.2.3", "10.1.2.3:80", False),
        ("https://11.1.2.3", "10.0.0.0/8", False),
        ("https://tracket.dev", "10.0.0.0/8", False),
        ("https://[fd00::7]", "fd00::/8", True),
        ("https://[fd00::7]:8443", "[fd00::7]:8443", True),
        ("https://[fd00::7]", "10.0.0.0/8", False),
        ("https://tracket.dev", "[tracket.dev", True),
        ("https://tracket.dev", "[]", False),
    ],
)
def test_no_proxy_excepts_domains_addresses_networks_and_ports(server, no_proxy, direct):
    found = proxy_for(BaseURL.parse(server), None, {"HTTPS_PROXY": "http://p:1", "NO_PROXY": no_proxy})
    assert (found is None) is direct


def test_what_is_plain_http_never_leaves_this_machine():
    assert proxy_for(LOOPBACK, None, {"HTTP_PROXY": "http://proxy:3128", "ALL_PROXY": "http://proxy:3128"}) is None
    assert (
        str(proxy_for(LOOPBACK, None, {"HTTP_PROXY": "http://localhost:3128"})) == "http://localhost:3128 (HTTP_PROXY)"
    )
    assert str(proxy_for(LOOPBACK, "http://[::1]:3128", None)) == "http://[::1]:3128"
    with pytest.raises(ConfigurationError, match="could read the token"):
        proxy_for(LOOPBACK, "http://proxy:3128", None)


def test_a_header_of_a_cgi_request_is_no_setting():
    environ = {"HTTP_PROXY": "http://localhost:1", "REQUEST_METHOD": "GET"}
    assert proxy_for(LOOPBACK, None, environ) is None
    assert proxy_for(LOOPBACK, None, environ | {"http_proxy": "http://localhost:2"}) is not None
    assert proxy_for(TRACKET, None, {"HTTPS_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}) is not None


def test_a_user_alone_has_an_empty_password():
    assert proxy_for(TRACKET, "http://user@proxy:3128", None).headers() == {"Proxy-Authorization": "Basic dXNlcjo="}
    assert proxy_for(TRACKET, "http://proxy:3128", None).headers() == {}


@pytest.mark.parametrize(
    "text", ["socks5://user:hunter2@proxy:1", "http://", "http://[x", "http://p:hunter2", "ftp://p"]
)
def test_what_is_no_http_url_is_refused_at_construction_and_not_shown(text):
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY is not the URL of an http proxy") as caught:
        proxy_for(TRACKET, None, {"HTTPS_PROXY": text})
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="proxy is not the URL of an http proxy"):
        TracketClient(auth=None, proxy=text)


def test_a_proxy_of_another_type_is_refused():
    with pytest.raises(ConfigurationError, match="proxy must be a string, not int"):
        TracketClient(auth=None, proxy=3128)
