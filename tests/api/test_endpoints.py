"""The ids that may stand in a path, and the responses that confirm a write."""

from __future__ import annotations

import json
from functools import partial

import pytest
import yarl
from hypothesis import given, settings
from hypothesis import strategies as st

from tracket_async._api.endpoints import ALLOWED, MAX_ID_LENGTH, Acknowledged, path_segment
from tracket_async._http.messages import Response
from tracket_async.client import API_VERSIONS
from tracket_async.errors import ResponseError, UsageError

EXAMPLES = settings(max_examples=100, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("given_id", "segment"),
    [
        ("wl-1", "wl-1"),
        ("a", "a"),
        ("sip-00000", "sip-00000"),
        ("21e5614a-8a3e-4b6c-9f53-000000000001", "21e5614a-8a3e-4b6c-9f53-000000000001"),
        ("..a", "..a"),
        ("a.b~c_d", "a.b~c_d"),
        ("a+b=", "a%2Bb%3D"),
        ("a:b@c", "a%3Ab%40c"),
        ("größe", "gr%C3%B6%C3%9Fe"),
        ("x" * MAX_ID_LENGTH, "x" * MAX_ID_LENGTH),
    ],
)
def test_an_id_becomes_one_quoted_segment(given_id, segment):
    assert path_segment(given_id) == segment


@pytest.mark.parametrize(
    "refused",
    [
        "",
        ".",
        "..",
        "...",
        "../x",
        "../../admin",
        "a/b",
        "/",
        "a\\b",
        "..\\x",
        "%2e%2e",
        "a%2Fb",
        "%",
        "a?b",
        "a#b",
        "a b",
        " a",
        "a\n",
        "a\x00",
        "a\x7f",
        "a\u2028b",
        "a\u200bb",
        "\uff0e\uff0e",
        "\ud800",
        '"',
        "<a>",
        "x" * (MAX_ID_LENGTH + 1),
    ],
)
def test_an_id_that_could_mean_another_place_is_refused_by_name(refused):
    with pytest.raises(UsageError) as caught:
        path_segment(refused)
    assert repr(refused[:20])[:-1] in str(caught.value) or not refused


@pytest.mark.parametrize("refused", ["nan", "None", "<NA>"])
def test_what_programs_write_in_the_place_of_an_id_is_refused(refused):
    with pytest.raises(UsageError, match=f"'{refused}' is no id: programs write it where there is no value"):
        path_segment(refused)


@pytest.mark.parametrize("refused", [None, 5, b"a", ["a"]])
def test_an_id_that_is_no_string_is_refused_by_its_type(refused):
    with pytest.raises(UsageError, match=type(refused).__name__):
        path_segment(refused)


@pytest.mark.parametrize("version", API_VERSIONS)
@EXAMPLES
@given(given_id=st.text(st.characters() | st.sampled_from([*sorted(ALLOWED), *"./\\%?#"]), max_size=30))
def test_no_id_leaves_its_segment_whoever_builds_the_url(version, given_id):
    api_version = API_VERSIONS[version]()
    try:
        request = api_version.get(given_id)
    except UsageError:
        return
    above = api_version.list.__self__.path
    for encoded in (False, True):
        url = yarl.URL("https://tracket.example/prefix" + request.path, encoded=encoded)
        assert url.host == "tracket.example"
        assert url.parent.path == f"/prefix{above}"
        assert url.name == given_id
        assert not url.query_string
        assert not url.fragment
    assert request.path.count("/") == above.count("/") + 1
    assert request.route == f"{above}/{{id}}"


WORKLOG = {
    "1.0": {"worklogId": "w", "userId": "u", "worklogDate": "2024-10-22T18:45:31Z", "worklogMinutes": 1, "itemId": "i"},
    "2.0": {"id": "w", "user": "u", "date": "2024-10-22", "minutes": 1, "item": "i"},
}
BASE = "https://tracket.example/prefix"


def response(body=b"", status=201, **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(status=status, headers=headers, body=content)


@pytest.mark.parametrize("version", API_VERSIONS)
def test_a_create_is_acknowledged_by_the_worklog_its_id_its_place_or_its_status(version):
    api_version, worklog = API_VERSIONS[version](), WORKLOG[version]
    created = partial(api_version.created, base_url=BASE)
    name, path = api_version.schema.names["id"], api_version.path
    for status in (200, 201, 202):
        assert created(response(worklog, status)).id == "w"
        assert created(response({name: "w"}, status)) == Acknowledged("w")
        assert created(response({name: 7}, status)) == Acknowledged("7")
        for location in (f"{path}/a%2Bb", f"/prefix{path}/a%2Bb", f"HTTPS://Tracket.example/prefix{path}/a%2Bb"):
            assert created(response(b"", status, Location=location)) == Acknowledged("a+b")
        assert created(response(b"", status, Location="/elsewhere/w")) == Acknowledged(None)
        assert created(response(b"", status, Location=f"{path}/a/b")) == Acknowledged(None)
    for status in (201, 204):
        for body in (b"", b"<html>", b"[]", {"message": "created"}):
            assert created(response(body, status)) == Acknowledged(None)


@pytest.mark.parametrize("version", API_VERSIONS)
@pytest.mark.parametrize("body", [b"", b"<html>Sign in</html>", b"[]", b'"w"', {"message": "hello"}])
@pytest.mark.parametrize("location", [None, "https://elsewhere.example/api/2.0/timeEntries/w", "http://[broken"])
def test_a_response_that_shows_nothing_of_a_worklog_created_none(version, body, location):
    headers = {} if location is None else {"Location": location}
    with pytest.raises(ResponseError):
        API_VERSIONS[version]().created(response(body, 200, **headers), base_url=BASE)


@pytest.mark.parametrize("version", API_VERSIONS)
def test_an_update_is_acknowledged_by_the_worklog_a_json_object_or_nothing(version):
    api_version, worklog = API_VERSIONS[version](), WORKLOG[version]
    assert api_version.updated(response(worklog, 200)).id == "w"
    assert api_version.updated(response({api_version.schema.names["id"]: "w"}, 200)) == Acknowledged("w")
    for body, status in ((b"", 204), (b" ", 200), ({"message": "updated"}, 200), (b"x", 204)):
        assert api_version.updated(response(body, status)) == Acknowledged(None)
    for body in (b"<html>", b"[]", b"7"):
        with pytest.raises(ResponseError):
            api_version.updated(response(body, 200))
