"""The subjects that are compared: one module each, a function from the sizes to a `Subject`."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.rows import Subject
from benchmarks.sizes import Sizes
from benchmarks.subjects import (
    bulk,
    concurrency,
    decode,
    export,
    get,
    imports,
    loop,
    memory,
    peers,
    rate,
    size,
    walk,
)

SUBJECTS: dict[str, Callable[[Sizes], Subject]] = {
    "decode": decode.subject,
    "walk": walk.subject,
    "get": get.subject,
    "export": export.subject,
    "concurrency": concurrency.subject,
    "bulk": bulk.subject,
    "imports": imports.subject,
    "loop": loop.subject,
    "memory": memory.subject,
    "size": size.subject,
    "peers": peers.subject,
    "rate": rate.subject,
}
