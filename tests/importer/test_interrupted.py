"""Imports that are interrupted, and how they go on."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from tracket_async.emulator import faults
from tracket_async.importer.run import (
    NOT_FOUND,
    UNANSWERED,
)


def summary(report):
    names = ("done", "found", "already", "failed", "ambiguous", "not_sent")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


async def test_an_interrupted_import_waits_for_answers_on_their_way(emulator, file, rows, route):
    made = file(rows(50))
    async with made.opened(emulator, settings={"concurrency": 4}) as work:
        task = asyncio.create_task(work.run())
        emulator.faults.add(faults.Call(lambda _: task.cancel()), method="POST", route=route, nth=10)
        with pytest.raises(asyncio.CancelledError):
            await task
        report = work.report()
    assert 10 <= report.done <= 16
    assert (report.ambiguous, report.not_sent) == (0, 50 - report.done)
    assert summary(await made.load(emulator)) == {"done": 50 - report.done, "already": report.done}
    assert emulator.count == 50


async def test_rows_that_wait_out_a_429_when_they_are_interrupted_are_not_ambiguous(emulator, file, rows, route, posts):
    """All of them were refused, or still wait for their turn."""
    emulator.faults.add(faults.Status(429, retry_after="60"), method="POST", route=route)
    made = file(rows(40))
    async with made.opened(emulator, settings={"concurrency": 16, "grace": 0}) as work:
        task = asyncio.create_task(work.run())
        in_use = lambda: work._client.statistics().concurrency.in_use  # noqa: E731
        while len(made.entries) < 16 or not posts(emulator) or in_use():  # noqa: ASYNC110 - of the server
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert summary(work.report()) == {"not_sent": 40}
    assert [("not_sent" in entry, "sent_at" in entry) for entry in made.entries] == [(False, True)] * 16 + [
        (True, False)
    ] * 16
    emulator.faults.clear()
    assert summary(await made.load(emulator)) == {"done": 40}
    assert emulator.count == 40


async def interrupted(work, calls=4, *, maybe_sent=False):
    """Interrupt the import when so many creates are in progress, which end as cancelled calls do."""
    began = asyncio.Semaphore(0)

    async def create(_new):
        began.release()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            error.maybe_sent = maybe_sent
            raise

    work._client.worklogs.create = create
    task = asyncio.create_task(work.run())
    for _ in range(calls):
        await began.acquire()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_interrupted_row_that_was_never_sent_is_not_ambiguous(emulator, file, rows):
    made = file(rows(10))
    async with made.opened(emulator, settings={"grace": 0}) as work:
        await interrupted(work)
        assert summary(work.report()) == {"not_sent": 10}
    assert [entry["not_sent"] for entry in made.entries[4:]] == ["It was interrupted before it was sent"] * 4
    assert summary(await made.load(emulator)) == {"done": 10}


async def test_an_interrupted_row_that_may_have_been_sent_is_ambiguous(emulator, file, rows):
    async with file(rows(10)).opened(emulator, settings={"grace": 0}) as work:
        await interrupted(work, maybe_sent=True)
        assert summary(work.report()) == {"ambiguous": 4, "not_sent": 6}
        assert [each.reason for each in work.report().errors] == [UNANSWERED] * 4


async def test_an_interrupted_row_that_was_to_be_sent_again_stays_ambiguous(emulator, file, rows, route):
    made = file(rows(1))
    emulator.faults.add(faults.Status(503), method="POST", route=route, nth=1)
    await made.load(emulator)
    async with made.opened(emulator, settings={"grace": 0, "resend_ambiguous": True}) as work:
        await interrupted(work, calls=1)
        assert summary(work.report()) == {"ambiguous": 1}
    assert made.entries[-1]["ambiguous"] == NOT_FOUND


async def test_a_row_that_is_interrupted_while_its_entry_is_written_is_not_ambiguous(emulator, file, rows, monkeypatch):
    began, go, fsync = threading.Event(), threading.Event(), os.fsync

    def slow(descriptor):
        began.set()
        go.wait(30)
        fsync(descriptor)

    made = file(rows(1))
    async with made.opened(emulator, settings={"grace": 0}) as work:
        monkeypatch.setattr(os, "fsync", slow)
        task = asyncio.create_task(work.run())
        await asyncio.to_thread(began.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert summary(work.report()) == {"not_sent": 1}
        go.set()
    assert (await made.load(emulator)).complete


async def test_an_interruption_on_a_full_disk_stays_an_interruption(emulator, file, rows, monkeypatch):
    write = os.write

    def full(descriptor, data):
        if b"not_sent" in data:
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    made = file(rows(4))
    async with made.opened(emulator, settings={"grace": 0}) as work:
        monkeypatch.setattr(os, "write", full)
        await interrupted(work)
        assert summary(work.report()) == {"ambiguous": 4}
