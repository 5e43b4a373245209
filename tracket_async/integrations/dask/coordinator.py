"""The coordinator: the one owner of the rate, the token and the pauses of an export, on the scheduler of the cluster.

It is a `SchedulerPlugin`, so that it lives as long as the scheduler and dies with no worker. The process that exports
and every worker ask it, by one operation of the scheduler, for a permit before each attempt and for the access token;
they tell it what the server answers. It learns the server's rate from the answers to all of them. Credentials are in
its memory alone: what the others get is an Authorization header and its serial number.

An export ends with the client that began it, also when that is killed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

import attrs
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.protocol.serialize import ToPickle

from tracket_async._http.limits import LearnedRate
from tracket_async._http.messages import Secret
from tracket_async._tasks import start
from tracket_async.client import CREDENTIALS, RATE, TOKEN, TracketClient, settings_of
from tracket_async.config import Limits
from tracket_async.errors import ClientStateError, TracketError

OPERATION: Final = "tracket_async"
"""The scheduler's operation by which it is asked."""

Told = tuple[str, float, float]
"""An answer of the server: ``"success"``, ``"refusal"`` or ``"pause"``; the permit of the attempt, 0 for a pause; its
seconds."""

Ask = Callable[..., Awaitable[Any]]
"""Asks the coordinator: the name of a question, and what belongs to it."""


class Sealed(Secret):
    """A secret that may go to another process of the cluster. In logs it shows nothing of itself."""

    __slots__ = ()

    def __reduce__(self) -> Any:
        return Sealed, (self.reveal(),)


def seal(text: str) -> Any:
    """Return a text as a part of a message, whose repr does not show it."""
    return ToPickle(Sealed(text))


def asking(scheduler: Any, job: str) -> Ask:
    """Return the function by which a worker or a client asks the coordinator of a job.

    Args:
        scheduler: the remote scheduler, ``worker.scheduler`` or ``client.scheduler``.
        job: its name.
    """

    async def ask(question: str, **given: Any) -> Any:
        answer = await getattr(scheduler, OPERATION)(job=job, question=question, **given)
        if answer is None:
            raise ClientStateError("This export has ended, so that its workers get neither a permit nor a token")
        if isinstance(answer, TracketError):
            raise answer
        return answer

    return ask


@attrs.define(eq=False)
class Job:
    """One export.

    Attributes:
        owner: the id of the Dask client that began it.
        client: holds the credentials, and sends nothing but token calls.
        rate: of all who take part in it.
        settings: the ``TRACKET_*`` settings of the others' clients, as JSON: no credentials.
        trust_env: whether the others' clients use the proxies of their environment.
        reading: the worklogs that were read so far, by the number of the part that is being read.
        waiting: why a worker waits for the server, by the worker's address.
    """

    owner: str
    client: TracketClient
    rate: LearnedRate
    settings: Sealed
    trust_env: bool
    reading: dict[int, int] = attrs.field(factory=dict[int, int])
    waiting: dict[str, str] = attrs.field(factory=dict[str, str])
    _asking: set[asyncio.Timeout] = attrs.field(factory=set[asyncio.Timeout])

    async def permit(self, told: Iterable[Told], reading: Iterable[tuple[int, int]]) -> float | None:
        """Return the permit for one more attempt when it may start; None: the export is over."""
        self.tell(told, reading)
        waiting = asyncio.timeout(None)
        self._asking.add(waiting)
        try:
            async with waiting:
                return await self.rate.acquire()
        except TimeoutError:
            return None  # `end` sends it away
        finally:
            self._asking.discard(waiting)

    def tell(
        self,
        told: Iterable[Told],
        reading: Iterable[tuple[int, int]],
        *,
        waiting: tuple[str, str | None] | None = None,
    ) -> bool:
        """Take note of answers of the server, of how far parts are, and of why a worker waits."""
        for what, permit, pause in told:
            if what == "success":
                self.rate.on_success(permit)
            elif what == "refusal":
                self.rate.on_refusal(permit, pause)
            else:
                self.rate.on_pause(pause)
        self.reading.update(reading)
        if waiting is not None:
            worker, why = waiting
            self.waiting.pop(worker, None)
            if why is not None:
                self.waiting[worker] = why
        return True

    async def token(self, refused: int | None) -> dict[str, Any]:
        """Return the access token of now; a new one if the one of this serial number was refused and is the current."""
        token = await self.client.access_token(refused)
        return {
            "authorization": seal(token.authorization.reveal()),
            "expires_in": token.expires_in,
            "serial": token.serial,
        }

    def connection(self) -> dict[str, Any]:
        """Return the settings of a client that takes part: what `TracketClient.from_env` takes, without credentials."""
        return {"environ": ToPickle(self.settings), "trust_env": self.trust_env}

    def status(self) -> dict[str, Any]:
        """Return the state of the export as it is now, in the names of `ClusterStatus`."""
        return {
            "permits": self.rate.permits,
            "refusals": self.rate.refusals,
            "rate": self.rate.requests_per_second,
            "paused_for": self.rate.paused_for,
            "token_calls": self.client.statistics().token_refreshes,
            "reading": list(self.reading.items()),
            "waiting": dict(self.waiting),
        }

    async def end(self) -> bool:
        """End it: whoever waits for a permit is sent away."""
        for waiting in self._asking:
            waiting.reschedule(0.0)
        await self.client.aclose()
        return True


class Coordinator(SchedulerPlugin):
    """The owner of rate, token and pauses of the exports of one scheduler."""

    name = "tracket-async"
    idempotent = True

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    async def start(self, scheduler: Any) -> None:
        """Begin to answer."""
        self._scheduler = scheduler
        scheduler.handlers[OPERATION] = self.answer

    async def answer(self, job: str, question: str, **given: Any) -> Any:
        """Answer a worker or a client. None: there is no such export, or no more. An error is returned, not raised."""
        try:
            if question == "begin":
                return await self._begin(job, **given)
            if (found := self._jobs.get(job)) is None:
                return None
            if question == "end":
                del self._jobs[job]
                return await found.end()
            if question == "status":
                return found.status() | {"workers": len(self._scheduler.workers)}
            return await _answer(found, question, given)
        except TracketError as error:
            # Raised, it would be logged by the scheduler, with a traceback.
            return ToPickle(error)

    def remove_client(self, scheduler: Any, client: str) -> None:  # noqa: ARG002 - the names are Dask's
        """End the exports of a client that has gone."""
        for name in [name for name, job in self._jobs.items() if job.owner == client]:
            start(self._jobs.pop(name).end())

    def remove_worker(self, scheduler: Any, worker: str, **_more: Any) -> None:  # noqa: ARG002 - the names are Dask's
        """Forget why a worker waited that has gone."""
        for job in self._jobs.values():
            job.waiting.pop(worker, None)

    async def close(self) -> None:
        """End all exports: the scheduler closes."""
        while self._jobs:
            await self._jobs.popitem()[1].end()

    async def _begin(self, job: str, *, owner: str, settings: Sealed, trust_env: bool) -> bool:
        environ: dict[str, str] = json.loads(settings.reveal())
        limits: Limits = settings_of(environ).get("limits", Limits())
        client = await TracketClient.from_env(environ, trust_env=trust_env).open()
        rate = limits.requests_per_second
        self._jobs[job] = Job(
            owner=owner,
            client=client,
            rate=LearnedRate(rate if isinstance(rate, float) else None),
            settings=Sealed(json.dumps({name: value for name, value in environ.items() if name not in _OWN})),
            trust_env=trust_env,
        )
        return True


async def _answer(job: Job, question: str, given: Mapping[str, Any]) -> Any:
    if question == "permit":
        return await job.permit(**given)
    if question == "token":
        return await job.token(**given)
    return job.tell(**given) if question == "tell" else job.connection()


_OWN: Final = frozenset({RATE, TOKEN, *CREDENTIALS})
"""The settings that stay with the coordinator."""
