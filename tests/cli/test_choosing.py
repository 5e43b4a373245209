"""Which file gets which format."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracket_async.cli import destinations
from tracket_async.errors import UsageError


def test_the_ending_decides_whatever_its_case_and_what_is_said_counts_more(tmp_path):
    names = [str(tmp_path / name) for name in ("a.NDJSON", "a.jsonl", "a.csv", "a.Parquet", "a.duckdb", "a")]
    found = destinations.files(names, None)
    assert list(found.values()) == ["ndjson", "ndjson", "csv", "parquet", "duckdb", "ndjson"]
    assert list(found) == [Path(name) for name in names]
    assert set(destinations.files([*names, str(tmp_path / "a.xlsx")], "csv").values()) == {"csv"}


@pytest.mark.parametrize("name", ["a.xlsx", "a.csv.gz", "a.json", "a.parq"])
def test_a_name_that_promises_something_else_is_refused(tmp_path, name):
    with pytest.raises(
        UsageError, match=r"says no format. Give --format, or one of .ndjson, .jsonl, .csv, .parquet, .duckdb"
    ):
        destinations.files([str(tmp_path / name)], None)


def test_a_file_that_is_given_twice_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is given twice"):
        destinations.files([str(tmp_path / "a.csv"), f"{tmp_path}/./a.csv"], None)


def test_an_option_is_no_file():
    with pytest.raises(UsageError, match=r"--output needs a file, and --raw is an option. A file .* is ./--raw"):
        destinations.files(["--raw"], None)


def test_standard_output_goes_alone():
    assert destinations.to_standard_output(["-"])
    assert not destinations.to_standard_output(["a", "b"])
    with pytest.raises(UsageError, match="goes with no other"):
        destinations.to_standard_output(["a", "-"])


def test_only_text_is_streamed():
    assert [destinations.streamed(one) for one in (None, "ndjson", "csv")] == ["ndjson", "ndjson", "csv"]
    with pytest.raises(UsageError, match="--format parquet needs a file"):
        destinations.streamed("parquet")
