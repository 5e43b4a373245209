"""A server that behaves like Tracket, in memory and on a loopback port.

It shares no code with the client, so that a misread field cannot cancel itself out.
"""

from __future__ import annotations

from tracket_async.emulator import faults
from tracket_async.emulator.request_log import ReceivedRequest, RequestLog
from tracket_async.emulator.seeding import Sample, SeedError
from tracket_async.emulator.server import Emulator
from tracket_async.emulator.settings import Settings
from tracket_async.emulator.store import DuplicateIdError, StoreError

__all__ = [
    "DuplicateIdError",
    "Emulator",
    "ReceivedRequest",
    "RequestLog",
    "Sample",
    "SeedError",
    "Settings",
    "StoreError",
    "faults",
]
