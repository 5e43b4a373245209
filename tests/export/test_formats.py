"""The table of formats, and the options of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracket_async.export.formats import ENDINGS, FORMATS, FileOptions, format_of, is_gzip


@pytest.mark.parametrize("name", [name for name, each in FORMATS.items() for _ in each.endings])
def test_every_ending_chooses_its_format_whatever_its_case(name):
    for ending in FORMATS[name].endings:
        assert format_of(Path("a" + ending)) == format_of(Path("A" + ending.upper())) == name


def test_an_ending_before_gz_chooses_the_format():
    found = [format_of(Path(name)) for name in ("a.csv.gz", "a.b.NDJSON.GZ", "a.jsonl.gz", "a.parquet.gz", "a.gz", "a")]
    assert found == ["csv", "ndjson", "ndjson", "parquet", None, None]
    assert is_gzip(Path("a.csv.GZ"))
    assert not is_gzip(Path("gz"))


def test_the_endings_are_those_that_choose_a_format():
    assert ENDINGS[:6] == (".parquet", ".csv", ".ndjson", ".jsonl", ".duckdb", ".xlsx")
    assert ENDINGS[6:] == (".csv.gz", ".ndjson.gz", ".jsonl.gz")


def test_a_delimiter_is_a_comma_a_semicolon_or_a_tab():
    assert [FileOptions(delimiter=one).delimiter for one in ",;\t"] == [",", ";", "\t"]
    with pytest.raises(ValueError, match="delimiter"):
        FileOptions(delimiter="|")
