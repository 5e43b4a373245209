"""Files of other time trackers, of their published columns and invented data, imported with ``--map``."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import attrs
import pytest

from tracket_async.client import API_VERSIONS
from tracket_async.importer.columns import read_mapping
from tracket_async.importer.records import ReadOptions
from tracket_async.importer.rows import InputFile, make_new_worklog
from tracket_async.importer.source import InputSource

SIP = Path(__file__).parents[3] / "shared" / "data" / "sip" / "worklogs.ndjson"

CLOCKIFY = """\
"Project","Client","Description","Task","User","Group","Email","Tags","Billable","Start Date","Start Time","End Date",\
"End Time","Duration (h)","Duration (decimal)","Billable Rate (EUR)","Billable Amount (EUR)"
"Harbour","North Pier","Draw the plan, again","5000204173","7001","Design","ada@example.com","","Yes","05/13/2024",\
"09:00:00 AM","05/13/2024","10:30:00 AM","01:30:00","1.50","80.00","120.00"
"Harbour","North Pier","","5000204174","7002","","bo@example.com","","No","05/07/2024","01:15:00 PM","05/07/2024",\
"02:00:00 PM","00:45:00","0.75","0.00","0.00"
"""
TOGGL = """\
\ufeffUser,Email,Client,Project,Task,Description,Billable,Start date,Start time,End date,End time,Duration,Tags,\
Amount ()
7001,ada@example.com,North Pier,Harbour,5000204173,"Draw the plan, again",Yes,2024-05-13,09:00:00,2024-05-13,10:30:00,\
01:30:00,,
7002,bo@example.com,North Pier,Harbour,5000204174,,No,2024-05-07,13:15:00,2024-05-07,14:00:00,00:45:00,,
"""
HARVEST = """\
Date;Client;Project;Project Code;Task;Notes;Hours;Billable?;Invoiced?;First Name;Last Name;Employee?;\
External Reference URL
13.05.2024;North Pier;Harbour;H1;5000204173;Draw the plan, again;1,5;Yes;No;7001;Ada;Yes;
07.05.2024;North Pier;Harbour;H1;5000204174;;0,75;No;No;7002;Bo;Yes;
;;;;;;;;;;;;
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def options(*pairs):
    return [word for pair in (*pairs, "*=") for word in ("--map", pair)]


@pytest.mark.parametrize(
    ("content", "pairs"),
    [
        (CLOCKIFY, ("Task=item_id", "User=user_id", "Start Date=date", "Duration (h)=minutes")),
        (CLOCKIFY, ("Task=item_id", "User=user_id", "Start Date=day", "Duration (decimal)=hours")),
        (TOGGL, ("Task=item_id", "User=user_id", "Start date=date", "Duration=minutes")),
        (HARVEST, ("Task=item_id", "First Name=user_id", "Notes=description")),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_the_file_of_another_time_tracker_is_imported(tracket, serve, folder, content, pairs, encoding):
    served = serve()
    (folder / "in.csv").write_text(content, encoding=encoding)
    result = tracket("import", "in.csv", *options(*pairs))
    assert (result.code, result.err.count("\n")) == (0, 1), result.err
    found = served.ask(served.emulator.worklogs)
    names = ("itemId", "userId", "worklogDate", "worklogMinutes", "description")
    assert sorted(tuple(one[name] for name in names) for one in found) == [
        ("5000204173", "7001", "2024-05-13T00:00:00.000Z", 90, "Draw the plan, again"),
        ("5000204174", "7002", "2024-05-07T00:00:00.000Z", 45, None),
    ]


def test_what_has_to_be_mapped_is_named(tracket, serve, folder):
    served = serve()
    (folder / "in.csv").write_text(HARVEST, encoding="utf-8")
    result = tracket("import", "in.csv")
    assert result.code == 2
    assert result.err.startswith(
        "  line 1: the header cannot be used: there is no column 'Client', 'Project', 'Project Code', 'Task', 'Notes',"
    )
    assert "--map OLD=NEW gives a column another name" in result.err
    assert len(served.emulator.request_log) == 0


def test_two_readings_are_asked_for_and_the_journal_remembers_the_answer(tracket, serve, folder):
    served = serve()
    (folder / "in.csv").write_text("item_id,user_id,date,minutes\n1,2,05/07/2024,90\n", encoding="utf-8")
    result = tracket("import", "in.csv")
    assert result.code == 2
    assert result.err == (
        "tracket: The dates can be read in two ways: '05/07/2024' on line 2 may be day/month/year or month/day/year."
        " Give --date-format 'dmy' or --date-format 'mdy'\n"
    )
    assert tracket("import", "in.csv", "--date-format", "mdy").code == 0
    assert tracket("import", "in.csv", "--date-format", "mdy").code == 0
    again = tracket("import", "in.csv", "--date-format", "dmy")
    assert again.code == 1
    assert "the file was read in another way (--format, --raw, --map, ...)" in again.err
    assert [one["worklogDate"][:10] for one in served.ask(served.emulator.worklogs)] == ["2024-05-07"]


def rows(path, **settings):
    with InputSource(str(path)) as source:
        options = ReadOptions(**settings)
        file = InputFile(source=source, options=options, make=make_new_worklog, api_version=API_VERSIONS["2.0"]())
        assert file.validate().bad == []
        return [row.item for row in file.rows()]


@pytest.mark.skipif(not SIP.exists(), reason="the real data lies beside the project, where it is")
def test_real_worklogs_as_a_european_spreadsheet_writes_them_are_read_equal(folder):
    """With semicolons, decimal commas, local dates, UTF-16, and empty columns."""
    worklogs = rows(SIP, format="ndjson")[::4]  # enough of them, in a quarter of the time
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=";")
    writer.writerow(["Item ID", "User ID", "Text \u20ac", "Date", "Minutes", "Category ID", "", ""])
    for one in worklogs:
        minutes = str(one.minutes).replace(".", ",")
        cells = (one.item_id, one.user_id, one.description, f"{one.date:%d.%m.%Y}", minutes, one.category_id, "", "")
        writer.writerow(cells)
    path = folder / "in.csv"
    path.write_bytes(out.getvalue().encode("utf-16"))
    read = rows(path, format="csv", mapping=read_mapping(["text \u20ac=description"]))
    assert read == [attrs.evolve(one, billable_minutes=None) for one in worklogs]
    assert len(read) == 3_075
