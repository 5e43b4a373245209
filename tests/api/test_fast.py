"""The fast decoder: held equal to the converters on any input, and the rows that it makes.

`FastReader` may decline anything, and `ApiVersion` then asks `ConverterReader`. So the two can differ only where the
fast decoder accepts: everything here compares what `ApiVersion` says with what it says if everything is declined. The
names of unknown members are learned from one example to the next.
"""

from __future__ import annotations

import copy
import datetime as dt
import gc
import itertools
import json
import pickle
import weakref
from collections.abc import Mapping

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracket_async._api import unusual, v1, v2
from tracket_async._api.fast import NO_FIELDS, Days, FastReader, columns_of, row_of
from tracket_async._api.oddities import MOST, Oddities
from tracket_async._api.schema import STATUSES
from tracket_async._http.messages import Response
from tracket_async.errors import ResponseError
from tracket_async.models import ApprovalStatus, Worklog

SCHEMAS = {"1.0": v1.SCHEMA, "2.0": v2.SCHEMA}


class Declining:
    """A fast reader that declines everything."""

    def rows(self, body):
        return None

    worklogs = worklog = rows

    def learn(self, worklogs, unusual):
        pass


READERS = {each.version: (each, attrs.evolve(each, fast=Declining())) for each in (v1.api_version(), v2.api_version())}
"""For each version: as it is, and with the converters alone."""
FINISHERS = {"1.0": v1.FINISHER, "2.0": v2.FINISHER}


def fast(version):
    return FastReader(SCHEMAS[version], FINISHERS[version])


FORMS = {version: fast(version)._forms for version in SCHEMAS}
NAMES = tuple(attribute.name for attribute in attrs.fields(Worklog))

# Tokens of JSON text, good and bad, of which every member of a worklog and of a page gets one.
MOMENTS = [
    '"2024-10-22T18:45:31.370Z"',
    '"2024-10-22T18:45:31.3701239Z"',
    '"2024-10-22T18:45:31+02:00"',
    '"2024-10-22T18:45:31"',
    '"2024-10-22t18:45:31z"',
    '"2024-10-22 18:45:31-00:00"',
    '"2024\\u002d10-22T18:45:31Z"',
    '"2024-10-22"',
    '"2024-10-22T18:45Z"',
    '"20241022"',
    '"2024-10-22T18:45:60Z"',
    '"9999-12-31T23:59:59.9999999Z"',
    '"9999-12-31T23:59:59-01:00"',
    '"0001-01-01T00:00:00+01:00"',
]
NUMBERS = ["0", "-0", "-0.0", "60", "7.25", "1e3", "1E-3", "1e308", "1e309", "-1e400", "18446744073709551616"]
NUMBERS += ["0.1", "123456789012345678901234567890", "9007199254740993", "1" * 400, "2" * 5000, "01", "1.", ".5", "NaN"]
TEXTS = ['""', '"x"', '"open"', '"APPROVED"', '"paid"', '"\\u00fc"', '"ü"', '"\\ud83d\\ude00"', '"\\ud800"', '"\\x"']
OTHERS = ["null", "true", "false", "[]", "{}", "[1]", '{"status":"open","approver":"7"}', '{"status":1e999}']
OTHERS += ['{"category":"c","project":"p","r":"o"}', '{"category":5}', '{"category":null}', '{"r":1e999}', "tru", ""]
OTHERS += [
    '{"next":{"href":"/x?after=c"}}',
    '{"next":{"href":"/x?after=c"},"self":1e999}',
    '{"next":{"href":"\\ud800"}}',
]
OTHERS += ['{"state":"open","user":{"id":7}}', '{"approver":{"id":[]}}', "[" * 50 + "]" * 50, '"' + "é" * 3 + '"']
TOKENS = st.sampled_from(MOMENTS + NUMBERS + TEXTS + OTHERS)
GOOD = {
    "date": st.sampled_from(MOMENTS[:6]),
    "number": st.sampled_from(NUMBERS[:8]),
    "text": st.sampled_from(TEXTS[:8]),
}


def good(schema, name):
    """Tokens that a well-behaved server could send for an attribute."""
    if "date" in name:
        return GOOD["date"] if name != "date" or schema is v1.SCHEMA else st.just('"2024-10-22"')
    if "minutes" in name:
        return GOOD["number"]
    return GOOD["text"]


def member(schema, name, attributes):
    if name in schema.splits:
        return st.sampled_from([*TEXTS[:6], *OTHERS[6:7], "null"])
    if len(attributes) > 1:
        return st.sampled_from([OTHERS[8], "{}", "null"])
    return good(schema, attributes[0])


@st.composite
def objects(draw, members, *, bad):
    """The text of an object: usual members, some missing, doubled or unknown; with ``bad``, any token anywhere."""
    parts = []
    for name, tokens in members.items():
        for _ in range(draw(st.sampled_from([1] * 30 + [0, 2]))):
            token = draw(TOKENS if bad and draw(st.integers(0, 9)) == 0 else tokens)
            parts.append(f'"{name}":{token}')
    names = ["unknown", "customFields.category", "é", 'a\\"b', "(no member: id)"]
    unknown = draw(st.lists(st.sampled_from(names), max_size=2) if draw(st.booleans()) else st.just([]))
    parts.extend(f'"{name}":{draw(TOKENS)}' for name in unknown)
    return "{" + ",".join(draw(st.permutations(parts))) + "}"


LINKS = st.sampled_from(['{"next":{"href":"/x?after=c"}}', '{"next":"/x?after=d"}', '{"next":null}', '{"self":1}'])


@st.composite
def pages(draw, schema):
    bad = draw(st.sampled_from([False, False, True]))
    members = {name: member(schema, name, attributes) for name, attributes in schema.groups.items()}
    worklogs = st.lists(objects(members, bad=bad), max_size=3).map(lambda texts: f"[{','.join(texts)}]")
    envelope = {schema.items: worklogs, schema.cursor: st.sampled_from([*TEXTS[:2], "null"])}
    if schema.total:
        envelope[schema.total] = st.sampled_from(["0", "1354", "null", "18446744073709551616"])
        envelope |= dict.fromkeys(schema.links, TOKENS | LINKS)
    return draw(objects(envelope, bad=bad)).encode()


@st.composite
def damaged(draw, texts):
    """A text in which a few bytes are gone, doubled or other bytes."""
    body = bytearray(draw(texts))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        start = draw(st.integers(0, len(body)))
        length = draw(st.integers(0, 4))
        body[start : start + length] = draw(st.binary(max_size=3) | st.sampled_from([b"\xff", b"{", b"]", b"e9"]))
    return bytes(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
).map(lambda content: json.dumps(content).encode())


def worklogs_of(rows):
    """The worklogs of rows, in which enums are their strings and custom fields that are none are shared."""
    values = ({name: getattr(row, name) for name in NAMES} for row in rows)
    return [
        Worklog(
            **value
            | {
                "approval_status": STATUSES.get(value["approval_status"], value["approval_status"]),
                "custom_fields": dict(value["custom_fields"]),
            }
        )
        for value in values
    ]


def outcome(read, body):
    """Return what came out, so exactly that 1 and 1.0, 0.0 and -0.0, an enum and its string differ."""
    try:
        found = read(Response(status=200, headers={}, body=body))
    except ResponseError as error:
        return type(error), str(error), getattr(error, "json_path", ""), getattr(error, "worklog_id", None)
    return repr(found)


def assert_equal_on(version, body):
    reader, general = READERS[version]

    def page(response):
        found = reader.page(response)
        return found.items, found.next_cursor, found.total

    def rows(response):
        found = reader.rows(response)
        return worklogs_of(found.items), found.next_cursor, found.total

    def expected(response):
        found = general.page(response)
        return found.items, found.next_cursor, found.total

    assert outcome(page, body) == outcome(rows, body) == outcome(expected, body)
    for form in FORMS[version]:
        if (found := form.rows(body)) is not None:
            worklogs = outcome(lambda response: expected(response)[0], body)
            if isinstance(worklogs, tuple):  # the error of a cursor or a total, which is read later
                worklogs = repr(form.worklogs(body).items)
            assert repr(worklogs_of(found.items)) == repr(form.worklogs(body).items) == worklogs
        else:
            assert form.worklogs(body) is None
    assert outcome(reader.worklog, body) == outcome(general.worklog, body)


@pytest.mark.parametrize("version", READERS)
@given(data=st.data())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_both_paths_are_equal_on_pages_good_and_bad(version, data):
    assert_equal_on(version, data.draw(damaged(pages(SCHEMAS[version]))))


@pytest.mark.parametrize("version", READERS)
def test_both_paths_refuse_a_cursor_that_is_no_whole_number(version):
    schema = SCHEMAS[version]
    assert_equal_on(version, f'{{"{schema.items}":[],"{schema.cursor}":7.25}}'.encode())


@st.composite
def odd_pages(draw, schema):
    """A page whose worklogs may each have any token in the same few members, and unknown members."""
    good_members = {name: member(schema, name, attributes) for name, attributes in schema.groups.items()}
    names = draw(st.lists(st.sampled_from([*good_members, "x", "y"]), min_size=1, max_size=3, unique=True))
    lists = {name: st.sampled_from(draw(st.lists(TOKENS, min_size=1, max_size=2))) for name in names}
    worklogs = []
    for _ in range(draw(st.integers(1, 4))):
        tokens = {name: draw(tokens) for name, tokens in (good_members | lists).items()}
        dropped = draw(st.sampled_from([None, None, *names]))
        worklogs.append(",".join(f'"{name}":{token}' for name, token in tokens.items() if name != dropped))
    return f'{{"{schema.items}":[{{{"},{".join(worklogs)}}}]}}'.encode()


@pytest.mark.parametrize("version", READERS)
@given(data=st.data())
@settings(max_examples=400, deadline=None, derandomize=True)
def test_what_is_learned_from_a_page_reads_and_counts_it_alike(version, data):
    body = data.draw(odd_pages(SCHEMAS[version]))
    reader = attrs.evolve(READERS[version][0], fast=fast(version), oddities=Oddities())

    def page(response):
        return reader.page(response).items

    first = outcome(page, body)
    counted = {key: count.times for key, count in reader.oddities._counts.items()}
    assert outcome(page, body) == first
    assert outcome(lambda response: worklogs_of(reader.rows(response).items), body) == first
    if isinstance(first, str):
        assert {key: count.times for key, count in reader.oddities._counts.items()} == {
            key: 3 * times for key, times in counted.items()
        }


@pytest.mark.soak
@pytest.mark.parametrize("version", READERS)
@given(data=st.data())
@settings(max_examples=5_000, deadline=None)
def test_both_paths_are_equal_on_thousands_of_pages_good_and_bad(version, data):
    assert_equal_on(version, data.draw(damaged(pages(SCHEMAS[version]))))


@pytest.mark.parametrize("version", READERS)
@given(data=st.data())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_both_paths_are_equal_on_one_worklog(version, data):
    schema = SCHEMAS[version]
    members = {name: member(schema, name, attributes) for name, attributes in schema.groups.items()}
    assert_equal_on(version, data.draw(objects(members, bad=True)).encode())


@pytest.mark.parametrize("version", READERS)
@given(body=JSON | st.binary(max_size=30))
@settings(deadline=None, derandomize=True)
def test_both_paths_are_equal_on_anything(version, body):
    assert_equal_on(version, body)


@pytest.mark.parametrize("version", READERS)
@given(data=st.data())
@settings(max_examples=50, deadline=None, derandomize=True)
def test_a_well_behaved_page_takes_the_fast_path(version, data):
    schema = SCHEMAS[version]
    members = {name: member(schema, name, attributes) for name, attributes in schema.groups.items()}
    text = ",".join(f'"{name}":{data.draw(tokens)}' for name, tokens in members.items())
    body = f'{{"{schema.items}":[{{{text}}}]}}'.encode()
    _, general = READERS[version]
    assert fast(version).rows(body) is not None
    found = fast(version).worklogs(body)
    assert repr(found.items) == repr(general.page(Response(status=200, headers={}, body=body)).items)


SAMPLE = {
    "1.0": {"worklogId": "w", "userId": "u", "worklogDate": "2024-10-22T18:45:31Z", "worklogMinutes": 1},
    "2.0": {"id": "w", "user": "u", "date": "2024-10-22", "minutes": 1, "customFields": {"r": "o"}},
}


@pytest.mark.parametrize("version", READERS)
def test_a_model_of_the_fast_path_is_a_worklog_like_any_other(version):
    _, general = READERS[version]
    body = json.dumps(SAMPLE[version]).encode()
    made, odd = fast(version).worklog(body)
    assert not odd
    usual = general.worklog(Response(status=200, headers={}, body=body))
    assert type(made) is type(usual) is Worklog
    assert made == usual
    assert hash(made) == hash(usual)
    assert repr(made) == repr(usual)
    assert pickle.loads(pickle.dumps(made)) == usual
    assert copy.deepcopy(made) == copy.copy(made) == usual
    assert attrs.evolve(made, minutes=2.0).minutes == 2
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        made.minutes = 2.0
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        del made.minutes
    assert not hasattr(made, "__dict__")
    assert weakref.ref(made)() is made


def test_making_a_worklog_has_nothing_that_the_fast_path_would_pass_over():
    for attribute in attrs.fields(Worklog):
        assert attribute.validator is None
        assert attribute.converter is None
        assert attribute.init
    assert not hasattr(Worklog, "__attrs_post_init__")
    assert not hasattr(Worklog, "__attrs_pre_init__")


def test_a_body_that_is_declined_is_none_whatever_is_wrong_with_it():
    for version in SCHEMAS:
        reader = fast(version)
        for body in (
            b"",
            b"<html>",
            b"[]",
            b'{"items":5,"worklogs":5}',
            b"[" * 100_000,
            b'{"items":[{}],"worklogs":[{}]}',
        ):
            assert reader.rows(body) is None
            assert reader.worklogs(body) is None
            assert reader.worklog(body) is None


@pytest.mark.parametrize("version", READERS)
def test_a_page_that_is_unusual_and_not_wrong_is_read_all_the_same(version):
    schema = SCHEMAS[version]
    reader, _ = READERS[version]
    sample = {**SAMPLE[version], schema.names["id"]: 7, schema.names["created_date"]: "2024-10-22"}
    body = json.dumps({schema.items: [sample, SAMPLE[version]], schema.cursor: "c"}).encode()
    assert fast(version).rows(body) is None
    assert fast(version).worklogs(body) is None
    answer = Response(status=200, headers={}, body=body)
    page, rows = reader.page(answer), reader.rows(answer)
    assert [worklog.id for worklog in page.items] == ["7", "w"]
    assert page.next_cursor == rows.next_cursor == "c"
    assert worklogs_of(rows.items) == page.items
    assert_equal_on(version, body)


@pytest.mark.parametrize(
    "approval",
    [
        {"status": "open", "approver": "7"},
        {"approver": None, "status": "paid"},
        {"status": "open"},
        {"status": "open", "approver": {"id": "7"}},
        {"status": "open", "approver": "7", "note": "later"},
        "approved",
        None,
    ],
)
def test_an_approval_in_any_form_takes_the_fast_path_the_likeliest_or_not(approval):
    body = json.dumps({"items": [{**SAMPLE["2.0"], "approval": approval}, SAMPLE["2.0"]]}).encode()
    assert len(fast("2.0").rows(body).items) == 2
    assert len(fast("2.0").worklogs(body).items) == 2
    assert_equal_on("2.0", body)


def test_days_are_remembered_and_not_for_ever():
    days = Days()
    texts = [str(day) for day in itertools.islice(map(dt.date.fromordinal, itertools.count(700_000)), Days.MOST + 1)]
    for text in texts[:-1]:
        assert days[text] == dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)
    assert len(days) == Days.MOST
    assert days[texts[0]] is days[texts[0]]
    assert days[texts[-1]].date() == dt.date.fromisoformat(texts[-1])
    assert len(days) == 1
    with pytest.raises(ValueError, match="tomorrow"):
        days["tomorrow"]


ENTRY = {
    "id": "w",
    "user": "u",
    "date": "2024-10-22",
    "minutes": 1,
    "customFields": {"category": "c"},
    "approval": {"status": "open", "approver": "7"},
}


def body(*worklogs):
    return json.dumps({"items": worklogs}).encode()


@pytest.mark.parametrize(("schema", "finisher"), [(v1.SCHEMA, v1.FINISHER), (v2.SCHEMA, v2.FINISHER)])
def test_a_row_has_the_attributes_of_a_worklog_in_the_order_of_the_server(schema, finisher):
    members = {"worklogId": "w", "userId": "u", "worklogDate": "2024-10-22T18:45:31Z", "worklogMinutes": 1}
    page = body(ENTRY) if schema is v2.SCHEMA else json.dumps({"worklogs": [members]}).encode()
    [row] = FastReader(schema, finisher).rows(page).items
    assert row.__struct_fields__[: len(schema.names)] == tuple(schema.names)
    assert sorted(row.__struct_fields__[:-1]) == sorted(NAMES[:-1])
    assert row.__struct_fields__[-1] == "kept"
    assert row.minutes.__class__ is float


def test_a_worklog_as_a_row_has_its_values():
    worklog = Worklog(id="w", user_id="u", date=None, minutes=1.0, approval_status=ApprovalStatus.OPEN)
    assert msgspec.structs.astuple(row_of(worklog)) == attrs.astuple(worklog, recurse=False)


def test_columns_have_the_values_of_all_rows():
    rows = fast("2.0").rows(body(ENTRY, {**ENTRY, "id": "x"})).items
    assert columns_of(rows, ("category_id", "id")) == [("c", "c"), ("w", "x")]
    assert columns_of([], ("id",)) == [()]


def test_columns_may_be_of_rows_of_different_structs():
    rows = fast("2.0").rows(body({**ENTRY, "id": "x"})).items
    rows.append(row_of(Worklog(id="w", user_id="u", date=None, minutes=1.0, extra={"odd": 1})))
    assert columns_of(rows, ("extra", "id", "minutes")) == [[{}, {"odd": 1}], ["x", "w"], [rows[0].minutes, 1.0]]


def test_rows_without_custom_fields_share_them_and_nobody_can_change_them():
    rows = fast("2.0").rows(body(ENTRY, {**ENTRY, "customFields": None})).items
    assert rows[0].custom_fields is rows[1].custom_fields is NO_FIELDS == {}
    with pytest.raises(TypeError):
        NO_FIELDS["a"] = 1


def test_the_garbage_collector_does_not_follow_rows():
    rows = fast("2.0").rows(body(ENTRY)).items
    assert not gc.is_tracked(rows[0])
    assert not gc.is_tracked(row_of(Worklog(id="w", user_id="u", date=None, minutes=1)))


def test_a_form_that_another_one_had_to_stand_in_for_is_not_tried_any_more():
    reader = fast("2.0")
    forms = [*reader._forms]
    assert len(forms) == 4
    assert reader.rows(body(ENTRY)) is not None
    assert reader.rows(b"{}") is None
    assert reader._forms == forms
    [row] = reader.rows(body({**ENTRY, "customFields": {"category": "c", "r": "o"}})).items
    assert (row.category_id, row.custom_fields) == ("c", {"r": "o"})
    assert reader._forms == forms[1:]
    [row] = reader.rows(body({**ENTRY, "approval": "approved"})).items
    assert (row.approval_status, row.approver_user_id) == ("approved", None)
    assert reader._forms == forms[2:]
    assert len(reader.rows(body({**ENTRY, "customFields": {"r": "o"}})).items) == 1
    assert reader._forms == forms[3:]
    assert len(reader.rows(body(ENTRY)).items) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_field_that_is_no_member_of_its_own_cannot_be_filled_by_an_answer(name):
    for value in (None, 0, 1, "x", {}):
        page = body({**ENTRY, f"(no member: {name})": value})
        answer = Response(status=200, headers={}, body=page)
        reader = v2.api_version()
        for _ in range(2):
            assert reader.fast.rows(page) is None
            [row] = reader.rows(answer).items
            assert row.id == "w"
            assert row.extra == {f"(no member: {name})": value}


@pytest.mark.parametrize("version", READERS)
@pytest.mark.parametrize("name", ["x", "é", "e\u0301 x", "a.b", "customFields.category"])
def test_unknown_names_are_learned_on_the_first_page_and_read_fast_on_the_next(version, name):
    schema, reader = SCHEMAS[version], fast(version)
    general = attrs.evolve(READERS[version][0], fast=reader)
    worklogs = [{**SAMPLE[version], name: value} for value in (1, None, "x", [1], {"a": 1})]
    page = json.dumps({schema.items: [*worklogs, SAMPLE[version]]}).encode()
    answer = Response(status=200, headers={}, body=page)
    assert reader.worklogs(page) is None
    learned_from = general.page(answer).items
    for found in (reader.worklogs(page).items, reader.rows(page).items, general.rows(answer).items):
        assert [each.extra for each in found] == [each.extra for each in learned_from]
        assert [len(each.extra) for each in found] == [1] * 5 + [0]
    assert reader.worklogs(page).items == learned_from
    read, odd = reader.worklog(json.dumps(worklogs[0]).encode())
    assert (read, [*odd]) == (learned_from[0], [(name, "unknown", "a number", 1)])
    assert columns_of(reader.rows(page).items, ("id", "extra"))[1][0] == {name: 1}


def test_columns_read_what_is_unknown_only_when_they_are_asked_for_it(monkeypatch):
    reader = v2.api_version()
    page = body({**ENTRY, "x": 1})
    for _ in range(2):
        rows = reader.rows(Response(status=200, headers={}, body=page)).items
    asked = []
    monkeypatch.setattr(type(rows[0]), "extra", property(asked.append))
    assert columns_of(rows, ("id",)) == [("w",)]
    assert not asked
    assert columns_of(rows, ("extra",)) == [[None]]
    assert asked == rows


def test_what_is_kept_of_an_approval_stands_beside_what_is_learned(caplog):
    reader = v2.api_version()
    odd = {**ENTRY, "x": 1, "approval": {"status": "open", "at": "noon"}}
    answer = Response(status=200, headers={}, body=body(odd, {**odd, "y": 2}, ENTRY))
    for _ in range(3):
        extras = [worklog.extra for worklog in reader.page(answer).items]
        assert extras == [{"x": 1, "approval": odd["approval"]}, {"x": 1, "y": 2, "approval": odd["approval"]}, {}]
    assert reader.fast.worklogs(answer.body) is not None
    reader.oddities.tell()
    counted = {record.args[0]: record.args[3] for record in caplog.records}
    assert counted == {"x": 6, "y": 3, "approval": 6}


def test_names_without_end_are_not_learned_and_not_counted():
    reader = v2.api_version()
    worklogs = [{**ENTRY, f"x{number}": 1} for number in range(200)]
    answer = Response(status=200, headers={}, body=body(*worklogs))
    for _ in range(2):
        assert [len(worklog.extra) for worklog in reader.page(answer).items] == [1] * 200
    assert len(reader.fast._learned.names) == FastReader.MOST
    assert len(reader.oddities._counts) == MOST


def test_extra_is_read_only_and_can_be_copied():
    worklog = v2.api_version().worklog(
        Response(status=200, headers={}, body=json.dumps({**ENTRY, "b": 1, "a": 2}).encode())
    )
    for change in (lambda extra: extra.update(c=1), lambda extra: extra.pop("a"), lambda extra: extra.clear()):
        with pytest.raises(TypeError, match="read only"):
            change(worklog.extra)
    with pytest.raises(TypeError, match="read only"):
        worklog.extra["c"] = 1
    assert repr(worklog.extra) == "{'a': 2, 'b': 1}"
    assert pickle.loads(pickle.dumps(worklog)) == copy.deepcopy(worklog) == worklog
    assert hash(worklog)
    assert attrs.asdict(worklog)["extra"] == {"a": 2, "b": 1}


def test_several_unknown_names_of_every_worklog_are_read_fast_and_counted(caplog):
    reader = v2.api_version()
    answer = Response(status=200, headers={}, body=body({**ENTRY, "x": 1, "y": [2]}, {**ENTRY, "x": None, "y": "z"}))
    for _ in range(3):
        for found in (reader.page(answer), reader.rows(answer)):
            assert [each.extra for each in found.items] == [{"x": 1, "y": [2]}, {"x": None, "y": "z"}]
    assert reader.fast.rows(answer.body).odd == [("x", "unknown", "a number", 2), ("y", "unknown", "an array", 2)]
    reader.oddities.tell()
    assert {record.args[0]: record.args[3] for record in caplog.records} == {"x": 12, "y": 12}


HUGE = 10**400
ODD_VALUES = {
    "ids as numbers": ("2.0", "item", [5, None, 6]),
    "ids as numbers and strings": ("2.0", "item", [5, "6", 7.0]),
    "an id that is a number": ("2.0", "id", [5, 6]),
    "a boolean for an id": ("2.0", "item", [True, "6", None]),
    "no user": ("2.0", "user", [None, "7", None]),
    "a user that is an object": ("2.0", "user", [{"id": 7}, None, "7"]),
    "numbers as text": ("2.0", "minutes", ["60", "90"]),
    "numbers as text, with fractions": ("2.0", "minutes", ["60.5", "90."]),
    "numbers as text, and nulls": ("2.0", "billableMinutes", ["60.5", None, "7"]),
    "numbers as text and as numbers": ("2.0", "minutes", ["60", 90]),
    "a text that is no number": ("2.0", "billableMinutes", ["60", "many", "\u0663"]),
    "a text of very many digits": ("2.0", "billableMinutes", ["1" * 400, "60"]),
    "whole numbers in texts": ("1.0", "worklogMinutes", ["075", "90", "007"]),
    "a number that no float can hold": ("1.0", "worklogBillableMinutes", [HUGE, 1, None]),
    "empty moments": ("2.0", "updatedDate", ["", "2024-03-01T08:00:00Z", None]),
    "empty moments beside another oddity": ("2.0", "updatedDate", ["", "soon", 5]),
    "moments that are days": ("1.0", "createdDate", ["2016-12-31", "2024-03-01T08:00:00+02:00"]),
    "a status that is an object": ("1.0", "approvalStatus", [{"name": "open"}, "APPROVED"]),
    "custom fields that are an array": ("2.0", "customFields", [[], {"category": "c", "r": "o"}, []]),
    "a category that is a number": ("2.0", "customFields", [{"category": 5, "r": 1}, {"project": True}]),
    "an approval in an array": ("2.0", "approval", [[{"status": "open"}], {"status": ["x"], "at": 1}, "open"]),
}


@pytest.mark.parametrize(("version", "name", "values"), ODD_VALUES.values(), ids=ODD_VALUES)
def test_odd_values_are_learned_and_then_read_fast_and_alike(version, name, values):
    schema, oddities = SCHEMAS[version], Oddities()
    reader = attrs.evolve(READERS[version][0], fast=fast(version), oddities=oddities)
    worklogs = [{**SAMPLE[version], schema.names["id"]: str(number)} for number in range(len(values))]
    worklogs = [worklog | {name: value} for worklog, value in zip(worklogs, values, strict=True)]
    page = json.dumps({schema.items: worklogs}).encode()
    answer = Response(status=200, headers={}, body=page)
    assert reader.fast.worklogs(page) is None
    expected = reader.page(answer).items
    counted = {key: (count.example, count.times) for key, count in oddities._counts.items()}
    assert bool(counted) == (values[0] != "2016-12-31")  # another form of a moment is read, and is nothing to tell
    oddities._counts.clear()
    assert repr(reader.fast.worklogs(page).items) == repr(expected)
    assert repr(worklogs_of(reader.fast.rows(page).items)) == repr(expected)
    assert reader.rows(answer).items
    assert {key: (count.example, count.times) for key, count in oddities._counts.items()} == counted
    for worklog, one in zip(worklogs, expected, strict=True):
        assert repr(reader.fast.worklog(json.dumps(worklog).encode())[0]) == repr(one)


def test_what_is_essential_and_cannot_be_read_is_declined_also_when_it_was_odd_before():
    reader = attrs.evolve(READERS["2.0"][0], fast=fast("2.0"), oddities=Oddities())
    reader.page(Response(status=200, headers={}, body=body({**ENTRY, "minutes": "60"})))
    assert reader.fast.rows(body({**ENTRY, "minutes": "60"})) is not None
    for minutes in ("many", None, [], "1e999"):
        assert reader.fast.rows(body({**ENTRY, "minutes": minutes})) is None
    assert reader.fast.rows(body({"id": "w", "date": "2024-10-22", "user": "u"})) is None


def test_an_object_that_is_odd_in_a_few_rows_is_not_learned():
    reader = attrs.evolve(READERS["2.0"][0], fast=fast("2.0"), oddities=Oddities())
    few = body({**ENTRY, "customFields": []}, ENTRY, ENTRY)
    reader.page(Response(status=200, headers={}, body=few))
    assert reader.fast.rows(few) is None
    reader.page(Response(status=200, headers={}, body=body({**ENTRY, "customFields": []}, ENTRY)))
    assert reader.fast.rows(few) is not None


def test_a_learned_extra_is_a_mapping_like_any_other():
    reader = attrs.evolve(READERS["2.0"][0], fast=fast("2.0"), oddities=Oddities())
    answer = Response(status=200, headers={}, body=body({**ENTRY, "b": 1, "a": [2]}, {**ENTRY, "c": None}))
    first, second = [worklog.extra for worklog in reader.page(answer).items]
    for _ in range(2):
        learned, other = reader.page(answer).items
        assert isinstance(learned.extra, Mapping)
        assert learned.extra == first == {"b": 1, "a": [2]}
        assert other.extra == second == {"c": None}
        assert learned.extra != other.extra
        assert (sorted(learned.extra), len(learned.extra), learned.extra["b"]) == (["a", "b"], 2, 1)
        assert (learned.extra.get("x", 5), "a" in learned.extra, "x" in learned.extra) == (5, True, False)
        assert (set(learned.extra.keys()), [*other.extra.values()]) == ({"a", "b"}, [None])
        assert dict(learned.extra.items()) == {"b": 1, "a": [2]}
        assert repr(learned.extra) == "{'a': [2], 'b': 1}"
        assert pickle.loads(pickle.dumps(learned)) == copy.deepcopy(learned) == learned
        assert hash(learned)
        with pytest.raises(TypeError, match="unhashable"):
            hash(learned.extra)
        for change in (lambda extra: extra.update(c=1), lambda extra: extra.pop("a"), lambda extra: extra.clear()):
            with pytest.raises(TypeError, match="read only"):
                change(learned.extra)
        with pytest.raises(TypeError, match="read only"):
            learned.extra["c"] = 1


def test_a_learned_extra_is_not_written_as_json_under_wrong_names():
    reader = attrs.evolve(READERS["2.0"][0], fast=fast("2.0"), oddities=Oddities())
    answer = Response(status=200, headers={}, body=body({**ENTRY, "b": 1}))
    reader.page(answer)
    [worklog] = reader.page(answer).items
    with pytest.raises(TypeError):
        msgspec.json.encode(worklog.extra)
    assert json.dumps(dict(worklog.extra)) == '{"b": 1}'


@pytest.mark.parametrize(
    ("texts", "numbers"), [(["75", None, "7.50"], [75.0, None, 7.5]), (["075", None, "0.50"], [75.0, None, 0.5])]
)
def test_numbers_in_texts_may_begin_with_zeros(texts, numbers):
    read = unusual._numbers(texts)
    assert read == numbers
    assert [type(number) for number in read] == [float, type(None), float]


@pytest.mark.parametrize(
    ("approval", "kept"),
    [
        ({"status": "open", "approver": "7"}, {}),
        ({"status": "open", "approver": "7", "comment": None}, {}),
        ({"status": "open", "approver": "7", "comment": "fine"}, {"approval"}),
        ({"state": "open", "approver": {"id": "7"}, "comment": "fine"}, {"approval"}),
    ],
)
@pytest.mark.parametrize("custom_fields", [{"category": "c"}, {"category": "c", "own": "x"}])
def test_what_else_an_approval_holds_is_kept(approval, kept, custom_fields):
    reader = fast("2.0")
    page = body({**ENTRY, "approval": approval, "customFields": custom_fields, "unknown": 1})
    assert reader.worklogs(page) is None
    reader.learn([Worklog(id="w", user_id="u", date=None, minutes=1.0, extra={"unknown": 1})], {})
    for read in (reader.rows, reader.worklogs):
        [found] = read(page).items
        assert (found.approval_status, found.approver_user_id, found.category_id) == ("open", "7", "c")
        assert set(found.extra) == {"unknown", *kept}
        assert not kept or found.extra["approval"] == approval
