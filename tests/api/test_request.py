"""A request and a response as values."""

from __future__ import annotations

import pytest

from tracket_async._http.messages import Request, Response


@pytest.mark.parametrize(
    ("method", "idempotent"), [("GET", True), ("PUT", True), ("DELETE", True), ("HEAD", True), ("POST", False)]
)
def test_only_a_post_must_not_be_sent_twice(method, idempotent):
    assert Request(method=method, path="/api/2.0/x", route="/api/2.0/x").idempotent is idempotent


def test_a_repr_shows_no_body_and_no_headers():
    request = Request(method="POST", path="/api/2.0/x", route="/api/2.0/x", body=b"canary")
    response = Response(status=200, headers={"Set-Cookie": "canary"}, body=b"canary")
    assert "canary" not in repr(request) + repr(response)
