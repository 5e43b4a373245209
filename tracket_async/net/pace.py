"""At most so many attempts a second, evenly spaced. Made of aiolimiter, which the extra ``pace`` brings."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable

from tracket_async.errors import MissingExtraError

Pace = Callable[[], Awaitable[None]]


def pace(requests_per_second: float) -> Pace:
    """What an attempt awaits before it goes out. Belongs to the event loop on which it is first awaited.

    One at a time each ``1 / requests_per_second`` seconds, and not a second's worth at once and then nothing: a server
    counts in windows of its own, and a burst on each side of a window's border would be twice what was asked for.

    Raises:
        MissingExtraError: aiolimiter is not installed.
    """
    try:
        aiolimiter = importlib.import_module("aiolimiter")
    except ImportError:
        aiolimiter = None
    if aiolimiter is None:
        error = MissingExtraError("Limits.requests_per_second needs aiolimiter, which is not installed")
        error.hint = 'Install it with: pip install "tracket-async[pace]"'
        raise error
    limiter = aiolimiter.AsyncLimiter(max_rate=1, time_period=1 / requests_per_second)
    acquire: Pace = limiter.acquire
    return acquire
