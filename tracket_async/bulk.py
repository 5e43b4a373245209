"""Many writes: a bounded number at once, one outcome for each, in the order of the input.

`Outcomes` takes the function that writes one item, and knows no client. The input, any iterable or async iterable, is
consumed as it is needed: never more than ``look_ahead`` items beyond the outcome that is next in order.

The writing is done by worker tasks, and the iteration only tells what they have done: a cancelled ``anext`` loses
nothing. The workers hold no reference to the `Outcomes`, so one that is dropped is collected as garbage, and its
workers are cancelled then.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Hashable,
    Iterable,
    Iterator,
)
from typing import Final, Generic, Literal, Self, TypeAlias, TypeVar, cast

import attrs

from tracket_async.config import check_concurrency
from tracket_async.errors import (
    AuthenticationError,
    ClientStateError,
    ExportError,
    RequestError,
    TracketError,
    UsageError,
    maybe_sent,
)

T = TypeVar("T")
W = TypeVar("W")
"""What a write returns: `Worklog`, or None for a delete."""

Status = Literal["ok", "failed", "ambiguous", "not_sent"]
OnError = Literal["stop", "collect"]

PATIENCE: Final = 50
"""After so many failures in a row that are not the data's fault, the run stops."""
GRACE: Final = 5.0
"""Seconds that `Outcomes.drain` gives the writes in progress when it is interrupted."""


@attrs.frozen(kw_only=True)
class Ok(Generic[T, W]):
    """The outcome of an item that was written.

    Attributes:
        index: its place in the input, from 0.
        item: as it was given.
        worklog: the server's answer to a create or update; None of a delete.
        message: what the server says about a delete; None where it says nothing.
        status: ``"ok"``.
        error: None.
    """

    index: int
    item: T
    worklog: W
    message: str | None = None
    status: Literal["ok"] = attrs.field(default="ok", init=False)
    error: None = attrs.field(default=None, init=False, repr=False)


@attrs.frozen(kw_only=True)
class Failed(Generic[T]):
    """The outcome of an item that was refused, or could not be sent: it did not happen.

    Attributes:
        index: its place in the input, from 0.
        item: as it was given.
        error: why.
        status: ``"failed"``.
        worklog, message: None.
    """

    index: int
    item: T
    error: Exception
    status: Literal["failed"] = attrs.field(default="failed", init=False)
    worklog: None = attrs.field(default=None, init=False, repr=False)
    message: None = attrs.field(default=None, init=False, repr=False)


@attrs.frozen(kw_only=True)
class Ambiguous(Generic[T]):
    """The outcome of an item that was sent, and whose answer was lost: it may have happened.

    Attributes:
        index: its place in the input, from 0.
        item: as it was given.
        error: why. Of a create it is an `AmbiguousWriteError`, see ``client.worklogs.reconcile``. None if the run was
            closed while the item was in progress.
        status: ``"ambiguous"``.
        worklog, message: None.
    """

    index: int
    item: T
    error: Exception | None
    status: Literal["ambiguous"] = attrs.field(default="ambiguous", init=False)
    worklog: None = attrs.field(default=None, init=False, repr=False)
    message: None = attrs.field(default=None, init=False, repr=False)


@attrs.frozen(kw_only=True)
class NotSent(Generic[T]):
    """The outcome of an item that nobody tried to write, because the run was stopped.

    Attributes:
        index: its place in the input, from 0.
        item: as it was given.
        status: ``"not_sent"``.
        worklog, message, error: None.
    """

    index: int
    item: T
    status: Literal["not_sent"] = attrs.field(default="not_sent", init=False)
    worklog: None = attrs.field(default=None, init=False, repr=False)
    message: None = attrs.field(default=None, init=False, repr=False)
    error: None = attrs.field(default=None, init=False, repr=False)


Outcome: TypeAlias = Ok[T, W] | Failed[T] | Ambiguous[T] | NotSent[T]
"""The outcome of one item. Its ``status`` tells a type checker which: ``if outcome.status == "ok"``."""


class Outcomes(Generic[T, W]):
    """An async iterator over the outcomes of many writes; the writing begins with the first step of the iteration.

    When a run stops, the writes in progress are finished and no other is begun: the outcomes of all others, to the end
    of the input, are ``not_sent``. It stops

    * with ``on_error="stop"``: after the first outcome that is not ok (with ``go_on_after_ambiguous``: that is failed);
    * in any case when no other item can succeed: the credentials are refused, the disk is full, or ``patience``
      failures in a row are not the data's fault. `stopped` says why;
    * when `stop` is called.

    To leave in the middle, close it (`contextlib.aclosing`, or `aclose`): that cancels what is in progress, and
    `leftover` then has the outcomes of the items that had been taken from the input. A cancelled or timed out ``anext``
    ends nothing: the next one goes on.

    Args:
        items: the input.
        write: writes one item. What it raises is the item's outcome.
        concurrency: items that are written at once, at least 1.
        on_error: ``"stop"`` or ``"collect"``, see above.
        patience: see above.
        go_on_after_ambiguous: see above.
        key: items with the same key are written one after the other, in the order of the input; None: any may be
            written at once.
        usable: asked before each item; once it says no, the run stops as if by `stop`.
        look_ahead: items taken from the input beyond the outcome that is next in order; None: 4 times the concurrency.

    Raises:
        UsageError: a setting is out of range.
    """

    def __init__(
        self,
        items: Iterable[T] | AsyncIterable[T],
        write: Callable[[T], Awaitable[W | str | None]],
        *,
        concurrency: int = 16,
        on_error: OnError = "stop",
        patience: int = PATIENCE,
        go_on_after_ambiguous: bool = False,
        key: Callable[[T], Hashable] | None = None,
        usable: Callable[[], bool] = lambda: True,
        look_ahead: int | None = None,
    ) -> None:
        check_concurrency(concurrency)
        if on_error not in ("stop", "collect"):
            raise UsageError(f"on_error must be 'stop' or 'collect', not {on_error!r}")
        self._concurrency = concurrency
        self._workers: list[asyncio.Task[None]] | None = None
        self._run: _Run[T, W] = _Run(
            source=aiter(items) if isinstance(items, AsyncIterable) else _each(iter(items)),
            write=write,
            stops_after=_stops_after(on_error, go_on_after_ambiguous=go_on_after_ambiguous),
            patience=patience,
            key=key,
            usable=usable,
            look_ahead=max(look_ahead or 4 * concurrency, concurrency),
        )

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome[T, W]:
        """Return the next outcome.

        Raises:
            Exception: whatever the input raised, after the outcomes of all items before.
        """
        run = self._run
        if self._workers is None:
            self._workers = [asyncio.create_task(run.work()) for _ in range(self._concurrency)]
            weakref.finalize(self, _cancel, asyncio.get_running_loop(), self._workers).atexit = False
        while (outcome := run.tell()) is None:
            if run.closed:
                raise StopAsyncIteration
            if run.crash is not None:
                await self.aclose()
                raise run.crash
            if all(worker.done() for worker in self._workers):
                run.close()
                if run.source_error is not None:
                    raise run.source_error
                raise StopAsyncIteration
            run.news.clear()
            await run.news.wait()
        return outcome

    def stop(self) -> None:
        """Begin no other item. What is in progress is finished; go on iterating to learn about it and the rest."""
        self._run.stop()

    async def aclose(self) -> None:
        """Cancel and await what is in progress. Closing twice does no harm."""
        self._run.close()
        self._workers = self._workers or []
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def drain(self, *, grace: float = GRACE) -> None:
        """Write everything, for what the writes do and not for their outcomes. Afterwards none is in progress.

        After a stop, the rest of the input is not read.

        Args:
            grace: seconds for the writes that are in progress when this is cancelled.

        Raises:
            CancelledError: it was interrupted; what was being written had its grace.
            Exception: what a write raised that is no `TracketError`, or what the input raised.
        """
        consuming = asyncio.create_task(self._consume())
        try:
            await asyncio.shield(consuming)
        except asyncio.CancelledError:
            self.stop()
            await asyncio.wait([consuming], timeout=grace)
            raise
        finally:
            consuming.cancel()
            await asyncio.gather(consuming, return_exceptions=True)
            await self.aclose()

    @property
    def stopped(self) -> TracketError | None:
        """Return why the run stopped by itself; None: it did not, or ``on_error`` wanted it so."""
        return self._run.stopped

    @property
    def leftover(self) -> tuple[Outcome[T, W], ...]:
        """Return the outcomes, in order, of the items taken from the input and not yet told: for after closing.

        What was in progress is ``ambiguous``. Whatever comes after them in the input was not sent, and not even read.
        """
        return self._run.leftover()

    async def _consume(self) -> None:
        async for outcome in self:
            if outcome.error is not None and not isinstance(outcome.error, TracketError):
                raise outcome.error
            if outcome.status == "not_sent" and not self._run.writing:
                return


class _Run(Generic[T, W]):
    """State of a run, shared by its workers and its iteration."""

    def __init__(
        self,
        *,
        source: AsyncIterator[T],
        write: Callable[[T], Awaitable[W | str | None]],
        stops_after: Collection[Status],
        patience: int,
        key: Callable[[T], Hashable] | None,
        usable: Callable[[], bool],
        look_ahead: int,
    ) -> None:
        self.source_error: Exception | None = None
        self.crash: BaseException | None = None
        self.stopped: TracketError | None = None
        self.closed = False
        self.writing = 0
        self.news = asyncio.Event()
        self._source = source
        self._write = write
        self._stops_after = stops_after
        self._patience = patience
        self._key = key
        self._turns: dict[Hashable, asyncio.Future[None]] = {}
        self._usable = usable
        self._look_ahead = look_ahead
        self._stopping = self._exhausted = False
        self._taking = asyncio.Lock()
        self._room = asyncio.Event()
        self._taken = self._told = self._failures_in_a_row = 0
        self._done: dict[int, Outcome[T, W]] = {}
        self._unfinished: dict[int, Outcome[T, W]] = {}  # each item's outcome if the run were closed now

    def stop(self) -> None:
        self._stopping = True

    def close(self) -> None:
        self._stopping = self.closed = True

    def tell(self) -> Outcome[T, W] | None:
        """Return the outcome that is next in order, once; None while it is not known."""
        outcome = None if self.closed else self._done.pop(self._told, None)
        if outcome is not None:
            self._told += 1
            self._room.set()
        return outcome

    def leftover(self) -> tuple[Outcome[T, W], ...]:
        return tuple(outcome for _, outcome in sorted((self._unfinished | self._done).items()))

    async def work(self) -> None:
        try:
            while (taken := await self._take()) is not None:
                index = taken.index
                self._done[index] = await self._outcome(taken)
                del self._unfinished[index]
                self.news.set()
        except BaseException as error:
            # Whoever iterates waits for news alone, so that even a cancellation has to reach it there.
            self.crash = self.crash or error
            raise
        finally:
            # A task is not done before its last line.
            asyncio.get_running_loop().call_soon(self.news.set)

    async def _take(self) -> NotSent[T] | None:
        """Return the next item of the input, as the outcome that it has while nobody writes it; None: there is none."""
        async with self._taking:
            while self._taken - self._told >= self._look_ahead:
                self._room.clear()
                await self._room.wait()
            if self._exhausted:
                return None
            try:
                item = await anext(self._source)
            except StopAsyncIteration:
                self._exhausted = True
                return None
            except Exception as error:  # noqa: BLE001 - the caller's own input: raised to the caller when its turn comes
                self._exhausted = True
                self.source_error = error
                return None
            taken = NotSent(index=self._taken, item=item)
            self._unfinished[self._taken] = taken
            self._taken += 1
            return taken

    async def _outcome(self, taken: NotSent[T]) -> Outcome[T, W]:
        key = self._key_of(taken.item)
        if key is None:
            return await self._written(taken)
        before = self._turns.get(key)
        mine = self._turns[key] = asyncio.get_running_loop().create_future()
        try:
            if before is not None:
                await asyncio.wait([before])
            return await self._written(taken)
        finally:
            mine.set_result(None)
            if self._turns[key] is mine:
                del self._turns[key]

    def _key_of(self, item: T) -> Hashable:
        if self._key is None:
            return None
        # Whatever is wrong with the item, its write will say.
        with contextlib.suppress(Exception):
            key = self._key(item)
            hash(key)
            return key
        return None

    async def _written(self, taken: NotSent[T]) -> Outcome[T, W]:
        if self._stopping or not self._usable():
            self.stop()
            return taken
        index, item = taken.index, taken.item
        self._unfinished[index] = Ambiguous(index=index, item=item, error=None)
        self.writing += 1
        try:
            answer = await self._write(item)
        except asyncio.CancelledError as error:
            if not getattr(error, "maybe_sent", True):
                self._unfinished[index] = taken
            raise
        except Exception as error:  # noqa: BLE001 - whatever a write raises is the outcome of its item, never lost
            if isinstance(error, ClientStateError) and not error.maybe_sent:
                self.stop()
                return taken
            ambiguous = not self._usable() or (isinstance(error, RequestError | ClientStateError) and maybe_sent(error))
            self._failed(error, "ambiguous" if ambiguous else "failed")
            if ambiguous:
                return Ambiguous(index=index, item=item, error=error)
            return Failed(index=index, item=item, error=error)
        finally:
            self.writing -= 1
        self._failures_in_a_row = 0
        if isinstance(answer, str):
            return Ok(index=index, item=item, worklog=cast("W", None), message=answer)
        return Ok(index=index, item=item, worklog=cast("W", answer))

    def _failed(self, error: Exception, status: Status) -> None:
        """Stop if this failure is a reason to, see `Outcomes`."""
        if status in self._stops_after:
            self.stop()
        if not isinstance(error, TracketError):
            return
        self._failures_in_a_row = 0 if error.fault == "client" else self._failures_in_a_row + 1
        if self._failures_in_a_row >= self._patience:
            error.hint = (
                f"That was the last of {self._failures_in_a_row} failures in a row that are not the data's fault, so"
                " the other rows were not tried. Run the same again once the server is well"
            )
        elif not isinstance(error, AuthenticationError | ExportError):
            return
        self.stopped = self.stopped or error
        self.stop()


def _stops_after(on_error: OnError, *, go_on_after_ambiguous: bool) -> Collection[Status]:
    if on_error == "collect":
        return ()
    stops_after: list[Status] = ["failed"] if go_on_after_ambiguous else ["failed", "ambiguous"]
    return stops_after


def _cancel(loop: asyncio.AbstractEventLoop, workers: list[asyncio.Task[None]]) -> None:
    """Cancel the workers of a run that was dropped; the collector may run in any thread."""
    if not loop.is_closed():
        for worker in workers:
            loop.call_soon_threadsafe(worker.cancel)


async def _each(items: Iterator[T]) -> AsyncGenerator[T]:
    for item in items:
        yield item
