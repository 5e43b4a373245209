"""Clusters of Dask for tests, and a coordinator without one."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from types import SimpleNamespace

import dask.config
import distributed
from distributed.protocol import dumps, loads
from distributed.protocol.serialize import ToPickle

from tracket_async.client import TracketClient
from tracket_async.export.run import export_to_files, request_of
from tracket_async.integrations.dask.coordinator import OPERATION, Coordinator
from tracket_async.integrations.dask.run import KEEP_WORKERS

# What Dask and its parts do in the versions of today: none of it is ours to mend.
WARNINGS = (
    "ignore::DeprecationWarning",
    "ignore::PendingDeprecationWarning",
    "ignore::FutureWarning",
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


def _local_cluster(workers, **settings):
    return distributed.LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address=None,
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # of its other pages, which nothing turns off
        memory_limit=0,
        silence_logs=logging.CRITICAL,
        asynchronous=True,
        **settings,
    )


def cluster_in_this_process(workers=2, *, protocol="tcp://", security=None):
    """A scheduler and workers in the process of the test, which talk over loopback, as those of a real one."""
    return _local_cluster(workers, processes=False, protocol=protocol, security=security)


class Remote:
    """The scheduler as others see it: each message goes through Dask's own serialization. `seen` has them as text."""

    def __init__(self, coordinator):
        self.coordinator = coordinator
        self.seen = []

    def __getattr__(self, operation):
        assert operation == OPERATION

        async def call(**message):
            answer = await self.coordinator.answer(**self._sent(message))
            return self._sent(answer)

        return call

    def _sent(self, message):
        self.seen.append(repr(message))
        received = loads(list(map(bytes, dumps(message))))
        self.seen.append(repr(received))
        return received


async def start_coordinator():
    """Return a coordinator that answers, and the scheduler as others see it."""
    coordinator = loads(list(map(bytes, dumps({"plugin": ToPickle(Coordinator())}))))
    scheduler = SimpleNamespace(handlers={}, workers={"tcp://127.0.0.1:1": None})
    await coordinator["plugin"].start(scheduler)
    assert scheduler.handlers == {OPERATION: coordinator["plugin"].answer}
    return coordinator["plugin"], Remote(coordinator["plugin"])


def request_for(environ):
    return request_of(TracketClient.from_env(environ))


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def exported(environ, path):
    """The digest of an export by one process."""
    async with TracketClient.from_env(environ) as client:
        await export_to_files(client, {path: "parquet"}, request_of(client))
    return digest(path)


@contextlib.asynccontextmanager
async def cluster_of_processes(workers=2):
    """A scheduler in this process, and workers in processes of their own, which are started again when they end."""
    with dask.config.set(KEEP_WORKERS):
        async with _local_cluster(workers) as cluster:
            yield cluster
