"""An export by the workers of a Dask cluster: plan, one task for each part, merge.

An address without TLS is taken on this machine alone: whoever can connect to a scheduler can run any code on it and on
its workers, and is given the access token.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import logging
import multiprocessing
import os
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, Final

import attrs
import dask.config
import distributed
from distributed.scheduler import KilledWorker

from tracket_async.client import LOG
from tracket_async.config import check_concurrency
from tracket_async.errors import ClientStateError, ExportError, TracketError, UsageError
from tracket_async.export.formats import FileOptions, TargetFormat
from tracket_async.export.phases import Settings
from tracket_async.export.postgres import PostgresTable
from tracket_async.export.progress import ExportResult, Progress
from tracket_async.export.run import check_targets
from tracket_async.export.store import ExportRequest
from tracket_async.integrations.dask.coordinator import Ask, Coordinator, asking, seal
from tracket_async.integrations.dask.merge import merge
from tracket_async.integrations.dask.part import PART_CONCURRENCY, PartResult
from tracket_async.integrations.dask.plan import ROWS_PER_PART, Plan, begin, locked_folder
from tracket_async.integrations.dask.worker import (
    CoordinatedRate,
    PartTask,
    connect,
    read_part,
    require_versions,
    versions,
)

_DASK: Final[Any] = distributed  # most of it has no types
WORKERS_WITHIN: Final = 30.0
"""Seconds within which a cluster must have its first worker."""
START_WITHIN: Final = 5.0
"""Seconds more for each worker that is started here."""
STATUS_EVERY: Final = 0.5
"""Seconds between two looks at the state of the cluster."""
KEEP_WORKERS: Final = {"distributed.deploy.lost-worker-timeout": "7 days"}
"""The setting of Dask with which a worker process is started again, whenever it ends.

As it is, one that ends twice within 15 s is given up without a word, until none is left.
"""
_UNINTERRUPTED: Final = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
"""Run by workers that are started here: Ctrl-C, which reaches them, too, is for the process that exports."""
GUARD: Final = 'A program that starts workers must do so below `if __name__ == "__main__":`'
"""The hint where workers cannot start: each of them imports the program's main module first."""
END_WITHIN: Final = 5.0
"""Seconds within which a scheduler is to take note that an export has ended. It may be gone."""
RESUBMISSIONS: Final = 2
"""So many times a part is given to the cluster again after Dask gave it up, because its workers died."""


@attrs.frozen(kw_only=True)
class TLSFiles:
    """The PEM files of this process for a cluster with TLS.

    Attributes:
        ca: the certificate authority that the cluster's certificates are of.
        cert: the certificate of this process.
        key: its private key.
    """

    ca: str | Path
    cert: str | Path
    key: str | Path


@attrs.frozen(kw_only=True)
class ClusterStatus:
    """An export at one moment, over all workers.

    Attributes:
        parts: of the plan.
        parts_done: that are there, and whole.
        workers: that the cluster has.
        permits: attempts that were allowed to start.
        refusals: attempts that the server answered with 429.
        rate: the requests a second that are allowed, set or learned; None: there is no limit.
        paused_for: seconds until the end of a pause that the server asked for; 0 without one.
        token_calls: access tokens that were fetched.
        waiting: why a worker waits for the server, by its address.
    """

    parts: int
    parts_done: int
    workers: int
    permits: int
    refusals: int
    rate: float | None
    paused_for: float
    token_calls: int
    waiting: Mapping[str, str]


OnStatus = Callable[[ClusterStatus], None]
"""Called on the event loop about twice a second while parts are read, and at the end; must be quick."""


async def export(
    settings: Mapping[str, str],
    targets: Mapping[str | Path | PostgresTable, TargetFormat],
    request: ExportRequest,
    *,
    folder: str | Path,
    scheduler: str | None = None,
    workers: int | None = None,
    tls: TLSFiles | None = None,
    trust_env: bool = False,
    rows_per_part: int = ROWS_PER_PART,
    how: Settings | None = None,
    on_status: OnStatus | None = None,
    file_options: FileOptions | None = None,
    store: str | Path | None = None,
    keep_store: bool = False,
    keep_parts: bool = False,
    incomplete: bool = False,
) -> ExportResult:
    """Export to one or more files by several processes: the same bytes as those of an export by one.

    Args:
        settings: the ``TRACKET_*`` settings, as of `TracketClient.from_env`. Credentials go to the scheduler alone; a
            TRACKET_TOKEN is its own header, and goes to the workers. A TRACKET_CA_BUNDLE must be on every machine.
        targets: as in `export_to_files`.
        request: what to export: `request_of` a client with these settings.
        folder: for the parts; all workers share it, under the same path. The next export with the same folder goes on
            with the parts that are there.
        scheduler: its address: ``tcp://`` on this machine, ``tls://`` anywhere. None: see ``workers``.
        workers: start so many processes on this machine, for this export, in place of a cluster that is there.
        tls: the files for ``tls://``; None: those of Dask's own configuration.
        trust_env: as in `TracketClient`, for all processes.
        rows_per_part: so many worklogs a part has at most, where the server counts.
        how: as the settings of `export_to_files`, with a concurrency for each worker; None: the defaults, and
            `PART_CONCURRENCY`.
        on_status: is told the state of the cluster; None: nobody.
        file_options: as in `export_to_files`.
        store: as in `export_to_files`.
        keep_store: as in `export_to_files`.
        keep_parts: leave the parts and their manifest in the folder.
        incomplete: as in `export_to_files`.

    Raises:
        UsageError: the address is not safe; a process of the cluster has another version; the program that starts
            workers is not guarded by ``if __name__ == "__main__":``; or as `export_to_files`.
        ExportError: the cluster cannot be reached or has no worker, it is gone, or its workers die of a part; or as
            `export_to_files`.
        TargetBusyError: another export works with this folder.
        StoreError, StorageError, RequestError: as `export_to_files`.

    After each of them, and after a cancellation or the end of this process, the same export goes on where it was.
    """
    if (scheduler is None) == (workers is None):
        raise UsageError("Give either the address of a scheduler, or a number of workers")
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UsageError("A worker that is being started runs the program that starts it", hint=GUARD)
    how = Settings(concurrency=PART_CONCURRENCY) if how is None else how
    check_targets(targets)
    place = Path(os.path.abspath(folder))  # noqa: PTH100, ASYNC240 - no file is touched
    with locked_folder(place):
        async with (
            _cluster(scheduler, workers, tls) as client,
            _coordinated(client, settings, trust_env=trust_env) as (job, ask),
            await connect(ask, CoordinatedRate(ask, "merge"), concurrency=how.concurrency) as tracket,
        ):
            plan = await begin(tracket, request, place, rows_per_part=rows_per_part, settings=how)
            task = PartTask(
                job=job,
                versions=versions(),
                folder=str(place),
                key=plan.key,
                run=plan.run,
                concurrency=how.concurrency,
                patience=how.patience,
                keep_bad_rows=how.on_bad_row is not None,
            )
            await _Reading(client, ask, plan, task, how, on_status).run()
            return await merge(
                tracket,
                plan,
                place,
                targets,
                how,
                file_options=file_options,
                store=store,
                keep_store=keep_store,
                keep_parts=keep_parts,
                incomplete=incomplete,
            )


# -- the cluster -----------------------------------------------------------------------------------------------------


def check_address(address: str) -> None:
    """Check that an address of Dask is safe: encrypted, or on this machine.

    Raises:
        UsageError: it is not.
    """
    scheme, found, rest = address.partition("://")
    if not found or scheme not in {"tcp", "tls"}:
        raise UsageError(
            f"{address!r} is no address of a Dask scheduler such as tcp://127.0.0.1:8786 or tls://host:8786"
        )
    if scheme == "tcp" and not _is_loopback(rest.rpartition(":")[0].strip("[]")):
        raise UsageError(
            f"{address} is beyond this machine and not encrypted: anybody there could read the token and run code",
            hint="Start the scheduler and its workers with TLS, and give tls://; or use the loopback address",
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextlib.asynccontextmanager
async def _cluster(scheduler: str | None, workers: int | None, tls: TLSFiles | None) -> AsyncGenerator[Any]:
    """Connect to the cluster, or start one, and check it."""
    async with contextlib.AsyncExitStack() as stack:
        if scheduler is None:
            wanted = check_concurrency(workers or 0, "workers")
            try:
                async with asyncio.timeout(WORKERS_WITHIN + START_WITHIN * wanted):  # some versions try for ever
                    at: Any = await stack.enter_async_context(_local(wanted))
            except (RuntimeError, TimeoutError) as error:
                hint = f"{GUARD}. Otherwise look whether something ends new processes (memory?)"
                why = str(error) or "it takes too long"
                raise ExportError(f"The workers could not be started: {why}", hint=hint) from None
        else:
            check_address(scheduler)
            at = scheduler
        connecting = _DASK.Client(
            at, security=_security(tls), timeout=WORKERS_WITHIN, asynchronous=True, set_as_default=False
        )
        try:
            client = await stack.enter_async_context(connecting)
            await client.wait_for_workers(1, timeout=WORKERS_WITHIN)
        except (OSError, TimeoutError) as error:
            raise ExportError(
                f"There is no Dask scheduler with a worker at {at}: {error}",
                hint="Start dask scheduler and dask worker, with the same versions as here",
            ) from None
        await _check(client)
        yield client


@contextlib.asynccontextmanager
async def _local(workers: int) -> AsyncGenerator[Any]:
    """Start a scheduler in this process, and worker processes that only this machine can reach."""
    with (
        dask.config.set(KEEP_WORKERS),
        tempfile.TemporaryDirectory(prefix="tracket-dask-", ignore_cleanup_errors=True) as scratch,
    ):
        async with _DASK.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # of its other pages, which nothing turns off
            memory_limit=0,
            local_directory=scratch,
            preload=[_UNINTERRUPTED],
            silence_logs=logging.CRITICAL,  # what happens to a part is told in the end
            asynchronous=True,
        ) as cluster:
            yield cluster


def _security(tls: TLSFiles | None) -> Any:
    if tls is None:
        return None
    ca, cert, key = map(str, (tls.ca, tls.cert, tls.key))
    return _DASK.Security(tls_ca_file=ca, tls_client_cert=cert, tls_client_key=key, require_encryption=True)


async def _check(client: Any) -> None:
    """Check the addresses and versions of the scheduler and of its workers.

    Raises:
        UsageError: one is not safe, or has another version.
    """
    here = versions()
    try:
        addresses, found = await client.run_on_scheduler(_described)
        there = {"The scheduler": found}
        there |= {f"The worker {address}": found for address, found in (await client.run(versions)).items()}
    except ImportError as error:
        raise UsageError(
            f"A process of the cluster cannot import tracket-async: {error}",
            hint=f"Install tracket-async[dask] {here['tracket-async']} in every process of the cluster",
        ) from None
    for address in addresses:
        check_address(address)
    for where, found in there.items():
        require_versions(here, found, where=where)


def _described(dask_scheduler: Any) -> tuple[list[str], dict[str, str]]:
    """Return the addresses of the scheduler that this is called on and of its workers, and its versions."""
    return [dask_scheduler.address, *dask_scheduler.workers], versions()


@contextlib.asynccontextmanager
async def _coordinated(client: Any, settings: Mapping[str, str], *, trust_env: bool) -> AsyncGenerator[tuple[str, Ask]]:
    """Begin a job of the coordinator, and end it."""
    job = uuid.uuid4().hex
    await client.register_plugin(Coordinator())
    ask = asking(client.scheduler, job)
    environ = {name: value for name, value in settings.items() if name.startswith("TRACKET_") and name != LOG}
    await ask("begin", owner=client.id, settings=seal(json.dumps(environ)), trust_env=trust_env)
    try:
        yield job, ask
    finally:
        with contextlib.suppress(OSError, ClientStateError):
            async with asyncio.timeout(END_WITHIN):
                await ask("end")


# -- the parts -------------------------------------------------------------------------------------------------------


class _Reading:
    """The parts of one plan while workers read them."""

    def __init__(
        self, client: Any, ask: Ask, plan: Plan, task: PartTask, how: Settings, on_status: OnStatus | None
    ) -> None:
        self._client = client
        self._ask = ask
        self._plan = plan
        self._task = task
        self._how = how
        self._on_status = on_status
        self._began = time.monotonic()
        self._futures: dict[Any, int] = {}
        self._lost = Counter[int]()
        self._done: dict[int, int] = {}

    async def run(self) -> None:
        """Read all parts; at the end, or after an error, no task is left."""
        watching = asyncio.create_task(self._watch())
        reading = asyncio.create_task(self._read())
        try:
            await asyncio.wait([watching, reading], return_when=asyncio.FIRST_COMPLETED)
            (reading if reading.done() else watching).result()
            await self._tell()
        finally:
            for task in (watching, reading):
                task.cancel()
            await asyncio.gather(watching, reading, return_exceptions=True)
            with contextlib.suppress(OSError):
                async with asyncio.timeout(END_WITHIN):
                    await self._client.cancel(list(self._futures), force=True)

    async def _read(self) -> None:
        completed = _DASK.as_completed([self._submit(part.number) for part in self._plan.parts], loop=self._client.loop)
        async for future in completed:
            number = self._futures[future]
            try:
                result: PartResult = await future.result()
            except (CancelledError, ClientStateError) as error:
                raise _gone(error) from None
            except TracketError:
                raise
            except (KilledWorker, OSError) as error:
                self._lost[number] += 1
                if self._lost[number] > RESUBMISSIONS:
                    raise self._given_up(number, error) from None
                completed.add(self._submit(number))
            else:
                self._done[number] = result.worklogs
            del self._futures[future]

    def _submit(self, number: int) -> Any:
        key = f"tracket-part-{self._task.job}-{number}-{self._lost[number]}"
        future = self._client.submit(read_part, number, self._task, key=key, pure=False)
        self._futures[future] = number
        return future

    def _given_up(self, number: int, error: Exception) -> ExportError:
        part = self._plan.parts[number]
        since, until = ("" if moment is None else f"{moment:%Y-%m-%d}" for moment in (part.since, part.until))
        return ExportError(
            f"Part {number} ({since}..{until}) is given up, as its workers ended again and again: {error}",
            hint="Look into the workers' logs (memory?). The next export with this folder goes on with the parts there",
        )

    async def _watch(self) -> None:
        """Report the progress until the scheduler is gone."""
        try:
            while True:
                await asyncio.sleep(STATUS_EVERY)
                await self._tell()
        except (OSError, ClientStateError) as error:
            raise _gone(error) from None

    async def _tell(self) -> None:
        if self._client.status != "running":
            raise _gone(OSError("its connection is lost"))
        found = await self._ask("status")
        waiting: Mapping[str, str] = found["waiting"]
        status = ClusterStatus(
            parts=len(self._plan.parts),
            parts_done=len(self._done),
            workers=found["workers"],
            permits=found["permits"],
            refusals=found["refusals"],
            rate=found["rate"],
            paused_for=found["paused_for"],
            token_calls=found["token_calls"],
            waiting=waiting,
        )
        if self._on_status is not None:
            self._on_status(status)
        if self._how.on_progress is not None:
            reading = sum(rows for number, rows in found["reading"] if number not in self._done)
            self._how.on_progress(
                Progress(
                    phase="fetching",
                    done=sum(self._done.values()) + reading,
                    total=self._plan.total,
                    active=min(status.workers, status.parts - status.parts_done),
                    seconds=time.monotonic() - self._began,
                    paused_for=status.paused_for,
                    waiting=_why(status),
                )
            )


def _gone(error: Exception) -> ExportError:
    """Return the error for a scheduler that has ended, or that has lost this client and so its tasks."""
    return ExportError(
        f"The Dask scheduler is gone: {str(error).partition(chr(10))[0]}",
        hint="Start it again, then run the same again: the export goes on with the parts that are there",
    )


def _why(status: ClusterStatus) -> str | None:
    """Return why the export waits, None if it does not."""
    if not status.workers:
        return "the cluster has no worker"
    return "; ".join(f"{worker}: {why}" for worker, why in status.waiting.items()) or None
