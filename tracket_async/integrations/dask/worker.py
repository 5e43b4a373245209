"""The side of a worker: a client that asks the coordinator, and the task that reads one part with it.

A task is run at least once: again when its worker dies, and now and then by two workers at a time. So it looks first
whether its part is there; `write_part` sees to the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs
import distributed

from tracket_async import AccessToken, TokenSource
from tracket_async._tasks import start
from tracket_async._version import __version__
from tracket_async.client import TracketClient
from tracket_async.config import Limits
from tracket_async.errors import ClientStateError, UsageError
from tracket_async.export.phases import Settings
from tracket_async.export.source import OutagePolicy
from tracket_async.integrations.dask.coordinator import Ask, Told, asking
from tracket_async.integrations.dask.part import PartResult, write_part
from tracket_async.integrations.dask.plan import shared_plan


class CoordinatedRate:
    """The rate that the coordinator keeps: a `SharedRate`.

    What the server answers goes with the next question for a permit; refusals and pauses at once, as they slow all.

    Args:
        ask: the coordinator.
        name: of this process, for its reports.
    """

    def __init__(self, ask: Ask, name: str) -> None:
        self._ask = ask
        self._name = name
        self._answers: list[Told] = []
        self._reading: dict[int, int] = {}

    async def acquire(self) -> float:
        """Wait until an attempt may start. Return its permit, a moment of the coordinator's clock."""
        permit: float = await self._ask("permit", **self._news())
        return permit

    def on_success(self, permit: float, /) -> None:
        """Take note that the server accepted the attempt of this permit."""
        self._answers.append(("success", permit, 0.0))

    def on_refusal(self, permit: float, pause: float, /) -> None:
        """Tell of a 429 to the attempt of this permit."""
        self._answers.append(("refusal", permit, pause))
        start(self._tell())

    def on_pause(self, seconds: float, /) -> None:
        """Tell of a pause."""
        self._answers.append(("pause", 0.0, seconds))
        start(self._tell())

    def on_reading(self, number: int, worklogs: int) -> None:
        """Take note of how many worklogs of a part were read."""
        self._reading[number] = worklogs

    def on_waiting(self, why: str | None, /) -> None:
        """Tell why this process waits for the server; None: it goes on."""
        start(self._tell(waiting=(self._name, why)))

    async def _tell(self, **more: Any) -> None:
        # Whoever asks for a permit next is told that the coordinator has gone.
        with contextlib.suppress(OSError, ClientStateError):
            await self._ask("tell", **self._news(), **more)

    def _news(self) -> dict[str, Any]:
        answers, self._answers = self._answers, []
        reading, self._reading = self._reading, {}
        return {"told": answers, "reading": list(reading.items())}


async def connect(ask: Ask, rate: CoordinatedRate, *, concurrency: int) -> TracketClient:
    """Return a client with the settings, the rate and the token that the coordinator has; not open yet.

    Args:
        ask: the coordinator.
        rate: asks the same one.
        concurrency: requests at a time, at most.
    """

    async def fetch(refused: int | None) -> AccessToken:
        token = await ask("token", refused=refused)
        return AccessToken(token["authorization"], token["expires_in"], token["serial"])

    found = await ask("settings")
    limits = Limits(max_concurrency=concurrency, requests_per_second=rate)
    environ = json.loads(found["environ"].reveal())
    return TracketClient.from_env(environ, auth=TokenSource(fetch), limits=limits, trust_env=found["trust_env"])


def versions() -> dict[str, str]:
    """Return the versions that all processes of an export must have in common."""
    return {"tracket-async": __version__, "distributed": metadata.version("distributed")}


def require_versions(here: Mapping[str, str], there: Mapping[str, str], *, where: str) -> None:
    """Check that another process has the same versions.

    Raises:
        UsageError: it does not; the message says both.
    """
    for name, wanted in here.items():
        if (found := there.get(name)) != wanted:
            raise UsageError(
                f"{where} has {name} {found}, and this process has {wanted}",
                hint="Install the same version in every process of the cluster, and start it again",
            )


@attrs.frozen(kw_only=True)
class PartTask:
    """The facts that a worker needs to read the parts of an export. There is nothing secret among them.

    Attributes:
        job: the name by which the coordinator knows the export.
        versions: of the process that exports.
        folder: of the parts, on every worker.
        key, run: of the plan.
        concurrency: pages of a part that are fetched at once.
        patience: how long to wait for a server that does not answer.
        keep_bad_rows: whether to keep rows that cannot be read.
    """

    job: str
    versions: Mapping[str, str]
    folder: str
    key: str
    run: str
    concurrency: int
    patience: OutagePolicy
    keep_bad_rows: bool


async def read_part(number: int, task: PartTask) -> PartResult:
    """Read one part on the Dask worker that this is called on.

    Args:
        number: of the part.
        task: the rest.

    Raises:
        UsageError: this worker has another version than the process that exports.
        ClientStateError: the export has ended.
        StorageError, StoreError, ExportError, RequestError: as `write_part`.
    """
    worker = distributed.get_worker()
    require_versions(task.versions, versions(), where=f"The worker {worker.address}")
    folder = Path(task.folder)
    plan = attrs.evolve(await asyncio.to_thread(shared_plan, folder, task.key), run=task.run)
    ask = asking(worker.scheduler, task.job)
    rate = CoordinatedRate(ask, worker.address)
    settings = Settings(
        concurrency=task.concurrency,
        patience=task.patience,
        on_progress=lambda progress: rate.on_reading(number, progress.done),
        on_waiting=rate.on_waiting,
    )
    async with await connect(ask, rate, concurrency=task.concurrency) as client:
        return await write_part(client, plan, number, folder, settings=settings, keep_bad_rows=task.keep_bad_rows)
