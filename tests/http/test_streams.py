"""A body is taken when it is whole and not too long; a silent server is expired after the read timeout."""

from __future__ import annotations

import asyncio
import gzip
import heapq
import itertools
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracket_async._http.streams import CompressedBody, ConnectionUse, PlainBody, ReadTimedOut, ReadTimeout, body_for
from tracket_async.errors import ResponseError, ResponseTooLargeError, TruncatedResponseError, UnreadableResponseError

TEXT = b'{"worklogs": [' + b", ".join(b'{"worklogId": "%d"}' % number for number in range(50)) + b"]}"


def raw_deflate(data):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKED = {
    "gzip": gzip.compress(TEXT, mtime=0),
    "x-gzip": gzip.compress(TEXT, mtime=0),
    "deflate": zlib.compress(TEXT),
    " GZIP ": gzip.compress(TEXT, mtime=0),
    "": TEXT,
    "identity": TEXT,
    "None": TEXT,
    "UTF-8": TEXT,
    "identity, utf-8": TEXT,
    "gzip, identity": gzip.compress(TEXT, mtime=0),
    "utf-8,GZIP": gzip.compress(TEXT, mtime=0),
}


def collect(encoding, *chunks, cap=10_000):
    body = body_for(encoding, "", cap=cap)
    for chunk in chunks:
        body.feed(chunk)
    return body.finish()


@pytest.mark.parametrize("encoding", PACKED)
def test_a_whole_body_comes_out_as_it_was(encoding):
    assert collect(encoding, PACKED[encoding]) == TEXT


@given(st.sampled_from(sorted(PACKED)), st.lists(st.integers(0, 2_000)))
def test_it_does_not_matter_how_it_is_cut_into_chunks(encoding, cuts):
    packed = PACKED[encoding]
    ends = sorted({min(cut, len(packed)) for cut in cuts} | {len(packed)})
    assert collect(encoding, *[packed[a:b] for a, b in zip([0, *ends], ends, strict=False)]) == TEXT


def test_deflate_without_its_header_is_read_too():
    assert collect("deflate", raw_deflate(TEXT)) == TEXT


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("pack", [None, raw_deflate])
def test_a_body_that_is_cut_anywhere_is_not_taken(encoding, pack):
    packed = PACKED[encoding] if pack is None or encoding == "gzip" else pack(TEXT)
    for end in range(1, len(packed)):
        with pytest.raises((TruncatedResponseError, UnreadableResponseError)):
            collect(encoding, packed[:end])


@pytest.mark.parametrize("encoding", sorted(PACKED))
def test_no_body_at_all_is_an_empty_one(encoding):
    assert collect(encoding) == b""
    assert collect(encoding, b"") == b""


def test_gzip_of_several_members_is_one_body():
    assert collect("gzip", gzip.compress(b"ab") + gzip.compress(b"") + gzip.compress(b"c")) == b"abc"
    with pytest.raises(TruncatedResponseError):
        collect("gzip", gzip.compress(b"ab") + gzip.compress(b"c")[:-1])


@pytest.mark.parametrize(
    "rest", [b"\0", bytes(600), b"rubbish", b"\x1frubbish", b"\x1f\x8b\x07", b"\r\n" + PACKED["gzip"]]
)
def test_what_follows_gzip_and_is_no_member_is_ignored(rest):
    packed = PACKED["gzip"] + rest
    assert collect("gzip", packed) == TEXT
    assert collect("gzip", PACKED["gzip"], rest) == TEXT
    assert collect("gzip", *[packed[i : i + 1] for i in range(len(packed))]) == TEXT


@pytest.mark.parametrize(
    ("encoding", "rest"),
    [
        ("deflate", b"\0"),
        ("deflate", b"rubbish"),
        ("gzip", b"\x1f"),
        ("gzip", b"\x1f\x8b"),
        ("gzip", b"\x1f\x8b\x08"),
        ("gzip", b"\x1f\x8b\x08" + b"\xff" * 30),
    ],
)
def test_what_follows_and_may_be_lost_data_is_refused(encoding, rest):
    with pytest.raises((UnreadableResponseError, TruncatedResponseError)):
        collect(encoding, PACKED[encoding] + rest)
    with pytest.raises((UnreadableResponseError, TruncatedResponseError)):
        collect(encoding, PACKED[encoding], rest)


def test_thousands_of_empty_gzip_members_are_a_bomb():
    nothing, kilobyte = gzip.compress(b"", mtime=0), gzip.compress(bytes(1024), mtime=0)
    assert collect("gzip", nothing * 1_000, cap=10**6) == b""
    with pytest.raises(ResponseError, match=r"1,001 gzip members") as caught:
        collect("gzip", nothing * 5_000, cap=10**6)
    assert not caught.value.is_retryable(idempotent=True)
    assert len(collect("gzip", *[kilobyte] * 3_000, cap=10**7)) == 3_000 * 1024


def test_deflate_has_no_members():
    with pytest.raises(UnreadableResponseError):
        collect("deflate", zlib.compress(b"ab") + zlib.compress(b"c"))


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_what_is_not_compressed_is_refused(encoding):
    with pytest.raises(UnreadableResponseError, match=f"not valid {encoding}") as caught:
        collect(encoding, b"<html>")
    assert caught.value.__context__ is None


def test_a_flipped_bit_is_refused():
    packed = bytearray(PACKED["gzip"])
    packed[-6] ^= 1  # in the checksum
    with pytest.raises(UnreadableResponseError):
        collect("gzip", bytes(packed))


@pytest.mark.parametrize("encoding", sorted(PACKED))
def test_a_body_may_be_as_long_as_the_cap_and_no_byte_longer(encoding):
    assert collect(encoding, PACKED[encoding], cap=len(TEXT)) == TEXT
    with pytest.raises(ResponseTooLargeError) as caught:
        collect(encoding, PACKED[encoding], cap=len(TEXT) - 1)
    assert f"{len(TEXT) - 1:,} bytes" in str(caught.value)
    assert "Limits.max_response_bytes" in str(caught.value)


def test_a_bomb_is_not_inflated_further_than_the_cap():
    bomb = gzip.compress(bytes(20_000_000))
    body = CompressedBody(50_000, "gzip")
    with pytest.raises(ResponseTooLargeError):
        body.feed(bomb)
    assert body._room == -1


def test_compressed_bytes_count_towards_the_cap_as_well():
    nothing = gzip.compress(b"")
    assert collect("gzip", *[nothing] * 5, cap=5 * len(nothing)) == b""
    with pytest.raises(ResponseTooLargeError):
        collect("gzip", *[nothing] * 5, cap=5 * len(nothing) - 1)


def test_an_announced_length_above_the_cap_is_refused_before_a_byte_is_read():
    assert isinstance(body_for("", "1000", cap=1_000), PlainBody)
    for length in ("1001", "9" * 5_000):
        with pytest.raises(ResponseTooLargeError):
            body_for("", length, cap=1_000)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip, br", "br, utf-8", "compress", "x" * 500])
def test_an_encoding_that_was_not_asked_for_is_refused(encoding):
    with pytest.raises(ResponseError, match="was not asked for") as caught:
        body_for(encoding, "", cap=1)
    assert len(str(caught.value)) < 200


class Clock:
    """What `ReadTimeout` asks of an event loop: its time, which moves when the test says so, and its timers."""

    def __init__(self):
        self.moment = 100.0
        self.timers = []
        self.set = 0
        self._numbers = itertools.count()

    def time(self):
        return self.moment

    def call_later(self, delay, callback):
        return self.call_at(self.moment + delay, callback)

    def call_at(self, when, callback):
        self.set += 1
        timer = Timer(callback)
        heapq.heappush(self.timers, (when, next(self._numbers), timer))
        return timer

    async def to(self, moment):
        """Go on to this moment; every timer until then rings at its own."""
        while self.timers and self.timers[0][0] <= moment:
            self.moment, _, timer = heapq.heappop(self.timers)
            timer.ring()
            await turns()
        self.moment = moment
        await turns()


class Timer:
    def __init__(self, callback):
        self.ring = callback

    def cancel(self):
        self.ring = lambda: None


async def turns():
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def read_timeout(clock):
    return ReadTimeout(10.0, clock)


class Attempt:
    """A task that listens until it is told that it has its answer."""

    def __init__(self, read_timeout, *, connected=True):
        self.answer = asyncio.Event()
        self.watch = None
        self.connect = asyncio.Event()
        self.task = asyncio.create_task(self._run(read_timeout, connected=connected))

    async def _run(self, read_timeout, *, connected):
        with read_timeout.watch(connected=connected) as self.watch:
            if not connected:
                await self.connect.wait()
                read_timeout.connected(ConnectionUse())
            await self.answer.wait()
        return "done"

    @property
    def is_silent(self):
        return self.task.done() and isinstance(self.task.exception(), ReadTimedOut)


async def watched(read_timeout, **how):
    attempt = Attempt(read_timeout, **how)
    await turns()
    return attempt


@pytest.mark.parametrize(("moment", "expired"), [(109.999, False), (110.0, True)])
async def test_an_attempt_that_received_nothing_expires_at_that_moment(clock, read_timeout, moment, expired):
    attempt = await watched(read_timeout)
    assert repr(read_timeout) == "<ReadTimeout of 10.0 s, 1 watched>"
    await clock.to(moment)
    assert attempt.is_silent is expired
    attempt.answer.set()
    await asyncio.wait([attempt.task])
    assert repr(read_timeout).endswith("0 watched>")


@pytest.mark.parametrize(("moment", "expired"), [(115.999, False), (116.0, True)])
async def test_what_is_received_starts_the_timeout_again(clock, read_timeout, moment, expired):
    attempt = await watched(read_timeout)
    await clock.to(106)
    attempt.watch.received()
    await clock.to(moment)
    assert attempt.is_silent is expired
    attempt.answer.set()
    await asyncio.wait([attempt.task])


async def test_the_timeout_starts_with_the_connection(clock, read_timeout):
    attempt = await watched(read_timeout, connected=False)
    await clock.to(195)
    attempt.connect.set()
    await turns()
    await clock.to(204.999)
    assert not attempt.task.done()
    await clock.to(205)
    assert attempt.is_silent


async def test_attempts_share_a_timer_and_those_answered_in_time_set_none(clock, read_timeout):
    for _ in range(50):
        attempt = await watched(read_timeout)
        attempt.answer.set()
        assert await attempt.task == "done"
    assert clock.set == 1
    await clock.to(110)  # nobody listens: it is not set again
    assert clock.set == 1
    await clock.to(500)
    attempt = await watched(read_timeout)
    assert clock.set == 2
    await clock.to(510)
    assert attempt.is_silent


async def test_one_that_expires_does_not_end_the_others(clock, read_timeout):
    first = await watched(read_timeout)
    await clock.to(104)
    second = await watched(read_timeout)
    await clock.to(110)
    assert (first.is_silent, second.task.done()) == (True, False)
    await clock.to(114)
    assert second.is_silent


async def test_without_a_read_timeout_nothing_expires(clock):
    read_timeout = ReadTimeout(None, clock)
    attempt = await watched(read_timeout)
    await clock.to(1e9)
    assert clock.set == 0
    attempt.answer.set()
    assert await attempt.task == "done"


async def test_a_cancellation_from_elsewhere_stays_one(clock, read_timeout):
    attempt = await watched(read_timeout)
    attempt.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt.task
    both = await watched(read_timeout)
    clock.moment += 10
    read_timeout._check()
    both.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await both.task


async def test_an_error_of_its_own_stays_what_it_is(clock, read_timeout):
    async def run():
        with read_timeout.watch(connected=True):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise ValueError("mine") from None

    task = asyncio.create_task(run())
    await turns()
    await clock.to(110)
    with pytest.raises(ValueError, match="mine"):
        await task
    assert not task.cancelling()


@pytest.mark.parametrize("connected", [True, False])
async def test_closing_ends_every_attempt_and_leaves_no_timer(clock, read_timeout, connected):
    read_timeout.close()
    attempt = await watched(read_timeout, connected=connected)
    read_timeout.close()
    await turns()
    assert attempt.is_silent
    assert repr(read_timeout).endswith("0 watched>")
    await clock.to(1e9)
    assert clock.set == 1


async def test_only_a_task_is_watched(read_timeout):
    loop = asyncio.get_running_loop()
    told = loop.create_future()

    def outside():
        try:
            read_timeout.watch(connected=True)
        except RuntimeError as error:
            told.set_result(str(error))

    loop.call_soon(outside)
    assert await told == "an attempt is made by a task"


async def test_a_connection_without_a_watched_task_is_ignored(read_timeout):
    read_timeout.connected(ConnectionUse())


@pytest.mark.parametrize("seed", range(20))
async def test_each_attempt_expires_exactly_when_it_is_due(clock, read_timeout, seed):
    rng = random.Random(seed)
    attempts, given_up = [], {}
    for _ in range(200):
        await clock.to(clock.moment + rng.uniform(0, 4))
        if len(attempts) < 8:
            attempts.append(await watched(read_timeout))
        elif rng.random() < 0.5:
            alive = [attempt for attempt in attempts if not attempt.task.done()]
            if alive:
                rng.choice(alive).watch.received()
        for attempt in [each for each in attempts if not each.task.done()]:
            assert clock.moment - attempt.watch.since < 10
        for attempt in [each for each in attempts if each.task.done()]:
            assert attempt.is_silent
            given_up[attempt] = clock.moment
            attempts.remove(attempt)
    assert len(given_up) > 10
    for attempt in attempts:
        attempt.answer.set()
        assert await attempt.task == "done"
