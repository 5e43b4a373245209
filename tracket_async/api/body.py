"""Bodies as JSON, written strictly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from tracket_async.errors import UsageError

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
"""What JSON can say."""

_encoder = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def write(content: Mapping[str, Any]) -> bytes:
    """An object as JSON, in UTF-8.

    Raises:
        UsageError: it holds what JSON cannot say: infinity, NaN, half of a surrogate pair, an object, itself.
    """
    problem: Exception
    try:
        return _encoder.encode(content).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        problem = error
    raise UsageError(f"This cannot be written as JSON: {problem}")
