"""Which ids may stand in a path."""

from __future__ import annotations

import pytest
import yarl
from hypothesis import given, settings
from hypothesis import strategies as st

from tracket_async._api.endpoints import ALLOWED, MAX_ID_LENGTH, path_segment
from tracket_async.client import API_VERSIONS
from tracket_async.errors import UsageError

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
