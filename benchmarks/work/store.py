"""tracket-async's export through its store, called from Python."""

from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.child import Meter
from benchmarks.work.ours import client_of
from tracket_async.export.phases import Settings
from tracket_async.export.run import export_to_files, request_of

_LONG_AGO = dt.date(1999, 1, 1)


async def parquet(meter: Meter, *, url: str, api: str, workers: int, folder: str | None = None) -> int:
    """Export every worklog into a Parquet file, compare with the server's count, and return the file's rows.

    ``folder`` keeps the file, as ``worklogs.parquet``; None: it is removed.
    """
    settings = Settings(concurrency=workers)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path, nothing = Path(folder or temporary, "worklogs.parquet"), Path(temporary, "nothing.parquet")
        async with client_of(url, api, concurrency=workers) as client:
            # loads DuckDB and what else there is to load
            await export_to_files(
                client, {nothing: "parquet"}, request_of(client, since=_LONG_AGO, until=_LONG_AGO), settings
            )
            # as does this: with its first array pyarrow imports pandas, where it is installed
            pa.array([None])
            with meter:
                result = await export_to_files(client, {path: "parquet"}, request_of(client), settings)
        rows: int = pq.read_metadata(path).num_rows
    return rows if result.verdict == "verified" else -1
