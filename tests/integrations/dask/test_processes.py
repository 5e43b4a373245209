"""Exports by processes of their own: the same bytes, whatever is killed."""

from __future__ import annotations

import pytest

pytest.importorskip("distributed")

from tests.integrations.dask.clusters import WARNINGS, digest, exported, request_for
from tracket_async.emulator import Emulator
from tracket_async.integrations import dask

pytestmark = [pytest.mark.filterwarnings(each) for each in WARNINGS]


@pytest.mark.timeout(110)
async def test_processes_of_this_machine_write_the_bytes_of_one(tmp_path):
    async with Emulator(sample=3_000) as emulator:
        environ = emulator.env("2.0")
        expected = await exported(environ, tmp_path / "one.parquet")
        target, statuses = tmp_path / "many.parquet", []
        result = await dask.export(
            environ,
            {target: "parquet"},
            request_for(environ),
            folder=tmp_path / "parts",
            workers=2,
            rows_per_part=500,
            on_status=statuses.append,
        )
        assert result.worklogs == 3_000
        assert digest(target) == expected
        assert statuses[-1].parts > 3
        assert statuses[-1].token_calls == 1
