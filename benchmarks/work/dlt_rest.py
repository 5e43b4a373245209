"""dlt's REST API source to Parquet, as its documentation shows it: a paginator, `parallelized`, and as many workers.

A resource follows one cursor, so there is one for each month; they are extracted at the same time, into one table.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.child import Meter
from benchmarks.work.months import months

os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}

import dlt
import pyarrow.parquet as pq
from dlt.sources.rest_api import RESTAPIConfig, rest_api_source


def parquet(meter: Meter, *, url: str, api: str, workers: int) -> int:
    """Export every worklog into Parquet files, and return their rows. Only for API 2.0."""
    if api != "2.0":
        raise ValueError("only for API 2.0")
    os.environ["EXTRACT__WORKERS"] = str(workers)
    with tempfile.TemporaryDirectory() as folder:
        _run(url, Path(folder, "nothing"), [("1999-01-01", "1999-01-01")])  # loads what there is to load
        with meter:
            _run(url, Path(folder, "everything"), months())
        files = Path(folder, "everything", "files", "company", "worklogs").glob("*.parquet")
        return sum(pq.read_metadata(file).num_rows for file in files)


def _run(url: str, folder: Path, parts: list[tuple[str, str]]) -> None:
    resources: list[Any] = [
        {
            "name": f"worklogs_{since}",
            "table_name": "worklogs",
            "endpoint": {
                "path": "timeEntries",
                "params": {"fields.date.gte": since, "fields.date.lte": until},
                "data_selector": "items",
            },
        }
        for since, until in parts
    ]
    config: RESTAPIConfig = {
        "client": {
            "base_url": f"{url}/api/2.0/",
            "auth": {"type": "bearer", "token": "benchmark"},
            "paginator": {"type": "cursor", "cursor_path": "nextCursor", "cursor_param": "after"},
        },
        "resource_defaults": {
            "write_disposition": "replace",
            "endpoint": {"params": {"size": 100, "sortBy": "date", "sortType": "asc"}},
        },
        "resources": resources,
    }
    pipeline = dlt.pipeline(
        "worklogs",
        pipelines_dir=str(folder / "pipelines"),
        destination=dlt.destinations.filesystem(bucket_url=(folder / "files").as_uri()),
        dataset_name="company",
    )
    pipeline.run(rest_api_source(config, parallelized=True), loader_file_format="parquet").raise_on_failed_jobs()
