"""Optional dependencies."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from tracket_async.errors import MissingExtraError
from tracket_async.export import database as extras
from tracket_async.export.store import Store


@pytest.mark.parametrize("load", [extras.duckdb, extras.pyarrow, extras.parquet])
def test_a_library_that_is_not_installed_is_named_with_the_command_that_installs_it(monkeypatch, load):
    def refuse(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(MissingExtraError, match=r'(duckdb|pyarrow).*pip install "tracket-async\[export\]"'):
        load()


def test_a_store_without_its_libraries_leaves_nothing_behind(monkeypatch, tmp_path, request_2024):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(MissingExtraError):
        Store(tmp_path / "s.duckdb", request=request_2024)
    assert list(tmp_path.iterdir()) == []


def test_neither_library_is_imported_before_it_is_needed():
    program = (
        "import sys, tracket_async.export.run, tracket_async.export.run, tracket_async.export.text; "
        "sys.exit(int('duckdb' in sys.modules or 'pyarrow' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
