"""Seeds: worklogs of the 1.0 shape, checked before anything is served."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tracket_async.emulator import SeedError
from tracket_async.emulator.seeding import read_seed

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
        ({"worklogMinutes": -1}, "worklogMinutes must not be negative"),
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
