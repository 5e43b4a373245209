"""Rules: which request gets which fault, the same way every time; and rules as text."""

from __future__ import annotations

import json

import pytest

from tracket_async.emulator import faults
from tracket_async.emulator.faults import (
    KINDS,
    Delay,
    FaultFileError,
    Html,
    RequestFault,
    ResponseFault,
    Rule,
    Script,
    Status,
    Truncate,
    read_rules,
)
from tracket_async.emulator.request_log import ReceivedRequest


def request(method="GET", route="/timeEntries", **query):
    return ReceivedRequest(number=1, method=method, route=route, path="", query=query)


def applied(script, count=10, **facts):
    """The numbers, from 1, of the requests that meet a response_fault."""
    return [number for number in range(1, count + 1) if script.choose(request(**facts))[1] is not None]


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({}, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ({"nth": 1}, [1]),
        ({"nth": 10}, [10]),
        ({"nth": 11}, []),
        ({"nth": (2, 3, 9)}, [2, 3, 9]),
        ({"nth": range(4, 7)}, [4, 5, 6]),
        ({"every": 1}, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ({"every": 3}, [3, 6, 9]),
        ({"times": 2}, [1, 2]),
        ({"every": 3, "times": 2}, [3, 6]),
        ({"ratio": 0.0}, []),
        ({"ratio": 1.0}, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
    ],
)
def test_a_rule_says_which_of_the_matching_requests_meet_the_fault(when, expected):
    script = Script()
    script.add(Status(500), **when)
    assert applied(script) == expected


def test_a_rule_counts_only_the_requests_that_it_speaks_of():
    script = Script()
    script.add(Status(500), method="POST", route="/worklogs", nth=2)
    assert applied(script, method="GET", route="/worklogs") == []
    assert applied(script, method="POST", route="/worklogs/{id}") == []
    assert applied(script, method="POST", route="/worklogs") == [2]


def test_a_rule_counts_from_when_it_was_added():
    script = Script()
    script.add(Status(500), nth=1)
    assert applied(script, 3) == [1]
    script.add(Status(500), nth=1)
    assert applied(script, 3) == [1]


@pytest.mark.parametrize(("cursor", "first", "later"), [(None, 1, 1), (True, 0, 1), (False, 1, 0)])
def test_first_and_later_pages_can_be_told_apart(cursor, first, later):
    script = Script()
    script.add(Status(500), cursor=cursor)
    assert len(applied(script, 1)) == first
    assert len(applied(script, 1, after="x")) == later


def test_chance_is_seeded_and_each_rule_has_its_own():
    def outcomes(seed, *, more=False):
        script = Script(seed)
        script.add(Status(500), ratio=0.3)
        if more:
            script.add(Delay(0), ratio=0.5)
        return applied(script, 1000)

    assert outcomes(1) == outcomes(1) == outcomes(1, more=True)
    assert outcomes(1) != outcomes(2)
    assert 250 < len(outcomes(1)) < 350


def test_the_first_disturbance_in_order_wins_and_every_rule_counts():
    script = Script()
    script.add(Status(500), nth=2)
    script.add(Html(), every=2)
    chosen = [script.choose(request())[1] for _ in range(4)]
    assert chosen == [None, Status(500), None, Html()]


def test_a_function_can_choose():
    script = Script()
    script.add(lambda received: Status(503) if received.query.get("size") == "7" else None, times=1)
    assert applied(script, 3, size="8") == []
    assert applied(script, 3, size="7") == [1]


def test_a_cleared_script_does_nothing():
    script = Script()
    script.add(Status(500))
    assert len(script) == 1
    script.clear()
    assert (len(script), applied(script)) == (0, [])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"method": "get"}, "capitals"),
        ({"route": "/api/2.0/timeEntries"}, "route must be"),
        ({"nth": 0}, "counts from 1"),
        ({"nth": [1, -1]}, "counts from 1"),
        ({"every": 0}, "every"),
        ({"times": 0}, "times"),
        ({"ratio": 1.01}, "ratio"),
        ({"ratio": -0.1}, "ratio"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        Script().add(Status(500), **wrong)


# ---- files


def test_rules_can_be_written_one_a_line_or_as_an_array():
    rules = [
        {"fault": "status", "status": 503, "retry_after": 2, "method": "GET", "route": "/timeEntries", "nth": [3, 4]},
        {"fault": "truncate", "at": 10, "framing": "gzip", "cursor": True, "every": 5, "times": 1},
        {"fault": "expire-token", "ratio": 0.5},
    ]
    expected = [
        Rule(fault=Status(503, retry_after="2"), method="GET", route="/timeEntries", nth=[3, 4]),
        Rule(fault=Truncate(10, framing="gzip"), cursor=True, every=5, times=1),
        Rule(fault=faults.ExpireToken(), ratio=0.5),
    ]
    lines = "\n\n".join(json.dumps(rule) for rule in rules)
    assert read_rules(lines) == read_rules(json.dumps(rules, indent=1)) == expected
    assert read_rules("") == read_rules(" [] ") == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"fault": "html"}\n{', "line 2: not JSON"),
        ("\n\n5", "line 3: a rule must be a JSON object"),
        ('{"fault": "flood"}', "line 1: fault must be one of status, "),
        ("{}", "line 1: fault must be one of"),
        ('{"fault": "html", "colour": 1}', "html has commit, status, not colour"),
        ('{"fault": "expire-token", "when": 1}', "expire-token has no settings, not when"),
        ('{"fault": "status"}', "status"),
        ('{"fault": "status", "status": 99}', "status"),
        ('{"fault": "html", "nth": 0}', "counts from 1"),
        ('{"fault": "html", "nth": "x"}', "line 1"),
        ('{"fault": "html", "method": 5}', "line 1"),
        ('{"fault": "html", "ratio": "x"}', "line 1"),
        ('{"fault": "cycling-cursor", "_given": []}', "line 1"),
        ("[1]", "rule 1: a rule must be"),
        ('[{"fault": "html"}, {"fault": "x"}]', "rule 2: fault must be one of"),
        ("[", "the script: not JSON"),
    ],
)
def test_what_is_wrong_with_a_script_is_said_with_its_place(text, says):
    with pytest.raises(FaultFileError, match=r"^(line|rule|the script)") as caught:
        read_rules(text)
    assert says in str(caught.value)


def test_every_kind_can_be_named_in_a_file_but_for_the_one_that_takes_a_function():
    every = {
        each
        for each in vars(faults).values()
        if isinstance(each, type) and issubclass(each, RequestFault | ResponseFault) and hasattr(each, "kind")
    }
    assert {each.kind: each for each in every if each is not faults.Call} == KINDS


def test_every_kind_is_exported():
    assert {each.__name__ for each in KINDS.values()} | {"Call"} <= set(faults.__all__)
    assert sorted(faults.__all__) == sorted(set(faults.__all__))
    assert all(hasattr(faults, name) for name in faults.__all__)
