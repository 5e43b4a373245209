"""The worklogs to begin with: the sample company, and seeds of the 1.0 shape."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import hashlib
import io
import json
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from tracket_async.emulator import Sample, SeedError, v1, v2
from tracket_async.emulator.records import DAY, NEVER
from tracket_async.emulator.seeding import (
    CREATION_RECORDED,
    FIRST_DAY,
    LAST_DAY,
    read_seed,
    sample_categories,
    sample_worklogs,
)


@pytest.fixture(scope="module")
def sample():
    return list(sample_worklogs(Sample(12_000)))


def day(worklog):
    return dt.date(1970, 1, 1) + dt.timedelta(worklog.date // DAY)


def digest(worklogs):
    render = v2.renderer("object")
    found = hashlib.sha256()
    for each in worklogs:
        found.update(v1.render(each) + render(each))
    return found.hexdigest()


def test_the_same_sample_is_the_same_bytes_in_every_process(sample):
    # a change of this figure changes what everybody's tests and benchmarks run on
    assert digest(sample) == "f92aad434006a890444248e19f1c80b61df644a2ae751d3ef43c309f2d144897"
    assert (
        digest(sample_worklogs(Sample(500, seed=7, skew_month="2025-02")))
        == "666f11e82e7ad619835273ae4f87c71f9e63f25b02c7fd6129eb3f4ca6648aef"
    )


def test_another_seed_is_another_company():
    assert digest(sample_worklogs(Sample(50))) != digest(sample_worklogs(Sample(50, seed=1)))
    assert sample_categories(0) != sample_categories(1)


@pytest.mark.parametrize("count", [0, 1, 2, 10, 1199, 5000])
def test_the_number_is_exact_and_no_id_occurs_twice(count):
    worklogs = list(sample_worklogs(Sample(count)))
    assert len({each.id for each in worklogs}) == len(worklogs) == count


async def test_it_is_what_an_emulator_serves(serve, sample):
    emulator = await serve(sample=50)
    assert emulator.count == 50
    assert (await serve(sample=Sample(50))).worklogs() == emulator.worklogs()
    known = dict(sample_categories())
    assert {each["worklogCategory"] for each in emulator.worklogs()} - {None} <= known.keys()


def test_it_spans_three_years_and_nothing_was_written_down_later(sample):
    assert min(map(day, sample)) >= FIRST_DAY - dt.timedelta(1)  # offices east of Greenwich begin on the eve
    assert max(map(day, sample)) <= LAST_DAY
    end = ((LAST_DAY - dt.date(1970, 1, 1)).days + 1) * DAY
    assert all(each.created < end and each.updated < end for each in sample)


def test_hardly_anybody_works_at_weekends_and_on_holidays(sample):
    weekend = sum(day(each).weekday() >= 5 for each in sample)
    assert 0 < weekend < 0.05 * len(sample)
    assert sum((day(each).month, day(each).day) == (12, 25) for each in sample) <= 3


def test_summers_are_quiet(sample):
    months = Counter(day(each).month for each in sample)
    assert months[8] < 0.7 * months[9]
    assert months[7] < 0.8 * months[10]


def test_people_have_numbers_teams_and_projects_and_some_work_part_time(sample):
    minutes = Counter()
    for each in sample:
        minutes[each.user] += each.minutes
    assert 5 <= len(minutes) <= 20
    assert min(minutes.values()) < 0.5 * max(minutes.values())
    assert all(each.user.isdigit() and len(each.user) == 8 for each in sample)
    assert len({each.team for each in sample}) > 1
    assert len({each.project for each in sample}) > 2
    assert all(each.board for each in sample)


def test_minutes_are_mostly_quarters_of_an_hour_and_never_less_than_is_billed(sample):
    quarters = sum(each.minutes % 15 == 0 for each in sample)
    assert 0.95 * len(sample) < quarters < len(sample)
    assert all(each.billable is None or 0 <= each.billable <= each.minutes for each in sample)
    assert any(each.billable is None for each in sample)
    assert any(each.billable == 0 for each in sample)


def test_the_first_year_has_no_created_date_and_the_rest_has(sample):
    boundary = (CREATION_RECORDED - dt.date(1970, 1, 1)).days * DAY
    assert all(each.created == NEVER for each in sample if each.date < boundary - DAY)
    assert all(each.created >= each.date for each in sample if each.date > boundary)
    assert any(each.item is None for each in sample)


def test_some_were_never_updated_and_older_ones_are_mostly_approved(sample):
    never = sum(each.updated == NEVER for each in sample)
    assert 0.3 * len(sample) < never < 0.5 * len(sample)
    end = (LAST_DAY - dt.date(1970, 1, 1)).days * DAY
    old = [each for each in sample if each.date < end - 60 * DAY]
    new = [each for each in sample if each.date > end - 10 * DAY]
    assert sum(each.approval == "approved" for each in old) > 0.9 * len(old)
    assert {each.approval for each in new} == {"open", "submitted"}
    assert {each.approval for each in sample} == {"open", "submitted", "approved", "rejected"}
    assert all((each.approver is not None) == (each.approval in ("approved", "rejected")) for each in sample)


def test_texts_are_in_several_scripts_and_some_would_trouble_a_spreadsheet():
    # large enough for people in every office
    texts = [each.description for each in sample_worklogs(Sample(45_000)) if each.description]
    letters = set("".join(set(texts)))
    scripts = {unicodedata.name(letter, "?").split()[0] for letter in letters if letter.isalpha()}
    assert {"LATIN", "GREEK", "CYRILLIC", "ARABIC", "DEVANAGARI", "CJK", "KATAKANA"} <= scripts
    for odd in ("=", "+", "-", "@", "🚀", ",", '"', "\n", "\t"):
        assert any(odd in text for text in texts), odd


def test_a_skewed_sample_has_half_of_its_worklogs_in_one_month():
    worklogs = list(sample_worklogs(Sample(10_000, skew_month="2025-03")))
    crowded = sum(f"{day(each):%Y-%m}" == "2025-03" for each in worklogs)
    assert len(worklogs) == 10_000
    assert 4950 < crowded < 5050


@pytest.mark.parametrize("month", ["2025", "2025-13", "2023-10", "2026-11", "x", "2025-03-01"])
def test_a_month_outside_the_sample_is_refused(month):
    with pytest.raises(ValueError, match="skew_month must lie between 2023-11 and 2026-10"):
        Sample(10, skew_month=month)


@pytest.mark.parametrize("count", [-1, 1.5, "10"])
def test_a_number_that_is_none_is_refused(count):
    with pytest.raises((ValueError, TypeError)):
        Sample(count)


SIP = Path(__file__).parents[2].parent / "shared" / "data" / "sip" / "worklogs.ndjson"


def write(path, *lines):
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))
    return path


async def test_a_seed_comes_out_as_it_went_in(serve, worklog, tmp_path):
    seed = [
        worklog(
            1,
            itemId=None,
            description="Ünïcode 🚀\n",
            worklogCategory="c/d",
            worklogMinutes=0.1,
            worklogBillableMinutes=0,
            updatedDate="2024-05-01T00:00:00.123Z",
            approvalStatus="approved",
            approverUserId="6",
        ),
        worklog(2, description=None, worklogCategory=None, worklogBillableMinutes=None, updatedDate=None),
    ]
    path = write(tmp_path / "seed.ndjson", seed[0], b"", b"  ", {**seed[1], "unknown": {"a": 1}})
    expected = [seed[0], {**seed[1], "approvalStatus": "open", "approverUserId": None}]
    assert (await serve(seed=path)).worklogs() == expected
    assert (await serve(seed=str(path))).worklogs() == expected
    assert (await serve(seed=iter(seed))).worklogs() == expected


def test_a_missing_created_date_stays_missing_and_null_means_the_same(worklog):
    without = worklog(1)
    del without["createdDate"]
    first, second = read_seed([without, worklog(2, createdDate=None)])
    assert first.created == second.created


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{", "the body is not JSON"),
        (b"[]", "must be a JSON object"),
        (b"\xff", "not JSON"),
        ({"worklogId": ""}, "worklogId must not be empty"),
        ({"worklogId": None}, "worklogId must be a string"),
        ({"userId": 5}, "userId must be a string"),
        ({"itemId": ""}, "itemId must not be empty"),
        ({"worklogMinutes": True}, "worklogMinutes must be a number of minutes"),
        ({"worklogDate": "2024-01-01"}, "worklogDate must be an RFC 3339"),
        ({"createdDate": "x"}, "createdDate must be"),
        ({"updatedDate": 5}, "updatedDate must be a string"),
        ({"approvalStatus": "maybe"}, "approvalStatus must be one of open, submitted, approved, rejected"),
        ({"approvalStatus": None}, "approvalStatus must be one of"),
        ({"approvalStatus": []}, "approvalStatus must be one of"),
        ({"customFields": []}, "customFields must be an object"),
        ({"customFields": {"a": 1}}, "customFields must be a string"),
        ({"customFields": {"project": "p"}}, "customFields must not hold project"),
    ],
)
def test_a_bad_line_is_reported_with_its_number_and_the_reason(tmp_path, worklog, line, says):
    line = line if isinstance(line, bytes) else worklog(9, **line)
    path = write(tmp_path / "seed.ndjson", worklog(1), b"", line, worklog(4))
    with pytest.raises(SeedError) as caught:
        read_seed(path)
    assert str(caught.value).startswith(f"{path}, line 3: ")
    assert says in str(caught.value)


@pytest.mark.parametrize("field", ["worklogId", "itemId", "userId", "worklogDate", "worklogMinutes"])
def test_a_field_that_is_missing_is_named(worklog, field):
    bad = worklog()
    del bad[field]
    with pytest.raises(SeedError, match=f"^item 1: {field} is required$"):
        read_seed([bad])


def test_an_id_that_came_before_is_reported_with_both_lines(tmp_path, worklog):
    path = write(tmp_path / "s", worklog(1), worklog(2), worklog(1))
    with pytest.raises(SeedError, match=r"line 3: worklogId 'w0001' was on .*line 1 already"):
        read_seed(path)


def test_a_file_that_is_not_there_says_so(tmp_path):
    with pytest.raises(SeedError, match=r"cannot read .*nowhere: No such file"):
        read_seed(tmp_path / "nowhere")
    with pytest.raises(SeedError, match="cannot read"):
        read_seed(tmp_path)


async def test_nothing_is_served_from_a_bad_seed(serve):
    with pytest.raises(SeedError):
        await serve(seed=[{}])


@pytest.mark.skipif(not SIP.exists(), reason="the real data lies beside the project, where it is")
async def test_twelve_thousand_real_worklogs_come_out_of_both_versions_as_they_went_in(serve, connect):
    http = await connect(await serve(seed=SIP))
    seed = {}
    for line in SIP.read_text(encoding="utf-8").splitlines():
        each = json.loads(line)
        seed[each["worklogId"]] = each
    walked = await http.walk_v1()
    assert {each["worklogId"]: each for each in walked} == seed
    assert len(walked) == len(seed) == 12_299
    entries = await http.walk_v2(size=100)
    assert len({each["id"] for each in entries}) == 12_299
    assert sum(each["minutes"] for each in entries) == pytest.approx(5_700_118.8)


EXPORTED = {
    "id": "w1",
    "day": "2024-05-20",
    "user_id": "7",
    "date": "2024-05-20T00:00:00.000Z",
    "minutes": -90.5,
    "item_id": "5000204173",
    "description": "'=1+1",
    "category_id": None,
    "billable_minutes": None,
    "created_date": "2024-05-20T08:00:00.123456Z",
    "updated_date": None,
    "approval_status": None,
    "approver_user_id": None,
    "team_id": "t",
    "project_id": "p",
    "board_id": "b",
    "parent_item_id": None,
    "custom_fields": {"place": "home"},
}


def csv_text(rows, delimiter=","):
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow(json.dumps(cell) if isinstance(cell, dict) else cell for cell in row.values())
    return out.getvalue()


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", ["s.ndjson", "s.csv", "s.CSV", "s.ndjson.gz", "s.csv.gz", "semicolons.csv"])
def test_a_seed_may_be_what_an_export_writes(tmp_path, name, mark):
    rows = [EXPORTED, EXPORTED | {"id": "w2", "description": "a\n;b", "custom_fields": None}]
    if ".csv" in name.lower():
        escaped = [
            row | {"description": f"'{row['description']}" if "=" in row["description"] else "a\n;b"} for row in rows
        ]
        text = csv_text(escaped, ";" if name.startswith("semi") else ",")
    else:
        text = "".join(json.dumps(row) + "\n" for row in rows)
    content = mark + text.encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    first, second = read_seed(tmp_path / name)
    assert (first.id, first.item, first.user, first.minutes, first.description) == (
        "w1",
        "5000204173",
        "7",
        -90.5,
        "'=1+1",
    )
    assert (first.category, first.billable, first.approval, first.updated) == (None, None, "open", NEVER)
    assert (first.team, first.project, first.board, first.custom) == ("t", "p", "b", '{"place":"home"}')
    assert (second.id, second.description, second.custom) == ("w2", "a\n;b", "{}")


def test_every_bad_line_of_a_seed_is_reported(tmp_path, worklog):
    lines = [worklog(1), b"{", worklog(2, worklogMinutes="x"), worklog(1)]
    path = write(tmp_path / "seed.ndjson", *lines, *[b"[]"] * 20)
    with pytest.raises(SeedError) as caught:
        read_seed(path)
    told = str(caught.value).splitlines()
    assert told[0].startswith(f"{path}, line 2: the body is not JSON")
    assert told[1] == f"{path}, line 3: worklogMinutes must be a number of minutes"
    assert told[2] == f"{path}, line 4: worklogId 'w0001' was on {path}, line 1 already"
    assert (len(told), told[20]) == (21, "and 3 more")


def test_a_bad_record_of_a_csv_seed_has_its_first_line(tmp_path):
    bad = EXPORTED | {"minutes": "soon", "description": "a\nb"}
    worse = EXPORTED | {"id": "w2", "custom_fields": "{"}
    path = tmp_path / "seed.csv"
    path.write_text(csv_text([EXPORTED, bad, worse]) + "\n")
    with pytest.raises(SeedError) as caught:
        read_seed(path)
    assert str(caught.value).splitlines() == [
        f"{path}, line 3: worklogMinutes must be a number of minutes",
        f"{path}, line 5: customFields must be an object",
    ]
    path.write_bytes(b"id,minutes\r\n\xff,1\r\n")
    with pytest.raises(SeedError, match="is not CSV in UTF-8"):
        read_seed(path)
    path.write_bytes(b"")
    assert read_seed(path) == []


def test_a_seed_that_is_not_compressed_as_its_name_says_is_refused(tmp_path):
    path = tmp_path / "seed.csv.gz"
    for content in (b"id", gzip.compress(b"id,minutes\r\n")[:-9]):
        path.write_bytes(content)
        with pytest.raises(SeedError, match=r"cannot read .*: "):
            read_seed(path)
