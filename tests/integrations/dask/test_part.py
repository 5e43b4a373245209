"""A part: whole or not there, found again by whoever looks, made again when it is not what was written."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import json
import pickle
import sys
from pathlib import Path

import attrs
import pytest

from tracket_async import MalformedResponseError
from tracket_async.errors import StorageError, UsageError
from tracket_async.export import database as modules
from tracket_async.export.phases import Settings
from tracket_async.export.run import request_of
from tracket_async.frames import ATTRIBUTES
from tracket_async.integrations.dask.part import bad_rows_of, files_of, find_part, write_part
from tracket_async.integrations.dask.plan import begin

SCRIPT = Path(__file__).with_name("part_child.py")


@pytest.fixture
def planned(launch, parts_folder):
    """``async with planned(version) as (emulator, client, plan)``: about ten parts of 300 worklogs."""

    class Planned:
        def __init__(self, version="2.0"):
            self.entered = launch(version, sample=300)

        async def __aenter__(self):
            emulator, client = await self.entered.__aenter__()
            return emulator, client, await begin(client, request_of(client), parts_folder, rows_per_part=40)

        async def __aexit__(self, *error):
            await self.entered.__aexit__(*error)

    return Planned


def parquet(path):
    return modules.parquet().ParquetFile(path)


async def test_a_part_has_the_worklogs_of_its_dates_in_order(planned, api, parts_folder):
    async with planned(api) as (emulator, client, plan):
        results = [await write_part(client, plan, part.number, parts_folder) for part in plan.parts]
        ids = set()
        for part, result in zip(plan.parts, results, strict=True):
            assert result.size == (parts_folder / result.name).stat().st_size
            assert result.sha256 in result.name
            assert pickle.loads(pickle.dumps(result)) == result
            assert result.to_json()["number"] == part.number
            table = parquet(parts_folder / result.name).read()
            assert table.schema.names == list(ATTRIBUTES)
            assert table.num_rows == result.worklogs
            rows = list(zip(table["date"].to_pylist(), table["id"].to_pylist(), strict=True))
            assert rows == sorted(rows)
            assert all((part.since or day) <= day <= (part.until or day) for day, _ in rows)
            ids.update(id_ for _, id_ in rows)
        assert ids == {each["worklogId"] for each in emulator.worklogs()}
        assert {path.name for path in parts_folder.iterdir()} == {
            *(result.name for result in results),
            "plan.json",
            "plan.json.lock",
        }
        assert {oct((parts_folder / result.name).stat().st_mode & 0o777) for result in results} == {"0o600"}


async def test_a_part_that_is_there_is_taken_without_a_request(planned, api, parts_folder):
    async with planned(api) as (emulator, client, plan):
        first = await write_part(client, plan, 3, parts_folder)
        asked = len(emulator.request_log)
        assert await write_part(client, plan, 3, parts_folder) == first
        # The next run knows by whom it was written.
        later = attrs.evolve(plan, run="another")
        assert (await write_part(client, later, 3, parts_folder)).run == plan.run
        assert len(emulator.request_log) == asked


def truncated(path, _other):
    path.write_bytes(path.read_bytes()[:-1])


def emptied(path, _other):
    path.write_bytes(b"")


def altered(path, _other):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def named(path, data):
    """A file of the part's name, with the right digest of other bytes."""
    digest = hashlib.sha256(data).hexdigest()
    path.with_name(f"{path.stem[:-64]}{digest}.parquet").write_bytes(data)
    path.unlink()


def of_another_part(path, other):
    named(path, other.read_bytes())


def rewritten(path, change):
    table = parquet(path).read()
    metadata = {key: change(value) for key, value in table.schema.metadata.items()}
    modules.parquet().write_table(table.drop_columns(["extra"]).replace_schema_metadata(metadata), path)
    named(path, path.read_bytes())


def without_a_column(path, _other):
    rewritten(path, lambda value: value)


def of_another_plan(path, _other):
    rewritten(path, lambda value: value.replace(b'"plan": "', b'"plan": "0'))


def of_no_json(path, _other):
    rewritten(path, lambda value: value[:-1])


def no_parquet(path, _other):
    named(path, b"PAR1 nonsense PAR1")


def broken_footer(path, _other):
    data = path.read_bytes()
    begin = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    named(path, data[:begin] + bytes(32) + data[begin + 32 :])


def renamed(path, _other):
    path.rename(path.with_suffix(".new"))


def a_folder(path, _other):
    path.rename(path.with_name("kept"))
    path.with_name(f"{path.stem[:-64]}{'0' * 64}.parquet").mkdir()


POISONS = [
    truncated,
    emptied,
    altered,
    of_another_part,
    without_a_column,
    of_another_plan,
    of_no_json,
    no_parquet,
    broken_footer,
    renamed,
    a_folder,
]


@pytest.mark.parametrize("poison", POISONS)
async def test_a_part_that_is_not_what_was_written_is_made_again(planned, parts_folder, poison):
    async with planned() as (emulator, client, plan):
        first = await write_part(client, plan, 1, parts_folder)
        other = await write_part(client, plan, 2, parts_folder)
        poison(parts_folder / first.name, parts_folder / other.name)
        assert find_part(plan, 1, parts_folder) is None
        asked = len(emulator.request_log)
        assert await write_part(client, plan, 1, parts_folder) == first
        assert len(emulator.request_log) > asked
        assert find_part(plan, 1, parts_folder) == first


async def test_a_task_that_runs_twice_at_once_makes_one_part(planned, parts_folder):
    async with planned() as (_, client, plan):
        first, second = await asyncio.gather(*(write_part(client, plan, 0, parts_folder) for _ in range(2)))
        assert first == second == find_part(plan, 0, parts_folder)
        assert len([*parts_folder.glob("part-*")]) == 1


async def test_of_two_parts_that_differ_all_take_the_same(planned, parts_folder):
    """Worklogs changed between two tasks of one part: both are whole, and one is taken."""
    async with planned() as (emulator, client, plan):
        first = await write_part(client, plan, 0, parts_folder)
        (parts_folder / first.name).rename(parts_folder / "aside")
        emulator.update(
            min(emulator.worklogs(), key=lambda each: each["worklogDate"])["worklogId"], {"description": "x"}
        )
        second = await write_part(client, plan, 0, parts_folder)
        (parts_folder / "aside").rename(parts_folder / first.name)
        assert first.name != second.name
        assert find_part(plan, 0, parts_folder) == min(first, second, key=lambda one: one.name)


async def test_two_processes_make_the_same_part_at_the_same_time(planned, parts_folder):
    async with planned() as (emulator, _, plan):
        order = json.dumps({"url": emulator.url, "token": emulator.token, "folder": str(parts_folder), "run": plan.run})
        children = [
            await asyncio.create_subprocess_exec(
                sys.executable, SCRIPT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
            for _ in range(2)
        ]
        answers = await asyncio.gather(*(child.communicate(order.encode()) for child in children))
        names = {json.loads(out)["name"] for out, _ in answers}
        assert names == {find_part(plan, 0, parts_folder).name}


async def test_a_folder_without_the_plan_is_not_that_of_the_export(planned, parts_folder, tmp_path):
    async with planned() as (_, client, plan):
        for other in (tmp_path, tmp_path / "nowhere"):
            with pytest.raises(StorageError, match="is not the folder of this export"):
                await write_part(client, plan, 0, other)
        later = attrs.evolve(plan, now=plan.now + dt.timedelta(seconds=1))
        with pytest.raises(StorageError, match="is not the folder of this export"):
            await write_part(client, later, 0, parts_folder)


async def test_a_client_of_another_server_writes_no_part(planned, parts_folder):
    async with planned() as (_, client, plan):
        elsewhere = attrs.evolve(plan, request=attrs.evolve(plan.request, api="1.0"))
        with pytest.raises(UsageError, match=r"its api is 1\.0, not 2\.0"):
            await write_part(client, elsewhere, 0, parts_folder)


@pytest.mark.parametrize("api", ["1.0", "2.0"])
async def test_rows_that_cannot_be_read_are_kept_in_the_part_or_an_error(hostile, connect, api, parts_folder):
    hostile.overlay = {"wl-0007": {"worklogMinutes": "x", "minutes": "x"}}
    async with connect(api) as client:
        plan = await begin(client, request_of(client, since=dt.date(2024, 1, 1)), parts_folder, rows_per_part=1000)
        with pytest.raises(MalformedResponseError, match="wl-0007"):
            await write_part(client, plan, 0, parts_folder)
        assert not [*parts_folder.glob("part-*")]
        result = await write_part(client, plan, 0, parts_folder, keep_bad_rows=True)
        assert result.bad_rows == 1
        [bad] = bad_rows_of(parquet(parts_folder / result.name))
        assert (bad.id, b'"x"' in bad.row) == ("wl-0007", True)


async def test_a_part_is_in_order_whatever_order_the_server_has(hostile, connect, parts_folder):
    hostile.order = "unsorted"
    async with connect("1.0") as client:
        plan = await begin(client, request_of(client), parts_folder)
        result = await write_part(client, plan, 0, parts_folder)
        dates = parquet(parts_folder / result.name).read(["date"])["date"].to_pylist()
        assert result.single_partition
        assert len(dates) == 600
        assert dates == sorted(dates)


async def test_sparse_parts_of_1_0_are_not_read_to_the_end_of_the_list(launch, some_worklogs, parts_folder):
    """Their few worklogs prove no order; the plan has."""
    async with launch("1.0", seed=some_worklogs(600, hours=72)) as (emulator, client):
        plan = await begin(client, request_of(client), parts_folder, rows_per_part=10)
        assert len(plan.parts) > 30
        asked = len(emulator.request_log)
        for part in plan.parts[:10]:
            await write_part(client, plan, part.number, parts_folder, settings=Settings(concurrency=1))
        assert len(emulator.request_log) - asked <= 10


async def test_fields_that_are_not_known_are_in_the_part(hostile, connect, parts_folder):
    hostile.overlay = {"*": {"mood": {"b": 2, "a": 1}}}
    async with connect() as client:
        plan = await begin(client, request_of(client), parts_folder, rows_per_part=1000)
        result = await write_part(client, plan, 0, parts_folder)
        assert set(parquet(parts_folder / result.name).read(["extra"])["extra"].to_pylist()) == {
            '{"mood":{"a":1,"b":2}}'
        }


async def test_a_file_that_another_task_renames_in_the_meantime_is_passed_by(planned, parts_folder, monkeypatch):
    async with planned() as (_, client, plan):
        whole = await write_part(client, plan, 0, parts_folder)
        gone = parts_folder / f"{whole.name.removesuffix('.parquet')}0.parquet"
        assert find_part(plan, 0, parts_folder, [gone]) is None
        monkeypatch.setattr(Path, "iterdir", lambda folder: iter([gone, folder / whole.name]))
        assert files_of(parts_folder) == {0: [parts_folder / whole.name]}
        assert find_part(plan, 0, parts_folder) == whole
