"""Imports of what the extra ``export`` installs: on first use, and with an error that says how to install it."""

from __future__ import annotations

import importlib
from typing import Any

from tracket_async.errors import MissingExtraError

# Neither library has complete types (pyarrow has none), so what is imported here is Any, and stays in this package.


def duckdb() -> Any:
    """The module ``duckdb``."""
    return _load("duckdb")


def pyarrow() -> Any:
    """The module ``pyarrow``."""
    return _load("pyarrow")


def parquet() -> Any:
    """The module ``pyarrow.parquet``."""
    return _load("pyarrow.parquet")


def _load(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = MissingExtraError(f"the export needs {name}, which is not installed")
        missing.hint = 'Run: pip install "tracket-async[export]"'
        raise missing from error
