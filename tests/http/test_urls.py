"""Which base URLs are fit to be given credentials, and what is made of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from tracket_async._http.urls import BaseURL, is_loopback
from tracket_async.errors import ConfigurationError


@pytest.mark.parametrize(
    ("base_url", "shown"),
    [
        ("https://tracket.dev", "https://tracket.dev"),
        ("https://tracket.dev/", "https://tracket.dev"),
        ("HTTPS://Tracket.DEV:8443/a/b/", "https://tracket.dev:8443/a/b"),
        ("https://tracket.dev//", "https://tracket.dev"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://emulator.localhost", "http://emulator.localhost"),
        ("http://127.0.0.1:1", "http://127.0.0.1:1"),
        ("http://127.8.9.10/x", "http://127.8.9.10/x"),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
        ("https://[2001:db8::1]", "https://[2001:db8::1]"),
    ],
)
def test_an_origin_with_an_optional_path_is_taken(base_url, shown):
    assert str(BaseURL.parse(base_url)) == shown


@pytest.mark.parametrize(
    ("base_url", "reason"),
    [
        (None, "must be a string"),
        ("", "is empty"),
        ("tracket.dev", "does not begin with https://"),
        ("https://", "does not begin with https://"),
        ("https:///path", "does not begin with https://"),
        ("ftp://tracket.dev", "does not begin with https://"),
        ("file:///etc/passwd", "does not begin with https://"),
        ("http://tracket.dev", "is not https"),
        ("http://localhost.evil.example", "is not https"),
        ("http://127.0.0.1.evil.example", "is not https"),
        ("http://10.0.0.1", "is not https"),
        ("https://tracket.dev?", "a query or a fragment"),
        ("https://tracket.dev?a=b", "a query or a fragment"),
        ("https://tracket.dev#x", "a query or a fragment"),
        ("https://tracket.dev/a/../b", "climbs"),
        ("https://tracket.dev/./b", "climbs"),
        ("https://tracket.dev:99999", "malformed"),
        ("https://tracket.dev:x", "malformed"),
        ("https://[::1", "malformed"),
        ("https://tracket.dev/a b", "character"),
        ("https://tracket.dev/\r\nX: y", "character"),
        ("https://tracket.dev\\@evil.example", "character"),
        ("https://träcket.dev", "character"),
    ],
)
def test_anything_else_is_refused_with_what_to_do(base_url, reason):
    with pytest.raises(ConfigurationError) as caught:
        BaseURL.parse(base_url)
    assert reason in str(caught.value)
    assert "such as https://tracket.dev" in str(caught.value)


@pytest.mark.parametrize("userinfo", ["user:hunter2@", "hunter2@", ":hunter2@", "@"])
def test_userinfo_is_refused_and_not_shown(userinfo):
    with pytest.raises(ConfigurationError, match="user name or password") as caught:
        BaseURL.parse(f"https://{userinfo}tracket.dev")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "127.255.255.254", "::1"])
def test_a_loopback_host_is_this_machine(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "localhost.", "notlocalhost", "128.0.0.1", "::2", "0.0.0.0", "tracket.dev"])
def test_any_other_host_is_not(host):
    assert not is_loopback(host)


def test_a_request_goes_to_the_path_behind_the_prefix_as_it_is_quoted():
    address = BaseURL.parse("https://tracket.dev/proxy")
    assert str(address.url("/api/2.0/timeEntries/a%2Fb")) == "https://tracket.dev/proxy/api/2.0/timeEntries/a%2Fb"


@given(st.lists(st.tuples(st.text(min_size=1), st.text()), max_size=4))
def test_any_query_arrives_as_it_was_meant(query):
    url = BaseURL.parse("https://tracket.dev").url("/x", tuple(query))
    assert list(URL(str(url)).query.items()) == query


def test_the_query_of_a_cursor_keeps_every_character():
    url = BaseURL.parse("https://tracket.dev").url("/x", (("after", "a+b/c=&d %"), ("sort by", "1")))
    assert str(url) == "https://tracket.dev/x?after=a%2Bb%2Fc%3D%26d+%25&sort+by=1"


@pytest.mark.parametrize("base_url", ["https://tracket.dev", "http://[::1]:8080/x/y", "http://127.0.0.1:80"])
@pytest.mark.parametrize("query", [(), (("a", "b c&=+/é"), ("size", "100"))])
def test_a_url_that_is_put_together_is_the_one_that_is_parsed(base_url, query):
    address = BaseURL.parse(base_url)
    made = address.url("/api/2.0/x/a%2Fb", query)
    text = f"{address}/api/2.0/x/a%2Fb" + ("?a=b+c%26%3D%2B%2F%C3%A9&size=100" if query else "")
    parsed = URL(text, encoded=True)
    assert made == parsed
    assert str(made) == str(parsed)
    assert (made.raw_host, made.port, made.raw_path_qs) == (parsed.raw_host, parsed.port, parsed.raw_path_qs)
    assert made.host_port_subcomponent == parsed.host_port_subcomponent  # the Host header
