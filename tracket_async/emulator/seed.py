"""Reading a seed: worklogs in the 1.0 wire shape, from a file of one JSON object a line or from Python.

All of it is checked before anything is served; what is wrong is reported with its line and field.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tracket_async.emulator import v1
from tracket_async.emulator.answers import Refusal
from tracket_async.emulator.fields import parse_object
from tracket_async.emulator.worklog import Worklog


class SeedError(ValueError):
    """A seed cannot be used; the message names the file, the line or item, and what is wrong with it."""


def read_seed(seed: Path | Iterable[Mapping[str, Any]]) -> list[Worklog]:
    """The worklogs of a seed, in its order; empty lines are skipped, and keys that mean nothing are ignored.

    Args:
        seed: A file of one JSON object a line (UTF-8), or the objects themselves.

    Raises:
        SeedError: The file cannot be read, or a worklog is malformed or has an id that came before.
    """
    items = _lines(seed) if isinstance(seed, Path) else _items(seed)
    worklogs: list[Worklog] = []
    places: dict[str, str] = {}
    for where, item in items:
        try:
            payload = parse_object(item) if isinstance(item, bytes) else item
            worklog = Worklog(**v1.read_stored(payload))
        except Refusal as refusal:
            raise SeedError(f"{where}: {refusal}") from None
        first = places.setdefault(worklog.id, where)
        if first != where:
            raise SeedError(f"{where}: worklogId {worklog.id!r} was on {first} already")
        worklogs.append(worklog)
    return worklogs


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{path}, line {number}", line
    except OSError as error:
        raise SeedError(f"cannot read {path}: {error.strerror}") from error


def _items(seed: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((f"item {number}", item) for number, item in enumerate(seed, start=1))
