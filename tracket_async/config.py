"""The settings of a session, checked when they are made. Durations are seconds."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, runtime_checkable

import attrs

from tracket_async._tasks import is_async
from tracket_async.errors import ConfigurationError, UsageError

MIB = 1024 * 1024


def _seconds(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"{_name(instance, attribute)} must be a number, not {type(value).__name__}")
    if not math.isfinite(value) or value <= 0:
        raise ConfigurationError(f"{_name(instance, attribute)} must be finite and above 0, not {value!r}")


def _seconds_or_zero(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value != 0 or isinstance(value, bool):
        _seconds(instance, attribute, value)


def _optional_seconds(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None:
        _seconds(instance, attribute, value)


@runtime_checkable
class SharedRate(Protocol):
    """The rate of several sessions, in one process or in many: given as ``Limits.requests_per_second`` of each.

    A session asks it for a permit before each attempt, and gives the permit back with what the server answered. So
    what one session is told, the others hear of. A session with a shared rate learns none by itself. `LearnedRate` is
    one for the sessions of one process. All methods are called on the session's event loop; those that are not async
    must be quick.

    A permit is any value but None by which the rate knows when it gave it. Only that tells which 429s are about the
    rate of now: in several processes an attempt may begin long after it was allowed, and its answer is heard of later
    still.
    """

    async def acquire(self) -> Any:
        """Wait until an attempt may start: for the rate, and for the pauses that any session was told.

        Returns:
            Its permit, for `on_success` or `on_refusal`. One that led to neither was not used, or failed otherwise.
        """
        ...

    def on_success(self, permit: Any, /) -> None:
        """Take note that the server accepted the attempt of this permit."""
        ...

    def on_refusal(self, permit: Any, pause: float, /) -> None:
        """Take note of a 429 to the attempt of this permit; ``pause``: the seconds of its Retry-After, 0 without."""
        ...

    def on_pause(self, seconds: float, /) -> None:
        """Take note that the server asked for a pause: by a 503 with Retry-After, or because no request is left."""
        ...


def _rate(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, SharedRate):
        return
    if not callable(value):
        _optional_seconds(instance, attribute, value)
    elif not is_async(value):
        raise ConfigurationError(
            f"{_name(instance, attribute)} must be a number or an async callable: what is called is awaited",
            hint="Write `async def` in place of `def`",
        )


def _count(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigurationError(f"{_name(instance, attribute)} must be an int, not {type(value).__name__}")
    if value < 1:
        raise ConfigurationError(f"{_name(instance, attribute)} must be at least 1, not {value}")


def _optional_count(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None:
        _count(instance, attribute, value)


def _flag(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{_name(instance, attribute)} must be True or False, not {value!r}")


def _name(instance: object, attribute: attrs.Attribute[Any]) -> str:
    return f"{type(instance).__name__}.{attribute.name}"


def check_concurrency(concurrency: int, name: str = "concurrency") -> int:
    """Return the concurrency of one operation, checked.

    Raises:
        UsageError: it is below 1; the message calls it ``name``.
    """
    if concurrency < 1:
        raise UsageError(f"{name} must be at least 1, not {concurrency}")
    return concurrency


def valid_concurrency(_instance: object, attribute: attrs.Attribute[Any], value: int) -> None:
    """Check a field, as `check_concurrency`."""
    check_concurrency(value, attribute.name)


@attrs.frozen(kw_only=True)
class Timeouts:
    """Time limits, in seconds. None means no limit.

    Attributes:
        connect: to make a connection: DNS, TCP and TLS together.
        read: the longest wait for the next bytes of the server, once there is a connection.
        attempt: one attempt, from its connection to the last byte of the answer. It ends an answer that drips in byte
            by byte.
        total: one call: all its attempts, the waits between them, the time in the queue, a refresh of the token.
    """

    connect: float | None = attrs.field(default=5.0, validator=_optional_seconds)
    read: float | None = attrs.field(default=10.0, validator=_optional_seconds)
    attempt: float | None = attrs.field(default=30.0, validator=_optional_seconds)
    total: float | None = attrs.field(default=90.0, validator=_optional_seconds)


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """Decide how often a call is retried, and how long it waits before each retry.

    The wait before attempt n + 1 is ``uniform(0, min(wait_max, wait_initial * 2**(n - 1)))`` ("full jitter"). When the
    server sends Retry-After, it is at least that, plus a jitter of at most a tenth, and holds for the whole session;
    ``Retry-After: 0`` is not waited for.

    Attributes:
        attempts: the most attempts of one call; 1 turns retries off.
        wait_initial: seconds, see above.
        wait_initial_rate_limited: seconds; used in place of ``wait_initial`` after a 429.
        wait_max: seconds, see above.
        wait_jitter: seconds; the most jitter after a Retry-After. 0 for none.
        max_retry_after: seconds; if the server asks for a longer wait, the call fails at once instead.
        budget: the retry tokens of the session. A retry takes 5 of them (10 after a timeout) and gives them back when
            it succeeds; a call that succeeds at once adds 1. Without tokens nothing is retried, so that an outage is
            not made worse. None: no limit.
    """

    attempts: int = attrs.field(default=4, validator=_count)
    wait_initial: float = attrs.field(default=0.5, validator=_seconds_or_zero)
    wait_initial_rate_limited: float = attrs.field(default=1.0, validator=_seconds_or_zero)
    wait_max: float = attrs.field(default=20.0, validator=_seconds_or_zero)
    wait_jitter: float = attrs.field(default=1.0, validator=_seconds_or_zero)
    max_retry_after: float = attrs.field(default=300.0, validator=_seconds_or_zero)
    budget: int | None = attrs.field(default=500, validator=_optional_count)

    def jitter(self, wait: float) -> float:
        """Return the most seconds to add to a wait that the server asked for."""
        return min(self.wait_jitter, 0.1 * wait)


@attrs.frozen(kw_only=True)
class Limits:
    """Limits on concurrency, rate, size and the age of connections.

    Attributes:
        max_concurrency: the most attempts in progress at once in the session.
        adaptive: True lowers the concurrency (to 1 at least) while the server answers 503 and raises it again as it
            recovers, and learns the server's rate from its 429s. False keeps both as they are set.
        requests_per_second: the highest rate of attempts, evenly spaced; or an async callable that is awaited before
            each attempt; or a `SharedRate`, which several sessions and processes share. None: no limit but the one that
            the session learns from the server's 429s.
        max_response_bytes: the longest body that is accepted, compressed or decompressed, in bytes.
        keepalive_expiry: seconds for which an idle connection is kept for the next request.
        dns_cache_ttl: seconds for which a resolved address is used again.
    """

    max_concurrency: int = attrs.field(default=16, validator=_count)
    adaptive: bool = attrs.field(default=True, validator=_flag)
    requests_per_second: float | Callable[[], Awaitable[object]] | SharedRate | None = attrs.field(
        default=None, validator=_rate
    )
    max_response_bytes: int = attrs.field(default=32 * MIB, validator=_count)
    keepalive_expiry: float = attrs.field(default=15.0, validator=_seconds)
    dns_cache_ttl: float = attrs.field(default=60.0, validator=_seconds)


@attrs.frozen(kw_only=True)
class CallOptions:
    """Settings of one call that replace those of its session.

    Attributes:
        timeout: seconds for the whole call, in place of ``Timeouts.total``. None: the session's.
        attempts: in place of ``RetryPolicy.attempts``. None: the session's.
        wait_for_rate: True: a 429 is no failure, and neither it nor the wait for the server's rate counts against
            ``attempts``, the retry budget or the time, as long as the server accepts other calls of the session. Lists,
            exports and bulk writes set it.
        headers: names and values of headers that are sent besides the client's own, in order.
        query: names and values that are added to each query, in order.
    """

    timeout: float | None = attrs.field(default=None, validator=_optional_seconds)
    attempts: int | None = attrs.field(default=None, validator=_optional_count)
    wait_for_rate: bool = attrs.field(default=False, validator=_flag)
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    query: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
