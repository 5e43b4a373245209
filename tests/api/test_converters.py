"""Models out and back in, and what is said of what cannot be read."""

from __future__ import annotations

import datetime as dt
import json
import pickle

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracket_async._http.messages import Response
from tracket_async._http.responses import json_type
from tracket_async.client import API_VERSIONS
from tracket_async.errors import MalformedResponseError, ResponseError, UnreadableResponseError
from tracket_async.models import UNSET, ApprovalStatus, NewWorklog, Worklog, WorklogChanges

ONLY_2 = ("team_id", "project_id", "board_id", "parent_item_id", "custom_fields")
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
IDS = st.text(st.characters(codec="utf-8"), max_size=20).map(lambda text: f"i{text}-")
MOMENTS = st.datetimes(timezones=st.just(dt.UTC))
DAYS = st.dates().map(lambda day: dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC))
MINUTES = st.floats(min_value=0, allow_infinity=False) | st.integers(0, 10**15)
OPTIONS = st.dictionaries(TEXT.filter(lambda name: name not in ("", "category", "project")), TEXT, max_size=3)
STATUSES = st.none() | st.sampled_from(ApprovalStatus) | st.just("paid")

EXAMPLES = settings(max_examples=60, deadline=None, derandomize=True)


def maybe(values):
    return st.none() | values


def worklogs(version):
    common = {
        "id": IDS,
        "user_id": IDS,
        "date": MOMENTS if version == "1.0" else DAYS,
        "minutes": MINUTES,
        "item_id": maybe(IDS),
        "description": maybe(TEXT),
        "category_id": maybe(IDS),
        "billable_minutes": maybe(MINUTES),
        "created_date": maybe(MOMENTS),
        "updated_date": maybe(MOMENTS),
        "approval_status": STATUSES,
        "approver_user_id": maybe(IDS),
    }
    more = {name: maybe(IDS) for name in ONLY_2[:-1]} | {"custom_fields": OPTIONS}
    return st.builds(Worklog, **(common if version == "1.0" else common | more))


def new_worklogs(version):
    more = {} if version == "1.0" else {"team_id": maybe(IDS), "project_id": maybe(IDS), "custom_fields": OPTIONS}
    return st.builds(
        NewWorklog,
        item_id=IDS,
        user_id=IDS,
        date=MOMENTS if version == "1.0" else DAYS,
        minutes=MINUTES,
        description=maybe(TEXT),
        category_id=maybe(IDS),
        billable_minutes=maybe(MINUTES),
        **more,
    )


def answer(body):
    return Response(status=200, headers={}, body=body)


@pytest.mark.parametrize("version", API_VERSIONS)
@EXAMPLES
@given(data=st.data())
def test_any_worklog_goes_out_and_comes_back_equal(version, data):
    api_version = API_VERSIONS[version]()
    worklog = data.draw(worklogs(version))
    content = api_version.converter.unstructure(worklog)
    assert api_version.converter.structure(content, Worklog) == worklog
    text = json.dumps(content)
    assert api_version.worklog(answer(text.encode())) == worklog
    items = api_version.converter.unstructure([worklog, worklog])
    page = json.dumps({"items": items, "worklogs": items}, ensure_ascii=False).encode()
    assert api_version.page(answer(page)).items == [worklog, worklog]


@pytest.mark.parametrize("version", API_VERSIONS)
@EXAMPLES
@given(data=st.data())
def test_any_new_worklog_arrives_as_it_was_meant(version, data):
    api_version = API_VERSIONS[version]()
    new = data.draw(new_worklogs(version))
    content = json.loads(api_version.create(new).body)
    arrived = api_version.converter.structure({**content, "id": "w", "worklogId": "w"}, Worklog)
    for name, value in attrs.asdict(new).items():
        assert getattr(arrived, name) == value
    assert None not in content.values()


@pytest.mark.parametrize("version", API_VERSIONS)
@EXAMPLES
@given(data=st.data())
def test_any_changes_send_what_is_set_and_nothing_else(version, data):
    api_version = API_VERSIONS[version]()
    new = attrs.asdict(data.draw(new_worklogs(version)))
    offered = [name for name in new if version == "2.0" or name not in ONLY_2]
    chosen = {name: new[name] for name in data.draw(st.sets(st.sampled_from(offered)))}
    chosen = {name: value for name, value in chosen.items() if value is not None or name not in REQUIRED}
    changes = WorklogChanges(**chosen)
    content = json.loads(api_version.update("w", changes).body)
    filler = api_version.converter.unstructure(
        Worklog(id="w", user_id="~", date=dt.datetime.min.replace(tzinfo=dt.UTC), minutes=0)
    )
    merged = {**filler, **content}
    arrived = api_version.converter.structure(merged, Worklog)
    for name in offered:
        value = getattr(changes, name)
        if value is not UNSET:
            assert getattr(arrived, name) == value
    assert bool(content) is bool(chosen)


REQUIRED = ("item_id", "user_id", "date", "minutes")


def test_version_1_leaves_out_what_only_version_2_has():
    worklog = Worklog(id="w", user_id="u", date=dt.datetime(2024, 1, 1, tzinfo=dt.UTC), minutes=1, team_id="t")
    content = API_VERSIONS["1.0"]().converter.unstructure(worklog)
    assert "t" not in content.values()
    assert "createdDate" not in content
    assert "approvalStatus" not in content
    assert content["itemId"] is None


@pytest.mark.parametrize("version", API_VERSIONS)
@EXAMPLES
@given(
    content=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    )
)
def test_any_json_gives_a_model_or_a_typed_error(version, content):
    api_version = API_VERSIONS[version]()
    with pytest.raises(MalformedResponseError):
        api_version.converter.structure(content, Worklog)
    with pytest.raises(ResponseError):
        api_version.worklog(answer(json.dumps(content).encode()))


@pytest.mark.parametrize("version", API_VERSIONS)
@EXAMPLES
@given(body=st.binary())
def test_any_bytes_give_a_model_or_a_typed_error(version, body):
    api_version = API_VERSIONS[version]()
    for read in (api_version.page, api_version.rows, api_version.worklog):
        with pytest.raises(ResponseError):
            read(answer(body))


@pytest.mark.parametrize(
    ("value", "expected", "found"),
    [
        ("sixty", "a finite number", "a string"),
        ("1e999", "a finite number", "a string"),
        (True, "a finite number", "a boolean"),
        (None, "a finite number", "null"),
        ([], "a finite number", "an array"),
        (float("nan"), "a finite number", "a number"),
        (float("inf"), "a finite number", "a number"),
        (10**400, "a finite number", "a number"),
        ({}, "a finite number", "an object"),
        ((1,), "a finite number", "tuple"),
    ],
)
@pytest.mark.parametrize("version", API_VERSIONS)
def test_a_wrong_value_is_told_with_what_was_expected_and_what_was_found(version, value, expected, found):
    api_version = API_VERSIONS[version]()
    name = {"1.0": "worklogMinutes", "2.0": "minutes"}[version]
    sample = Worklog(id="w-7", user_id="u", date=dt.datetime(2024, 1, 1, tzinfo=dt.UTC), minutes=1)
    content = api_version.converter.unstructure(sample)
    with pytest.raises(MalformedResponseError) as caught:
        api_version.converter.structure({**content, name: value}, Worklog)
    assert caught.value.message == (
        f"The server's answer is malformed: $.{name} of worklog 'w-7' should be {expected}, and is {found}"
    )
    assert caught.value.worklog_id == "w-7"
    assert caught.value.__context__ is None
    assert pickle.loads(pickle.dumps(caught.value)).json_path == f"$.{name}"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "with nothing"),
        (b" \n", "with nothing"),
        (b"<!doctype html><title>Sign in</title>", "an HTML or XML page"),
        (b'  {"worklogs": [', "JSON that is broken"),
        (b'["x', "JSON that is broken"),
        (b'{"worklogs": []} {}', "JSON that is broken"),
        (b'{"worklogs":' + b"[" * 100_000, "nested too deeply"),
        (b"Service unavailable", "something that is no JSON"),
        (b'{"worklogs": [\xff}', "JSON that is broken"),
        ("<html>".encode("utf-16"), "something that is no JSON"),
        (b"\x00{\x00", "something that is no JSON"),
    ],
)
@pytest.mark.parametrize("version", API_VERSIONS)
def test_a_body_that_is_no_json_is_unreadable(version, body, said):
    api_version = API_VERSIONS[version]()
    for read in (api_version.page, api_version.rows, api_version.worklog):
        with pytest.raises(UnreadableResponseError, match=said) as caught:
            read(answer(body))
        assert caught.value.__context__ is None
        assert caught.value.status == 200


@pytest.mark.parametrize("version", API_VERSIONS)
def test_json_that_is_nested_very_deeply_is_an_error(version):
    api_version = API_VERSIONS[version]()
    body = b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    for read in (api_version.page, api_version.rows, api_version.worklog):
        # CPython 3.14 sets no limit to it, and what is missing is told.
        with pytest.raises(ResponseError, match=r"nested too deeply|and is missing"):
            read(answer(body))


@pytest.mark.parametrize("version", API_VERSIONS)
def test_text_that_is_not_utf_8_is_read_as_latin_1(version):
    api_version = API_VERSIONS[version]()
    sample = Worklog(id="w", user_id="u", date=dt.datetime(2024, 1, 1, tzinfo=dt.UTC), minutes=1, description="caf~")
    good = json.dumps(api_version.converter.unstructure(sample)).encode()
    assert api_version.worklog(answer(good.replace(b"~", b"\xe9"))).description == "caf\xe9"
    assert api_version.worklog(answer(good.replace(b"~", b"\xe9\xc3\xa9"))).description == "caf\xe9\xe9"
    for text in (b'"\xe9"', b'"\\u00e9"'):
        found = api_version.worklog(answer(good[:-1] + b',"unknown":' + text + b"}"))
        assert found == attrs.evolve(sample, extra={"unknown": "\xe9"})
    found = api_version.worklog(answer(good[:-1] + b',"\xe9":1}'))
    assert found.extra == {"\xe9": 1}


@pytest.mark.parametrize(
    "change",
    [
        lambda body: b"\xef\xbb\xbf" + body,
        lambda body: body.decode().encode("utf-16"),
        lambda body: body.replace(b"~", b"\x07"),
        lambda body: body.replace(b"~", b"\\ud83d"),
        lambda body: body.replace(b'"caf~"', b"NaN"),
        lambda body: body.replace(b'"caf~"', b"-Infinity"),
        lambda body: body[:-1] + b',"unknown":"\\ud83d","large":[1e999,' + b"1" * 5_000 + b"]}",
    ],
)
@pytest.mark.parametrize("version", API_VERSIONS)
def test_a_body_that_is_no_json_is_repaired_where_it_is_plain_what_it_means(version, change, caplog):
    api_version = API_VERSIONS[version]()
    sample = Worklog(id="w", user_id="u", date=dt.datetime(2024, 1, 1, tzinfo=dt.UTC), minutes=1, description="caf~")
    one = change(json.dumps(api_version.converter.unstructure(sample)).encode())
    found = api_version.worklog(answer(one))
    expected = attrs.evolve(sample, description=found.description, extra=found.extra)
    assert found == expected
    assert found.description in {"caf~", "caf\x07", "caf\ufffd", None}
    assert found.extra in ({}, {"unknown": "\ufffd", "large": [None, None]})
    api_version.oddities.tell()
    assert "is no JSON as it was sent" in caplog.text
    assert "caf" not in caplog.text


@pytest.mark.parametrize("version", API_VERSIONS)
def test_a_number_that_is_too_large_in_an_optional_member_is_kept_as_its_text(version):
    api_version = API_VERSIONS[version]()
    sample = Worklog(id="w", user_id="u", date=dt.datetime(2024, 1, 1, tzinfo=dt.UTC), minutes=1, description="~")
    good = json.dumps(api_version.converter.unstructure(sample)).encode()
    found = api_version.worklog(answer(good.replace(b'"~"', b"1e999")[:-1] + b',"unknown":[1e999]}'))
    assert found.description is None
    assert found.extra == {"description": "1e999", "unknown": "[1e999]"}
    found = api_version.worklog(answer(good[:-1] + b',"unknown":[1e999,"\xe9"]}'))
    assert found.extra == {"unknown": '[1e999,"\xe9"]'}


def test_an_unreadable_answer_shows_no_secret():
    with pytest.raises(UnreadableResponseError) as caught:
        API_VERSIONS["2.0"]().page(answer(b'<html>{"access_token": "canary"} Bearer canary</html>'))
    assert "canary" not in str(caught.value)
    assert "***" in caught.value.excerpt


def test_every_json_type_has_a_name():
    names = [json_type(value) for value in (True, 1, 1.5, "x", [], {}, None)]
    assert names == ["a boolean", "a number", "a number", "a string", "an array", "an object", "null"]


@pytest.mark.parametrize("version", API_VERSIONS)
def test_a_number_that_is_too_large_is_malformed_where_it_is_read_and_nothing_where_it_is_not(version):
    api_version = API_VERSIONS[version]()
    name = {"1.0": "worklogMinutes", "2.0": "minutes"}[version]
    sample = Worklog(id="w", user_id="u", date=dt.datetime(2024, 1, 1, tzinfo=dt.UTC), minutes=123)
    good = json.dumps(api_version.converter.unstructure(sample)).encode()
    page = b'{"items":[%b],"worklogs":[%b]}'
    bad = good.replace(b"123", b"1e999")
    with pytest.raises(MalformedResponseError, match="a number that a computer can hold, and is larger") as caught:
        api_version.page(answer(page % (bad, bad)))
    assert caught.value.json_path == {"1.0": f"$.worklogs[0].{name}", "2.0": f"$.items[0].{name}"}[version]
    assert api_version.worklog(answer(good[:-1] + b',"unknown":1e999}')).extra == {"unknown": "1e999"}


def sent(api_version):
    """A worklog as a server sends it."""
    return api_version.converter.unstructure(
        Worklog(id="w", user_id="u", date=dt.datetime(2024, 1, 1, tzinfo=dt.UTC), minutes=1)
    )


@pytest.mark.parametrize("version", API_VERSIONS)
def test_rows_that_are_no_worklog_are_kept_where_they_are_asked_for(version):
    api_version = API_VERSIONS[version]()
    schema, good = api_version.schema, sent(api_version)
    bad = [None, "x", [1], {}, {**good, schema.names["minutes"]: "many"}]
    response = answer(json.dumps({schema.items: [*bad[:3], good, *bad[3:]]}, indent=1).encode())
    with pytest.raises(MalformedResponseError, match=r"\[0\]"):
        api_version.page(response)
    for read in (api_version.keeping_bad_rows().page, api_version.keeping_bad_rows().rows):
        page = read(response)
        assert [worklog.id for worklog in page.items] == [good[schema.names["id"]]]
        assert [json.loads(row.row) for row in page.bad_rows] == bad
        assert not any(b"\n" in row.row for row in page.bad_rows)
        assert [row.id for row in page.bad_rows] == [None, None, None, None, good[schema.names["id"]]]
        assert [row.date is None for row in page.bad_rows] == [True, True, True, True, False]


@pytest.mark.parametrize("version", API_VERSIONS)
def test_a_worklog_that_cannot_be_read_is_a_bad_row_if_its_id_can(version):
    api_version = API_VERSIONS[version]()
    names, good = api_version.schema.names, sent(api_version)
    bad = {**good, names["minutes"]: None}
    for body in (json.dumps(bad).encode(), b"\xef\xbb\xbf" + json.dumps(bad).encode()):
        found = api_version.keeping_bad_rows().worklog_or_bad_row(answer(body))
        assert (json.loads(found.row), found.id) == (bad, good[names["id"]])
        with pytest.raises(MalformedResponseError):
            api_version.worklog_or_bad_row(answer(body))
    without_id = json.dumps({**bad, names["id"]: None}).encode()
    with pytest.raises(MalformedResponseError):
        api_version.keeping_bad_rows().worklog_or_bad_row(answer(without_id))
    assert api_version.worklog_or_bad_row(answer(json.dumps(good).encode())).id == good[names["id"]]
