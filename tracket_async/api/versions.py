"""The versions of the API by their names. A version is imported when a wire of it is made, and no other is.

What reads and writes worklogs (cattrs, msgspec and the functions made with them) is a third of what importing the
client would take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from tracket_async.api.wire import Wire


def _v1(**settings: Any) -> Wire:
    from tracket_async.api import v1  # noqa: PLC0415 - see the top

    return v1.wire(**settings)


def _v2(**settings: Any) -> Wire:
    from tracket_async.api import v2  # noqa: PLC0415 - see the top

    return v2.wire(**settings)


WIRES: Final[Mapping[str, Callable[..., Wire]]] = {"1.0": _v1, "2.0": _v2}
"""Each version's function that makes its `Wire`; the settings that it takes are its own."""
