"""The versions of the API by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tracket_async.api import v1, v2
from tracket_async.api.wire import Wire

WIRES: Final[Mapping[str, Callable[..., Wire]]] = {"1.0": v1.wire, "2.0": v2.wire}
"""Each version's function that makes its `Wire`; the settings that it takes are its own."""
