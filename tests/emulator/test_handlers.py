"""Handlers answer any input with a response or an ApiError that says why: never with an error of the server."""

from __future__ import annotations

import json
from functools import partial
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracket_async.emulator import SeedError, handlers, routes
from tracket_async.emulator.handlers import V1, V2, ApiRequest, WorklogHandlers
from tracket_async.emulator.records import NEVER, Worklog
from tracket_async.emulator.routes import ApiError
from tracket_async.emulator.seeding import read_seed
from tracket_async.emulator.store import KEY_COLUMNS, Store, write_cursor

TEXT = st.text(st.characters(codec=None), max_size=8)  # lone surrogates as well
GOOD = st.sampled_from(
    ["2024-10-22", "2024-10-22T18:45:31.370Z", "0001-01-01T00:00:00+23:59", "9999-12-31", "open", "1", 0, 90, 1e300]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | GOOD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
FIELDS = {
    V1: [
        *("itemId", "userId", "description", "worklogCategory"),
        *("worklogDate", "worklogMinutes", "worklogBillableMinutes"),
    ],
    V2: ["item", "user", "date", "minutes", "billableMinutes", "team", "description", "customFields"],
}
STORED = [*FIELDS[V1], "worklogId", "createdDate", "updatedDate", "approvalStatus", "approverUserId", "customFields"]
GOOD_BODY = {
    V1: {"itemId": "1", "userId": "2", "worklogDate": "2024-10-22T18:45:31.370Z", "worklogMinutes": 90},
    V2: {"item": "1", "user": "2", "date": "2024-10-22", "minutes": 90},
}


def bodies(version):
    changes = st.dictionaries(st.sampled_from(FIELDS[version]) | TEXT, VALUES, max_size=4)
    objects = changes | changes.map(lambda each: {**GOOD_BODY[version], **each})
    return st.binary(max_size=20) | (objects | VALUES).map(lambda each: json.dumps(each).encode())


QUERIES = st.dictionaries(
    st.sampled_from(
        ["size", "after", "cursor", "sortBy", "sortType", "startDate"]
        + [f"fields.{name}.{end}" for name in ("date", "createdDate", "updatedDate") for end in ("gte", "lte")]
    ),
    TEXT
    | GOOD.map(str)
    | st.sampled_from(["asc", "desc", "date", "createdDate", "updatedDate"])
    | st.builds(
        lambda order, descending, numbers, ident: write_cursor(order, descending=descending, key=(*numbers, ident)),
        st.sampled_from(list(KEY_COLUMNS)),
        st.booleans(),
        st.lists(st.integers() | st.floats(), max_size=3),
        TEXT,
    ),
    max_size=5,
)


@pytest.fixture
def store():
    store = Store()
    store.insert(Worklog("w", "i", "u", None, None, 0, 1.0, None, NEVER))
    yield store
    store.close()


def outcome(handler, request):
    """The payload of an response; None for a error, which must be the client's fault and say why."""
    try:
        response = handler(request)
    except ApiError as error:
        response = error.response()
        assert 400 <= response.status < 500
        assert json.loads(response.body)["error"]
        return None
    assert response.status == 200
    return json.loads(response.body)


@pytest.mark.parametrize("version", [V1, V2], ids=["1.0", "2.0"])
@pytest.mark.parametrize("verb", ["create", "update"])
def test_any_body_is_taken_or_refused(store, version, verb):
    names = iter(f"new{number}" for number in range(10**6))
    made = WorklogHandlers(store, version, names, lambda: 0)

    @settings(max_examples=150, deadline=None)
    @given(bodies(version))
    def holds(body):
        payload = outcome(getattr(made, verb), ApiRequest(path="/", ident="w", query={}, body=body))
        if payload is not None:
            ident = payload["worklogId" if version is V1 else "id"]
            for both in ("v1", "v2"):
                json.loads(store.rendered(both, ident))
            for name, value in json.loads(body).items():
                if name in FIELDS[version] and name not in ("worklogDate", "customFields"):
                    assert payload[name] == value

    holds()


def test_any_query_is_taken_or_refused(store):
    listing = [partial(handlers.list_v1, store, 3, order) for order in ("ascending", "descending", "unsorted")]
    listing.append(partial(handlers.list_v2, store))

    @settings(max_examples=300, deadline=None)
    @given(QUERIES)
    def holds(query):
        for handler in listing:
            outcome(handler, ApiRequest(path="/api", query=query))

    holds()


@given(st.text(max_size=30) | st.text(max_size=10).map(lambda text: "/api/1.0/worklogs/" + quote(text, safe="")))
def test_any_path_is_found_or_not(path):
    resource, ident = routes.find_resource(path)
    if resource is not None and resource.route == "/worklogs/{id}":
        assert ident != ""


@settings(max_examples=200, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(STORED), VALUES), max_size=3))
def test_any_seed_is_read_or_refused(items):
    good = {**GOOD_BODY[V1], "worklogId": "x"}
    try:
        worklogs = read_seed({**good, **each} for each in items)
    except SeedError as refused:
        worklogs, reason = [], str(refused)
    else:
        reason = "item 1: as it should be"
    assert reason.startswith("item ")
    store = Store()
    store.load(worklogs)
    assert all(json.loads(each) for each in store.all_rendered("v2"))
    store.close()
