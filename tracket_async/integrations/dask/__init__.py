"""Exports by several processes, on Dask (the extra ``dask``).

Read the files in this order:

1. `run`: what a caller uses. `export` connects to a cluster, or starts one, and does the rest by means of the others.
2. `plan`, `part` and `merge`: the dates of an export are cut into ranges, each of which one task reads and writes to a
   file. The files are merged into one store, of which the outputs are made as on one machine. They know no Dask.
3. `coordinator`: the one owner of rate, token and pauses, on the scheduler. `worker`: what asks it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracket_async.integrations.dask.run import ClusterStatus, TLSFiles, export

__all__ = ["ClusterStatus", "TLSFiles", "export"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tracket_async.frames import load

    load("distributed", extra="dask")
    from tracket_async.integrations.dask import run

    return getattr(run, name)
