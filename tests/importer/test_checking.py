"""The first pass over a file."""

from __future__ import annotations

import pytest

from tracket_async.client import API_VERSIONS
from tracket_async.errors import StoreError
from tracket_async.importer.reader import (
    MAX_LISTED,
    BadLine,
    InputFile,
    InputSource,
    ReadOptions,
    make_change,
    make_new_worklog,
    make_worklog_id,
)

GOOD = b'{"item_id": "i", "user_id": "u", "date": "2024-05-20", "minutes": %d, "id": "x", "created_date": "y"}\n'


@pytest.fixture
def input_file(tmp_path):
    """Makes a reading of a file with this content."""
    opened = []

    def make(content, format="ndjson", make=make_new_worklog, api="2.0", **settings):  # noqa: A002
        path = tmp_path / "file"
        path.write_bytes(content)
        source = InputSource(str(path))
        opened.append(source)
        return InputFile(
            source=source, options=ReadOptions(format=format), make=make, api_version=API_VERSIONS[api](), **settings
        )

    yield make
    for source in opened:
        source.close()


def test_a_good_file_has_rows_and_what_is_ignored_of_it(input_file):
    found = input_file(GOOD % 1 + b"\n" + GOOD % 2).validate()
    assert (found.rows, found.bad_lines, found.bad) == (2, 0, [])
    assert found.ignored == {"created_date"}


def test_every_bad_line_is_counted_and_the_first_are_named(input_file):
    lines = [GOOD % -1 if number % 2 else b"{}\n" for number in range(2 * MAX_LISTED)]
    found = input_file(GOOD % 1 + b"".join(lines)).validate()
    assert (found.rows, found.bad_lines) == (1, 2 * MAX_LISTED)
    assert [bad.line for bad in found.bad] == list(range(2, MAX_LISTED + 2))
    assert found.bad[0] == BadLine(2, "item_id, user_id, date, minutes must be given")
    assert found.bad[1].reason.startswith("minutes must be a finite number of minutes, at least 0, not -1")


def test_what_a_reader_refuses_a_model_refuses_and_a_version_refuses_is_all_bad(input_file):
    content = b"[]\n" + (GOOD % 1).replace(b'"i"', b'" "') + (GOOD % 1).replace(b'"id"', b'"team_id"')
    assert [bad.line for bad in input_file(content, api="1.0").validate().bad] == [1, 2, 3]


def test_the_rows_come_in_order_and_those_that_nobody_wants_are_left_out(input_file):
    made = input_file(b"".join(GOOD % number for number in range(5)))
    assert [(row.line, row.item.minutes) for row in made.rows()] == [(n + 1, n) for n in range(5)]
    assert [row.line for row in made.rows({2, 4}.__contains__)] == [2, 4]


def test_what_is_not_wanted_is_not_made(input_file):
    made = []

    def make(record, _api_version):
        made.append(record.line)
        return "x"

    rows = input_file(b"a\nb\nc\n", "ids", make).rows({2}.__contains__)
    assert ([row.line for row in rows], made) == ([2], [2])


@pytest.mark.parametrize(
    ("make", "content"),
    [
        (make_worklog_id, b'{"id": "a"}\n{"id": "b"}\n{"id": "a"}\n{"id": "a"}'),
        (make_change, b'{"id": "a", "minutes": 1}\n{"id": "b", "minutes": 1}\n' + b'{"id": "a", "minutes": 2}\n' * 2),
    ],
)
def test_an_id_that_comes_again_is_refused_since_nobody_knows_which_is_first(input_file, make, content):
    found = input_file(content, make=make, id_of=lambda item: item if isinstance(item, str) else item[0]).validate()
    assert found.rows == 2
    assert found.bad == [
        BadLine(3, "the id 'a' is on line 1 already; remove one of the two"),
        BadLine(4, "the id 'a' is on line 1 already; remove one of the two"),
    ]


def test_a_file_that_changes_between_the_passes_gives_no_rows(input_file, tmp_path):
    made = input_file(GOOD % 1)
    assert made.validate().rows == 1
    (tmp_path / "file").write_bytes(GOOD % 1 + GOOD % 2)
    with pytest.raises(StoreError):
        list(made.rows())


def test_in_an_import_the_same_row_may_come_again(input_file):
    assert input_file(GOOD % 1 * 50).validate().rows == 50
