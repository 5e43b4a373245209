"""``tracket export``, against an emulator over a real socket."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import stat

import duckdb
import pyarrow.parquet as pq
import pytest
from python_calamine import CalamineWorkbook

from tracket_async.client import TracketClient
from tracket_async.emulator.faults import MissingField, Status
from tracket_async.errors import StorageError
from tracket_async.export import sheets

BOTH = pytest.mark.parametrize("api", ["1.0", "2.0"])


def records(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


@BOTH
@pytest.mark.parametrize("concurrency", [1, 16])
def test_everything_comes_once_in_ascending_order_of_date(tracket, serve, api, concurrency):
    served = serve(api, sample=1234)
    result = tracket("export", "--concurrency", concurrency)
    assert result.code == 0
    found = [json.loads(line) for line in result.lines]
    assert sorted(one["id"] for one in found) == sorted(
        one["worklogId"] for one in served.ask(served.emulator.worklogs)
    )
    dates = [one["date"] for one in found]
    assert dates == sorted(dates)
    assert result.err.startswith("Exported 1,234 worklogs (")
    assert result.err.count("\n") == 1


def test_a_file_is_private_complete_and_named_in_the_note(tracket, serve, tmp_path):
    serve(sample=250)
    path = tmp_path / "out.ndjson"
    path.write_text("before", encoding="utf-8")
    result = tracket("export", "--output", path)
    assert (result.code, result.out) == (0, "")
    assert f" to {path} in " in result.err
    assert len(path.read_text(encoding="utf-8").splitlines()) == 250
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_csv_for_excel_has_a_mark_and_semicolons(tracket, serve, tmp_path, seed, no_extra):
    serve(seed=[seed(1)])
    options = ("--columns", "id,minutes", "--bom", "--delimiter", ";")
    assert tracket("export", "-o", tmp_path / "a.csv", *options).code == 0
    with no_extra():
        assert tracket("export", "-o", tmp_path / "b.csv", "-o", tmp_path / "c.csv.gz", *options).code == 0
    assert (tmp_path / "a.csv").read_bytes() == b"\xef\xbb\xbfid;minutes\r\nwl-001;31.0\r\n"
    assert (tmp_path / "b.csv").read_bytes() == (tmp_path / "a.csv").read_bytes()
    assert gzip.decompress((tmp_path / "c.csv.gz").read_bytes()) == (tmp_path / "a.csv").read_bytes()
    result = tracket("export", "--format", "csv", "--columns", "minutes,id", "--delimiter", "tab")
    assert result.out == "minutes\tid\r\n31.0\twl-001\r\n"
    assert tracket("export", "--delimiter", "|").code == 2


@pytest.mark.parametrize(
    ("name", "arguments", "first"),
    [
        ("out.csv", (), "id,day,user_id,date,"),
        ("out.CSV", (), "id,day,user_id,date,"),
        ("out.jsonl", (), '{"id":'),
        ("out.ndjson", (), '{"id":'),
        ("out", (), '{"id":'),
        ("out.csv", ("--format", "ndjson"), '{"id":'),
        ("out.txt", ("--format=csv",), "id,day,user_id,date,"),
    ],
)
def test_the_format_is_said_or_told_by_the_name(tracket, serve, tmp_path, seed, name, arguments, first):
    serve(seed=[seed(1)])
    assert tracket("export", "-o", tmp_path / name, *arguments).code == 0
    assert (tmp_path / name).read_text(encoding="utf-8").startswith(first)


@BOTH
def test_csv_has_a_header_every_attribute_and_nothing_a_spreadsheet_would_run(tracket, serve, seed, api):
    texts = ["=1+1", "+cmd", "-x", "@sum", "\tx", "\rx", 'a "quote", and\nmore', "", None, "plain = text", "日本"]
    serve(api, seed=[seed(number, description=text) for number, text in enumerate(texts)])
    out = tracket("export", "--format=csv").out
    found = records(out)
    assert [one["description"] for one in found] == [
        *("'=1+1", "'+cmd", "'-x", "'@sum", "'\tx", "'\rx", 'a "quote", and\nmore', "", "", "plain = text", "日本")
    ]
    assert list(found[0])[:5] == ["id", "day", "user_id", "date", "minutes"]
    assert found[0]["day"] == "2024-05-01"
    assert found[0]["date"] == "2024-05-01T00:00:00.000Z"
    assert found[0]["minutes"] == "30.0"
    raw = records(tracket("export", "--format=csv", "--raw").out)
    assert [one["description"] for one in raw] == [text or "" for text in texts]


def test_columns_are_those_that_are_named(tracket, serve, seed):
    serve(seed=[seed(1)])
    assert tracket("export", "--columns", "minutes, id", "--format=csv").out.splitlines() == [
        "minutes,id",
        "31.0,wl-001",
    ]
    assert tracket("export", "--columns=minutes,id").out == '{"minutes":31.0,"id":"wl-001"}\n'


@BOTH
def test_bounds_are_inclusive(tracket, serve, seed, api):
    serve(api, seed=[seed(number) for number in range(10)])
    lines = tracket("export", "--since=2024-05-03", "--until=2024-05-05", "--columns=date").lines
    assert [json.loads(line)["date"][:10] for line in lines] == ["2024-05-03", "2024-05-04", "2024-05-05"]


@pytest.mark.parametrize(("tz", "day"), [((), "2024-05-01"), (("--tz", "Europe/Amsterdam"), "2024-05-02")])
def test_the_day_of_a_moment_is_counted_in_the_time_zone(tracket, serve, seed, tmp_path, tz, day):
    serve("1.0", seed=[seed(1, worklogDate="2024-05-01T22:30:00.000Z")])
    for arguments in (("--format=csv",), ("--columns=day",)):
        assert day in tracket("export", *arguments, *tz).out
    assert tracket("export", "-o", tmp_path / "out.csv", *tz).code == 0
    (found,) = records((tmp_path / "out.csv").read_text(encoding="utf-8"))
    assert (found["day"], found["date"]) == (day, "2024-05-01T22:30:00.000Z")


def test_a_day_of_2_0_is_of_no_time_zone(tracket, serve, seed):
    serve(seed=[seed(1, worklogDate="2024-05-01T00:00:00.000Z")])
    assert tracket("export", "--columns=day", "--tz=America/Los_Angeles").out == '{"day":"2024-05-01"}\n'


def test_nothing_to_export_is_an_empty_file_or_a_header(tracket, serve, tmp_path):
    serve(seed=[])
    result = tracket("export", "-o", tmp_path / "out.ndjson")
    assert (result.code, (tmp_path / "out.ndjson").read_bytes()) == (0, b"")
    assert result.err.startswith("Exported 0 worklogs (0.0 h)")
    assert tracket("export", "--format=csv").out.count("\n") == 1


@BOTH
def test_progress_is_json_lines_if_asked_for(tracket, serve, api):
    serve(api, sample=150)
    result = tracket("export", "--progress=json")
    *lines, last = result.err.splitlines()
    events = [json.loads(line) for line in lines]
    assert events[0]["total"] == (150 if api == "2.0" else None)
    assert (events[-1]["event"], events[-1]["done"]) == ("end", 150)
    assert last.startswith("Exported 150 worklogs")


def test_on_a_terminal_there_is_a_bar(tracket, serve, terminal):
    serve(sample=150)
    stderr = terminal("stderr")
    assert tracket("export").code == 0
    assert "150 of 150 worklogs" in stderr.text


def test_a_terminal_that_shows_the_worklogs_has_no_bar(tracket, serve, terminal):
    serve(sample=3)
    stdout, stderr = terminal("stdout"), terminal("stderr")
    assert tracket("export").code == 0
    assert stdout.text.count("\n") == 3
    assert stderr.text.startswith("Exported 3 worklogs (")


def test_a_note_stands_above_the_bar_and_stays(tracket, serve, terminal, tmp_path):
    serve("1.0", sample=300, v1_order="unsorted")
    stderr = terminal("stderr")
    assert tracket("export", "-o", tmp_path / "out.ndjson").code == 0
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stderr.text).splitlines()
    (note,) = [line for line in lines if "ascending order" in line]
    assert "worklogs  " not in note  # nothing of the bar is in its line


@BOTH
def test_an_export_that_fails_leaves_the_target_as_it_was(tracket, serve, tmp_path, api):
    served = serve(api, sample=500)
    served.emulator.faults.add(
        MissingField("minutes" if api == "2.0" else "worklogMinutes", 7), nth=[4 if api == "1.0" else 8]
    )
    path = tmp_path / "out.csv"
    path.write_text("before", encoding="utf-8")
    result = tracket("export", "--output", path, "--concurrency=1")
    assert result.code == 1
    assert result.err.splitlines()[1:] == [
        f"What was fetched is kept in {path}.resume. To resume: tracket export --output {path} --concurrency=1"
    ]
    assert path.read_text(encoding="utf-8") == "before"
    assert sorted(tmp_path.iterdir()) == [path, tmp_path / "out.csv.resume"]


def test_an_export_that_is_refused_ends_with_7(tracket, serve):
    served = serve(sample=500)
    served.emulator.faults.add(Status(403), nth=[3])
    assert tracket("export").code == 7


@pytest.mark.parametrize("order", ["descending", "unsorted"])
def test_a_server_without_order_is_exported_without_order_if_that_is_allowed(tracket, serve, order):
    serve("1.0", sample=300, v1_order=order)
    result = tracket("export")
    assert result.code == 2
    assert "Give --unordered to take them as they come" in result.err
    assert result.err.count("\n") == 1
    result = tracket("export", "--unordered")
    assert result.code == 0
    assert len({json.loads(line)["id"] for line in result.lines}) == len(result.lines) == 300
    assert len(result.err.splitlines()) == 2  # that one partition reads everything, and the summary


def test_a_stream_that_the_server_ends_early_is_no_success(tracket, hostile, monkeypatch, tmp_path, no_extra):
    hostile.add(*hostile.make_rows(250))
    hostile.total = lambda true, _number: true and true + 500
    for name, value in hostile.env().items():
        monkeypatch.setenv(name, value)
    streamed = tracket("export")
    assert (streamed.code, len(streamed.lines)) == (1, 250)
    assert "counts 750 worklogs and has sent only 250" in streamed.err
    path = tmp_path / "out.csv"
    path.write_text("before", encoding="utf-8")
    with no_extra():
        assert tracket("export", "-o", path).code == 1
    assert path.read_text(encoding="utf-8") == "before"


def test_what_the_version_cannot_filter_is_told_as_such(tracket, serve):
    served = serve("1.0", seed=[])
    result = tracket("export", "--updated-since=2024-05-01")
    assert result.code == 2
    assert "updated" in result.err
    assert len(served.emulator.request_log) == 0


def test_the_concurrency_is_that_of_the_client_too(tracket, serve, monkeypatch):
    limits = []
    real = TracketClient.from_env

    def from_env(environ, **settings):
        limits.append(settings["limits"])
        return real(environ, **settings)

    monkeypatch.setattr(TracketClient, "from_env", from_env)
    serve(seed=[])
    assert tracket("export", "--concurrency=40").code == 0
    assert limits[0].max_concurrency == 40


FORMATS = ("ndjson", "csv", "parquet", "duckdb", "xlsx")


@BOTH
def test_every_format_has_every_worklog_and_nothing_is_left_beside_them(tracket, serve, tmp_path, api):
    serve(api, sample=321)
    files = {name: tmp_path / f"out.{name}" for name in FORMATS}
    result = tracket("export", *(argument for path in files.values() for argument in ("-o", path)))
    assert result.code == 0, result.err
    ids = [json.loads(line)["id"] for line in files["ndjson"].read_text(encoding="utf-8").splitlines()]
    assert len(set(ids)) == 321
    with files["csv"].open(encoding="utf-8", newline="") as file:
        assert [one["id"] for one in csv.DictReader(file)] == ids
    assert pq.read_table(files["parquet"]).column("id").to_pylist() == ids
    with duckdb.connect(str(files["duckdb"]), read_only=True) as database:
        assert database.sql("SELECT id FROM worklogs ORDER BY date, id").fetchall() == [(one,) for one in ids]
    _header, *rows = CalamineWorkbook.from_path(files["xlsx"]).get_sheet_by_name("worklogs").iter_rows()
    assert [row[0] for row in rows] == ids
    assert sorted(tmp_path.iterdir()) == sorted(files.values())
    words = {
        "1.0": "not verifiable: the server gives no count of them",
        "2.0": "verified: as many as the server counts",
    }
    assert result.err.endswith(f"; {words[api]}.\n")


@BOTH
def test_too_many_worklogs_for_a_sheet_are_told_before_any_file_is_written(tracket, serve, tmp_path, api, monkeypatch):
    served = serve(api, sample=321)
    monkeypatch.setattr(sheets, "MAX_ROWS", 321)
    result = tracket("export", "-o", tmp_path / "a.csv", "-o", tmp_path / "a.xlsx", "--progress", "off")
    assert result.code == 1
    assert "an Excel sheet has 321 rows, and there are 321 worklogs and a header" in result.err
    assert not (tmp_path / "a.csv").exists()
    if api == "2.0":
        assert len(served.emulator.request_log) == 1
        assert list(tmp_path.iterdir()) == []
    else:
        assert (tmp_path / "a.csv.resume").exists()
    monkeypatch.setattr(sheets, "MAX_ROWS", 322)
    assert tracket("export", "-o", tmp_path / "a.csv", "-o", tmp_path / "a.xlsx", "--progress", "off").code == 0


def test_a_server_without_order_is_exported_to_a_file_in_order_all_the_same(tracket, serve, tmp_path):
    serve("1.0", sample=300, v1_order="unsorted")
    result = tracket("export", "-o", tmp_path / "out.ndjson")
    assert result.code == 0
    found = [json.loads(line) for line in (tmp_path / "out.ndjson").read_text(encoding="utf-8").splitlines()]
    assert [one["id"] for one in sorted(found, key=lambda one: (one["date"], one["id"]))] == [
        one["id"] for one in found
    ]
    assert len(found) == 300
    assert len(result.err.splitlines()) == 2  # that one partition reads everything, and the summary


@pytest.mark.parametrize("name", ["out.ndjson", "out.csv"])
def test_without_the_extra_text_is_streamed_and_the_note_says_what_is_missing(
    tracket, serve, tmp_path, no_extra, name, monkeypatch
):
    serve(sample=250)
    with no_extra():
        result = tracket("export", "-o", tmp_path / name, "--columns=id")
    assert result.code == 0
    note, summary = result.err.splitlines()
    assert note.startswith("This export cannot be resumed if it is interrupted: ")
    assert "[export]" in note.partition("Run: ")[2]
    assert summary.startswith("Exported 250 worklogs (")
    assert f" to {tmp_path / name} in " in summary
    streamed = (tmp_path / name).read_bytes()
    assert len(streamed.splitlines()) == 250 + name.endswith("csv")
    assert tracket("export", "-o", tmp_path / f"stored.{name}", "--columns=id").code == 0
    assert sorted((tmp_path / f"stored.{name}").read_bytes().splitlines()) == sorted(streamed.splitlines())


@pytest.mark.parametrize("arguments", [("-o", "o.parquet"), ("-o", "o.duckdb"), ("-o", "o.csv", "--store", "s.duckdb")])
def test_what_needs_the_extra_says_how_to_install_it(tracket, serve, tmp_path, no_extra, monkeypatch, arguments):
    served = serve(seed=[])
    monkeypatch.chdir(tmp_path)
    with no_extra():
        result = tracket("export", *arguments)
    assert result.code == 2
    assert "[export]" in result.err.partition("Run: ")[2]
    assert result.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    assert len(served.emulator.request_log) == 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--store", "s.duckdb"), "--store is for an export to files. Give --output FILE"),
        (("--format", "parquet"), "--format parquet needs a file. Give --output FILE"),
        (("-o", "a.csv", "-o", "-"), "Standard output (-) cannot be combined with another --output"),
        (("-o", "a.duckdb", "--store", "a.duckdb"), "a.duckdb cannot be the store and an --output"),
        (("-o", "a.ods"), "The ending of a.ods names no format"),
        (("--tz", "Mars/Olympus"), "there is no time zone of this name. Give a name like Europe/Amsterdam"),
    ],
)
def test_a_mistake_makes_nothing_and_asks_nothing(tracket, serve, tmp_path, monkeypatch, arguments, line):
    served = serve(seed=[])
    monkeypatch.chdir(tmp_path)
    result = tracket("export", *arguments)
    assert (result.code, result.out) == (2, "")
    assert line in result.err
    assert list(tmp_path.iterdir()) == []
    assert len(served.emulator.request_log) == 0


def test_a_store_that_cannot_be_read_in_the_end_is_closed_and_kept(tracket, serve, tmp_path, monkeypatch):
    serve(sample=50)

    def fail(_store):
        raise StorageError("the disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr("tracket_async.cli.export.hours", fail)
        result = tracket("export", "-o", tmp_path / "out.csv")
    assert result.code == 1
    assert f"To resume: tracket export -o {tmp_path / 'out.csv'}" in result.err
    assert tracket("export", "-o", tmp_path / "out.csv").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


RENAMED = {
    "item": "itemId",
    "description": "note",
    "billableMinutes": "billable",
    "createdDate": "created",
    "approval": "approvalState",
}


@pytest.mark.parametrize("name", ["out.ndjson", "-"])
def test_a_server_with_other_names_for_five_fields_loses_nothing(tracket, hostile, monkeypatch, tmp_path, name):
    hostile.add(*hostile.make_rows(300))
    hostile.rename = RENAMED
    for variable, value in hostile.env().items():
        monkeypatch.setenv(variable, value)
    columns = "id,item_id,description,extra"
    result = tracket("export", "--columns", columns, "-o", name if name == "-" else tmp_path / name)
    assert result.code == 0
    lines = result.lines if name == "-" else (tmp_path / name).read_text(encoding="utf-8").splitlines()
    found = {one["id"]: one for one in map(json.loads, lines)}
    assert found.keys() == hostile.rows.keys()
    for row in hostile.rows.values():
        one = found[row.id]
        assert (one["item_id"], one["description"]) == (None, None)
        created = "2024-01-01T08:00:00.000Z"
        state = {"status": "open", "approver": None}
        assert one["extra"] == {
            "itemId": row.item, "note": row.description, "billable": None, "created": created, "approvalState": state,
        }  # fmt: skip
    told = [line for line in result.err.splitlines() if "is not known to this version" in line]
    assert sorted(re.search("field '(.*?)'", line)[1] for line in told) == sorted(RENAMED.values())
    assert all(re.search(r": \d+ times, for example (null|an? \w+)$", line) for line in told)
    assert "text 1" not in result.err
    assert "5273029382" not in result.err
